"""Images of regions: which region a pixel belongs to, how far apart pixels are, and how their noise is correlated."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import match_pixels
from xstxm.errors import OptionError, SchemaError
from xstxm.roi import Region, region_mask

Regions: TypeAlias = "Region | xr.DataArray"

SPATIAL = ("z", "y", "x", "position")
"""Dimensions along which pixels are neighbours; a map is summarised for each value of the others."""


def numbered_regions(label: xr.DataArray, regions: Regions | None) -> tuple[xr.DataArray, np.ndarray | None]:
    """Return the number of the region of each pixel, and the numbers in an image of regions. Eager on such an image."""
    plain = label.drop_vars(list(label.coords))
    if regions is None:
        return xr.ones_like(plain, dtype=np.int32), None
    if isinstance(regions, xr.DataArray) and regions.dtype.kind == "f":
        regions = whole_numbers(regions)
    if not isinstance(regions, xr.DataArray) or regions.dtype.kind not in "iu":
        return region_mask(label, regions).drop_vars(list(label.coords), errors="ignore").astype(np.int32), None
    image = match_pixels(regions, label, "the image of regions")
    image = image.drop_vars(list(image.coords))
    values = np.asarray(image)
    names = np.unique(values[values > 0])
    if not names.size:
        raise OptionError("regions", regions, "no number in it is above zero: 1, 2, ... are regions, 0 is none")
    numbered = np.where(values > 0, np.searchsorted(names, values) + 1, 0).astype(np.int32)
    return image.copy(data=numbered).broadcast_like(plain).transpose(*label.dims), names


def whole_numbers(image: xr.DataArray) -> xr.DataArray:
    """Return an image of regions that came as floats, as from a file or `where`: NaN is in none. Eager."""
    values = np.where(np.isnan(image), 0, image)
    if not (np.abs(values) < 2**31).all() or not np.array_equal(values, np.round(values)):
        raise SchemaError("the image of regions holds numbers that are not whole: 1, 2, ... are regions, 0 is none")
    return image.copy(data=values.astype(np.int64))


def steps_of(label: xr.DataArray, dims: tuple[Hashable, ...]) -> tuple[float, ...]:
    """Return the distance of two pixels along each dimension in um, or in pixels where it is not known."""
    steps = [_step(label, dim) for dim in dims]
    return tuple(1.0 if None in steps else step for step in steps)  # type: ignore[misc]


def _step(label: xr.DataArray | xr.Dataset, dim: Hashable) -> float | None:
    """Return the distance of two pixels in um, None where it is not known."""
    if dim not in label.coords or label.sizes[dim] < 2 or label[dim].dtype.kind not in "fiu":
        return None
    unit = str(label[dim].attrs.get("units", ""))
    if not unit or not units.same_kind(unit, "um"):
        return None
    step = float(np.median(np.abs(np.diff(np.asarray(label[dim], dtype=float))))) * units.factor(unit, "um")
    return step if step > 0 else None


def pixel_area(label: xr.DataArray | xr.Dataset) -> float | None:
    """Return the area of a pixel of an image in um^2, None where it is not known, or of a volume."""
    image = {*label.dims} & {*SPATIAL} == {"y", "x"}
    steps = [_step(label, dim) for dim in ("y", "x")] if image else [None]
    return None if None in steps else float(np.prod(np.array(steps, dtype=float)))


def lags_of(correlation: xr.DataArray, dims: tuple[Hashable, ...]) -> np.ndarray:
    """Return the correlation of the noise with lag 0 in the middle. Eager."""
    wanted = [f"lag_{dim}" for dim in dims]
    given = {*correlation.dims} if isinstance(correlation, xr.DataArray) else set()
    if given != {*wanted}:
        raise SchemaError(
            f"the correlation of the noise has dims {tuple(map(str, given))}, wanted {tuple(wanted)}: see "
            "xstxm.regions.noise_correlation"
        )
    ordered = correlation.transpose(*wanted)
    for lag in wanted:
        size = ordered.sizes[lag]
        at = np.asarray(ordered[lag]) if lag in ordered.coords else np.arange(size) - size // 2
        if size % 2 == 0 or not np.array_equal(at, np.arange(size) - size // 2):
            raise SchemaError(f"{lag!r} runs over {at.tolist()}, wanted all lags from -n to n pixels")
    return np.asarray(ordered, dtype=float)
