"""What the benchmarks share: sizes, a clock, processes of their own, and the facts of the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from llvmlite import binding

import xstxm

SIDES = {"XS": 64, "S": 256, "M": 1024}
N_ENERGIES = 120
CHUNK = 256


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(*calls: Callable[[], object], rounds: int, before: Callable[[], object] = lambda: None) -> np.ndarray:
    """Return the seconds (call, round) of calls that take turns; the first runs once more at the start, to compile.

    `before` precedes each, its time not counted.
    """

    def timed(call: Callable[[], object]) -> float:
        before()
        return seconds(call)

    calls[0]()
    return np.array([[timed(call) for call in calls] for _ in range(rounds)]).T


def spread(ratios: np.ndarray) -> str:
    """Return the median with the lowest and highest."""
    middle, lowest, highest = (_short(float(f(ratios))) for f in (np.median, np.min, np.max))
    return f"{middle} ({lowest}-{highest})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


@numba.njit(fastmath=True)
def read_once(flat: np.ndarray) -> float:
    """Add up an array: the least that anything which looks at every value can cost."""
    total = flat[0]
    for p in range(1, flat.size):
        total += flat[p]
    return total


def forget(folder: Path) -> None:
    """Drop the files of a folder from the memory of the system, as those of a stack larger than memory are."""
    if not hasattr(os, "posix_fadvise"):
        raise OSError("files cannot be dropped from memory here: os.posix_fadvise is missing, measure on Linux")
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def child(script: str, *arguments: object) -> dict[str, Any]:
    """Run a benchmark in a process of its own, and return the record it prints last."""
    path = Path(__file__).with_name(script)
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(path), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **one})
    return json.loads(done.stdout.splitlines()[-1])


def side_of(gigabytes: float, chunk: int = CHUNK) -> int:
    """Return the side, in whole chunks, of a square float32 stack of at least so many gigabytes."""
    return int(np.sqrt(gigabytes * 1e9 / 4 / N_ENERGIES) // chunk + 1) * chunk


def first_touch(idle: float = 5.0) -> float:
    """Return the seconds until a gigabyte of memory that was free for some seconds is there again.

    A tenth or two on most machines; a virtual one that gives free memory back to its host takes seconds, wherever a result,
    a chunk or the memory for files is new.
    """

    def touch() -> None:
        np.empty(10**9, np.uint8)[::4096] = 1

    touch()
    time.sleep(idle)
    return seconds(touch)


def facts(*others: ModuleType) -> str:
    """Return the versions and the machine, how busy it is, and how soon it gives memory."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{module.__name__} {module.__version__}" for module in (xstxm, np, numba, *others))
    avx512 = " with AVX-512" if binding.get_host_cpu_features().get("avx512f") else ""
    machine = f"{platform.machine()} ({binding.get_host_cpu_name()}{avx512}), {os.cpu_count()} CPUs"
    memory = f"new memory {first_touch():.1f} s/GB"
    return f"{packages}; Python {platform.python_version()}, {machine}{load}, {memory}"
