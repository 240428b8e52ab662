"""Drifting synthetic stacks with known shifts, and how well shifts can be known at all.

A field of five materials, larger than the image, is moved in Fourier space and cropped, so that new sample comes in at the
border; Poisson counts. Vanadium oxides, an organic matrix and a support: V L and O K edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import xarray as xr

MARGIN = 32


@dataclass(frozen=True)
class Drifting:
    """A stack, where its content lies in each frame (pixels), and the Cramer-Rao bound of that."""

    intensity: xr.DataArray
    displacement: np.ndarray
    bound: float


def drifting_stack(
    side: int, *, counts: float, seed: int, n_energies: int = 120, walk: float = 3.0, linear: float = 4.0
) -> Drifting:
    """Return a stack of side x side pixels whose frames walk to +- `walk` and drift by `linear` pixels."""
    rng = np.random.default_rng(seed)
    energy = np.linspace(510.0, 545.0, n_energies)
    spectra, maps = _spectra(energy), _maps(side + 2 * MARGIN, rng)
    i0 = _incident(energy, counts)
    moved = _path(n_energies, rng, walk, linear)
    transform = scipy.fft.rfft2(maps)
    ky, kx = (f.astype(np.float32) for f in (scipy.fft.fftfreq(maps.shape[1]), scipy.fft.rfftfreq(maps.shape[2])))
    inner = slice(MARGIN, MARGIN + side)
    intensity = np.empty((n_energies, side, side), np.float32)
    for k, (y, x) in enumerate(moved):
        phase = np.exp(-2j * np.pi * (ky[:, None] * y + kx * x)).astype(np.complex64)
        od = scipy.fft.irfft2(np.tensordot(spectra[:, k], transform, 1) * phase, s=maps.shape[1:])[inner, inner]
        intensity[k] = rng.poisson(i0[k] * np.exp(-od))
    slopes = [scipy.fft.irfft2(transform * (2j * np.pi * k), s=maps.shape[1:]) for k in (ky[:, None], kx)]
    bound = _bound(spectra, i0, maps[:, inner, inner], [slope[:, inner, inner] for slope in slopes])
    position = np.arange(side) * 0.03
    coords = {
        "energy": ("energy", energy, {"units": "eV"}),
        "y": ("y", position, {"units": "um"}),
        "x": ("x", position, {"units": "um"}),
    }
    stack = xr.DataArray(intensity, coords, ("energy", "y", "x"), "intensity", {"units": "count"})
    return Drifting(stack, moved, bound)


def error(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return rms and largest error along an axis, the mean difference taken off."""
    off = found - truth
    off = off - off.mean(0)
    return float(np.sqrt((off**2).mean())), float(np.abs(off).max())


def _path(n: int, rng: np.random.Generator, walk: float, linear: float) -> np.ndarray:
    steps = np.cumsum(rng.normal(0, 0.25, (n, 2)), axis=0)
    steps -= steps[0]
    angle = rng.uniform(0, 2 * np.pi)
    along = np.linspace(0, linear, n)[:, None] * np.array([np.sin(angle), np.cos(angle)])
    return steps * walk / np.abs(steps).max() + along


def _peak(energy: np.ndarray, height: float, centre: float, width: float) -> np.ndarray:
    return height * np.exp(-4 * np.log(2) * ((energy - centre) / width) ** 2)


def _step(energy: np.ndarray, height: float, centre: float, width: float) -> np.ndarray:
    return height * (0.5 + np.arctan((energy - centre) / width) / np.pi)


def _spectra(energy: np.ndarray) -> np.ndarray:
    """Return the optical density of each material per unit of thickness, float32."""
    oxides = []
    for valence, strength in ((5, 0.85), (4, 0.80), (3, 0.75)):
        down = 0.8 * (5 - valence)
        oxides.append(
            0.10
            + _step(energy, 0.10, 518.6 - 0.7 * (5 - valence), 0.6)
            + _step(energy, 0.06, 525.2 - 0.6 * (5 - valence), 0.8)
            + _step(energy, 0.15, 534.0, 1.2)
            + _peak(energy, strength, 519.0 - down, 1.6 + 0.15 * (5 - valence))
            + _peak(energy, 0.25, 516.9 - down, 1.1)
            + _peak(energy, 0.5, 525.6 - down, 2.3)
            + _peak(energy, 0.6 - 0.2 * (5 - valence), 529.9 + 0.3 * (5 - valence), 1.3)
            + _peak(energy, 0.35, 532.0 + 0.3 * (5 - valence), 1.7)
            + _peak(energy, 0.25, 540.5, 4.5)
        )
    organic = (
        0.12
        + _step(energy, 0.2, 535.5, 1.0)
        + _peak(energy, 0.55, 531.5, 1.1)
        + _peak(energy, 0.25, 534.2, 1.6)
        + _peak(energy, 0.3, 539.8, 5.0)
    )
    return np.stack([*oxides, organic, 0.3 * (520.0 / energy) ** 3]).astype(np.float32)


def _incident(energy: np.ndarray, counts: float) -> np.ndarray:
    along = (energy - energy[0]) / np.ptp(energy)
    return counts * (1 - 0.25 * along + 0.05 * np.sin(7 * along)) * (1 - 0.1 * np.exp(-(((energy - 531) / 1.5) ** 2)))


def _field(side: int, rng: np.random.Generator, scale: float) -> np.ndarray:
    """Return a smooth periodic random field of unit variance."""
    ky, kx = scipy.fft.fftfreq(side)[:, None], scipy.fft.rfftfreq(side)
    smooth = np.exp(-2 * (np.pi * scale) ** 2 * (ky**2 + kx**2))
    field = scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal((side, side))) * smooth, s=(side, side))
    return (field - field.mean()) / field.std()


def _maps(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the thickness of each material (material, y, x), float32."""
    particles = 1.1 * np.clip(_field(side, rng, 9.0) - 0.15, 0, None)
    share = np.clip(np.stack([_field(side, rng, 5.0) for _ in range(3)]) + 0.1, 0, None)
    total = share.sum(0)
    share = np.where(total > 0, share / np.where(total > 0, total, 1), np.array([1.0, 0, 0])[:, None, None])
    organic = 0.35 * np.clip(_field(side, rng, 14.0), 0, None)
    support = np.clip(0.5 + 0.05 * _field(side, rng, 40.0), 0, None)
    return np.concatenate([share * particles, organic[None], support[None]]).astype(np.float32)


def _bound(spectra: np.ndarray, i0: np.ndarray, maps: np.ndarray, slopes: list[np.ndarray]) -> float:
    """Return the Cramer-Rao bound (rms over frames and axes, mean taken off) with the maps unknown too.

    The inverse of the variable-projection information with weights that are a product of frame and pixel.
    """
    n, thin = spectra.shape[1], max(1, maps.shape[1] // 512)
    maps, (down, right) = maps[:, ::thin, ::thin], [slope[:, ::thin, ::thin] for slope in slopes]
    transmitted = np.exp(-np.tensordot(spectra.T, maps, 1)) * i0[:, None, None].astype(np.float32)
    frame = transmitted.mean((1, 2))
    pixel = (transmitted / frame[:, None, None]).mean(0).ravel().astype(float)
    known = np.vstack([maps.reshape(len(maps), -1), np.ones(pixel.size)])
    slope = np.concatenate([down.reshape(len(maps), -1), right.reshape(len(maps), -1)]).astype(float)
    inner = (slope * pixel) @ known.T
    left = (slope * pixel) @ slope.T - inner @ np.linalg.pinv((known * pixel) @ known.T) @ inner.T
    basis = np.linalg.qr((spectra * np.sqrt(frame)).T.astype(float))[0]
    weighted = (spectra * np.sqrt(frame)).T.astype(float)
    free = np.eye(n) - basis @ basis.T
    k = len(maps)
    blocks = [[weighted @ left[a : a + k, b : b + k] @ weighted.T for b in (0, k)] for a in (0, k)]
    information = np.block([[free * block for block in row] for row in blocks]) * thin**2
    values, vectors = np.linalg.eigh(information)
    sure = values > values[-1] * 1e-12
    covariance = (vectors[:, sure] / values[sure]) @ vectors[:, sure].T
    centring = np.kron(np.eye(2), np.eye(n) - 1 / n)
    return float(np.sqrt(np.trace(centring @ covariance @ centring) / (2 * n)))
