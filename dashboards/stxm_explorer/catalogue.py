"""Which files can be opened: those below the root folder, and no others."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xstxm.errors import StxmError

STACKS = {".hdf5", ".h5", ".hdf", ".nxs"}
SPECTRA = {".csv", ".txt", ".dat", ".asc", ".t", ".r", ".xsp", ".xdi", ".nor", ".xmu", ".nc"}
MAX_ENTRIES = 20_000
"""Files looked at before giving up: a root folder by mistake must not stall the page."""

MAX_DEPTH = 8

_ROW = re.compile(rb"^[ \t]*[-+]?[\d.]+(?:[eE][-+]?\d+)?[ \t]*[,;\s][ \t]*[-+]?[\d.]+", re.MULTILINE)


class OutsideRootError(StxmError):
    """A file that does not lie below the root folder."""

    def __init__(self, name: str) -> None:
        self._say(f"{Path(name).name}: not a file below the folder that this page serves: choose one from the list")


@dataclass(frozen=True)
class Catalogue:
    """The files of a folder by what they may be, as paths relative to it."""

    stacks: tuple[str, ...]
    spectra: tuple[str, ...]
    complete: bool


def resolve(root: Path, name: str) -> Path:
    """Return the file behind a relative name.

    Raises
    ------
    OutsideRootError
        The name, or what a link on the way points to, leaves the root folder; or there is no such file.
    """
    try:
        path = (root / name).resolve()
        inside = bool(name) and not Path(name).is_absolute() and path.is_relative_to(root.resolve()) and path.is_file()
    except (OSError, ValueError):
        inside = False
    if not inside:
        raise OutsideRootError(name)
    return path


def refuse_links_out(root: Path, path: Path) -> None:
    """Refuse a file whose parts lie outside the root folder.

    Raises
    ------
    OutsideRootError
        A frame of a scan is a link that leaves the root folder, or an HDF5 file points to other files.
    """
    if path.suffix.lower() == ".hdr":
        parts = [part for part in path.parent.glob(f"{glob.escape(path.stem)}*") if part.is_symlink()]
        outside = any(not part.resolve().is_relative_to(root.resolve()) for part in parts)
    else:
        outside = path.suffix.lower() in STACKS and _points_elsewhere(path)
    if outside:
        raise OutsideRootError(path.name)


def _points_elsewhere(path: Path) -> bool:
    """Tell whether an HDF5 file takes anything from other files: external links, virtual or external data."""
    import h5py

    def elsewhere(group: h5py.Group) -> bool:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                return True
            if not isinstance(link, h5py.HardLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                if elsewhere(item):
                    return True
            elif isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
                return True
        return False

    try:
        with h5py.File(path, "r") as file:
            return elsewhere(file)
    except OSError:
        return False  # no HDF5 file: the reader says so


def catalogue(root: Path) -> Catalogue:
    """Return the files below a folder that may be stacks or spectra."""
    found: dict[str, list[str]] = {"stack": [], "spectrum": []}
    seen = 0
    for path in _files(root.resolve()):
        seen += 1
        if seen > MAX_ENTRIES:
            break
        kind = _kind(path)
        if kind is None or not path.resolve().is_relative_to(root.resolve()):
            continue
        found[kind].append(path.relative_to(root.resolve()).as_posix())
    return Catalogue(tuple(sorted(found["stack"])), tuple(sorted(found["spectrum"])), complete=seen <= MAX_ENTRIES)


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < MAX_DEPTH else []
        yield from (Path(folder) / name for name in names if not name.startswith("."))


def _kind(path: Path) -> str | None:
    if not path.is_file():  # a pipe would be waited for
        return None
    suffix = path.suffix.lower()
    if suffix in STACKS or (suffix == ".hdr" and _is_scan(path)):
        return "stack"
    return "spectrum" if suffix == ".nc" or (suffix in SPECTRA and _is_table(path)) else None


def _is_scan(path: Path) -> bool:
    """Tell the header of a scan from the other headers that end in .hdr."""
    try:
        with path.open("rb") as file:
            return b"ScanDefinition" in file.read(4096)
    except OSError:
        return False


def _is_table(path: Path) -> bool:
    """Tell a text file with rows of numbers from one with words."""
    try:
        with path.open("rb") as file:
            return _ROW.search(file.read(16_384)) is not None
    except OSError:
        return False
