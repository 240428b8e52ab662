"""Counts that are fitted in place of the optical density that they make: when, and what is said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from xstxm._densities import Light, told_by
from xstxm._device import beside
from xstxm._fit_maps import FitMaps, fit_counts
from xstxm._unknowns import Method
from xstxm.absorption import holds_counts, light_of, warn_of_counts, with_density
from xstxm.conventions import ENERGY, quality_bits, used_pixels
from xstxm.units import EnergyMove

if TYPE_CHECKING:
    from xstxm.fitting import FitNoise, Selection


def counted(stack: Any, signal: str, *asked: Any) -> tuple[Any, Light | None]:
    """Return the stack and the counts that one pass can fit, else the stack with its optical density made."""
    if not (holds_counts(stack, signal) and "i0" in stack):
        return stack, None
    if in_one_pass(stack, *asked):
        return stack, light_of(stack, noise="residual")
    return with_density(stack, signal), None


def in_one_pass(
    stack: xr.DataArray | xr.Dataset,
    noise: FitNoise | xr.DataArray | None,
    selection: Selection | None,
    max_optical_density: float | None,
    *moves: EnergyMove | None,
) -> bool:
    """Tell whether a fit asks for the optical density once only, and for no variance."""
    alike = "intensity_variance" not in stack if noise is None else isinstance(noise, str) and noise == "residual"
    moved = any(isinstance(move, str) and move == "fit" for move in moves)
    return alike and selection is None and max_optical_density is None and not moved


def fit_light(
    light: Light,
    stack: xr.DataArray | xr.Dataset,
    spectra: xr.DataArray,
    terms: xr.DataArray,
    method: Method,
    covariance: bool,
) -> tuple[FitMaps, dict[str, xr.DataArray]]:
    """Return the fit of counts, and the flags that `optical_density` gives their pixels."""
    used = None
    if "mask" in stack:
        every = beside(light.counts, xr.ones_like(light.counts.isel({ENERGY: 0}, drop=True), dtype=bool))
        used = used_pixels(every, stack, False)
    maps, bits = fit_counts(light, used, spectra, terms, method, covariance)
    flags, brighter = told_by(bits)
    warn_of_counts(light, flags, brighter, stack)
    return maps, flags


def quality_of_fit(flags: dict[str, xr.DataArray], lost: xr.DataArray, before: xr.DataArray | None) -> xr.DataArray:
    """Return the quality of pixels with those that the fit lost; flags of counts judge them anew."""
    if not flags:
        return quality_bits({"not_measured": lost}, before)
    return quality_bits({**flags, "not_measured": flags["not_measured"] | lost}, before, lasting=())
