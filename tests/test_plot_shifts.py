"""Drawings of shifts: curves, bands of one standard error, and crosses where a frame is flagged."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr

from xstxm import plot
from xstxm.conventions import PALETTE
from xstxm.errors import MissingVariableError, SchemaError

hv = pytest.importorskip("holoviews")


@pytest.fixture
def result() -> xr.Dataset:
    """Five frames in no order of energy; the fourth is flagged and has a wide error."""

    def along(values, units="um"):
        return ("energy", np.array(values, float), {"units": units})

    return xr.Dataset(
        {
            "shift_y": along([0.0, 0.1, 0.2, 0.3, 0.4]),
            "shift_y_stderr": along([0.01, 0.01, 0.01, 0.2, 0.01]),
            "shift_x": along([0.0, -10.0, -20.0, -30.0, -40.0], "nm"),
            "shift_x_stderr": along([5.0, 5.0, 5.0, 90.0, 5.0], "nm"),
            "frame_quality": ("energy", np.array([0, 0, 0, 16, 0], "int16")),
        },
        coords={
            "energy": ("energy", [530.0, 520.0, 510.0, 525.0, 515.0], {"units": "eV", "long_name": "Photon energy"})
        },
    )


def style(element, kind="style", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def drawn(overlay, kind):
    return [element for element in overlay if type(element) is kind]


def test_shifts__are_drawn_by_energy_in_one_unit(result):
    y, x = drawn(plot.shifts(result), hv.Curve)
    assert (y.label, x.label) == ("y", "x")
    np.testing.assert_array_equal(y.dimension_values(0), [510, 515, 520, 525, 530])
    np.testing.assert_allclose(y.dimension_values(1), [0.2, 0.4, 0.1, 0.3, 0.0])
    np.testing.assert_allclose(x.dimension_values(1), [-0.02, -0.04, -0.01, -0.03, 0.0])
    assert [style(curve)["color"] for curve in (y, x)] == list(PALETTE[:2])
    assert (x.kdims[0].label, x.vdims[0].label) == ("Photon energy [eV]", "Shift [µm]")


def test_shifts__have_a_band_of_one_standard_error(result):
    _, band = drawn(plot.shifts(result), hv.Area)
    lower, upper = band.dimension_values(1), band.dimension_values(2)
    np.testing.assert_allclose((upper - lower) / 2, [0.005, 0.005, 0.005, 0.09, 0.005])
    np.testing.assert_allclose((upper + lower) / 2, [-0.02, -0.04, -0.01, -0.03, 0.0])


def test_shifts__flagged_frames_are_crossed(result):
    marks = drawn(plot.shifts(result), hv.Scatter)
    assert [tuple(mark.array()[0]) for mark in marks] == [(525.0, 0.3), (525.0, pytest.approx(-0.03))]
    assert [mark.label for mark in marks] == ["flagged", ""]
    sound = result.assign(frame_quality=0 * result.frame_quality)
    assert not drawn(plot.shifts(sound), hv.Scatter)


def test_shifts__without_errors_or_flags_are_curves(result):
    given = result[["shift_y", "shift_x"]]
    assert len(plot.shifts(given)) == 2
    unknown = result.assign(
        shift_y_stderr=np.nan * result.shift_y_stderr, shift_x_stderr=np.nan * result.shift_x_stderr
    )
    assert not drawn(plot.shifts(unknown.drop_vars("frame_quality")), hv.Area)


def test_shifts__of_an_aligned_lazy_stack_read_no_frame(result):
    def fail(block):
        raise AssertionError("a frame was read")

    energy = result["energy"][:3]
    shifts = result[["shift_y", "shift_x"]].isel(energy=slice(3))
    frames = dask.array.ones((3, 4, 5), chunks=1).map_blocks(fail, dtype=float, meta=np.empty((0, 0, 0)))
    stack = xr.Dataset({"intensity": (("energy", "y", "x"), frames)}, {"energy": energy}).assign_coords(
        {name: shifts[name].variable for name in shifts}
    )
    assert len(drawn(stack.stxm.plot.shifts(), hv.Curve)) == 2
    assert len(drawn(stack.intensity.stxm.plot.shifts(), hv.Curve)) == 2


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_shifts__draw_with_both_backends(backend, result):
    hv.render(plot.shifts(result, title="drift"), backend=backend)


def test_shifts__missing_says_how_to_get_them(stack):
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.estimate_shifts\(\) first"):
        plot.shifts(stack)
    with pytest.raises(MissingVariableError, match="is missing"):
        plot.shifts(stack["intensity"])


def test_shifts__of_a_series_have_to_be_selected(result):
    series = result.expand_dims(theta=[0.0, 30.0])
    with pytest.raises(SchemaError, match=r"select along 'theta' first, e\.g\. \.isel\(theta=0\)"):
        plot.shifts(series)
