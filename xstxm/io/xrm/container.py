"""The streams of a Zeiss X-ray microscope file, an OLE2 compound file, and what they say."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xstxm.errors import CorruptFileError, FileFormatError, MissingDependencyError, StxmError, UnsupportedScanError
from xstxm.io import _base
from xstxm.io._base import COPY_AGAIN, Source

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
DTYPES = {3: "u1", 4: "<i2", 5: "<u2", 6: "<i4", 7: "<u4", 10: "<f4", 11: "<f8"}
"""Types of numbers by the code that files store."""
REFERENCE = "ReferenceData/Image"
_HEADER = 512
_MOST = 100_000


@dataclass(frozen=True)
class Facts:
    """What the streams of a file say; per image where arrays, sizes in um, exposures in s."""

    shape: tuple[int, int]
    dtype: str
    count: int
    claimed: int
    energies: np.ndarray | None
    angles: np.ndarray | None
    exposures: np.ndarray | None
    pixel_size: float | None
    reference: str | None
    """Type of the numbers of the stored reference, None where there is none."""
    reference_exposure: float | None


@dataclass(frozen=True)
class Container:
    """The bytes of one file: its path, or all bytes of a file object; no file stays open."""

    name: object
    content: Path | bytes

    @classmethod
    def of(cls, source: Source) -> Container:
        """Return the container of a source, refused where its header is none or claims more than the file holds."""
        name = _base.path_of(source) or _base.name_of(source)
        head = _base.read_head(source, _HEADER)
        if not head.startswith(MAGIC):
            found = _base.describe_content(_base.read_head(source))
            raise FileFormatError(name, "a Zeiss X-ray microscope file", found, "give a .xrm or .txrm file")
        content = Path(source).expanduser() if not hasattr(source, "read") else _base.read_bytes(source)
        one = cls(name, content)
        _check_header(head, one.size, name)
        return one

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def facts(self) -> Facts:
        """Return what the file says, its images checked to be there in full."""
        return self._read(self._facts)

    def frame(self, stream: str, shape: tuple[int, int], dtype: str) -> np.ndarray:
        """Return an image (y, x) of a stream, float32."""
        data = self._read(lambda ole: self._stream(ole, stream) or b"")
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        if len(data) < needed:
            raise CorruptFileError(self.name, f"{needed} bytes in {stream}", f"{len(data)}", COPY_AGAIN)
        return np.frombuffer(data, dtype, math.prod(shape)).reshape(shape).astype("float32")

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
        shape = self._integer(ole, "ImageInfo/ImageHeight"), self._integer(ole, "ImageInfo/ImageWidth")
        if not all(1 <= size <= _MOST for size in shape):
            raise CorruptFileError(self.name, f"sizes of images from 1 to {_MOST}", f"{shape}", COPY_AGAIN)
        dtype = self._dtype(ole, "ImageInfo/DataType")
        count = self._count(ole, math.prod(shape) * np.dtype(dtype).itemsize)
        taken = self._numbers(ole, "ImageInfo/ImagesTaken", "<i4")
        pixel = self._decimals(ole, "ImageInfo/PixelSize")
        known = pixel is not None and np.isfinite(pixel[0]) and pixel[0] > 0
        inside = bool(ole.exists(REFERENCE))
        own_type = inside and ole.exists("ReferenceData/DataType")
        exposure = self._decimals(ole, "ReferenceData/ExpTime") if inside else None
        return Facts(
            shape=shape,
            dtype=dtype,
            count=count,
            claimed=count if taken is None else int(taken[0]),
            energies=self._per_image(ole, "ImageInfo/Energy", count),
            angles=self._per_image(ole, "ImageInfo/Angles", count),
            exposures=self._per_image(ole, "ImageInfo/ExpTimes", count),
            pixel_size=float(pixel[0]) if pixel is not None and known else None,
            reference=(self._dtype(ole, "ReferenceData/DataType") if own_type else dtype) if inside else None,
            reference_exposure=None if exposure is None else float(exposure[0]),
        )

    def _per_image(self, ole: Any, stream: str, count: int) -> np.ndarray | None:
        found = self._decimals(ole, stream)
        return None if found is None or len(found) < count else found[:count]

    def _count(self, ole: Any, needed: int) -> int:
        """Return how many images are stored, each checked to have the bytes that it needs."""
        names = ["/".join(parts) for parts in ole.listdir()]
        found = {int(match[1]): name for name in names if (match := re.fullmatch(r"ImageData\d+/Image(\d{1,6})", name))}
        if sorted(found) != list(range(1, len(found) + 1)) or not found:
            numbers = _base.listed(sorted(found)) or "none"
            raise CorruptFileError(self.name, "images numbered from 1 without gaps", numbers, COPY_AGAIN)
        for number, name in found.items():
            size = ole.get_size(name)
            if name != image(number) or size < needed or size > self.size:
                expected = f"{needed} bytes in {image(number)}, in a file of {self.size}"
                raise CorruptFileError(self.name, expected, f"{size} in {name}", COPY_AGAIN)
        return len(found)


def image(number: int) -> str:
    """Return the stream of an image, counted from 1: a hundred lie in each storage."""
    return f"ImageData{(number + 99) // 100}/Image{number}"


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
