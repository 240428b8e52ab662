"""A page that was closed leaves nothing behind in the server."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import panel as pn
import pytest
from browser import free_port
from stxm_explorer import store as rooms
from stxm_explorer.shell import App
from stxm_explorer.state import ExplorerState
from stxm_explorer.store import Store

import xstxm

pytestmark = pytest.mark.ui


@pytest.fixture
def opened(filled):
    """Address of an explorer in this process, and its pages as long as they live."""
    pages: list[weakref.ref] = []

    def page():
        state = ExplorerState()
        state.open("lixv2o5.hdf5")
        state.view.page = "Explore"
        app = App(state, Store(filled))
        pages.append(weakref.ref(app))
        return app.__panel__()

    pn.extension("tabulator", notifications=True)
    port = free_port()
    server = pn.serve(
        {"explorer": page}, address="127.0.0.1", port=port, threaded=True, show=False, verbose=False,
        websocket_origin=f"127.0.0.1:{port}", check_unused_sessions_milliseconds=500,
        unused_session_lifetime_milliseconds=2000,
    )  # fmt: skip
    yield f"http://127.0.0.1:{port}/explorer", pages
    server.stop()


def assert_let_go(page: weakref.ref) -> None:
    """Assert that a page that was closed is no more, after some time."""
    for _ in range(300):
        gc.collect()
        if page() is None:
            return
        time.sleep(0.2)
    raise AssertionError("the page is still there")


def test_session__of_the_explorer_leaves_nothing_behind(browser, opened):
    address, pages = opened
    tab = browser.new_page()
    tab.goto(address)
    tab.locator(".bk-Figure:visible").first.wait_for(timeout=60_000)
    tab.get_by_role("button", name="Phases", exact=True).first.click()
    tab.locator(".MuiAlert-root:visible", has_text="reference").first.wait_for(timeout=60_000)
    assert pages[-1]() is not None
    tab.close()
    assert_let_go(pages[-1])


def test_session__that_ends_during_work_does_not_wait_for_it(browser, opened, monkeypatch):
    address, pages = opened
    begun, go, original = threading.Event(), threading.Event(), xstxm.optical_density

    def slow(*arguments, **options):
        begun.set()
        assert go.wait(120)
        return original(*arguments, **options)

    rooms._RESULTS.clear()
    monkeypatch.setattr(xstxm, "optical_density", slow)
    tab = browser.new_page()
    try:
        tab.goto(address)
        assert begun.wait(60)
        tab.get_by_role("button", name="Stop").wait_for(timeout=60_000)
        tab.close()
        assert_let_go(pages[-1])
        assert not go.is_set()
    finally:
        go.set()
