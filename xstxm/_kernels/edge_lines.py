"""Pre-edge and post-edge lines of every pixel, and what they make of its spectrum.

Index letters: e energy, t term, p pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xstxm._kernels.pixel_lines import (
    BELOW_NOISE,
    FOUND,
    NOT_MEASURED,
    combine,
    noise_variance,
    powers,
    slabs,
    weights_of,
)


@dataclass(frozen=True)
class EdgeLines:
    """The terms of both lines and the energies that they are fitted on."""

    pre: np.ndarray
    """Positions of the pre-edge energies."""
    post: np.ndarray
    """Positions of the post-edge energies."""
    pre_terms: np.ndarray
    """Terms of the pre-edge line at every energy (e, t)."""
    post_terms: np.ndarray
    """Terms of the post-edge line at its own energies (e, t)."""
    at_edge: np.ndarray
    """Terms of the post-edge line at the edge (t)."""

    @classmethod
    def plan(
        cls, energy: np.ndarray, pre: np.ndarray, post: np.ndarray, edge: float, orders: tuple[int, int]
    ) -> EdgeLines:
        """Choose the terms: powers of the energy, scaled to -1..1 over each window."""
        before, after = _scale(energy[pre]), _scale(energy[post])
        return cls(
            pre=pre,
            post=post,
            pre_terms=powers((energy - before[0]) / before[1], orders[0] + 1),
            post_terms=powers((energy[post] - after[0]) / after[1], orders[1] + 1),
            at_edge=powers(np.asarray((edge - after[0]) / after[1]), orders[1] + 1),
        )

    def step_error(self) -> float:
        """Return the standard error of the step where that of every value is one."""
        weights = _weights(None, self)
        return float(np.sqrt((weights.step_pre**2).sum() + (weights.step_post**2).sum()))


def _scale(energy: np.ndarray) -> tuple[float, float]:
    return (energy.min() + energy.max()) / 2, np.ptp(energy) / 2 or 1.0


class _Weights(NamedTuple):
    """Weights of the values in the windows, with a pixel axis of length one where all pixels share them."""

    before: np.ndarray
    """Pre-edge values to the coefficients of the pre-edge line (t, e, p)."""
    after: np.ndarray
    """Post-edge values above that line to the coefficients of the post-edge line (t, e, p)."""
    step_pre: np.ndarray
    """Pre-edge values to the step (e, p)."""
    step_post: np.ndarray
    """Post-edge values to the step (e, p)."""
    determined: np.ndarray | bool


def normalize_pixels(
    values: np.ndarray, variance: np.ndarray | None, lines: EdgeLines, *, least: float, eps: float
) -> tuple[np.ndarray, ...]:
    """Return normalised values (e, p), step, its error and the outcome (p), and the variance (e, p) where one is given.

    The step is a fixed sum of the values in both windows, so its error, and its correlation with the values
    that it divides, follow from the variance exactly; the quotient to first order. A step that is not
    `least` of its errors above zero is noise: NaN.
    """
    n_pixels = values.shape[1]
    normalised = np.full_like(values, np.nan)
    spread = None if variance is None else np.full_like(values, np.nan)
    step, stderr = np.full((2, n_pixels), np.nan, dtype=values.dtype)
    outcome = np.full(n_pixels, NOT_MEASURED, dtype=np.int8)
    used = np.isfinite(values[np.concatenate([lines.pre, lines.post])])
    for numbers, complete in slabs(used):
        seen = used[:, numbers]
        weights = _weights(None if complete else seen, lines)
        y = values[:, numbers].astype(float)
        noise = None if variance is None else variance[:, numbers].astype(float)
        above, height, squared = _fit_lines(y, noise, seen, weights, lines, eps)
        judged = weights.determined & np.isfinite(squared)
        found = judged & (height > least * np.sqrt(squared))
        step[numbers] = np.where(weights.determined, height, np.nan)
        stderr[numbers] = np.where(judged, np.sqrt(squared), np.nan)
        outcome[numbers] = np.where(found, FOUND, np.where(judged, BELOW_NOISE, NOT_MEASURED))
        height = np.where(found, height, np.nan)
        normalised[:, numbers] = above / height
        if spread is not None and noise is not None:
            spread[:, numbers] = _quotient_variance(above / height, noise, seen, squared, weights, lines) / height**2
    return (normalised, step, stderr, outcome, *(() if spread is None else (spread,)))


def _weights(seen: np.ndarray | None, lines: EdgeLines) -> _Weights:
    n_pre = lines.pre.size
    pre_terms = lines.pre_terms[lines.pre]
    before, sure_before = weights_of(pre_terms, None if seen is None else seen[:n_pre])
    after, sure_after = weights_of(lines.post_terms, None if seen is None else seen[n_pre:])
    step_post = np.tensordot(lines.at_edge, after, 1)
    below = np.tensordot(lines.pre_terms[lines.post].T, step_post, 1)
    return _Weights(before, after, -(below[:, None] * before).sum(0), step_post, sure_before & sure_after)


def _windows(array: np.ndarray, seen: np.ndarray, lines: EdgeLines) -> tuple[np.ndarray, np.ndarray]:
    """Return what an array (e, p) holds in either window, zero where a value is not used."""
    n_pre = lines.pre.size
    return np.where(seen[:n_pre], array[lines.pre], 0), np.where(seen[n_pre:], array[lines.post], 0)


def _fit_lines(
    y: np.ndarray, noise: np.ndarray | None, seen: np.ndarray, weights: _Weights, lines: EdgeLines, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values above the pre-edge line (e, p), the step and its variance (p)."""
    pre, post = _windows(y, seen, lines)
    above = y - lines.pre_terms @ combine(weights.before, pre)
    height = combine(weights.step_pre, pre) + combine(weights.step_post, post)
    if noise is not None:
        v_pre, v_post = _windows(noise, seen, lines)
        return above, height, combine(weights.step_pre**2, v_pre) + combine(weights.step_post**2, v_post)
    left_pre, left_post = _windows(above, seen, lines)
    left_post = np.where(seen[lines.pre.size :], left_post - lines.post_terms @ combine(weights.after, left_post), 0)
    free = seen.sum(0) - lines.pre_terms.shape[1] - lines.post_terms.shape[1]
    size = np.abs(np.concatenate([pre, post])).max(0)
    point = noise_variance((left_pre**2).sum(0) + (left_post**2).sum(0), free, size, eps)
    return above, height, point * ((weights.step_pre**2).sum(0) + (weights.step_post**2).sum(0))


def _quotient_variance(
    normalised: np.ndarray,
    noise: np.ndarray,
    seen: np.ndarray,
    squared: np.ndarray,
    weights: _Weights,
    lines: EdgeLines,
) -> np.ndarray:
    """Return the variance of the normalised values times that of the squared step (e, p).

    With z_e the value above the pre-edge line, s the step and n_e = z_e / s it is
    var(z_e) - 2 n_e cov(z_e, s) + n_e^2 var(s); the line ties z_e to s and to the pre-edge values.
    """
    v_pre, v_post = _windows(noise, seen, lines)
    terms, at_pre = lines.pre_terms, lines.pre_terms[lines.pre]
    line = combine(weights.before[:, None] * weights.before[None], v_pre)
    variance = noise + np.einsum("et,tup,eu->ep", terms, line, terms, optimize=True)
    variance[lines.pre] -= 2 * v_pre * np.einsum("et,tep->ep", at_pre, weights.before)
    shared = -terms @ combine(weights.before * weights.step_pre, v_pre)
    shared[lines.pre] += weights.step_pre * v_pre
    shared[lines.post] += weights.step_post * v_post
    return variance - 2 * normalised * shared + normalised**2 * squared
