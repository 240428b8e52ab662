"""Stacks handed to HyperSpy: the dictionary that its signals and RosettaSciIO are made of."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import MetadataWarning, MissingDimensionError, SchemaError


def test_stack__has_energy_last_and_axes_that_give_its_positions(stack):
    made = xstxm.to_hyperspy(stack)
    np.testing.assert_array_equal(made["data"], stack["intensity"].transpose("y", "x", "energy"))
    assert [(axis["name"], axis["size"], axis["units"], axis["navigate"]) for axis in made["axes"]] == [
        ("y", 6, "um", True),
        ("x", 9, "um", True),
        ("energy", 42, "eV", False),
    ]
    *places, energy = made["axes"]
    for axis in places:
        positions = axis["offset"] + axis["scale"] * np.arange(axis["size"])
        np.testing.assert_allclose(positions, stack[axis["name"]], atol=1e-9)
        assert "axis" not in axis
    np.testing.assert_array_equal(energy["axis"], stack["energy"])
    assert "scale" not in energy
    even = xstxm.to_hyperspy(stack.isel(energy=slice(15, 30)))["axes"][-1]
    assert (even["offset"], even["scale"]) == (float(stack["energy"][15]), 0.5)


def test_metadata__say_what_it_is_and_hold_the_other_coordinates(stack):
    attrs = {"title": "particle", "start_time": "2026-01-02T03:04:05", "source_file": "a.hdr"}
    made = xstxm.to_hyperspy(
        stack.assign_attrs(attrs).assign_coords(current=("energy", np.arange(42.0), {"units": "mA"}))
    )
    general = {"title": "particle", "date": "2026-01-02", "time": "03:04:05", "original_filename": "a.hdr"}
    assert made["metadata"]["General"] == general
    assert made["metadata"]["Signal"] == {"quantity": "Transmitted intensity (count)", "signal_type": ""}
    kept = made["original_metadata"]["xstxm"]
    assert kept["attributes"]["title"] == "particle"
    assert kept["coordinates"]["dwell_time"]["units"] == "ms"
    assert kept["coordinates"]["dwell_time"]["values"] == 2
    assert kept["coordinates"]["current"]["dims"] == ["energy"]
    np.testing.assert_array_equal(kept["coordinates"]["current"]["values"], np.arange(42))


def test_large_coordinates__are_named(stack):
    with pytest.warns(MetadataWarning, match=r"coordinates along one dimension: beam not written"):
        xstxm.to_hyperspy(stack.assign_coords(beam=(("y", "x"), np.zeros((6, 9)))))


def test_lazy_stack__stays_lazy(stack, tmp_path):
    with raise_if_dask_computes():
        made = stack.chunk(energy=7).stxm.to_hyperspy(signal="intensity")
    np.testing.assert_array_equal(made["data"].compute(), stack["intensity"].transpose("y", "x", "energy"))
    with xstxm.open_stack(xstxm.write_nxstxm(stack[["intensity"]], tmp_path / "a.hdf5")) as unread:
        assert hasattr(xstxm.to_hyperspy(unread)["data"], "dask")


def test_maps__have_their_pixels_last_and_names_as_numbers(amounts):
    made = xstxm.to_hyperspy(amounts.transpose("y", "reference", "x"))
    np.testing.assert_array_equal(made["data"], amounts)
    assert [(axis["name"], axis["navigate"]) for axis in made["axes"]] == [
        ("reference", True),
        ("y", False),
        ("x", False),
    ]
    assert (made["axes"][0]["offset"], made["axes"][0]["scale"], made["axes"][0]["units"]) == (0, 1, None)
    assert made["original_metadata"]["xstxm"]["coordinates"]["reference"]["values"].tolist() == ["A", "B", "C"]


def test_what_no_signal_holds__is_refused(stack):
    with pytest.raises(SchemaError, match=r"found: intensity, mask\): pass signal="):
        xstxm.to_hyperspy(stack.assign(mask=stack["intensity"][0] > 0))
    with pytest.raises(SchemaError, match=r"call \.sortby\('energy'\) first"):
        xstxm.to_hyperspy(stack.isel(energy=[3, 1, 2]))
    with pytest.raises(MissingDimensionError, match="'y'"):
        xstxm.to_hyperspy(xr.DataArray(np.zeros(3), dims="particle"))
    with pytest.raises(SchemaError, match="found a list"):
        xstxm.to_hyperspy([stack])
