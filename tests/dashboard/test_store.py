"""The store opens what lies below its root, once for all, and keeps what fits."""

from __future__ import annotations

import gc
import shutil
import socket
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from stxm_explorer import cluster as clusters
from stxm_explorer import plan
from stxm_explorer import store as rooms
from stxm_explorer.access import OutsideRootError, stamp
from stxm_explorer.calls import Call, Output, Upload, call, script
from stxm_explorer.cluster import Cluster
from stxm_explorer.jobs import Job, Stopped
from stxm_explorer.session import Session
from stxm_explorer.state import ExplorerState, Region
from stxm_explorer.store import Store

import xstxm
from xstxm.errors import MetadataWarning, OptionError, SchemaError


@pytest.fixture
def state() -> ExplorerState:
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.references.files = ["references.csv"]
    return state


@pytest.fixture(autouse=True)
def forget():
    rooms._RESULTS.clear()
    yield
    rooms._RESULTS.clear()


def test_run__is_what_xstxm_returns(filled, state):
    stack = xstxm.open_stack(filled / "lixv2o5.hdf5")
    references = xstxm.read_references(filled / "references.csv")
    density = xstxm.optical_density(stack, xstxm.estimate_i0(stack, fraction=0.1))
    expected = xstxm.phase_map(density, references).compute()
    xr.testing.assert_equal(Store(filled).run(plan.phases(state, state.fields[0])), expected)


def test_run__in_parts_gives_the_same(filled, state, monkeypatch):
    whole = Store(filled).run(plan.phases(state, state.fields[0]))
    rooms._RESULTS.clear()
    monkeypatch.setattr(rooms, "_in_parts", lambda stack: stack.chunk(y=7) if "y" in stack.dims else stack)
    parts = Store(filled).run(plan.phases(state, state.fields[0]))
    assert whole is not parts
    xr.testing.assert_allclose(parts, whole, rtol=1e-5)
    np.testing.assert_array_equal(parts["phase_label"], whole["phase_label"])


def test_in_parts__stacks_in_memory_only():
    stack = xr.DataArray(np.zeros((50, 400, 400), "float32"), dims=("energy", "y", "x"))
    assert rooms._in_parts(stack).chunks[1] == (25,) * 16
    assert rooms._in_parts(stack[:2]).chunks is None
    assert rooms._in_parts(stack[:, 0]).chunks is None
    lazy = stack.chunk(y=200)
    assert rooms._in_parts(lazy) is lazy


def test_run__reads_a_file_again_only_when_it_changed(filled, state, monkeypatch):
    opened, original = [], xstxm.open_stack
    monkeypatch.setattr(xstxm, "open_stack", lambda *a, **k: opened.append(a) or original(*a, **k))
    wanted = plan.raw(state.fields[0])
    first = Store(filled).run(wanted)
    assert Store(filled).run(plan.raw(state.fields[0])) is first
    assert Store(filled).ready(wanted) is first
    assert len(opened) == 1
    (filled / "lixv2o5.hdf5").touch()
    assert Store(filled).ready(wanted) is None
    Store(filled).run(wanted)
    assert len(opened) == 2


def test_key__looks_for_changes_of_files_once_in_a_while(filled, state, monkeypatch):
    looked, clock = [], SimpleNamespace(now=100.0)
    monkeypatch.setattr(rooms, "stamp", lambda path: looked.append(path) or stamp(path))
    monkeypatch.setattr(rooms.time, "monotonic", lambda: clock.now)
    store, wanted = Store(filled), plan.phases(state, state.fields[0])
    first = store.key(wanted)
    assert store.key(plan.raw(state.fields[0])) != first == store.key(wanted)
    assert len(looked) == 2  # stack and references
    (filled / "lixv2o5.hdf5").touch()
    assert store.key(wanted) == first
    clock.now += rooms.FRESH
    assert store.key(wanted) != first
    assert len(looked) == 4


def test_key__sees_at_once_what_is_sent_anew(filled, state):
    store, wanted = Store(filled), Call("xstxm.read_references", (Upload("a.csv"),), name="references")
    store.uploads.read("a.csv", b"energy,a\n500,0.1\n520,1.0\n")
    assert list(store.run(wanted)["reference"].values) == ["a"]
    store.uploads.read("a.csv", b"energy,b\n500,0.1\n520,1.0\n")
    assert list(store.run(wanted)["reference"].values) == ["b"]
    store.close()


def test_run__what_does_not_fit_stays_lazy(filled, state, monkeypatch):
    monkeypatch.setattr(rooms, "IN_MEMORY", 200_000)
    store, density = Store(filled), plan.density(state.fields[0])
    assert store.run(density)["optical_density"].chunks is not None
    spectrum = store.run(plan.spectrum(state.fields[0], Region("point", ((0.5, 0.5),))))
    assert spectrum["spectrum"].chunks is None


def test_run__a_file_that_vanished_or_lies_outside(filled, state):
    for name in ("gone.hdf5", "../lixv2o5.hdf5"):
        state.fields[0].file = name
        with pytest.raises(OutsideRootError):
            Store(filled).run(plan.raw(state.fields[0]))


def test_run__a_scan_without_images_is_refused(filled, state, tmp_path):
    point = xstxm.testing.simulate_stack(shape=(8, 9))[["intensity"]].isel(y=0, x=0)
    with pytest.warns(MetadataWarning):
        xstxm.write_nxstxm(point, tmp_path / "point.hdf5")
    state.fields[0].file = "point.hdf5"
    with pytest.raises(SchemaError, match="the explorer shows images"):
        Store(tmp_path).run(plan.raw(state.fields[0]))


def test_run__stops_between_steps(filled, state):
    job = Job()
    job.stop()
    with pytest.raises(Stopped):
        Store(filled).run(plan.phases(state, state.fields[0]), job)
    assert Store(filled).ready(plan.raw(state.fields[0])) is None


def test_write__into_a_folder(filled, state, tmp_path):
    Store(filled).write(call("write_netcdf", plan.phases(state, state.fields[0]), Output("maps.nc")), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.nc"]


def test_name_of__nothing_for_what_lies_outside(filled, tmp_path):
    store = Store(filled)
    assert store.name_of(str(filled / "lixv2o5.hdf5")) == "lixv2o5.hdf5"
    assert store.name_of(str(tmp_path)) == store.name_of(None) == ""


def test_run__on_a_cluster_gives_the_same(filled, state):
    distributed = pytest.importorskip("distributed")
    whole = Store(filled).run(plan.phases(state, state.fields[0]))
    rooms._RESULTS.clear()
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local:
        cluster = Cluster(local.scheduler_address)
        cluster.ask()
        with cluster.client:
            found = Store(filled, cluster=cluster).run(plan.phases(state, state.fields[0]))
    assert cluster.client is None  # it was closed
    xr.testing.assert_allclose(found, whole, rtol=1e-5)


_GO = threading.Event()


def _held(block):
    assert _GO.wait(60)
    return block


def until(found) -> None:
    """Wait for something that comes soon."""
    for _ in range(300):
        if found():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_cluster__work_that_is_stopped_takes_no_equal_work_of_another_with_it():
    distributed = pytest.importorskip("distributed")
    lazy = xr.DataArray(da.ones(4, chunks=1).map_blocks(_held, meta=np.empty(0)), dims="x")
    begun = [threading.Event() for _ in range(2)]
    first, second = (Job(told=event.set) for event in begun)
    _GO.clear()
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local:
        cluster = Cluster(local.scheduler_address)
        cluster.ask()
        with cluster.client, ThreadPoolExecutor(2) as pool:
            try:
                stopped, kept = (pool.submit(cluster.computed, lazy, job) for job in (first, second))
                assert all(event.wait(30) for event in begun)
                first.stop()
                with pytest.raises(Stopped):
                    stopped.result(30)
            finally:
                _GO.set()
            np.testing.assert_array_equal(kept.result(60), 1)


def test_cluster__forgets_work_that_is_stopped():
    distributed = pytest.importorskip("distributed")
    lazy = xr.DataArray(da.ones(4, chunks=1).map_blocks(_held, meta=np.empty(0)), dims="x")
    begun = threading.Event()
    job = Job(told=begun.set)
    _GO.clear()
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local:
        cluster = Cluster(local.scheduler_address)
        cluster.ask()
        with cluster.client, ThreadPoolExecutor(1) as pool:
            try:
                stopped = pool.submit(cluster.computed, lazy, job)
                assert begun.wait(30)
                until(lambda: local.scheduler.tasks)
                job.stop()
                assert isinstance(stopped.exception(30), Stopped)
                until(lambda: not local.scheduler.tasks)
            finally:
                _GO.set()


def test_key__what_a_field_is_called_makes_no_result_anew(filled, state):
    store, field = Store(filled), state.fields[0]
    found = store.run(plan.density(field))
    state.rename(field, "particle")
    assert store.ready(plan.density(field)) is found
    field.despike = True
    assert store.ready(plan.density(field)) is None
    assert "particle_density = " in script([plan.density(field)])


@pytest.fixture
def deaf(monkeypatch):
    """A scheduler that never answers, and how often it was asked."""
    asked = []

    def connected(address):
        asked.append(address)
        raise OptionError("scheduler", address, "none answers there")

    monkeypatch.setattr(clusters, "connected", connected)
    return asked


def test_cluster__that_does_not_answer_is_asked_once_until_some_time_went_by(deaf, monkeypatch):
    cluster = Cluster("tcp://127.0.0.1:9")
    for _ in range(3):
        with pytest.raises(OptionError, match="none answers there"):
            cluster.ask()
    assert len(deaf) == 1
    monkeypatch.setattr(clusters, "AGAIN", 0.0)
    with pytest.raises(OptionError):
        cluster.ask()
    assert len(deaf) == 2


def test_cluster__that_takes_a_connection_and_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("xstxm.connecting.PATIENCE", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(OptionError, match="this server does the work"),
    ):
        Cluster(f"tcp://127.0.0.1:{silent.getsockname()[1]}").ask()


def test_cluster__that_does_not_answer_holds_nobody_who_asked(deaf):
    cluster = Cluster("tcp://127.0.0.1:9")

    def ask():
        page = Job()
        with pytest.raises(OptionError):
            cluster.ask()
        return weakref.ref(page)

    asked = [ask(), ask()]
    gc.collect()
    assert [page() for page in asked] == [None, None]


def test_cluster__that_does_not_answer_leaves_the_work_to_the_server(filled, state, deaf):
    found = Store(filled, cluster=Cluster("tcp://127.0.0.1:9")).run(plan.raw(state.fields[0]))
    assert found["intensity"].chunks is None


def test_cluster__that_does_not_answer_is_told_on_every_page(filled, deaf, monkeypatch):
    told, cluster = [], Cluster("tcp://127.0.0.1:9")
    monkeypatch.setattr(Session, "report", lambda self, error: told.append(str(error)))
    for _ in range(2):
        Session(ExplorerState(), Store(filled, cluster=cluster)).ask_cluster()
    assert len(deaf) == 1
    assert len(told) == 2
    assert "none answers there" in told[0]


def test_references__whose_names_changed_are_taken_as_they_are_now(filled, names, tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "FRESH", 0)
    for name in ("lixv2o5.hdf5", "references.csv"):
        shutil.copy(filled / name, tmp_path)
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.references.choose(["references.csv"])
    state.view.page = "Phases"
    session = Session(state, Store(tmp_path))
    session.follow_references()
    assert state.references.names == names
    state.references.composition = {name: float(number) for number, name in enumerate(names)}
    table = (tmp_path / "references.csv").read_text()
    swapped = table.replace(names[0], "?").replace(names[1], names[0]).replace("?", names[1])
    (tmp_path / "references.csv").write_text(swapped)
    found = session.store.run(plan.references(state))  # two columns changed places: each keeps its composition
    assert (
        dict(zip(found["reference"].values, found["composition"].values, strict=True)) == state.references.composition
    )
    (tmp_path / "references.csv").write_text(table.replace(names[0], "other"))
    with pytest.raises(OptionError, match="none of that name"):
        session.store.run(plan.phases(state, state.field))
    session.follow_references()
    assert state.references.names == ["other", *names[1:]]
    assert "composition" not in session.store.run(plan.phases(state, state.field))
