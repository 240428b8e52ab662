"""What may be opened: files and stores below the root folder that take nothing from outside it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import xarray as xr

import xstxm
from xstxm.errors import StxmError

MAX_FILES = 20_000
"""Files behind a pattern, and looked at for the catalogue."""
MAX_OBJECTS = 100_000
"""Objects and links of an HDF5 file that are followed before it is refused."""
STORE = ".zarr"
"""Ending of a folder that is one thing to open."""

logger = logging.getLogger("stxm_explorer")


class OutsideRootError(StxmError):
    """A file that does not lie below the root folder, or takes something from outside it."""

    def __init__(self, name: str, found: str = "not a file below the folder that this page serves") -> None:
        last = printable(re.split(r"[/\\]", name)[-1], 60) or "that name"
        self._say(f"{last}: {found}: choose one from the list")


@cache
def formats_by_ending() -> Mapping[str, tuple[str, ...]]:
    """Return the formats of stacks by the endings of the files that stand for them."""
    found: dict[str, tuple[str, ...]] = {}
    for name, files in xstxm.formats()["files"].items():
        for ending in re.findall(r"\.\w+", files.partition(" with ")[0]):
            found[ending] = (*found.get(ending, ()), str(name))
    return found


@cache
def endings_beside() -> Mapping[str, frozenset[str]]:
    """Return the endings of the files that belong to a file of an ending: frames to a header."""
    pairs = [files.partition(" with ") for files in xstxm.formats()["files"]]
    return {
        ending: frozenset(re.findall(r"\.\w+", beside))
        for main, _, beside in pairs
        for ending in re.findall(r"\.\w+", main)
        if beside
    }


@cache
def own_formats() -> frozenset[str]:
    """Return the formats that nothing but xstxm writes."""
    table = xstxm.formats()
    return frozenset(table.index[table["written_by"] == "xstxm"])


def resolve(root: Path, name: str) -> Path:
    """Return the file or store behind a relative name, as the catalogue writes it; nothing in the path is a link.

    Whoever can write to the root folder could put a link there between this and the reading: serve what only people
    write who may read what the server may.

    Raises
    ------
    OutsideRootError
        The name, or what a link on the way points to, leaves the root folder; or there is no such file.
    """
    try:
        path, home = (root / name).resolve(), root.resolve()
        inside = is_plain(name) and path.is_relative_to(home) and (path.is_file() or is_store(path))
    except (OSError, ValueError, RuntimeError):  # names that no system knows, loops of links
        inside = False
    if not inside:
        raise _refused(name)
    return path


def resolve_all(root: Path, pattern: str) -> tuple[Path, ...]:
    """Return the files behind a pattern as ``"night/*.hdr"``, for a stack of files of one energy each.

    Raises
    ------
    OutsideRootError
        The pattern leaves the root folder, finds nothing, or has wildcards in a folder's name; or one of its files is refused.
    """
    folder, home = PurePosixPath(pattern).parent, root.resolve()
    if not is_plain(pattern) or any(mark in str(folder) for mark in "*?["):
        raise _refused(pattern)
    names = [path.name for path in (home / folder).glob(PurePosixPath(pattern).name) if not path.name.startswith(".")]
    if not 0 < len(names) <= MAX_FILES:
        raise _refused(pattern)
    paths = tuple(resolve(home, (folder / name).as_posix()) for name in sorted(names))
    for path in paths:
        refuse_links_out(home, path)
    return paths


def is_store(path: Path) -> bool:
    """Tell whether a folder is a Zarr store."""
    return path.suffix.lower() == STORE and (path / "zarr.json").is_file()


def is_plain(name: str) -> bool:
    """Tell whether a name is written as the catalogue writes it: relative, no way up, nothing hidden."""
    path = PurePosixPath(name)
    plain = bool(name) and path.as_posix() == name and not path.is_absolute() and name.isprintable()
    return plain and "\\" not in name and not any(part.startswith(".") for part in path.parts)


def _refused(name: str, found: str | None = None) -> OutsideRootError:
    """Return the error of a refusal, which the log keeps on one line, whatever the name."""
    logger.warning("refused: %s (%s)", printable(name, 120), found or "no file below the root folder")
    return OutsideRootError(name, found) if found else OutsideRootError(name)


def printable(name: str, longest: int) -> str:
    """Return a name in ASCII without control characters, cut short, so that it forges no line and no markup."""
    text = ascii(name)[1:-1].replace("<", "\\x3c").replace("&", "\\x26")
    return text if len(text) <= longest else f"{text[:longest]}..."


def refuse_links_out(root: Path, path: Path) -> None:
    """Refuse a file whose parts lie outside the root folder.

    Raises
    ------
    OutsideRootError
        A file beside it that belongs to it, or one inside a store, is a link that leaves the root folder; or an HDF5
        file points to other files.
    """
    home = root.resolve()
    if any(part.is_symlink() and not leads_inside(home, part) for part in companions(path)):
        raise _refused(path.name, "a part of it lies outside the folder that this page serves")
    if path.is_file() and _points_elsewhere(path):
        raise _refused(path.name, "it takes data from other files, or may, which this page does not open")


def leads_inside(home: Path, link: Path) -> bool:
    """Tell whether a link points to something below the root folder."""
    try:
        return link.resolve().is_relative_to(home)
    except (OSError, RuntimeError):
        return False


def companions(path: Path) -> Iterator[Path]:
    """Yield what is read with a file: the frames of a header, the energies beside images, what is in a store."""
    if path.is_dir():
        yield from (Path(folder) / name for folder, folders, names in os.walk(path) for name in (*folders, *names))
    elif _has_companions(path):
        starts = (f"{path.stem.lower()}_", f"{path.stem.lower()}.")
        yield from (entry for entry in path.parent.iterdir() if entry.name.lower().startswith(starts))


def _has_companions(path: Path) -> bool:
    ending = path.suffix.lower()
    return ending in endings_beside() or "tiff" in formats_by_ending().get(ending, ())


def stamp(path: Path) -> int:
    """Return when a file, or a frame beside it, was changed or taken away last, in nanoseconds; 0 for one that is gone."""
    if path.is_dir():
        return _changed(path / "zarr.json")
    if not _has_companions(path):
        return _changed(path)
    try:
        return max(map(_changed, [path, path.parent, *companions(path)]))
    except OSError:  # its folder is gone
        return 0


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _points_elsewhere(path: Path) -> bool:
    """Tell whether an HDF5 file takes anything from other files: external links, virtual or external data; or may do so.

    One that no reader knows is not looked at: it may be damaged such that opening it is a danger, and readers refuse it.
    """
    import h5py

    if not xr.backends.list_engines()["stxm"].guess_can_open(str(path)) or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return any(map(_is_elsewhere, _items(file)))
    except (OSError, RuntimeError, LookupError, TypeError, ValueError):  # what cannot be followed may lead out
        return True


def _items(file: Any) -> Iterator[Any]:
    """Yield the links and objects of an HDF5 file, each group once, whatever cycle of links it is in; None for too many."""
    import h5py

    left, seen, count = [file], set(), 0
    while left:
        group = left.pop()
        for name in group:
            link = group.get(name, getlink=True)
            item = group[name] if isinstance(link, h5py.HardLink) else link
            yield item
            count += 1
            if count > MAX_OBJECTS:
                yield None
                return
            if isinstance(item, h5py.Group) and (address := h5py.h5o.get_info(item.id).addr) not in seen:
                seen.add(address)
                left.append(item)


def _is_elsewhere(item: Any) -> bool:
    """Tell whether an item is, or may be, in another file."""
    import h5py

    if isinstance(item, h5py.Dataset):
        sources = item.virtual_sources() if item.is_virtual else []
        return bool(item.external) or any(source.file_name != "." for source in sources)
    return not isinstance(item, h5py.Group | h5py.SoftLink | h5py.Datatype)
