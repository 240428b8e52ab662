"""A page that was closed leaves nothing behind in the server."""

from __future__ import annotations

import gc
import threading
import time
import urllib.request
import weakref

import pytest
from browser import in_process
from stxm_explorer import store as rooms
from stxm_explorer.shell import App
from stxm_explorer.state import ExplorerState
from stxm_explorer.store import Store

import xstxm

# The tests of a group begin early, while little else is in the process.
pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("memory")]


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

    with in_process(page) as address:
        yield address, pages


@pytest.fixture
def held(monkeypatch):
    """Work that begins, as it says, and goes on until the test is over."""
    begun, go, original = threading.Event(), threading.Event(), xstxm.optical_density

    def slow(*arguments, **options):
        begun.set()
        assert go.wait(120)
        return original(*arguments, **options)

    rooms._RESULTS.clear()
    monkeypatch.setattr(xstxm, "optical_density", slow)
    yield begun
    go.set()


def assert_let_go(page: weakref.ref) -> None:
    """Assert that a page that was closed is no more, after some time: a server ends what was left after two seconds."""
    for _ in range(60):
        time.sleep(1)
        gc.collect()
        if page() is None:
            return
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


def test_session__that_ends_during_work_does_not_wait_for_it(browser, opened, held):
    address, pages = opened
    tab = browser.new_page()
    tab.goto(address)
    assert held.wait(60)
    tab.get_by_role("button", name="Stop").wait_for(timeout=60_000)
    tab.close()
    assert_let_go(pages[-1])


def test_session__of_a_browser_that_left_before_it_was_connected_leaves_nothing_behind(opened):
    address, pages = opened
    documents = []
    for visits in (1, 2, 3):  # later ones find what the first one made
        urllib.request.urlopen(address, timeout=60).close()
        assert len(pages) == visits
        documents.append(weakref.ref(pages[-1]()._document))
        assert_let_go(pages[-1])
    gc.collect()
    assert sum(document() is not None for document in documents) <= 1  # that which a thread began its life with
