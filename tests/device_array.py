"""A stand-in for arrays on a device: numpy inside, CuPy's manners outside.

It answers to numpy's functions (`__array_ufunc__`, `__array_function__`), refuses arrays of numpy beside it and to become one
by itself, and counts what is fetched. What it says of results a device would say too; of speed it says nothing.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
from xarray.namedarray import pycompat

ELSEWHERE = (12, 0)
"""What `__dlpack_device__` says: an extension device, which is not the memory of the host."""

_COMPARISONS = {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal"}

fetched: list[int] = []
"""Sizes of the arrays that were brought to the host."""


class _Memory:
    """Bytes that are held on the device, now and at most."""

    held = most = 0

    def take(self, number: int) -> None:
        self.held += number
        self.most = max(self.most, self.held)


memory = _Memory()


@contextmanager
def nothing_fetched(beyond: int) -> Iterator[None]:
    """Fail when more elements than that are brought to the host in one piece."""
    fetched.clear()
    yield
    assert max(fetched, default=0) <= beyond, f"arrays of {sorted(fetched)[-5:]} elements left the device"


_METHODS = """all any argmax argmin argsort astype clip copy cumsum dot fill flatten max mean min nonzero prod ravel repeat reshape
round squeeze std sum swapaxes take tolist trace transpose var view"""
_PROPERTIES = "dtype flags itemsize nbytes ndim shape size strides"


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that is not in the memory of the host."""

    def __init__(self, held: Any) -> None:
        self._held = np.asarray(held)
        self._own = 0 if self._held.base is not None else self._held.nbytes
        memory.take(self._own)

    def __del__(self) -> None:
        memory.take(-self._own)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __dlpack_device__(self) -> tuple[int, int]:
        return ELSEWHERE

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if getattr(np, ufunc.__name__, None) is not ufunc or method != "__call__":
            return NotImplemented
        out = kwargs.get("out")
        if (
            ufunc.__name__ in _COMPARISONS
        ):  # CuPy takes a number of the host, as an array without dimensions, in these only
            inputs = tuple(x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs)
        found = ufunc(*map(inside, inputs), **{name: inside(value) for name, value in kwargs.items()})
        return out[0] if out is not None else outside(found)

    def __array_function__(self, func: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        return call(func, args, kwargs)

    def __getitem__(self, key: Any) -> DeviceArray:
        return outside(self._held[_index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._held[_index(key)] = inside(value)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[DeviceArray]:
        return (outside(item) for item in self._held)

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype})"

    def __reduce__(self) -> Any:
        return DeviceArray, (self._held,)

    def get(self) -> np.ndarray:
        fetched.append(self.size)
        return self._held.copy()

    def item(self) -> Any:
        return self.get().item()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())


def _index(key: Any) -> Any:
    """Return an index as numpy takes it; one that lies on the host is brought over, as CuPy does."""
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    return key if isinstance(key, np.ndarray) else inside(key)


def inside(value: Any) -> Any:
    """Return what numpy is called with; arrays of the host are refused, numbers are not."""
    if isinstance(value, np.ndarray | range):  # axes in CuPy are numbers or tuples
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, DeviceArray):
        return value._held
    if isinstance(value, tuple | list):
        return type(value)(inside(item) for item in value)
    return value


def outside(value: Any) -> Any:
    """Return what numpy returned as arrays on the device, numbers too."""
    if isinstance(value, np.ndarray | np.generic):
        return DeviceArray(value)
    if isinstance(value, tuple | list):
        return (
            type(value)(outside(item) for item in value) if type(value) in (tuple, list) else tuple(map(outside, value))
        )
    return value


def call(func: Any, args: Any, kwargs: Any) -> Any:
    """Call a function of numpy on arrays of the device; what makes an array takes one of the host.

    CuPy's functions know of no `device`, which numpy's `eye` hands on.
    """
    if "device" in kwargs:
        raise TypeError(f"{func.__name__}() got an unexpected keyword argument 'device'")
    if func in (np.asarray, np.array):
        source, *rest = args
        held = source._held if isinstance(source, DeviceArray) else source
        return outside(func(held, *rest, **kwargs))
    return outside(func(*inside(tuple(args)), **{name: inside(value) for name, value in kwargs.items()}))


def _forwarded(name: str) -> Any:
    def method(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        return outside(getattr(self._held, name)(*inside(args), **{k: inside(v) for k, v in kwargs.items()}))

    return method


def _told(name: str) -> Any:
    return property(lambda self: getattr(self._held, name))


for _name in _METHODS.split():
    setattr(DeviceArray, _name, _forwarded(_name))
for _name in _PROPERTIES.split():
    setattr(DeviceArray, _name, _told(_name))
DeviceArray.T = property(lambda self: outside(self._held.T))  # type: ignore[attr-defined]
DeviceArray.imag = property(lambda self: outside(self._held.imag))  # type: ignore[attr-defined]
DeviceArray.real = property(lambda self: outside(self._held.real))  # type: ignore[attr-defined]


class _Namespace(types.ModuleType):
    """The functions of a module, for arrays on the device."""

    def __init__(self, name: str, source: types.ModuleType) -> None:
        super().__init__(name)
        self._source = source

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._source, name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *args, **kwargs: call(found, args, kwargs)


# CuPy has its special functions in a package beside it
sys.modules[f"{DeviceArray.__module__.partition('.')[0]}x.scipy.special"] = _Namespace("special", scipy.special)


class HostKernel:
    """CuPy's `RawKernel` on the host: the same source, compiled as C++, one thread that takes every pixel."""

    _SHIM = """#include <cmath>
#define __global__
struct Dim { int x; };
static const Dim gridDim = {1}, blockDim = {1}, blockIdx = {0}, threadIdx = {0};
"""

    def __init__(self, source: str, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "kernel.cpp")
            path.write_text(self._SHIM + source)
            library = path.with_suffix(".so")
            subprocess.run(["g++", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", path, "-o", library], check=True)
            self._function = getattr(ctypes.CDLL(str(library)), name)

    def __call__(self, grid: Any, block: Any, arguments: Any) -> None:
        kinds = {"f": ctypes.c_float, "q": ctypes.c_longlong, "l": ctypes.c_longlong}
        self._function(
            *(
                ctypes.c_void_p(item._held.ctypes.data)
                if isinstance(item, DeviceArray)
                else kinds[item.dtype.char](item)
                for item in arguments
            )
        )


class _Cupy(_Namespace):
    """What xarray asks of the module of the arrays that it knows."""

    __version__ = "14.0"
    ndarray = DeviceArray


@contextmanager
def known_to_xarray() -> Iterator[None]:
    """Let xarray, which has words for CuPy of its own, take the stand-in for it."""
    known, before = pycompat._cached_duck_array_modules, {**pycompat._cached_duck_array_modules}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", _Cupy("cupy", np))
        known.pop("cupy", None)
        pycompat.array_type("cupy")
        yield
    known.clear()
    known.update(before)


def placed(obj: Any, put: Any = DeviceArray) -> Any:
    """Return a DataArray or a Dataset, and the chunks of lazy ones, on the device; coordinates stay where they are."""
    if hasattr(obj, "data_vars"):
        return obj.assign({name: placed(array, put) for name, array in obj.data_vars.items()})
    if obj.chunks is None:
        return obj.copy(data=put(obj.data))
    meta = put(np.empty((0,) * obj.ndim, obj.dtype))
    return obj.copy(data=obj.data.map_blocks(put, dtype=obj.dtype, meta=meta))
