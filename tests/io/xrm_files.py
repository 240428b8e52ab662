"""Writes small compound files as Zeiss X-ray microscopes lay them out: version 3, sectors of 512 bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

SHAPE = (25, 40)
END, FREE, FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
CODES = {"uint16": 5, "float32": 10}


def counts(count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(100, 60_000, (count, *SHAPE), dtype="uint16")


def write_xrm(
    path: Path, images: np.ndarray, energies=(), *, reference=None, pixel_size=0.03, streams=None, **more
) -> Path:
    """Write images (n, y, x); `more` holds further streams of ImageInfo as arrays, or None to leave one out.

    `streams` are further streams anywhere.
    """
    count, height, width = images.shape
    info = {
        "ImageWidth": np.int32(width),
        "ImageHeight": np.int32(height),
        "NoOfImages": np.int32(count),
        "ImagesTaken": np.int32(count),
        "DataType": np.int32(CODES[images.dtype.name]),
        "PixelSize": np.float32(pixel_size),
        "Energy": np.array(energies or [0.0] * count, "f4"),
        "ExpTimes": np.full(count, 2.0, "f4"),
    }
    further = streams or {}
    streams = {
        f"ImageInfo/{name}": np.asarray(value).tobytes() for name, value in (info | more).items() if value is not None
    }
    for number, frame in enumerate(images, start=1):
        streams[f"ImageData{(number + 99) // 100}/Image{number}"] = frame.tobytes()
    if reference is not None:
        streams["ReferenceData/Image"] = reference.tobytes()
        streams["ReferenceData/DataType"] = np.int32(CODES[reference.dtype.name]).tobytes()
        streams["ReferenceData/ExpTime"] = np.float32(2.0).tobytes()
    path.write_bytes(compound(streams | further))
    return path


def compound(streams: Mapping[str, bytes]) -> bytes:
    """Return a compound file; streams below 4096 bytes lie in the mini stream."""
    mini, minifat, sectors, fat = b"", [], [], []

    def store(data: bytes) -> int:
        if not data:
            return END
        first, count = len(sectors), -(-len(data) // 512)
        sectors.extend(data[at : at + 512].ljust(512, b"\0") for at in range(0, len(data), 512))
        fat.extend([*range(first + 1, first + count), END])
        return first

    places = {}
    for name, data in streams.items():
        if len(data) < 4096:
            first, count = len(minifat), -(-len(data) // 64)
            mini += data.ljust(count * 64, b"\0")
            minifat += [*range(first + 1, first + count), END]
            places[name] = first
        else:
            places[name] = store(data)
    directory = _directory(streams, places, store(mini), len(mini))
    minifat_at = store(b"".join(struct.pack("<I", at) for at in minifat))
    directory_at = store(directory)
    tables = next(n for n in range(1, 110) if n * 128 >= len(fat) + n)
    places_of_fat = range(len(sectors), len(sectors) + tables)
    fat += [FAT] * tables
    fat += [FREE] * (tables * 128 - len(fat))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    mini_tables = -(-len(minifat) // 128)
    header += struct.pack("<9I", 0, tables, directory_at, 0, 4096, minifat_at, mini_tables, END, 0)
    header += b"".join(struct.pack("<I", at) for at in [*places_of_fat, *[FREE] * (109 - tables)])
    return header + b"".join(sectors) + b"".join(struct.pack("<I", at) for at in fat)


def _directory(streams, places, mini_at, mini_size) -> bytes:
    """Return the entries: the root, and what is in each storage as a chain of right siblings."""
    entries = [("Root Entry", 5, FREE, 1, mini_at, mini_size)]

    def add(storage: str) -> None:
        inside = {name[len(storage) :].split("/")[0] for name in streams if name.startswith(storage)}
        words = sorted(inside, key=lambda word: (len(word), word.upper()))
        first = len(entries)
        entries.extend([()] * len(words))
        for at, word in enumerate(words, start=first):
            right, name = at + 1 if at + 1 < first + len(words) else FREE, storage + word
            if name in streams:
                entries[at] = (word, 2, right, FREE, places[name], len(streams[name]))
            else:
                entries[at] = (word, 1, right, len(entries), 0, 0)
                add(f"{name}/")

    add("")
    return b"".join(_entry(*entry) for entry in entries)


def _entry(name: str, kind: int, right: int, child: int, first: int, size: int) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    head = text.ljust(64, b"\0") + struct.pack("<HBB3I", len(text), kind, 1, FREE, right, child)
    return head + bytes(36) + struct.pack("<IQ", first, size)
