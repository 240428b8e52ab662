"""Length scales in the browser: from the fields to one particle, whose row and outline are one choice."""

from __future__ import annotations

import pytest
from browser import visit
from stxm_explorer.state import ExplorerState

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("nested")]


@pytest.fixture(scope="module")
def address(nested_server):
    """Address of an explorer with an electrode and two fields in it, at page Length scales."""
    state = ExplorerState()
    for name in ("electrode", "field 1", "field 2"):
        state.open(f"{name}.hdf5")
    state.references.choose(["references.csv"])
    state.references.names = ["alpha-V2O5", "delta-LiV2O5"]
    state.references.composition = {"alpha-V2O5": 0.0, "delta-LiV2O5": 1.0}
    state.scales.left_out = ["electrode"]
    state.view.param.update(page="Length scales", field="field 1")
    return f"{nested_server}?state={state.to_query()}"


def begin(visitor) -> None:
    visitor.page.get_by_role("tab", name="Fields").wait_for(timeout=60_000)
    visitor.settle()


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
