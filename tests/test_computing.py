"""Lazy results come into memory chunk by chunk, on threads and from other processes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_ident

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from hypothesis import given
from hypothesis import strategies as st
from laziness import Held, watched
from test_every_verb import REFERENCES, counts, density

import xstxm
from xstxm.errors import ChoiceError, OptionError

SIZES = {"reference": 2, "y": 5, "x": 7}


def test_compute__gives_what_xarray_does():
    lazy = xstxm.phase_map(density().chunk(y=7), REFERENCES)
    xr.testing.assert_identical(xstxm.compute(lazy), lazy.compute())
    xr.testing.assert_identical(lazy["composition"].stxm.compute(), lazy["composition"].compute())


@st.composite
def lazy_datasets(draw) -> xr.Dataset:
    """Arrays of any of the dims, in any order, each cut in its own way; a coordinate that is lazy, too."""
    variables = {}
    for name in draw(st.lists(st.sampled_from("abcde"), min_size=1, unique=True)):
        dims = draw(st.permutations(list(SIZES)).flatmap(lambda order: st.integers(0, 3).map(lambda n: order[:n])))
        shape = [SIZES[dim] for dim in dims]
        values = draw(st.integers(0, 9)) + np.arange(np.prod(shape, dtype=int), dtype="float32").reshape(shape)
        cut = {dim: draw(st.integers(1, SIZES[dim])) for dim in dims}
        variables[name] = (dims, xr.DataArray(values, dims=dims).chunk(cut).data, {"units": "1"})
    area = xr.DataArray(np.arange(35.0).reshape(5, 7), dims=("y", "x")).chunk(y=draw(st.integers(1, 5)))
    return xr.Dataset(variables).assign_coords(area=area)


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
@given(lazy=lazy_datasets())
def test_compute__of_any_arrays_is_that_of_xarray(scheduler, lazy):
    with dask.config.set(scheduler=scheduler):
        found = xstxm.compute(lazy)
    assert not found.chunks
    xr.testing.assert_identical(found, lazy.compute())


def test_compute__of_nothing_at_all():
    lazy = xr.Dataset({"none": (("reference", "x"), np.zeros((0, 4)))}).chunk(x=2)
    xr.testing.assert_identical(xstxm.compute(lazy), lazy.compute())


def test_compute__loads_lazy_coordinates_and_leaves_what_is_in_memory():
    stack = counts().assign_coords(depth=(("y", "x"), np.ones((24, 28))))
    xr.testing.assert_identical(xstxm.compute(stack), stack)
    found = xstxm.compute(stack.chunk(y=5))
    assert found["depth"].chunks is None
    xr.testing.assert_identical(found, stack)


def test_compute__refuses_what_is_no_array():
    with pytest.raises(OptionError, match=r"of a tree, call xstxm\.trees\.compute"):
        xstxm.compute(xr.DataTree(counts()))


def test_compute__holds_a_chunk_at_a_time():
    held = Held()
    stack = watched(density(), {"y": 4}, held)
    with dask.config.set(scheduler="synchronous"):
        found = xstxm.compute(stack)
    assert held.most <= 2
    xr.testing.assert_equal(found, density())


def rows_through(function, n: int) -> xr.DataArray:
    rows = da.ones((n, 2), chunks=(1, 2))
    return xr.DataArray(rows.map_blocks(function, meta=np.empty((0, 0))), dims=("y", "x"))


def test_compute__takes_two_threads_more_than_there_are_processors(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 3)
    together, threads = Barrier(5), set()

    def meet(block):
        threads.add(get_ident())
        together.wait(timeout=60)
        return block

    xstxm.compute(rows_through(meet, 10))
    assert len(threads) == 5


@pytest.mark.parametrize("option", ["num_workers", "pool"])
def test_compute__takes_the_threads_that_were_set(option):
    threads = set()

    def note(block):
        threads.add(get_ident())
        return block

    with ThreadPoolExecutor(1) as pool, dask.config.set({option: pool if option == "pool" else 1}):
        xstxm.compute(rows_through(note, 32))
    assert len(threads) == 1


def test_compute__puts_all_maps_of_a_chunk_in_place_in_one_task():
    made = []
    lazy = xstxm.fit(density().chunk(y=4, x=7), REFERENCES)
    with Callback(pretask=lambda key, graph, state: made.append(key)):
        found = xstxm.compute(lazy)
    xr.testing.assert_allclose(found, xstxm.fit(density(), REFERENCES), atol=1e-6)
    assert len(made) < 4 * 24  # chunks, each read, fitted and put in place, beside a few tasks of the whole


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
@pytest.mark.usefixtures("forked")
def test_clusters__are_the_same_from_other_processes():
    distributed = pytest.importorskip("distributed")
    wanted = xstxm.cluster(density(), 2, n_components=2)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        found = xstxm.compute(xstxm.cluster(density().chunk(y=8), 2, n_components=2))
    np.testing.assert_array_equal(found["labels"], wanted["labels"])


@pytest.mark.slow
def test_compute__in_threads_leaves_a_client_alone():
    distributed = pytest.importorskip("distributed")
    ran = []
    lazy = rows_through(lambda block: (ran.append(1), block)[-1], 4)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        found = lazy.stxm.compute(scheduler="threads")
        assert len(ran) == 4
        assert not client.cluster.scheduler.tasks
    np.testing.assert_array_equal(found, 1)


@pytest.mark.slow
def test_compute__joins_what_comes_from_workers_in_no_worker():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "processes": False}
    lazy = density().chunk(y=8)
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        found = xstxm.compute(lazy)
        (worker,) = cluster.workers.values()
        told = [str(event) for event in worker.state.log]
    xr.testing.assert_identical(found, density())
    assert any("memory" in event for event in told)
    assert not any("finalize" in event for event in told)


def shifted_and_mapped(stack: xr.Dataset) -> xr.Dataset:
    shift = xr.DataArray(
        np.linspace(-0.07, 0.07, stack.sizes["energy"]), {"energy": stack["energy"]}, attrs={"units": "um"}
    )
    moved = xstxm.apply_shifts(xstxm.despike(stack), xr.Dataset({"shift_y": shift, "shift_x": shift}))
    return xstxm.fit(xstxm.optical_density(moved), REFERENCES)


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
@pytest.mark.usefixtures("forked")
def test_chain__larger_than_the_memory_of_a_worker_goes_to_its_disk_and_kills_none():
    distributed = pytest.importorskip("distributed")
    stack = xstxm.testing.simulate_stack(shape=(64, 72), seed=0).drop_vars(["true_quality"], errors="ignore")
    wanted = shifted_and_mapped(stack)
    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1 GB", "dashboard_address": None}
    with (
        dask.config.set({"distributed.worker.memory.target": 0.00125}),  # 1.25 MB, where a chunk of counts has 0.5 MB
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
    ):
        before = client.run(os.getpid)
        with xstxm.set_options(rechunk_limit=1.0):  # bytes: a large stack
            found = shifted_and_mapped(stack.chunk(y=32, x=32)).compute()
        assert client.run(os.getpid) == before
        spilled = client.run(lambda dask_worker: dask_worker.data.cumulative_metrics.get(("disk-write", "count"), 0))
    assert sum(spilled.values()) > 0
    xr.testing.assert_equal(found, wanted)


def test_compute__tells_what_it_does_not_take():
    with pytest.raises(OptionError, match=r"^lazy='DataTree': give a DataArray or a Dataset; of a tree"):
        xstxm.compute(xr.DataTree(density()))
    with pytest.raises(ChoiceError, match=r"unknown scheduler 'thread': .*did you mean 'threads'"):
        xstxm.compute(density().chunk(), scheduler="thread")
    for scheduler in ("sync", "threading", dask.get):
        assert not xstxm.compute(density().chunk(), scheduler=scheduler).stxm.is_lazy


def test_compute__says_that_there_is_no_client(monkeypatch):
    def none():
        raise ValueError("No clients found")

    monkeypatch.setattr("distributed.default_client", none)
    with pytest.raises(OptionError, match=r"there is no client: make one first, xstxm\.connect"):
        xstxm.compute(density().chunk(), scheduler="distributed")
