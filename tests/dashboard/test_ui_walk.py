"""A walk through all pages and tabs, to and fro: whichever way users come, everything is drawn, and in its place."""

from __future__ import annotations

from pprint import pformat

import pytest
from browser import SCROLLS, visit
from stxm_explorer.state import BELOW, LENGTH_TABS, STEPS, UNMIX_TABS, ExplorerState

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.xdist_group("nested")]

TABS = {
    "Data": ("button", ("Files", "References")),
    "Prepare": ("step", STEPS),
    "Explore": ("", ("",)),
    "Unmix": ("tab", UNMIX_TABS),
    "Phases": ("button", tuple(BELOW)),
    "Length scales": ("tab", LENGTH_TABS),
    "Export": ("tab", ("Files", "Recipe", "Script", "State")),
}
WAY = [(title, kind, tab) for title, (kind, tabs) in TABS.items() for tab in tabs]
TOLD = {
    ("Data", "References"): "are told apart",
    ("Prepare", "I0"): "I0 ± standard error",
    ("Prepare", "Optical density"): "pixels at",
    ("Unmix", "Clusters"): "Stability",
    ("Phases", "Shares"): "undecided",
    ("Length scales", "Fields"): "Draw the phases",
    ("Length scales", "Variance"): "between particles and",
    ("Length scales", "Coarse-graining"): "is left: ",
    ("Length scales", "Correlation"): "Correlation length of",
    ("Length scales", "Particles"): "Diameter",
    ("Export", "Files"): "phase map, everything in it",
}
"""What stands at places of the way once their results are there."""
MAPS = {("Prepare", "I0"), ("Explore", ""), ("Unmix", "Clusters"), ("Phases", "Shares"), ("Length scales", "Particles")}
"""Places at which there is a map then."""
FIGURES = """() => [...Bokeh.documents[0]._all_models.values()].filter(m => m.type == "Figure").flatMap(m => {
  const view = Bokeh.index.find_one_by_id(m.id)
  if (!view || !view.el.checkVisibility()) return []
  const place = part => view.views.find_one(part).bbox, frame = view.frame.bbox
  const shown = axes => axes.filter(axis => axis.type.endsWith("Axis") && axis.visible)
  const gaps = [
    ...shown(m.below).slice(0, 1).map(axis => place(axis).top - frame.bottom),
    ...shown(m.left).slice(-1).map(axis => place(axis).right - frame.left),
  ]
  const images = m.renderers.filter(r => r.glyph && r.visible && ["Image", "ImageRGBA"].includes(r.glyph.type))
  return [{
    map: images.length > 0, gaps, width: frame.width, height: frame.height,
    across: frame.width / (m.x_range.end - m.x_range.start), upwards: frame.height / (m.y_range.end - m.y_range.start),
  }]
})"""


@pytest.fixture(scope="module")
def address(nested_server):
    """Address of an explorer with an electrode and two fields in it, references and a cursor."""
    state = ExplorerState()
    for name in ("electrode", "field 1", "field 2"):
        state.open(f"{name}.hdf5")
    state.references.choose(["references.csv"])
    state.references.names = ["alpha-V2O5", "delta-LiV2O5"]
    state.references.composition = {"alpha-V2O5": 0.0, "delta-LiV2O5": 1.0}
    state.scales.left_out = ["electrode"]
    state.view.param.update(page="Data", field="field 1", cursor=(4.0, 4.0))
    return f"{nested_server}?state={state.to_query()}"


def go(visitor, title, kind, tab, before) -> None:
    """Go to a tab of a page as users do, who were on the page `before`."""
    page = visitor.page
    if title != before:
        page.get_by_role("button", name=title, exact=True).first.click()
        visitor.settle()
    if kind == "step":
        page.get_by_text(f"{tab}: ", exact=False).first.click()
    elif kind:
        page.get_by_role(kind, name=tab, exact=True).last.click()
    visitor.settle()


def choose_field(visitor, name) -> None:
    """Choose a field in the app bar."""
    visitor.page.get_by_role("combobox").first.click()
    visitor.page.locator(".MuiMenuItem-root", has_text=name).click()
    visitor.settle()


def troubles(visitor, place) -> list[str]:
    """What is wrong with what is shown at a place."""
    page, found = visitor.page, [*visitor.errors, *visitor.outside]
    visitor.errors.clear()
    if max(page.evaluate(SCROLLS)) > page.viewport_size["width"]:
        found.append("a horizontal scroll bar")
    figures = page.evaluate(FIGURES)
    if place in MAPS and not any(figure["map"] for figure in figures):
        found.append("no map")
    for figure in figures:
        if figure["map"] and figure["across"] != pytest.approx(figure["upwards"], rel=0.01):
            found.append(f"unequal scales: {figure}")
        if any(abs(gap) > 2 for gap in figure["gaps"]):
            found.append(f"an axis away from its frame: {figure}")
    return found


def walk(visitor, way) -> dict[str, list[str]]:
    """Go a way; what is wrong at each place of it."""
    wrong, before = {}, ""
    for title, kind, tab in way:
        go(visitor, title, kind, tab, before)
        before = title
        if told := TOLD.get((title, tab)):
            visitor.page.get_by_text(told).locator("visible=true").first.wait_for(timeout=60_000)
        if found := troubles(visitor, (title, tab)):
            wrong[f"{title} / {tab}"] = found
    return wrong


def test_walk__to_and_fro(browser, address, shots):
    with visit(browser, address, shots) as visitor:
        visitor.page.get_by_role("button", name="Data", exact=True).wait_for(timeout=60_000)
        visitor.settle()
        wrong = {"there": walk(visitor, WAY)}
        choose_field(visitor, "field 2")
        visitor.resize(1920, 1080)
        visitor.toggle_theme()
        wrong["back"] = walk(visitor, WAY[::-1])
        assert not any(wrong.values()), pformat(wrong)
