"""A peak or a step fitted to every pixel at once, by damped Newton steps on all pixels that have not converged.

Index letters: e energy, i parameter, p pixel. Energies are scaled so that the window is -1..1. The curve is
``base + height s(u)``, ``u = (x - centre) / width``; the parameters are base, height, centre and the logarithm of the
width, which keeps the width above zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xstxm._kernels.pixel_lines import (
    BELOW_NOISE,
    FOUND,
    NOT_MEASURED,
    OUTSIDE_WINDOW,
    POOR_FIT,
    known,
    noise_variance,
    slabs,
)

Shape = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
N_PARAMETERS = 4
MAX_ITERATIONS = 60
WIDEST, FARTHEST = 2.0, 3.0
"""Logarithm of the width, and distance of the centre, in half windows, from where there is no way back."""
CONVERGED = 1e-6
"""Largest last step: of centre and log width, and of base and height in units of the spread of the values."""


def gaussian(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return exp(-u^2 / 2) and its first two derivatives."""
    bell = np.exp(-0.5 * u * u)
    return bell, -u * bell, (u * u - 1) * bell


def arctangent(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 1/2 + atan(u) / pi, a step from 0 to 1, and its first two derivatives."""
    slope = 1 / (np.pi * (1 + u * u))
    return 0.5 + np.arctan(u) / np.pi, slope, -2 * np.pi * u * slope * slope


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
    values: np.ndarray, variance: np.ndarray | None, x: np.ndarray, *, peak: bool, least: float, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre, value at the top, amplitude and width of a Gaussian, or an arctangent step, and the outcome (p).

    Each of the four with its error (8, p), NaN where there is none; values (e, p) at ascending x (e). Errors come from
    their variance (e, p) where one is given, else from the residual. Where `least` errors reach from the amplitude to
    zero, from the centre across half of the window, or from the width of a peak to zero, the curve is noise.
    """
    maps = np.full((8, values.shape[1]), np.nan)
    outcome = np.full(values.shape[1], NOT_MEASURED, dtype=np.int8)
    shape, start = (gaussian, start_peak) if peak else (arctangent, start_step)
    used = known(values, variance)
    for numbers, _ in slabs(used):
        numbers = numbers[used[:, numbers].sum(0) > N_PARAMETERS]
        if not numbers.size:
            continue
        seen = used[:, numbers]
        y = np.where(seen, values[:, numbers], 0).astype(float)
        parameters, converged = least_squares(shape, x, y, seen, start(y, seen, x))
        rss, _, normal, _ = _expansion(shape, x, y, seen, parameters)
        if variance is None:
            point = noise_variance(rss, seen.sum(0) - N_PARAMETERS, np.abs(y).max(0), eps)
            covariance = _inverse(normal) * point
        else:
            noise = np.where(seen, variance[:, numbers], 0).astype(float)
            jacobian = np.stack(_jacobian(shape, x, seen, parameters)[-1])
            spread = np.einsum("iep,jep,ep->ijp", jacobian, jacobian, noise, optimize=True)
            covariance = np.einsum("ijp,jkp,klp->ilp", _inverse(normal), spread, _inverse(normal), optimize=True)
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


def least_squares(
    shape: Shape, x: np.ndarray, y: np.ndarray, seen: np.ndarray, parameters: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the parameters (i, p) with the least squares, and which pixels converged (p)."""
    low, high = _extremes(y, seen)
    parameters, converged = parameters.copy(), high <= low
    scale = np.stack([high - low, high - low, np.ones_like(low), np.ones_like(low)])
    going = np.flatnonzero(high > low)
    damping = np.full(going.size, 1e-3)
    here: tuple[np.ndarray, ...] = _expansion(shape, x, y[:, going], seen[:, going], parameters[:, going])
    for _ in range(MAX_ITERATIONS):
        misfit, gradient, normal, hessian = here
        step = _damped_step(gradient, normal, hessian, damping)
        there = _expansion(shape, x, y[:, going], seen[:, going], parameters[:, going] + step)
        better = there[0] <= misfit
        parameters[:, going] += np.where(better, step, 0)
        damping *= np.where(better, 0.2, 5.0)
        here = tuple(np.where(better, new, old) for new, old in zip(there, here, strict=True))
        small = (np.abs(step) <= CONVERGED * scale[:, going]).all(0)
        converged[going[small]] = True
        on = ~small & (parameters[3, going] < WIDEST) & (np.abs(parameters[2, going]) < FARTHEST)
        going, damping, here = going[on], damping[on], tuple(array[..., on] for array in here)
        if not going.size:
            break
    return parameters, converged


def _expansion(
    shape: Shape, x: np.ndarray, y: np.ndarray, seen: np.ndarray, parameters: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the sum of squares (p), J^T r (i, p), J^T J and the Hessian of half the sum (i, i, p).

    The Hessian adds to J^T J the curvature of the curve times the residual: where a Gaussian is not the whole truth,
    J^T J alone converges slowly.
    """
    base, height, _, log_width = parameters
    width = np.exp(log_width)
    u, s, slope, bend, jacobian = _jacobian(shape, x, seen, parameters)
    misfit = np.where(seen, y - base - height * s, 0)
    normal = np.empty((N_PARAMETERS, N_PARAMETERS, y.shape[1]))
    for i in range(N_PARAMETERS):
        for j in range(i + 1):
            normal[i, j] = normal[j, i] = np.einsum("ep,ep->p", jacobian[i], jacobian[j])
    gradient = np.stack([np.einsum("ep,ep->p", row, misfit) for row in jacobian])
    sloped = [np.einsum("ep,ep->p", slope * u**k, misfit) for k in (0, 1)]
    bent = [np.einsum("ep,ep->p", bend * u**k, misfit) for k in (0, 1, 2)]
    hessian = normal.copy()
    for i, j, curved in (
        (1, 2, -sloped[0] / width),
        (1, 3, -sloped[1]),
        (2, 2, height * bent[0] / width**2),
        (2, 3, height * (bent[1] + sloped[0]) / width),
        (3, 3, height * (bent[2] + sloped[1])),
    ):
        hessian[i, j] = hessian[j, i] = normal[i, j] - curved
    return np.einsum("ep,ep->p", misfit, misfit), gradient, normal, hessian


def _jacobian(shape: Shape, x: np.ndarray, seen: np.ndarray, parameters: np.ndarray) -> tuple[Any, ...]:
    """Return u, the shape and its two derivatives (e, p), and the derivatives of the curve by each parameter."""
    _, height, centre, log_width = parameters
    width = np.exp(log_width)
    u = (x[:, None] - centre) / width
    s, slope, bend = (np.where(seen, array, 0) for array in shape(u))
    return u, s, slope, bend, [seen.astype(float), s, -height * slope / width, -height * slope * u]


def _damped_step(gradient: np.ndarray, normal: np.ndarray, hessian: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Return Newton's step, or that of J^T J where Newton's would climb."""
    guard = np.einsum("iip->ip", normal)[:, None] * np.eye(N_PARAMETERS)[..., None] * damping
    step = np.einsum("ijp,jp->ip", _inverse(hessian + guard), gradient)
    climbs = ~(np.einsum("ip,ip->p", step, gradient) > 0)
    if climbs.any():
        downhill = _inverse((normal + guard)[..., climbs])
        step[:, climbs] = np.einsum("ijp,jp->ip", downhill, gradient[:, climbs])
    step[3] = np.clip(step[3], -1, 1)
    return step


def _inverse(normal: np.ndarray) -> np.ndarray:
    """Return the inverse of each matrix (i, i, p), scaled to a unit diagonal, which tells a width from counts."""
    diagonal = np.abs(np.einsum("iip->ip", normal))
    size = np.sqrt(np.maximum(diagonal, np.finfo(float).tiny))
    with np.errstate(over="ignore"):
        unit = normal / size[:, None] / size[None] + 1e-13 * np.eye(N_PARAMETERS)[..., None]
        return np.moveaxis(np.linalg.inv(np.moveaxis(unit, -1, 0)), 0, -1) / size[:, None] / size[None]
