"""The fit of `linear_fit` by the functions of arrays: for arrays on a device, whose own library then does the work.

All pixels of a block go through each step together. Complete ones find their support in the tables of the plan; those that
lack energies, have weights of their own or more references than tables hold are factorised each by itself, in float64.

Index letters: e energy, p pixel, u unknown (background terms, then references), t background term, r reference, s support.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xstxm._kernels import array_density, fused_fit
from xstxm._kernels.block_fit import ALL_AT_ONCE, ONE_BY_ONE, UNDONE
from xstxm._kernels.devices import beside
from xstxm._kernels.fit_plan import FCLS, LSTSQ, Maps, Plan, make_plan
from xstxm._kernels.linear_fit import Incident
from xstxm._kernels.partial_fit import LOST

BLOCK = 1 << 25
"""Values of the stack that are worked on at once."""

EACH = 1 << 22
"""Values of the designs that are factorised at once."""

ROUNDING = 64 * np.finfo(float).eps

Test = Callable[[Any, Any], tuple[Any, Any]]
"""From pixels (p) and their supports (p, r) to their amounts (p, r) and which references are on the wrong side (p, r)."""


def fit_pixels(
    data: Any,
    references: np.ndarray,
    terms: np.ndarray,
    *,
    method: str,
    incident: Incident | None = None,
    variance: Any = None,
    weights: np.ndarray | None = None,
    known_noise: bool = False,
    with_covariance: bool = False,
    **_: Any,
) -> Maps:
    """Return what `linear_fit.fit_pixels` does, and with a `variance` (e, p) what `weighted_fit.fit_weighted` does."""
    dtype = data.dtype.newbyteorder("=")
    if incident is not None and dtype != np.float64:
        dtype = np.dtype("float32")
    plan = make_plan(references, terms, method, dtype, weights)
    step = max(BLOCK // plan.n_energies, 1)
    blocks = []
    for first in range(0, max(data.shape[1], 1), step):
        part = slice(first, first + step)
        own = None if incident is None else incident.of(part)
        weight = None if variance is None else _weights(variance[:, part])
        blocks.append(
            _fit_block(data[:, part], own, weight, plan, known_noise or variance is not None, with_covariance)
        )
    return Maps(*(np.concatenate(parts, -1) for parts in zip(*blocks, strict=True)))


def _weights(variance: Any) -> Any:
    """Return one over a variance, 0 where it leaves a value out."""
    variance = variance.astype(float)
    usable = (variance > 0) & np.isfinite(variance)
    return np.where(usable, 1 / np.where(usable, variance, 1), 0)


def _fit_block(
    data: Any, incident: Incident | None, weight: Any, plan: Plan, known_noise: bool, with_covariance: bool
) -> Maps:
    """Fit the spectra (e, p) of a block: complete ones together, then those that are left."""
    options = plan, known_noise, with_covariance
    tabled = weight is None and (plan.method == LSTSQ or len(plan.tables) > 0)
    if tabled and not known_noise and fused_fit.applies(data, incident, plan):
        maps = fused_fit.fit_complete(data, incident, plan, with_covariance)
    else:
        od, bits = _densities(data, incident, plan)
        if not tabled:
            return _fit_each(od, weight, *options)._replace(bits=bits)
        complete = np.isfinite(od).all(0)
        maps = _fit_complete(np.where(complete, od, 0), *options)
        done = complete & np.isfinite(maps.rms)
        maps = maps._replace(n_active=np.where(done, maps.n_active, np.int16(UNDONE)), bits=bits)
    left = np.flatnonzero(maps.n_active < 0)
    if left.size:
        od, _ = _densities(data[:, left], None if incident is None else incident.of(left), plan)
        for held, found in zip(maps, _fit_each(od, None, *options), strict=True):
            if found.size:
                held[..., left] = found
    return maps


def _densities(data: Any, incident: Incident | None, plan: Plan) -> tuple[Any, Any]:
    """Return optical densities (e, p), and what is wrong with the counts (p) that they are made of."""
    dtype = plan.basis.dtype
    if incident is None:
        return data.astype(dtype, copy=False), np.zeros_like(data, dtype=np.uint8, shape=0)
    found = array_density.optical_densities(data, *incident[:3], energy=0, dtype=dtype, thick=incident.thick)
    return found.od, found.bits


def _fit_complete(od: Any, plan: Plan, known_noise: bool, with_covariance: bool) -> Maps:
    """Fit finite spectra (e, p) with the tables of the plan."""
    n, n_terms, n_energies = plan.scale.size, plan.n_terms, plan.n_energies
    n_unknowns = n + n_terms
    basis, spectra = (beside(od, item[:n_unknowns, :n_energies]) for item in (plan.basis, plan.spectra))
    projected = basis @ od
    target = projected[n_terms:]
    amount = beside(od, plan.free[:n, :n]) @ target + beside(od, plan.constant.astype(od.dtype))[:, None]
    spread = beside(od, np.sqrt(np.diag(plan.covariance)).astype(od.dtype))[:, None] + 0 * amount
    active = np.full_like(amount[0], n)
    if plan.method != LSTSQ:
        amount, in_use = _by_table(plan, target, amount)
        spread = beside(od, plan.spread)[:, in_use]
        active = (amount > 0).sum(0).astype(od.dtype)
    outcome = beside(od, plan.outcome[:n_unknowns, :n_unknowns]) @ np.concatenate([projected[:n_terms], amount])
    residual = od - spectra.T @ np.concatenate([projected[:n_terms], outcome[n_terms:]])
    squares = residual * residual
    rss = squares.sum(0)
    chi2 = (squares * beside(od, plan.weights)[:, None]).sum(0) if plan.weights.size else rss
    reduced = chi2 / (n_energies - n_terms + (plan.method == FCLS) - active)
    sigma = np.ones_like(reduced) if known_noise else np.sqrt(reduced)
    covariance = reduced[None, None][:0, :0]
    if with_covariance:
        covariance = beside(od, plan.covariance.astype(od.dtype))[:, :, None] * sigma**2
    with np.errstate(invalid="ignore", divide="ignore"):
        r_factor = rss / (od * od).sum(0)
    return Maps(
        amount=amount,
        stderr=spread * sigma,
        background=outcome[:n_terms],
        rms=np.sqrt(rss / n_energies),
        r_factor=r_factor,
        reduced_chi2=reduced,
        n_energy=np.full_like(reduced, n_energies, dtype=np.int32),
        n_active=active.astype(np.int16),
        covariance=covariance,
        best=reduced[:0, None][:, :0],
        bits=reduced[:0],
    )


def _by_table(plan: Plan, target: Any, guess: Any) -> tuple[Any, Any]:
    """Return the constrained amounts (r, p), and the number of the support (p) of those above zero."""
    n = plan.scale.size
    tables = beside(target, np.ascontiguousarray(plan.tables[:, :, :n]))
    bit = beside(target, 1 << np.arange(n))
    size, columns = np.abs(target).max(0).astype(float), target.T.astype(float)

    def test(pixels: Any, support: Any) -> tuple[Any, Any]:
        table = tables[(support * bit).sum(1)]
        y = (columns[pixels][:, None] @ table[:, :n])[:, 0] + table[:, n]
        wrong = y < -(table[:, n + 1] * size[pixels][:, None] + table[:, n + 2])
        return np.where(support & (y > 0), y, 0), wrong

    solution = _pivot(test, (guess > 0).T)
    in_use = ((solution > 0) * bit).sum(1)
    return (solution / beside(target, plan.scale)).T.astype(target.dtype), in_use


def _pivot(test: Test, support: Any) -> Any:
    """Exchange references, from a first support (p, r), until none is on the wrong side; NaN where that never ends."""
    solution = np.full_like(support, np.nan, dtype=float)
    pixels = np.arange(len(support), like=support)
    for turn in range(ALL_AT_ONCE + ONE_BY_ONE):
        found, wrong = test(pixels, support)
        done = ~wrong.any(1)
        solution[pixels[done]] = found[done]
        pixels, support, wrong = pixels[~done], support[~done], wrong[~done]
        if not pixels.size:
            break
        support = support ^ (wrong if turn < ALL_AT_ONCE else wrong & (np.cumsum(wrong, 1) == 1))
    return solution


def _fit_each(od: Any, weight: Any, plan: Plan, known_noise: bool, with_covariance: bool) -> Maps:
    """Fit spectra (e, p) each on the energies that it has, with the weights (e, p) of its own where there are any."""
    step = max(EACH // plan.design.size, 1)
    blocks = []
    for first in range(0, max(od.shape[1], 1), step):
        part = slice(first, first + step)
        own = None if weight is None else weight[:, part]
        blocks.append(_fit_singly(od[:, part], own, plan, known_noise, with_covariance))
    return Maps(*(np.concatenate(parts, -1) for parts in zip(*blocks, strict=True)))


class _Spectra(NamedTuple):
    """Spectra (p, e), each on the energies that it has; zero elsewhere."""

    values: Any
    used: Any
    root: Any
    """Roots of the weights."""
    plain: Any
    """(e, u) the design without weights."""

    @classmethod
    def of(cls, od: Any, weight: Any, plan: Plan) -> _Spectra:
        """Return spectra (e, p) with the weights of the plan, or with their own (e, p)."""
        used = np.isfinite(od) if weight is None else np.isfinite(od) & (weight > 0)
        energies = np.sqrt(plan.weights.astype(float)) if plan.weights.size else np.ones(plan.n_energies)
        root = used.T * (beside(od, energies) if weight is None else np.sqrt(np.where(used, weight, 0)).T)
        plain = beside(od, (plan.design / energies).T)
        return cls(np.where(used, od, 0).astype(float).T, used.T, root, plain)

    def factorised(self, fixed: bool) -> tuple[Any, Any, Any]:
        """Return triangles (p, u, u), projections (p, u), and where (p) the energies tell the unknowns apart."""
        design = self.plain * self.root[:, :, None]
        q, r = np.linalg.qr(design)
        left = np.abs(np.einsum("puu->pu", r)) > LOST * np.sqrt((design**2).sum(1))
        told = left.all(1) & (self.used.sum(1) > r.shape[1] - fixed)
        r = np.where(told[:, None, None], r, beside(r, np.eye(r.shape[1])))
        return r, (q.swapaxes(1, 2) @ (self.values * self.root)[:, :, None])[:, :, 0], told

    def left_by(self, coefficients: Any) -> Any:
        """Return what unknowns (p, u) leave (p, e)."""
        return np.where(self.used, self.values - (self.plain @ coefficients[:, :, None])[:, :, 0], 0)


class _Solution(NamedTuple):
    """Amounts (p, r) with their covariances (p, r, r) for unit noise: of the support (p, r), and with no bound active."""

    amount: Any
    support: Any
    spread: Any
    every: Any
    ended: Any
    """(p) Where the search for the support came to an end."""

    @classmethod
    def of(cls, triangle: Any, projected: Any, method: int) -> _Solution:
        """Return the solution of the references' triangles (p, r, r) and projections (p, r)."""
        fixed = method == FCLS
        scale = np.ones_like(projected) if fixed else np.sqrt((triangle**2).sum(1))
        triangle = triangle / scale[:, None]
        matrix, right = triangle.swapaxes(1, 2) @ triangle, (projected[:, None] @ triangle)[:, 0]
        whole = np.ones_like(right, dtype=bool)
        support, ended = whole, whole.all(1)
        if method != LSTSQ:
            found = _pivot(lambda p, own: _tested(matrix[p], right[p], own, fixed), whole)
            support, ended = found > 0, ~np.isnan(found).any(1)
        amount, spread = _solved(matrix, right, support, fixed)
        _, every = _solved(matrix, right, whole, fixed)
        both = scale[:, :, None] * scale[:, None]
        return cls(amount / scale, support, spread / both, every / both, ended)


def _fit_singly(od: Any, weight: Any, plan: Plan, known_noise: bool, with_covariance: bool) -> Maps:
    """Fit each spectrum (e, p) by a factorisation of its own.

    Where the energies that are left do not tell the unknowns apart, the pixel is NaN, as it is on the host but for
    proportional references whose sum is fixed.
    """
    n_terms, fixed = plan.n_terms, plan.method == FCLS
    spectra = _Spectra.of(od, weight, plan)
    r, projected, told = spectra.factorised(fixed)
    solution = _Solution.of(r[:, n_terms:, n_terms:], projected[:, n_terms:], plan.method)
    told = told & solution.ended
    background = (projected - (r[:, :, n_terms:] @ solution.amount[:, :, None])[:, :, 0])[:, :n_terms]
    if n_terms:
        background = np.linalg.solve(r[:, :n_terms, :n_terms], background[:, :, None])[:, :, 0]
    residual = spectra.left_by(np.concatenate([background, solution.amount], 1))
    number, active, rss = spectra.used.sum(1), solution.support.sum(1), (residual**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        reduced = ((residual * spectra.root) ** 2).sum(1) / (number - n_terms - active + fixed)
        r_factor, rms = rss / (spectra.values**2).sum(1), np.sqrt(rss / number)
        noise = np.ones_like(reduced) if known_noise else reduced
        stderr = np.sqrt(np.maximum(np.einsum("prr->pr", solution.spread), 0) * noise[:, None])
        covariance = solution.every * noise[:, None, None] if with_covariance else noise[:, None, None][:, :0, :0]

    def known(found: Any) -> Any:
        """Return results with pixels last, NaN where there are none."""
        return np.where(told, np.moveaxis(found, 0, -1), np.nan).astype(od.dtype)

    return Maps(
        amount=known(solution.amount),
        stderr=known(stderr),
        background=known(background),
        rms=known(rms),
        r_factor=known(r_factor),
        reduced_chi2=known(reduced),
        n_energy=number.astype(np.int32),
        n_active=np.where(told, active, 0).astype(np.int16),
        covariance=known(covariance),
        best=known(rms)[:0, None][:, :0],
        bits=known(rms)[:0],
    )


def _tested(matrix: Any, right: Any, support: Any, fixed: bool) -> tuple[Any, Any]:
    """Return the amounts of supports (p, r), and which references are on the wrong side of zero."""
    solution, _ = _solved(matrix, right, support, fixed)
    slope = right - (matrix @ solution[:, :, None])[:, :, 0]
    if fixed:  # all that are in share one slope, which others have to stay below
        slope = slope - (slope * support).sum(1, keepdims=True) / np.maximum(support.sum(1, keepdims=True), 1)
    least = ROUNDING * np.abs(right).max(1, keepdims=True)
    wrong = np.where(support, solution < 0, slope > least)
    return np.where(solution > 0, solution, 0), wrong | (fixed & ~support.any(1, keepdims=True))


def _solved(matrix: Any, right: Any, support: Any, fixed: bool) -> tuple[Any, Any]:
    """Return the amounts (p, r) of supports and their covariance (p, r, r) for unit noise, 0 off the support.

    A fixed sum borders the matrix, whose inverse holds the covariance within the sum.
    """
    n = right.shape[1]
    both = support[:, :, None] & support[:, None, :]
    bordered = np.zeros_like(matrix, shape=(len(right), n + fixed, n + fixed))
    bordered[:, :n, :n] = np.where(both, matrix, 0) + ~support[:, :, None] * beside(matrix, np.eye(n))
    if fixed:
        bordered[:, n, :n] = bordered[:, :n, n] = support
        bordered[:, n, n] = ~support.any(1)
    inverse = np.linalg.inv(bordered)
    spread = np.where(both, inverse[:, :n, :n], 0)
    solution = (spread @ right[:, :, None])[:, :, 0]
    return (solution + np.where(support, inverse[:, :n, n], 0) if fixed else solution), spread
