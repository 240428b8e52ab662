"""Results that all sessions share, read-only: each is made once, the least used go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from typing import Any

import xarray as xr

from stxm_explorer.jobs import Job, Stopped


@dataclass(frozen=True, eq=False)
class Made:
    """A result, and what was warned of when it was made."""

    result: Any
    notes: tuple[str, ...] = ()


class Cache:
    """Results by name, up to a number of bytes in memory; lazy arrays count nothing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
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

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._sizes.clear()
            self._total = 0

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
        while self._total > self.limit and len(self._kept) > 1:
            name, _ = self._kept.popitem(last=False)
            self._total -= self._sizes.pop(name)


def _wait(promise: Future[Made], job: Job) -> Made:
    while True:
        job.step()
        try:
            return promise.result(timeout=0.2)
        except TimeoutError:
            if promise.done():
                raise


def memory(result: Any) -> int:
    """Return the bytes that a result holds in memory."""
    if isinstance(result, xr.DataTree):
        return sum(memory(node.dataset) for node in result.subtree)
    arrays = result.variables.values() if isinstance(result, xr.Dataset) else [getattr(result, "variable", None)]
    return sum(int(array.nbytes) for array in arrays if array is not None and array.chunks is None)
