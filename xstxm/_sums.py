"""Sums over the pixels of a stack, chunk by chunk, and stacks that are read once for each pass."""

from __future__ import annotations

import functools
import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import xarray as xr

from xstxm._apply import is_lazy
from xstxm._kernels.devices import pattern
from xstxm.conventions import ENERGY
from xstxm.steps import followed


def pixel_sums(
    kernel: Callable[..., np.ndarray],
    array: xr.DataArray,
    other: xr.DataArray,
    sizes: Mapping[str, int],
    **kwargs: Any,
) -> xr.DataArray:
    """Sum over pixels what a kernel makes of spectra (e, p) and an array (p), chunk by chunk, as a tree. Lazy.

    `other` has the pixel dims of `array` and no coordinates of its own; `sizes` are the dims of the sum. The energies of an
    array are in one chunk.
    """
    dims = other.dims
    array = array.transpose(ENERGY, *dims)
    if not (is_lazy(array) or is_lazy(other)):
        total = kernel(array.data.reshape(array.sizes[ENERGY], -1), other.data.ravel(), **kwargs)
        return xr.DataArray(total, dims=tuple(sizes))
    import dask.array as da

    array = array if is_lazy(array) else array.chunk()
    other = other.chunk({dim: array.variable.chunksizes[dim] for dim in dims}) if dims else other.chunk()
    letters = tuple(range(len(dims)))
    own = tuple(range(len(dims) + 1, len(dims) + 1 + len(sizes)))

    def of_chunk(of_energies: list[np.ndarray], along: np.ndarray) -> np.ndarray:
        (spectra,) = of_energies  # dask would join them, by a copy even of a single one
        total = kernel(spectra.reshape(len(spectra), -1), along.ravel(), **kwargs)
        return total.reshape((1,) * along.ndim + total.shape)

    parts = da.blockwise(
        of_chunk,
        (*letters, *own),
        array.data,
        (len(dims), *letters),
        other.data,
        letters,
        new_axes=dict(zip(own, sizes.values(), strict=True)),
        adjust_chunks=dict.fromkeys(letters, 1),
        dtype=float,
        meta=pattern(array.data._meta, float, len(letters) + len(own)),
    )
    return xr.DataArray(parts.sum(axis=letters) if letters else parts, dims=tuple(sizes))


def sums_over(
    dims: Sequence[Hashable],
    kernel: Callable[..., np.ndarray],
    array: xr.DataArray,
    other: xr.DataArray,
    sizes: Mapping[str, int],
    **kwargs: Any,
) -> xr.DataArray:
    """Sum over some dims what a kernel makes of two arrays (*dims), for each value of the others, chunk by chunk. Lazy.

    `sizes` are the dims of the sum, which come last.
    """
    pixel, out = ",".join("abc"[: len(dims)]), ",".join("xyz"[: len(sizes)])
    each = np.vectorize(functools.partial(kernel, **kwargs), otypes=[float], signature=f"({pixel}),({pixel})->({out})")
    if not (is_lazy(array) or is_lazy(other)):
        return xr.apply_ufunc(each, array, other, input_core_dims=[dims, dims], output_core_dims=[[*sizes]])
    import dask.array as da

    def over_chunks(first: Any, second: Any) -> Any:
        n = max(first.ndim, second.ndim)
        pixels, own = tuple(range(n - len(dims), n)), tuple(range(n, n + len(sizes)))

        def of_chunk(*blocks: np.ndarray) -> np.ndarray:
            total = each(*blocks)
            return np.expand_dims(total, tuple(range(total.ndim - len(own), total.ndim - len(own) + len(pixels))))

        parts = da.blockwise(
            of_chunk,
            (*range(n), *own),
            first,
            tuple(range(n - first.ndim, n)),
            second,
            tuple(range(n - second.ndim, n)),
            new_axes=dict(zip(own, sizes.values(), strict=True)),
            adjust_chunks=dict.fromkeys(pixels, 1),
            dtype=float,
            meta=np.empty((0,) * (n + len(own))),
        )
        return parts.sum(axis=pixels)

    return xr.apply_ufunc(
        over_chunks, array, other, input_core_dims=[dims, dims], output_core_dims=[[*sizes]], dask="allowed"
    )


def in_memory(*arrays: xr.DataArray, scheduler: str | None = None) -> tuple[xr.DataArray, ...]:
    """Return the arrays, of one kind, in memory. Eager: lazy ones are computed in one pass.

    Each chunk goes to its place as soon as it is there: chunks that wait to be joined would need as much memory again.
    Other processes have no such place in common: from these the chunks come at the end, and are joined here, as all
    of them need not fit into the memory of a worker.
    """
    if not is_lazy(arrays[0]):
        return arrays
    import dask
    import dask.array as da

    data = [array.data for array in arrays]
    found = [np.empty_like(item._meta, shape=item.shape, dtype=item.dtype) for item in data]
    how = followed() if scheduler is None else {"scheduler": scheduler, **followed()}
    if _runs_here(data, scheduler):
        alike = defaultdict(list)
        for array, whole in zip(arrays, found, strict=True):
            cut = {dim: sizes for dim, sizes in array.variable.chunksizes.items() if len(sizes) > 1}
            alike[tuple(sorted(cut.items()))].append((array, whole))
        in_place = [_put_in_place(dict(cut), *zip(*pairs, strict=True)) for cut, pairs in alike.items()]
        dask.compute(*in_place, num_workers=n_workers(), **how)
    else:
        chunks = [item.to_delayed(optimize_graph=False).ravel().tolist() for item in dask.optimize(*data)]
        for item, whole, own in zip(data, found, dask.compute(*chunks, **how), strict=True):
            for at, chunk in zip(da.core.slices_from_chunks(item.chunks), own, strict=True):
                whole[at] = chunk
    return tuple(array.copy(data=values) for array, values in zip(arrays, found, strict=True))


def n_workers(waiting: int = 2) -> int:
    """Return how many threads bring chunks into memory: those that were set, or some more than processors.

    Threads that read wait for the disk: with two that do, each processor has a chunk to work on most of the time.
    """
    import dask
    from dask.system import CPU_COUNT

    return int(dask.config.get("num_workers", None) or CPU_COUNT + waiting)


def _put_in_place(
    cut: Mapping[Hashable, tuple[int, ...]], arrays: Sequence[xr.DataArray], wholes: Sequence[np.ndarray]
) -> Any:
    """Return what puts chunks of arrays, cut alike, into whole ones: one task for all that dask makes together. Lazy."""
    import dask.array as da

    starts = {dim: np.cumsum([0, *sizes[:-1]]) for dim, sizes in cut.items()}

    def put(*given: np.ndarray) -> np.ndarray:
        first = {dim: int(start[0]) for dim, start in zip(cut, given, strict=False)}
        for array, whole, chunk in zip(arrays, wholes, given[len(cut) :], strict=True):
            begins = (first.get(dim, 0) for dim in array.dims)
            whole[tuple(slice(begin, begin + n) for begin, n in zip(begins, chunk.shape, strict=True))] = chunk
        return np.ones((1,) * len(dims), bool)

    dims = tuple(dict.fromkeys(dim for array in arrays for dim in array.dims))
    of_starts = ((da.from_array(start, 1), (dim,)) for dim, start in starts.items())
    of_arrays = ((array.data, array.dims) for array in arrays)
    return da.blockwise(
        put,
        dims,
        *chain.from_iterable(chain(of_starts, of_arrays)),
        adjust_chunks={dim: (1,) * len(cut.get(dim, (1,))) for dim in dims},
        align_arrays=False,
        name=f"in-memory-{uuid.uuid4().hex}",
        meta=np.empty((0,) * len(dims), bool),
    )


def _runs_here(data: Sequence[Any], scheduler: str | None) -> bool:
    """Tell whether dask would compute arrays in this process."""
    import dask.local
    import dask.threaded
    from dask.base import get_scheduler

    return get_scheduler(scheduler=scheduler, collections=data) in (dask.threaded.get, dask.local.get_sync)


def made_again(array: xr.DataArray) -> xr.DataArray:
    """Return the same array, whose chunks dask makes anew, in a pass of their own.

    What is found of a whole stack, as its I0 or its second moment, comes before what is made with it: a second pass, which
    waits for the first. Chunks that both shared would all stay in memory until then.
    """
    if not is_lazy(array):
        return array
    import dask.array as da
    from dask.base import flatten, tokenize

    graph = array.data.__dask_graph__().cull(set(flatten(array.data.__dask_keys__())))
    token = tokenize("made again", array.data.name)
    renamed = {key: (f"{key[0]}-{token}", *key[1:]) if isinstance(key, tuple) else f"{key}-{token}" for key in graph}
    try:  # `dask.graph_manipulation.clone` overlooks references between tasks of this kind
        from dask._task_spec import convert_legacy_graph
    except ImportError:
        from dask.graph_manipulation import clone

        return array.copy(data=clone(array.data))
    tasks = convert_legacy_graph(dict(graph))
    again = {renamed[key]: task.substitute(renamed, key=renamed[key]) for key, task in tasks.items()}
    name = f"{array.data.name}-{token}"
    return array.copy(data=da.Array(again, name, array.data.chunks, meta=array.data._meta))
