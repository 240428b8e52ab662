"""The dask scheduler that a command is told of."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import xstxm
from xstxm._commands.speaking import note
from xstxm.errors import OptionError

if TYPE_CHECKING:
    from distributed import Client

_ADDRESS = re.compile(r"(?:tcp|tls|ucx)://[^\s/]+:\d{1,5}")


def require_scheduler(address: str) -> None:
    """Refuse what is no address of a scheduler.

    Raises
    ------
    OptionError
        It is none, or the package is missing that could use it.
    """
    if not _ADDRESS.fullmatch(address):
        raise OptionError(
            "scheduler", address, "write its address and port as it says itself, e.g. tcp://10.0.0.5:8786"
        )
    if find_spec("distributed") is None:
        raise OptionError("scheduler", address, "that needs dask's package distributed: pip install distributed")


@contextmanager
def connected(address: str | None, log: Path | None = None) -> Iterator[Client | None]:
    """Give a client of a running scheduler, None without an address; what dask says goes to a file, if anywhere.

    Raises
    ------
    OptionError
        None answers there, or there is a file for what dask says, but no address.
    """
    if address is None:
        if log is not None:
            raise OptionError("dask_log", str(log), "it is for what dask says of a cluster: give scheduler= too")
        yield None
        return
    require_scheduler(address)
    from xstxm._cluster import quiet

    with _logged(log), quiet(), xstxm.connect(address) as client:
        if n := len(client.nthreads()):
            note(
                f"{n} worker{'s' if n > 1 else ''}: each loads its kernels, or compiles them once, before its first file"
            )
        yield client


@contextmanager
def _logged(path: Path | None) -> Iterator[None]:
    """Add to a file what dask says in this process meanwhile."""
    if path is None:
        yield
        return
    from xstxm._cluster import LOGGERS

    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
