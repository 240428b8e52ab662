"""What a fit prepares once per set of spectra: factorisation, tables of supports, and room for the results.

Index letters: e energy, p pixel, u unknown (background terms, then references), t background term,
r reference, s support (bit mask of the references above zero).
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

LSTSQ, NNLS, FCLS = 0, 1, 2
METHODS = {"lstsq": LSTSQ, "nnls": NNLS, "fcls": FCLS}

MAX_TABLE = 12
"""Largest number of references with a table of all supports."""

LANES = 8
"""Float64 numbers of one vector; the rows of the tables are one or two of them long."""


class Plan(NamedTuple):
    """What depends on the spectra only. Arrays are float64 where nothing else is said."""

    method: int
    n_terms: int
    n_energies: int
    design: np.ndarray
    """(u, e) background terms and references, times the roots of the weights."""
    basis: np.ndarray
    """(u, e) orthonormal spectra times the roots of the weights: a spectrum times them is its projection. In the
    data's dtype, with rows of zeros up to a multiple of two, columns of zeros up to one of four."""
    spectra: np.ndarray
    """(u, e) orthonormal spectra over the roots of the weights: projections times them are the fitted spectrum.
    As `basis`."""
    weights: np.ndarray
    """(e) weights of the energies, in the data's dtype; none where all are one."""
    columns: np.ndarray
    """(r, r) columns of the triangle of the references, as rows, over `scale`."""
    scale: np.ndarray
    """(r) norm of each column; ones where the sum of the amounts is fixed."""
    free: np.ndarray
    """(r, r) amounts without bounds from c, less `constant`. As `basis`."""
    constant: np.ndarray
    """(r) what they are where c is zero."""
    outcome: np.ndarray
    """(u, u) background and projections of the fit, from projections on the background and amounts.
    As `basis`."""
    tables: np.ndarray
    """(s, r + 3, lanes) solution (on the support) and duals (off it) from c, constant and tolerances of both last; no
    supports for ``lstsq`` and for more than `MAX_TABLE` references."""
    spread: np.ndarray
    """(r, s) standard deviation of the amounts for unit noise, in the data's dtype."""
    covariance: np.ndarray
    """(r, r) covariance of the amounts for unit noise, no bound active."""


class Maps(NamedTuple):
    """The result of a fit, pixels last, in the data's dtype but for the counts."""

    amount: np.ndarray
    stderr: np.ndarray
    background: np.ndarray
    rms: np.ndarray
    """Root of the mean square of the residual, over the energies in use."""
    r_factor: np.ndarray
    """Sum of squares of the residual over that of the data."""
    reduced_chi2: np.ndarray
    """Sum of squares of the residual, times the weights where there are any, over the degrees of freedom."""
    n_energy: np.ndarray
    """Energies in use."""
    n_active: np.ndarray
    """References above zero."""
    covariance: np.ndarray
    """(r, r, p) with no bound active; (0, 0, 0) where not asked for."""
    best: np.ndarray
    """(k, p) chi-square of the best k references in float64, infinite where there are none; (0, 0) where none are chosen."""
    bits: np.ndarray
    """What is wrong with the counts, those of `density_lines`; (0) where the data are optical densities."""


def empty_maps(
    n: int,
    n_terms: int,
    n_pixels: int,
    dtype: np.dtype,
    *,
    with_covariance: bool = False,
    most: int = 0,
    of_counts: bool = False,
) -> Maps:
    """Return room for the maps of n references, of which up to `most` are chosen."""
    return Maps(
        amount=np.empty((n, n_pixels), dtype),
        stderr=np.empty((n, n_pixels), dtype),
        background=np.empty((n_terms, n_pixels), dtype),
        rms=np.empty(n_pixels, dtype),
        r_factor=np.empty(n_pixels, dtype),
        reduced_chi2=np.empty(n_pixels, dtype),
        n_energy=np.empty(n_pixels, np.int32),
        n_active=np.empty(n_pixels, np.int16),
        covariance=np.empty((n, n, n_pixels) if with_covariance else (0, 0, 0), dtype),
        best=np.empty((most + 1, n_pixels) if most else (0, 0)),
        bits=np.zeros(n_pixels if of_counts else 0, np.uint8),
    )


def make_plan(
    references: np.ndarray, terms: np.ndarray, method: str, dtype: np.dtype, weights: np.ndarray | None = None
) -> Plan:
    """Return the plan of a fit; kept, as every chunk of a lazy stack asks for the same one."""
    arrays = [references, terms, np.empty(0) if weights is None else weights]
    contents = [np.ascontiguousarray(array, dtype=np.float64).tobytes() for array in arrays]
    return _plan(*contents, len(references), len(terms), METHODS[method], np.dtype(dtype).char)


@functools.lru_cache(16)
def _plan(references: bytes, terms: bytes, weights: bytes, n: int, n_terms: int, method: int, dtype: str) -> Plan:
    a = np.frombuffer(references).reshape(n, -1)
    weight = np.frombuffer(weights)
    root = np.sqrt(weight) if weight.size else np.ones(a.shape[1])
    design = np.concatenate([np.frombuffer(terms).reshape(n_terms, a.shape[1]), a]) * root
    q, r = np.linalg.qr(design.T)
    triangle = r[n_terms:, n_terms:]
    scale = np.ones(n) if method == FCLS else np.linalg.norm(triangle, axis=0)
    scaled = triangle / scale
    everything = np.arange(n)[None]
    free, free_covariance = (solution[0] for solution in _solutions(scaled, everything, everything[:, :0], method))
    tabled = method != LSTSQ and n <= MAX_TABLE
    tables, spread = _tables(scaled, method) if tabled else (np.zeros((0, n + 3, LANES)), np.zeros((0, n)))
    outcome = np.zeros_like(r)
    outcome[:n_terms, :n_terms] = corner = np.linalg.inv(r[:n_terms, :n_terms])
    outcome[:n_terms, n_terms:] = -corner @ r[:n_terms, n_terms:]
    outcome[n_terms:, n_terms:] = triangle
    return Plan(
        method=method,
        n_terms=n_terms,
        n_energies=a.shape[1],
        design=design,
        basis=padded(q.T * root, dtype),
        spectra=padded(q.T / root, dtype),
        weights=weight.astype(dtype),
        columns=np.ascontiguousarray(scaled.T),
        scale=scale,
        free=padded(free[:, :-1] / scale[:, None], dtype),
        constant=free[:, -1] / scale,
        outcome=padded(outcome, dtype),
        tables=tables,
        spread=np.ascontiguousarray((spread / scale).T, dtype),
        covariance=np.ascontiguousarray(free_covariance / scale / scale[:, None]),
    )


def padded(matrix: np.ndarray, dtype: Any) -> np.ndarray:
    """Return a matrix with rows of zeros up to a multiple of two, columns of zeros up to one of four."""
    rows, columns = matrix.shape
    padded = np.zeros((rows + rows % 2, columns + -columns % 4), dtype)
    padded[:rows, :columns] = matrix
    return padded


def aligned(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Return zeros that start a cache line: a vector that lies on two lines costs two accesses."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def _solutions(triangle: np.ndarray, on: np.ndarray, off: np.ndarray, method: int) -> tuple[np.ndarray, np.ndarray]:
    """Return [rows, constant] that give the solution and duals of supports from c, and the unit-noise covariances.

    `on` (s, i) and `off` (s, j) list the references of supports of one size. Rows of references `on` give their
    amounts, the others the gradient of the objective, which is negative where the reference wants to enter.
    With the sum fixed, amounts are one over their number plus steps within the sum.
    """
    n_supports, size = on.shape
    n = len(triangle)
    which = np.arange(n_supports)[:, None]
    rows, cov = np.zeros((n_supports, n, n + 1)), np.zeros((n_supports, n, n))
    own, other = (triangle.T[list_].transpose(0, 2, 1) for list_ in (on, off))
    steps, start, centre = np.eye(size), np.zeros(size), np.zeros((n_supports, n))
    if method == FCLS:
        steps = np.linalg.qr(np.ones((size, 1)), mode="complete")[0][:, 1:]
        start = np.full(size, 1 / size)
        centre = own @ start
    q, r = np.linalg.qr(own @ steps)
    step_of = steps @ np.linalg.inv(r)
    away = other - centre[..., None]
    rows[which, on, :n] = step_of @ q.transpose(0, 2, 1)
    rows[which, off, :n] = -(away - q @ (q.transpose(0, 2, 1) @ away)).transpose(0, 2, 1)
    rows[..., n] = -(rows[..., :n] @ centre[..., None])[..., 0]
    rows[which, on, n] += start
    cov[which[..., None], on[..., None], on[:, None]] = step_of @ step_of.transpose(0, 2, 1)
    return rows, cov


def _tables(triangle: np.ndarray, method: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `Plan.tables` and `Plan.spread` (of scaled amounts) for every support."""
    n = len(triangle)
    tables = aligned((1 << n, n + 3, n + -n % LANES))
    spread = np.zeros((1 << n, n))
    tables[0, n, :n] = -1.0  # with a fixed sum there is no empty support: every reference wants to enter
    for size in range(1 if method == FCLS else 0, n + 1):
        on = _choices(n, size)
        off = _choices(n, n - size)[::-1]
        rows, cov = _solutions(triangle, on, off, method)
        supports = (1 << on).sum(1)
        tables[supports, : n + 1, :n] = rows.transpose(0, 2, 1)
        # amounts have none: one that is below zero by rounding leaves, and its dual then keeps it out
        left_out = 8 * np.finfo(float).eps * ((supports[:, None] >> np.arange(n)) & 1 == 0)
        tables[supports, n + 1, :n] = left_out * np.abs(rows[..., :n]).sum(2)
        tables[supports, n + 2, :n] = left_out * np.abs(rows[..., n])
        spread[supports] = np.sqrt(np.einsum("srr->sr", cov))
    return tables, spread


def _choices(n: int, size: int) -> np.ndarray:
    """Return every choice of some of n references (s, i), in order; reversed, what the choices of the others leave out."""
    return np.array(list(itertools.combinations(range(n), size)), dtype=int).reshape(math.comb(n, size), size)
