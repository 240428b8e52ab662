"""Eigenvalues, the maps of components, and the map of clusters with their spectra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, PALETTE, require_variable
from xstxm.errors import MissingVariableError
from xstxm.plot._classes import draw_classes
from xstxm.plot._curves import chart, curve, points, rule, square
from xstxm.plot._holoviews import FRAME, INCHES_PER_PIXEL, Frame, frame_of, holoviews, styled
from xstxm.plot._images import DIVERGING, draw, limits, missing_color
from xstxm.plot._labels import label, wrapped
from xstxm.plot._spectra import curves_of
from xstxm.plot._styles import NEUTRAL, UNDECIDED_COLOR, colors_along, names_along, require_colors

_MAPS = ("component_map", "component_amount", "eigenimages")
"""Variables that hold a map for each component."""

_SHARES = {"component_amount": "contribution", "eigenimages": "explained_variance_ratio"}
"""Share of a component in the sum of squares, which goes into its title."""


def scree(
    pca_result: xr.Dataset,
    *,
    n_components: int = 20,
    width: int = FRAME,
    height: int = 300,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw the eigenvalues over their rank, with the noise floor: the elbow shows how many components matter.

    Parameters
    ----------
    pca_result
        A result of `xstxm.pca`.
    n_components
        How many eigenvalues to draw.
    width, height
        Pixels of the drawing area on the screen.
    title
        Text above.
    **opts
        Passed to HoloViews as options of the Overlay for the backend in use.

    Returns
    -------
    holoviews.Overlay
        Points on a logarithmic scale, those above the noise floor in colour, and the floor as a line. Eager on the
        eigenvalues.

    Raises
    ------
    MissingVariableError
        `pca_result` is no result of `pca`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> type(xstxm.plot.scree(xstxm.pca(stack, 3))).__name__
    'Overlay'
    """
    hv = holoviews()
    values = require_variable(pca_result, "scree", "call .stxm.pca() first")[:n_components].compute()
    floor = float(pca_result["noise_floor"].compute())
    axes = hv.Dimension(("rank", "Component")), hv.Dimension(("scree", label(values)))
    ranks = np.asarray(values["rank"])
    ticks = {"xlim": (0.5, len(ranks) + 0.5), "xticks": ranks[:: -(-len(ranks) // 10)].tolist()}
    values = values[np.asarray(values > 0)]  # a logarithmic scale has no place for the others
    rank, height_of = np.asarray(values["rank"]), np.asarray(values)
    above = height_of > floor
    layers = [curve(rank, height_of, axes, "", NEUTRAL, width=1)]
    for inside, name, color in ((above, "signal", PALETTE[0]), (~above, "noise", NEUTRAL)):
        layers.append(points(rank[inside], height_of[inside], axes, name, color, size=8))
    layers.append(rule(hv.HLine(floor)))
    return chart(layers, width=width, height=height, legend=True, title=title, opts=opts, logy=True, **ticks)


def component_maps(
    result: xr.Dataset,
    *,
    cmap: str | None = None,
    clim: tuple[float, float] | None = None,
    scale_bar: bool = True,
    size: int = 300,
    columns: int = 3,
    **opts: Any,
) -> Any:
    """Draw the map of each component side by side: amounts of references, of resolved components, or eigenimages.

    Parameters
    ----------
    result
        A result of `xstxm.fit`, `xstxm.nmf`, `xstxm.mcr` or `xstxm.pca`.
    cmap, clim
        Colour map, and the values at its ends. Amounts share one scale, by default from zero to the largest 99.5
        percentile; those that may be negative (``method="lstsq"``) lie red to blue about zero. Eigenimages have a scale
        each, about zero to the 99.5 percentile of their size.
    scale_bar
        Whether to draw one, in the first map.
    size
        Pixels on the screen along the longer side of a map.
    columns
        Maps in a row.
    **opts
        Passed to HoloViews as options of each Image for the backend in use.

    Returns
    -------
    holoviews.Layout
        A map for each component; above it its name and, of `nmf`, `mcr` and `pca`, its share in the sum of squares.
        Axes, and the bar of a shared scale, are drawn at the outer maps, and a pixel without a value is grey. Eager.

    Raises
    ------
    MissingVariableError
        `result` holds no maps of components.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> len(xstxm.plot.component_maps(xstxm.fit(stack, xstxm.testing.simulate_references())))
    4
    >>> len(xstxm.plot.component_maps(xstxm.pca(stack, 3)))
    3
    """
    name = next((name for name in _MAPS if name in result), None)
    if name is None:
        do = "call .stxm.fit(references), .nmf(), .mcr() or .pca() first"
        raise MissingVariableError("component_map", result.data_vars, do)
    result = units.dequantify(result)
    maps = result[name].compute()
    dim = next(str(dim) for dim in maps.dims if dim in ("reference", "component"))
    images = [maps.isel({dim: k}, drop=True) for k in range(maps.sizes[dim])]
    columns = min(columns, len(images))
    signed = name == "eigenimages" or result.attrs.get("method") == "lstsq"
    own = name == "eigenimages" and clim is None
    cmap = cmap or (DIVERGING if signed else "magma")
    frame = frame_of(images[0], size)
    titles = _titles(result, maps, dim, frame.width)
    ends = [limits(image, signed=True) for image in images] if own else [clim or _shared(images, signed)] * len(images)
    drawn = [
        draw(
            image,
            cmap=cmap,
            clim=ends[k],
            colorbar=own or k % columns == columns - 1,
            scale_bar=scale_bar and k == 0,
            size=size,
            title=title,
            missing=missing_color(cmap),
            look=_outer_axes(k, len(images), columns),
            **opts,
        )
        for k, (image, title) in enumerate(zip(images, titles, strict=True))
    ]
    return _tiled(drawn, frame, columns, bars=own, lines=titles[0].count("\n") + 1)


def _titles(result: xr.Dataset, maps: xr.DataArray, dim: str, width: int) -> list[str]:
    """Return the name of each component, with its share where the result says it, in lines no wider than a map."""
    titles, share = names_along(maps, dim), result.get(_SHARES.get(str(maps.name), ""))
    if share is not None:
        titles = [f"{name}: {100 * part:.3g}\u00a0%" for name, part in zip(titles, np.asarray(share), strict=True)]
    return wrapped(titles, [width] * len(titles))


def _shared(images: list[xr.DataArray], signed: bool) -> tuple[float, float]:
    """Return one scale for all images, from zero or about zero, to the largest of their upper ends."""
    top = max((ends[1] for image in images if (ends := limits(image, signed=signed))), default=0.0)
    return (-top if signed else 0.0, top) if top > 0 else (-1.0 if signed else 0.0, 1.0)


def _outer_axes(k: int, n_images: int, columns: int) -> dict[str, Any]:
    """Return axes for a map that has no neighbour to the left, or none below."""
    return {
        "xaxis": "bottom" if k + columns >= n_images else "bare",
        "yaxis": "left" if k % columns == 0 else "bare",
    }


def _tiled(images: list[Any], frame: Frame, columns: int, *, bars: bool, lines: int) -> Any:
    """Return images of one frame in rows, with room for titles of so many lines, and for `bars` between the columns."""
    rows = math.ceil(len(images) / columns)
    across, upwards = (1.0 if bars else 0.3), 0.2 + 0.2 * lines
    inches = frame.width * INCHES_PER_PIXEL, frame.height * INCHES_PER_PIXEL
    paper = {
        "fig_inches": (columns * (inches[0] + across), rows * (inches[1] + upwards)),
        "hspace": across / inches[0],
        "vspace": upwards / inches[1],
        "sublabel_format": "",
    }
    return styled(holoviews().Layout(images).cols(columns), bokeh={}, matplotlib=paper)


def clusters(
    cluster_result: xr.Dataset,
    *,
    legend: bool = True,
    scale_bar: bool = True,
    size: int = FRAME,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw the map of clusters beside their spectra, in the same colours.

    Parameters
    ----------
    cluster_result
        A result of `xstxm.cluster`.
    legend, scale_bar
        Whether to draw them; the legend belongs to the spectra.
    size
        Pixels on the screen along the longer side of the map.
    title
        Text above the map.
    **opts
        Passed to HoloViews as options of the Layout for the backend in use.

    Returns
    -------
    holoviews.Layout
        The map, grey where a pixel of the sample belongs to no cluster (which the legend then says), transparent where
        there is no sample; and the spectra. Eager.

    Raises
    ------
    MissingVariableError
        `cluster_result` is no result of `cluster`.
    SchemaError
        More clusters than colours that one can tell apart.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> len(xstxm.plot.clusters(xstxm.cluster(stack, 2)))
    2
    """
    labels = require_variable(cluster_result, "labels", "call .stxm.cluster() first").compute()
    found = cluster_result["cluster_spectra"].sortby(ENERGY).compute()
    colors = dict(zip(names_along(found, "cluster"), colors_along(found, "cluster"), strict=True))
    require_colors([*colors.values()], "cluster")
    classes = labels.where(labels > 0) - 1
    curves = curves_of(found)
    if bool((labels == 0).any()):
        classes = classes.where(labels != 0, len(colors))
        colors["no cluster"] = UNDECIDED_COLOR
        curves.append(square(curves[0].dimensions(), "no cluster", UNDECIDED_COLOR))
    confidence = cluster_result["confidence"].compute()
    picture = draw_classes(
        classes, confidence, colors, what="Cluster", legend=False, scale_bar=scale_bar, size=size, title=title
    )
    beside = chart(curves, width=size, height=round(0.75 * size), legend=legend, title="", opts={})
    paper = {"hspace": 0.4, "vspace": 0.4, "sublabel_format": ""}
    layout = styled(picture + beside, bokeh={}, matplotlib=paper)
    return layout.opts(**opts) if opts else layout
