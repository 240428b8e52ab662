"""Means over the phases of a pixel, with their errors.

Index letters: p pixel (any number of leading dims), r and s reference, k phase, q quantity, n state of a phase.
"""

from __future__ import annotations

import functools
import itertools

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
    constant beyond them. The error that x brings is added to that of the fractions, see `_fraction_error`.
    """
    mean, value, slope = _at_composition(fraction, x, grids, values)
    error = _fraction_error(value, stderr) + np.abs(slope) * x_stderr[..., None]
    return mean, error.astype(fraction.dtype)


def exact_mixture(fraction, covariance, own, x, x_stderr, grids, values):
    """Return the same with the stderr from the covariance (p, j, k) of the fractions.

    With the composition `own` (k) of each phase x = sum_k(f_k x_k), and all follows from the fractions. Where it is not
    known (NaN) the error that x brings is added, as a bound.
    """
    mean, value, slope = _at_composition(fraction, x, grids, values)
    known = bool(np.isfinite(own).all())
    gradient = value + slope[..., None, :] * own.astype(value.dtype)[:, None] if known else value
    error = _error(gradient, covariance)
    return mean, error if known else error + np.abs(slope) * x_stderr[..., None]


def exact_density(fraction, covariance, own, x, x_stderr, grids, values):
    """Return x / v (p) and its stderr for the composition x and the mean volume v, whose states are `values` (1, n)."""
    volume, value, slope = _at_composition(fraction, x, grids, values)
    volume = volume[..., 0]
    density = x / volume
    if np.isfinite(own).all():
        composition = own.astype(value.dtype)[:, None]
        change = composition - density[..., None, None] * (value + slope[..., None, :] * composition)
        return density, _error(change, covariance)[..., 0] / volume
    of_volume = _error(value, covariance) + np.abs(slope) * x_stderr[..., None]
    return density, (x_stderr + np.abs(density) * of_volume[..., 0]) / volume


def _error(gradient, covariance):
    """Return the stderr (p, q) of what changes by gradient (p, k, q) with fractions of covariance (p, j, k)."""
    # the errors of fractions add up to zero: a constant changes nothing, and taken off it leaves smaller numbers
    gradient = gradient - gradient.mean(-2, keepdims=True)
    variance = np.einsum("...jq,...jk,...kq->...q", gradient, covariance, gradient, optimize=True)
    return np.sqrt(np.maximum(variance, 0)).astype(covariance.dtype)


def _at_composition(fraction, x, grids, values):
    """Return the mean (p, q), the value of each phase (p, k, q), and how the mean changes with x (p, q)."""
    shape = (*x.shape, len(values[0]))
    mean, slope = np.zeros(shape, fraction.dtype), np.zeros(shape, fraction.dtype)
    value = np.empty((*fraction.shape, shape[-1]), fraction.dtype)
    for k, (grid, of_states) in enumerate(zip(grids, values, strict=True)):
        for q, row in enumerate(of_states):
            value[..., k, q] = np.interp(x, grid, row) if len(grid) > 1 else row[0]
            slope[..., q] += fraction[..., k] * _slope(x, grid, row)
        mean += fraction[..., k, None] * value[..., k, :]
    return mean, value, slope


def _fraction_error(value, stderr):
    """Return the stderr (p, q) of sum_k(f_k v_kq), v (p, k, q), or a bound, from the stderr of the fractions (p, k).

    The errors of fractions add up to zero. For two and three phases that fixes their covariances,
    2 C_ij = s_rest^2 - s_i^2 - s_j^2. For more it does not; but a constant taken from the values changes nothing, so
    that sum_k |v_k - v_j| s_k bounds the error for every j, and the smallest of these is taken.
    """
    phases = range(value.shape[-2])
    if len(phases) <= 3:
        square = (stderr**2)[..., None]
        total = square.sum(-2)
        pairs = [
            (value[..., i, :] - value[..., j, :]) ** 2 * (square[..., i, :] + square[..., j, :] - total / 2)
            for i, j in itertools.combinations(phases, 2)
        ]
        return np.sqrt(np.maximum(sum(pairs, np.zeros_like(value[..., 0, :])), 0))
    bounds = [np.einsum("...kq,...k->...q", np.abs(value - value[..., j : j + 1, :]), stderr) for j in phases]
    return functools.reduce(np.minimum, bounds)


def _slope(x, grid, row):
    """Derivative (p) of linear interpolation, zero beyond the ends."""
    if len(grid) < 2:
        return np.zeros_like(x)
    steps = np.diff(row) / np.diff(grid)
    at = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(steps) - 1)
    inside = (x >= grid[0]) & (x <= grid[-1])
    return np.where(inside, steps[at], 0.0).astype(x.dtype)
