"""The page Export in a headless Chromium: what is downloaded, copied and opened again."""

from __future__ import annotations

import io
import random
import zipfile

import pytest
from browser import FRAME, visit
from stxm_explorer.state import LONGEST_QUERY, TOO_LONG, ExplorerState, Region

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("simulated")]


def test_ui__files_are_made_and_choices_opened_again(browser, simulated, shots):
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.references.files = ["references.csv"]
    state.view.page = "Export"
    with visit(browser, f"{simulated}?state={state.to_query()}", shots) as visitor:
        page = visitor.page
        page.get_by_role("button", name="Make files").click(timeout=120_000)
        link = page.get_by_role("button", name="Download lixv2o5.zip")
        link.wait_for(timeout=90_000)
        archive = zipfile.ZipFile(io.BytesIO(downloaded(page, link)))
        wanted = [
            "export.py",
            "lixv2o5 phase map.nc",
            "lixv2o5 phases.csv",
            "lixv2o5 phases.png",
            "lixv2o5 recipe.toml",
        ]
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [f"lixv2o5/{name}" for name in wanted]
        visitor.shot("export")

        page.get_by_role("tab", name="Recipe").click()
        page.get_by_text("xstxm_recipe = 1").wait_for(timeout=60_000)
        page.get_by_role("tab", name="Script").click()
        page.get_by_text("xstxm.write_netcdf").first.wait_for()

        page.get_by_role("tab", name="State").click()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy link").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == page.url
        assert "state=" in page.url

        choices = downloaded(page, page.get_by_role("button", name="Download choices"))
        before = page.url
        page.get_by_role("tab", name="Files").click()
        page.get_by_role("checkbox", name="Every open field").click()
        page.wait_for_function("before => location.href != before", arg=before)
        page.get_by_role("tab", name="State").click()
        upload(page, b'{"export": 3}')
        page.get_by_text("state '3'").first.wait_for()
        upload(page, choices)
        page.wait_for_function("before => location.href == before", arg=before)
        visitor.shot("export-state")


def test_ui__an_address_that_is_as_long_as_it_may_be_and_one_that_is_longer(browser, simulated, shots):
    rng, state = random.Random(0), ExplorerState()
    state.open("lixv2o5.hdf5")
    state.view.page = "Explore"
    spots = [(round(rng.uniform(50, 60), 4), round(rng.uniform(50, 60), 4)) for _ in range(10_000)]  # beside the image
    few = max(range(100, 10_000, 100), key=lambda n: fits(state, spots[:n]) * n)
    assert fits(state, spots[:few])
    assert len(state.to_query()) > 0.95 * LONGEST_QUERY
    with visit(browser, f"{simulated}?state={state.to_query()}", shots) as visitor:
        page = visitor.page
        page.locator(".bk-Figure:visible").first.wait_for(timeout=60_000)
        visitor.settle()
        frame = page.evaluate(FRAME, 0)
        page.locator("[title='Pick a region, drawn freehand']").first.click()
        page.mouse.move(frame["x"] + 30, frame["y"] + 30)
        page.mouse.down()
        for _ in range(150):
            page.mouse.move(frame["x"] + rng.uniform(20, 200), frame["y"] + rng.uniform(20, 200))
        page.mouse.up()
        page.get_by_text("cannot hold so many choices").first.wait_for(timeout=30_000)
        page.wait_for_function("location.href.endsWith('state=too-long')")
        page.get_by_role("button", name="Export", exact=True).first.click()
        page.get_by_role("tab", name="State").click(timeout=60_000)
        page.get_by_text("These choices are too many for an address").wait_for()
        assert page.get_by_role("button", name="Copy link").is_disabled()
        visitor.shot("export-too-long")


def fits(state: ExplorerState, spots: list[tuple[float, float]]) -> bool:
    """Give the state a region through some places; tell whether an address holds it then."""
    state.regions = [Region("polygon", tuple(spots), "scattered")]
    return state.to_query() != TOO_LONG


def downloaded(page, button) -> bytes:
    with page.expect_download() as sent:
        button.click()
    return sent.value.path().read_bytes()


def upload(page, content: bytes) -> None:
    file = {"name": "choices.json", "mimeType": "application/json", "buffer": content}
    page.locator("input[type=file]").last.set_input_files(file)
