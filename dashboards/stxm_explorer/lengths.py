"""From the choices to calls about length scales and particles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.state import ExplorerState, Field, unused
from xstxm import units


def named(state: ExplorerState) -> dict[str, Field]:
    """Return the open fields by names that a tree takes, each once.

    Raises
    ------
    Missing
        No stack is open.
    """
    plan.field_of(state)
    found: dict[str, Field] = {}
    for field in state.fields:
        found[unused(field.label.replace("/", "-") or "field", [*found])] = field
    return found


def shown(state: ExplorerState) -> str:
    """Return the name of the field that is looked at."""
    chosen = plan.field_of(state)
    return next(name for name, field in named(state).items() if field is chosen)


def counted(state: ExplorerState) -> list[str]:
    """Return the names of the fields that statistics take.

    Raises
    ------
    Missing
        All are left out.
    """
    found = [name for name, field in named(state).items() if field.label not in state.scales.left_out]
    if not found:
        raise Missing("Every field is left out: let at least one count.")
    return found


def quantity(state: ExplorerState) -> str:
    """Return the variable that is compared: the fraction of a phase where no composition is known."""
    chosen = str(state.scales.quantity)
    known = state.references.compositions and plan.references_of_phases(state) is not None
    return "fraction" if chosen == "composition" and not known else chosen


def phases(state: ExplorerState) -> dict[str, Call]:
    """Return the phase maps of all fields; without references their phases are clusters of all pixels together."""
    fields = named(state)
    if plan.references_of_phases(state) is not None or len(fields) == 1:
        return {name: plan.phases(state, field) for name, field in fields.items()}
    stacks = call("xr.DataTree.from_dict", {name: plan.density(field) for name, field in fields.items()}, name="stacks")
    joint = call("trees.phase_map", stacks, min_confidence=state.fit.min_confidence, name="joint phases")
    return {name: call(".to_dataset", joint[name], name=f"{name} phases") for name in fields}


def maps(state: ExplorerState) -> dict[str, Call]:
    """Return the maps of all fields, each with the quantity that is compared as a variable."""
    return {name: _measured(state, name, found) for name, found in phases(state).items()}


def _measured(state: ExplorerState, name: str, phases: Call) -> Call:
    if quantity(state) == "composition":
        return phases
    if quantity(state) == "amount":
        known = call(".notnull", phases["phase_fraction"], name=f"{name} known")
        sample = call(".any", known, "phase", name=f"{name} sample")
        amount = call(".where", phases["total_amount"], sample, name=f"{name} amount")
        return call(".assign", phases, amount=amount, name=f"{name} map")
    fraction = {end: _of_phase(state, phases[f"phase_fraction{end}"], name) for end in ("", "_stderr")}
    columns = {f"fraction{end}": one for end, one in fraction.items()}
    return call(".assign", phases, **columns, name=f"{name} map")


def _of_phase(state: ExplorerState, fractions: Call, name: str) -> Call:
    name = fractions.name.replace("phase", name)
    if chosen := state.scales.phase:
        return call(".sel", fractions, phase=chosen, drop=True, name=name)
    return call(".isel", fractions, phase=0, drop=True, name=name)


def tree(state: ExplorerState) -> Call:
    """Return the maps of all fields in one tree, to be drawn."""
    return call("xr.DataTree.from_dict", maps(state), name="maps")


def particles(state: ExplorerState, name: str) -> Call:
    """Return the particles of a field."""
    chosen = state.scales
    options: dict[str, Any] = {"min_amount": chosen.min_amount, "min_area": chosen.min_area}
    given = {option: value for option, value in options.items() if value}
    found = maps(state)[name]
    return call("particles", found, signal=quantity(state), **given, max_neck=chosen.max_neck, name=f"{name} particles")


def table(state: ExplorerState, name: str) -> Call:
    """Return the rows of the particles of a field."""
    return call("particle_table", particles(state, name), name=f"{name} table")


def heterogeneity(state: ExplorerState) -> Call:
    """Return how much of the variance lies within particles, between them and between fields."""
    names = counted(state)
    return call(
        "heterogeneity",
        _some(maps(state), names),
        {name: particles(state, name) for name in names},
        signal=quantity(state),
        weights=state.scales.weights,
        name="split",
    )


def coarse_grain(state: ExplorerState) -> Call:
    """Return the variance of the maps seen in larger and larger blocks."""
    return call("coarse_grain", _some(maps(state), counted(state)), signal=quantity(state), name="coarse")


def blocks(state: ExplorerState, name: str, factors: Mapping[str, int]) -> Call:
    """Return the map of a field as the means of blocks of so many pixels."""
    image = maps(state)[name][quantity(state)]
    cells = call(".coarsen", image, **factors, boundary="trim", name=f"{name} blocks")
    return call(".mean", cells, name=f"{name} coarse map")


def correlation_length(state: ExplorerState) -> Call:
    """Return over which distance pixels resemble each other."""
    names, chosen = counted(state), state.scales
    options: dict[str, Any] = {"fields": "together" if chosen.together else "each"}
    if chosen.in_particles:
        options["particles"] = {name: particles(state, name) for name in names}
    return call("correlation_length", _some(maps(state), names), signal=quantity(state), **options, name="correlation")


def _some(maps: Mapping[str, Call], names: list[str]) -> dict[str, Call]:
    return {name: maps[name] for name in names}


def factors(phases: Any, length: float) -> dict[str, int]:
    """Return the pixels along each dimension that make a block of a length in um."""
    sizes = {dim: units.to_magnitude(size, "um", "pixel size") for dim, size in phases.stxm.pixel_size.items()}
    return {dim: max(round(length / size), 1) for dim, size in sizes.items()}


def sides(coarse: Any, name: str) -> list[float]:
    """Return the sides of blocks in um at which a field has a variance; none where the field is left out."""
    if name not in coarse["node"].values:
        return []
    one = coarse.sel(node=name).dropna("length", subset=["variance"])
    return [float(length) for length in one["length"].values]
