"""Stacks written for aXis2000."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import ENERGY, dwell_time_of, pixel_dims, require_energy, require_variable
from xstxm.errors import MissingCoordinateError, OptionError, SchemaError
from xstxm.io._base import convert
from xstxm.io._endings import require_ending
from xstxm.io._images import saying
from xstxm.io._pixels_first import RawFile, store_frames
from xstxm.io._replacing import replacing_group
from xstxm.io._writing import SinglePrecision, warn_of_loss, warn_of_rounding

_SIGNALS = ("intensity", "optical_density")
_INTEGERS = np.iinfo("int16")
_PROGRAM = "aXis2000"
_EVEN = 1e-3
"""How far positions may be from even steps, in steps: aXis2000 keeps three decimals."""


def write_ncb(
    stack: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    signal: str | None = None,
    scale: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a stack for aXis2000: two files, the numbers (.ncb) and the text that describes them (.dat).

    Without a scale the numbers are float32, as they are. With one they are stored as integers of 16 bits,
    ``round(value * scale)``, which old versions of aXis2000 want; what that rounds is told by a warning.
    The text ends with what the numbers are, e.g. ``xstxm intensity [count/ms]``, which `xstxm.open_stack` reads back.
    Positions are stored as the first and the last; energies and dwell times with all their digits.

    Parameters
    ----------
    stack
        A stack (energy, y, x), y and x in even steps. Lazy stacks are written chunk by chunk.
    path
        Name of the files, with either ending or without.
    signal
        Variable to write; may be left out where the stack has either `intensity` or `optical_density`.
    scale
        Steps of one that are kept, e.g. 1 for counts and 1000 for an optical density.
    overwrite
        Replace files that are there.

    Returns
    -------
    Path
        The ``.dat``, which appears last, when both files are complete. Eager.

    Raises
    ------
    FileExistsError
        One of the files is there, and `overwrite` is off.
    OptionError
        Numbers that do not fit into 16 bits with this scale, NaN among them.
    MissingVariableError, MissingCoordinateError, SchemaError
        The object is no stack of images in even steps, or holds both variables and no `signal` is given.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]].drop_vars("ring_current")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xstxm.write_ncb(stack, pathlib.Path(folder) / "particle").name
    'particle.dat'
    """
    if scale is not None and not (isinstance(scale, int | float) and 0 < scale < np.inf):
        raise OptionError("scale", scale, "a number above zero, or leave it out for floats")
    require_ending(path, "ncb")
    text, numbers = _targets(path)
    with replacing_group(text, [path for path in (text, numbers) if path.exists()], overwrite) as part:
        array = _checked(stack, signal)
        (part / text.name).write_text("\n".join(_lines(array, scale, text.stem)) + "\n", "ascii", "replace")
        _write_numbers(array, part / numbers.name, scale)
        _warn_of_loss(stack, array, signal)
    return text


def _targets(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    given = Path(path).expanduser()
    stem = given.stem if given.suffix.lower() in (".dat", ".ncb") else given.name
    return given.with_name(f"{stem}.dat"), given.with_name(f"{stem}.ncb")


def _checked(stack: xr.Dataset, signal: str | None) -> xr.DataArray:
    """Return the images to write, (energy, y, x)."""
    if not isinstance(stack, xr.Dataset):
        raise SchemaError("aXis2000 wants a Dataset: call .to_dataset(name='intensity') or 'optical_density' first")
    held = [name for name in _SIGNALS if name in stack]
    if signal is None and len(held) > 1:
        raise SchemaError(f"aXis2000 holds one variable (found: {', '.join(held)}): pass signal=")
    name = signal or (held or _SIGNALS)[0]
    array = require_variable(_units.dequantify(stack), name, "pass the name of a variable as signal=")
    require_energy(array)
    if set(pixel_dims(array)) != {"y", "x"}:
        raise SchemaError(
            f"{name!r} has dims {array.dims}: aXis2000 holds (energy, y, x): select along the others first"
        )
    if array.dtype.kind not in "iuf":
        raise SchemaError(f"{name!r} is {array.dtype}, wanted numbers")
    return array.transpose(ENERGY, "y", "x")


def _lines(array: xr.DataArray, scale: float | None, stem: str) -> list[str]:
    """Return the text: sizes and scale, both axes, energies, a name, energy and dwell for each frame, and what the numbers are."""
    energies = [_digits(value, 3) for value in _in(array[ENERGY], "eV")]
    lines = [
        f"{array.sizes['x']} {array.sizes['y']} {-1 if scale is None else _digits(scale, 0)}",
        *(" ".join(_digits(value, 3) for value in _ends(array, name)) for name in ("x", "y")),
        f"{len(energies)}",
        *energies,
    ]
    dwell = dwell_time_of(array)
    if dwell is not None and set(dwell.dims) <= {ENERGY}:
        dwells = np.broadcast_to(np.asarray(dwell), len(energies))
        name = "_".join(stem.encode("ascii", "replace").decode().replace("?", "_").split())
        named = enumerate(zip(energies, dwells, strict=True))
        lines += [f"{name}_{index:03d} {energy} {_digits(time, 2)}" for index, (energy, time) in named]
    return [*lines, *([saying(array)] if array.name in _SIGNALS else [])]


def _digits(value: float, least: int) -> str:
    """Return a number with all its digits, and at least some decimals, as aXis2000 writes it."""
    return np.format_float_positional(value, min_digits=least, trim="k" if least else "-")


def _in(coordinate: xr.DataArray, unit: str) -> np.ndarray:
    return convert(np.asarray(coordinate, dtype=float), _units.units_of(coordinate), unit, str(coordinate.name))


def _ends(array: xr.DataArray, name: str) -> tuple[float, float]:
    """Return the first and the last position in um, of pixels in even steps."""
    if name not in array.coords:
        raise MissingCoordinateError(name)
    values = _in(array[name], "um")
    even = np.linspace(values[0], values[-1], values.size)
    step = abs(values[-1] - values[0]) / max(values.size - 1, 1)
    if not np.isfinite(values).all() or (values.size > 1 and not step) or np.abs(values - even).max() > _EVEN * step:
        raise SchemaError(
            f"{name} is not in even steps, and aXis2000 holds the first and the last position only: "
            f"interpolate first, e.g. stack.interp({name}=np.linspace(...))"
        )
    return values[0], values[-1]


class _Numbers:
    """The numbers on the disk, written block by block as they are to be stored."""

    def __init__(self, path: Path, array: xr.DataArray, scale: float | None) -> None:
        self._file = RawFile(path, array.shape, np.dtype("<f4" if scale is None else "<i2"))
        self._name, self._scale, self._single = array.name, scale, SinglePrecision(array.name, _PROGRAM)
        self._rounded = False

    def __setitem__(self, key: Any, block: np.ndarray) -> None:
        self._file[key] = self._single(block) if self._scale is None else self._as_integers(block, self._scale)

    def _as_integers(self, block: np.ndarray, scale: float) -> np.ndarray:
        if not np.isfinite(block).all():
            raise OptionError("scale", scale, "integers hold no NaN and no infinity: fill them, or leave scale out")
        scaled = block.astype(float) * scale
        stored = np.rint(scaled)
        if stored.max() > _INTEGERS.max or stored.min() < _INTEGERS.min:
            most = _INTEGERS.max / np.abs(block).max()
            do = (
                f"numbers up to {np.abs(block).max():g} do not fit into 16 bits: at most {most:.3g}, or leave scale out"
            )
            raise OptionError("scale", scale, do)
        self._rounded |= not np.array_equal((stored / scale).astype("float32"), block.astype("float32"))
        return stored.astype("<i2")

    def tell(self) -> None:
        """Warn where numbers were rounded."""
        self._single.tell()
        if self._rounded:
            warn_of_rounding(self._name, f"1/{self._scale:g}", _PROGRAM)


def _write_numbers(array: xr.DataArray, path: Path, scale: float | None) -> None:
    numbers = _Numbers(path, array, scale)
    store_frames(array, numbers)
    numbers.tell()


def _warn_of_loss(stack: xr.Dataset, array: xr.DataArray, signal: str | None) -> None:
    """Name the variables and coordinates that have no place in the files; those beside a signal that was asked for are meant."""
    dwell = stack.coords.get("dwell_time")
    kept = {array.name, *array.dims} | ({"dwell_time"} if dwell is not None and set(dwell.dims) <= {ENERGY} else set())
    warn_of_loss("aXis2000 holds one variable", array.coords if signal else stack.variables, kept)
