"""Work given to the workers of a dask cluster: looked at first, made ready, a bounded number of tasks at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, as_completed
from distributed.comm import CommClosedError

import xstxm
from xstxm._warming import warm
from xstxm.errors import ClusterError, PerformanceWarning, StxmWarning, unfit_workers, warn
from xstxm.options import set_options

K = TypeVar("K")

IN_FLIGHT = 1000
"""Most tasks that the scheduler holds at a time: of an archive it need not know all."""
PATIENCE = 60
"""Seconds after which workers are looked for, where no task ends."""
_PROCESS = uuid.uuid4().hex
"""This process, which some clusters have their workers in."""
LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application")
"""Those that distributed gives a handler, which writes on the terminal."""


class Killed(ClusterError):
    """What came of a task that ended one worker after another."""


class Ready(WorkerPlugin):
    """Has a worker load its kernels, or compile them once, before its first task, and leaves the other cores to other tasks."""

    name = "xstxm-ready"

    def __init__(self) -> None:
        self.sent_by = _PROCESS

    async def setup(self, worker: Worker) -> None:
        """Get ready."""
        self.options = None if self.sent_by == _PROCESS else set_options(num_threads=1)
        await asyncio.to_thread(warm)

    def teardown(self, worker: Worker) -> None:
        """Give the cores back."""
        if self.options is not None:
            self.options.__exit__(None, None, None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep off the terminal what distributed says when workers or schedulers go; other handlers of its loggers are told."""

    def nothing(record: logging.LogRecord) -> bool:
        return False

    found = {handler for name in LOGGERS for handler in logging.getLogger(name).handlers if _on_terminal(handler)}
    for handler in found:
        handler.addFilter(nothing)
    try:
        yield
    finally:
        for handler in found:
            handler.removeFilter(nothing)


def _on_terminal(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream is not None and stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)


@contextmanager
def ready(client: Client) -> Iterator[None]:
    """Have all workers ready, those too that come meanwhile."""
    try:
        client.register_plugin(Ready())
        yield
    finally:
        if client.status == "running":
            with suppress(KeyError, CommClosedError):  # of workers that come or go just now
                client.unregister_worker_plugin(Ready.name)


def require_alike(client: Client, folder: Path) -> None:
    """Refuse workers whose results would be others, or lie elsewhere.

    Raises
    ------
    ClusterError
        A worker lacks xstxm, or has another version; or it does not see what is in the folder.

    Warns
    -----
    PerformanceWarning
        There is no worker yet.
    """

    def look(marker: str) -> tuple[str, bool]:  # a function within one is sent as code, to workers without xstxm too
        try:
            import numba  # noqa: F401

            import xstxm

            found = f"xstxm {xstxm.__version__}"
        except Exception as error:
            found = str(error)
        return found, os.path.exists(marker)  # noqa: PTH110

    with tempfile.NamedTemporaryFile(dir=folder, prefix=".xstxm-") as marker:
        looked = client.run(look, str(Path(marker.name).absolute()), on_error="ignore")
    if not looked:
        _tell_no_worker(client)
    wanted = f"xstxm {xstxm.__version__}"
    reasons = {}
    for address, (found, sees) in looked.items():
        if found != wanted:
            do = f"pip install 'xstxm[distributed]=={xstxm.__version__}'"
            reasons[address] = f"{found}, where {wanted} is wanted: {do} in their environment"
        elif not sees:
            do = "give a folder that all of them share, under one name"
            reasons[address] = f"what is written to {folder.absolute()} here is not there: {do}"
    if reasons:
        raise unfit_workers(reasons, len(looked))


def _tell_no_worker(client: Client) -> None:
    address = _address(client)
    warn(
        f"the scheduler {address} has no worker: files wait for one, `dask worker {address}` starts it",
        PerformanceWarning,
    )


def each(
    client: Client, call: Callable[..., Any], kept: object, items: Mapping[K, tuple[Any, ...]]
) -> Generator[tuple[K, Any], None, None]:
    """Call a function of one object, which the workers keep, and of each item; yield what it returns, or `Killed`, as calls end.

    The end of the generator cancels what has not begun. So does an interrupt, after which calls that have begun are waited for,
    until the next interrupt.

    Warns
    -----
    PerformanceWarning
        No worker is left; one that comes goes on.
    """
    if not items:
        return
    held = client.submit(pickle.loads, pickle.dumps(kept), pure=False)  # a task: made again where its worker dies
    left = iter(items.items())
    running: dict[Any, tuple[K, Future]] = {}

    def begin(n: int) -> list[Future]:
        begun = [(key, client.submit(call, held, *item, pure=False)) for key, item in islice(left, n)]
        running.update({future.key: (key, future) for key, future in begun})
        return [future for _, future in begun]

    def told() -> Generator[tuple[K, Any], None, None]:
        while running:
            ended = as_completed([future for _, future in running.values()], loop=client.loop, timeout=PATIENCE)
            for future in _until_late(client, ended):
                key, _ = running[future.key]
                result = _result(future)
                del running[future.key]
                yield key, result
                future.release()
                ended.update(begin(1))

    try:
        begin(IN_FLIGHT)
        try:
            yield from told()
        except KeyboardInterrupt:
            left = iter(())
            begun = _begun(client, {key: future for key, (_, future) in running.items()})
            if begun:
                do = "interrupt again to leave them to it"
                warn(f"interrupted: {len(begun)} files that workers are at are completed, {do}", StxmWarning)
            running = {future.key: running[future.key] for future in begun}
            yield from told()
            raise
    finally:
        if running and client.status == "running":
            client.cancel([future for _, future in running.values()], force=True)


def _until_late(client: Client, ended: as_completed) -> Iterator[Future]:
    """Yield futures as they end, until none has for a while; say so where no worker is left."""
    try:
        yield from ended
    except TimeoutError:
        if not client.nthreads():
            _tell_no_worker(client)


def _begun(client: Client, futures: Mapping[Any, Future]) -> list[Future]:
    """Return the futures of calls that have ended or that workers are at; cancel the others."""
    at_work = {key for keys in client.run(_at_work, on_error="ignore").values() for key in keys}
    begun = [future for key, future in futures.items() if future.done() or key in at_work]
    client.cancel([future for future in futures.values() if future not in begun], force=True)
    return begun


def _at_work(dask_worker: Worker) -> list[Any]:
    return [task.key for task in dask_worker.state.executing]


def _result(future: Future) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        n = error.allowed_failures + 1
        return Killed(f"{n} workers died at it, one after another: see their logs, they may need more memory")


@contextmanager
def present(client: Client) -> Iterator[None]:
    """Say so where the scheduler goes away meanwhile.

    Raises
    ------
    ClusterError
        It did.
    """
    address = _address(client)
    try:
        yield
    except (CancelledError, CommClosedError) as error:
        do = "what is done is written, start again to go on"
        raise ClusterError(f"the scheduler {address} went away: {do}") from error


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler else "of the client"
