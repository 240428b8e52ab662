"""What a page has to know of a stack before it shows an image: its energies, its grid, and how bright it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

import xstxm
from xstxm.errors import SchemaError

_FRAMES, _PIXELS = 16, 10_000
"""Frames of a large stack and pixels of a frame from which the colour scale is taken."""

_ENDS = (0.002, 0.9995)
"""Quantiles at the ends of the colour scale: hot pixels and dust do not set it."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of a stack."""

    energies: tuple[float, ...]
    """In the order of the frames."""
    unit: str
    limits: tuple[float, float]
    """Ends of the colour scale that all frames share."""
    brightest: float
    """Energy of the frame with the largest mean."""
    grid: xr.Dataset
    """Positions of the pixels."""

    @property
    def floor(self) -> float:
        """What is no more than noise, in two digits: optical densities of nothing are as far above zero as below."""
        return float(f"{max(-self.limits[0], 0.0):.2g}")

    def nearest(self, energy: float | None) -> int:
        """Return the number of the frame nearest to an energy, by default of the brightest."""
        wanted = self.brightest if energy is None else energy
        return int(np.abs(np.asarray(self.energies) - wanted).argmin())

    def holds(self, vertices: tuple[tuple[float, float], ...]) -> bool:
        """Tell whether the box around a region has pixels, or a place lies on one."""
        return all(
            _meets(np.asarray(self.grid[dim], dtype=float), [vertex[k] for vertex in vertices])
            for k, dim in enumerate(("x", "y"))
        )


def survey(array: xr.DataArray) -> Survey:
    """Return what is known of a stack, brightness from a sample of frames and pixels.

    Raises
    ------
    SchemaError
        It is no stack of images, or has no usable value.
    """
    if {*array.dims} != {"energy", "y", "x"}:
        raise SchemaError(
            f"the explorer shows images over energy, y and x, this stack runs over {', '.join(map(str, array.dims))}: open "
            "one of these three dimensions"
        )
    sample = _sample(array)
    if not bool(sample.notnull().any()):
        raise SchemaError(f"{array.name} has no usable value: check I0 and the counts")
    values = np.asarray(sample)
    low, high = np.nanquantile(values, _ENDS)
    mean = sample.mean([dim for dim in sample.dims if dim != "energy"])
    return Survey(
        energies=tuple(np.asarray(array["energy"], dtype=float).tolist()),
        unit=str(array["energy"].attrs.get("units", "")),
        limits=(float(low), float(high if high > low else low + 1)),
        brightest=float(sample["energy"][int(mean.argmax("energy"))]),
        grid=xr.Dataset(coords={dim: array[dim] for dim in ("y", "x")}),
    )


def _sample(array: xr.DataArray) -> xr.DataArray:
    """Return some frames and pixels; of a stack in memory all frames."""
    frames = max(array.sizes["energy"] // _FRAMES, 1) if array.chunks else 1
    stride = max(int(np.sqrt(array.sizes["y"] * array.sizes["x"] / _PIXELS)), 1)
    sample = array.isel(energy=slice(None, None, frames), y=slice(None, None, stride), x=slice(None, None, stride))
    sample = xstxm.compute(sample.astype(float), scheduler="threads")
    return sample.where(np.isfinite(sample))


def _meets(along: np.ndarray, places: list[float]) -> bool:
    low, high = min(places), max(places)
    half = float(np.median(np.abs(np.diff(along)))) / 2 if along.size > 1 else np.inf
    if low == high:
        return bool(np.abs(along - low).min() <= half * (1 + 1e-9))
    return bool(((along >= low) & (along <= high)).any())
