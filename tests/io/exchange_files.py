"""Writes tiny Data Exchange files, as Mantis lays them out."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

ENERGY = np.array([700.0, 705.5, 710.25])
Y = np.array([1.0, 1.1])
X = np.array([5.0, 5.2, 5.4, 5.6])
COUNTS = np.arange(24, dtype="float32").reshape(3, 2, 4) + 100
"""(energy, y, x), every number another."""


def write(path: Path, *, axes: str | None = "x:y:energy", counts: np.ndarray = COUNTS, x: np.ndarray = X) -> Path:
    """A file of counts (energy, y, x), stored as (x, y, energy)."""
    with h5py.File(path, "w") as file:
        file["implements"] = np.bytes_("information:exchange:spectromicroscopy")
        file["version"] = np.bytes_("1.0")
        file["information/title"] = np.bytes_("particle")
        data = file.create_dataset("exchange/data", data=counts.transpose(2, 1, 0))
        if axes is not None:
            data.attrs["axes"] = np.bytes_(axes)
        for name, values, unit in (("energy", ENERGY, "ev"), ("y", Y, "um"), ("x", x, "um")):
            file[f"exchange/{name}"] = values
            file[f"exchange/{name}"].attrs["units"] = np.bytes_(unit)
    return path


def write_square(path: Path) -> Path:
    """A file whose lengths do not tell x from y, and that does not say."""
    return write(path, axes=None, counts=COUNTS[:, :, :2], x=X[:2])
