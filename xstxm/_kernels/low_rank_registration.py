"""Registration of a stack against its own low-rank model, by variable projection.

    f_e(p + d_e(p)) = sum_c u_ec v_c(p) + polynomial_e(p) + noise,    d_e = sum_a theta_ea g_a

Frames f_e (minus logarithm of counts), maps v, coefficients u, polynomials and displacements theta are all unknown.
For given displacements the best maps are the leading components of the aligned, weighted frames D, so that only the
displacements are left: a Gauss-Newton step solves one small system, made from the energy-by-energy Gram matrix
and the derivatives A_a = g_a . grad v of the few maps:

    N[ae, bf] = (1 - U U')_ef  u_e' H_ab u_f,    H_ab = A_a A_b' - A_a V' (V V')^-1 V A_b',
    r[ae] = <D_e - (U V)_e, u_e' A_a>,           N delta = r,    theta <- theta - delta

The maps move with the frames, which makes the steps joint: three or four reach the end from a few pixels away.

Index letters: e frame, c component, a displacement mode, p pixel, b band of rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.fft

from xstxm._kernels import resample
from xstxm._kernels.correlation import edge_window

BANDS = 24
"""Bands of rows whose scores are compared: their scatter is the error of the displacements."""
BORDER = 4
"""Pixels at the border that a spline or a derivative would read from outside."""
RESOLVED = 2e-5
"""Least eigenvalue over the largest: below it lies what interpolation leaves of sharp edges."""
ABOVE_NOISE = 1.3
"""Least eigenvalue over the median of those beyond the rank: a component of noise leads the steps astray."""
ONE_FRAME = 0.8
"""Share of a component that one frame may own: more is the noise of that frame."""
DERIVATIVE = 0.3
"""Share of a component that derivatives of the leading maps explain: more is misalignment, not chemistry."""
LARGE = 200_000
"""Pixels of frames of which some are enough to look for a pattern."""
FEWEST = 100
"""Pixels in common below which frames are not compared."""
SPARSE = 7
"""Every so manieth pixel is enough for a median."""
CALM, UNSETTLED = 4, 4.0
"""Iterations after which steps are halved, as a component may come and go, and the last step over its standard error from
which that is worth a warning."""
WORSE = 1.03
"""Ratio of what is left to the least that was, from which an iteration is given up."""
WIENER = 1.5
"""White noise of a map over its mean: interpolation takes noise from high frequencies only."""


class NothingInCommon(Exception):
    """The frames have no pixel in common that may be used."""


@dataclass(frozen=True)
class Fit:
    """Displacements with what is known about them."""

    theta: np.ndarray
    """(e, a) pixels; for magnification and rotation those at the unit radius."""
    stderr: np.ndarray
    """(e, a) standard errors."""
    misfit: np.ndarray
    """(e,) residual of a frame over that of the median frame."""
    explained: np.ndarray
    """(e,) share of a frame that the model explains."""
    rank: int
    noise: float
    """Variance that the model leaves, weighted."""
    step: float
    """Largest change in the last iteration, pixels."""
    urge: float
    """Largest change over its standard error."""
    pattern: float = np.nan
    """Variance of what stands still on the detector, over that of noise; NaN where it was not looked for."""
    settled: bool = True
    """Whether the iterations came to an end by themselves."""
    patterned: bool = False
    """Whether a pattern was taken off the frames."""
    lost: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """(e,) frames that hold nothing, do not fit or leave open where they lie; they are between their neighbours."""


@dataclass
class Aligned:
    """Frames on the common grid, and the model of them."""

    frames: np.ndarray
    box: tuple[int, int, int, int]
    root_weight: np.ndarray
    polynomials: np.ndarray
    coefficients: np.ndarray
    """(e, polynomial)."""
    gram: np.ndarray
    """(e, e) of the weighted frames, polynomials taken off."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.box[1] - self.box[0], self.box[3] - self.box[2]


class Registration:
    """Gauss-Newton iterations at one size of the frames.

    Parameters
    ----------
    frames
        Minus logarithm of counts (e, y, x), float32, all finite.
    weight
        Inverse variance of each frame up to a factor; 0 leaves a frame out.
    used
        Pixels (y, x) that count: of the detector, and so of the common grid but for the displacements.
    modes
        2 displacement modes (y, x), or 4 with magnification and rotation.
    rank
        Largest number of components.
    step_prior
        Expected change from one frame to the next in pixels; 0 for one so weak that it only places frames
        that hold nothing.
    """

    def __init__(
        self,
        frames: np.ndarray,
        weight: np.ndarray,
        *,
        used: np.ndarray,
        modes: int = 2,
        rank: int = 6,
        step_prior: float = 0.0,
        threads: int = 1,
    ) -> None:
        self.frames, self.modes = frames, modes
        self.weight = np.sqrt(weight / weight.max())
        self.trust = self.weight.copy()
        self.live = weight > 0
        self.rank = max(1, min(rank, int(self.live.sum()) // 3))
        self.step_prior = step_prior
        self.threads = threads
        self.pattern = np.zeros(frames.shape[1:], np.float32)
        self.blocked = ~used
        self.coefficients = self._map(resample.spline_coefficients, frames)

    def _map(self, function, items) -> list:
        if self.threads == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(function, items))

    # ---- the aligned stack

    def align(self, theta: np.ndarray) -> Aligned:
        """Bring every frame onto the common grid, weighted and without its polynomial."""
        box = self._box(theta)
        shape = (box[1] - box[0], box[3] - box[2])
        images = np.empty((len(theta), *shape), np.float32)
        self._map(lambda e: self._sample(e, theta[e], box, images[e]), range(len(theta)))
        frames = images.reshape(len(theta), -1)
        root = np.sqrt(self._pixel_weight(frames, theta, box)).astype(np.float32)
        terms = _orthonormal(_polynomials(shape) * root)
        coefficients, gram = np.zeros((len(theta), len(terms))), np.zeros((len(theta), len(theta)))
        for band in _bands(shape):
            block = frames[:, band]
            block *= root[band]
            coefficients += block @ terms[:, band].T
            gram += block @ block.T
        gram -= coefficients @ coefficients.T
        return Aligned(frames, box, root, terms, coefficients, gram * self.trust[:, None] * self.trust)

    def _box(self, theta: np.ndarray) -> tuple[int, int, int, int]:
        """Return the rows and columns of the common grid (top, bottom, left, right) that every used frame covers."""
        height, width = self.frames.shape[1:]
        turned = (
            np.abs(theta[self.live, 2:]).sum(1).max() * np.hypot(height, width) / min(height, width)
            if self.modes > 2
            else 0
        )
        reach = np.ceil(np.abs(theta[self.live, :2]).max(0) + turned).astype(int) + BORDER
        rows, columns = np.minimum(reach, [int(0.35 * height), int(0.35 * width)])
        return rows, height - rows, columns, width - columns

    def _sample(self, e: int, theta: np.ndarray, box: tuple[int, int, int, int], out: np.ndarray) -> None:
        coefficients = self.coefficients[e]
        if self.modes > 2:
            from scipy.ndimage import affine_transform

            matrix, offset = self.transform(theta)
            corner = np.array([box[0], box[2]])
            affine_transform(
                coefficients, matrix, matrix @ corner + offset, out.shape, out, order=5, mode="mirror", prefilter=False
            )
            return
        limit = np.array([box[0], box[2]]) - BORDER + 1
        y, x = np.clip(theta[:2], -limit, limit - 1e-3)
        row, column = int(np.floor(y)), int(np.floor(x))
        weights = resample.quintic_weights(y - row), resample.quintic_weights(x - column)
        resample.separable(coefficients, box[0] + row - 2, box[2] + column - 2, *weights, out)

    def _whole(self, theta: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """Return displacements (e, 2) in whole pixels, none that leads out of the frame."""
        limit = np.array([box[0], box[2]])
        return np.clip(np.rint(theta[:, :2]).astype(int), -limit, limit)

    def transform(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return matrix and offset that turn a position of the common grid into one of the frame."""
        height, width = self.frames.shape[1:]
        centre, matrix = np.array([height - 1, width - 1]) / 2, matrix_of(theta, min(height, width) / 2)
        return matrix, centre - matrix @ centre + theta[:2]

    def _pixel_weight(self, frames: np.ndarray, theta: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
        """Return the weights of the pixels: transmitted counts, zero at the rim and where a detector pixel is bad."""
        shape = (box[1] - box[0], box[3] - box[2])
        window = edge_window(shape[0], 6)[:, None] * edge_window(shape[1], 6)[None]
        share = (self.trust**2 / (self.trust**2).sum()).astype(np.float32)
        transmitted = np.exp(-(share @ frames))
        weight = window.ravel() * np.minimum(transmitted / np.median(transmitted[::SPARSE]), 4)
        if self.blocked.any():
            bad = np.zeros(shape, bool)
            for y, x in np.unique(self._whole(theta, box)[self.live], axis=0):
                bad |= self.blocked[box[0] + y : box[1] + y, box[2] + x : box[3] + x]
            weight *= ~bad.ravel()
        if np.count_nonzero(weight) < FEWEST:
            raise NothingInCommon
        return weight

    # ---- one step

    def step(self, theta: np.ndarray) -> Fit:
        """Return the displacements after one Gauss-Newton step, with their errors before it."""
        aligned = self.align(theta)
        values, vectors = np.linalg.eigh(aligned.gram)
        values, vectors = np.maximum(values[::-1], 1e-30), vectors[:, ::-1]
        candidates = self._candidates(values, vectors)
        u, lam = vectors[:, candidates], values[candidates]
        n_pixels = aligned.frames.shape[1]
        noise = max(values.sum() - lam[: self.rank].sum(), 1e-30) / (
            max(int(self.live.sum()) - self.rank, 1) * n_pixels
        )
        maps, derivatives = self._maps(aligned, u, noise)
        scores = self._scores(aligned, u, maps, derivatives)
        va, aa = maps @ derivatives.T, derivatives @ derivatives.T
        plain = _like_derivatives(va.astype(float), aa.astype(float), lam, self.modes) < DERIVATIVE
        plain[0] = True
        keep = np.flatnonzero(plain)[: self.rank]
        system = _System(u, lam, va, aa, scores, noise, self.live, self.modes)
        prior, pull = self._prior(theta)
        delta, covariance = system.solve(keep, prior, pull)
        delta -= delta[self.live].mean(0)
        model = (u[:, keep] ** 2) @ lam[keep]
        misfit = self._misfits(aligned, model)
        self._model = aligned, u[:, keep], maps[keep], noise
        bounded = delta * np.minimum(1, 1 / np.maximum(np.abs(delta).max(1, keepdims=True), 1e-12))
        return Fit(
            self._centred(theta - bounded),
            covariance,
            misfit,
            np.where(self.live, np.clip(model / np.maximum(np.diag(aligned.gram), 1e-30), 0, 1), 0.0),
            len(keep),
            max(values.sum() - lam[keep].sum(), 0.0) / n_pixels,
            float(np.abs(delta[self.live]).max()),
            float((np.abs(delta) / np.maximum(covariance, 1e-12))[self.live].max()),
        )

    def _centred(self, theta: np.ndarray) -> np.ndarray:
        """Return displacements with zero in the middle of their range, which makes the common area largest."""
        used = theta[self.live]
        return theta - (used.max(0) + used.min(0)) / 2

    def _candidates(self, values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return the components that may be chemistry, two more than are used."""
        n = int(self.live.sum())
        least = max(RESOLVED * values[0], ABOVE_NOISE * float(np.median(values[self.rank : n])))
        found = [
            k
            for k in range(min(self.rank + 6, n - 1))
            if k == 0 or (values[k] > least and (vectors[:, k] ** 2).max() < ONE_FRAME)
        ]
        return np.array(found[: self.rank + 2] or [0])

    def _maps(self, aligned: Aligned, u: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted maps (c, p) and their derivatives (a * c, p), free of polynomials."""
        weighted = (u * self.trust[:, None]).T.astype(np.float32)
        maps = weighted @ aligned.frames - (weighted @ aligned.coefficients.astype(np.float32)) @ aligned.polynomials
        root = aligned.root_weight
        inside = root > 0.5 * _typical(root)
        plain = maps / np.maximum(root, 1e-3)
        white = WIENER * noise * float(np.mean(1 / root[inside] ** 2))
        smooth = np.stack(self._map(lambda image: _wiener(image.reshape(aligned.shape), white), plain))
        moved = _derivatives(smooth, self.frames.shape[1:], aligned.box, self.modes).reshape(-1, root.size) * root
        return maps, moved - (moved @ aligned.polynomials.T) @ aligned.polynomials

    def _scores(self, aligned: Aligned, u: np.ndarray, maps: np.ndarray, derivatives: np.ndarray) -> np.ndarray:
        """Return the products of the frames with the derivatives (b, e, a * c), and of the maps with them at the end."""
        rows = []
        for band in _bands(aligned.shape):
            a = derivatives[:, band].T
            frames = aligned.frames[:, band] @ a - aligned.coefficients @ (aligned.polynomials[:, band] @ a)
            rows.append(np.concatenate([frames * self.trust[:, None], maps[:, band] @ a]))
        return np.array(rows, float)

    def _prior(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return precision and pull of a random walk for each mode: weak, or as wide as asked for."""
        n = len(theta)
        difference = np.diff(np.eye(n), axis=0)
        moved = np.diff(theta, axis=0)
        width = self.step_prior or max(3 * 1.4826 * float(np.median(np.abs(moved))), 0.5)
        tails = 1.0 if self.step_prior else 1 / (1 + (moved / (3 * width)) ** 2) ** 2
        precision = [difference.T @ (k[:, None] * difference) for k in np.broadcast_to(tails / width**2, moved.shape).T]
        return np.array(precision), np.array([p @ column for p, column in zip(precision, theta.T, strict=True)])

    def _misfits(self, aligned: Aligned, model: np.ndarray) -> np.ndarray:
        left = np.maximum(np.diag(aligned.gram) - model, 0) / np.maximum(self.trust, 1e-12) ** 2 * self.weight**2
        middle = float(np.median(left[self.live]))
        return np.where(self.live, np.sqrt(left / max(middle, 1e-30)), np.inf)

    # ---- what stands still on the detector

    def find_pattern(self, theta: np.ndarray, *, take_off: bool = True) -> float:
        """Find what all frames show at one place of the detector, take it off them; return its variance over noise.

        The model of the last step is moved back to where each frame lay, and the weighted mean of what it leaves
        there is the pattern: a flat-field error, a hot row. Pixels with a strong one are left out from now on.
        """
        aligned, u, maps, noise = self._model
        root, shape, box = aligned.root_weight, aligned.shape, aligned.box
        inside = np.maximum(root, 0.3 * _typical(root))
        whole = self._whole(theta, box)
        total, cover = np.zeros(self.frames.shape[1:]), np.zeros(self.frames.shape[1:])
        moved = np.empty((shape[0] - 2 * BORDER, shape[1] - 2 * BORDER), np.float32)
        frames = np.flatnonzero(self.live & (self.trust > 0.5 * self.weight))
        if not take_off and self.frames[0].size > LARGE:
            frames = frames[:: max(1, len(frames) // 60)]
        for e in frames:
            model = (u[e] / self.trust[e]).astype(np.float32) @ maps + aligned.coefficients[e].astype(
                np.float32
            ) @ aligned.polynomials
            y, x = np.clip(whole[e] - theta[e, :2], -0.5, 0.5)
            row, column = int(np.floor(y)), int(np.floor(x))
            weights = resample.cubic_weights(y - row), resample.cubic_weights(x - column)
            resample.separable((model / inside).reshape(shape), BORDER + row - 1, BORDER + column - 1, *weights, moved)
            rows = slice(box[0] + whole[e, 0] + BORDER, box[0] + whole[e, 0] + BORDER + moved.shape[0])
            columns = slice(box[2] + whole[e, 1] + BORDER, box[2] + whole[e, 1] + BORDER + moved.shape[1])
            total[rows, columns] += self.trust[e] ** 2 * (self.frames[e, rows, columns] - moved)
            cover[rows, columns] += self.trust[e] ** 2
        seen = cover > 0.3 * cover.max()
        pattern = np.where(seen, total / np.maximum(cover, 1e-12), 0).astype(np.float32)
        spread = 1.4826 * float(np.median(np.abs(pattern[seen])))
        strength = spread**2 * float(np.median(cover[seen])) * _typical(root) ** 2 / noise
        self.blocked |= (np.abs(pattern) > max(8 * spread, 0.2)) | _lines(pattern, seen)
        if not take_off:
            return strength
        keep = pattern * np.float32(max(0.0, 1 - 1.5 / max(strength, 1e-9)))
        change = keep - self.pattern
        self.pattern = keep
        correction = resample.spline_coefficients(change)
        for coefficients in self.coefficients:
            coefficients -= correction
        return strength

    # ---- iterations

    def run(self, theta: np.ndarray, *, most: int) -> Fit:
        """Iterate until what is left of the way is far below the standard errors.

        After one step that is its square; then, what a geometric series from the last two steps has left.
        """
        theta = self._centred(theta)
        best, last = None, np.inf
        for k in range(most):
            before, fit = theta, self.step(theta)
            if best and fit.noise > WORSE * best.noise:  # a component came or went, and led astray
                fit = best
                break
            if not best or fit.noise < best.noise:
                best = replace(fit, theta=before)
            theta = fit.theta if k < CALM else (before + fit.theta) / 2
            self.trust = self.weight * np.minimum(1, 2.5 / np.maximum(fit.misfit, 1e-6))
            ratio = min(fit.urge / last, 0.9)
            left, last = fit.urge * max(fit.step, ratio / (1 - ratio)), fit.urge
            if left < 0.2:
                break
        else:
            fit = replace(fit, theta=theta, settled=fit.urge < UNSETTLED)
        return fit


def _typical(root_weight: np.ndarray) -> float:
    """Return the median of the weights that are not zero, from every `SPARSE`th pixel."""
    some = root_weight[::SPARSE]
    return float(np.median(some[some > 0]))


def matrix_of(theta: np.ndarray, radius: float) -> np.ndarray:
    """Return the matrix that turns a position about the middle of the common grid into one about that of a frame."""
    stretch, turn = theta[2:] / radius
    return np.array([[1 + stretch, turn], [-turn, 1 + stretch]])


def _lines(pattern: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the rows and columns (y, x) that stand out sharply from those beside them."""
    from scipy.ndimage import median_filter

    found = np.zeros(pattern.shape, bool)
    for axis in (0, 1):
        profile = pattern.sum(1 - axis) / np.maximum(seen.sum(1 - axis), 1)
        sharp = profile - median_filter(profile, 7, mode="nearest")
        out = np.abs(sharp) > max(8 * 1.4826 * float(np.median(np.abs(sharp))), 0.02)
        found |= np.expand_dims(out, 1 - axis)
    return found


def _bands(shape: tuple[int, int]) -> list[slice]:
    edges = np.linspace(0, shape[0], min(BANDS, shape[0]) + 1).astype(int) * shape[1]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _polynomials(shape: tuple[int, int]) -> np.ndarray:
    """Return the terms to second order that illumination may add to a frame, (term, p)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    return np.stack([np.ones_like(y), y, x, y * y, x * x, y * x]).reshape(6, -1)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """Return orthonormal rows with the span of a few given ones, fewer where these depend on each other."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(float))
    sure = values > 1e-6 * values[-1]
    return ((vectors[:, sure] / np.sqrt(values[sure])).T @ rows).astype(np.float32)


def _derivatives(maps: np.ndarray, size: Sequence[int], box: tuple[int, int, int, int], modes: int) -> np.ndarray:
    """Return the change of the maps (c, y, x) with each displacement mode, (a, c, y, x), by five-point differences."""
    along = []
    for axis in (1, 2):
        change = np.zeros_like(maps)
        inner = [slice(None)] * 3
        inner[axis] = slice(2, -2)
        at = [np.moveaxis(maps, axis, 0)[k : maps.shape[axis] - 4 + k] for k in range(5)]
        change[tuple(inner)] = np.moveaxis((at[0] - at[4]) / 12 + (at[3] - at[1]) * np.float32(2 / 3), 0, axis)
        along.append(change)
    if modes == 2:
        return np.stack(along)
    radius = min(size) / 2
    y = ((np.arange(box[0], box[1]) - (size[0] - 1) / 2) / radius).astype(np.float32)[:, None]
    x = ((np.arange(box[2], box[3]) - (size[1] - 1) / 2) / radius).astype(np.float32)
    return np.stack([*along, y * along[0] + x * along[1], x * along[0] - y * along[1]])


def _wiener(image: np.ndarray, noise: float) -> np.ndarray:
    """Return an image less its noise: Wiener filter of its radial power spectrum, which may only fall."""
    transform = scipy.fft.dctn(image, norm="ortho")
    rows, columns = (np.arange(n) / n for n in image.shape)
    ring = (np.hypot(rows[:, None], columns) * min(image.shape)).astype(np.int32)
    power = np.bincount(ring.ravel(), np.square(transform, dtype=float).ravel()) / np.maximum(
        np.bincount(ring.ravel()), 1
    )
    smooth = np.convolve(np.pad(power, 3, mode="edge"), np.full(7, 1 / 7), "valid")
    gain = np.clip(1 - noise / np.maximum(np.minimum.accumulate(smooth), 1e-30), 0, 1).astype(np.float32)
    return scipy.fft.idctn(transform * gain[ring], norm="ortho")


def _like_derivatives(va: np.ndarray, aa: np.ndarray, lam: np.ndarray, modes: int) -> np.ndarray:
    """Return the share of each map that the derivatives of the two leading maps explain, (c,)."""
    n = len(lam)
    leading = [a * n + c for a in range(modes) for c in range(min(2, n))]
    inner = aa[np.ix_(leading, leading)]
    explained = np.linalg.lstsq(inner, va[:, leading].T, rcond=1e-9)[0]
    return np.einsum("cj,jc->c", va[:, leading], explained) / lam


class _System:
    """The normal equations of a step, for any choice of the candidate components."""

    def __init__(self, u, lam, va, aa, scores, noise, live, modes) -> None:
        self.u, self.lam, self.noise, self.live, self.modes = u, lam, noise, live, modes
        self.va, self.aa, self.scores = va.astype(float), aa.astype(float), scores

    def solve(self, keep: np.ndarray, prior: np.ndarray, pull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return step and standard error of every mode, both (e, a)."""
        u, lam, n_candidates = self.u[:, keep], self.lam[keep], len(self.lam)
        n, n_kept, modes = len(u), len(keep), self.modes
        at = np.concatenate([a * n_candidates + keep for a in range(modes)])
        va = self.va[np.ix_(keep, at)]
        h = (self.aa[np.ix_(at, at)] - va.T @ (va / lam[:, None])).reshape(modes, n_kept, modes, n_kept)
        projector = np.eye(n) - u @ u.T
        normal = np.einsum("ef,ec,acbd,fd->aebf", projector, u, h, u, optimize=True).reshape(modes * n, -1) / self.noise
        frames, maps = self.scores[:, :n, at], self.scores[:, n:, at][:, keep]
        left = (frames - u @ maps).reshape(-1, n, modes, n_kept)
        bands = np.einsum("beac,ec->bae", left, u).reshape(len(left), -1) / self.noise
        full = normal + 1e-6 * np.trace(normal) / len(normal) * np.eye(len(normal))
        right = bands.sum(0)
        for a in range(modes):
            own = slice(a * n, (a + 1) * n)
            full[own, own] += prior[a] + np.ones((n, n))
            right[own] += pull[a]
        inverse = np.linalg.inv(full)
        delta = (inverse @ right).reshape(modes, n).T
        return delta, _standard_errors(inverse, normal, bands, self.live, modes)


def _standard_errors(
    inverse: np.ndarray, normal: np.ndarray, bands: np.ndarray, live: np.ndarray, modes: int
) -> np.ndarray:
    """Return standard errors (e, a) of displacements, the mean of the live frames zero, from the scatter of the bands' scores.

    The sandwich estimate sees what the noise model does not: correlated noise, patterns, contrast that the model
    lacks. A few bands give it few degrees of freedom, so half of it is the common ratio to the plain estimate.
    """
    n = len(live)
    centring = np.kron(np.eye(modes), np.eye(n) - live / live.sum())
    centre = centring @ inverse
    scatter = centre @ (bands - bands.mean(0)).T * np.sqrt(len(bands) / (len(bands) - 1))
    plain = np.einsum("ij,ij->i", centre @ normal, centre)
    ratio = (scatter**2).sum(1) / np.maximum(plain, 1e-30)
    common = np.median(ratio[np.tile(live, modes)])
    prior = np.maximum(np.einsum("ij,ij->i", centre, centring) - plain, 0)  # of frames that hold little
    return np.sqrt(plain * (ratio + common) / 2 + prior).reshape(modes, n).T
