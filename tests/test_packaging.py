"""The built wheel, away from the checkout, does what the checkout does."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHAT_IT_DOES = """
import pathlib, sys
import xarray as xr, xstxm
from xstxm import cli
home = pathlib.Path(sys.argv[1])
assert pathlib.Path(xstxm.__file__).is_relative_to(home), xstxm.__file__
assert cli.dashboard_script().is_relative_to(home), cli.dashboard_script()
assert {"stxm", "sdf", "nxstxm"} <= set(xr.backends.list_engines())
path = xstxm.write_nxstxm(xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]], home / "a.hdf5")
stack = xr.open_dataset(path, engine="stxm")
assert "phase_map(" in stack.stxm.explore().script()
print(stack.stxm.phase_map(xstxm.testing.simulate_references()).sizes["phase"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


def test_wheel__holds_the_dashboard_the_licence_and_the_type_marker(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("xstxm/dashboards/explorer.py", "xstxm/dashboards/stxm_explorer/state.py", "xstxm/py.typed"):
        assert part in names
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert not [name for name in names if name.startswith(("tests/", "docs/")) or name.endswith(".nbc")]


def test_wheel__works_away_from_the_checkout(wheel, tmp_path):
    home = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", home, wheel]
    subprocess.run(install, check=True)
    run = subprocess.run(
        [sys.executable, "-c", WHAT_IT_DOES, str(home)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(home), "NUMBA_DISABLE_JIT": "1"},  # compiled, it is that of the checkout
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "4"
