"""Optical densities of labelled counts, in one pass with their variances and flags."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstxm._apply import over_blocks, threads_for
from xstxm._kernels.devices import on_device
from xstxm.conventions import ENERGY, float_dtype


class CountVariance(NamedTuple):
    """The variance of counts: a source over the photons that one of it stands for, NaN below `least`."""

    source: xr.DataArray
    photons: Any
    least: float


class Densities(NamedTuple):
    """Optical density, its variance where there is one, and flags (pixel dims). Lazy where the counts or I0 are."""

    od: xr.DataArray
    variance: xr.DataArray | None
    flags: dict[str, xr.DataArray]
    brighter: xr.DataArray
    """Pixels that are brighter than I0 at every energy."""


class Light(NamedTuple):
    """Counts and what makes optical density of them, all placed on the counts: ``-ln((counts - dark) / (i0 * scale - dark))``."""

    counts: xr.DataArray
    i0: xr.DataArray
    scale: xr.DataArray | float
    dark: xr.DataArray | float
    variance: CountVariance | None
    i0_variance: xr.DataArray | float
    thick: float
    saturation: float | None

    def isel(self, pixels: Mapping[Any, slice]) -> Light:
        """Return that of some pixels, without the variances."""
        scale, dark = (
            item.isel(pixels, missing_dims="ignore") if isinstance(item, xr.DataArray) else item
            for item in (self.scale, self.dark)
        )
        counts, i0 = self.counts.isel(pixels), self.i0.isel(pixels, missing_dims="ignore")
        return self._replace(counts=counts, i0=i0, scale=scale, dark=dark, variance=None, i0_variance=0.0)


def densities(light: Light) -> Densities:
    """Return the optical density and what belongs to it."""
    counts, variance = light.counts, light.variance
    dtype = float_dtype(counts)
    noise = () if variance is None else (variance.source, 1 / variance.photons, light.i0_variance)
    others = (light.i0, light.scale, light.dark, *noise)
    block = functools.partial(
        _densities_block,
        dtype=dtype,
        energy=counts.get_axis_num(ENERGY),
        thick=light.thick,
        saturation=light.saturation,
        least=None if variance is None else variance.least,
        threads=threads_for(counts, *others),
    )
    dtypes = [dtype] * (1 if variance is None else 2) + [np.dtype(np.uint8)]
    od, *more, seen = over_blocks(block, counts, *others, output_dtypes=dtypes)
    return Densities(od, more[0] if more else None, *told_by(seen, light.saturation is not None))


def told_by(bits: xr.DataArray, with_saturation: bool = False) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """Return the flags that bits of pixels stand for, and which pixels are brighter than I0 at every energy."""
    from xstxm._kernels import density_lines
    from xstxm._kernels.density import SATURATED

    named = {
        "nonpositive_counts": density_lines.LOST,
        "not_measured": density_lines.UNMEASURED,
        "too_thick": density_lines.THICK,
    }
    if with_saturation:
        named["saturated"] = SATURATED
    return {name: (bits & bit) > 0 for name, bit in named.items()}, (bits & density_lines.NOT_BRIGHTER) == 0


def _densities_block(
    counts: np.ndarray,
    i0: np.ndarray,
    scale: np.ndarray,
    dark: np.ndarray,
    *noise: np.ndarray,
    dtype: np.dtype,
    least: float | None,
    **options: Any,
) -> list[np.ndarray]:
    """Return densities, variances where there is noise, and bits of an array."""
    from xstxm._kernels import array_density, density
    from xstxm._kernels.density import CountNoise

    known = None
    if least is not None:
        source, share, of_i0 = noise
        known = CountNoise(source, share, least, of_i0)
    computed = np.dtype("float32" if dtype.itemsize == 4 else "float64")
    optical_densities = (array_density if on_device(counts) else density).optical_densities
    od, variance, bits = optical_densities(counts, i0, scale, dark, known, dtype=computed, **options)
    arrays = [od] if variance is None else [od, variance]
    return [*(array.astype(dtype, copy=False) for array in arrays), bits]
