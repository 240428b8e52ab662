"""Means over the phases of a pixel, with their errors.

Index letters: p pixel (any number of leading dims), r and s reference, k phase, q quantity, n state of a phase.
"""

from __future__ import annotations

import numpy as np


def ratio(amount, covariance, numerator, denominator):
    """Return sum_r(c_r a_qr) / sum_r(c_r b_r) and its stderr (p, q) of amounts c (p, r) with their covariance (p, r, s).

    var = (a - value b)' C (a - value b) / (b'c)^2: numerator and denominator share their noise.
    """
    a, b = numerator.astype(amount.dtype), denominator.astype(amount.dtype)
    total = amount @ b
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(total > 0, 1 / total, np.nan).astype(amount.dtype)[..., None]
    value = (amount @ a.T) * inverse
    offset = a - value[..., None] * b
    variance = np.einsum("...qr,...rs,...qs->...q", offset, covariance, offset)
    return value, np.sqrt(np.maximum(variance, 0)) * inverse


def mixture(fraction, stderr, x, x_stderr, grids, values):
    """Return sum_k(f_k v_kq(x)) (p, q), and a bound of its stderr, of fractions (p, k) and the composition x (p).

    v_kq is linear between the compositions `grids[k]` (n) of the states of a phase, with `values[k]` (q, n), and
    constant beyond them. The fractions add up to one, so that a constant taken from the values changes nothing:
    sum_k |v_k - v_j| stderr_k bounds the error for every j, and the smallest of these bounds is equal to it for two phases.
    """
    shape = (*x.shape, len(values[0]))
    mean, slope = np.zeros(shape, fraction.dtype), np.zeros(shape, fraction.dtype)
    value = np.empty((*fraction.shape, shape[-1]), fraction.dtype)
    for k, (grid, of_states) in enumerate(zip(grids, values, strict=True)):
        for q, row in enumerate(of_states):
            value[..., k, q] = np.interp(x, grid, row) if len(grid) > 1 else row[0]
            slope[..., q] += fraction[..., k] * _slope(x, grid, row)
        mean += fraction[..., k, None] * value[..., k, :]
    bound = np.full(shape, np.inf, fraction.dtype)
    for j in range(len(grids)):
        apart = np.abs(value - value[..., j : j + 1, :])
        bound = np.minimum(bound, np.einsum("...kq,...k->...q", apart, stderr))
    return mean, (bound + np.abs(slope) * x_stderr[..., None]).astype(fraction.dtype)


def _slope(x, grid, row):
    """Derivative (p) of linear interpolation, zero beyond the ends."""
    if len(grid) < 2:
        return np.zeros_like(x)
    steps = np.diff(row) / np.diff(grid)
    at = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(steps) - 1)
    inside = (x >= grid[0]) & (x <= grid[-1])
    return np.where(inside, steps[at], 0.0).astype(x.dtype)
