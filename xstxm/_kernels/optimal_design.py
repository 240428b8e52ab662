"""Which energies to measure: what a subset would give, exchange of its members, and how to share the exposure.

A fit of the chosen energies S with weights w turns an error d of the optical density into the error ``G d`` of its
unknowns, ``G = N^-1 Z' W`` with ``N = Z' W Z`` and Z the rows of the basis in S. Counting noise of variance V gives
them the covariance ``G V G'``, what the references do not describe a bias; both are sums over the spectra in S, so
the loss of S plus one energy follows for all energies at once from rank-one changes.

Index letters: e and f energy, m energy of a training stack, u and v unknown, r and s reference, k fraction, t target, p case
(a pixel, or a deviation).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

SINGULAR = 1e-12
"""Smallest eigenvalue of N, relative to the largest, below which the energies do not determine the unknowns."""
GAIN = 1e-9
"""Part of the loss that an exchange has to gain, or rounding would let it go round in circles."""
N_RANDOM = 8
"""Random starts of the exchange."""
MAX_EXHAUSTIVE = 1500
"""Subsets of one energy less up to which all are tried."""
MAX_SHARING = 300
"""Iterations that share the exposure."""
LEAST_SHARE = 0.2
"""Least exposure of an energy over the mean: what is hardly measured needs no place in a scan."""


@dataclass(frozen=True)
class Problem:
    """What a choice of energies is judged by.

    The loss is the mean squared error of the fractions or of other targets, or with `determinant` the log of the
    determinant of the covariance of all unknowns.
    """

    basis: np.ndarray
    """Spectra of the unknowns (e, u), orthonormal over all energies."""
    to_amount: np.ndarray
    """Amounts from the unknowns (r, u)."""
    weight: np.ndarray
    """Weight of an energy in the fit (e)."""
    noise: np.ndarray
    """Variance of the optical density (e); zero where only the bias counts."""
    sensitivity: np.ndarray
    """Mean squared error of the targets per product of errors of the amounts (r, s)."""
    moments: np.ndarray
    """`second_moments` (r, s, e, f) of what the references do not describe; of shape (0, 0, e, e) without."""
    determinant: bool = False
    by_variance: bool = False
    """Whether the fit weighs an energy by 1 / noise."""

    def exposed(self, times: np.ndarray) -> Problem:
        """Return the problem with so many times the exposure of each energy (e)."""
        noise = self.noise / times
        return replace(self, noise=noise, weight=1 / noise if self.by_variance else self.weight)


def fraction_slopes(amounts: np.ndarray) -> np.ndarray:
    """Return d fraction_k / d amount_r as (k, r, p), the fractions c_k / sum(c) of amounts (r, p)."""
    total = amounts.sum(0)
    return (np.eye(len(amounts))[:, :, None] - (amounts / total)[:, None, :]) / total


def target_slopes(amounts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return d target_t / d amount_r as (t, r, p) of targets that are sums of fractions, with weights (t, k)."""
    return np.einsum("tk,krp->trp", targets, fraction_slopes(amounts))


def sensitivity(amounts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the mean products of the slopes of the targets (r, s, p)."""
    slopes = target_slopes(amounts, targets)
    return np.einsum("trp,tsp->rsp", slopes, slopes) / len(targets)


def second_moments(deviation: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return sum_p scales_rsp d_ep d_fp as (r, s, e, f), for scales of weight times `sensitivity`.

    With estimator weights G (r, e), ``sum G_re M_rsef G_sf`` is the mean squared error of a target.
    """
    return _of_pairs(scales, deviation)


def noise_moments(variance: np.ndarray, spread: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return the part of `second_moments` (r, s, e, f) of independent noise x (m, p) in deviations ``spread (e, m) x``."""
    return _of_pairs(scales @ variance.T, spread)


def _of_pairs(scales: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return sum_p scales_rsp rows_ep rows_fp (r, s, e, f) for scales that are symmetric in r and s."""
    count, n_energies = len(scales), len(rows)
    products = np.empty((count, count, n_energies, n_energies))
    for r, s in itertools.combinations_with_replacement(range(count), 2):
        products[r, s] = products[s, r] = (rows * scales[r, s]) @ rows.T
    return products


def positive_part(moments: np.ndarray) -> np.ndarray:
    """Return moments (r, s, e, f) without the negative eigenvalues that an estimate of them may have."""
    count, _, n_energies, _ = moments.shape
    matrix = moments.swapaxes(1, 2).reshape(count * n_energies, -1)
    size, vectors = np.linalg.eigh(matrix)
    kept = (vectors * np.maximum(size, 0)) @ vectors.T
    return kept.reshape(count, n_energies, count, n_energies).swapaxes(1, 2)


def losses(problem: Problem, chosen: Sequence[int]) -> np.ndarray:
    """Return the loss of the chosen energies with each of all energies added (e); inf where they determine too little."""
    at = np.asarray(chosen, dtype=int)
    w = problem.weight[:, None]
    rows, weighted = problem.basis[at], (w * problem.basis)[at]
    outer = problem.basis[:, :, None] * problem.basis[:, None, :]
    size, vectors = np.linalg.eigh(weighted.T @ rows + w[..., None] * outer)
    usable = size[:, 0] > SINGULAR * size[:, -1]
    size = np.where(usable[:, None], size, 1.0)
    inverse = (vectors / size[:, None, :]) @ vectors.swapaxes(1, 2)
    noise = problem.noise[:, None]
    spread = weighted.T @ (noise[at] * weighted) + (w**2 * noise)[..., None] * outer
    if problem.determinant:
        loss = np.linalg.slogdet(spread)[1] - 2 * np.log(size).sum(1)
    else:
        gain = problem.to_amount @ inverse
        covariance = gain @ spread @ gain.swapaxes(1, 2)
        loss = (covariance * problem.sensitivity).sum((1, 2)) + _squared_bias(problem, gain, at, weighted)
    return np.where(usable, loss, np.inf)


def _squared_bias(problem: Problem, gain: np.ndarray, at: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    """Return the squared bias of the targets (e), for the amounts ``gain (e, r, u) @ weighted (f, u).T``."""
    moments = problem.moments
    if not len(moments):
        return np.zeros(len(gain))
    across = moments[..., at] @ weighted  # (r, s, e, u)
    within = weighted.T @ across[:, :, at]  # (r, s, u, v)
    own = (gain @ (problem.weight[:, None] * problem.basis)[:, :, None])[..., 0]  # (e, r)
    chosen = np.einsum("eru,rsuv,esv->e", gain, within, gain, optimize=True)
    mixed = np.einsum("er,rseu,esu->e", own, across, gain, optimize=True)
    added = np.einsum("er,rsee,es->e", own, moments, own, optimize=True)
    return chosen + 2 * mixed + added


def loss_of(problem: Problem, chosen: Sequence[int]) -> float:
    """Return the loss of a choice of energies."""
    *others, last = chosen
    return float(losses(problem, others)[last])


@dataclass(frozen=True)
class Rules:
    """Which energies may be chosen together."""

    energy: np.ndarray
    allowed: np.ndarray
    """Those that may be chosen at all (e)."""
    required: tuple[int, ...]
    spacing: float = 0.0

    def open_to(self, chosen: Sequence[int]) -> np.ndarray:
        """Tell which energies may be added to those chosen (e)."""
        at = np.asarray(chosen, dtype=int)
        far = (np.abs(self.energy[:, None] - self.energy[at]) >= self.spacing * (1 - 1e-9)).all(1)
        far[at] = False
        return self.allowed & far

    def room(self, chosen: Sequence[int]) -> int:
        """Return the size of the largest choice that holds the chosen ones."""
        free = self.open_to(chosen)
        count, last = len(chosen), -np.inf
        for energy in np.sort(self.energy[free]):
            if energy - last >= self.spacing * (1 - 1e-9):
                count, last = count + 1, energy
        return count

    def fill(self, ranking: Sequence[int], n: int) -> list[int] | None:
        """Return n energies, the required ones and the first of a ranking that leave room for the others."""
        chosen = list(self.required)
        for candidate in ranking:
            if len(chosen) == n:
                break
            fits = self.open_to(chosen)[candidate]
            if fits and (not self.spacing or self.room([*chosen, candidate]) >= n):
                chosen.append(int(candidate))
        return chosen if len(chosen) == n else None


def best_choice(problem: Problem, rules: Rules, n: int) -> tuple[list[int], float, bool]:
    """Return n energies with the smallest loss found, the loss, and whether no choice is better.

    All choices are tried where they are few; else the best of several exchanges, the same in every run.
    """
    free = int(rules.open_to(rules.required).sum())
    few = math.comb(free, max(n - len(rules.required) - 1, 0)) <= MAX_EXHAUSTIVE
    runs = (
        [exhaustive(problem, rules, n)]
        if few
        else [exchange(problem, rules, start) for start in starts(problem, rules, n)]
    )
    chosen, loss = min(runs, key=lambda run: run[1])
    return sorted(chosen), loss, few


def exhaustive(problem: Problem, rules: Rules, n: int) -> tuple[list[int], float]:
    """Return the best of all choices."""
    best: tuple[list[int], float] = ([], np.inf)
    free = np.flatnonzero(rules.open_to(rules.required))
    if len(rules.required) == n:
        return list(rules.required), loss_of(problem, rules.required)
    for some in itertools.combinations(free.tolist(), n - len(rules.required) - 1):
        chosen = [*rules.required, *some]
        if any(not rules.open_to(chosen[:k])[chosen[k]] for k in range(len(rules.required), len(chosen))):
            continue
        last, loss = _best_addition(problem, rules, chosen)
        if loss < best[1]:
            best = [*chosen, last], loss
    return best


def _best_addition(problem: Problem, rules: Rules, chosen: Sequence[int]) -> tuple[int, float]:
    loss = np.where(rules.open_to(chosen), losses(problem, chosen), np.inf)
    last = int(np.argmin(loss))
    return last, float(loss[last])


def exchange(problem: Problem, rules: Rules, start: Sequence[int]) -> tuple[list[int], float]:
    """Return a choice that no exchange of one energy makes better, and its loss."""
    chosen, loss = list(start), loss_of(problem, start)
    fixed, unchanged = len(rules.required), 0
    while unchanged < len(chosen) - fixed:
        # the oldest member gives way to the best candidate, itself included
        member, *others = chosen[fixed:]
        rest = chosen[:fixed] + others
        candidate, found = _best_addition(problem, rules, rest)
        better = found < loss - GAIN * abs(loss) if np.isfinite(loss) else found < loss
        chosen = [*rest, candidate if better else member]
        loss, unchanged = (found, 0) if better else (loss, unchanged + 1)
    return chosen, loss


def starts(problem: Problem, rules: Rules, n: int) -> Iterator[list[int]]:
    """Yield different first choices: those that weigh most, evenly spread ones, and random ones."""
    from scipy.linalg import qr

    count = len(rules.energy)
    rng = np.random.default_rng(0)
    weighted = np.sqrt(problem.weight)[:, None] * problem.basis
    rankings = [qr(weighted.T, mode="r", pivoting=True)[1], _spread(rules.energy)]
    rankings += [rng.permutation(count) for _ in range(N_RANDOM)]
    found = (rules.fill(ranking.tolist(), n) for ranking in rankings)
    return (chosen for chosen in found if chosen is not None)


def _spread(energy: np.ndarray) -> np.ndarray:
    """Return a ranking in which each energy is the farthest from all before it."""
    ranking = [int(np.argmin(energy))]
    apart = np.full(energy.size, np.inf)
    while len(ranking) < energy.size:
        apart = np.minimum(apart, np.abs(energy - energy[ranking[-1]]))
        apart[ranking] = -1
        ranking.append(int(np.argmax(apart)))
    return np.array(ranking)


def estimator(problem: Problem, chosen: Sequence[int]) -> np.ndarray:
    """Return the linear map G (u, e) from the optical density at the chosen energies to the unknowns."""
    rows = problem.basis[np.asarray(chosen)]
    weighted = problem.weight[np.asarray(chosen)] * rows.T
    return np.linalg.solve(weighted @ rows, weighted)


def share_exposure(problem: Problem, chosen: Sequence[int]) -> tuple[np.ndarray, float]:
    """Return how the exposure is best shared among the chosen energies (e), adding up to one, and the loss.

    The variance of a sum of ``a_e / share_e`` is least for shares in proportion to ``sqrt(a_e)``. Where the weights
    of the fit follow the noise the a_e depend on the shares, and repeating that step is the multiplicative
    algorithm of optimal design. No share falls below `LEAST_SHARE` of the mean.
    """
    at = np.asarray(chosen)
    shares = np.full(at.size, 1 / at.size)
    best, least = shares, np.inf
    for _ in range(MAX_SHARING):
        current = problem.exposed(at_chosen(shares * at.size, chosen, len(problem.basis)))
        loss = loss_of(current, chosen)
        if not loss < least - GAIN * abs(loss):
            break
        best, least = shares, loss
        weights = estimator(current, chosen)
        metric = _metric(current, weights, at)
        part = current.noise[at] * shares * np.einsum("ue,uv,ve->e", weights, metric, weights)
        shares = _in_proportion(np.sqrt(part), LEAST_SHARE / at.size)
    return best, least


def _in_proportion(sizes: np.ndarray, least: float) -> np.ndarray:
    """Return shares in proportion to sizes, none below the least one, adding up to one."""
    low = np.zeros(sizes.size, dtype=bool)
    while True:
        shares = np.where(low, least, sizes / sizes[~low].sum() * (1 - least * low.sum()))
        below = ~low & (shares < least)
        if not below.any():
            return shares
        low |= below


def at_chosen(values: np.ndarray, chosen: Sequence[int], count: int) -> np.ndarray:
    """Return an array of so many energies (e) with values at the chosen ones, and one elsewhere."""
    everywhere = np.ones(count)
    everywhere[np.asarray(chosen)] = values
    return everywhere


def _metric(problem: Problem, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the slope (u, v) of the loss with the covariance of the unknowns."""
    if problem.determinant:
        return np.linalg.inv((weights * problem.noise[at]) @ weights.T)
    return problem.to_amount.T @ problem.sensitivity @ problem.to_amount
