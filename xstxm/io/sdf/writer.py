"""Stacks written as SDF, for the programs that read the files of the older microscopes."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._dates import written_date
from xstxm.conventions import ENERGY, pixel_dims, require_energy, require_variable
from xstxm.errors import FileFormatError, MissingCoordinateError, SchemaError
from xstxm.io._base import MONTHS, convert
from xstxm.io._pixels_first import whole_frames
from xstxm.io._replacing import replacing_group
from xstxm.io._writing import SinglePrecision, warn_of_loss
from xstxm.io.sdf.frames import files_of
from xstxm.steps import stage, tell_step

_TYPES = {(): "NEXAFS Point Scan", ("position",): "NEXAFS Line Scan", ("y", "x"): "NEXAFS Image Scan"}
_FLAGS = {(): "Spectra", ("position",): "Image", ("y", "x"): "Image Stack"}
_UNITS = {"count": "counts", "count/s": "Hz"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_sdf(stack: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a stack as SDF: a text header (.hdr) with a text file for each frame (.xim) or spectrum (.xsp).

    `intensity` is the first channel, further variables on the same grid are further channels. Numbers are written in
    single precision, every digit of it, and `xstxm.open_stack` returns the same. Energies, positions, `dwell_time`,
    `ring_current` and the start time go with them; other metadata and the history have no place in the format.

    Parameters
    ----------
    stack
        A stack, line scan or point spectrum with `intensity`. Lazy stacks are written frame by frame.
    path
        The header to write, ``.hdr``; the frames lie beside it, under its name.
    overwrite
        Replace a scan of that name, its frames included.

    Returns
    -------
    Path
        The header, which is there last, when every frame is. Eager.

    Raises
    ------
    FileExistsError
        There is a header or a frame of that name, and `overwrite` is off.
    MissingVariableError, MissingCoordinateError, MissingUnitsError, SchemaError
        The object is no stack of counts.
    OptionError
        The start time is no date in ISO 8601.
    FileFormatError
        The name does not end in ``.hdr``, or there are more than 26 channels.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xstxm.write_sdf(stack, pathlib.Path(folder) / "particle.hdr").name
    'particle.hdr'
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != ".hdr":
        raise FileFormatError(target, "a name that ends in .hdr", repr(target.suffix), "give the header's name")
    with replacing_group(target, files_of(target), overwrite) as part:
        stack, channels = _checked(stack, target)
        _write_data(stack, channels, part / target.stem)
        header = _header(stack, channels, target.name)
        (part / target.name).write_text(header, encoding="latin-1", errors="replace")
    return target


def _checked(stack: xr.Dataset, target: Path) -> tuple[xr.Dataset, dict[str, xr.DataArray]]:
    """Return the stack with its dimensions in the order of the format, and its channels, the intensity first."""
    if not isinstance(stack, xr.Dataset):
        raise SchemaError("SDF holds a Dataset with 'intensity': call .to_dataset(name='intensity') first")
    stack = _units.dequantify(stack)
    intensity = require_variable(stack, "intensity", "SDF holds counts; use write_netcdf or write_zarr for results")
    require_energy(intensity)
    dims = tuple(dim for dim in ("y", "x", "position") if dim in pixel_dims(intensity))
    if dims not in _TYPES or len(dims) != len(pixel_dims(intensity)):
        raise SchemaError(
            f"intensity has dims {intensity.dims}: SDF holds (energy, y, x), (energy, position) or (energy): "
            "select along the others first, e.g. stack.isel(theta=0)"
        )
    for dim in dims:
        if dim not in stack.coords:
            raise MissingCoordinateError(dim)
    stack = stack.transpose(ENERGY, *dims, ...)
    channels = {str(name): array for name, array in stack.data_vars.items() if array.dims == (ENERGY, *dims)}
    channels = {"intensity": stack["intensity"], **{n: a for n, a in channels.items() if a.dtype.kind in "iuf"}}
    if len(channels) > len(_LETTERS):
        do = "select the variables to write first"
        raise FileFormatError(target, f"{len(_LETTERS)} channels at most", f"{len(channels)}", do)
    kept = {*channels, ENERGY, *dims}
    if "dwell_time" in stack.coords and {*stack["dwell_time"].dims} <= {ENERGY}:
        kept.add("dwell_time")
    if "ring_current" in stack.coords and stack["ring_current"].dims == (ENERGY,) and dims == ("y", "x"):
        kept.add("ring_current")
    warn_of_loss("SDF holds images on one grid", stack.variables, kept)
    return stack.drop_vars([name for name in stack.variables if name not in kept]), channels


def _write_data(stack: xr.Dataset, channels: dict[str, xr.DataArray], stem: Path) -> None:
    singles = {name: SinglePrecision(name, "SDF") for name in channels}
    if len(stack["intensity"].dims) == 1:
        energy = _in(stack[ENERGY], "eV")
        columns = [
            _energy_text(energy),
            *(_texts(singles[name](np.asarray(array))) for name, array in channels.items()),
        ]
        rows = ["\t".join(row) for row in zip(*columns, strict=True)]
        stem.with_name(f"{stem.name}_0.xsp").write_text("\n".join(rows) + "\n", encoding="ascii")
        tell_step(1.0)
    else:
        for number, (letter, (name, array)) in enumerate(zip(_LETTERS, channels.items(), strict=False), 1):
            with stage(number, len(channels)):
                _write_images(array, singles[name], stem.with_name(f"{stem.name}_{letter}"))
    for single in singles.values():
        single.tell()


def _write_images(array: xr.DataArray, single: SinglePrecision, stem: Path) -> None:
    """Write the images of a channel, each with its number; a line scan is one, (position, energy)."""

    def write(number: str, image: np.ndarray, share: float) -> None:
        np.savetxt(stem.with_name(f"{stem.name}{number}.xim"), single(image), fmt="%.9g", delimiter="\t")
        tell_step(share)

    if array.ndim == 2:
        write("", np.asarray(array).T, 1.0)
        return
    with whole_frames(array, stem) as frames:
        for index in range(array.sizes[ENERGY]):
            write(f"{index:03d}", np.asarray(frames.isel({ENERGY: index})), (index + 1) / array.sizes[ENERGY])


def _texts(values: np.ndarray) -> list[str]:
    return [f"{value:.9g}" for value in values]


def _energy_text(values: np.ndarray) -> list[str]:
    return [repr(float(value)) for value in values]


def _in(array: xr.DataArray, wanted: str) -> np.ndarray:
    return convert(np.asarray(array, dtype=float), _units.units_of(array), wanted, str(array.name))


def _header(stack: xr.Dataset, channels: dict[str, xr.DataArray], name: str) -> str:
    dims = tuple(str(dim) for dim in stack["intensity"].dims[1:])
    energy = _axis("Energy", "eV", _in(stack[ENERGY], "eV"))
    places = [
        _axis(f"Sample {dim.upper()}" if dim in "xy" else "Position", "um", _in(stack[dim], "um")) for dim in dims
    ]
    axes = {0: [energy], 1: [energy, *places], 2: places[::-1]}[len(dims)]
    region = " ".join(f"{letter}Axis = {axis};" for letter, axis in zip("PQ", axes, strict=False))
    stacked = f" StackAxis = {energy};\n" if len(dims) == 2 else ""
    listed = ", ".join(
        f'{{ Name = "{_plain(channel)}"; Unit = "{_unit(array)}";}}' for channel, array in channels.items()
    )
    lines = [
        f'ScanDefinition = {{ Label = "{_plain(name)}"; Type = "{_TYPES[dims]}"; Flags = "{_FLAGS[dims]}";{_dwell(stack)}',
        f" Regions = (1,\n{{ {region} }});\n",
        f"{stacked} Channels = ({len(channels)}, {listed});",
        "};",
        *_time(stack),
        *_energy_regions(stack),
        *_records(stack),
    ]
    return "\n".join(lines) + "\n"


def _axis(name: str, unit: str, points: np.ndarray) -> str:
    numbers = ", ".join(repr(float(point)) for point in points)
    return (
        f'{{ Name = "{name}"; Unit = "{unit}"; Min = {float(points.min())!r}; Max = {float(points.max())!r}; Dir = 1;\n'
        f"  Points = ({points.size}, {numbers});\n}}"
    )


def _plain(text: str) -> str:
    return text.replace('"', "'")


def _unit(array: xr.DataArray) -> str:
    units = _units.units_of(array)
    return _UNITS.get(units, units)


def _dwell(stack: xr.Dataset) -> str:
    return f" Dwell = {float(_in(stack['dwell_time'], 'ms').flat[0])!r};" if "dwell_time" in stack.coords else ""


def _energy_regions(stack: xr.Dataset) -> list[str]:
    """Return the dwell times of the energies, where they are not all the same."""
    if "dwell_time" not in stack.coords or not stack["dwell_time"].ndim:
        return []
    runs = [(dwell, len(list(run))) for dwell, run in groupby(_in(stack["dwell_time"], "ms").tolist())]
    items = ", ".join(f"{{ Points = {count}; DwellTime = {dwell!r};}}" for dwell, count in runs)
    return [f"ImageScan = {{ EnergyRegions = ({len(runs)}, {items});}};"]


def _time(stack: xr.Dataset) -> list[str]:
    said = stack.attrs.get("start_time")
    if not said:
        return []
    time = written_date(said)
    return [f'Time = "{time.year} {MONTHS[time.month - 1].capitalize()} {time.day:02d} {time:%H:%M:%S}";']


def _records(stack: xr.Dataset) -> list[str]:
    """Return the ring current of each frame; zero stands for unknown."""
    if "ring_current" not in stack.coords:
        return []
    currents = np.nan_to_num(_in(stack["ring_current"], "mA")).tolist()
    return [f"Image{index:03d}_0 = {{ StorageRingCurrent = {current!r};}};" for index, current in enumerate(currents)]
