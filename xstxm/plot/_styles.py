"""What tells curves and classes apart: their names, their colours and, of many curves, their dashes."""

from __future__ import annotations

import difflib

import numpy as np
import xarray as xr

from xstxm.conventions import PALETTE
from xstxm.errors import OptionError, SchemaError
from xstxm.plot._labels import pretty_units

COLORS = (
    *PALETTE,
    *("#712400", "#750061", "#24790c", "#ffa2ff", "#c649be", "#005949", "#10eba2", "#5108ba"),
    *("#a61451", "#0cfbff", "#f76d71", "#9618a2", "#ffb2be", "#04be55", "#a269ff", "#004d65"),
)
"""The palette, and the colours that glasbey's ``extend_palette(..., colorblind_safe=True)`` adds to it and to grey."""

DASHES = ("solid", "dashed", "dotted", "dashdot")

NEUTRAL = "#808080"
"""Readable on a light and on a dark page: measured points and the fit through them."""

UNDECIDED_COLOR = "#9e9e9e"
"""Pixels that belong to no phase or cluster, and pixels without a value."""


def require_colormap(cmap: object) -> None:
    """Raise `OptionError` for the name of a colour map that HoloViews does not know, before anything is drawn."""
    from holoviews.plotting.util import list_cmaps, process_cmap

    if not isinstance(cmap, str):
        return
    try:
        process_cmap(cmap, 2)
    except ValueError as error:
        close = difflib.get_close_matches(cmap, list_cmaps(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise OptionError("cmap", cmap, f"no colour map has that name{hint}") from error


def names_along(array: xr.DataArray, dim: str) -> list[str]:
    """Return names for the legend: those of a coordinate; a number says what it numbers, `origin` from where it is.

    An origin that all share tells nothing apart and is left out.

    Examples
    --------
    >>> import xarray as xr
    >>> spectra = xr.DataArray([[0.0], [1.0]], dims=("component", "energy"), coords={"component": [1, 2]})
    >>> names_along(spectra, "component")
    ['component 1', 'component 2']
    >>> names_along(spectra.assign_coords(origin=("component", ["V2O5", "resolved"])), "component")
    ['component 1 (V2O5)', 'component 2 (resolved)']
    """
    values = np.asarray(array[dim])
    names = [str(value) for value in values]
    if values.dtype.kind in "iuf":
        unit = pretty_units(str(array[dim].attrs.get("units", "1")))
        names = [f"{dim} {value:g} {unit}".strip() for value in values]
    origin = array.coords.get("origin")
    if origin is None or origin.dims != (dim,) or len({*np.asarray(origin).tolist()}) < 2:
        return names
    return [
        f"{name} ({source})" if str(source) not in ("", name) else name
        for name, source in zip(names, np.asarray(origin), strict=True)
    ]


def colors_along(obj: xr.DataArray | xr.Dataset, dim: str) -> list[str]:
    """Return a colour for each name: its `color`, or the next of `COLORS`, from the first again after the last."""
    given = obj.coords.get("color")
    own = [str(color) for color in np.asarray(given)] if given is not None and given.dims == (dim,) else []
    own = own or [""] * obj.sizes[dim]
    return [color or COLORS[k % len(COLORS)] for k, color in enumerate(own)]


def dashes_for(colors: list[str]) -> list[str]:
    """Return a dash for each curve: another one for each eight colours of `COLORS`, solid for a colour of one's own."""
    turn = len(PALETTE)
    return [
        DASHES[k // turn % len(DASHES)] if color == COLORS[k % len(COLORS)] else "solid"
        for k, color in enumerate(colors)
    ]


def require_colors(colors: list[str], dim: str) -> None:
    """Raise `SchemaError` where the classes of a map are more than the colours that tell them apart."""
    if len(colors) > len(COLORS) and len({*colors}) < len(colors):
        raise SchemaError(
            f"a map of {len(colors)} classes, and {len(COLORS)} colours that one can tell apart: draw fewer, or give "
            f"each its own with .assign_coords(color=({dim!r}, [...]))"
        )


def by_node(found: xr.Dataset, curve: str) -> list[tuple[str, str, xr.Dataset]]:
    """Return name, colour and result of each field of several along `node`, or of the only one, without a name.

    Only where the curve has a value: fields of other pixels have other lengths, and a line would end at each of them.
    """
    (dim,) = (dim for dim in found[curve].dims if dim != "node")
    if "node" not in found.dims:
        return [("", PALETTE[0], found.dropna(dim, subset=[curve]))]
    names = [str(name) for name in np.asarray(found["node"])]
    return [
        (name, COLORS[k % len(COLORS)], found.isel(node=k).dropna(dim, subset=[curve])) for k, name in enumerate(names)
    ]
