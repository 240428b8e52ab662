"""Length scales in the browser: from the fields to one particle, whose row and outline are one choice."""

from __future__ import annotations

import pytest
from browser import assert_equal_aspect, served, visit
from stxm_explorer.state import LENGTH_TABS, ExplorerState

pytestmark = pytest.mark.ui
SHOWN = {
    "Fields": "Draw the phases",
    "Variance": "between particles and",
    "Coarse-graining": "is left: ",
    "Correlation": "Correlation length of",
    "Particles": "Diameter",
}
"""What stands on each tab once its results are there."""


@pytest.fixture(scope="module")
def address(nested, tmp_path_factory):
    """Address of an explorer with an electrode and two fields in it, at page Length scales."""
    state = ExplorerState()
    for name in ("electrode", "field 1", "field 2"):
        state.open(f"{name}.hdf5")
    state.references.choose(["references.csv"])
    state.references.names = ["alpha-V2O5", "delta-LiV2O5"]
    state.references.composition = {"alpha-V2O5": 0.0, "delta-LiV2O5": 1.0}
    state.scales.left_out = ["electrode"]
    state.view.param.update(page="Length scales", field="field 1")
    with served(nested, "", tmp_path_factory.mktemp("log") / "log") as server:
        yield f"{server}?state={state.to_query()}"


def begin(visitor) -> None:
    visitor.page.get_by_role("tab", name="Fields").wait_for(timeout=60_000)
    visitor.settle()


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)], ids=["small", "large"])
def test_ui__every_tab_of_length_scales_is_drawn(size, browser, address, shots):
    with visit(browser, address, shots, size) as visitor:
        begin(visitor)
        for tab in LENGTH_TABS:
            visitor.page.get_by_role("tab", name=tab).click()
            visitor.settle()
            visitor.page.get_by_text(SHOWN[tab]).first.wait_for(timeout=60_000)
            visitor.settle()
            visitor.shot(f"length-scales-{tab}")
        assert_equal_aspect(visitor)


def test_ui__a_tap_on_a_particle_marks_its_row(browser, address, shots):
    with visit(browser, address, shots) as visitor:
        begin(visitor)
        page = visitor.page
        page.get_by_role("tab", name="Particles").click()
        page.locator(".tabulator-row").first.wait_for(timeout=60_000)
        visitor.settle()
        page.locator(".tabulator-row").nth(2).click()
        marked = page.locator(".tabulator-row.tabulator-selected")
        marked.wait_for()
        chosen = marked.inner_text()
        visitor.settle()
        visitor.toggle_theme()
        visitor.tap(0.5, 0.5)
        visitor.settle()
        assert marked.count() == 1
        visitor.shot("length-scales-particle")
        assert marked.inner_text() == chosen  # which the click had brought into the middle


def test_ui__length_scales_of_real_data(browser, real_data, shots, tmp_path):
    state = ExplorerState()
    state.open("71214078.hdr")
    state.references.choose(["oxidized.t", "reduced.t"])
    state.view.page = "Length scales"
    root = real_data / "fe-l-edge-stack"
    with (
        served(root, "", tmp_path / "log") as server,
        visit(browser, f"{server}?state={state.to_query()}", shots, (1280, 800)) as visitor,
    ):
        begin(visitor)
        for tab in LENGTH_TABS:
            visitor.page.get_by_role("tab", name=tab).click()
            visitor.settle()
            visitor.shot(f"length-scales-real-{tab}")
        visitor.page.wait_for_selector(".bk-Figure", timeout=60_000)
        assert str(root) not in visitor.page.content()
