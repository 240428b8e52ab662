from __future__ import annotations

import tracemalloc
from time import sleep

import dask
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from laziness import raise_if_dask_computes
from scipy import fft, ndimage
from test_noise import counted, mixtures, references

import xstxm
from xstxm._kernels import region_means
from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import MissingDimensionError, MissingVariableError, NoiseWarning, OptionError, SchemaError
from xstxm.regions import BIAS_NOISE

X = np.linspace(0, 1, 5)
"""Composition of the five references."""


def waves(rng, number, shape, length, kind="gaussian"):
    """Random fields of unit variance (number, y, x) whose correlation falls off over `length` pixels."""
    big = tuple(2 * size for size in shape)
    square = sum(k**2 for k in np.meshgrid(*(2 * np.pi * np.fft.fftfreq(size) for size in big), indexing="ij"))
    power = np.exp(-square * length**2 / 2) if kind == "gaussian" else (1 + square * length**2) ** -1.5
    white = fft.rfft2(rng.normal(size=(number, *big)))
    shaped = white * np.sqrt(power / power.mean())[:, : white.shape[-1]]
    return fft.irfft2(shaped, big)[:, : shape[0], : shape[1]]


def mixed(seed, sharpness, n=32, length=5):
    """Fractions (y, x, phase) of five phases that lie in domains, the purer the sharper."""
    weight = np.exp(sharpness * waves(np.random.default_rng(seed), 5, (n, n), length))
    return np.moveaxis(weight / weight.sum(0), 0, -1)


def map_of(fraction, stderr=0.01, confidence=1.0, label=None, composition=None, dims=("y", "x")):
    """A phase map: fractions (phase, *dims) with errors that are given."""
    fraction = np.asarray(fraction, dtype=float)
    axes = {dim: (dim, 0.05 * np.arange(n), {"units": "um"}) for dim, n in zip(dims, fraction.shape[1:], strict=True)}
    names = [f"phase {k + 1}" for k in range(len(fraction))]
    made = xr.DataArray(fraction, dims=("phase", *dims), coords={"phase": names, **axes}, attrs={"units": "1"})
    one = made.isel(phase=0, drop=True)
    phases = xr.Dataset(
        {
            "phase_fraction": made,
            "phase_fraction_stderr": xr.full_like(made, 1) * stderr,
            "phase_label": one.copy(data=fraction.argmax(0) if label is None else label).astype("int16"),
            "confidence": xr.full_like(one, 1) * confidence,
        }
    )
    if composition is not None:
        phases = phases.assign(composition=one * 0 + composition, composition_stderr=xr.full_like(one, 0.02))
    return phases


def two(share, **options):
    return map_of([share, 1 - np.asarray(share)], **options)


# ---- what it says


@pytest.fixture(scope="module")
def simulated():
    stack = xstxm.testing.simulate_stack(shape=(60, 80), seed=2)
    return xstxm.phase_map(stack, xstxm.testing.simulate_references(), covariance=True)


def test_phase_summary__agrees_with_the_map(simulated):
    summary = xstxm.phase_summary(simulated)
    xstxm.testing.assert_conforms(summary, "phase_summary")
    label, fraction = simulated["phase_label"], simulated["phase_fraction"]
    sample = label != NO_SAMPLE
    number = int(sample.sum())
    assert int(summary["n_sample"]) == number
    assert float(summary["area"]) == pytest.approx(number * 0.03**2)
    largest = fraction.fillna(-1).argmax("phase").where(sample)
    for k in range(4):
        assert int(summary["n_pixels"][k]) == int((label == k).sum())
        assert float(summary["area_fraction"][k]) == pytest.approx(int((largest == k).sum()) / number)
        mean = float(simulated["composition"].where(label == k).mean())
        assert float(summary["mean_composition"][k]) == pytest.approx(mean)
    assert float(summary["undecided_fraction"]) == pytest.approx(int((label == UNDECIDED).sum()) / number)
    np.testing.assert_allclose(summary["mean_fraction"], fraction.mean(("y", "x")), rtol=1e-5)
    assert float(summary["sample_composition"]) == pytest.approx(float(simulated["composition"].mean()), rel=1e-5)
    assert summary["sample_composition"].attrs["units"] == simulated["composition"].attrs["units"]
    error = float((simulated["composition_stderr"] ** 2).sum() ** 0.5) / number
    assert float(summary["sample_composition_stderr"]) == pytest.approx(error, rel=1e-4)


def test_phase_summary__needs_a_phase_map():
    with pytest.raises(MissingVariableError, match="phase_map"):
        xstxm.phase_summary(xr.Dataset())


def test_phase_summary__of_regions_is_that_of_each_alone(simulated):
    image = xr.zeros_like(simulated["phase_label"], dtype=int).drop_attrs()
    image[5:30, 10:60], image[35:55, :] = 7, 3
    found = xstxm.phase_summary(simulated, image)
    assert list(found["region"].values) == [3, 7]
    assert found["area_fraction"].dims == ("phase", "region")
    assert found["n_sample"].dims == ("region",)
    for number in (3, 7):
        alone = xstxm.phase_summary(simulated, image == number)
        assert "region" not in alone.dims
        xr.testing.assert_allclose(found.sel(region=number, drop=True), alone)
    box = {"x": (0.3, 1.785), "y": (0.15, 0.885)}
    xr.testing.assert_allclose(xstxm.phase_summary(simulated, box), alone)
    cut = simulated.isel(y=slice(5, 30), x=slice(10, 60))
    xr.testing.assert_allclose(xstxm.phase_summary(cut), alone)


def test_phase_summary__is_lazy_and_equal_to_the_one_in_memory(simulated):
    image = xr.ones_like(simulated["phase_label"], dtype=int).drop_attrs()
    lag = noise_lags(np.array([[0, 0.2, 0], [0.2, 1, 0.2], [0, 0.2, 0]]))
    for regions in (None, image):
        eager = xstxm.phase_summary(simulated, regions, noise_correlation=lag)
        with raise_if_dask_computes():
            lazy = xstxm.phase_summary(simulated.chunk(y=17, x=30, phase=2), regions, noise_correlation=lag)
        assert all(array.chunks is not None for name, array in lazy.data_vars.items() if name != "min_amount")
        xr.testing.assert_allclose(lazy.compute(), eager)


def test_phase_summary__treats_every_image_of_a_series_alone(simulated):
    series = xr.concat([simulated, simulated.isel(x=slice(None, None, -1)).assign_coords(x=simulated["x"])], "theta")
    series = series.transpose("theta", ...)
    found = xstxm.phase_summary(series)
    assert found["area_fraction"].dims == ("phase", "theta")
    first = xstxm.phase_summary(simulated)
    for k in (0, 1):
        xr.testing.assert_allclose(found.isel(theta=k)[list(first.data_vars)], first)


def test_phase_summary__of_a_line_a_volume_and_a_point():
    rng = np.random.default_rng(0)
    line = xstxm.phase_summary(two(rng.random(50), dims=("position",)))
    assert "area" not in line
    assert 0 < float(line["area_fraction_sampling_stderr"][0]) < 0.2
    volume = two(rng.random((6, 7, 8)), dims=("z", "y", "x"))
    assert int(xstxm.phase_summary(volume)["n_sample"]) == 6 * 7 * 8
    alone = xstxm.phase_summary(two(rng.random((3, 4))).isel(y=1, x=2))
    assert float(alone["mean_fraction_stderr"][0]) == pytest.approx(0.01)
    assert np.isnan(alone["mean_fraction_sampling_stderr"]).all()


def test_phase_summary__leaves_out_what_was_not_measured_and_what_is_no_sample():
    share = np.full((4, 5), 0.75)
    share[0] = np.nan
    label = np.zeros((4, 5))
    label[0, :3], label[0, 3:] = NO_SAMPLE, UNDECIDED
    label[1, 0] = UNDECIDED
    found = xstxm.phase_summary(two(share, label=label, confidence=np.where(np.isnan(share), np.nan, 1)))
    assert int(found["n_sample"]) == 15
    assert float(found["undecided_fraction"]) == pytest.approx(1 / 15)
    np.testing.assert_allclose(found["area_fraction"], [1, 0])
    np.testing.assert_allclose(found["mean_fraction"], [0.75, 0.25])
    assert np.isnan(found["area_fraction_sampling_stderr"]).all()  # all or nothing tells nothing of other fields


def test_phase_summary__of_clusters_knows_no_errors():
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    found = xstxm.phase_summary(xstxm.phase_map(stack, n_phases=2))
    assert float(found["area_fraction"].sum()) == pytest.approx(1)
    for name in ("area_fraction_stderr", "mean_fraction_stderr", "area_fraction_bias"):
        assert np.isnan(found[name]).all()
    assert np.isfinite(found["area_fraction_sampling_stderr"]).all()


def test_phase_summary__tells_what_lies_below_the_least_amount(simulated):
    found = xstxm.phase_summary(simulated)
    total, label = simulated["total_amount"], simulated["phase_label"]
    assert float(found["min_amount"]) == float(simulated["min_amount"])
    expected = float(total.where(label == NO_SAMPLE, 0).sum() / total.sum())
    assert 0.01 < expected < 0.5
    assert float(found["amount_left_out"]) == pytest.approx(expected, rel=1e-5)


def test_phase_summary__takes_an_image_of_regions_that_became_floats(simulated):
    image = (xr.zeros_like(simulated["phase_label"], dtype=int) + (simulated["x"] > 1)).drop_attrs()
    floats = image.where(image > 0)
    xr.testing.assert_identical(
        xstxm.phase_summary(simulated, floats).drop_attrs(), xstxm.phase_summary(simulated, image).drop_attrs()
    )


def test_phase_summary__of_a_volume_has_no_area(simulated):
    volume = xr.concat([simulated, simulated], "z")
    assert "area" not in xstxm.phase_summary(volume)


@pytest.mark.parametrize("name", ["confidence", "phase_fraction", "phase_fraction_stderr"])
def test_phase_summary__needs_the_whole_map(simulated, name):
    with pytest.raises(MissingVariableError, match="pass the whole result"):
        xstxm.phase_summary(simulated.drop_vars(name))


def test_bias_noise__is_that_of_fractions_spread_evenly_around_a_boundary():
    from scipy.stats import norm

    grid, noise = np.linspace(-8, 8, 1601), np.linspace(-8, 8, 801)
    weight = norm.pdf(noise) / norm.pdf(noise).sum()
    added = norm.cdf(grid[:, None] + noise) - (grid[:, None] + noise > 0)
    of_bias = (added**2 @ weight - (added @ weight) ** 2).sum()
    chance = norm.cdf(grid)
    of_share = (chance * (1 - chance) + (chance - (grid > 0)) ** 2).sum()
    assert of_bias / of_share == pytest.approx(BIAS_NOISE, rel=2e-3)


def test_phase_summary__a_map_of_nothing_has_no_numbers():
    empty = two(np.full((4, 5), np.nan), label=np.full((4, 5), NO_SAMPLE), confidence=np.nan)
    found = xstxm.phase_summary(empty)
    assert int(found["n_sample"]) == 0
    assert np.isnan(found["area_fraction"]).all()


@pytest.mark.parametrize(
    ("regions", "error", "message"),
    [
        pytest.param(lambda m: xr.zeros_like(m, dtype=int), OptionError, "regions=.*no number in it is above zero", id="empty"),
        pytest.param(lambda m: m.astype(int).isel(y=slice(3)), SchemaError, "the image of regions has 3 pixels along 'y'", id="size"),
        pytest.param(lambda m: xr.ones_like(m, dtype=int).assign_coords(x=m["x"] + 1), SchemaError, "differ along 'x'", id="places"),
        pytest.param(lambda m: (m + 1.5) * 0.5, SchemaError, "the image of regions holds numbers that are not whole", id="float"),
        pytest.param(lambda m: m * np.inf, SchemaError, "the image of regions holds numbers that are not whole", id="infinite"),
        pytest.param(lambda m: {"x": (7, 8)}, OptionError, "region=.*it holds no pixel", id="box"),
    ],
)  # fmt: skip
def test_phase_summary__refuses_regions(regions, error, message):
    phases = two(np.random.default_rng(0).random((6, 7)))
    with pytest.raises(error, match=message):
        xstxm.phase_summary(phases, regions(phases["phase_label"]))


def test_phase_summary__refuses_pixels_that_lie_nowhere_and_lags_of_something_else():
    phases = two(np.random.default_rng(0).random((6, 7)))
    with pytest.raises(MissingDimensionError, match="'position'"):
        xstxm.phase_summary(phases.stack(spot=("y", "x")).drop_vars(["spot", "y", "x"]))
    for wrong, message in (
        (xr.DataArray(np.ones(3), dims="lag_y"), r"wanted \('lag_y', 'lag_x'\): see xstxm.regions.noise_correlation"),
        (xr.DataArray(np.ones((2, 3)), dims=("lag_y", "lag_x")), "'lag_y' runs over .*wanted all lags from -n to n"),
    ):
        with pytest.raises(SchemaError, match=message):
            xstxm.phase_summary(phases, noise_correlation=wrong)


# ---- errors of this field: many measurements of one truth


def measured(fractions, counts, seed, repeats=1, **options):
    """Summaries of repeated measurements of one field, along `region`: side by side in one stack."""
    od = xstxm.optical_density(counted(counts, np.tile(fractions, (1, repeats, 1)), seed=seed), noise="poisson")
    phases = xstxm.phase_map(od, references(), background="none", min_amount=-np.inf, **options)
    repeat = xr.zeros_like(phases["phase_label"], dtype=int).drop_attrs()
    repeat[:] = np.repeat(np.arange(repeats) + 1, fractions.shape[1])
    return xstxm.phase_summary(phases, repeat)


def scores(found, name, true):
    """Errors over what they are said to be (region, ...)."""
    return ((found[name].transpose("region", ...) - true) / found[f"{name}_stderr"].transpose("region", ...)).values


@pytest.mark.parametrize(
    ("sharpness", "counts", "covariance"), [(4.0, 20_000, False), (1.5, 100_000, False), (1.5, 100_000, True)]
)
def test_stderr__of_an_area_fraction_covers_the_truth_of_the_field(sharpness, counts, covariance):
    """Ten truths, each measured twenty times. The bias of labels, in quadrature, makes the errors a little too large."""
    area = []
    for seed in range(10):
        fractions = mixed(seed, sharpness, n=48)
        found = measured(fractions, counts, seed, 20, method="lstsq", covariance=covariance)
        area.append(scores(found, "area_fraction", np.eye(5)[fractions.argmax(-1)].mean((0, 1))))
    assert 0.93 <= (np.abs(area) < 1.96).mean() <= 0.985
    assert 0.88 < np.std(area) < 1.1


def area_scores(truth, od, references, **options):
    """Area fraction minus that of the truth (y, x, phase), over what its error is said to be, of phases that cover 1 %."""
    phases = xstxm.phase_map(od, references, **options)
    found = xstxm.phase_summary(phases)
    sample = (phases["phase_label"] != NO_SAMPLE).values
    share = np.eye(truth.shape[-1])[truth[sample].argmax(-1)].mean(0)
    off = found["area_fraction"].values - share
    return (off / found["area_fraction_stderr"].values)[share > 0.01]


@pytest.mark.parametrize("counts", [2000, 10_000, 50_000])
def test_stderr__of_an_area_fraction_covers_the_truth_of_simulated_particles(counts):
    """Amounts that are not allowed below zero favour some phases: sixteen truths, each measured once."""
    references, found = xstxm.testing.simulate_references(), []
    for seed in range(16):
        stack = xstxm.testing.simulate_stack(psf="0 nm", counts=counts, seed=seed)
        truth = stack["true_thickness"].transpose("y", "x", "reference").values
        od = xstxm.optical_density(stack, stack["true_i0"].rename("i0"))
        found.append(area_scores(truth, od, references, min_amount=56))
    found = np.concatenate(found)
    assert (np.abs(found) < 1.96).mean() >= 0.88
    assert 0.6 < np.sqrt((found**2).mean()) < 1.2


@pytest.mark.parametrize("counts", [1000, 10_000, 100_000])
@pytest.mark.parametrize("covariance", [False, True])
def test_stderr__of_an_area_fraction_covers_the_truth_where_pixels_are_much_alike(counts, covariance):
    """Up to two thirds of the labels are wrong; the wrong ones do not cancel."""
    found = []
    for concentration in (8.0, 4.0, 2.0, 1.0):
        truth = mixtures(64, 1, concentration)
        for seed in range(3):
            od = xstxm.optical_density(counted(counts, truth, seed=seed))
            options = {"min_amount": -np.inf, "covariance": covariance}
            found.append(area_scores(truth, od, references(), **options))
    assert (np.abs(found) < 1.96).mean() >= 0.92


@pytest.mark.parametrize("counts", [20_000, 100_000])
def test_stderr__of_a_mean_covers_the_truth_of_the_field(counts):
    """One truth, measured a thousand times."""
    fractions = mixed(0, 1.5, n=12)
    found = measured(fractions, counts, counts, 1000, method="lstsq")
    for name, true in (("mean_fraction", fractions.mean((0, 1))), ("sample_composition", (fractions @ X).mean())):
        off = scores(found, name, true)
        assert 0.93 <= (np.abs(off) < 1.96).mean() <= 0.97
        assert 0.94 < np.std(off) < 1.06
    assert float(found["mean_fraction_bias"].max()) == 0


def test_bias__of_the_constraint_is_within_what_is_said():
    """Where fractions are zero the constraint makes others too small; the noise alone would not say so."""
    pure = np.zeros((32, 32, 5))
    pure[:, :16, 0] = pure[:, 16:, 2] = 1
    true = pure.mean((0, 1))
    nnls = measured(pure, 5000, 0).isel(region=0)
    off = np.abs(nnls["mean_fraction"].values - true)
    assert (off > 4 * nnls["mean_fraction_stderr"].values).any()
    assert (off < nnls["mean_fraction_bias"] + 2 * nnls["mean_fraction_stderr"]).all()
    within = nnls["sample_composition_bias"] + 2 * nnls["sample_composition_stderr"]
    assert abs(float(nnls["sample_composition"]) - (true @ X)) < float(within)
    free = measured(pure, 5000, 0, method="lstsq").isel(region=0)
    assert (np.abs(free["mean_fraction"].values - true) < 4 * free["mean_fraction_stderr"].values).all()


def test_bias__of_wrong_labels_is_estimated():
    """A field whose pixels are much alike: labels are wrong one way, and the estimate makes up for most of it."""
    fractions = mixed(1, 0.5, n=64)
    true = np.eye(5)[fractions.argmax(-1)].mean((0, 1))
    found = measured(fractions, 30_000, 0, 4, covariance=True).transpose("region", ...)
    off = (found["area_fraction"] - true).mean("region")
    left = (found["area_fraction"] - found["area_fraction_bias"] - true).mean("region")
    assert np.linalg.norm(off) > 2.5 * np.linalg.norm(left)


def test_bias__of_an_area_fraction_is_what_bounds_at_zero_bring_about():
    """Two of five phases, in mixtures that vary slowly; where these two are equal the absent ones decide the label."""
    share = np.clip(0.5 + 0.1 * waves(np.random.default_rng(3), 1, (64, 64), 5)[0], 0, 1)
    truth = np.stack([share, 0 * share, 1 - share, 0 * share, 0 * share], -1)
    true = np.array([(share > 0.5).mean(), 0, (share <= 0.5).mean(), 0, 0])
    bound, free = (measured(truth, 5000, 0, 10, method=method).mean("region") for method in ("nnls", "lstsq"))
    off = bound["area_fraction"].values - true
    assert np.abs(off).max() > 2 * np.abs(free["area_fraction"].values - true).max()
    np.testing.assert_allclose(bound["area_fraction_bias"], off, atol=0.4 * np.abs(off).max())


# ---- noise that neighbours share


def noise_lags(correlation):
    sizes = zip(("lag_y", "lag_x"), correlation.shape, strict=True)
    return xr.DataArray(correlation, dims=("lag_y", "lag_x"), coords={lag: np.arange(n) - n // 2 for lag, n in sizes})


def smooth_noise(rng, number, shape, width):
    """White noise (number, y, x) smoothed by a Gaussian, of unit variance."""
    from scipy.ndimage import gaussian_filter

    wide = rng.normal(size=(number, *(size + 16 for size in shape)))
    kernel = gaussian_filter(np.pad([[1.0]], 8), width)
    return gaussian_filter(wide, (0, width, width))[:, 8:-8, 8:-8] / np.sqrt((kernel**2).sum())


def test_noise_correlation__is_that_of_the_kernel_that_smoothed():
    rng = np.random.default_rng(0)
    noise = smooth_noise(rng, 40, (40, 50), 1.2)
    energy = ("energy", np.arange(40.0), {"units": "eV"})
    left = xr.DataArray(noise, dims=("energy", "y", "x"), coords={"energy": energy}, name="residual")
    found = xstxm.regions.noise_correlation(left, max_lag=4)
    assert found.dims == ("lag_y", "lag_x")
    square = found["lag_y"] ** 2 + found["lag_x"] ** 2
    np.testing.assert_allclose(found, np.exp(-square / (4 * 1.2**2)), atol=0.04)
    mask = xr.DataArray(np.arange(50) < 30, dims="x").broadcast_like(left[0])
    np.testing.assert_allclose(xstxm.regions.noise_correlation(left, mask, max_lag=4), found, atol=0.04)
    with raise_if_dask_computes():
        lazy = xstxm.regions.noise_correlation(left.chunk(energy=10, y=20), max_lag=4)
    np.testing.assert_allclose(lazy.compute(), found)


def test_noise_correlation__warns_where_it_goes_on():
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(8, 60, 70)), (0, 3, 3))
    left = xr.DataArray(
        noise, dims=("energy", "y", "x"), coords={"energy": ("energy", np.arange(8.0), {"units": "eV"})}
    )
    with pytest.warns(NoiseWarning, match="pixels 2 apart is still correlated, by 0"):
        xstxm.regions.noise_correlation(left, max_lag=2)
    one = xr.zeros_like(left[0], dtype=bool).drop_vars("energy")
    one[4, 5] = True
    with pytest.raises(OptionError, match="max_lag=2: the pixels hold no two at every lag"):
        xstxm.regions.noise_correlation(left, one, max_lag=2)


def test_noise_correlation__refuses():
    left = xr.DataArray(
        np.zeros((3, 4, 5)), dims=("energy", "y", "x"), coords={"energy": ("energy", [1.0, 2, 3], {"units": "eV"})}
    )
    with pytest.raises(OptionError, match="max_lag=4: give a whole number from 0 to 3"):
        xstxm.regions.noise_correlation(left, max_lag=4)
    with pytest.raises(MissingDimensionError, match="correlated along pixels in space"):
        xstxm.regions.noise_correlation(left.isel(y=0, x=0))
    with pytest.raises(MissingDimensionError, match="energy"):
        xstxm.regions.noise_correlation(left[0])


@pytest.mark.parametrize("width", [0.8, 1.5])
def test_stderr__of_smoothed_noise_is_its_scatter_where_that_of_independent_pixels_is_not(width):
    rng = np.random.default_rng(1)
    shape, number, size = (30, 40), 600, 0.04
    mask = np.add.outer((np.arange(30) - 15.0) ** 2, (np.arange(40) - 20.0) ** 2) < 14**2
    noise = smooth_noise(rng, number, shape, width)
    smooth = 0.5 + 0.12 * waves(rng, 1, shape, 6)[0]
    drawn = smooth + size * noise
    true = smooth[mask].mean(), (smooth[mask] > 0.5).mean()
    from scipy.special import ndtr

    phases = two(drawn[0], stderr=size, confidence=ndtr(np.abs(drawn[0] - 0.5) / size))
    square = np.add.outer((np.arange(13) - 6.0) ** 2, (np.arange(13) - 6.0) ** 2)
    lags = noise_lags(np.exp(-square / (4 * width**2)))
    region = xr.DataArray(mask, dims=("y", "x"))
    right, plain = xstxm.phase_summary(phases, region, noise_correlation=lags), xstxm.phase_summary(phases, region)
    scatter = drawn[:, mask].mean(1).std()
    assert float(right["mean_fraction_stderr"][0]) == pytest.approx(scatter, rel=0.08)
    assert float(plain["mean_fraction_stderr"][0]) < 0.55 * scatter
    wrong = np.sqrt((((drawn[:, mask] > 0.5).mean(1) - true[1]) ** 2).mean())
    assert float(right["area_fraction_stderr"][0]) == pytest.approx(wrong, rel=0.25)
    assert float(plain["area_fraction_stderr"][0]) < 0.75 * wrong


def test_noise_correlation__of_a_fit_is_that_of_the_amounts():
    """From counts: frames smoothed after the noise, fitted, and the scatter of the mean over repeated measurements."""
    from scipy.ndimage import gaussian_filter

    fractions, means = np.full((24, 24, 5), 0.2), []
    for repeat in range(80):
        stack = counted(40_000, fractions, seed=repeat)
        smoothed = stack["intensity"].copy(
            data=gaussian_filter(stack["intensity"].values.astype(float), (0, 1, 1), mode="wrap")
        )
        od = xstxm.optical_density(stack.assign(intensity=smoothed))
        means.append(xstxm.fit(od, references(), background="none", method="lstsq")["component_map"].sum("reference"))
    fit = xstxm.fit(od, references(), background="none", method="lstsq")
    lags = xstxm.regions.noise_correlation(xstxm.residual(od, fit), max_lag=5)
    amount = xr.concat(means, "repeat")
    phases = two(np.full((24, 24), 0.5), stderr=amount.std("repeat").values)
    region = {"y": (0.2, 0.8), "x": (0.2, 0.9)}
    found = xstxm.phase_summary(phases, region, noise_correlation=lags)
    inside = xstxm.roi.region_mask(phases["phase_label"], region).values
    scatter = amount.values[:, inside].mean(1).std()
    assert float(found["mean_fraction_stderr"][0]) == pytest.approx(scatter, rel=0.2)
    assert float(xstxm.phase_summary(phases, region)["mean_fraction_stderr"][0]) < 0.45 * scatter


# ---- errors of the material: many fields of one statistic


@pytest.mark.parametrize("kind", ["gaussian", "exponential"])
@pytest.mark.parametrize(("length", "threshold"), [(1.5, 0.0), (4.0, 0.0), (4.0, 1.0)])
def test_sampling_stderr__is_the_scatter_over_fields(kind, length, threshold):
    rng = np.random.default_rng(0)
    disc = np.add.outer((np.arange(64) - 32.0) ** 2, (np.arange(80) - 36.0) ** 2) < 30**2
    batches = [waves(rng, 100, disc.shape, length, kind) for _ in range(12)]
    some = batches[0][:40]
    phases = two(np.where(some > threshold, 0.9, 0.1), composition=some, dims=("field", "y", "x"))
    for inside in (np.ones_like(disc), disc):
        region = xr.DataArray(inside, dims=("y", "x"))
        found = xstxm.phase_summary(phases, region).isel(phase=0)  # of each field
        share = np.concatenate([(fields > threshold)[:, inside].mean(1) for fields in batches]).std()
        raw = np.concatenate([fields[:, inside].mean(1) for fields in batches]).std()
        for name, scatter in (("area_fraction", share), ("mean_fraction", 0.8 * share), ("sample_composition", raw)):
            assert np.mean(found[f"{name}_sampling_stderr"].values) == pytest.approx(scatter, rel=0.16)
        # of independent pixels the error would be far smaller
        assert np.mean(found["n_independent"].values) < 0.35 * inside.sum()


def test_sampling_stderr__knows_that_particles_are_few():
    """Every particle is one phase throughout: what counts is their number, not that of their pixels."""
    pure = np.random.default_rng(0).random((200, 8, 10)) < 0.3
    kind = np.kron(pure, np.ones((7, 7))) > 0
    mask = np.kron(np.ones((8, 10)), np.pad(np.ones((5, 5)), 1)) > 0
    label = np.where(mask, 0, NO_SAMPLE) + np.zeros((200, 1, 1), int)
    phases = two(np.where(kind, 0.9, 0.1), label=label, dims=("field", "y", "x"))
    found = xstxm.phase_summary(phases)["area_fraction_sampling_stderr"][0]
    assert float(found.mean()) == pytest.approx(kind[:, mask].mean(1).std(), rel=0.17)


def test_sampling_stderr__of_a_region_that_is_too_small_is_not_known():
    field = waves(np.random.default_rng(0), 1, (30, 30), 12)[0]
    found = xstxm.phase_summary(two(0.5 + 0.1 * field))
    assert np.isnan(found["mean_fraction_sampling_stderr"]).all()
    assert np.isfinite(found["mean_fraction_stderr"]).all()


def test_sampling_stderr__does_not_depend_on_what_is_called_y():
    field = 0.5 + 0.1 * waves(np.random.default_rng(0), 1, (60, 40), 3)[0]
    one = xstxm.phase_summary(two(field))
    other = xstxm.phase_summary(two(field.T))
    np.testing.assert_allclose(one["mean_fraction_sampling_stderr"], other["mean_fraction_sampling_stderr"])


def test_region_means__of_pairs_equal_a_loop():
    rng = np.random.default_rng(0)
    value, error = rng.normal(size=(7, 9)), rng.uniform(1, 2, (7, 9))
    value[2, 3] = np.nan
    correlation = np.array([[0.1, 0.3, 0.1], [0.4, 1, 0.4], [0.1, 0.3, 0.1]])
    group = np.ones((7, 9), dtype=np.int32)
    group[:, 6:] = 0
    mean, stderr, *_ = region_means.region_means(
        value, error, group, n_groups=1, step=(1.0, 1.0), correlation=correlation
    )
    inside = np.argwhere((group == 1) & np.isfinite(value))
    square = 0.0
    for p in inside:
        for q in inside:
            if np.abs(q - p).max() <= 1:
                square += correlation[tuple(q - p + 1)] * error[tuple(p)] * error[tuple(q)]
    assert float(mean[0]) == pytest.approx(np.mean([value[tuple(p)] for p in inside]))
    assert float(stderr[0]) == pytest.approx(np.sqrt(square) / len(inside))


@pytest.mark.parametrize(("shape", "step"), [((7, 9), (1.0, 0.5)), ((11,), (2.0,)), ((4, 3, 5), (1.0, 1.0, 2.0))])
@pytest.mark.parametrize("room", [40, 2**20])
def test_radial_sums__of_pairs_equal_a_loop(shape, step, room, monkeypatch):
    monkeypatch.setattr(region_means, "_ROOM", room)
    rng = np.random.default_rng(1)
    weight = (rng.uniform(size=shape) < 0.7).astype(float)
    deviation = np.where(weight > 0, rng.normal(size=shape), 0)
    sums, pairs = region_means.radial_sums(deviation, weight, step)
    wanted = np.zeros((2, len(sums)))
    for p in np.ndindex(shape):
        for q in np.ndindex(shape):
            away = int(np.rint(np.linalg.norm((np.array(p) - q) * step) / min(step)))
            wanted[:, away] += deviation[p] * deviation[q], weight[p] * weight[q]
    np.testing.assert_allclose([sums, pairs], wanted, atol=1e-12)


def test_radial_sums__of_a_large_field_hold_two_of_its_transforms(monkeypatch):
    monkeypatch.setattr(region_means, "_ROOM", 2**12)
    field = np.ones((300, 400))
    tracemalloc.start()
    region_means.radial_sums(field, field, (1.0, 1.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * 8 * np.prod(region_means.pair_shape(field.shape))


@pytest.mark.parametrize("large", [False, True])
def test_phase_summary__of_large_images_works_on_one_after_another(large, monkeypatch):
    monkeypatch.setattr("xstxm.regions._LARGE", 1 if large else 10**9)
    held, most = [], []
    means = region_means.region_means

    def watched(*fields, **options):
        held.append(1)
        most.append(len(held))
        sleep(0.02)
        held.pop()
        return means(*fields, **options)

    monkeypatch.setattr(region_means, "region_means", watched)
    maps = map_of(mixed(0, 2.0))
    with dask.config.set(scheduler="threads", num_workers=4):
        found = xstxm.phase_summary(maps.chunk(y=8)).compute()
    assert (max(most) == 1) == large
    xr.testing.assert_allclose(found, xstxm.phase_summary(maps))


def test_phase_summary__counts_and_averages_chunk_by_chunk(simulated):
    lazy = xstxm.phase_summary(simulated.chunk(y=8, x=8))
    image = simulated["phase_label"].size
    for name in ("n_pixels", "n_sample", "undecided_fraction", "mean_fraction_bias", "amount_left_out"):
        sizes = []

        def seen(block, sizes=sizes):
            sizes.append(getattr(block, "size", 0))
            return block

        with Callback(posttask=lambda key, result, dsk, state, worker: seen(result)):
            lazy[name].compute(scheduler="synchronous", optimize_graph=False)
        assert max(sizes) < image, name


@pytest.mark.filterwarnings("error")
def test_phase_summary__of_no_sample_is_nan_without_a_warning(simulated):
    empty = simulated.assign(phase_label=xr.full_like(simulated["phase_label"], xstxm.conventions.NO_SAMPLE))
    found = xstxm.phase_summary(empty.chunk(y=8)).compute()
    assert int(found["n_sample"]) == 0
    assert np.isnan(found["area_fraction"]).all()


@pytest.mark.parametrize("kind", ["mask", "image"])
def test_phase_summary__of_regions_of_a_lazy_series_is_that_of_each(simulated, kind):
    label = simulated["phase_label"].drop_vars(list(simulated["phase_label"].coords))
    regions = xr.zeros_like(label, dtype=int)
    regions[3:20, 2:30], regions[25:40, 4:20] = 1, 2
    regions = regions > 0 if kind == "mask" else regions
    series = xr.concat([simulated, simulated.isel(y=slice(None, None, -1)).assign_coords(y=simulated["y"])], "time")
    found = xstxm.phase_summary(series.chunk(y=9, x=13), regions).compute()
    for time in range(2):
        alone = xstxm.phase_summary(series.isel(time=time), regions)
        xr.testing.assert_allclose(found.isel(time=time).drop_attrs(), alone.drop_attrs())
