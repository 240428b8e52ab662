"""Which files can be opened: those below the root folder, and no others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from stxm_explorer.access import (
    MAX_FILES,
    STORE,
    endings_beside,
    formats_by_ending,
    is_plain,
    is_store,
    leads_inside,
    own_formats,
)

Kind: TypeAlias = Literal["stack", "result", "spectra"]
"""A result is what xstxm wrote: maps, references, or a stack, which `describe` tells."""

SPECTRA = frozenset({".csv", ".tsv", ".txt", ".dat", ".asc", ".t", ".r", ".xsp", ".xas", ".xdi", ".nor", ".xmu"})
"""Endings of tables of spectra."""
LIBRARIES = frozenset({".toml", ".prj"})
"""Endings of libraries of references and projects of Athena."""

MAX_ENTRIES = MAX_FILES
"""Files looked at before giving up: a root folder by mistake must not stall the page."""
MAX_DEPTH = 8

_HEAD = 16_384
_ROW = re.compile(rb"^[ \t]*[-+]?[\d.]+(?:[eE][-+]?\d+)?[ \t]*[,;\s][ \t]*[-+]?[\d.]+", re.MULTILINE)
_LIBRARY = re.compile(rb"^\s*(xstxm_references\s*=|\[\[\s*references\s*\]\])", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One thing that can be opened, as a table shows it; nothing of it was read but its beginning."""

    name: str
    """Path relative to the root folder."""
    kind: Kind
    format: str
    """Formats of this ending, of which the content decides: ``"nxstxm or exchange"``; of spectra the ending."""
    size: int | None
    """Bytes, with those of the frames beside a header; none of a store, whose pieces are not counted."""
    modified: datetime


@dataclass(frozen=True)
class Catalogue:
    """The files of a folder by what they may be, as paths relative to it."""

    entries: tuple[Entry, ...]
    complete: bool

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of what may be a stack, results of xstxm among them."""
        return tuple(entry.name for entry in self.entries if entry.kind != "spectra")

    @property
    def spectra(self) -> tuple[str, ...]:
        """Names of what may hold spectra."""
        return tuple(entry.name for entry in self.entries if entry.kind == "spectra")

    @property
    def results(self) -> tuple[str, ...]:
        """Names of what xstxm wrote."""
        return tuple(entry.name for entry in self.entries if entry.kind == "result")


def catalogue(root: Path) -> Catalogue:
    """Return what can be opened below a folder, in the order of the names."""
    home, seen, entries = root.resolve(), 0, []
    for folder, names in _folders(home):
        shown = names[: max(MAX_ENTRIES - seen, 0)]
        seen += len(names)
        parts, known = _parts(names), SPECTRA | LIBRARIES | formats_by_ending().keys()
        likely = [folder / name for name in shown if _split(name)[1] in known]  # most names are those of frames
        entries += [entry for path in likely if (entry := _entry(home, path, parts))]
        if seen > MAX_ENTRIES:
            break
    entries.sort(key=lambda entry: entry.name)
    return Catalogue(tuple(entries), complete=seen <= MAX_ENTRIES)


def _folders(home: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names in it that count; a store is a name, not a folder."""
    for folder, folders, names in os.walk(home):
        open_ones = sorted(name for name in folders if not name.startswith("."))
        stores = [name for name in open_ones if name.lower().endswith(STORE)]
        deeper = len(Path(folder).relative_to(home).parts) < MAX_DEPTH
        folders[:] = [name for name in open_ones if name not in stores] if deeper else []
        yield Path(folder), [*stores, *sorted(name for name in names if not name.startswith("."))]


def _parts(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of frames by the stem of the header that they belong to, in lower case."""
    suffixes = frozenset[str]().union(*endings_beside().values())
    found: dict[str, list[str]] = {}
    for name in names:
        stem, suffix = _split(name)
        if suffix in suffixes:
            for key in {stem, stem.rpartition("_")[0]}:
                found.setdefault(key, []).append(name)
    return found


def _split(name: str) -> tuple[str, str]:
    """Return stem and ending of a name in lower case."""
    stem, dot, ending = name.lower().rpartition(".")
    return stem, dot + ending


def _entry(home: Path, path: Path, parts: Mapping[str, list[str]]) -> Entry | None:
    """Return what the table says of a file; nothing of one that is no scan, no table, or not inside."""
    name = path.relative_to(home).as_posix()
    try:
        if not is_plain(name) or (path.is_symlink() and not leads_inside(home, path)):
            return None
        ending, own = path.suffix.lower(), parts.get(path.stem.lower(), [])
        kind = _kind(path, ending, own)
        if kind is None:
            return None
        size = None if path.is_dir() else sum(part.stat().st_size for part in _whole(path, ending, own))
        changed = (path / "zarr.json" if path.is_dir() else path).stat().st_mtime
    except OSError:  # it went away meanwhile, or may not be read
        return None
    format = " or ".join(formats_by_ending()[ending]) if kind != "spectra" else ending.lstrip(".")
    return Entry(name, kind, format, size, datetime.fromtimestamp(changed, UTC))


def _whole(path: Path, ending: str, own: Iterable[str]) -> list[Path]:
    beside = endings_beside().get(ending, frozenset())
    return [path, *(path.with_name(name) for name in own if _split(name)[1] in beside)]


def _kind(path: Path, ending: str, own: Iterable[str]) -> Kind | None:
    """Return what a file may be by its ending, and its beginning where texts of all sorts have the ending."""
    formats = formats_by_ending().get(ending, ())
    if path.is_dir():
        return "result" if formats and is_store(path) else None
    if not path.is_file():  # a pipe would be waited for
        return None
    if ending == ".dat" and any(name.lower().endswith(".ncb") for name in own):
        return "stack"
    if ending in SPECTRA | LIBRARIES:
        return "spectra" if _begins(path, _is_table if ending in SPECTRA else _is_library) else None
    if not formats or (ending == ".hdr" and not _begins(path, lambda head: b"ScanDefinition" in head)):
        return None
    return "result" if own_formats().issuperset(formats) else "stack"


def _begins(path: Path, tells: Callable[[bytes], bool]) -> bool:
    """Ask the first bytes of a file; no where it cannot be read."""
    try:
        with path.open("rb") as file:
            return tells(file.read(_HEAD))
    except OSError:
        return False


def _is_table(head: bytes) -> bool:
    """Tell a text with rows of numbers from one with words."""
    return _ROW.search(head) is not None


def _is_library(head: bytes) -> bool:
    """Tell a library of references or a project of Athena, packed or plain, from other files of these endings."""
    return head.startswith(b"\x1f\x8b") or b"Athena project" in head[:1024] or _LIBRARY.search(head) is not None
