"""Drawings of experiments in time: phases beside the charge on one clock, and tracks with gaps."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xstxm import plot
from xstxm.conventions import PALETTE
from xstxm.errors import MissingCoordinateError, MissingUnitsError, MissingVariableError, SchemaError

hv = pytest.importorskip("holoviews")
START = np.datetime64("2026-03-01T10:00", "ns")


def minutes(values):
    return START + np.asarray(values) * np.timedelta64(1, "m")


@pytest.fixture
def series() -> xr.Dataset:
    """Two phases at three times, half an hour apart."""
    dims, fraction = ("phase", "time"), [[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]]
    return xr.Dataset(
        {
            "area_fraction": (dims, fraction, {"units": "1", "long_name": "Area fraction"}),
            "area_fraction_stderr": (dims, np.full((2, 3), 0.01)),
            "area_fraction_sampling_stderr": (dims, np.full((2, 3), 0.05)),
            "sample_composition": ("time", [0.1, 0.5, 0.9], {"units": "1", "long_name": "x in LixV2O5"}),
        },
        {"phase": ["A", "B"], "color": ("phase", ["", "#123456"]), "time": minutes([0, 30, 60])},
    )


@pytest.fixture
def log() -> xr.Dataset:
    charge = ("time", np.linspace(0, -2, 11), {"units": "mAh", "long_name": "Charge"})
    return xr.Dataset({"charge": charge}, {"time": minutes(np.arange(-15, 95, 10))})


@pytest.fixture
def tracks() -> xr.Dataset:
    values = [[0.1, np.nan, 0.3], [0.5, 0.6, np.nan]]
    return xr.Dataset(
        {
            "particle_composition": (("track", "time"), values, {"units": "1", "long_name": "Composition"}),
            "particle_composition_stderr": (("track", "time"), np.full((2, 3), 0.02)),
        },
        {"track": [3, 8], "time": ("time", [0.0, 60.0, 120.0], {"units": "s"})},
    )


def style(element, kind="style", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def drawn(overlay, kind):
    return [element for element in overlay if type(element) is kind]


def test_time_series__draws_each_phase_in_its_colour_with_both_errors(series):
    (overlay,) = plot.time_series(series)
    a, b = drawn(overlay, hv.Curve)
    assert [(curve.label, style(curve)["color"]) for curve in (a, b)] == [("A", PALETTE[0]), ("B", "#123456")]
    np.testing.assert_allclose(a.dimension_values(0), [0.0, 0.5, 1.0])
    np.testing.assert_allclose(a.dimension_values(1), [0.9, 0.5, 0.1])
    lines, area = drawn(overlay, hv.Segments)[0], drawn(overlay, hv.Area)[0]
    np.testing.assert_allclose(lines.array()[:, 3] - lines.array()[:, 1], 0.02)
    np.testing.assert_allclose(area.dimension_values(2) - area.dimension_values(1), 0.1)
    assert a.kdims[0].label == "Time since 2026-03-01 10:00 [h]"


def test_time_series__charge_lies_below_on_the_same_clock(series, log):
    above, below = plot.time_series(series, log=log)
    (charge,) = drawn(below, hv.Curve)
    np.testing.assert_allclose(charge.dimension_values(0)[[0, -1]], [-0.25, 85 / 60])
    np.testing.assert_allclose(charge.dimension_values(1), log.charge)
    assert charge.vdims[0].label == "Charge [mAh]"
    assert style(above, "plot")["xlim"] == style(below, "plot")["xlim"]
    assert style(below, "plot")["frame_height"] == style(above, "plot")["frame_height"] // 2


def test_time_series__numbers_as_times_convert(series, log):
    seconds = series.assign_coords(time=("time", [0.0, 1800.0, 3600.0], {"units": "s"}))
    hours = log.assign_coords(time=("time", np.linspace(0, 1, 11), {"units": "h"}))
    above, below = plot.time_series(seconds, log=hours)
    assert drawn(above, hv.Curve)[0].kdims[0].label == "Time [s]"
    np.testing.assert_allclose(drawn(below, hv.Curve)[0].dimension_values(0), np.linspace(0, 3600, 11))


def test_time_series__of_the_sample_is_one_curve(series):
    (overlay,) = plot.time_series(series, "sample_composition")
    (curve,) = drawn(overlay, hv.Curve)
    assert (curve.label, curve.vdims[0].label) == ("", "x in LixV2O5")
    assert not drawn(overlay, hv.Area)


def test_time_series__two_clocks_are_refused(series, log):
    numbers = log.assign_coords(time=np.arange(11.0))
    with pytest.raises(SchemaError, match="maps have dates and the log numbers as times"):
        plot.time_series(series, log=numbers)
    with pytest.raises(SchemaError, match="maps have numbers and the log dates as times"):
        plot.time_series(series.assign_coords(time=np.arange(3.0)), log=log)


def test_time_series__a_clock_without_units_is_refused_beside_one_with_units(series, log):
    bare = series.assign_coords(time=[0.0, 1.0, 2.0])
    assert drawn(plot.time_series(bare)[0], hv.Curve)[0].kdims[0].label == "Time"
    seconds = log.assign_coords(time=("time", np.arange(11.0), {"units": "s"}))
    with pytest.raises(MissingUnitsError, match="the time of the maps"):
        plot.time_series(bare, log=seconds)


def test_time_series__bad_input_says_what_to_type(series, log):
    with pytest.raises(MissingVariableError, match=r"call xstxm\.time_series first"):
        plot.time_series(series, "mean_fraction")
    with pytest.raises(SchemaError, match="wanted time, and phase at most: select along 'region' first"):
        plot.time_series(series.expand_dims(region=2))
    with pytest.raises(SchemaError, match=r"call xstxm\.time_series on maps of several times"):
        plot.time_series(series.isel(time=0))
    with pytest.raises(MissingCoordinateError, match="time"):
        plot.time_series(series.drop_vars("time"))
    with pytest.raises(MissingVariableError, match="read_electrochemistry"):
        plot.time_series(series, log=log.rename(charge="voltage"))


def test_trajectories__have_gaps_errors_and_say_their_track(tracks):
    overlay = plot.trajectories(tracks)
    first, second = drawn(overlay, hv.Curve)
    assert (first.label, second.label) == ("track 3", "track 8")
    np.testing.assert_allclose(first.dimension_values(1), [0.1, np.nan, 0.3, np.nan])
    np.testing.assert_allclose(drawn(overlay, hv.Segments)[0].array()[:, 1], [0.08, 0.28])
    assert drawn(overlay, hv.Scatter)[1]["track"].tolist()[:3] == [8, 8, 8]
    assert (first.kdims[0].label, first.vdims[0].label) == ("Time [s]", "Composition")


def test_trajectories__of_many_are_all_alike_and_not_named(tracks):
    many = xr.concat([tracks] * 13, "track").assign_coords(track=np.arange(26))
    overlay = plot.trajectories(many)
    (lines,) = drawn(overlay, hv.Curve)
    assert (lines.label, style(lines)["color"]) == ("", plot.NEUTRAL)
    np.testing.assert_allclose(lines.dimension_values(1)[:8], [0.1, np.nan, 0.3, np.nan, 0.5, 0.6, np.nan, np.nan])
    assert drawn(overlay, hv.Scatter)[0]["track"][[0, 4, 103]].tolist() == [0, 1, 25]


def test_trajectories__bad_input_says_what_to_type(tracks):
    with pytest.raises(MissingVariableError, match=r"call xstxm\.trajectories first"):
        plot.trajectories(tracks, "particle_area")
    with pytest.raises(SchemaError, match=r"wanted \('track', 'time'\)"):
        plot.trajectories(tracks.isel(time=0))
    with pytest.raises(MissingCoordinateError, match="time"):
        plot.trajectories(tracks.drop_vars("time"))


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_all__draw_with_both_backends_and_as_methods(backend, series, log, tracks):
    drawings = [
        series.stxm.plot.time_series(log=log),
        series.stxm.plot.time_series("sample_composition"),
        series.isel(time=[0]).stxm.plot.time_series(),
        tracks.stxm.plot.trajectories(title="tracks"),
    ]
    for drawing in drawings:
        hv.render(drawing, backend=backend)


def test_time_series__charts_are_of_one_width_in_a_picture(series, log):
    figure = hv.render(plot.time_series(series, log=log, width=320, height=240), backend="matplotlib")
    figure.canvas.draw()
    above, below = (axes.get_window_extent() for axes in figure.axes[:2])
    assert above.width == pytest.approx(below.width, rel=0.01)
    assert (above.x0, above.height) == pytest.approx((below.x0, 2 * below.height), rel=0.01)
    assert not figure.axes[0].get_tightbbox().overlaps(figure.axes[1].get_tightbbox())
