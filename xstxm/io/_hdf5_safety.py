"""HDF5 files are opened by a process of their own first: on a damaged one libhdf5 can crash, hang or fill the memory."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path

from xstxm.errors import CorruptFileError
from xstxm.io._sources import COPY_AGAIN

_VISITOR = Path(__file__).with_name("_hdf5_visitor.py")
_DEADLY = "that the HDF5 library hangs, crashes or runs out of memory on it"


class _Visitor:
    """The process that opens files first: started when needed, and again after a file has killed it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin without a process, as after a fork."""
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def visit(self, path: str) -> str | None:
        """Return what is unsound in a file; None for nothing, and where no process can be started.

        Raises
        ------
        OSError
            HDF5 does not open it; with the number of the system's error where the file is not to blame.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = _start()
            if self._process is None:
                return None
            line = _ask(self._process, json.dumps(path))
            if not line:
                self.close()
                return _DEADLY
        answer = json.loads(line)
        if "unopened" in answer:
            number, words = answer["unopened"]
            raise OSError(number, words) if number else OSError(words)
        unsound: str | None = answer["unsound"]
        return unsound

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _start() -> subprocess.Popen[str] | None:
    """Start a visitor; none where the system starts no processes, or the new one does not find h5py."""
    # without -P the folder of the script would come before all others, and its rooms have the names of packages
    command = [sys.executable, "-P", str(_VISITOR)]
    lean = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=lean,
            encoding="utf-8",
            start_new_session=True,  # Ctrl+C is for the program, not for this process
        )
    except (OSError, ValueError):
        return None
    if _ask(process, "null"):
        return process
    process.communicate()
    return None


def _ask(process: subprocess.Popen[str], question: str) -> str:
    """Return the line that answers a line, an empty one where the process has died."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(question + "\n")
        process.stdin.flush()
    except OSError:
        return ""
    return process.stdout.readline()


_visitor = _Visitor()
atexit.register(_visitor.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_visitor.forget)


def check_sound(path: Path) -> None:
    """Refuse an HDF5 file that this process should not open.

    Raises
    ------
    CorruptFileError
        Words in it claim more than there is, or the HDF5 library dies of it.
    OSError
        The HDF5 library does not open it.
    """
    try:
        found = path.stat()
        # the other process stays in the folder in which it was started
        unsound = _unsound(str(path.resolve()), found.st_mtime_ns, found.st_size, found.st_ino)
    except OSError as error:
        if error.errno is None:
            raise
        return  # the system may refuse to the other process only: the file is locked by this one, which writes it
    if unsound:
        raise CorruptFileError(path, "a sound HDF5 file", unsound, COPY_AGAIN)


@lru_cache(maxsize=1024)
def _unsound(path: str, time: int, size: int, number: int) -> str | None:
    """Ask once for each state of a file, and again each time where that raises: the file may be half copied, or locked for a while."""
    return _visitor.visit(path)
