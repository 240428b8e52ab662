"""The weighted fit against scipy, pixel by pixel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from xstxm._kernels import pixel_ranges
from xstxm._kernels.chunk_loops import CHUNK
from xstxm._kernels.weighted_fit import fit_weighted


def problem(n=4, n_terms=1, n_energies=40, n_pixels=60, seed=0, alike=0.0, dtype="float64"):
    """Spectra, terms, data and variances; some amounts are zero."""
    rng = np.random.default_rng(seed)
    spectra = rng.uniform(0.2, 1, (n, n_energies))
    if alike:
        spectra = spectra[:1] + alike * rng.normal(size=(n, n_energies))
    terms = np.array([np.ones(n_energies), np.linspace(-1, 1, n_energies)])[:n_terms].reshape(n_terms, n_energies)
    amounts = rng.exponential(1, (n, n_pixels)) * (rng.random((n, n_pixels)) < 0.6)
    values = spectra.T @ amounts + 0.1 + 0.05 * rng.normal(size=(n_energies, n_pixels))
    variance = 0.05**2 * rng.uniform(0.2, 5, values.shape)
    return spectra, terms, values.astype(dtype), variance.astype(dtype)


def solved(method, spectra, terms, values, variance):
    """Background, amounts and chi-square of one pixel by scipy; the free background is projected out."""
    root = 1 / np.sqrt(variance)
    design, target, free = spectra.T * root[:, None], values * root, terms.T * root[:, None]
    out = np.eye(target.size) - free @ np.linalg.pinv(free) if len(terms) else np.eye(target.size)
    left, right = out @ design, out @ target
    if method == "lstsq":
        x = np.linalg.lstsq(left, right, rcond=None)[0]
    elif method == "nnls":
        x = nnls(left, right, maxiter=1000)[0]
    else:  # with f the misfit, the lifted problem is solved by x / (1 + f)
        size = np.abs(left).max()
        lifted = np.vstack([left - right[:, None], np.full((1, left.shape[1]), size)])
        x = nnls(lifted / size, np.r_[np.zeros(right.size), 1.0], maxiter=1000)[0]
        x /= x.sum()
    background = np.linalg.lstsq(free, target - design @ x, rcond=None)[0] if len(terms) else np.zeros(0)
    return background, x, float(np.sum((target - design @ x - free @ background) ** 2))


def chi2_of(maps, terms, method="nnls"):
    """Weighted sums of squares of the residual."""
    return maps.reduced_chi2.astype(float) * (maps.n_energy - maps.n_active - len(terms) + (method == "fcls"))


@settings(max_examples=40, deadline=None)
@given(
    method=st.sampled_from(["lstsq", "nnls", "fcls"]),
    n=st.integers(1, 12),
    n_terms=st.integers(0, 2),
    alike=st.sampled_from([0.0, 0.1, 0.01, 1e-3]),
    seed=st.integers(0, 999),
)
def test_fit_weighted__is_the_optimum_of_scipy(method, n, n_terms, alike, seed):
    spectra, terms, values, variance = problem(n, n_terms, 30 + n, 5, seed, alike)
    maps = fit_weighted(values, variance, spectra, terms, method=method)
    for p in range(values.shape[1]):
        _, amounts, chi2 = solved(method, spectra, terms, values[:, p], variance[:, p])
        np.testing.assert_allclose(chi2_of(maps, terms, method)[p], chi2, rtol=1e-8)
        np.testing.assert_allclose(maps.amount[:, p], amounts, atol=1e-5 if alike else 1e-8)
        model = spectra.T @ maps.amount[:, p] + terms.T @ maps.background[:, p]
        left = values[:, p] - model
        rms, r_factor = np.sqrt(left @ left / left.size), left @ left / (values[:, p] @ values[:, p])
        np.testing.assert_allclose([maps.rms[p], maps.r_factor[p]], [rms, r_factor], rtol=1e-9)
        if method != "lstsq":
            assert (maps.amount[:, p] >= 0).all()
        if method == "fcls":
            assert maps.amount[:, p].sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fit_weighted__of_float32_has_an_objective_within_a_millionth(method):
    spectra, terms, values, variance = problem(5, 1, 61, 300, dtype="float32")
    maps = fit_weighted(values, variance, spectra, terms, method=method)
    assert maps.amount.dtype == np.float32
    for p in range(0, 300, 7):
        chi2 = solved(method, spectra, terms, values[:, p].astype(float), variance[:, p].astype(float))[2]
        left = values[:, p].astype(float) - spectra.T @ maps.amount[:, p] - terms.T @ maps.background[:, p]
        assert np.sum(left**2 / variance[:, p]) < chi2 * (1 + 1e-6)
        np.testing.assert_allclose(chi2_of(maps, terms, method)[p], chi2, rtol=2e-5)


@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fit_weighted__standard_errors_are_those_of_the_support(method):
    spectra, terms, values, variance = problem(5, 1, 40, 40)
    maps = fit_weighted(values, variance, spectra, terms, method=method, with_covariance=True)
    for p in range(40):
        design = np.vstack([terms, spectra]).T / np.sqrt(variance[:, [p]])
        for on, found in (
            (maps.amount[:, p] != 0, np.diag(maps.stderr[:, p] ** 2)),
            (np.ones(5, bool), maps.covariance[:, :, p]),
        ):
            chosen = design[:, np.r_[True, on]]
            cov = np.linalg.inv(chosen.T @ chosen)
            if method == "fcls":
                ones = np.r_[0.0, np.ones(on.sum())]
                cov = cov - np.outer(cov @ ones, cov @ ones) / (ones @ cov @ ones)
            expected = np.zeros((5, 5))
            expected[np.ix_(on, on)] = cov[1:, 1:]
            off = 1e-10 * np.abs(expected).max() + 1e-15
            if np.array_equal(found, np.diag(np.diag(found))):
                expected = np.diag(np.diag(expected))
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=off)


def test_fit_weighted__does_not_depend_on_threads_or_on_the_pixels_beside():
    spectra, terms, values, variance = problem(5, 1, 40, 6 * CHUNK + 17, dtype="float32")
    whole = fit_weighted(values, variance, spectra, terms, method="nnls", with_covariance=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixel_ranges, "RANGE", 2 * CHUNK)
        threaded = fit_weighted(values, variance, spectra, terms, method="nnls", with_covariance=True, threads=3)
    some = np.random.default_rng(0).permutation(values.shape[1])[:50]
    apart = fit_weighted(values[:, some], variance[:, some], spectra, terms, method="nnls", with_covariance=True)
    for one, other, part in zip(whole, threaded, apart, strict=True):
        np.testing.assert_array_equal(one, other)
        if one.size:
            np.testing.assert_array_equal(one[..., some], part)


def test_fit_weighted__leaves_out_what_cannot_be_used_and_no_more():
    spectra, terms, values, variance = problem(3, 1, 30, 8)
    broken, doubtful = values.copy(), variance.copy()
    broken[3, 0], broken[4, 1], broken[:, 7] = np.nan, np.inf, np.nan
    doubtful[5, 0], doubtful[6, 2], doubtful[7, 3], doubtful[4:, 6] = 0, np.inf, -1, np.nan
    maps = fit_weighted(broken, doubtful, spectra, terms, method="nnls", with_covariance=True)
    for p in range(6):
        used = np.isfinite(broken[:, p]) & (doubtful[:, p] > 0) & np.isfinite(doubtful[:, p])
        _, amounts, chi2 = solved("nnls", spectra[:, used], terms[:, used], values[used, p], variance[used, p])
        np.testing.assert_allclose(maps.amount[:, p], amounts, atol=1e-10)
        np.testing.assert_allclose(chi2_of(maps, terms)[p], chi2, rtol=1e-9)
        assert maps.n_energy[p] == used.sum()
    for p in (6, 7):  # no more energies than unknowns, none at all
        for name in ("amount", "stderr", "background", "rms", "r_factor", "reduced_chi2", "covariance"):
            assert np.isnan(getattr(maps, name)[..., p]).all(), name
        assert maps.n_active[p] == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fit_weighted__pixels_whose_energies_do_not_tell_references_apart_are_lost_whatever_the_rounding(dtype):
    """Two references are equal at the energies that every second pixel has; equal sums leave rounding of either sign."""
    for seed in range(40):
        spectra, terms, values, variance = problem(n_pixels=8, seed=seed, dtype=dtype)
        spectra[1, :20] = spectra[0, :20]
        values[20:, ::2] = np.nan
        variance[:] = variance[:, :1]
        maps = fit_weighted(values, variance, spectra, terms, method="nnls", most=2)
        np.testing.assert_array_equal(np.isnan(maps.reduced_chi2), np.arange(8) % 2 == 0)


@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fit_weighted__pixels_without_result_leave_those_of_later_chunks_alone(method):
    spectra, terms, values, variance = problem(9, 1, 37, 2 * CHUNK, dtype="float32")
    values[:, 5:CHUNK:7] = np.nan
    maps = fit_weighted(values, variance, spectra, terms, method=method)
    second = fit_weighted(values[:, CHUNK:], variance[:, CHUNK:], spectra, terms, method=method)
    for found, expected in zip(maps, second, strict=True):
        np.testing.assert_array_equal(found[..., CHUNK:] if found.size else found, expected)


NO_END = """
import numpy as np
from test_weighted_fit import problem
from xstxm._kernels import weighted_block, weighted_fit

def never(method, a, smaller_room):
    a.wrong[:] = 1

spectra, terms, values, variance = problem(4, 1, 12, 6)
options = {"method": "METHOD", "with_covariance": True}
expected = weighted_fit.fit_weighted(values, variance, spectra, terms, **options)
weighted_block.solve_block = never
found = weighted_fit.fit_weighted(values, variance, spectra, terms, **options)
for one, other in zip(expected, found, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-12)
assert (expected.amount == 0).any()
"""


@pytest.mark.parametrize("method", ["nnls", "fcls"])
def test_fit_weighted__pixels_that_find_no_end_are_solved_one_by_one(method):
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": paths}  # compiled code cannot be patched
    call = [sys.executable, "-W", "ignore", "-c", NO_END.replace("METHOD", method)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
