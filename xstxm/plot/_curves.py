"""What every plot of curves is made of: axes, curves, bands, points, and the frame with the legend beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.plot._holoviews import INCHES_PER_PIXEL, LEGEND, holoviews, styled, tidy
from xstxm.plot._labels import label
from xstxm.plot._styles import NEUTRAL

Axes = tuple[Any, Any]

BAND = 0.25
"""Opacity of a band."""

_ENTRY = 22
"""Pixels on the screen that an entry of the legend is high."""


def energy_axes(array: xr.DataArray) -> Axes:
    """Return the dimensions of a spectrum, energy and value, with their labels."""
    hv = holoviews()
    return hv.Dimension((ENERGY, label(array[ENERGY]))), hv.Dimension((str(array.name or "value"), label(array)))


def curve(
    x: np.ndarray, y: np.ndarray, axes: Axes, name: str, color: str, *, width: float = 2, dash: str = "solid"
) -> Any:
    """Return a line, with a gap where y is NaN."""
    return styled(
        holoviews().Curve((x, y), *axes, label=name),
        bokeh={"color": color, "line_width": width, "line_dash": dash, "tools": ["hover"]},
        matplotlib={"color": color, "linewidth": width * 0.7, "linestyle": dash},
    )


def band(x: np.ndarray, middle: np.ndarray, half: np.ndarray, axes: Axes, color: str) -> Any:
    """Return what lies no further than `half` from the middle."""
    return between(x, middle - half, middle + half, axes, color)


def between(x: np.ndarray, low: np.ndarray, high: np.ndarray, axes: Axes, color: str) -> Any:
    """Return what lies between two curves, where both are known."""
    known = np.isfinite(low) & np.isfinite(high)
    # Matplotlib's Area obeys `color` or `facecolor`, by which backend was in use when it was made
    return styled(
        holoviews().Area((x[known], low[known], high[known]), axes[0], [axes[1], "upper"]),
        bokeh={"color": color, "alpha": BAND, "line_alpha": 0},
        matplotlib={"color": color, "facecolor": color, "alpha": BAND, "linewidth": 0},
    )


def points(x: np.ndarray, y: np.ndarray, axes: Axes, name: str, color: str, *, size: float = 4) -> Any:
    """Return dots."""
    return styled(
        holoviews().Scatter((x, y), *axes, label=name),
        bokeh={"color": color, "size": size, "tools": ["hover"]},
        matplotlib={"color": color, "s": size**2 / 2},
    )


def crosses(x: np.ndarray, y: np.ndarray, axes: Axes, name: str) -> Any:
    """Return marks of what is doubtful."""
    return styled(
        holoviews().Scatter((x, y), *axes, label=name),
        bokeh={"color": NEUTRAL, "marker": "x", "size": 9, "line_width": 2, "tools": ["hover"]},
        matplotlib={"color": NEUTRAL, "marker": "X", "s": 36},
    )


def square(axes: Sequence[Any], name: str, color: str, *, alpha: float = 1) -> Any:
    """Return a point that is nowhere, whose only purpose is its entry in the legend."""
    return styled(
        holoviews().Points([(np.nan, np.nan)], kdims=list(axes), label=name),
        bokeh={"color": color, "alpha": alpha, "marker": "square", "size": 12},
        matplotlib={"color": color, "alpha": alpha, "marker": "s", "s": 60},
    )


def named(axes: Axes, name: str, color: str = NEUTRAL, *, dash: str = "solid", width: float = 2) -> Any:
    """Return a line that is nowhere, whose only purpose is its entry in the legend."""
    nowhere = np.array([np.nan])
    return curve(nowhere, nowhere, axes, name, color, width=width, dash=dash)


def whiskers(
    x: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    axes: Axes,
    color: str,
    *,
    across: bool = False,
    width: float = 1.5,
) -> Any:
    """Return a line from the lower to the upper end of each interval, upwards or across."""
    known = np.isfinite(low) & np.isfinite(high)
    x, low, high = x[known], low[known], high[known]
    ends = (low, x, high, x) if across else (x, low, x, high)
    return styled(
        holoviews().Segments(np.column_stack(ends), [*axes, "x_end", "y_end"]),
        bokeh={"color": color, "line_width": width},
        matplotlib={"color": color, "linewidth": 0.8 * width},
    )


def rule(element: Any) -> Any:
    """Return a horizontal or vertical line, dashed."""
    return styled(
        element,
        bokeh={"color": NEUTRAL, "line_width": 1, "line_dash": "dashed"},
        matplotlib={"color": NEUTRAL, "linewidth": 1, "linestyle": "dashed"},
    )


def legend_beside(layers: Sequence[Any], height: int, *, legend: bool) -> dict[str, dict[str, Any]]:
    """Return options of a legend at the right of a frame, in as many columns as keep it within the height."""
    entries = len({layer.label for layer in layers if layer.label})
    columns = max(math.ceil(entries / max(height // _ENTRY, 1)), 1)
    shared = {"legend_position": "right", "show_legend": legend, "legend_limit": len(layers) + 1}
    return {
        "bokeh": {**shared, "legend_opts": {**LEGEND, "ncols": columns}},
        "matplotlib": {**shared, "legend_opts": {"ncols": columns, "frameon": False, "borderaxespad": 0}},
    }


def chart(
    layers: Sequence[Any],
    *,
    width: int,
    height: int,
    legend: bool,
    title: str,
    opts: Mapping[str, Any],
    **shared: Any,
) -> Any:
    """Return curves and points in one frame, the legend beside it; `shared` are options that both backends know."""
    beside = legend_beside(layers, height, legend=legend)
    overlay = styled(
        holoviews().Overlay(layers),
        bokeh={
            **beside["bokeh"],
            "frame_width": width,
            "frame_height": height,
            "toolbar": "above",
            "hooks": [tidy],
            "show_grid": True,
            "gridstyle": {"grid_line_alpha": 0.3},
            "title": title,
            **shared,
        },
        matplotlib={
            **beside["matplotlib"],
            "fig_inches": (width * INCHES_PER_PIXEL + 0.8, height * INCHES_PER_PIXEL + 0.6),
            "aspect": "auto" if shared.get("logy") else width / height,
            "show_grid": True,
            "title": title,
            **shared,
        },
    )
    return overlay.opts(**opts) if opts else overlay
