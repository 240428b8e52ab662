"""Page Data in a browser: a stack is opened by a click, references get their composition and colour."""

from __future__ import annotations

import shutil

import pytest
from browser import served, type_in, visit

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("data")]

CELL = ".tabulator-cell[tabulator-field={}]"
MARKUP = "<img src=x onerror=alert(1)>.hdf5"


@pytest.fixture(scope="module")
def address(filled, tmp_path_factory):
    """Address of an explorer that serves thirteen stacks and a file that is none."""
    root = tmp_path_factory.mktemp("many") / "root"
    shutil.copytree(filled, root)
    for number in range(12):
        shutil.copy(root / "lixv2o5.hdf5", root / f"scan{number:02}.hdf5")
    (root / MARKUP).write_bytes(b"nothing")
    with served(root, "", tmp_path_factory.mktemp("log") / "log") as address:
        yield address


def wait_for_rows(page) -> None:
    """Wait until every row that is seen says what is in its file."""
    page.locator(CELL.format("what")).first.wait_for()
    page.wait_for_function(
        """() => { const found = []; const visit = root => { for (const e of root.querySelectorAll("*")) {
             if (e.getAttribute("tabulator-field") == "what" && e.classList.contains("tabulator-cell")) found.push(e.innerText)
             if (e.shadowRoot) visit(e.shadowRoot) } }; visit(document)
             return found.length > 0 && !found.includes("...") }"""
    )


def names(page) -> list[str]:
    return page.locator(CELL.format("name")).all_inner_texts()


def test_ui__a_click_opens_the_file_of_that_row_whatever_the_order(browser, address, shots):
    with visit(browser, address, shots) as visitor:
        page = visitor.page
        visitor.open("Data")
        wait_for_rows(page)
        page.get_by_text(MARKUP, exact=True).click()
        page.get_by_text("expected a scan in a format that xstxm reads").last.wait_for()
        for _ in range(2):
            page.locator(".tabulator-col", has_text="File").first.click()
            page.wait_for_timeout(300)
        visitor.settle()
        assert names(page)[0] == "scan11.hdf5"
        page.get_by_role("button", name="Next").click()
        visitor.settle()
        second = names(page)[1]
        page.locator(CELL.format("name")).nth(1).click()
        visitor.settle()
        assert page.get_by_label("Name of the field").input_value() == second.removesuffix(".hdf5")
        assert page.get_by_text("508 to 560 eV").count() == 1
        type_in(page.get_by_label("Open by name"), "../../secret.hdf5")
        page.get_by_text("secret.hdf5: not a file below the folder").wait_for()
        visitor.shot("data-files")


def test_ui__references_are_chosen_and_told_apart(browser, address, shots):
    with visit(browser, address, shots) as visitor:
        page = visitor.page
        visitor.open("Data")
        wait_for_rows(page)
        page.locator(CELL.format("name"), has_text="lixv2o5.hdf5").click()
        page.get_by_label("Name of the field").wait_for()
        page.get_by_role("button", name="Spectra", exact=True).click()
        wait_for_rows(page)
        page.locator(CELL.format("name"), has_text="references.csv").click()
        page.get_by_role("button", name="References", exact=True).click()
        visitor.settle()
        for number, composition in enumerate(["0", "0.4", "1", "1"]):
            page.locator(CELL.format("composition")).nth(number).click()
            page.keyboard.type(composition)
            page.keyboard.press("Enter")
            visitor.settle()
        page.locator(CELL.format("color")).nth(1).click()
        page.locator("input[type=color]").fill("#cc79a7")
        page.keyboard.press("Enter")
        visitor.settle()
        assert page.locator(CELL.format("composition")).all_inner_texts() == ["0", "0.4", "1", "1"]
        page.get_by_text("are the hardest pair").wait_for()
        page.locator(".legend span[style*='#cc79a7']").first.wait_for()
        visitor.shot("data-references")
        visitor.assert_no_scroll_bar()
        visitor.resize(1920, 1080)
        visitor.toggle_theme()
        visitor.shot("data-references-dark")
