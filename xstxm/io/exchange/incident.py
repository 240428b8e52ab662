"""The incident intensity that a Data Exchange file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xstxm._axes import equal_within
from xstxm.conventions import ENERGY
from xstxm.errors import MetadataWarning, warn
from xstxm.io import _base
from xstxm.io._base import Signal
from xstxm.io._hdf5 import Store, StoredArray, numeric, words
from xstxm.io.exchange import layout
from xstxm.io.exchange.layout import DIMS

if TYPE_CHECKING:
    import h5py

_WHITE = ("exchange/white_data", "exchange/data_white")
_SPECTRUM = "spectromicroscopy/normalization/white_spectrum"
_SPECTRUM_ENERGY = "spectromicroscopy/normalization/white_spectrum_energy"


def stored(
    store: Store, data: h5py.Dataset, stored_dims: tuple[str, ...], energy: np.ndarray, units: str | None
) -> Signal | None:
    """Return the stored I0: white data, else the white spectrum, None with a warning where it does not fit the stack."""
    white = _white(store, data, stored_dims, units)
    spectrum = _spectrum(store, energy, units)
    if white is not None and spectrum is not None:
        warn(f"{store.name}: white data are i0, and {_SPECTRUM} is left out", MetadataWarning)
    return white or spectrum


def _white(store: Store, data: h5py.Dataset, stored_dims: tuple[str, ...], units: str | None) -> Signal | None:
    """Return white images, one or one for each energy, or a spectrum: told apart by their axes."""
    path = next((path for path in _WHITE if numeric(store.file, path) is not None), None)
    if path is None:
        return None
    item = store.file[path]
    store.check_written(item)
    sizes = {ENERGY: 1, **dict(zip(stored_dims, data.shape, strict=True))}
    own = tuple(word.lower() for word in words(item, "axes"))
    image = tuple(dim for dim in stored_dims if dim != ENERGY)
    known = [stored_dims, image, (ENERGY,)]
    named = [own] if sorted(own) in [sorted(dims) for dims in known] else [] if own else known
    dims = next((dims for dims in named if tuple(sizes[dim] for dim in dims) == item.shape), None)
    if dims is None:
        expected = "as long as the axes of the data, one image or the energies"
        warn(f"{store.name}: {path} of the shape {item.shape} is not {expected}: it is left out", MetadataWarning)
        return None
    ordered = tuple(dim for dim in DIMS if dim in dims)
    array = StoredArray(store, path, tuple(dims.index(dim) for dim in ordered), tuple(sizes[dim] for dim in ordered))
    return Signal(array, _units_of(store, path, units), dims=ordered)


def _spectrum(store: Store, energy: np.ndarray, units: str | None) -> Signal | None:
    """Return the white spectrum where its energies are those of the stack; it is never interpolated."""
    if numeric(store.file, _SPECTRUM) is None:
        return None
    problem = _mismatch(store, energy)
    if problem:
        do = "read it with read_i0 from a text, or estimate_i0"
        warn(f"{store.name}: {_SPECTRUM} {problem}: it is left out, {do}", MetadataWarning)
        return None
    values = layout.numbers(store, _SPECTRUM, energy.size)
    return Signal(values, _units_of(store, _SPECTRUM, units), dims=(ENERGY,))


def _mismatch(store: Store, energy: np.ndarray) -> str:
    """Say how the white spectrum differs from the energies of the stack, nothing where it does not."""
    own, spectrum = numeric(store.file, _SPECTRUM_ENERGY), numeric(store.file, _SPECTRUM)
    if own is None or spectrum is None:
        return "has no energies"
    if own.size != spectrum.size or own.size != energy.size:
        return f"has {spectrum.size} numbers at {own.size} energies, and the stack {energy.size}"
    values = layout.numbers(store, _SPECTRUM_ENERGY, energy.size)
    unit = layout.units(store, _SPECTRUM_ENERGY) or layout.units(store, "exchange/energy")
    apart = np.abs(_base.energies_in_ev(np.asarray(values), unit, store.name) - energy)
    if not (apart <= equal_within(None, "eV")).all():
        return f"lies at energies up to {apart.max():.4g} eV from those of the stack"
    return ""


def _units_of(store: Store, path: str, units: str | None) -> str | None:
    """Return the unit of an I0, that of the data where it says none."""
    own = layout.units(store, path)
    if own is None:
        return units
    return _base.intensity_units(own, path, store.name)
