"""The incident intensity of a stack, from pixels without sample."""

from __future__ import annotations

import functools
import operator
from collections.abc import Hashable
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._sums import in_memory, made_again
from xstxm.conventions import (
    ENERGY,
    annotate,
    as_float,
    pixel_dims,
    require_energy,
    signal_of,
    used_pixels,
    variance_of,
)
from xstxm.errors import (
    IncompatibleUnitsError,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
)
from xstxm.noise import (
    checked_variance,
)
from xstxm.provenance import recorded
from xstxm.roi import Region, cropped, used_region

AutoRegion: TypeAlias = Literal["brightest"]


@recorded
def estimate_i0(
    stack: xr.DataArray | xr.Dataset,
    region: AutoRegion | Region = "brightest",
    *,
    fraction: float = 0.1,
    signal: str = "intensity",
) -> xr.Dataset:
    """Estimate the incident intensity from the empty pixels of a stack: their mean at each energy.

    Parameters
    ----------
    stack
        Stack, or the array of counts.
    region
        ``"brightest"``: the `fraction` of the pixels with the highest mean counts, of themselves and those next to
        them, at every other energy; or a mask, a box, a polygon or a point where the beam misses the sample, see
        `spectrum`.
    fraction
        Share of the pixels that ``"brightest"`` takes, in (0, 1].
    signal
        Variable of a Dataset that holds the counts.

    Returns
    -------
    Dataset
        `i0` and `i0_stderr` (energy) in the units of the counts, `mask` (pixel dims) of the empty pixels used at some
        energy, their number and the method in attrs. The standard error is that of the mean, from the scatter of the
        pixels; one pixel has none, and the square root of the variance of its counts in its place where the Dataset
        holds it, else NaN. Eager on two images for ``"brightest"``, the means of every other energy; lazy otherwise.

    Raises
    ------
    MissingVariableError, MissingUnitsError
        The Dataset has no such signal, or the counts have no units.
    OptionError
        `fraction` is not in (0, 1], or the region holds no pixel.

    Notes
    -----
    Pixels that were chosen by the counts that are averaged would be those whose noise is highest, and I0 too high by
    many of its standard errors. So the 1st, 3rd, ... energy are averaged over the pixels that are brightest at the 2nd,
    4th, ..., and the other way round. What chooses the pixels of a single energy are their neighbours; as they choose each
    other, the standard error is there some 1.3 times too small. Noise that neighbouring energies share, as in a
    denoised stack, undoes this, and so does noise that neighbouring pixels share at a single energy.

    The empty area has to be larger than `fraction`. A stack without empty area has no I0 to estimate: give one.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> xstxm.estimate_i0(stack).i0.dims
    ('energy',)
    """
    fraction = require_number("fraction", fraction, "a share of the pixels", above=0, most=1)
    stack = units.dequantify(stack)
    counts = used_pixels(as_float(signal_of(stack, signal)), stack)
    require_energy(counts)
    unit = counting_units(counts, "the intensity")
    dims = pixel_dims(counts)
    if not dims:
        raise SchemaError("a single spectrum has no empty pixels: pass an I0 spectrum instead, see xstxm.read_i0")
    if isinstance(region, str):
        check_choice("region", region, AutoRegion)
        masks = brightest(counts, fraction)
    else:
        masks = [used_region(counts, stack, region)]
    variance = variance_of(stack, signal)
    if is_lazy(counts):
        again = None if variance is None else made_again(variance)
        found = _mean_of(made_again(counts), _by_turns(masks, counts), again)
    else:
        found = _interleaved(
            [
                _mean_of(
                    _every(len(masks), k, counts), mask, None if variance is None else _every(len(masks), k, variance)
                )
                for k, mask in enumerate(masks)
            ]
        )
    mask = annotate(functools.reduce(operator.or_, masks), "mask")
    stamped = {name: annotate(array, str(name), units=unit) for name, array in found.items()}
    used = {} if is_lazy(mask) else {"n_pixels": int(mask.sum())}
    result = xr.Dataset({**stamped, "mask": mask})
    return result.assign_attrs(method=region if isinstance(region, str) else "region", **used)


def _every(step: int, start: int, array: xr.DataArray) -> xr.DataArray:
    return array.isel({ENERGY: slice(start, None, step)})


def _by_turns(masks: list[xr.DataArray], counts: xr.DataArray) -> xr.DataArray:
    """Return the pixels to average at each energy, where two masks take turns. Lazy.

    Both halves of the energies are read in one pass: dask would hold all chunks from the one to the other.
    """
    if len(masks) == 1:
        return masks[0]
    first, second = (mask.chunk({dim: counts.variable.chunksizes[dim] for dim in mask.dims}) for mask in masks)
    turn = xr.DataArray(np.arange(counts.sizes[ENERGY]) % 2, dims=ENERGY)
    return xr.where(turn == 0, first, second)


def _interleaved(parts: list[xr.Dataset]) -> xr.Dataset:
    """Return what was found of every so manieth energy in the order of all of them."""
    joined = xr.concat(parts, ENERGY, coords="minimal", compat="override", join="override")
    n = joined.sizes[ENERGY]
    place = np.concatenate([np.arange(k, n, len(parts)) for k in range(len(parts))])
    return joined.isel({ENERGY: np.argsort(place)})


def _mean_of(counts: xr.DataArray, mask: xr.DataArray, variance: xr.DataArray | None) -> xr.Dataset:
    """Return `i0` and `i0_stderr`, from the spread; of one pixel, which has none, from its own variance."""
    inside, dims = _pixels_of(counts, mask)
    i0 = inside.mean(dims, skipna=True, dtype=float)
    if is_lazy(mask) or int(mask.sum()) > 1:
        freedom = inside.count(dims) - 1
        spread = inside.std(dims, skipna=True, dtype=float)
        return xr.Dataset({"i0": i0, "i0_stderr": spread / np.sqrt(freedom.where(freedom > 0))})
    if variance is None:
        return xr.Dataset({"i0": i0, "i0_stderr": xr.full_like(i0, np.nan)})
    held, per_square = checked_variance(variance, counts, str(variance.name))
    own = _pixels_of(held, mask)[0].mean(dims, dtype=float) / per_square
    return xr.Dataset({"i0": i0, "i0_stderr": np.sqrt(own)})


def _pixels_of(array: xr.DataArray, mask: xr.DataArray) -> tuple[xr.DataArray, tuple[Hashable, ...]]:
    """Return the pixels of a mask, and the dimensions they lie along; of an array in memory no others."""
    if is_lazy(array) or is_lazy(mask):
        return cropped(array, mask)[0], tuple(dim for dim in mask.dims if dim != ENERGY)
    places = np.nonzero(np.asarray(mask))
    at = {dim: xr.Variable("place", place) for dim, place in zip(mask.dims, places, strict=True)}
    return array.isel(at).drop_vars(mask.dims, errors="ignore"), ("place",)


def counting_units(array: xr.DataArray, what: str) -> str:
    """Return the units of an intensity: counts, a rate, a current, a voltage or a mere number."""
    found = units.units_of(array, what)
    if not any(units.same_kind(found, kind) for kind in ("count", "count/ms", "mA", "V", "1")):
        raise IncompatibleUnitsError(what, found, "count", "an intensity is in 'count' or 'count/ms'")
    return found


def brightest(counts: xr.DataArray, fraction: float) -> list[xr.DataArray]:
    """Mask the pixels to average at every other energy, and those at the energies between. Eager on two images.

    Each half is that of the brightest pixels of the other: chosen by its own counts, it would be that of the pixels with
    the luckiest noise. What chooses the pixels of a single energy are their neighbours.
    """
    alone = counts.sizes[ENERGY] == 1
    means = [_every(2, k, counts).mean(ENERGY, skipna=False) for k in ([0] if alone else [1, 0])]
    judged = [_around(image, itself=not alone) for image in in_memory(*means)]
    usable = functools.reduce(operator.and_, [image.notnull() for image in judged])
    if not bool(usable.any()):
        raise OptionError(
            "region",
            "brightest",
            "no pixel is finite at every energy, or of one energy has neighbours: give a mask or a box",
        )
    inside = np.asarray(usable)
    thresholds = [np.quantile(np.asarray(image)[inside], 1 - fraction, overwrite_input=True) for image in judged]
    return [usable & (image >= least) for image, least in zip(judged, thresholds, strict=True)]


def _around(image: xr.DataArray, *, itself: bool) -> xr.DataArray:
    """Return the mean of each pixel and those next to it, or of those alone; NaN where the pixel is NaN.

    In place where it can be: an image may be large.
    """
    values = np.array(image, dtype=float)
    there = np.isfinite(values)
    values[~there] = 0.0
    axes = [image.get_axis_num(dim) for dim in ("y", "x") if dim in image.dims] or [image.ndim - 1]
    total, number = _sum_around(values, axes), _sum_around(there.astype(np.uint8), axes)  # nine at most
    if not itself:
        total -= values
        number -= there
    del values
    total /= np.maximum(number, 1)
    total[~there | (number == 0)] = np.nan
    return image.copy(data=total)


def _sum_around(values: np.ndarray, axes: list[int]) -> np.ndarray:
    """Return the sum of each pixel and those next to it, in the image or along the line."""
    for axis in axes:
        total = values.copy()
        into, of = np.moveaxis(total, axis, 0), np.moveaxis(values, axis, 0)
        into[1:] += of[:-1]
        into[:-1] += of[1:]
        values = total
    return values
