"""Sums over pixels: second moments and sums by label, in float64 block by block; and what follows from a moment."""

from __future__ import annotations

import numpy as np

from xstxm._kernels.devices import beside, on_device

# e = energy, c = component, k = cluster, p = pixel

BLOCK = 4096
"""Pixels that are held in float64 at once: they fit into the cache of a core."""

TRACY_WIDOM_95 = 0.9793
"""95 % quantile of the Tracy-Widom law of order one."""


def second_moment(pixels: np.ndarray, keep: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return the second moment of the spectra with a row of ones below, (e + 1, e + 1).

    Its last row holds the sum of the spectra and the number of pixels. Pixels (e, p) that `keep` (p) leaves out,
    and those that are not finite at every energy, do not count. In float64: in float32 the rounding of the
    strongest component is larger than the weakest ones.
    """
    if on_device(pixels):
        return _moment_on_device(pixels, keep)
    from xstxm._kernels import square_sums  # compiled: numba takes a second to import

    return square_sums.second_moment(pixels, keep, threads)


def _moment_on_device(pixels: np.ndarray, keep: np.ndarray) -> np.ndarray:
    n_energies, n_pixels = pixels.shape
    size = _block_of(pixels)
    buffer = np.ones_like(pixels, dtype=float, shape=(n_energies + 1, min(size, n_pixels)), order="C")
    moment = np.zeros_like(buffer, shape=(n_energies + 1, n_energies + 1))
    for start in range(0, n_pixels, size):
        stop = min(start + size, n_pixels)
        block = buffer[:, : stop - start]
        block[:-1] = pixels[:, start:stop]
        block[-1] = keep[start:stop]
        if not block[-1].all():
            block[:, block[-1] == 0] = 0
        part = _square(block)
        if not np.isfinite(part).all():
            # only here is it worth to look for the pixels that are not finite
            block[:, ~np.isfinite(block).all(0)] = 0
            part = _square(block)
        moment += part
    return moment


def _block_of(pixels: np.ndarray) -> int:
    """Return how many pixels are worked on at once; a device has no cache to fit into, and starts each step slowly."""
    return 16 * BLOCK if on_device(pixels) else BLOCK


def _square(block: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return block @ block.T


def label_sums(pixels: np.ndarray, labels: np.ndarray, n_clusters: int, threads: int = 1) -> np.ndarray:
    """Return the sums of the spectra (e, p) of each label 1..k and of their squares, (2, k, e), in float64."""
    if on_device(pixels):
        return _label_sums_on_device(pixels, labels, n_clusters)
    from xstxm._kernels import label_sums as compiled

    return compiled.label_sums(pixels, labels, n_clusters, threads)


def _label_sums_on_device(pixels: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    n_energies, n_pixels = pixels.shape
    sums = np.zeros_like(pixels, dtype=float, shape=(2, n_clusters, n_energies), order="C")
    labels, number = beside(pixels, labels), beside(pixels, np.arange(1, n_clusters + 1)[:, None])
    size = _block_of(pixels)
    for start in range(0, n_pixels, size):
        at = slice(start, start + size)
        block = np.where(labels[at] > 0, pixels[:, at], 0).astype(float)
        member = (labels[at] == number).astype(float)
        sums[0] += member @ block.T
        sums[1] += member @ (block**2).T
    return sums


def project(pixels: np.ndarray, basis: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (c, p) of spectra (e, p) on an orthonormal basis (c, e), and the residual sum of squares (p).

    The residual is summed while its block is in the cache; the difference of two squared lengths would cancel.
    """
    from xstxm._kernels import products  # compiled, as above

    if products.suits(basis, pixels):
        return products.project(basis, pixels, threads)
    n_pixels = pixels.shape[1]
    size = _block_of(pixels)
    scores = np.empty_like(pixels, shape=(len(basis), n_pixels), order="C")
    rss = np.empty_like(scores, shape=n_pixels)
    for start in range(0, n_pixels, size):
        at = slice(start, start + size)
        with np.errstate(invalid="ignore"):  # pixels with infinite values become NaN
            scores[:, at] = basis @ pixels[:, at]
            left = pixels[:, at] - basis.T @ scores[:, at]
            rss[at] = np.einsum("ep,ep->p", left, left)
    return scores, rss


def decompose(
    moment: np.ndarray, n_components: int, center: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what a `second_moment` says, NaN where it holds no pixels.

    All eigenvalues (e) per pixel, leading eigenspectra (c, e), the spectrum that was subtracted (e), and three
    numbers: the noise floor, the components above it, and those that are significant.
    """
    n_energies = len(moment) - 1
    number = moment[-1, -1]
    if not number > center:
        nothing = np.full((n_energies, n_energies), np.nan)
        return nothing[0], nothing[:n_components], nothing[0], np.array(np.nan), np.array(0), np.array(0)
    subtracted = moment[-1, :-1] / number * center
    scatter = (moment[:-1, :-1] - number * np.outer(subtracted, subtracted)) / (number - center)
    values, vectors = np.linalg.eigh(scatter)
    values = np.maximum(values[::-1], 0)
    floor = noise_floor(values, number)
    suggested = max(int((values > floor).sum()), 1)
    significant = significant_components(scatter, number)
    spectra = positive_peaks(vectors[:, ::-1].T[:n_components])
    return values, spectra, subtracted, np.array(floor), np.array(suggested), np.array(significant)


def positive_peaks(spectra: np.ndarray) -> np.ndarray:
    """Return spectra (c, e) with the sign that makes the largest entry of each positive."""
    peaks = np.take_along_axis(spectra, np.abs(spectra).argmax(-1)[..., None], -1)
    return spectra * np.where(peaks < 0, -1.0, 1.0)


def noise_floor(values: np.ndarray, n_pixels: float) -> float:
    """Return the eigenvalue below which a component is better left out (Gavish and Donoho), for unknown white noise."""
    few, many = sorted((float(len(values)), n_pixels))
    beta = few / many
    omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    rounding = len(values) * np.finfo(float).eps * values[0]
    return float(max(omega**2 * np.median(values[: int(few)]), rounding))


def white_noise(moment: np.ndarray) -> float:
    """Return the variance of noise that is alike at all energies: mean of the eigenvalues below the noise floor.

    Of a `second_moment`; zero where no eigenvalue lies below, or where these are mere rounding.
    """
    number = moment[-1, -1]
    values = np.maximum(np.linalg.eigvalsh(moment[:-1, :-1] / number)[::-1], 0)
    below = values[max(int((values > noise_floor(values, number)).sum()), 1) :]
    noise = float(below.mean()) if below.size else 0.0
    return noise if noise > 10 * len(values) * np.finfo(float).eps * values[0] else 0.0


def significant_components(moment: np.ndarray, n_pixels: float) -> int:
    """Return how many components of a second moment (e, e) per pixel noise does not explain, in 95 of 100 stacks.

    Each energy is first divided by its own noise. Then leading eigenvalues are counted while they exceed the largest
    one that noise shows, by the limit law (Johnstone) of what parallel analysis draws; after each, the noise is
    estimated anew from the rest.
    """
    scale = 1 / np.sqrt(noise_variance(moment, n_pixels))
    values = np.maximum(np.linalg.eigvalsh(moment * np.outer(scale, scale))[::-1], 0)
    n_energies = len(values)
    rounding = n_energies * np.finfo(float).eps * values[0]
    root = np.sqrt(max(n_pixels - 1, 1))
    for found in range(n_energies):
        width = np.sqrt(n_energies - found)
        edge = (root + width) ** 2 + TRACY_WIDOM_95 * (root + width) * (1 / root + 1 / width) ** (1 / 3)
        if not values[found] > max(values[found:].mean() * edge / n_pixels, rounding):
            return found
    return n_energies


def noise_variance(moment: np.ndarray, n_pixels: float) -> np.ndarray:
    """Return the noise variance (e) at each energy: what the other energies do not predict.

    Ones, that is white noise, where there are too few pixels to tell, or no noise at all.
    """
    n_energies = len(moment)
    values = np.linalg.eigvalsh(moment)
    if n_pixels < 4 * n_energies or values[0] <= 10 * n_energies * np.finfo(float).eps * values[-1]:
        return np.ones(n_energies)
    return np.asarray(n_pixels / (n_pixels - n_energies + 1) / np.diag(np.linalg.inv(moment)))
