"""Which particle each pixel of a map belongs to: found, or given. Eager."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import match_pixels
from xstxm._region_images import whole_numbers
from xstxm._segmentation import segmented
from xstxm.conventions import NO_SAMPLE, as_float, require_image
from xstxm.errors import OptionError, SchemaError, SegmentationWarning, require_number, warn
from xstxm.roi import sample_threshold
from xstxm.units import AmountLike

AreaLike: TypeAlias = AmountLike

TOTAL = "total_amount"
"""What the labels of a phase map tell sample by."""
LEAST_PIXELS = 9
"""Pixels of the smallest particle, where no area is given."""


def least_pixels(min_area: AreaLike | None, size: tuple[float, float]) -> int:
    """Return the number of pixels of the smallest particle."""
    if min_area is None:
        return LEAST_PIXELS
    if isinstance(min_area, str) or units.is_quantity(min_area):
        min_area = units.to_magnitude(min_area, "um**2", "min_area", spectroscopy=False)
    area = require_number("min_area", min_area, "an area in um^2", least=0)
    return max(int(np.ceil(round(area / np.prod(size), 6))), 1)


def found_particles(
    maps: xr.Dataset,
    amount: str,
    min_amount: AmountLike | None,
    least: int,
    size: tuple[float, float],
    search: dict[str, Any],
) -> tuple[np.ndarray, dict[str, float]]:
    """Return the particles of a map, and what the result says of how they were found."""
    sample, threshold = _sample(maps, amount, min_amount)
    label, specks = segmented(sample, size, least=least, **search)
    area, largest, left_out = (
        units.drop_noise(float(number * np.prod(size))) for number in (least, specks.max(initial=0), specks.sum())
    )
    if not label.any():
        unit = maps[amount].attrs.get("units", "1")
        warn(
            f"no particle: with at least {threshold:.3g} ({unit}) of {amount!r} the largest piece covers {largest:.3g} um**2, "
            f"a particle {area:.3g} um**2: pass a smaller min_amount or min_area",
            SegmentationWarning,
        )
    return label, {"min_amount": threshold, "min_area": area, "area_left_out": left_out}


def _sample(maps: xr.Dataset, amount: str, min_amount: AmountLike | None) -> tuple[np.ndarray, float]:
    """Return which pixels hold sample (y, x), and the least amount of these."""
    total = as_float(maps[amount])
    if not bool(total.notnull().any()):
        raise SchemaError(
            f"{amount!r} holds no finite number: check the mask and the fit, or name another amount='...'"
        )
    if min_amount is None and amount == TOTAL and "phase_label" in maps:
        sample = (maps["phase_label"] != NO_SAMPLE) & total.notnull()
        threshold = float(maps["min_amount"]) if "min_amount" in maps else np.nan
    else:
        threshold = float(sample_threshold(total, min_amount))
        sample = total >= threshold
    if min_amount is None and not bool(sample.any()):
        raise SchemaError(
            "the map holds no sample: pass the least amount of a sample pixel, e.g. "
            f"min_amount={float(total.max()) / 2:.3g}, or give phase_map another"
        )
    return np.asarray(sample), threshold


def given_particles(image: xr.DataArray | np.ndarray, maps: xr.Dataset) -> np.ndarray:
    """Return an image of particles that is given, int32 (y, x). Eager."""
    if isinstance(image, np.ndarray) and image.ndim == 2:
        image = xr.DataArray(image, dims=("y", "x"))
    if not isinstance(image, xr.DataArray):
        raise OptionError("particle_label", image, "give an image (y, x) of whole numbers, 0 in none")
    array = image.compute()
    require_image(array, "the particles are numbered in an image")
    if array.dtype.kind == "f":
        array = whole_numbers(array)
    if array.dtype.kind not in "iu":
        raise SchemaError(
            f"the image of particles is {array.dtype}, wanted whole numbers, 0 in none: scipy.ndimage.label(mask)[0] numbers "
            "the pieces of a mask"
        )
    label = np.asarray(match_pixels(array, maps, "the image of particles").transpose("y", "x"))
    if label.size and (label.min() < 0 or label.max() >= 2**31):
        raise SchemaError(
            f"the image of particles holds numbers from {label.min()} to {label.max()}, wanted 0 in none and 1, 2, ..., "
            "e.g. label.where(label > 0, 0)"
        )
    if not label.any():
        warn("the image of particles is 0 everywhere: the tables are empty", SegmentationWarning)
    return label.astype(np.int32)
