"""Drawings of variance and resemblance by length: what the curves, bands, bars and marks say."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm import plot
from xstxm.conventions import PALETTE
from xstxm.errors import ChoiceError, MissingVariableError, SchemaError

hv = pytest.importorskip("holoviews")
SCALES = ["within particles", "between particles", "between fields"]


def number(dims, values, name, units="1", **attrs):
    return (dims, np.array(values, float), {"units": units, "long_name": name, **attrs})


@pytest.fixture
def split() -> xr.Dataset:
    """Three scales, the last known badly."""
    own = {
        "variance": [0.002, 0.006, 0.002],
        "variance_stderr": [0.0001, 0.0002, 0.0003],
        "variance_lower": [0.001, 0.004, 0.0005],
        "variance_upper": [0.003, 0.009, 0.3],
        "variance_share": [0.2, 0.6, 0.2],
        "standard_deviation": np.sqrt([0.002, 0.006, 0.002]),
        "noise_variance": [0.001, 0.0001, 0.00001],
        "sampling_variance": [np.nan, 0.0004, 0.0005],
    }
    made = {name: number("scale", values, "Variance") for name, values in own.items()}
    made["total_variance"] = number((), 0.01, "Total variance")
    return xr.Dataset(made, {"scale": SCALES}, {"signal": "composition"})


@pytest.fixture
def coarse() -> xr.Dataset:
    """Four lengths, the last of which has less variance than noise."""
    own = {
        "variance": [0.02, 0.015, 0.004, -0.0001],
        "variance_lower": [0.01, 0.008, 0.0, 0.0],
        "variance_upper": [0.04, 0.03, 0.02, 0.01],
        "noise_variance": [0.008, 0.002, 0.0005, 0.0001],
        "mixed_variance": [0.02, 0.005, 0.001, 0.0002],
    }
    made = {name: number("length", values, "Variance") for name, values in own.items()}
    made["variance_lower"][2]["confidence_level"] = 0.9
    lengths = ("length", [0.05, 0.1, 0.2, 0.4], {"units": "um", "long_name": "Side of a block"})
    return xr.Dataset(made, {"length": lengths}, {"signal": "composition"})


@pytest.fixture
def correlated() -> xr.Dataset:
    lag = np.arange(6) * 0.1
    made = {
        "autocovariance": number("lag", 0.01 * np.exp(-lag / 0.2), "Autocovariance"),
        "autocovariance_sampling_stderr": number("lag", [0.002] * 6, "Sampling error"),
        "correlation_length": number((), 0.2, "Correlation length", "um"),
        "correlation_length_lower": number((), 0.15, "Lower end", "um"),
        "correlation_length_upper": number((), 0.3, "Upper end", "um"),
    }
    axis = ("lag", lag, {"units": "um", "long_name": "Distance of two pixels"})
    return xr.Dataset(made, {"lag": axis}, {"signal": "composition"})


@pytest.fixture
def two_points() -> xr.Dataset:
    names, lag = ["A", "B"], ("lag", [0.0, 0.1, 0.2], {"units": "um", "long_name": "Distance of two pixels"})
    dims = ("phase", "other_phase", "lag")
    found = [[[0.7, 0.6, 0.5], [0.0, 0.1, 0.2]], [[0.0, 0.1, 0.2], [0.3, 0.2, 0.1]]]
    made = {
        "two_point_probability": number(dims, found, "Two-point probability"),
        "two_point_probability_sampling_stderr": number(dims, np.full((2, 2, 3), 0.01), "Sampling error"),
        "two_point_limit": number(dims[:2], [[0.49, 0.21], [0.21, 0.09]], "Limit"),
    }
    return xr.Dataset(made, {"phase": names, "other_phase": names, "lag": lag})


def style(element, kind="style", backend="bokeh"):
    return hv.Store.lookup_options(backend, element, kind).kwargs


def drawn(overlay, kind):
    return [element for element in overlay if type(element) is kind]


def curves(overlay):
    """Return the curves that are somewhere, and have a name."""
    named = {curve.label: curve.dimension_values(1) for curve in drawn(overlay, hv.Curve) if curve.label}
    return {name: values for name, values in named.items() if np.isfinite(values).any()}


def axis_labels(overlay):
    first = overlay.get(0)
    return first.kdims[0].label, (first.vdims[0] if first.vdims and len(first.kdims) == 1 else first.kdims[1]).label


# ---- variance_split


def test_variance_split__bars_are_variances_beside_what_was_taken_off(split):
    bars, removed = drawn(plot.variance_split(split), hv.Rectangles)
    np.testing.assert_allclose(bars.array()[:, 3].astype(float), split.variance)
    np.testing.assert_allclose(removed.array()[:, 3].astype(float), [0.001, 0.0005, 0.00051])
    assert (bars.array()[:, 2].astype(float) <= removed.array()[:, 0].astype(float)).all()
    assert axis_labels(plot.variance_split(split))[1] == "Variance of composition"


def test_variance_split__intervals_are_lines_and_one_far_beyond_is_written(split):
    overlay = plot.variance_split(split)
    for lines in drawn(overlay, hv.Segments):
        np.testing.assert_allclose(lines.array()[:, [1, 3]], np.stack([split.variance_lower, split.variance_upper], 1))
    light, dark = (style(lines)["color"] for lines in drawn(overlay, hv.Segments))
    assert light > dark
    (end,) = drawn(overlay, hv.Labels)
    assert end["end"].tolist() == [" to 0.3"]
    low, high = style(overlay, "plot")["ylim"]
    assert low == 0
    assert 0.009 < high < 0.021


def test_variance_split__ticks_say_the_share_or_that_it_is_not_determined(split):
    ticks = style(plot.variance_split(split), "plot")["xticks"]
    assert [text for _, text in ticks] == [
        f"{name}\n{share} %" for name, share in zip(SCALES, (20, 60, 20), strict=True)
    ]
    one = split.where(split.scale != "between fields")
    assert style(plot.variance_split(one), "plot")["xticks"][2] == (2, "between fields\nnot determined")
    assert len(drawn(plot.variance_split(one), hv.Rectangles)[0]) == 2


def test_variance_split__a_variance_below_zero_is_a_bar_below_zero(split):
    split["variance"][0] = -0.001
    overlay = plot.variance_split(split)
    assert float(drawn(overlay, hv.Rectangles)[0].array()[0, 3]) == -0.001
    assert style(overlay, "plot")["ylim"][0] < -0.001


def test_variance_split__samples_stand_side_by_side_in_shares(split):
    both = xr.concat([split, split], xr.Variable("sample", ["new", "old"]))
    both["total_variance"] = ("sample", [0.01, 0.02])
    overlay = plot.variance_split(both, quantity="share")
    new, _, old, _ = drawn(overlay, hv.Rectangles)
    np.testing.assert_allclose(new.array()[:, 3].astype(float), split.variance / 0.01)
    np.testing.assert_allclose(old.array()[:, 3].astype(float), split.variance / 0.02)
    assert (new.array()[:, 2].astype(float) < old.array()[:, 0].astype(float)).all()
    assert [style(bars)["color"] for bars in (new, old)] == list(PALETTE[:2])
    assert [points.label for points in drawn(overlay, hv.Points)] == ["new", "old", "noise, taken off"]


def test_variance_split__bad_input_says_what_to_type(split):
    with pytest.raises(MissingVariableError, match=r"call xstxm\.heterogeneity first"):
        plot.variance_split(split[["variance"]])
    with pytest.raises(ChoiceError, match="did you mean 'share'"):
        plot.variance_split(split, quantity="shares")
    with pytest.raises(SchemaError, match=r"select along '(sample|cycle)' first"):
        plot.variance_split(split.expand_dims(sample=["a"], cycle=[1]))


# ---- coarse_graining


def test_coarse_graining__draws_the_map_and_its_limits_on_logarithmic_scales(coarse):
    overlay = plot.coarse_graining(coarse)
    values = curves(overlay)
    np.testing.assert_allclose(values["map"], [0.02, 0.015, 0.004, np.nan])
    dashed, dotted = (
        next(curve for curve in drawn(overlay, hv.Curve) if style(curve)["line_dash"] == dash)
        for dash in ("dashed", "dotted")
    )
    np.testing.assert_allclose(dashed.dimension_values(1), coarse.mixed_variance)
    np.testing.assert_allclose(dotted.dimension_values(1), coarse.noise_variance)
    entries = [curve.label for curve in drawn(overlay, hv.Curve) if curve.label]
    assert entries == ["map", "mixed at random", "noise alone"]
    assert [points.label for points in drawn(overlay, hv.Points)] == ["90 % interval"]
    assert (style(overlay, "plot")["logx"], style(overlay, "plot")["logy"]) == (True, True)
    assert (overlay.get(1).kdims[0].label, overlay.get(1).vdims[0].label) == (
        "Side of a block [µm]",
        "Variance of composition",
    )


def test_lengths__name_their_axes_where_no_interval_is_known(coarse, correlated):
    bare = coarse.assign({f"variance_{end}": coarse[f"variance_{end}"] * np.nan for end in ("lower", "upper")})
    unsure = correlated.assign(autocovariance_sampling_stderr=correlated.autocovariance_sampling_stderr * np.nan)
    for overlay, names in (
        (plot.coarse_graining(bare), ("Side of a block [µm]", "Variance of composition")),
        (plot.autocovariance(unsure), ("Distance of two pixels [µm]", "Autocovariance of composition")),
    ):
        axes = hv.render(overlay, backend="matplotlib").axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == names


def test_autocovariance__has_room_for_a_length_beyond_the_curve(correlated):
    far = correlated.assign(correlation_length=correlated.correlation_length * 0 + 0.9)
    figure = hv.render(plot.autocovariance(far), backend="matplotlib")
    assert figure.axes[0].get_xlim()[1] > 0.92


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_coarse_graining__of_one_length_has_that_as_its_tick(coarse, backend):
    hv.extension(backend)
    hv.render(plot.coarse_graining(coarse.isel(length=[1]).assign_coords(length=[0.085])), backend=backend)


def test_coarse_graining__a_band_that_includes_zero_ends_at_the_edge_of_the_scale(coarse):
    overlay = plot.coarse_graining(coarse)
    (area,) = drawn(overlay, hv.Area)
    bottom, top = style(overlay, "plot")["ylim"]
    np.testing.assert_allclose(area.dimension_values(1), [0.01, 0.008, bottom, bottom])
    np.testing.assert_allclose(area.dimension_values(2), coarse.variance_upper)
    assert 0 < bottom <= 0.0001
    assert top >= 0.04


def test_coarse_graining__an_estimate_below_zero_is_a_cross_at_the_edge(coarse):
    crosses = [points for points in drawn(plot.coarse_graining(coarse), hv.Scatter) if points.label]
    assert [(mark.label, mark.dimension_values(0).tolist()) for mark in crosses] == [("not above zero", [0.4])]
    sound = coarse.isel(length=slice(3))
    assert not [points for points in drawn(plot.coarse_graining(sound), hv.Scatter) if points.label]


def test_coarse_graining__of_fields_has_a_colour_each(coarse):
    both = xr.concat([coarse, 2 * coarse], xr.Variable("node", ["a", "b"])).transpose(..., "node")
    overlay = plot.coarse_graining(both.assign_attrs(coarse.attrs))
    np.testing.assert_allclose(curves(overlay)["b"][:3], [0.04, 0.03, 0.008])
    assert [style(area)["color"] for area in drawn(overlay, hv.Area)] == list(PALETTE[:2])


def test_coarse_graining__a_line_goes_on_across_lengths_that_only_another_field_has(coarse):
    fine = coarse.assign_coords(length=coarse.length / 1.5)
    both = xr.concat([coarse, fine], xr.Variable("node", ["a", "b"]), join="outer").transpose(..., "node")
    drawn_curves = curves(plot.coarse_graining(both.assign_attrs(coarse.attrs)))
    for name in ("a", "b"):
        np.testing.assert_allclose(drawn_curves[name][:3], coarse.variance[:3])


# ---- autocovariance, two_point


def test_autocovariance__marks_the_length_where_the_curve_has_fallen_to_it(correlated):
    overlay = plot.autocovariance(correlated)
    (mark,) = drawn(overlay, hv.Scatter)
    assert mark.array()[0].tolist() == [0.2, pytest.approx(0.01 / np.e)]
    assert mark.label == "length 0.2 µm (0.15 to 0.3)"
    (across,) = drawn(overlay, hv.Segments)
    np.testing.assert_allclose(across.array()[0], [0.15, 0.01 / np.e, 0.3, 0.01 / np.e])
    (area,) = drawn(overlay, hv.Area)
    np.testing.assert_allclose(area.dimension_values(2) - area.dimension_values(1), 0.004)
    assert axis_labels(overlay) == ("Distance of two pixels [µm]", "Autocovariance of composition")


def test_autocovariance__a_length_that_is_not_known_has_no_mark(correlated):
    unknown = correlated.assign(correlation_length=correlated.correlation_length * np.nan)
    assert not drawn(plot.autocovariance(unknown), hv.Scatter)
    no_interval = correlated.assign(correlation_length_upper=correlated.correlation_length * np.nan)
    (mark,) = drawn(plot.autocovariance(no_interval), hv.Scatter)
    assert mark.label == "length 0.2 µm"


def test_two_point__each_pair_once_with_its_limit(two_points):
    overlay = plot.two_point(two_points)
    values = curves(overlay)
    assert {name: list(own) for name, own in values.items()} == {
        "A and A": [0.7, 0.6, 0.5],
        "A and B": [0.0, 0.1, 0.2],
        "B and B": [0.3, 0.2, 0.1],
    }
    dashed = [
        curve.dimension_values(1)[0] for curve in drawn(overlay, hv.Curve) if style(curve)["line_dash"] == "dashed"
    ]
    np.testing.assert_allclose(dashed, [0.49, 0.21, 0.09, np.nan])


def test_lengths__missing_results_say_which_function_to_call(split):
    for draw, name in (
        (plot.coarse_graining, "coarse_grain"),
        (plot.autocovariance, "correlation_length"),
        (plot.two_point, "two_point_correlation"),
    ):
        with pytest.raises(MissingVariableError, match=rf"call xstxm\.{name} first"):
            draw(split)


@pytest.mark.parametrize("backend", ["bokeh", "matplotlib"])
def test_lengths__draw_with_both_backends_and_as_methods(backend, split, coarse, correlated, two_points):
    both = xr.concat([split, split], xr.Variable("sample", ["new", "old"]))
    nodes = xr.concat([coarse, coarse], xr.Variable("node", ["a", "b"]))
    drawings = [
        split.stxm.plot.variance_split(title="one"),
        both.stxm.plot.variance_split(quantity="share", legend=False),
        coarse.stxm.plot.coarse_graining(),
        nodes.stxm.plot.coarse_graining(),
        correlated.stxm.plot.autocovariance(),
        two_points.stxm.plot.two_point(),
    ]
    for drawing in drawings:
        hv.render(drawing, backend=backend)


def test_lengths__real_results_have_what_is_drawn():
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    fields = {"upper": phases.isel(y=slice(12)), "lower": phases.isel(y=slice(12, None))}
    assert set(curves(plot.coarse_graining(xstxm.coarse_grain(fields)))) == {"upper", "lower"}
    assert set(curves(plot.autocovariance(xstxm.correlation_length(fields)))) == {"upper", "lower"}
    labels = (phases.y * 0 + phases.x > 0.5) + 1
    bars = drawn(plot.variance_split(xstxm.heterogeneity(phases, labels)), hv.Rectangles)[0]
    assert len(bars) == 2
