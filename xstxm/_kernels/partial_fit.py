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
def _sum_squares(spectrum, root, partial, c, sums):
    """Sum the squares of what the projections c of a fit leave of a spectrum, plain and weighted, and of the data."""
    sums[:] = 0.0
    for e in range(spectrum.size):
        if partial.used[e]:
            d = spectrum[e]
            sums[2] += d * d
            d *= root[e]
            for u in range(c.size):
                d -= partial.q[u, e] * c[u]
            sums[1] += d * d
            sums[0] += (d / root[e]) ** 2


@njit(**JIT)
def fit_spectra(
    method, n_terms, design, root, known_noise, spectra, amount, error, background, statistics, counts, full
):
    """Fit spectra (p, e) one by one; pixels that cannot be fitted give NaN and 0 references in use.

    `root` (e) holds the roots of the weights, by which the design is multiplied already. Fills amount, error (p, r),
    background (p, t), statistics (p, 3: `Maps.rms`, `r_factor`, `reduced_chi2`), counts (p, 2: energies and references in
    use) and full (p, r, r), the covariance with no bound active.
    """
    n_unknowns, n_energies = design.shape
    n_references = n_unknowns - n_terms
    work = workspace(n_references)
    partial = _partial(n_unknowns, n_energies, n_references)
    cov = np.empty((n_references, n_references))
    c, sums = np.empty(n_unknowns), np.empty(3)
    for p in range(spectra.shape[0]):
        same = True
        in_use = 0
        for e in range(n_energies):
            usable = np.isfinite(spectra[p, e])
            same = same and usable == partial.used[e]
            partial.used[e] = usable
            if usable:
                in_use += 1
        if not same:
            _factorise(method, n_terms, design, partial, work)
        counts[p, 0] = in_use
        if partial.in_use[0] == 0:
            counts[p, 1] = 0
            amount[p, :] = np.nan
            error[p, :] = np.nan
            background[p, :] = np.nan
            statistics[p, :] = np.nan
            full[p, :, :] = np.nan
            continue
        for u in range(n_unknowns):
            c[u] = 0.0
            for e in range(n_energies):
                if partial.used[e]:
                    c[u] += partial.q[u, e] * (root[e] * spectra[p, e])
        x = amount[p]
        support = constrained(method, partial.columns, c[n_terms:], (1 << n_references) - 1, x, work)
        for j in range(n_references):
            c[n_terms + j] = 0.0
            for r in range(n_references):
                c[n_terms + j] += partial.columns[r, j] * x[r]
        _sum_squares(spectra[p], root, partial, c, sums)
        active = 0
        for r in range(n_references):
            active += (support >> r) & 1
            x[r] /= partial.scale[r]
        _back_substitute(partial, n_terms, c, x)
        for t in range(n_terms):
            background[p, t] = c[t]
        counts[p, 1] = active
        freedom = in_use - n_terms - active + (1 if method == FCLS else 0)
        statistics[p, 0], statistics[p, 1] = np.sqrt(sums[0] / in_use), sums[0] / sums[2]
        statistics[p, 2] = sums[1] / freedom
        variance = 1.0 if known_noise else statistics[p, 2]
        covariance(method, partial.columns, support, work, cov)
        for r in range(n_references):
            error[p, r] = np.sqrt(cov[r, r] * variance) / partial.scale[r]
            for j in range(n_references):
                full[p, r, j] = partial.covariance[r, j] / (partial.scale[r] * partial.scale[j]) * variance
