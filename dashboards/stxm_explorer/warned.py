"""What xstxm warns of, by the thread that hears it: `warnings.catch_warnings` alone listens to all threads at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xstxm.errors import StxmWarning

_LOCAL = threading.local()
_LOCK = threading.Lock()
_OPEN: list[warnings.catch_warnings[None]] = []
_EARS = [0]


@contextmanager
def heard(texts: list[str]) -> Iterator[list[str]]:
    """Add to a list what xstxm warns of in this thread; the innermost list hears it."""
    before = getattr(_LOCAL, "texts", None)
    _LOCAL.texts = texts
    _listen()
    try:
        yield texts
    finally:
        _LOCAL.texts = before
        _leave()


def _listen() -> None:
    with _LOCK:
        _EARS[0] += 1
        if _EARS[0] > 1:
            return
        catcher = warnings.catch_warnings()
        catcher.__enter__()
        _OPEN.append(catcher)
        warnings.filterwarnings("always", category=StxmWarning)
        warnings.showwarning = _hearing(warnings.showwarning)


def _leave() -> None:
    with _LOCK:
        _EARS[0] -= 1
        if not _EARS[0]:
            _OPEN.pop().__exit__(None, None, None)


def _hearing(show: Any) -> Any:
    def hear(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        texts = getattr(_LOCAL, "texts", None)
        if texts is not None and issubclass(category, StxmWarning):
            texts.append(str(message))
        else:
            show(message, category, *where, **more)

    return hear
