"""Page Prepare in a browser."""

from __future__ import annotations

import pytest
from browser import FRAME, visit

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("simulated")]


def test_prepare__leaves_out_a_frame_and_aligns_the_others(browser, simulated, shots):
    with visit(browser, simulated, shots) as visitor:
        page = visitor.page
        visitor.open("Prepare")
        page.locator(".tabulator-row input[type=checkbox]").nth(2).click()
        page.get_by_text("1 frame left out").wait_for()
        visitor.settle()
        visitor.shot("prepare-frames")

        page.get_by_text("Alignment: frames as measured").click()
        page.get_by_role("button", name="Estimate shifts").click()
        page.get_by_text("x ± standard error").wait_for(timeout=60_000)
        visitor.settle()
        page.get_by_label("Use the aligned frames").click()
        page.get_by_text("Alignment: frames moved").wait_for()
        visitor.settle()
        visitor.shot("prepare-alignment")

        page.get_by_role("button", name="Reset all steps").click()
        page.get_by_text("Frames: all energies").wait_for()
        page.get_by_text("Alignment: frames as measured").wait_for()
        visitor.settle()


def test_prepare__takes_i0_from_a_region_that_is_drawn(browser, simulated, shots):
    with visit(browser, simulated, shots) as visitor:
        page = visitor.page
        visitor.open("Prepare")
        page.get_by_text("I0: brightest 10 %").click()
        page.get_by_text("I0 ± standard error").wait_for(timeout=60_000)
        visitor.settle()
        draw_box(page, (0.2, 0.2), (0.5, 0.5))
        page.get_by_text("I0: region without sample").wait_for()
        page.get_by_text("Its optical density against the brightest pixels").wait_for(timeout=60_000)
        visitor.settle()
        visitor.shot("prepare-i0-region")


def draw_box(page, first, last):
    """Draw a box on the map, from a corner to the other one; both as shares of its frame."""
    frame = page.evaluate(FRAME, 0)
    at = [(frame["x"] + frame["width"] * x, frame["y"] + frame["height"] * (1 - y)) for x, y in (first, last)]
    page.locator("[title='Pick a box']").first.click()
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=8)
    page.mouse.up()
