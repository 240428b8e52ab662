"""From a CXI file, or one for each energy, to a stack of complex transmission."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy import constants

from xstxm import units as _units
from xstxm.conventions import ENERGY
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    UnsupportedScanError,
    warn,
)
from xstxm.io import _base, _images, _sources
from xstxm.io._assembling import source_files
from xstxm.io._base import FrameArray, Scan, Signal
from xstxm.io._hdf5 import Store, attribute, field_text, inside, member, numeric, tells
from xstxm.io._sources import Source
from xstxm.units import LengthLike

if TYPE_CHECKING:
    import h5py

IMAGE = "entry_1/image_1/data"
_ENERGY = "entry_1/instrument_1/source_1/energy"
_DETECTOR = "entry_1/instrument_1/detector_1"
_PIXEL_NM = ("entry_1/process_1/Param/pixnm", "entry_1/image_1/process_1/Param/pixnm")
_TRANSLATIONS = ("entry_1/data_1/translation", f"{_DETECTOR}/translation")
_SAME_PIXEL = 1e-3
_MOST_POSITIONS = 10**7


@dataclass(frozen=True)
class _Frame:
    """The reconstruction of one energy: eV, um per pixel (y, x), and the centre (y, x) in um of its scan where it tells it."""

    store: Store
    energy: float
    pixel_size: tuple[float, float]
    shape: tuple[int, int]
    centre: np.ndarray | None


@dataclass(frozen=True)
class _Centres:
    """Reads the middle of each reconstruction."""

    frames: tuple[_Frame, ...]
    shape: tuple[int, int]

    def __call__(self, index: int) -> np.ndarray:
        frame = self.frames[index]
        first = [(size - wanted) // 2 for size, wanted in zip(frame.shape, self.shape, strict=True)]
        middle = tuple(slice(at, at + wanted) for at, wanted in zip(first, self.shape, strict=True))
        whole = (0,) * (_image(frame.store).ndim - 2)
        return frame.store.read(IMAGE, (*whole, *middle)).astype("complex64")


def is_cxi(source: Source) -> bool:
    """Tell whether an HDF5 file says that it is CXI, or is laid out like it."""
    return tells(source, lambda file: inside(file, "cxi_version") is not None or inside(file, IMAGE) is not None)


def open_cxi(
    source: Source,
    *,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open the reconstruction in a CXI file as a stack of one energy.

    Parameters
    ----------
    source
        Path or binary file object.
    pixel_size
        Size of a pixel, for a file that does not tell it.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        `transmission` (energy, y, x), complex64; numbers are read when indexed. Closing it closes the file.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        See the classes; each names the file and what was expected of it.
    """
    return assemble_cxi([source], pixel_size=pixel_size, drop_variables=drop_variables)


def assemble_cxi(
    paths: Sequence[Source],
    *,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open CXI files of one energy each as one stack, sorted by energy.

    Reconstructions of unequal sizes are cropped to the smallest about their centres, with a warning. They are laid on
    one another as they are, with a warning unless their scans have one centre.

    Parameters
    ----------
    paths
        The files.
    pixel_size
        Size of a pixel in every file, for files that do not tell it.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        `transmission` (energy, y, x), complex64; numbers are read when indexed. Closing it closes the files.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        As `open_cxi`; also where the files have different pixels.
    """
    size = _images.given_pixel_size(pixel_size)
    stores: list[Store] = []
    try:
        frames = []
        for path in paths:
            stores.append(Store(path))
            frames.append(_frame(stores[-1], size))
        frames.sort(key=lambda frame: frame.energy)
        stack = _base.to_dataset(_scan(tuple(frames)), drop_variables)
    except BaseException:
        _sources.closing(stores)()
        raise
    if len(stores) > 1:
        stack = stack.assign_coords(source_file=source_files([os.fspath(frame.store.name) for frame in frames]))
    stack.set_close(_sources.closing(stores))
    return stack


def _frame(store: Store, pixel_size: float | None) -> _Frame:
    with store.guarded():
        image = _image(store)
        store.check_written(image)
        energy = _energy(store)
        pixel = _pixel_size(store, energy) if pixel_size is None else (pixel_size, pixel_size)
        return _Frame(store, energy, pixel, image.shape[-2:], _centre(store))


def _image(store: Store) -> h5py.Dataset:
    """Return the dataset of the reconstruction, a complex image."""
    image = member(store.file, IMAGE)
    if image is None or not hasattr(image, "dtype"):
        found, do = "none", "give the file of a reconstruction"
        if inside(store.file, f"{_DETECTOR}/data") is not None or inside(store.file, "entry_1/data_1/data") is not None:
            found, do = "raw diffraction patterns", "reconstruct them first"
        raise UnsupportedScanError(store.path, f"a reconstructed image in {IMAGE}", found, do)
    if image.dtype.kind != "c" or image.ndim < 2 or image.size != int(np.prod(image.shape[-2:])) or not image.size:
        found, do = f"{image.dtype} of the shape {image.shape}", "give the file of one reconstruction, (y, x)"
        raise UnsupportedScanError(store.path, f"one complex image in {IMAGE}", found, do)
    return image


def _number(store: Store, path: str) -> float | None:
    """Return a number that is above 0, None where the file has none."""
    item = numeric(store.file, path)
    if item is None or item.size != 1:
        return None
    value = float(store.read(path).ravel()[0])
    return value if np.isfinite(value) and value > 0 else None


def _energy(store: Store) -> float:
    """Return the photon energy in eV; CXI keeps it in joule."""
    value = _number(store, _ENERGY)
    if value is None:
        raise CorruptFileError(store.path, f"the photon energy in {_ENERGY}", "none", "add it to the file, in joule")
    units = attribute(member(store.file, _ENERGY), "units")
    if units is None and value > 1e-10:
        found, do = f"{value:g}", "correct it, or give it the attribute units, such as eV"
        raise CorruptFileError(store.path, f"a photon energy in joule in {_ENERGY}", found, do)
    if (units or "J") in ("J", "joule", "Joule"):
        return _units.drop_noise(value / constants.e)
    return float(_base.in_units(np.array(value), units, "eV", "energy", store.name))


def _stored_pixel(store: Store) -> float | None:
    """Return the um per pixel that are stored, None where there are none; sizes along y and x that differ are refused."""
    for path in _PIXEL_NM:
        item = numeric(store.file, path)
        if item is None or item.size > 2:
            continue
        sizes = np.asarray(store.read(path), dtype=float).ravel()
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            continue
        if np.ptp(sizes) > _SAME_PIXEL * sizes[0]:
            found = f"{sizes[0]:g} and {sizes[1]:g} nm, and not which is which"
            do = "reconstruct on square pixels, or pass pixel_size= if they are square"
            raise UnsupportedScanError(store.path, f"one size of a pixel in {path}", found, do)
        return _units.drop_noise(float(sizes[0]) / 1000)
    return None


def _centre(store: Store) -> np.ndarray | None:
    """Return the centre (y, x) in um of the positions of the scan, which CXI keeps as (x, y, z) in m; None without them."""
    for path in _TRANSLATIONS:
        item = numeric(store.file, path)
        # whole numbers are pixels, not lengths
        if item is None or item.dtype.kind != "f" or item.ndim != 2 or item.shape[1] not in (2, 3):
            continue
        if item.size > _MOST_POSITIONS:
            continue
        places = np.asarray(store.read(path), dtype=float)[:, 1::-1] * 1e6
        if np.isfinite(places).all():
            return (places.min(axis=0) + places.max(axis=0)) / 2
    return None


def _pixel_size(store: Store, energy: float) -> tuple[float, float]:
    """Return um per pixel (y, x): as stored, else wavelength x distance / width of the detector."""
    stored = _stored_pixel(store)
    if stored is not None:
        return stored, stored
    distance = _number(store, f"{_DETECTOR}/distance")
    corner = f"{_DETECTOR}/corner_position"
    values = store.read(corner).ravel() if inside(store.file, corner) is not None else np.zeros(0)
    if distance is None or values.size < 2 or not np.isfinite(values[:2]).all() or not values[:2].all():
        do = "pass pixel_size=, such as pixel_size='10 nm'"
        raise FileFormatError(store.path, f"the size of a pixel in {_PIXEL_NM[0]}", "none", do)
    wavelength = constants.h * constants.c / (energy * constants.e)
    # a corner is (x, y, z)
    y, x = (1e6 * wavelength * distance / (2 * abs(float(at))) for at in (values[1], values[0]))
    warn(
        f"{store.name}: pixels of {_nanometres((y, x))} by distance and corner of the detector: "
        "pass pixel_size= if they are not",
        MetadataWarning,
    )
    return y, x


def _nanometres(pixel_size: tuple[float, float]) -> str:
    """Return the size of a pixel in words, both where it is not square."""
    y, x = (f"{1000 * size:.5g} nm" for size in pixel_size)
    return y if y == x else f"{y} (y) x {x} (x)"


def _scan(frames: tuple[_Frame, ...]) -> Scan:
    first = frames[0]
    _check_pixels(frames)
    height, width = (min(frame.shape[axis] for frame in frames) for axis in (0, 1))
    cut = [f"{frame.store.name} {frame.shape[0]} x {frame.shape[1]}" for frame in frames]
    if len({frame.shape for frame in frames}) > 1:
        warn(
            f"{_sources.listed(cut)}: unequal images are cropped to {height} x {width} about their centres",
            MetadataWarning,
        )
    _tell_places(frames)
    energy = np.array([frame.energy for frame in frames])
    _base.check_energies(energy, first.store.name)
    file = first.store.file
    return Scan(
        dims=(ENERGY, "y", "x"),
        energy=energy,
        positions={
            name: ((name,), _base.drop_noise(np.arange(size) * step))
            for name, size, step in zip("yx", (height, width), first.pixel_size, strict=True)
        },
        signals={
            "transmission": Signal(
                FrameArray((len(frames), height, width), _Centres(frames, (height, width)), "complex64"), "1"
            )
        },
        metadata={
            "title": field_text(file, "entry_1/title"),
            "sample": field_text(file, "entry_1/sample_1/name"),
            "start_time": _base.iso_time(field_text(file, "entry_1/start_time"), first.store.name),
            "source_file": _sources.source_file(first.store.name) if len(frames) == 1 else None,
        },
    )


def _check_pixels(frames: tuple[_Frame, ...]) -> None:
    """Refuse reconstructions whose pixels have other sizes than those of the first."""
    first = frames[0]
    other = [frame for frame in frames if not np.allclose(frame.pixel_size, first.pixel_size, rtol=_SAME_PIXEL, atol=0)]
    if other:
        found = ", ".join(f"{_nanometres(frame.pixel_size)} in {os.fspath(frame.store.name)}" for frame in other[:3])
        do = "reconstruct them on one grid, or pass pixel_size= if they are on one"
        raise UnsupportedScanError(
            first.store.path, f"pixels of {_nanometres(first.pixel_size)} in every file", found, do
        )


def _tell_places(frames: tuple[_Frame, ...]) -> None:
    """Warn that the images of several files are laid on one another, unless their scans have one centre.

    Where a reconstruction lies within its scan is up to the program that made it: no field of CXI says it.
    """
    if len(frames) < 2:
        return
    centres = [frame.centre for frame in frames if frame.centre is not None]
    said = f"{frames[0].store.name} and {len(frames) - 1} more: the files do not say where the images lie"
    if len(centres) == len(frames):
        apart = np.ptp(centres, axis=0)
        if (apart <= np.array(frames[0].pixel_size) / 2).all():
            return
        y, x = (f"{1000 * size:.4g}" for size in apart)
        said = f"{frames[0].store.name} and {len(frames) - 1} more: the centres of the scans lie {y} nm (y), {x} nm (x) apart"
    warn(f"{said}: they are laid on one another, align them with estimate_shifts", MetadataWarning)
