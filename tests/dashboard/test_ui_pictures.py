"""The pictures of the manual, where XSTXM_SCREENSHOTS names a folder for them: every page at work, light and dark.

`test_ui_walk` goes to the same pages, large and small, light and dark, whether pictures are asked for or not.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from browser import assert_equal_aspect, served, visit
from stxm_explorer.state import ExplorerState, Region

import xstxm

pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif("XSTXM_SCREENSHOTS" not in os.environ, reason="XSTXM_SCREENSHOTS asks for no pictures"),
]
FIELDS = ("electrode", "field 1", "field 2")
PAGES = {
    "Data": "are told apart",
    "Prepare": "I0 ± standard error",
    "Explore": "core",
    "Unmix": "Stability",
    "Phases": "undecided",
    "Length scales": "between particles and",
    "Export": "phase map, everything in it",
}
"""What stands on each page once its results are there."""
MAPS = {"Prepare", "Explore", "Unmix", "Phases"}
"""Pages on which there is a map then."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Address of an explorer at work on an electrode and two fields in it."""
    root = tmp_path_factory.mktemp("pictures")
    tree = xstxm.testing.simulate_tree(
        n_fields=2,
        energies=np.arange(512, 537, 0.5),
        electrode=xstxm.testing.Instrument("250 nm", "250 nm", 20000.0),
        field=xstxm.testing.Instrument("50 nm", "50 nm", 5000.0),
        detail=None,
        field_size="6 um",
        seed=0,
    )
    references = xstxm.testing.simulate_references(energies=tree["field 1"].energy)
    references = references.sel(reference=["alpha-V2O5", "delta-LiV2O5"])
    references["absorption"].to_pandas().T.to_csv(root / "references.csv", index_label="energy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        for name in FIELDS:
            xstxm.write_nxstxm(tree[name].to_dataset()[["intensity"]], root / f"{name}.hdf5")
    with served(root, "", tmp_path_factory.mktemp("log") / "log") as server:
        yield f"{server}?state={at_work(tree['field 1'].to_dataset()).to_query()}"


def at_work(stack) -> ExplorerState:
    """Return the choices of somebody who is in the middle of it."""
    left, bottom = (float(stack[dim].min()) for dim in ("x", "y"))
    state = ExplorerState()
    for name in FIELDS:
        state.open(f"{name}.hdf5")
    state.references.choose(["references.csv"])
    state.references.names = ["alpha-V2O5", "delta-LiV2O5"]
    state.references.composition = {"alpha-V2O5": 0.0, "delta-LiV2O5": 1.0}
    state.scales.left_out = ["electrode"]
    state.scales.tab = "Variance"
    state.add_region(Region("box", ((left + 2, bottom + 2), (left + 3, bottom + 3)), "core"))
    state.view.param.update(
        field="field 1", data="References", prepare="I0", below="Shares", cursor=(left + 2.5, bottom + 4)
    )
    state.unmix.tab = "Clusters"
    return state


def test_ui__every_page_at_work_light_and_dark(browser, address, shots):
    with visit(browser, address, shots) as visitor:
        visitor.page.wait_for_selector(".MuiToggleButton-root", timeout=60_000)
        visitor.settle()
        for look in ("light", "dark"):
            for title, told in PAGES.items():
                visitor.open(title)
                visitor.page.get_by_text(told).first.wait_for(timeout=90_000)
                visitor.settle(180_000)
                visitor.shot(f"{title.lower().replace(' ', '-')}-{look}")
                if title in MAPS:
                    assert_equal_aspect(visitor)
            visitor.toggle_theme()
