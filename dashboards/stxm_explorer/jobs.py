"""Work off the page's thread: the newest job of a kind wins, its result arrives on the next tick."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import panel as pn

logger = logging.getLogger("stxm_explorer")

_POOL = ThreadPoolExecutor(max_workers=4, thread_name_prefix="stxm-explorer")


class _Finish(NamedTuple):
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]


class Jobs:
    """Runs functions in threads for one page; without a page, at once."""

    def __init__(self, on_error: Callable[[Exception], None], on_busy: Callable[[int], None]) -> None:
        self._document = pn.state.curdoc
        self._on_error, self._on_busy = on_error, on_busy
        self._newest: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._running = 0

    def start(
        self,
        kind: str,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run `work`, then `done` with its result or `failed`, unless a newer job of this kind was started."""
        finish = _Finish(done, failed or self._on_error)
        number = self._newest[kind] = next(self._numbers)
        self._count(+1)
        if self._document is None:
            self._finish(kind, number, *_outcome(work), finish)
            return
        _POOL.submit(self._run, kind, number, work, finish)

    def _run(self, kind: str, number: int, work: Callable[[], Any], finish: _Finish) -> None:
        """In a thread: only the next tick of the page may touch the page."""
        result, error = _outcome(work)
        document = self._document
        if document is None or document.session_context is None:
            return
        try:
            document.add_next_tick_callback(lambda: self._finish(kind, number, result, error, finish))
        except AttributeError:
            logger.debug("the page was closed while %s was computed", kind)

    def cancel(self, kind: str) -> None:
        """Forget the running job of a kind: its result is dropped."""
        self._newest.pop(kind, None)

    def _finish(self, kind: str, number: int, result: Any, error: Exception | None, finish: _Finish) -> None:
        self._count(-1)
        if self._newest.get(kind) != number:
            return
        if error is not None:
            finish.failed(error)
            return
        try:
            finish.done(result)
        except Exception as problem:
            self._on_error(problem)

    def _count(self, change: int) -> None:
        self._running += change
        self._on_busy(self._running)


def _outcome(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error
