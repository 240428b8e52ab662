"""Regions of interest: masks from boxes, polygons and points, and the spectra behind them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._axes import match_pixels
from xstxm._kernels import threshold
from xstxm.conventions import ENERGY, annotate, pixel_dims, require_energy, signal_of, used_pixels, variance_of
from xstxm.errors import ChoiceError, MissingDimensionError, OptionError, SchemaError, require_number
from xstxm.provenance import recorded
from xstxm.units import AmountLike, LengthLike

Region: TypeAlias = (
    "xr.DataArray | Mapping[str, LengthLike | tuple[LengthLike, LengthLike]] | Sequence[Any] | np.ndarray"
)


def region_mask(stack: xr.DataArray | xr.Dataset, region: Region) -> xr.DataArray:
    """Return the pixels of a region as a mask.

    Parameters
    ----------
    stack
        Anything with the pixel dimensions of the stack.
    region
        A boolean mask over pixel dimensions; a box ``{"x": (low, high), "y": (low, high)}`` in the
        coordinates' unit or with units, both ends included; a point ``{"x": 1.2, "y": 0.4}``, the pixel
        nearest to it; or a polygon, the (x, y) vertices in the coordinates' unit.

    Returns
    -------
    DataArray
        `mask` (pixel dims), bool, True inside, over all pixel dimensions of the stack. Eager.

    Raises
    ------
    OptionError
        The region holds no pixel.
    SchemaError
        The mask does not fit the stack or is not boolean.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> int(xstxm.roi.region_mask(stack, {"x": ("0 nm", "70 nm")}).sum()) > 0
    True
    """
    if isinstance(region, np.ndarray) and region.dtype == bool:
        mask = _checked_mask(stack, _labelled(region, pixel_dims(stack)))
    elif isinstance(region, xr.DataArray):
        mask = _checked_mask(stack, region)
    elif isinstance(region, Mapping):
        mask = _box(stack, region)
    else:
        mask = _polygon(stack, region)
    if mask.size and not is_lazy(mask) and not bool(mask.any()):
        is_mask = isinstance(region, np.ndarray | xr.DataArray) and region.dtype == bool
        found = (
            "it holds no pixel: the mask is False everywhere"
            if is_mask
            else f"it holds no pixel: the image covers {_extent(stack)}"
        )
        raise OptionError("region", region, found)
    return annotate(_over_all_pixels(mask, stack), "mask")


def used_region(array: xr.DataArray, stack: xr.DataArray | xr.Dataset, region: Region) -> xr.DataArray:
    """Return the pixels of a region of an array, some of which have to lie inside the `mask` of the stack."""
    inside = region_mask(array, region)
    if isinstance(stack, xr.Dataset) and "mask" in stack:
        left = inside & stack["mask"]
        if not is_lazy(left) and not bool(left.any()):
            raise OptionError("region", region, "all of its pixels lie outside the mask of the stack: take others")
    return inside


def _extent(stack: xr.DataArray | xr.Dataset) -> str:
    """Return what the pixels cover: ``x from 0 to 0.93 um, y from 0 to 0.69 um, in steps of 0.03 um``."""
    told = []
    for dim in reversed(pixel_dims(stack)):
        if dim in stack.coords and stack[dim].dtype.kind in "fiu":
            along, unit = np.asarray(stack[dim], dtype=float), stack[dim].attrs.get("units", "")
            step = f" in steps of {np.median(np.abs(np.diff(along))):.4g}" if along.size > 1 else ""
            told.append(f"{dim} from {along.min():.4g} to {along.max():.4g} {unit}".rstrip() + step)
        else:
            told.append(f"{stack.sizes[dim]} pixels along {dim}, without coordinates")
    return ", ".join(told)


def _labelled(mask: np.ndarray, dims: tuple[Hashable, ...]) -> xr.DataArray:
    if not 0 < mask.ndim <= len(dims):
        raise SchemaError(f"the mask has {mask.ndim} dimensions, the pixels of the stack {len(dims)}: {dims}")
    return xr.DataArray(mask, dims=dims[-mask.ndim :])


def _over_all_pixels(mask: xr.DataArray, stack: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Repeat a mask along the pixel dimensions that it leaves out."""
    dims = pixel_dims(stack)
    missing = {dim: stack[dim] if dim in stack.coords else stack.sizes[dim] for dim in dims if dim not in mask.dims}
    whole = mask.expand_dims(missing).transpose(*dims)
    return whole.assign_coords({dim: stack[dim].variable for dim in missing if dim in stack.coords})


def _checked_mask(stack: xr.DataArray | xr.Dataset, mask: xr.DataArray) -> xr.DataArray:
    if mask.dtype != bool:
        raise SchemaError(f"a mask is boolean, found {mask.dtype}: make one with a comparison, e.g. image > 0.1")
    if ENERGY in mask.dims:
        raise SchemaError(
            "a mask lies over pixels, this one has an energy dimension: reduce it, e.g. mask.any('energy')"
        )
    return match_pixels(mask, stack, "the mask")


def _box(stack: xr.DataArray | xr.Dataset, box: Mapping[str, Any]) -> xr.DataArray:
    mask = xr.DataArray(True)
    for dim, limits in box.items():
        if dim not in pixel_dims(stack) or dim not in stack.coords:
            raise ChoiceError("region coordinate", dim, [str(name) for name in pixel_dims(stack)])
        along = stack[dim]
        if isinstance(limits, str) or (np.ndim(limits) == 0 and not isinstance(limits, slice)):
            mask = mask & _nearest(along, limits)
        else:
            if isinstance(limits, slice) or len(limits) != 2:
                raise OptionError(dim, limits, "give a position, or two limits (low, high)")
            low, high = sorted(units.to_magnitude(limit, along, dim) for limit in limits)
            slack = 1e-9 * max(abs(low), abs(high))  # "both ends included" must not hang on the last bit
            mask = mask & (along >= low - slack) & (along <= high + slack)
    return mask


def _nearest(along: xr.DataArray, position: LengthLike) -> xr.DataArray:
    """Mask the one pixel that a position lies in."""
    value = units.to_magnitude(position, along, str(along.name))
    positions = np.asarray(along, dtype=float)
    at = int(np.abs(positions - value).argmin())
    half = np.abs(np.diff(positions)).max(initial=0) / 2
    if positions.size > 1 and abs(positions[at] - value) > half * (1 + 1e-9):
        unit = along.attrs.get("units", "")
        low, high = positions.min() - half, positions.max() + half
        found = f"it lies outside the image, which covers {low:.4g} to {high:.4g} {unit}".strip()
        raise OptionError(str(along.name), position, found)
    return xr.zeros_like(along, dtype=bool).copy(data=np.arange(positions.size) == at)


def _polygon(stack: xr.DataArray | xr.Dataset, region: Sequence[Any] | np.ndarray) -> xr.DataArray:
    """Even-odd rule, on the pixels of the polygon's bounding box only."""
    try:
        vertices = np.asarray(region, dtype=float)
    except (TypeError, ValueError):
        vertices = np.empty(0)
    if vertices.ndim != 2 or vertices.shape[1] != 2 or len(vertices) < 3:
        do = (
            "give a mask (a bool array over the pixels), a box {'x': (low, high), 'y': (low, high)}, a point {'x': 1.2, "
            "'y': 0.4}, or 3 or more (x, y)"
        )
        raise OptionError("region", region, do)
    for dim in ("y", "x"):
        if dim not in stack.dims:
            raise MissingDimensionError(dim, stack.dims, "a polygon needs an image; give a box or a mask")
    y, x = np.asarray(stack["y"], dtype=float), np.asarray(stack["x"], dtype=float)
    (left, bottom), (right, top) = vertices.min(0), vertices.max(0)
    rows, columns = np.flatnonzero((y >= bottom) & (y <= top)), np.flatnonzero((x >= left) & (x <= right))
    inside = np.zeros((y.size, x.size), dtype=bool)
    if rows.size and columns.size:
        inside[np.ix_(rows, columns)] = _even_odd(y[rows][:, None], x[columns][None, :], vertices)
    return xr.DataArray(inside, dims=("y", "x"), coords={"y": stack["y"], "x": stack["x"]})


def _even_odd(y: np.ndarray, x: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    inside = np.zeros(np.broadcast_shapes(y.shape, x.shape), dtype=bool)
    for (x0, y0), (x1, y1) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def sample_threshold(total: xr.DataArray, min_amount: AmountLike | None, n_bins: int = 256) -> xr.DataArray:
    """Return the total amount below which a pixel is empty, a number. Lazy."""
    if min_amount is not None:
        if isinstance(min_amount, str) or units.is_quantity(min_amount):
            min_amount = units.to_magnitude(min_amount, total.attrs.get("units", "1"), "min_amount", spectroscopy=False)
        least = require_number("min_amount", min_amount, "a number in units of the amount", finite=False)
        return xr.DataArray(np.asarray(least, dtype=total.dtype))
    found = xr.apply_ufunc(
        threshold.otsu,
        total.chunk(-1) if is_lazy(total) else total,
        input_core_dims=[list(total.dims)],
        dask="parallelized",
        dask_gufunc_kwargs={"meta": np.empty((), total.dtype)},
        kwargs={"n_bins": n_bins},
    )
    return found.drop_vars(list(found.coords))


@recorded
def spectrum(stack: xr.DataArray | xr.Dataset, region: Region, *, signal: str = "optical_density") -> xr.Dataset:
    """Return the mean spectrum of a region, with its spread.

    Parameters
    ----------
    stack
        Stack, or the array itself.
    region
        Mask, box, point or polygon, see `roi.region_mask`.
    signal
        Variable of a Dataset to average.

    Returns
    -------
    Dataset
        `spectrum`, `spectrum_std` and `n_pixels` (energy): mean, standard deviation and number of the
        finite pixels; where the Dataset holds the variance of `signal`, also `spectrum_variance`, that of the mean of
        independent pixels, with which ``fit(..., signal="spectrum")`` weighs. Lazy where the stack is.

    Raises
    ------
    MissingVariableError
        The Dataset lacks `signal`.
    OptionError, SchemaError
        The region holds no pixel or does not fit.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> xstxm.spectrum(stack, {"x": 0.0, "y": 0.0}, signal="intensity").spectrum.dims
    ('energy',)
    """
    stack = units.dequantify(stack)
    array = used_pixels(signal_of(stack, signal), stack)
    require_energy(array)
    mask = used_region(array, stack, region)
    inside, dims = cropped(array, mask)
    unit = array.attrs.get("units")
    mean = annotate(inside.mean(dims, skipna=True), "spectrum", units=unit)
    spread = annotate(inside.std(dims, skipna=True), "spectrum_std", units=unit)
    count = annotate(inside.count(dims), "n_pixels")
    result = xr.Dataset({"spectrum": mean, "spectrum_std": spread, "n_pixels": count})
    held = variance_of(stack, signal)
    if held is not None:
        squares, _ = cropped(held.where(array.notnull(), 0), mask)
        unknown = (inside.notnull() & squares.isnull()).any(dims)
        variance = squares.sum(dims).where(~unknown) / count.drop_attrs() ** 2
        squared = None if unit is None else units.derive(unit, unit, "*")
        result["spectrum_variance"] = annotate(variance.astype(held.dtype), "spectrum_variance", units=squared)
    return result


def cropped(array: xr.DataArray, mask: xr.DataArray) -> tuple[xr.DataArray, tuple[Any, ...]]:
    """Return the pixels of a mask and the dims to reduce, reading only the rows and columns it touches."""
    dims = mask.dims
    if not is_lazy(mask):
        plain = np.asarray(mask)
        touched = [
            np.flatnonzero(plain.any(tuple(k for k in range(plain.ndim) if k != axis))) for axis in range(plain.ndim)
        ]
        window = {dim: slice(int(at[0]), int(at[-1]) + 1) for dim, at in zip(dims, touched, strict=True)}
        array, mask = array.isel(window), mask.isel(window)
    return array.where(mask), dims
