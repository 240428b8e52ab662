"""Lazy results come into memory chunk by chunk, on threads and from other processes."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from test_every_verb import REFERENCES, counts, density
from test_scale import Held, watched

import xstxm


def test_compute__gives_what_xarray_does():
    lazy = xstxm.phase_map(density().chunk(y=7), REFERENCES)
    xr.testing.assert_identical(xstxm.compute(lazy), lazy.compute())
    xr.testing.assert_identical(lazy["composition"].stxm.compute(), lazy["composition"].compute())


def test_compute__loads_lazy_coordinates_and_leaves_what_is_in_memory():
    stack = counts().assign_coords(depth=(("y", "x"), np.ones((24, 28))))
    xr.testing.assert_identical(xstxm.compute(stack), stack)
    found = xstxm.compute(stack.chunk(y=5))
    assert found["depth"].chunks is None
    xr.testing.assert_identical(found, stack)


def test_compute__holds_a_chunk_at_a_time():
    held = Held()
    stack = watched(density(), {"y": 4}, held)
    with dask.config.set(scheduler="synchronous"):
        found = xstxm.compute(stack)
    assert held.most <= 2
    xr.testing.assert_equal(found, density())


@pytest.mark.slow
def test_clusters__are_the_same_from_other_processes():
    distributed = pytest.importorskip("distributed")
    wanted = xstxm.cluster(density(), 2, n_components=2)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        found = xstxm.compute(xstxm.cluster(density().chunk(y=8), 2, n_components=2))
    np.testing.assert_array_equal(found["labels"], wanted["labels"])
