"""What some energies of a stack would have given, against two fits by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import EnergyRangeError, MissingVariableError, OptionError, ReferenceSpectrumError


@pytest.fixture
def noisy(density):
    """The optical density of the shared image, with noise."""
    noise = 0.03 * np.random.default_rng(0).standard_normal(density.shape)
    return density + xr.DataArray(noise, dims=density.dims)


@pytest.fixture
def noisy_stack(noisy):
    return noisy.rename("optical_density").assign_attrs(units="1").to_dataset()


def test_all_energies__differ_by_nothing(noisy_stack, references):
    found = xstxm.evaluate_energies(noisy_stack, references, noisy_stack.energy)
    assert float(found.agreement) == 1
    assert float(abs(found.fraction_difference).max()) == 0
    assert float(abs(found.composition_difference).max()) == 0


@pytest.mark.parametrize("method", ["lstsq", "nnls"])
def test_differences__are_those_of_two_fits(noisy_stack, references, method):
    some = noisy_stack.energy[::5]
    options = {"method": method, "background": "none"}
    found = noisy_stack.stxm.evaluate_energies(references, some, min_amount=0.3, **options)
    whole = xstxm.fit(noisy_stack, references, **options).component_map
    part = xstxm.fit(noisy_stack.isel(energy=slice(None, None, 5)), references, **options).component_map
    sample = whole.sum("reference") >= 0.3
    wanted = (part / part.sum("reference") - whole / whole.sum("reference")).where(sample)
    assert 0 < int(sample.sum()) == int(found.n_sample) < sample.size
    np.testing.assert_allclose(found.fraction_difference, wanted, atol=1e-10)
    np.testing.assert_allclose(found.fraction_difference_rms, (wanted**2).mean(("y", "x")) ** 0.5)
    np.testing.assert_allclose(found.fraction_difference_mean, wanted.mean(("y", "x")))
    composition = (wanted * references.composition).sum("reference", skipna=False)
    np.testing.assert_allclose(found.composition_difference, composition, atol=1e-10)
    np.testing.assert_allclose(found.composition_difference_rms, (composition**2).mean() ** 0.5)
    np.testing.assert_allclose(found.composition_difference_mean, composition.mean())
    equal = (part.argmax("reference") == whole.argmax("reference")).where(sample)
    np.testing.assert_allclose(found.agreement, equal.mean())


def test_result__conforms_and_is_lazy(noisy_stack, references):
    expected = xstxm.evaluate_energies(noisy_stack, references, noisy_stack.energy[::4])
    xstxm.testing.assert_conforms(expected, "evaluate_energies")
    with raise_if_dask_computes():
        lazy = xstxm.evaluate_energies(noisy_stack.chunk(y=2), references, noisy_stack.energy[::4])
    assert lazy.stxm.is_lazy
    xr.testing.assert_allclose(lazy.compute().drop_attrs(), expected.drop_attrs())


def test_energies__may_be_a_list_an_array_or_a_design(noisy_stack, references):
    design = xstxm.design_energies(references, 7, criterion="a-optimal", candidates=noisy_stack.energy)
    expected = xstxm.evaluate_energies(noisy_stack, references, design)
    listed = [f"{value:.6f} eV" for value in design.energy.values]
    in_kev = (design.energy / 1000).assign_attrs(units="keV")
    for energies in (design.energy, listed, in_kev):
        found = xstxm.evaluate_energies(noisy_stack, references, energies)
        xr.testing.assert_equal(found.drop_attrs(), expected.drop_attrs())
    assert found.attrs["n_energies"] == 7


def test_order__of_the_stack_changes_nothing(noisy_stack, references):
    some = noisy_stack.energy[::4]
    expected = xstxm.evaluate_energies(noisy_stack, references, some)
    turned = noisy_stack.isel(energy=np.random.default_rng(0).permutation(noisy_stack.sizes["energy"]))
    found = xstxm.evaluate_energies(turned, references, some[::-1])
    xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs())


def test_frames__of_a_repeated_energy_are_all_taken(noisy_stack, references):
    repeated = noisy_stack.isel(energy=[*range(noisy_stack.sizes["energy"]), 20, 20])
    found = xstxm.evaluate_energies(repeated, references, noisy_stack.energy[[0, 12, 16, 20, 24, 30, 36]])
    assert found.attrs["n_energies"] == 9


def test_counts__become_optical_density_once_for_both(stack, references, i0):
    held = stack.assign(i0=i0)
    found = xstxm.evaluate_energies(held, references, stack.energy[::4])
    expected = xstxm.evaluate_energies(xstxm.optical_density(held), references, stack.energy[::4])
    xr.testing.assert_equal(found.drop_attrs(), expected.drop_attrs())


def test_pixel__in_which_the_energies_find_nothing_does_not_agree(noisy_stack, references):
    blind, some = noisy_stack.copy(deep=True), noisy_stack.energy[::4]
    options = {"background": "none", "min_amount": 0.3}
    before = xstxm.evaluate_energies(noisy_stack, references, some, **options)
    first = xstxm.phase_map(noisy_stack, references, **options).phase_label == 0  # what a pixel of nothing is called
    y, x = (int(index[0]) for index in np.nonzero(first.values))
    blind.optical_density.loc[{"energy": some, "y": blind.y[y], "x": blind.x[x]}] = -0.05
    found = xstxm.evaluate_energies(blind, references, some, **options)
    assert np.isnan(found.fraction_difference[:, y, x]).all()
    assert int(found.n_sample) == int(before.n_sample)
    assert float(found.agreement) == pytest.approx(float(before.agreement) - 1 / int(before.n_sample))
    assert np.isfinite(found.fraction_difference_rms).all()


def test_mask__leaves_pixels_out(noisy_stack, references):
    mask = xr.ones_like(noisy_stack.optical_density[0], dtype=bool)
    mask[:, :6] = False
    found = xstxm.evaluate_energies(noisy_stack.assign(mask=mask), references, noisy_stack.energy[::4])
    assert np.isnan(found.fraction_difference[..., :6]).all()
    assert np.isfinite(found.fraction_difference[..., 6:]).all()
    assert int(found.n_sample) == 18


def test_further_dimensions__are_pixels_too(noisy_stack, references):
    both = xr.concat([noisy_stack, noisy_stack], xr.DataArray([0.0, 30.0], dims="theta", attrs={"units": "deg"}))
    found = xstxm.evaluate_energies(both, references, noisy_stack.energy[::4])
    assert found.fraction_difference.dims == ("phase", "theta", "y", "x")
    single = xstxm.evaluate_energies(noisy_stack, references, noisy_stack.energy[::4])
    np.testing.assert_allclose(found.fraction_difference_rms, single.fraction_difference_rms)


def test_references__may_lie_in_the_stack(noisy_stack, references):
    held = noisy_stack.stxm.with_references(references)
    found = xstxm.evaluate_energies(held, None, noisy_stack.energy[::4])
    expected = xstxm.evaluate_energies(noisy_stack, references, noisy_stack.energy[::4])
    xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs())


BAD = {
    "an energy between two": ([505, 505.5, 520], EnergyRangeError, r"not in the stack: 505.5 \(nearest 50"),
    "too few energies": ([505, 510, 514], ReferenceSpectrumError, "needs at least 5 energies"),
    "a word": ("505 eV", OptionError, "give a list of energies"),
    "nothing": ([], OptionError, "one or more finite energies"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_energies__say_what_is_wrong(noisy_stack, references, case):
    energies, error, text = BAD[case]
    with pytest.raises(error, match=text):
        xstxm.evaluate_energies(noisy_stack, references, energies)


def test_missing_references__are_named(noisy_stack):
    for stack in (noisy_stack, noisy_stack.optical_density):
        with pytest.raises(MissingVariableError, match=r"pass references, or call .stxm.with_references"):
            xstxm.evaluate_energies(stack, None, noisy_stack.energy[::4])
