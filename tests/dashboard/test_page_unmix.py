"""Unmix: what each tab shows, asks for and links, and nothing that no tab shows is computed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from stxm_explorer import lengths, plan
from stxm_explorer import store as rooms
from stxm_explorer.calls import Call, script
from stxm_explorer.clouds import cloud
from stxm_explorer.figures import CloudFigure
from stxm_explorer.pages.clusters import classes
from stxm_explorer.pages.unmix import Unmix
from stxm_explorer.session import Session
from stxm_explorer.state import UNMIX_TABS, ExplorerState, Region
from stxm_explorer.store import Store

import xstxm
from xstxm import report_progress
from xstxm.conventions import NO_SAMPLE, UNDECIDED

BOX = Region("box", ((0.3, 0.3), (0.9, 0.9)), "left")


@pytest.fixture
def page(filled) -> Unmix:
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.unmix.n_clusters = 3
    state.unmix.compare = False
    page = Unmix(Session(state, Store(filled)))
    state.listen(page.refresh)
    page.workspace()
    return page


def turn(page: Unmix, tab: str) -> Unmix:
    page.state.unmix.tab = tab
    page.refresh()
    return page


def said(shown) -> str:
    found = (shown.__panel__() if hasattr(shown, "__panel__") else shown).select(lambda item: hasattr(item, "object"))
    return " ".join(str(item.object) for item in found)


def run(text: str) -> dict:
    """Run a script as a user would, warnings aside."""
    made: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.StxmWarning)
        exec(text, made)
    return made


def names_of(part) -> list[str]:
    return [slot._line.name for slot in part._curves._slots if slot._line.visible]


@pytest.mark.parametrize("tab", UNMIX_TABS)
def test_unmix__without_a_stack_every_tab_says_what_to_do(page, tab):
    page.state.fields = []
    shown = page.part.views() if turn(page, tab) else []
    assert any("page Data lists the files" in said(view) for view in shown)
    assert not page.calls()


def test_components__as_many_as_rise_above_the_noise(page):
    part = turn(page, "Components").part
    found = part._parts.result
    assert found.sizes["component"] == int(found["suggested_components"])
    assert part._number.options == [*range(1, found.sizes["component"] + 1)]
    assert names_of(part) == [f"component {k}" for k in part._number.options]
    assert {call.function for call in page.calls()} == {"xstxm.pca"}
    assert "cluster(" not in script(page.calls())


def test_components__the_chosen_one_is_drawn_about_zero(page):
    part = turn(page, "Components").part
    page.state.unmix.param.update(n_components=3, component=2)
    title, mapper = part._map._title[0].object, part._map._mapper
    share = 100 * float(part._parts.result["explained_variance_ratio"].sel(component=2))
    assert f">Component 2: {share:.3g} %<" in title
    assert mapper.low == -mapper.high
    page.state.unmix.n_components = 1
    assert ">Component 1:" in part._map._title[0].object


def test_components__all_maps_are_seen_together_and_a_tap_enlarges_one(page):
    from bokeh.events import Tap

    part = turn(page, "Components").part
    page.state.unmix.param.update(n_components=4)
    images = part._strip._images.data
    assert len(images["image"]) == 4
    assert images["image"][0].dtype == np.uint32
    assert part._strip._words.data["text"][0].startswith("1: ")
    high, wide = images["dh"][0], images["dw"][0]
    assert high / wide == pytest.approx(48 / 64, rel=0.02)
    figure = part._strip.figure
    across = figure.width / (figure.x_range.end - figure.x_range.start)
    assert across == pytest.approx(figure.height / (figure.y_range.end - figure.y_range.start))
    figure._trigger_event(Tap(model=figure, x=images["x"][2] + 5, y=5))
    assert page.state.unmix.component == 3
    assert ">Component 3:" in part._map._title[0].object
    assert part._strip._frame.data["left"] == [images["x"][2]]
    assert part._strip._images.data is images


def test_components__stop_ends_a_factorisation_soon(page):
    from stxm_explorer.jobs import Job, Stopped

    page.state.unmix.param.update(method="nmf", n_components=3)
    call, store = plan.resolved(page.state, page.state.field), page.session.store
    rooms._RESULTS.clear()
    store.run(plan.density(page.state.field))
    shares: list[float] = []

    class Impatient(Job):
        def step(self, share=None):
            if share is not None and share > 0:
                shares.append(share)
                self.stop()
            super().step(share)

    job = Impatient("nmf")
    with report_progress(job.step), pytest.raises(Stopped):
        store.run(call, job)
    assert len(shares) == 1
    assert store.ready(call) is None
    assert store.run(call).sizes["component"] == 3


def test_components__more_than_can_be_told_apart_are_drawn_alone(page):
    part = turn(page, "Components").part
    page.state.unmix.param.update(n_components=9, component=9)
    assert names_of(part) == ["component 9"]


@pytest.mark.parametrize("method", ["nmf", "mcr"])
def test_components__resolved_ones_are_as_many_as_the_eigenvalues_say(page, method):
    page.state.unmix.param.update(method=method, n_components=2)
    part = turn(page, "Components").part
    found = part._parts.result
    assert found["component_amount"].sizes["component"] == 2
    assert "Angle to another start" in said(part._shares)
    assert part._map._mapper.low >= 0
    assert f"xstxm.{method}(lixv2o5_density, 2, seed=0)" in script(page.calls())


def test_clusters__map_and_spectra_of_as_many_as_asked(page):
    part = turn(page, "Clusters").part
    found = part._groups.result
    assert found.sizes["cluster"] == part._slider.value == 3
    assert names_of(part) == ["cluster 1", "cluster 2", "cluster 3"]
    assert f"{int(found['n_pixels'][0])}" in said(part._sizes)
    assert part._by_itself.value is False
    assert [call.function for call in page.calls()] == ["xstxm.cluster"]


def test_clusters__of_the_number_that_the_data_prefer(page):
    part = turn(page, "Clusters").part
    part._by_itself.value = True
    assert page.state.unmix.n_clusters == 0
    number = part._groups.result.sizes["cluster"]
    assert part._slider.value == number
    assert 'choose="silhouette"' in script(page.calls()).replace("'", '"')
    part._by_itself.value = False
    assert page.state.unmix.n_clusters == number


def test_clusters__each_number_has_the_scores_of_its_clusters(page):
    page.state.unmix.compare = True
    part = turn(page, "Clusters").part
    scores, found = part._scores.result, part._groups.result
    assert scores["number"].values.tolist() == [2, 3, 4, 5, 6]
    mean = np.average(found["silhouette"], weights=found["n_pixels"])
    assert float(scores["silhouette"].sel(number=3)) == pytest.approx(mean)
    assert float(scores["stability"].sel(number=3)) == pytest.approx(float(found["stability"]))
    assert part._worth._cursor.location == 3
    part._choose(3.7)
    assert page.state.unmix.n_clusters == part._groups.result.sizes["cluster"] == 4


def test_clusters__the_chosen_one_becomes_a_reference(page, monkeypatch):
    told: list[str] = []
    for module in ("internal", "clusters"):
        monkeypatch.setattr(f"stxm_explorer.pages.{module}.notify", lambda kind, text: told.append(text))
    part = turn(page, "Clusters").part
    assert part._which.options == [1, 2, 3]
    part._which.value = 2
    part._refer()
    (made,) = page.state.references.internal
    assert (made.label, made.said) == ("cluster 2", "cluster 2 of lixv2o5")
    assert "cluster 2 is a reference now" in told[-1]
    page.state.fields = []
    part._refer()
    assert "there are no clusters yet" in told[-1]
    assert page.state.references.internal == [made]


def test_clusters__hdbscan_is_asked_for_no_number(page):
    page.state.unmix.param.update(grouping="hdbscan", compare=True)
    call = plan.clusters(page.state, page.state.field)
    assert len(call.arguments) == 1
    assert "choose" not in call.options
    with pytest.raises(plan.Missing, match="finds the number of clusters itself"):
        plan.cluster_scores(page.state, page.state.field, [2, 3])


def test_clusters__a_number_that_cannot_be_leaves_the_page_alive(page, monkeypatch):
    texts: list[str] = []
    monkeypatch.setattr("stxm_explorer.session.notify", lambda kind, text: texts.append(text))
    page.state.fit.min_amount = 1e6
    part = turn(page, "Clusters").part
    assert len(texts) == 1
    assert part._groups.result is None
    page.state.fit.min_amount = 0.0
    assert part._groups.result.sizes["cluster"] == 3


def test_clusters__are_phases_where_asked_and_where_there_is_no_reference(page):
    state, field = page.state, page.state.field
    by_clusters = plan.phases(state, field)
    assert by_clusters.options["clusters"].function == "xstxm.cluster"
    state.references.files = ["references.csv"]
    assert "clusters" not in plan.phases(state, field).options
    turn(page, "Clusters").part.use()
    assert (state.fit.source, state.view.page) == ("clusters", "Phases")
    phases = page.session.store.run(plan.phases(state, field))
    found = page.session.store.run(plan.clusters(state, field))
    assert phases["phase"].values.tolist() == ["cluster 1", "cluster 2", "cluster 3"]
    assert bool(
        ((phases["phase_fraction"] == 1).argmax("phase") + 1 == found["labels"]).where(found["labels"] > 0, True).all()
    )
    assert lengths.quantity(state) == "fraction"


def test_classes__no_cluster_and_no_sample_are_two_things():
    labels = xr.DataArray([-1, 0, 1, 3], dims="x")
    assert classes(labels).values.tolist() == [NO_SAMPLE, UNDECIDED, 0, 2]


def test_scatter__the_lasso_holds_the_same_pixels_on_the_map_and_in_the_spectrum(page):
    part = turn(page, "Scatter").part
    images = part._components.result["eigenimages"]
    first, second = (np.asarray(images.sel(component=k)) for k in (1, 2))
    low, high = float(np.quantile(first, 0.8)), float(first.max()) + 1
    assert "Draw a lasso" in said(part._spectrum)
    part._lassoed([(low, -99.0), (high, -99.0), (high, 99.0), (low, 99.0)])
    expected = first > page.state.unmix.lasso[0][0]
    np.testing.assert_array_equal(part._pixels.result, expected)
    assert f">{expected.sum()} pixels in the lasso<" in part._map._title[0].object
    density = page.session.store.run(plan.density(page.state.field))["optical_density"]
    mean = density.where(xr.DataArray(expected, dims=("y", "x"))).mean(["y", "x"])
    np.testing.assert_allclose(part._spectrum.result["spectrum"], mean, rtol=1e-5)
    assert np.isfinite(second).all()
    part._axes["up"].value = 3
    assert page.state.unmix.lasso == []
    assert part._spectrum.result is None


def test_scatter__the_script_makes_what_the_lasso_shows(page, filled, monkeypatch):
    part = turn(page, "Scatter").part
    part._lassoed([(2.0, -9.0), (9.0, -9.0), (9.0, 9.0), (2.0, 9.0)])
    monkeypatch.chdir(filled)
    made = run(script(page.calls()))
    np.testing.assert_array_equal(made["lasso"], part._pixels.result)
    xr.testing.assert_allclose(made["lasso_spectrum"]["spectrum"], part._spectrum.result["spectrum"])


def test_scatter__pixel_and_regions_are_marked(page):
    part = turn(page, "Scatter").part
    page.state.add_region(BOX)
    shown: list = part._points._rings.data["x"]
    image = part._components.result["eigenimages"].sel(component=1)
    inside = image.sel(x=slice(0.3, 0.9), y=slice(0.3, 0.9))
    np.testing.assert_allclose(np.sort(shown), np.sort(np.asarray(inside).ravel()), rtol=1e-6)
    result = part._cloud.result
    part._tapped((float(result.across[7]), float(result.up[7])))
    assert page.state.view.cursor == (float(result.x[7]), float(result.y[7]))
    assert part._points._cross.data["x"] == pytest.approx([float(result.across[7])])


def test_scatter__a_component_that_there_is_not(page):
    page.state.unmix.n_components = 2
    page.state.unmix.up = 5
    part = turn(page, "Scatter").part
    assert "Ask for 5 components or more" in said(part._cloud)


def test_cloud__few_points_of_many_pixels_and_all_of_a_region():
    images = xr.DataArray(
        np.random.default_rng(1).normal(size=(2, 200, 100)),
        dims=("component", "y", "x"),
        coords={
            "component": [1, 2],
            "y": ("y", np.arange(200.0), {"units": "um"}),
            "x": ("x", np.arange(100.0), {"units": "um"}),
        },
    )
    images[0, 0, 0] = np.nan
    found = cloud(images, {"box": {"x": (0.0, 4.0), "y": (0.0, 4.0)}, "far": {"x": (900.0, 990.0)}})
    assert found.n_pixels == 19_999
    assert 5000 <= found.across.size <= 5024
    assert [*found.regions] == ["box"]
    assert found.regions["box"].sum() == 24
    np.testing.assert_array_equal(found.across, images[0].sel(x=xr.DataArray(found.x), y=xr.DataArray(found.y)))


@pytest.mark.parametrize(
    ("geometry", "vertices"),
    [
        pytest.param({"type": "rect", "x0": 2, "x1": 1, "y0": 0, "y1": 3}, [(1, 0), (2, 0), (2, 3), (1, 3)], id="box"),
        pytest.param({"type": "poly", "x": [0, 1, 1], "y": [0, 0, 1]}, [(0, 0), (1, 0), (1, 1)], id="lasso"),
        pytest.param({"type": "poly", "x": [0, 1], "y": [0, 0]}, None, id="line"),
        pytest.param({"type": "rect", "x0": 1, "x1": 1, "y0": 0, "y1": 3}, None, id="box without area"),
    ],
)
def test_cloud_figure__what_is_drawn_on_it(geometry, vertices):
    from bokeh.events import SelectionGeometry

    figure, got = CloudFigure(), []
    figure.on_lasso(got.append)
    figure.figure._trigger_event(SelectionGeometry(model=figure.figure, geometry=geometry, final=True))
    assert got == ([] if vertices is None else [vertices])


def test_unmix__what_no_tab_shows_is_not_computed(page, monkeypatch):
    ran: list[str] = []
    original = Store._call

    def counted(self, call: Call, job, folder):
        ran.append(call.function)
        return original(self, call, job, folder)

    rooms._RESULTS.clear()
    monkeypatch.setattr(Store, "_call", counted)
    turn(page, "Components")
    assert "xstxm.cluster" not in ran
    assert "xstxm.nmf" not in ran


def test_unmix__choices_survive_a_link(page):
    page.state.unmix.param.update(tab="Scatter", method="mcr", n_clusters=4, lasso=[(0.0, 1.0), (1.0, 1.0), (1.0, 0.0)])
    word, other = page.state.to_query(), ExplorerState()
    other.from_query(word)
    assert other.unmix.table() == page.state.unmix.table()
    assert other.unmix.lasso == page.state.unmix.lasso


def test_unmix__script_runs_outside_the_explorer(page, filled, monkeypatch):
    page.state.unmix.compare = True
    turn(page, "Clusters")
    monkeypatch.chdir(filled)
    made = run(script(page.calls()))
    assert made["lixv2o5_clusters"].sizes["cluster"] == 3
    xr.testing.assert_allclose(made["lixv2o5_scores"]["silhouette"], page.part._scores.result["silhouette"])
    assert xstxm.testing.assert_conforms(made["lixv2o5_clusters"], "cluster") is None
