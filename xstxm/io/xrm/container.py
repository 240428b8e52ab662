"""The streams of a Zeiss X-ray microscope file, an OLE2 compound file, and what they say."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from xstxm.errors import CorruptFileError, FileFormatError, MissingDependencyError, StxmError, UnsupportedScanError
from xstxm.io import _sources
from xstxm.io._sources import COPY_AGAIN, Source

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
DTYPES = {3: "u1", 4: "<i2", 5: "<u2", 6: "<i4", 7: "<u4", 10: "<f4", 11: "<f8"}
"""Types of numbers by the code that files store."""
WIDTH = "ImageInfo/ImageWidth"
ENDINGS = (".xrm", ".txrm")
_REFERENCES = ("ReferenceData", "MultiReferenceData")
_HEADER = 512
_MOST = 100_000

Place: TypeAlias = "str | tuple[tuple[int, int], ...]"
"""Where an image lies: pieces of the file, (offset, size), or the name of a stream so small that it has no pieces of its own."""


@dataclass(frozen=True)
class Stored:
    """One image: where it lies, and the type of its numbers; its energy and exposure (s) where the file says them."""

    place: Place
    dtype: str
    energy: float | None
    exposure: float | None


@dataclass(frozen=True)
class Facts:
    """What the streams of a file say; sizes in um."""

    shape: tuple[int, int]
    images: tuple[Stored, ...]
    references: tuple[Stored, ...]
    claimed: int
    angles: np.ndarray | None
    pixel_size: float | None


@dataclass(frozen=True)
class Container:
    """The bytes of one file: its path, or all bytes of a file object; no file stays open."""

    name: object
    content: Path | bytes

    @classmethod
    def of(cls, source: Source) -> Container:
        """Return the container of a source, refused where its header is none or claims more than the file holds."""
        name = _sources.called(source)
        head = _sources.read_head(source, _HEADER)
        if not head.startswith(MAGIC):
            found = _sources.describe_content(_sources.read_head(source))
            raise FileFormatError(name, "a Zeiss X-ray microscope file", found, "give a .xrm or .txrm file")
        place = _sources.located(source)
        one = cls(name, place if isinstance(place, Path) else _sources.read_bytes(source))
        _check_header(head, one.size, name)
        return one

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def holds_images(self) -> bool:
        """Tell whether there is the stream that all images of these microscopes have."""
        return self._read(lambda ole: bool(ole.exists(WIDTH)))

    def facts(self) -> Facts:
        """Return what the file says, its images checked to be there in full."""
        return self._read(self._facts)

    def frame(self, stored: Stored, shape: tuple[int, int]) -> np.ndarray:
        """Return an image (y, x), float32."""
        place = stored.place
        data = (
            self._read(lambda ole: self._stream(ole, place) or b"") if isinstance(place, str) else self._pieces(place)
        )
        needed = math.prod(shape) * np.dtype(stored.dtype).itemsize
        if len(data) < needed:
            raise CorruptFileError(self.name, f"{needed} bytes for an image", f"{len(data)}", COPY_AGAIN)
        return np.frombuffer(data, stored.dtype, math.prod(shape)).reshape(shape).astype("float32")

    def _pieces(self, place: tuple[tuple[int, int], ...]) -> bytes:
        with io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb") as file:
            return b"".join(_piece(file, offset, size) for offset, size in place)

    def _read(self, job: Any) -> Any:
        """Return what a job makes of the open file, in errors of this package."""
        olefile = _olefile()
        try:
            with olefile.OleFileIO(
                io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content
            ) as ole:
                return job(ole)
        except (StxmError, FileNotFoundError):
            raise
        except Exception as error:
            # olefile has no error of its own for most of what a torn file makes of its numbers
            found = f"a file that olefile cannot read ({type(error).__name__}: {str(error)[:80]})"
            raise CorruptFileError(self.name, "a whole compound file", found, COPY_AGAIN) from error

    def _stream(self, ole: Any, stream: str) -> bytes | None:
        """Return the bytes of a stream, None where there is none."""
        if not ole.exists(stream) or ole.get_type(stream) != 2:
            return None
        claimed = ole.get_size(stream)
        if claimed > self.size:
            raise CorruptFileError(self.name, f"{claimed} bytes in {stream}", f"a file of {self.size}", COPY_AGAIN)
        data = ole.openstream(stream).read()
        if len(data) != claimed:
            raise CorruptFileError(self.name, f"{claimed} bytes in {stream}", f"{len(data)}, truncated", COPY_AGAIN)
        return data

    def _numbers(self, ole: Any, stream: str, dtype: str) -> np.ndarray | None:
        data = self._stream(ole, stream)
        size = np.dtype(dtype).itemsize
        return np.frombuffer(data, dtype, len(data) // size) if data and len(data) >= size else None

    def _integer(self, ole: Any, stream: str) -> int:
        found = self._numbers(ole, stream, "<i4")
        if found is None:
            do = "give a .xrm or .txrm file; Office documents and thumbnails are compound files too"
            raise FileFormatError(self.name, f"a compound file with {stream}", "one without", do)
        return int(found[0])

    def _decimals(self, ole: Any, stream: str) -> np.ndarray | None:
        """Return single precision as the decimals that were meant: 8353.1, not 8353.099609."""
        found = self._numbers(ole, stream, "<f4")
        return None if found is None else found.astype(str).astype(float)

    def _dtype(self, ole: Any, stream: str) -> str:
        code = self._integer(ole, stream)
        if code not in DTYPES:
            expected = f"numbers of a type {', '.join(map(str, DTYPES))}"
            raise UnsupportedScanError(self.name, expected, f"{code} in {stream}", "export the images as TIFF")
        return DTYPES[code]

    def _facts(self, ole: Any) -> Facts:
        shape = self._integer(ole, "ImageInfo/ImageHeight"), self._integer(ole, WIDTH)
        if not all(1 <= size <= _MOST for size in shape):
            raise CorruptFileError(self.name, f"sizes of images from 1 to {_MOST}", f"{shape}", COPY_AGAIN)
        dtype = self._dtype(ole, "ImageInfo/DataType")
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        names = self._images(ole)
        taken = self._numbers(ole, "ImageInfo/ImagesTaken", "<i4")
        pixel = self._decimals(ole, "ImageInfo/PixelSize")
        known = pixel is not None and np.isfinite(pixel[0]) and pixel[0] > 0
        angles = self._decimals(ole, "ImageInfo/Angles")
        return Facts(
            shape=shape,
            images=self._stored(ole, "ImageInfo", names, dtype, needed),
            references=self._references(ole, dtype, math.prod(shape)),
            claimed=len(names) if taken is None else int(taken[0]),
            angles=None if angles is None or len(angles) < len(names) else angles[: len(names)],
            pixel_size=float(pixel[0]) if pixel is not None and known else None,
        )

    def _references(self, ole: Any, dtype: str, pixels: int) -> tuple[Stored, ...]:
        """Return the stored references: ``ReferenceData/Image``, or several that are numbered."""
        names = ["/".join(parts) for parts in ole.listdir()]
        for root in _REFERENCES:
            found = {int(match[1] or 0): name for name in names if (match := re.fullmatch(rf"{root}/Image(\d*)", name))}
            if not found:
                continue
            typed = next((f"{root}/{at}" for at in ("DataType", "ImageInfo/DataType") if f"{root}/{at}" in names), None)
            own = self._dtype(ole, typed) if typed else dtype
            ordered = [found[number] for number in sorted(found)]
            return self._stored(ole, f"{root}/ImageInfo", ordered, own, pixels * np.dtype(own).itemsize)
        return ()

    def _stored(self, ole: Any, info: str, names: list[str], dtype: str, needed: int) -> tuple[Stored, ...]:
        """Return the images of some streams, each with what the file says of it."""
        energies = self._of_each(ole, f"{info}/Energy", len(names))
        exposures = self._of_each(ole, f"{info}/ExpTimes", len(names))
        one = self._of_each(ole, f"{info.split('/')[0]}/ExpTime", 1)
        return tuple(
            Stored(self._place(ole, name, needed), dtype, energy, exposure or one[0])
            for name, energy, exposure in zip(names, energies, exposures, strict=True)
        )

    def _of_each(self, ole: Any, stream: str, count: int) -> list[float | None]:
        """Return a number for each image, None where the file says none above zero."""
        found = self._decimals(ole, stream)
        if found is None or found.size < count:
            return [None] * count
        return [float(value) if np.isfinite(value) and value > 0 else None for value in found[:count]]

    def _place(self, ole: Any, name: str, needed: int) -> Place:
        """Return where the bytes of an image lie, so that the table of sectors is read once and not for each."""
        size = ole.get_size(name)
        if size < needed or size > self.size:
            expected = f"{needed} bytes in {name}, in a file of {self.size}"
            raise CorruptFileError(self.name, expected, f"{size}", COPY_AGAIN)
        if size < ole.minisectorcutoff:
            return name
        first, sector = ole.direntries[ole._find(name)].isectStart, ole.sectorsize
        pieces = _chain(np.asarray(ole.fat), first, -(-needed // sector), sector)
        if pieces is None or sum(max(0, min(size, self.size - offset)) for offset, size in pieces) < needed:
            found = "a chain of sectors that breaks off"
            raise CorruptFileError(self.name, f"{needed} bytes in {name}", found, COPY_AGAIN)
        return pieces

    def _images(self, ole: Any) -> list[str]:
        """Return the streams of the images in their order."""
        names = ["/".join(parts) for parts in ole.listdir()]
        found = {int(match[1]): name for name in names if (match := re.fullmatch(r"ImageData\d+/Image(\d{1,6})", name))}
        if sorted(found) != list(range(1, len(found) + 1)) or not found:
            numbers = _sources.listed(sorted(found)) or "none"
            raise CorruptFileError(self.name, "images numbered from 1 without gaps", numbers, COPY_AGAIN)
        for number, name in found.items():
            # a hundred lie in each storage
            if name != f"ImageData{(number + 99) // 100}/Image{number}":
                raise CorruptFileError(self.name, "a hundred images in each ImageData", name, COPY_AGAIN)
        return [found[number] for number in sorted(found)]


def holds_images(source: Source) -> bool:
    """Tell whether a compound file is one of these microscopes, of a broken one by its name; never an error."""
    try:
        return Container.of(source).holds_images()
    except (OSError, StxmError):
        return Path(_sources.name_of(source)).suffix.lower() in (*ENDINGS, "")


def _chain(table: np.ndarray, first: int, count: int, size: int) -> tuple[tuple[int, int], ...] | None:
    """Return the pieces (offset, size) of a chain of sectors, each as long as they follow one another; None where it breaks off."""
    pieces = []
    while count:
        if first >= len(table):
            return None
        following = table[first : first + count]
        apart = np.flatnonzero(following != np.arange(first + 1, first + 1 + len(following)))
        length = int(apart[0]) + 1 if apart.size else len(following)
        pieces.append(((first + 1) * size, length * size))
        first, count = int(following[length - 1]), count - length
    return tuple(pieces)


def _piece(file: Any, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _check_header(head: bytes, size: int, name: object) -> None:
    """Refuse sizes of sectors and tables that no file of this size can have, before anything is allocated."""
    if len(head) < _HEADER:
        raise CorruptFileError(name, f"a header of {_HEADER} bytes", f"{len(head)}", COPY_AGAIN)
    shift = int.from_bytes(head[30:32], "little")
    tables = [int.from_bytes(head[at : at + 4], "little") for at in (40, 44, 64, 72)]
    if shift not in (9, 12) or any(count << shift > size for count in tables):
        found = f"sectors of 2^{shift} bytes, {max(tables)} of them for a table, in a file of {size}"
        raise CorruptFileError(name, "tables of sectors that fit into the file", found, COPY_AGAIN)


def _olefile() -> Any:
    try:
        import olefile
    except ImportError as error:
        raise MissingDependencyError("reading .xrm and .txrm files", "olefile", "txrm") from error
    return olefile
