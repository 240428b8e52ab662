"""The maps that a phase map holds, and how they are called."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from stxm_explorer.figures.rasters import rgb

MIXED = "mixed"
"""Fractions as a mixture of the colours of their phases."""

_MAPS = {
    "Composition": "composition",
    "Error of the composition": "composition_stderr",
    "Confidence of the label": "confidence",
    "Total amount": "total_amount",
    "Misfit: rms of the residual": "residual_rms",
    "Reduced chi-squared": "reduced_chi2",
    "Number of references in the fit": "n_active",
    "Fractions as colours": MIXED,
}
_OF_PHASES = {"Fraction": "phase_fraction", "Error of the fraction": "phase_fraction_stderr"}


def choices(phases: xr.Dataset | None) -> dict[str, dict[str, str]]:
    """Return the maps by their names, in groups; those of each phase once these are known."""
    found = {"Of the pixel": dict(_MAPS)}
    names = [] if phases is None else [str(name) for name in np.asarray(phases["phase"])]
    for title, variable in _OF_PHASES.items() if names else ():
        found[title] = {f"{title} of {name}": f"{variable}:{name}" for name in names}
    return found


def image_of(result: xr.Dataset, name: str) -> xr.DataArray:
    """Return a map by its name in the choices."""
    variable, _, phase = name.partition(":")
    if not phase:
        return result[variable]
    image = result[variable].sel(phase=phase)
    return image.assign_attrs(long_name=f"{image.attrs.get('long_name', variable)}, {phase}")


def mixed(phases: xr.Dataset, colors: Mapping[str, str]) -> xr.DataArray:
    """Return the fractions as red, green and blue (y, x, band) between 0 and 1; NaN where there is no sample."""
    bands = xr.DataArray([[part / 255 for part in rgb(color)] for color in colors.values()], dims=("phase", "band"))
    fractions = phases["phase_fraction"].clip(0, 1)
    return xr.dot(fractions.drop_vars("phase"), bands, dim="phase").clip(0, 1).transpose("y", "x", "band")
