"""Proof of laziness: a scheduler that counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dask


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
