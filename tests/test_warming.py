"""`xstxm warmup`: what it compiled is there for other processes, and it says where."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from xstxm import _warming
from xstxm.errors import OptionError, PerformanceWarning

COUNT = """
import json, sys
import xstxm
from numba.core import event
references = xstxm.testing.simulate_references()
found = {}
for dtype in ("float32", "float64"):
    made = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    stack = made[["intensity"]].astype(dtype)
    with event.install_recorder("numba:compile") as compiled:
        for method in ("nnls", "fcls", "lstsq"):
            xstxm.phase_map(xstxm.optical_density(stack.chunk(y=8)), references, method=method, background="linear").compute()
        xstxm.fit(stack.assign(i0=made["true_i0"]), references)
    found[dtype] = len(compiled.buffer)
print(json.dumps(found))
"""


def run(command, cache):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "COLUMNS": "400"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.xdist_group("warming")
def test_warmup__leaves_nothing_to_compile_for_the_usual_maps(tmp_path):
    warmed = run(["-m", "xstxm", "warmup"], tmp_path)
    assert warmed.returncode == 0, warmed.stderr
    assert warmed.stdout.startswith("compiled ")
    assert "compiling: up to a minute" in warmed.stderr
    assert str(tmp_path) in warmed.stdout
    counted = run(["-c", COUNT], tmp_path)
    assert json.loads(counted.stdout) == {"float32": 0, "float64": 0}, counted.stderr
    again = run(["-m", "xstxm", "warmup"], tmp_path)
    assert again.stdout.startswith("nothing to compile")
    assert "compiling" not in again.stderr


def test_kept_in__says_that_the_folder_asked_for_is_not_used(monkeypatch, tmp_path):
    folder = _warming.kept_in()  # numba has read its variable now
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    with pytest.warns(PerformanceWarning, match="cannot be written to, so numba uses"):
        assert _warming.kept_in() == folder
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder.parent))
    assert _warming.kept_in() == folder


def test_warm__without_any_folder_says_what_to_set(monkeypatch):
    def no_folder(dtype, everything):
        raise RuntimeError("cannot cache function 'plain_test': no locator available for file 'lanes.py'")

    monkeypatch.setattr(_warming, "_map", no_folder)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    with pytest.raises(OptionError, match="NUMBA_CACHE_DIR=None: numba finds no folder"):
        _warming.warm()
