"""Files that leave the explorer: into one folder if the server has one, as a download always."""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from stxm_explorer.access import logger
from stxm_explorer.names import plain_name
from xstxm.errors import OptionError, StxmError

Writer: TypeAlias = Callable[[Path], object]
"""Writes what it is given the path for: a file, with others beside it, or a folder."""

LARGEST_DOWNLOAD = 200_000_000
"""Bytes that are sent through the page: they are in memory several times on the way."""

_MOVING = threading.Lock()


class NoOutputError(StxmError):
    """The server writes no files."""

    def __init__(self) -> None:
        self._say("this page writes no files: download it, or start the server with --output FOLDER")


class OutputExistsError(StxmError, FileExistsError):
    """A file of that name is there, and nobody said to replace it."""

    def __init__(self, name: str) -> None:
        self._say(f"{name} is there already: tick Replace files that are there, or move it away")


class OutputFailedError(StxmError, OSError):
    """The system did not write a file."""

    def __init__(self, name: str, reason: str) -> None:
        self._say(
            f"{name} could not be written: {reason[:1].lower()}{reason[1:]}: ask who runs the server, or download it"
        )


class Outputs:
    """The folder that files are written to, and nowhere else; without one the page is read-only."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = None if folder is None else folder.resolve()

    @property
    def allowed(self) -> bool:
        """Whether files can be written on the server."""
        return self.folder is not None

    def path(self, name: str) -> Path:
        """Return where a file of that name is written.

        Raises
        ------
        NoOutputError
            The server has no folder for it.
        OptionError
            It is no plain file name.
        """
        if self.folder is None:
            raise NoOutputError
        return self.folder / plain_name(name)

    def write(self, name: str, writer: Writer, *, overwrite: bool = False) -> Path:
        """Write a file, and what belongs to it, as a whole or not at all; return its path.

        Raises
        ------
        OutputExistsError
            It, or a file that belongs to it, is there, and `overwrite` is off.
        OutputFailedError
            The system refused.
        NoOutputError, OptionError
            See `path`.
        """
        target = self.path(name)
        try:
            with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as part:
                writer(Path(part) / target.name)
                _move(Path(part), target, overwrite)
        except StxmError:
            raise
        except OSError as error:
            logger.error("%s could not be written", target, exc_info=error)
            raise OutputFailedError(target.name, error.strerror or type(error).__name__) from error
        logger.info("wrote %s", target)
        return target

    def package(self, name: str, writer: Writer) -> io.BytesIO:
        """Return a file for a download; of a name that ends in .zip all that the writer puts into a folder.

        Raises
        ------
        OptionError
            It is no plain file name, or several files came without a .zip around them.
        OutputFailedError
            The system refused, or the file is larger than a page can send.
        """
        name = plain_name(name)
        try:
            with tempfile.TemporaryDirectory(prefix="xstxm-download-") as folder:
                made = Path(folder) / (name[: -len(".zip")] if name.lower().endswith(".zip") else name)
                if made.name != name:
                    made.mkdir()
                writer(made)
                return io.BytesIO(_packed(Path(folder), name))
        except StxmError:
            raise
        except OSError as error:
            logger.error("%s could not be made", name, exc_info=error)
            raise OutputFailedError(name, error.strerror or type(error).__name__) from error


def _move(part: Path, target: Path, overwrite: bool) -> None:
    """Move all that was written to its place, the file itself last; nothing where one of them is there."""
    new = sorted(part.iterdir(), key=lambda path: path.name == target.name)
    if not any(path.name == target.name for path in new):
        raise OutputFailedError(target.name, "the writer left no file of that name")
    with _MOVING:
        for path in new:
            place = target.parent / path.name
            if (place.exists() or place.is_symlink()) and not overwrite:
                raise OutputExistsError(path.name)
        for path in new:
            _replace(path, target.parent / path.name)


def _replace(path: Path, place: Path) -> None:
    """Put a file or folder in its place, the old one back where that fails; a link is replaced, not followed."""
    if not place.is_dir() or place.is_symlink():
        path.replace(place)
        return
    old = place.rename(path.with_name(f"{path.name}.old"))
    try:
        path.replace(place)
    except OSError:
        old.rename(place)
        raise


def _packed(folder: Path, name: str) -> bytes:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    if size > LARGEST_DOWNLOAD:
        limit = f"{size / 1e6:.0f} MB are more than the {LARGEST_DOWNLOAD / 1e6:.0f} MB that a page sends"
        raise OutputFailedError(name, limit)
    if not name.lower().endswith(".zip"):
        if [path.name for path in files] != [name]:
            raise OptionError("name", name, f"{len(files)} files were made: give a name that ends in .zip")
        return files[0].read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder).as_posix())
    return packed.getvalue()
