"""Profiles: the values of an image along a line."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import annotate, as_float, content_of, require_image, signal_of, used_pixels
from xstxm.errors import OptionError, SchemaError
from xstxm.interfaces import positions
from xstxm.provenance import recorded
from xstxm.units import LengthLike

Point: TypeAlias = tuple[LengthLike, LengthLike]


@recorded
def line_profile(
    maps: xr.DataArray | xr.Dataset,
    start: Point,
    stop: Point,
    *,
    width: LengthLike | None = None,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Return the values along a straight line, on points that are one pixel apart or a little less.

    Parameters
    ----------
    maps
        Stack, image or maps, any dimensions besides y and x; or the array itself.
    start, stop
        Ends of the line, (x, y) in the coordinates' unit or with units.
    width
        Mean over lines side by side, one pixel apart, that are together this wide; a single line by default.
    signal
        Variable of a Dataset.

    Returns
    -------
    Dataset
        `profile` and `profile_std`, mean and standard deviation over the width, in units of the signal: its dims with
        `distance` in um from the start in the place of y and x; coordinates `x` and `y` (distance) in um. Values are
        interpolated linearly between the four pixels around a point, NaN where one of these is; within the outer half
        of a pixel at the edge of the image they are those of the edge. Lines of the width that lie outside are left
        out. Lazy: only the pixels around the line are read.

    Raises
    ------
    MissingVariableError
        The Dataset lacks `signal`.
    MissingDimensionError, MissingCoordinateError, MissingUnitsError
        No y and x, or their positions or units are not known.
    SchemaError
        A map of labels or flags, between which there is nothing, or an image of one row or column.
    OptionError
        An end outside the image, a line without length, or a width below a pixel or beyond the image.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> profile = xstxm.line_profile(stack.sel(energy=518.4), (0.1, 0.1), ("600 nm", "0.5 um"))
    >>> profile.profile.dims, profile.distance.attrs["units"]
    (('distance',), 'um')
    """
    maps = units.dequantify(maps)
    array = _image(maps, signal)
    image = array.assign_coords(y=positions(array, "y"), x=positions(array, "x"))
    ends = np.array([_place(array, start, "start"), _place(array, stop, "stop")])
    line = _line(image, ends, None if width is None else units.to_magnitude(width, "um", "width", spectroscopy=False))
    values = _interpolated(image, line)
    unit = array.attrs.get("units")
    result = {
        name: annotate(found.transpose(..., "distance").astype(array.dtype), name, units=unit)
        for name, found in (("profile", values.mean("across")), ("profile_std", values.std("across")))
    }
    return xr.Dataset(result).assign_coords(_along(ends, line.sizes["distance"]))


def _image(maps: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray:
    """Return the map in floats."""
    found = signal_of(maps, signal)
    if (content := content_of(found.name, found)) in ("labels", "flags"):
        raise SchemaError(f"{str(found.name)!r} holds {content}, between which there is nothing: name a map of numbers")
    require_image(found, "a line lies in an image")
    for dim in ("y", "x"):
        if found.sizes[dim] < 2:
            raise SchemaError(f"one pixel along {dim!r} has no neighbour: a profile needs two or more")
    return used_pixels(as_float(found), maps)


def _place(array: xr.DataArray, point: Any, name: str) -> tuple[float, float]:
    """Return an end of the line, (x, y) in um, which has to lie in the image."""
    if not isinstance(point, tuple | list | np.ndarray) or len(point) != 2:
        raise OptionError(name, point, "give two positions (x, y), e.g. (0.4, '300 nm')")
    found = []
    for value, dim in zip(point, ("x", "y"), strict=True):
        low, high = _edges(array[dim])
        unit = units.units_of(array[dim])
        number = units.to_magnitude(value, unit, f"{dim} of {name}", spectroscopy=False)
        if not low <= number <= high:
            raise OptionError(
                name, point, f"it lies outside the image, {dim} of which is {low:.4g} to {high:.4g} {unit}"
            )
        found.append(number * units.factor(unit, "um"))
    return found[0], found[1]


def _edges(along: xr.DataArray) -> tuple[float, float]:
    """Return the outer edges of the pixels along a dimension."""
    place = np.asarray(along, dtype=float)
    half = _step(place) / 2 * (1 + 1e-9)
    return float(place.min()) - half, float(place.max()) + half


def _step(place: np.ndarray) -> float:
    return float(np.median(np.abs(np.diff(place))))


def _line(image: xr.DataArray, ends: np.ndarray, width: float | None) -> xr.Dataset:
    """Return where the points are, `x` and `y` (distance, across) in um."""
    pixel = min(_step(np.asarray(image[dim])) for dim in ("y", "x"))
    (dx, dy), length = ends[1] - ends[0], float(np.hypot(*(ends[1] - ends[0])))
    if length == 0:
        raise OptionError("stop", tuple(ends[1]), "it is the start: a line needs two places")
    if width is not None and width < pixel * (1 - 1e-9):
        raise OptionError("width", width, f"it is less than a pixel, {pixel:.4g} um: leave it out for a single line")
    across = math.hypot(*(np.ptp(np.asarray(image[dim], dtype=float)) + pixel for dim in ("y", "x")))
    if width is not None and width > across:
        raise OptionError("width", width, f"it is more than the image is across, {across:.4g} um: take less")
    number = 1 if width is None else max(round(width / pixel), 1)
    share = xr.DataArray(np.linspace(0, 1, math.ceil(length / pixel - 1e-9) + 1), dims="distance")
    aside = xr.DataArray((np.arange(number) - (number - 1) / 2) * pixel / length, dims="across")
    return xr.Dataset({"x": ends[0, 0] + share * dx - aside * dy, "y": ends[0, 1] + share * dy + aside * dx})


def _interpolated(image: xr.DataArray, line: xr.Dataset) -> xr.DataArray:
    """Return the values at some points; NaN outside the image."""
    inside, near = xr.DataArray(True), {}
    for dim in ("y", "x"):
        low, high = _edges(image[dim])
        place = np.asarray(image[dim])
        inside = inside & (line[dim] >= low) & (line[dim] <= high)
        near[dim] = line[dim].clip(place.min(), place.max())  # the pixels at the edge reach beyond their centres
        margin = 2 * _step(place)
        touched = (place >= float(near[dim].min()) - margin) & (place <= float(near[dim].max()) + margin)
        there = np.flatnonzero(touched)
        image = image.isel({dim: slice(int(there[0]), int(there[-1]) + 1)})
    return _bilinear(image, near).where(inside)


def _bilinear(image: xr.DataArray, near: dict[str, xr.DataArray]) -> xr.DataArray:
    """Return values between four pixels each. Lazy, from the chunks that hold these pixels."""
    low, share = {}, {}
    for dim, at in near.items():
        place = np.asarray(image[dim], dtype=float)
        rising = np.argsort(place)
        found = np.interp(at, place[rising], rising)
        low[dim] = at.copy(data=np.clip(np.floor(found).astype(int), 0, max(place.size - 2, 0)))
        share[dim] = at.copy(data=found) - low[dim]
    plain = image.drop_vars(["y", "x"])
    parts = []
    for corner in itertools.product((0, 1), repeat=2):
        steps = dict(zip(near, corner, strict=True))
        weight = xr.ones_like(near["x"])
        for dim, step in steps.items():
            weight = weight * (share[dim] if step else 1 - share[dim])
        corner_of = {dim: np.minimum(low[dim] + step, image.sizes[dim] - 1) for dim, step in steps.items()}
        parts.append(plain.isel(corner_of) * weight.astype(image.dtype))
    return functools.reduce(operator.add, parts)


def _along(ends: np.ndarray, number: int) -> dict[str, xr.Variable]:
    """Return the coordinates of the points in um."""
    places = np.linspace(ends[0], ends[1], number).T
    along = np.linspace(0, float(np.hypot(*(ends[1] - ends[0]))), number)
    named = {"distance": (along, "Distance"), "x": (places[0], "x"), "y": (places[1], "y")}
    return {
        name: xr.Variable("distance", values, {"units": "um", "long_name": called})
        for name, (values, called) in named.items()
    }
