"""Work in the background: the newest wins, it stops, it says how far it is, and equal work is done once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pandas as pd
import panel as pn
import pytest
import xarray as xr
from stxm_explorer.cache import Cache, Made, memory
from stxm_explorer.clouds import cloud
from stxm_explorer.jobs import Job, Jobs, Places, Stopped

import xstxm


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


def computed(blocks: da.Array) -> xr.DataArray:
    return xstxm.compute(xr.DataArray(blocks, dims="x"))


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
    jobs.start("a", "A", lambda job: computed(blocks), found.append, found.append)
    document.run(lambda: len(done) > 4)
    jobs.cancel()
    assert [type(error) for error in found] == [Stopped]
    assert not jobs.running
    time.sleep(0.5)
    count = len(done)
    time.sleep(0.3)
    assert len(done) == count < 400


def test_jobs__cancel_stops_all_though_one_cannot_be_told(page):
    _, jobs = page
    told, go = [], threading.Event()
    jobs.start("a", "A", lambda job: go.wait(5), told.append, lambda error: 1 / 0)
    jobs.start("b", "B", lambda job: go.wait(5), told.append, told.append)
    running = [*jobs.running.values()]
    with pytest.raises(ZeroDivisionError):
        jobs.cancel()
    go.set()
    assert all(job.stopped for job in running)
    assert [type(error) for error in told] == [Stopped]


def test_jobs__what_came_before_the_page_was_there_arrives_though_one_of_them_fails(monkeypatch):
    loaded, found = [], []
    monkeypatch.setattr(pn.state, "onload", loaded.append)
    jobs = Jobs()
    for kind, failed in (("a", lambda error: 1 / 0), ("b", found.append)):
        jobs.start(kind, kind, lambda job: 1 / 0, found.append, failed)
    assert not found
    with pytest.raises(ZeroDivisionError):
        loaded[0]()
    assert [type(error) for error in found] == [ZeroDivisionError]
    assert not jobs.running


def test_jobs__progress_grows_to_one(page):
    document, _ = page
    shares, found = [], []
    jobs = Jobs(lambda: shares.extend(job.share for job in jobs.running.values() if job.share is not None), document)
    blocks = da.zeros(60, chunks=1).map_blocks(lambda block: (time.sleep(0.02), block)[-1])
    jobs.start("a", "A", lambda job: computed(blocks), found.append, found.append)
    document.run(lambda: found)
    assert shares == sorted(shares)
    assert 0 < max(shares) <= 1
    assert len(shares) > 2


def test_jobs__two_at_once_do_not_mix_their_progress(page):
    document, jobs = page
    found = []

    def count(job):
        computed(da.zeros(20, chunks=1).map_blocks(lambda block: (time.sleep(0.01), block)[-1]))
        return job.kind

    for kind in "ab":
        jobs.start(kind, kind, count, found.append, found.append)
    jobs.stop("a")
    document.run(lambda: "b" in found)
    assert found == ["b"]


def test_jobs__two_started_at_once_are_worked_at_together_and_both_arrive(page):
    document, jobs = page
    found, together = [], threading.Barrier(2, timeout=10)

    def work(job):
        together.wait()  # each waits for the other
        return job.kind

    for kind in "ab":
        jobs.start(kind, kind, work, found.append, found.append)
    assert [*jobs.running] == ["a", "b"]
    document.run(lambda: len(found) == 2)
    assert sorted(found) == ["a", "b"]
    assert not jobs.running


class Waits:
    """Work that goes on until it is told to end, and says that it began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ends: dict[str, threading.Event] = {}

    def start(self, places: Places, whose: str, name: str) -> Job:
        job, self.ends[name] = Job(name), threading.Event()
        places.run(whose, job, lambda: (self.begun.append(name), self.ends[name].wait(10)))
        return job

    def end(self, name: str, count: int) -> None:
        """End some work, and wait until so many have begun."""
        self.ends[name].set()
        self.wait_for(count)

    def wait_for(self, count: int) -> None:
        for _ in range(500):
            if len(self.begun) >= count:
                return
            time.sleep(0.01)
        raise AssertionError(self.begun)


@pytest.fixture
def waits():
    made = Waits()
    yield made
    for event in made.ends.values():
        event.set()


def test_places__one_page_never_takes_all_of_them(waits):
    places = Places(at_once=4, of_one=3)
    for number in range(6):
        waits.start(places, "greedy", f"greedy {number}")
    waits.wait_for(3)
    waits.start(places, "other", "other")
    waits.wait_for(4)
    assert sorted(waits.begun) == ["greedy 0", "greedy 1", "greedy 2", "other"]


def test_places__the_page_with_the_fewest_is_next(waits):
    places = Places(at_once=3, of_one=2)
    for number in range(3):
        waits.start(places, "a", f"a{number}")
        waits.start(places, "b", f"b{number}")
    waits.start(places, "c", "c")
    waits.wait_for(3)
    assert waits.begun[:2] == ["a0", "b0"]
    waits.end("a0", 4)
    assert waits.begun[3] == "c"


def test_places__what_is_stopped_while_it_waits_is_never_begun(waits):
    places = Places(at_once=1)
    waits.start(places, "a", "first")
    waits.start(places, "a", "second").stop()
    waits.start(places, "a", "third")
    waits.end("first", 2)
    assert waits.begun == ["first", "third"]


def test_places__are_given_back_by_what_fails(waits):
    places = Places(at_once=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda _: None)
        places.run("a", Job(), lambda: 1 / 0)
        waits.start(places, "a", "next")
        waits.wait_for(1)


def test_jobs__of_a_page_that_is_no_more_are_stopped_and_nobody_is_told():
    document, told, go = Document(), [], threading.Event()
    jobs = Jobs(lambda: told.append(1), document)
    for kind in "ab":
        jobs.start(kind, kind, lambda job: go.wait(10), told.append, told.append)
    count, running = len(told), [*jobs.running.values()]
    jobs.close()
    go.set()
    assert all(job.stopped for job in running)
    time.sleep(0.2)
    assert not jobs.running
    assert not document.ticks
    assert len(told) == count


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


def test_jobs__hear_of_their_graphs_when_others_computed_at_the_same_time():
    begun, go, end = threading.Event(), threading.Event(), threading.Event()

    def lazy(*, begin=None, wait=None):
        def work(block):
            if begin is not None:
                begin.set()
            assert wait is None or wait.wait(10)
            return block

        return da.zeros(3, chunks=1).map_blocks(work, meta=np.empty(0))

    def watched(array):
        job = Job()
        job.do(lambda job: computed(array))
        return job.share

    with ThreadPoolExecutor(2) as pool:  # the second begins after the first, and ends after it
        first = pool.submit(watched, lazy(begin=begun, wait=go))
        assert begun.wait(10)
        begun.clear()
        second = pool.submit(watched, lazy(begin=begun, wait=end))
        assert begun.wait(10)
        go.set()
        assert first.result(10) == 1
        end.set()
        assert second.result(10) == 1
    assert watched(lazy()) == 1


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
