"""The search for the place of a small image in a large one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstxm._kernels import matching as kernel
from xstxm._resolution import IMAGE, Resolution
from xstxm.errors import SchemaError
from xstxm.interfaces import positions, spacing

_NEAR = 3
"""Coarse pixels around a place that are not another place."""
_LEAST = 16
"""Coarse pixels inside the fine field that are needed to place it."""


@dataclass(frozen=True)
class Search:
    """A fine image that is laid on the pixels of a coarse one around it. Shifts (y, x) are in coarse pixels."""

    fine: xr.DataArray
    coarse: xr.DataArray
    target: np.ndarray
    first: tuple[int, ...]
    """Number (y, x) of the first pixel of the target in the coarse image."""
    origin: np.ndarray
    """Position (y, x) of pixel 0 of the coarse image in um."""
    step: np.ndarray
    """From pixel to pixel, below zero where positions descend."""
    blur: float
    reach: tuple[int, ...]

    @classmethod
    def of(cls, fine: xr.DataArray, coarse: xr.DataArray, blur: float, max_shift: float) -> Search:
        """Return the search up to a distance in um, or raise where the images lie farther apart."""
        step = np.array([spacing(coarse, dim) for dim in IMAGE])
        origin = np.array([float(positions(coarse, dim)[0]) for dim in IMAGE])
        reach = tuple(int(max_shift / abs(size) + 1e-6) for size in step)
        low, high = (limits for limits in _numbers(fine, origin, step))
        window = [
            slice(max(start - far - 1, 0), max(min(stop + far + 1, size), 0))
            for start, stop, far, size in zip(low, high, reach, coarse.shape, strict=True)
        ]
        target = np.asarray(coarse)[tuple(window)]
        if not np.isfinite(target).any():
            far = f"they do not meet within max_shift={max_shift:g} um"
            raise apart(fine, coarse, f"{far}: pass a larger one, or correct the stage coordinates")
        return cls(fine, coarse, target, tuple(part.start for part in window), origin, step, blur, reach)

    def model(self, shift: np.ndarray, first: Iterable[int], shape: Iterable[int], least: float = 0.5) -> np.ndarray:
        """Return the fine image, moved by a shift, in the coarse pixels from a first one on; NaN where less is measured."""
        numbers = [start + np.arange(size) for start, size in zip(first, shape, strict=True)]
        places = [o + s * (n - moved) for o, s, n, moved in zip(self.origin, self.step, numbers, shift, strict=True)]
        pixel = dict(zip(IMAGE, np.abs(self.step), strict=True))
        at = Resolution.of(self.fine, dict(zip(IMAGE, places, strict=True)), pixel, self.blur)
        return kernel.weighted_mean(np.asarray(self.fine), at.rows, at.columns, least)

    def whole_pixels(self) -> tuple[np.ndarray, float, float]:
        """Return the shift of the highest correlation, that correlation, and the highest one elsewhere."""
        low, high = _numbers(self.fine, self.origin, self.step)
        template = self.model(np.zeros(2), low, high - low)
        surface = kernel.correlations(template, self.target)
        offsets = [
            np.arange(1 - own, 1 - own + size) + start - begin
            for own, size, start, begin in zip(template.shape, surface.shape, self.first, low, strict=True)
        ]
        near = [np.flatnonzero(np.abs(at) <= far) for at, far in zip(offsets, self.reach, strict=True)]
        allowed = surface[np.ix_(*near)]
        if not np.isfinite(allowed).any():
            found = "less than half of the fine one, or nothing that varies, lies on the coarse one"
            raise apart(self.fine, self.coarse, f"{found}: correct the stage coordinates")
        best, rival = kernel.highest_peaks(allowed, _NEAR)
        shift = [at[inside[k]] for at, inside, k in zip(offsets, near, best, strict=True)]
        return np.array(shift, dtype=float), float(allowed[best]), rival

    def ends_at(self, shift: np.ndarray) -> bool:
        """Tell whether a shift of whole pixels is the largest of those allowed along an axis."""
        return any(far > 0 and abs(moved) == far for far, moved in zip(self.reach, shift, strict=True))

    def between_pixels(self, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return shift, errors and correlation of the best place between pixels."""

        def model(shift: np.ndarray) -> np.ndarray:
            return self.model(shift, self.first, self.target.shape, 0.98)

        corners = [start + kernel.BETWEEN * np.array(move) for move in itertools.product((-1, 1), repeat=2)]
        inside = np.isfinite(self.target) & np.all([np.isfinite(model(shift)) for shift in corners], axis=0)
        if inside.sum() < _LEAST:
            raise SchemaError(
                f"{inside.sum()} measured pixels of the coarse map lie inside the fine field, too few to place it by: take the "
                "stage coordinates, shift=None"
            )
        found: tuple[np.ndarray, np.ndarray, float] = kernel.fitted_shift(model, self.target, inside, start)
        return found


def _numbers(fine: xr.DataArray, origin: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first coarse pixel (y, x) that the fine image reaches by its stage coordinates, and that after the last."""
    ends = np.array([np.asarray(positions(fine, dim))[[0, -1]] for dim in IMAGE])
    numbers = (ends - origin[:, None]) / step[:, None]
    return np.floor(numbers.min(1)).astype(int), np.ceil(numbers.max(1)).astype(int) + 1


def apart(fine: xr.DataArray, coarse: xr.DataArray, found: str) -> SchemaError:
    """Return the error of two fields that do not lie on each other."""
    return SchemaError(
        f"the fine map covers {_range(fine)}, the coarse one {_range(coarse)}: {found}, e.g. "
        "fine.assign_coords(y=fine.y + 1.2, x=fine.x - 0.5)"
    )


def _range(array: xr.DataArray) -> str:
    ends = {dim: np.asarray(positions(array, dim)) for dim in IMAGE}
    return " and ".join(f"{dim} from {at.min():.4g} to {at.max():.4g} um" for dim, at in ends.items())


def edges(array: xr.DataArray, dim: str) -> np.ndarray:
    """Return the outer edges of the first and the last pixel in um, ascending."""
    place, half = np.asarray(positions(array, dim)), abs(spacing(array, dim)) / 2
    return np.array([place.min() - half, place.max() + half])
