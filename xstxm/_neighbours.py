"""Functions of frames that look at the pixels around: chunk by chunk, with a margin of the chunks beside it."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstxm._apply import is_lazy
from xstxm._kernels.devices import pattern
from xstxm._sums import made_again
from xstxm.conventions import ENERGY
from xstxm.options import get_options


def over_frames(
    func: Callable[..., Sequence[np.ndarray]],
    array: xr.DataArray,
    *others: xr.DataArray,
    output_dtypes: Sequence[Any],
    margin: int = 0,
) -> tuple[xr.DataArray, ...]:
    """Apply a function of frames to a stack, chunk by chunk where it is lazy, whatever the order of its dimensions.

    `func` gets `array` and `others`, which lie on the same pixels, as (energy, y, x), once for each value of a
    further dimension; as (energy, ...) where there is no image. It returns arrays of that shape. `margin`
    pixels of the neighbouring chunks are lent to each chunk.
    """
    image = tuple(dim for dim in ("y", "x") if "y" in array.dims and "x" in array.dims)
    rest = tuple(dim for dim in array.dims if dim not in (ENERGY, *image))
    order = (*rest, ENERGY, *image) if image else (ENERGY, *rest)
    placed = [item.broadcast_like(array).transpose(*order) for item in (array, *others)]
    each = functools.partial(_by_series, func, ndim=len(image) + 1 if image else len(order))
    if is_lazy(array):
        data = [item.variable.chunk(placed[0].variable.chunksizes).data for item in placed]
        results = by_neighbours(each, data, margin=(margin, margin) if image else (0, 0), dtypes=output_dtypes)
    else:
        results = [*each(*(np.asarray(item) for item in placed))]
    return tuple(placed[0].copy(data=values).transpose(*array.dims) for values in results)


def _by_series(func: Callable[..., Sequence[np.ndarray]], *blocks: np.ndarray, ndim: int) -> Sequence[np.ndarray]:
    """Call a function of arrays of `ndim` dimensions for each index of the dimensions before."""
    if blocks[0].ndim <= ndim:
        return func(*blocks)
    parts = [_by_series(func, *part, ndim=ndim) for part in zip(*blocks, strict=True)]
    return [np.stack(part) for part in zip(*parts, strict=True)]


def by_neighbours(
    func: Callable[..., Sequence[np.ndarray]],
    arrays: Sequence[Any],
    *along: np.ndarray,
    margin: tuple[int, int],
    dtypes: Sequence[Any],
) -> list[Any]:
    """Return what `func` makes of the chunks of dask arrays (..., y, x), pixels of those around at hand: lazy arrays.

    `func` gets blocks of the arrays, `margin` pixels wider on each side where there are any, and the parts of `along`,
    arrays over the first dimensions and others of their own, that belong to them. It returns blocks of that size, whose
    margins are taken off.
    """
    import dask.array as da

    ndim = arrays[0].ndim
    index = tuple(range(ndim))
    pairs: list[Any] = []
    for array in arrays:
        lent = _margins(array, margin)
        pairs += [array, index, lent, None if lent is None else index]
    for item in along:
        own = item.ndim - (ndim - 2)
        pieces = da.from_array(item, chunks=(*arrays[0].chunks[:-2], *(-1,) * own))
        pairs += [pieces, (*index[:-2], *range(ndim, ndim + own))]
    metas = [pattern(arrays[0]._meta, dtype, ndim) for dtype in dtypes]
    packed = da.blockwise(
        functools.partial(_with_margins, func, len(arrays)),
        index,
        *pairs,
        align_arrays=False,
        concatenate=True,
        dtype=metas[0].dtype,
        meta=metas[0],
    )
    return [da.map_blocks(operator.itemgetter(k), packed, dtype=meta.dtype, meta=meta) for k, meta in enumerate(metas)]


class _Margins(NamedTuple):
    """What a block with pixels around it is made of: its size, where the block itself lies, and the pieces around."""

    size: tuple[int, ...]
    inside: tuple[Any, ...]
    pieces: list[tuple[tuple[Any, ...], np.ndarray]]


def _with_margins(func: Callable[..., Sequence[np.ndarray]], n: int, *blocks: Any) -> Sequence[np.ndarray]:
    lent: _Margins | None = blocks[1]
    widened = [_widened(*pair) for pair in zip(blocks[: 2 * n : 2], blocks[1 : 2 * n : 2], strict=True)]
    results = func(*widened, *blocks[2 * n :])
    return list(results) if lent is None else [values[lent.inside] for values in results]


def _widened(block: np.ndarray, lent: _Margins | None) -> np.ndarray:
    if lent is None:
        return block
    whole = np.empty_like(block, shape=(*block.shape[:-2], *lent.size))
    whole[lent.inside] = block
    for place, values in lent.pieces:
        whole[place] = values
    return whole


def _margins(array: Any, margin: tuple[int, int]) -> Any:
    """Return the `_Margins` of each chunk, as a dask array with the chunks of `array`; None where no chunk has neighbours.

    They are copies: a view would keep the chunk that it was cut from. Those of a large stack are cut from chunks that
    are made again, as dask, whose chunks wait for all around them, would hold several rows of them.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    reach = tuple(least if len(sizes) > 1 else 0 for least, sizes in zip(margin, array.chunks[-2:], strict=False))
    if not any(reach):
        return None
    again = made_again(xr.DataArray(array)).data if array.nbytes > get_options().rechunk_limit else array
    rims = da.map_blocks(_rims, again, reach=reach, dtype=array.dtype, meta=array._meta)
    name = f"margins-{tokenize(rims.name, reach)}"
    lent = [_lent(sizes, least) for sizes, least in zip(array.chunks[-2:], reach, strict=True)]
    layer: dict[Any, Any] = {}
    for place in itertools.product(*map(range, array.numblocks)):
        ends, parts = zip(*(sides[k] for sides, k in zip(lent, place[-2:], strict=True)), strict=True)
        around = [pair for pair in itertools.product(*parts) if any(part.side for part in pair)]
        gather = functools.partial(_gathered, ends=ends, around=around)
        keys = [(rims.name, *place[:-2], *(part.chunk for part in pair)) for pair in around]
        layer[name, *place] = (gather, keys)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[rims])
    return da.Array(graph, name, array.chunks, meta=array._meta)


class _Ends(NamedTuple):
    """How many pixels of an axis a block with its margin has, and which of them are its own."""

    size: int
    own: slice


class _Part(NamedTuple):
    """What a chunk lends along an axis: its beginning (-1) or end (1), or all of it (0), what of that, and where it goes."""

    chunk: int
    side: int
    taken: slice
    place: slice


def _lent(sizes: Sequence[int], reach: int) -> list[tuple[_Ends, list[_Part]]]:
    """Return for each chunk along an axis how far it goes with its margin, and which chunks lend what to it."""
    edges = np.cumsum([0, *sizes]).tolist()
    found = []
    for k, (first, last) in enumerate(itertools.pairwise(edges)):
        start, stop = max(first - reach, 0), min(last + reach, edges[-1])
        parts = []
        for j, (low, high) in enumerate(itertools.pairwise(edges)):
            if low >= stop or high <= start:
                continue
            side = (j > k) - (j < k)
            # what `_rims` cuts: the end of a chunk before, the beginning of one behind
            cut = (max(low, high - reach) if side < 0 else low, min(high, low + reach) if side > 0 else high)
            begin, end = max(cut[0], start), min(cut[1], stop)
            parts.append(_Part(j, -side, slice(begin - cut[0], end - cut[0]), slice(begin - start, end - start)))
        found.append((_Ends(stop - start, slice(first - start, last - start)), parts))
    return found


def _rims(block: Any, reach: tuple[int, int]) -> dict[tuple[int, ...], Any]:
    """Return copies of the rims of a block (..., y, x), by their sides: of it the beginning (-1), all (0), the end (1)."""
    parts = [{0: slice(None), -1: slice(n), 1: slice(-n, None)} if n else {0: slice(None)} for n in reach]
    sides = itertools.product(*parts)
    return {at: block[(..., *map(operator.getitem, parts, at))].copy() for at in sides if any(at)}


def _gathered(
    rims: Sequence[dict[tuple[int, ...], Any]], *, ends: Sequence[_Ends], around: Sequence[tuple[_Part, ...]]
) -> _Margins:
    pieces = [
        (
            (..., *(part.place for part in pair)),
            rim[tuple(part.side for part in pair)][(..., *(part.taken for part in pair))],
        )
        for rim, pair in zip(rims, around, strict=True)
    ]
    return _Margins(tuple(end.size for end in ends), (..., *(end.own for end in ends)), pieces)
