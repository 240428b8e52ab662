"""From TIFF images to a stack."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.errors import CorruptFileError, FileFormatError, StxmError, UnsupportedScanError
from xstxm.io import _base, _images, _sources
from xstxm.io._assembling import assemble
from xstxm.io._base import FrameArray, Scan, Signal
from xstxm.io._images import Energies, Kind
from xstxm.io._raw import UNITS_OF
from xstxm.io._sources import Source
from xstxm.units import LengthLike

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# deflate cannot pack better than 1:1032; more is a header that lies
_MOST_PACKED = 2000
_ESCAPED_MICRONS = ("\\u00b5m", "\\u00B5m")
"""How ImageJ writes the unit µm, a backslash and all."""
_LENGTHS = ("um", "micron", "microns", "µm", "μm", *_ESCAPED_MICRONS, "nm", "mm", "nanometer", "millimeter")
_NO_END = re.compile("invalid (page offset|offset to page)")
"""How tifffile says that a file ends before the directory of an image."""
_LABEL = re.compile(r"([-+.\deE]+) eV")


@dataclass(frozen=True)
class _Facts:
    """What the header of a TIFF file says; sizes and first positions (y, x) in um."""

    count: int
    shape: tuple[int, int]
    dtype: np.dtype
    signal: str | None
    units: str | None
    energies: np.ndarray | None
    pixel_size: tuple[float, float] | None
    first: tuple[float, float]


def is_tiff(head: bytes) -> bool:
    """Tell whether the bytes open a TIFF file."""
    return head.startswith(_MAGIC)


def open_tiff(
    source: Source,
    *,
    energies: Energies | None = None,
    kind: Kind | None = None,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open a TIFF file with an image for each energy.

    Parameters
    ----------
    source
        Path or binary file object; the latter is read at once.
    energies
        One in eV for each image, or the path of a list; else that of ImageJ's labels, of a .txt, .csv or .dat beside
        the file, or of its name, where that is clear.
    kind
        Whether the numbers are counts or optical densities; whole numbers are counts.
    pixel_size
        Size of a pixel, e.g. ``"50 nm"``; else that of ImageJ or OME where they name its unit.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        `intensity` or `optical_density` (energy, y, x), read by the image, in the order of the file: row 0 is the
        first row.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        No TIFF; torn or unequal images; energies, kind or size of a pixel that nobody says.
    """
    facts, content = _facts(source)
    if energies is not None:
        energy = _images.given_energies(energies, facts.count, source)
    else:
        [energy] = _energies_of([(source, facts)])
    _base.check_energies(energy, source)
    return _stack(source, facts, content, energy, kind=kind, pixel_size=pixel_size, drop_variables=drop_variables)


def _stack(
    source: Source,
    facts: _Facts,
    content: Path | bytes,
    energy: np.ndarray,
    *,
    kind: Kind | None,
    pixel_size: LengthLike | None,
    drop_variables: str | Iterable[str] | None,
) -> xr.Dataset:
    name = _images.signal_of(kind, facts.signal, facts.dtype, source)
    frames = FrameArray((facts.count, *facts.shape), _Frames(content, facts))
    scan = Scan(
        dims=("energy", "y", "x"),
        energy=energy,
        positions=_images.pixel_positions(facts.shape, pixel_size, facts.pixel_size, source, facts.first),
        signals={name: Signal(frames, facts.units if facts.units and name == facts.signal else UNITS_OF[name])},
        metadata={"source_file": _sources.source_file(_sources.name_of(source))},
    )
    return _base.to_dataset(scan, drop_variables)


def assemble_tiff(
    paths: Sequence[Path],
    *,
    energies: Energies | None = None,
    kind: Kind | None = None,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open TIFF files with one image each as one stack, sorted by energy; `energies` are in the order of the paths."""
    files = [(path, *_facts(path)) for path in paths]
    if energies is not None:
        each = list(_images.given_energies(energies, len(paths), paths[0].parent)[:, None])
    else:
        each = _energies_of([(path, facts) for path, facts, _ in files])
    options: dict[str, Any] = {"kind": kind, "pixel_size": pixel_size, "drop_variables": drop_variables}
    stacks = [_stack(*file, at, **options) for file, at in zip(files, each, strict=True)]
    return assemble(dict(zip(paths, stacks, strict=True)), paths[0].parent.name)


def _energies_of(files: Sequence[tuple[Source, _Facts]]) -> list[np.ndarray]:
    """Return the energies of each file: those that it or a list beside it says, else those of the names of single images.

    Raises
    ------
    UnsupportedScanError
        Nothing says them.
    """
    known = {index: _own_energies(facts, source) for index, (source, facts) in enumerate(files)}
    silent = [index for index, energy in known.items() if energy is None]
    for source, facts in (files[index] for index in silent):
        if facts.count > 1:
            lacks = f"{facts.count} images and no energies"
            raise UnsupportedScanError(_called(source), "an energy for each image", lacks, _images.GIVE_ENERGIES)
    names = [_sources.name_of(files[index][0]) for index in silent]
    named = _images.energies_of_names(names) if names else np.array([])
    if named is None:
        found = f"none, and no clear one in {_sources.listed(names)}"
        raise UnsupportedScanError(
            _called(files[silent[0]][0]), "an energy for each image", found, _images.NAME_ENERGIES
        )
    said = dict(zip(silent, named, strict=True))
    return [
        _images.usable_energies(np.array([said[index]]) if energy is None else energy, files[index][0])
        for index, energy in known.items()
    ]


def _own_energies(facts: _Facts, source: Source) -> np.ndarray | None:
    """Return the energies that a file or a list beside it says."""
    if facts.energies is not None:
        return facts.energies
    beside = _images.energies_beside(source)
    if beside is None:
        return None
    found = _images.read_energies(beside)
    if len(found) != facts.count:
        do = f"correct {beside.name}, or {_images.GIVE_ENERGIES}"
        raise CorruptFileError(_called(source), f"{facts.count} energies, one for each image", f"{len(found)}", do)
    return found


def _called(source: Source) -> object:
    return _sources.called(source)


def _facts(source: Source) -> tuple[_Facts, Path | bytes]:
    """Return what the header says, and where the images are read from: the path, or all bytes of a file object."""
    head = _sources.read_head(source, 8)
    name = _sources.called(source)
    if not is_tiff(head):
        raise FileFormatError(
            name, "a TIFF image", _sources.describe_content(_sources.read_head(source)), "give a .tif file"
        )
    place = _sources.located(source)
    content = place if isinstance(place, Path) else _sources.read_bytes(source)
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    try:
        with _complaints() as complaints, _opened(content) as file:
            pages = _pages(file, name)
            if any(_NO_END.search(complaint) for complaint in complaints):
                found = f"{len(pages)}, and the next one behind the end of the file"
                raise CorruptFileError(name, "a directory for each image", found, _sources.COPY_AGAIN)
            _check_pages(pages, size, name)
            if file.is_imagej and (file.imagej_metadata or {}).get("images", 1) > len(pages):
                do = "save it from ImageJ as an image sequence or as OME-TIFF"
                raise UnsupportedScanError(name, "a directory for each image", "raw images behind the first", do)
            return _described(file, pages), content
    except StxmError:
        raise
    except Exception as error:
        raise _broken(name, error) from error


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Gather what tifffile logs, which goes to the screen as a rule; without an error it is logged after all."""
    records: list[logging.LogRecord] = []
    said: list[str] = []
    logger = logging.getLogger("tifffile")

    def keep(record: logging.LogRecord) -> bool:
        records.append(record)
        said.append(record.getMessage())
        return False

    logger.addFilter(keep)
    try:
        yield said
    finally:
        logger.removeFilter(keep)
    for record in records:
        logger.handle(record)


def _pages(file: Any, name: object) -> list[Any]:
    """Return the images one after another: tifffile would count those of a ring without end."""
    pages: dict[int, Any] = {}
    with contextlib.suppress(IndexError):
        for index in itertools.count():
            page = file.pages[index]
            if page.offset in pages:
                raise CorruptFileError(name, "a directory for each image", f"image {index} again", _sources.COPY_AGAIN)
            pages[page.offset] = page
    return list(pages.values())


def _broken(name: object, error: Exception) -> CorruptFileError:
    # tifffile has no error of its own for most of what a torn file makes of its numbers
    found = f"a file that tifffile cannot read ({type(error).__name__}: {str(error)[:80]})"
    return CorruptFileError(name, "whole TIFF images", found, _sources.COPY_AGAIN)


def _opened(content: Path | bytes) -> Any:
    import tifffile

    return tifffile.TiffFile(io.BytesIO(content) if isinstance(content, bytes) else content)


def _check_pages(pages: Sequence[Any], size: int, name: object) -> None:
    """Refuse what is no series of gray images of one shape, or claims more bytes than the file has."""
    if not pages:
        raise CorruptFileError(name, "an image", "none", _sources.COPY_AGAIN)
    first = pages[0]
    if len(first.shape) != 2 or 0 in first.shape or first.dtype is None or first.dtype.kind not in "iuf":
        found = f"one of shape {first.shape}, {first.dtype}"
        raise UnsupportedScanError(name, "gray images (y, x)", found, "save the channel you need as a gray image")
    for number, page in enumerate(pages):
        if page.shape != first.shape or page.dtype != first.dtype:
            found = f"{page.shape} {page.dtype} in image {number}"
            raise CorruptFileError(name, f"images of {first.shape} {first.dtype}", found, "save one series of images")
        packed = sum(page.databytecounts)
        ends = [at + count for at, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not ends or max(ends) > size or page.nbytes > packed * (1 if page.compression == 1 else _MOST_PACKED):
            found = f"{packed} bytes for image {number} in a file of {size}"
            raise CorruptFileError(name, f"{page.nbytes} bytes for each image", found, _sources.COPY_AGAIN)


def _described(file: Any, pages: Sequence[Any]) -> _Facts:
    page = pages[0]
    metadata = (file.imagej_metadata or {}) if file.is_imagej else {}
    size = _imagej_size(page, metadata) if metadata else _ome_size(file.ome_metadata if file.is_ome else None)
    origin = [metadata.get(key, 0) for key in ("yorigin", "xorigin")]
    known = size is not None and all(isinstance(at, int | float) and np.isfinite(at) for at in origin)
    first = tuple(-at * step for at, step in zip(origin, size, strict=True)) if size and known else (0.0, 0.0)
    signal, units = _images.said(str(metadata.get("Info", "")))
    energies = _labelled(metadata.get("Labels"), len(pages))
    return _Facts(len(pages), page.shape, np.dtype(page.dtype), signal, units, energies, size, first)


def _labelled(labels: Any, count: int) -> np.ndarray | None:
    """Return the energies of labels as ``853.5 eV``, None unless every image has one."""
    labels = [labels] if isinstance(labels, str) else list(labels or ())
    found = [_LABEL.fullmatch(str(label).strip()) for label in labels]
    if len(found) != count or not all(found):
        return None
    try:
        return np.array([float(match[1]) for match in found if match])
    except ValueError:
        return None


def _imagej_size(page: Any, metadata: dict[str, Any]) -> tuple[float, float] | None:
    """Return the size of a pixel (y, x) in um, None where ImageJ names no unit of length for it."""
    unit = str(metadata.get("unit", ""))
    tags = [page.tags.get(name) for name in ("YResolution", "XResolution")]
    if unit not in _LENGTHS or any(tag is None or 0 in tag.value for tag in tags):
        return None
    factor = _units.factor("um" if unit in _ESCAPED_MICRONS else unit, "um")
    y, x = (_base.drop_noise(np.array(factor * tag.value[1] / tag.value[0])).item() for tag in tags)
    return y, x


def _ome_size(text: str | None) -> tuple[float, float] | None:
    """Return the size of a pixel (y, x) in um of OME-XML, whose unit is um where it names none."""
    found = dict(re.findall(r'PhysicalSize([XY](?:Unit)?)="([^"]*)"', text or ""))
    try:
        sizes = [float(found[dim]) * _units.factor(found.get(f"{dim}Unit", "um"), "um") for dim in "YX"]
    except (KeyError, ValueError, StxmError):
        return None
    return (sizes[0], sizes[1]) if all(np.isfinite(size) and size > 0 for size in sizes) else None


@dataclass(frozen=True)
class _Frames:
    """Reads one image; no file stays open."""

    content: Path | bytes
    facts: _Facts

    def __call__(self, index: int) -> np.ndarray:
        name = self.content if isinstance(self.content, Path) else _sources.NO_NAME
        try:
            with _complaints(), _opened(self.content) as file:
                frame = file.pages[index].asarray()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise _broken(name, error) from error
        if frame.shape != self.facts.shape:
            raise CorruptFileError(name, f"an image of {self.facts.shape}", f"{frame.shape}", _sources.COPY_AGAIN)
        return frame.astype("float32")
