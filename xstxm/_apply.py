"""How functions meet labelled arrays: along energy, chunk by chunk where they are lazy."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xstxm._kernels.devices import beside, pattern
from xstxm.conventions import ENERGY
from xstxm.errors import (
    STORE_BY_IMAGES,
    ChunkingError,
    PerformanceWarning,
    size_text,
    store_by_spectra,
    warn,
)
from xstxm.options import get_options

Item = TypeVar("Item", bound="xr.DataArray | float")


def is_lazy(obj: xr.DataArray | xr.Dataset) -> bool:
    """Tell whether the numbers of an array, or any of a Dataset, are dask arrays; coordinates of an array do not matter."""
    return (obj.variable.chunks if isinstance(obj, xr.DataArray) else obj.__dask_graph__()) is not None


def threads_for(*arrays: xr.DataArray | float | None) -> int:
    """Return how many threads a kernel takes: one where any of the arrays is lazy, as dask runs chunks side by side already."""
    lazy = any(isinstance(item, xr.DataArray) and is_lazy(item) for item in arrays)
    return 1 if lazy else get_options().num_threads


def require_single_chunk(array: xr.DataArray, verb: str, *dims: str) -> xr.DataArray:
    """Return the array with dimensions, energy by default, in one chunk, or raise `ChunkingError` where that is not cheap."""
    cut = _merged(array, verb, *(dims or (ENERGY,)))
    return array.chunk(dict.fromkeys(cut, -1)) if cut else array


def _merged(array: xr.DataArray, verb: str, *dims: str) -> tuple[str, ...]:
    """Return along which dimensions chunks have to be merged, with a warning; `ChunkingError` where that is not cheap."""
    chunks = array.variable.chunksizes
    cut = tuple(dim for dim in dims if len(chunks.get(dim, ())) > 1)
    if not cut:
        return ()
    number, limit = math.prod(len(chunks[dim]) for dim in cut), get_options().rechunk_limit
    if array.nbytes > limit:
        stored = STORE_BY_IMAGES
        if cut == (ENERGY,):
            stored = (
                f"open it with chunks={{}} where it is stored by spectra, or store it so, once: {store_by_spectra()}"
            )
        raise ChunkingError(verb, cut, number, size_text(array.nbytes), size_text(limit), stored)
    merged, whole = " and ".join(map(repr, cut)), ", ".join(f"{dim}=-1" for dim in cut)
    warn(
        f"{verb} merges {number} chunks along {merged}: .chunk({whole}) once, before the first verb, merges them once only, and "
        "stack.stxm.chunk_report() says where other chunks are better",
        PerformanceWarning,
    )
    return cut


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
        _merged(item, verb, ENERGY)
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
        _mixed_chunks if lazy else functools.partial(mixed_block, threads=threads_for()),
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
    return mixed_block(values[0], matrix[0], threads=1)  # dask runs blocks side by side already


def mixed_block(values: np.ndarray, matrix: np.ndarray, *, threads: int) -> np.ndarray:
    """Multiply an array (..., over) by a matrix (over, into)."""
    from xstxm._kernels.products import product

    found = product(beside(values, matrix).T, pixels_last(values), threads)
    return np.moveaxis(found.reshape(-1, *values.shape[:-1]), 0, -1)


def alongside(item: Item, array: xr.DataArray) -> Item:
    """Return a lazy array in the chunks of a stack that it meets, which its own would cut up; one above `rechunk_limit` as it is."""
    if not isinstance(item, xr.DataArray) or item.chunks is None or item.nbytes > get_options().rechunk_limit:
        return item
    if array.chunks is None and item.ndim >= array.ndim:
        return item
    chunks = array.variable.chunksizes
    wanted = tuple(chunks.get(dim, -1) if size > 1 else -1 for dim, size in item.sizes.items())
    return item.copy(data=item.data.rechunk(wanted))


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
    placed = [array.variable, *(_with_dims(alongside(item, array), dims) for item in others)]
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
