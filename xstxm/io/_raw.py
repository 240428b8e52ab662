"""Frames that lie in a file one after another, as plain numbers."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from xstxm.errors import CorruptFileError, FileFormatError
from xstxm.io._sources import COPY_AGAIN, Source, called, name_of

Kind: TypeAlias = Literal["intensity", "optical_density"]
"""What the numbers are, where a file does not say."""
UNITS_OF: dict[str, str] = {"intensity": "count", "optical_density": "1"}
_ONE_AT_A_TIME = threading.Lock()


def size_of(source: Source) -> int:
    """Return how many bytes a source holds; a file-like object is rewound."""
    if isinstance(source, str | os.PathLike):
        return Path(source).stat().st_size
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return size


def refuse_closed(source: Source | None) -> None:
    """Raise an error where a file object was closed while a stack still reads from it."""
    if source is not None and getattr(source, "closed", False):
        raise FileFormatError(name_of(source), "an open file", "a closed one", "open the stack again")


def bytes_of(source: Source, offset: int, size: int) -> bytes:
    """Return bytes from anywhere in a source.

    Raises
    ------
    FileFormatError
        The source was closed.
    CorruptFileError
        It ends before that.
    """
    refuse_closed(source)
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            file.seek(offset)
            found = file.read(size)
    else:
        with _ONE_AT_A_TIME:  # dask reads frames at the same time, and the place in a file object is one
            source.seek(offset)
            found = source.read(size)
    if len(found) != size:
        name = called(source)
        raise CorruptFileError(name, f"{size} bytes from byte {offset}", f"{len(found)}", COPY_AGAIN)
    return found


@dataclass(frozen=True)
class RawFrames:
    """Reads frames, each (y, x): the numbers as stored, divided by the scale, turned where an axis descends."""

    source: Source
    shape: tuple[int, int]
    dtype: str
    offset: int = 0
    scale: float = 1.0
    flips: tuple[int, int] = (1, 1)

    def __call__(self, index: int) -> np.ndarray:
        """Return one frame, float32."""
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        stored = np.frombuffer(bytes_of(self.source, self.offset + index * size, size), self.dtype)
        frame = stored.reshape(self.shape)[:: self.flips[0], :: self.flips[1]]
        return (frame if self.scale == 1 else frame / self.scale).astype("float32")
