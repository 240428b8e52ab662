"""An open HDF5 file: its words in every spelling, and arrays that are read when indexed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from xarray.backends import BackendArray, CachingFileManager
from xarray.core import indexing

from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning, StxmError, warn
from xstxm.io._hdf5_safety import check_sound
from xstxm.io._raw import refuse_closed
from xstxm.io._sources import COPY_AGAIN, LARGE, PACKING, Source, guarded, name_of, path_of, require_file, short

if TYPE_CHECKING:
    import h5py

_HOPS = 16
"""Soft links followed in a row, as many as HDF5 itself follows."""


def _open(path: str, mode: str = "r") -> h5py.File:
    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401  registers its filters
    return h5py.File(path, mode)


class Store:
    """An HDF5 file that is open while it is used; picklable when it came from a path."""

    def __init__(self, source: Source) -> None:
        self.name = name_of(source)
        self.path = path_of(source) or self.name
        self._manager: CachingFileManager | None = None
        self._source: BinaryIO | None = None
        self._file: h5py.File | None = None
        try:
            if isinstance(source, str | os.PathLike):
                path = Path(os.fspath(source)).expanduser()
                require_file(path)
                check_sound(path)
                self._manager = CachingFileManager(_open, str(path.resolve()), mode="r")
                self._manager.acquire()
            else:
                import h5py

                source.seek(0)
                self._source, self._file = source, h5py.File(source, "r")
        except FileNotFoundError:
            raise
        except FileFormatError:
            raise
        except OSError as error:
            raise CorruptFileError(self.path, "a readable HDF5 file", short(error), COPY_AGAIN) from None

    @property
    def file(self) -> h5py.File:
        """The open file."""
        if self._manager is not None:
            return self._manager.acquire()
        refuse_closed(self._source)
        if not self._file:
            raise FileFormatError(self.path, "an open file", "a closed one", "open the stack again")
        return self._file

    def read(self, path: str, key: Any = ()) -> np.ndarray:
        """Return numbers of a dataset.

        Raises
        ------
        FileFormatError
            The numbers are packed by a filter that is not installed.
        CorruptFileError
            They cannot be read.
        """
        with self.guarded(f"numbers in {path}"):
            dataset = member(self.file, path)
            self.check_claim(dataset)
            try:
                return np.asarray(dataset[key])
            except (OSError, RuntimeError):
                missing = _missing_filters(dataset)
                if not missing:
                    raise
                found, do = f"filter {', '.join(missing)}", "pip install hdf5plugin, it is then used by itself"
                raise FileFormatError(self.path, f"{path} in a known packing", found, do) from None

    def guarded(self, expected: str = "a sound HDF5 file") -> AbstractContextManager[None]:
        """Tell whatever h5py raises on a broken file as a `CorruptFileError`."""
        return guarded(self.path, expected)

    def check_claim(self, dataset: h5py.Dataset) -> None:
        """Refuse a dataset whose numbers are in other files, or that claims far more of them than the file can hold.

        Raises
        ------
        FileFormatError
            The numbers are in another file.
        CorruptFileError
            They are nowhere.
        """
        elsewhere = _other_files(dataset)
        if elsewhere:
            do = "copy the numbers into one file with h5repack, or open the other file"
            raise FileFormatError(self.path, f"the numbers of {dataset.name} in it", f"links to {elsewhere[0]!r}", do)
        if dataset.is_virtual:
            return
        size, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
        held = min(stored, dataset.file.id.get_filesize())
        if (size > LARGE and size > PACKING * held) or (dataset.chunks is None and stored > held):
            found = f"the shape {dataset.shape} and {held} bytes"
            raise CorruptFileError(self.path, f"the numbers of {dataset.name}", found, COPY_AGAIN)

    def check_written(self, dataset: h5py.Dataset) -> None:
        """Refuse an array that `check_claim` refuses, and warn of one of which no number was ever written."""
        self.check_claim(dataset)
        if dataset.size and not dataset.is_virtual and not dataset.id.get_storage_size():
            warn(
                f"{self.name}: no number of {dataset.name} was ever written: it reads as {dataset.fillvalue:g}",
                MetadataWarning,
            )

    def close(self) -> None:
        """Close the file."""
        if self._manager is not None:
            self._manager.close()
        elif self._file is not None:
            self._file.close()


def tells(source: Source, question: Callable[[h5py.File], bool]) -> bool:
    """Ask an HDF5 file; no where it is none, or broken: never an error."""
    try:
        store = Store(source)
    except (OSError, StxmError):
        return False
    try:
        with store.guarded():
            return question(store.file)
    except StxmError:
        return False
    finally:
        store.close()


def member(group: Any, path: str) -> Any:
    """Return what is at a path, None where there is nothing; links inside the file are followed, never out of it.

    Raises
    ------
    FileFormatError
        The path leads into another file.
    """
    import h5py

    left, here, hops = path.split("/")[::-1], group.file if path.startswith("/") else group, 0
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        link = here.get(name, getlink=True) if isinstance(here, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            do = f"open {link.filename!r} itself, or copy what it holds into one file with h5repack"
            found = f"a link to {link.path!r} of {link.filename!r}"
            raise FileFormatError(here.file.filename, f"{here.name}/{name} in it", found, do)
        if isinstance(link, h5py.SoftLink):
            hops += 1
            left += link.path.split("/")[::-1]
            here = here.file if link.path.startswith("/") else here
        else:
            here = here[name] if link is not None else None
        if here is None or hops > _HOPS:
            return None
    return here


def inside(group: Any, path: str) -> Any:
    """Return what is at a path, None where there is nothing in this file."""
    try:
        return member(group, path)
    except FileFormatError:
        return None


def numeric(group: Any, path: str) -> h5py.Dataset | None:
    """Return a dataset of numbers, None where there is none, or one without any, in the file."""
    item = inside(group, path)
    return item if item is not None and hasattr(item, "dtype") and item.dtype.kind in "iuf" and item.size else None


def _other_files(dataset: h5py.Dataset) -> list[str]:
    """Return the names of other files that hold the numbers of a dataset."""
    plist = dataset.id.get_create_plist()
    raw = [os.fsdecode(plist.get_external(index)[0]) for index in range(plist.get_external_count())]
    virtual = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    return [name for name in (*raw, *virtual) if name != "."]


def _missing_filters(dataset: h5py.Dataset) -> list[str]:
    """Return the filters of a dataset that this installation of HDF5 lacks."""
    import h5py

    plist = dataset.id.get_create_plist()
    used = [plist.get_filter(index) for index in range(plist.get_nfilters())]
    return [
        f"{number} {text(name) or ''}".strip()
        for number, _, _, name in used
        if not h5py.h5z.filter_avail(number)
    ]  # fmt: skip


class StoredArray(BackendArray):
    """A dataset in the order of a stack's dimensions: `axes` says which stored axis each one is.

    None among the axes is a dimension of length one that the file leaves out.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        axes: tuple[int | None, ...],
        shape: tuple[int, ...],
        dtype: str = "float32",
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._store, self._path, self._axes = store, path, axes

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        stored = [key[self._axes.index(axis)] for axis in sorted(axis for axis in self._axes if axis is not None)]
        values = self._store.read(self._path, tuple(stored)).astype(self.dtype)
        remaining = [axis for axis, part in enumerate(stored) if not isinstance(part, int | np.integer)]
        wanted = [axis for axis in self._axes if axis in remaining]
        values = values.transpose([remaining.index(axis) for axis in wanted if axis is not None])
        if None not in self._axes:
            return values
        place = self._axes.index(None)
        before = sum(not isinstance(part, int | np.integer) for part in key[:place])
        widened = np.expand_dims(values, before)
        return widened[(slice(None),) * before + (key[place],)]


def preferred_chunks(dataset: h5py.Dataset, dims: tuple[str, ...], axes: tuple[int | None, ...]) -> dict[str, int]:
    """Return the chunks to read by: whole frames, or whole spectra where the file stores those."""
    if dims[0] == "energy" and axes[0] == dataset.ndim - 1 and dataset.chunks is None and dataset.ndim > 1:
        # a frame of numbers that lie energy by energy is scattered over the whole file
        slowest = dims[axes.index(0)]
        return {"energy": dataset.shape[-1], slowest: _grown(1, dataset.shape[0])}
    if dataset.chunks is None or dims[0] != "energy" or axes[0] is None:
        return {"energy": 1}
    stored = {dim: dataset.chunks[axis] for dim, axis in zip(dims, axes, strict=True) if axis is not None}
    if stored["energy"] < dataset.shape[axes[0]] or dataset.shape[axes[0]] == 1:
        return {"energy": stored["energy"]}
    sizes = {dim: dataset.shape[axis] for dim, axis in zip(dims, axes, strict=True) if axis is not None}
    return {dim: size if dim == "energy" else _grown(stored[dim], size) for dim, size in sizes.items()}


def _grown(chunk: int, size: int, least: int = 128) -> int:
    """Return a multiple of a stored chunk that is worth a task."""
    return min(size, chunk * max(1, -(-least // chunk)))


def text(value: Any) -> str | None:
    """Return a word of a file as str, whatever its type; None for nothing, "" and "None"."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else None
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes):
        return None if value is None else str(value)
    try:
        word = value.decode("utf-8")
    except UnicodeDecodeError:
        word = value.decode("latin-1")
    word = word.split("\0")[0].strip()
    return word if word and word != "None" else None


def attribute(item: Any, name: str) -> str | None:
    """Return an attribute in words."""
    return text(item.attrs.get(name))


def words(item: Any, name: str) -> list[str]:
    """Return an attribute that is a list: an array of words, or one word with colons or commas."""
    value = item.attrs.get(name)
    if value is None:
        return []
    if isinstance(value, np.ndarray) and value.size > 1:
        return [text(part) or "." for part in value.ravel()]
    word = text(value) or ""
    return [part.strip() for part in word.strip("[]").replace(",", ":").split(":") if part.strip()]


def field_text(group: Any, path: str) -> str | None:
    """Return a field in words, None where it is missing or no scalar."""
    item = inside(group, path)
    if not hasattr(item, "shape") or item.size is None or item.size > 1 or _other_files(item):
        return None
    try:
        return text(item[()])
    except (OSError, RuntimeError):
        return None
