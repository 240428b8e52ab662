"""Spectra: of reference sets, of regions, of phases, and of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, PALETTE, require_energy
from xstxm.errors import MissingVariableError, SchemaError
from xstxm.plot._holoviews import FRAME, LEGEND, holoviews, styled, tidy
from xstxm.plot._labels import label

NEUTRAL = "#808080"
"""Readable on a light and on a dark page: measured points and the fit through them."""

_HELD = ("spectrum", "absorption", "phase_spectra", "reference_spectra", "cluster_spectra", "eigenspectra", "i0")


def spectra(
    obj: xr.DataArray | xr.Dataset,
    *,
    fit: xr.Dataset | None = None,
    energy: float | None = None,
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw spectra over photon energy.

    Parameters
    ----------
    obj
        A reference set, a result of `xstxm.spectrum` (drawn as points with a band of one standard
        deviation), a phase map (the spectra of its phases), or an array of spectra (energy) or
        (names, energy).
    fit
        A result of `xstxm.fit` for one spectrum, without pixel dimensions: the fit is drawn as a line, and
        under it each reference scaled by its amount.
    energy
        Draw a line at this energy.
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
        Points, bands and curves. Eager on the spectra.

    Raises
    ------
    MissingVariableError
        The Dataset holds no spectra.
    SchemaError
        More dimensions than a name and energy.

    Examples
    --------
    >>> import xstxm
    >>> len(xstxm.plot.spectra(xstxm.testing.simulate_references()))
    4
    """
    array = _spectra_of(obj)
    measured = isinstance(obj, xr.Dataset) and array.name == "spectrum"
    layers = _measured(obj, array) if measured else _curves(array)  # type: ignore[arg-type]
    if fit is not None:
        layers += _fitted(fit, array)
    if energy is not None:
        layers.append(_energy_line(energy))
    overlay = styled(
        holoviews().Overlay(layers),
        bokeh={
            "frame_width": width,
            "frame_height": height,
            "legend_position": "right",
            "show_legend": legend,
            "legend_opts": LEGEND,
            "toolbar": "above",
            "hooks": [tidy],
            "show_grid": True,
            "gridstyle": {"grid_line_alpha": 0.3},
            "title": title,
        },
        matplotlib={
            "fig_inches": (width / 80 + 0.8, height / 80 + 0.6),
            "aspect": width / height,
            "show_legend": legend,
            "title": title,
            "show_grid": True,
        },
    )
    return overlay.opts(**opts) if opts else overlay


def _spectra_of(obj: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the array (energy) or (names, energy) of an object, computed."""
    if isinstance(obj, xr.Dataset):
        held = [name for name in _HELD if name in obj]
        if not held:
            raise MissingVariableError(
                "spectrum", obj.data_vars, "call .stxm.spectrum(region) first, or pass references"
            )
        obj = obj[held[0]]
    array = units.dequantify(obj)
    require_energy(array)
    if array.ndim > 2:
        raise SchemaError(
            f"spectra have a name and an energy, this has {array.dims}: call .stxm.spectrum(region) first"
        )
    return array.sortby(ENERGY).compute()


def _axes(array: xr.DataArray) -> tuple[Any, Any]:
    hv = holoviews()
    return hv.Dimension((ENERGY, label(array[ENERGY]))), hv.Dimension((_value_name(array), label(array)))


def _value_name(array: xr.DataArray) -> str:
    return str(array.name or "value")


def _curves(array: xr.DataArray) -> list[Any]:
    if array.ndim == 1:
        return [_curve(array, label(array), PALETTE[0])]
    (dim,) = [dim for dim in array.dims if dim != ENERGY]
    names = [str(name) for name in np.asarray(array[dim])]
    colors = _colors(array, str(dim))
    return [
        _curve(array.isel({dim: k}), name, color) for k, (name, color) in enumerate(zip(names, colors, strict=True))
    ]


def _colors(array: xr.DataArray, dim: str) -> list[str]:
    given = array.coords.get("color", None)
    own = (
        [str(color) for color in np.asarray(given)]
        if given is not None and given.dims == (dim,)
        else [""] * array.sizes[dim]
    )
    return [color or PALETTE[k % len(PALETTE)] for k, color in enumerate(own)]


def _curve(spectrum: xr.DataArray, name: str, color: str, *, width: float = 2, dash: str = "solid") -> Any:
    hv = holoviews()
    finite = spectrum.dropna(ENERGY)
    energy, value = _axes(spectrum)
    element = hv.Curve((np.asarray(finite[ENERGY]), np.asarray(finite)), energy, value, label=name)
    return styled(
        element,
        bokeh={"color": color, "line_width": width, "line_dash": dash},
        matplotlib={"color": color, "linewidth": width * 0.7, "linestyle": dash},
    )


def _measured(result: xr.Dataset, mean: xr.DataArray) -> list[Any]:
    """Return the points of a region's mean spectrum, over a band of one standard deviation."""
    hv = holoviews()
    energy, value = _axes(mean)
    spread = result["spectrum_std"].sortby(ENERGY).compute() if "spectrum_std" in result else xr.zeros_like(mean)
    grid, middle = np.asarray(mean[ENERGY]), np.asarray(mean)
    pixels = int(result["n_pixels"].max()) if "n_pixels" in result else 1
    name = f"measured, {pixels} pixels" if pixels > 1 else "measured"
    points = styled(
        hv.Scatter((grid, middle), energy, value, label=name),
        bokeh={"color": NEUTRAL, "size": 4, "tools": ["hover"]},
        matplotlib={"color": NEUTRAL, "s": 8},
    )
    if pixels < 2:
        return [points]
    band = styled(
        hv.Area((grid, middle - np.asarray(spread), middle + np.asarray(spread)), energy, [value, "upper"]),
        bokeh={"color": NEUTRAL, "alpha": 0.2, "line_alpha": 0},
        matplotlib={"color": NEUTRAL, "alpha": 0.2, "linewidth": 0},
    )
    return [band, points]


def _fitted(fit: xr.Dataset, like: xr.DataArray) -> list[Any]:
    """Return the fit as a line, and each reference times its amount."""
    from xstxm.fitting import predict

    if set(fit["component_map"].dims) != {"reference"}:
        raise SchemaError(
            f"the fit has dims {fit['component_map'].dims}: fit one spectrum, or select a pixel first, e.g. "
            "fit.sel(x=1.2, y=0.4, method='nearest')"
        )
    total = predict(fit).sortby(ENERGY).compute().rename(like.name).assign_attrs(like.attrs)
    scaled = (fit["component_map"] * fit["reference_spectra"]).sortby(ENERGY).compute()
    names = [str(name) for name in np.asarray(scaled["reference"])]
    parts = [
        _curve(scaled.isel(reference=k).rename(like.name).assign_attrs(like.attrs), name, color, width=1.5)
        for k, (name, color) in enumerate(zip(names, _colors(fit["reference_spectra"], "reference"), strict=True))
    ]
    return [*parts, _curve(total, "fit", NEUTRAL, width=2)]


def _energy_line(energy: float) -> Any:
    return styled(
        holoviews().VLine(energy),
        bokeh={"color": NEUTRAL, "line_width": 1, "line_dash": "dashed"},
        matplotlib={"color": NEUTRAL, "linewidth": 1, "linestyle": "dashed"},
    )
