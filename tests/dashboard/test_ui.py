"""The whole way by mouse, from files to a recipe: what is on the screen, downloaded and made again is one and the same."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from browser import assert_equal_aspect, colors_on_screen, labels_on_page, served, visit
from stxm_explorer.state import LENGTH_TABS

import xstxm
from xstxm import plot

pytestmark = pytest.mark.ui
CELL = ".tabulator-cell[tabulator-field={}]"


def open_by_mouse(visitor, stack: str, references: list[str]) -> None:
    """Open a stack and choose references in the tables of page Data."""
    page = visitor.page
    visitor.open("Data")
    page.locator(CELL.format("name"), has_text=stack).first.click(timeout=60_000)
    page.get_by_label("Name of the field").wait_for()
    visitor.settle()
    page.get_by_role("button", name="Spectra", exact=True).click()
    for name in references:
        page.locator(CELL.format("name"), has_text=name).first.click(timeout=60_000)
        visitor.settle()
    page.get_by_role("button", name="References", exact=True).click()
    page.locator(CELL.format("composition")).nth(len(references) - 1).wait_for()
    visitor.settle()


def exported(visitor, folder: Path) -> Path:
    """Have the files made that page Export proposes, download them, and return the folder with them."""
    page = visitor.page
    visitor.open("Export")
    page.get_by_role("button", name="Make files").click(timeout=120_000)
    link = page.get_by_role("button", name="Download 71214078.zip")
    link.wait_for(timeout=90_000)
    with page.expect_download() as sent:
        link.click()
    with zipfile.ZipFile(io.BytesIO(sent.value.path().read_bytes())) as archive:
        archive.extractall(folder)
    return folder / "71214078"


def assert_classes_on_screen(page, labels: np.ndarray, centres: list[tuple[float, float]], classes: list[str]) -> None:
    """Assert that pixels have the colour of their class, and what is no class none of these."""
    pairs = [(label, color) for label, color in zip(labels, colors_on_screen(page, centres), strict=True)]
    of_classes = [(classes[label].lower(), color) for label, color in pairs if label >= 0]
    assert {wanted for wanted, _ in of_classes} == {color.lower() for color in classes}
    assert sum(wanted != color for wanted, color in of_classes) <= len(pairs) // 50  # below the cross of the cursor
    assert not {color for label, color in pairs if label < 0} & {*map(str.lower, classes)}


def some_pixels(number: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of pixels that the scale bar, which lies below on the right, does not cover."""
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(0, size, 4 * number) for size in shape)
    free = (rows > shape[0] * 0.2) | (columns < shape[1] * 0.35)
    return rows[free][:number], columns[free][:number]


def test_ui__from_real_files_to_a_recipe_by_mouse(browser, real_data, shots, tmp_path):
    root = real_data / "fe-l-edge-stack"
    with served(root, "", tmp_path / "log") as address, visit(browser, address, shots) as visitor:
        page = visitor.page
        open_by_mouse(visitor, "71214078.hdr", ["oxidized.t", "reduced.t"])
        visitor.open("Prepare")
        page.get_by_text("I0: brightest 10 %").click()
        page.get_by_text("I0 ± standard error").wait_for(timeout=60_000)
        visitor.settle()
        visitor.open("Explore")
        page.get_by_text("Photon energy:").wait_for(timeout=60_000)
        visitor.settle()
        visitor.tap(0.45, 0.55)
        page.locator(".legend").get_by_text("fit", exact=True).first.wait_for(timeout=60_000)
        visitor.open("Phases")
        page.get_by_text("undecided").first.wait_for(timeout=60_000)
        visitor.settle()
        visitor.shot("real-phases")
        assert_equal_aspect(visitor)
        seen = labels_on_page(page)
        rows, columns = some_pixels(200, seen.shape)
        stack = xstxm.open_stack(root / "71214078.hdr")
        y, x = np.sort(stack["y"].values), np.sort(stack["x"].values)
        centres = [(float(x[column]), float(y[row])) for row, column in zip(rows, columns, strict=True)]
        colors = [
            *plot.phase_colors(
                xstxm.read_references({name: root / f"{name}.t" for name in ("oxidized", "reduced")})
            ).values()
        ]
        assert_classes_on_screen(page, seen[rows, columns], centres, colors)

        visitor.open("Length scales")
        for tab in LENGTH_TABS:
            page.get_by_role("tab", name=tab).click()
            visitor.settle()
            visitor.shot(f"length-scales-real-{tab}")
        page.locator(".bk-Figure:visible").first.wait_for()
        assert str(root) not in page.content()

        files = exported(visitor, tmp_path)
        written = xr.open_dataset(files / "71214078 phase map.nc")["phase_label"].sortby(["y", "x"])
        again = xstxm.Recipe.load(files / "71214078 recipe.toml").apply(stack)
        np.testing.assert_array_equal(written.transpose("y", "x"), seen)
        np.testing.assert_array_equal(again["phase_label"].sortby(["y", "x"]).transpose("y", "x"), seen)
