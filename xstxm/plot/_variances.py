"""The variance of a map split by length scale."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import require_variable
from xstxm.errors import SchemaError, check_choice
from xstxm.plot._curves import Axes, chart, rule, square, whiskers
from xstxm.plot._holoviews import FRAME, holoviews, styled
from xstxm.plot._labels import of_signal
from xstxm.plot._styles import NEUTRAL, colors_along, names_along

Quantity: TypeAlias = Literal["variance", "share"]
_Row: TypeAlias = dict[str, Any]

_ROOM = 3.0
"""Times the tallest bar that an interval may reach before the frame cuts it."""


def variance_split(
    heterogeneity: xr.Dataset,
    *,
    quantity: Quantity = "variance",
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw how much of the variance of a map lies within particles, between particles and between fields.

    Parameters
    ----------
    heterogeneity
        A result of `xstxm.heterogeneity`, or several along another dimension, e.g.
        ``xr.concat([one, other], xr.Variable("sample", ["one", "other"]))``.
    quantity
        ``"variance"``, or ``"share"``: all in units of the total variance of each.
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
        At each scale a bar, the interval of the material as a line, whose end is written above where it is far beyond the
        bars, and in grey what noise and few members had added and was taken off. A scale that is not determined has no bar and
        says so. Eager.

    Raises
    ------
    MissingVariableError
        `heterogeneity` is no result of that function.
    SchemaError
        Results along more than one dimension.
    ChoiceError
        Unknown `quantity`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> phases["particle_label"] = (phases.y * 0 + phases.x > 0.5) + 1
    >>> type(xstxm.plot.variance_split(xstxm.heterogeneity(phases))).__name__
    'Overlay'
    """
    check_choice("quantity", quantity, Quantity)
    hv = holoviews()
    found = units.dequantify(heterogeneity).compute()
    variance = require_variable(found, "sampling_variance", "call xstxm.heterogeneity first")
    dim = _dim_of_samples(found, variance)
    samples, names, colors = _samples(found, dim)
    text = of_signal(found, found["variance"]) if quantity == "variance" else "Variance over the total variance"
    axes = hv.Dimension("scale", label=" "), hv.Dimension(("variance", text))
    over = [1.0 if quantity == "variance" else float(one["total_variance"]) for one in samples]
    bars = [
        _bars(one, k, len(samples), name, over[k]) for k, (one, name) in enumerate(zip(samples, names, strict=True))
    ]
    rows = [row for own in bars for row in own]
    low, high = _range(rows)
    layers: list[Any] = [square(axes, name, color) for name, color in zip(names, colors, strict=True) if name]
    layers += [square(axes, "noise, taken off", NEUTRAL)]
    for own, color in zip(bars, colors, strict=True):
        layers += _drawn(own, axes, color)
    layers += [*_beyond(rows, axes, high), rule(hv.HLine(0))]
    shared = {"xticks": _ticks(samples), "xlim": (-0.5, found.sizes["scale"] - 0.5), "ylim": (low, high)}
    return chart(layers, width=width, height=height, legend=legend, title=title, opts=opts, **shared)


def _dim_of_samples(found: xr.Dataset, variance: xr.DataArray) -> str | None:
    others = [str(dim) for dim in variance.dims if dim != "scale"]
    if len(others) > 1:
        raise SchemaError(
            f"bars stand side by side along one dimension, the variance has {variance.dims}: select along {others[0]!r} "
            f"first, e.g. .isel({others[0]}=0)"
        )
    return others[0] if others else None


def _samples(found: xr.Dataset, dim: str | None) -> tuple[list[xr.Dataset], list[str], list[str]]:
    """Return what stands side by side, with names and colours."""
    if dim is None:
        return [found], ["without noise"], colors_along(found.expand_dims("sample"), "sample")
    found = found if dim in found.coords else found.assign_coords({dim: np.arange(found.sizes[dim]) + 1})
    samples = [found.isel({dim: k}) for k in range(found.sizes[dim])]
    return samples, names_along(found["variance"], dim), colors_along(found, dim)


def _bars(sample: xr.Dataset, k: int, n: int, name: str, over: float) -> list[_Row]:
    """Return where the bars of a sample stand, and what they say."""
    step = 0.8 / n
    rows = []
    for at, scale in enumerate(np.asarray(sample["scale"]).astype(str)):
        one = sample.isel(scale=at)
        left = at - 0.4 + k * step
        number = {end: float(one[f"variance{end}"]) / over for end in ("", "_lower", "_upper")}
        removed = float(np.nansum([one["noise_variance"], one["sampling_variance"]])) / over
        if np.isfinite(number[""]):
            places = {"left": left + 0.05 * step, "middle": left + 0.6 * step, "right": left + 0.95 * step}
            told = {"scale": f"{name}, {scale}", "deviation": float(one["standard_deviation"])}
            rows.append(
                {
                    **places,
                    **told,
                    "value": number[""],
                    "removed": removed,
                    "ends": (number["_lower"], number["_upper"]),
                }
            )
    return rows


def _range(rows: list[_Row]) -> tuple[float, float]:
    """Return the ends of the scale, which an interval of few fields does not set."""
    tallest = max((max(row["value"], row["removed"]) for row in rows), default=0.0) or 1.0
    ends = [row["ends"][1] for row in rows if np.isfinite(row["ends"][1])]
    low = min((row["value"] for row in rows), default=0.0)
    return min(1.2 * low, 0.0), 1.12 * min(max([tallest, *ends]), _ROOM * tallest)


def _drawn(rows: list[_Row], axes: Axes, color: str) -> list[Any]:
    if not rows:
        return []
    hv = holoviews()
    values = [
        (row["left"], 0, row["middle"], row["value"], row["scale"], row["value"], row["deviation"]) for row in rows
    ]
    removed = [(row["middle"], 0, row["right"], row["removed"], row["scale"], row["removed"]) for row in rows]
    told = [hv.Dimension(("told", "Scale")), hv.Dimension(("value", axes[1].label))]
    deviation = hv.Dimension(("deviation", "Standard deviation"))
    places = np.array([(row["left"] + row["middle"]) / 2 for row in rows])
    ends = np.array([row["ends"] for row in rows])
    return [
        _rectangles(values, [*told, deviation], color),
        _rectangles(removed, told, NEUTRAL),
        # dark on light, to be seen on the bar and on any ground
        whiskers(places, ends[:, 0], ends[:, 1], axes, "#f5f5f5", width=4),
        whiskers(places, ends[:, 0], ends[:, 1], axes, "#222222"),
    ]


def _rectangles(cells: list[tuple[Any, ...]], told: list[Any], color: str) -> Any:
    return styled(
        holoviews().Rectangles(cells, vdims=told),
        bokeh={"color": color, "line_alpha": 0, "tools": ["hover"]},
        matplotlib={"facecolor": color, "linewidth": 0},
    )


def _beyond(rows: list[_Row], axes: Axes, high: float) -> list[Any]:
    """Return the upper ends of intervals that the frame cuts."""
    cut = [
        ((row["left"] + row["middle"]) / 2, 0.97 * high, f" to {row['ends'][1]:.2g}")
        for row in rows
        if row["ends"][1] > high
    ]
    if not cut:
        return []
    return [
        styled(
            holoviews().Labels(cut, kdims=list(axes), vdims="end"),
            bokeh={"text_align": "left", "text_baseline": "top", "text_font_size": "9pt", "text_color": NEUTRAL},
            matplotlib={"horizontalalignment": "left", "verticalalignment": "top", "size": 8, "color": NEUTRAL},
        )
    ]


def _ticks(samples: list[xr.Dataset]) -> list[tuple[int, str]]:
    """Return the names of the scales, with the share of a single sample."""
    scales = np.asarray(samples[0]["scale"]).astype(str)
    unknown = [all(np.isnan(one["variance"][k]) for one in samples) for k in range(len(scales))]
    shares = np.asarray(samples[0]["variance_share"]) if len(samples) == 1 else [np.nan] * len(scales)
    below = [
        "\nnot determined" if lost else f"\n{100 * share:.3g} %" if np.isfinite(share) else ""
        for lost, share in zip(unknown, shares, strict=True)
    ]
    return [(k, scale + text) for k, (scale, text) in enumerate(zip(scales, below, strict=True))]
