from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm import conventions, units
from xstxm._specs._spec import specs
from xstxm.errors import MissingCoordinateError, MissingDimensionError, MissingUnitsError, SchemaError


def test_specs__have_canonical_units_and_a_sentence():
    for spec in conventions.SPECS.values():
        assert spec.units is None or units.normalize(spec.units) == spec.units
        assert spec.doc.endswith(".")
        assert spec.long_name


def test_schemas__name_known_variables():
    assert {name for names in conventions.SCHEMAS.values() for name in names} <= set(conventions.SPECS)


def test_pixel_dims__is_every_dim_except_energy(stack):
    assert conventions.pixel_dims(stack) == ("y", "x")
    assert conventions.pixel_dims(stack["intensity"].expand_dims(theta=2)) == ("theta", "y", "x")
    assert conventions.pixel_dims(stack["intensity"].isel(y=0, x=0)) == ()


def test_pixel_dims__does_not_take_references_for_pixels(stack, spectra):
    held = stack.assign(reference_spectra=spectra)
    assert conventions.pixel_dims(held) == ("y", "x")


def test_annotate__replaces_attrs_and_leaves_the_input_alone(density):
    before = dict(density.attrs)
    named = conventions.annotate(density, "intensity")
    assert named.name == "intensity"
    assert named.attrs["units"] == "count"
    assert density.attrs == before
    assert density.name == "optical_density"


def test_require_energy__without_dimension(stack):
    with pytest.raises(
        MissingDimensionError, match=r"no dimension 'energy' \(found: ev, y, x\): .rename\({'ev': 'energy'}\) first"
    ):
        conventions.require_energy(stack.rename(energy="ev")["intensity"])


def test_require_energy__without_values(stack):
    with pytest.raises(MissingCoordinateError, match="'energy' has no coordinate values"):
        conventions.require_energy(stack.drop_vars("energy"))


def test_require_energy__without_units(stack):
    stack["energy"].attrs.clear()
    with pytest.raises(MissingUnitsError, match="the energy axis has no units"):
        conventions.require_energy(stack)


def test_require_energy__with_nan(stack):
    energy = stack["energy"].values.copy()
    energy[3] = np.nan
    broken = stack.assign_coords(energy=("energy", energy, {"units": "eV"}))
    with pytest.raises(SchemaError, match="not finite"):
        conventions.require_energy(broken)


def test_validate__lists_every_departure(references):
    broken = references.assign(absorption=references["absorption"].T.astype(int))
    with pytest.raises(SchemaError, match=r"has dims .* has dtype int64"):
        conventions.validate(broken, "reference_set")


def test_flag_attrs__follow_cf():
    attrs = conventions.flag_attrs({"no sample": -1, "V2O5": 0}, masks=False)
    assert attrs["flag_meanings"] == "no_sample V2O5"
    np.testing.assert_array_equal(attrs["flag_values"], [-1, 0])


def test_signal_of__says_which_verb_to_call(stack):
    with pytest.raises(
        SchemaError,
        match=r"'optical_density' is missing \(found: intensity\): call .stxm.optical_density\(\) first, "
        r'or pass signal="intensity"',
    ):
        conventions.signal_of(stack, "optical_density")
    assert isinstance(conventions.signal_of(stack["intensity"], "anything"), xr.DataArray)


def test_require_energy__of_an_average_does_not_advise_to_rename_a_position(stack):
    with pytest.raises(MissingDimensionError, match="was it averaged away"):
        conventions.require_energy(stack["intensity"].mean("energy"))


def test_specs__that_describe_a_variable_twice_are_refused():
    row = ("mine", ("energy",), None, "float", "Mine", "Once.")
    with pytest.raises(ValueError, match="described twice"):
        specs(row, row)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("uint16", "float32"), ("int64", "float32"), ("float16", "float32"), (">f4", "float32"), (">f8", "float64")],
)
def test_as_float__gives_native_floats_and_keeps_the_rest(density, dtype, wanted):
    found = conventions.as_float(density.astype(dtype))
    assert found.dtype == np.dtype(wanted)
    assert found.dtype.isnative
    assert (found.attrs, found.name) == (density.attrs, density.name)
    assert conventions.as_float(density) is density


@pytest.mark.parametrize("dtype", ["bool", "U3", "complex64"])
def test_as_float__refuses_what_are_no_numbers(density, dtype):
    with pytest.raises(SchemaError, match=r"'optical_density' is .*, wanted numbers"):
        conventions.as_float(density.astype(dtype))


@pytest.mark.parametrize(
    ("name", "array", "content"),
    [
        ("quality", xr.DataArray(np.int16(3), attrs={"flag_masks": [1, 2]}), "flags"),
        ("mine", xr.DataArray(np.int16(3), attrs={"flag_values": [1, 2]}), "labels"),
        ("labels", xr.DataArray(3), "labels"),
        ("scan", xr.DataArray("a"), "labels"),
        ("time", xr.DataArray(np.datetime64("2026-01-01", "ns")), "labels"),
        ("spike", xr.DataArray(True), "marks"),
        ("intensity_variance", xr.DataArray(3), "variance"),
        ("i0_stderr", xr.DataArray(3.0), "stderr"),
        ("intensity", xr.DataArray(np.uint16(3)), "number"),
    ],
)
def test_content_of__tells_what_values_are(name, array, content):
    assert conventions.content_of(name, array) == conventions.content_of(name, array.variable) == content


@pytest.mark.parametrize(
    ("units_", "name", "measure"),
    [
        ("count", "intensity", "counts"),
        ("count**2", "intensity_variance", "counts"),
        ("count/ms", "mine", "rate"),
        ("count/s", "intensity", "rate"),
        ("count**2/ms**2", "intensity_variance", "rate"),
        ("1", "mine", "density"),
        ("1", "intensity", "other"),
        ("1/nm", "optical_density", "other"),
        (None, "intensity", "other"),
    ],
)
def test_measure_of__asks_the_units(units_, name, measure):
    array = xr.DataArray(1.0, name=name, attrs={} if units_ is None else {"units": units_})
    assert conventions.measure_of(array) == measure


def test_quality_bits__what_was_not_measured_stays_so_unless_it_is_judged_anew():
    no = xr.DataArray([False, False, True], dims="x")
    before = xr.DataArray(np.array([32, 4, 16], "int16"), dims="x")
    flags = {"not_measured": no, "too_thick": no}
    assert conventions.quality_bits(flags, before).values.tolist() == [32, 0, 32 | 4 | 16]
    assert conventions.quality_bits(flags, before, lasting=()).values.tolist() == [0, 0, 32 | 4 | 16]


def test_require_image__names_the_dimension_that_is_missing(stack):
    with pytest.raises(MissingDimensionError, match=r"no dimension 'y' .*: do so"):
        conventions.require_image(stack["intensity"].isel(y=0), "do so")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: xstxm.apply_shifts(s, "shifts.csv"), "expected a DataArray or a Dataset, found a str"),
        (lambda s: xstxm.residual(s, np.ones(3), signal="intensity"), "found a ndarray"),
        (
            lambda s: xstxm.fit(xstxm.optical_density(s), "references.csv"),
            "the references are a str: pass a reference set",
        ),
    ],
    ids=["shifts", "fit result", "references"],
)
def test_verbs__say_what_they_were_given_in_place_of_a_dataset(call, message):
    with pytest.raises(SchemaError, match=message):
        call(xstxm.testing.simulate_stack(shape=(8, 6), seed=0))
