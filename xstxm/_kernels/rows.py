"""Tables of numbers as compiled loops take them: flat, with the distance of their rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """A table of which each row is one run in memory, or one number for the whole row."""

    values: np.ndarray
    """Flat, whatever the strides, so that one compiled signature serves all."""
    row: int
    """Distance of rows, 0 where all are the same."""
    step: int
    """1, or 0 where a row is one number."""


def rows_of(table: np.ndarray, dtype: np.dtype) -> Rows:
    """Return a table (row, place), of either only one where all are the same, in a dtype."""
    values, row = flat(table, dtype)
    return Rows(values, row if table.shape[0] > 1 else 0, int(table.shape[1] > 1))


def flat(table: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Return a flat read-only view and the distance of rows in it; a copy where dtype or strides do not allow a view."""
    if (
        table.dtype != dtype
        or table.strides[1] != dtype.itemsize
        or table.strides[0] % dtype.itemsize
        or table.strides[0] < 0
    ):
        table = np.ascontiguousarray(table, dtype=dtype)
    return _flat_view(table, writeable=False)


def flat_result(table: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a flat view to write to, and the distance of rows in it; of a table whose rows are runs in memory."""
    return _flat_view(table, writeable=True)


def _flat_view(table: np.ndarray, *, writeable: bool) -> tuple[np.ndarray, int]:
    size = table.dtype.itemsize
    row = table.strides[0] // size
    shape = ((table.shape[0] - 1) * row + table.shape[1],)
    return np.lib.stride_tricks.as_strided(table, shape, (size,), writeable=writeable), row
