"""The compiled fit against scipy, numpy and the conditions of optimality."""

from __future__ import annotations

import collections
import gc
import importlib
import itertools
import os
import pkgutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from scipy.optimize import minimize, nnls

from xstxm import _kernels
from xstxm._kernels import block_fit, density, fit_plan, lanes, tiles
from xstxm._kernels.linear_fit import fit_pixels
from xstxm._kernels.pixel_ranges import RANGE, in_ranges
from xstxm._kernels.small_nnls import solve_amounts_only

compiling = pytest.mark.xdist_group("kernels")
"""What `xstxm warmup` leaves to be compiled, in one process: others would compile the same at the same time."""
BACKGROUNDS = {"none": 0, "constant": 1, "linear": 2}


def spectra(n: int, n_energies: int = 60, closeness: float = 0.0) -> np.ndarray:
    """Edges with a peak each; the peaks, and so the spectra, approach one another with closeness to 1."""
    e = np.linspace(0, 1, n_energies)
    edge = 1 / (1 + np.exp(-(e - 0.2) * 30))
    centres = 0.5 + (np.linspace(0.1, 0.95, n) - 0.5) * (1 - closeness)
    return np.array([edge + np.exp(-(((e - centre) / 0.12) ** 2)) for centre in centres])


def rss(maps) -> np.ndarray:
    """Sums of squares of the residual."""
    return maps.rms.astype(float) ** 2 * maps.n_energy


def chi2(maps, terms: int = 0, method: str = "nnls") -> np.ndarray:
    """The same, weighted."""
    return maps.reduced_chi2.astype(float) * (maps.n_energy - maps.n_active - terms + (method == "fcls"))


def background(terms: int, n_energies: int) -> np.ndarray:
    return np.array([np.ones(n_energies), np.linspace(-1, 1, n_energies)])[:terms]


def mixtures(a: np.ndarray, b: np.ndarray, n_pixels: int, *, noise: float = 0.02, seed: int = 0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.exponential(0.3, (len(a), n_pixels)) * (rng.random((len(a), n_pixels)) < 0.5)
    od = a.T @ x + b.T @ rng.normal(0, 0.1, (len(b), n_pixels)) + rng.normal(0, noise, (a.shape[1], n_pixels))
    return od.astype(dtype)


def without_background(b: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """Project background terms out of arrays with energy first."""
    q = np.linalg.qr(b.T)[0]
    return [array - q @ (q.T @ array) for array in arrays]


def objective(a: np.ndarray, x: np.ndarray, od: np.ndarray) -> float:
    return float(((od - a @ x) ** 2).sum())


CASES = [
    pytest.param(n, closeness, id=f"{n} references, {word}")
    for n, (closeness, word) in itertools.product(
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16), ((0.0, "distinct"), (0.7, "close"), (0.95, "near-collinear"))
    )
]


@pytest.mark.parametrize(("n_pixels", "calls"), [(0, 1), (RANGE, 1), (RANGE + 1, 2), (9 * RANGE, 4)])
def test_ranges__are_taken_once_each_by_no_more_threads_than_there_are(n_pixels, calls):
    taken, works = [], []

    def work(ranges):
        works.append(threading.get_ident())
        taken.extend(ranges)

    in_ranges(work, n_pixels, threads=4)
    assert len(works) == calls
    assert (works == [threading.get_ident()]) == (calls == 1)
    assert sorted(part.start for part in taken) == [*range(0, n_pixels, RANGE)]
    assert sum(part.stop - part.start for part in taken) == n_pixels


@compiling
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "closeness"), CASES)
def test_nnls__reaches_the_objective_of_scipy(n, closeness, dtype):
    a, b = spectra(n, closeness=closeness), background(1, 60)
    od = mixtures(a, b, 120, dtype=dtype)
    maps = fit_pixels(od, a, b, method="nnls")
    assert (maps.amount >= 0).all()
    design, data = without_background(b, a.T, od.astype(float))
    for p in range(0, 120, 3):
        best = nnls(design, data[:, p], maxiter=2000)[1] ** 2
        reached = objective(design, maps.amount[:, p].astype(float), data[:, p])
        assert reached <= best * (1 + (1e-9 if dtype == np.float64 else 1e-4)) + 1e-12
        assert rss(maps)[p] == pytest.approx(best, rel=1e-9 if dtype == np.float64 else 1e-4)


@compiling
@pytest.mark.parametrize("condition", [10, 100, 1e3, 1e4])
@pytest.mark.parametrize("n", [5, 8, 10, 12, 16])
def test_nnls__is_exact_where_references_resemble_each_other(n, condition):
    """A pivot in float32 without tolerance went round in circles here, and ended 57 % above the optimum."""
    rng = np.random.default_rng(n)
    q, r = np.linalg.qr(rng.normal(size=(60, n))), np.linalg.qr(rng.normal(size=(n, n)))[0]
    a = (q[0] * np.geomspace(1, 1 / condition, n) @ r).T
    od = mixtures(a, np.zeros((0, 60)), 150, dtype=np.float32)
    maps = fit_pixels(od, a, np.zeros((0, 60)), method="nnls")
    for p in range(150):
        best = nnls(a.T, od[:, p].astype(float), maxiter=5000)[1] ** 2
        reached = objective(a.T, maps.amount[:, p].astype(float), od[:, p].astype(float))
        assert reached <= best * (1 + 1e-8) + 1e-12
        assert rss(maps)[p] == pytest.approx(best, rel=1e-5)


@compiling
@pytest.mark.parametrize("method", ["nnls", "fcls", "lstsq"])
def test_sixty_references__can_be_fitted(method):
    rng = np.random.default_rng(0)
    a = rng.random((60, 130))
    od = mixtures(a, np.zeros((0, 130)), 20)
    maps = fit_pixels(od, a, np.zeros((0, 130)), method=method)
    assert np.isfinite(maps.amount).all()
    if method == "nnls":
        best = [nnls(a.T, spectrum, maxiter=5000)[1] ** 2 for spectrum in od.T]
        np.testing.assert_allclose(rss(maps), best, rtol=1e-8)


def simplex_by_enumeration(design: np.ndarray, od: np.ndarray) -> float:
    """Return the smallest objective over all supports, each solved with the sum fixed to one."""
    best, n = np.inf, design.shape[1]
    for size in range(1, n + 1):
        for on in map(list, itertools.combinations(range(n), size)):
            first, rest = design[:, on[0]], design[:, on[1:]] - design[:, [on[0]]]
            y = np.linalg.lstsq(rest, od - first, rcond=None)[0] if size > 1 else np.zeros(0)
            x = np.array([1 - y.sum(), *y])
            if (x >= -1e-12).all():
                best = min(best, objective(design[:, on], x, od))
    return best


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("closeness", [0.0, 0.9])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_fcls__is_the_best_of_all_supports(n, closeness, dtype):
    a, b = spectra(n, closeness=closeness), background(1, 60)
    od = mixtures(a, b, 40, dtype=dtype)
    maps = fit_pixels(od, a, b, method="fcls")
    assert (maps.amount >= 0).all()
    assert maps.amount.sum(0) == pytest.approx(1, abs=1e-11 if dtype == np.float64 else 1e-6)
    design, data = without_background(b, a.T, od.astype(float))
    for p in range(0, 40, 8 if n == 9 else 1):
        best = simplex_by_enumeration(design, data[:, p])
        assert rss(maps)[p] == pytest.approx(best, rel=1e-9 if dtype == np.float64 else 1e-4)


def test_fcls__agrees_with_a_general_optimiser():
    a = spectra(4)
    od = mixtures(a, np.zeros((0, 60)), 6)
    maps = fit_pixels(od, a, np.zeros((0, 60)), method="fcls")
    for p in range(6):
        found = minimize(
            lambda x, p=p: objective(a.T, x, od[:, p]),
            np.full(4, 0.25),
            jac=lambda x, p=p: 2 * a @ (a.T @ x - od[:, p]),
            bounds=[(0, None)] * 4,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        assert rss(maps)[p] <= found.fun * (1 + 1e-9)
        assert maps.amount[:, p] == pytest.approx(found.x, abs=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("terms", [0, 1, 2])
def test_lstsq__agrees_with_numpy(terms, dtype):
    a, b = spectra(4), background(terms, 60)
    od = mixtures(a, b, 50, dtype=dtype)
    maps = fit_pixels(od, a, b, method="lstsq", with_covariance=True)
    design = np.concatenate([b, a]).T
    expected = np.linalg.lstsq(design, od.astype(float), rcond=None)[0]
    tolerance = 1e-10 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(maps.background, expected[:terms], atol=tolerance)
    np.testing.assert_allclose(maps.amount, expected[terms:], atol=tolerance)
    rss = ((od - design @ expected) ** 2).sum(0)
    unit = np.linalg.inv(design.T @ design)[terms:, terms:]
    covariance = unit[..., None] * rss / (60 - 4 - terms)
    np.testing.assert_allclose(maps.covariance, covariance, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(maps.stderr, np.sqrt(np.einsum("iip->ip", covariance)), rtol=1e-4)


@pytest.mark.parametrize("method", ["nnls", "fcls"])
@pytest.mark.parametrize("n", [4, 10])
def test_stderr__is_that_of_the_active_references(n, method):
    a, b = spectra(n), background(1, 60)
    od = mixtures(a, b, 60)
    maps = fit_pixels(od, a, b, method=method)
    for p in range(60):
        on = np.flatnonzero(maps.amount[:, p] > 0)
        assert maps.n_active[p] == on.size
        free = on.size + 1 - (method == "fcls")
        if method == "fcls":
            steps = a[on[1:]] - a[on[0]]
            inverse = np.linalg.inv(np.concatenate([b, steps]) @ np.concatenate([b, steps]).T)[1:, 1:]
            to_amounts = np.vstack([-np.ones(on.size - 1), np.eye(on.size - 1)])
            unit = to_amounts @ inverse @ to_amounts.T
        else:
            design = np.concatenate([b, a[on]])
            unit = np.linalg.inv(design @ design.T)[1:, 1:]
        expected = np.zeros(n)
        expected[on] = np.sqrt(np.diag(unit) * rss(maps)[p] / (60 - free))
        np.testing.assert_allclose(maps.stderr[:, p], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_stderr__matches_the_spread_over_repeated_noise(method):
    a, b = spectra(3, closeness=0.5), background(1, 60)
    amounts = np.array([0.2, 0.5, 0.3])
    rng = np.random.default_rng(3)
    od = (amounts @ a + 0.1)[:, None] + rng.normal(0, 0.01, (60, 4000))
    maps = fit_pixels(od, a, b, method=method)
    assert (maps.n_active == 3).mean() > 0.99
    np.testing.assert_allclose(maps.amount.std(1), np.sqrt((maps.stderr**2).mean(1)), rtol=0.05)
    np.testing.assert_allclose(maps.amount.mean(1), amounts, atol=5 * maps.stderr.mean() / np.sqrt(4000) * 2)


@pytest.mark.parametrize("terms", [0, 1, 2])
@pytest.mark.parametrize("n", [3, 8, 11])
def test_nnls__meets_the_conditions_of_optimality(n, terms):
    a, b = spectra(n, closeness=0.6), background(terms, 60)
    od = mixtures(a, b, 200, seed=4)
    maps = fit_pixels(od, a, b, method="nnls")
    rest = od - a.T @ maps.amount - b.T @ maps.background
    gradient = a @ rest
    scale = np.linalg.norm(od, axis=0) * np.linalg.norm(a, axis=1)[:, None]
    assert (gradient <= 1e-9 * scale).all()
    assert (np.abs(gradient[maps.amount > 0]) <= 1e-9 * scale[maps.amount > 0]).all()
    assert np.abs(b @ rest).max(initial=0) < 1e-9
    np.testing.assert_allclose(rss(maps), (rest**2).sum(0), rtol=1e-9)
    np.testing.assert_allclose(rss(maps) / maps.r_factor, (od**2).sum(0), rtol=1e-12)


@pytest.mark.parametrize("method", ["nnls", "fcls"])
def test_tables__agree_with_the_solver_that_needs_none(method, monkeypatch):
    a, b = spectra(6, closeness=0.5), background(1, 60)
    od = mixtures(a, b, 300)
    with_tables = fit_pixels(od, a, b, method=method)
    monkeypatch.setattr(fit_plan, "MAX_TABLE", 0)
    fit_plan._plan.cache_clear()
    without = fit_pixels(od, a, b, method=method)
    fit_plan._plan.cache_clear()
    for one, other in zip(with_tables, without, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


SINGLY = """
import numpy as np
from test_kernels import background, mixtures, spectra
from xstxm._kernels import block_fit
from xstxm._kernels.linear_fit import fit_pixels

def never(method, a, small):
    a.wrong[:] = 1

a, b = spectra(13, 20), background(1, 20)
od = mixtures(a, b, 5)
expected = fit_pixels(od, a, b, method="METHOD")
block_fit.solve_block = never
found = fit_pixels(od, a, b, method="METHOD")
for one, other in zip(expected, found, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
assert (expected.amount == 0).any()
"""


@pytest.mark.parametrize("method", ["nnls", "fcls"])
def test_pixels_that_find_no_end__are_solved_one_by_one(method):
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": paths}  # compiled code cannot be patched
    call = [sys.executable, "-W", "ignore", "-c", SINGLY.replace("METHOD", method)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kernels__compiled_by_two_processes_at_once_do_not_mix(tmp_path):
    """Of float32 and float64, into one empty folder; then both are read back by a third process."""
    a, b = spectra(3), background(1, 60)
    od = mixtures(a, b, 300)
    np.savez(tmp_path / "case.npz", a=a, b=b, od=od)
    code = """
import sys
import numpy as np
from xstxm._kernels.linear_fit import fit_pixels
case = np.load("case.npz")
for dtype in sys.argv[2:]:
    maps = fit_pixels(case["od"].astype(dtype), case["a"], case["b"], method="lstsq")
    np.save(f"{sys.argv[1]} {dtype}.npy", [*maps.amount, maps.rms])
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(*arguments):
        return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment)

    both = [start("first", "float32"), start("first", "float64")]
    assert [process.wait() for process in both] == [0, 0]
    assert start("second", "float32", "float64").wait() == 0
    for time in ("first", "second"):
        for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-12)):
            maps = fit_pixels(od.astype(dtype), a, b, method="lstsq")
            expected = [*maps.amount, maps.rms]
            found = np.load(tmp_path / f"{time} {dtype}.npy")
            assert found.dtype == dtype
            np.testing.assert_allclose(found, expected, atol=tolerance)


def test_kernels__have_names_of_their_own():
    """Code of one name that two processes cached is told apart by a number that both count from one: it gets mixed up."""
    for module in pkgutil.iter_modules(_kernels.__path__):
        importlib.import_module(f"xstxm._kernels.{module.name}")
    for how, weighted, counts in itertools.product(("free", "tables", "exchange"), (False, True), ("", "f", "d")):
        block_fit._range_fitter(how, weighted, counts)
    for char, noisy in itertools.product("fd", (False, True)):
        density._filler(char, noisy)
    gc.unfreeze()  # what is frozen is not listed
    compiled = [
        item for item in gc.get_objects() if issubclass(type(item), Dispatcher) and "xstxm" in item.py_func.__module__
    ]
    gc.freeze()
    names = collections.Counter((item.py_func.__module__, item.py_func.__qualname__) for item in compiled)
    assert len(names) > 100
    assert [name for name, number in names.items() if number > 1] == []
    for item in compiled:  # or its code on disk would never be found again
        held = [cell.cell_contents for cell in item.py_func.__closure__ or ()]
        assert isinstance(item._cache, NullCache) or not any(isinstance(what, Dispatcher) for what in held), item


WEIGHTED = [
    pytest.param(method, n, dtype, id=f"{method}, {n} references, {dtype.__name__}")
    for method in ("lstsq", "nnls", "fcls")
    for n, dtype in ((3, np.float64), (5, np.float32), (9, np.float64), (13, np.float64))
]


@compiling
@pytest.mark.parametrize(("method", "n", "dtype"), WEIGHTED)
def test_weights__equal_a_fit_of_scaled_data(method, n, dtype):
    a, b = spectra(n), background(1, 60)
    od = mixtures(a, b, 90, dtype=dtype)
    od[4, ::7] = np.nan
    weights = np.random.default_rng(1).uniform(0.1, 9, 60)
    root = np.sqrt(weights)
    maps = fit_pixels(od, a, b, method=method, weights=weights, with_covariance=True)
    scaled = fit_pixels(od.astype(float) * root[:, None], a * root, b * root, method=method, with_covariance=True)
    near = {"rtol": 1e-7, "atol": 1e-9} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-4}
    for name in ("amount", "stderr", "background", "reduced_chi2", "n_energy", "n_active", "covariance"):
        np.testing.assert_allclose(getattr(maps, name), getattr(scaled, name), **near, err_msg=name)
    rest = od - a.T @ maps.amount - b.T @ maps.background
    near = {"rtol": 1e-9 if dtype == np.float64 else 1e-3}
    np.testing.assert_allclose(rss(maps), np.nansum(rest**2, axis=0), **near)
    np.testing.assert_allclose(chi2(maps, 1, method), np.nansum(weights[:, None] * rest**2, axis=0), **near)
    np.testing.assert_allclose(rss(maps) / maps.r_factor, np.nansum(od**2, axis=0), rtol=1e-5)


def test_weights__reach_the_objective_of_scipy():
    a, weights = spectra(6, closeness=0.5), np.random.default_rng(2).uniform(0.1, 9, 60)
    od = mixtures(a, np.zeros((0, 60)), 60)
    maps = fit_pixels(od, a, np.zeros((0, 60)), method="nnls", weights=weights)
    root = np.sqrt(weights)
    best = [nnls((a * root).T, spectrum * root)[1] ** 2 for spectrum in od.T]
    np.testing.assert_allclose(chi2(maps), best, rtol=1e-9)


def test_weights_that_are_one__change_nothing():
    a, b = spectra(4), background(1, 60)
    od = mixtures(a, b, 300)
    od[3, 5] = np.nan
    plain, weighted = (fit_pixels(od, a, b, method="nnls", weights=w) for w in (None, np.ones(60)))
    for one, other in zip(plain, weighted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@compiling
@pytest.mark.parametrize("n", [3, 13])
def test_known_noise__gives_the_spread_over_repeated_noise(n):
    a, b = np.random.default_rng(1).random((n, 60)), background(1, 60)
    sigma = np.linspace(0.001, 0.01, 60)
    od = (np.full(n, 2.0) @ a)[:, None] + np.random.default_rng(0).normal(size=(60, 4000)) * sigma[:, None]
    od[0, 0] = np.nan
    maps = fit_pixels(od, a, b, method="nnls", weights=sigma**-2, known_noise=True, with_covariance=True)
    assert (maps.n_active == n).all()
    design = np.concatenate([b, a]) / sigma
    for p, some in ((0, design[:, 1:]), (1, design)):
        exact = np.linalg.inv(some @ some.T)[1:, 1:]
        np.testing.assert_allclose(maps.covariance[:, :, p], exact, rtol=1e-5)
        np.testing.assert_allclose(maps.stderr[:, p], np.sqrt(np.diag(exact)), rtol=1e-6)
    assert np.ptp(maps.stderr[:, 1:], axis=1).max() < 1e-15
    np.testing.assert_allclose(maps.amount.std(1), maps.stderr[:, 1], rtol=0.05)
    assert chi2(maps, 1).mean() == pytest.approx(60 - n - 1, rel=0.02)


@pytest.mark.parametrize("wrong", [0, -1, np.nan, np.inf])
def test_weights__are_positive(wrong):
    weights = np.ones(60)
    weights[7] = wrong
    with pytest.raises(ValueError, match="positive and finite"):
        fit_pixels(np.zeros((60, 2)), spectra(2), background(1, 60), method="nnls", weights=weights)


@njit
def both_tests(tables, supports, first, target, size, solution):
    vector, plain = np.zeros_like(solution), np.zeros_like(solution)
    bits = np.zeros((2, supports.size), np.int64)
    for p in range(supports.size):
        bits[0, p] = lanes.vector_test(tables, supports[p], first, target, p, size[p], vector)
        bits[1, p] = lanes.plain_test(tables, supports[p], first, target, p, size[p], plain)
    return bits, vector, plain


@compiling
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 5, 8, 11])
def test_vector_test__equals_the_plain_one(n, dtype):
    rng = np.random.default_rng(n)
    tables = fit_plan.make_plan(spectra(n, closeness=0.3), background(1, 60), "nnls", np.float64).tables
    target = rng.normal(size=(n, 400)).astype(dtype)
    target[:, 0] = np.nan
    supports = rng.integers(0, 2**n, 400)
    for first in range(0, tables.shape[2], fit_plan.LANES):
        room = np.zeros((400, tables.shape[2]), dtype)
        bits, vector, plain = both_tests(tables, supports, first, target, np.abs(target).max(0), room)
        np.testing.assert_array_equal(*bits)
        np.testing.assert_allclose(vector, plain, rtol=1e-5 if dtype == np.float32 else 1e-10)
    assert bits.any()


BREAKING = {  # in this order: the probe of the second can be compiled, and would be found by the first
    "compile": "from numba import extending as e; old = e.intrinsic; e.intrinsic = lambda f: old(lambda *args: 1 / 0)",
    "import": "import numba.extending; del numba.extending.intrinsic",
    "nothing, after what was broken has left its code": "",
}
WITHOUT = """
from xstxm._kernels import lanes, moments, tiles
from xstxm._kernels.linear_fit import fit_pixels
assert (lanes.test_support is lanes.plain_test and lanes.prefetch is lanes.no_prefetch) == broken
assert broken <= (tiles.add_tile is tiles.add_plain_tile)
case = np.load("case.npz")
found = fit_pixels(case["od"], case["a"], case["b"], method="nnls").amount
np.savez("found.npz", amount=found, moment=moments.second_moment(case["od"], np.ones(300)))
"""


def test_kernels__work_without_vectors_of_their_own(tmp_path):
    """Where numba's inside has changed, plain loops serve; what they are compiled to is the same in both cases."""
    a, b = spectra(3), background(1, 60)
    od = mixtures(a, b, 300, dtype=np.float32)
    np.savez(tmp_path / "case.npz", a=a, b=b, od=od)
    expected, wide = fit_pixels(od, a, b, method="nnls").amount, od.astype(float)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    for broken, breaking in BREAKING.items():
        call = [sys.executable, "-c", f"import numpy as np\nbroken = {bool(breaking)}\n{breaking}{WITHOUT}"]
        subprocess.run(call, check=True, cwd=tmp_path, env=environment)
        with np.load(tmp_path / "found.npz") as found:
            np.testing.assert_allclose(found["amount"], expected, rtol=1e-5, atol=1e-6, err_msg=broken)
            np.testing.assert_allclose(found["moment"][:-1, :-1], wide @ wide.T, rtol=1e-12, err_msg=broken)
        (tmp_path / "found.npz").unlink()


def test_vectors__are_what_runs_here():
    assert lanes.test_support is lanes.vector_test
    assert lanes.vector_test is not lanes.plain_test
    wide = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    tile, side = (tiles.add_vector_tile, tiles.WIDE) if wide else (tiles.add_plain_tile, 3)
    assert (tiles.add_tile, tiles.TILE) == (tile, side)
    assert (tiles.add_vector_tile is tiles.add_plain_tile) != wide


@njit
def both_tiles(block, i, j):
    found = np.ones((2, block.shape[0], block.shape[0]))
    tiles.add_vector_tile(block, i, j, found[0])
    tiles.add_plain_tile(block, i, j, found[1])
    return found


@compiling
@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_tiles__add_a_part_of_a_product_and_nothing_else(i, j, n, seed):
    block = np.random.default_rng(seed).normal(size=(10, n * fit_plan.LANES))
    for side, found in zip((tiles.TILE, 3), both_tiles(block, i, j), strict=True):
        expected = np.ones((10, 10))
        expected[i : i + side, j : j + side] += block[i : i + side] @ block[j : j + side].T
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(0, 10**6), st.booleans())
def test_small_nnls__always_ends_at_the_optimum(n, seed, degenerate):
    rng = np.random.default_rng(seed)
    system = rng.normal(size=(n, n))
    if degenerate:
        system = np.round(system)
        system[:, rng.integers(n)] = system[:, 0]
    columns = np.ascontiguousarray((system / np.maximum(np.linalg.norm(system, axis=0), 1e-9)).T)
    targets = np.round(rng.normal(size=(5, n)) * 2) if degenerate else rng.normal(size=(5, n))
    supports, amounts = rng.integers(0, 2**n, 5), np.empty((5, n))
    solve_amounts_only(fit_plan.NNLS, columns, targets, supports, amounts)
    assert (amounts >= 0).all()
    np.testing.assert_array_equal((supports[:, None] >> np.arange(n)) & 1, amounts > 0)
    for x, target in zip(amounts, targets, strict=True):
        best = nnls(columns.T, target, maxiter=1000)[1] ** 2
        assert objective(columns.T, x, target) <= best + 1e-10


PARTIAL = [
    pytest.param(method, n, id=f"{method}, {n} references") for method in ("lstsq", "nnls", "fcls") for n in (3, 9)
]


@pytest.mark.parametrize(("method", "n"), PARTIAL)
def test_unusable_energies__equal_a_fit_without_them(method, n):
    a, b = spectra(n), background(2, 60)
    od = mixtures(a, b, 30)
    left_out = np.zeros(60, bool)
    left_out[[0, 7, 8, 40]] = True
    holes = od.copy()
    holes[np.ix_(left_out, range(0, 30, 2))] = np.nan
    holes[0, 0], holes[7, 2] = np.inf, -np.inf
    maps = fit_pixels(holes, a, b, method=method, with_covariance=True)
    whole = fit_pixels(od, a, b, method=method, with_covariance=True)
    cut = fit_pixels(od[~left_out], a[:, ~left_out], b[:, ~left_out], method=method, with_covariance=True)
    for name in maps._fields:
        got, expected = getattr(maps, name), getattr(cut, name)
        np.testing.assert_allclose(got[..., ::2], expected[..., ::2], rtol=1e-7, atol=1e-11, err_msg=name)
        np.testing.assert_array_equal(got[..., 1::2], getattr(whole, name)[..., 1::2], err_msg=name)


@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_too_few_energies__give_nan_and_nothing_in_use(method):
    a, b = spectra(3), background(1, 60)
    od = mixtures(a, b, 5)
    needed = 4 if method == "fcls" else 5
    od[:, 0] = np.nan
    od[needed - 1 :, 1] = np.nan
    od[: 60 - needed, 2] = np.nan
    maps = fit_pixels(od, a, b, method=method, with_covariance=True)
    assert maps.n_energy.tolist() == [0, needed - 1, needed, 60, 60]
    assert maps.n_active[:2].tolist() == [0, 0]
    for name in ("amount", "stderr", "background", "rms", "r_factor", "reduced_chi2", "covariance"):
        assert np.isnan(getattr(maps, name)[..., :2]).all(), name
        assert np.isfinite(getattr(maps, name)[..., 3:]).all(), name


def test_energies_that_do_not_tell_references_apart__give_nan():
    a = spectra(2)
    a[1, :30] = a[0, :30]
    od = mixtures(a, np.zeros((0, 60)), 2)
    od[30:, 0] = np.nan
    maps = fit_pixels(od, a, np.zeros((0, 60)), method="nnls")
    assert np.isnan(maps.amount[:, 0]).all()
    assert np.isfinite(maps.amount[:, 1]).all()


@pytest.mark.parametrize("n", [3, 9])
def test_zero_data__has_nothing_in_use(n):
    maps = fit_pixels(np.zeros((60, 3), np.float32), spectra(n), background(1, 60), method="nnls")
    assert (maps.amount == 0).all()
    assert (maps.n_active == 0).all()
    assert (rss(maps) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("method", "n"), PARTIAL)
def test_result__is_bitwise_the_same_for_any_threads_and_cuts(method, n, dtype):
    a, b = spectra(n, 37), background(1, 37)
    od = mixtures(a, b, 2 * RANGE + 333 if n == 3 else 2500, dtype=dtype)
    od[3, 5::97] = np.nan
    weights = np.linspace(1, 2, 37) if n == 9 else None
    whole, threaded = (
        fit_pixels(od, a, b, method=method, weights=weights, with_covariance=True, threads=threads)
        for threads in (1, 3)
    )
    cuts = [0, 1, 14, 1031, 2049, od.shape[1]]
    parts = [
        fit_pixels(od[:, i:j], a, b, method=method, weights=weights, with_covariance=True)
        for i, j in itertools.pairwise(cuts)
    ]
    for k, name in enumerate(whole._fields):
        np.testing.assert_array_equal(whole[k], threaded[k], err_msg=name)
        np.testing.assert_array_equal(whole[k], np.concatenate([part[k] for part in parts], axis=-1), err_msg=name)


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda od: np.asfortranarray(od), id="energy contiguous"),
        pytest.param(lambda od: np.repeat(od, 2, axis=1)[:, ::2], id="every other pixel"),
        pytest.param(lambda od: np.ascontiguousarray(od[::-1])[::-1], id="descending rows"),
        pytest.param(lambda od: od.astype(">f4"), id="big-endian"),
        pytest.param(lambda od: np.pad(od, ((0, 0), (3, 5)))[:, 3:-5], id="cut from a wider array"),
    ],
)
def test_layout__does_not_matter(arrange):
    a, b = spectra(3), background(1, 60)
    od = mixtures(a, b, 1500, dtype=np.float32)
    arranged = arrange(od)
    arranged.flags.writeable = False
    expected, got = (fit_pixels(array, a, b, method="nnls") for array in (od, arranged))
    assert got.amount.dtype == np.float32
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_pixels__give_empty_maps():
    maps = fit_pixels(np.empty((60, 0), np.float32), spectra(3), background(1, 60), method="nnls")
    assert maps.amount.shape == (3, 0)


def test_scale__of_data_and_references_does_not_matter():
    a, b = spectra(5), background(1, 60)
    od = mixtures(a, b, 100)
    expected = fit_pixels(od, a, b, method="nnls")
    factors = np.array([1e-6, 1e-3, 1.0, 1e4, 1e-2])
    got = fit_pixels(od * 1e3, a * factors[:, None], b, method="nnls")
    np.testing.assert_allclose(got.amount * factors[:, None] / 1e3, expected.amount, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(got.n_active, expected.n_active)


def test_fitting__imports_without_numba():
    code = "import sys, xstxm.fitting; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
