"""The fit of single pixels in float64, each on the energies where it has a finite value.

Index letters: e energy, p pixel, u unknown (background terms, then references), t background term,
r reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.fit_plan import FCLS
from xstxm._kernels.small_nnls import INNER, JIT, constrained, covariance, workspace

LOST = 1e-10
"""Independent part of an unknown, relative to itself, below which the energies that a pixel has left do not determine it."""


class Partial(NamedTuple):
    """Factorised design on the energies of the pixel before: pixels often lack the same ones."""

    used: np.ndarray
    q: np.ndarray
    r: np.ndarray
    columns: np.ndarray
    scale: np.ndarray
    covariance: np.ndarray
    """(r, r) of the scaled amounts, no bound active."""
    in_use: np.ndarray
    """Energies in use; 0 where they do not determine the unknowns."""


class Results(NamedTuple):
    """The results of single pixels, float64, pixels first."""

    amount: np.ndarray
    error: np.ndarray
    """(p, r)"""
    background: np.ndarray
    """(p, t)"""
    statistics: np.ndarray
    """(p, 3) `Maps.rms`, `r_factor`, `reduced_chi2`."""
    counts: np.ndarray
    """(p, 2) energies and references in use."""
    covariance: np.ndarray
    """(p, r, r) with no bound active."""


def make_results(n_pixels: int, n: int, n_terms: int) -> Results:
    """Return room for the results of n references."""
    each = (n_pixels, n)
    return Results(
        amount=np.empty(each),
        error=np.empty(each),
        background=np.empty((n_pixels, n_terms)),
        statistics=np.empty((n_pixels, 3)),
        counts=np.empty((n_pixels, 2), np.int64),
        covariance=np.empty((*each, n)),
    )


@njit(**INNER)
def _partial(n_unknowns, n_energies, n_references):
    return Partial(
        np.zeros(n_energies, np.bool_),
        np.zeros((n_unknowns, n_energies)),
        np.zeros((n_unknowns, n_unknowns)),
        np.zeros((n_references, n_references)),
        np.zeros(n_references),
        np.zeros((n_references, n_references)),
        np.zeros(1, np.int64),
    )


@njit(**INNER)
def _orthogonalise(v, u, q, r):
    """Take the earlier rows of q out of v, twice, for q to be orthonormal to rounding; return the norm left."""
    for _ in range(2):
        for i in range(u):
            d = 0.0
            for e in range(v.size):
                d += q[i, e] * v[e]
            r[i, u] += d
            for e in range(v.size):
                v[e] -= d * q[i, e]
    norm = 0.0
    for e in range(v.size):
        norm += v[e] * v[e]
    return np.sqrt(norm)


@njit(**INNER)
def _factorise(method, n_terms, design, partial, work):
    """Factorise the design on the energies in use, background first; in_use stays 0 where it is singular."""
    n_unknowns, n_energies = design.shape
    n_references = n_unknowns - n_terms
    partial.in_use[0] = 0
    in_use = 0
    for e in range(n_energies):
        in_use += 1 if partial.used[e] else 0
    if in_use <= n_unknowns - (1 if method == FCLS else 0):
        return
    for u in range(n_unknowns):
        v = partial.q[u]
        before = 0.0
        for e in range(n_energies):
            v[e] = design[u, e] if partial.used[e] else 0.0
            before += v[e] * v[e]
        for i in range(n_unknowns):
            partial.r[i, u] = 0.0
        norm = _orthogonalise(v, u, partial.q, partial.r)
        if in_use < n_energies and not norm > LOST * np.sqrt(before):
            # with a fixed sum, references that differ by a factor only can still be told apart
            if method != FCLS or u < n_terms:
                return
            norm = 0.0
        partial.r[u, u] = norm
        for e in range(n_energies):
            v[e] = v[e] / norm if norm > 0 else 0.0
    for r in range(n_references):
        norm = 0.0
        for j in range(n_references):
            d = partial.r[n_terms + j, n_terms + r]
            partial.columns[r, j] = d
            norm += d * d
        partial.scale[r] = 1.0 if method == FCLS else np.sqrt(norm)
        for j in range(n_references):
            partial.columns[r, j] /= partial.scale[r]
    covariance(method, partial.columns, (1 << n_references) - 1, work, partial.covariance)
    if np.isfinite(partial.covariance[0, 0]):
        partial.in_use[0] = in_use


@njit(**INNER)
def _back_substitute(partial, n_terms, c, x):
    """Turn the projections c on the background into its coefficients, in place, given the amounts."""
    for t in range(n_terms - 1, -1, -1):
        for r in range(x.size):
            c[t] -= partial.r[t, n_terms + r] * x[r]
        for j in range(t + 1, n_terms):
            c[t] -= partial.r[t, j] * c[j]
        c[t] /= partial.r[t, t]


@njit(**INNER)
def _sum_squares(spectrum, root, used, q, c, sums):
    """Sum the squares of what the projections c of a fit leave of a spectrum, plain and weighted, and of the data."""
    rss, chi2, square = 0.0, 0.0, 0.0
    for e in range(spectrum.size):
        if used[e]:
            d = spectrum[e]
            square += d * d
            d *= root[e]
            for u in range(c.size):
                d -= q[u, e] * c[u]
            chi2 += d * d
            rss += (d / root[e]) ** 2
    sums[0], sums[1], sums[2] = rss, chi2, square


@njit(**INNER)
def _note_used(spectrum, used):
    """Set the energies where a spectrum is finite; return their number and whether they are those of the one before."""
    in_use, same = 0, True
    for e in range(spectrum.size):
        usable = np.isfinite(spectrum[e])
        same = same and usable == used[e]
        used[e] = usable
        in_use += 1 if usable else 0
    return in_use, same


@njit(**INNER)
def _project(spectrum, root, used, q, c):
    """Fill the projections of a weighted spectrum."""
    c[:] = 0.0
    for e in range(spectrum.size):
        if used[e]:
            value = root[e] * spectrum[e]
            for u in range(c.size):
                c[u] += q[u, e] * value


@njit(**INNER)
def _express(columns, x, c):
    """Fill the projections c of the references from their amounts."""
    for j in range(x.size):
        c[j] = 0.0
        for r in range(x.size):
            c[j] += columns[r, j] * x[r]


@njit(**INNER)
def _write_lost(p, results):
    results.counts[p, 1] = 0
    results.amount[p, :] = np.nan
    results.error[p, :] = np.nan
    results.background[p, :] = np.nan
    results.statistics[p, :] = np.nan
    results.covariance[p, :, :] = np.nan


@njit(**INNER)
def _write_statistics(sums, in_use, n_free, statistics):
    statistics[0] = np.sqrt(sums[0] / in_use)
    statistics[1] = sums[0] / sums[2]
    statistics[2] = sums[1] / (in_use - n_free)


@njit(**INNER)
def _write_errors(variance, scale, of_support, of_all, error, full):
    """Write standard errors and the covariance with no bound active; those given are for unit noise."""
    for r in range(scale.size):
        error[r] = np.sqrt(of_support[r, r] * variance) / scale[r]
        for j in range(scale.size):
            full[r, j] = of_all[r, j] / (scale[r] * scale[j]) * variance


@njit(**JIT)
def fit_spectra(method, n_terms, design, root, known_noise, spectra, results):
    """Fit spectra (p, e) one by one; pixels that cannot be fitted give NaN and 0 references in use.

    `root` (e) holds the roots of the weights, by which the design is multiplied already.
    """
    n_unknowns, n_energies = design.shape
    n = n_unknowns - n_terms
    work, partial = workspace(n), _partial(n_unknowns, n_energies, n)
    used, q, cov, c, sums = partial.used, partial.q, np.empty((n, n)), np.empty(n_unknowns), np.empty(3)
    for p in range(spectra.shape[0]):
        spectrum, x, statistics = spectra[p], results.amount[p], results.statistics[p]
        results.counts[p, 0], same = _note_used(spectrum, used)
        if not same:
            _factorise(method, n_terms, design, partial, work)
        if partial.in_use[0] == 0:
            _write_lost(p, results)
            continue
        _project(spectrum, root, used, q, c)
        support = constrained(method, partial.columns, c[n_terms:], (1 << n) - 1, x, work)
        _express(partial.columns, x, c[n_terms:])
        _sum_squares(spectrum, root, used, q, c, sums)
        active = 0
        for r in range(n):
            active += (support >> r) & 1
            x[r] /= partial.scale[r]
        _back_substitute(partial, n_terms, c, x)
        for t in range(n_terms):
            results.background[p, t] = c[t]
        results.counts[p, 1] = active
        _write_statistics(sums, partial.in_use[0], n_terms + active - (1 if method == FCLS else 0), statistics)
        covariance(method, partial.columns, support, work, cov)
        variance = 1.0 if known_noise else statistics[2]
        _write_errors(variance, partial.scale, cov, partial.covariance, results.error[p], results.covariance[p])
