"""Writes tiny CXI files of reconstructions."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from scipy import constants


def image(height: int = 4, width: int = 6) -> np.ndarray:
    """A complex image that tells its rows from its columns."""
    rows, columns = np.mgrid[:height, :width]
    return (0.9 - 0.01 * rows + 1j * 0.1 * columns).astype("complex64")


def write(path: Path, energy: float = 850.0, values: np.ndarray | None = None, pixnm: float | None = 8.0) -> Path:
    """A file of one reconstruction, as written at the ALS."""
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 140
        file["entry_1/image_1/data"] = image() if values is None else values
        file["entry_1/instrument_1/source_1/energy"] = energy * constants.e
        if pixnm is not None:
            file["entry_1/process_1/Param/pixnm"] = pixnm
    return path
