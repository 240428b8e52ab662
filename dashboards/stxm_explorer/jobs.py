"""Work off the page's thread: the newest job of a kind wins, it can be stopped, and tells how far it is."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dask.callbacks import Callback

from stxm_explorer.delivery import in_one_message

logger = logging.getLogger("stxm_explorer")

_AT_ONCE = threading.BoundedSemaphore(8)
"""Jobs that are worked at together; the others wait."""
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
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.kind, self.label, self.failed = kind, label, failed
        self.share: float | None = None
        self._stop, self._told, self._last = threading.Event(), told, 0.0

    def stop(self) -> None:
        """Ask the work to stop at its next step."""
        self._stop.set()

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

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every dask graph that this thread computes."""
        before = getattr(_LOCAL, "job", None)
        _LOCAL.job = self
        try:
            yield
        finally:
            _LOCAL.job = before


_LOCAL = threading.local()


class _Watch(Callback):
    """Dask's scheduler calls these in the thread that asked for the result, whichever threads do the work."""

    def _start_state(self, dsk: Any, state: Any) -> None:
        if (job := getattr(_LOCAL, "job", None)) is not None:
            _LOCAL.tasks = sum(len(state[name]) for name in ("ready", "waiting"))
            job.step(0.0)

    def _pretask(self, key: Any, dsk: Any, state: Any) -> None:
        if (job := getattr(_LOCAL, "job", None)) is not None:
            job.step()

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        if (job := getattr(_LOCAL, "job", None)) is not None:
            job.step(len(state["finished"]) / max(_LOCAL.tasks, 1))


_Watch().register()


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
        self.running: dict[str, Job] = {}

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
        job = Job(kind, label, lambda: self._tick(self._told), failed)
        self.running[kind] = job
        self.soon(self._told)
        if self._document is None:
            self._finish(job, *_outcome(work, job), done)
        else:
            threading.Thread(target=self._run, args=(job, work, done), daemon=True).start()  # ends with the server

    def soon(self, action: Callable[[], None]) -> None:
        """Do something when work has gone on for so long that the user should be told; at once without a page."""
        if self._document is None:
            action()
        else:
            self._document.add_timeout_callback(in_one_message()(action), _SOON)

    def stop(self, kind: str) -> Job | None:
        """Stop the job of a kind, if there is one, and forget it."""
        job = self.running.pop(kind, None)
        if job is not None:
            job.stop()
            self._told()
        return job

    def cancel(self) -> None:
        """Stop every job, as the user asked: who started it is told."""
        for kind in [*self.running]:
            if (job := self.stop(kind)) is not None:
                job.failed(Stopped(job.label))

    def stop_all(self) -> None:
        """Stop every job."""
        for kind in [*self.running]:
            self.stop(kind)

    def _run(self, job: Job, work: Callable[[Job], Any], done: Callable[[Any], None]) -> None:
        with _AT_ONCE:
            outcome = _outcome(work, job)
        self._tick(lambda: self._finish(job, *outcome, done))

    def _tick(self, action: Callable[[], None]) -> None:
        """Do something on the next tick of the page: only there may the page be touched."""
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
        self._told()
        if error is None:
            try:
                done(result)
            except Exception as problem:
                error = problem
        if error is not None:
            job.failed(error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _outcome(work: Callable[[Job], Any], job: Job) -> tuple[Any, Exception | None]:
    try:
        with job.watching():
            job.step()
            return work(job), None
    except Exception as error:
        return None, error
