"""The explorer of arrays in memory: what the notebook gets, and the page that it serves."""

from __future__ import annotations

import gc
import subprocess
import sys
import urllib.request
import warnings
import weakref

import pytest
import xarray as xr
from stxm_explorer import store
from stxm_explorer.session import Session
from stxm_explorer.state import ExplorerState
from stxm_explorer.store import Store

import xstxm


@pytest.fixture(scope="module")
def stack():
    return xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]


@pytest.fixture(scope="module")
def references():
    return xstxm.testing.simulate_references()


@pytest.fixture
def explorer(stack, references):
    made = stack.stxm.explore(references)
    yield made
    made.stop()


def test_explore__the_script_makes_what_the_page_shows(explorer, stack, references):
    names = {"stack": stack, "references": references}
    exec(explorer.script(), names)
    found = explorer.phases()
    xr.testing.assert_allclose(names["stack_phases"], found, rtol=1e-5, atol=1e-7)
    assert found.sizes["phase"] == references.sizes["reference"]
    assert "composition" in found


def test_explore__uses_the_i0_of_the_stack(stack, references):
    i0 = xstxm.estimate_i0(stack, fraction=0.05)
    text = xstxm.explore(stack.assign(i0=i0["i0"]), references).script()
    assert "estimate_i0" not in text


def test_explore__takes_the_intensity_alone(stack):
    assert "optical_density(stack" in xstxm.explore(stack["intensity"]).script()


def test_explore__serves_its_page_until_it_is_stopped(explorer):
    frame = explorer._repr_html_()
    assert f'src="{explorer.address}"' in frame
    assert explorer.address.startswith("http://127.0.0.1:")
    assert urllib.request.urlopen(explorer.address, timeout=30).status == 200
    address = explorer.address
    explorer.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=5)


def test_stop__lets_go_of_what_was_computed_for_the_notebook_and_its_pages(stack, references):
    kept, explorer = len(store._RESULTS._kept), stack.stxm.explore(references)
    page = explorer._page()
    (app,) = explorer._pages
    app.state.view.page = "Phases"
    app.refresh()
    made = weakref.ref(app.page().views()[0].result["composition"].data)
    assert made() is explorer.phases()["composition"].data
    del app
    explorer.stop()
    gc.collect()
    assert page.main == []
    assert len(store._RESULTS._kept) == kept
    assert made() is None
    assert "composition" in explorer.phases()  # is made anew
    explorer.stop()


def test_explore__leaves_the_filters_of_warnings_as_they_are(explorer):
    before = list(warnings.filters), warnings.showwarning
    urllib.request.urlopen(explorer.address, timeout=30).read()
    explorer.phases()
    assert (list(warnings.filters), warnings.showwarning) == before


def test_explore__what_was_sent_outlives_the_page_that_sent_it(explorer):
    session = Session(ExplorerState(), explorer._store)
    explorer._store.uploads.read("sent.csv", b"energy,a\n500,0.1\n520,1.0\n")
    session.close()
    path = explorer._store.uploads.files["sent.csv"]
    assert path.is_file()
    assert not Store(explorer._store.root).uploads.files
    explorer.stop()
    assert not path.exists()


def test_explore__says_what_it_shows(explorer):
    assert "energy: 121, y: 24, x: 32" in repr(explorer)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        pytest.param(lambda s: s.isel(y=0), xstxm.errors.MissingDimensionError, "images", id="a line"),
        pytest.param(lambda s: s.isel(energy=0), xstxm.errors.MissingDimensionError, "energy", id="one energy"),
        pytest.param(
            lambda s: s.rename(intensity="signal"), xstxm.errors.MissingVariableError, "intensity", id="no intensity"
        ),
    ],
)
def test_explore__refuses_what_is_no_stack_of_images(stack, change, error, words):
    with pytest.raises(error, match=words):
        xstxm.explore(change(stack))


def test_explore__says_what_to_install(stack, monkeypatch):
    monkeypatch.setattr("xstxm.exploring.find_spec", lambda package: None)
    with pytest.raises(xstxm.errors.MissingDependencyError, match="dashboard"):
        xstxm.explore(stack)


def test_import__brings_no_dashboard():
    code = "import sys, xstxm; print([name for name in sys.modules if name.startswith(('panel', 'stxm_explorer'))])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
