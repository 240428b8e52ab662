"""How a variable is cut into chunks: by its file, by dask, and which of the two cuts the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.io._pixels_first import is_unread


@dataclass(frozen=True)
class Cut:
    """How one variable is cut."""

    variable: xr.Variable
    stored: tuple[int, ...] | None
    """Shape of the chunks of the file; None where it has none, or does not say."""
    read: tuple[tuple[int, ...], ...] | None
    """Sizes of the blocks that dask reads, along each dimension; None where they are not known."""
    alone: bool = True
    """Whether no other variable lies beside it, which `.chunk` would cut too."""

    @classmethod
    def of(cls, variable: xr.Variable, *, alone: bool = True) -> Cut:
        """Return how a variable is cut, by its encoding and its graph."""
        wanted = variable.encoding.get("preferred_chunks") or {}
        stored = tuple(_largest(wanted.get(dim, size)) for dim, size in variable.sizes.items()) if wanted else None
        read = None if variable.chunks is None else _chunks_read(variable.data)
        return cls(variable, stored, read if read and len(read) == variable.ndim else None, alone)

    @property
    def chunk(self) -> tuple[int, ...] | None:
        """Shape of the largest chunk of dask."""
        chunks = self.variable.chunks
        return None if chunks is None else tuple(max(sizes, default=0) for sizes in chunks)

    @property
    def n_chunks(self) -> int:
        """Number of chunks of dask, 1 without."""
        return math.prod(len(sizes) for sizes in self.variable.chunks or ())

    @property
    def n_stored(self) -> int | None:
        """Number of chunks of the file."""
        if self.stored is None:
            return None
        return math.prod(-(-size // max(1, n)) for size, n in zip(self.variable.shape, self.stored, strict=True))

    @property
    def by_energy(self) -> bool:
        """Whether the file cuts the energies apart."""
        return self.energies(self.stored) < self.variable.sizes.get(ENERGY, 1)

    @property
    def merged(self) -> bool:
        """Whether dask puts energies together after it has read them apart."""
        if self.read is None or self.chunk is None:
            return False
        return self.energies(tuple(max(sizes) for sizes in self.read)) < self.energies(self.chunk)

    @property
    def reads(self) -> float | None:
        """How often each stored chunk is read, on average."""
        if self.stored is None or self.read is None:
            return None
        return math.prod(_times_read(read, stored) for read, stored in zip(self.read, self.stored, strict=True))

    @property
    def from_file(self) -> bool:
        """Whether the variable is still what its file holds."""
        return self.read is not None or (self.chunk is None and is_unread(self.variable))

    def energies(self, chunk: tuple[int, ...] | None) -> int:
        """Return how many energies a chunk holds, all where there is none."""
        dims, n = self.variable.dims, self.variable.sizes.get(ENERGY, 1)
        return n if chunk is None or ENERGY not in dims else chunk[dims.index(ENERGY)]

    def megabytes(self, chunk: tuple[int, ...] | None) -> float | None:
        """Return the size of a chunk."""
        return None if chunk is None else round(math.prod(chunk) * self.variable.dtype.itemsize / 1e6, 3)

    def row(self) -> dict[str, Any]:
        """Return what the table says of the variable."""
        encoding = self.variable.encoding
        return {
            "megabytes": self.megabytes(self.variable.shape),
            "chunks": None if self.chunk is None else self.n_chunks,
            "chunk": self.chunk,
            "chunk_megabytes": self.megabytes(self.chunk),
            "stored_chunks": self.n_stored,
            "stored_chunk": self.stored,
            "stored_megabytes": self.megabytes(self.stored),
            "shard": encoding.get("shards"),
            "codec": _codec(encoding),
            "reads": None if self.reads is None else round(self.reads, 2),
        }


def _largest(size: Any) -> int:
    return int(max(size)) if isinstance(size, tuple | list) else int(size)


def _chunks_read(array: Any) -> tuple[tuple[int, ...], ...] | None:
    """Return the chunks in which dask reads what `.chunk` and slices have made of an array; None where it is computed."""
    layers, above = array.dask.layers, array.dask.dependencies
    name = array.name
    while name in layers:
        arrays = [one for one in above[name] if layers[one].collection_annotations]
        if not arrays and above[name]:
            return layers[name].collection_annotations["chunks"]
        if len(arrays) != 1 or not name.startswith(("rechunk", "getitem")):
            return None
        (name,) = arrays
    return None


def _times_read(sizes: tuple[int, ...], stored: int) -> float:
    """Return in how many blocks, of such sizes, a stored chunk lies, on average."""
    ends = np.cumsum(sizes)
    starts = ends - sizes
    met = (ends - 1) // stored - starts // stored + 1
    return float(met.sum() / max(1, -(-int(ends[-1]) // stored)))


def _codec(encoding: Mapping[Any, Any]) -> str | None:
    """Return the compression of a file in words, as far as its reader says."""
    if "compressors" in encoding:
        return ", ".join(_codec_name(codec) for codec in encoding["compressors"] or ()) or "none"
    if "zlib" in encoding:
        level = encoding.get("complevel", "")
        used = next((name for name in ("zlib", "zstd", "szip", "bzip2", "blosc") if encoding.get(name)), None)
        return f"{used} {level}".strip() if used else "none"
    return None


def _codec_name(codec: Any) -> str:
    said: Any = codec.to_dict() if hasattr(codec, "to_dict") else {"name": type(codec).__name__}
    how = said.get("configuration", {})
    parts = (how.get("cname"), how.get("level", how.get("clevel")), how.get("shuffle"))
    return " ".join([str(said["name"]), *(str(part) for part in parts if part is not None)])
