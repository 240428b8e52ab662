"""Folders and patterns: which files they hold, and one stack of files of one energy each."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import xarray as xr

from xstxm.errors import ChoiceError, FileFormatError, OptionError, heard, n_bytes, warn
from xstxm.io import _remote, _sources
from xstxm.io._assembling import assemble
from xstxm.io._format import Format, first_of
from xstxm.io._remote import is_url, place
from xstxm.io.formats import FORMATS
from xstxm.io.zarr import holds_zarr

Many: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
Opened = TypeVar("Opened")

_SIDECARS = {".xim", ".xsp", ".txt", ".csv", ".tsv", ".dat", ".json", ".xml", ".log", ".md", ".pdf", ".pfhdr", ".aln"}
_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".svg"}
_OF_WINDOWS = {"thumbs.db", "desktop.ini"}


def is_pattern(source: Any) -> bool:
    """Tell whether a path has wildcards and is no file of that name."""
    if not isinstance(source, str | os.PathLike):
        return False
    wild = any(mark in os.fspath(source) for mark in "*?[")
    return wild and not Path(source).expanduser().exists()


def is_many(source: Any) -> bool:
    """Tell whether a path stands for several files: a list, a pattern, or a folder that is no store."""
    if is_url(source):
        return False
    if isinstance(source, list | tuple) or is_pattern(source):
        return True
    plain = isinstance(source, str | os.PathLike) and Path(source).expanduser().is_dir()
    return plain and first_of(FORMATS, source, b"") is None and not holds_zarr(source)


def natural(path: Path) -> tuple[Any, ...]:
    """Return a key that sorts names by the numbers in them, a9 before a10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name))


def scans_of(source: Many) -> list[tuple[Path, Format]]:
    """Return the scans in a folder or behind a pattern, in natural order, each with its format.

    Files that belong to scans, and texts and pictures beside them, are passed over.

    Raises
    ------
    FileFormatError
        There is no scan, or a file that is neither a scan nor such a companion.
    """
    files = files_of(source)
    if not files and is_pattern(source):
        raise _no_match(Path(os.fspath(source)))  # type: ignore[arg-type]
    found = [(path, first_of(FORMATS, path, _sources.head_or_nothing(path))) for path in files]
    scans = [*{format.main(path): format for path, format in found if format is not None}.items()]
    others = [path.name for path, format in found if format is None and not _is_companion(path)]
    if not scans:
        inside = _sources.listed([path.name for path, _ in found]) or "nothing"
        raise FileFormatError(_name(source), "scans", inside, "give a folder or pattern with files of xstxm.formats()")
    if others:
        do = f"name those to open with a pattern, e.g. {scans[0][0].parent.name}/*{scans[0][0].suffix}"
        raise FileFormatError(_name(source), "scans", f"also {_sources.listed(others)}", do)
    return scans


def each_of(files: Iterable[str | os.PathLike[str]]) -> list[Path | str]:
    """Return files and URLs as paths, with what matches a pattern in its place, as a shell gives it where it is not quoted.

    Raises
    ------
    FileFormatError
        Nothing matches a pattern.
    """
    found: list[Path | str] = []
    for file in files:
        wild = not is_url(file) and is_pattern(file)
        matching = files_of(file) if wild else [place(file)]
        if not matching:
            raise _no_match(Path(file))
        found += matching
    return found


def _no_match(pattern: Path) -> FileFormatError:
    """Return what is said of a pattern that nothing matches, with the names that are nearest."""
    folder = next(at for at in pattern.parents if not any(mark in str(at) for mark in "*?["))
    if not folder.expanduser().is_dir():
        return FileFormatError(pattern, "scans", f"no folder {str(folder)!r}", "see how it is spelt")
    names = [entry.name for entry in folder.expanduser().iterdir() if not entry.name.startswith(".")]
    near = difflib.get_close_matches(pattern.name, sorted(names), len(names) or 1, cutoff=0)
    inside = f"nothing of that name in {str(folder)!r}, which holds {_sources.listed(near) or 'nothing'}"
    known = {ending for one in FORMATS for ending in re.findall(r"\.\w+", one.files)}
    endings = [ending for ending in (Path(name).suffix for name in near) if ending.lower() in known]
    do = f"try {str(folder / ('*' + endings[0]))!r}" if endings else "there are no scans, give another folder"
    return FileFormatError(pattern, "scans", inside, do)


def version_of(source: Path | str) -> list[Any]:
    """Return what changes with a scan: the size of its file and when that was changed, or those of all its files; see `place`."""
    if isinstance(source, str):
        return _remote.version_of(source)
    _sources.require_there(source)
    known = [(path.name, at.st_size, at.st_mtime_ns) for path in _parts_of(source) for at in [path.stat()]]
    size = sum(of_one for _, of_one, _ in known)
    if len(known) == 1:
        return [size, known[0][2]]
    return [size, hashlib.sha256(json.dumps(sorted(known)).encode()).hexdigest()]


def _parts_of(source: Path) -> Sequence[Path]:
    """Return the files that a scan is stored in."""
    if is_many(source):
        return files_of(source)
    format = first_of([one for one in FORMATS if one.parts is not None], source, _sources.head_or_nothing(source))
    return [source] if format is None or format.parts is None else format.parts(source)


def _is_companion(path: Path) -> bool:
    """Tell whether a file that is no scan may lie beside scans: one that belongs to them, a text or a picture."""
    if not path.suffix:  # as README and LICENSE
        return b"\0" not in _sources.read_head(path)
    return path.suffix.lower() in _SIDECARS | _PICTURES or path.name.lower() in _OF_WINDOWS


def files_of(source: Many) -> list[Path]:
    """Return the files of a folder or behind a pattern in natural order, or those of a list, which have to be there."""
    if not isinstance(source, str | os.PathLike):
        for path in source:
            if is_url(path):
                do = "only files of this machine are joined to a stack: fsspec.filesystem(...).get brings them"
                raise OptionError("path", path, do)
        given = [Path(path).expanduser().absolute() for path in source]
        for path in given:
            _sources.require_there(path)
        return given
    if is_pattern(source):
        pattern = Path(source).expanduser().absolute()
        fixed = next(place for place in pattern.parents if not any(mark in str(place) for mark in "*?["))
        found = fixed.glob(str(pattern.relative_to(fixed)))
    else:
        found = Path(source).expanduser().absolute().iterdir()
    files = [path for path in found if not path.is_dir() or path.suffix == ".zarr"]
    return sorted((path for path in files if not path.name.startswith(".")), key=natural)


def _name(source: Many) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else f"{len(source)} files"


def told_once(paths: Iterable[Path], open_all: Callable[[], Opened]) -> Opened:
    """Open files, and say what is warned of several of them, or of texts beside them, once, with all their names."""
    caught: list[Warning] = []
    try:
        with heard() as caught:
            return open_all()
    finally:
        _tell(caught, {path.stem for path in paths})


def _tell(caught: Iterable[Warning], stems: Container[str]) -> None:
    said: dict[tuple[str, type[Warning]], list[str]] = {}
    for one in caught:
        text = str(one)
        name, _, problem = text.partition(": ")
        if Path(name).stem in stems:
            said.setdefault((problem, type(one)), []).append(name)
        else:
            said.setdefault((text, type(one)), [])
    for (text, category), names in said.items():
        warn(f"{_sources.listed([*dict.fromkeys(names)])}: {text}" if names else text, category)


def open_folder(source: Many, *, chunks: Any, options: Mapping[str, Any], engine: str = "stxm") -> xr.Dataset:
    """Open the only scan of a folder, a pattern or a list, or all of them, one energy each, as one stack. Lazy.

    Raises
    ------
    FileFormatError
        The files are of several formats, or of another than was asked for; `UnsupportedScanError` where they hold
        several energies each, or lie on different grids.
    OptionError
        An option that the format does not know.
    """
    scans, name = scans_of(source), _name(source)
    formats = {format.name: format for _, format in scans}
    if engine != "stxm" and set(formats) != {engine}:
        do = 'give a pattern that leaves the others out, or engine="stxm"'
        raise FileFormatError(name, f"files of the format {engine}", ", ".join(formats), do)
    if len(formats) > 1:
        names = [f"{path.name} ({format.name})" for path, format in scans]
        raise FileFormatError(name, "files of one format", _sources.listed(names), "give a pattern, e.g. 'scans/*.hdr'")
    (format,) = formats.values()
    format.check_options(options)
    paths = [path for path, _ in scans]
    if len(paths) == 1:
        return chunked(format.open(paths[0], **options), chunks)
    return chunked(told_once(paths, lambda: _assembled(paths, format, options, name)), chunks)


def _assembled(paths: Sequence[Path], format: Format, options: Mapping[str, Any], name: str) -> xr.Dataset:
    if format.assemble is not None:
        return format.assemble(paths, drop_variables=None, **options)
    return assemble({path: format.open(path, **options) for path in paths}, name)


def require_chunks(chunks: object) -> None:
    """Refuse chunks that are none, before a file is opened.

    Raises
    ------
    OptionError
        Sizes that are none.
    """
    cut = isinstance(chunks, Mapping) and all(_is_size(size) or _are_sizes(size) for size in chunks.values())
    if not (cut or (_is_size(chunks) and (chunks is None or chunks == "auto" or isinstance(chunks, int)))):
        do = 'give the pixels of a chunk, -1 for all, e.g. {"energy": -1, "y": 256, "x": 256}, or {} for the chunks of the file'
        raise OptionError("chunks", chunks, do)


def _is_size(size: object) -> bool:
    """Tell whether dask cuts a dimension so: by a number, by bytes, as it likes or not at all."""
    number = n_bytes(size)
    return (
        size is None
        or (isinstance(size, str) and size == "auto")
        or number == -1
        or (number >= 1 and number.is_integer())
    )


def _are_sizes(sizes: object) -> bool:
    return isinstance(sizes, tuple | list) and len(sizes) > 0 and all(_is_size(n) and n_bytes(n) >= 1 for n in sizes)


def require_dims(stack: xr.Dataset, chunks: object) -> None:
    """Refuse chunks along dimensions that a stack does not have, which xarray takes no notice of.

    Raises
    ------
    ChoiceError
        There is no such dimension; the stack is closed.
    """
    if unknown := [dim for dim in chunks if dim not in stack.dims] if isinstance(chunks, Mapping) else []:
        stack.close()
        raise ChoiceError("dimension of chunks", unknown[0], [str(dim) for dim in stack.dims])


def chunked(stack: xr.Dataset, chunks: Any) -> xr.Dataset:
    """Return a stack in chunks as `xarray.open_dataset` would: None for none, ``{}`` for those of its file."""
    small = {name: coord.load() for name, coord in stack.coords.items() if coord.ndim < 2}
    if chunks is None:
        return stack
    require_dims(stack, chunks)
    out = stack.chunk(_own_chunks(stack) if chunks == {} else chunks).assign_coords(small)
    out.set_close(stack.close)
    return out


def _own_chunks(stack: xr.Dataset) -> dict[Any, int]:
    """Return the chunks that a file wants to be read by."""
    return {
        dim: size
        for array in stack.variables.values()
        for dim, size in array.encoding.get("preferred_chunks", {}).items()
    }
