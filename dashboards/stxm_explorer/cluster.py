"""Work on a dask cluster instead of in the threads of the server."""

from __future__ import annotations

import time
from typing import Any

from stxm_explorer.jobs import Job, Stopped
from xstxm.errors import OptionError


def connected(address: str) -> Any:
    """Return a client of a running scheduler, e.g. ``tcp://10.0.0.1:8786``.

    Raises
    ------
    OptionError
        None answers there.
    """
    from distributed import Client

    try:
        return Client(address, timeout=5, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OptionError(
            "scheduler", address, "none answers there: start one with `dask scheduler`, or leave it out"
        ) from error


def computed(lazy: Any, client: Any, job: Job) -> Any:
    """Return a lazy object computed by the workers, who have to see the files under the same names."""
    from distributed import futures_of

    kept = client.persist(lazy)
    futures = futures_of(kept)
    try:
        while not all(future.done() for future in futures):
            job.step(sum(future.done() for future in futures) / len(futures))
            time.sleep(0.1)
        return client.compute(kept, sync=True)
    except Stopped:
        client.cancel(futures, force=True)
        raise
