from __future__ import annotations

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from electrodes import PIXEL, correlation, field, map_of, shared_variance, squares, waves
from hypothesis import given, settings

import xstxm
from xstxm._kernels import nested_variances
from xstxm.errors import (
    IncompatibleUnitsError,
    MetadataWarning,
    MissingVariableError,
    NoiseWarning,
    OptionError,
    SchemaError,
)
from xstxm.lengthscales import SCALES

FIELDS, PARTICLES, WITHIN = 0.05, 0.06, 0.08


def electrode(seed, n=4, **options):
    rng = np.random.default_rng(seed)
    return {f"field {k + 1}": field(rng, FIELDS, PARTICLES, WITHIN, **options) for k in range(n)}


def truth(side=15, length=2.0):
    shared = shared_variance(side, length)
    return np.array([WITHIN**2 * (1 - shared), PARTICLES**2 + WITHIN**2 * shared, FIELDS**2])


def lags(correlation):
    reach = [n // 2 for n in np.shape(correlation)]
    along = {f"lag_{dim}": np.arange(-r, r + 1) for dim, r in zip("yx", reach, strict=True)}
    return xr.DataArray(correlation, dims=("lag_y", "lag_x"), coords=along)


# ---- heterogeneity


@pytest.fixture(scope="module")
def repeated():
    return [xstxm.heterogeneity(electrode(seed)) for seed in range(60)]


def test_heterogeneity__finds_the_variances_of_a_nested_random_model(repeated):
    found = np.array([one["variance"] for one in repeated])
    error = found.std(axis=0, ddof=1) / len(found) ** 0.5
    assert (np.abs(found.mean(axis=0) - truth()) < 3.5 * error).all()
    assert (error < 0.2 * truth()).all()


def test_heterogeneity__intervals_cover_the_material(repeated):
    covered = [(one["variance_lower"] <= truth()) & (truth() <= one["variance_upper"]) for one in repeated]
    assert (np.sum(covered[:20], axis=0) >= 18).all()
    assert (np.mean(covered, axis=0) > 0.88).all()
    wide = [one["variance_upper"] / one["variance"] for one in repeated]
    assert (np.median(wide, axis=0)[:2] < [1.2, 2]).all()


@pytest.mark.parametrize("levels", [(0, 0.0, 0), (0, 0.06, 0)], ids=["noise alone", "particles alone"])
def test_heterogeneity__without_a_scale_is_compatible_with_none_and_not_clipped(levels):
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found.append(xstxm.heterogeneity({name: field(rng, *levels, noise=0.05) for name in "abc"}))
    none = np.array(levels)[[2, 1, 0]] == 0
    variance = np.array([one["variance"] for one in found])[:, none]
    assert ((variance < 0).mean(axis=0) > 0.2).all()
    assert (np.abs(variance.mean(axis=0)) < 4 * variance.std(axis=0) / len(found) ** 0.5).all()
    lower = np.array([one["variance_lower"] for one in found])[:, none]
    assert (np.nan_to_num(lower) >= 0).all()
    assert ((lower == 0).mean(axis=0) > 0.85).all()
    for one in found:
        np.testing.assert_array_equal(np.isnan(one["standard_deviation"]), one["variance"] < 0)


def test_heterogeneity__errors_are_those_of_the_noise():
    rng = np.random.default_rng(0)
    still = {name: field(rng, FIELDS, PARTICLES, WITHIN, noise=0) for name in "abc"}
    noise = 0.05
    found = []
    for _ in range(80):
        noisy = {
            name: one.assign(
                composition=one["composition"] + noise * rng.normal(size=(48, 48)),
                composition_stderr=xr.full_like(one["composition"], noise),
            )
            for name, one in still.items()
        }
        found.append(xstxm.heterogeneity(noisy))
    variance = np.array([one["variance"] for one in found])
    expected = np.mean([one["variance_stderr"] for one in found], axis=0)
    np.testing.assert_allclose(variance.std(axis=0), expected, rtol=0.25)
    exact = xstxm.heterogeneity(still)["variance"]
    assert (np.abs(variance.mean(axis=0) - exact) < 3.5 * expected / len(found) ** 0.5).all()


def test_heterogeneity__knows_noise_that_neighbours_share():
    shape, weight = (64, 64), np.array([0.25, 0.5, 0.25])
    kernel = np.outer(weight, weight)
    shared = np.outer(*2 * [np.convolve(weight, weight)])
    rng = np.random.default_rng(0)
    label = squares(shape, 8)
    found, plain = [], []
    for _ in range(12):
        white = np.fft.fft2(rng.normal(size=shape)) * np.fft.fft2(kernel, shape)
        noise = 0.05 * np.fft.ifft2(white).real / np.sqrt(shared.max())
        one = map_of(0.5 + noise, 0.05, label)
        found.append(xstxm.heterogeneity(one, noise_correlation=lags(shared / shared.max())))
        plain.append(xstxm.heterogeneity(one))
    variance, taken = (np.array([one["variance"][:2] for one in each]).mean(axis=0) for each in (found, plain))
    error = np.mean([one["variance_stderr"][:2] for one in found], axis=0) / 12**0.5
    assert (np.abs(variance) < 3.5 * error).all()
    assert (np.abs(taken) > 6 * error).all()


def test_lagged_sums__are_sums_over_all_pairs():
    rng = np.random.default_rng(0)
    label, value = rng.integers(0, 3, (6, 7)), rng.normal(size=(6, 7))
    correlation = rng.random((3, 5))
    correlation += correlation[::-1, ::-1]
    expected = np.zeros(2)
    places = list(np.ndindex(label.shape))
    for p in places:
        for q in places:
            lag = q[0] - p[0] + 1, q[1] - p[1] + 2
            if label[p] == label[q] > 0 and 0 <= lag[0] < 3 and 0 <= lag[1] < 5:
                expected[label[p] - 1] += correlation[lag] * value[p] * value[q]
    np.testing.assert_allclose(nested_variances.lagged_sums(value, label, 2, correlation), expected)


def test_heterogeneity__of_alike_particles_is_the_analysis_of_variance_by_hand():
    rng = np.random.default_rng(3)
    label = squares((12, 12), 4)
    maps = {name: map_of(rng.normal(size=(12, 12)), 0.0, label) for name in "abcd"}
    found = xstxm.heterogeneity(maps)
    pixels = np.array([[one["composition"].values[label == k] for k in range(1, 10)] for one in maps.values()])
    means = pixels.mean(axis=2)
    inner = pixels.var(axis=2).mean()
    between = means.var(axis=1, ddof=1).mean()
    outer = means.mean(axis=1).var(ddof=1) - between / 9
    np.testing.assert_allclose(found["variance"], [inner, between, outer])
    assert float(found["total_variance"]) == pytest.approx(inner + between + outer)
    np.testing.assert_allclose(found["variance_share"].sum(), 1)
    np.testing.assert_array_equal(found["n_members"], [4 * 144, 36, 4])
    assert float(found["sampling_variance"][2]) == pytest.approx(between / 9)
    xstxm.testing.assert_conforms(found, "heterogeneity")
    assert list(found["scale"].values) == list(SCALES)


def test_heterogeneity__weighs_areas_or_particles():
    label = np.ones((8, 10), dtype=int)
    label[:, 8:] = 2
    value = np.where(label == 1, 0.2, 0.4) + 0.1 * np.where(label == 1, 1, 3) * (-1) ** np.indices(label.shape)[0]
    by_area = xstxm.heterogeneity(map_of(value, 0.0, label))
    alike = xstxm.heterogeneity(map_of(value, 0.0, label), weights="particle")
    assert float(by_area["variance"][0]) == pytest.approx(0.8 * 0.01 + 0.2 * 0.09)
    assert float(alike["variance"][0]) == pytest.approx(0.05)
    np.testing.assert_allclose([by_area["variance"][1], alike["variance"][1]], 0.2**2 / 2)


def test_heterogeneity__of_fields_with_other_pixels_weighs_their_area():
    rng = np.random.default_rng(0)
    label = squares((8, 8), 4)
    fine, coarse = (map_of(rng.normal(size=(8, 8)), 0.0, label, pixel) for pixel in (0.02, 0.04))
    alone = [float(xstxm.heterogeneity(one)["variance"][0]) for one in (fine, coarse)]
    both = xstxm.heterogeneity({"fine": fine, "coarse": coarse})
    assert float(both["variance"][0]) == pytest.approx((alone[0] + 4 * alone[1]) / 5)


@given(shift=st.floats(-3, 3), scale=st.floats(0.1, 10), seed=st.integers(0, 5), flip=st.booleans(), turn=st.booleans())
@settings(max_examples=20)
def test_heterogeneity__does_not_mind_shift_scale_and_flips(shift, scale, seed, flip, turn):
    maps = electrode(seed, n=3)
    expected = xstxm.heterogeneity(maps)
    moved = {}
    for name, one in maps.items():
        value, error = one["composition"] * scale + shift, one["composition_stderr"] * scale
        other = one.assign(composition=value.assign_attrs(units="1"), composition_stderr=error.assign_attrs(units="1"))
        other = other.isel(y=slice(None, None, -1)) if flip else other
        moved[name] = other.transpose("x", "y") if turn else other
    found = xstxm.heterogeneity(moved)
    for name in ("variance", "variance_stderr", "variance_lower", "variance_upper", "noise_variance"):
        np.testing.assert_allclose(found[name], scale**2 * expected[name], rtol=1e-6, atol=1e-12 * scale**2)
    np.testing.assert_allclose(found["variance_share"], expected["variance_share"], rtol=1e-6)


def test_heterogeneity__converts_units_of_nodes():
    maps = electrode(0, n=3)
    expected = xstxm.heterogeneity(maps)
    other = maps["field 2"]
    for name in ("composition", "composition_stderr"):
        other = other.assign({name: (other[name] * 100).assign_attrs(units="percent")})
    nanometres = {dim: (dim, 1000 * other[dim].values, {"units": "nm"}) for dim in "yx"}
    mixed = {**maps, "field 2": other.assign_coords(nanometres)}
    xr.testing.assert_allclose(xstxm.heterogeneity(mixed).drop_attrs(), expected.drop_attrs())
    percent = xstxm.heterogeneity({"field 2": mixed.pop("field 2"), **mixed})
    assert percent["variance"].attrs["units"] == "percent**2"
    np.testing.assert_allclose(percent["variance"], 1e4 * expected["variance"])
    mixed["field 1"] = maps["field 1"].assign(composition=maps["field 1"]["composition"].assign_attrs(units="eV"))
    with pytest.raises(IncompatibleUnitsError, match="the standard error of 'composition' of 'field 1' is in '1'"):
        xstxm.heterogeneity(mixed)
    mixed["field 1"]["composition_stderr"].attrs["units"] = "eV"
    with pytest.raises(IncompatibleUnitsError, match="'composition' of 'field 3'"):
        xstxm.heterogeneity(mixed)


def test_heterogeneity__takes_a_tree_and_particles_from_elsewhere():
    maps = electrode(1, n=3)
    expected = xstxm.heterogeneity(maps)
    tree = xr.DataTree.from_dict({**maps, "gone": xr.Dataset(attrs={"left_out": "no I0"})})
    found = xstxm.heterogeneity(tree)
    xr.testing.assert_equal(found, expected)
    assert "'gone' was left out before: no I0" in found.attrs["history"]
    labels = {name: one["particle_label"] for name, one in maps.items()}
    bare = {name: one.drop_vars("particle_label") for name, one in maps.items()}
    xr.testing.assert_equal(xstxm.heterogeneity(bare, labels), expected)
    xr.testing.assert_equal(xstxm.heterogeneity(bare, tree), expected)
    nested = {f"cell/{name}": one for name, one in maps.items()}
    inside = xr.DataTree.from_dict({name: one.drop_vars("particle_label") for name, one in nested.items()})
    xr.testing.assert_equal(inside.stxm.heterogeneity(xr.DataTree.from_dict(nested)), expected)
    numbered = {name: label.where(label > 0).rename("grain") for name, label in labels.items()}
    xr.testing.assert_equal(xstxm.heterogeneity(bare, numbered), expected)
    grains = {name: one.rename(particle_label="grain") for name, one in maps.items()}
    xr.testing.assert_equal(xstxm.heterogeneity(grains, "grain"), expected)
    xr.testing.assert_equal(
        xstxm.heterogeneity(dict(inside["cell"]), dict(xr.DataTree.from_dict(nested)["cell"])), expected
    )
    with pytest.raises(OptionError, match="the map is a single one: give its own image of labels"):
        xstxm.heterogeneity(bare["field 1"], labels)
    with pytest.raises(OptionError, match="give an image of labels for the field 'field 2' too"):
        xstxm.heterogeneity(bare, {"field 1": labels["field 1"]})
    with pytest.raises(MissingVariableError, match=r"call xstxm\.particles first"):
        xstxm.heterogeneity(bare)
    with pytest.raises(SchemaError, match="no whole numbers"):
        xstxm.heterogeneity(bare["field 1"], labels["field 1"] > 0)


def test_heterogeneity__of_one_field_or_one_particle_says_what_is_not_known():
    one = electrode(0)["field 1"]
    found = xstxm.heterogeneity(one)
    assert np.isfinite(found["variance"][:2]).all()
    assert np.isnan(found["variance"][2])
    assert "one field only" in found.attrs["undetermined"]
    assert float(found["total_variance"]) == pytest.approx(float(found["variance"][:2].sum()))
    single = one.assign(particle_label=one["particle_label"] * (one["particle_label"] == 1))
    alone = xstxm.heterogeneity({"a": single, "b": single})
    assert np.isfinite(alone["variance"][0])
    assert np.isnan(alone["variance"][1:]).all()
    assert "no field holds two particles" in alone.attrs["undetermined"]
    elsewhere = one["particle_label"] * (one["x"] > 1)
    with pytest.raises(SchemaError, match="no particle in the field 'a' holds a value"):
        xstxm.heterogeneity({"a": one.where(one["x"] < 1).assign(particle_label=elsewhere)})


def test_heterogeneity__says_that_noise_is_not_known():
    maps = electrode(0, n=3)
    bare = {**maps, "field 2": maps["field 2"].drop_vars("composition_stderr")}
    with pytest.warns(NoiseWarning, match="no composition_stderr in field 2: noise is not taken off"):
        found = xstxm.heterogeneity(bare)
    assert np.isnan(found["variance_stderr"]).all()
    assert float(found["variance"][0]) > float(xstxm.heterogeneity(maps)["variance"][0])
    unknown = maps["field 1"]["composition_stderr"].where(maps["field 1"]["x"] > 0.5)
    with pytest.raises(SchemaError, match="whose standard error is not known"):
        xstxm.heterogeneity(maps["field 1"].assign(composition_stderr=unknown))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda m: m.assign(composition=m.composition * np.nan), SchemaError, "no sample", id="empty"),
        pytest.param(lambda m: m.expand_dims(time=2), SchemaError, r"\.isel\(time=0\)", id="a series"),
        pytest.param(lambda m: m.drop_vars("composition"), MissingVariableError, "signal='composition'", id="no map"),
        pytest.param(
            lambda m: m.assign(composition=m.particle_label.assign_attrs(flag_values=[1])),
            SchemaError,
            "holds labels",
            id="labels",
        ),
        pytest.param(lambda m: {}, SchemaError, "there is no map", id="no field"),
        pytest.param(lambda m: [m], OptionError, r"several by name: \{'left'", id="a list"),
        pytest.param(lambda m: {"a": 1}, SchemaError, "'a' is a int", id="a number"),
    ],
)
def test_heterogeneity__refuses(change, error, message):
    with pytest.raises(error, match=message):
        xstxm.heterogeneity(change(electrode(0)["field 1"]))


def test_heterogeneity__says_whose_labels_lie_on_other_pixels():
    maps = electrode(0, n=2)
    labels = {name: one["particle_label"].isel(x=slice(9)) for name, one in maps.items()}
    with pytest.raises(
        SchemaError, match="the image of particles for 'composition' of 'field 1' has 9 pixels along 'x'"
    ):
        xstxm.heterogeneity(maps, labels)


def test_heterogeneity__reads_lazy_maps():
    maps = electrode(0, n=2)
    lazy = {name: one.chunk(y=10) for name, one in maps.items()}
    xr.testing.assert_equal(xstxm.heterogeneity(lazy), xstxm.heterogeneity(maps))


# ---- coarse_grain


def block_truth(side, length, kind):
    """Variance of the means of square blocks of a field of unit variance."""
    lag = np.arange(1 - side, side)
    weight = (side - np.abs(lag)) / side**2
    return weight @ correlation(np.hypot(lag[:, None], lag), length, kind) @ weight


def sides(found):
    return np.rint(found["length"].values / PIXEL).astype(int)


@pytest.mark.parametrize("kind", ["gaussian", "exponential"])
def test_coarse_grain__finds_the_curve_of_a_random_field(kind):
    disc = np.hypot(*(np.indices((56, 64)) - np.array([28, 32])[:, None, None])) < 30
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        value = np.where(disc, 0.5 + 0.1 * waves(rng, disc.shape, 2.0, kind), np.nan)
        found.append(xstxm.coarse_grain(map_of(value + 0.05 * rng.normal(size=disc.shape), 0.05)))
    xstxm.testing.assert_conforms(found[0], "coarse_grain")
    truth = np.array([0.01 * block_truth(side, 2.0, kind) for side in sides(found[0])])
    variance = np.array([one["variance"] for one in found])
    error = variance.std(axis=0, ddof=1) / len(found) ** 0.5
    assert (np.abs(variance.mean(axis=0) - truth) < 3.5 * error).all()
    covered = [(one["variance_lower"] <= truth) & (truth <= one["variance_upper"]) for one in found]
    assert (np.sum(covered, axis=0) >= 17).all()
    assert np.sum(covered) >= 0.92 * np.size(covered)
    np.testing.assert_allclose(found[0]["noise_variance"] * sides(found[0]) ** 2, 0.05**2, rtol=0.1)


def test_coarse_grain__of_independent_pixels_falls_as_their_number():
    value = np.random.default_rng(0).normal(size=(200, 240))
    found = xstxm.coarse_grain(map_of(value, 0.0))
    np.testing.assert_allclose(found["mixed_variance"] * sides(found) ** 2, value.var(ddof=1), rtol=1e-9)
    assert (
        (found["variance_lower"] <= found["mixed_variance"]) & (found["mixed_variance"] <= found["variance_upper"])
    ).all()
    assert float(found["variance"][0]) == pytest.approx(value.var(ddof=1))


def test_coarse_grain__of_a_checkerboard_vanishes_in_even_blocks():
    value = (-1.0) ** np.indices((40, 48)).sum(axis=0)
    found = xstxm.coarse_grain(map_of(value, 0.0), np.arange(1, 11) * PIXEL)
    side = np.arange(1, 11)
    np.testing.assert_allclose(found["variance"], np.where(side % 2, side**-4.0, 0) + 1 / (value.size - 1))
    np.testing.assert_allclose(found["n_blocks"], value.size / side**2)


def test_coarse_grain__is_the_variance_of_all_blocks_that_are_covered():
    rng = np.random.default_rng(0)
    value, weight = rng.normal(size=(17, 20)), rng.uniform(0.2, 1, (17, 20))
    value[rng.random(value.shape) < 0.4] = np.nan
    maps = map_of(value, 0.1).assign(total_amount=(("y", "x"), weight))
    found = xstxm.coarse_grain(maps, [3 * PIXEL], weight="total_amount", min_coverage=0.6)
    inside = np.isfinite(value)
    mean = np.average(value[inside], weights=weight[inside])
    means, weights, noise = [], [], []
    for y in range(15):
        for x in range(18):
            near = np.s_[y : y + 3, x : x + 3]
            if inside[near].sum() >= 0.6 * 9:
                w = weight[near][inside[near]]
                means.append(np.average(value[near][inside[near]], weights=w))
                weights.append(w.sum())
                noise.append(0.1**2 * (w**2).sum() / w.sum() ** 2)
    added = xstxm.coarse_grain(maps, [PIXEL], weight="total_amount")
    around = np.average((value[inside] - mean) ** 2, weights=weight[inside]) - 0.1**2
    added = float(added["variance"][0]) - around
    expected = np.average((np.array(means) - mean) ** 2, weights=weights) + added - np.average(noise, weights=weights)
    assert float(found["variance"][0]) == pytest.approx(expected, rel=1e-9)
    assert float(found["noise_variance"][0]) == pytest.approx(np.average(noise, weights=weights))


@pytest.mark.parametrize("signal", [0, 1], ids=["noise alone", "a random field"])
def test_coarse_grain__errors_are_those_of_the_noise(signal):
    rng = np.random.default_rng(0)
    still = 0.1 * signal * waves(rng, (40, 40), 3.0)
    found = [xstxm.coarse_grain(map_of(still + 0.1 * rng.normal(size=still.shape), 0.1)) for _ in range(60)]
    variance = np.array([one["variance"] for one in found])
    error = np.mean([one["variance_stderr"] for one in found], axis=0)
    scatter = variance.std(axis=0)
    assert (np.abs(np.log(scatter / error)) < np.log(1.4)).all()
    if not signal:
        assert (np.abs(variance.mean(axis=0)) < 3.5 * scatter / len(found) ** 0.5).all()
        assert ((variance < 0).mean(axis=0) > 0.2).all()
        assert (np.array([one["variance_lower"] for one in found]) == 0).mean() > 0.9


def test_coarse_grain__knows_noise_that_neighbours_share():
    weight = np.array([0.25, 0.5, 0.25])
    shared = np.outer(*2 * [np.convolve(weight, weight)])
    shared /= shared.max()
    rng = np.random.default_rng(0)
    found, plain = [], []
    for _ in range(30):
        white = np.fft.fft2(rng.normal(size=(64, 64))) * np.fft.fft2(np.outer(weight, weight), (64, 64))
        noise = np.fft.ifft2(white).real
        one = map_of(noise / (weight @ weight), 1.0)
        found.append(xstxm.coarse_grain(one, noise_correlation=lags(shared)))
        plain.append(xstxm.coarse_grain(one))
    variance = np.array([one["variance"] for one in found])
    assert (np.abs(variance.mean(axis=0)) < 3.5 * variance.std(axis=0) / 30**0.5).all()
    assert (np.mean([one["variance"] for one in plain], axis=0)[2:6] > 5 * variance.std(axis=0)[2:6] / 30**0.5).all()
    error = np.mean([one["variance_stderr"] for one in found], axis=0)
    assert (np.abs(np.log(variance.std(axis=0) / error)) < np.log(1.6)).all()


@given(
    shift=st.floats(-3, 3), scale=st.floats(0.1, 10), flip=st.booleans(), turn=st.booleans(), margin=st.integers(0, 6)
)
@settings(max_examples=20)
def test_coarse_grain__does_not_mind_shift_scale_flips_and_margins(shift, scale, flip, turn, margin):
    rng = np.random.default_rng(0)
    value = 0.1 * waves(rng, (40, 40), 2.0)
    value[np.hypot(*(np.indices((40, 40)) - 20)) > 19] = np.nan
    lengths = np.array([1, 2, 4, 7]) * PIXEL
    expected = xstxm.coarse_grain(map_of(value, 0.03), lengths)
    changed = np.pad(value * scale + shift, margin, constant_values=np.nan)
    changed = changed[::-1] if flip else changed
    found = xstxm.coarse_grain(map_of(changed.T if turn else changed, 0.03 * scale), lengths)
    for name in ("variance", "variance_stderr", "variance_upper", "noise_variance", "mixed_variance"):
        np.testing.assert_allclose(found[name], scale**2 * expected[name], rtol=1e-5, atol=1e-10 * scale**2)


def test_coarse_grain__takes_lengths_in_any_unit_and_pixels_that_are_not_square():
    value = waves(np.random.default_rng(0), (40, 60), 2.0)
    maps = map_of(value, 0.0).assign_coords(x=("x", 20.0 * np.arange(60), {"units": "nm"}))
    found = xstxm.coarse_grain(maps, ["80 nm", 0.16, "0.161 um"])
    np.testing.assert_allclose(found["length"], [0.08, 0.16])
    assert found["length"].attrs["units"] == "um"
    for alone in ("80 nm", 0.08, np.float64(0.08)):
        xr.testing.assert_identical(xstxm.coarse_grain(maps, alone).variance, found.variance[:1])
    with pytest.warns(NoiseWarning, match="no composition_stderr in a"):
        named = xstxm.coarse_grain({"a": maps.composition}, [0.08])
    np.testing.assert_allclose(named["variance"], found["variance"][:1].expand_dims(node=1, axis=1))
    means = np.lib.stride_tricks.sliding_window_view(value, (2, 4)).mean(axis=(2, 3))
    assert float(found["variance"][0]) == pytest.approx(((means - value.mean()) ** 2).mean(), rel=0.02)
    with pytest.raises(OptionError, match=r"lengths='0\.001, 7': give lengths from the pixel, 0\.02 um, to .* 1\.2 um"):
        xstxm.coarse_grain(maps, ["1 nm", 7, 0.1])


def test_coarse_grain__of_several_fields_has_a_curve_for_each():
    rng = np.random.default_rng(0)
    fine, coarse = (
        map_of(waves(rng, (40, 40), 3.0), 0.0, pixel=0.02),
        map_of(waves(rng, (40, 40), 3.0), 0.0, pixel=0.08),
    )
    found = xstxm.coarse_grain(xr.DataTree.from_dict({"fine": fine, "group/coarse": coarse}))
    assert found["variance"].dims == ("length", "node")
    assert list(found["node"].values) == ["fine", "group/coarse"]
    xstxm.testing.assert_conforms(found, "coarse_grain")
    for name, one in (("fine", fine), ("group/coarse", coarse)):
        alone = xstxm.coarse_grain(one)
        kept = found.sel(node=name, drop=True).dropna("length", subset=["variance"])
        xr.testing.assert_allclose(kept.drop_attrs(), alone.drop_attrs())
    given_lengths = xstxm.coarse_grain({"fine": fine, "coarse": coarse}, [0.04, 0.16, 1.6])
    assert given_lengths["variance"].notnull().sum("length").values.tolist() == [2, 2]


def test_coarse_grain__of_a_field_too_small_to_tell_says_nothing_of_the_material():
    found = xstxm.coarse_grain(map_of(np.add.outer(np.arange(24.0), np.arange(30)), 0.0))
    assert np.isfinite(found["variance"]).all()
    assert np.isnan(found["variance_lower"]).all()
    assert np.isnan(found["variance_upper"]).all()


def test_coarse_grain__leaves_blocks_without_enough_sample_nan():
    value = np.full((32, 32), np.nan)
    value[::4] = np.random.default_rng(0).normal(size=(8, 32))
    found = xstxm.coarse_grain(map_of(value, 0.0), [PIXEL, 4 * PIXEL, 8 * PIXEL])
    np.testing.assert_array_equal(found["variance"].isnull(), [False, True, True])
    np.testing.assert_array_equal(found["n_blocks"][1:], 0)
    with pytest.raises(SchemaError, match="'amount' is not above zero in 256 pixels"):
        xstxm.coarse_grain(map_of(value, 0.0).assign(amount=(("y", "x"), value * 0)), weight="amount")


def test_coarse_grain__takes_one_length():
    maps = map_of(np.random.default_rng(0).normal(size=(24, 24)), 0.1)
    for length in ("80 nm", 0.08, np.float32(0.08)):
        np.testing.assert_allclose(xstxm.coarse_grain(maps, length).length, [0.08])


@pytest.mark.parametrize("verb", [xstxm.heterogeneity, xstxm.coarse_grain, xstxm.correlation_length])
def test_maps__of_one_row_have_no_pixel_size(verb):
    maps = electrode(0, 1)["field 1"]
    with pytest.raises(SchemaError, match="one pixel along 'y' does not tell how large pixels are"):
        verb(maps.isel(y=[5]))


@pytest.mark.parametrize("verb", [xstxm.heterogeneity, xstxm.coarse_grain, xstxm.correlation_length])
def test_maps__are_not_a_list(verb):
    with pytest.raises(OptionError, match=r"several by name: \{'left': phases"):
        verb([*electrode(0, 2).values()])


@pytest.mark.parametrize("write", ["percent", "no unit", "one number"])
def test_standard_errors__convert_to_the_units_of_the_map(write):
    maps = electrode(0, 1, noise=0.05)["field 1"]
    maps["composition_stderr"] = xr.full_like(maps["composition_stderr"], 0.05)
    wanted = xstxm.heterogeneity(maps)["noise_variance"]
    error = maps["composition_stderr"]
    if write == "percent":
        maps["composition_stderr"] = (100 * error).assign_attrs(units="percent")
    elif write == "no unit":
        maps["composition_stderr"] = (error.dims, error.values)
    else:
        maps["composition_stderr"] = 0.05
    np.testing.assert_allclose(xstxm.heterogeneity(maps)["noise_variance"], wanted)


def test_heterogeneity__wants_labels_with_dimensions():
    maps = electrode(0, 1)["field 1"]
    with pytest.raises(OptionError, match=r"give an image of labels, xr.DataArray\(labels, dims=\('y', 'x'\)\)"):
        xstxm.heterogeneity(maps, np.asarray(maps["particle_label"]))


def test_waves__have_the_variance_they_say():
    rng = np.random.default_rng(0)
    many = [waves(rng, (32, 40), 2.0, kind).var() for kind in ("gaussian", "exponential") for _ in range(40)]
    assert np.mean(many) == pytest.approx(1, abs=0.05)


def placed(maps, y):
    return maps.assign_coords(y=("y", maps["y"].values + y, {"units": "um"}))


@pytest.mark.parametrize("verb", ["heterogeneity", "correlation_length"])
def test_fields__that_lie_on_each_other_are_told(verb):
    options = {} if verb == "heterogeneity" else {"fields": "together", "n_resamples": 4}
    one, other = (field(np.random.default_rng(seed), 0.05, 0.08, 0.06) for seed in range(2))
    height = 48 * PIXEL

    def called(y):
        return getattr(xstxm, verb)({"one": one, "inside": placed(other, y)}, particles="particle_label", **options)

    with pytest.warns(MetadataWarning, match=r"lie on each other by their positions \('one' and 'inside'\)"):
        called(height / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in (0.0, height, 0.95 * height):
            called(y)
