from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xstxm import conventions, units
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
    with pytest.raises(MissingCoordinateError, match="dimension 'energy' has no coordinate values"):
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
