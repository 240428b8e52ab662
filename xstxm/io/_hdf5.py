"""An open HDF5 file: its words in every spelling, and arrays that are read when indexed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray, CachingFileManager
from xarray.core import indexing

from xstxm.errors import CorruptFileError, FileFormatError
from xstxm.io._base import COPY_AGAIN, Source, name_of, path_of, refuse_folder

if TYPE_CHECKING:
    import h5py


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
        self._file: h5py.File | None = None
        try:
            if isinstance(source, str | os.PathLike):
                path = Path(os.fspath(source)).expanduser()
                refuse_folder(path)
                self._manager = CachingFileManager(_open, str(path.resolve()), mode="r")
                self._manager.acquire()
            else:
                import h5py

                source.seek(0)
                self._file = h5py.File(source, "r")
        except FileNotFoundError:
            raise
        except FileFormatError:
            raise
        except OSError as error:
            raise CorruptFileError(self.path, "a readable HDF5 file", _short(error), COPY_AGAIN) from None

    @property
    def file(self) -> h5py.File:
        """The open file."""
        if self._manager is not None:
            return self._manager.acquire()
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
        try:
            return np.asarray(self.file[path][key])
        except (OSError, RuntimeError) as error:
            missing = _missing_filters(self.file[path])
            if missing:
                do = "pip install hdf5plugin, it is then used by itself"
                raise FileFormatError(
                    self.path, f"{path} in a known packing", f"filter {', '.join(missing)}", do
                ) from None
            raise CorruptFileError(self.path, f"numbers in {path}", _short(error), COPY_AGAIN) from None

    def close(self) -> None:
        """Close the file."""
        if self._manager is not None:
            self._manager.close()
        elif self._file is not None:
            self._file.close()


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


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


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
    item = group.get(path)
    if item is None or not hasattr(item, "shape") or item.size is None or item.size > 1:
        return None
    try:
        return text(item[()])
    except (OSError, RuntimeError):
        return None
