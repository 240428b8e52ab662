"""Page Explore in a headless Chromium: arrow keys, play, taps, boxes and lines."""

from __future__ import annotations

import re

import pytest
from browser import FRAME, IMAGE, assert_equal_aspect, type_in, visit
from stxm_explorer.state import ExplorerState

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("simulated")]

DRAWN = """() => [...Bokeh.documents[0]._all_models.values()]
  .filter(m => m.type == "GlyphRenderer" && m.visible && ["Line", "Scatter"].includes(m.glyph.type))
  .map(m => { const data = m.data_source.data; return (data.get ? data.get("y") : data.y) || [] })
  .filter(values => values.length > 10).length"""


def energy(page) -> str:
    return page.get_by_text("Photon energy:").inner_text()


def test_ui__explore_by_keys_taps_and_lines(browser, simulated, shots, names):
    with visit(browser, simulated, shots) as visitor:
        page = visitor.page
        visitor.open("Explore")
        page.wait_for_selector(".bk-Figure", timeout=60_000)
        visitor.settle()
        assert_equal_aspect(visitor)
        before, image = energy(page), page.evaluate(IMAGE)
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"image => ({IMAGE})() != image", arg=image, timeout=10_000)
        page.wait_for_function("before => !document.body.innerText.includes(before)", arg=before, timeout=10_000)
        visitor.tap(0.5, 0.5)
        page.wait_for_function(f"({DRAWN})() >= 1", timeout=60_000)
        _listens_after_another_page(visitor)
        _keeps_arrows_while_typing(visitor)
        _draws_a_line(visitor)
        visitor.settle()
        visitor.shot("explore")


def _draws_a_line(visitor) -> None:
    """Tap as soon as the ends of a line are asked for: the first tap is one of them."""
    page = visitor.page
    frame = page.evaluate(FRAME, 0)
    page.get_by_role("button", name="Ends of a line").click()
    page.mouse.click(frame["x"] + 0.2 * frame["width"], frame["y"] + 0.8 * frame["height"])
    page.wait_for_timeout(800)  # two taps at once are a double tap
    visitor.settle()
    page.wait_for_timeout(400)  # the address follows a little later
    state = ExplorerState()
    state.from_query(page.url.partition("state=")[2])
    assert len(state.view.line) == 1
    visitor.tap(0.8, 0.7)
    page.wait_for_function(f"({DRAWN})() >= 2", timeout=60_000)


def test_ui__back_goes_to_the_page_before(browser, simulated, shots):
    with visit(browser, simulated, shots) as visitor:
        page = visitor.page
        page.get_by_text("Photon energy:").wait_for(timeout=60_000)
        visitor.settle()
        page.keyboard.press("ArrowRight")  # no page of its own
        visitor.settle()
        page.wait_for_timeout(400)
        visitor.open("Data")
        page.get_by_text("Open stacks").wait_for()
        page.go_back()
        page.get_by_text("Photon energy:").wait_for()
        visitor.settle()
        page.go_forward()
        page.get_by_text("Open stacks").wait_for()
        visitor.settle()


def _listens_after_another_page(visitor) -> None:
    place = visitor.page.get_by_text(re.compile(r"^\(.+\) µm$"))
    before = place.inner_text()
    visitor.open("Data")
    visitor.open("Explore")
    visitor.tap(0.3, 0.6)
    visitor.page.get_by_text(before).wait_for(state="hidden", timeout=20_000)
    assert place.inner_text() != before


def _keeps_arrows_while_typing(visitor) -> None:
    page = visitor.page
    page.locator("[aria-label='Keep this pixel as a region'], button:has-text('push_pin')").first.click()
    name = page.locator("input[type=text]:visible").first
    name.wait_for()
    before = energy(page)
    page.get_by_role("button", name="Use as reference").hover()
    tip = page.get_by_role("tooltip").bounding_box()
    page.mouse.click(tip["x"] + 5, tip["y"] + tip["height"] / 2)  # it lies on the name, and lets clicks through
    assert name.evaluate("field => field.getRootNode().activeElement === field")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert energy(page) == before
    type_in(name, "grain")
    page.locator(".legend").get_by_text("grain").first.wait_for()


def test_ui__explore_draws_a_box_and_plays(browser, simulated, shots):
    with visit(browser, simulated, shots, (1920, 1080)) as visitor:
        page = visitor.page
        visitor.open("Explore")
        page.wait_for_selector(".bk-Figure", timeout=60_000)
        visitor.settle()
        page.evaluate(
            "() => [...Bokeh.documents[0]._all_models.values()].find(m => m.type == 'BoxSelectTool').active = true"
        )
        frame = page.evaluate(FRAME, 0)
        page.mouse.move(frame["x"] + 0.2 * frame["width"], frame["y"] + 0.2 * frame["height"])
        page.mouse.down()
        page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 0.5 * frame["height"], steps=4)
        page.mouse.up()
        page.wait_for_function(f"({DRAWN})() >= 1", timeout=60_000)
        before = energy(page)
        page.locator("button:has-text('play_arrow'), [aria-label*='Step through']").first.click()
        page.wait_for_function("before => !document.body.innerText.includes(before)", arg=before, timeout=20_000)
        assert_equal_aspect(visitor)
        visitor.shot("explore")
