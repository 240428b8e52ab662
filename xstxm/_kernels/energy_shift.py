"""Energy shift and broadening between references and a stack, from second moments of the stack alone.

For references moved by s and broadened by w, the best amounts of every pixel leave ``r = (1 - P) y``, P the projection on
the references and the background: variable projection (Golub and Pereyra). Over all pixels that is ``tr (1 - P) M``
with the second moment M of the stack. With ``M = L L'`` it is the square of ``(1 - P) L``, the residual of as many spectra
as there are energies, whatever the number of pixels.

Index letters: e energy, r reference, k block of pixels, t free parameter (shift, variance of the Gaussian), q node.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from xstxm._kernels.moments import second_moment

REACH = 4 / np.sqrt(8 * np.log(2))
"""How far the Gaussian reaches, in units of its full width at half maximum: four standard deviations."""
_NODES = np.linspace(-4, 4, 33)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()
_SPREAD = np.sqrt(_WEIGHTS @ _NODES**2)
TRIALS = 81
"""Shifts that are tried before the best one is refined."""
WIDTHS = 5
"""Widths that are tried with each."""
ENERGY_BLOCKS = 8
"""Parts of the spectrum, each of which the jackknife leaves out in turn."""
FEW_BLOCKS = 8
"""Blocks of pixels below which their scatter says little."""
DETERMINED = 1e-12
"""Part of the data that the shift has to change for it to be there."""


class Spectra(NamedTuple):
    """Cubic splines through references, and where each has data."""

    splines: Sequence[Callable[[np.ndarray], np.ndarray]]
    """Of neighbours that have data at the same energies in one, ``(..., r)``: a spline spends its time on finding intervals."""
    ends: Sequence[tuple[float, float]]
    """Of each spline."""
    number: int
    """Of references."""


class Problem(NamedTuple):
    """What the shift is found from."""

    root: np.ndarray
    """(e, e) with root @ root.T the second moment."""
    terms: np.ndarray
    """(term, e) background."""
    spectra: Spectra
    energy: np.ndarray
    middle: float
    """Energy at which the width is that of the Gaussian."""


class Found(NamedTuple):
    """Shift and full width at half maximum, with errors, and what they are judged by."""

    shift: float
    width: float
    shift_error: float
    width_error: float
    """NaN for a width that was held."""
    jackknife: float
    """Standard error of the shift over the parts of the spectrum."""
    sharper: float
    """How many standard errors the data ask for a width below zero; 0 where they do not."""
    before: float
    """Sum of squares with nothing moved, and at the end."""
    after: float
    trials: np.ndarray
    """(2, trial) shifts, and the sum of squares at each with the width that was found."""


def block_moments(pixels: np.ndarray, label: np.ndarray, n_blocks: int) -> np.ndarray:
    """Return the `second_moment` (k, e + 1, e + 1) of the pixels (e, p) of each block; those with a label below 0 do not count."""
    parts = [pixels[:, label == k] for k in range(n_blocks)]
    return np.stack([second_moment(part, np.ones(part.shape[1])) for part in parts])


def spectra_from(grid: np.ndarray, values: np.ndarray) -> Spectra:
    """Return splines through spectra (r, e) on an ascending grid; a spectrum has NaN where it has no data."""
    splines, ends = [], []
    for there, rows in itertools.groupby(values, lambda row: tuple(np.isfinite(row))):
        at = grid[list(there)]
        splines.append(_spline(at, np.array([row[list(there)] for row in rows]).T))
        ends.append((at[0], at[-1]))
    return Spectra(splines, ends, len(values))


def _spline(at: np.ndarray, columns: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a spline through spectra (e, r), or their values where there is one energy."""
    from scipy.interpolate import CubicSpline

    if at.size > 1:
        return CubicSpline(at, columns)
    return lambda energy: np.broadcast_to(columns[0], (*energy.shape, columns.shape[1]))


def moved(spectra: Spectra, energy: np.ndarray, shift: float, width: float, middle: float | None = None) -> np.ndarray:
    """Return spectra (r, e) moved by a shift and broadened with a Gaussian, at energies (e).

    `width` is the full width at half maximum at the `middle` energy; it is proportional to the energy, as that of an
    instrument of constant resolving power. The convolution is a sum over nodes a quarter of a standard deviation apart,
    which for a Gaussian is exact to rounding but for its cut at four.
    """
    middle = (energy.min() + energy.max()) / 2 if middle is None else middle
    sigma = width * (REACH / 4) * energy / middle
    at = (energy - shift)[:, None]
    if width > 0:
        at = at + sigma[:, None] * (_NODES / _SPREAD)
    weights = _WEIGHTS if width > 0 else np.ones(1)
    limits = zip(spectra.splines, spectra.ends, strict=True)
    parts = [np.einsum("eqr,q->re", spline(np.clip(at, low, high)), weights) for spline, (low, high) in limits]
    return np.concatenate(parts)


def find(
    moments: np.ndarray,
    terms: np.ndarray,
    spectra: Spectra,
    energy: np.ndarray,
    max_shift: float,
    width: float,
    max_width: float | None = None,
) -> Found:
    """Find the shift, and the width where `max_width` is given, that leave least of all pixels.

    Parameters
    ----------
    moments
        (k, e + 1, e + 1) second moments of blocks of pixels, see `block_moments`.
    terms, spectra, energy
        Background (term, e), references, and the energies of the stack.
    max_shift
        Search from minus to plus this.
    width, max_width
        Width that is held, or the largest of the search.
    """
    total = moments.sum(0)[:-1, :-1]
    values, vectors = np.linalg.eigh(total)
    root = vectors * np.sqrt(np.maximum(values, 0))
    problem = Problem(root, terms, spectra, energy, (energy.min() + energy.max()) / 2)
    largest = [max_shift] if max_width is None else [max_shift, _variance(max_width)]
    held = _variance(width)
    start = _best_trial(problem, max_shift, held, largest)
    best = _refined(problem, start, largest, held)
    shift, variance = _both(best, held)
    errors, sharper = _errors(problem, moments, best, largest, held)
    grid = np.linspace(-max_shift, max_shift, TRIALS)
    return Found(
        shift=shift,
        width=width if max_width is None else _width(variance),
        shift_error=errors[0],
        width_error=_width(variance + errors[1]) - _width(variance),
        jackknife=_jackknife(problem, best, largest, held),
        sharper=sharper,
        before=_rss(problem, (0.0, 0.0)),
        after=_rss(problem, (shift, variance)),
        trials=np.array([grid, [_rss(problem, (s, variance)) for s in grid]]),
    )


def _variance(width: float) -> float:
    return (width * (REACH / 4)) ** 2


def _width(variance: float) -> float:
    return float(np.sqrt(variance) / (REACH / 4))


def _both(parameters: np.ndarray, held: float) -> tuple[float, float]:
    """Return shift and variance, of which the second may be held."""
    return float(parameters[0]), float(parameters[1]) if len(parameters) > 1 else held


def _basis(problem: Problem, at: tuple[float, float]) -> np.ndarray:
    """Return orthonormal spectra (e, u) of the background and the references at a shift and a variance."""
    spectra = moved(problem.spectra, problem.energy, at[0], _width(at[1]), problem.middle)
    return np.linalg.qr(np.concatenate([problem.terms, spectra]).T)[0]


def _residual(problem: Problem, at: tuple[float, float]) -> np.ndarray:
    basis = _basis(problem, at)
    return problem.root - basis @ (basis.T @ problem.root)


def _rss(problem: Problem, at: tuple[float, float]) -> float:
    return float((_residual(problem, at) ** 2).sum())


def _best_trial(problem: Problem, max_shift: float, held: float, largest: list[float]) -> np.ndarray:
    """Return the best of a grid of shifts, and of widths where these are free."""
    variances = [held] if len(largest) == 1 else [largest[1] * (k / (WIDTHS - 1)) ** 2 for k in range(WIDTHS)]
    trials = [(shift, variance) for variance in variances for shift in np.linspace(-max_shift, max_shift, TRIALS)]
    return np.array(trials[int(np.argmin([_rss(problem, trial) for trial in trials]))][: len(largest)])


def _refined(problem: Problem, start: np.ndarray, largest: list[float], held: float) -> np.ndarray:
    """Return the minimum next to a start, within the limits; a variance that ends beside zero is zero."""
    from scipy.optimize import least_squares

    scale, low = np.array(largest), np.array([-1.0, 0.0])[: len(largest)]
    solution = least_squares(
        lambda share: _residual(problem, _both(share * scale, held)).ravel(),
        np.clip(start / scale, low + 1e-6, 1 - 1e-6),
        bounds=(low, 1),
        jac="3-point",
        xtol=1e-9,
        ftol=1e-14,
        gtol=1e-14,
    )
    found: np.ndarray = scale * solution.x
    if len(found) > 1:
        at_zero = _refined(problem, found[:1], largest[:1], 0.0)
        if _rss(problem, (at_zero[0], 0.0)) <= _rss(problem, _both(found, held)) * (1 + 1e-10):
            return np.array([at_zero[0], 0.0])
    return found


def _slopes(problem: Problem, at: np.ndarray, largest: list[float], held: float) -> np.ndarray:
    """Return the derivatives (t, e, e) of the projection."""

    def projection(parameters: np.ndarray) -> np.ndarray:
        basis = _basis(problem, _both(parameters, held))
        return basis @ basis.T

    slopes = []
    for t, scale in enumerate(largest):
        step = np.zeros(len(at))
        step[t] = 1e-4 * scale
        low, high = at - step, at + step
        low[1:] = np.maximum(low[1:], 0)  # a variance of zero has one side only
        slopes.append((projection(high) - projection(low)) / (high - low)[t])
    return np.array(slopes)


def _errors(
    problem: Problem, moments: np.ndarray, at: np.ndarray, largest: list[float], held: float
) -> tuple[np.ndarray, float]:
    """Return standard errors of the shift and the variance, and how many of them the data ask for less than none.

    From the curvature H and the scatter of the gradient g over the blocks, ``H^-1 (k / (k - 1) sum g g') H^-1``; from the
    residual with few blocks. At a variance of zero the shift is that with the variance held.
    """
    slopes = _slopes(problem, at, largest, held)
    change = slopes @ problem.root
    curvature = 2 * np.einsum("tef,uef->tu", change, change)
    if not (np.diag(curvature) > 0).all():
        return np.full(2, np.nan), 0.0
    used = moments[:, -1, -1] > 0
    gradient = -np.einsum("tef,kef->kt", slopes, moments[used][:, :-1, :-1])
    pixels, blocks = moments[:, -1, -1].sum(), int(used.sum())
    n_unknowns = len(problem.terms) + problem.spectra.number
    noise = _rss(problem, _both(at, held)) / max(pixels * (len(problem.energy) - n_unknowns), 1)
    scatter = blocks / (blocks - 1) * gradient.T @ gradient if blocks >= FEW_BLOCKS else 2 * noise * curvature
    bounded = len(at) > 1 and at[1] == 0
    inverse = np.diag(1 / np.diag(curvature)) if bounded else np.linalg.inv(curvature)
    error = np.sqrt(np.diag(inverse @ scatter @ inverse))
    slope = float(gradient.sum(0)[1] / np.sqrt(scatter[1, 1])) if bounded else 0.0
    return np.append(error, np.nan)[:2], max(slope, 0.0)


def _jackknife(problem: Problem, at: np.ndarray, largest: list[float], held: float) -> float:
    """Return the standard error of the shift over contiguous parts of the spectrum, each left out in turn; NaN for short ones."""
    order = np.argsort(problem.energy, kind="stable")
    parts = np.array_split(order, ENERGY_BLOCKS)
    n_unknowns = len(problem.terms) + problem.spectra.number
    if len(order) - len(parts[0]) <= n_unknowns + 1:
        return np.nan
    shifts = []
    for part in parts:
        kept = np.setdiff1d(order, part)
        rest = problem._replace(root=problem.root[kept], terms=problem.terms[:, kept], energy=problem.energy[kept])
        shifts.append(_refined(rest, at, largest, held)[0])
    return float(np.sqrt((len(parts) - 1) * np.var(shifts)))


def determined(moments: np.ndarray, found: Found) -> bool:
    """Tell whether the data depend on the shift at all."""
    size = np.trace(moments.sum(0)[:-1, :-1])
    return bool(np.ptp(found.trials[1]) > DETERMINED * size)
