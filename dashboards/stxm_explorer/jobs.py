"""Work off the page's thread: the newest job of a kind wins, it can be stopped, and tells how far it is."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import ExitStack, suppress
from typing import Any

import panel as pn

from stxm_explorer.delivery import in_one_message
from xstxm import report_progress

logger = logging.getLogger("stxm_explorer")

AT_ONCE, OF_ONE = 8, 4
"""Jobs of all pages that are worked at together, and those of one page; the others wait."""
_OFTEN = 0.2
"""Seconds between two messages about progress."""
_SOON = 300
"""Milliseconds for which nothing is said of work: what is done by then needs no words, and a page that says it is slower."""


class Stopped(Exception):
    """The user or a newer job stopped this one."""


class Job:
    """One piece of work: what it is, how far it is, and whether it shall stop."""

    def __init__(
        self,
        kind: str = "",
        label: str = "",
        told: Callable[[], None] = lambda: None,
        ended: Callable[[Any, Exception | None], None] = lambda result, error: None,
    ) -> None:
        self.kind, self.label = kind, label
        self.share: float | None = None
        self._stop, self._told, self._ended, self._last = threading.Event(), told, ended, 0.0

    def stop(self) -> None:
        """Ask the work to stop at its next step, which may be far off, and forget the page that waits for it."""
        self._stop.set()
        self._told, self._ended = lambda: None, lambda result, error: None

    def do(self, work: Callable[[Job], Any]) -> None:
        """Do some work and tell who waits for it."""
        outcome = _outcome(work, self)
        self._ended(*outcome)  # of now: whoever waited may be gone

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    def step(self, share: float | None = None) -> None:
        """Say how far the work is.

        Raises
        ------
        Stopped
            It shall stop.
        """
        if self._stop.is_set():
            raise Stopped(self.label)
        if share is not None and (time.monotonic() - self._last > _OFTEN or share >= 1):
            self.share, self._last = share, time.monotonic()
            self._told()


class Places:
    """Threads for the work of all pages: nobody takes them all, and who has the fewest is the next to get one.

    Parameters
    ----------
    at_once, of_one
        Most threads, and most of them for one page.
    """

    def __init__(self, at_once: int = AT_ONCE, of_one: int = OF_ONE) -> None:
        self._at_once, self._of_one, self._lock = at_once, of_one, threading.Lock()
        self._taken: Counter[Hashable] = Counter()
        self._waiting: list[tuple[Hashable, Job, Callable[[], None]]] = []

    def run(self, whose: Hashable, job: Job, work: Callable[[], None]) -> None:
        """Do some work in a thread, at once or when it is its turn; never, where it was stopped before."""
        with self._lock:
            self._waiting.append((whose, job, work))
        self._begin()

    def _begin(self) -> None:
        """Start what there are places for."""
        with self._lock:
            self._waiting = [turn for turn in self._waiting if not turn[1].stopped]
            while self._taken.total() < self._at_once and (turn := self._next()) is not None:
                self._waiting.remove(turn)
                self._taken[turn[0]] += 1
                threading.Thread(
                    target=self._work, args=(turn[0], turn[2]), daemon=True
                ).start()  # ends with the server

    def _next(self) -> tuple[Hashable, Job, Callable[[], None]] | None:
        allowed = [turn for turn in self._waiting if self._taken[turn[0]] < self._of_one]
        return min(allowed, key=lambda turn: self._taken[turn[0]], default=None)

    def _work(self, whose: Hashable, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._taken[whose] -= 1
                self._taken += Counter()  # forgets who has none left
            self._begin()


_PLACES = Places()


class Jobs:
    """The work of one page; without a page it is done at once.

    Parameters
    ----------
    told
        Called when a job begins, goes on or ends.
    document
        Of the page.
    """

    def __init__(self, told: Callable[[], None] = lambda: None, document: Any = None) -> None:
        self._document, self._told, self._loop = document, told, _running_loop()
        self._whose = object()
        self.running: dict[str, Job] = {}
        self._failed: dict[str, Callable[[Exception], None]] = {}
        self._held: list[Callable[[], None]] | None = []
        """What is to be done once the page is there; None from then on."""
        self._lock = threading.Lock()
        pn.state.onload(self._load)

    def start(
        self,
        kind: str,
        label: str,
        work: Callable[[Job], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Run `work`, then on the page's thread `done` with its result or `failed`; a job of this kind before is stopped."""
        self.stop(kind)
        job = Job(
            kind, label, lambda: self._tick(self._told), lambda result, error: self._end(job, result, error, done)
        )
        self.running[kind], self._failed[kind] = job, failed
        self.soon(lambda: self._told())
        if self._document is None:
            job.do(work)
        else:
            _PLACES.run(self._whose, job, lambda: job.do(work))

    def soon(self, action: Callable[[], None], after: int = _SOON) -> None:
        """Do something some milliseconds later, by default when work is so long that it should be told; at once without a page."""
        if self._document is None:
            action()
        else:
            told = in_one_message()(action)
            self._document.add_timeout_callback(lambda: pn.state.onload(told), after)

    def stop(self, kind: str) -> Callable[[Exception], None] | None:
        """Stop the job of a kind, if there is one, and forget it; return who waits for it."""
        job = self.running.pop(kind, None)
        if job is None:
            return None
        job.stop()
        self._told()
        return self._failed.pop(kind)

    def cancel(self) -> None:
        """Stop every job, as the user asked: who started it is told."""
        with ExitStack() as told:  # all of them, once all are stopped, whatever becomes of one
            for kind, job in [*self.running.items()]:
                if (failed := self.stop(kind)) is not None:
                    told.callback(failed, Stopped(job.label))

    def close(self) -> None:
        """Stop every job of a page that is no more, which cannot be told."""
        self._told = lambda: None
        for kind in [*self.running]:
            self.stop(kind)
        with self._lock:
            self._held = None  # what waits for a page that never connects would hold it

    def _end(self, job: Job, result: Any, error: Exception | None, done: Callable[[Any], None]) -> None:
        self._tick(lambda: self._finish(job, result, error, done))

    @in_one_message()
    def _load(self) -> None:
        """Do what came before the page was there, which would have missed it."""
        with self._lock:
            held, self._held = self._held or [], None
        with ExitStack() as each:  # one that fails keeps no other back
            for action in reversed(held):
                each.callback(action)

    def _tick(self, action: Callable[[], None]) -> None:
        """Do something on the next tick of the page: only there may the page be touched."""
        with self._lock:
            if self._held is not None:
                self._held.append(action)
                return
        if self._document is None:
            action()
        elif self._loop is None:
            self._add(action)
        else:  # what another thread adds while changes are held back can be lost with them
            with suppress(RuntimeError):  # the server ends
                self._loop.call_soon_threadsafe(self._add, action)

    def _add(self, action: Callable[[], None]) -> None:
        try:
            if self._document.session_context is not None:
                self._document.add_next_tick_callback(in_one_message()(action))
        except (AttributeError, RuntimeError, ValueError):
            logger.debug("the page was closed during its work")

    def _finish(
        self,
        job: Job,
        result: Any,
        error: Exception | None,
        done: Callable[[Any], None],
    ) -> None:
        if self.running.get(job.kind) is not job:
            return
        del self.running[job.kind]
        failed = self._failed.pop(job.kind)
        self._told()
        if error is None:
            try:
                done(result)
            except Exception as problem:
                error = problem
        if error is not None:
            failed(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _outcome(work: Callable[[Job], Any], job: Job) -> tuple[Any, Exception | None]:
    try:
        with report_progress(job.step):
            job.step()
            return work(job), None
    except Exception as error:
        return None, error
