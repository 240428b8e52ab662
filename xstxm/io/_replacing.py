"""Files and folders that are there as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """Give the path to be written and one beside it to write to, which takes its place when all went well.

    Raises
    ------
    FileExistsError
        There is such a file or folder, and `overwrite` is off.
    """
    target = Path(path).expanduser()
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists: pass overwrite=True to replace it, or give another name")
    if target.is_dir() and not _is_store(target):
        raise FileExistsError(f"{target} is a folder that is no Zarr store: it is not replaced, give another name")
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield target, part
        _swap(part, target)
    finally:
        _remove(part)


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
