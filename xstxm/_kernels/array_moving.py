"""Frames on a device moved by known shifts, by slices of whole stacks of frames: what `moving` does on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from xstxm._kernels.moving import settled, stencil


def move_frames(frames: Any, shifts: np.ndarray, *, squared: bool, **_: Any) -> Any:
    """Return frames (..., y, x) on a device moved by shifts (..., 2) on the host, by cubic convolution; marks go to the nearest pixel."""
    size = frames.shape[-2:]
    flat = frames.reshape(-1, *size)
    numbers = frames.dtype.kind == "f"
    out = np.full_like(flat, np.nan if numbers else 0)
    for frame, target, shift in zip(flat, out, shifts.reshape(-1, 2), strict=True):
        if numbers:
            _cubic(frame, shift, squared, target)
        else:
            _nearest(frame, shift, target)
    return out.reshape(frames.shape)


def _cubic(frame: Any, shift: np.ndarray, squared: bool, out: Any) -> None:
    """Fill the pixels of `out` that have all they need."""
    (row, weights_y, top, bottom), (column, weights_x, left, right) = (
        stencil(float(by), n, squared, out.dtype) for by, n in zip(shift, frame.shape, strict=True)
    )
    if top >= bottom or left >= right:
        return
    first, wide = left + column, right - left + len(weights_x) - 1
    rows = sum(w * frame[top + row + q : bottom + row + q, first : first + wide] for q, w in enumerate(weights_y))
    out[top:bottom, left:right] = sum(w * rows[:, q : q + right - left] for q, w in enumerate(weights_x))


def _nearest(frame: Any, shift: np.ndarray, out: Any) -> None:
    source = [np.arange(n) + by for n, by in zip(frame.shape, settled(-shift), strict=True)]
    inside = [np.flatnonzero((at >= 0) & (at <= n - 1)) for at, n in zip(source, frame.shape, strict=True)]
    if all(places.size for places in inside):
        (top, bottom), (left, right) = ((places[0], places[-1] + 1) for places in inside)
        rows, columns = (np.floor(at[places] + 0.5).astype(int) for at, places in zip(source, inside, strict=True))
        out[top:bottom, left:right] = frame[rows][:, columns]
