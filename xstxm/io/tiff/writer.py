"""Stacks and maps written as TIFF images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._apply import is_lazy
from xstxm.conventions import ENERGY
from xstxm.errors import MissingCoordinateError, SchemaError
from xstxm.io._endings import require_ending
from xstxm.io._images import saying
from xstxm.io._pixels_first import whole_frames
from xstxm.io._replacing import replacing
from xstxm.io._writing import SinglePrecision, chosen, warn_of_loss
from xstxm.steps import followed, stage, tell_step

_WHOLE = "iub"
_MOST_BYTES = 2**32 - 2**25


def write_tiff(
    obj: xr.DataArray | xr.Dataset, path: str | os.PathLike[str], *, signal: str | None = None, overwrite: bool = False
) -> Path:
    """Write a stack, a map or labels as a TIFF file that ImageJ opens with its pixel size.

    Parameters
    ----------
    obj
        A stack (energy, y, x), a map (y, x), or maps over one more dimension, as (reference, y, x). Lazy ones are written
        image by image. Coordinates that TIFF has no place for are named in a warning.
    path
        The file to write.
    signal
        Which variable of a Dataset; its only one by default.
    overwrite
        Replace a file that is there.

    Returns
    -------
    Path
        The file. Whole numbers from 0 to 65535 have 8 or 16 bits; all others are float32, and what that
        rounds is told by a warning; NaN stays. Row 0 is the first y, which ImageJ shows at the top, while drawings of
        `xstxm.plot` have y upwards. The labels of the images are the energies (``853.5 eV``) or names, the unit of the
        pixel size is um, and the image's info names other variables than counts and densities, with their units. It
        appears as a whole or not at all. `xstxm.open_stack` returns the same stack. Eager.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    SchemaError, MissingCoordinateError
        Other dimensions, complex numbers, numbers beyond float32, positions that are missing, unequal or descending,
        or more than 4 GB.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0).drop_vars(["dwell_time", "ring_current"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_tiff(stack, pathlib.Path(folder) / "particle.tif", signal="intensity")
    ...     xstxm.open_stack(path).intensity.sizes["y"]
    8
    """
    import tifffile

    require_ending(path, "tiff")
    with replacing(path, overwrite) as (target, part):
        array = _checked(chosen(obj, signal, "TIFF"))
        (y, dy), (x, dx) = (_first_and_step(array, dim) for dim in ("y", "x"))
        metadata = {"axes": "TZCYXS", "unit": "um", "xorigin": -x / dx, "yorigin": -y / dy, "Labels": _labels(array)}
        if array.name is not None:
            metadata["Info"] = saying(array)
        single = SinglePrecision(array.name, "TIFF")
        with whole_frames(array, part) as frames:
            stages = 1 + (array.dtype.kind in _WHOLE and is_lazy(frames))  # which are looked at first
            with stage(1, stages):
                dtype = _whole_numbers(frames)
            with stage(stages, stages):
                tifffile.imwrite(
                    part,
                    (single(frame) if dtype is None else frame.astype(dtype) for frame in _images(frames)),
                    shape=(1, array.shape[0], 1, *array.shape[1:], 1),  # of TZCYXS: one pixel of width is no color
                    dtype=dtype or "float32",
                    imagej=True,
                    resolution=(1 / dx, 1 / dy),
                    metadata=metadata,
                )
        single.tell()
        warn_of_loss("TIFF holds images on one grid", array.coords, {*array.dims, _labelling(array)})
    return target


def _checked(array: xr.DataArray) -> xr.DataArray:
    """Return the images (image, y, x)."""
    array = _units.dequantify(array)
    others = [dim for dim in array.dims if dim not in ("y", "x")]
    if not {"y", "x"} <= set(array.dims) or len(others) > 1:
        raise SchemaError(
            f"TIFF holds images (y, x) over at most one dimension, found {array.dims}: select along others"
        )
    if array.dtype.kind not in "iufb":
        raise SchemaError(f"TIFF holds real numbers, found {array.dtype}: write abs(array) or array.imag")
    array = array if others else array.expand_dims("image")
    array = array.transpose(*(others or ["image"]), "y", "x")
    if 0 in array.shape or 4 * array.size > _MOST_BYTES:
        raise SchemaError(
            f"TIFF holds up to 4 GB, found shape {array.shape}: select less, or use write_zarr or write_nxstxm"
        )
    return array


def _first_and_step(array: xr.DataArray, dim: str) -> tuple[float, float]:
    """Return the first position and the step (um) of an axis; an axis of one pixel has that of the other, else 1 um."""
    if dim not in array.coords:
        raise MissingCoordinateError(dim)
    at = np.asarray(_units.to_units(array[dim], "um", dim), dtype=float)
    if len(at) == 1:
        other = "x" if dim == "y" else "y"
        return float(at[0]), _first_and_step(array, other)[1] if array.sizes[other] > 1 else 1.0
    steps = np.diff(at)
    if not (steps > 0).all():
        raise SchemaError(f"{dim!r} does not ascend, which TIFF cannot say: call .sortby({dim!r}) first")
    if np.ptp(steps) > 0.01 * steps.mean():
        raise SchemaError(f"{dim!r} has unequal steps, which TIFF cannot say: interpolate to equal ones first")
    return float(at[0]), float(steps.mean())


def _labels(array: xr.DataArray) -> list[str]:
    named = array[_labelling(array)]
    if named.name != ENERGY:
        return [str(value) for value in np.atleast_1d(np.asarray(named))]
    values = np.atleast_1d(np.asarray(_units.to_units(named.astype(float), "eV", "the energy axis")))
    return [f"{float(value)!r} eV" for value in values]


def _labelling(array: xr.DataArray) -> str:
    """Return the coordinate that labels the images: their energies, else their dimension, of a single map its name."""
    if ENERGY in array.coords and array[ENERGY].size == array.shape[0]:
        return ENERGY
    dim = str(array.dims[0])
    names = [str(name) for name, coord in array.coords.items() if not coord.ndim and coord.dtype.kind in "UO"]
    return names[0] if names and dim not in array.coords and array.shape[0] == 1 else dim


def _whole_numbers(array: xr.DataArray) -> np.dtype | None:
    """Return the type for whole numbers that ImageJ keeps exactly, None for others."""
    import dask

    if array.dtype.kind not in _WHOLE:
        return None
    low, high = (int(end) for end in dask.compute(array.min(), array.max(), **followed()))
    return np.min_scalar_type(high) if low >= 0 and high <= np.iinfo("uint16").max else None


def _images(array: xr.DataArray) -> Iterator[np.ndarray]:
    for index in range(array.shape[0]):
        yield np.asarray(array[index])
        tell_step((index + 1) / array.shape[0])
