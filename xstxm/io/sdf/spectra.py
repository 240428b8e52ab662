"""The data file of an SDF point scan: text columns, the energy first, then one per channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xstxm.errors import CorruptFileError
from xstxm.io._sources import COPY_AGAIN

_LARGEST = 64 * 1024 * 1024
"""Bytes of a spectrum; real ones have some kB."""


def read_columns(path: Path, channels: int) -> np.ndarray:
    """Return the columns of an ``.xsp`` file, (energy, 1 + channels).

    Raises
    ------
    CorruptFileError
        The file does not hold a column for the energy and one for each channel.
    """
    expected = f"{1 + channels} columns of numbers"
    if path.stat().st_size > _LARGEST:
        raise CorruptFileError(path, expected, f"more than {_LARGEST // 1024**2} MB", COPY_AGAIN)
    rows = [line for line in path.read_bytes().decode("latin-1").split("\n") if line.strip()]
    if not rows:
        raise CorruptFileError(path, expected, "nothing", COPY_AGAIN)
    try:
        table = np.loadtxt(rows, comments=None, ndmin=2)
    except ValueError as error:
        raise CorruptFileError(path, expected, str(error), COPY_AGAIN) from None
    if table.shape[1] != 1 + channels:
        raise CorruptFileError(path, expected, f"{table.shape[1]}", COPY_AGAIN)
    return table
