"""Proof of laziness: a scheduler that counts, and chunks that are counted."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import dask
import numpy as np
import xarray as xr


@contextmanager
def raise_if_dask_computes(max_computes: int = 0) -> Iterator[None]:
    """Fail when dask computes more often than allowed."""
    computes = 0

    def scheduler(graph, keys, **kwargs):
        nonlocal computes
        computes += 1
        if computes > max_computes:
            raise AssertionError(f"dask computed {computes} times, allowed {max_computes}")
        return dask.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=scheduler):
        yield


def chunked(stack: xr.Dataset, chunks: dict[str, object]) -> xr.Dataset:
    return stack.chunk({dim: size for dim, size in chunks.items() if dim in stack.dims})


class Held:
    """Chunks of a source that are in memory: how many now, and how many at most."""

    def __init__(self):
        self.now = self.most = 0

    def made(self, block: np.ndarray) -> np.ndarray:
        chunk = np.array(block)
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(chunk, self._gone)
        return chunk

    def _gone(self) -> None:
        self.now -= 1

    def __dask_tokenize__(self) -> int:
        return id(self)


def watched(stack: xr.Dataset, chunks: dict[str, int], held: Held) -> xr.Dataset:
    """Return a lazy stack whose chunks with energies are counted while anything holds them."""
    import dask.array as da

    lazy = chunked(stack, chunks)
    images = {name: array for name, array in lazy.data_vars.items() if {"energy", "y"} <= {*array.dims}}
    return lazy.assign(
        {
            name: array.copy(data=da.map_blocks(held.made, array.data, dtype=array.dtype, meta=array.data._meta))
            for name, array in images.items()
        }
    )


class Nowhere:
    """A target that keeps nothing."""

    def __setitem__(self, where, block):
        pass
