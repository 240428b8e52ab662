"""From the choices to calls of xstxm: the one place that knows which numbers a choice means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.referring import reference_spectra, references
from stxm_explorer.stacks import (
    aligned,
    cleaned,
    density,
    field_of,
    frames,
    incident,
    prepared,
    raw,
    selected,
    shifts,
    signal_of,
    spectrum,
    stack_with,
)
from stxm_explorer.state import ExplorerState, Field, Region
from stxm_explorer.unmixing import cluster_scores, clusters, least_amount, pca, picked, picked_spectrum, resolved

__all__ = [
    "Missing",
    "aligned",
    "call",
    "cleaned",
    "cluster_scores",
    "clusters",
    "density",
    "distinguished",
    "field_of",
    "fitted",
    "frames",
    "image",
    "incident",
    "misfit",
    "pca",
    "phases",
    "picked",
    "picked_spectrum",
    "prepared",
    "profile",
    "raw",
    "reference_spectra",
    "references",
    "references_of_phases",
    "resolved",
    "selected",
    "shares",
    "shifts",
    "signal_of",
    "spectra",
    "spectrum",
    "stack_with",
    "summary",
]


SOME_COUNTS = 1000.0
"""Incident counts of a pixel where neither the user nor the stack tells them."""


def distinguished(state: ExplorerState, field: Field, *, counted: bool) -> Call:
    """Return how well the references are told apart at the energies of a field, and at its I0 where its signal is `counted`.

    Raises
    ------
    Missing
        There are fewer than two references.
    """
    known = references(state)
    if known is None or len(state.references.used) < 2:
        raise Missing("Choose two references or more: then this tells how well they are told apart.")
    options = {"method": state.fit.method, "background": state.fit.background}
    energies = selected(field)["energy"]
    counts: Any = state.references.counts
    if counts is None:
        counts = incident(field)["i0"] if counted and _from_own_pixels(field) else SOME_COUNTS
    return call("distinguishability", known, counts=counts, energies=energies, **options, name="distinguished")


def _from_own_pixels(field: Field) -> bool:
    """Tell whether I0 comes from pixels of the stack, so that it is in its counts."""
    return field.i0_source == "brightest" or (field.i0_source == "region" and field.i0_region is not None)


def phases(state: ExplorerState, field: Field) -> Call:
    """Return the phase map of a field."""
    known, fit, name = references_of_phases(state), state.fit, f"{field.label} phases"
    if known is None:
        found = clusters(state, field)
        return call("phase_map", density(field), clusters=found, min_confidence=fit.min_confidence, name=name)
    options = {**_of_fit(state), **least_amount(state), "min_confidence": fit.min_confidence}
    return call("phase_map", density(field), known, **options, name=name)


def references_of_phases(state: ExplorerState) -> Call | None:
    """Return the references whose phases are mapped; None where the phases are clusters."""
    return references(state) if state.fit.source == "references" else None


def summary(state: ExplorerState, field: Field) -> Call:
    """Return how much of each phase there is in a field, with errors."""
    return call("phase_summary", phases(state, field), name=f"{field.label} summary")


def misfit(state: ExplorerState, field: Field) -> Call:
    """Return the fit of every pixel, which says what it leaves.

    Raises
    ------
    Missing
        There are no references.
    """
    known = references(state)
    if known is None:
        raise Missing("Choose reference spectra on page Data: the misfit is what their fit leaves.")
    return call("fit", density(field), known, **_of_fit(state), name=f"{field.label} fit")


def _of_fit(state: ExplorerState) -> dict[str, Any]:
    """Return the options of a fit that differ from its defaults, and the two that everyone asks for."""
    fit = state.fit
    options: dict[str, Any] = {"method": fit.method, "background": fit.background}
    if fit.selection:
        options["selection"] = fit.selection
    if fit.max_optical_density:
        options["max_optical_density"] = fit.max_optical_density
    return options


def image(state: ExplorerState, field: Field, number: int, energy: float, second: float, floor: float) -> Call:
    """Return the image that is looked at: the frame of a number, or its contrast to the other energy.

    A ratio has no value where the signal at the other energy is no larger than `floor`.
    """
    view = state.view
    if view.image == "frame":
        return call(".isel", signal_of(field, view.signal), energy=number, name="image")
    options: dict[str, Any] = {} if view.signal == "optical_density" else {"signal": view.signal}
    if view.image == "ratio" and floor:
        options["min_denominator"] = floor
    contrast = call(f"{view.image}_map", stack_with(field, view.signal), energy, second, **options, name="contrast")
    return contrast[view.image]


def spectra(state: ExplorerState, field: Field, regions: Sequence[Region]) -> Call:
    """Return the mean spectra of some regions, by their names."""
    each = [spectrum(field, region, state.view.signal) for region in regions]
    joined = call("xr.concat", each, "region", name="joined")
    return call(".assign_coords", joined, region=[region.name for region in regions], name="spectra")


def shares(state: ExplorerState, spectra: Call) -> Call | None:
    """Return how much of each phase there is in some mean spectra, with errors; None without references."""
    known = references(state)
    if known is None:
        return None
    return call("phase_map", spectra["spectrum"], known, **_of_fit(state), min_amount=0, name="fractions")


def profile(state: ExplorerState, image: Call) -> Call:
    """Return the values of an image along the line that was drawn.

    Raises
    ------
    Missing
        It has no two ends yet.
    """
    if len(state.view.line) < 2:
        raise Missing("Tap the two ends of the line on the image.")
    width = {"width": state.view.line_width} if state.view.line_width else {}
    return call("line_profile", image, *state.view.line, **width, name="profile")


def fitted(state: ExplorerState, spectrum: Call) -> Call | None:
    """Return the fit of a mean spectrum, None without references."""
    known = references(state)
    if known is None:
        return None
    return call("fit", spectrum["spectrum"], known, **_of_fit(state), name=f"{spectrum.name} fit")
