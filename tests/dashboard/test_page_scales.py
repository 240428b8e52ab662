"""Length scales: what is compared, what each tab shows and says, and nothing that no tab shows is computed."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from stxm_explorer import lengths, readings
from stxm_explorer import store as rooms
from stxm_explorer.calls import script
from stxm_explorer.outlines import outlines
from stxm_explorer.pages.scales import Scales
from stxm_explorer.session import Session
from stxm_explorer.state import LENGTH_TABS, ExplorerState
from stxm_explorer.store import Store

import xstxm

FILES = ("electrode", "field 1", "field 2")


@pytest.fixture
def page(nested) -> Scales:
    """The page of three fields whose references have a composition; the electrode does not count."""
    state = ExplorerState()
    for name in FILES:
        state.open(f"{name}.hdf5")
    state.references.files = ["references.csv"]
    state.references.names = ["alpha-V2O5", "delta-LiV2O5"]
    state.references.composition = {"alpha-V2O5": 0.0, "delta-LiV2O5": 1.0}
    state.scales.left_out = ["electrode"]
    state.view.field = "field 1"
    page = Scales(Session(state, Store(nested)))
    state.listen(page.refresh)
    return page


def turn(page: Scales, tab: str) -> Scales:
    page.state.scales.tab = tab
    page.refresh()
    return page


def said(page: Scales) -> str:
    """Return what stands in place of results, or above them."""
    texts = page.workspace().select(lambda item: isinstance(getattr(item, "object", None), str) and item.visible)
    return " ".join(item.object for item in texts)


@pytest.mark.parametrize("tab", LENGTH_TABS)
def test_scales__without_a_stack_says_what_to_do(tab, nested):
    page = turn(Scales(Session(ExplorerState(), Store(nested))), tab)
    assert "Open a stack first" in said(page)
    assert not page.calls()


@pytest.mark.parametrize("tab", LENGTH_TABS)
def test_scales__every_tab_shows_its_results(tab, page):
    turn(page, tab)
    assert all(view.result is not None for view in page.views())
    assert "result" not in said(page).lower()


@pytest.mark.parametrize("tab", LENGTH_TABS)
def test_scales__says_what_to_do_once_all_stacks_are_closed(tab, page):
    turn(page, tab)
    page.state.fields = []
    assert "Open a stack first" in said(page)
    assert all(view.result is None for view in page.views())


@pytest.mark.parametrize("tab", LENGTH_TABS)
def test_scales__one_field_is_enough(tab, nested):
    state = ExplorerState()
    state.open("field 2.hdf5")
    state.references.files = ["references.csv"]
    page = turn(Scales(Session(state, Store(nested))), tab)
    assert all(view.result is not None for view in page.views())


def test_scales__computes_nothing_that_no_tab_shows(page):
    rooms._RESULTS.clear()
    turn(page, "Fields")
    store = page.session.store
    assert store.ready(lengths.tree(page.state)) is not None
    assert store.ready(lengths.heterogeneity(page.state)) is None
    assert store.ready(lengths.particles(page.state, "field 1")) is None


def test_scales__the_tab_is_a_choice_both_ways(page):
    turn(page, "Correlation")
    assert page._bar.active == LENGTH_TABS.index("Correlation")
    page._bar.active = LENGTH_TABS.index("Variance")
    assert page.state.scales.tab == "Variance"
    restored = ExplorerState()
    restored.from_query(page.state.to_query())
    assert restored.scales.tab == "Variance"
    assert restored.scales.left_out == ["electrode"]


def test_scales__shows_the_fraction_of_a_phase_where_no_composition_is_known(page):
    page.state.references.composition = {}
    turn(page, "Fields")
    assert "the fraction of alpha-V2O5 is shown" in said(page)
    first = page.views()[0].result["field 1"]["fraction"]
    page.state.scales.phase = "delta-LiV2O5"
    assert "the fraction of delta-LiV2O5 is shown" in said(page)
    other = page.views()[0].result["field 1"]["fraction"]
    np.testing.assert_allclose((first + other).dropna("y", how="all").fillna(1), 1, atol=1e-5)


def test_scales__a_phase_of_other_references_says_so(page):
    page.state.scales.quantity = "fraction"
    page.state.scales.phase = "gamma"
    turn(page, "Fields")
    assert page.views()[0].result is None
    assert "gamma" in said(page)


def test_scales__leaves_fields_out_of_statistics_and_not_of_the_maps(page):
    assert [*turn(page, "Fields").views()[0].result.children] == [*FILES]
    assert [*turn(page, "Coarse-graining").views()[0].result.node.values] == ["field 1", "field 2"]
    page.state.scales.left_out = [*FILES]
    assert "Every field is left out" in said(page)


@pytest.mark.filterwarnings("ignore::xstxm.errors.PerformanceWarning")
def test_variance__says_where_the_composition_varies_as_the_script_does(page):
    turn(page, "Variance")
    names: dict[str, object] = {}
    text = script(page.calls())
    for name in ("references.csv", *(f"{name}.hdf5" for name in FILES)):
        text = text.replace(repr(name), repr(str(page.session.store.root / name)))
    exec(text, names)
    split = names["split"]
    xr.testing.assert_identical(split.variance, page.views()[0].result.variance)
    share = 100 * float(split.variance_share.sel(scale="between particles"))
    assert f"{share:.0f} % between particles" in said(page)


def test_variance__of_one_field_says_what_is_not_determined(page):
    page.state.scales.left_out = ["electrode", "field 2"]
    assert "Not determined is what lies between fields" in said(turn(page, "Variance"))


def test_variance__tells_what_xstxm_warns_of(page):
    rooms._RESULTS.clear()
    page.state.scales.left_out = []
    turn(page, "Variance")
    assert "counts twice" in said(page)
    page.state.scales.left_out = ["electrode"]
    assert "counts twice" not in said(page)


def test_reading__most_is_sure_only_where_the_intervals_are_apart():
    split = xr.Dataset(
        {
            "variance_share": ("scale", [0.7, 0.3, np.nan]),
            "variance_lower": ("scale", [0.6, 0.2, np.nan]),
            "variance_upper": ("scale", [0.8, 0.4, np.nan]),
            "variance_stderr": ("scale", [0.1, 0.1, np.nan]),
            "standard_deviation": ("scale", [0.8, 0.5, np.nan]),
            "n_members": ("scale", [90, 9, 1]),
            "total_variance": 1.0,
        },
        {"scale": ["within particles", "between particles", "between fields"]},
    )
    assert "it varies mostly inside particles." in readings.of_split(split, "composition")
    split.variance_upper[1] = 0.65
    assert "though the interval of what lies between particles reaches as far" in readings.of_split(
        split, "composition"
    )
    split["total_variance"] = -0.1
    assert "No variance of the composition is left" in readings.of_split(split, "composition")


def test_reading__two_fields_tell_no_interval_of_what_lies_between_them():
    split = xr.Dataset(
        {
            "variance": ("scale", [0.6, 0.3, 0.1]),
            "variance_share": ("scale", [0.6, 0.3, 0.1]),
            "variance_lower": ("scale", [0.5, 0.2, 0.0]),
            "variance_upper": ("scale", [0.7, 0.4, 48.0]),
            "variance_stderr": ("scale", [0.1, 0.1, 0.1]),
            "standard_deviation": ("scale", [0.8, 0.5, 0.3]),
            "noise_variance": ("scale", [0.0, 0.0, 0.0]),
            "sampling_variance": ("scale", [0.0, 0.0, 0.0]),
            "n_members": ("scale", [90, 1, 2]),
            "total_variance": 1.0,
        },
        {"scale": ["within particles", "between particles", "between fields"]},
    )
    _, _, between, fields = readings.split_rows(split)
    assert (fields[2], fields[-1]) == ("two fields tell none", "2 fields")
    assert (between[2], between[-1]) == ("0.2 to 0.4", "1 particle")
    assert "though two fields do not tell how much lies between fields" in readings.of_split(split, "composition")
    split.n_members[2] = 3
    assert readings.split_rows(split)[3][2] == "0 to 48"
    assert "what lies between fields reaches as far" in readings.of_split(split, "composition")


def test_blocks__the_map_has_the_length_that_is_chosen(page):
    curve, image = turn(page, "Coarse-graining").views()
    page.state.scales.length = 0.5
    side = page.part.length
    assert side == pytest.approx(0.48)
    assert np.diff(image.result["x"]) == pytest.approx(side)
    variance = float(curve.result.variance.sel(node="field 1", length=side))
    assert f"{variance:.3g}" in said(page)


def test_blocks__dragging_the_line_and_the_slider_choose_the_length(page):
    turn(page, "Coarse-graining")
    page.part._curve._line.location = 0.33
    assert page.state.scales.length == 0.33
    assert page.part._slider.value == pytest.approx(0.32)
    page.state.scales.length = 0.16
    assert page.part._curve._line.location == pytest.approx(0.16)


def test_blocks__of_a_field_that_is_left_out_say_so(page):
    turn(page, "Coarse-graining")
    page.state.view.field = "electrode"
    assert "electrode is left out" in said(page)
    page.state.view.field = "field 2"
    assert "in field 2 is left" in said(page)


def test_correlation__one_length_for_all_fields_together_or_one_for_each(page):
    turn(page, "Correlation")
    assert "field 1: " in said(page)
    page.state.scales.together = True
    assert page.views()[0].result.correlation_length.ndim == 0
    assert "all fields together: " in said(page)
    page.state.scales.in_particles = False
    assert "anywhere in a field" in said(page)


def test_particles__row_and_map_choose_the_same(page):
    turn(page, "Particles")
    table, found = page.part._table.pane[0], page.views()[2].result
    table.selection = [2]
    number = int(table.value.index[2])
    assert page.state.scales.particles == [number]
    centre = found.sel(particle=number)
    other = found.sel(particle=int(table.value.index[5]))
    label = found.particle_label == int(other.particle)
    y, x = (
        float(found.particle_label[dim].where(label.any(across)).mean()) for dim, across in (("y", "x"), ("x", "y"))
    )
    page.part._tapped("point", ((x, y),))
    assert page.state.scales.particles == [int(found.particle_label.sel(x=x, y=y, method="nearest"))]
    assert [int(table.value.index[place]) for place in table.selection] == page.state.scales.particles
    page.part._tapped("point", ((float(centre.centroid_x) + 100, 100.0),))


def test_particles__a_chosen_row_comes_into_the_middle(page):
    turn(page, "Particles")
    found = page.views()[2].result
    inner = found.where(~found.touches_edge, drop=True)
    middle = abs(inner.centroid_x - found.x.mean()) + abs(inner.centroid_y - found.y.mean())
    number = int(inner.particle[int(middle.argmin("particle"))])
    page.state.scales.particles = [number]
    view, one = page.part._ranges.view, found.sel(particle=number)
    assert (view.left + view.right) / 2 == pytest.approx(float(one.centroid_x), abs=0.3)
    assert view.width < float(found.x.max() - found.x.min())
    assert view.left >= float(found.x.min()) - 0.05


def test_particles__lists_whole_ones_unless_all_are_asked_for(page):
    turn(page, "Particles")
    found, table = page.views()[2].result, page.part._table.pane[0]
    assert len(table.value) == int((~found.touches_edge).sum())
    assert "touches_edge" not in table.value
    page.state.scales.whole = False
    table = page.part._table.pane[0]
    assert len(table.value) == found.sizes["particle"]
    assert table.titles["equivalent_diameter"] == "Diameter [µm]"
    assert "cuts it" in table.header_tooltips["touches_edge"]
    assert table.value["touches_edge"].any()


def test_particles__none_listed_says_what_to_do(page):
    turn(page, "Particles")
    page.state.scales.max_neck, page.state.scales.min_area = 0.0, 2.0
    found = page.views()[2].result
    assert found.sizes["particle"]
    assert found.touches_edge.all()
    assert "No particle is listed" in said(page)
    page.state.scales.whole = False
    assert not page.part._none.visible


def test_outlines__enclose_each_particle_in_either_direction_of_y():
    image = np.zeros((5, 6), int)
    image[1:3, 1:4], image[4, 5] = 1, 7
    labels = xr.DataArray(image, coords={"y": np.arange(5.0)[::-1], "x": np.arange(6.0)}, dims=("y", "x"))
    found = outlines(labels)
    assert [*found] == [1, 7]
    xs, ys = zip(*found[1], strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == (0.5, 3.5, 1.5, 3.5)
    assert found[1][0] == found[1][-1]
    xs, ys = zip(*found[7], strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == (4.5, 5.5, -0.5, 0.5)


def test_scales__joint_clusters_are_the_phases_where_there_are_no_references(page):
    page.state.references.choose([])
    turn(page, "Fields")
    tree = page.views()[0].result
    assert [*tree["field 1"].phase.values] == [*tree["field 2"].phase.values]
    assert "the fraction of cluster 1 is shown" in said(page)


def test_lengths__names_of_fields_are_those_of_a_tree(nested):
    state = ExplorerState()
    for name in FILES[1:]:
        state.open(f"{name}.hdf5")
    for field in state.fields:
        field.label = "a/b"
    assert [*lengths.named(state)] == ["a-b", "a-b 2"]
    assert isinstance(Store(nested).run(lengths.phases(state)["a-b 2"]), xr.Dataset)


def test_store__items_of_one_result_are_told_apart(nested):
    state = ExplorerState()
    state.open("field 1.hdf5")
    stack = lengths.phases(state)["field 1"]
    store = Store(nested)
    assert store.run(stack["confidence"]).name == "confidence"
    assert store.run(stack["total_amount"]).name == "total_amount"
    assert isinstance(store.run(stack), xr.Dataset)


def test_lengths__factors_are_whole_pixels():
    phases = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    size = xstxm.units.to_magnitude(phases.stxm.pixel_size["x"], "um", "pixel size")
    assert lengths.factors(phases, 3.2 * size) == {"y": 3, "x": 3}
    assert lengths.factors(phases, 0.01 * size) == {"y": 1, "x": 1}


def test_particles__numbers_of_one_field_are_not_kept_for_another(page):
    page.state.scales.particles = [2]
    turn(page, "Particles")
    assert page.state.scales.particles == [2]
    page.state.view.field = "field 2"
    assert page.state.scales.particles == []
