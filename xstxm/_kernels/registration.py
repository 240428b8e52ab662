"""From frames to displacements: a start by correlation, then the low-rank model from coarse to fine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xstxm._kernels import correlation, pyramid
from xstxm._kernels.low_rank_registration import Fit, Held, Registration

COARSE = 96
"""Least pixels on the shorter side of the frames in which the search begins."""
EDGE_SIGMA = 2.0
"""Width in pixels of the Gaussian before edges are taken."""
PATTERN = 1.2
"""Variance of a pattern over that of noise from which it is modelled. Sound stacks have 1.1 or less."""
MOVED = 0.8
"""Spread of the displacements in pixels from which a pattern can be told from the sample."""
FEW, ROUNDS = 4, 4
"""Components of a model that leaves a pattern to the residual, and how often it and the maps are found in turn."""
BETTER = 0.985
"""Share of the noise that may be left with a pattern taken off for the pattern to be believed."""
STRONGEST = 0.1
"""Spread of a pattern, of -ln(counts), from which it is rather the sample."""
MISFIT = 3.0
"""Residual of a frame over that of the median frame from which the frame is left out."""
FEW_FRAMES = 36
"""Frames below which the model knows too little by itself: they are also held to where correlation puts them."""
VERY_FEW = 12
"""Frames below which these come first: they are held tighter, and what is left open is more than the residual shows."""
HOLD, TIGHT = 0.14, 0.08
"""Least standard error in pixels of what correlation says of few frames, and of very few."""
ENLARGED = 1.6
"""Factor on the standard errors of very few frames: the scatter on simulated stacks."""
UNKNOWN = 0.3
"""Standard error in pixels from which a frame is left out, where it is ten times the median one too."""


def mapped(function: Callable[[Any], Any], items: Iterable[Any], threads: int) -> list[Any]:
    """Return a function of every item, on threads."""
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def levels_of(frames: np.ndarray) -> list[np.ndarray]:
    """Return frames at every size, the finest first: halved while the shorter side keeps `COARSE` pixels."""
    levels = [frames]
    while min(levels[-1].shape[1:]) >= 2 * COARSE:
        levels.append(np.stack([pyramid.halve(frame) for frame in levels[-1]]))
    return levels


def pair_displacements(
    frames: np.ndarray,
    pairs: list[correlation.Pair],
    reach: tuple[float, float],
    used: np.ndarray,
    *,
    exact: bool = False,
    threads: int = 1,
) -> np.ndarray:
    """Return displacement (y, x), height and clearness of the correlation peak of the edges of pairs, (pair, 4)."""
    shape: tuple[int, int] = frames.shape[1:]
    window = correlation.window_of(shape) * used.astype(np.float32)

    def transform(frame: np.ndarray) -> np.ndarray:
        return correlation.spectrum(correlation.edges_of(frame, EDGE_SIGMA), window)

    spectra = mapped(transform, frames, threads)
    return np.array(
        mapped(
            lambda p: correlation.peak(spectra[p[1]] * spectra[p[0]].conj(), shape, reach, exact=exact), pairs, threads
        )
    ).reshape(-1, 4)


def _trust(found: np.ndarray) -> np.ndarray:
    """Return the height of peaks, 0 of those that may be chance: in weak frames these are as high as true ones."""
    return found[:, 2] * (found[:, 3] > correlation.UNCLEAR)


def start(
    frames: np.ndarray,
    live: np.ndarray,
    reach: tuple[float, float],
    used: np.ndarray,
    *,
    exact: bool = False,
    threads: int = 1,
) -> Held:
    """Return where every frame lies by correlation with its neighbours among those that hold something."""
    at = np.flatnonzero(live)
    pairs = correlation.neighbours(len(at))
    found = pair_displacements(frames[at], pairs, reach, used, exact=exact, threads=threads)
    trust = _trust(found)
    place, misfit = correlation.join(pairs, found[:, :2], trust, len(at))
    sigma = np.full(len(frames), np.inf)
    least = TIGHT if len(at) < VERY_FEW else HOLD
    sigma[np.unique(at[np.array(pairs)[trust > 0]])] = max(1.4826 * float(np.median(misfit)), least)
    return Held(spread_over(at, place, len(frames)), sigma)


@dataclass(frozen=True)
class Correlated:
    """Frames (e, y, x) to be placed by the correlation of their edges; results are those of `pair_displacements`."""

    frames: np.ndarray
    used: np.ndarray
    reach: tuple[float, float]
    threads: int

    def _pairs(self, frames: np.ndarray, pairs: list[correlation.Pair]) -> np.ndarray:
        return pair_displacements(frames, pairs, self.reach, self.used, exact=True, threads=self.threads)

    def to_image(self, image: np.ndarray) -> np.ndarray:
        """Place every frame against one image."""
        n = len(self.frames)
        return self._pairs(np.concatenate([image[None], self.frames]), [(0, k + 1) for k in range(n)])

    def to_previous(self) -> np.ndarray:
        """Place every frame against the last clear one before it; errors add up."""
        n = len(self.frames)
        found = np.concatenate(
            [[[0.0, 0.0, 1.0, np.inf]], self._pairs(self.frames, [(k, k + 1) for k in range(n - 1)])]
        )
        before = int(np.argmax(found[1:, 3] >= correlation.UNCLEAR))  # the first that the next one resembles
        found[:before, 3] = 0
        found[before, :2] = 0
        for k in range(before + 1, n):
            if before < k - 1:
                found[k] = self._pairs(self.frames[[before, k]], [(0, 1)])[0]
            found[k, :2] += found[before, :2]
            if found[k, 3] >= correlation.UNCLEAR:
                before = k
        return found

    def to_neighbours(self) -> np.ndarray:
        """Place the frames by all pairs 1, 2, 3 and 5 apart; height and clearness are the best of a frame."""
        n = len(self.frames)
        pairs = correlation.neighbours(n)
        found = self._pairs(self.frames, pairs)
        place, _ = correlation.join(pairs, found[:, :2], _trust(found), n)
        best = np.zeros((n, 2))
        for frame in np.array(pairs).T:
            np.maximum.at(best, frame, found[:, 2:])
        return np.concatenate([place, best], axis=1)

    def to_mean(self) -> np.ndarray:
        """Place the frames against the mean of the placed frames, three times over."""
        from scipy.ndimage import shift

        found = self.to_neighbours()
        for _ in range(3):
            moved = [shift(f, -d, order=1, mode="nearest") for f, d in zip(self.frames, found[:, :2], strict=True)]
            found = self.to_image(np.mean(moved, axis=0))
        return found


def spread_over(at: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return values (e, a) of all frames from those of some, the others between their neighbours."""
    return np.stack([np.interp(np.arange(n), at, column) for column in values.T], axis=1)


def register(
    frames: np.ndarray,
    weight: np.ndarray,
    *,
    used: np.ndarray,
    reach: tuple[float, float],
    modes: int = 2,
    rank: int = 6,
    step_prior: np.ndarray | None = None,
    threads: int = 1,
) -> Fit:
    """Return the displacements of frames (e, y, x) against their own low-rank model.

    Parameters
    ----------
    frames
        Minus logarithm of counts, or optical density, float32, finite.
    weight
        (e,) inverse variance up to a factor; 0 leaves a frame out.
    used
        Pixels (y, x) of the frames to register on; broken ones are False.
    reach
        Farthest displacement sought between two frames, (y, x), pixels.
    modes, rank, step_prior, threads
        As in `Registration`; `step_prior` in pixels of `frames`.
    """
    levels = levels_of(frames)
    scale = 2.0 ** (len(levels) - 1)
    theta = np.zeros((len(frames), modes))
    masks = [used]
    for images in levels[1:]:
        masks.append(_halved(masks[-1], images.shape[1:]))
    n_live = int((weight > 0).sum())
    few = n_live < FEW_FRAMES
    if few:
        held = start(frames, weight > 0, reach, used, exact=True, threads=threads)
        theta[:, :2] = held.place / scale
    else:
        held = start(levels[-1], weight > 0, (reach[0] / scale, reach[1] / scale), masks[-1], threads=threads)
        theta[:, :2] = held.place
    pattern, patterned, blocked = np.nan, False, np.zeros(0)
    for k in range(len(levels) - 1, -1, -1):
        level = Registration(
            levels[k],
            weight,
            used=masks[k],
            modes=modes,
            rank=rank,
            step_prior=None if step_prior is None else step_prior / 2.0**k,
            held=held.smaller(2.0**k) if few else None,
            threads=threads,
        )
        coarsest = k == len(levels) - 1
        if coarsest:
            theta = _block_lines(level, theta) if modes == 2 else theta
        else:
            level.blocked |= _doubled(blocked, level.blocked.shape)
        fit = level.run(theta, most=16)
        if modes == 2 and not pattern <= PATTERN:
            fit = _without_pattern(level, fit)
            pattern, patterned = fit.pattern, fit.patterned
        if coarsest:
            first, early = replace(fit, stderr=fit.stderr * scale), _lost(level, fit)
            fit = _between_neighbours(fit, early)
            weight = np.where(early, 0.0, weight)
        theta, blocked = fit.theta * 2 if k else fit.theta, level.blocked
    lost = early | _lost(level, fit)
    return replace(
        _between_neighbours(fit, lost),
        lost=lost,
        misfit=np.where(early, first.misfit, fit.misfit),
        explained=np.where(early, first.explained, fit.explained),
        stderr=np.where(early[:, None], first.stderr, fit.stderr) * (ENLARGED if n_live < VERY_FEW else 1.0),
        pattern=pattern,
        patterned=patterned,
    )


def _halved(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask at half the size: a pixel is used where all that it is made from are."""
    rows, columns = (2 * np.arange(n) for n in shape)
    return np.all([mask[np.ix_(rows + y, columns + x)] for y in range(6) for x in range(6)], axis=0)


def _doubled(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return what a mask at half the size marks."""
    marked = np.zeros(shape, bool)
    for y, x in itertools.product(range(1, 5), repeat=2):
        part = marked[y : y + 2 * mask.shape[0] : 2, x : x + 2 * mask.shape[1] : 2]
        part |= mask
    return marked


def _block_lines(level: Registration, theta: np.ndarray) -> np.ndarray:
    """Leave out lines and pixels that stand still on the detector; return the displacements after a few steps.

    A model of few components leaves what stands still to the residual, where it is found before the full model could
    carry it along.
    """
    full, level.rank = level.rank, min(level.rank, FEW)
    known = -1
    for _ in range(ROUNDS):
        if known == (known := int(level.blocked.sum())):
            break
        fit = level.step(theta)
        level.find_pattern(theta, take_off=False)
        theta = fit.theta
    level.rank = full
    return theta


def _without_pattern(level: Registration, fit: Fit) -> Fit:
    """Return displacements with what stands still on the detector taken off, where there is such a thing.

    Pattern and sample are told apart by drift: of less than about a pixel it says nothing, unless the frames cannot settle, as a
    strong pattern holds them where it is. Pattern and maps are found in turn, and are kept where they leave less than the maps alone.
    """
    if fit.theta[level.live].std(0).max() < MOVED:
        return fit if fit.settled else replace(fit, pattern=_seen(level, fit))
    seen = level.find_pattern(fit.theta, take_off=False)
    if seen <= PATTERN:
        return replace(fit, pattern=seen)
    full, theta = level.rank, fit.theta
    for k in range(2 * ROUNDS):
        level.rank = min(full, FEW) if k < ROUNDS else full
        found = level.step(theta)
        pattern = level.find_pattern(theta)
        theta = found.theta
    found = level.run(theta, most=3)
    better = found.noise < BETTER * fit.noise and float(level.pattern.std()) < STRONGEST
    return replace(found, pattern=pattern, patterned=True) if better else replace(fit, pattern=seen)


def _seen(level: Registration, fit: Fit) -> float:
    """Return the variance of what stands still over that of noise, and leave no pixel out for it."""
    blocked = level.blocked.copy()
    strength = level.find_pattern(fit.theta, take_off=False)
    level.blocked = blocked
    return strength


def _lost(level: Registration, fit: Fit) -> np.ndarray:
    """Return the frames that hold nothing, do not fit, or leave open where they lie."""
    error = fit.stderr.max(1)
    open_ = error > np.maximum(10 * np.median(error[level.live]), UNKNOWN)
    return ~level.live | (fit.misfit > MISFIT) | open_


def _between_neighbours(fit: Fit, lost: np.ndarray) -> Fit:
    if lost.all() or not lost.any():
        return fit
    at = np.flatnonzero(~lost)
    return replace(fit, theta=spread_over(at, fit.theta[at], len(lost)))
