"""How functions meet labelled arrays: along energy, lazily, and two energy axes in one place only."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels.devices import beside, pattern
from xstxm.conventions import ENERGY, content_of, require_energy
from xstxm.errors import (
    ChunkingError,
    EnergyRangeError,
    ExtrapolationWarning,
    PerformanceWarning,
    SchemaError,
    check_choice,
    warn,
)
from xstxm.options import get_options

MatchHow: TypeAlias = Literal["exact", "interp"]


def is_lazy(obj: xr.DataArray | xr.Dataset) -> bool:
    """Tell whether an object holds dask arrays."""
    return obj.__dask_graph__() is not None


def require_single_chunk(array: xr.DataArray, verb: str, dim: str = ENERGY) -> xr.DataArray:
    """Return the array with a dimension in one chunk, or raise `ChunkingError` where that is not cheap."""
    return array.chunk({dim: -1}) if _has_chunks(array, verb, dim) else array


def _has_chunks(array: xr.DataArray, verb: str, dim: str = ENERGY) -> bool:
    """Tell whether chunks along a dimension have to be merged, with a warning; `ChunkingError` where that is not cheap."""
    chunks = array.variable.chunksizes.get(dim, ())
    if len(chunks) <= 1:
        return False
    limit = get_options().rechunk_limit
    if array.nbytes > limit:
        from dask.utils import format_bytes

        raise ChunkingError(verb, dim, len(chunks), format_bytes(array.nbytes), format_bytes(int(limit)))
    warn(
        f"{verb} merges {len(chunks)} chunks along {dim!r}: .chunk({dim}=-1) once, before the first verb, "
        "reads the stack once only",
        PerformanceWarning,
    )
    return True


def over_energy(
    func: Callable[..., Any],
    array: xr.DataArray,
    *others: xr.DataArray,
    verb: str,
    output_dims: Sequence[Sequence[str]] = ((),),
    output_sizes: Mapping[str, int] | None = None,
    output_dtypes: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Apply a function of whole spectra to every pixel, lazily where any array is lazy.

    `func` gets `array` and `others` with energy last, shape (..., energy) or without one (...), and returns one array per
    entry of `output_dims`, new dimensions last. In memory, energy keeps the place that it has in the arrays: what
    `func` gets are views. The results still carry the attributes of `array`: stamp them.
    """
    arrays = [array, *others]
    for item in arrays:
        _has_chunks(item, verb)
    whole = [ENERGY in item.dims for item in arrays]
    call = functools.partial(func, **(kwargs or {}))
    if any(is_lazy(item) for item in arrays):
        known: dict[Any, int] = {**array.sizes, **(output_sizes or {})}
        sizes = [tuple(known[dim] for dim in dims) for dims in output_dims]
        dtypes = list(output_dtypes or [array.dtype] * len(output_dims))
        call = functools.partial(_over_pixel_chunks, call, whole=whole, sizes=sizes, dtypes=dtypes)
    return xr.apply_ufunc(
        call,
        *arrays,
        input_core_dims=[[ENERGY] if there else [] for there in whole],
        output_core_dims=[list(dims) for dims in output_dims],
        dask="allowed",
        keep_attrs=True,
    )


def _over_pixel_chunks(
    func: Callable[..., Any],
    *data: Any,
    whole: Sequence[bool],
    sizes: Sequence[tuple[int, ...]],
    dtypes: Sequence[Any],
) -> Any:
    """Return what `func` makes of the pixels of each chunk, those along energy merged: lazy arrays.

    dask's own way, `apply_gufunc`, copies every chunk with energy innermost, even where there is one, and slows kernels
    that take images.
    """
    import dask.array as da

    arrays = [item if isinstance(item, da.Array) else da.from_array(item, chunks=-1) for item in data]
    n_dims = max(item.ndim - there for item, there in zip(arrays, whole, strict=True))
    pixels = tuple(range(n_dims))
    pairs: list[Any] = []
    for item, there in zip(arrays, whole, strict=True):
        own = pixels[n_dims - (item.ndim - there) :]
        pairs += [item, (*own, n_dims) if there else own]
    like = arrays[0]._meta
    metas = [pattern(like, dtype, n_dims + len(size)) for size, dtype in zip(sizes, dtypes, strict=True)]
    first = pattern(like, dtypes[0], n_dims)
    packed = da.blockwise(functools.partial(_call_whole, func), pixels, *pairs, concatenate=False, meta=first)
    results = [
        da.map_blocks(
            functools.partial(_take, k, len(metas)),
            packed,
            dtype=meta.dtype,
            meta=meta,
            chunks=(*packed.chunks, *((n,) for n in size)),
            new_axis=list(range(n_dims, n_dims + len(size))) or None,
        )
        for k, (size, meta) in enumerate(zip(sizes, metas, strict=True))
    ]
    return results[0] if len(results) == 1 else tuple(results)


def _call_whole(func: Callable[..., Any], *blocks: Any) -> Any:
    """Call a function of blocks, those that come in pieces along energy, their last dimension, put together."""
    whole = (np.concatenate(block, -1) if len(block) > 1 else block[0] for block in blocks if isinstance(block, list))
    return func(*(next(whole) if isinstance(block, list) else block for block in blocks))


def _take(k: int, n: int, results: Any) -> np.ndarray:
    return results if n == 1 else results[k]


def mixed(array: xr.DataArray, matrix: xr.DataArray, over: str) -> xr.DataArray:
    """Return an array multiplied by a small matrix along `over`: the other dimension of the matrix, last. Lazy.

    One product of matrices for each chunk: dask's `einsum` cuts the pixels of the result anew.
    """
    (into,) = (str(dim) for dim in matrix.dims if dim != over)
    # coordinates that both have would be computed to compare them
    matrix = matrix.drop_vars([name for name in matrix.coords if name in array.coords and name != over])
    placed = [
        item.chunk({dim: -1 for dim in (over, into) if dim in item.dims}) if is_lazy(item) else item
        for item in (array, matrix)
    ]
    lazy = any(is_lazy(item) for item in placed)
    return xr.apply_ufunc(
        _mixed_chunks if lazy else functools.partial(_mixed_block, threads=get_options().num_threads),
        *placed,
        input_core_dims=[[over], [over, into]],
        output_core_dims=[[into]],
        dask="allowed",
    )


def _mixed_chunks(values: Any, matrix: Any) -> Any:
    """Multiply chunks as they lie in memory: `apply_gufunc` would copy them with `over` innermost. Lazy."""
    import dask.array as da

    data = [item if isinstance(item, da.Array) else da.from_array(item, chunks=-1) for item in (values, matrix)]
    *pixels, over = range(values.ndim)
    into = values.ndim
    return da.blockwise(
        _mixed_lists,
        (*pixels, into),
        data[0],
        (*pixels, over),
        data[1],
        (over, into),
        concatenate=False,
        meta=pattern(data[0]._meta, data[0].dtype, values.ndim),
    )


def _mixed_lists(values: list[np.ndarray], matrix: list[np.ndarray]) -> np.ndarray:
    return _mixed_block(values[0], matrix[0], threads=1)  # dask runs blocks side by side already


def _mixed_block(values: np.ndarray, matrix: np.ndarray, *, threads: int) -> np.ndarray:
    """Multiply an array (..., over) by a matrix (over, into)."""
    from xstxm._kernels.products import product

    found = product(beside(values, matrix).T, pixels_last(values), threads)
    return np.moveaxis(found.reshape(-1, *values.shape[:-1]), 0, -1)


def over_blocks(
    func: Callable[..., Sequence[np.ndarray]],
    array: xr.DataArray,
    *others: xr.DataArray | float,
    output_dtypes: Sequence[Any],
) -> tuple[xr.DataArray, ...]:
    """Apply a function of values and of the bits of pixels, chunk by chunk where any array is lazy, in one pass.

    `func` gets `array` and `others` with the dimensions of `array`, of size one where they lack them. It returns arrays
    of the shape of `array`, and last bits without energy, which are united over the chunks along energy. The results have
    the coordinates of `array`, and no attributes.
    """
    dims, axis = array.dims, array.get_axis_num(ENERGY)
    placed = [array.variable, *(_with_dims(item, dims) for item in others)]
    lazy = any(item.chunks is not None for item in placed)
    data = [item.data for item in placed]
    results = _over_chunks(func, data, axis, output_dtypes) if lazy else func(*data)
    image = array.isel({ENERGY: 0}, drop=True)
    return (*(_with_data(array, values) for values in results[:-1]), _with_data(image, results[-1]))


def _with_data(like: xr.DataArray, data: Any) -> xr.DataArray:
    return xr.DataArray(data, dims=like.dims, coords=like.coords)


def _with_dims(item: xr.DataArray | float, dims: tuple[Any, ...]) -> xr.Variable:
    variable = item.variable if isinstance(item, xr.DataArray) else xr.Variable((), item)
    return variable.set_dims(dims).transpose(*dims)


def _over_chunks(
    func: Callable[..., Sequence[np.ndarray]], data: Sequence[Any], axis: int, dtypes: Sequence[Any]
) -> list[Any]:
    """Return what `func` makes of the chunks of arrays that broadcast to the first: lazy arrays."""
    import dask.array as da

    index = tuple(range(data[0].ndim))
    arrays = [item if isinstance(item, da.Array) else da.from_array(item, chunks=-1) for item in data]
    pairs = (part for item in arrays for part in (item, index))
    like = arrays[0]._meta
    metas = [pattern(like, dtype, len(index)) for dtype in dtypes]
    packed = da.blockwise(
        functools.partial(_and_bits_with_energy, func), index, *pairs, axis=axis, dtype=dtypes[0], meta=metas[0]
    )
    parts = [da.map_blocks(operator.itemgetter(k), packed, dtype=meta.dtype, meta=meta) for k, meta in enumerate(metas)]
    once = tuple((1,) * len(own) if k == axis else own for k, own in enumerate(packed.chunks))
    bits = da.map_blocks(operator.itemgetter(-1), packed, dtype=dtypes[-1], meta=metas[-1], chunks=once)
    united = da.reduction(bits, _united, _united, axis=axis, dtype=dtypes[-1], meta=metas[-1].sum(axis))
    return [*parts[:-1], united]


def _united(bits: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """Unite bits along one axis; devices have no `bitwise_or.reduce`."""
    found = functools.reduce(operator.or_, np.moveaxis(bits, axis[0], 0))
    return np.expand_dims(found, axis) if keepdims else found


def _and_bits_with_energy(
    func: Callable[..., Sequence[np.ndarray]], *blocks: np.ndarray, axis: int
) -> list[np.ndarray]:
    *arrays, bits = func(*blocks)
    return [*arrays, np.expand_dims(bits, axis)]


def pixels_last(values: np.ndarray) -> np.ndarray:
    """Return an array (..., energy) as (energy, pixels)."""
    return np.moveaxis(values, -1, 0).reshape(values.shape[-1], math.prod(values.shape[:-1]))


def equal_within(tolerance: float | str | None, unit: str) -> float:
    """Return the largest difference of equal energies in the unit of an axis; by default that of the options."""
    if tolerance is None:
        return get_options().energy_tolerance * units.factor("eV", unit)
    return units.to_magnitude(tolerance, unit, "tolerance", spectroscopy=False)


def match_energy(
    other: xr.DataArray,
    energy: xr.DataArray,
    *,
    how: MatchHow = "interp",
    tolerance: float | str | None = None,
    what: str = "the spectrum",
    whose: str = "the stack",
    extrapolate: bool = False,
) -> xr.DataArray:
    """Return `other` on the stack's energies: the one place where two energy axes meet.

    Equal within `tolerance`, the values are taken as they are and get the stack's own coordinate.
    Otherwise ``how="interp"`` interpolates linearly onto the stack's energies, in any order of
    either axis, and ``how="exact"`` refuses. A variance or standard error is that of the interpolated value, marks
    and bit flags are those of both neighbours (a `mask` is True where both are).

    Parameters
    ----------
    other
        Array with an energy dimension; eager, small.
    energy
        Energy coordinate of the stack.
    how
        Interpolate, or insist on equal axes.
    tolerance
        Largest difference of equal energies, ``"10 meV"`` by default (option `energy_tolerance`).
    what
        Name of `other` for messages.
    whose
        What has the energies, for messages.
    extrapolate
        Hold the end values beyond the data, with a warning, where refusing is the default.

    Raises
    ------
    EnergyRangeError
        The axes differ with ``how="exact"``, or `other` does not cover the stack.
    SchemaError
        Labels or words, which do not interpolate.
    """
    check_choice("how", how, MatchHow)
    unit = units.units_of(energy)
    source = _in_units(require_energy(other), unit)
    target = np.asarray(energy, dtype=float)
    limit = equal_within(tolerance, unit)
    if source.size == target.size and bool(np.all(np.abs(source - target) <= limit)):
        return other.assign_coords({ENERGY: energy.variable})
    if how == "exact":
        raise EnergyRangeError(_first_difference(source, target, limit, unit, what, whose))
    order = np.argsort(source, kind="stable")
    ascending = other.isel({ENERGY: order})
    grid = source[order]
    if np.any(np.diff(grid) == 0):
        do = "average them with xstxm.merge_stacks([...]), or keep the first with .drop_duplicates('energy')"
        raise EnergyRangeError(f"{what} holds an energy twice: {do}")
    low, high = grid[0] - limit, grid[-1] + limit
    outside = (target < low) | (target > high)
    if outside.any() and not extrapolate:
        raise EnergyRangeError(_not_covered(grid, target, outside, limit, unit, what, whose))
    if outside.any():
        warn(f"{what} is held constant at {int(outside.sum())} energies beyond its data", ExtrapolationWarning)
    held = np.clip(target, grid[0], grid[-1])
    if content_of(other.name, other) != "number":
        return _between(ascending, grid, held).assign_coords({ENERGY: energy.variable})
    return _interpolated(ascending, grid, held, what).assign_coords({ENERGY: energy.variable})


def _not_covered(
    grid: np.ndarray, target: np.ndarray, outside: np.ndarray, limit: float, unit: str, what: str, whose: str
) -> str:
    """Return what to do about a spectrum on ascending energies that ends before the stack does."""
    found = f"{what} covers {format_range(grid, unit)}, {whose} {format_range(target, unit)}"
    if outside.all():
        return f"{found}: give one that was measured at these energies"
    if whose != "the stack":
        return f"{found}: give {what} over the whole range, or energies from {grid[0]:.10g} to {grid[-1]:.10g} {unit}"
    do = f"use sel_energy({grid[0]:.10g}, {grid[-1]:.10g}) on the stack first"
    moved = np.sort(target) - grid if target.size == grid.size else None
    if moved is not None and np.ptp(moved) <= limit:
        return (
            f"{found}: the same energies moved by {moved[0]:.6g} {unit}. If the stack was calibrated, calibrate {what} "
            f"alike, or bring the two together before calibrate_energy; else {do}"
        )
    return f"{found}: {do}"


def _neighbours(grid: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places below and above each target on an ascending grid, and the share of the second."""
    place = np.interp(target, grid, np.arange(grid.size))
    whole = np.rint(place)
    place = np.where(np.abs(place - whole) < 1e-9, whole, place)  # an energy that is there has one neighbour
    before = np.floor(place).astype(int)
    return before, np.ceil(place).astype(int), place - before


def _interpolated(ascending: xr.DataArray, grid: np.ndarray, target: np.ndarray, what: str) -> xr.DataArray:
    """Return numbers, linearly interpolated; floats keep their dtype. Lazy."""
    before, after, share = _neighbours(grid, target)
    dtype = ascending.dtype.newbyteorder("=") if ascending.dtype.kind in "fc" else np.dtype(float)
    moved = over_energy(
        _interpolated_block,
        ascending.drop_vars(ENERGY),
        verb=f"the interpolation of {what}",
        output_dims=[["target"]],
        output_sizes={"target": target.size},
        output_dtypes=[dtype],
        kwargs={"before": before, "after": after, "share": share.astype(dtype)},
    )
    return moved.rename(target=ENERGY).transpose(*ascending.dims)


def _interpolated_block(spectra: np.ndarray, before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate an array with energy last, whole images at once."""
    images = np.moveaxis(spectra, -1, 0)
    moved = images[after].astype(share.dtype, copy=False)
    left = images[before]
    moved -= left
    moved *= share.reshape(-1, *(1,) * (images.ndim - 1))
    moved += left
    return np.moveaxis(moved, 0, -1)


def _between(ascending: xr.DataArray, grid: np.ndarray, target: np.ndarray) -> xr.DataArray:
    """Return what belongs to linearly interpolated numbers: their variance, standard error, marks or bit flags."""
    content = content_of(ascending.name, ascending)
    if content == "labels":
        raise SchemaError(
            f"{str(ascending.name)!r} holds labels or words, which do not interpolate: drop_vars it first"
        )
    before, after, share = _neighbours(grid, target)
    plain = ascending.drop_vars(ENERGY)
    left, right = (plain.isel({ENERGY: at}) for at in (before, after))
    if content in ("marks", "flags"):
        return left & right if ascending.name == "mask" else left | right
    weight = xr.DataArray(share, dims=ENERGY).astype(plain.dtype)
    power = 2 if content == "stderr" else 1
    return ((1 - weight) ** 2 * left**power + weight**2 * right**power) ** (1 / power)


def match_pixels(other: xr.DataArray, stack: xr.DataArray | xr.Dataset, what: str) -> xr.DataArray:
    """Return `other` with the pixel coordinates of the stack: the one place where two images meet.

    Dimensions of the same size whose coordinates differ by less than a hundredth of a pixel are the same.

    Raises
    ------
    SchemaError
        A dimension that the stack lacks, another size, or other positions.
    """
    for dim in other.dims:
        if dim not in stack.dims:
            raise SchemaError(f"{what} has a dimension {dim!r} that the stack lacks (stack: {tuple(stack.dims)})")
        if dim == ENERGY:
            continue
        if other.sizes[dim] != stack.sizes[dim]:
            raise SchemaError(f"{what} has {other.sizes[dim]} pixels along {dim!r}, the stack {stack.sizes[dim]}")
        if dim in other.coords and dim in stack.coords and not _same_positions(other[dim], stack[dim]):
            raise SchemaError(f"{what} and the stack differ along {dim!r}: bring them onto one grid first")
    own = [name for name, coord in other.coords.items() if ENERGY not in coord.dims and name != ENERGY]
    plain = other.drop_vars(own)
    return plain.assign_coords({d: stack[d].variable for d in other.dims if d != ENERGY and d in stack.coords})


def _same_positions(found: xr.DataArray, wanted: xr.DataArray) -> bool:
    a, b = np.asarray(found), np.asarray(wanted)
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return bool(np.array_equal(a, b))
    step = np.abs(np.diff(b)).min(initial=np.inf)
    slack = 0.01 * step if np.isfinite(step) else 1e-9 * np.abs(b).max(initial=1.0)
    return bool(np.all(np.abs(a - b) <= slack))


def _in_units(energy: xr.DataArray, unit: str) -> np.ndarray:
    return np.asarray(units.to_units(energy.astype(float), unit, "the energy axis"), dtype=float)


def format_range(energies: np.ndarray, unit: str) -> str:
    """Return ``510-532 eV`` of an energy axis in any order."""
    return f"{float(np.min(energies)):.6g}-{float(np.max(energies)):.6g} {unit}"


def _first_difference(source: np.ndarray, target: np.ndarray, limit: float, unit: str, what: str, whose: str) -> str:
    if source.size != target.size:
        found = f"{what} has {source.size} energies, {whose} {target.size}"
    else:
        at = int(np.argmax(np.abs(source - target) > limit))
        found = f"{what} and {whose} differ first at point {at}: {source[at]:g} and {target[at]:g} {unit}"
    do = "bring it onto these energies first, .stxm.interp_energy(stack.energy)"
    if whose != "the stack":
        do = 'keep the energies that both have, how="common", or interpolate, how="interp"'
    return f"{found} (tolerance {limit:g} {unit}): {do}"
