from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from laziness import raise_if_dask_computes
from test_noise import ENERGY, counted, references, spectra

import xstxm
from xstxm._fit_maps import added_probabilities
from xstxm._selection import significant, step_probabilities
from xstxm.errors import ChoiceError, OptionError


def sparse(n=40, seed=0, most=3):
    """Fractions (y, x, phase) of one to three phases, none below 0.25, and an empty corner."""
    rng = np.random.default_rng(seed)
    number = rng.integers(1, most + 1, (n, n, 1))
    chosen = rng.random((n, n, 5)).argsort(-1) < number
    amounts = np.where(chosen, rng.uniform(0.25, 1, (n, n, 5)), 0)
    fractions = np.where(chosen, 0.25 + amounts, 0)
    fractions /= fractions.sum(-1, keepdims=True)
    fractions[:8, :8] = 0
    return fractions


@pytest.fixture(scope="module")
def middle():
    """A stack at a middle dose, with its truth."""
    truth = sparse()
    stack = counted(20_000, truth, seed=1, thickness=1.0).astype("float64")
    return xstxm.optical_density(stack, noise="poisson"), truth


def brute(density, variance, most, method="nnls"):
    """Chi-square of the best subset of each size, and its members, by least squares over all subsets."""
    best = {}
    root = 1 / np.sqrt(variance)
    for k in range(most + 1):
        for chosen in itertools.combinations(range(5), k):
            some, target = spectra()[list(chosen)], density
            if method == "fcls":  # the first amount is one minus the others
                if k == 0:
                    continue
                some, target = some[1:] - some[0], density - some[0]
            design = np.vstack([np.ones(ENERGY.size), some]).T * root[:, None]
            x = np.linalg.lstsq(design, target * root, rcond=None)[0]
            amounts = x[1:] if method == "nnls" else np.r_[1 - x[1:].sum(), x[1:]]
            chi2 = float(np.sum((target * root - design @ x) ** 2))
            if (amounts > 0).all() and chi2 < best.get(k, (np.inf, ()))[0]:
                best[k] = (chi2, chosen)
    return best


@pytest.mark.parametrize("method", ["nnls", "fcls"])
@pytest.mark.parametrize("noise", ["variance", "residual"])
@pytest.mark.parametrize("most", [2, 5])
def test_fit__bic_takes_the_best_of_all_subsets(middle, noise, most, method):
    od, _ = middle
    od = od.isel(y=slice(8, 13), x=slice(4, 9))
    fit = xstxm.fit(od, references(), method=method, noise=noise, selection="bic", max_references=most)
    assert fit.attrs["selection"] == "bic"
    for y, x in np.ndindex(5, 5):
        density = od["optical_density"][:, y, x].values
        variance = od["optical_density_variance"][:, y, x].values if noise == "variance" else np.ones(ENERGY.size)
        best = brute(density, variance, most, method)
        n = ENERGY.size
        cost = {k: (c if noise == "variance" else n * np.log(c)) + k * np.log(n) for k, (c, _) in best.items()}
        k = min(cost, key=cost.get)
        assert int(fit["n_active"][y, x]) == k
        found = tuple(np.flatnonzero(fit["component_map"][:, y, x].values))
        assert found == best[k][1]
        freedom = n - 1 - k + (method == "fcls")
        np.testing.assert_allclose(fit["reduced_chi2"][y, x] * freedom, best[k][0], rtol=1e-8)


def test_fit__chosen_references_have_the_errors_of_a_fit_of_these_alone(middle):
    od, _ = middle
    od = od.isel(y=slice(20, 24), x=slice(20, 24))
    for noise in ("variance", "residual"):
        fit = xstxm.fit(od, references(), noise=noise, selection="bic")
        for y, x in np.ndindex(4, 4):
            pixel = {"y": [y], "x": [x]}
            names = fit["reference"][np.flatnonzero(fit["component_map"][:, y, x])].values
            alone = xstxm.fit(od.isel(pixel), references().sel(reference=names), noise=noise, method="lstsq")
            for name in ("component_map", "component_map_stderr"):
                np.testing.assert_allclose(
                    fit[name].sel(reference=names)[:, y, x], alone[name][:, 0, 0], rtol=1e-6, err_msg=name
                )


def test_fit__bic_finds_the_number_of_phases(middle):
    od, truth = middle
    fit = xstxm.fit(od, references(), selection="bic")
    assert float((fit["n_active"] == (truth > 0).sum(-1)).mean()) > 0.9
    plain = xstxm.fit(od, references())
    assert float((plain["n_active"] == (truth > 0).sum(-1)).mean()) < 0.7


@pytest.mark.parametrize("method", ["nnls", "fcls"])
@pytest.mark.parametrize("selection", ["bic", "f-test"])
def test_fit__chooses_in_float32_as_in_float64_where_there_is_little_noise(method, selection):
    truth = sparse(32, seed=3)[8:]
    density = np.einsum("yxr,re->eyx", truth, spectra())
    density += np.random.default_rng(0).normal(0, 1e-4, density.shape)
    axes = {"energy": references()["energy"]}
    od = xr.DataArray(density, axes, dims=("energy", "y", "x"), attrs={"units": "1"})
    options = {"method": method, "selection": selection}
    exact, single = (xstxm.fit(od.astype(dtype), references(), **options) for dtype in ("float64", "float32"))
    assert single["component_map"].dtype == np.float32
    found = single["component_map"].transpose("y", "x", "reference").values > 0
    assert (found == (truth > 0)).all(-1).mean() > 0.9
    same = (single["n_active"] == exact["n_active"]).values
    assert same.mean() > 0.99
    for name in ("reduced_chi2", "component_map_stderr"):
        np.testing.assert_allclose(single[name].values[..., same], exact[name].values[..., same], rtol=0.02)


@pytest.mark.parametrize("method", ["nnls", "fcls"])
@pytest.mark.parametrize("counts", [2000, 20_000])
@pytest.mark.parametrize("noise", ["variance", "residual"])
@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_fit__f_test_keeps_the_rate_of_false_discoveries(counts, noise, rate, method):
    truth = sparse(60, seed=counts)[8:]
    if method == "nnls":
        truth[:20] = 0  # a good third of the image is empty
    stack = counted(counts, truth, seed=counts, thickness=0.9 if method == "nnls" else 1.0)
    od = xstxm.optical_density(stack, noise="poisson")
    fit = xstxm.fit(od, references(), method=method, noise=noise, selection="f-test", false_discovery_rate=rate)
    found = fit["component_map"].transpose("y", "x", "reference").values > 0
    number = (truth > 0).sum(-1)
    too_many = np.maximum(found.sum(-1) - number, 0).sum()
    discoveries = found.sum() - (number.size if method == "fcls" else 0)
    assert too_many <= 1.3 * rate * discoveries
    if counts > 10_000:
        assert (found.sum(-1) == number).mean() > 0.9


@pytest.mark.parametrize("noise", ["variance", "residual"])
def test_fit__f_test_finds_no_second_reference_in_pure_pixels(noise):
    truth = np.eye(5)[np.random.default_rng(0).integers(0, 5, (60, 60))]
    od = xstxm.optical_density(counted(2000, truth, seed=1, thickness=1.0), noise="poisson")
    fit = xstxm.fit(od, references(), method="fcls", noise=noise, selection="f-test", max_references=2)
    assert int((fit["n_active"] > 1).sum()) <= 1
    np.testing.assert_array_equal(fit["component_map"].argmax("reference"), truth.argmax(-1))


@pytest.mark.parametrize("chunks", [{}, {"y": 4}], ids=["in memory", "dask"])
def test_fit__f_test_of_one_reference_of_a_fixed_sum_has_nothing_to_test(middle, chunks):
    od, _ = middle
    od = od.isel(y=slice(8, 16), x=slice(8))
    options = {"method": "fcls", "noise": "residual", "max_references": 1}
    fit = xstxm.fit(od.chunk(chunks) if chunks else od, references(), selection="f-test", **options)
    assert (fit["n_active"] == 1).all()
    best = xstxm.fit(od, references(), selection="bic", **options)
    np.testing.assert_array_equal(fit["component_map"], best["component_map"])


@pytest.mark.parametrize("selection", ["bic", "f-test"])
def test_fit__selection_is_the_same_with_dask_and_lazy(middle, selection):
    od, _ = middle
    eager = xstxm.fit(od, references(), selection=selection)
    with raise_if_dask_computes():
        lazy = xstxm.fit(od.chunk(y=11, x=40), references(), selection=selection)
    for name, expected in eager.data_vars.items():
        np.testing.assert_array_equal(lazy[name].compute(), expected, err_msg=str(name))


def test_fit__selection_leaves_lost_pixels_lost(middle):
    od, _ = middle
    broken = od.isel(y=slice(10, 16), x=slice(10, 16)).copy(deep=True)
    broken["optical_density"][:, 2, 3] = np.nan
    for selection in ("bic", "f-test"):
        fit = xstxm.fit(broken, references(), selection=selection)
        assert np.isnan(fit["component_map"][:, 2, 3]).all()
        assert int(np.isnan(fit["component_map"]).sum()) == 5


def test_step_probabilities__are_those_of_the_tests():
    best = np.array([[200.0, 80.0, 60.0, np.inf]])
    n = np.array([60.0])
    known = step_probabilities(best, n, 4, 1, True)[0]
    expected = [0.5 * scipy.stats.chi2.sf(120, 1) * 4, 0.5 * scipy.stats.chi2.sf(20, 1) * 3, 1.0]
    np.testing.assert_allclose(known, expected, rtol=1e-9)
    unknown = step_probabilities(best, n, 4, 1, False)[0]
    expected = [
        0.5 * scipy.stats.f.sf(120 / (80 / 58), 1, 58) * 4,
        0.5 * scipy.stats.f.sf(20 / (60 / 57), 1, 57) * 3,
        1.0,
    ]
    np.testing.assert_allclose(unknown, expected, rtol=1e-9)


def test_step_probabilities__of_a_fixed_sum_start_at_the_second_reference():
    best = np.array([[np.inf, 80.0, 60.0, 59.0]])
    n = np.array([60.0])
    known = step_probabilities(best, n, 4, 1, True, fixed_sum=True)[0]
    expected = [0.5 * scipy.stats.chi2.sf(20, 1) * 3, 0.5 * scipy.stats.chi2.sf(1, 1) * 2]
    np.testing.assert_allclose(known, expected, rtol=1e-9)
    unknown = step_probabilities(best, n, 4, 1, False, fixed_sum=True)[0]
    expected = [
        0.5 * scipy.stats.f.sf(20 / (60 / 58), 1, 58) * 3,
        0.5 * scipy.stats.f.sf(1 / (59 / 57), 1, 57) * 2,
    ]
    np.testing.assert_allclose(unknown, expected, rtol=1e-9)


@pytest.mark.parametrize("method", ["nnls", "fcls"])
def test_added_probabilities__of_a_pixel_that_is_not_fitted_are_none(middle, method):
    od = middle[0]["optical_density"].isel(y=slice(10, 12), x=slice(2)).copy(deep=True)
    unknowns = 6 - (method == "fcls")
    od[unknowns:, 0, 0] = np.nan
    terms = xr.DataArray(np.ones((1, ENERGY.size)), dims=("term", "energy"))
    found = added_probabilities(od, references()["absorption"], terms, method, None, 3)
    fitted = found.notnull().values
    assert not fitted[0, 0].any()
    assert fitted.any(-1).sum() == fitted.all(-1).sum() == 3


@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_significant__is_the_procedure_of_benjamini_and_hochberg(rate):
    rng = np.random.default_rng(0)
    p = np.where(rng.random((30, 30, 2)) < 0.3, rng.uniform(0, 1e-4, (30, 30, 2)), rng.uniform(0, 1, (30, 30, 2)))
    p = np.maximum.accumulate(p, -1)
    found = significant(xr.DataArray(p, dims=("y", "x", "reference")), rate)
    below = np.sort(p.ravel())
    passing = below <= rate * np.arange(1, below.size + 1) / below.size
    threshold = below[passing].max()
    differ = int(np.abs(found.values - (p <= threshold).sum(-1)).sum())
    assert differ <= 0.003 * (p <= threshold).sum()  # the histogram is as fine as that


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"selection": "aic"}, ChoiceError, "use 'bic' or 'f-test'", id="typo"),
        pytest.param({"max_references": 2}, OptionError, "selection='bic' or 'f-test'", id="no selection"),
        pytest.param({"selection": "bic", "max_references": 9}, OptionError, "whole number from 1 to 5", id="too many"),
        pytest.param({"selection": "bic", "method": "lstsq"}, OptionError, "use method='nnls'", id="lstsq"),
        pytest.param({"selection": "f-test", "false_discovery_rate": 1.5}, OptionError, "a share above 0 and below 1", id="rate"),
        pytest.param({"false_discovery_rate": 7}, OptionError, "a share above 0 and below 1", id="rate of no test"),
        pytest.param({"max_optical_density": 0}, OptionError, "an optical density above 0", id="no density allowed"),
        pytest.param({"max_optical_density": -5}, OptionError, "an optical density above 0", id="density below zero"),
    ],
)  # fmt: skip
def test_fit__refuses_a_selection_that_makes_no_sense(middle, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.fit(middle[0], references(), **options)


def test_fit__selection_of_nothing_that_was_measured_is_nothing(middle):
    od, _ = middle
    lost = od["optical_density"].isel(y=slice(3), x=slice(3)).copy(deep=True) * np.nan
    fit = xstxm.fit(lost.assign_attrs(units="1"), references(), selection="f-test")
    assert np.isnan(fit["component_map"]).all()
    assert not fit["n_active"].any()
