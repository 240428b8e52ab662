"""Experiments in time: phase fractions beside the charge, and particles followed along their tracks."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import require_variable
from xstxm.errors import MissingCoordinateError, SchemaError
from xstxm.plot._classes import phase_colors
from xstxm.plot._curves import Axes, band, chart, curve, points, whiskers
from xstxm.plot._holoviews import FRAME, INCHES_PER_PIXEL, Box, holoviews, place, styled
from xstxm.plot._labels import label
from xstxm.plot._styles import COLORS, NEUTRAL

_TIME = "time"


class _Clock:
    """Times of a plot: hours since the first where they are dates, else as they are."""

    def __init__(self, time: xr.DataArray) -> None:
        self.time = time
        self.first = time.min() if time.dtype.kind == "M" else None
        text = label(time.assign_attrs(long_name="Time"))
        if self.first is not None:
            text = f"Time since {str(np.datetime64(self.first.item(), 'ns'))[:16].replace('T', ' ')} [h]"
        self.axis = holoviews().Dimension((_TIME, text))

    def __call__(self, time: xr.DataArray) -> np.ndarray:
        """Return times as they are drawn."""
        if (time.dtype.kind == "M") != (self.first is not None):
            maps, other = ("numbers", "dates") if self.first is None else ("dates", "numbers")
            raise SchemaError(
                f"the maps have {maps} and the log {other} as times: read the log with start_time=, or give the maps a time "
                "on the clock of the log"
            )
        if self.first is not None:
            return np.asarray((time - self.first) / np.timedelta64(1, "h"), dtype=float)
        if "units" not in time.attrs and "units" not in self.time.attrs:
            return np.asarray(time, dtype=float)
        unit = units.units_of(self.time, "the time of the maps", "s")
        return np.asarray(units.to_units(time.astype(float), unit, "the time of the log"))


def time_series(
    found: xr.Dataset,
    signal: str = "area_fraction",
    *,
    log: xr.Dataset | None = None,
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw phase fractions, or what else `phase_summary` says, against time, and the charge below.

    Parameters
    ----------
    found
        A result of `xstxm.time_series`, or of `xstxm.phase_summary` of a map with a dimension `time`.
    signal
        Variable along time, for each phase or of the sample: ``"area_fraction"``, ``"mean_fraction"``,
        ``"sample_composition"``, ...
    log
        What the cell did meanwhile, with `charge`, see `xstxm.read_electrochemistry`; its times are dates where those of the
        maps are.
    width, height
        Pixels of the drawing area on the screen; the charge is half as high.
    legend
        Whether to draw it, beside the plot.
    title
        Text above.
    **opts
        Passed to HoloViews as options of the Layout for the backend in use.

    Returns
    -------
    holoviews.Layout
        Points with lines of one standard error of these very fields, over a band of one of the material, where they are known;
        and the charge. Dates are hours since the first map. Eager.

    Raises
    ------
    MissingVariableError, MissingCoordinateError
        No such variable, no times, or a log without charge.
    SchemaError
        A variable along more than phase and time, or a log on another clock.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> maps = {str(k): phases.assign_coords(time=((), 60.0 * k, {"units": "s"})) for k in range(3)}
    >>> len(xstxm.plot.time_series(xstxm.time_series(maps)))
    1
    """
    hv = holoviews()
    found = units.dequantify(found)
    values = _along_time(found, signal)
    clock = _Clock(values[_TIME])
    axes = clock.axis, hv.Dimension((signal, label(values)))
    time = clock(values[_TIME])
    curves: list[tuple[str, str, int | None]]
    if "phase" in values.dims:
        curves = [(name, color, k) for k, (name, color) in enumerate(phase_colors(found).items())]
    else:
        curves = [("", COLORS[0], None)]
    layers: list[Any] = []
    for name, color, phase in curves:
        layers += _with_errors(found, signal, phase, time, axes, name, color)
    below = None if log is None else _charge(log, clock)
    times = time if below is None else np.concatenate([time, below.dimension_values(0)])
    room = 0.03 * np.ptp(times) or 1.0
    shared: dict[str, Any] = {"width": width, "legend": legend, "opts": {}}
    shared["xlim"] = (float(times.min() - room), float(times.max() + room))
    charts = [chart(layers, height=height, title=title, **shared)]
    if below is not None:
        charts.append(chart([below], height=height // 2, title="", **shared))
    layout = _below_each_other(charts, width, [height, height // 2])
    return layout.opts(**opts) if opts else layout


def _below_each_other(charts: list[Any], width: int, heights: list[int]) -> Any:
    """Return charts of one width in a column."""
    inches = [height * INCHES_PER_PIXEL for height in heights[: len(charts)]]
    paper = (width * INCHES_PER_PIXEL + 2.4, sum(inches) + 0.9 * len(inches))
    placed: list[Any] = []
    top = paper[1]
    for drawn, high in zip(charts, inches, strict=True):
        top -= high + 0.9
        box: Box = (0.9, top + 0.6, width * INCHES_PER_PIXEL, high, *paper)
        placed.append(styled(drawn, bokeh={}, matplotlib={"hooks": [functools.partial(place, box=box)]}))
    below = {"sublabel_format": "", "shared_axes": False}
    return styled(holoviews().Layout(placed).cols(1), bokeh={}, matplotlib=below)


def _along_time(found: xr.Dataset, signal: str) -> xr.DataArray:
    values = require_variable(found, signal, "call xstxm.time_series first").compute()
    others = [str(dim) for dim in values.dims if dim not in ("phase", _TIME)]
    if _TIME not in values.dims or others:
        do = f"select along {others[0]!r} first" if others else "call xstxm.time_series on maps of several times"
        raise SchemaError(f"{signal!r} has dims {values.dims}, wanted time, and phase at most: {do}")
    if _TIME not in values.coords:
        raise MissingCoordinateError(_TIME)
    return values


def _with_errors(
    found: xr.Dataset, signal: str, phase: int | None, time: np.ndarray, axes: Axes, name: str, color: str
) -> list[Any]:
    """Return a curve with points, its errors as lines, those of the material as a band."""
    one = found if phase is None else found.isel(phase=phase)
    values = np.asarray(one[signal], dtype=float)
    layers: list[Any] = []
    if f"{signal}_sampling_stderr" in one:
        layers.append(band(time, values, np.asarray(one[f"{signal}_sampling_stderr"]), axes, color))
    if f"{signal}_stderr" in one:
        error = np.asarray(one[f"{signal}_stderr"])
        layers.append(whiskers(time, values - error, values + error, axes, color))
    return [*layers, curve(time, values, axes, name, color, width=1), points(time, values, axes, "", color, size=7)]


def _charge(log: xr.Dataset, clock: _Clock) -> Any:
    """Return the charge against the time of the maps."""
    log = units.dequantify(log)
    charge = require_variable(log, "charge", "read a log that has a charge or a current, see read_electrochemistry")
    if _TIME not in charge.coords:
        raise MissingCoordinateError(_TIME)
    axes = clock.axis, holoviews().Dimension(("charge", label(charge)))
    return curve(clock(charge[_TIME]), np.asarray(charge), axes, "", NEUTRAL)


def trajectories(
    found: xr.Dataset,
    y: str = "particle_composition",
    *,
    width: int = FRAME,
    height: int = 300,
    legend: bool = True,
    title: str = "",
    **opts: Any,
) -> Any:
    """Draw what becomes of each particle: a line for each track.

    Parameters
    ----------
    found
        A result of `xstxm.trajectories`.
    y
        Variable along track and time; its errors are read from ``<y>_stderr``.
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
        A line with a gap where the track is absent, a point at each time, and lines of one standard error; tracks have colours
        and names up to 24, more are all alike. Pointing at a point says its track. Eager.

    Raises
    ------
    MissingVariableError, MissingCoordinateError
        No such variable, or no times.
    SchemaError
        A variable along more than track and time.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> values = (("track", "time"), [[0.1, 0.4], [0.2, 0.5]])
    >>> found = xr.Dataset({"particle_composition": values}, {"track": [1, 2], "time": [0.0, 60.0]})
    >>> type(xstxm.plot.trajectories(found)).__name__
    'Overlay'
    """
    hv = holoviews()
    found = units.dequantify(found)
    values = require_variable(found, y, "call xstxm.trajectories first").compute()
    if {*values.dims} != {"track", _TIME}:
        raise SchemaError(f"{y!r} has dims {values.dims}, wanted ('track', 'time'): name another, or select first")
    if _TIME not in values.coords:
        raise MissingCoordinateError(_TIME)
    clock = _Clock(values[_TIME])
    axes, time = (clock.axis, hv.Dimension((y, label(values)))), clock(values[_TIME])
    number = np.asarray(values["track"])
    if number.size <= len(COLORS):
        groups = [([k], COLORS[k], f"track {number[k]}") for k in range(number.size)]
    else:
        groups = [([*range(number.size)], NEUTRAL, "")]
    layers: list[Any] = []
    for tracks, color, name in groups:
        layers += _of_tracks(found.isel(track=tracks), y, time, axes, name, color)
    return chart(layers, width=width, height=height, legend=legend, title=title, opts=opts)


def _of_tracks(found: xr.Dataset, y: str, time: np.ndarray, axes: Axes, name: str, color: str) -> list[Any]:
    """Return lines, errors and points of some tracks in one colour; pointing at a point says its track."""
    hv = holoviews()
    n = found.sizes["track"]
    values = _with_gaps(found[y])
    error = _with_gaps(found[f"{y}_stderr"]) if f"{y}_stderr" in found else None
    times = np.tile(np.append(time, np.nan), n)
    number = np.repeat(np.asarray(found["track"]), time.size + 1)
    layers = [] if error is None else [whiskers(times, values - error, values + error, axes, color)]
    dots = styled(
        hv.Scatter((times, values, number), axes[0], [axes[1], hv.Dimension(("track", "Track"))]),
        bokeh={"color": color, "size": 6, "tools": ["hover"]},
        matplotlib={"color": color, "s": 18},
    )
    return [*layers, curve(times, values, axes, name, color, width=1), dots]


def _with_gaps(array: xr.DataArray) -> np.ndarray:
    """Return values (track, time) in a row, NaN after each track, where the line has a gap."""
    rows = np.asarray(array.transpose("track", _TIME), dtype=float)
    return np.pad(rows, ((0, 0), (0, 1)), constant_values=np.nan).ravel()
