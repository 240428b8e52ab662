"""Visit HDF5 files named on the standard input, and say of each what is unsound; run by `_hdf5_safety` as a process of its own.

It imports nothing of the package, so that it starts in a tenth of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator

import h5py

SECONDS = 0.2
"""Processor time for one file; what is far from the root of a file of very many objects is not visited."""
DEADLY_SECONDS = 0.5
"""Processor time that ends this process: no call of HDF5 on a sound file takes it."""
MEMORY = 2**28
STARVED = re.compile(r"allocate\b|allocation failed|[mc]alloc\b|realloc\b")
"""How HDF5 says that memory did not suffice; "past end of allocation" is another thing."""
FEW = 2**17
"""Numbers and words that are read whole; of larger arrays only the index of their chunks is."""


def main() -> None:
    """Answer every path of the input, also null, with a line."""
    limit_memory()
    for line in sys.stdin:
        path = json.loads(line)
        limit_time(DEADLY_SECONDS)
        found = answer(path) if path else None
        limit_time(0)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def limit_memory() -> None:
    """Let allocations beyond the limit fail, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass


def limit_time(seconds: float) -> None:
    """Die after so much processor time, where the system can: waiting for a slow disk does not count."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)


def answer(path: str) -> dict[str, object]:
    """Return what is unsound in a file, or why it does not open: the number of the system's refusal, if it is one, and words."""
    try:
        return {"unsound": visit(path)}
    except Exception as error:
        return {"unopened": (getattr(error, "errno", None), short(error))}


def visit(path: str) -> str | None:
    """Open what is in a file, what is near its root first, and return the words in it that cannot be read."""
    file = h5py.File(path, "r")
    with passing_over(), file:
        return visit_objects(file)
    return None


def visit_objects(file: h5py.File) -> str | None:
    """Return the first item whose words cannot be read."""
    end, left, seen = time.process_time() + SECONDS, deque(["/"]), set()
    while left and time.process_time() < end:
        path = left.popleft()
        item = None
        with passing_over():
            item = file[path]
        place = path if item is None else place_of(item, path)
        if item is None or place in seen:
            continue
        seen.add(place)
        unsound = unsound_words(item, path, end)
        if unsound:
            return unsound
        if isinstance(item, h5py.Group):
            left.extend(f"{path.rstrip('/')}/{name}" for name in own_members(item))
    return None


@contextlib.contextmanager
def passing_over() -> Iterator[None]:
    """Pass over what is broken, as whoever reads it finds the same; end this process where memory did not suffice.

    A reader has no limit of memory: it would take gigabytes there, or never come back.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or STARVED.search(str(error)):
            os._exit(1)  # an exception would want memory too


def place_of(item: h5py.HLObject, path: str) -> int | str:
    """Return what only this object has: its address, or its path where a broken index hides the address."""
    try:
        address: int = h5py.h5o.get_info(item.id).addr
    except Exception:
        return path
    return address


def own_members(group: h5py.Group) -> list[str]:
    """Return the names that are no links to another place, as far as they can be listed."""
    names = []
    with passing_over():
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.HardLink):
                names.append(name)
    return names


def attributes(item: h5py.HLObject) -> list[str]:
    """Return the names of attributes, none where they cannot be listed: what else is in the file is visited all the same."""
    names: list[str] = []
    with passing_over():
        names = list(item.attrs)
    return names


def unsound_words(item: h5py.HLObject, path: str, end: float) -> str | None:
    """Read the attributes and a small array, or until `end` the index of a large one; say which words cannot be read."""
    for name in attributes(item):
        try:
            item.attrs[name]
        except (OSError, RuntimeError, MemoryError) as error:
            return f"attribute {name} of {path}: {short(error)}"
        except Exception:
            continue
    if not isinstance(item, h5py.Dataset):
        return None
    has_words = False
    try:
        if item.external or item.is_virtual:
            return None
        has_words = item.dtype.kind in "OSU"
        if item.size is not None and item.size <= FEW:
            item[()]
        elif item.chunks:
            item.id.chunk_iter(lambda chunk: True if time.process_time() > end else None)
    except (OSError, RuntimeError, MemoryError) as error:
        packed = item.id.get_create_plist().get_nfilters()
        return f"{path}: {short(error)}" if has_words and not packed else None
    except Exception:  # whoever reads it finds the same
        pass
    return None


def short(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    main()
