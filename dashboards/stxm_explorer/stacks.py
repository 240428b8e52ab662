"""From the choices to calls about one stack: how it is read and prepared, up to its optical density and its spectra."""

from __future__ import annotations

from typing import Any

from stxm_explorer.calls import Call, File, Given, Missing, call
from stxm_explorer.state import ExplorerState, Field, Region


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
    which: dict[str, Any] = {} if field.region is None else {"region": field.region}
    which |= {"entry": field.entry} if field.entry else {}
    return call("open_stack", File(field.file), chunks={}, **which, name=f"{field.label} stack")


def frames(field: Field) -> Call:
    """Return what is wrong with each frame of the file, if anything."""
    return call("flag_frames", raw(field), name=f"{field.label} frames")


def selected(field: Field) -> Call:
    """Return the stack at the energies that are used."""
    stack = raw(field)
    if field.start is not None or field.stop is not None:
        stack = call("sel_energy", stack, field.start, field.stop, name=f"{field.label} selected")
    if field.dropped:
        stack = call("drop_frames", stack, [*field.dropped], name=f"{field.label} kept")
    return stack


def cleaned(field: Field) -> Call:
    """Return the frames that are used, without spikes, where they were measured."""
    stack = selected(field)
    if field.despike:
        stack = call("despike", stack, name=f"{field.label} despiked")
    return stack


def shifts(field: Field) -> Call:
    """Return how far each frame has to be moved."""
    options: dict[str, Any] = {}
    if field.align_region is not None:
        options["region"] = field.align_region.for_xstxm()
    if field.max_shift is not None:
        options["max_shift"] = field.max_shift
    if field.transform != "translation":
        options["transform"] = field.transform
    return call("estimate_shifts", cleaned(field), field.align_to, **options, name=f"{field.label} shifts")


def aligned(field: Field) -> Call:
    """Return the frames moved by their shifts."""
    options = {"crop": True} if field.crop else {}
    return call("apply_shifts", cleaned(field), shifts(field), **options, name=f"{field.label} aligned")


def prepared(field: Field) -> Call:
    """Return the stack after the steps that keep it a stack of counts."""
    return aligned(field) if field.align else cleaned(field)


def incident(field: Field) -> Call:
    """Return what holds the incident intensity: an estimate, a spectrum, or the stack itself.

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
    return stack


def density(field: Field) -> Call:
    """Return the stack with its optical density."""
    options: dict[str, Any] = {"noise": field.noise, "gain": field.gain} if field.noise else {}
    if field.thick != Field.param.thick.default:
        options["thick"] = field.thick
    if field.saturation is not None:
        options["saturation"] = field.saturation
    return call("optical_density", prepared(field), incident(field), **options, name=f"{field.label} density")


def signal_of(field: Field, signal: str) -> Call:
    """Return the optical density or the intensity of a field, over energy and the pixels."""
    return stack_with(field, signal)[signal]


def stack_with(field: Field, signal: str) -> Call:
    """Return the stack that holds a signal."""
    return density(field) if signal == "optical_density" else prepared(field)


def spectrum(field: Field, region: Region, signal: str = "optical_density") -> Call:
    """Return the mean spectrum of a region."""
    stack = stack_with(field, signal)
    options = {} if signal == "optical_density" else {"signal": signal}
    return call("spectrum", stack, region.for_xstxm(), **options, name=region.name or "spectrum")
