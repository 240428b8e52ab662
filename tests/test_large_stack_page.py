"""The code of the page *A stack larger than memory* runs, and does not hold the stack."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import xstxm

pytest.importorskip("zarr")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "large_stack.md"
CELLS = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


@pytest.mark.slow
def test_page__makes_a_stack_on_disk_and_maps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in CELLS:
        exec(compile(cell, str(PAGE), "exec"), names)
    tile, stack, n = names["tile"], names["stack"], names["n"]
    assert stack.sizes == {"energy": tile.sizes["energy"], "y": 256 * n, "x": 256 * n}
    np.testing.assert_array_equal(stack["intensity"][:, 256:, 256:], tile)
    assert not xstxm.chunk_report(stack).advice
    assert names["maps"].shape == (256 * n, 256 * n)
    alone = xstxm.fit(xstxm.optical_density(tile, names["i0"]), names["references"])["residual_rms"]
    np.testing.assert_allclose(names["maps"][256:, 256:], alone, rtol=1e-5)
