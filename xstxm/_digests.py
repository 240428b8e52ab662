"""Digests: which numbers an array held, without the numbers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import xarray as xr

LARGEST = 2**25
"""Bytes of an array above which a record does without its digest, which would take longer than many a verb."""


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
    if not isinstance(obj, np.ndarray) and not all(part._in_memory for part in _variables(obj).values()):
        return None
    return digest(obj)


def _variables(obj: Any) -> dict[Any, xr.Variable]:
    if isinstance(obj, np.ndarray):
        return {"": xr.Variable([f"dim_{k}" for k in range(obj.ndim)], obj)}
    if isinstance(obj, xr.Dataset):
        return dict(obj.variables)
    return {"": obj.variable, **{name: coord.variable for name, coord in obj.coords.items()}}


def _add(total: Any, name: Any, variable: xr.Variable) -> None:
    values = np.asarray(variable)
    plain = _plain(values)
    head = [
        str(name),
        list(map(str, variable.dims)),
        list(values.shape),
        plain[0],
        str(variable.attrs.get("units", "")),
    ]
    total.update(json.dumps(head).encode())
    total.update(plain[1])


def _plain(values: np.ndarray) -> tuple[str, bytes]:
    """Return the type and the bytes of an array, the same on every machine."""
    if values.dtype.kind in "OUS":
        return "text", json.dumps(values.tolist(), default=str).encode()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    return little.dtype.str, little.tobytes()
