"""What an SDF header says, checked and with names: axes, channels, regions, records per frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning, UnsupportedScanError, shown, warn
from xstxm.io._sources import COPY_AGAIN, SNIFF, Source, advise, called, describe_content, name_of, read_head
from xstxm.io.sdf import grammar

MARK = b"ScanDefinition"
_MEND = "correct the header in a text editor"
_LARGEST = 8 * 1024 * 1024
"""Bytes of a header; those of 123 frames have 17 kB."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Axis:
    """An axis of a scan: what moves, in which unit, and where it stopped."""

    name: str
    unit: str | None
    points: np.ndarray

    @property
    def is_energy(self) -> bool:
        """Whether the monochromator moves."""
        return "energy" in self.name.lower()


@dataclass(frozen=True)
class Region:
    """The two axes of a region; a spectrum has the first one only."""

    p: Axis
    q: Axis | None


@dataclass(frozen=True)
class Channel:
    """A detector channel, with the letter that its file names carry."""

    letter: str
    name: str
    unit: str | None


@dataclass(frozen=True)
class Record:
    """What was written down for one frame."""

    energy: float | None
    ring_current: float | None


@dataclass(frozen=True)
class Header:
    """A header, in the file's own units."""

    type: str
    flags: str
    dwell: float | None
    regions: tuple[Region, ...]
    stack: Axis | None
    channels: tuple[Channel, ...]
    time: str | None
    ring_current: float | None
    records: Mapping[int, Mapping[int, Record]]
    requested: tuple[tuple[int, float], ...]
    monochromator: float | None

    @property
    def multi_region(self) -> bool:
        """Whether the file names carry a region."""
        return "multi-region" in self.flags or len(self.regions) > 1


def is_sdf(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of an SDF header."""
    return MARK in head[:SNIFF]


def read_header(source: Source) -> Header:
    """Read and check a header.

    Raises
    ------
    FileFormatError
        The file is no SDF header.
    CorruptFileError
        The header lacks what a scan cannot be read without.
    """
    head = read_head(source)
    name = called(source)
    if not is_sdf(head):
        found = describe_content(head)
        raise FileFormatError(name, "an SDF header with a ScanDefinition", found, advise(name_of(source), head))
    text = read_head(source, _LARGEST + 1)
    if len(text) > _LARGEST:
        found = f"more than {_LARGEST // 1024**2} MB"
        raise CorruptFileError(name, "a header, which is a small text", found, COPY_AGAIN)
    fields = grammar.parse(text.decode("latin-1"), name_of(source))
    scan = fields.get("ScanDefinition")
    if not isinstance(scan, dict):
        raise CorruptFileError(name, "a struct ScanDefinition", shown(scan), COPY_AGAIN)
    kind = str(scan.get("Type") or "")
    if not kind:
        raise CorruptFileError(name, "a Type in ScanDefinition", "none", _MEND)
    motors = [motor for motor in fields.values() if isinstance(motor, dict) and motor.get("Name") == "Energy"]
    return Header(
        type=kind,
        flags=" ".join(str(scan.get("Flags") or "").lower().split()),
        dwell=_positive(scan.get("Dwell")),
        regions=_regions(scan, name),
        stack=_axis(scan["StackAxis"], name, "StackAxis") if _items(scan.get("StackAxis"), "Points") else None,
        channels=_channels(scan, source),
        time=_text(fields.get("Time")),
        ring_current=_positive(fields.get("StorageRingCurrent")),
        records=_records(fields),
        requested=_requested(fields),
        monochromator=_positive(motors[0].get("LastPosition")) if motors else None,
    )


def _positive(value: Any) -> float | None:
    """Return a number above zero; zero stands for unknown in these files."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and np.isfinite(value) and value > 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _items(struct: Any, name: str) -> list[Any]:
    array = struct.get(name) if isinstance(struct, dict) else None
    return array.items if isinstance(array, grammar.Array) else []


def _axis(struct: Any, name: Any, what: str) -> Axis:
    points = struct.get("Points") if isinstance(struct, dict) else None
    if not isinstance(points, grammar.Array) or not points.items:
        raise CorruptFileError(name, f"{what} with Points", "none", _MEND)
    if points.count != len(points.items):
        raise CorruptFileError(name, f"{points.count} Points of {what}", f"{len(points.items)}", COPY_AGAIN)
    try:
        values = np.array(points.items, dtype=float)
    except (TypeError, ValueError):
        raise CorruptFileError(name, f"numbers as Points of {what}", "other words", _MEND) from None
    if not np.isfinite(values).all():
        raise CorruptFileError(name, f"finite Points of {what}", "others", _MEND)
    return Axis(str(struct.get("Name") or what), _text(struct.get("Unit")), values)


def _regions(scan: Mapping[str, Any], name: Any) -> tuple[Region, ...]:
    structs = [item for item in _items(scan, "Regions") if isinstance(item, dict)]
    if not structs:
        raise CorruptFileError(name, "at least one region in ScanDefinition", "none", _MEND)
    return tuple(
        Region(
            _axis(struct.get("PAxis"), name, f"PAxis of region {index}"),
            _axis(struct["QAxis"], name, f"QAxis of region {index}") if _items(struct.get("QAxis"), "Points") else None,
        )
        for index, struct in enumerate(structs)
    )


def _channels(scan: Mapping[str, Any], source: Source) -> tuple[Channel, ...]:
    structs = [item for item in _items(scan, "Channels") if isinstance(item, dict)]
    if not structs:
        warn(f"{name_of(source)}: no Channels in the header: one channel in counts is assumed", MetadataWarning)
        return (Channel("a", "counter0", "counts"),)
    if len(structs) > len(_LETTERS):
        expected = f"at most {len(_LETTERS)} Channels, a letter of the file names for each"
        raise CorruptFileError(called(source), expected, f"{len(structs)}", COPY_AGAIN)
    return tuple(
        Channel(letter, str(struct.get("Name") or f"channel_{index}"), _text(struct.get("Unit")))
        for index, (letter, struct) in enumerate(zip(_LETTERS, structs, strict=False))
    )


_RECORD = re.compile(r"Image(\d{1,9})(?:_(\d{1,9}))?")


def _records(fields: Mapping[str, Any]) -> dict[int, dict[int, Record]]:
    """Return region -> frame index -> record.

    ``Image003_0`` counts energies from 0; the older ``Image2`` counts from 1 and leaves out the
    first frame, whose ring current is the one at the top of the header.
    """
    found: dict[int, dict[int, Record]] = {}
    for name, struct in fields.items():
        match = _RECORD.fullmatch(name)
        if match is None or not isinstance(struct, dict):
            continue
        index, region = (int(match[1]), int(match[2])) if match[2] else (int(match[1]) - 1, 0)
        record = Record(_positive(struct.get("Energy")), _positive(struct.get("StorageRingCurrent")))
        records = found.setdefault(region, {})
        records[index] = record
        if match[2] is None:
            records.setdefault(0, Record(None, _positive(fields.get("StorageRingCurrent"))))
    return found


def _requested(fields: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    """Return (number of energies, dwell) of each energy region that was asked for."""
    regions = [item for item in _items(fields.get("ImageScan"), "EnergyRegions") if isinstance(item, dict)]
    pairs = [(item.get("Points"), _positive(item.get("DwellTime"))) for item in regions]
    return tuple((number, dwell) for number, dwell in pairs if isinstance(number, int) and number > 0 and dwell)


_SCAN_TYPES = {
    "nexafs image": "sample image stack",
    "nexafs line": "sample line spectrum",
    "nexafs point": "sample point spectrum",
    "osa image": "osa image",
    "osa scan": "osa image",
    "detector": "detector image",
    "image": "sample image",
}


def scan_type(header: Header, source: Source) -> str:
    """Return the scan type in the words of NXstxm.

    Raises
    ------
    UnsupportedScanError
        The scan has no energy axis and is no image.
    """
    words = " ".join(header.type.lower().split())
    if "focus" not in words:
        for start, said in _SCAN_TYPES.items():
            if words.startswith(start):
                return said
    axes = [axis.name for region in header.regions[:1] for axis in (region.p, region.q) if axis]
    raise UnsupportedScanError(
        called(source),
        "an image, a stack, a line or a point scan",
        f"a {header.type!r} of {' and '.join(axes)}",
        "it cannot become a stack, give one that can",
    )
