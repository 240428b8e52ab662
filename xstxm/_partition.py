"""Partitions of points by k-means and by scikit-learn: found once, on few points where these suffice, and applied to any others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from xstxm.errors import ConvergenceWarning, OptionError, warn
from xstxm.steps import tell_step

# c = component, k = cluster, p = point

ClusterMethod: TypeAlias = Literal["kmeans", "gaussian_mixture", "hdbscan"]
Choose: TypeAlias = Literal["silhouette", "gap", "stability"]

STARTS, START_POINTS, TRIALS = 10, 4096, 4
"""Starts of k-means, the points on which it tries them, and what each of its centres is chosen from."""
REFINED, REFINE_POINTS = 5, 16_384
"""The best of these are refined, on so many points; the best of those on all."""
ROUGH, FINE, MOST_PASSES = 1e-4, 1e-6, 300
"""Relative decrease of the inertia at which k-means stops, on few points and then."""
BLOCK = 65_536
"""Points that are assigned at once."""
MODEL_POINTS = 50_000
"""Most points on which a Gaussian mixture is fitted."""
DENSITY_POINTS = 10_000
"""Most points on which HDBSCAN, whose time grows with their square, looks for dense regions."""
JUDGE_STARTS, JUDGE_POINTS = 4, 4000
"""Starts and points where partitions are only compared."""
SILHOUETTE_POINTS = 2000
"""Points that tell the silhouette of each cluster: it costs their square."""
RESAMPLES = 10
"""Bootstrap samples of the stability, reference sets of the gap."""
TIE = 0.01
"""Numbers of clusters whose stabilities differ by less are as good, and the larger one is taken."""
_TINY = 1e-12


@dataclass(frozen=True)
class Assigned:
    """Cluster of each point (p), from 0, -1 for none; how sure (p); and the membership in each cluster (k, p)."""

    labels: np.ndarray
    confidence: np.ndarray
    membership: np.ndarray


@dataclass(frozen=True)
class Partition:
    """Clusters that a method found, in an order, and how they take further points."""

    n_clusters: int
    take: Callable[[np.ndarray, np.ndarray], Assigned]
    order: np.ndarray

    def assign(self, points: np.ndarray, noise: np.ndarray) -> Assigned:
        """Return the clusters of points (p, c) that are uncertain by `noise` (p) along each component."""
        found = self.take(points, noise)
        rank = np.append(np.argsort(self.order), -1).astype(np.int16)
        return Assigned(rank[found.labels], found.confidence, found.membership[self.order])

    def labels(self, points: np.ndarray) -> np.ndarray:
        """Return the cluster of each point (p), block by block."""
        blocks = [points[start : start + BLOCK] for start in range(0, len(points), BLOCK)]
        return np.concatenate([self.assign(block, np.ones(len(block))).labels for block in blocks])

    def by_size(self, labels: np.ndarray, weight: np.ndarray | None = None) -> tuple[Partition, np.ndarray]:
        """Return the same clusters, the one with most labels, or most weight, first, and these labels as they are then."""
        inside = labels >= 0
        size = np.bincount(labels[inside], None if weight is None else weight[inside], minlength=self.n_clusters)
        order = np.argsort(-size, kind="stable")
        return replace(self, order=self.order[order]), np.append(np.argsort(order), -1).astype(np.int16)[labels]


def partition(
    points: np.ndarray, weight: np.ndarray, n_clusters: int | None, method: str, seed: int, starts: int = STARTS
) -> Partition:
    """Return the clusters of points (p, c) that count by `weight` (p)."""
    find: Any = {"kmeans": _kmeans, "gaussian_mixture": _mixture, "hdbscan": _dense}[method]
    number, take = find(points, weight, n_clusters, seed, starts)
    return Partition(number, take, np.arange(number))


def drawn(weight: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return at most `number` different indices, a heavier one being more likely."""
    if number >= len(weight):
        return np.arange(len(weight))
    # the largest of log(u) / weight are a draw without replacement in proportion to weight (Efraimidis, Spirakis)
    key = np.random.default_rng(seed).random(len(weight))
    with np.errstate(divide="ignore"):
        np.log(key, out=key)
        key /= weight
    return np.sort(np.argpartition(key, len(key) - number)[len(key) - number :])


def _kmeans(points: np.ndarray, weight: np.ndarray, n_clusters: int, seed: int, starts: int) -> tuple[int, Any]:
    centres = kmeans_centres(points, weight, n_clusters, seed, starts)
    return n_clusters, lambda points, noise: _nearest(points, noise, centres)


def kmeans_centres(
    points: np.ndarray, weight: np.ndarray, n_clusters: int, seed: int, starts: int = STARTS
) -> np.ndarray:
    """Return the centres (k, c) of least weighted inertia: many starts on few points, the best refined on ever more.

    Each start draws points of its own: a rare one far off, drawn once, would take a centre in all of them.
    """
    from xstxm._kernels.kmeans import lloyd, seeds

    rng = np.random.default_rng(seed)
    every = np.ascontiguousarray(points.T), np.asarray(weight, dtype=points.dtype)
    running = np.cumsum(every[1], dtype=float)
    fits = []
    for _ in range(starts):
        tell_step()
        some = _drawn_by_weight(*every, running, START_POINTS, rng)
        fits.append(lloyd(*some, seeds(*some, rng.random((n_clusters, TRIALS))), ROUGH, MOST_PASSES))
    some = _drawn_by_weight(*every, running, REFINE_POINTS, rng)
    fits = [lloyd(*some, centres, FINE, MOST_PASSES) for centres, *_ in sorted(fits, key=_inertia)[:REFINED]]
    # the best minima differ by less than a sample can tell: all points decide, in one pass for each
    centres, *_ = min((lloyd(*every, centres, FINE, 1) for centres, *_ in fits), key=_inertia)
    return np.asarray(lloyd(*every, centres, FINE, MOST_PASSES)[0])


def _inertia(fit: tuple[np.ndarray, float, int]) -> float:
    return fit[1]


def _drawn_by_weight(
    points: np.ndarray, weight: np.ndarray, running: np.ndarray, number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return points (c, p) and their weights: all, or else as many as asked, that stand for equal parts of the weight.

    `running` is the cumulative sum of the weights.
    """
    if number >= len(weight):
        return points, weight
    at = np.searchsorted(running, (np.arange(number) + rng.random(number)) * (running[-1] / number), side="right")
    return points.take(np.minimum(at, len(weight) - 1), axis=1), np.ones(number, dtype=points.dtype)


def _nearest(points: np.ndarray, noise: np.ndarray, centres: np.ndarray) -> Assigned:
    """Assign to the nearest centre; memberships are those of equally likely centres at the distance of the noise."""
    squares = np.stack([((points - centre) ** 2).sum(1) for centre in centres]).astype(float)
    labels = squares.argmin(0)
    own = squares.min(0)
    spread = np.maximum(noise, _TINY).astype(float)
    with np.errstate(over="ignore"):
        likelihood = np.exp(-(squares - own) / (2 * spread**2))
    return Assigned(labels, _sides(squares, own, labels, centres, spread), likelihood / likelihood.sum(0))


def _sides(
    squares: np.ndarray, own: np.ndarray, labels: np.ndarray, centres: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Smallest probability, over the other centres, that the point lies on its own side of the plane between them."""
    from scipy.special import ndtr

    apart = 2 * np.linalg.norm(centres[:, None] - centres[None], axis=-1)[labels].T * spread
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        score = (squares - own) / apart
    score[labels, np.arange(len(labels))] = np.inf
    return np.asarray(ndtr(score.min(0)))


def _mixture(points: np.ndarray, weight: np.ndarray, n_clusters: int, seed: int, starts: int) -> tuple[int, Any]:
    """Fit a mixture of Gaussians to points drawn by weight, k-means being its start."""
    import warnings

    from sklearn import exceptions
    from sklearn.mixture import GaussianMixture

    few = drawn(weight, MODEL_POINTS, seed)
    some = points[few].astype(float)
    scale = max(float(some.std()), _TINY)
    centres = kmeans_centres(points, weight, n_clusters, seed, starts)
    model = GaussianMixture(n_clusters, means_init=centres / scale, random_state=seed, reg_covar=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        model.fit(some / scale)
    if not model.converged_:
        warn(f"a mixture of {n_clusters} Gaussians did not converge: ask for fewer clusters", ConvergenceWarning)

    def take(points: np.ndarray, noise: np.ndarray) -> Assigned:
        chance = model.predict_proba(points / scale).T
        return Assigned(chance.argmax(0), chance.max(0), chance)

    return n_clusters, take


def _dense(points: np.ndarray, weight: np.ndarray, n_clusters: int | None, seed: int, starts: int) -> tuple[int, Any]:
    """Find dense regions among points drawn by weight; another point goes where its nearest one of them went."""
    from scipy.spatial import cKDTree
    from sklearn.cluster import HDBSCAN

    few = drawn(weight, DENSITY_POINTS, seed)
    some = points[few].astype(float)
    found = HDBSCAN(min_cluster_size=max(len(few) // 50, 5), allow_single_cluster=True, copy=True).fit(some)
    number, tree = int(found.labels_.max()) + 1, cKDTree(some)
    if number == 0:
        raise OptionError("method", "hdbscan", "no region is denser than the rest: use 'kmeans' or 'gaussian_mixture'")

    def take(points: np.ndarray, noise: np.ndarray) -> Assigned:
        _, at = tree.query(points)
        labels = found.labels_[at]
        membership = (labels == np.arange(number)[:, None]) * found.probabilities_[at]
        return Assigned(labels, np.where(labels >= 0, membership.sum(0), 0), membership)

    return number, take


def best_number(
    points: np.ndarray, weight: np.ndarray, method: str, choose: str, most: int, seed: int
) -> tuple[int, dict[int, float]]:
    """Return the best number of clusters up to `most`, and what each was worth, on points drawn by weight."""
    few = drawn(weight, JUDGE_POINTS, seed)
    some, light = points[few], weight[few]
    most = min(most, len(np.unique(some, axis=0)))
    if most < 2:
        return 1, {}
    if choose == "gap":
        return _by_gap(some, light, method, most, seed)
    judge: Any = {"silhouette": _mean_silhouette, "stability": stability}[choose]
    worth = {number: judge(some, light, method, number, seed) for number in range(2, most + 1)}
    # two clusters taken for one are as stable as the two
    slack = TIE if choose == "stability" else 0
    return max(number for number, value in worth.items() if value >= max(worth.values()) - slack), worth


def _labels(points: np.ndarray, weight: np.ndarray, method: str, number: int | None, seed: int) -> np.ndarray:
    return partition(points, weight, number, method, seed, JUDGE_STARTS).labels(points)


def _mean_silhouette(points: np.ndarray, weight: np.ndarray, method: str, number: int, seed: int) -> float:
    from sklearn.metrics import silhouette_score

    labels = _labels(points, weight, method, number, seed)
    return float(silhouette_score(points, labels)) if 1 < len(np.unique(labels)) < len(points) else -1.0


def stability(points: np.ndarray, weight: np.ndarray, method: str, number: int | None, seed: int) -> float:
    """Return the mean adjusted Rand index of bootstrap partitions with the one of all points."""
    from sklearn.metrics import adjusted_rand_score

    few = drawn(weight, JUDGE_POINTS, seed)
    points, weight = points[few], weight[few]
    labels = _labels(points, weight, method, number, seed)
    rng = np.random.default_rng(seed)
    agreement = []
    for _ in range(RESAMPLES):
        tell_step()
        again = rng.integers(len(points), size=len(points))
        try:
            other = partition(points[again], weight[again], number, method, seed, JUDGE_STARTS)
        except OptionError:  # a resample without a dense region agrees with nothing
            agreement.append(0.0)
        else:
            agreement.append(float(adjusted_rand_score(labels, other.labels(points))))
    return float(np.mean(agreement))


def _by_gap(points: np.ndarray, weight: np.ndarray, method: str, most: int, seed: int) -> tuple[int, dict[int, float]]:
    """Smallest number whose gap is within a standard error of the next one's (Tibshirani, Walther, Hastie)."""
    rng = np.random.default_rng(seed)
    middle = np.average(points, axis=0, weights=weight)
    _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
    along = (points - middle) @ axes.T
    boxes = [rng.uniform(along.min(0), along.max(0), along.shape) for _ in range(RESAMPLES)]
    numbers = range(1, most + 1)
    spread = {n: _log_within(along, weight, method, n, seed) for n in numbers}
    random = {n: [_log_within(box, np.ones(len(box)), method, n, seed) for box in boxes] for n in numbers}
    gap = {n: float(np.mean(random[n]) - spread[n]) for n in numbers}
    error = {n: float(np.std(random[n]) * np.sqrt(1 + 1 / RESAMPLES)) for n in numbers}
    enough = [n for n in numbers if n == most or gap[n] >= gap[n + 1] - error[n + 1]]
    return enough[0], gap


def _log_within(points: np.ndarray, weight: np.ndarray, method: str, number: int, seed: int) -> float:
    labels = _labels(points, weight, method, number, seed)
    within = 0.0
    for k in np.unique(labels):
        inside, heavy = points[labels == k], weight[labels == k]
        within += float(heavy @ ((inside - np.average(inside, axis=0, weights=heavy)) ** 2).sum(1))
    return float(np.log(max(within / weight.sum(), _TINY)))


def silhouettes(points: np.ndarray, weight: np.ndarray, labels: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return the mean silhouette of each cluster (k), on as many points of each; NaN where there is only one cluster."""
    from sklearn.metrics import silhouette_samples

    members = [np.flatnonzero(labels == k) for k in range(n_clusters)]
    few = np.concatenate([of[drawn(weight[of], SILHOUETTE_POINTS // n_clusters, seed)] for of in members])
    if not 1 < n_clusters < len(few):
        return np.full(n_clusters, np.nan)
    each = silhouette_samples(points[few], labels[few])
    return np.array([each[labels[few] == k].mean() for k in range(n_clusters)])
