"""Variance and resemblance of a map against length."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import require_variable
from xstxm.plot._curves import BAND, Axes, band, between, chart, crosses, curve, named, points, rule, square, whiskers
from xstxm.plot._holoviews import FRAME, holoviews
from xstxm.plot._labels import label, of_signal, pretty_units
from xstxm.plot._styles import COLORS, NEUTRAL, by_node

_LIMITS = {"mixed_variance": ("mixed at random", "dashed"), "noise_variance": ("noise alone", "dotted")}
"""What a curve of variance is compared with, and its dash."""


def coarse_graining(
    found: xr.Dataset, *, width: int = FRAME, height: int = 300, legend: bool = True, title: str = "", **opts: Any
) -> Any:
    """Draw the variance of a map against the length of its blocks, both on logarithmic scales.

    Parameters
    ----------
    found
        A result of `xstxm.coarse_grain`, of one field or several.
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
        A curve for each field over the band of its interval, which reaches the lower edge where it includes zero; dashed the
        variance of the same pixels mixed at random, dotted that of noise alone, which was taken off. An estimate that is
        not above zero has no place on the scale: a cross at the lower edge. Eager.

    Raises
    ------
    MissingVariableError
        `found` is no result of `coarse_grain`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> type(xstxm.plot.coarse_graining(xstxm.coarse_grain(phases))).__name__
    'Overlay'
    """
    hv = holoviews()
    found = units.dequantify(found)
    require_variable(found, "mixed_variance", "call xstxm.coarse_grain first")
    axes = (
        hv.Dimension(("length", label(found["length"]))),
        hv.Dimension(("variance", of_signal(found, found["variance"]))),
    )
    level = float(found["variance_lower"].attrs.get("confidence_level", np.nan))
    low, high = _log_range(found)
    layers: list[Any] = []
    fields = by_node(found, "variance")
    for name, color, field in fields:
        layers += _of_field(field, axes, name, color, low)
    layers.append(square(axes, f"{100 * level:g} % interval", fields[0][1], alpha=BAND))
    layers += [named(axes, text, dash=dash, width=1.5) for text, dash in _LIMITS.values()]
    length = np.asarray(found["length"])
    ends = float(length.min()) / 1.15, float(length.max()) * 1.15
    scales = {
        "logx": True,
        "logy": True,
        "xlim": ends,
        "ylim": (low, high),
        "xticks": _round_ticks(*ends) or _ticks(length),
    }
    scales |= _names(axes)
    return chart(layers, width=width, height=height, legend=legend, title=title, opts=opts, **scales)


def _names(axes: Axes) -> dict[str, str]:
    """Return the names of both axes, which are lost where the first layer, a band, is empty."""
    return {"xlabel": axes[0].label, "ylabel": axes[1].label}


def _of_field(field: xr.Dataset, axes: Axes, name: str, color: str, low: float) -> list[Any]:
    """Return band, limits and curve of a field, and crosses at the lower end of the scale."""
    length, variance = np.asarray(field["length"]), np.asarray(field["variance"])
    lower, upper = (np.maximum(np.asarray(field[f"variance_{end}"]), low) for end in ("lower", "upper"))
    layers = [between(length, lower, upper, axes, color)]
    for limit, (_, dash) in _LIMITS.items():
        values = _positive(np.asarray(field[limit]))
        layers.append(curve(length, values, axes, "", color, width=1.5, dash=dash))
    positive = _positive(variance)
    layers += [curve(length, positive, axes, name or "map", color), points(length, positive, axes, "", color, size=5)]
    lost = variance <= 0
    if lost.any():
        layers.append(crosses(length[lost], np.full(lost.sum(), low * 1.1), axes, "not above zero"))
    return layers


def _round_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return 1, 2 and 5 times powers of ten between two lengths, of which Bokeh would show few."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))))
    ticks = (float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5))
    return [(tick, f"{tick:g}") for tick in ticks if low <= tick <= high]


def _ticks(length: np.ndarray) -> list[tuple[float, str]]:
    return [(float(one), f"{one:g}") for one in length]


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def _log_range(found: xr.Dataset) -> tuple[float, float]:
    """Return the ends of a logarithmic scale that holds all curves and the upper ends of the intervals."""
    names = ("variance", "variance_upper", *_LIMITS)
    values = np.concatenate([np.ravel(found[name]) for name in names])
    values = values[np.isfinite(values) & (values > 0)]
    return (float(values.min()) / 2, float(values.max()) * 2) if values.size else (0.1, 1.0)


def autocovariance(
    found: xr.Dataset, *, width: int = FRAME, height: int = 300, legend: bool = True, title: str = "", **opts: Any
) -> Any:
    """Draw the autocovariance of a map against the distance of two pixels, and its correlation length.

    Parameters
    ----------
    found
        A result of `xstxm.correlation_length`, of one field or several.
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
        A curve for each field over a band of one standard error of the material, and a dot where it has fallen to 1 / e,
        with the interval of that length across. Eager.

    Raises
    ------
    MissingVariableError
        `found` is no result of `correlation_length`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> type(xstxm.plot.autocovariance(xstxm.correlation_length(phases))).__name__
    'Overlay'
    """
    hv = holoviews()
    found = units.dequantify(found)
    covariance = require_variable(found, "autocovariance", "call xstxm.correlation_length first")
    axes = hv.Dimension(("lag", label(found["lag"]))), hv.Dimension(("autocovariance", of_signal(found, covariance)))
    layers: list[Any] = []
    marks: list[Any] = [rule(hv.HLine(0))]
    for name, color, field in by_node(found, "autocovariance"):
        lag, values = np.asarray(field["lag"]), np.asarray(field["autocovariance"])
        layers.append(band(lag, values, np.asarray(field["autocovariance_sampling_stderr"]), axes, color))
        layers.append(curve(lag, values, axes, name or "map", color))
        marks += _length_mark(field, axes, color)
    ends = {"xlim": (0.0, _farthest(found)), **_names(axes)}
    return chart([*layers, *marks], width=width, height=height, legend=legend, title=title, opts=opts, **ends)


def _farthest(found: xr.Dataset) -> float:
    """Return the end of a scale that holds the curves, and lengths beyond them."""
    lengths = np.concatenate([np.ravel(found[f"correlation_length{end}"]) for end in ("", "_upper")])
    return max(float(found["lag"][-1]), 1.03 * float(np.nanmax(lengths, initial=0.0)))


def _length_mark(field: xr.Dataset, axes: Axes, color: str) -> list[Any]:
    """Return a dot at the correlation length, and its interval across, where it is known."""
    length, low, high = (float(field[f"correlation_length{end}"]) for end in ("", "_lower", "_upper"))
    if not np.isfinite(length):
        return []
    at = np.array([float(field["autocovariance"][0]) / np.exp(1)])
    unit = pretty_units(str(field["correlation_length"].attrs["units"]))
    interval = f" ({low:.3g} to {high:.3g})" if np.isfinite(low + high) else ""
    return [
        whiskers(at, np.array([low]), np.array([high]), axes, color, across=True),
        points(np.array([length]), at, axes, f"length {length:.3g} {unit}{interval}", color, size=9),
    ]


def two_point(
    found: xr.Dataset, *, width: int = FRAME, height: int = 300, legend: bool = True, title: str = "", **opts: Any
) -> Any:
    """Draw how probable it is that two points a distance apart are of two phases.

    Parameters
    ----------
    found
        A result of `xstxm.two_point_correlation`.
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
        For each pair of phases a curve over a band of one standard error of the material, and dashed the limit for phases
        that know nothing of each other. Eager.

    Raises
    ------
    MissingVariableError
        `found` is no result of `two_point_correlation`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> type(xstxm.plot.two_point(xstxm.two_point_correlation(phases))).__name__
    'Overlay'
    """
    hv = holoviews()
    found = units.dequantify(found)
    probability = require_variable(found, "two_point_probability", "call xstxm.two_point_correlation first").compute()
    axes = hv.Dimension(("lag", label(found["lag"]))), hv.Dimension(("probability", label(probability)))
    lag, names = np.asarray(found["lag"]), [str(name) for name in np.asarray(found["phase"])]
    layers: list[Any] = []
    for k, (i, j) in enumerate(zip(*np.triu_indices(len(names)), strict=True)):
        pair, color = {"phase": int(i), "other_phase": int(j)}, COLORS[k % len(COLORS)]
        values = np.asarray(probability.isel(pair))
        error = np.asarray(found["two_point_probability_sampling_stderr"].isel(pair))
        limit = np.full(2, float(found["two_point_limit"].isel(pair)))
        layers.append(band(lag, values, error, axes, color))
        layers.append(curve(lag[[0, -1]], limit, axes, "", color, width=1, dash="dashed"))
        layers.append(curve(lag, values, axes, f"{names[i]} and {names[j]}", color))
    layers.append(named(axes, "limit at random", NEUTRAL, dash="dashed", width=1))
    return chart(layers, width=width, height=height, legend=legend, title=title, opts=opts)
