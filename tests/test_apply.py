from __future__ import annotations

import dask.array as da
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm import _apply, set_options
from xstxm.errors import ChunkingError, OptionError, PerformanceWarning, store_by_spectra


def test_single_chunk__small_stack_is_merged_with_a_warning(density):
    with pytest.warns(PerformanceWarning, match="fit merges 3 chunks along 'energy'"):
        merged = _apply.require_single_chunk(density.chunk(energy=14), "fit")
    assert merged.chunksizes["energy"] == (42,)


def test_single_chunk__large_stack_is_refused(density):
    with set_options(rechunk_limit=100), pytest.raises(ChunkingError, match=r"call .chunk\(energy=-1\) first") as error:
        _apply.require_single_chunk(density.chunk(energy=14), "fit")
    assert f"store it so, once: {store_by_spectra()}" in str(error.value)
    assert error.value.dims == ("energy",)


def test_set_options__restores_and_refuses_nonsense():
    before = _apply.get_options()
    with set_options(energy_tolerance=0.5):
        assert _apply.get_options().energy_tolerance == 0.5
    assert _apply.get_options() is before
    with pytest.raises(OptionError, match="num_threads=0: give a whole number of 1 or more"):
        set_options(num_threads=0)
    with set_options(rechunk_limit="2 GB"):
        assert _apply.get_options().rechunk_limit == 2e9
    for limit in ("two", -1, "50"):
        with pytest.raises(OptionError, match="give bytes, or a text with a unit"):
            set_options(rechunk_limit=limit)
    with pytest.raises(OptionError, match="energy_tolerance='10 meV': give a number"):
        set_options(energy_tolerance="10 meV")


def test_over_energy__is_lazy_and_keeps_coordinates(density):
    with raise_if_dask_computes():
        total = _apply.over_energy(lambda od: od.sum(-1), density.chunk(y=2), verb="sum")
    xr.testing.assert_allclose(total.compute(), density.sum("energy"))


def beside_frames(verb, stack):
    """Stacks by spectra with an I0, a dark or a ring current of chunks that would cut them up."""
    lazy, frames = stack.chunk(y=8), stack.chunk(energy=1)
    if verb == "normalize_current":
        current = xr.DataArray(da.full(stack.sizes["energy"], 300.0, chunks=1), dims="energy", attrs={"units": "mA"})
        return lambda: xstxm.normalize_current(lazy.assign_coords(ring_current=current), reference="200 mA")
    if verb == "optical_density":
        return lambda: xstxm.optical_density(lazy, frames.stxm.estimate_i0({"x": (0, 0.2), "y": (0, 0.2)}))
    if verb == "optical_density with an I0 of pixels":
        return lambda: xstxm.optical_density(lazy, xr.full_like(frames["intensity"], 4e4))
    dark = xr.zeros_like(stack["intensity"].isel(energy=0, drop=True)).chunk(y=1) + 1
    if verb == "optical_density with a dark":
        return lambda: xstxm.optical_density(lazy, xr.full_like(stack["intensity"].mean(("y", "x")), 4e4), dark=dark)
    return lambda: xstxm.subtract_dark(lazy, dark.assign_attrs(units="count"))


@pytest.mark.parametrize(
    "verb",
    [
        "optical_density",
        "optical_density with an I0 of pixels",
        "optical_density with a dark",
        "subtract_dark",
        "normalize_current",
    ],
)
@pytest.mark.filterwarnings("error")
def test_alongside__what_meets_a_stack_follows_its_chunks(verb):
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    found = beside_frames(verb, stack.drop_vars("ring_current"))()
    for array in found.data_vars.values():
        assert set(array.variable.chunksizes.get("energy", ())) <= {stack.sizes["energy"]}
        assert array.variable.chunksizes["y"] == (8, 8, 8)
