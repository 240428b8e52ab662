"""What a fit prepares once per set of spectra: factorisation, tables of supports, and room for the results.

Index letters: e energy, p pixel, u unknown (background terms, then references), t background term,
r reference, s support (bit mask of the references above zero).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

LSTSQ, NNLS, FCLS = 0, 1, 2
METHODS = {"lstsq": LSTSQ, "nnls": NNLS, "fcls": FCLS}

MAX_TABLE = 8
"""Largest number of references with a table of all supports."""

LANES = 8
"""Row length of the tables."""


class Plan(NamedTuple):
    """What depends on the spectra only. Arrays are float64 but `basis`, which has the data's dtype."""

    method: int
    n_terms: int
    design: np.ndarray
    """(u, e) background terms and references."""
    basis: np.ndarray
    """(u, e) orthonormal spectra, zero rows up to a multiple of four."""
    columns: np.ndarray
    """(r, r) columns of the triangle of the references, as rows, over `scale`."""
    scale: np.ndarray
    """(r) norm of each column; ones where the sum of the amounts is fixed."""
    free: np.ndarray
    """(r, r + 1) amounts without bounds: free[:, :-1] @ c + free[:, -1]."""
    background: np.ndarray
    """(t, u) background terms from projections and amounts."""
    tables: np.ndarray
    """(s, r + 3, 8) solution (on the support) and duals (off it) from c, constant and tolerances last; no
    supports for ``lstsq`` and for more than `MAX_TABLE` references."""
    spread: np.ndarray
    """(s, r) standard deviation of the amounts for unit noise."""
    covariance: np.ndarray
    """(r, r) covariance of the amounts for unit noise, no bound active."""


class Maps(NamedTuple):
    """The result of a fit, pixels last, in the data's dtype but for the counts."""

    amount: np.ndarray
    stderr: np.ndarray
    background: np.ndarray
    rss: np.ndarray
    """Sum of squares of the residual."""
    square: np.ndarray
    """Sum of squares of the data, over the energies in use."""
    n_energy: np.ndarray
    """Energies in use."""
    n_active: np.ndarray
    """References above zero."""
    covariance: np.ndarray
    """(r, r, p) with no bound active; (0, 0, 0) where not asked for."""


def make_plan(references: np.ndarray, terms: np.ndarray, method: str, dtype: np.dtype) -> Plan:
    """Return the plan of a fit; kept, as every chunk of a lazy stack asks for the same one."""
    a = np.ascontiguousarray(references, dtype=np.float64)
    b = np.ascontiguousarray(terms, dtype=np.float64)
    return _plan(a.tobytes(), b.tobytes(), a.shape[0], b.shape[0], METHODS[method], np.dtype(dtype).char)


@functools.lru_cache(16)
def _plan(references: bytes, terms: bytes, n: int, n_terms: int, method: int, dtype: str) -> Plan:
    a = np.frombuffer(references).reshape(n, -1)
    design = np.concatenate([np.frombuffer(terms).reshape(n_terms, a.shape[1]), a])
    q, r = np.linalg.qr(design.T)
    triangle = r[n_terms:, n_terms:]
    scale = np.ones(n) if method == FCLS else np.linalg.norm(triangle, axis=0)
    scaled = triangle / scale
    free, free_covariance = _solution_rows(scaled, np.arange(n), method)
    tabled = method != LSTSQ and n <= MAX_TABLE
    tables, spread = _tables(scaled, method) if tabled else (np.zeros((0, n + 3, LANES)), np.zeros((0, n)))
    basis = np.zeros((-(-len(design) // 4) * 4, a.shape[1]), dtype)
    basis[: len(design)] = q.T
    corner = np.linalg.inv(r[:n_terms, :n_terms])
    return Plan(
        method=method,
        n_terms=n_terms,
        design=design,
        basis=basis,
        columns=np.ascontiguousarray(scaled.T),
        scale=scale,
        free=np.ascontiguousarray(free / scale[:, None]),
        background=np.ascontiguousarray(np.hstack([corner, -corner @ r[:n_terms, n_terms:]])),
        tables=tables,
        spread=np.ascontiguousarray(spread / scale),
        covariance=np.ascontiguousarray(free_covariance / scale / scale[:, None]),
    )


def _solution_rows(triangle: np.ndarray, on: np.ndarray, method: int) -> tuple[np.ndarray, np.ndarray]:
    """Return [rows, constant] that give a support's solution and duals from c, and the unit-noise covariance.

    Rows of references `on` give their amounts, the others the gradient of the objective, which is negative
    where the reference wants to enter. With the sum fixed, amounts are 1/len(on) plus steps within the sum.
    """
    n = len(triangle)
    off = np.setdiff1d(np.arange(n), on)
    rows = np.zeros((n, n + 1))
    cov = np.zeros((n, n))
    steps, start, centre = np.eye(on.size), np.zeros(on.size), np.zeros(n)
    if method == FCLS:
        steps = np.linalg.qr(np.ones((on.size, 1)), mode="complete")[0][:, 1:]
        start = np.full(on.size, 1 / on.size)
        centre = triangle[:, on] @ start
    q, r = np.linalg.qr(triangle[:, on] @ steps)
    step_of = steps @ np.linalg.inv(r)
    away = triangle[:, off] - centre[:, None]
    gradient = -(away - q @ (q.T @ away)).T
    rows[on, :n], rows[off, :n] = step_of @ q.T, gradient
    rows[:, n] = -rows[:, :n] @ centre
    rows[on, n] += start
    cov[np.ix_(on, on)] = step_of @ step_of.T
    return rows, cov


def _tables(triangle: np.ndarray, method: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `Plan.tables` and `Plan.spread` (of scaled amounts) for every support."""
    n = len(triangle)
    tables = np.zeros((1 << n, n + 3, LANES))
    spread = np.zeros((1 << n, n))
    for support in range(1 << n):
        on = np.flatnonzero(support >> np.arange(n) & 1)
        if on.size == 0 and method == FCLS:
            tables[support, n] = -1.0  # no such support: every reference wants to enter
            continue
        rows, cov = _solution_rows(triangle, on, method)
        tables[support, : n + 1, :n] = rows.T
        spread[support] = np.sqrt(np.diag(cov))
        tables[support, n + 1, :n] = 8 * np.finfo(float).eps * np.abs(rows[:, :n]).sum(1)
        tables[support, n + 2, :n] = 8 * np.finfo(float).eps * np.abs(rows[:, n])
    return tables, spread
