"""The loops of a weighted fit over all energies of a chunk of pixels, where most of its time goes.

Index letters: e energy, p pixel, u and v unknown (background terms, then references). As in `chunk_loops`, arrays are
flat and their rows `CHUNK` pixels long.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import AHEAD, CHUNK, FAST, add_four, ask
from xstxm._kernels.fit_plan import aligned, padded


class Design(NamedTuple):
    """The factorised design, Q R = [background, references]; two arrays in the dtype of the sums, zeros where padded."""

    n_terms: int
    n_energies: int
    basis: np.ndarray
    """(u, e) orthonormal spectra."""
    products: np.ndarray
    """(u <= v, e) products of two of them."""
    triangle: np.ndarray
    """(u, v) R, the columns of references over `scale`."""
    scale: np.ndarray
    """(r) what gives them unit norm without weights; ones where the sum of the amounts is fixed."""
    certain: bool
    """Whether the references differ by enough for their normal equations to be solved."""


class Chunk(NamedTuple):
    """Room of one thread, in the dtype of the sums: that of the data, or float64."""

    weights: np.ndarray
    """(e * p) one over the variance, 0 where a value is not to be used."""
    values: np.ndarray
    """(e * p) the values, 0 there."""
    four: np.ndarray
    """(4 * p) weights times values of four energies."""
    gram: np.ndarray
    """((u <= v) * p) Q'WQ."""
    projected: np.ndarray
    """(u * p) Q'Wy."""
    fitted: np.ndarray
    """(u * p) the fit in terms of the orthonormal spectra."""
    sums: np.ndarray
    """(4 * p) squares of the residual, the same weighted, squares of the data, energies in use."""
    lost: np.ndarray
    """(p) NaN for a pixel that cannot be fitted, else 0."""


def make_design(references: np.ndarray, terms: np.ndarray, dtype: np.dtype, fixed_sum: bool) -> Design:
    """Factorise a design."""
    rows = np.concatenate([terms, references]).astype(float)
    n_terms = len(terms)
    q, triangle = np.linalg.qr(rows.T)
    first, second = np.triu_indices(len(rows))
    scale = np.ones(len(references)) if fixed_sum else np.linalg.norm(triangle[n_terms:, n_terms:], axis=0)
    triangle[:, n_terms:] /= scale
    return Design(
        n_terms=n_terms,
        n_energies=rows.shape[1],
        basis=padded(q.T, dtype),
        products=padded(q.T[first] * q.T[second], dtype),
        triangle=np.ascontiguousarray(triangle),
        scale=scale,
        certain=bool(np.linalg.cond(triangle[n_terms:, n_terms:]) < 1e6),
    )


def make_chunk(design: Design) -> Chunk:
    """Return room for a chunk of pixels."""
    dtype, (n_unknowns, n_energies) = design.basis.dtype, design.basis.shape
    return Chunk(
        weights=aligned((n_energies * CHUNK,), dtype),
        values=aligned((n_energies * CHUNK,), dtype),
        four=aligned((4 * CHUNK,), dtype),
        gram=aligned((len(design.products) * CHUNK,), dtype),
        projected=aligned((n_unknowns * CHUNK,), dtype),
        fitted=aligned((n_unknowns * CHUNK,), dtype),
        sums=aligned((4 * CHUNK,), dtype),
        lost=aligned((CHUNK,), dtype),
    )


@njit(**FAST)
def _weigh(values, variances, weight, value):
    """Fill the weights and values of a run, 0 where a value is not to be used."""
    one, none = weight.dtype.type(1), weight.dtype.type(0)
    for p in range(values.size):
        y, v = values[p], variances[p]
        used = (abs(y) < np.inf) & (v > 0) & (v < np.inf)
        weight[p] = one / v if used else none
        value[p] = y if used else none


@njit(**FAST)
def sum_chunk(design, values, value_row, variance, variance_row, first, n, chunk):
    """Fill the weights and values of n pixels, Q'WQ and Q'Wy, and the sums that need no fit.

    The energies of the flat arrays lie a row apart. Memory is asked meanwhile for the next energies, in the end for those of
    the next pixels.
    """
    n_energies, four = design.n_energies, chunk.four
    square, number = chunk.sums[2 * CHUNK : 3 * CHUNK], chunk.sums[3 * CHUNK :]
    one, none = four.dtype.type(1), four.dtype.type(0)
    chunk.values[n_energies * CHUNK :] = 0  # what pads them is not zero after a fit that is NaN
    chunk.gram[:] = 0
    chunk.projected[:] = 0
    chunk.sums[:] = 0
    for e in range(0, design.basis.shape[1], 4):
        for k in range(e, min(e + 4, n_energies)):
            beyond = k + AHEAD >= n_energies
            later, pixel = k + AHEAD - n_energies * beyond, first + CHUNK * beyond
            ask(values, later * value_row + pixel)
            ask(variance, later * variance_row + pixel)
            at, also_at, run = k * value_row + first, k * variance_row + first, slice(k * CHUNK, k * CHUNK + n)
            _weigh(values[at : at + n], variance[also_at : also_at + n], chunk.weights[run], chunk.values[run])
        w, o = chunk.weights[e * CHUNK : (e + 4) * CHUNK], chunk.values[e * CHUNK : (e + 4) * CHUNK]
        for p in range(CHUNK):
            w0, w1, w2, w3 = w[p], w[CHUNK + p], w[2 * CHUNK + p], w[3 * CHUNK + p]
            o0, o1, o2, o3 = o[p], o[CHUNK + p], o[2 * CHUNK + p], o[3 * CHUNK + p]
            four[p], four[CHUNK + p], four[2 * CHUNK + p], four[3 * CHUNK + p] = w0 * o0, w1 * o1, w2 * o2, w3 * o3
            square[p] += (o0 * o0 + o1 * o1) + (o2 * o2 + o3 * o3)
            near = (one if w0 > 0 else none) + (one if w1 > 0 else none)
            far = (one if w2 > 0 else none) + (one if w3 > 0 else none)
            number[p] += near + far
        add_four(design.products, e, w, chunk.gram)
        add_four(design.basis, e, four, chunk.projected)


@njit(**FAST)
def weighted_square(weights, values, total):
    """Fill the weighted sum of squares of the pixels of a chunk, in float64."""
    total[:] = 0.0
    for at in range(0, values.size, CHUNK):
        value, weight = values[at : at + CHUNK], weights[at : at + CHUNK]
        for p in range(CHUNK):
            y = np.float64(value[p])
            total[p] += np.float64(weight[p]) * y * y
