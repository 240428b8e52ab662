"""Many pages at once: each its own stack and place, none in the way of another."""

from __future__ import annotations

import pytest
from browser import IMAGE, Visitor, assert_equal_aspect, served
from stxm_explorer.state import ExplorerState

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("many")]
STACKS = ("electrode", "field 1", "field 2")


def wanted(number: int) -> ExplorerState:
    """Return the choices of one of the visitors."""
    state = ExplorerState()
    state.open(f"{STACKS[number % len(STACKS)]}.hdf5")
    state.references.choose(["references.csv"])
    state.view.page = "Explore" if number % 2 else "Phases"
    return state


def test_ui__ten_pages_at_once(browser, nested, shots, tmp_path):
    with served(nested, "", tmp_path / "log") as address:
        visitors = []
        for number in range(10):
            visitor = Visitor(browser.new_page(viewport={"width": 1280, "height": 800}), shots)
            visitor.page.goto(f"{address}?state={wanted(number).to_query()}", wait_until="commit")
            visitors.append(visitor)
        for visitor in visitors:
            visitor.page.locator(".bk-Figure").first.wait_for(timeout=120_000)
        for number, visitor in enumerate(visitors):
            visitor.open("Phases" if number % 2 else "Explore")
        for visitor in visitors:
            visitor.settle()
            assert_equal_aspect(visitor)
            visitor.leave()
        for visitor in visitors[::2]:
            visitor.page.wait_for_function(f"({IMAGE})() != '[]'")
        pictures = {visitor.page.evaluate(IMAGE) for visitor in visitors[::2]}
        assert len(pictures) == len(STACKS)
        for visitor in visitors:
            visitor.page.close()
        assert "Traceback" not in (tmp_path / "log").read_text()
