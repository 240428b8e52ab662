"""Where a curve on a window has a maximum, crosses a level or is steepest, in every pixel, with its error.

Index letters: e energy, t term, p pixel. Energies are scaled so that the window is -1..1.
"""

from __future__ import annotations

import numpy as np

from xstxm._kernels.pixel_lines import (
    BELOW_NOISE,
    FOUND,
    NOT_MEASURED,
    OUTSIDE_WINDOW,
    combine,
    known,
    noise_variance,
    powers,
    slabs,
    weights_of,
)

DERIVATIVE = {"level": 0, "maximum": 1, "inflection": 2}
"""Which derivative of the curve takes a given value at the feature."""
RISES = {"level": 1.0, "maximum": -1.0, "inflection": -1.0}
"""Sign of that derivative's own slope at the feature: upwards through a level, downwards at a maximum."""


def locate(
    values: np.ndarray,
    variance: np.ndarray | None,
    x: np.ndarray,
    *,
    feature: str,
    n_terms: int,
    level: float,
    least: float,
    eps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return position and height of a feature, each with its error (4, p), NaN where there is none; and the outcome (p).

    A polynomial of `n_terms` is fitted to values (e, p) at x (e). Errors come from their variance (e, p) where one is
    given, else from the residual.

    The feature is a root of a derivative f of the polynomial. Its error is that of f there divided by the slope of f,
    which has to stand out of its own error by the factor `least`: with less, the position is unknown.
    """
    found = np.full((4, values.shape[1]), np.nan)
    outcome = np.full(values.shape[1], NOT_MEASURED, dtype=np.int8)
    design = powers(x, n_terms)
    used = known(values, variance)
    for numbers, complete in slabs(used):
        seen = used[:, numbers]
        y = np.where(seen, values[:, numbers], 0).astype(float)
        weights, determined = weights_of(design, None if complete else seen)
        coefficients = combine(weights, y)
        free = seen.sum(0) - n_terms
        if variance is None:
            rss = (np.where(seen, y - design @ coefficients, 0) ** 2).sum(0)
            point = noise_variance(rss, free, np.abs(y).max(0), eps)
            covariance = np.einsum("tep,uep->tup", weights, weights, optimize=True) * point
        else:
            noise = np.where(seen, variance[:, numbers], 0).astype(float)
            covariance = np.einsum("tep,uep,ep->tup", weights, weights, noise, optimize=True)
        found[:, numbers], reason = _feature(coefficients, covariance, feature, level, least)
        outcome[numbers] = np.where(determined & (free > 0), reason, NOT_MEASURED)
    found[:, outcome != FOUND] = np.nan
    return found, outcome


def _feature(
    coefficients: np.ndarray, covariance: np.ndarray, feature: str, level: float, least: float
) -> tuple[np.ndarray, np.ndarray]:
    order = DERIVATIVE[feature]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if feature == "level":
            x = _crossing(coefficients, level)
        else:
            x = _maximum(coefficients) if feature == "maximum" else _inflection(coefficients)
        rows = [powers(x, len(coefficients), k).T for k in (0, order, order + 1)]
        height, _, slope = (np.einsum("tp,tp->p", row, coefficients) for row in rows)
        stderr = [np.sqrt(np.einsum("tp,tup,up->p", row, covariance, row, optimize=True)) for row in rows]
        significant = RISES[feature] * slope > least * stderr[2]
        if feature == "inflection":
            rise = powers(x, len(coefficients), 1).T
            rise_stderr = np.sqrt(np.einsum("tp,tup,up->p", rise, covariance, rise, optimize=True))
            significant &= np.einsum("tp,tp->p", rise, coefficients) > least * rise_stderr
        position_stderr = stderr[1] / np.abs(slope)
    inside = np.abs(x) <= 1
    reason = np.where(significant, np.where(inside, FOUND, OUTSIDE_WINDOW), BELOW_NOISE)
    if feature == "level":
        reason = np.where(np.isnan(x), OUTSIDE_WINDOW, reason)
    return np.array([x, position_stderr, height, stderr[0]]), reason


def _maximum(coefficients: np.ndarray) -> np.ndarray:
    """Return where a parabola or cubic has its maximum: the root of its slope that stays finite for a parabola."""
    b, c = coefficients[1], coefficients[2]
    d = coefficients[3] if len(coefficients) > 3 else np.zeros_like(b)
    return b / (np.sqrt(c * c - 3 * b * d) - c)


def _inflection(coefficients: np.ndarray) -> np.ndarray:
    """Return where a cubic is steepest."""
    return -coefficients[2] / (3 * coefficients[3])


def _crossing(coefficients: np.ndarray, level: float, n_grid: int = 33, n_halvings: int = 40) -> np.ndarray:
    """Return where a polynomial first rises through a level within the window; NaN where it does not."""
    grid = np.linspace(-1, 1, n_grid)
    below = powers(grid, len(coefficients)) @ coefficients < level
    rises = below[:-1] & ~below[1:]
    low = grid[rises.argmax(0)]
    high = low + (grid[1] - grid[0])
    for _ in range(n_halvings):
        middle = (low + high) / 2
        under = np.einsum("pt,tp->p", powers(middle, len(coefficients)), coefficients) < level
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.where(rises.any(0), (low + high) / 2, np.nan)
