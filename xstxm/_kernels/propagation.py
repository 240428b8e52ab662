"""From amounts and their covariance to fractions, labels and composition, all pixels at once.

Index letters: p pixel (any number of leading dims), r and s reference, j and k phase.
"""

from __future__ import annotations

import numpy as np

from xstxm._kernels.devices import beside, on_device, special_functions

BLOCK = 4096
"""Pixels whose label is judged at once."""
SURE = 1e-4
"""Sum of the probabilities that some other phase is larger, below which it is taken as the probability that any is."""


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


def fraction_covariance(amount, covariance, membership):
    """Return the covariance (p, j, k) of the fractions; its rows add up to zero, as the fractions add up to one.

    cov(f_j, f_k) = (C_jk - f_j (C 1)_k - f_k (C 1)_j + f_j f_k 1'C1) / total^2.
    """
    c, cov = _by_phase(amount, covariance, membership)
    inverse = _inverse(c.sum(-1))[..., None]
    fraction = c * inverse
    row = cov.sum(-1)
    half = row - 0.5 * fraction * row.sum(-1)[..., None]
    shared = fraction[..., :, None] * half[..., None, :]
    return (cov - shared - shared.swapaxes(-1, -2)) * inverse[..., None] ** 2


def phase_label(amount, covariance, membership):
    """Return the index of the largest phase (p)."""
    c, _ = _by_phase(amount, covariance, membership)
    return np.argmax(np.where(np.isnan(c), -np.inf, c), axis=-1).astype(np.int16)


def chance_of_label(amount, covariance, label, membership):
    """Return the probability that the phase `label` (p) is the largest (p); NaN where the label is no phase."""
    c, cov = _by_phase(amount, covariance, membership)
    found = np.full_like(label, np.nan, dtype=amount.dtype)
    phase = label >= 0
    found[phase] = chance_of_largest(c[phase], cov[phase], label[phase])
    return found


def chance_of_largest(amount, covariance, at):
    """Return the probability that phase `at` (p) is the largest, of Gaussian amounts (p, k) with covariance (p, j, k)."""
    shape, n = amount.shape[:-1], amount.shape[-1]
    flat = amount.reshape(-1, n), covariance.reshape(-1, n, n), at.reshape(-1)
    out = np.empty_like(amount, shape=len(flat[0]))
    size = 64 * BLOCK if on_device(amount) else BLOCK  # a device starts each step slowly
    for start in range(0, len(out), size):
        block = slice(start, start + size)
        out[block] = _chance_of_largest(*(array[block] for array in flat))
    return out.reshape(shape)


def bias_of_chance(amount, covariance, label, chance, membership):
    """Return what bounds at zero add, on average, to the probability `chance` (p) that the phase `label` (p) is the largest."""
    bias = np.where(np.isnan(chance), np.nan, 0).astype(amount.dtype)
    open_ = (amount == 0).any(-1) & (1 - chance > SURE)
    c, cov = released(amount[open_], covariance[open_]), covariance[open_]
    bias[open_] = chance[open_] - chance_of_label(c, cov, label[open_], membership)
    return bias


def released(amount, covariance):
    """Return amounts (p, r) as they would be on average without bounds, were those that are zero truly zero.

    The amounts H held at zero draw the others along, c = c_free + C_.H m with multipliers m > 0 of covariance
    (C_HH)^-1. The mean of each, as if it were alone, is the root of 2 / pi times its standard deviation.
    """
    held = amount == 0
    deviation = np.sqrt(np.maximum(_diagonal(covariance), 0)).astype(float)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    correlation = covariance * scale[..., :, None] * scale[..., None, :]
    one = beside(amount, np.eye(held.shape[-1]))
    among = np.where(held[..., :, None] & held[..., None, :], correlation, 0)
    # what is added to the diagonal keeps rounding from making it singular
    square = _diagonal(np.linalg.inv(among + np.where(held[..., None], 1e-6, 1) * one))
    drawn = (correlation @ np.sqrt(2 / np.pi * np.where(held & (deviation > 0), square, 0))[..., None])[..., 0]
    return (amount - deviation * drawn).astype(amount.dtype)


def chances(fraction, covariance):
    """Return the probability of each phase to be the largest (p, k)."""
    shape, n = fraction.shape[:-1], fraction.shape[-1]
    each = [chance_of_largest(fraction, covariance, np.full(shape, k)) for k in range(n)]
    found = np.stack(each, -1)
    return found / found.sum(-1, keepdims=True)


def two_chances(fraction, confidence):
    """Return the same where only that of the largest fraction is known: the rest goes to the second largest."""
    return two_largest(fraction, confidence, 1 - confidence)


def two_largest(fraction, first, second):
    """Return maps (p, k) of `first` (p) at the largest fraction, of `second` (p) at the second largest, and of zero."""
    order = np.argsort(-np.nan_to_num(fraction, nan=-np.inf), axis=-1, kind="stable")
    found = np.zeros_like(fraction)
    np.put_along_axis(found, order[..., :1], first[..., None], axis=-1)
    if fraction.shape[-1] > 1:
        np.put_along_axis(found, order[..., 1:2], second[..., None], axis=-1)
    return found


def _chance_of_largest(amount, covariance, at):
    n = amount.shape[-1]
    # differences to the other phases, which lie at + 1, at + 2, ...
    others = (at[:, None] + np.arange(1, n, like=at)) % n
    shared = np.take_along_axis(covariance, at[:, None, None], -2)[:, 0].astype(float)
    variance = np.take_along_axis(_diagonal(covariance), others, -1)
    own = np.take_along_axis(shared, at[:, None], -1)
    shared = np.take_along_axis(shared, others, -1)
    mean = np.take_along_axis(amount, at[:, None], -1).astype(float) - np.take_along_axis(amount, others, -1)
    score = _score(mean, own - 2 * shared + variance)
    doubt = _chance_below(score).sum(-1)
    chance = 1 - doubt
    open_ = np.flatnonzero(doubt > SURE)
    if open_.size:
        order = np.argsort(score[open_], axis=-1)
        some = np.take_along_axis(others[open_], order, -1)
        among = covariance[open_[:, None, None], some[:, :, None], some[:, None, :]].astype(float)
        shared = np.take_along_axis(shared[open_], order, -1)
        spread = own[open_, :, None] - shared[:, :, None] - shared[:, None, :] + among
        mean = np.take_along_axis(mean[open_], order, -1)
        chance[open_] = all_positive(mean.T.copy(), spread.transpose(1, 2, 0).copy())
    return np.where(np.isnan(amount).any(-1), np.nan, chance)


def all_positive(mean, covariance):
    """Return the probability (p) that Gaussian variables with this mean (j, p) and covariance (i, j, p) are all above zero.

    One after the other is taken to be above zero; the mean and the covariance of the others given that are kept, and
    they are taken as Gaussian again (Mendell and Elston). Best with the least likely first.
    """
    mean, cov = mean.copy(), covariance.copy()
    chance = np.ones_like(mean[0])
    for first in range(len(mean)):
        rest = slice(first + 1, None)
        variance = cov[first, first]
        score = _score(mean[first], variance)
        ratio = _ratio(score)
        chance *= 1 - _chance_below(score)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = np.where(variance > 0, cov[first, rest] / np.sqrt(variance), 0.0)
        mean[rest] += along * ratio
        cov[rest, rest] -= along[:, None] * (along * (ratio * (ratio + np.where(np.isfinite(score), score, 0.0))))
    return chance


def _score(mean, variance):
    """Return mean over standard deviation; of no spread infinite, and 0 where the mean is 0: nothing speaks for either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        score = mean / np.sqrt(np.maximum(variance, 0))
    return np.where((mean == 0) & (variance <= 0), 0.0, score)


def _chance_below(score):
    """Return the probability that a Gaussian variable with this score is below zero."""
    return special_functions(score).ndtr(-score)


def _ratio(score):
    """Return the mean, over its spread, that being above zero adds to a Gaussian variable (the inverse Mills ratio)."""
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.exp(-0.5 * score**2 - special_functions(score).log_ndtr(score)) / np.sqrt(2 * np.pi)
    return np.where(np.isfinite(ratio), ratio, 0.0)


def composition(amount, covariance, value):
    """Return sum(f_r x_r) (p) and its stderr (p) for the composition x (r) of each reference."""
    inverse = _inverse(amount.sum(-1))
    x = beside(amount, value.astype(amount.dtype))
    mean = _weighted_sum(amount, x) * inverse
    offset = x - mean[..., None]
    variance = np.einsum("...r,...rs,...s->...", offset, covariance, offset)
    return mean, np.sqrt(np.maximum(variance, 0)) * inverse


def _inverse(total):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 / total, np.nan).astype(total.dtype)


def _weighted_sum(amount, weights):
    """Return sum(a_r w_r) (p) in the order of r: a product of matrices rounds by how they lie in memory."""
    total = amount[..., 0] * weights[0]
    for k in range(1, len(weights)):
        total = total + amount[..., k] * weights[k]
    return total


def _by_phase(amount, covariance, membership):
    g = membership.astype(amount.dtype)
    if g.shape[0] == g.shape[1] and np.array_equal(g, np.eye(len(g))):
        return amount, covariance
    g = beside(amount, g)
    return amount @ g.T, g @ covariance @ g.T


def _diagonal(matrix):
    return np.einsum("...kk->...k", matrix)
