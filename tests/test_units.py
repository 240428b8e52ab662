from __future__ import annotations

import subprocess
import sys

import numpy as np
import pint
import pint_xarray  # noqa: F401  registers .pint
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xstxm import units
from xstxm.errors import IncompatibleUnitsError, MissingUnitsError, UnitsError


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("µm", "um"),
        ("μm", "um"),
        ("counts", "count"),
        ("counts/ms", "count/ms"),
        ("nm**-1", "1/nm"),
        ("cm^2/g", "cm**2/g"),
        ("1", "1"),
        ("", "1"),
        ("dimensionless", "1"),
        ("mA", "mA"),
        ("Å", "angstrom"),
        ("Hz", "count/s"),
        (" eV ", "eV"),
    ],
)
def test_normalize__gives_ascii_that_pint_reads_back(given, canonical):
    assert units.normalize(given) == canonical
    assert units.normalize(canonical) == canonical
    assert canonical.isascii()


@pytest.mark.parametrize("text", ["nm-1", "foo", "3 + (", "count per"])
def test_normalize__refuses_what_it_cannot_understand(text):
    with pytest.raises(UnitsError, match="cannot understand the unit"):
        units.normalize(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (515, 515.0),
        (np.float32(515), 515.0),
        ("515 eV", 515.0),
        ("0.515 keV", 515.0),
        ("515000 meV", 515.0),
        (pint.application_registry.Quantity(0.515, "keV"), 515.0),
        ("2.4 nm", 516.600826805),
    ],
)
def test_to_magnitude__takes_numbers_strings_and_quantities(value, expected):
    assert units.to_magnitude(value, "eV") == pytest.approx(expected, rel=1e-9)


def test_to_magnitude__string_without_unit_shows_both_spellings():
    with pytest.raises(MissingUnitsError, match=r"energy '515' has no units: write 515 \(in eV\) or '515 eV'"):
        units.to_magnitude("515", "eV", "energy")


def test_to_magnitude__refuses_another_kind():
    with pytest.raises(IncompatibleUnitsError, match="energy is in 's', which does not convert to 'eV'"):
        units.to_magnitude("5 s", "eV", "energy")


def test_to_magnitude__a_difference_of_energies_is_no_wavelength():
    with pytest.raises(IncompatibleUnitsError, match="shift is in 'nm'"):
        units.to_magnitude("2 nm", "eV", "shift", spectroscopy=False)


def test_to_magnitude__refuses_nan():
    with pytest.raises(UnitsError, match="energy is nan"):
        units.to_magnitude(float("nan"), "eV", "energy")


@given(st.floats(1, 1e5))
def test_to_magnitude__kilo_and_back(number):
    assert units.to_magnitude(f"{number / 1000!r} keV", "eV") == pytest.approx(number, rel=1e-12)


def test_derive__and_same_kind():
    assert units.derive("1", "1/nm") == "nm"
    assert units.derive("count/ms", "ms", "*") == "count"
    assert units.same_kind("um", "nm")
    assert not units.same_kind("count", "count/ms")


def test_to_units__keeps_dtype_and_scales():
    array = xr.DataArray(np.array([1.0, 2.0], dtype="float32"), dims="x", attrs={"units": "um", "long_name": "x"})
    converted = units.to_units(array, "nm")
    assert converted.dtype == np.float32
    assert converted.attrs == {"units": "nm", "long_name": "x"}
    np.testing.assert_allclose(converted, [1000, 2000])


def test_units_of__says_how_to_set_them():
    with pytest.raises(MissingUnitsError, match=r"'i0' has no units: set them"):
        units.units_of(xr.DataArray([1.0], name="i0"))
    with pytest.raises(MissingUnitsError, match=r"'cell_chain' has no units: .*attrs\['units'\] = 'angstrom'$"):
        units.to_units(xr.DataArray([1.0], name="cell_chain"), "angstrom")


def test_dequantify__takes_objects_of_pint_xarray(stack):
    quantified = stack.pint.quantify()
    plain = units.dequantify(quantified)
    assert isinstance(plain["intensity"].data, np.ndarray)
    assert plain["intensity"].attrs["units"] == "count"
    assert plain["energy"].attrs["units"] == "eV"
    assert units.dequantify(stack) is stack


def test_normalize__of_every_unit_of_the_registry_is_that_unit():
    """What is written is read back as the same unit, whatever its symbol."""
    registry = pint.application_registry.get()
    wrong = []
    for name in {registry.get_name(alias) for alias in list(registry._units)}:
        try:
            unit = registry.Unit(name)
            text = units.normalize(name)
        except Exception:
            continue
        if not np.isclose(registry.Quantity(1, unit).to("dimensionless" if text == "1" else text).magnitude, 1):
            wrong.append((name, text))
    assert not wrong


@pytest.mark.parametrize(("given", "canonical"), [("micron", "um"), ("cts", "count"), ("ev", "eV"), ("KeV", "keV")])
def test_normalize__knows_what_files_write(given, canonical):
    assert units.normalize(given) == canonical


def test_normalize__refuses_arbitrary_units():
    with pytest.raises(UnitsError, match=r"'a\.u\.' is no unit"):
        units.normalize("a.u.")


def test_to_units__does_not_truncate_integers():
    array = xr.DataArray(np.array([500, 1500]), dims="x", attrs={"units": "nm"})
    np.testing.assert_allclose(units.to_units(array, "um"), [0.5, 1.5])


def test_same_kind__a_count_is_no_angle_and_no_number():
    assert not units.same_kind("count", "deg")
    assert not units.same_kind("count", "1")


@pytest.mark.parametrize("value", [[510, 520], "0 nm"])
def test_to_magnitude__refuses_what_is_no_energy(value):
    with pytest.raises(UnitsError, match="give one finite number"):
        units.to_magnitude(value, "eV", "energy limit")


@pytest.mark.parametrize("text", ["700 ev", "700ev", " 700 EV ", "0.7 kev", "7e-1 KeV", "7e2eV", "700. ev"])
def test_to_magnitude__takes_the_spellings_of_units_that_files_may_say(text):
    assert units.to_magnitude(text, "eV") == pytest.approx(700)


def test_to_magnitude__refuses_pixels_of_a_screen_as_a_length():
    with pytest.raises(UnitsError, match="sigma is '3 px', pixels: give it in um"):
        units.to_magnitude("3 px", "um", "sigma")


def test_factor__takes_a_dot_between_units_for_a_product():
    assert units.factor("mA.h", "C") == pytest.approx(3.6)


def test_counts__convert_between_their_multiples_and_to_nothing_else():
    assert units.factor("kilocount**2", "count**2") == pytest.approx(1e6)
    assert not units.same_kind("kilocount", "1")


def test_units__are_known_after_an_interrupt_in_the_first_use():
    code = """
import pint, xstxm.units
registry = pint.UnitRegistry
load = registry.load_definitions
def interrupted(*given, **options):
    raise KeyboardInterrupt
registry.load_definitions = interrupted
try:
    xstxm.units.normalize("eV")
except KeyboardInterrupt:
    registry.load_definitions = load
    print(xstxm.units.normalize("counts"))
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "count"


def test_units__of_threads_that_ask_first_at_once():
    code = """
import pint, threading
from concurrent.futures import ThreadPoolExecutor
from xstxm import units
start = threading.Barrier(8)
def ask(_):
    start.wait()
    return units.normalize("counts")
with ThreadPoolExecutor(8) as pool:
    print({*pool.map(ask, range(8))})
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "{'count'}"
