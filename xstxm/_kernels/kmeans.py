"""K-means by Lloyd's iteration, compiled: a pass over the points is one read of them, and a fit costs nothing but its passes.

Index letters: c component, k cluster, p point. Points are stored component by component, (c, p), so that
distances of neighbouring points are vector arithmetic; block sums are taken in the dtype of the points, totals in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from xstxm._kernels.small_nnls import INNER, JIT

FAST: dict[str, Any] = {**INNER, "fastmath": {"contract", "reassoc", "nsz"}}
BLOCK = 512
"""Points whose distances are held at once: they fit into the innermost cache."""


@njit(**JIT)
def seeds(points, weight, chance):
    """Return centres (k, c) among the points (c, p) by greedy k-means++, driven by uniform numbers `chance` (k, trial).

    Each is the trial that leaves the least weighted inertia; a trial is drawn by its share of the inertia.
    """
    n_components, n_points = points.shape
    n_clusters, n_trials = chance.shape
    centres = np.empty((n_clusters, n_components), points.dtype)
    square = np.ones(n_points, points.dtype)
    trial, best = np.empty_like(square), np.empty_like(square)
    running = np.empty(n_points)
    for k in range(n_clusters):
        total = 0.0
        for p in range(n_points):
            total += weight[p] * square[p]
            running[p] = total
        least = np.inf
        # the first has nothing to compare with
        for t in range(n_trials if k else 1):
            at = min(np.searchsorted(running, chance[k, t] * total, side="right"), n_points - 1)
            left = _left(points, weight, at, square if k else np.full(n_points, np.inf, points.dtype), trial)
            if left < least:
                least = left
                best, trial = trial, best
                centres[k] = points[:, at]
        square[:] = best
    return centres


@njit(**FAST)
def _left(points, weight, at, square, out):
    """Return the inertia with one more centre at a point, and the squared distances (p) that make it up."""
    out[:] = 0
    for c in range(points.shape[0]):
        centre = points[c, at]
        for p in range(out.size):
            out[p] += (points[c, p] - centre) ** 2
    left = 0.0
    for p in range(out.size):
        out[p] = min(out[p], square[p])
        left += weight[p] * out[p]
    return left


@njit(**JIT)
def lloyd(points, weight, centres, tolerance, most):
    """Return centres (k, c) of points (c, p) that count by weight (p), their inertia, and the passes over the points.

    Starts from centres, moves each to the mean of the points next to it, and stops where that lowers the inertia by
    less than the tolerance, relative. A centre without points moves to the one that is worst off. The inertia is that of the
    centres before the last move: an upper bound.
    """
    n_clusters, n_components = centres.shape
    centres = centres.copy()
    sums, mass = np.empty((n_clusters, n_components)), np.empty(n_clusters)
    inertia, passes = np.inf, 0
    while passes < most:
        before, passes = inertia, passes + 1
        inertia = _pass(points, weight, centres, sums, mass)
        lost = -1
        for k in range(n_clusters):
            if mass[k] > 0:
                centres[k] = sums[k] / mass[k]
            else:
                lost = k
        if lost >= 0 and inertia > 0:
            centres[lost] = points[:, _worst(points, weight, centres)]
        elif not before - inertia > tolerance * inertia:
            break
    return centres, inertia, passes


@njit(**FAST)
def _pass(points, weight, centres, sums, mass):
    """Fill the weighted sums (k, c) and the weights (k) of the points next to each centre; return the inertia."""
    n_components, n_points = points.shape
    square, least = np.empty(BLOCK, points.dtype), np.empty(BLOCK, points.dtype)
    label = np.empty(BLOCK, np.int32)
    sums[:] = 0
    mass[:] = 0
    inertia = 0.0
    for start in range(0, n_points, BLOCK):
        size = min(BLOCK, n_points - start)
        heavy = weight[start : start + size]
        _nearest(points, start, size, centres, square, least, label)
        inertia += _dot(heavy, least[:size])
        for k in range(centres.shape[0]):
            mass[k] += _members(heavy, label, np.int32(k), square)
            for c in range(n_components):
                sums[k, c] += _dot(square[:size], points[c, start : start + size])
    return inertia


@njit(**FAST)
def _nearest(points, start, size, centres, square, least, label):
    """Fill the label and the squared distance of the nearest centre for a block of points; the first one wins a tie."""
    n_clusters, n_components = centres.shape
    for p in range(size):
        least[p], label[p] = np.inf, 0
    for k in range(n_clusters):
        _squares(points[0, start : start + size], centres[k, 0], square)
        for c in range(1, n_components):
            _add_squares(points[c, start : start + size], centres[k, c], square)
        _keep_least(square[:size], np.int32(k), least, label)


@njit(**FAST)
def _squares(along, centre, square):
    for p in range(along.size):
        apart = along[p] - centre
        square[p] = apart * apart


@njit(**FAST)
def _add_squares(along, centre, square):
    for p in range(along.size):
        apart = along[p] - centre
        square[p] += apart * apart


@njit(**FAST)
def _keep_least(square, k, least, label):
    for p in range(square.size):
        here, so_far, at = square[p], least[p], label[p]
        least[p] = here if here < so_far else so_far
        label[p] = k if here < so_far else at


@njit(**FAST)
def _members(weight, label, k, out):
    """Return the weight of the points with a label, and fill that of each, zero for the others."""
    nothing = total = weight.dtype.type(0)
    for p in range(weight.size):
        out[p] = weight[p] if label[p] == k else nothing
        total += out[p]
    return total


@njit(**FAST)
def _dot(a, b):
    total = a[0] * b[0]
    for p in range(1, a.size):
        total += a[p] * b[p]
    return total


@njit(**FAST)
def _worst(points, weight, centres):
    """Return the point that adds most to the inertia."""
    worst, most = 0, -1.0
    for p in range(points.shape[1]):
        least = np.inf
        for k in range(centres.shape[0]):
            square = 0.0
            for c in range(points.shape[0]):
                square += (points[c, p] - centres[k, c]) ** 2
            least = min(least, square)
        if weight[p] * least > most:
            worst, most = p, weight[p] * least
    return worst
