"""Work on a dask cluster instead of in the threads of the server, as long as one answers."""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import Any

import xstxm
from stxm_explorer.jobs import Job, Stopped
from xstxm.errors import OptionError, StxmError

AGAIN = 60.0
"""Seconds after which a page that is opened asks once more for a scheduler that did not answer."""


class ClusterLostError(StxmError):
    """The cluster went away during some work."""

    def __init__(self, address: str) -> None:
        self._say(f"the dask cluster at {address} went away during this work: try again, the server does it meanwhile")


class Cluster:
    """The scheduler of all pages: it is asked in the background, and while it does not answer this server does the work."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._client: Any = None
        self._refused: float | None = None

    def ask(self) -> None:
        """Connect, if that is not done and was not tried a moment ago. Slow where none answers.

        Raises
        ------
        OptionError
            None answers there.
        """
        with self._lock:
            if self.client is not None:
                return
            if self._refused is not None and time.monotonic() - self._refused <= AGAIN:
                raise _no_answer(self.address)  # a new one: the traceback of an old one would hold the page that asked
            try:
                self._client, self._refused = connected(self.address), None
            except OptionError:
                self._refused = time.monotonic()
                raise

    @property
    def client(self) -> Any:
        """Client of the scheduler, None where it does not answer."""
        client = self._client
        return client if client is not None and client.status == "running" else None

    def computed(self, lazy: Any, job: Job) -> Any:
        """Return a lazy object computed by the workers, who have to see the files under the same names.

        Raises
        ------
        ClusterLostError
            The scheduler went away.
        """
        from distributed import futures_of

        client = self.client
        if client is None:
            return xstxm.compute(lazy, scheduler="threads")
        kept = client.persist(lazy)
        futures = futures_of(kept)
        try:
            while not all(future.done() for future in futures):
                job.step(sum(future.done() for future in futures) / len(futures))
                time.sleep(0.1)
            if any(future.status == "cancelled" for future in futures):
                raise ClusterLostError(self.address)
            return client.compute(kept, sync=True)
        except Stopped:
            for future in futures:  # not cancelled: what another job waits for, too, goes on
                future.release()
            raise


@functools.cache
def cluster() -> Cluster | None:
    """Return the cluster that the environment names, None where it names none."""
    address = os.environ.get("XSTXM_SCHEDULER")
    return Cluster(address) if address else None


def connected(address: str) -> Any:
    """Return a client of a running scheduler, e.g. ``tcp://10.0.0.1:8786``.

    Raises
    ------
    OptionError
        None answers there.
    """
    try:
        return xstxm.connect(address)
    except OptionError as error:
        raise _no_answer(address) from error


def _no_answer(address: str) -> OptionError:
    do = "none answers there, so this server does the work itself: start one with `dask scheduler`, and load the page again"
    return OptionError("scheduler", address, f"{do} after {AGAIN:.0f} seconds")
