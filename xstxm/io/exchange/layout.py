"""Where a Data Exchange file keeps its numbers, and which stored axis is which."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from xstxm.conventions import ENERGY
from xstxm.errors import CorruptFileError, MetadataWarning, OptionError, UnsupportedScanError, warn
from xstxm.io._hdf5 import Store, attribute, member, numeric, words

if TYPE_CHECKING:
    import h5py

DATA = "exchange/data"
DIMS = (ENERGY, "y", "x")
_SAY_AXES = 'pass axes=, the names of the stored axes in their order, such as axes="x:y:energy"'


def data_of(store: Store) -> h5py.Dataset:
    """Return the dataset of the images.

    Raises
    ------
    UnsupportedScanError, CorruptFileError
        There is none, or it is no stack of images.
    """
    member(store.file, DATA)  # a link to another file has an error of its own
    data = numeric(store.file, DATA)
    if data is None:
        found, do = "none", "give a file with images, (x, y, energy)"
        raise CorruptFileError(store.path, f"numbers in {DATA}", found, do)
    if data.ndim not in (2, 3):
        found, do = f"the shape {data.shape}", "write the images of one angle into a file of their own"
        raise UnsupportedScanError(store.path, f"the axes x, y, energy in {DATA}", found, do)
    store.check_written(data)
    return data


def refuse_angles(store: Store, path: str) -> None:
    """Refuse images that were taken under several angles."""
    theta = numeric(store.file, path)
    if theta is not None and theta.size > 1:
        do = "write the images of one angle into a file of their own"
        raise UnsupportedScanError(store.path, "images of one angle", f"{theta.size} angles in {path}", do)


def numbers(store: Store, path: str, most: int) -> np.ndarray | None:
    """Return a list of numbers, None where there is none; more than there can be are an error, before they are read.

    Raises
    ------
    CorruptFileError
        There are more than `most`.
    """
    item = numeric(store.file, path)
    if item is None:
        return None
    if item.size > most:
        do = "correct the file: one number for each energy, row or column"
        raise CorruptFileError(store.path, f"at most {most} numbers in {path}", f"{item.size}", do)
    return np.asarray(store.read(path), dtype=float).ravel()


def units(store: Store, path: str) -> str | None:
    """Return the unit of a field, None where it says none."""
    item = numeric(store.file, path)
    return None if item is None else attribute(item, "units")


def holds_numbers(store: Store, path: str) -> bool:
    """Tell whether a field was written, and is not a list of zeros as programs prepare it."""
    item = numeric(store.file, path)
    if item is None:
        return False
    return item.ndim > 1 or item.size > max(store.file[DATA].shape) or bool(np.any(store.read(path)))


def order(store: Store, data: h5py.Dataset, lengths: Mapping[str, int], asked: str | None) -> tuple[str, ...]:
    """Return the names of the stored axes: those asked for, else those that the file says, else by the lengths.

    Raises
    ------
    OptionError
        The axes asked for are not those of the numbers.
    CorruptFileError, UnsupportedScanError
        No order fits the lengths, or several do and the file says none; it says axes of another kind.
    """
    dims = DIMS if data.ndim == 3 else ("y", "x")
    fitting = [names for names in itertools.permutations(dims) if _fits(names, data.shape, lengths)]
    if asked is not None:
        return _asked(asked, dims, fitting, _found(data, lengths))
    if not fitting:
        do = "correct the lists of positions and energies in the file"
        raise CorruptFileError(store.path, f"a length of {DATA} for each axis", _found(data, lengths), do)
    said = tuple(word.lower() for word in words(data, "axes"))
    if said and set(said) != set(dims):
        found = f"{':'.join(said)} and the shape {data.shape}"
        raise UnsupportedScanError(store.path, f"the axes {', '.join(dims)} in {DATA}", found, _SAY_AXES)
    if said in fitting:
        return said
    if len(fitting) > 1:
        found = f"{_found(data, lengths)}, which several orders fit"
        raise UnsupportedScanError(store.path, f"the attribute axes of {DATA}, or unequal lengths", found, _SAY_AXES)
    if said:
        told = f"{DATA} says {':'.join(said)}, and its lengths {':'.join(fitting[0])}"
        warn(f"{store.name}: {told}: the lengths are believed, pass axes= if they are wrong", MetadataWarning)
    return fitting[0]


def _fits(names: tuple[str, ...], shape: tuple[int, ...], lengths: Mapping[str, int]) -> bool:
    """Tell whether axes of these names have the lengths that are known; energies without an axis are one."""
    alone = ENERGY in names or lengths[ENERGY] == 1
    return alone and all(lengths.get(name, size) == size for name, size in zip(names, shape, strict=True))


def _found(data: h5py.Dataset, lengths: Mapping[str, int]) -> str:
    known = ", ".join(f"{size} of {dim}" for dim, size in lengths.items())
    return f"the shape {data.shape} with {known}"


def _asked(asked: str, dims: tuple[str, ...], fitting: list[tuple[str, ...]], found: str) -> tuple[str, ...]:
    names = tuple(word.strip().lower() for word in asked.split(":")) if isinstance(asked, str) else ()
    if set(names) != set(dims) or len(names) != len(dims):
        raise OptionError("axes", asked, f'give {", ".join(dims)} in the order of the file, such as "{":".join(dims)}"')
    if names not in fitting:
        raise OptionError("axes", asked, f"{DATA} has {found}: give an order that fits, or correct the file")
    return names
