"""Small pictures of stacks, for the table of files: one frame, grey, kept until the file changes."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import xstxm
from stxm_explorer.access import refuse_links_out, resolve, stamp
from stxm_explorer.figures.rasters import outer_edges

SIDE = 44
"""Pixels of the longer side."""


def thumbnail(root: Path, name: str) -> str:
    """Return the address of a picture that holds its bytes itself; nothing for a scan without images. Slow at first."""
    path = resolve(root, name)
    return _of_file(root, path, stamp(path))


@lru_cache(maxsize=4096)
def _of_file(root: Path, path: Path, changed: int) -> str:
    refuse_links_out(root, path)
    with xstxm.open_stack(path) as stack:
        signal = next(stack[name] for name in ("intensity", "optical_density") if name in stack)
        if not {"y", "x"} <= {*signal.dims}:
            return ""
        if "energy" in signal.dims:
            signal = signal.isel(energy=signal.sizes["energy"] // 2)
        frame = signal.transpose("y", "x")
        extent = outer_edges(frame)
        return _address(frame.values, extent.height, extent.width)


def _address(frame: Any, height: float, width: float) -> str:
    """Return a frame as a PNG of its true shape, y upwards, between its 1st and 99th percentile."""
    from PIL import Image

    grey = np.nan_to_num(np.asarray(frame, dtype=float), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(grey, [1, 99])
    grey = np.clip((grey - low) / ((high - low) or 1.0), 0, 1)
    longest = max(height, width)
    size = (max(round(SIDE * width / longest), 1), max(round(SIDE * height / longest), 1))
    picture = Image.fromarray((255 * grey[::-1]).astype("uint8")).resize(size, Image.Resampling.BOX)
    written = io.BytesIO()
    picture.save(written, "PNG")
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
