"""What a stack says of itself, in words."""

from __future__ import annotations

import numpy as np
import xarray as xr

import xstxm
from xstxm import plot

_SAID = {
    "title": "Title",
    "sample": "Sample",
    "beamline": "Beamline",
    "facility": "Facility",
    "start_time": "Start",
    "scan_type": "Scan",
    "source_file": "File",
}
_ALONG = {"dwell_time": "Dwell time", "ring_current": "Ring current", "polarization": "Polarization"}


def facts(stack: xr.Dataset) -> dict[str, str]:
    """Return what a stack says of itself, in the order in which people ask for it; what it does not say is left out."""
    told = {label: str(stack.attrs[name]).strip() for name, label in _SAID.items() if name in stack.attrs}
    told["Start"] = told.get("Start", "").replace("T", " ")
    told["Energies"] = _energies(stack["energy"]) if "energy" in stack.coords else ""
    told["Energy steps"] = _steps(stack["energy"]) if "energy" in stack.dims else ""
    told["Pixels"] = " × ".join(f"{stack.sizes[dim]} along {dim}" for dim in stack.stxm.pixel_dims)
    told["Pixel size"] = " × ".join(dict.fromkeys(map(printed, stack.stxm.pixel_size.values())))
    told["Field of view"] = " × ".join(_extent(stack[dim]) for dim in ("x", "y") if dim in stack.dims)
    told |= {label: _range(stack[name]) for name, label in _ALONG.items() if name in stack.coords}
    told["Signals"] = ", ".join(_signal(stack[name]) for name in stack.data_vars)
    return {label: text for label, text in told.items() if text}


def steps(stack: xr.Dataset) -> list[tuple[str, str, str]]:
    """Return time, operation and notes of each step that made a stack, as its record has them."""
    table = xstxm.history(stack)
    columns = [table.get(name, [""] * len(table)) for name in ("time", "operation", "notes")]
    return [(str(time), str(operation), str(notes or "")) for time, operation, notes in zip(*columns, strict=True)]


def _energies(energy: xr.DataArray) -> str:
    values = np.atleast_1d(np.asarray(energy, dtype=float))
    known = values[np.isfinite(values)]
    if not known.size:
        return ""
    unit = _unit(energy)
    if known.size == 1:
        return f"{known[0]:.7g} {unit}".strip()
    return f"{known.size}, {known.min():.7g} to {known.max():.7g} {unit}".strip()


def _steps(energy: xr.DataArray) -> str:
    values = np.sort(np.asarray(energy, dtype=float))
    return _span(np.diff(values), _unit(energy)) if values.size > 1 else ""


def _extent(axis: xr.DataArray) -> str:
    values = np.asarray(axis, dtype=float)
    if values.size < 2:
        return ""
    return f"{np.ptp(values) * values.size / (values.size - 1):.4g} {_unit(axis)}".strip()


def _range(coordinate: xr.DataArray) -> str:
    if coordinate.dtype.kind not in "fiu":
        return ", ".join(dict.fromkeys(str(value) for value in np.atleast_1d(coordinate.values)))
    return _span(np.asarray(coordinate, dtype=float), _unit(coordinate))


def _span(values: np.ndarray, unit: str) -> str:
    """Return the lowest and highest of some values, once where they read the same."""
    known = values[np.isfinite(values)] if np.ndim(values) else values
    if not np.size(known):
        return ""
    ends = dict.fromkeys(f"{end:.4g}" for end in (np.min(known), np.max(known)))
    return f"{' to '.join(ends)} {unit}".strip()


def _signal(array: xr.DataArray) -> str:
    return plot.label(array)


def _unit(array: xr.DataArray) -> str:
    return plot.pretty_units(str(array.attrs.get("units", "1")))


def printed(length: str) -> str:
    """Return a number with its unit as it is printed.

    Examples
    --------
    >>> printed("0.05 um")
    '0.05 µm'
    """
    number, _, unit = length.partition(" ")
    return f"{number} {plot.pretty_units(unit)}".strip()
