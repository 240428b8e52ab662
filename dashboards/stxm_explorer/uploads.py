"""Reference spectra that a user sends: small tables of text, read by xstxm, kept as long as the session."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xstxm
from stxm_explorer.catalogue import SPECTRA
from stxm_explorer.names import plain_name
from xstxm.errors import CorruptFileError, FileFormatError, OptionError, ReferenceSpectrumError

LARGEST = 2_000_000
"""Bytes of a file that is taken; the server's limit of a message leaves room for it and little more."""
MOST_LINES = 50_000
LONGEST_LINE = 2_000
MOST_FILES = 50
TABLES = tuple(sorted(SPECTRA))
"""Endings of what is taken; packed projects and libraries are opened from the root folder."""

_TEXT = "a table of text with energies and spectra"
_IN_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


class Uploads:
    """The files that one session sent, in a folder of its own that is removed with it."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def read(
        self, name: str, data: bytes, *, stack: xr.Dataset | None = None, largest: int = LARGEST, **options: Any
    ) -> xr.Dataset:
        """Return the reference set in a file that was sent; its file is kept under its name.

        Parameters
        ----------
        name
            Name of the file, with an ending of `TABLES`.
        data
            Its bytes.
        stack
            Stack that the references are for: refused are those that do not cover its energies.
        largest
            Bytes that are taken.
        options
            Of `xstxm.read_references`.

        Raises
        ------
        OptionError
            The name is no plain file name, or there are too many files.
        FileFormatError
            The file is too large, of another ending, or no text; `CorruptFileError` where the table is broken.
        ReferenceSpectrumError
            A spectrum has no usable value; `EnergyRangeError` where it does not cover the stack.
        """
        name = plain_name(name)
        check_text(name, data, largest)
        if name not in self.files and len(self.files) >= MOST_FILES:
            raise OptionError("name", name, f"{MOST_FILES} files were sent already: load the page again to start anew")
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="xstxm-upload-")
        with tempfile.TemporaryDirectory(prefix=".", dir=self._folder.name) as new:
            path = Path(new) / name
            path.write_bytes(data)
            references = xstxm.read_references(path, **options)
            _check_values(name, references)
            if stack is not None:
                xstxm.with_references(stack[["energy"]], references)
            path.replace(Path(self._folder.name) / name)  # one of that name stays unless this is as good
        return references

    @property
    def files(self) -> Mapping[str, Path]:
        """The files that were taken, by name."""
        if self._folder is None:
            return {}
        return {path.name: path for path in sorted(Path(self._folder.name).iterdir()) if path.is_file()}

    def close(self) -> None:
        """Remove the files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def check_text(name: str, data: bytes, largest: int = LARGEST) -> None:
    """Refuse what is no small table of text, before anything reads it.

    Raises
    ------
    FileFormatError
        It is too large, of another ending, or has bytes that no text has.
    CorruptFileError
        It is empty, or has too many or too long lines.
    """
    ending = Path(name).suffix.lower()
    if ending not in TABLES:
        found, do = f"the ending {ending!r}", f"send one of {', '.join(TABLES)}; open others from the list of files"
        raise FileFormatError(name, _TEXT, found, do)
    if len(data) > largest:
        do = "put it into the folder that is served"
        raise FileFormatError(name, f"at most {largest / 1e6:g} MB", f"{len(data) / 1e6:.3g} MB", do)
    if not data.strip():
        raise CorruptFileError(name, _TEXT, "an empty file", "choose another")
    text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin-1", "replace")
    if _IN_NO_TEXT.search(text):
        raise FileFormatError(name, _TEXT, "a binary file", "export it as text, e.g. as .csv")
    lines = text.splitlines()
    if len(lines) > MOST_LINES or max(map(len, lines)) > LONGEST_LINE:
        found = f"{len(lines)} lines, the longest of {max(map(len, lines))} characters"
        raise CorruptFileError(name, f"at most {MOST_LINES} lines of {LONGEST_LINE} characters", found, "cut it down")


def _check_values(name: str, references: xr.Dataset) -> None:
    """Refuse spectra without a number: they would fit nothing."""
    usable = references["absorption"].notnull().sum("energy")
    empty = [str(one) for one in references["reference"].values[np.asarray(usable) < 2]]
    if empty:
        said = f"{name}: {', '.join(empty)}: fewer than two usable values: correct the table"
        raise ReferenceSpectrumError(said, empty)
