"""How much memory a process holds; of the standard library alone, so that any interpreter can import it."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Callable
from pathlib import Path


def peak() -> float:
    """Return the peak resident memory of this process, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage tells a child the peak of its parent
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def restart_peak() -> None:
    """Let the peak of this process start again from what is in use; Linux only."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # memory that was freed before must not serve again unseen
    Path("/proc/self/clear_refs").write_text("5")


def beyond(call: Callable[[], object]) -> float:
    """Return the memory that a call needs at its peak, beyond what was resident before, GB; NaN where it cannot be told."""
    if sys.platform != "linux":
        call()
        return float("nan")
    restart_peak()
    before = peak()
    call()
    return peak() - before
