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

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from xstxm._kernels import registration_maps, resample
from xstxm._kernels.correlation import edge_window
from xstxm._kernels.registration_maps import bands
from xstxm._kernels.registration_system import NormalEquations, like_derivatives
from xstxm.steps import tell_step

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
LOOSE = 5.0
"""Standard errors from where it is held at which a frame gets loose."""
WIENER = 1.5
"""White noise of a map over its mean: interpolation takes noise from high frequencies only."""


class NothingInCommon(Exception):
    """The frames have no pixel in common that may be used."""


@dataclass(frozen=True)
class Held:
    """Where frames are held to lie, (e, 2) pixels up to a common offset, and by what standard error (e,), inf for free."""

    place: np.ndarray
    sigma: np.ndarray

    def smaller(self, factor: float) -> Held:
        """Return the same for smaller frames."""
        return Held(self.place / factor, self.sigma / factor)

    def prior(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return precision (e, e) and pull (e, 2); no hold on a frame that has left its place by far."""
        off = theta[:, :2] - self.place
        off -= np.median(off, axis=0)
        free = 1 / (1 + ((off / (LOOSE * self.sigma[:, None])) ** 2).sum(1)) ** 2
        weight = free / self.sigma**2
        precision = np.diag(weight) - np.outer(weight, weight) / max(weight.sum(), 1e-30)
        return precision, precision @ (theta[:, :2] - self.place)


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
        Expected change (y, x) from one frame to the next in pixels; None for one so weak that it only places frames
        that hold nothing.
    held
        Where the frames are held to lie.
    """

    def __init__(
        self,
        frames: np.ndarray,
        weight: np.ndarray,
        *,
        used: np.ndarray,
        modes: int = 2,
        rank: int = 6,
        step_prior: np.ndarray | None = None,
        held: Held | None = None,
        threads: int = 1,
    ) -> None:
        self.frames, self.modes = frames, modes
        self.weight = np.sqrt(weight / weight.max())
        self.trust = self.weight.copy()
        self.live = weight > 0
        self.rank = max(1, min(rank, int(self.live.sum()) // 3))
        self.step_prior = step_prior if step_prior is None else np.resize(step_prior, modes)
        self.held = held
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
        terms = registration_maps.orthonormal(registration_maps.polynomials(shape) * root)
        coefficients, gram = np.zeros((len(theta), len(terms))), np.zeros((len(theta), len(theta)))
        for band in bands(shape):
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
        plain = like_derivatives(va.astype(float), aa.astype(float), lam, self.modes) < DERIVATIVE
        plain[0] = True
        keep = np.flatnonzero(plain)[: self.rank]
        system = NormalEquations(u, lam, va, aa, scores, noise, self.live, self.modes)
        prior, pull = self._prior(theta)
        delta, stderr = system.solve(keep, prior, pull)
        delta -= delta[self.live].mean(0)
        model = (u[:, keep] ** 2) @ lam[keep]
        misfit = self._misfits(aligned, model)
        self._model = aligned, u[:, keep], maps[keep], noise
        bounded = delta * np.minimum(1, 1 / np.maximum(np.abs(delta).max(1, keepdims=True), 1e-12))
        return Fit(
            self._centred(theta - bounded),
            stderr,
            misfit,
            np.where(self.live, np.clip(model / np.maximum(np.diag(aligned.gram), 1e-30), 0, 1), 0.0),
            len(keep),
            max(values.sum() - lam[keep].sum(), 0.0) / n_pixels,
            float(np.abs(delta[self.live]).max()),
            float((np.abs(delta) / np.maximum(stderr, 1e-12))[self.live].max()),
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
        smooth = np.stack(self._map(lambda image: registration_maps.wiener(image.reshape(aligned.shape), white), plain))
        moved = registration_maps.derivatives(smooth, self.frames.shape[1:], aligned.box, self.modes)
        moved = moved.reshape(-1, root.size) * root
        return maps, moved - (moved @ aligned.polynomials.T) @ aligned.polynomials

    def _scores(self, aligned: Aligned, u: np.ndarray, maps: np.ndarray, derivatives: np.ndarray) -> np.ndarray:
        """Return the products of the frames with the derivatives (b, e, a * c), and of the maps with them at the end."""
        rows = []
        for band in bands(aligned.shape):
            a = derivatives[:, band].T
            frames = aligned.frames[:, band] @ a - aligned.coefficients @ (aligned.polynomials[:, band] @ a)
            rows.append(np.concatenate([frames * self.trust[:, None], maps[:, band] @ a]))
        return np.array(rows, float)

    def _prior(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return precision and pull of a random walk for each mode, weak or as wide as asked for, and of what is held."""
        n = len(theta)
        difference = np.diff(np.eye(n), axis=0)
        moved = np.diff(theta, axis=0)
        if self.step_prior is None:
            width = max(3 * 1.4826 * float(np.median(np.abs(moved))), 0.5)
            stiffness = 1 / (1 + (moved / (3 * width)) ** 2) ** 2 / width**2
        else:
            stiffness = np.broadcast_to(1 / self.step_prior**2, moved.shape)
        precision = [difference.T @ (k[:, None] * difference) for k in stiffness.T]
        pull = [p @ column for p, column in zip(precision, theta.T, strict=True)]
        if self.held is not None:
            hold, towards = self.held.prior(theta)
            for a in range(2):
                precision[a], pull[a] = precision[a] + hold, pull[a] + towards[:, a]
        return np.array(precision), np.array(pull)

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
        self.blocked |= (np.abs(pattern) > max(8 * spread, 0.2)) | registration_maps.lines(pattern, seen)
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
        best, trust, last = None, self.trust, np.inf
        for k in range(most):
            tell_step()
            before, fit = theta, self.step(theta)
            if best and fit.noise > WORSE * best.noise:  # a component came or went, and led astray
                self.trust = trust
                fit = self.step(best.theta)
                return replace(fit, theta=best.theta, settled=fit.urge < UNSETTLED)
            if not best or fit.noise < best.noise:
                best, trust = replace(fit, theta=before), self.trust
            theta = fit.theta if k < CALM else (before + fit.theta) / 2
            self.trust = self.weight * np.minimum(1, 2.5 / np.maximum(fit.misfit, 1e-6))
            ratio = min(fit.urge / last, 0.9)
            left, last = fit.urge * max(fit.step, ratio / (1 - ratio)), fit.urge
            if left < 0.2:
                return fit
        return replace(fit, theta=theta, settled=fit.urge < UNSETTLED)


def _typical(root_weight: np.ndarray) -> float:
    """Return the median of the weights that are not zero, from every `SPARSE`th pixel."""
    some = root_weight[::SPARSE]
    return float(np.median(some[some > 0]))


def matrix_of(theta: np.ndarray, radius: float) -> np.ndarray:
    """Return the matrix that turns a position about the middle of the common grid into one about that of a frame."""
    stretch, turn = theta[2:] / radius
    return np.array([[1 + stretch, turn], [-turn, 1 + stretch]])
