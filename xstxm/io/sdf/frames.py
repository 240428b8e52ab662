"""The data files of an SDF scan: which exist, which frame belongs to which energy, and their numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xstxm.errors import CorruptFileError, IncompleteWarning, warn
from xstxm.io._sources import COPY_AGAIN, listed
from xstxm.io.sdf.header import Header

_LONGEST = 64
"""Bytes that a number may take in a frame, with the blanks around it."""


@dataclass(frozen=True)
class TextFrames:
    """Reads the frames of one channel; a frame is (y, x), or (x, y) turned round."""

    paths: tuple[Path, ...]
    shape: tuple[int, int]
    turned: bool = False
    aborted: bool = False
    """Whether rows that do not count may follow those of the shape."""

    def __call__(self, index: int = 0) -> np.ndarray:
        """Return one frame, float32."""
        frame = read_frame(self.paths[index], self.shape, aborted=self.aborted)
        return frame.T if self.turned else frame


def read_frame(path: Path, shape: tuple[int, int], *, aborted: bool = False) -> np.ndarray:
    """Read a frame: one row of numbers per line, any blanks between them.

    Raises
    ------
    CorruptFileError
        The file is missing, holds something else than numbers, or not `shape` of them.
    """
    expected = f"{shape[0]} rows of {shape[1]} numbers"
    rows = [line.decode("latin-1") for line in _rows(path, shape)[: shape[0] if aborted else None]]
    if len(rows) != shape[0]:
        raise CorruptFileError(path, expected, f"{len(rows)} rows", COPY_AGAIN)
    try:
        frame = np.loadtxt(rows, dtype="float32", comments=None, ndmin=2)
    except ValueError as error:
        raise CorruptFileError(path, expected, str(error), COPY_AGAIN) from None
    if frame.shape != shape:
        raise CorruptFileError(path, expected, f"{frame.shape[0]} rows of {frame.shape[1]}", COPY_AGAIN)
    return frame


def _rows(path: Path, shape: tuple[int, int]) -> list[bytes]:
    """Return the lines of a frame that are not blank; a file that is far too large is not read."""
    expected = f"{shape[0]} rows of {shape[1]} numbers"
    try:
        size = path.stat().st_size
        if size > _LONGEST * (shape[0] + 1) * (shape[1] + 1):
            raise CorruptFileError(path, expected, f"{size} bytes", COPY_AGAIN)
        return [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except FileNotFoundError:
        raise CorruptFileError(path, expected, "no such file", "copy it beside the header again") from None


def complete_rows(path: Path, shape: tuple[int, int]) -> int:
    """Return how many rows of a frame were written to their last pixel, without converting its numbers."""
    rows = _rows(path, shape)
    return len(rows) - bool(rows and len(rows[-1].split()) < shape[1])


def files_of(header: Path) -> list[Path]:
    """Return the files of a scan that are there, its header first; of regions and channels too that nobody reads."""
    names = re.compile(rf"{re.escape(header.stem)}_([a-z]\d*\.xim|\d*\.xsp)", re.IGNORECASE)
    beside = header.parent.iterdir() if header.parent.is_dir() else ()
    return [*([header] if header.exists() else []), *sorted(file for file in beside if names.fullmatch(file.name))]


def files_beside(header: Path, suffix: str) -> dict[str, Path]:
    """Return the data files of a scan by the lower-case part of their name after ``B_``.

    Raises
    ------
    CorruptFileError
        Two names differ in nothing but upper and lower case.
    """
    start = f"{header.stem.lower()}_"
    found: dict[str, Path] = {}
    for entry in sorted(header.parent.iterdir()):
        name = entry.name.lower()
        if not (name.startswith(start) and name.endswith(suffix) and entry.is_file()):
            continue
        part = name[len(start) : -len(suffix)]
        if part in found:
            raise _twice(header, found[part], entry)
        found[part] = entry
    return found


def _twice(header: Path, one: Path, other: Path) -> CorruptFileError:
    do = "move the one of another scan out of the folder"
    return CorruptFileError(header, "one file for each frame", f"{one.name} and {other.name}", do)


def frames_of(files: Mapping[str, Path], letter: str, region: int, header: Header, name: Path) -> dict[int, Path]:
    """Return frame index -> file of one channel and region.

    Raises
    ------
    CorruptFileError
        Two files have the same number.
    """
    is_stack = "stack" in header.flags or (header.stack is not None and header.stack.points.size > 1)
    found: dict[int, Path] = {}
    for ending, path in files.items():
        match = re.fullmatch(rf"{letter}(\d*)", ending)
        if match is None:
            continue
        index, part = _split(match[1], is_stack, header)
        if part != region:
            continue
        if index in found:
            raise _twice(name, found[index], path)
        found[index] = path
    return found


def _split(digits: str, is_stack: bool, header: Header) -> tuple[int, int]:
    """Return (frame index, region) of the digits in a file name: ``a0031`` is frame 3 of region 1."""
    if not digits:
        return 0, 0
    if not is_stack:
        return 0, int(digits)
    if header.multi_region and len(digits) > 3:
        # with ten regions or less the region is one digit, whatever the number of energies
        place = -1 if len(header.regions) <= 10 else 3
        return int(digits[:place]), int(digits[place:])
    return int(digits), 0


def pair(frames: Mapping[int, Path], region: int, header: Header, energy: np.ndarray, name: Path) -> list[int]:
    """Return the position on the energy axis of each frame, in the order of the frames.

    As many frames as energies are paired in order, whatever their numbers; else the numbers of the
    records decide, else frame i has energy i.

    Raises
    ------
    CorruptFileError
        There are more frames than energies.
    """
    numbers, records = sorted(frames), sorted(header.records.get(region, {}))
    if len(numbers) == energy.size:
        return list(range(energy.size))
    if len(records) == energy.size and set(numbers) <= set(records):
        positions = [records.index(number) for number in numbers]
    elif numbers[-1] < energy.size:
        positions = numbers
    else:
        raise CorruptFileError(
            name,
            f"{energy.size} frames, one for each energy",
            f"{len(numbers)}, numbered {listed(numbers)}",
            "move the files of another scan out of the folder",
        )
    without = np.delete(energy, positions)
    warn(
        f"{name.name}: {len(numbers)} of {energy.size} frames exist, the scan was aborted or files are missing: "
        f"{listed([f'{value:g} eV' for value in without])} left out",
        IncompleteWarning,
    )
    return positions


def drop_incomplete(paths: list[Path], shape: tuple[int, int], energy: np.ndarray, name: Path) -> int:
    """Return how many frames to keep: all, or all but a last one that was not written to its end.

    Raises
    ------
    CorruptFileError
        The only frame is incomplete.
    """
    if complete_rows(paths[-1], shape) >= shape[0]:
        return len(paths)
    if len(paths) == 1:
        expected = f"{shape[0]} rows of {shape[1]} numbers"
        raise CorruptFileError(paths[-1], expected, "fewer", "the scan was aborted in its only frame, give another")
    warn(
        f"{name.name}: the last frame {paths[-1].name} ends before its {shape[0]} rows of {shape[1]} numbers, "
        f"the scan was aborted: {energy[-1]:g} eV left out",
        IncompleteWarning,
    )
    return len(paths) - 1
