"""Spectra: of reference sets, regions, phases, clusters and components, and of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, PALETTE, require_energy
from xstxm.errors import MissingVariableError, SchemaError
from xstxm.plot._curves import band, chart, curve, energy_axes, points, rule
from xstxm.plot._holoviews import FRAME, holoviews
from xstxm.plot._styles import NEUTRAL, colors_along, dashes_for, names_along

_HELD = (
    "spectrum",
    "absorption",
    "phase_spectra",
    "reference_spectra",
    "cluster_spectra",
    "component_spectra",
    "eigenspectra",
    "i0",
)


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
        A reference set, a result of `xstxm.spectrum` (drawn as points with a band of one standard deviation), a phase map
        (the spectra of its phases), a result of `xstxm.cluster`, `xstxm.pca` (its eigenspectra), `xstxm.nmf` or
        `xstxm.mcr`, or an array of spectra (energy) or (names, energy).
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
        Points, bands and curves, named by the legend: references by their names, components by their numbers, and by
        the reference they come from (`origin`) where `xstxm.mcr` was given some. Colours are those of the coordinate
        `color`, else a palette; each eight of its colours have a dash of their own. Eager on the spectra.

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
    layers = _measured(obj, array) if measured else curves_of(array)  # type: ignore[arg-type]
    if fit is not None:
        layers += _fitted(fit, array)
    if energy is not None:
        layers.append(rule(holoviews().VLine(energy)))
    return chart(layers, width=width, height=height, legend=legend, title=title, opts=opts)


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


def curves_of(array: xr.DataArray) -> list[Any]:
    """Return a curve for each spectrum (energy) or (names, energy), over the energies where it has a value."""
    if array.ndim == 1:
        # the name of a curve is not that of its axis: Matplotlib takes such a word for the values
        own = [str(array[dim].item()) for dim in ("reference", "phase", "cluster", "component") if dim in array.coords]
        return [_curve(array, own[0] if own else "", PALETTE[0])]
    dim = next(str(dim) for dim in array.dims if dim != ENERGY)
    names, colors = names_along(array, dim), colors_along(array, dim)
    return [
        _curve(array.isel({dim: k}), name, color, dash=dash)
        for k, (name, color, dash) in enumerate(zip(names, colors, dashes_for(colors), strict=True))
    ]


def _curve(spectrum: xr.DataArray, name: str, color: str, **look: Any) -> Any:
    finite = spectrum.dropna(ENERGY)
    return curve(np.asarray(finite[ENERGY]), np.asarray(finite), energy_axes(spectrum), name, color, **look)


def _measured(result: xr.Dataset, mean: xr.DataArray) -> list[Any]:
    """Return the points of a region's mean spectrum, over a band of one standard deviation."""
    axes = energy_axes(mean)
    spread = result["spectrum_std"].sortby(ENERGY).compute() if "spectrum_std" in result else xr.zeros_like(mean)
    grid, middle = np.asarray(mean[ENERGY]), np.asarray(mean)
    pixels = int(result["n_pixels"].max()) if "n_pixels" in result else 1
    name = f"measured, {pixels} pixels" if pixels > 1 else "measured"
    dots = points(grid, middle, axes, name, NEUTRAL)
    return [band(grid, middle, np.asarray(spread), axes, NEUTRAL), dots] if pixels > 1 else [dots]


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
        for k, (name, color) in enumerate(zip(names, colors_along(fit["reference_spectra"], "reference"), strict=True))
    ]
    return [*parts, _curve(total, "fit", NEUTRAL, width=2)]
