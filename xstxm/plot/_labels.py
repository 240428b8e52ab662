"""Text on axes and colour bars: one place that turns `long_name` and `units` into a label."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import xarray as xr

_LETTER = 8
"""Pixels on the screen that a letter of a title is wide."""

_PRETTY = {
    "um": "µm",
    "cm**2/g": "cm²/g",
    "1/nm": "nm⁻¹",
    "1/um": "µm⁻¹",
    "um**2": "µm²",
    "nm**2": "nm²",
    "angstrom": "Å",
    "deg": "°",
    "count": "counts",
    "count/ms": "counts/ms",
    "count/s": "counts/s",
}


def pretty_units(units: str) -> str:
    """Return a unit as it is printed; nothing for a plain number.

    Examples
    --------
    >>> pretty_units("um"), pretty_units("1")
    ('µm', '')
    """
    return "" if units in ("1", "") else _PRETTY.get(units, units)


def label(array: xr.DataArray) -> str:
    """Return "long_name [units]" of a variable or coordinate.

    Examples
    --------
    >>> import xarray as xr
    >>> label(xr.DataArray(0.0, name="x", attrs={"long_name": "x position", "units": "um"}))
    'x position [µm]'
    """
    name = str(array.attrs.get("long_name") or array.name or "value")
    units = pretty_units(str(array.attrs.get("units", "1")))
    return f"{name} [{units}]" if units else name


def of_signal(found: xr.Dataset, array: xr.DataArray) -> str:
    """Return the label of a quantity of the map that a result says it was made of.

    Examples
    --------
    >>> import xarray as xr
    >>> found = xr.Dataset(attrs={"signal": "phase_fraction"})
    >>> of_signal(found, xr.DataArray(0.0, attrs={"long_name": "Variance", "units": "1"}))
    'Variance of phase fraction'
    """
    signal = str(found.attrs.get("signal", "")).replace("_", " ")
    name = str(array.attrs.get("long_name") or array.name)
    return label(array.assign_attrs(long_name=f"{name} of {signal}" if signal else name))


def energy_text(value: float, units: str) -> str:
    """Return an energy with the digits that a beamline sets, and its unit."""
    return f"{value:.2f} {pretty_units(units)}" if units == "eV" else f"{value:.6g} {pretty_units(units)}"


def wrapped(titles: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return titles in lines no wider than their maps, in pixels, and as many lines for all.

    Of titles of unequal height Bokeh would draw frames of unequal height.
    """
    lines = [
        textwrap.wrap(title, max(width // _LETTER, 1), break_long_words=False, break_on_hyphens=False)
        for title, width in zip(titles, widths, strict=True)
    ]
    most = max(map(len, lines))
    return ["\n".join(["\u00a0"] * (most - len(title)) + title) for title in lines]
