"""Work in the background: the newest wins, it stops, it says how far it is, and equal work is done once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from stxm_explorer.cache import Cache, Made, memory
from stxm_explorer.clouds import cloud
from stxm_explorer.jobs import Job, Jobs, Stopped


class Document:
    """A page whose ticks are run by hand."""

    def __init__(self) -> None:
        self.session_context, self.ticks, self.later = object(), [], []

    def add_next_tick_callback(self, action) -> None:
        self.ticks.append(action)

    def add_timeout_callback(self, action, milliseconds) -> None:
        self.later.append(action)

    def run(self, until, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end
            while self.ticks:
                self.ticks.pop(0)()
            time.sleep(0.01)


@pytest.fixture
def page() -> tuple[Document, Jobs]:
    document = Document()
    return document, Jobs(document=document)


def test_jobs__without_a_page_work_is_done_at_once():
    found = []
    Jobs().start("a", "A", lambda job: 3, found.append, found.append)
    assert found == [3]


def test_jobs__result_arrives_on_the_pages_thread(page):
    document, jobs = page
    threads = []
    jobs.start("a", "A", lambda job: threading.get_ident(), threads.append, threads.append)
    document.run(lambda: threads)
    assert threads[0] != threading.get_ident()
    assert not jobs.running


def test_jobs__what_is_done_soon_is_not_told():
    document, told, found = Document(), [], []
    jobs = Jobs(lambda: told.append([*jobs.running]), document)
    jobs.start("a", "A", lambda job: 3, found.append, found.append)
    document.run(lambda: found)
    document.later.pop()()
    assert told == [[], []]


def test_jobs__what_takes_long_is_told():
    document, told, found, go = Document(), [], [], threading.Event()
    jobs = Jobs(lambda: told.append([*jobs.running]), document)
    jobs.start("a", "A", lambda job: go.wait(5), found.append, found.append)
    document.later.pop()()
    assert told == [["a"]]
    go.set()
    document.run(lambda: found)
    assert told == [["a"], []]


def test_jobs__a_newer_one_of_its_kind_stops_the_older(page):
    document, jobs = page
    found, go = [], threading.Event()

    def slow(job):
        go.wait(5)
        job.step()
        return "old"

    jobs.start("a", "A", slow, found.append, found.append)
    jobs.start("a", "A", lambda job: "new", found.append, found.append)
    go.set()
    document.run(lambda: found)
    time.sleep(0.2)
    document.run(lambda: True)
    assert found == ["new"]


def test_jobs__cancel_stops_a_computation_and_tells_who_started_it(page):
    document, jobs = page
    found, done = [], []
    blocks = da.zeros(400, chunks=1).map_blocks(lambda block: (time.sleep(0.02), done.append(1), block)[-1])
    jobs.start("a", "A", lambda job: blocks.compute(scheduler="threads"), found.append, found.append)
    document.run(lambda: len(done) > 4)
    jobs.cancel()
    assert [type(error) for error in found] == [Stopped]
    assert not jobs.running
    time.sleep(0.5)
    count = len(done)
    time.sleep(0.3)
    assert len(done) == count < 400


def test_jobs__progress_grows_to_one(page):
    document, _ = page
    shares, found = [], []
    jobs = Jobs(lambda: shares.extend(job.share for job in jobs.running.values() if job.share is not None), document)
    blocks = da.zeros(60, chunks=1).map_blocks(lambda block: (time.sleep(0.02), block)[-1])
    jobs.start("a", "A", lambda job: blocks.compute(scheduler="threads"), found.append, found.append)
    document.run(lambda: found)
    assert shares == sorted(shares)
    assert 0 < max(shares) <= 1
    assert len(shares) > 2


def test_jobs__two_at_once_do_not_mix_their_progress(page):
    document, jobs = page
    found = []

    def count(job):
        da.zeros(20, chunks=1).map_blocks(lambda block: (time.sleep(0.01), block)[-1]).compute(scheduler="threads")
        return job.kind

    for kind in "ab":
        jobs.start(kind, kind, count, found.append, found.append)
    jobs.stop("a")
    document.run(lambda: "b" in found)
    assert found == ["b"]


def test_jobs__an_error_reaches_who_started_it(page):
    document, jobs = page
    found = []
    jobs.start("a", "A", lambda job: 1 / 0, found.append, found.append)
    document.run(lambda: found)
    assert isinstance(found[0], ZeroDivisionError)


def test_jobs__a_page_that_was_closed_is_left_alone(page):
    document, jobs = page
    document.session_context = None
    found = []
    jobs.start("a", "A", lambda job: 3, found.append, found.append)
    time.sleep(0.2)
    assert not found
    assert not document.ticks


def test_cache__equal_work_is_done_once():
    cache, calls = Cache(10**9), []

    def make():
        calls.append(1)
        time.sleep(0.1)
        return Made(xr.DataArray(np.zeros(3)))

    with ThreadPoolExecutor(4) as pool:
        results = [*pool.map(lambda _: cache.once("a", make, Job()), range(4))]
    assert len(calls) == 1
    assert all(result is results[0] for result in results)


def test_cache__who_waits_for_a_stopped_one_makes_it():
    cache, started = Cache(10**9), threading.Event()
    first = Job()

    def slow():
        started.set()
        while True:
            first.step()
            time.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(cache.once, "a", slow, first)
        started.wait(5)
        waiting = pool.submit(cache.once, "a", lambda: Made("made"), Job())
        first.stop()
        assert waiting.result(5).result == "made"
        with pytest.raises(Stopped):
            stopped.result(5)


def test_cache__who_waits_can_be_stopped_alone():
    cache, go, started = Cache(10**9), threading.Event(), threading.Event()
    second = Job()

    def slow():
        started.set()
        go.wait(5)
        return Made("made")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.once, "a", slow, Job())
        started.wait(5)
        waiting = pool.submit(cache.once, "a", slow, second)
        second.stop()
        with pytest.raises(Stopped):
            waiting.result(5)
        go.set()
        assert first.result(5).result == "made"


def test_cache__an_error_is_not_kept():
    cache = Cache(10**9)
    with pytest.raises(ZeroDivisionError):
        cache.once("a", lambda: 1 / 0, Job())
    assert cache.once("a", lambda: Made(3), Job()).result == 3


def test_cache__forgets_the_least_used():
    cache = Cache(2500)
    for name in "abc":
        cache.once(name, lambda: Made(xr.DataArray(np.zeros(125))), Job())
        cache.get("a")
    assert cache.get("a") is not None
    assert cache.get("b") is None
    assert cache.get("c") is not None


def test_cache__keeps_so_many_results_however_small():
    cache = Cache(10**9, most=2)
    for name in "abc":
        cache.once(name, lambda: Made("text"), Job())
    assert [cache.get(name) is None for name in "abc"] == [True, False, False]


def test_memory__counts_arrays_not_promises():
    array = xr.DataArray(np.zeros((4, 4)), name="a", coords={"x": ("dim_0", np.zeros(4))})
    assert memory(array.to_dataset()) == 16 * 8 + 4 * 8
    assert memory(array.chunk().to_dataset()) == 0
    assert memory(xr.DataTree.from_dict({"a": array.to_dataset(), "b": array.to_dataset()})) == 2 * 20 * 8
    assert memory(np.zeros(4)) == memory({"a": np.zeros(4)}) == 4 * 8
    assert memory(cloud(array.rename(dim_0="y", dim_1="x").expand_dims(component=2), {})) > 4 * 16 * 8
    assert memory(pd.DataFrame({"a": np.zeros(4)})) >= 4 * 8
    assert memory("text") == 0
