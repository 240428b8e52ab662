"""From the choices to calls of xstxm: the one place that knows which numbers a choice means."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from stxm_explorer.calls import Call, File, Given, Missing, call
from stxm_explorer.state import ExplorerState, Field, Region, parse_composition


def field_of(state: ExplorerState) -> Field:
    """Return the field that is shown.

    Raises
    ------
    Missing
        No stack is open.
    """
    if state.field is None:
        raise Missing("Open a stack first: page Data lists the files.")
    return state.field


def raw(field: Field) -> Call:
    """Return the stack as its file has it."""
    if field.in_memory:
        return Call("", (Given("stack"),), name="stack")
    return call("open_stack", File(field.file), chunks={}, name=f"{field.label} stack")


def prepared(field: Field) -> Call:
    """Return the stack after the steps that keep it a stack of counts."""
    stack = raw(field)
    if field.start is not None or field.stop is not None:
        stack = call("sel_energy", stack, field.start, field.stop, name=f"{field.label} selected")
    if field.dropped:
        stack = call(".drop_sel", stack, energy=[*field.dropped], name=f"{field.label} kept")
    if field.despike:
        stack = call("despike", stack, name=f"{field.label} despiked")
    if field.align:
        stack = call("align", stack, name=f"{field.label} aligned")
    return stack


def incident(field: Field) -> Call | None:
    """Return the incident intensity; None where the stack brings its own.

    Raises
    ------
    Missing
        Its region or file is not chosen yet.
    """
    stack, name = prepared(field), f"{field.label} i0"
    if field.i0_source == "brightest":
        return call("estimate_i0", stack, fraction=field.i0_fraction, name=name)
    if field.i0_source == "region":
        if field.i0_region is None:
            raise Missing("Draw the region without sample on page Prepare: I0 is its mean.")
        return call("estimate_i0", stack, field.i0_region.for_xstxm(), name=name)
    if field.i0_source == "file":
        if not field.i0_file:
            raise Missing("Choose the file of I0 on page Prepare.")
        return call("read_i0", File(field.i0_file), **({"units": field.i0_units} if field.i0_units else {}), name=name)
    return None


def density(field: Field) -> Call:
    """Return the stack with its optical density."""
    i0 = incident(field)
    return call("optical_density", prepared(field), *([] if i0 is None else [i0]), name=f"{field.label} density")


def references(state: ExplorerState) -> Call | None:
    """Return the chosen references, None where there are none.

    Raises
    ------
    OptionError
        The text of the compositions cannot be read.
    """
    chosen = state.references
    if chosen.in_memory:
        return Call("", (Given("references"),), name="references")
    if not chosen.files:
        return None
    options: dict[str, Any] = {}
    if compositions := parse_composition(chosen.composition):
        options["composition"] = compositions
    if chosen.colors:
        options["color"] = dict(chosen.colors)
    return call("read_references", _source(chosen.files), **options, name="references")


def phases(state: ExplorerState, field: Field) -> Call:
    """Return the phase map of a field."""
    known = references(state)
    options: dict[str, Any] = {"method": state.fit.method, "background": state.fit.background} if known else {}
    return call(
        "phase_map",
        density(field),
        *([known] if known else []),
        **options,
        min_confidence=state.fit.min_confidence,
        name=f"{field.label} phases",
    )


def particles(state: ExplorerState, field: Field) -> Call:
    """Return the particles of a phase map."""
    return call("particles", phases(state, field), name=f"{field.label} particles")


def spectrum(field: Field, region: Region, signal: str = "optical_density") -> Call:
    """Return the mean spectrum of a region."""
    stack = density(field) if signal == "optical_density" else prepared(field)
    options = {} if signal == "optical_density" else {"signal": signal}
    return call("spectrum", stack, region.for_xstxm(), **options, name=region.name or "spectrum")


def fitted(state: ExplorerState, spectrum: Call) -> Call | None:
    """Return the fit of a mean spectrum, None without references."""
    known = references(state)
    if known is None:
        return None
    options = {"method": state.fit.method, "background": state.fit.background}
    return call("fit", spectrum["spectrum"], known, **options, name=f"{spectrum.name} fit")


def _source(files: list[str]) -> Any:
    """Return one table, or a file for each name: its stem, or the whole path where two stems are alike."""
    if len(files) == 1:
        return File(files[0])
    stems = [PurePosixPath(file).stem for file in files]
    return {stem if stems.count(stem) == 1 else file: File(file) for stem, file in zip(stems, files, strict=True)}
