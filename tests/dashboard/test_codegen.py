"""The printed script gives what the page shows."""

from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest
from stxm_explorer.codegen import script
from stxm_explorer.state import ExplorerState, Region
from stxm_explorer.store import Store


def test_script__without_a_file_is_a_hint():
    assert script(ExplorerState()).startswith("# Choose a stack first")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="nothing but a file"),
        pytest.param({"references": ["references.csv"]}, id="table of references"),
        pytest.param({"references": ["a/V2O5.txt", "b/VO2.txt"], "composition": "V2O5=0, VO2=1"}, id="two files"),
        pytest.param({"i0_source": "file", "i0_file": "i0's file.csv", "i0_units": "count/ms"}, id="I0 with a quote"),
        pytest.param({"region": Region("box", ((0.0, 0.1), (1.0, 2.0))), "energy": 517.5}, id="box and energy"),
    ],
)
def test_script__is_python_without_absolute_paths(change):
    text = script(ExplorerState(file="folder/stack's.hdf5", **change))
    literals = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    assert not [value for value in literals if isinstance(value, str) and value.startswith("/")]
    assert "folder/stack's.hdf5" in literals


def test_script__runs_in_a_fresh_interpreter_and_agrees_with_the_page(filled, names, tmp_path):
    state = ExplorerState(
        file="lixv2o5.hdf5",
        references=["references.csv"],
        composition=", ".join(f"{name}={k / 3}" for k, name in enumerate(names)),
        i0_fraction=0.15,
        method="fcls",
        background="linear",
        min_confidence=0.8,
        energy=518.0,
        region=Region("polygon", ((0.4, 0.3), (1.2, 0.3), (0.8, 1.0))),
    )
    for name in ("lixv2o5.hdf5", "references.csv"):
        (tmp_path / name).symlink_to(filled / name)
    text = script(state) + 'phases.to_netcdf("phases.nc")\nfit.to_netcdf("fit.nc")\n'
    subprocess.run([sys.executable, "-c", text], check=True, cwd=tmp_path, timeout=240)
    import xarray as xr

    store = Store(filled)
    page = store.phases(state.recipe)
    with xr.open_dataset(tmp_path / "phases.nc") as written:
        np.testing.assert_array_equal(written["phase_label"], page["phase_label"])
        np.testing.assert_allclose(written["composition"], page["composition"], rtol=1e-5)
    with xr.open_dataset(tmp_path / "fit.nc") as written:
        fit = store.probe(state.recipe, state.region).fit
        np.testing.assert_allclose(written["component_map"], fit["component_map"], rtol=1e-5)
    pictures = {path.name for path in tmp_path.rglob("*.png")}
    assert pictures == {
        "phase_map.png", "confidence.png", "phase_spectra.png", "composition.png", "spectrum.png", "image.png"
    }  # fmt: skip
