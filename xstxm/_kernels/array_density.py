"""Optical densities of counts on a device, by the functions of its own library: what `density` does on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from xstxm._kernels.density import SATURATED, CountNoise, Densities
from xstxm._kernels.density_lines import LOST, NOT_BRIGHTER, THICK, UNMEASURED, over_incident
from xstxm._kernels.devices import beside


def optical_densities(
    counts: Any,
    i0: Any,
    scale: Any,
    dark: Any,
    noise: CountNoise | None = None,
    *,
    energy: int,
    dtype: Any,
    thick: float,
    saturation: float | None = None,
    **_: Any,
) -> Densities:
    """Return what `density.optical_densities` does, for counts on a device and the rest there or on the host."""
    i0, scale, dark = (beside(counts, item) for item in (i0, scale, dark))
    dark = dark.astype(dtype)
    inverse = over_incident(i0, scale, dark)
    value = counts.astype(dtype) - dark
    share = value * inverse
    with np.errstate(invalid="ignore"):
        usable = (share > 0) & (share < np.inf)
        od = np.where(usable, -np.log(np.where(usable, share, 1)), np.nan).astype(dtype)
    unknown = np.isnan(value)
    highest = np.where(usable, od, -np.inf).max(energy)
    bits = (
        (~usable & ~unknown).any(energy) * np.uint8(LOST)
        + unknown.any(energy) * np.uint8(UNMEASURED)
        + (highest > thick) * np.uint8(THICK)
        + (~usable.all(energy) | ~(highest < 0)) * np.uint8(NOT_BRIGHTER)
    )
    if saturation is not None:
        bits = bits + (counts >= saturation).any(energy) * np.uint8(SATURATED)
    if noise is None:
        return Densities(od, None, bits)
    source, photons, of_i0 = (beside(counts, item) for item in (noise.source, noise.share, noise.of_i0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = source * photons / (value * value) + of_i0 * (scale.astype(float) * inverse) ** 2
        known = usable & (source >= noise.least)
    return Densities(od, np.where(known, variance, np.nan).astype(dtype), bits)
