"""From amounts and their covariance to fractions, labels and composition, all pixels at once.

Index letters: p pixel (any number of leading dims), r and s reference, k phase.
"""

from __future__ import annotations

import numpy as np


def phase_fractions(amount, covariance, membership):
    """Return fractions (p, k), their stderr (p, k) and the total (p) of amounts (p, r) and covariance (p, r, s).

    membership (k, r) adds up the references of a phase. With C the covariance of the phases' amounts,
    var(f_k) = (C_kk - 2 f_k (C 1)_k + f_k^2 1'C1) / total^2: numerator and denominator are correlated.
    """
    c, cov = _by_phase(amount, covariance, membership)
    total = c.sum(-1)
    inverse = _inverse(total)[..., None]
    fraction = c * inverse
    row = cov.sum(-1)
    variance = _diagonal(cov) - 2 * fraction * row + fraction**2 * row.sum(-1)[..., None]
    return fraction, np.sqrt(np.maximum(variance, 0)) * inverse, total


def phase_label(amount, covariance, membership):
    """Return the index of the largest phase (p) and the smallest probability that it exceeds another one (p)."""
    from scipy.special import ndtr

    c, cov = _by_phase(amount, covariance, membership)
    label = np.argmax(np.where(np.isnan(c), -np.inf, c), axis=-1)
    at = label[..., None]
    top = np.take_along_axis(c, at, -1)
    shared = np.take_along_axis(cov, at[..., None], -2)[..., 0, :]
    variance = _diagonal(cov)
    spread = np.take_along_axis(variance, at, -1) + variance - 2 * shared
    difference = top - c
    with np.errstate(divide="ignore", invalid="ignore"):
        score = difference / np.sqrt(np.maximum(spread, 0))
    # equal amounts without noise: nothing speaks for either
    score = np.where((difference == 0) & (spread <= 0), np.zeros((), c.dtype), score)
    np.put_along_axis(score, at, np.inf, axis=-1)
    confidence = np.asarray(ndtr(score.min(-1))).astype(c.dtype)
    return label.astype(np.int16), np.where(np.isnan(top[..., 0]), np.array(np.nan, c.dtype), confidence)


def composition(amount, covariance, value):
    """Return sum(f_r x_r) (p) and its stderr (p) for the composition x (r) of each reference."""
    inverse = _inverse(amount.sum(-1))
    x = value.astype(amount.dtype)
    mean = (amount @ x) * inverse
    offset = x - mean[..., None]
    variance = np.einsum("...r,...rs,...s->...", offset, covariance, offset)
    return mean, np.sqrt(np.maximum(variance, 0)) * inverse


def _inverse(total):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 / total, np.nan).astype(total.dtype)


def _by_phase(amount, covariance, membership):
    g = membership.astype(amount.dtype)
    if g.shape[0] == g.shape[1] and np.array_equal(g, np.eye(len(g))):
        return amount, covariance
    return amount @ g.T, g @ covariance @ g.T


def _diagonal(matrix):
    return np.einsum("...kk->...k", matrix)
