"""Work given to the workers of a dask cluster: looked at first, made ready, a bounded number of tasks at a time."""

from __future__ import annotations

import asyncio
import os
import pickle
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, as_completed

import xstxm
from xstxm._warming import warm
from xstxm.errors import ClusterError, PerformanceWarning, unfit_workers, warn
from xstxm.options import set_options

K = TypeVar("K")

IN_FLIGHT = 1000
"""Most tasks that the scheduler holds at a time: of an archive it need not know all."""
_PROCESS = uuid.uuid4().hex
"""This process, which some clusters have their workers in."""


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
def ready(client: Client) -> Iterator[None]:
    """Have all workers ready, those too that come meanwhile."""
    try:
        client.register_plugin(Ready())
        yield
    finally:
        if client.status == "running":
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
        do = "the files wait for the first, `dask worker ADDRESS` starts one"
        warn(f"the scheduler {_address(client)} has no worker yet: {do}", PerformanceWarning)
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


def each(
    client: Client, call: Callable[..., Any], kept: object, items: Mapping[K, tuple[Any, ...]]
) -> Generator[tuple[K, Any], None, None]:
    """Call a function of one object, which the workers keep, and of each item; yield what it returns, or `Killed`, as calls end.

    The end of the generator cancels what has not begun.

    Raises
    ------
    ClusterError
        The scheduler went away.
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

    ended = as_completed(begin(IN_FLIGHT), loop=client.loop)
    try:
        for future in ended:
            key, _ = running.pop(future.key)
            yield key, _result(client, future)
            future.release()
            ended.update(begin(1))
    finally:
        if running and client.status == "running":
            client.cancel([future for _, future in running.values()], force=True)


def _result(client: Client, future: Future) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        n = error.allowed_failures + 1
        return Killed(f"{n} workers died at it, one after another: see their logs, they may need more memory")
    except CancelledError as error:
        do = "what is done is written, start again to go on"
        raise ClusterError(f"the scheduler {_address(client)} went away: {do}") from error


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler else "of the client"
