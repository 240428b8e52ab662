"""Sources of bytes: what a path or a file object is called, what it holds, and how its damage is told."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from xstxm.errors import CorruptFileError, FileFormatError, OptionError, StxmError

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"

SNIFF = 64 * 1024
NO_NAME = "the given file"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
COPY_AGAIN = "copy the file again from where it was measured, it may be cut short"
LARGE = 2**27
"""Bytes that are worth a look at whether a file can hold them."""
PACKING = 2000
"""Beyond what any filter saves: deflate reaches 1032 to 1 on zeros."""
_LOOKED_AT = 2000
"""Names of a folder among which one that was meant is looked for."""
BROKEN = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What the libraries below raise where a file is broken."""


def path_of(source: Source) -> Path | None:
    """Return the path behind a source, absolute, None for a file-like object that has none on disk."""
    place = located(source)
    if isinstance(place, Path):
        return place
    name = getattr(source, "name", None)
    return Path(name).absolute() if isinstance(name, str) and Path(name).is_file() else None


def located(source: Source) -> Path | BinaryIO:
    """Return the absolute path of a file, so that its frames are found from any folder; a file-like object as it is."""
    if isinstance(source, str | os.PathLike):
        return Path(os.fspath(source)).expanduser().absolute()
    return source


def name_of(source: Source) -> str:
    """Return the base name of a source; a general word where it has none."""
    path = path_of(source)
    if path is not None:
        return path.name
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) and name else NO_NAME


def called(source: Source) -> Path | str:
    """Return what errors call a source: its path, or its name where it has none."""
    return path_of(source) or name_of(source)


def source_file(name: str) -> str | None:
    """Return the name of a source as its stack keeps it, None where it has none."""
    return None if name == NO_NAME else name


def read_head(source: Source, size: int = SNIFF) -> bytes:
    """Return the first bytes of a source; a file-like object is rewound.

    Raises
    ------
    FileFormatError
        The source is a folder.
    FileNotFoundError
        There is no such file.
    OptionError
        It is neither a path nor a file opened for bytes.
    """
    place = located(source)
    if isinstance(place, Path):
        require_file(place)
        with place.open("rb") as file:
            return file.read(size)
    if isinstance(place, io.TextIOBase) or not hasattr(place, "read"):
        raise OptionError("path", source, "give a path, or a file opened with 'rb'")
    place.seek(0)
    head = place.read(size)
    place.seek(0)
    return head


def head_or_nothing(source: Any) -> bytes:
    """Return the first bytes of whatever was given, none where it is no file."""
    try:
        return read_head(source)
    except (OSError, AttributeError, TypeError, ValueError, StxmError):
        return b""


def read_bytes(source: Source) -> bytes:
    """Return all bytes of a source; a file-like object is rewound."""
    return read_head(source, -1)


def read_text(source: Source) -> str:
    """Return a text whatever its encoding: byte order marks first, then UTF-8, then Latin-1."""
    data = read_bytes(source)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            name = called(source)
            raise CorruptFileError(name, "a text in UTF-16", "bytes that are none", COPY_AGAIN) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def require_there(path: Path) -> None:
    """Refuse a path at which there is nothing, in words: the system's own error has a number.

    Raises
    ------
    FileNotFoundError
        There is nothing.
    """
    if not path.exists():
        close: list[str] = []
        with contextlib.suppress(OSError):  # a folder that is not there, or may not be looked into
            names = (entry.name for entry in path.parent.iterdir())
            close = difflib.get_close_matches(path.name, islice(names, _LOOKED_AT), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise FileNotFoundError(f"there is no file {str(path)!r}{hint}")


def require_file(path: Path) -> None:
    """Refuse a path at which there is nothing, and a folder, whose header the error names.

    Raises
    ------
    FileNotFoundError, FileFormatError
        There is nothing, or a folder.
    """
    require_there(path)
    if not path.is_dir():
        return
    headers = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() == ".hdr")
    inside = f"the header inside: {', '.join(headers[:3])}" if headers else "a file inside"
    raise FileFormatError(path, "a file", "a folder", f"give {inside}")


@contextlib.contextmanager
def guarded(path: object, expected: str) -> Iterator[None]:
    """Tell whatever a library raises on a broken file as one error.

    Raises
    ------
    CorruptFileError
        The file is broken.
    """
    try:
        yield
    except StxmError:
        raise
    except BROKEN as error:
        raise CorruptFileError(path, expected, short(error), COPY_AGAIN) from None


def short(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_hdf5(head: bytes) -> bool:
    """Tell whether the bytes open an HDF5 file, with a user block or without."""
    return any(head[at : at + 8] == HDF5_MAGIC for at in (0, 512, 1024, 2048, 4096))


def advise(name: str, head: bytes) -> str:
    """Say what to do instead of opening a file that is no scan, nothing where its content does not tell."""
    if head.lstrip().startswith(b"ENVI"):
        return "give the .hdr of an SDF scan, the text that says ScanDefinition"
    suffix = name.lower().rpartition(".")[2]
    if suffix == "xim":
        return "give the .hdr file that belongs to it"
    if suffix in ("csv", "tsv", "txt", "dat", "xsp", "xas", "xdi", "nor", "xmu"):
        return "a spectrum is read with xstxm.read_references or xstxm.read_i0"
    return ""


def describe_content(head: bytes) -> str:
    """Say in words what a file seems to be, for an error message."""
    if not head:
        return "an empty file"
    if is_hdf5(head):
        return "an HDF5 file"
    if head.lstrip().startswith(b"ENVI"):
        return "an ENVI header"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "a TIFF image"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return "a compound file, as Office and Windows write"
    if b"\0" in head[:1024]:
        return "a binary file"
    first = next((line for line in head.splitlines() if line.strip()), b"")
    return f"a text that starts with {first[:40].decode('latin-1').strip()!r}"


def listed(names: Sequence[object], limit: int = 5) -> str:
    """Return the first names of a list in words."""
    shown = ", ".join(str(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def closing(opened: Iterable[Any]) -> Callable[[], None]:
    """Return a function, which can be pickled, that closes several stacks or files."""
    return partial(_close, list(opened))


def _close(opened: Sequence[Any]) -> None:
    for one in opened:
        one.close()
