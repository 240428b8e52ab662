"""Fewer pixels: bin them, or crop to a region. All variables of a stack follow."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._device import on_device
from xstxm.conventions import Content, Stack, as_float, content_of, measure_of, pixel_dims
from xstxm.errors import ChoiceError, OptionError, SchemaError, require_whole
from xstxm.provenance import recorded
from xstxm.roi import Region, region_mask


@recorded
def bin_pixels(stack: Stack, factor: int | Mapping[str, int] = 2, *, trim: bool = False) -> Stack:
    """Join neighbouring pixels, each variable in the way that its kind asks for.

    Parameters
    ----------
    stack
        Stack, or any array over its pixels.
    factor
        Pixels that become one, along each of y and x (or `position`), or by dimension: ``{"y": 2, "x": 4}``.
    trim
        Leave out the last pixels of a dimension that the factor does not divide; an error by default.

    Returns
    -------
    DataArray or Dataset
        As given, with fewer pixels, at the mean of their positions. With n pixels in one:

        - counts (`count`) are summed; what is in counts for each pixel without lying over the pixels, as
          an `i0` (energy), and the coordinate `dwell_time` are multiplied by n, so that they go on fitting;
        - rates, optical densities and all other numbers are averaged;
        - of variances ``*_variance`` the sum is taken for counts, else sum / n^2; standard errors ``*_stderr``
          likewise with their squares, as if pixels were independent;
        - `mask` is True where all pixels are; other bool variables, as `spike`, where any is;
        - bit flags, as `quality`, are joined by OR.

        A number is NaN where one of its pixels is. Floats keep their dtype, integers become float32. Lazy.

    Raises
    ------
    ChoiceError
        A dimension that is no pixel dimension of the stack.
    OptionError
        The factor is not a whole number from 1 to the size, or does not divide it.
    SchemaError
        A variable of labels or words, which cannot be joined.

    Notes
    -----
    An I0 in counts from outside the stack is that of one pixel before the binning: give it as a rate, or
    estimate it after.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> binned = xstxm.bin_pixels(stack[["intensity"]], {"y": 2, "x": 4})
    >>> dict(binned.sizes), bool(binned.intensity[0, 0, 0] == stack.intensity[0, :2, :4].sum())
    ({'energy': 121, 'y': 12, 'x': 8}, True)
    """
    stack = units.dequantify(stack)
    factors = _factors(stack, factor)
    kept = _trimmed(stack, factor, factors, trim)
    if isinstance(kept, xr.DataArray):
        name = kept.name if kept.name is not None else "the array"
        return _binned(kept.to_dataset(name=name), factors)[name].rename(kept.name)
    return _binned(kept, factors)


def _factors(stack: xr.DataArray | xr.Dataset, factor: int | Mapping[str, int]) -> dict[str, int]:
    """Return the factor of each dimension that shrinks."""
    dims = [str(dim) for dim in pixel_dims(stack)]
    given = factor if isinstance(factor, Mapping) else {d: factor for d in dims if d in ("y", "x", "position")}
    if not given:
        raise SchemaError(f"no pixels to bin: the stack has the dimensions {tuple(stack.dims)}")
    for dim in given:
        if dim not in dims:
            raise ChoiceError("pixel dimension", dim, dims)
    return {
        dim: require_whole("factor", number, 1, stack.sizes[dim], f"the pixels along {dim!r}")
        for dim, number in given.items()
    }


def _trimmed(stack: Stack, factor: int | Mapping[str, int], factors: Mapping[str, int], trim: bool) -> Stack:
    """Return the stack with sizes that the factors divide."""
    over = {dim: stack.sizes[dim] % number for dim, number in factors.items() if stack.sizes[dim] % number}
    if over and not trim:
        told = " and ".join(f"{stack.sizes[dim]} pixels along {dim!r}" for dim in over)
        left = ", ".join(f"{rest} along {dim!r}" for dim, rest in over.items())
        raise OptionError("factor", factor, f"it does not divide {told}: trim=True leaves out the last {left}")
    return stack.isel({dim: slice(stack.sizes[dim] - rest) for dim, rest in over.items()})


def _binned(stack: xr.Dataset, factors: Mapping[str, int]) -> xr.Dataset:
    cut = {name: array for name, array in stack.variables.items() if factors.keys() & {*array.dims}}
    labels = [repr(str(name)) for name, array in cut.items() if content_of(name, array) == "labels"]
    if labels:
        raise SchemaError(f"{', '.join(labels)} hold labels or words, which do not bin: drop_vars them first")
    joined = {name: _joined(str(name), array, factors) for name, array in stack.variables.items()}
    coords = {name: joined[name] for name in stack.coords}
    return xr.Dataset({name: joined[name] for name in stack.data_vars}, coords, stack.attrs)


def _joined(name: str, variable: xr.Variable, factors: Mapping[str, int]) -> xr.Variable:
    """Return one variable over the larger pixels."""
    mine = {dim: number for dim, number in factors.items() if dim in variable.dims}
    content = content_of(name, variable)
    counted = name == "dwell_time" or measure_of(variable) == "counts"
    # A count per pixel that does not lie over a dimension is the same for all pixels that become one.
    alike = math.prod(number for dim, number in factors.items() if dim not in mine) if counted else 1
    if not mine and alike == 1:
        return variable
    array = xr.DataArray(variable)
    windows = {dim: f"{dim} of a window" for dim in mine}
    parts = array.coarsen(mine).construct({d: (d, window) for d, window in windows.items()}) if mine else array
    inside = tuple(windows.values())
    if content == "marks":
        joined = parts.all(inside) if name == "mask" else parts.any(inside)
    elif content == "flags":
        joined = _any_bit(parts, inside, array.attrs["flag_masks"])
    else:
        joined = _joined_numbers(as_float(parts), inside, alike / (1 if counted else math.prod(mine.values())), content)
    return joined.transpose(*array.dims).variable._replace(attrs=variable.attrs)


def _joined_numbers(parts: xr.DataArray, inside: tuple[str, ...], scale: float, content: Content) -> xr.DataArray:
    """Return sums over windows, times a scale; of variances its square, of standard errors through their squares."""
    if content == "variance":
        return parts.sum(inside, skipna=False) * scale**2
    if content == "stderr":
        return (parts**2).sum(inside, skipna=False) ** 0.5 * scale
    return parts.sum(inside, skipna=False) * scale


def _any_bit(parts: xr.DataArray, inside: tuple[str, ...], masks: Any) -> xr.DataArray:
    """Return the bits that any pixel of a window has."""
    bits = [((parts & bit) != 0).any(inside) * parts.dtype.type(bit) for bit in np.atleast_1d(masks)]
    return functools.reduce(operator.or_, bits)


@recorded
@on_device
def crop(stack: Stack, region: Region) -> Stack:
    """Keep the smallest rectangle of pixels that holds a region.

    Parameters
    ----------
    stack
        Stack, or any array over its pixels.
    region
        A box ``{"x": ("1 um", "3 um"), "y": (0.5, 2.0)}`` in the coordinates' unit or with units, both ends
        included; a mask, of which the bounding box is kept; or a polygon or a point, see `roi.region_mask`.

    Returns
    -------
    DataArray or Dataset
        As given, with fewer pixels; all variables follow. Pixels of the rectangle outside a mask or a polygon
        stay as they are. Lazy; Eager on a mask that is lazy.

    Raises
    ------
    OptionError
        The region holds no pixel.
    ChoiceError, SchemaError
        A box over a dimension that is no pixel dimension; a mask that does not fit or is not boolean.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> dict(xstxm.crop(stack, {"x": ("0.3 um", "600 nm")}).intensity.sizes)
    {'energy': 121, 'y': 24, 'x': 11}
    """
    stack = units.dequantify(stack)
    mask = region_mask(stack, region).compute()
    if not mask.any():
        raise OptionError("region", region, "it holds no pixel: the mask is False everywhere")
    window = {}
    for dim in mask.dims:
        touched = np.flatnonzero(mask.any([other for other in mask.dims if other != dim]))
        window[dim] = slice(int(touched[0]), int(touched[-1]) + 1)
    return stack.isel(window)
