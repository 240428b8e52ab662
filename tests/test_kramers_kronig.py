"""The phase of references from their absorption: against a closed form, the tables, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.constants import c, e, h

import xstxm
from xstxm._kernels.kramers_kronig import phase_per_length
from xstxm.errors import IncompatibleUnitsError, MetadataWarning, OptionError
from xstxm.tables import atoms_of, mass_absorption


def of_table(energy, formula="V2O5", grams=3.36):
    """A reference that is the table itself, in 1/nm."""
    per_nm = mass_absorption(atoms_of(formula), energy, "chantler") * grams * 1e-7
    return xstxm.reference_set({formula: (energy, per_nm)}, units="1/nm")


def test_phase_per_length__is_that_of_a_lorentz_oscillator():
    """Of n^2 = 1 + s / (E0^2 - E^2 - i g E), thin enough that n - 1 = (n^2 - 1) / 2."""
    energy = np.linspace(0.01, 4000, 400_001)
    index = 0.5 * 3.0 / (520.0**2 - energy**2 - 1j * 4.0 * energy)
    absorption = 2 * energy * index.imag  # 2 k beta, k in units of E / hc
    at = np.array([400.0, 505.0, 518.0, 519.9, 524.0, 600.0])
    expected = at * np.interp(at, energy, index.real)
    np.testing.assert_allclose(phase_per_length(at, energy, absorption), expected, rtol=2e-3, atol=2e-6)


def test_phase_per_length__does_not_see_where_a_line_is_cut():
    energy, absorption = np.array([300.0, 500, 510, 900]), np.array([1.0, 3, 2, 0.5])
    finer = np.union1d(energy, np.linspace(301, 899, 77))
    at = np.array([320.0, 500, 505, 700])
    expected = phase_per_length(at, energy, absorption)
    np.testing.assert_allclose(phase_per_length(at, finer, np.interp(finer, energy, absorption)), expected, rtol=1e-9)


def test_phase_references__of_the_table_are_the_tabulated_phase():
    xraydb = pytest.importorskip("xraydb")
    references = of_table(np.geomspace(300, 900, 2000))
    phase = xstxm.phase_references(references, "V2O5", "3.36 g/cm**3")["phase_shift"].isel(reference=0)
    for energy in (400.0, 480, 500, 508, 550, 560, 580, 650, 800):
        k = 2 * np.pi * energy * e / (h * c) * 1e-9
        expected = -k * xraydb.xray_delta_beta("V2O5", 3.36, energy)[0]
        assert float(phase.interp(energy=energy)) == pytest.approx(expected, rel=3e-3)


def test_phase_references__of_a_window_are_those_of_the_whole():
    """The rest of the table stands in for what was left out."""
    whole, part = np.geomspace(300, 900, 3000), slice(505, 562)
    wide = xstxm.phase_references(of_table(whole), "V2O5", 3.36)["phase_shift"].sel(energy=part)
    narrow = xstxm.phase_references(of_table(whole).sel(energy=part), "V2O5", 3.36)["phase_shift"]
    np.testing.assert_allclose(narrow[0, 8:-8], wide[0, 8:-8], atol=1e-2 * float(abs(wide).max()))


def test_phase_references__take_energies_in_any_order_and_unit_and_keep_gaps_at_the_ends():
    references = xstxm.testing.simulate_references().isel(reference=[0])
    expected = xstxm.phase_references(references, "V2O5", 3.36)["phase_shift"]
    turned = references.isel(energy=slice(None, None, -1))
    turned = turned.assign_coords(energy=("energy", turned.energy.values / 1000, {"units": "keV"}))
    turned["absorption"] = (turned["absorption"] * 1000).assign_attrs(units="1/um")
    turned = turned.pad(energy=(0, 1)).assign_coords(energy=("energy", [*turned.energy.values, 0.4], {"units": "keV"}))
    found = xstxm.phase_references(turned, {"alpha-V2O5": "V2O5"}, "3360 kg/m**3")["phase_shift"]
    assert np.isnan(found[0, -1])
    assert found.attrs["units"] == "rad/um"
    np.testing.assert_allclose(found[0, :-1] / 1000, expected[0, ::-1], rtol=1e-9)


def test_phase_references__say_what_is_wrong():
    references = xstxm.testing.simulate_references()
    with pytest.raises(OptionError, match=r"formula=.*: give one for each of 'alpha-V2O5', .*, and no other"):
        xstxm.phase_references(references, {"alpha-V2O5": "V2O5"}, 3.36)
    with pytest.raises(OptionError, match="write a chemical formula"):
        xstxm.phase_references(references, "?", 3.36)
    with pytest.raises(IncompatibleUnitsError, match="give references per length, in 1/nm"):
        xstxm.phase_references(xstxm.testing.simulate_references(units="1"), "V2O5", 3.36)
    with pytest.warns(MetadataWarning, match=r"'alpha-V2O5' in 1/nm is .* where the table has"):
        xstxm.phase_references(references.isel(reference=[0]), "V2O5", 1.5)
