"""Files and folders that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from xstxm.errors import NoRoomError, OptionError, require_free, size_text
from xstxm.io._remote import require_no_url

_NO_PROMISE = (errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems say that cannot reserve room."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What they say that are full, or whose owner allows no more."""
_MORE = 2**20
"""Bytes of an HDF5 file beside its arrays, ample: where it finds no room for its attributes and indexes, closing it ends the program."""
_OWNER: ContextVar[str | None] = ContextVar("owner", default=None)
"""For which process or run is written, where that is not this process alone."""
_RUNS: set[str] = set()
"""The runs of this process that are at work."""


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool, needed: int | None = None) -> Iterator[tuple[Path, Path]]:
    """Give the path to be written and one beside it to write to, which takes its place when all went well.

    Parameters
    ----------
    path
        The file or folder.
    overwrite
        Whether to replace what is there.
    needed
        About the most bytes that writing needs, to be told where there is no room.

    Raises
    ------
    FileExistsError
        There is such a file or folder, and `overwrite` is off.
    FileNotFoundError
        The folder to write into is not there.
    NoRoomError
        The disk is full.
    """
    target = Path(path).expanduser()
    _require_folder(target)
    require_free([target], overwrite)
    _refuse_folders([target])
    part = _beside(target)
    with _room_told(target, needed):
        try:
            yield target, part
            _swap(part, target)
        finally:
            _remove(part)


@contextmanager
def _room_told(target: Path, needed: int | None) -> Iterator[None]:
    """Tell of a full disk how much was needed, and what is free when all that was written is gone."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        folder = target.absolute().parent
        free = size_text(shutil.disk_usage(folder).free)
        raise NoRoomError(folder / target.name, size_text(needed) if needed else "", free) from error


@contextmanager
def replacing_group(target: Path, old: Sequence[Path], overwrite: bool) -> Iterator[Path]:
    """Give a folder to write a file into, with others that belong to it; all take their places when all went well.

    The file itself, without which the others are nothing, goes first and comes last: an end in between, of the
    program or the power, never leaves it beside others than its own. The old ones come back after any error.

    Parameters
    ----------
    target
        The file.
    old
        Those that are there: the file, and what belongs to it.
    overwrite
        Whether to replace them.

    Raises
    ------
    FileExistsError
        There are some, and `overwrite` is off; or one is a folder.
    FileNotFoundError
        The folder to write into is not there.
    NoRoomError
        The disk is full.
    """
    _require_folder(target, alone=False)
    require_free(old, overwrite)
    _refuse_folders(old)
    part = _beside(target)
    aside = part.with_name(f"{part.name}.old")
    with _room_told(target, needed=None):
        try:
            part.mkdir()
            yield part
            new = sorted(part.iterdir(), key=lambda file: file.name == target.name)
            gone = sorted(old, key=lambda file: file != target)
            aside.mkdir()
            _move([*((file, aside / file.name) for file in gone), *((file, target.parent / file.name) for file in new)])
            _remove(aside)
        finally:
            _remove(part)
            with suppress(OSError):  # it is not there, or holds old files that did not get their names back
                aside.rmdir()


def this_process() -> str:
    """Return the name that says which process of which computer writes."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}-{os.getpid()}"


@contextmanager
def run_of_files() -> Iterator[str]:
    """Give the name of a run that writes many files, which others of this process leave alone while it lasts."""
    run = f"{this_process()}-{uuid.uuid4().hex[:8]}"
    _RUNS.add(run)
    try:
        yield run
    finally:
        _RUNS.discard(run)


@contextmanager
def written_for(owner: str) -> Iterator[None]:
    """Have what is written meanwhile belong to the run that asked for it, see `run_of_files`."""
    token = _OWNER.set(owner)
    try:
        yield
    finally:
        _OWNER.reset(token)


def remove_unfinished(targets: Iterable[Path], run: str) -> None:
    """Remove what was written of files for a run, or for one of this computer that is over; others may still be at theirs."""
    names: dict[Path, set[str]] = {}
    for target in targets:
        names.setdefault(target.parent, set()).add(target.name)
    for folder, own in names.items():
        for part in folder.glob(".*.part"):
            name, _, rest = part.name[1:].removesuffix(".part").rpartition(".")
            owner = rest.rpartition("-")[0]
            if name in own and (owner == run or _is_over(owner)):
                _remove(part)


def _is_over(owner: str) -> bool:
    """Tell whether a process or run is one of this computer that is no more; of this process all but the runs at work are."""
    computer, pid, *_ = [*owner.split("-"), ""]
    here = this_process()
    if f"{computer}-{pid}" == here:
        return owner not in _RUNS
    if computer != here.partition("-")[0] or not pid.isdigit() or sys.platform == "win32":  # there a signal ends it
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def reserve(path: Path, size: int) -> None:
    """Make a file of so many bytes, with room for all of them on the disk where the system can promise it.

    Writing to the map of a file that finds the disk full is no error: it ends the program.

    Raises
    ------
    OSError
        There is no room.
    """
    with path.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in _NO_PROMISE:
                    raise
        file.truncate(size)


def require_room(part: Path, size: int) -> None:
    """Refuse to begin what the disk has no room for: HDF5 ends the program where it cannot close a file.

    Raises
    ------
    OSError
        There is no room for so many bytes and a little more.
    """
    try:
        reserve(part, size + _MORE)
    finally:
        _remove(part)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{_OWNER.get() or this_process()}-{uuid.uuid4().hex[:8]}.part")


def _move(moves: Sequence[tuple[Path, Path]]) -> None:
    """Rename files one after the other; when one cannot be, those before get their names back."""
    done: list[tuple[Path, Path]] = []
    try:
        for here, there in moves:
            here.rename(there)
            done.append((here, there))
    except BaseException:
        for here, there in reversed(done):
            there.rename(here)
        raise


def _require_folder(target: Path, *, alone: bool = True) -> None:
    """Refuse to write into a folder that is not there: it may be a slip, and a store would make it unasked."""
    require_no_url(target, alone=alone)
    folder = target.absolute().parent
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {str(folder)!r} to write {target.name} into: make it first")
    require_place(folder, "path")


def require_place(output: Path, option: str = "output") -> None:
    """Refuse, before anything is computed, a folder that is there and cannot be written into, or that cannot be made.

    Raises
    ------
    OptionError
        It is a URL, or a file.
    PermissionError
        Nobody may write there.
    """
    require_no_url(output)
    place = next(place for place in (output.absolute(), *output.absolute().parents) if place.exists())
    if not place.is_dir():
        raise OptionError(option, str(output), f"{place} is a file: give a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(f"there is no permission to write into {str(place)!r}: give another folder")


def _refuse_folders(paths: Sequence[Path]) -> None:
    """Keep folders that no writer made."""
    for path in paths:
        if path.is_dir() and not _is_store(path):
            raise FileExistsError(f"{path} is a folder that no writer made: it is not replaced, give another name")


def _is_store(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))


def _swap(part: Path, target: Path) -> None:
    """Put what was written in its place; a folder cannot be replaced in one step, so the old one moves aside first."""
    if not (target.is_dir() or (part.is_dir() and target.exists())):
        part.replace(target)
        return
    old = part.with_name(f"{part.name}.old")
    target.rename(old)
    try:
        part.rename(target)
    except OSError:
        old.rename(target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
