"""What one room says of its format: how it is recognised, opened, and what a file of it may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from xstxm.errors import OptionError
from xstxm.io._sources import Source


@dataclass(frozen=True)
class Format:
    """One file format of stacks; each room has one, and `xstxm.io.formats` lists them."""

    name: str
    """Name of its xarray engine."""
    title: str
    """What a file is, for messages: ``"an SDF header"``."""
    files: str
    """Endings of its files, for people; the content decides."""
    written_by: str
    """Programs and beamlines."""
    recognises: Callable[[Source, bytes], bool]
    """Tells by the source and its first bytes whether a file is of this format."""
    open: Callable[..., xr.Dataset]
    """Opens a file: the source, ``drop_variables`` and the `options`."""
    options: tuple[str, ...] = ()
    """Options of `open_stack` that this format understands."""
    refusals: Mapping[str, str] | None = None
    """What to say of an option that only other formats understand, by option."""
    scans: Callable[[Source], Mapping[str, Mapping[str, Any]]] | None = None
    """Returns the scans in a file, name -> the options that open it; None where a file holds one."""
    main: Callable[[Path], Path] = Path
    """Returns the file that stands for a scan of several files, given any of them."""
    parts: Callable[[Path], Sequence[Path]] | None = None
    """Returns all files of a scan, given the one that stands for it; None where that is all."""
    assemble: Callable[..., xr.Dataset] | None = None
    """Opens many files, one energy each, as one stack: paths, ``drop_variables`` and the `options`."""
    experimental: str = ""
    """What has met no real file; empty where all was verified on real ones."""
    writer: str = ""
    """Name of the function that writes the format, empty where there is none."""

    @property
    def page(self) -> str:
        """The page of the documentation."""
        return f"docs/formats/{self.name}.md"

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse the first option that only other formats understand.

        Raises
        ------
        OptionError
            There is one.
        """
        for option, value in options.items():
            if option not in self.options:
                do = (self.refusals or {}).get(option, f"{self.title} has no such option: leave it out")
                raise OptionError(option, value, do)


def first_of(formats: Sequence[Format], source: Source, head: bytes) -> Format | None:
    """Return the format that recognises a file, None where none does."""
    return next((one for one in formats if one.recognises(source, head)), None)
