"""Eigenvalues, eigenspectra and eigenimages of a decomposition, and the map of clusters with their spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm.conventions import NO_SAMPLE, PALETTE, UNDECIDED, require_variable
from xstxm.plot._holoviews import FRAME, LEGEND, holoviews, styled, tidy
from xstxm.plot._images import draw
from xstxm.plot._labels import label
from xstxm.plot._maps import phase_map
from xstxm.plot._spectra import NEUTRAL, spectra

_PCA_FIRST = "call .stxm.pca() first"


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
    values = require_variable(pca_result, "scree", _PCA_FIRST)[:n_components].compute()
    floor = float(pca_result["noise_floor"].compute())
    rank, height_of = np.asarray(values["rank"]), np.asarray(values)
    axes = hv.Dimension(("rank", "Component")), hv.Dimension(("scree", label(values)))
    above = height_of > floor
    ticks = {"xlim": (0.5, len(rank) + 0.5), "xticks": rank[:: -(-len(rank) // 10)].tolist()}
    layers = [_line(rank, height_of, axes)]
    for inside, name, color in ((above, "signal", PALETTE[0]), (~above, "noise", NEUTRAL)):
        layers.append(_points(rank[inside], height_of[inside], axes, name, color))
    overlay = styled(
        hv.Overlay([*layers, _floor(floor)]),
        bokeh={
            "frame_width": width,
            "frame_height": height,
            "logy": True,
            **ticks,
            "toolbar": "above",
            "hooks": [tidy],
            "legend_position": "right",
            "legend_opts": LEGEND,
            "show_grid": True,
            "gridstyle": {"grid_line_alpha": 0.3},
            "title": title,
        },
        matplotlib={
            "fig_inches": (width / 80 + 0.8, height / 80 + 0.6),
            "aspect": "auto",
            "logy": True,
            **ticks,
            "show_grid": True,
            "title": title,
        },
    )
    return overlay.opts(**opts) if opts else overlay


def _line(rank: np.ndarray, values: np.ndarray, axes: tuple[Any, Any]) -> Any:
    positive = values > 0
    return styled(
        holoviews().Curve((rank[positive], values[positive]), *axes),
        bokeh={"color": NEUTRAL, "line_width": 1},
        matplotlib={"color": NEUTRAL, "linewidth": 0.7},
    )


def _points(rank: np.ndarray, values: np.ndarray, axes: tuple[Any, Any], name: str, color: str) -> Any:
    positive = values > 0
    return styled(
        holoviews().Scatter((rank[positive], values[positive]), *axes, label=name),
        bokeh={"color": color, "size": 8, "tools": ["hover"]},
        matplotlib={"color": color, "s": 30},
    )


def _floor(value: float) -> Any:
    return styled(
        holoviews().HLine(value),
        bokeh={"color": NEUTRAL, "line_width": 1, "line_dash": "dashed"},
        matplotlib={"color": NEUTRAL, "linewidth": 1, "linestyle": "dashed"},
    )


def eigenspectra(
    pca_result: xr.Dataset,
    *,
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw the eigenspectra over photon energy.

    Parameters
    ----------
    pca_result
        A result of `xstxm.pca`.
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
        A curve for each component. Eager on the eigenspectra.

    Raises
    ------
    MissingVariableError
        `pca_result` is no result of `pca`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> len(xstxm.plot.eigenspectra(xstxm.pca(stack, 3)))
    3
    """
    found = require_variable(pca_result, "eigenspectra", _PCA_FIRST)
    return spectra(_named(found, "component"), width=width, height=height, legend=legend, title=title, **opts)


def _named(array: xr.DataArray, dim: str) -> xr.DataArray:
    """Return spectra whose names say what they number."""
    return array.assign_coords({dim: [f"{dim} {number}" for number in np.asarray(array[dim])]})


def eigenimages(
    pca_result: xr.Dataset,
    *,
    cmap: str = "RdBu_r",
    scale_bar: bool = True,
    size: int = 300,
    columns: int = 3,
    **opts: Any,
) -> Any:
    """Draw the eigenimages side by side, each on its own colour scale.

    Parameters
    ----------
    pca_result
        A result of `xstxm.pca`.
    cmap
        Colour map. Its middle is zero, its ends the 99.5 percentile of the size of an image.
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
        An image for each component, its share of the variance above. Eager.

    Raises
    ------
    MissingVariableError
        `pca_result` is no result of `pca`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> len(xstxm.plot.eigenimages(xstxm.pca(stack, 3)))
    3
    """
    images = require_variable(pca_result, "eigenimages", _PCA_FIRST).compute()
    share = 100 * np.asarray(pca_result["explained_variance_ratio"])
    drawn = []
    for k, number in enumerate(np.asarray(images["component"])):
        image = images.isel(component=k, drop=True)
        size_of = np.abs(np.asarray(image, dtype=float))
        top = float(np.nanquantile(size_of, 0.995)) if np.isfinite(size_of).any() else 1.0
        title = f"component {number}: {share[k]:.3g} %"
        drawn.append(
            draw(image, cmap=cmap, clim=(-top or -1.0, top or 1.0), scale_bar=scale_bar, size=size, title=title, **opts)
        )
    return _spaced(holoviews().Layout(drawn).cols(columns))


def _spaced(layout: Any) -> Any:
    return styled(layout, bokeh={}, matplotlib={"hspace": 0.6, "vspace": 0.4, "sublabel_format": ""})


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
        The map, grey where a pixel belongs to no cluster, transparent where there is no sample; and the spectra. Eager.

    Raises
    ------
    MissingVariableError
        `cluster_result` is no result of `cluster`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> len(xstxm.plot.clusters(xstxm.cluster(stack, 2)))
    2
    """
    labels = require_variable(cluster_result, "labels", "call .stxm.cluster() first").compute()
    found = _named(cluster_result["cluster_spectra"], "cluster")
    drawn = xr.where(labels > 0, labels - 1, xr.where(labels == 0, UNDECIDED, NO_SAMPLE)).assign_coords(labels.coords)
    phases = xr.Dataset(
        {"phase_label": drawn, "confidence": cluster_result["confidence"]},
        coords={"phase": np.asarray(found["cluster"])},
    )
    picture = phase_map(phases, legend=False, scale_bar=scale_bar, size=size, title=title)
    layout = _spaced(picture + spectra(found, legend=legend, height=round(0.75 * size)))
    return layout.opts(**opts) if opts else layout
