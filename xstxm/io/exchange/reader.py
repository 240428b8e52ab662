"""From a Data Exchange file to a stack."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.errors import CorruptFileError, MetadataWarning, check_choice, warn
from xstxm.io import _base, _images, _sources
from xstxm.io._base import Scan, Signal
from xstxm.io._hdf5 import Store, StoredArray, attribute, field_text, preferred_chunks, tells
from xstxm.io._raw import Kind
from xstxm.io._sources import Source
from xstxm.io.exchange import incident, layout
from xstxm.io.exchange.layout import DATA, DIMS
from xstxm.units import LengthLike

if TYPE_CHECKING:
    import h5py

_ENERGY = "exchange/energy"
_THETA = "exchange/theta"
_DWELL = "spectromicroscopy/data_dwell"
_SHIFTS = ("spectromicroscopy/yshifts", "spectromicroscopy/xshifts")
_DARK = ("exchange/data_dark", "exchange/dark_data")


def is_exchange(source: Source) -> bool:
    """Tell whether an HDF5 file says that it implements Data Exchange."""
    return tells(source, lambda file: "exchange" in (field_text(file, "implements") or "").lower().split(":"))


def open_exchange(
    source: Source,
    *,
    axes: str | None = None,
    kind: Kind | None = None,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open the stack in a Data Exchange file.

    Parameters
    ----------
    source
        Path or binary file object.
    axes
        Names of the stored axes in their order, as ``"x:y:energy"``, for a file that does not tell it.
    kind
        What the numbers are: ``"intensity"``, the default, or ``"optical_density"``.
    pixel_size
        Size of a pixel, e.g. ``"50 nm"``; else positions are those of the file.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        `intensity` or `optical_density` (energy, y, x), and `i0` where the file has white data or a white spectrum of
        the same energies; numbers are read when indexed. Closing it closes the file.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        See the classes; each names the file and what was expected of it.
    OptionError, ChoiceError
        Axes that are not those of the numbers, a size that is none, another word as `kind`.
    """
    if kind is not None:
        check_choice("kind", kind, Kind)
    store = Store(source)
    try:
        with store.guarded():
            stack = _base.to_dataset(_scan(store, axes, kind or "intensity", pixel_size), drop_variables)
    except BaseException:
        store.close()
        raise
    stack.set_close(store.close)
    return stack


def _scan(store: Store, asked: str | None, kind: Kind, pixel_size: LengthLike | None) -> Scan:
    data = layout.data_of(store)
    layout.refuse_angles(store, _THETA)
    energy = _energy(store, data)
    positions = {dim: values for dim in ("y", "x") if (values := _position(store, dim, data)) is not None}
    lengths = {ENERGY: energy.size} | {dim: values.size for dim, values in positions.items()}
    stored = layout.order(store, data, lengths, asked)
    axes = tuple(stored.index(dim) if dim in stored else None for dim in DIMS)
    shape = tuple(1 if axis is None else data.shape[axis] for axis in axes)
    array = StoredArray(store, DATA, axes, shape)
    _tell_left_out(store, kind)
    return Scan(
        dims=DIMS,
        energy=energy,
        positions=_placed(store, positions, shape[1:], pixel_size),
        signals={kind: Signal(array, "1")} if kind != "intensity" else _intensity(store, data, stored, energy, array),
        metadata=_metadata(store),
        dwell_time=_dwell(store, energy.size),
        chunks=preferred_chunks(data, DIMS, axes),
    )


def _intensity(
    store: Store, data: h5py.Dataset, stored: tuple[str, ...], energy: np.ndarray, array: StoredArray
) -> dict[str, Signal]:
    units = _base.intensity_units(attribute(data, "units"), DATA, store.name)
    i0 = incident.stored(store, data, stored, energy, units)
    return {"intensity": Signal(array, units)} | ({} if i0 is None else {"i0": i0})


def _energy(store: Store, data: h5py.Dataset) -> np.ndarray:
    values = layout.numbers(store, _ENERGY, max(data.shape))
    if values is None:
        raise CorruptFileError(
            store.path, f"the energies in {_ENERGY}", "none", "add them to the file with their units"
        )
    energy = _base.energies_in_ev(values, layout.units(store, _ENERGY), store.name)
    _base.check_energies(energy, store.name)
    return energy


def _position(store: Store, dim: str, data: h5py.Dataset) -> np.ndarray | None:
    """Return positions in um along a dimension, None where the file has none."""
    path = f"exchange/{dim}"
    values = layout.numbers(store, path, max(data.shape))
    if values is None:
        return None
    if not np.isfinite(values).all():
        found = f"{int((~np.isfinite(values)).sum())} that are not"
        raise CorruptFileError(store.path, f"finite positions in {path}", found, "correct or remove them in the file")
    return _base.in_units(values, layout.units(store, path), "um", path, store.name)


def _placed(
    store: Store, found: dict[str, np.ndarray], shape: tuple[int, ...], pixel_size: LengthLike | None
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return the positions of the file, unless the caller gives the size of a pixel or the file lacks them."""
    if pixel_size is None and len(found) == 2:
        return {dim: ((dim,), values) for dim, values in found.items()}
    return _images.pixel_positions((shape[0], shape[1]), pixel_size, None, store.path)


def _dwell(store: Store, energies: int) -> np.ndarray | None:
    """Return dwell times in ms, one or one for each energy, None where the file has none that make sense."""
    values = layout.numbers(store, _DWELL, energies)
    if values is None or not values.size or not (np.isfinite(values) & (values > 0)).all():
        return None
    if values.size not in (1, energies):
        found = f"{values.size} dwell times for {energies} energies are left out"
        warn(f"{store.name}: {found}", MetadataWarning)
        return None
    units = layout.units(store, _DWELL)
    if units is None:
        warn(f"{store.name}: {_DWELL} has no unit: taken to be ms", MetadataWarning)
    dwell = _base.in_units(values, units, "ms", _DWELL, store.name)
    return dwell if values.size == energies else dwell.reshape(())


def _tell_left_out(store: Store, kind: Kind) -> None:
    """Warn of what the file holds and the stack does not."""
    shifts = [path for path in _SHIFTS if layout.holds_numbers(store, path)]
    if shifts:
        do = "whether the images were moved by them is not said, compare with estimate_shifts"
        warn(f"{store.name}: the shifts in {', '.join(shifts)} are left out: {do}", MetadataWarning)
    dark = [path for path in _DARK if layout.holds_numbers(store, path)]
    if dark and kind == "intensity":
        warn(f"{store.name}: the dark images in {dark[0]} are left out: pass dark= to optical_density", MetadataWarning)


def _metadata(store: Store) -> dict[str, str | None]:
    file = store.file
    return {
        "title": field_text(file, "information/title") or field_text(file, "exchange/title"),
        "sample": field_text(file, "information/sample/name"),
        "facility": field_text(file, "information/facility/name"),
        "beamline": field_text(file, "information/facility/beamline"),
        "start_time": _base.iso_time(field_text(file, "information/experiment/start_time"), store.name),
        "source_file": _sources.source_file(store.name),
    }
