"""Synthetic stacks whose frames drift by known sub-pixel amounts, made in Fourier space."""

from __future__ import annotations

import numpy as np
import xarray as xr

PIXEL = 0.05
"""Distance of pixel centres, um."""
PAD = 24
"""Pixels of sample beyond each side of the frames, which come in as these drift."""


def energies(n: int) -> np.ndarray:
    """Return energies across an edge, eV."""
    return np.linspace(508.0, 540.0, n)


def spectra(energy: np.ndarray) -> np.ndarray:
    """Return optical densities of four components (c, e): two with shifted edges and peaks, a light matrix, a support."""
    edge = [np.arctan((energy - at) / 0.8) / np.pi + 0.5 for at in (517.0, 519.0, 531.0)]
    peak = [np.exp(-(((energy - at) / 1.2) ** 2)) for at in (518.0, 520.0, 532.0)]
    rows = [0.15 + 0.3 * edge[k] + 0.8 * peak[k] for k in range(3)]
    return np.stack([*rows, 0.3 * (520 / energy) ** 3])


def field(shape: tuple[int, int], width: float, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth periodic random image of mean zero and variance one; `width` in pixels."""
    ky, kx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])
    smooth = np.exp(-2 * (np.pi * width) ** 2 * (ky**2 + kx**2))
    image = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * smooth, s=shape)
    return (image - image.mean()) / image.std()


def amounts(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return smooth maps of the components (c, y, x), none below zero."""
    rng = np.random.default_rng(seed)
    grains = 1 / (1 + np.exp(-3 * field(shape, 5.0, rng)))
    share = 1 / (1 + np.exp(-3 * field(shape, 3.5, rng)))
    light = 0.3 + 0.1 * field(shape, 7.0, rng)
    return np.stack([grains * share, grains * (1 - share), light, 1 + 0.1 * field(shape, 20.0, rng)])


def path(n: int, *, walk: float = 2.0, linear: float = 2.0, seed: int = 0) -> np.ndarray:
    """Return displacements (e, 2) in pixels: a random walk that reaches `walk`, and a straight way of length `linear`."""
    rng = np.random.default_rng(seed + 50)
    steps = np.cumsum(rng.normal(size=(n, 2)), axis=0)
    steps -= steps[0]
    angle = rng.uniform(0, 2 * np.pi)
    return steps * walk / np.abs(steps).max() + np.linspace(0, linear, n)[:, None] * [np.sin(angle), np.cos(angle)]


def displaced(maps: np.ndarray, weights: np.ndarray, moved: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return sums of maps, each moved by (y, x) pixels and cropped to the middle, (e, y, x)."""
    size = maps.shape[1:]
    ky, kx = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    transforms = np.fft.rfft2(maps)
    top, left = ((n - m) // 2 for n, m in zip(size, shape, strict=True))
    out = np.empty((len(moved), *shape))
    for e, (y, x) in enumerate(moved):
        phase = np.exp(-2j * np.pi * (ky * y + kx * x))
        frame = np.fft.irfft2(np.tensordot(weights[:, e], transforms, 1) * phase, s=size)
        out[e] = frame[top : top + shape[0], left : left + shape[1]]
    return out


def densities(shape: tuple[int, int], moved: np.ndarray, seed: int, absorption: np.ndarray | None = None) -> np.ndarray:
    """Return optical densities (e, y, x) of frames whose content is displaced by `moved` (e, 2) pixels."""
    weights = spectra(energies(len(moved))) if absorption is None else absorption
    return displaced(amounts((shape[0] + 2 * PAD, shape[1] + 2 * PAD), seed), weights, moved, shape)


def as_stack(counts: np.ndarray, moved: np.ndarray, *, step: tuple[float, float] = (PIXEL, PIXEL)) -> xr.Dataset:
    """Return counts (e, y, x) as a stack, with the shifts that move each frame onto the first."""
    shifts = (moved[0] - moved) * step
    um = {"units": "um"}
    return xr.Dataset(
        {
            "intensity": (("energy", "y", "x"), counts.astype(np.float32), {"units": "count"}),
            "true_shift_y": ("energy", shifts[:, 0], um),
            "true_shift_x": ("energy", shifts[:, 1], um),
        },
        {
            "energy": ("energy", energies(len(counts)), {"units": "eV"}),
            "y": ("y", 3.0 + step[0] * np.arange(counts.shape[1]), um),
            "x": ("x", -1.0 + step[1] * np.arange(counts.shape[2]), um),
        },
    )


def drifting_stack(
    shape: tuple[int, int] = (96, 112),
    n: int = 48,
    *,
    counts: float = 2000.0,
    moved: np.ndarray | None = None,
    flat: float = 0.0,
    absorption: np.ndarray | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return a stack of Poisson counts that drifts by `moved`, under a flat field that was wrong by `flat`."""
    moved = path(n, seed=seed) if moved is None else moved
    rng = np.random.default_rng(seed + 1)
    density = densities(shape, moved, seed, absorption)
    gain = 1 + flat * rng.standard_normal(shape)
    return as_stack(rng.poisson(counts * np.exp(-density) * gain), moved)


def errors(shifts: xr.Dataset, stack: xr.Dataset) -> np.ndarray:
    """Return what shifts are wrong by (frame, 2), pixels, their mean taken off: a move of all frames is no error."""
    off = [
        (shifts[f"shift_{axis}"] - stack[f"true_shift_{axis}"]).values.ravel() / np.diff(stack[axis][:2])
        for axis in ("y", "x")
    ]
    return np.stack(off, axis=-1) - np.mean(off, axis=-1)


def rms(values: np.ndarray) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
