"""Digests: which numbers an array held, without the numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from xstxm._kernels.devices import on_device

LARGEST = 2**25
"""Bytes of an array above which a record does without its digest, which would take longer than many a verb."""
_PIECE = 2**16


def digest(obj: xr.DataArray | xr.Dataset | np.ndarray) -> str:
    """Return ``sha256:...`` of values, dimensions, coordinates and units. Eager.

    The same in any byte order, for strings of any length, and for any NaN. Names of arrays and attributes but the units do
    not count; names of coordinates and of the variables of a Dataset do.
    """
    given = xr.DataArray(obj) if isinstance(obj, np.ndarray) else obj
    parts = _variables(given)
    total = hashlib.sha256()
    for name in sorted(parts, key=str):
        _add(total, name, parts[name])
    return f"sha256:{total.hexdigest()}"


def digest_if_cheap(obj: xr.DataArray | xr.Dataset | np.ndarray) -> str | None:
    """Return the digest of what is in memory and not large; None else, so that nothing is computed or read."""
    if obj.nbytes > LARGEST:
        return None
    if not isinstance(obj, np.ndarray) and not all(_at_hand(part) for part in _variables(obj).values()):
        return None
    return digest(obj)


def _at_hand(variable: xr.Variable) -> bool:
    return variable._in_memory and not on_device(variable._data)


def _variables(obj: Any) -> dict[Any, xr.Variable]:
    if isinstance(obj, np.ndarray):
        return {"": xr.Variable([f"dim_{k}" for k in range(obj.ndim)], obj)}
    if isinstance(obj, xr.Dataset):
        return dict(obj.variables)
    return {"": obj.variable, **{name: coord.variable for name, coord in obj.coords.items()}}


def _add(total: Any, name: Any, variable: xr.Variable) -> None:
    values = np.asarray(variable)
    text = values.dtype.kind in "OUS"
    kind = "text" if text else values.dtype.newbyteorder("<").str
    units = str(variable.attrs.get("units", ""))
    head = [str(name), list(map(str, variable.dims)), list(values.shape), kind, units]
    total.update(json.dumps(head).encode())
    for piece in [json.dumps(values.tolist(), default=str).encode()] if text else _pieces(values):
        total.update(piece)


def _pieces(values: np.ndarray) -> Iterator[bytes]:
    """Yield the bytes of numbers, the same on every machine, without a copy of all of them."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        if piece.dtype.kind == "f":
            piece = np.where(np.isnan(piece), piece.dtype.type(np.nan), piece)
        yield piece.astype(piece.dtype.newbyteorder("<"), copy=False).tobytes()
