"""A root folder with a small simulated stack and its references, beside a folder that must stay closed."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import pytest

import xstxm

pytest.importorskip("panel_material_ui")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "dashboards"))


def fill(root: Path) -> Path:
    """Write a stack, references and an I0 spectrum into a folder."""
    root.mkdir(parents=True, exist_ok=True)
    references = xstxm.testing.simulate_references()
    stack = xstxm.testing.simulate_stack(shape=(48, 64), seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        xstxm.write_nxstxm(stack[["intensity"]], root / "lixv2o5.hdf5")
    references["absorption"].to_pandas().T.to_csv(root / "references.csv", index_label="energy")
    stack["true_i0"].to_pandas().to_csv(root / "i0.csv", header=["i0"], index_label="energy")
    (root / "notes.txt").write_text("nothing to fit here\n")
    return root


@pytest.fixture(scope="session")
def filled(tmp_path_factory) -> Path:
    """Root folder; read only."""
    return fill(tmp_path_factory.mktemp("served") / "root")


@pytest.fixture(scope="session")
def names(filled) -> list[str]:
    """Names of the simulated references."""
    return [str(name) for name in xstxm.testing.simulate_references()["reference"].values]


@pytest.fixture(scope="session")
def shots(tmp_path_factory) -> Path:
    """Folder of the screenshots; XSTXM_SCREENSHOTS names one that is kept."""
    folder = Path(os.environ.get("XSTXM_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, headless."""
    from browser import ARGS, CHROMIUM

    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium-headless-shell")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def simulated(filled, tmp_path_factory):
    """Address of an explorer that serves the simulated stack."""
    from browser import served

    with served(filled, "lixv2o5.hdf5", tmp_path_factory.mktemp("log") / "log") as address:
        yield address


@pytest.fixture(scope="session")
def nested(tmp_path_factory) -> Path:
    """Root folder with an electrode and, inside it, two fields of particles; read only."""
    root = tmp_path_factory.mktemp("nested")
    tree = xstxm.testing.simulate_tree(
        n_fields=2,
        electrode=xstxm.testing.Instrument("250 nm", "250 nm", 20000.0),
        field=xstxm.testing.Instrument("80 nm", "80 nm", 5000.0),
        detail=None,
        field_size="4 um",
        seed=0,
    )
    references = xstxm.testing.simulate_references(energies=tree["field 1"].energy)
    references = references.sel(reference=["alpha-V2O5", "delta-LiV2O5"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        for name, node in tree.children.items():
            xstxm.write_nxstxm(node.to_dataset()[["intensity"]], root / f"{name}.hdf5")
    references["absorption"].to_pandas().T.to_csv(root / "references.csv", index_label="energy")
    return root


@pytest.fixture(scope="session")
def nested_server(nested, tmp_path_factory):
    """Address of an explorer that serves the electrode and its fields, none of them open."""
    from browser import served

    with served(nested, "", tmp_path_factory.mktemp("log") / "log") as address:
        yield address
