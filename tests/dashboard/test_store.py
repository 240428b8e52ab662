"""The store opens what lies below its root, once for all, and keeps what fits."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from stxm_explorer import plan
from stxm_explorer import store as rooms
from stxm_explorer.access import OutsideRootError
from stxm_explorer.calls import Output, call, script
from stxm_explorer.jobs import Job, Stopped
from stxm_explorer.state import ExplorerState, Region
from stxm_explorer.store import Store

import xstxm
from xstxm.errors import MetadataWarning, SchemaError


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
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        found = Store(filled, client=client).run(plan.phases(state, state.fields[0]))
    xr.testing.assert_allclose(found, whole, rtol=1e-5)


def test_key__what_a_field_is_called_makes_no_result_anew(filled, state):
    store, field = Store(filled), state.fields[0]
    found = store.run(plan.density(field))
    state.rename(field, "particle")
    assert store.ready(plan.density(field)) is found
    field.despike = True
    assert store.ready(plan.density(field)) is None
    assert "particle_density = " in script([plan.density(field)])
