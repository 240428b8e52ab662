from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import (
    ChunkingError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingVariableError,
    OptionError,
    SchemaError,
)

ENERGY = np.concatenate([np.linspace(500, 512, 13), np.linspace(512.4, 524, 30), np.linspace(525, 545, 11)])
WINDOWS = {"pre_edge": (500, 511), "post_edge": (530, 545), "pre_order": 1}
SHAPE = np.where(ENERGY < 512, 0.0, np.where(ENERGY > 526, 1.0, 1 + np.sin((ENERGY - 512) / 14 * np.pi)))


def as_stack(values, energy=ENERGY, **more):
    dims = ("energy", "y", "x")[: np.ndim(values)]
    coords = {"energy": ("energy", energy, {"units": "eV"})}
    array = xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "1"}, name="optical_density")
    return array.to_dataset().assign(more)


@pytest.fixture
def lines():
    """Slope, offset and step of 5 x 8 pixels."""
    rng = np.random.default_rng(3)
    return rng.uniform(-0.01, 0.01, (5, 8)), rng.uniform(0.1, 1, (5, 8)), rng.uniform(0.2, 2, (5, 8))


@pytest.fixture
def stack(lines):
    slope, offset, step = lines
    e, shape = ENERGY[:, None, None], SHAPE[:, None, None]
    return as_stack(offset + slope * (e - 520) + step * shape)


def noisy(stack, sigma, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    values = stack["optical_density"] + sigma * rng.standard_normal(stack["optical_density"].shape)
    return stack.assign(optical_density=values.astype(dtype).assign_attrs(units="1"))


def flagged(result, name):
    return (result["quality"] & QUALITY_FLAGS[name]) > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chunks", [pytest.param(None, id="numpy"), pytest.param({"y": 2, "x": 3}, id="dask by pixel")])
def test_normalize_edge__removes_the_line_and_divides_by_the_step(stack, lines, dtype, chunks):
    given_stack = stack.astype(dtype)
    given_stack = given_stack.chunk(chunks) if chunks else given_stack
    with raise_if_dask_computes():
        result = xstxm.normalize_edge(given_stack, **WINDOWS)
    assert result["normalized_absorption"].dims == ("energy", "y", "x")
    assert result["normalized_absorption"].dtype == result["edge_step"].dtype == dtype
    expected = np.broadcast_to(SHAPE[:, None, None], (54, 5, 8))
    np.testing.assert_allclose(result["normalized_absorption"], expected, atol=1e-5 if dtype == "float32" else 1e-11)
    np.testing.assert_allclose(result["edge_step"], lines[2], rtol=1e-5)
    assert result["edge_step"].attrs["units"] == "1"
    assert not result["quality"].any()
    assert "normalized_absorption" not in given_stack


@given(slope=st.floats(-0.1, 0.1), offset=st.floats(-3, 3), step=st.floats(0.05, 20), start=st.floats(-0.3, 0.3))
def test_normalize_edge__does_not_see_a_line_or_the_thickness(slope, offset, step, start):
    spectrum = SHAPE + 0.01 * np.sin(7 * ENERGY)
    one = xstxm.normalize_edge(as_stack(spectrum)["optical_density"], **WINDOWS)
    other = as_stack(step * spectrum + offset + slope * ENERGY + start)["optical_density"]
    np.testing.assert_allclose(xstxm.normalize_edge(other, **WINDOWS), one, atol=1e-9)


@pytest.mark.parametrize("orders", [(0, 0), (1, 0), (1, 1), (2, 1), (1, 2), (3, 3)], ids=str)
def test_normalize_edge__is_numpy_polyfit_in_each_pixel(stack, orders):
    od = noisy(stack, 0.02)["optical_density"]
    edge = 517.0
    found = xstxm.normalize_edge(
        od.to_dataset(),
        edge="517 eV",
        pre_edge=("-17 eV", "-6 eV"),
        post_edge=(13, 28),
        pre_order=orders[0],
        post_order=orders[1],
        min_significance=0,
    )
    pre, post = ENERGY <= 511, ENERGY >= 530
    for y, x in np.ndindex(5, 8):
        values = od.values[:, y, x]
        above = values - np.polyval(np.polyfit(ENERGY[pre] - edge, values[pre], orders[0]), ENERGY - edge)
        step = np.polyfit(ENERGY[post] - edge, above[post], orders[1])[-1]
        np.testing.assert_allclose(found["edge_step"][y, x], step, rtol=1e-7)
        expected = above / step if step > 0 else np.full(ENERGY.size, np.nan)
        np.testing.assert_allclose(found["normalized_absorption"][:, y, x], expected, rtol=1e-6, atol=1e-9)


def pre_order_of(result):
    return re.search(r"pre_order=(\d): .*", result.attrs["history"])


def test_normalize_edge__draws_a_slope_unasked_where_it_costs_little(stack):
    step, long = {"post_edge": (526, 530)}, {"pre_edge": (500, 511)}
    chosen = {}
    for name, asked in {
        "as long as the gap": {**long, "edge": 512, "pre_edge": (-12, -1), "post_edge": (2, 33), "post_order": 1},
        "short": {"pre_edge": (508, 511), **step},
        "far from the step": {**long, "post_edge": (540, 545)},
        "one energy": {"pre_edge": (511, 511), **step},
    }.items():
        found = xstxm.normalize_edge(noisy(stack, 0.02), **asked)
        told = pre_order_of(found)
        chosen[name] = told[0]
        asked_for = xstxm.normalize_edge(noisy(stack, 0.02), **asked, pre_order=int(told[1]))
        xr.testing.assert_equal(found["normalized_absorption"], asked_for["normalized_absorption"])
        assert pre_order_of(asked_for) is None
    assert {name: told.split(":")[0] for name, told in chosen.items()} == {
        "as long as the gap": "pre_order=1",
        "short": "pre_order=0",
        "far from the step": "pre_order=0",
        "one energy": "pre_order=0",
    }
    assert chosen["one energy"] == "pre_order=0: too few energies for a slope"
    assert re.search(r"a slope makes the error of the step [\d.]+ times as large", chosen["short"])


@given(st.floats(1, 30), st.floats(1, 30), st.floats(3, 30))
def test_normalize_edge__what_a_slope_costs_is_the_error_that_it_brings(length, gap, after):
    energy = 500 + np.concatenate([np.linspace(0, length, 7), length + np.linspace(gap, gap + after, 9)])
    windows = {"pre_edge": (500, 500 + length), "post_edge": (500 + length + gap, 500 + length + gap + after)}
    values = np.concatenate([np.zeros(7), np.ones(9)])
    one = as_stack(values, energy, optical_density_variance=xr.DataArray(np.full(16, 1e-8), dims="energy"))
    level, straight, own = (
        xstxm.normalize_edge(one, **windows, **asked) for asked in ({"pre_order": 0}, {"pre_order": 1}, {})
    )
    cost = float(straight["edge_step_stderr"] / level["edge_step_stderr"])
    told = pre_order_of(own)
    assert float(re.search(r"step ([\d.e+]+) times", told[0])[1]) == pytest.approx(cost, rel=0.006)
    if abs(cost - 3) > 0.01:
        assert int(told[1]) == (cost < 3)


def test_normalize_edge__does_not_blank_a_stack_with_a_short_window_before_the_edge():
    od = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    sample = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)["true_label"] >= 0
    found = xstxm.normalize_edge(od, pre_edge=("508 eV", "512 eV"), post_edge=("526 eV", "528 eV"))
    assert float(flagged(found, "below_noise").where(sample).mean()) < 0.05
    sloping = xstxm.normalize_edge(od, pre_edge=("508 eV", "512 eV"), post_edge=("526 eV", "528 eV"), pre_order=1)
    assert float(flagged(sloping, "below_noise").where(sample).mean()) > 0.5


def test_normalize_edge__leaves_out_what_is_not_finite(stack):
    od = noisy(stack, 0.01)["optical_density"]
    rng = np.random.default_rng(1)
    holes = od.where(rng.uniform(size=od.shape) > 0.2)
    found = xstxm.normalize_edge(holes.to_dataset(), **WINDOWS)
    for y, x in np.ndindex(5, 8):
        kept = np.isfinite(holes.values[:, y, x])
        alone = as_stack(holes.values[kept, y, x], ENERGY[kept])
        expected = xstxm.normalize_edge(alone, **WINDOWS)
        np.testing.assert_allclose(found["edge_step"][y, x], expected["edge_step"], rtol=1e-8)
        np.testing.assert_allclose(found["edge_step_stderr"][y, x], expected["edge_step_stderr"], rtol=1e-8)
        np.testing.assert_allclose(found["normalized_absorption"][kept, y, x], expected["normalized_absorption"])
        assert np.isnan(found["normalized_absorption"].values[~kept, y, x]).all()


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "with holes"])
def test_normalize_edge__variance_is_that_of_the_linearised_quotient(stack, holes):
    rng = np.random.default_rng(2)
    spectrum = noisy(stack, 0.02)["optical_density"].values[:, 2, 3].copy()
    if holes:
        spectrum[[3, 20, 50]] = np.nan
    variance = rng.uniform(1e-6, 1e-4, ENERGY.size)

    def normalised(values):
        return xstxm.normalize_edge(as_stack(values), **WINDOWS)

    steps = 1e-5 * np.eye(ENERGY.size)
    up, down = ([normalised(spectrum + sign * step) for step in steps] for sign in (1, -1))
    parts = {
        name: np.array([(a[name] - b[name]).values / 2e-5 for a, b in zip(up, down, strict=True)])
        for name in ("normalized_absorption", "edge_step")
    }
    held = xr.DataArray(variance, dims="energy")
    found = xstxm.normalize_edge(as_stack(spectrum, optical_density_variance=held), **WINDOWS)
    seen = np.isfinite(spectrum)
    expected = np.einsum("ie,i->e", parts["normalized_absorption"][seen][:, seen] ** 2, variance[seen])
    np.testing.assert_allclose(found["normalized_absorption_variance"].values[seen], expected, rtol=1e-5)
    step_variance = np.nansum(parts["edge_step"][seen] ** 2 * variance[seen])
    np.testing.assert_allclose(found["edge_step_stderr"], np.sqrt(step_variance), rtol=1e-6)


def test_normalize_edge__variance_is_lazy_and_the_same_for_every_chunking(stack):
    od = noisy(stack, 0.01)["optical_density"]
    both = od.to_dataset().assign(optical_density_variance=od * 0 + 1e-4)
    with raise_if_dask_computes():
        lazy = xstxm.normalize_edge(both.chunk(y=2, x=3), **WINDOWS)
    xr.testing.assert_allclose(lazy.compute().drop_attrs(), xstxm.normalize_edge(both, **WINDOWS).drop_attrs())
    assert lazy["normalized_absorption_variance"].dims == ("energy", "y", "x")


def test_normalize_edge__a_second_call_leaves_no_stale_variance(stack):
    with_variance = stack.assign(optical_density_variance=stack["optical_density"] * 0 + 1e-4)
    once = xstxm.normalize_edge(with_variance, **WINDOWS)
    twice = xstxm.normalize_edge(once.drop_vars("optical_density_variance"), **WINDOWS)
    assert "normalized_absorption_variance" not in twice


@pytest.mark.parametrize("source", ["residual", "variance"])
def test_normalize_edge__error_of_the_step_is_that_of_the_noise(source):
    true = np.broadcast_to((0.5 + SHAPE)[:, None, None], (ENERGY.size, 40, 60))
    stack = noisy(as_stack(true), 0.05)
    if source == "variance":
        stack = stack.assign(optical_density_variance=stack["optical_density"] * 0 + 0.05**2)
    found = xstxm.normalize_edge(stack, **WINDOWS)
    standardised = (found["edge_step"] - 1) / found["edge_step_stderr"]
    assert float(standardised.std()) == pytest.approx(1, abs=0.08)
    assert abs(float(standardised.mean())) < 0.06


def test_normalize_edge__a_step_within_the_noise_is_nan_and_flagged():
    rng = np.random.default_rng(5)
    step = np.zeros((20, 30))
    step[:, 20:] = 1.0
    values = step * SHAPE[:, None, None] + 0.05 * rng.standard_normal((ENERGY.size, 20, 30))
    found = xstxm.normalize_edge(as_stack(values), **WINDOWS)
    empty, sample = found.isel(x=slice(20)), found.isel(x=slice(20, None))
    assert float(flagged(empty, "below_noise").mean()) > 0.98
    assert not flagged(sample, "below_noise").any()
    np.testing.assert_array_equal(found["normalized_absorption"].isnull().all("energy"), flagged(found, "below_noise"))
    assert float(np.abs(found["normalized_absorption"]).max()) < 10
    assert np.isfinite(found["edge_step"]).all()


def test_normalize_edge__constant_negative_and_missing_pixels_are_nan_with_the_reason(stack):
    values = stack["optical_density"].values.copy()
    values[:, 0, 0] = 0.7
    values[:, 0, 1] = -SHAPE
    values[:, 0, 2] = np.nan
    values[ENERGY > 525, 0, 3] = np.nan
    found = xstxm.normalize_edge(as_stack(values), **WINDOWS)
    lost = found["normalized_absorption"].isnull().all("energy")
    assert lost[0, :4].all()
    assert int(lost.sum()) == 4
    assert flagged(found, "below_noise")[0, :2].all()
    assert flagged(found, "not_measured")[0, 2:4].all()
    assert int(flagged(found, "below_noise").sum()) == int(flagged(found, "not_measured").sum()) == 2


def test_normalize_edge__a_pixel_whose_noise_cannot_be_judged_is_flagged(stack):
    few = stack["optical_density"].sel(energy=[500, 501, 503, 545], method="nearest")
    few[1, 0, 0] = np.nan
    found = xstxm.normalize_edge(few.to_dataset(), pre_edge=(500, 503), post_edge=(545, 545), pre_order=1)
    assert flagged(found, "not_measured").values.nonzero() == (np.array([0]), np.array([0]))
    assert np.isnan(found["edge_step_stderr"][0, 0])
    assert np.isfinite(found["edge_step"]).all()


def test_normalize_edge__min_significance_acts(stack):
    weak = noisy(stack, 0.2)
    strict = flagged(xstxm.normalize_edge(weak, **WINDOWS, min_significance=30), "below_noise")
    kind = flagged(xstxm.normalize_edge(weak, **WINDOWS, min_significance=1), "below_noise")
    assert int(strict.sum()) > int(kind.sum())


def test_normalize_edge__keeps_earlier_flags_and_renews_its_own(stack):
    before = xr.full_like(
        stack["optical_density"].isel(energy=0, drop=True), 4 | 32 | QUALITY_FLAGS["below_noise"], dtype="int16"
    )
    found = xstxm.normalize_edge(stack.assign(quality=before), **WINDOWS)
    assert (found["quality"] == 4 | 32).all()


def test_normalize_edge__order_and_repeats_of_energies_do_not_matter(stack):
    od = noisy(stack, 0.01)
    expected = xstxm.normalize_edge(od, **WINDOWS)
    down = xstxm.normalize_edge(od.isel(energy=slice(None, None, -1)), **WINDOWS)
    np.testing.assert_allclose(down["normalized_absorption"].sortby("energy"), expected["normalized_absorption"])
    twice = xstxm.normalize_edge(od.isel(energy=np.repeat(np.arange(54), 2)), **WINDOWS)
    np.testing.assert_allclose(twice["edge_step"], expected["edge_step"])
    np.testing.assert_allclose(twice["normalized_absorption"][::2], expected["normalized_absorption"])


@pytest.mark.parametrize("kind", ["spectrum", "line", "theta"])
def test_normalize_edge__works_for_any_pixel_dims(stack, kind):
    shaped = {
        "spectrum": lambda: stack.isel(y=2, x=4),
        "line": lambda: stack.isel(y=2),
        "theta": lambda: stack.expand_dims(theta=[0.0, 30.0]).transpose("theta", "energy", "y", "x"),
    }[kind]()
    found = xstxm.normalize_edge(shaped, **WINDOWS)
    assert found["normalized_absorption"].dims == shaped["optical_density"].dims
    assert found["edge_step"].dims == tuple(dim for dim in shaped["optical_density"].dims if dim != "energy")
    np.testing.assert_allclose(found["normalized_absorption"].sel(energy=530.0, method="nearest"), 1, atol=1e-9)


def test_normalize_edge__of_a_reference_set(spectra):
    rising = spectra + xr.where(spectra.energy > 520, 1.0, 0.0)
    references = rising.assign_attrs(units="1/nm").to_dataset(name="absorption")
    found = xstxm.normalize_edge(references, signal="absorption", pre_edge=(505, 510), post_edge=(528, 530))
    assert found["edge_step"].dims == ("reference",)
    assert found["edge_step"].attrs["units"] == "1/nm"
    assert found["normalized_absorption"].attrs["units"] == "1"


def test_normalize_edge__integers_become_float32(stack):
    counts = (1000 * stack["optical_density"]).astype("int32").assign_attrs(units="count")
    assert xstxm.normalize_edge(counts, **WINDOWS).dtype == np.float32


def test_normalize_edge__of_an_array_is_an_array_and_is_recorded(stack):
    found = xstxm.normalize_edge(stack["optical_density"], **WINDOWS)
    assert isinstance(found, xr.DataArray)
    assert found.name == "normalized_absorption"
    assert "normalize_edge(pre_edge=[500, 511], post_edge=[530, 545], pre_order=1)" in found.attrs["history"]


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        pytest.param(
            {"pre_edge": (400, 410)},
            EnergyRangeError,
            "pre_edge from 400 to 410 eV needs 2 or more different energies, found none: widen it, the stack has 54 "
            "energies, 500-545 eV",
            id="nothing there",
        ),
        pytest.param(
            {"pre_edge": (500, 500.5)}, EnergyRangeError, r"found 1 \(500 eV\): widen it", id="one energy for a slope"
        ),
        pytest.param(
            {"edge": 515}, EnergyRangeError, "limits count from the edge, because edge= is given", id="absolute limits"
        ),
        pytest.param({"pre_edge": (500, 531)}, OptionError, "lie above pre_edge=.* not overlap", id="overlap"),
        pytest.param({"pre_edge": (530, 545), "post_edge": (500, 511)}, OptionError, "lie above", id="exchanged"),
        pytest.param({"post_order": 1}, OptionError, "pass edge=... too", id="sloping without an edge"),
        pytest.param({"pre_order": 4}, OptionError, "whole number from 0 to 3", id="order"),
        pytest.param(
            {"pre_edge": (500, 501), "post_edge": (545, 545)}, OptionError, "no residual to tell", id="no residual"
        ),
        pytest.param({"pre_edge": 500}, OptionError, "give the two limits", id="no window"),
        pytest.param(
            {"pre_edge": (500, 500), "post_edge": (545, 545), "pre_order": None},
            OptionError,
            r"pre_edge=\(500, 500\): 2 unknowns from 2 energies",
            id="no residual by default",
        ),
        pytest.param({"pre_edge": ("500 um**2", 511)}, IncompatibleUnitsError, "pre_edge is in", id="units"),
        pytest.param({"min_significance": -1}, OptionError, "standard errors of at least 0", id="negative"),
        pytest.param({"signal": "absorption"}, MissingVariableError, "'absorption' is missing", id="no signal"),
    ],
)
def test_normalize_edge__refuses(stack, asked, error, message):
    with pytest.raises(error, match=message):
        xstxm.normalize_edge(stack, **{**WINDOWS, **asked})


def test_normalize_edge__few_energies_are_enough_where_the_variance_is_known(stack):
    few = stack.sel(energy=[500, 501, 545], method="nearest")
    few = few.assign(optical_density_variance=few["optical_density"] * 0 + 1e-6)
    found = xstxm.normalize_edge(few, pre_edge=(500, 501), post_edge=(545, 545), pre_order=1)
    np.testing.assert_allclose(found["normalized_absorption"][-1], 1)


def test_normalize_edge__of_text_is_refused(stack):
    with pytest.raises(SchemaError, match="wanted numbers"):
        xstxm.normalize_edge(stack["optical_density"].astype(str), **WINDOWS)


def test_normalize_edge__by_frame_and_large_is_refused(stack):
    with xstxm.set_options(rechunk_limit=1), pytest.raises(ChunkingError, match="normalize_edge needs 'energy'"):
        xstxm.normalize_edge(stack.chunk(energy=1), **WINDOWS)


def test_quality_flags__are_different_bits_of_an_int16():
    bits = list(QUALITY_FLAGS.values())
    assert len(set(bits)) == len(bits)
    assert all(0 < bit < 2**15 and bit & (bit - 1) == 0 for bit in bits)
