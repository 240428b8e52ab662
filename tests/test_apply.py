from __future__ import annotations

import pytest
import xarray as xr
from laziness import raise_if_dask_computes

from xstxm import _apply, set_options
from xstxm.errors import ChunkingError, OptionError, PerformanceWarning, store_by_spectra


def test_single_chunk__small_stack_is_merged_with_a_warning(density):
    with pytest.warns(PerformanceWarning, match="fit merges 3 chunks along 'energy'"):
        merged = _apply.require_single_chunk(density.chunk(energy=14), "fit")
    assert merged.chunksizes["energy"] == (42,)


def test_single_chunk__large_stack_is_refused(density):
    with set_options(rechunk_limit=100), pytest.raises(ChunkingError, match=r"call .chunk\(energy=-1\) first") as error:
        _apply.require_single_chunk(density.chunk(energy=14), "fit")
    assert str(error.value).endswith(f"store it so, once: {store_by_spectra()}")
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
    for limit in ("two", -1):
        with pytest.raises(OptionError, match="give bytes, or a text with a unit"):
            set_options(rechunk_limit=limit)
    with pytest.raises(OptionError, match="energy_tolerance='10 meV': give a number"):
        set_options(energy_tolerance="10 meV")


def test_over_energy__is_lazy_and_keeps_coordinates(density):
    with raise_if_dask_computes():
        total = _apply.over_energy(lambda od: od.sum(-1), density.chunk(y=2), verb="sum")
    xr.testing.assert_allclose(total.compute(), density.sum("energy"))
