"""The pixels of a field as points in the plane of two components, as many as one can see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

import xstxm
from xstxm.errors import OptionError

_DRAWN = 5000
"""Points that are drawn of all pixels."""
_OF_REGION = 500
"""Points that are drawn of a region, besides."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points that are drawn, each a pixel."""

    across: np.ndarray
    up: np.ndarray
    x: np.ndarray
    y: np.ndarray
    """Place of the pixel in the image."""
    label: np.ndarray
    """Number of its cluster from 1; zero and less for none."""
    regions: Mapping[str, np.ndarray]
    """Which of the points lie in a region, by its name."""
    n_pixels: int
    """Pixels that are not empty, drawn or not."""


def cloud(images: xr.DataArray, regions: Mapping[str, Any], labels: xr.DataArray | None = None) -> Cloud:
    """Return the points of two images (component, y, x): a sample of the pixels, and those of regions that lie in it."""
    across, up = (np.asarray(images.isel(component=k).transpose("y", "x")).ravel() for k in (0, 1))
    usable = np.flatnonzero(np.isfinite(across) & np.isfinite(up))
    masks = {name: mask for name, region in regions.items() if (mask := _inside(images, region)) is not None}
    kept = [_some(usable, _DRAWN), *(_some(usable[mask[usable]], _OF_REGION) for mask in masks.values())]
    drawn = np.unique(np.concatenate(kept))
    rows, columns = np.unravel_index(drawn, (images.sizes["y"], images.sizes["x"]))
    numbers = np.zeros(drawn.size, int) if labels is None else np.asarray(labels.transpose("y", "x"))[rows, columns]
    return Cloud(
        across[drawn],
        up[drawn],
        np.asarray(images["x"])[columns],
        np.asarray(images["y"])[rows],
        numbers,
        {name: mask[drawn] for name, mask in masks.items()},
        usable.size,
    )


def _some(pixels: np.ndarray, number: int) -> np.ndarray:
    """Return some pixels, always the same."""
    if pixels.size <= number:
        return pixels
    return np.random.default_rng(0).choice(pixels, number, replace=False)


def _inside(images: xr.DataArray, region: Any) -> np.ndarray | None:
    """Return the pixels of a region; None where it lies elsewhere."""
    try:
        return np.asarray(
            xstxm.roi.region_mask(images.isel(component=0, drop=True), region).transpose("y", "x")
        ).ravel()
    except OptionError:
        return None
