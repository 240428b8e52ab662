"""Connections to a dask cluster that is already there."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from xstxm.errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 5
"""Seconds until a scheduler has to answer."""


def connect(address: str) -> Client:
    """Return a client of a running dask scheduler, for `batch`; it does not become the scheduler of other work of dask. Eager.

    ``distributed.Client`` waits for ever where something takes the connection and says nothing; this does not.

    Parameters
    ----------
    address
        What the scheduler says of itself, e.g. ``"tcp://10.0.0.5:8786"``.

    Returns
    -------
    distributed.Client
        Close it when the work is done, or use it in a ``with``.

    Raises
    ------
    OptionError
        An address without a port, or none answers there within some seconds.
    MissingDependencyError
        The package distributed is not installed.

    Examples
    --------
    >>> import distributed, xstxm
    >>> with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
    ...     with xstxm.connect(cluster.scheduler_address) as client:
    ...         client.status
    'running'
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependencyError("a cluster", "distributed", "distributed") from error
    _require_port(address)
    try:
        with ThreadPoolExecutor(1) as aside:  # a notebook has a loop of its own in this thread
            aside.submit(asyncio.run, _knock(address)).result()
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, MemoryError) as error:
        do = "start one with `dask scheduler`, and workers with `dask worker ADDRESS`, e.g. tcp://10.0.0.5:8786"
        raise OptionError("scheduler", address, f"none answers there: {do}") from error


def _require_port(address: str) -> None:
    """Refuse at once what cannot be the address of a scheduler."""
    from distributed.comm import get_address_host_port

    if str(address).startswith("inproc:"):
        return
    try:
        get_address_host_port(address)
    except (TypeError, ValueError) as error:
        do = 'give its address with the port, e.g. "tcp://10.0.0.5:8786"'
        raise OptionError("scheduler", address, do) from error


async def _knock(address: str) -> None:
    """Ask before a client does, which does not end well where another program answers.

    Raises
    ------
    OSError, ValueError
        None answers, or none that speaks as dask does; a TimeoutError too is an OSError.
    MemoryError
        The same: the first letters of its answer were taken for the length of a message.
    """
    from distributed.core import connect as opened
    from distributed.security import Security

    knock = opened(address, timeout=PATIENCE, **Security().get_connection_args("client"))
    comm = await asyncio.wait_for(knock, 2 * PATIENCE)  # dask waits for ever for one that is silent
    comm.abort()
