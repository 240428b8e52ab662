"""Factorise spectra into components and amounts by alternating least squares, each half solved exactly.

Index letters: e energy, p pixel, c component. The problem is min ||data - spectra' amounts||^2 with data (e, p),
spectra (c, e) and amounts (c, p). Everything is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xstxm._kernels.fit_plan import METHODS
from xstxm.steps import tell_step

SWEEPS = 4
"""Rounds over the components in one update of spectra that are solved one by one."""
SOFTENING = 0.1
"""Amount, as a share of the largest, below which a spectrum is too noisy to be taken for a pure one."""
FIRST_BOOST, MORE, LESS = 0.5, 1.1, 0.5
"""How far the last step is carried on at first, and the factors when that worked and when it did not."""


@dataclass(frozen=True)
class Rules:
    """What amounts and spectra must obey."""

    method: str
    """Of the amounts: ``lstsq``, ``nnls`` or ``fcls``, as in `linear_fit`."""
    resolved: np.ndarray
    """(c) components whose spectrum the data alone decide; the others keep within their limits."""
    lower: np.ndarray
    """(c, e) limits of the spectra; equal ones hold a spectrum."""
    upper: np.ndarray
    order: np.ndarray | None = None
    """(e) the energies in ascending order, where resolved spectra have a single maximum."""

    @property
    def held(self) -> np.ndarray:
        """(c) components that never change."""
        return (self.lower == self.upper).all(1)

    @property
    def joint(self) -> bool:
        """Whether the spectra that change can be solved for together."""
        return self.order is None and bool((self.held | self.resolved).all())


def nonnegative(n_components: int, n_energies: int) -> Rules:
    """Return the rules of non-negative factorisation."""
    lower = np.zeros((n_components, n_energies))
    return Rules("nnls", np.ones(n_components, dtype=bool), lower, np.full_like(lower, np.inf))


class Factors(NamedTuple):
    """A factorisation and how it was reached."""

    spectra: np.ndarray
    amounts: np.ndarray
    rms: np.ndarray
    """(i) root mean square of the residual after each iteration."""
    change: np.ndarray
    """(i) largest change of a spectrum in each iteration, relative to its length."""
    converged: bool


def alternate(data: np.ndarray, spectra: np.ndarray, rules: Rules, *, max_iterations: int, tolerance: float) -> Factors:
    """Alternate from a start until the residual falls by less than the tolerance. It never grows.

    Amounts are first carried on along their last step, which saves most of the iterations (Ang and Gillis, Neural
    Comput. 31, 417, 2019, doi 10.1162/neco_a_01157); where that does not lower the residual by more than the
    tolerance, the step is done again from the amounts as they are, and decides.
    """
    spectra, total = feasible(spectra, rules), (data**2).sum()
    supports = np.full(data.shape[1], (1 << len(spectra)) - 1)
    amounts, rss = solve_amounts(data, spectra, rules.method, supports, total)
    step, boost = np.zeros_like(amounts), FIRST_BOOST
    converged = False
    rms: list[float] = []
    change: list[float] = []
    for _ in range(max_iterations):
        tell_step()
        revived = _revive(data, spectra, amounts, rules)
        if revived is not spectra:
            spectra, step = revived, np.zeros_like(amounts)
            amounts, rss = solve_amounts(data, spectra, rules.method, supports, total)
        for ahead in (amounts + boost * step, amounts):
            trial = solve_spectra(data, spectra, ahead, rules)
            found, left = solve_amounts(data, trial, rules.method, supports, total)
            converged = bool(np.sqrt(left) >= (1 - tolerance) * np.sqrt(rss))
            if not converged:
                break
        boost = min(boost * MORE, 1.0) if ahead is not amounts else boost * LESS
        change.append(largest_change(spectra, trial))
        spectra, step, amounts, rss = trial, found - amounts, found, left
        rms.append(np.sqrt(rss / data.size))
        if converged:
            break
    return Factors(spectra, amounts, np.array(rms), np.array(change), converged)


def largest_change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the largest distance between spectra (c, e) and what they were, relative to their length."""
    length = np.linalg.norm(after, axis=1)
    return float((np.linalg.norm(after - before, axis=1) / np.where(length > 0, length, 1)).max())


def feasible(spectra: np.ndarray, rules: Rules) -> np.ndarray:
    """Return the nearest spectra that obey the rules."""
    project = _projection(rules)
    return np.array([project(k, row) for k, row in enumerate(spectra)])


def solve_amounts(
    data: np.ndarray, spectra: np.ndarray, method: str, supports: np.ndarray, total: float
) -> tuple[np.ndarray, float]:
    """Return the amounts (c, p) for given spectra, and the sum of squares that is left of the total.

    Spectra that depend on each other do no harm. `supports` (p) are guesses of the components above zero, replaced
    by those found.
    """
    q, r = np.linalg.qr(spectra.T)
    targets = q.T @ data
    amounts = _solve_columns(r, targets, method, supports)
    outside = max(total - (targets**2).sum(), 0.0)
    return amounts, float(outside + ((targets - r @ amounts) ** 2).sum())


def _solve_columns(columns: np.ndarray, targets: np.ndarray, method: str, supports: np.ndarray) -> np.ndarray:
    """Return x (c, p) that minimises |columns x - target| for each target (m, p)."""
    from xstxm._kernels.small_nnls import solve_amounts_only

    if method == "lstsq":
        return np.linalg.lstsq(columns, targets)[0]
    length = np.linalg.norm(columns, axis=0)
    scale = np.where((length > 0) & (method == "nnls"), length, 1.0)
    found = np.empty((targets.shape[1], columns.shape[1]))
    solve_amounts_only(
        METHODS[method],
        np.ascontiguousarray((columns / scale).T),
        np.ascontiguousarray(targets.T),
        supports,
        found,
    )
    return (found / scale).T


def solve_spectra(data: np.ndarray, spectra: np.ndarray, amounts: np.ndarray, rules: Rules) -> np.ndarray:
    """Return the spectra (c, e) for given amounts: all at once, or one by one where each has a rule of its own."""
    changing = ~rules.held
    if not changing.any():
        return spectra
    if not rules.joint:
        return _sweep(data, spectra, amounts, rules)
    q, r = np.linalg.qr(amounts[changing].T)
    targets = q.T @ data.T - (q.T @ amounts[~changing].T) @ spectra[~changing]
    method = "nnls" if (rules.lower[changing] == 0).all() else "lstsq"
    solved = spectra.copy()
    solved[changing] = _solve_columns(r, targets, method, np.zeros(len(data), np.int64))
    return solved


def _sweep(data: np.ndarray, spectra: np.ndarray, amounts: np.ndarray, rules: Rules) -> np.ndarray:
    """Improve one spectrum after the other: for a single one, the best that obeys its rule is a projection."""
    project, changing = _projection(rules), np.flatnonzero(~rules.held)
    gram, cross = amounts @ amounts.T, amounts @ data.T
    solved = spectra.copy()
    for _ in range(SWEEPS):
        for k in changing.tolist():
            if gram[k, k] > 0:
                others = gram[k] @ solved - gram[k, k] * solved[k]
                solved[k] = project(k, (cross[k] - others) / gram[k, k])
    return solved


def _projection(rules: Rules) -> Callable[[int, np.ndarray], np.ndarray]:
    def project(k: int, spectrum: np.ndarray) -> np.ndarray:
        if rules.order is not None and rules.resolved[k]:
            spectrum = spectrum.copy()
            spectrum[rules.order] = unimodal(spectrum[rules.order])
        return np.clip(spectrum, rules.lower[k], rules.upper[k])

    return project


def unimodal(values: np.ndarray) -> np.ndarray:
    """Return the values (e) nearest to the given ones that are not negative, and first rise and then fall."""
    from scipy.optimize import isotonic_regression

    cost = _rising_cost(values) + _rising_cost(values[::-1])[::-1]
    top = int(np.argmin(cost))
    parts = [isotonic_regression(values[:top]).x] if top else []
    parts += [isotonic_regression(values[top:], increasing=False).x] if top < len(values) else []
    return np.maximum(np.concatenate(parts), 0)


def _rising_cost(values: np.ndarray) -> np.ndarray:
    """Return the squared misfit of the best rising fit to the first 0, 1, ... n values: pool adjacent violators.

    The fit is not negative: pools with a mean below zero are zero.
    """
    blocks: list[tuple[float, int]] = []
    fitted, cost = 0.0, [0.0]
    squares = np.concatenate([[0.0], np.cumsum(values**2)])
    for k, value in enumerate(values.tolist(), 1):
        total, count = value, 1
        while blocks and blocks[-1][0] * count >= total * blocks[-1][1]:
            before = blocks.pop()
            fitted -= max(before[0], 0.0) ** 2 / before[1]
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
        fitted += max(total, 0.0) ** 2 / count
        cost.append(squares[k] - fitted)
    return np.array(cost)


def _revive(data: np.ndarray, spectra: np.ndarray, amounts: np.ndarray, rules: Rules) -> np.ndarray:
    """Return spectra in which a component that explains nothing got what is left of the worst pixel.

    Its amounts were zero or did not matter, so that the residual cannot grow.
    """
    empty = ~spectra.any(1) & (rules.method != "fcls")
    dead = np.flatnonzero(rules.resolved & (empty | ~amounts.any(1)))
    if not dead.size:
        return spectra
    rest = data - spectra.T @ amounts
    worst = np.argsort(-(rest**2).sum(0), kind="stable")
    source = data if rules.method == "fcls" else rest
    revived = spectra.copy()
    for k, p in zip(dead.tolist(), worst, strict=False):
        revived[k] = _projection(rules)(k, source[:, p])
    return revived


def starts(
    data: np.ndarray, given: np.ndarray, rules: Rules, number: int, *, pure_first: bool, seed: int
) -> Iterator[np.ndarray]:
    """Give spectra (c, e) to start from: given ones, and pixels cleared of noise, the purest or random ones."""
    n = len(rules.lower)
    basis = np.linalg.svd(data @ data.T, hermitian=True)[0][:, :n]
    scores = basis.T @ data
    weight = (scores**2).sum(0)
    weight += np.finfo(float).eps * weight.max()
    rng = np.random.default_rng(seed)
    for start in range(number):
        if pure_first and start == 0:
            picked = pure_pixels(*_extremes(scores, given @ basis, rules.method), n - len(given))
        else:
            picked = rng.choice(weight.size, n - len(given), replace=False, p=weight / weight.sum())
        yield np.vstack([given, (basis @ scores[:, picked]).T])


def _extremes(scores: np.ndarray, known: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, of pixels and of known spectra, among which a pure pixel is the longest.

    Spectra divided by how much of the mean spectrum is in them, which brings mixtures between the pure ones; those
    with little less so: a thin pixel may look like anything. Under closure the amount counts, and a further
    score, the same in every pixel, lets a spectrum of zero be extreme.
    """
    if method == "fcls":
        longest = np.linalg.norm(scores, axis=0).max()
        more = np.full((1, scores.shape[1]), longest), np.full((len(known), 1), longest)
        return np.vstack([scores, more[0]]), np.hstack([known, more[1]])
    amount = np.maximum(scores.mean(1) @ scores, 0)
    return scores / (amount + SOFTENING * (amount.max() or 1.0)), known


def pure_pixels(scores: np.ndarray, known: np.ndarray, n: int) -> np.ndarray:
    """Return the pixels of the n most extreme spectra beside known ones: successive projections.

    Each pick is the longest of the scores (c, p) after everything along the earlier picks, and along the known
    scores (k, c), was taken away; the very first one after everything along the mean was, which a thick mixture
    is nearer to than a pure spectrum.
    """
    basis = np.linalg.qr(known.T)[0]
    rest = scores - basis @ (basis.T @ scores)
    picked: list[int] = []
    for _ in range(n):
        first = not picked and not len(known) and n > 1
        apart = _without(rest, rest.mean(1)) if first else rest
        picked.append(int((apart**2).sum(0).argmax()))
        rest = _without(rest, rest[:, picked[-1]])
    return np.array(picked, dtype=int)


def _without(scores: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the scores (c, p) without what lies along a direction (c)."""
    unit = direction / (np.linalg.norm(direction) or 1.0)
    return scores - np.outer(unit, unit @ scores)
