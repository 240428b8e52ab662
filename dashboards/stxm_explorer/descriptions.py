"""What is in a file, for the table of files: opened lazily, kept until the file changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

import xstxm
from stxm_explorer.access import OutsideRootError, formats_by_ending, own_formats, refuse_links_out, resolve, stamp
from stxm_explorer.messages import message
from xstxm.errors import StxmError

_SIGNALS = {"intensity", "optical_density"}

Content: TypeAlias = Literal["stack", "result", "references", "unreadable"]


@dataclass(frozen=True)
class Description:
    """What a row of the table says; of a file that cannot be read only why."""

    content: Content
    format: str = ""
    scan_type: str = ""
    start_time: str = ""
    """As the file says it, ISO 8601."""
    energies: int = 0
    energy_range: tuple[float, float] | None = None
    """Lowest and highest energy in eV."""
    pixels: tuple[int, ...] = ()
    """Lengths of the pixel dimensions, y before x."""
    pixel_size: str = ""
    """Step with its unit, of y before that of x where they differ."""
    names: tuple[str, ...] = ()
    """References, or the variables of a result."""
    problem: str = ""


def describe(root: Path, name: str) -> Description:
    """Return what is in a file below the root folder; never an error. Read again when the file, or a frame of it, changed."""
    root = root.resolve()
    try:
        path = resolve(root, name)
        return _described(root, path, stamp(path))
    except (StxmError, OSError) as error:
        return Description("unreadable", problem=message(error, root))


@lru_cache(maxsize=4096)
def _described(root: Path, path: Path, changed: int) -> Description:
    try:
        refuse_links_out(root, path)
        return _of(path)
    except OutsideRootError:
        raise
    except Exception as error:  # whatever a library raises on a broken file: the table shows the others all the same
        return Description("unreadable", problem=message(error, root))


def scans_in(root: Path, name: str) -> dict[str, dict[str, Any]]:
    """Return the scans of a file that has several, by name, each with the option of `xstxm.open_stack` that opens it."""
    path = resolve(root, name)
    return _scans_of(root, path, stamp(path))


@lru_cache(maxsize=1024)
def _scans_of(root: Path, path: Path, changed: int) -> dict[str, dict[str, Any]]:
    refuse_links_out(root, path)
    kind = format_of(path)
    if kind not in ("sdf", "nxstxm"):
        return {}
    tree = xstxm.open_tree(path, chunks={})
    try:
        names = [leaf.name for leaf in tree.leaves]
    finally:
        tree.close()
    if len(names) < 2:
        return {}
    if kind == "nxstxm":
        return {str(name): {"entry": str(name)} for name in names}
    return {f"region {number}": {"region": number} for number in range(len(names))}


def _of(path: Path) -> Description:
    """Describe a stack, a result, or spectra, by what opens the file."""
    ending = path.suffix.lower()
    if not formats_by_ending().get(ending) or (ending == ".dat" and not _is_scan(path)):
        return _of_references(xstxm.read_references(path))
    if format_of(path) in own_formats():
        return _of_result(path)
    with xstxm.open_stack(path, chunks={}) as stack:
        return _of_stack(path, stack)


def _of_result(path: Path) -> Description:
    """Describe what xstxm wrote: a result, references, or a stack."""
    with xstxm.open_result(path) as result:
        if isinstance(result, xr.Dataset) and "energy" in result.coords:
            if "absorption" in result:
                return _of_references(result)
            if _SIGNALS & {*result.data_vars}:
                return _of_stack(path, result)
        return Description("result", format_of(path), names=_variables(result))


def _of_stack(path: Path, stack: xr.Dataset) -> Description:
    said = stack.attrs
    return Description(
        "stack",
        format_of(path),
        scan_type=str(said.get("scan_type", "")),
        start_time=str(said.get("start_time", "")),
        energies=stack.sizes.get("energy", 1),
        energy_range=_range(stack),
        pixels=tuple(stack.sizes[dim] for dim in stack.stxm.pixel_dims),
        pixel_size=" x ".join(dict.fromkeys(stack.stxm.pixel_size.values())),
    )


def _of_references(references: xr.Dataset) -> Description:
    names = tuple(str(name) for name in references["reference"].values)
    return Description("references", energies=references.sizes["energy"], energy_range=_range(references), names=names)


def _range(found: xr.Dataset) -> tuple[float, float] | None:
    energy = np.asarray(found["energy"], dtype=float)
    return (float(energy.min()), float(energy.max())) if energy.size else None


def _variables(result: Any) -> tuple[str, ...]:
    if isinstance(result, xr.DataTree):
        return tuple(str(name) for name in (*result.data_vars, *result.children))
    return tuple(map(str, result.data_vars)) if isinstance(result, xr.Dataset) else (str(result.name or "values"),)


def format_of(path: Path) -> str:
    """Return the format of a file: the only one of its ending, or the first of them that knows its content."""
    names = formats_by_ending().get(path.suffix.lower(), ())
    engines = xr.backends.list_engines() if len(names) > 1 else {}
    return next((name for name in names if not engines or engines[name].guess_can_open(str(path))), "")


def _is_scan(path: Path) -> bool:
    return bool(xr.backends.list_engines()["stxm"].guess_can_open(str(path)))
