"""Writes tiny aXis2000 stacks (.ncb with .dat) and Stony Brook stacks (.stk)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

ENERGIES = (700.0, 705.5, 708.25)
SHAPE = (3, 2, 4)
X = (0.0, 0.15)
Y = (-1.0, -0.95)


def numbers() -> np.ndarray:
    """Whole numbers that tell every pixel and every energy apart, (energy, y, x)."""
    return (100 + np.arange(24)).reshape(SHAPE)


def write_ncb(
    folder: Path,
    data: np.ndarray,
    scale: float = 1,
    *,
    x: Sequence[float] = X,
    y: Sequence[float] = Y,
    frames: bool = True,
    base: str = "stack",
) -> Path:
    """An aXis2000 stack; returns the path of its .dat."""
    count, rows, columns = data.shape
    lines = [f"{columns} {rows} {scale}", f"{x[0]} {x[1]}", f"{y[0]} {y[1]}", f"{count}"]
    lines += [f"{energy:.3f}" for energy in ENERGIES[:count]]
    lines += [f"frame_{n:03d} {energy:.3f} 1.50" for n, energy in enumerate(ENERGIES[:count])] if frames else []
    (folder / f"{base}.dat").write_text("".join(f"{line}\r\n" for line in lines))
    stored = np.rint(data * scale).astype("<i2") if scale > 0 else data.astype("<f4")
    (folder / f"{base}.ncb").write_bytes(stored.tobytes())
    return folder / f"{base}.dat"


def write_stk(path: Path, data: np.ndarray, energies: Sequence[float] = ENERGIES) -> Path:
    """A Stony Brook stack."""
    count, rows, columns = data.shape
    axes = [np.linspace(*X, columns), np.linspace(*Y, rows), energies, np.full(count, 1.5), data.ravel()]
    path.write_bytes(
        np.array([columns, rows, count], ">i4").tobytes() + b"".join(np.asarray(a, ">f4").tobytes() for a in axes)
    )
    return path
