"""References of several tables and of pixels: what is called for them, and that the script makes the same."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from stxm_explorer import exports, plan, unmixing
from stxm_explorer.calls import Missing, script
from stxm_explorer.session import Session
from stxm_explorer.state import ExplorerState, Region
from stxm_explorer.store import Store

import xstxm
from xstxm.errors import OptionError

BOX = Region("box", ((0.3, 0.3), (0.9, 0.9)), "core")
AROUND = [(-9.0, -9.0), (9.0, -9.0), (9.0, 9.0), (-9.0, 9.0)]


@pytest.fixture(scope="module")
def shelf(filled, tmp_path_factory):
    """A root folder with the simulated stack, and several tables and a library of references."""
    root = tmp_path_factory.mktemp("shelf")
    (root / "lixv2o5.hdf5").write_bytes((filled / "lixv2o5.hdf5").read_bytes())
    known = xstxm.testing.simulate_references()
    table = known["absorption"].to_pandas().T
    table.iloc[:, :2].to_csv(root / "two.csv", index_label="energy")
    table.iloc[:, 1:3].to_csv(root / "overlap.csv", index_label="energy")
    table.iloc[:, 3:].to_csv(root / "one.csv", index_label="energy")
    (root / "more").mkdir()
    table.iloc[:, 2:4].to_csv(root / "more" / "two.csv", index_label="energy")
    unitless = known.assign(absorption=known["absorption"].assign_attrs(units="1")).isel(reference=[0, 3])
    xstxm.write_references(unitless.drop_vars(["kind", "phase"], errors="ignore"), root / "library.toml")
    return root


@pytest.fixture
def state() -> ExplorerState:
    made = ExplorerState()
    made.open("lixv2o5.hdf5")
    return made


def run(state: ExplorerState, root) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.StxmWarning)
        return Store(root).run(plan.references(state))


def by_script(call, root, monkeypatch) -> xr.Dataset:
    """Run the script of a call as a user would, and return what it makes."""
    monkeypatch.chdir(root)
    made: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.StxmWarning)
        exec(script([replace(call, name="wanted")]), made)
    return made["wanted"]


def test_tables__of_any_number_of_spectra_are_one_call_in_their_order(state, shelf, names):
    state.references.choose(["two.csv", "one.csv"])
    known = plan.references(state)
    assert "xstxm.read_references(['two.csv', 'one.csv'])" in script([known])
    assert run(state, shelf)["reference"].values.tolist() == [*names[:2], "one"]
    state.references.choose(["one.csv", "two.csv"])
    assert run(state, shelf)["reference"].values.tolist() == ["one", *names[:2]]


def test_tables__a_name_in_two_of_them_says_where_it_is_from(state, shelf, names):
    state.references.choose(["two.csv", "overlap.csv"])
    store = Store(shelf)
    known = store.run(plan.references(state))
    assert known["reference"].values.tolist() == [names[0], f"{names[1]} (two)", f"{names[1]} (overlap)", names[2]]
    assert any("is in two, overlap" in note for note in store.notes(plan.references(state)))


def test_tables__of_one_file_name_and_libraries_are_read_apart_and_joined(state, shelf, names, monkeypatch):
    state.references.choose(["two.csv", "more/two.csv", "library.toml"])
    text = script([plan.references(state)])
    assert text.count("xstxm.read_references(") == 3
    assert "xstxm.join_references(" in text
    found = run(state, shelf)
    assert len(found["reference"]) == 6
    xr.testing.assert_identical(by_script(plan.references(state), shelf, monkeypatch).drop_attrs(), found.drop_attrs())


def test_kind__is_said_of_tables_and_not_of_a_library(state):
    state.references.choose(["two.csv", "library.toml"])
    state.references.kind = "linear_absorption"
    first, library = plan.reference_spectra(state).arguments[0].values()
    assert first.options == {"kind": "linear_absorption", "units": "1/nm"}
    assert library.options == {}


def test_region__is_a_reference_under_a_name_of_its_own(state, shelf, monkeypatch):
    state.refer(region=BOX)
    state.refer(region=BOX)
    assert [one.label for one in state.references.internal] == ["core", "core 2"] == state.references.names
    known = run(state, shelf)
    stack = xstxm.optical_density(xstxm.open_stack(shelf / "lixv2o5.hdf5"))
    mean = xstxm.spectrum(stack, BOX.for_xstxm())["spectrum"]
    np.testing.assert_allclose(known["absorption"].sel(reference="core 2"), mean.sortby("energy"), rtol=1e-6)
    state.references.unused = ["core 2"]
    assert run(state, shelf)["reference"].values.tolist() == ["core"]


def test_pixels__keep_the_choices_that_they_came_from(state, shelf):
    state.unmix.n_clusters = 3
    state.refer(cluster=2)
    state.unmix.param.update(lasso=AROUND, across=1, up=2)
    state.refer()
    before = script([plan.references(state)])
    state.unmix.param.update(n_clusters=5, lasso=[], across=3, seed=7)
    state.fit.min_amount = 0.1
    assert script([plan.references(state)]) == before
    known = run(state, shelf)
    assert known["reference"].values.tolist() == ["cluster 2", "lasso"]
    state.unmix.param.update(n_clusters=3, seed=0)
    state.fit.min_amount = 0.0
    store = Store(shelf)
    found = store.run(plan.clusters(state, state.field))
    mean = found["cluster_spectra"].sel(cluster=2).sortby("energy")
    np.testing.assert_allclose(known["absorption"].sel(reference="cluster 2"), mean, rtol=1e-5)


def test_lasso__is_where_points_lie_in_its_line(state, shelf):
    state.unmix.lasso = [(2.0, -99.0), (99.0, -99.0), (99.0, 99.0), (2.0, 99.0)]
    store = Store(shelf)
    inside = store.run(unmixing.picked(state, state.field))
    images = store.run(plan.pca(state, state.field))["eigenimages"]
    xr.testing.assert_equal(inside, (images.sel(component=1) > 2.0).reset_coords(drop=True).rename(None))


def test_pixels__and_tables_are_joined_and_the_script_makes_the_same(state, shelf, names, monkeypatch):
    state.references.choose(["two.csv"])
    state.references.names = names[:2]
    state.unmix.param.update(n_clusters=3, lasso=AROUND)
    for which in ({"region": BOX}, {"cluster": 1}, {}):
        state.refer(**which)
    found = run(state, shelf)
    assert found["reference"].values.tolist() == [*names[:2], "core", "cluster 1", "lasso"]
    xr.testing.assert_allclose(by_script(plan.references(state), shelf, monkeypatch).drop_attrs(), found.drop_attrs())


def test_pixels__travel_with_the_state_and_the_recipe(state, shelf, tmp_path):
    state.unmix.param.update(n_clusters=3, lasso=AROUND)
    state.refer(region=BOX)
    state.refer(cluster=2)
    other = ExplorerState()
    other.from_query(state.to_query())
    assert other.table() == state.table()
    assert script([plan.references(other)]) == script([plan.references(state)])
    store = Store(shelf)
    phases = store.run(plan.phases(other, other.field))
    recipe = store.run(exports.recipe(other, other.field))
    path = recipe.save(tmp_path / "recipe.toml")
    again = xstxm.Recipe.load(path).apply(xstxm.open_stack(shelf / "lixv2o5.hdf5"))
    assert again["phase"].values.tolist() == phases["phase"].values.tolist() == ["core", "cluster 2"]
    np.testing.assert_allclose(again["phase_fraction"], phases["phase_fraction"], rtol=1e-5, atol=1e-6)


def test_pixels__of_a_closed_stack_say_what_to_do(state):
    state.refer(region=BOX)
    state.rename(state.field, "particle")
    assert state.references.internal[0].field == "particle"
    assert plan.references(state) is not None
    state.close(state.field)
    with pytest.raises(Missing, match="Open particle again, or forget core on page Data"):
        plan.references(state)


def test_rename__takes_along_what_was_said(state):
    first, second = state.refer(region=BOX), state.refer(region=BOX)
    chosen = state.references
    chosen.param.update(composition={"core": 0.5, "core 2": 1.0}, colors={"core": "#112233"}, unused=["core"])
    chosen.rename(first, "oxide")
    assert chosen.names == ["oxide", "core 2"]
    assert (chosen.composition, chosen.colors, chosen.unused) == (
        {"oxide": 0.5, "core 2": 1.0},
        {"oxide": "#112233"},
        ["oxide"],
    )
    chosen.rename(chosen.internal[0], second.label)
    assert chosen.names == ["core 2 2", "core 2"]
    chosen.remove(chosen.internal[0])
    assert ([one.label for one in chosen.internal], chosen.names, chosen.unused) == (["core 2"], ["core 2"], [])


def test_pixels__of_a_name_that_a_table_has_keep_their_composition(state, shelf, names):
    session, chosen = Session(state, Store(shelf)), state.references
    state.refer(region=replace(BOX, name=names[0]))
    chosen.param.update(composition={names[0]: 0.5}, colors={names[0]: "#112233"})
    chosen.choose(["two.csv"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        session.follow_references()
        session.follow_references()
    assert chosen.names == [*names[:2], f"{names[0]} 2"]
    assert chosen.composition == {f"{names[0]} 2": 0.5}
    assert chosen.colors == {f"{names[0]} 2": "#112233"}


def test_learn__compositions_of_some_only_are_on_no_map(state, shelf, names):
    state.references.choose(["library.toml"])
    brought = {names[0]: 0.0, names[3]: 1.0}
    state.references.learn([names[0], names[3]], brought)
    assert state.references.compositions == brought
    assert "assign_coords" not in script([plan.references(state)])
    state.refer(region=BOX)
    assert "composition" not in run(state, shelf).coords
    state.references.composition = {**state.references.composition, "core": 0.5}
    assert run(state, shelf)["composition"].values.tolist() == [0, 1, 0.5]
    state.references.choose(["two.csv"])
    assert state.references.composition == {"core": 0.5}


@pytest.mark.parametrize(
    "internal",
    [
        [{"label": "a"}, {"label": "a"}],
        [{"cluster": -1}],
        [{"region": {"kind": "box"}}],
        [3],
        [{"unmix": {"tab": "none"}}],
    ],
    ids=["one name twice", "a cluster that there is not", "half a region", "a number", "a tab that there is not"],
)
def test_state__refuses_what_is_no_reference(internal):
    state = ExplorerState()
    with pytest.raises(OptionError):
        state.restore({"references": {"internal": internal}})
    assert state.references.internal == []
