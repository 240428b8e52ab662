"""Shifts of the frames of a stack over photon energy."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, PALETTE, require_energy, require_variable
from xstxm.errors import SchemaError
from xstxm.plot._curves import band, chart, crosses, curve, energy_axes
from xstxm.plot._holoviews import FRAME


def shifts(
    result: xr.DataArray | xr.Dataset,
    *,
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw the shifts of the frames over photon energy.

    Parameters
    ----------
    result
        A result of `xstxm.estimate_shifts` or `xstxm.read_shifts`, or an aligned stack or array.
    width, height
        Pixels of the drawing area on the screen.
    legend
        Whether to draw it, beside the plot.
    title
        Text above.
    **opts
        Passed to HoloViews as options of the Overlay for the backend in use.

    Returns
    -------
    holoviews.Overlay
        A curve for y and one for x, each over a band of one standard error where there is one; frames that are flagged in
        `frame_quality` are marked by crosses. Eager on the shifts.

    Raises
    ------
    MissingVariableError
        `result` has no shifts.
    SchemaError
        Frames along more than energy.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="60 nm", seed=0).isel(energy=slice(60, 80))
    >>> type(xstxm.plot.shifts(xstxm.estimate_shifts(stack))).__name__
    'Overlay'
    """
    result = units.dequantify(result.coords.to_dataset() if isinstance(result, xr.DataArray) else result)
    moves = [_along_energy(result, f"shift_{axis}") for axis in ("y", "x")]
    unit = units.units_of(moves[0])
    axes = energy_axes(moves[0].rename("shift").assign_attrs(long_name="Shift", units=unit))
    layers: list[Any] = []
    marks: list[Any] = []
    for axis, move, color in zip(("y", "x"), moves, PALETTE, strict=False):
        energy, middle = np.asarray(move[ENERGY]), np.asarray(units.to_units(move, unit))
        if f"shift_{axis}_stderr" in result:
            error = np.asarray(units.to_units(_along_energy(result, f"shift_{axis}_stderr"), unit))
            layers += [band(energy, middle, error, axes, color)] if np.isfinite(error).any() else []
        layers.append(curve(energy, middle, axes, axis, color))
        if "frame_quality" in result:
            flagged = np.asarray(_along_energy(result, "frame_quality")) > 0
            name = "" if marks else "flagged"  # one entry in the legend for both
            marks += [crosses(energy[flagged], middle[flagged], axes, name)] if flagged.any() else []
    return chart([*layers, *marks], width=width, height=height, legend=legend, title=title, opts=opts)


def _along_energy(result: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable of the frames in the order of their energies, computed."""
    found = require_variable(result, name, "call .stxm.estimate_shifts() first")
    require_energy(found)
    if found.ndim > 1:
        others = [str(dim) for dim in found.dims if dim != ENERGY]
        raise SchemaError(
            f"shifts are drawn over energy, these have {found.dims}: select along {others[0]!r} first, e.g. "
            f".isel({others[0]}=0)"
        )
    return found.sortby(ENERGY).compute()
