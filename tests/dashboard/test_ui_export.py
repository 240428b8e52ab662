"""The page Export in a headless Chromium: what is downloaded, copied and opened again."""

from __future__ import annotations

import io
import zipfile

import pytest
from browser import served, visit
from stxm_explorer.state import ExplorerState

pytestmark = pytest.mark.ui


def test_ui__files_are_made_and_choices_opened_again(browser, filled, shots, tmp_path):
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.references.files = ["references.csv"]
    state.view.page = "Export"
    with (
        served(filled, "", tmp_path / "log") as address,
        visit(browser, f"{address}?state={state.to_query()}", shots) as visitor,
    ):
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
        page.get_by_text("state='3'").first.wait_for()
        upload(page, choices)
        page.wait_for_function("before => location.href == before", arg=before)
        visitor.shot("export-state")


def downloaded(page, button) -> bytes:
    with page.expect_download() as sent:
        button.click()
    return sent.value.path().read_bytes()


def upload(page, content: bytes) -> None:
    file = {"name": "choices.json", "mimeType": "application/json", "buffer": content}
    page.locator("input[type=file]").last.set_input_files(file)
