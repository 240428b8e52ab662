from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from electrodes import waves
from hypothesis import given, settings
from test_regions import map_of

import xstxm
from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import MissingVariableError, OptionError, SchemaError

PIXEL = 0.05


def phases_of(label, n_phases=2):
    """A phase map of pure pixels."""
    label = np.asarray(label)
    fraction = (label == np.arange(n_phases)[:, None, None]).astype(float)
    fraction[:, label == NO_SAMPLE] = np.nan
    return map_of(fraction, label=label)


# ---- two_point_correlation


def test_two_point_correlation__counts_pairs_of_pixels():
    rng = np.random.default_rng(0)
    label = rng.integers(-1, 3, (6, 8))
    found = xstxm.two_point_correlation(phases_of(label, 3), max_lag=0.3)
    xstxm.testing.assert_conforms(found, "two_point_correlation")
    count = np.zeros((3, 3, 7))
    places = [p for p in np.ndindex(label.shape) if label[p] >= 0]
    for p in places:
        for q in places:
            r = round(np.hypot(*np.subtract(p, q)))
            if r < 7:
                count[label[p], label[q], r] += 1
    every = count.sum(axis=(0, 1))
    np.testing.assert_allclose(found["two_point_probability"], count / every)
    np.testing.assert_allclose(found["n_pairs"], np.where(np.arange(7), every / 2, every))
    np.testing.assert_allclose(found["lag"], PIXEL * np.arange(7))
    area = np.bincount(label[label >= 0]) / len(places)
    np.testing.assert_allclose(found["two_point_probability"][..., 0], np.diag(area))
    np.testing.assert_allclose(found["two_point_limit"], np.outer(area, area))


def boolean_model(seed, radius, density, n=160):
    """Discs dropped at random: the share left uncovered is exp(-density * area)."""
    rng = np.random.default_rng(seed)
    margin = radius + 1
    side = n + 2 * margin
    centres = rng.uniform(-margin, n + margin, (rng.poisson(density * side**2), 2))
    rows, columns = np.indices((n, n))
    covered = np.zeros((n, n), dtype=bool)
    for y, x in centres:
        covered |= (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return covered.astype(int)


def test_two_point_correlation__of_discs_dropped_at_random_is_that_of_the_boolean_model():
    radius, density = 6, 0.005
    found = [
        xstxm.two_point_correlation(phases_of(boolean_model(seed, radius, density)), max_lag=1.0) for seed in range(12)
    ]
    h = found[0]["lag"].values / PIXEL
    half = np.minimum(h / (2 * radius), 1)
    overlap = 2 * radius**2 * (np.arccos(half) - half * np.sqrt(1 - half**2))
    truth = np.exp(-density * (2 * np.pi * radius**2 - overlap))
    outside = np.array([one["two_point_probability"][0, 0] for one in found])
    scatter = outside.std(axis=0, ddof=1)
    assert (np.abs(outside.mean(axis=0) - truth) < 3.5 * scatter / 12**0.5 + 0.012).all()
    error = np.mean([one["two_point_probability_sampling_stderr"][0, 0] for one in found], axis=0)
    assert (np.abs(np.log(error / scatter)) < np.log(1.7)).all()
    limit = np.mean([one["two_point_limit"][0, 0] for one in found])
    assert outside[:, -1].mean() == pytest.approx(limit, rel=0.1)


def test_two_point_correlation__of_stripes_comes_back():
    label = np.broadcast_to(np.arange(64) // 8 % 2, (64, 64))
    one_row = phases_of(label[:1].repeat(2, 0), 2)
    found = xstxm.two_point_correlation(one_row, max_lag=1.6)["two_point_probability"]
    same = (found[0, 0] + found[1, 1]).values
    assert same[16] > 0.95
    assert same[8] < 0.1
    assert same[32] > 0.9


@given(seed=st.integers(0, 20), flip=st.booleans(), turn=st.booleans(), margin=st.integers(0, 3))
@settings(max_examples=15)
def test_two_point_correlation__is_a_probability_that_does_not_mind_flips_and_margins(seed, flip, turn, margin):
    label = (waves(np.random.default_rng(seed), (20, 20), 2.0) > 0.3).astype(int)
    label[:3, 4:9] = NO_SAMPLE
    expected = xstxm.two_point_correlation(phases_of(label), max_lag=0.5)
    probability = expected["two_point_probability"].values
    np.testing.assert_allclose(probability.sum(axis=(0, 1)), 1)
    np.testing.assert_allclose(probability, probability.swapaxes(0, 1))
    changed = np.pad(label[::-1] if flip else label, margin, constant_values=NO_SAMPLE)
    found = xstxm.two_point_correlation(phases_of(changed.T if turn else changed), max_lag=0.5)
    np.testing.assert_allclose(found["two_point_probability"], probability)


def test_two_point_correlation__takes_undecided_pixels_by_their_largest_fraction():
    label = np.zeros((8, 8), dtype=int)
    label[:, 4:] = 1
    phases = phases_of(label)
    doubtful = phases.assign(phase_label=phases["phase_label"].where(phases["x"] < 0.3, UNDECIDED).astype("int16"))
    xr.testing.assert_equal(xstxm.two_point_correlation(doubtful), xstxm.two_point_correlation(phases))


def test_two_point_correlation__of_labels_wrong_by_noise_is_pulled_to_the_limit():
    rng = np.random.default_rng(0)
    label = (waves(rng, (160, 160), 4.0) > 0).astype(int)
    wrong = np.where(rng.random(label.shape) < 0.1, 1 - label, label)
    truth, found = (xstxm.two_point_correlation(phases_of(each), max_lag=0.5) for each in (label, wrong))
    above = [(one["two_point_probability"] - one["two_point_limit"])[0, 0, 1:4] for one in (truth, found)]
    np.testing.assert_allclose(above[1], (1 - 2 * 0.1) ** 2 * above[0], rtol=0.05)


def test_two_point_correlation__refuses():
    with pytest.raises(MissingVariableError, match=r"'phase_label' is missing .*call \.stxm\.phase_map\(\) first"):
        xstxm.two_point_correlation(xr.DataArray(np.zeros((4, 4)), dims=("y", "x")))
    phases = phases_of(np.zeros((6, 8), dtype=int))
    with pytest.raises(MissingVariableError, match="phase_map"):
        xstxm.two_point_correlation(xr.Dataset())
    with pytest.raises(SchemaError, match="no sample"):
        xstxm.two_point_correlation(phases_of(np.full((6, 8), NO_SAMPLE)))
    with pytest.raises(SchemaError, match=r"\.isel\(time=0\)"):
        xstxm.two_point_correlation(phases.expand_dims(time=2))
    with pytest.raises(OptionError, match="max_lag=9: give a length from the pixel"):
        xstxm.two_point_correlation(phases, max_lag=9)


# ---- interface_density


def test_interface_density__of_stripes_is_their_number_per_length():
    label = np.broadcast_to(np.arange(80) // 8 % 2, (60, 80))
    found = xstxm.interface_density(phases_of(label))
    xstxm.testing.assert_conforms(found, "interface_density")
    assert float(found["total_interface_density"]) == pytest.approx(9 / (80 * PIXEL), rel=0.08)
    assert float(found["interface_density"][0, 1]) == float(found["interface_density"][1, 0])
    assert float(found["area"]) == pytest.approx(80 * 60 * PIXEL**2)
    of_map = xstxm.interface_map(phases_of(label))
    assert float(found["total_interface_density"] * found["area"]) == pytest.approx(
        float(of_map["total_interface_length"])
    )


def test_interface_density__of_discs_is_that_of_the_boolean_model():
    radius, density = 6, 0.005
    truth = density * 2 * np.pi * radius * np.exp(-density * np.pi * radius**2) / PIXEL
    found = [xstxm.interface_density(phases_of(boolean_model(seed, radius, density))) for seed in range(20)]
    total = np.array([float(one["total_interface_density"]) for one in found])
    error = np.array([float(one["total_interface_density_sampling_stderr"]) for one in found])
    assert total.mean() == pytest.approx(truth, rel=0.06)
    assert error.mean() == pytest.approx(total.std(ddof=1), rel=0.5)


def test_interface_density__of_regions_is_that_of_each_alone():
    label = (waves(np.random.default_rng(0), (40, 50), 3.0) > 0).astype(int)
    phases = phases_of(label)
    image = xr.zeros_like(phases["phase_label"], dtype=int).drop_attrs()
    image[3:25, 5:30], image[28:, :] = 4, 2
    found = xstxm.interface_density(phases, image)
    assert found["interface_density"].dims == ("phase", "other_phase", "region")
    assert list(found["region"].values) == [2, 4]
    for number in (2, 4):
        xr.testing.assert_allclose(
            found.sel(region=number, drop=True), xstxm.interface_density(phases, image == number)
        )
    corner = phases.isel(y=slice(3, 25), x=slice(5, 30))
    xr.testing.assert_allclose(found.sel(region=4, drop=True), xstxm.interface_density(corner))


def test_interface_density__says_how_much_is_undecided():
    label = np.zeros((80, 20), dtype=int)
    label[:, 10:] = 1
    label[:, 9:12] = UNDECIDED
    phases = map_of(np.full((2, 80, 20), 0.5), label=label)
    assert float(xstxm.interface_density(phases)["total_interface_density"]) == 0
    seen = xstxm.interface_density(phases, max_gap=3)
    assert float(seen["total_interface_density"]) == pytest.approx(1 / (20 * PIXEL), rel=0.1)
    assert float(seen["undecided_fraction"]) == pytest.approx(3 / 20)
    empty = xstxm.interface_density(phases_of(np.full((4, 5), NO_SAMPLE)))
    assert np.isnan(empty["total_interface_density"])
    assert float(empty["area"]) == 0
