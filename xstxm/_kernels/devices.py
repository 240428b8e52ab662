"""Arrays that do not lie in the memory of the host: which they are, and how small ones go there and come back.

An array says itself where it lies, and numpy's functions, given one, call those of its own library; that library is never
imported here, but for what numpy lacks.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

HOST = 1
"""The kind of device that the memory of the host is (DLPack)."""


def device_of(array: Any) -> tuple[int, int] | None:
    """Return the kind and the number of the device on which an array lies; None for the host."""
    if isinstance(array, np.ndarray) or not hasattr(type(array), "__dlpack_device__"):
        return None
    kind, number = array.__dlpack_device__()
    return None if kind == HOST else (int(kind), int(number))


def on_device(array: Any) -> bool:
    """Tell whether an array lies on a device other than the host."""
    return device_of(array) is not None


def pattern(like: Any, dtype: Any, n_dims: int) -> Any:
    """Return an empty array of the kind of another, by which dask knows what the chunks of a result are."""
    return np.empty_like(like, dtype=dtype, shape=(0,) * n_dims)


def library_of(array: Any) -> str:
    """Return the package that an array belongs to."""
    return type(array).__module__.partition(".")[0]


def beside(array: Any, other: Any) -> Any:
    """Return `other` where `array` lies: one of the host is copied to its device."""
    return np.asarray(other, like=array) if on_device(array) and not on_device(other) else other


def on_host(array: Any) -> np.ndarray:
    """Return a copy on the host of an array on a device; one of the host as it is."""
    return array.get() if on_device(array) else np.asarray(array)


def special_functions(array: Any) -> Any:
    """Return the module of the special functions of an array, scipy's or one of the same names."""
    name = f"{library_of(array)}x.scipy.special" if on_device(array) else "scipy.special"
    return importlib.import_module(name)
