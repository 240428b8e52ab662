"""Progress of eager work, and its end from outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier

import pytest
import xarray as xr
from dask.callbacks import Callback

import xstxm
from xstxm.errors import OptionError


class Enough(Exception):
    pass


def stop(share):
    raise Enough


@pytest.fixture(scope="module")
def counts():
    return xstxm.testing.simulate_stack(shape=(28, 32), seed=0)[["intensity"]]


@pytest.fixture(scope="module")
def density(counts):
    return xstxm.optical_density(counts)


VERBS = {
    "nmf": lambda counts, density: xstxm.nmf(density, 2, n_starts=2),
    "mcr": lambda counts, density: xstxm.mcr(density, 2, n_starts=1),
    "cluster": lambda counts, density: xstxm.cluster(density, 2, seed=0),
    "estimate_shifts": lambda counts, density: xstxm.estimate_shifts(counts),
    "compute": lambda counts, density: xstxm.compute(density.chunk(y=7)),
    "pca of a lazy stack": lambda counts, density: xstxm.pca(density.chunk(y=7)),
    "estimate_shifts of a lazy stack": lambda counts, density: xstxm.estimate_shifts(counts.chunk(energy=1)),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.filterwarnings("ignore::xstxm.errors.StxmWarning")
def test_report_progress__ends_the_work_and_changes_nothing(verb, counts, density):
    with pytest.raises(Enough), xstxm.report_progress(stop):
        VERBS[verb](counts, density)
    plain = VERBS[verb](counts, density)
    steps = []
    with xstxm.report_progress(steps.append):
        told = VERBS[verb](counts, density)
    assert steps
    assert all(0 <= share <= 1 for share in steps if share is not None)
    assert told.equals(plain)


def held_otherwise(counts):
    """Stacks of the same counts: by images, by spectra, in memory, whole numbers or not."""
    return {
        "by images": counts.chunk(energy=1),
        "by spectra": counts.chunk(y=7),
        "in memory": counts,
        "no whole numbers": (counts + 0.5).chunk(y=7),
        "two detectors": counts.assign(other=counts["intensity"] + 1).chunk(y=7),
    }


WRITTEN = [
    (ending, held)
    for ending in ("hdf5", "dat", "tif", "hdr", "nc", "zarr")
    for held in ("by images", "by spectra", "in memory", "no whole numbers", "two detectors")
    if held != "two detectors" or ending not in ("dat", "tif")  # which hold one
]


@pytest.mark.parametrize(("ending", "held"), WRITTEN)
@pytest.mark.filterwarnings("ignore::xstxm.errors.MetadataWarning")
def test_report_progress__hears_of_what_writes_and_ends_it_leaving_nothing(ending, held, counts, tmp_path):
    name = {"hdf5": "nxstxm", "dat": "ncb", "tif": "tiff", "hdr": "sdf", "nc": "netcdf", "zarr": "zarr"}[ending]
    write, stack, shares = getattr(xstxm, f"write_{name}"), held_otherwise(counts)[held], []
    with pytest.raises(Enough), xstxm.report_progress(stop):
        write(stack, tmp_path / f"a.{ending}")
    assert not [*tmp_path.iterdir()]
    with xstxm.report_progress(shares.append):
        write(stack, tmp_path / f"a.{ending}")
    assert shares == sorted(shares), "one run from nothing to all, however many passes"
    assert 0 < shares[0] <= shares[-1] == 1
    if held in ("by images", "no whole numbers", "two detectors") and len(shares) > 5:
        assert max(after - before for before, after in pairwise(shares)) <= 0.35, "no jump"


def test_report_progress__hears_of_a_single_spectrum(counts, tmp_path):
    shares = []
    with xstxm.report_progress(shares.append):
        xstxm.write_sdf(counts.isel(y=0, x=0, drop=True).drop_vars("ring_current"), tmp_path / "a.hdr")
    assert shares == [1.0]


def test_report_progress__asks_for_a_function():
    with pytest.raises(OptionError, match="give a function"):
        xstxm.report_progress(3)


def test_report_progress__leaves_callbacks_of_dask_in_place(density):
    heard, shares = [], []
    with Callback(posttask=lambda *about: heard.append(1)), xstxm.report_progress(shares.append):
        xstxm.compute(density.chunk(y=7))
    assert len(heard) == len(shares) > 3


def test_report_progress__of_nmf_grows(density):
    shares = []
    with xstxm.report_progress(shares.append):
        xstxm.nmf(density, 2, n_starts=3)
    assert shares == sorted(shares)
    assert len(shares) >= 3


def test_report_progress__hears_of_its_own_chunks_when_another_thread_computes_at_the_same_time(density):
    together, mine = Barrier(2), {0: [], 1: []}

    def meet(block):
        together.wait(timeout=60)
        return block

    def work(number):
        chunk = density["optical_density"].chunk().data
        lazy = xr.DataArray(chunk.map_blocks(meet, token=f"meet {number}", dtype=chunk.dtype))
        with xstxm.report_progress(mine[number].append):
            xstxm.compute(lazy)
            heard = len(mine[number])
            xstxm.compute(density.chunk(y=7))
        return heard

    with ThreadPoolExecutor(2) as pool:
        assert all(heard > 0 for heard in pool.map(work, range(2)))
    assert all(len(shares) > 4 for shares in mine.values())


def test_report_progress__the_inner_one_hears(density):
    outer, inner = [], []
    with xstxm.report_progress(outer.append):
        with xstxm.report_progress(inner.append):
            xstxm.nmf(density, 2, n_starts=1)
        assert not outer
        xstxm.nmf(density, 2, n_starts=1)
    assert outer == inner
