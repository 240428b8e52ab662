"""Images of a stack at an energy, and of any quantity with a value per pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, REFERENCE, require_energy, require_variable, signal_of
from xstxm.errors import EnergyRangeError, SchemaError
from xstxm.plot._holoviews import FRAME, axes_of, frame_of, frame_options, holoviews, raster, styled
from xstxm.plot._labels import energy_text, label
from xstxm.units import EnergyLike


def image(
    stack: xr.DataArray | xr.Dataset,
    energy: EnergyLike | None = None,
    *,
    signal: str | None = None,
    cmap: str = "gray",
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
        Stack (energy, y, x), or an image (y, x).
    energy
        The frame nearest to this energy. By default all of them, with a slider.
    signal
        Variable of a Dataset; by default `optical_density`, or `intensity` where there is none.
    cmap, clim
        Colour map, and the values at its ends; by default those of the frame.
    colorbar, scale_bar
        Whether to draw them.
    size
        Pixels on the screen along the longer side.
    title
        Text above; the energy by default.
    **opts
        Passed to HoloViews as options of the Image for the backend in use.

    Returns
    -------
    holoviews.Image or holoviews.DynamicMap
        y upwards, one micrometre equally long in both directions. Only the frame that is drawn
        is computed.

    Raises
    ------
    EnergyRangeError
        The stack does not reach `energy`.
    MissingDimensionError
        There is no y or x.
    MissingDependencyError
        HoloViews is not installed.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> [dim.name for dim in xstxm.plot.image(stack, "520 eV").vdims]
    ['intensity']
    """
    hv = holoviews()
    array = _image_signal(stack, signal)
    given: dict[str, Any] = {"cmap": cmap, "clim": clim, "colorbar": colorbar, "scale_bar": scale_bar, "size": size}
    if ENERGY not in array.dims:
        return draw(array, title=title or "", **given, **opts)
    if energy is None and array.sizes[ENERGY] > 1:
        axis = require_energy(array)
        dimension = hv.Dimension((ENERGY, label(axis)), values=np.sort(np.asarray(axis)).tolist())
        return hv.DynamicMap(
            lambda value: draw(frame_at(array, float(value)), title=title, **given, **opts), kdims=[dimension]
        )
    frame = array.isel({ENERGY: 0}) if energy is None else frame_at(array, energy)
    return draw(frame, title=title, **given, **opts)


def _image_signal(stack: xr.DataArray | xr.Dataset, signal: str | None) -> xr.DataArray:
    if isinstance(stack, xr.DataArray):
        return units.dequantify(stack)
    default = "optical_density" if "optical_density" in stack else "intensity"
    return units.dequantify(signal_of(stack, signal or default))


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
    **opts: Any,
) -> Any:
    """Draw an image (y, x) with its labels; further dims have to be selected before."""
    extra = [dim for dim in array.dims if dim not in ("y", "x")]
    if extra:
        raise SchemaError(f"an image has y and x, this has {array.dims} too: select along {extra[0]!r} first")
    hv = holoviews()
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
    shared: dict[str, Any] = {"cmap": cmap, "colorbar": colorbar, "clabel": label(array)}
    if clim is not None:
        shared["clim"] = (float(clim[0]), float(clim[1]))
    element = styled(
        element,
        bokeh={**common["bokeh"], **shared, "clipping_colors": {"NaN": "transparent"}},
        matplotlib={**common["matplotlib"], **shared},
    )
    return element.opts(**opts) if opts else element


def component_maps(
    fit: xr.Dataset,
    *,
    cmap: str = "magma",
    clim: tuple[float, float] | None = None,
    scale_bar: bool = True,
    size: int = 300,
    columns: int = 3,
    **opts: Any,
) -> Any:
    """Draw the amount of each reference, side by side on one colour scale.

    Parameters
    ----------
    fit
        A result of `xstxm.fit`.
    cmap, clim
        Colour map, and the values at its ends; by default zero and the largest 99.5 percentile.
    scale_bar
        Whether to draw it.
    size
        Pixels on the screen along the longer side of an image.
    columns
        Images in a row.
    **opts
        Passed to HoloViews as options of each Image for the backend in use.

    Returns
    -------
    holoviews.Layout
        An image for each reference. Eager.

    Raises
    ------
    MissingVariableError
        `fit` holds no `component_map`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> od = xstxm.optical_density(stack)
    >>> len(xstxm.plot.component_maps(xstxm.fit(od, xstxm.testing.simulate_references())))
    4
    """
    hv = holoviews()
    maps = require_variable(fit, "component_map", "call .stxm.fit() first").compute()
    if clim is None:
        top = np.nanquantile(np.asarray(maps, dtype=float), 0.995, axis=maps.get_axis_num(("y", "x")))
        clim = (0.0, float(np.nanmax(top)) or 1.0)
    images = [
        draw(
            maps.sel({REFERENCE: name}, drop=True),
            cmap=cmap,
            clim=clim,
            scale_bar=scale_bar,
            size=size,
            title=str(name),
            **opts,
        )
        for name in np.asarray(maps[REFERENCE])
    ]
    return hv.Layout(images).cols(columns)
