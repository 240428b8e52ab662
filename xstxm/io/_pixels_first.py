"""Between frames and spectra: a stack is laid out as its file holds it, each block computed once, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.errors import OptionError, n_bytes
from xstxm.io._replacing import reserve
from xstxm.io._stored import Stored
from xstxm.steps import followed, stage, tell_step

UnitOf: TypeAlias = "Callable[[Hashable, xr.Variable], tuple[int, ...]]"
"""What a store writes at once of a variable of some name."""

NUMBERS = "biufc"
"""The kinds of numbers, as numpy names them."""

MEMORY = 2**29
CHUNK_BYTES = 2**24
LARGEST_TILE = 128
_LEAST = 2**24


def bytes_of(memory: str) -> int:
    """Return a memory in bytes.

    Raises
    ------
    OptionError
        It is none, or too little for a block.
    """
    found = n_bytes(memory)
    if not isinstance(memory, str) or not found >= _LEAST:
        raise OptionError("memory", memory, 'give 16 MiB or more, with a unit, e.g. "2 GiB"')
    return int(found)


def chunks_of(variable: xr.Variable) -> tuple[int, ...]:
    """Return the chunks to store by: all energies of a square of pixels, 16 MiB at most; all of a smaller array."""
    if variable.size * variable.dtype.itemsize <= CHUNK_BYTES // 16:
        return tuple(max(1, size) for size in variable.shape)
    tile = LARGEST_TILE
    whole = variable.sizes.get(ENERGY, 1) * variable.dtype.itemsize
    n_pixel_dims = min(2, sum(dim != ENERGY for dim in variable.dims))
    while tile > 8 and whole * tile**n_pixel_dims > CHUNK_BYTES:
        tile //= 2
    last = [dim for dim in variable.dims if dim != ENERGY][-2:]
    sizes = {dim: min(size, tile if dim in last else 1) for dim, size in variable.sizes.items()}
    return tuple(variable.sizes[dim] if dim == ENERGY else sizes[dim] for dim in variable.dims)


def encoding_of(tree: xr.DataTree, word: str, kinds: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the chunks of all variables, or of those of some kinds of numbers, as xarray wants them, under its `word` for them."""
    return {
        node.path: {
            str(name): {word: chunks_of(variable)}
            for name, variable in node.to_dataset(inherit=False).variables.items()
            if variable.ndim and variable.size and (kinds is None or variable.dtype.kind in kinds)
        }
        for node in tree.subtree
    }


class RawFile:
    """An array in a plain file, energies outermost, of which any block is read without the rest."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.shape, self.dtype, self.ndim = path, shape, dtype, len(shape)
        reserve(path, math.prod(shape) * dtype.itemsize)

    def _opened(self, mode: Any) -> np.memmap:
        # a new map for each block: pages that one map has touched count as memory of the process until it goes
        return np.memmap(self.path, self.dtype, mode, shape=self.shape)

    def __setitem__(self, key: Any, values: Any) -> None:
        self._opened("r+")[key] = values

    def __getitem__(self, key: Any) -> np.ndarray:
        if not isinstance(key[0], slice):
            return np.array(self._opened("r")[key])
        frames = range(self.shape[0])[key[0]]
        return np.stack([np.array(self._opened("r")[(frame, *key[1:])]) for frame in frames])


def _chunks_of(name: Hashable, variable: xr.Variable) -> tuple[int, ...]:
    return chunks_of(variable)


def room_for(tree: xr.DataTree, memory: int, unit_of: UnitOf = _chunks_of) -> int:
    """Return the most bytes that storing a tree needs on the disk: its numbers, and those that go through a plain file twice."""
    variables = [item for node in tree.subtree for item in node.to_dataset(inherit=False).variables.items()]
    return sum(
        variable.nbytes * (1 + _wants_file(variable, unit_of(name, variable), memory)) for name, variable in variables
    )


@contextmanager
def in_blocks(
    tree: xr.DataTree, beside: Path, memory: int, unit_of: UnitOf = _chunks_of
) -> Iterator[tuple[xr.DataTree, dict[str, Any]]]:
    """Give a tree whose lazy arrays come in blocks that fit the memory and what the store writes at once, chunks as a rule.

    Frames are read once: where whole spectra would need them again and again, or images spectra, they go through a plain file
    `beside` the target, which is removed in all cases. Comes with options of dask's `compute`: one block
    after another in this thread. Who listens hears of all passes, and when all is written.
    """
    files: list[Path] = []
    nodes = [node.to_dataset(inherit=False).variables.items() for node in tree.subtree]
    passes = 1 + sum(
        _wants_file(variable, unit_of(name, variable), memory) for items in nodes for name, variable in items
    )

    def arranged(name: Hashable, variable: xr.Variable) -> xr.Variable:
        if not is_unread(variable):
            return variable
        lazy = in_own_chunks(variable)
        unit = unit_of(name, lazy)
        if (fitting := _block(lazy, unit, memory)) is not None:
            return lazy.copy(deep=False, data=lazy.data.rechunk(fitting))
        files.append(beside.with_name(f"{beside.name}.{len(files)}.raw"))
        with stage(len(files), passes):
            return _through_file(lazy, files[-1], block_of(lazy, unit, memory // 4))

    try:
        blocks = tree.map_over_datasets(lambda node: _mapped(node, arranged))
        with stage(passes, passes):
            yield blocks, {"scheduler": "synchronous", **followed()}
            tell_step(1.0)
    finally:
        for file in files:
            file.unlink(missing_ok=True)


@contextmanager
def whole_frames(array: xr.DataArray, beside: Path) -> Iterator[xr.DataArray]:
    """Give an array (image, y, x) of which any image is read without the others, each lazy block computed once.

    Blocks that hold parts of several images go through a plain file `beside` the target, which is removed in all cases.
    """
    import dask.array as da

    lazy = in_own_chunks(array.variable) if is_unread(array.variable) else None
    if lazy is None or max(lazy.chunksizes[lazy.dims[0]]) == 1:
        yield array
        return
    path = beside.with_name(f"{beside.name}.raw")
    try:
        raw: Any = RawFile(path, lazy.shape, lazy.dtype)
        with stage(1, 2):
            da.store(lazy.data, raw, lock=True, **followed())
        with stage(2, 2):
            yield array.copy(data=da.from_array(raw, chunks=(1, *lazy.shape[1:]), name=False))
    finally:
        path.unlink(missing_ok=True)


def store_frames(array: xr.DataArray, target: Any) -> None:
    """Assign an array to what takes any block of it, without holding more than a chunk, or a frame, of its numbers."""
    if is_unread(array.variable):
        import dask.array as da

        da.store(in_own_chunks(array.variable).data, target, lock=True, **followed())
        return
    for index in range(array.shape[0]):
        target[index] = np.asarray(array[index])
        tell_step((index + 1) / array.shape[0])


def _mapped(node: xr.Dataset, function: Callable[[Hashable, xr.Variable], xr.Variable]) -> xr.Dataset:
    return node.assign(
        {name: function(name, variable) for name, variable in node.variables.items() if name not in node.dims}
    )


def is_unread(variable: xr.Variable) -> bool:
    """Tell whether the numbers of a variable are still in its file, or to be computed."""
    return not (isinstance(variable._data, np.ndarray) or isinstance(variable, xr.IndexVariable))


def in_own_chunks(variable: xr.Variable) -> xr.Variable:
    """Return what is unread as a lazy array in the chunks of its file, or in blocks of a size that dask chooses."""
    if variable.chunks is not None or not is_unread(variable):
        return variable
    own = variable.encoding.get("preferred_chunks", {})
    here: Any = {dim: own[dim] for dim in variable.dims if dim in own}
    return variable.chunk(here or ("auto" if variable.dtype.kind in NUMBERS else {}))


def stored_in_own_chunks(stored: Stored) -> Stored:
    """Return an array, a Dataset or a tree whose unread arrays are lazy, in the chunks of its file; closable as before."""
    if isinstance(stored, xr.DataArray):
        out: Stored = stored.copy(data=in_own_chunks(stored.variable).data)
    elif isinstance(stored, xr.Dataset):
        out = _in_own_chunks(stored)
    else:
        out = stored.map_over_datasets(_in_own_chunks)
    out.set_close(stored.close)
    return out


def _in_own_chunks(node: xr.Dataset) -> xr.Dataset:
    return _mapped(node, lambda _, variable: in_own_chunks(variable))


def _wants_file(variable: xr.Variable, unit: tuple[int, ...], memory: int) -> bool:
    """Tell whether an array is too large to be turned from its own chunks to blocks in memory."""
    return _block(variable, unit, memory) is None


def _block(variable: xr.Variable, unit: tuple[int, ...], memory: int) -> tuple[int, ...] | None:
    """Return blocks of whole units that can be made of the chunks of an array within a memory, None where none can.

    Chunks that blocks split wait until the last of these has its part: with all that lie under one block, where they are joined.
    """
    block, limit = block_of(variable, unit, memory // 4), memory // 4
    if not is_unread(variable) or ENERGY not in variable.dims or not variable.size:
        return block
    chunks = in_own_chunks(variable).data.chunks
    while True:
        joined = math.prod(map(_under_a_block, chunks, block))
        needed = max(math.prod(block), math.prod(map(max, chunks)))
        if joined <= needed or joined * variable.dtype.itemsize <= limit:
            return block
        smaller = block_of(variable, unit, math.prod(block) * variable.dtype.itemsize // 2)
        if smaller == block:
            return None
        block = smaller


def _under_a_block(chunks: tuple[int, ...], size: int) -> int:
    """Return how far the chunks extend, along one dimension, that lie under a block at most."""
    ends = np.cumsum(chunks)
    begins = np.arange(0, ends[-1], size)
    first, last = np.searchsorted(ends, begins, "right"), np.searchsorted(ends, np.minimum(begins + size, ends[-1]))
    return int((ends[last] - ends[first] + np.take(chunks, first)).max())


def _through_file(lazy: xr.Variable, path: Path, block: tuple[int, ...]) -> xr.Variable:
    """Return an array in blocks that is read from a plain file into which its frames are written now."""
    import dask.array as da

    order = (ENERGY, *(dim for dim in lazy.dims if dim != ENERGY))
    frames = lazy.transpose(*order)
    raw: Any = RawFile(path, frames.shape, frames.dtype)
    da.store(frames.data, raw, lock=True, scheduler="synchronous", **followed())
    sizes = dict(zip(lazy.dims, block, strict=True))
    chunks = tuple(sizes[dim] for dim in order)
    back = da.from_array(raw, chunks=chunks, name=False, meta=np.empty((0,) * raw.ndim, raw.dtype))
    return lazy.copy(deep=False, data=xr.Variable(order, back).transpose(*lazy.dims).data)


def block_of(variable: xr.Variable, chunks: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """Return a multiple of the chunks that stays below a limit in bytes, as wide as can be: along the last dimension first."""
    block = list(chunks)
    for axis in reversed(range(len(block))):
        others = int(np.prod(block)) // max(1, block[axis]) * variable.dtype.itemsize
        times = max(1, limit // max(1, others * chunks[axis]))
        block[axis] = min(variable.shape[axis], chunks[axis] * times)
    return tuple(max(1, size) for size in block)
