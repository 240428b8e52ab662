"""The door for stacks on a device such as a GPU: verbs that can work there, and arrays that lie together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import xarray as xr

from xstxm._kernels import devices
from xstxm._kernels.devices import device_of, library_of
from xstxm.conventions import has_pixels
from xstxm.errors import DeviceError

F = TypeVar("F", bound=Callable[..., Any])

ON_DEVICE = "works_on_device"
_OF_HOST = np.empty(0)


def on_device(verb: F) -> F:
    """Mark a verb that works on a stack where it lies, and returns its result there."""
    setattr(verb, ON_DEVICE, True)
    return verb


def kind_of(array: xr.DataArray | xr.Variable) -> Any:
    """Return an array that lies where the values of another do: the pattern of lazy chunks, or the values themselves."""
    return _kind((array.variable if isinstance(array, xr.DataArray) else array)._data)


def beside(array: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """Return `other` where the values of an array lie, lazy where either is."""
    like = kind_of(array)
    if not devices.on_device(like) or devices.on_device(kind_of(other)):
        return other
    if array.variable.chunks is None and other.variable.chunks is None:
        return other.copy(data=devices.beside(like, other.data))
    import dask.array as da

    meta = devices.pattern(like, other.dtype, other.ndim)
    lazy = da.asarray(other.data)
    return other.copy(data=lazy.map_blocks(lambda block: devices.beside(meta, block), dtype=other.dtype, meta=meta))


def on_host(obj: Any) -> Any:
    """Return a DataArray or Dataset with what lies on a device brought to the host, anything else as it is. Lazy where it is."""
    if isinstance(obj, xr.Dataset):
        return obj.assign({name: on_host(array) for name, array in obj.data_vars.items()})
    if not isinstance(obj, xr.DataArray) or not devices.on_device(kind_of(obj)):
        return obj
    if obj.variable.chunks is None:
        return obj.copy(data=devices.on_host(obj.data))
    meta = devices.pattern(_OF_HOST, obj.dtype, obj.ndim)
    return obj.copy(data=obj.data.map_blocks(devices.on_host, dtype=obj.dtype, meta=meta))


def require_host(array: xr.DataArray, what: str) -> None:
    """Refuse an array on a device for what is done on the host only."""
    if devices.on_device(kind_of(array)):
        raise DeviceError(what, {str(array.name): library_of(kind_of(array))}, [])


class _Array(NamedTuple):
    name: str
    data: Any
    has_pixels: bool


def check_devices(verb: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise `DeviceError` where a verb is given arrays on a device that it does not know, or on several. Nothing is computed.

    Spectra may lie anywhere: they are small, and planned with on the host.
    """
    placed = [(array, device_of(array.data)) for array in _arrays(arguments)]
    if all(device is None for _, device in placed):
        return
    if not getattr(verb, ON_DEVICE, False):
        found = {array.name: library_of(array.data) for array, device in placed if device is not None}
        raise DeviceError(verb.__name__, found, [])
    images = [(array, device) for array, device in placed if array.has_pixels]
    if len({device for _, device in images}) > 1:
        first = next(device for _, device in images if device is not None)
        found = {array.name: library_of(array.data) for array, device in images if device == first}
        raise DeviceError(verb.__name__, found, [array.name for array, device in images if device != first])


def _arrays(value: Any, name: str = "") -> Iterator[_Array]:
    """Yield the arrays of what a verb is given, lazy ones as the kind of their chunks."""
    if isinstance(value, xr.DataArray):
        yield _Array(str(value.name or name), _kind(value.variable._data), has_pixels(value))
    elif isinstance(value, xr.Dataset):
        for own, array in value.data_vars.items():
            yield _Array(str(own), _kind(array.variable._data), has_pixels(array))
    elif isinstance(value, xr.DataTree):
        for node in value.subtree:
            yield from _arrays(node.dataset)
    elif isinstance(value, Mapping):
        for own, item in value.items():
            yield from _arrays(item, str(own))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _arrays(item, name)


def _kind(data: Any) -> Any:
    """Return the array that says where others like it lie: the pattern of lazy chunks, what a quantity holds. Reads nothing."""
    if isinstance(data, np.ndarray):
        return data
    found = getattr(data, "_meta", getattr(data, "_magnitude", data))
    return found if devices.on_device(found) else _OF_HOST
