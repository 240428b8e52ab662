"""Maps whose variance and correlation are known at every length. Synthetic."""

from __future__ import annotations

import numpy as np
import xarray as xr

PIXEL = 0.04


def waves(rng, shape, length, kind="gaussian"):
    """A random field (y, x) of unit variance: correlation exp(-d^2 / (2 length^2)), or exp(-d / length)."""
    big = tuple(2 * size for size in shape)
    lag = np.hypot(*np.meshgrid(*(np.minimum(np.arange(n), n - np.arange(n)) for n in big), indexing="ij"))
    power = np.maximum(np.fft.fft2(correlation(lag, length, kind)).real, 0)
    return np.fft.ifft2(np.fft.fft2(rng.normal(size=big)) * np.sqrt(power)).real[: shape[0], : shape[1]]


def correlation(lag, length, kind="gaussian"):
    return np.exp(-((lag / length) ** 2) / 2) if kind == "gaussian" else np.exp(-lag / length)


def axes(shape, pixel=PIXEL):
    return {dim: (dim, pixel * np.arange(n), {"units": "um"}) for dim, n in zip("yx", shape, strict=True)}


def map_of(value, stderr=None, label=None, pixel=PIXEL):
    """A result that holds a composition (y, x), with standard errors and particles where they are given."""
    made = xr.Dataset({"composition": (("y", "x"), value, {"units": "1"})}, coords=axes(value.shape, pixel))
    if stderr is not None:
        made["composition_stderr"] = (("y", "x"), np.broadcast_to(stderr, value.shape), {"units": "1"})
    return made if label is None else made.assign(particle_label=(("y", "x"), np.asarray(label, dtype="int32")))


def squares(shape, side, gap=0):
    """Labels (y, x) of square particles."""
    rows, columns = np.indices(shape)
    number = rows // side * (shape[1] // side) + columns // side + 1
    return np.where((rows % side >= gap) & (columns % side >= gap), number, 0)


def field(rng, fields, particles, within, *, noise=0.03, shape=(48, 48), side=16, length=2.0):
    """A field of square particles with three standard deviations, and noise of unequal pixels."""
    label = squares(shape, side, gap=1)
    offsets = fields * rng.normal() + particles * rng.normal(size=label.max() + 1)[label]
    value = np.where(label > 0, 0.5 + offsets + within * waves(rng, shape, length), np.nan)
    stderr = noise * rng.uniform(0.5, 1.5, shape)
    return map_of(value + stderr * rng.normal(size=shape), stderr, label)


def shared_variance(side, length, kind="gaussian"):
    """Mean correlation of two points of a square particle."""
    place = np.indices((side, side)).reshape(2, -1)
    return correlation(np.hypot(*(place[:, :, None] - place[:, None])), length, kind).mean()
