"""Frames and pixels of a stack whose frames are to be moved."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import require_image
from xstxm.errors import MissingCoordinateError, OptionError, SchemaError
from xstxm.provenance import describe
from xstxm.units import LengthLike

UNEVEN = 0.05
"""Largest departure of a step of the coordinates from the median one, relative to it."""
MOVES = {"shift_y": 0.0, "shift_x": 0.0, "magnification": 1.0, "rotation": 0.0}
"""What moves a frame, in results of an estimate and in the coordinates of an aligned stack, and of a frame that was not moved."""


@dataclass(frozen=True)
class Grid:
    """Frames and pixels of a stack."""

    frame_dims: tuple[Hashable, ...]
    frame_shape: tuple[int, ...]
    shape: tuple[int, int]
    steps: tuple[float, float]
    """Signed distance of pixel centres along y and x."""
    units: tuple[str, str]

    @classmethod
    def of(cls, array: xr.DataArray) -> Grid:
        """Return the grid of an array, or say why its frames cannot be moved."""
        require_image(array, "only images can be aligned")
        for dim in ("y", "x"):
            if dim not in array.coords:
                raise MissingCoordinateError(dim)
        frame_dims = tuple(dim for dim in array.dims if dim not in ("y", "x"))
        shape = (array.sizes["y"], array.sizes["x"])
        steps = tuple(_even_step(array[dim]) for dim in ("y", "x"))
        names = tuple(units.units_of(array[dim], f"the coordinate {dim!r}") for dim in ("y", "x"))
        return cls(frame_dims, tuple(array.sizes[dim] for dim in frame_dims), shape, steps, names)  # type: ignore[arg-type]

    def pixels(self, length: LengthLike, option: str) -> np.ndarray:
        """Return a length in pixels along y and x; a number is in the unit of y."""
        along = [units.to_magnitude(length, self.units[0], option, spectroscopy=False)]
        along.append(along[0] * units.factor(*self.units, option))
        if not 0 < along[0] < math.inf:
            raise OptionError(option, describe(length), "a distance above zero")
        return np.array(along) / np.abs(self.steps)

    def require_square_pixels(self, do: str) -> None:
        """Raise `SchemaError` unless pixels are as high as wide, as only then a turned frame stays a frame."""
        height, width = np.abs(self.steps) * [1, units.factor(self.units[1], self.units[0], "the coordinate 'x'")]
        if abs(height - width) > UNEVEN * min(height, width):
            raise SchemaError(
                f"pixels of {height:.3g} x {width:.3g} {self.units[0]} (y, x): only frames of square pixels are scaled and "
                f"turned, {do}"
            )


def _even_step(coord: xr.DataArray) -> float:
    steps = np.diff(np.asarray(coord, dtype=float))
    middle = float(np.median(steps))
    if not np.all(np.abs(steps - middle) <= UNEVEN * abs(middle)) or middle == 0:
        raise SchemaError(
            f"the coordinate {str(coord.name)!r} is not evenly spaced ({steps.min():g} to {steps.max():g}): "
            "frames move by pixels, interpolate them onto an even grid first"
        )
    return middle
