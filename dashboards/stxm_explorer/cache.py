"""Results that all sessions share, read-only: each is made once, the least used go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pandas as pd
import xarray as xr

from stxm_explorer.jobs import Job, Stopped


@dataclass(frozen=True, eq=False)
class Made:
    """A result, and what was warned of when it was made."""

    result: Any
    notes: tuple[str, ...] = ()


class Cache:
    """Results by name, up to a number of bytes in memory, and up to a number of them; lazy arrays count nothing."""

    def __init__(self, limit: int, most: int = 4000) -> None:
        self.limit, self.most = limit, most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Made] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._making: dict[str, Future[Made]] = {}

    def get(self, name: str) -> Made | None:
        """Return a result, None where it is not there."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def once(self, name: str, make: Callable[[], Made], job: Job) -> Made:
        """Return a result; of two that want it at once, one makes it and the other waits."""
        while True:
            with self._lock:
                if name in self._kept:
                    self._kept.move_to_end(name)
                    return self._kept[name]
                other = self._making.get(name)
                mine = other is None
                if mine:
                    other = self._making[name] = Future()
            assert other is not None
            if mine:
                return self._make(name, make, other)
            try:
                return _wait(other, job)
            except Stopped:
                job.step()  # the other one was stopped, this one was not: make it here

    def clear(self, beginning: str = "") -> None:
        """Forget the results whose names begin so, by default all."""
        with self._lock:
            for name in [name for name in self._kept if name.startswith(beginning)]:
                self._forget(name)

    def _make(self, name: str, make: Callable[[], Made], promise: Future[Made]) -> Made:
        try:
            result = make()
            size = memory(result.result)
        except BaseException as error:
            with self._lock:
                del self._making[name]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._making[name]
            self._kept[name], self._sizes[name] = result, size
            self._total += size
            self._trim()
        promise.set_result(result)
        return result

    def _trim(self) -> None:
        while len(self._kept) > self.most or (self._total > self.limit and len(self._kept) > 1):
            self._forget(next(iter(self._kept)))

    def _forget(self, name: str) -> None:
        del self._kept[name]
        self._total -= self._sizes.pop(name)


def _wait(promise: Future[Made], job: Job) -> Made:
    job.step()
    while not wait([promise], timeout=0.2).done:
        job.step()
    return promise.result()


def memory(result: Any) -> int:
    """Return the bytes that a result holds in memory."""
    if isinstance(result, xr.DataTree):
        return sum(memory(node.dataset) for node in result.subtree)
    if isinstance(result, xr.Dataset):
        return sum(memory(array) for array in result.variables.values())
    if is_dataclass(result):
        return sum(memory(getattr(result, part.name)) for part in fields(result))
    if isinstance(result, Mapping):
        return sum(memory(part) for part in result.values())
    if isinstance(result, pd.DataFrame):
        return int(result.memory_usage(deep=True).sum())
    if isinstance(result, xr.DataArray | xr.Variable):
        return 0 if result.chunks else int(result.nbytes)
    return int(getattr(result, "nbytes", 0))
