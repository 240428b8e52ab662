"""Particles as points in a plane of two of their properties, and as profiles from the surface to the centre."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import content_of, require_variable
from xstxm.errors import MissingDimensionError, SchemaError
from xstxm.plot._curves import Axes, band, between, chart, curve, named, whiskers
from xstxm.plot._holoviews import COLOR_BAR, FRAME, draw_color_bar, holoviews, styled
from xstxm.plot._labels import label
from xstxm.plot._styles import COLORS, NEUTRAL, require_colormap

_CUT = "cut by the edge"
_MANY = 100
"""Particles from which on single profiles are drawn fainter."""


def particles(
    table: xr.Dataset,
    x: str = "equivalent_diameter",
    y: str = "particle_composition",
    *,
    color: str | None = None,
    cmap: str = "viridis",
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw one property of particles against another, with errors.

    Parameters
    ----------
    table
        A result of `xstxm.particles` or `xstxm.join_particles`.
    x, y
        Variables of the table. Their errors are read from ``<variable>_stderr``.
    color
        Variable of the colours: of names, marks or whole numbers from a palette, of other numbers from `cmap`. By default `node`,
        the image that a particle lies in, where the table has it.
    cmap
        Colour map of numbers.
    width, height
        Pixels of the drawing area on the screen.
    legend
        Draw it, beside the plot, or the colour bar.
    title
        Text above.
    **opts
        Passed to HoloViews as options of the Overlay for the backend in use.

    Returns
    -------
    holoviews.Overlay
        A point for each particle that has both values, a triangle where the edge of the image may cut it, with lines of
        one standard error; pointing at one says its number and its image. Eager.

    Raises
    ------
    MissingDimensionError
        Not a table of particles.
    MissingVariableError
        The table lacks a variable.
    SchemaError
        A variable with more than a value per particle.
    OptionError
        No colour map has that name.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 64), seed=0)
    >>> found = xstxm.particles(xstxm.phase_map(stack, xstxm.testing.simulate_references()))
    >>> type(xstxm.plot.particles(found, "particle_area", "aspect_ratio")).__name__
    'Overlay'
    """
    require_colormap(cmap)
    hv = holoviews()
    table = _table(table)
    color = color or ("node" if "node" in table.coords else None)
    columns = {name: _column(table, name) for name in (x, y, *([color] if color else []))}
    axes = hv.Dimension((x, label(columns[x]))), hv.Dimension((y, label(columns[y])))
    number = table["particle_number" if "particle_number" in table.coords else "particle"]
    told = {"number": np.asarray(number)} | ({"node": np.asarray(table["node"])} if "node" in table.coords else {})
    cut = np.asarray(table["touches_edge"] if "touches_edge" in table else np.zeros(number.size, bool))
    plane = _Plane(table, (x, y), axes, told, cut)
    if color is None:
        layers = plane.group(np.ones(number.size, bool), "", COLORS[0])
    elif _is_number(columns[color]):
        layers = plane.shaded(columns[color], cmap, bar=legend)
    else:
        values = np.asarray(columns[color])
        layers = []
        for k, value in enumerate(np.unique(values)):
            name = (
                str(value) if values.dtype.kind in "OU" else f"{columns[color].attrs.get('long_name', color)}: {value}"
            )
            layers += plane.group(values == value, name, COLORS[k % len(COLORS)])
    place = {"legend_position": "top"} if color and _is_number(columns[color]) else {}  # a colour bar stands beside
    if cut.any():
        layers.append(_dots((np.array([np.nan]), np.array([np.nan])), axes, _CUT, NEUTRAL, cut=True))
    return chart(layers, width=width, height=height, legend=legend, title=title, opts=opts, **place)


def _table(table: xr.Dataset) -> xr.Dataset:
    if "particle" not in table.dims:
        raise MissingDimensionError("particle", table.dims, "call xstxm.particles(phases) first")
    return units.dequantify(table).compute()


def _column(table: xr.Dataset, name: str) -> xr.DataArray:
    array = table[name] if name in table.coords else require_variable(table, name, "name a variable along 'particle'")
    if array.dims != ("particle",):
        others = [str(dim) for dim in array.dims if dim != "particle"]
        do = f"select along {others[0]!r} first, e.g. .isel({others[0]}=0)" if others else "name another"
        raise SchemaError(f"{name!r} has dims {array.dims}, wanted a value for each particle: {do}")
    return array


def _is_number(array: xr.DataArray) -> bool:
    return array.dtype.kind == "f" and content_of(str(array.name), array) != "labels"


class _Plane:
    """Two properties of particles, their errors, and what pointing at one says."""

    def __init__(
        self, table: xr.Dataset, names: tuple[str, str], axes: Axes, told: dict[str, np.ndarray], cut: np.ndarray
    ) -> None:
        self.x, self.y = (np.asarray(table[name], dtype=float) for name in names)
        self.errors = [np.asarray(table[f"{name}_stderr"]) if f"{name}_stderr" in table else None for name in names]
        self.axes, self.told, self.cut = axes, told, cut

    def group(self, inside: np.ndarray, name: str, color: str) -> list[Any]:
        """Return some particles in one colour."""
        layers = self._whiskers(inside, color)
        for cut in (False, True):
            own = inside & (self.cut == cut)
            if own.any():
                at = {key: values[own] for key, values in self.told.items()}
                layers.append(_dots((self.x[own], self.y[own]), self.axes, name, color, cut=cut, told=at))
        return layers

    def shaded(self, shade: xr.DataArray, cmap: str, *, bar: bool) -> list[Any]:
        """Return all particles in the colours of a number."""
        values = np.asarray(shade)
        known = values[np.isfinite(values)]
        ends = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        layers = self._whiskers(np.ones(values.size, bool), NEUTRAL)
        for cut in (False, True):
            own = self.cut == cut
            if own.any():
                at = {key: column[own] for key, column in self.told.items()} | {"shade": values[own]}
                dots = _dots((self.x[own], self.y[own]), self.axes, "", NEUTRAL, cut=cut, told=at)
                layers.append(_shaded(dots, cmap, ends, label(shade) if bar else ""))
                bar = False
        return layers

    def _whiskers(self, inside: np.ndarray, color: str) -> list[Any]:
        layers = []
        for error, (along, other), across in zip(
            self.errors, ((self.x, self.y), (self.y, self.x)), (True, False), strict=True
        ):
            if error is not None:
                ends = (other[inside], (along - error)[inside], (along + error)[inside])
                layers.append(whiskers(*ends, self.axes, color, across=across))
        return layers


def _dots(
    at: tuple[np.ndarray, np.ndarray],
    axes: Axes,
    name: str,
    color: str,
    *,
    cut: bool,
    told: dict[str, np.ndarray] | None = None,
) -> Any:
    hv = holoviews()
    labels = {"number": "Particle", "node": "Field", "shade": "Colour"}
    vdims = [axes[1], *(hv.Dimension((key, labels[key])) for key in told or {})]
    return styled(
        hv.Scatter((*at, *(told or {}).values()), axes[0], vdims, label=name),
        bokeh={"color": color, "marker": "triangle" if cut else "circle", "size": 7, "tools": ["hover"]},
        matplotlib={"color": color, "marker": "^" if cut else "o", "s": 24},
    )


def _shaded(dots: Any, cmap: str, clim: tuple[float, float], text: str) -> Any:
    """Return points in the colours of a number, with a colour bar where it has a text."""
    shared: dict[str, Any] = {"color": "shade", "cmap": cmap, "clim": clim}
    bar = {"colorbar": bool(text), "clabel": text, "colorbar_opts": COLOR_BAR}
    hooks = [functools.partial(draw_color_bar, text=text)] if text else []
    return styled(dots, bokeh={**shared, **bar}, matplotlib={**shared, "hooks": hooks})


def profiles(
    table: xr.Dataset,
    *,
    relative: bool = False,
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw the profiles of particles from the surface to the centre, and their mean.

    Parameters
    ----------
    table
        A result of `xstxm.particles` or `xstxm.join_particles`.
    relative
        Subtract the mean of each particle: what is left has to do with depth. Deep layers are those of large particles alone,
        whose means may differ from those of small ones.
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
        A thin line for each particle, and for each image a thick one, the mean of its particles, every particle alike, as deep
        as several reach, over a band of one standard error, the scatter of the particles over the root of their number. Of an
        image with a single particle, its line over a band of its noise. Eager.

    Raises
    ------
    MissingDimensionError
        Not a table of particles.
    MissingVariableError
        The table has no profile.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 64), seed=0)
    >>> found = xstxm.particles(xstxm.phase_map(stack, xstxm.testing.simulate_references()))
    >>> type(xstxm.plot.profiles(found)).__name__
    'Overlay'
    """
    hv = holoviews()
    table = _table(table)
    signal = str(table.attrs.get("signal", "composition"))
    profile = require_variable(table, f"{signal}_profile", "call xstxm.particles on a map that has the signal")
    text = str(profile.attrs.get("long_name", profile.name))
    if relative:
        profile = profile - require_variable(table, f"particle_{signal}", "call xstxm.particles first")
        profile = profile.assign_attrs({**table[f"{signal}_profile"].attrs, "long_name": f"{text}, less its mean"})
    axes = hv.Dimension(("distance", label(table["distance"]))), hv.Dimension(("profile", label(profile)))
    nodes = np.asarray(table["node"]).astype(str) if "node" in table.coords else np.full(table.sizes["particle"], "")
    rows, distance = np.asarray(profile.transpose("particle", "distance")), np.asarray(table["distance"])
    noise = table.get(f"{signal}_profile_stderr", xr.full_like(profile, np.nan))
    errors = np.asarray(noise.transpose("particle", "distance"))
    thin: list[Any] = []
    thick: list[Any] = []
    for k, node in enumerate(dict.fromkeys(nodes)):
        own, color = rows[nodes == node], COLORS[k % len(COLORS)]
        if len(own) == 1:
            thick += _alone(own[0], errors[nodes == node][0], distance, axes, node, color)
        else:
            thin.append(_thin(own, distance, axes, color, faint=len(rows) > _MANY))
            thick += _mean(own, distance, axes, f"mean of {node}" if node else "mean", color)
    single = [named(axes, "single particles", NEUTRAL, width=1)] if thin or not thick else []
    return chart([*thin, *thick, *single], width=width, height=height, legend=legend, title=title, opts=opts)


def _thin(rows: np.ndarray, distance: np.ndarray, axes: Axes, color: str, *, faint: bool) -> Any:
    alpha = 0.2 if faint else 0.45
    return styled(
        holoviews().Path([np.column_stack([distance, row]) for row in rows], list(axes)),
        bokeh={"color": color, "line_width": 1, "line_alpha": alpha},
        matplotlib={"color": color, "linewidth": 0.7, "alpha": alpha},
    )


def _alone(row: np.ndarray, error: np.ndarray, distance: np.ndarray, axes: Axes, node: str, color: str) -> list[Any]:
    """Return the profile of the only particle, and its band."""
    name = f"particle of {node}" if node else "particle"
    return [band(distance, row, error, axes, color), curve(distance, row, axes, name, color, width=3)]


def _mean(rows: np.ndarray, distance: np.ndarray, axes: Axes, name: str, color: str) -> list[Any]:
    """Return the mean of the particles that are as deep, where there are several, and its band."""
    number = np.isfinite(rows).sum(axis=0)
    several = np.where(number > 1, number, np.nan)
    mean = np.nansum(rows, axis=0) / several
    error = np.sqrt(np.nansum((rows - mean) ** 2, axis=0) / (several - 1) / several)
    return [
        between(distance, mean - error, mean + error, axes, color),
        curve(distance, mean, axes, name, color, width=3),
    ]
