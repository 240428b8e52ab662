"""What goes wrong is said, with what to do; the page stays alive and the choices stay as they were."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from pathlib import Path

import pandas as pd
import pytest
from browser import free_port, running, served, type_in, visit
from stxm_explorer.state import PAGES, ExplorerState, Region

import xstxm

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("errors")]
FIGURE = ".bk-Figure:visible"
ALERT = ".MuiAlert-root:visible"


@pytest.fixture(scope="module")
def root(filled, tmp_path_factory) -> Path:
    """Folder with a good stack, one that will vanish, one cut short, one of a single energy, a large one, and iron references."""
    root = tmp_path_factory.mktemp("troubled") / "root"
    shutil.copytree(filled, root)
    whole = (root / "lixv2o5.hdf5").read_bytes()
    (root / "vanishing.hdf5").write_bytes(whole)
    (root / "short.hdf5").write_bytes(whole[: len(whole) // 3])
    one = xstxm.testing.simulate_stack(shape=(24, 32), seed=2)[["intensity"]].isel(energy=[20])
    xstxm.write_nxstxm(xstxm.testing.simulate_stack(shape=(160, 200), seed=3)[["intensity"]], root / "large.hdf5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        xstxm.write_nxstxm(one, root / "one.hdf5")
    table = pd.read_csv(root / "references.csv")
    table.assign(energy=table["energy"] + 200).to_csv(root / "iron.csv", index=False)
    return root


@pytest.fixture(scope="module")
def address(root, tmp_path_factory):
    """Address of an explorer of that folder."""
    with served(root, "", tmp_path_factory.mktemp("log") / "log") as address:
        yield address


def chosen(file: str = "lixv2o5.hdf5", references: str = "references.csv", page: str = "Explore") -> ExplorerState:
    """Return the choice of a stack and of references."""
    state = ExplorerState()
    state.open(file)
    state.references.choose([references])
    state.view.page = page
    return state


def ask(state: ExplorerState) -> str:
    return f"?state={state.to_query()}"


def assert_alive(visitor) -> None:
    """Assert that another page opens, with a map."""
    visitor.open("Explore")
    visitor.page.locator(FIGURE).first.wait_for(timeout=60_000)


def test_ui__choices_in_the_address_that_are_none(browser, address, shots):
    with visit(browser, f"{address}?state=nothing-of-ours", shots) as visitor:
        visitor.page.get_by_text("state 'nothing-of-ours'").first.wait_for(timeout=60_000)
        type_in(visitor.page.get_by_label("Open by name"), "lixv2o5.hdf5")
        assert_alive(visitor)


def test_ui__a_file_that_vanishes_and_comes_back(browser, address, root, shots):
    with visit(browser, address + ask(chosen("vanishing.hdf5")), shots) as visitor:
        page, file = visitor.page, root / "vanishing.hdf5"
        page.locator(FIGURE).first.wait_for(timeout=60_000)
        visitor.settle()
        kept = file.rename(root / "elsewhere")
        page.keyboard.press("ArrowRight")
        page.get_by_text("vanishing.hdf5: not a file below the folder").first.wait_for()
        assert str(root) not in page.content()
        visitor.shot("error-vanished")
        kept.rename(file)
        page.get_by_role("button", name="Try again").first.click()
        page.get_by_text("not a file below the folder").first.wait_for(state="hidden")
        page.get_by_text("Photon energy:").wait_for()
        assert_alive(visitor)


def test_ui__a_scheduler_that_does_not_answer(browser, filled, shots, tmp_path, monkeypatch):
    nobody = f"tcp://127.0.0.1:{free_port()}"
    monkeypatch.setenv("XSTXM_SCHEDULER", nobody)
    with served(filled, "lixv2o5.hdf5", tmp_path / "log") as address, visit(browser, address, shots) as visitor:
        page = visitor.page
        toast = page.get_by_text("none answers there, so this server does the work itself").first
        toast.wait_for(timeout=60_000)
        assert nobody in toast.inner_text()
        visitor.shot("error-scheduler")
        assert_alive(visitor)


def test_ui__a_file_that_is_cut_short_is_said_beside_a_good_one(browser, address, shots):
    with visit(browser, address + ask(chosen(page="Data")), shots) as visitor:
        page = visitor.page
        page.get_by_text("508 to 560 eV").wait_for(timeout=60_000)
        type_in(page.get_by_label("Open by name"), "short.hdf5")
        page.locator(ALERT, has_text="cut short").first.wait_for(timeout=60_000)
        page.get_by_role("button", name="Try again").wait_for()
        visitor.shot("error-cut-short")
        page.get_by_text("lixv2o5.hdf5", exact=True).first.click()
        page.get_by_text("508 to 560 eV").wait_for(timeout=60_000)
        assert_alive(visitor)


def test_ui__references_of_another_edge_and_a_region_outside_the_image(browser, address, shots):
    state = chosen(references="iron.csv", page="Phases")
    state.add_region(Region("box", ((900, 900), (901, 901)), "far"))
    with visit(browser, address + ask(state), shots) as visitor:
        visitor.page.locator(ALERT, has_text="no energy is common to all").first.wait_for(timeout=60_000)
        visitor.shot("error-another-edge")
        assert_alive(visitor)
        visitor.page.locator(ALERT, has_text="No region lies in this field").first.wait_for(timeout=30_000)
        visitor.shot("error-outside")


def test_ui__one_energy_goes_through_every_page(browser, address, shots):
    with visit(browser, address + ask(chosen("one.hdf5")), shots) as visitor:
        visitor.page.locator(FIGURE).first.wait_for(timeout=60_000)
        for title in PAGES:
            visitor.open(title)
            visitor.shot(f"one-energy-{title}")
        assert_alive(visitor)


def test_ui__work_that_is_stopped_can_be_taken_up_again(browser, address, shots):
    state = chosen("large.hdf5", page="Unmix")
    state.unmix.param.update(method="nmf", n_components=6, n_starts=20)  # takes long enough to be stopped
    with visit(browser, address + ask(state), shots) as visitor:
        page = visitor.page
        page.get_by_role("button", name="Stop").click(timeout=60_000)
        again = page.get_by_role("button", name="Try again").first
        again.wait_for(timeout=60_000)
        visitor.shot("error-stopped")
        again.click()
        page.locator(FIGURE).first.wait_for(timeout=120_000)
        assert_alive(visitor)


def test_ui__a_server_that_ends_is_said(browser, filled, shots, tmp_path):
    with running(filled, "lixv2o5.hdf5", tmp_path / "log") as (address, process):
        page = browser.new_page()
        page.goto(address)
        page.locator(FIGURE).first.wait_for(timeout=60_000)
        os.kill(process, signal.SIGTERM)
        page.get_by_text("Server connection lost").wait_for(timeout=20_000)
        page.close()
