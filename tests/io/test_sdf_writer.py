"""Stacks written as SDF read back with every digit."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import xstxm
from xstxm.errors import FileFormatError, MetadataWarning, OptionError, SchemaError


def scan(data: np.ndarray, **coords: object) -> xr.Dataset:
    dims = {1: ("energy",), 2: ("energy", "position"), 3: ("energy", "y", "x")}[data.ndim]
    axes = {
        dim: (dim, np.arange(size) * 0.1 + 0.7, {"units": "um"}) for dim, size in zip(dims, data.shape, strict=True)
    }
    axes["energy"] = ("energy", 515 + np.arange(len(data)) / 3, {"units": "eV"})
    return xr.Dataset({"intensity": (dims, data, {"units": "count"})}, {**axes, **coords})


@settings(max_examples=25, deadline=None)
@given(
    data=st.one_of(
        *(
            arrays("float32", shape, elements=st.floats(width=32, allow_nan=True, allow_infinity=False))
            for shape in ((3,), (3, 4), (2, 3, 4), (1, 1, 3))
        )
    )
)
def test_numbers__come_back_to_the_last_bit(data, tmp_path_factory):
    stack = scan(data)
    path = xstxm.write_sdf(stack, tmp_path_factory.mktemp("sdf") / "scan.hdr")
    again = xstxm.open_stack(path)
    np.testing.assert_array_equal(again["intensity"], data)
    for dim in stack.dims:
        np.testing.assert_array_equal(again[dim], stack[dim])
    assert again["intensity"].dims == stack["intensity"].dims


def test_metadata__comes_back(tmp_path):
    stack = scan(
        np.arange(60.0).reshape(5, 3, 4),
        dwell_time=("energy", [1.0, 1.0, 2.5, 2.5, 2.5], {"units": "ms"}),
        ring_current=("energy", [301.5, np.nan, 300.25, 300.0, 299.75], {"units": "mA"}),
    )
    stack["counter1"] = stack["intensity"].astype("float32") + 0.25
    stack["counter1"].attrs["units"] = "count/s"
    stack.attrs["start_time"] = "2026-03-01T12:30:05"
    again = xstxm.open_stack(xstxm.write_sdf(stack, tmp_path / "scan.hdr"))
    xr.testing.assert_allclose(again.drop_attrs(), stack.drop_attrs().astype("float32"), rtol=0)
    assert again["counter1"].attrs["units"] == "count/s"
    assert again.attrs["start_time"] == "2026-03-01T12:30:05"


def test_writing__replaces_a_whole_scan_only_when_told(tmp_path):
    path = xstxm.write_sdf(scan(np.ones((5, 2, 3))), tmp_path / "scan.hdr")
    other = scan(np.zeros((2, 2, 3)))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xstxm.write_sdf(other, path)
    path.unlink()
    with pytest.raises(FileExistsError, match=r"scan_a000\.xim"):
        xstxm.write_sdf(other, path)
    xstxm.write_sdf(other, path, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3
    assert xstxm.open_stack(path).sizes["energy"] == 2


def test_writing__that_fails_leaves_nothing(tmp_path):
    def fail(block):
        raise RuntimeError("the disk of the input is gone")

    lazy = scan(np.ones((5, 2, 3))).chunk(energy=1)
    lazy["intensity"] = lazy["intensity"].copy(data=lazy["intensity"].data.map_blocks(fail, dtype="float64"))
    with pytest.raises(RuntimeError, match="is gone"):
        xstxm.write_sdf(lazy, tmp_path / "scan.hdr")
    assert not list(tmp_path.iterdir())


def test_writing__says_what_it_cannot_hold(tmp_path):
    stack = scan(np.ones((3, 2, 4)))
    with pytest.warns(MetadataWarning, match="mask not written"):
        xstxm.write_sdf(stack.assign(mask=(("y", "x"), np.ones((2, 4), bool))), tmp_path / "a.hdr")
    each = stack.assign_coords(dwell_time=(("y", "x"), np.ones((2, 4)), {"units": "ms"}))
    with pytest.warns(MetadataWarning, match="dwell_time not written"):
        path = xstxm.write_sdf(each, tmp_path / "pixels.hdr")
    assert "dwell_time" not in xstxm.open_stack(path).coords
    with pytest.raises(OptionError, match="ISO 8601"):
        xstxm.write_sdf(stack.assign_attrs(start_time="yesterday"), tmp_path / "b.hdr")
    with pytest.raises(SchemaError, match=r"stack\.isel\(theta=0\)"):
        xstxm.write_sdf(stack.expand_dims(theta=2), tmp_path / "b.hdr")
    with pytest.raises(FileFormatError, match=r"ends in \.hdr"):
        xstxm.write_sdf(stack, tmp_path / "b.nc")


def test_optical_density__beside_the_counts_comes_back_under_its_name(stack, i0, tmp_path):
    density = xstxm.optical_density(stack, i0)
    with pytest.warns(MetadataWarning, match="quality not written"):
        path = xstxm.write_sdf(density, tmp_path / "a.hdr")
    again = xstxm.open_stack(path)
    assert list(again.data_vars) == ["intensity", "optical_density"]
    np.testing.assert_allclose(again["optical_density"], density["optical_density"], rtol=1e-6)
    assert again["optical_density"].attrs["units"] == "1"
