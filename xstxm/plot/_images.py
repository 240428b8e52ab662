"""Images of a stack at an energy, and of any quantity with a value per pixel."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, require_energy, signal_of
from xstxm.errors import EnergyRangeError, MissingVariableError, OptionError, SchemaError
from xstxm.plot._classes import draw_phases, named_phases, phase_colors
from xstxm.plot._holoviews import (
    COLOR_BAR,
    FRAME,
    axes_of,
    draw_color_bar,
    frame_of,
    frame_options,
    holoviews,
    raster,
    styled,
)
from xstxm.plot._labels import energy_text, label
from xstxm.plot._styles import UNDECIDED_COLOR, require_colormap
from xstxm.units import EnergyLike

_MEASURED = ("optical_density", "intensity", "normalized_absorption")
_DRAWN = (*_MEASURED, "difference", "ratio", "dichroism_difference", "peak_energy", "edge_energy")
"""Variables that are drawn of a Dataset by themselves, the first that is there."""

SIGNED = {"difference", "dichroism_difference", "dichroism_asymmetry", "residual", "eigenimages"}
"""Variables whose zero is the middle of the colours."""

DIVERGING = "RdBu_r"
_OUTLIERS = 0.005
"""Share of the pixels at each end that does not set the colours of a map."""


def image(
    stack: xr.DataArray | xr.Dataset,
    energy: EnergyLike | None = None,
    *,
    signal: str | None = None,
    cmap: str | None = None,
    clim: tuple[float, float] | None = None,
    colorbar: bool = True,
    scale_bar: bool = True,
    size: int = FRAME,
    title: str | None = None,
    **opts: Any,
) -> Any:
    """Draw the image of a stack at an energy, or a map with a value per pixel.

    Parameters
    ----------
    stack
        Stack (energy, y, x) or image (y, x), or a result that holds some: of `xstxm.difference_map`, `xstxm.ratio_map`,
        `xstxm.dichroism`, `xstxm.peak_map`, `xstxm.edge_map`, `xstxm.fit`, ...
    energy
        The frame nearest to this energy. By default all of them, with a slider.
    signal
        Variable of a Dataset, e.g. ``"peak_height"`` or ``"residual_rms"``; by default `optical_density`, else
        `intensity`, else the quantity that gives a result its name: `difference`, `ratio`, `peak_energy`, ...
    cmap, clim
        Colour map, and the values at its ends. By default red to blue about zero for what has a sign (differences,
        dichroism, residuals), to the 99.5 percentile of its size. Else over the values of the frame, or for a map without
        energies over those between its 0.5 and 99.5 percentiles; grey for counts, densities and absorption. A
        `phase_label` has the colours of its phases, those of the palette where it is given alone.
    colorbar, scale_bar
        Whether to draw them; the names of phases in place of the bar.
    size
        Pixels on the screen along the longer side.
    title
        Text above; the energy by default.
    **opts
        Passed to HoloViews as options of the Image for the backend in use.

    Returns
    -------
    holoviews.Image, holoviews.DynamicMap or, of phases, holoviews.Overlay
        y upwards, one micrometre equally long in both directions. A pixel without a value (NaN) has a colour that is
        not in the colour map: grey, or sand colour among greys. Only the frame that is drawn is computed.

    Raises
    ------
    EnergyRangeError
        The stack does not reach `energy`.
    MissingVariableError
        The Dataset has no such signal, or none that is drawn by itself.
    MissingDimensionError
        There is no y or x.
    OptionError
        No such colour map, or the name of a variable in place of an energy.
    MissingDependencyError
        HoloViews is not installed.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> [dim.name for dim in xstxm.plot.image(stack, "520 eV").vdims]
    ['intensity']
    >>> difference = xstxm.difference_map(stack, "518.4 eV", "512 eV", signal="intensity")
    >>> [dim.label for dim in xstxm.plot.image(difference).vdims]
    ['Difference [counts]']
    """
    hv = holoviews()
    if isinstance(stack, xr.Dataset) and isinstance(energy, str) and energy in stack:
        raise OptionError("energy", energy, f"that is a variable, draw it with signal={energy!r}")
    array = _image_signal(stack, signal)
    phases = named_phases(array) if cmap is None and clim is None else None
    if phases is not None:
        known = phase_colors(stack) if isinstance(stack, xr.Dataset) and "phase" in stack.dims else phases
        drawn = draw_phases(array, known, legend=colorbar, scale_bar=scale_bar, size=size, title=title or "")
        return drawn.opts(**opts) if opts else drawn
    signed = array.name in SIGNED
    cmap = cmap or default_cmap(str(array.name))
    given: dict[str, Any] = {"cmap": cmap, "colorbar": colorbar, "scale_bar": scale_bar, "size": size}
    given |= {"missing": missing_color(cmap), **opts}

    def shown(frame: xr.DataArray, title: str | None) -> Any:
        frame = frame.compute()
        robust = signed or ENERGY not in array.dims
        return draw(frame, clim=clim or (limits(frame, signed=signed) if robust else None), title=title, **given)

    if ENERGY not in array.dims:
        return shown(array, title or "")
    if energy is None and array.sizes[ENERGY] > 1:
        axis = require_energy(array)
        dimension = hv.Dimension((ENERGY, label(axis)), values=np.sort(np.asarray(axis)).tolist())
        return hv.DynamicMap(lambda value: shown(frame_at(array, float(value)), title), kdims=[dimension])
    return shown(array.isel({ENERGY: 0}) if energy is None else frame_at(array, energy), title)


@dataclass(frozen=True)
class ImageColors:
    """How an image is coloured: `palette` from the value `low` to `high`, `missing` where there is no value."""

    palette: tuple[str, ...]
    low: float
    high: float
    missing: str


def image_colors(
    image: xr.DataArray, *, cmap: str | None = None, clim: tuple[float, float] | None = None
) -> ImageColors:
    """Return the colours in which `image` draws a map, for those who draw it themselves. Eager unless `clim` is given.

    Parameters
    ----------
    image
        Map (y, x), named as the quantity it is.
    cmap, clim
        Colour map, and the values at its ends; by default those of `image`.

    Returns
    -------
    ImageColors
        256 colours and the values at the ends, `low` less than `high` whatever the image holds.

    Raises
    ------
    OptionError
        No such colour map.

    Examples
    --------
    >>> import xarray as xr
    >>> from xstxm import plot
    >>> colors = plot.image_colors(xr.DataArray([[-2.0, 1.0]], dims=("y", "x"), name="difference"), clim=(-1, 1))
    >>> colors.low, colors.high, colors.palette[0]
    (-1.0, 1.0, '#053061')
    """
    cmap = cmap or default_cmap(str(image.name))
    palette = _palette(cmap)
    low, high = clim or limits(image, signed=image.name in SIGNED) or _ends(image)
    if not low < high:
        room = max(0.5, abs(low) * 1e-6)
        low, high = low - room, low + room
    return ImageColors(palette, float(low), float(high), missing_color(cmap))


@functools.cache
def _palette(cmap: str) -> tuple[str, ...]:
    require_colormap(cmap)
    from holoviews.plotting.util import process_cmap

    return tuple(process_cmap(cmap, 256))


def _ends(image: xr.DataArray) -> tuple[float, float]:
    values = np.asarray(image)
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _image_signal(stack: xr.DataArray | xr.Dataset, signal: str | None) -> xr.DataArray:
    if isinstance(stack, xr.DataArray):
        return units.dequantify(stack)
    named = signal or next((name for name in _DRAWN if name in stack), None)
    if named is None:
        maps = [str(name) for name, array in stack.data_vars.items() if {"y", "x"} <= {*array.dims}]
        do = f"pass signal={maps[0]!r}, or another one with y and x" if maps else "none of these has y and x"
        raise MissingVariableError("optical_density", stack.data_vars, do)
    return units.dequantify(signal_of(stack, named))


def default_cmap(name: str) -> str:
    """Return the colour map of a variable that asks for none."""
    return DIVERGING if name in SIGNED else "gray" if name in _MEASURED else "viridis"


def limits(array: xr.DataArray, *, signed: bool = False) -> tuple[float, float] | None:
    """Return the ends of a colour map that outliers do not set, about zero for what has a sign. Eager.

    Nothing for flags and labels, of which the rare ones count, and where there is no value.
    """
    values = np.asarray(array)
    if values.dtype.kind != "f" or not np.isfinite(values).any():
        return None
    values = values[np.isfinite(values)].astype(float)
    if signed:
        top = float(np.quantile(np.abs(values), 1 - _OUTLIERS)) or float(np.abs(values).max()) or 1.0
        return -top, top
    low, high = (float(edge) for edge in np.quantile(values, (_OUTLIERS, 1 - _OUTLIERS)))
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def missing_color(cmap: str) -> str:
    """Return a colour for NaN that is not in the colour map."""
    return "#e3c78f" if cmap.lower().startswith(("gray", "grey")) else UNDECIDED_COLOR


def frame_at(array: xr.DataArray, energy: EnergyLike) -> xr.DataArray:
    """Return the frame nearest to an energy. Lazy.

    Raises
    ------
    EnergyRangeError
        The energy lies outside the stack by more than its widest step.
    """
    axis = require_energy(array)
    value = units.to_magnitude(energy, axis, "energy")
    grid = np.sort(np.asarray(axis, dtype=float))
    slack = float(np.diff(grid).max()) if grid.size > 1 else 1.0
    unit = str(axis.attrs.get("units", ""))
    if not grid[0] - slack <= value <= grid[-1] + slack:
        raise EnergyRangeError(f"no image at {value:g} {unit}: the stack covers {grid[0]:g}-{grid[-1]:g} {unit}")
    return array.isel({ENERGY: int(np.abs(np.asarray(axis) - value).argmin())})


def draw(
    array: xr.DataArray,
    *,
    cmap: str,
    clim: tuple[float, float] | None = None,
    colorbar: bool = True,
    scale_bar: bool = True,
    size: int = FRAME,
    title: str | None = None,
    missing: str = "transparent",
    look: Mapping[str, Any] | None = None,
    **opts: Any,
) -> Any:
    """Draw an image (y, x) with its labels; further dims have to be selected before.

    `missing` is the colour of NaN, `look` holds more options that both backends know.
    """
    extra = [dim for dim in array.dims if dim not in ("y", "x")]
    if extra:
        raise SchemaError(f"an image has y and x, this has {array.dims} too: select along {extra[0]!r} first")
    hv = holoviews()
    require_colormap(cmap)
    frame = frame_of(array, size)
    if title is None:
        title = (
            energy_text(float(array[ENERGY]), str(array[ENERGY].attrs.get("units", "")))
            if ENERGY in array.coords
            else ""
        )
    element = hv.Image(
        raster(array, frame),
        bounds=frame.bounds,
        kdims=axes_of(array),
        vdims=[hv.Dimension((str(array.name or "value"), label(array)))],
    )
    common = frame_options(frame, scale_bar=scale_bar, title=title)
    shared: dict[str, Any] = {"cmap": cmap, "clipping_colors": {"NaN": missing}, **(look or {})}
    if clim is not None:
        shared["clim"] = (float(clim[0]), float(clim[1]))
    bar = {"colorbar": colorbar, "clabel": label(array), "colorbar_opts": COLOR_BAR}
    hooks = [
        *common["matplotlib"]["hooks"],
        *([functools.partial(draw_color_bar, text=label(array))] if colorbar else []),
    ]
    element = styled(
        element,
        bokeh={**common["bokeh"], **bar, **shared},
        matplotlib={**common["matplotlib"], **shared, "hooks": hooks},
    )
    return element.opts(**opts) if opts else element
