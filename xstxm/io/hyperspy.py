"""Stacks and maps as the dictionary that HyperSpy makes signals of; HyperSpy itself is never imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import ENERGY
from xstxm.errors import MissingDimensionError, SchemaError
from xstxm.io._pixels_first import in_own_chunks
from xstxm.io._writing import chosen, warn_of_loss

_EVEN = 1e-6
"""How far positions may be from even steps, in steps."""


def to_hyperspy(stack: xr.DataArray | xr.Dataset, *, signal: str | None = None) -> dict[str, Any]:
    """Return a stack, or maps, as the dictionary of which HyperSpy makes a signal.

    ``hyperspy.api.signals.Signal1D(**xstxm.to_hyperspy(stack))`` is a signal of spectra; ``.as_lazy()`` makes it one of
    HyperSpy's lazy signals where the stack is lazy. Maps without energies go into ``Signal2D``.

    Parameters
    ----------
    stack
        Stack (energy, y, x), line scan or spectrum; or maps (y, x), or such over further dimensions, as (reference, y, x).
    signal
        Which variable of a Dataset; its only one by default.

    Returns
    -------
    dict
        `data`, the array with energy last, of maps with (y, x) last, not copied and lazy where the stack is. `axes`, one for
        each dimension in that order: `name`, `size`, `units`, `navigate` (False for energy, of maps for y and x), and `offset`
        and `scale` where the steps are even, else `axis`, all values, as mostly for the energy. `metadata` with title, file,
        date and quantity. `original_metadata` with the attributes, and the coordinates along one dimension or none, which
        HyperSpy's axes do not hold. Lazy.

    Raises
    ------
    SchemaError
        A Dataset of several variables and no `signal`, or values of an axis that neither ascend nor descend.
    MissingDimensionError
        Neither energy nor y and x.

    References
    ----------
    .. [1] RosettaSciIO, "Interfacing the RosettaSciIO plugins", https://hyperspy.org/rosettasciio/api/index.html

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> made = xstxm.to_hyperspy(stack, signal="intensity")
    >>> [(axis["name"], axis["units"]) for axis in made["axes"]]
    [('y', 'um'), ('x', 'um'), ('energy', 'eV')]
    >>> made["metadata"]["Signal"]["quantity"]
    'Transmitted intensity (count)'
    """
    array = _units.dequantify(chosen(stack, signal, "a HyperSpy signal"))
    inner = (ENERGY,) if ENERGY in array.dims else ("y", "x")
    for dim in inner:
        if dim not in array.dims:
            raise MissingDimensionError(dim, array.dims, "HyperSpy signals are spectra along energy or images (y, x)")
    array = array.transpose(..., *inner)
    array = array.copy(data=in_own_chunks(array.variable).data)
    attrs = {**(stack.attrs if isinstance(stack, xr.Dataset) else {}), **array.attrs}
    return {
        "data": array.data,
        "axes": [_axis(array, str(dim), navigate=dim not in inner) for dim in array.dims],
        "metadata": _metadata(array, attrs),
        "original_metadata": {"xstxm": {"attributes": attrs, "coordinates": _coordinates(array)}},
    }


def _axis(array: xr.DataArray, dim: str, *, navigate: bool) -> dict[str, Any]:
    """Return an axis: even steps as offset and scale, others as all values, names as their number."""
    axis: dict[str, Any] = {"name": dim, "size": array.sizes[dim], "navigate": navigate}
    values = np.asarray(array[dim])
    if dim not in array.coords or values.dtype.kind not in "iuf":
        return {**axis, "units": None, "offset": 0.0, "scale": 1.0}
    axis["units"], values = array[dim].attrs.get("units"), values.astype(float)
    step = float(values[-1] - values[0]) / (values.size - 1) if values.size > 1 else 1.0
    if np.abs(values - (values[0] + step * np.arange(values.size))).max(initial=0) <= _EVEN * abs(step) and step:
        return {**axis, "offset": float(values[0]), "scale": step}
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise SchemaError(f"{dim!r} is not in order, which HyperSpy wants of an axis: call .sortby({dim!r}) first")
    return {**axis, "axis": values}


def _metadata(array: xr.DataArray, attrs: dict[str, Any]) -> dict[str, Any]:
    date, _, time = str(attrs.get("start_time", "")).partition("T")
    general = {"title": attrs.get("title"), "original_filename": attrs.get("source_file"), "date": date, "time": time}
    quantity = f"{array.attrs.get('long_name', array.name or '')} ({array.attrs.get('units', '')})"
    kept = {key: str(value) for key, value in general.items() if value}
    return {"General": {"title": "", **kept}, "Signal": {"quantity": quantity, "signal_type": ""}}


def _coordinates(array: xr.DataArray) -> dict[str, Any]:
    """Return the coordinates that the axes do not hold; those of images are too large for metadata, which is told."""
    others = {str(name): coord for name, coord in array.coords.items() if name not in array.dims}
    others |= {str(dim): array[dim] for dim in array.dims if dim in array.coords and array[dim].dtype.kind not in "iuf"}
    small = {name: coord for name, coord in others.items() if coord.ndim < 2}
    warn_of_loss("the metadata of HyperSpy hold coordinates along one dimension", others, small)
    return {
        name: {"dims": list(map(str, coord.dims)), "units": coord.attrs.get("units"), "values": np.asarray(coord)}
        for name, coord in small.items()
    }
