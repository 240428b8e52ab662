"""A peak or a step fitted to every pixel at once, by Levenberg-Marquardt on all pixels that have not converged.

Index letters: e energy, i parameter, p pixel. Energies are scaled so that the window is -1..1. The parameters are
base, height, centre and the logarithm of the width, which keeps the width above zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xstxm._kernels.pixel_lines import (
    BELOW_NOISE,
    FOUND,
    NOT_MEASURED,
    OUTSIDE_WINDOW,
    POOR_FIT,
    noise_variance,
    slabs,
)

Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
N_PARAMETERS = 4
MAX_ITERATIONS = 60
WIDEST, FARTHEST = 2.0, 3.0
"""Logarithm of the width, and distance of the centre, in half windows, from where there is no way back."""
CONVERGED = 1e-6
"""Largest last step: of centre and log width, and of base and height in units of the spread of the values."""


def gaussian(x: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return base + height exp(-u^2 / 2), u = (x - centre) / width, (e, p) and its derivatives (i, e, p)."""
    base, height, centre, log_width = parameters
    width = np.exp(log_width)
    u = (x[:, None] - centre) / width
    bell = np.exp(-0.5 * u * u)
    slope = height * bell * u
    return base + height * bell, np.stack([np.ones_like(u), bell, slope / width, slope * u])


def arctangent(x: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return base + height (1/2 + atan(u) / pi), u = (x - centre) / width, (e, p) and its derivatives (i, e, p)."""
    base, height, centre, log_width = parameters
    width = np.exp(log_width)
    u = (x[:, None] - centre) / width
    rise = 0.5 + np.arctan(u) / np.pi
    slope = -height / (np.pi * (1 + u * u))
    return base + height * rise, np.stack([np.ones_like(u), rise, slope / width, slope * u])


def start_peak(y: np.ndarray, seen: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Guess a peak (i, p) from the moments of what lies above half of its height."""
    low, high = _extremes(y, seen)
    weight = np.where(seen, np.maximum(y - (low + high) / 2, 0), 0) * np.gradient(x)[:, None]
    total = np.maximum(weight.sum(0), np.finfo(float).tiny)
    centre = (weight * x[:, None]).sum(0) / total
    spread = np.sqrt((weight * (x[:, None] - centre) ** 2).sum(0) / total)
    return np.stack([low, high - low, centre, np.log(np.clip(1.7 * spread, 0.05, 1.0))])


def start_step(y: np.ndarray, seen: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Guess a step (i, p) from the mean of the values: the share of the window that lies behind the step."""
    low, high = _extremes(y, seen)
    length = np.gradient(x)[:, None] * seen
    mean = np.where(seen, y, 0) * length
    behind = (mean.sum(0) / length.sum(0) - low) / np.maximum(high - low, np.finfo(float).tiny)
    return np.stack([low, high - low, np.clip(1 - 2 * behind, -0.9, 0.9), np.full(low.size, np.log(0.2))])


def _extremes(y: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(seen, y, np.inf).min(0), np.where(seen, y, -np.inf).max(0)


def locate_curve(
    values: np.ndarray, x: np.ndarray, *, peak: bool, least: float, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre, value at the top, amplitude and width of a Gaussian, or an arctangent step, and the outcome (p).

    Each of the four with its error (8, p), NaN where there is none; values (e, p) at ascending x (e). Where `least`
    errors reach from the amplitude to zero, from the centre across half of the window, or from the width of a peak
    to zero, the curve is noise.
    """
    maps = np.full((8, values.shape[1]), np.nan)
    outcome = np.full(values.shape[1], NOT_MEASURED, dtype=np.int8)
    curve, start = (gaussian, start_peak) if peak else (arctangent, start_step)
    used = np.isfinite(values)
    for numbers, _ in slabs(used):
        numbers = numbers[used[:, numbers].sum(0) > N_PARAMETERS]
        if not numbers.size:
            continue
        seen = used[:, numbers]
        y = np.where(seen, values[:, numbers], 0).astype(float)
        parameters, converged = levenberg_marquardt(curve, x, y, seen, start(y, seen, x))
        model, jacobian = curve(x, parameters)
        rss = (np.where(seen, y - model, 0) ** 2).sum(0)
        point = noise_variance(rss, seen.sum(0) - N_PARAMETERS, np.abs(y).max(0), eps)
        covariance = _inverse(_normal(jacobian * seen)) * point
        maps[:, numbers] = _described(parameters, covariance)
        amplitude, centre, width = least * np.sqrt(covariance[(1, 2, 3), (1, 2, 3)])
        significant = (parameters[1] > amplitude) & (centre < 1) & ((width < 1) | (not peak))
        placed = np.where(np.abs(parameters[2]) <= 1, FOUND, OUTSIDE_WINDOW)
        outcome[numbers] = np.where(converged, np.where(significant, placed, BELOW_NOISE), POOR_FIT)
    maps[:, outcome != FOUND] = np.nan
    return maps, outcome


def _described(parameters: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    base, height, centre, log_width = parameters
    base_stderr, height_stderr, centre_stderr, log_stderr = np.sqrt(np.einsum("iip->ip", covariance))
    top_stderr = np.sqrt(np.maximum(base_stderr**2 + height_stderr**2 + 2 * covariance[0, 1], 0))
    width = np.exp(log_width)
    return np.stack(
        [centre, centre_stderr, base + height, top_stderr, height, height_stderr, width, width * log_stderr]
    )


def levenberg_marquardt(
    curve: Curve, x: np.ndarray, y: np.ndarray, seen: np.ndarray, parameters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the parameters (i, p) with the least squares, and which pixels converged (p)."""
    low, high = _extremes(y, seen)
    parameters, converged = parameters.copy(), high <= low
    scale = np.stack([high - low, high - low, np.ones_like(low), np.ones_like(low)])
    damping = np.full(y.shape[1], 1e-3)
    going = np.flatnonzero(high > low)
    model, jacobian = curve(x, parameters[:, going])
    misfit = np.where(seen[:, going], y[:, going] - model, 0)
    for _ in range(MAX_ITERATIONS):
        step = _damped_step(jacobian * seen[:, going], misfit, damping[going])
        trial = parameters[:, going] + step
        model, tried = curve(x, trial)
        left = np.where(seen[:, going], y[:, going] - model, 0)
        better = (left * left).sum(0) <= (misfit * misfit).sum(0)
        parameters[:, going] = np.where(better, trial, parameters[:, going])
        damping[going] *= np.where(better, 0.2, 5.0)
        misfit, jacobian = np.where(better, left, misfit), np.where(better, tried, jacobian)
        small = (np.abs(step) <= CONVERGED * scale[:, going]).all(0)
        converged[going[small]] = True
        on = ~small & (parameters[3, going] < WIDEST) & (np.abs(parameters[2, going]) < FARTHEST)
        going, misfit, jacobian = going[on], misfit[:, on], jacobian[..., on]
        if not going.size:
            break
    return parameters, converged


def _damped_step(jacobian: np.ndarray, misfit: np.ndarray, damping: np.ndarray) -> np.ndarray:
    normal = _normal(jacobian)
    gradient = np.einsum("iep,ep->ip", jacobian, misfit)
    damped = normal * (1 + np.eye(N_PARAMETERS)[..., None] * damping)
    step = np.einsum("ijp,jp->ip", _inverse(damped), gradient)
    step[3] = np.clip(step[3], -1, 1)
    return step


def _normal(jacobian: np.ndarray) -> np.ndarray:
    """Return J^T J (i, i, p)."""
    normal = np.empty((N_PARAMETERS, N_PARAMETERS, jacobian.shape[2]))
    for i in range(N_PARAMETERS):
        for j in range(i + 1):
            normal[i, j] = normal[j, i] = np.einsum("ep,ep->p", jacobian[i], jacobian[j])
    return normal


def _inverse(normal: np.ndarray) -> np.ndarray:
    """Return the inverse of each matrix (i, i, p), scaled to a unit diagonal, which tells a width from counts."""
    size = np.sqrt(np.maximum(np.einsum("iip->ip", normal), np.finfo(float).tiny))
    unit = normal / (size[:, None] * size[None]) + 1e-13 * np.eye(N_PARAMETERS)[..., None]
    with np.errstate(over="ignore"):
        return np.moveaxis(np.linalg.inv(np.moveaxis(unit, -1, 0)), 0, -1) / (size[:, None] * size[None])
