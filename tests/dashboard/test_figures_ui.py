"""Maps and curves in a headless Chromium: aspect, zoom, theme, picks, and that nothing stays when the page closes."""

from __future__ import annotations

import gc
import socket
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import pytest
import xarray as xr
from stxm_explorer.figures import Curve, CurveFigure, MapFigure, MapRanges

from xstxm.conventions import NO_SAMPLE, UNDECIDED

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("figures")]
THEME = {"chart_style": "standard"}
SIDE = 300
FRAMES = """() => [...Bokeh.documents[0]._all_models.values()].filter(m => m.type == "Figure").map(m => {
  const view = Bokeh.index.find_one_by_id(m.id), frame = view.frame.bbox
  const canvas = view.canvas_view.el.getBoundingClientRect()
  return {name: m.name, x: canvas.x + frame.left, y: canvas.y + frame.top, width: frame.width, height: frame.height,
    across: frame.width / (m.x_range.end - m.x_range.start), upwards: frame.height / (m.y_range.end - m.y_range.start),
    outer: canvas.width, paper: m.border_fill_color}
})"""


@dataclass
class Page:
    """What one session sees, and what it told."""

    figures: dict[str, Any] = field(default_factory=dict)
    picked: list[Any] = field(default_factory=list)
    tapped: list[float] = field(default_factory=list)


def a_map(shape: tuple[int, int]) -> xr.DataArray:
    values = np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.float32)
    coords = {dim: (dim, -4700 + 0.01 * np.arange(n), {"units": "um"}) for dim, n in zip("yx", shape, strict=True)}
    return xr.DataArray(values, dims=("y", "x"), coords=coords, name="optical_density")


def panes_of(page: Page) -> list[Any]:
    """Return a map of values, one of classes on the same ranges, and curves."""
    ranges = MapRanges()
    values, classes, curves = MapFigure(ranges, side=SIDE), MapFigure(ranges, side=SIDE), CurveFigure(width=400)
    image = a_map((900, 1200))
    values.show(image)
    labels = xr.where(image > 1500, 1, 0).where(image > 200, NO_SAMPLE).where(image < 1900, UNDECIDED).astype(int)
    classes.show_classes(labels.assign_coords(image.coords), {"alpha": "#0072B2", "beta": "#D55E00"})
    energy = np.linspace(510, 530, 40)
    curves.show([Curve("alpha", energy, np.sin(energy), color="#0072B2")], xlabel="Energy [eV]", ylabel="OD")
    values.on_pick(lambda kind, vertices: page.picked.append((kind, vertices)))
    curves.on_x(page.tapped.append)
    page.figures = {"values": values, "classes": classes, "curves": curves}
    for name, figure in page.figures.items():
        figure.figure.name = name
    return [figure.pane for figure in page.figures.values()]


class Visit:
    """A page in the browser, and the session behind it."""

    def __init__(self, tab: Any, page: Page) -> None:
        self.tab, self.page = tab, page
        self.problems: list[str] = []
        tab.on("pageerror", lambda error: self.problems.append(str(error)))
        tab.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        tab.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
            self.problems.append(request.url)

    def frame(self, name: str) -> dict[str, Any]:
        (found,) = (frame for frame in self.tab.evaluate(FRAMES) if frame["name"] == name)
        return found

    def place(self, name: str, across: float, upwards: float) -> tuple[float, float]:
        frame = self.frame(name)
        return frame["x"] + frame["width"] * across, frame["y"] + frame["height"] * (1 - upwards)

    def tool(self, number: int, description: str) -> None:
        self.tab.locator(".bk-Figure").nth(number).locator(f"[title='{description}']").first.click()

    def drag(self, name: str, *places: tuple[float, float]) -> None:
        mouse = self.tab.mouse
        mouse.move(*self.place(name, *places[0]))
        mouse.down()
        for place in places[1:]:
            mouse.move(*self.place(name, *place), steps=4)
        mouse.up()

    def settle(self, holds: Any) -> None:
        """Wait until something holds of the session."""
        for _ in range(300):
            if holds():
                return
            self.tab.wait_for_timeout(100)
        raise AssertionError("it does not come to hold")


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    return []


@pytest.fixture(scope="module")
def address(pages) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def panes() -> list[Any]:
        pn.state.curdoc.template_variables["dist_url"] = "static/extensions/panel/"
        pages.append(Page())
        return panes_of(pages[-1])

    def themed() -> pmui.Page:
        return pmui.Page(title="figures", theme_config=THEME, main=[pn.FlexBox(*panes())])

    pn.extension()
    origin = f"127.0.0.1:{port}"
    server = pn.serve(
        {"figures": themed, "bare": lambda: pn.FlexBox(*panes())},
        address="127.0.0.1",
        port=port,
        threaded=True,
        show=False,
        websocket_origin=origin,
        check_unused_sessions_milliseconds=500,
        unused_session_lifetime_milliseconds=3000,
        verbose=False,
    )
    yield f"http://{origin}"
    server.stop()


@pytest.fixture
def visit(browser, address, pages) -> Iterator[Visit]:
    tab = browser.new_page(viewport={"width": 1500, "height": 900})
    visit = Visit(tab, Page())
    tab.goto(f"{address}/figures")
    tab.wait_for_selector(".bk-Figure", timeout=60_000)
    tab.wait_for_timeout(800)
    visit.page = pages[-1]
    yield visit
    assert not visit.problems
    tab.close()


def view(visit: Visit) -> Any:
    return visit.page.figures["values"].ranges.view


def assert_equal_aspect(visit: Visit) -> None:
    for name in ("values", "classes"):
        frame = visit.frame(name)
        assert frame["across"] == pytest.approx(frame["upwards"], rel=0.01)


def test_zoom__keeps_the_aspect_and_brings_the_pixels_that_are_seen(visit):
    whole, before = view(visit), visit.frame("values")
    assert (before["width"], before["height"]) == (SIDE, SIDE * 3 / 4)
    visit.tool(0, "Zoom into a box")
    visit.drag("values", (0.3, 0.3), (0.5, 0.6))
    visit.settle(lambda: view(visit).width < 0.8 * whole.width)
    assert_equal_aspect(visit)
    for name in ("values", "classes"):
        figure = visit.page.figures[name]
        visit.settle(lambda figure=figure: figure._sent.window.width < whole.width * 0.9)
        assert figure._sent.window.left <= view(visit).left
    after = visit.frame("values")
    assert {key: after[key] for key in ("x", "y", "width", "height", "outer")} == {
        key: before[key] for key in ("x", "y", "width", "height", "outer")
    }
    visit.tool(1, "Show all")
    visit.settle(lambda: view(visit) == whole)
    visit.settle(lambda: visit.page.figures["values"]._sent.window.width == pytest.approx(whole.width, rel=0.01))


def test_wheel__zooms_all_maps_of_the_ranges(visit):
    whole = view(visit)
    visit.tool(0, "Zoom with the wheel")
    visit.tab.mouse.move(*visit.place("values", 0.5, 0.5))
    for _ in range(6):
        visit.tab.mouse.wheel(0, -200)
    visit.settle(lambda: view(visit).width < 0.5 * whole.width)
    assert_equal_aspect(visit)
    visit.settle(lambda: visit.page.figures["classes"]._sent.factor == (1, 1))


def test_picks__of_a_point_a_box_and_a_freehand_line(visit):
    picked = visit.page.picked
    visit.tab.mouse.click(*visit.place("values", 0.25, 0.75))
    visit.settle(lambda: len(picked) == 1)
    kind, ((x, y),) = picked[0]
    assert kind == "point"
    assert (x, y) == pytest.approx((-4700 + 0.25 * 12, -4700 + 0.75 * 9), abs=0.05)
    visit.tool(0, "Pick a box")
    visit.drag("values", (0.2, 0.2), (0.4, 0.6))
    visit.settle(lambda: len(picked) == 2)
    assert picked[1][0] == "box"
    assert np.ravel(picked[1][1]) == pytest.approx([-4697.6, -4698.2, -4695.2, -4694.6], abs=0.1)
    visit.tool(0, "Pick a region, drawn freehand")
    visit.drag("values", (0.2, 0.2), (0.6, 0.2), (0.6, 0.6))
    visit.settle(lambda: len(picked) == 3)
    assert picked[2][0] == "polygon"
    assert len(picked[2][1]) > 4


def test_tap__on_a_curve_tells_its_x(visit):
    visit.tab.mouse.click(*visit.place("curves", 0.5, 0.5))
    visit.settle(lambda: visit.page.tapped)
    assert visit.page.tapped[0] == pytest.approx(520, abs=0.3)


def test_frame__does_not_move_with_the_ticks(visit):
    before = visit.frame("values")
    figure = visit.page.figures["values"]

    def change() -> None:
        figure.show(a_map((900, 1200)) * 1e7, title="518.40 eV")

    figure.figure.document.add_next_tick_callback(change)
    visit.tab.locator(".title").get_by_text("518.40 eV").wait_for()
    visit.tab.wait_for_timeout(300)
    assert visit.frame("values") == before


def test_hover__names_the_class(visit):
    visit.tab.mouse.move(*visit.place("classes", 0.45, 0.45))
    visit.tab.get_by_text("alpha").nth(1).wait_for(timeout=5000)


def test_theme__is_that_of_the_page_when_it_is_toggled(visit):
    light = visit.frame("values")["paper"]
    visit.tab.locator("button[aria-label='Toggle theme']").click()
    visit.tab.wait_for_timeout(800)
    dark = {name: visit.frame(name)["paper"] for name in visit.page.figures}
    assert light not in dark.values()
    text = "() => Bokeh.documents[0].get_model_by_name('values').below[1].major_label_text_color"
    assert visit.tab.evaluate(text) not in ("#000000", "black")


def test_session__leaves_nothing_behind(browser, address, pages):
    tab = browser.new_page()
    tab.goto(f"{address}/bare")
    tab.wait_for_selector(".bk-Figure", timeout=60_000)
    alive = [weakref.ref(figure) for figure in pages[-1].figures.values()]
    pages[-1] = Page()
    tab.close()
    for _ in range(100):
        gc.collect()
        if not any(part() for part in alive):
            return
        time.sleep(0.2)
    raise AssertionError(f"still there: {[part() for part in alive]}")
