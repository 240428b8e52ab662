"""What a tree holds: a line for each node, and a table over the nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xstxm import _summary, units
from xstxm._axes import format_range
from xstxm._dates import TIME_ZONE, date_of
from xstxm._nodes import attempt, left_out, require_stacks, stacks
from xstxm._region_images import pixel_area
from xstxm.conventions import ENERGY, annotate, pixel_dims, require_energy
from xstxm.errors import MetadataWarning, NoStacksError, SchemaError, warn
from xstxm.provenance import recorded
from xstxm.regions import phase_summary

NODE = "node"


def as_text(tree: xr.DataTree) -> str:
    """Return a line for each node: kind of scan, sizes, pixel, field and energies, or why it was left out."""
    cells = {path: [path, *_cells(stack)] for path, stack in stacks(tree).items()}
    widths = [max(map(len, column)) for column in zip(*cells.values(), strict=True)]
    lines = {path: f"{path}  left out: {reason}" for path, reason in left_out(tree).items()}
    for path, row in cells.items():
        lines[path] = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    ordered = [f"  {lines[path]}" for path, _ in tree.subtree_with_keys if path in lines]
    return "\n".join([f"<xstxm tree, {len(cells)} {'stack' if len(cells) == 1 else 'stacks'}>", *ordered])


def _cells(stack: xr.Dataset) -> list[str]:
    """Return what a line says of a stack. Computes nothing lazy."""
    dims = [str(dim) for dim in pixel_dims(stack)]
    steps = {dim: size for dim in dims if (size := _summary.pixel_size(stack, dim))}
    sides = [f"{float(size.split()[0]) * stack.sizes[dim]:.4g} {size.partition(' ')[2]}" for dim, size in steps.items()]
    kind = _summary.kind(stack)
    energies = ""
    if ENERGY in stack.coords and stack.sizes.get(ENERGY):
        unit = stack[ENERGY].attrs.get("units", "")
        energies = f"{stack.sizes[ENERGY]} energies, {format_range(np.asarray(stack[ENERGY]), unit)}"
    return [
        str(stack.attrs.get("scan_type", kind)) if kind == "stack" else kind,
        " x ".join(f"{stack.sizes[dim]} {dim}" for dim in dims),
        f"pixel {' x '.join(steps.values())}" if steps else "",
        f"field {' x '.join(sides)}" if steps else "",
        energies,
    ]


@recorded
def summary(tree: xr.DataTree) -> xr.Dataset:
    """Return a table over the nodes of a tree: of phase maps what `phase_summary` says of each, of stacks their sizes.

    Parameters
    ----------
    tree
        Phase maps, or stacks. Where one node is a phase map, only phase maps are summarised.

    Returns
    -------
    Dataset
        Over `node`, the paths of all nodes with data and of those left out before: `pixel_size` (um, the side of a square as
        large as a pixel), `field_area` (um^2) and `pixel_count`, all of the field; coordinate `time`, where nodes have
        the attribute `start_time`, in UTC where it names a time zone. Of phase maps, all variables of `phase_summary`, phases joined by name, NaN where a
        node lacks one, compositions in the unit of the first; of stacks `energy_count`, `energy_min` and `energy_max`.
        `left_out`: why a node is not in the table, NaN in its row; empty where it is: one that is no phase map while
        others are, none of whose phases has a name of the nodes before, or whose composition is another quantity.
        ``.to_dataframe()`` is tidy. Lazy where the maps are.

    Raises
    ------
    NoStacksError
        The tree holds no data.

    Warns
    -----
    MetadataWarning
        A `start_time` that is no time, or names a time zone where others do not.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> tree = xr.DataTree.from_dict({"all": stack, "corner": stack.isel(x=slice(12), y=slice(12))})
    >>> found = xstxm.trees.summary(xstxm.trees.phase_map(tree, xstxm.testing.simulate_references()))
    >>> found.area_fraction.dims, found.node.values.tolist()
    (('node', 'phase'), ['all', 'corner'])
    """
    given, reasons = require_stacks(tree), left_out(tree)
    of_phases = any("phase_label" in stack for stack in given.values())
    rows = attempt(given, lambda _, stack: _phases(stack) if of_phases else _energies(stack), reasons, "summary")
    rows = _with_shared_phases(rows, reasons) if of_phases else rows
    if not rows:
        raise NoStacksError(reasons)
    names = [path for path, _ in tree.subtree_with_keys if path in given or path in reasons]
    table = xr.concat(
        list(rows.values()),
        xr.DataArray([*rows], dims=NODE, name=NODE),
        data_vars="all",
        coords="minimal",
        compat="override",
        join="exact",
    )
    table = table.reindex({NODE: np.array(names)}, fill_value={"energy_count": 0})
    of_nodes = _fields({path: given.get(path) for path in names}) | {
        "left_out": [reasons.get(path, "") for path in names]
    }
    stamped = {name: annotate(xr.DataArray(values, dims=NODE), name) for name, values in of_nodes.items()}
    return _with_time(table.assign(stamped).drop_attrs(deep=False), tree)


def _fields(given: Mapping[str, xr.Dataset | None]) -> dict[str, list[Any]]:
    """Return how large each field and its pixels are; one that was left out has none."""
    areas = [None if stack is None else pixel_area(stack) for stack in given.values()]
    sizes = [
        None if stack is None else {dim: stack.sizes[dim] for dim in pixel_dims(stack)} for stack in given.values()
    ]
    return {
        "pixel_size": [np.nan if area is None else area**0.5 for area in areas],
        "field_area": [
            own["y"] * own["x"] * area if own and area else np.nan for own, area in zip(sizes, areas, strict=True)
        ],
        "pixel_count": [0 if own is None else math.prod(own.values()) for own in sizes],
    }


def _energies(stack: xr.Dataset) -> xr.Dataset:
    energy = require_energy(stack)
    numbers = units.to_units(energy.astype(float), "eV").reset_coords(drop=True)
    found = {"energy_count": energy.size, "energy_min": numbers.min(), "energy_max": numbers.max()}
    return xr.Dataset({name: annotate(xr.DataArray(value), name) for name, value in found.items()})


def _phases(stack: xr.Dataset) -> xr.Dataset:
    if "phase_label" not in stack:
        raise SchemaError("it is no phase map, as others are: call .stxm.phase_map() first")
    found = phase_summary(stack)
    more = [str(dim) for dim in found.dims if dim != "phase"]
    if more:
        raise SchemaError(f"its phase map runs over {', '.join(more)}: summarise it alone, .stxm.phase_summary()")
    return found


def _with_shared_phases(rows: Mapping[str, xr.Dataset], reasons: dict[str, str]) -> dict[str, xr.Dataset]:
    """Return summaries over the phases of all, compositions in one unit; `reasons` takes those that do not go with the rest."""
    colors: dict[Any, Any] = {}
    composition: list[xr.DataArray] = []

    def fitted(path: str, row: xr.Dataset) -> xr.Dataset:
        names = np.asarray(row["phase"]).tolist()
        if colors and not {*names} & {*colors}:
            raise SchemaError(
                f"none of its phases, {', '.join(names)}, is one of {', '.join(colors)} of the nodes before"
            )
        row = _in_composition(row, composition)
        own = np.asarray(row["color"]).tolist() if "color" in row.coords else [""] * len(names)
        colors.update({name: color for name, color in zip(names, own, strict=True) if name not in colors})
        return row.drop_vars("color", errors="ignore")

    fitting = attempt(rows, fitted, reasons, "summary")
    known = {"color": ("phase", [*colors.values()])} if any(colors.values()) else {}
    return {path: row.reindex(phase=[*colors]).assign_coords(known) for path, row in fitting.items()}


def _in_composition(row: xr.Dataset, first: list[xr.DataArray]) -> xr.Dataset:
    """Return a summary whose compositions are the quantity of the first that has one, in its unit."""
    if "sample_composition" not in row:
        return row
    own = row["sample_composition"]
    wanted = first[0] if first else own
    if own.attrs.get("long_name") != wanted.attrs.get("long_name"):
        raise SchemaError(
            f"its composition is {own.attrs.get('long_name')!r}, that of the nodes before {wanted.attrs.get('long_name')!r}: "
            "give both one long_name, if they are the same"
        )
    unit = str(wanted.attrs.get("units", "1"))
    named = {name: units.to_units(row[name], unit) for name in row.data_vars if "composition" in str(name)}
    first[:] = first or [own]
    return row.assign(named)


def _with_time(table: xr.Dataset, tree: xr.DataTree) -> xr.Dataset:
    """Return a table with the start of each scan, where any node says it."""
    texts = {path: tree[path].attrs.get("start_time") for path in np.asarray(table[NODE]).tolist()}
    said = {path: text for path, text in texts.items() if text}
    if not said:
        return table
    reasons: dict[str, str] = {}
    dates = attempt(said, lambda _, text: date_of(text), reasons, "start_time")
    if reasons:
        wrong = ", ".join(repr(said[path]) for path in reasons)
        warn(f"start_time is no time in ISO 8601: {wrong}; it is NaT in the table", MetadataWarning)
    zones = {zone[TIME_ZONE] for _, zone in dates.values()}
    if len(zones) > 1:
        warn(
            "start_time names a time zone in some nodes only: the others are taken for UTC, give all one",
            MetadataWarning,
        )
    times = [dates[path][0] if path in dates else np.datetime64("NaT", "ns") for path in texts]
    zone = {TIME_ZONE: zones.pop()} if len(zones) == 1 else {}
    return table.assign_coords(time=(NODE, np.array(times), {"long_name": "Start of the scan", **zone}))
