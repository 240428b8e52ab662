"""From the choices to calls of xstxm: the one place that knows which numbers a choice means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from stxm_explorer.calls import Call, File, Given, Missing, Upload, call
from stxm_explorer.state import ExplorerState, Field, Region
from xstxm.conventions import UNITS_OF_KIND


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


def reference_spectra(state: ExplorerState) -> Call | None:
    """Return all spectra in the chosen files, None where there are none."""
    chosen = state.references
    if chosen.in_memory:
        return Call("", (Given("references"),), name="references")
    files = [*map(File, chosen.files), *map(Upload, chosen.uploads)]
    if not files:
        return None
    options = {"kind": chosen.kind} if chosen.kind else {}
    options |= {"units": UNITS_OF_KIND[chosen.kind]} if chosen.kind in UNITS_OF_KIND else {}
    return call("read_references", _source(files), **options, name="references")


def references(state: ExplorerState) -> Call | None:
    """Return the references that fits use, with their compositions and colours; None where there are none."""
    known, chosen, names = reference_spectra(state), state.references, state.references.used
    if known is None or not chosen.names:
        return known
    told: dict[str, Any] = {}
    if (numbers := [*chosen.compositions.values()]) and chosen.composition != chosen.brought:
        told["composition"] = ("reference", numbers, {"units": "1", "long_name": "Composition"})
    if any(name in chosen.colors for name in names):
        told["color"] = ("reference", [chosen.colors.get(name, "") for name in names])
    if told or len(names) < len(chosen.names):  # what is told of them one by one needs them in this order
        known = call(".sel", known, reference=names, name="references")
    return call(".assign_coords", known, **told, name="references") if told else known


def distinguished(state: ExplorerState, field: Field) -> Call:
    """Return how well the references are told apart at the energies of a field.

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
    counts = state.references.counts
    return call("distinguishability", known, counts=counts, energies=energies, **options, name="distinguished")


def phases(state: ExplorerState, field: Field) -> Call:
    """Return the phase map of a field."""
    known, fit, name = references_of_phases(state), state.fit, f"{field.label} phases"
    if known is None:
        found = clusters(state, field)
        return call("phase_map", density(field), clusters=found, min_confidence=fit.min_confidence, name=name)
    options = {**_of_fit(state), **_least_amount(state), "min_confidence": fit.min_confidence}
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


def pca(state: ExplorerState, field: Field) -> Call:
    """Return the singular value decomposition of a field."""
    unmix = state.unmix
    number = [unmix.n_components] if unmix.n_components else []
    options = {"center": True} if unmix.center else {}
    return call("pca", density(field), *number, **options, name=f"{field.label} eigenspectra")


def resolved(state: ExplorerState, field: Field, n_components: int) -> Call:
    """Return the spectra and amounts of so many components, by the way that was chosen."""
    unmix = state.unmix
    return call(unmix.method, density(field), n_components, seed=unmix.seed, name=f"{field.label} components")


def clusters(state: ExplorerState, field: Field) -> Call:
    """Return groups of pixels with spectra of one shape."""
    return _clusters(state, field, state.unmix.n_clusters)


def _clusters(state: ExplorerState, field: Field, number: int) -> Call:
    unmix = state.unmix
    given = {
        "n_components": "cluster_components",
        "method": "grouping",
        "normalize": "normalize",
        "background": "background",
    }
    options: dict[str, Any] = {
        option: getattr(unmix, choice)
        for option, choice in given.items()
        if getattr(unmix, choice) != unmix.param[choice].default
    }
    if unmix.grouping == "hdbscan":
        number = 0
    elif not number:
        options["choose"] = unmix.choose
    options |= {**_least_amount(state), "seed": unmix.seed}
    return call("cluster", density(field), *([number] if number else []), **options, name=f"{field.label} clusters")


def cluster_scores(state: ExplorerState, field: Field, numbers: Sequence[int]) -> Call:
    """Return the mean silhouette of the pixels and the stability for several numbers of clusters.

    Raises
    ------
    Missing
        The method finds the number itself.
    """
    if state.unmix.grouping == "hdbscan":
        raise Missing("HDBSCAN finds the number of clusters itself: there is nothing to compare.")
    each = []
    for number in numbers:
        found = _clusters(state, field, number)
        weighted = call(".weighted", found[["silhouette", "stability"]], found["n_pixels"], name=f"weighted {number}")
        each.append(call(".mean", weighted, "cluster", name=f"score of {number}"))
    joined = call("xr.concat", each, "number", name="scores")
    return call(".assign_coords", joined, number=[*numbers], name=f"{field.label} scores")


def picked(state: ExplorerState, field: Field, shape: Sequence[int]) -> Call:
    """Return which pixels of an image of that shape (y, x) lie inside the lasso of the scatter.

    Raises
    ------
    Missing
        There is no lasso.
    """
    unmix = state.unmix
    if len(unmix.lasso) < 3:
        raise Missing("Draw a lasso or a box around points of the scatter: their mean spectrum appears here.")
    images = call(".sel", pca(state, field)["eigenimages"], component=[unmix.across, unmix.up], name="images")
    rows = call(".stack", images, pixel=["y", "x"], create_index=False, name="rows")
    points = call(".transpose", rows, "pixel", "component", name="points")
    inside = Call("measure.points_in_poly", (points, [*unmix.lasso]), name="inside")
    return call(".reshape", inside, *shape, name="lasso")


def picked_spectrum(state: ExplorerState, field: Field, shape: Sequence[int]) -> Call:
    """Return the mean spectrum of the pixels inside the lasso; errors as of `picked`."""
    return call("spectrum", density(field), picked(state, field, shape), name="lasso spectrum")


def _least_amount(state: ExplorerState) -> dict[str, Any]:
    return {"min_amount": state.fit.min_amount} if state.fit.min_amount else {}


def _of_fit(state: ExplorerState) -> dict[str, Any]:
    """Return the options of a fit that differ from its defaults, and the two that everyone asks for."""
    fit = state.fit
    options: dict[str, Any] = {"method": fit.method, "background": fit.background}
    if fit.selection:
        options["selection"] = fit.selection
    if fit.max_optical_density:
        options["max_optical_density"] = fit.max_optical_density
    return options


def signal_of(field: Field, signal: str) -> Call:
    """Return the optical density or the intensity of a field, over energy and the pixels."""
    return stack_with(field, signal)[signal]


def stack_with(field: Field, signal: str) -> Call:
    """Return the stack that holds a signal."""
    return density(field) if signal == "optical_density" else prepared(field)


def image(state: ExplorerState, field: Field, number: int, energy: float, second: float) -> Call:
    """Return the image that is looked at: the frame of a number, or its contrast to the other energy."""
    view = state.view
    if view.image == "frame":
        return call(".isel", signal_of(field, view.signal), energy=number, name="image")
    options = {} if view.signal == "optical_density" else {"signal": view.signal}
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


def spectrum(field: Field, region: Region, signal: str = "optical_density") -> Call:
    """Return the mean spectrum of a region."""
    stack = stack_with(field, signal)
    options = {} if signal == "optical_density" else {"signal": signal}
    return call("spectrum", stack, region.for_xstxm(), **options, name=region.name or "spectrum")


def fitted(state: ExplorerState, spectrum: Call) -> Call | None:
    """Return the fit of a mean spectrum, None without references."""
    known = references(state)
    if known is None:
        return None
    return call("fit", spectrum["spectrum"], known, **_of_fit(state), name=f"{spectrum.name} fit")


def _source(files: list[File]) -> Any:
    """Return one table, or a file for each name: its stem, or the whole path where two stems are alike."""
    if len(files) == 1:
        return files[0]
    stems = [PurePosixPath(file.name).stem for file in files]
    whole = [f"sent {file.name}" if isinstance(file, Upload) else file.name for file in files]
    return {
        stem if stems.count(stem) == 1 else name: file for stem, name, file in zip(stems, whole, files, strict=True)
    }
