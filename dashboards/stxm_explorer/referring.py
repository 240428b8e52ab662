"""From the choices to calls that make the references: spectra of tables, and of pixels of the stacks themselves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import xarray as xr

from stxm_explorer import unmixing
from stxm_explorer.calls import Call, File, Given, Missing, Upload, call
from stxm_explorer.stacks import density
from stxm_explorer.state import ExplorerState, Field, Internal, References, unused
from xstxm.conventions import UNITS_OF_KIND


def reference_spectra(state: ExplorerState) -> Call | None:
    """Return all spectra that were chosen, None where there are none.

    Raises
    ------
    Missing
        The stack that some of them come from is closed.
    """
    found = [*_of_tables(state.references), *_of_pixels(state)]
    if len(found) < 2:
        return next((one for _, one in found), None)
    sets: dict[str, Call] = {}
    for label, one in found:
        name = unused(label, [*sets])
        sets[name] = replace(one, name=f"{name} references")
    return call("join_references", sets, name="references")


def references(state: ExplorerState) -> Call | None:
    """Return the references that fits use, with their compositions and colours; None where there are none."""
    known, chosen, names = reference_spectra(state), state.references, state.references.used
    if known is None or not chosen.names:
        return known
    told: dict[str, Any] = {}
    numbers = chosen.compositions
    if numbers and any(chosen.brought.get(name) != number for name, number in numbers.items()):
        told["composition"] = ("reference", [*numbers.values()], {"units": "1", "long_name": "Composition"})
    if any(name in chosen.colors for name in names):
        told["color"] = ("reference", [chosen.colors.get(name, "") for name in names])
    if told or len(names) < len(chosen.names):  # what is told of them one by one needs them in this order
        known = call(".sel", known, reference=names, name="references")
    if not numbers and chosen.brought:  # of some only, which no map can be made of
        known = call(".drop_vars", known, "composition", errors="ignore", name="references")
    return call(".assign_coords", known, **told, name="references") if told else known


def brought_by(references: xr.Dataset) -> dict[str, float]:
    """Return the compositions that references came with."""
    if "composition" not in references.coords:
        return {}
    pairs = zip(references["reference"].values, references["composition"].values, strict=True)
    return {str(name): float(number) for name, number in pairs if math.isfinite(number)}


def _of_tables(chosen: References) -> Iterator[tuple[str, Call]]:
    """Give the sets in files by their names: tables of different names are read together, a library by itself."""
    if chosen.in_memory:
        yield "given", Call("", (Given("references"),), name="references")
        return
    for files in _read_together([*map(File, chosen.files), *map(Upload, chosen.uploads)]):
        options: dict[str, Any] = {}
        if chosen.kind and not _is_library(files[0]):  # a library says what it holds
            options = {"kind": chosen.kind}
            options |= {"units": UNITS_OF_KIND[chosen.kind]} if chosen.kind in UNITS_OF_KIND else {}
        several = files if len(files) > 1 else files[0]
        name = "tables" if len(files) > 1 else _stem(files[0])
        yield name, call("read_references", several, **options, name="references")


def _read_together(files: list[File]) -> list[list[File]]:
    batches: list[list[File]] = []
    for file in files:
        last = batches[-1] if batches else []
        if not last or _is_library(file) or _is_library(last[0]) or _stem(file) in map(_stem, last):
            batches.append([])
        batches[-1].append(file)
    return batches


def _of_pixels(state: ExplorerState) -> Iterator[tuple[str, Call]]:
    """Give the sets of mean spectra by the names of their fields, in their order."""
    for label, several in itertools.groupby(state.references.internal, lambda internal: internal.field):
        internal = [*several]
        field = next((field for field in state.fields if field.label == label), None)
        if field is None:
            names = ", ".join(one.label for one in internal)
            raise Missing(f"Open {label} again, or forget {names} on page Data: the spectrum is that of its pixels.")
        regions = {one.label: _pixels(one, field) for one in internal}
        yield label, call("internal_references", density(field), regions, name="references")


def _pixels(internal: Internal, field: Field) -> Any:
    if internal.region is not None:
        return internal.region.for_xstxm()
    if internal.cluster:
        return unmixing.of_cluster(internal, field, internal.cluster)
    return unmixing.picked(internal, field)


def _is_library(file: File) -> bool:
    return file.name.lower().endswith(".toml")


def _stem(file: File) -> str:
    return PurePosixPath(file.name).stem
