"""What results mean for the choices: whether a region is empty, and which pixels cannot be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstxm.conventions import NO_SAMPLE, QUALITY_FLAGS

SUSPECT = 0.05
"""Range of the optical density of an I0 region over energy above which it is not empty."""


@dataclass(frozen=True)
class Emptiness:
    """How much the optical density of a region changes with the energy: an edge shows sample."""

    span: float

    @property
    def doubtful(self) -> bool:
        """Whether there seems to be sample in it."""
        return not self.span <= SUSPECT

    def __str__(self) -> str:
        if math.isnan(self.span):
            return "It has no optical density against the brightest pixels: draw the region where there are counts."
        words = "not empty: it shows an edge. Draw it elsewhere" if self.doubtful else "empty as far as can be seen"
        return f"Its optical density against the brightest pixels spans {self.span:.3f}: the region is {words}."


def emptiness(density: xr.DataArray) -> Emptiness:
    """Return the verdict on a region by its optical density (energy) against that of empty pixels."""
    return Emptiness(float(density.max() - density.min()))


@dataclass(frozen=True, eq=False)
class Flagged:
    """Pixels that a flag is raised for."""

    classes: xr.DataArray
    """Number of the first flag of each pixel, by its place in `counts`; no sample where there is none."""
    counts: Mapping[str, int]
    """Pixels of each flag that is raised at all."""


def flagged(quality: xr.DataArray) -> Flagged:
    """Return which of the bits of a quality (y, x) are raised, and where."""
    bits = np.asarray(quality)
    raised = {name: bits & bit != 0 for name, bit in QUALITY_FLAGS.items() if (bits & bit).any()}
    first = (
        np.select([*raised.values()], [*range(len(raised))], NO_SAMPLE) if raised else np.full(bits.shape, NO_SAMPLE)
    )
    return Flagged(quality.copy(data=first), {name: int(where.sum()) for name, where in raised.items()})
