"""Long work of two pages, or of two buttons on one, that begins at once, and a connection that is lost in the middle of some."""

from __future__ import annotations

import io
import shutil
import threading
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from browser import Visitor, in_process, labels_on_page
from stxm_explorer import plan
from stxm_explorer import store as rooms
from stxm_explorer.calls import script
from stxm_explorer.shell import App
from stxm_explorer.state import ExplorerState
from stxm_explorer.store import Store

import xstxm

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("at once")]
SOCKETS = """() => {
  window.sockets = []
  window.WebSocket = class extends WebSocket {
    constructor(...where) { super(...where); window.sockets.push(this) }
  }
}"""
"""Keeps the connections of a page."""


@pytest.fixture(scope="module")
def root(filled, tmp_path_factory):
    """Folder with two stacks and references."""
    root = tmp_path_factory.mktemp("two") / "root"
    shutil.copytree(filled, root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        xstxm.write_nxstxm(xstxm.testing.simulate_stack(shape=(36, 44), seed=4)[["intensity"]], root / "other.hdf5")
    return root


@pytest.fixture
def address(root):
    """Address of an explorer of that folder in this process, which has made nothing yet."""
    rooms._RESULTS.clear()
    with in_process(lambda: App(ExplorerState(), Store(root)).__panel__()) as address:
        yield address


def chosen(stack: str, page: str = "Phases") -> ExplorerState:
    """Return the choice of a stack and two references, which are fitted in no time."""
    state = ExplorerState()
    state.open(stack)
    state.references.choose(["references.csv"])
    state.view.page = page
    return state


@pytest.fixture
def visitor(browser, shots):
    """Opens pages; what must not happen on any of them is looked for at the end."""
    open_ones: list[Visitor] = []

    def visiting(where: str, state: ExplorerState) -> Visitor:
        open_ones.append(Visitor(browser.new_page(viewport={"width": 1280, "height": 800}), shots))
        open_ones[-1].page.add_init_script(f"({SOCKETS})()")
        open_ones[-1].page.goto(f"{where}?state={state.to_query()}", wait_until="commit")
        return open_ones[-1]

    yield visiting
    for each in open_ones:
        each.page.close()


def at_once(monkeypatch, *names: str, parties: int = 2) -> list[str]:
    """Have functions of xstxm wait for each other when they are first called; return what is called."""
    called: list[str] = []
    together = threading.Barrier(parties)
    for name in names:
        original = getattr(xstxm, name)

        def waiting(*arguments, name=name, original=original, **options):
            called.append(name)
            if len(called) <= parties:
                together.wait(120)  # breaks, and with it the work, where nobody else comes
            return original(*arguments, **options)

        monkeypatch.setattr(xstxm, name, waiting)
    return called


def phases_by_script(state: ExplorerState, root, monkeypatch) -> xr.Dataset:
    """Return the phases that the script of a page makes, without the explorer."""
    made: dict = {}
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.StxmWarning)
        patch.chdir(root)
        exec(script([replace(plan.phases(state, state.field), name="wanted")]), made)
    return made["wanted"]


def assert_shows_phases(visitor: Visitor, state: ExplorerState, root, monkeypatch) -> None:
    """Assert that a page has come to rest with the right phase map, and with its choices."""
    visitor.page.locator(".bk-Figure:visible").first.wait_for(timeout=120_000)
    visitor.settle()
    wanted = phases_by_script(state, root, monkeypatch)["phase_label"].sortby(["y", "x"]).transpose("y", "x")
    np.testing.assert_array_equal(labels_on_page(visitor.page), wanted)
    kept = ExplorerState()
    kept.from_query(visitor.page.url.partition("state=")[2])
    assert [field.file for field in kept.fields] == [field.file for field in state.fields]
    assert (kept.references.files, kept.view.page) == (state.references.files, "Phases")


def test_two_pages__that_begin_long_work_at_once_both_end_with_their_own_results(address, root, visitor, monkeypatch):
    called = at_once(monkeypatch, "phase_map")
    states = [chosen("lixv2o5.hdf5"), chosen("other.hdf5"), chosen("lixv2o5.hdf5")]
    visitors = [visitor(address, state) for state in states]
    for each in visitors:
        each.page.locator(".bk-Figure:visible").first.wait_for(timeout=120_000)
    assert len(called) == 2  # what the third one wants the first one makes
    for each, state in zip(visitors, states, strict=True):
        assert_shows_phases(each, state, root, monkeypatch)
        each.leave()


def test_one_page__whose_buttons_begin_long_work_at_once_ends_both(address, visitor, monkeypatch):
    page = (seen := visitor(address, chosen("lixv2o5.hdf5", page="Export"))).page
    button = page.get_by_role("button", name="Make files")
    button.wait_for(timeout=120_000)
    seen.settle()
    called = at_once(monkeypatch, "write_netcdf", "pca")
    button.click()
    page.get_by_role("button", name="Unmix", exact=True).first.click()
    page.get_by_text("eigenvalues lie above the noise floor").wait_for(timeout=120_000)
    seen.settle()
    assert sorted(called[:2]) == ["pca", "write_netcdf"]
    seen.open("Export")
    with page.expect_download() as sent:
        page.get_by_role("button", name="Download lixv2o5.zip").click()
    with zipfile.ZipFile(io.BytesIO(sent.value.path().read_bytes())) as archive:
        assert archive.testzip() is None
        assert "lixv2o5/lixv2o5 phase map.nc" in archive.namelist()
    seen.leave()


def test_connection__lost_in_the_middle_of_work_is_taken_up_by_the_page_that_is_loaded_again(
    address, root, visitor, monkeypatch
):
    begun, go, original = threading.Event(), threading.Event(), xstxm.phase_map

    def held(*arguments, **options):
        begun.set()
        assert go.wait(120)
        return original(*arguments, **options)

    monkeypatch.setattr(xstxm, "phase_map", held)
    state = chosen("lixv2o5.hdf5")
    page = (seen := visitor(address, state)).page
    try:
        stop = page.get_by_role("button", name="Stop")
        stop.wait_for(timeout=60_000)
        assert begun.wait(60)
        page.evaluate("sockets.forEach(socket => socket.close())")
        page.wait_for_timeout(3000)  # by then the server has ended the page, but not its work
        page.reload()
        stop.wait_for(timeout=60_000)
    finally:
        go.set()
    seen.errors.clear()  # of the page that lost its connection
    assert_shows_phases(seen, state, root, monkeypatch)
    seen.leave()
