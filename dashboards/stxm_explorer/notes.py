"""What xstxm warns of while it works, kept for who looks at the result."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xstxm.errors import StxmWarning

_LOCAL = threading.local()
_elsewhere = warnings.showwarning


def listen() -> None:
    """Hear every warning of xstxm in this process from now on; all others go where they went."""
    warnings.simplefilter("always", StxmWarning)
    warnings.showwarning = _hear


@contextmanager
def heard() -> Iterator[list[str]]:
    """Give a list that takes what is warned of in this thread meanwhile, each once."""
    before, _LOCAL.told = getattr(_LOCAL, "told", None), []
    try:
        yield _LOCAL.told
    finally:
        _LOCAL.told = before


def _hear(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    told: list[str] | None = getattr(_LOCAL, "told", None)
    if told is None or not issubclass(category, StxmWarning):
        _elsewhere(message, category, *place, **more)
    elif str(message) not in told:
        told.append(str(message))
