"""Page Unmix in a headless Chromium: components, clusters, a lasso in the scatter."""

from __future__ import annotations

import pytest
from browser import assert_equal_aspect, visit
from stxm_explorer.state import UNMIX_TABS

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("simulated")]

CLOUD = """() => {
  const figure = [...Bokeh.documents[0]._all_models.values()].find(m => m.type == "Figure" && Bokeh.index.find_one_by_id(m.id)
    && m.toolbar.tools.some(t => t.type == "LassoSelectTool") && !m.renderers.some(r => r.glyph && r.glyph.type == "Image"))
  if (!figure) return null
  const view = Bokeh.index.find_one_by_id(figure.id)
  const canvas = view.canvas_view.el.getBoundingClientRect(), frame = view.frame.bbox
  return {x: canvas.x + frame.left, y: canvas.y + frame.top, width: frame.width, height: frame.height}
}"""
AXES = """() => [...Bokeh.documents[0]._all_models.values()]
  .filter(m => m.type == "Figure" && m.below.length && Bokeh.index.find_one_by_id(m.id))
  .map(m => { const view = Bokeh.index.find_one_by_id(m.id)
    return view.views.find_one(m.below[0]).bbox.top - view.frame.bbox.bottom })"""


def lasso(visitor, corners: list[tuple[float, float]]) -> None:
    """Draw a lasso in the scatter, as shares of its frame."""
    frame = visitor.page.evaluate(CLOUD)
    places = [(frame["x"] + frame["width"] * x, frame["y"] + frame["height"] * (1 - y)) for x, y in corners]
    visitor.page.mouse.move(*places[0])
    visitor.page.mouse.down()
    for place in places[1:]:
        visitor.page.mouse.move(*place, steps=6)
    visitor.page.mouse.up()


def test_ui__unmix(browser, simulated, shots):
    with visit(browser, simulated, shots) as visitor:
        page = visitor.page
        page.wait_for_selector(".bk-Figure", timeout=60_000)
        visitor.open("Unmix")
        page.get_by_text("lie above the noise floor").wait_for(timeout=90_000)
        visitor.settle()
        assert_equal_aspect(visitor)
        page.get_by_role("button", name="2", exact=True).click()
        visitor.settle()
        visitor.shot("unmix-components")
        page.get_by_role("tab", name="Clusters").click()
        page.get_by_text("Stability").first.wait_for(timeout=90_000)
        visitor.settle(180_000)
        visitor.toggle_theme()
        visitor.shot("unmix-clusters")
        page.get_by_role("tab", name="Scatter").click()
        page.wait_for_function(CLOUD, timeout=90_000)
        visitor.settle()
        lasso(visitor, [(0.4, 0.1), (0.95, 0.1), (0.95, 0.95), (0.4, 0.95)])
        page.locator(".legend").get_by_text("in the lasso").first.wait_for(timeout=60_000)
        visitor.settle()
        visitor.shot("unmix-scatter")
        assert_in_place(visitor)
        visitor.assert_no_scroll_bar()
        visitor.resize(1920, 1080)
        for tab in UNMIX_TABS[::-1]:
            page.get_by_role("tab", name=tab).click()
            visitor.settle()
            assert_in_place(visitor)


def assert_in_place(visitor) -> None:
    """Assert that maps have one scale, and that axes lie at their frames."""
    assert_equal_aspect(visitor)
    assert all(abs(distance) < 2 for distance in visitor.page.evaluate(AXES))


def test_ui__a_lasso_becomes_a_reference(browser, simulated, shots):
    with visit(browser, simulated, shots) as visitor:
        page = visitor.page
        page.wait_for_selector(".bk-Figure", timeout=60_000)
        visitor.open("Unmix")
        page.get_by_role("tab", name="Scatter").click()
        page.wait_for_function(CLOUD, timeout=90_000)
        visitor.settle(180_000)
        page.get_by_role("button", name="Use as reference").click()
        page.get_by_text("draw a lasso or a box around points of the scatter first").first.wait_for()
        lasso(visitor, [(0.4, 0.1), (0.95, 0.1), (0.95, 0.95), (0.4, 0.95)])
        page.locator(".legend").get_by_text("in the lasso").first.wait_for(timeout=60_000)
        page.get_by_role("button", name="Use as reference").click()
        page.get_by_text("lasso is a reference now").first.wait_for()
        visitor.open("Data")
        page.get_by_role("button", name="References", exact=True).click()
        page.get_by_text("lasso in the scatter of lixv2o5").first.wait_for()
        page.locator(".tabulator-cell", has_text="lasso").first.wait_for(timeout=60_000)
        visitor.settle(180_000)
        visitor.shot("data-own-reference")
        visitor.open("Phases")
        page.locator(".legend").get_by_text("lasso").first.wait_for(timeout=120_000)
