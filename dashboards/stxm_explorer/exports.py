"""Which files are made, and the calls that make them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import xarray as xr

from stxm_explorer import lengths, plan, results
from stxm_explorer.calls import Call, File, Missing, Output, call, ordered
from stxm_explorer.results import Result
from stxm_explorer.state import ExplorerState, Field, unused

_LONGEST = 60
"""Characters of a field's or region's name in the name of a file."""

_RECIPE = "the analysis, for `xstxm run` on other stacks"

_SPECTRA, _LIBRARY = "reference spectra.csv", "reference library.toml"
"""Other names than those that tables of references usually have: a script must not write over what it reads."""

_SIDE = 500
"""Pixels of a map's side in a picture; its dpi makes it finer."""


@dataclass(frozen=True, eq=False)
class Item:
    """A file: its name, what it holds, and the call that writes it."""

    file: str
    what: str
    call: Call


def fields(state: ExplorerState) -> list[Field]:
    """Return the fields whose files are made.

    Raises
    ------
    Missing
        No stack is open.
    """
    shown = plan.field_of(state)
    return [*state.fields] if state.export.every_field else [shown]


def needs_phases(state: ExplorerState) -> bool:
    """Tell whether a chosen file holds something of the phase map."""
    chosen = state.export
    drawn = {*chosen.pictures} - {"regions", "image", "results"} if chosen.formats else set()
    return bool(
        (chosen.maps and "phases" in chosen.results) or drawn or {*chosen.tables} & {"phases", "particles", "recipe"}
    )


def needs_energy(state: ExplorerState) -> bool:
    """Tell whether an image is drawn, and nobody has chosen its energy."""
    chosen = state.export
    return "image" in chosen.pictures and bool(chosen.formats) and state.view.energy is None


def items(state: ExplorerState, phases: xr.Dataset | None, energy: float | None = None) -> list[Item]:
    """Return the files that are chosen.

    Parameters
    ----------
    state
        The choices.
    phases
        The phase map of the shown field: it tells which maps there are.
    energy
        Of the image where none is chosen: that which page Explore shows.

    Raises
    ------
    Missing
        No stack is open, or nothing is chosen.
    """
    stems: list[str] = []
    files: list[str] = []
    found: list[Item] = []
    for field in fields(state):
        stems.append(unused(plain(field.label), stems))
        maker = _Maker(state, field, stems[-1], files)
        if phases is not None:
            maps = _computed(plan.phases(state, field), phases)
            found += [*maker.maps(maps, phases), *maker.pictures(maps, phases), *maker.phase_tables(maps)]
        found += [*maker.results(results.of_field(state, field)), *maker.region_pictures()]
        found += [*maker.image(energy), *maker.region_tables()]
    together = _Maker(state, plan.field_of(state), stems[0] if len(state.fields) == 1 else "all fields", files)
    found += together.results(results.of_all_fields(state))
    found += _reference_tables(state)
    if not found:
        raise Missing("Choose on the left what the files shall hold.")
    return found


def recipe(state: ExplorerState, field: Field) -> Call:
    """Return the recipe of a phase map, with the references and I0 that it was given, so that it needs no other file."""
    phases = plan.phases(state, field)
    known, i0 = plan.references(state), plan.incident(field)
    inputs: dict[str, Any] = {} if known is None else {"references": known}
    if _from_elsewhere(i0):
        inputs["i0"] = i0
    return call("Recipe.from_result", phases, *([inputs] if inputs else []), name=f"{field.label} recipe")


def saved_recipe(state: ExplorerState) -> Item:
    """Return the file of the recipe of the shown field."""
    field = plan.field_of(state)
    file = f"{plain(field.label)} recipe.toml"
    return Item(file, _RECIPE, call(".save", recipe(state, field), Output(file)))


def plain(label: str) -> str:
    """Return a label as a part of a file's name.

    Examples
    --------
    >>> plain("../electrode: top/left")
    'electrode top left'
    """
    kept = "".join(letter if letter.isalnum() or letter in "-_.+ " else " " for letter in label)
    return " ".join(kept.split()).strip(".- ")[:_LONGEST].strip() or "field"


class _Maker:
    """The files of one field; of a name that is among the `files` of all, as regions may have it, the later has a number."""

    def __init__(self, state: ExplorerState, field: Field, stem: str, files: list[str]) -> None:
        self._state, self._field, self._stem, self._chosen, self._files = state, field, stem, state.export, files
        self._replace: dict[str, Any] = {"overwrite": True} if self._chosen.overwrite else {}

    def maps(self, phases: Call, found: xr.Dataset) -> Iterator[Item]:
        chosen = self._chosen.maps if "phases" in self._chosen.results else []
        if "netcdf" in chosen:
            yield self._file("phase map.nc", "phase map, everything in it", "write_netcdf", phases)
        if "zarr" in chosen:
            yield self._file("phase map.zarr", "phase map, everything in it", "write_zarr", phases)
        if "nxstxm" in chosen:
            maps = {name: phases[name] for name in _of_numbers(found)}
            stack = call(".assign", plan.density(self._field), **maps, name=f"{self._field.label} with maps")
            yield self._file("stack.hdf5", "stack, optical density and the maps of numbers", "write_nxstxm", stack)
        if "tiff" in chosen:
            for name in _maps(found):
                yield self._file(f"{_words(name)}.tif", _said(found, name), "write_tiff", phases, signal=name)
        if "csv" in chosen:
            table = call(".to_dataframe", phases[_images(found)], name=f"{self._field.label} table")
            yield self._file("maps.csv", "maps, a row for each pixel", "write_csv", table)

    def pictures(self, phases: Call, found: xr.Dataset) -> Iterator[Item]:
        chosen = self._chosen.pictures
        if "phases" in chosen:
            yield from self._drawn("phases", "phases, in their colours", "plot.phase_map", phases, size=_SIDE)
        if "composition" in chosen and "composition" in found:
            yield from self._drawn("composition", _said(found, "composition"), "plot.composition", phases, size=_SIDE)
        for name in ("confidence", "total_amount"):
            if name in chosen and name in found:
                yield from self._drawn(_words(name), _said(found, name), "plot.image", phases[name], size=_SIDE)
        if "spectra" in chosen:
            yield from self._drawn(
                "phase spectra", "spectra of the phases", "plot.spectra", phases, width=700, height=400
            )

    def results(self, chosen: Iterator[Result]) -> Iterator[Item]:
        for result in chosen:
            for file in result.files(self._chosen.maps):
                yield self._file(file.ending, file.what, file.write, file.given, **file.options)
            if "results" in self._chosen.pictures and result.drawn:
                yield from self._drawn(result.name, result.what, result.drawn, result.call, **result.drawing)

    def image(self, shown: float | None) -> Iterator[Item]:
        energy = shown if self._state.view.energy is None else self._state.view.energy
        if "image" in self._chosen.pictures and energy is not None:
            density = plan.density(self._field)
            what = f"optical density at {energy:g}"
            yield from self._drawn(f"at {energy:g}", what, "plot.image", density, float(energy), size=_SIDE)

    def region_pictures(self) -> Iterator[Item]:
        if "regions" in self._chosen.pictures:
            for name, spectrum in self._spectra():
                fitted = plan.fitted(self._state, spectrum)
                options: dict[str, Any] = {} if fitted is None else {"fit": fitted}
                what = f"spectrum of {name}" + ("" if fitted is None else ", and its fit")
                yield from self._drawn(name, what, "plot.spectra", spectrum, **options, width=700, height=400)

    def phase_tables(self, phases: Call) -> Iterator[Item]:
        chosen = self._chosen.tables
        if "phases" in chosen:
            summary = call("phase_summary", phases, name=f"{self._field.label} summary")
            table = call(".to_dataframe", summary, name=f"{self._field.label} areas")
            yield self._file("phases.csv", "area, fraction, composition of each phase", "write_csv", table)
        if "particles" in chosen:
            name = next(name for name, field in lengths.named(self._state).items() if field is self._field)
            table = lengths.table(self._state, name)
            yield self._file("particles.csv", "particles, a row for each", "write_csv", table)
        if "recipe" in chosen:
            yield self._file("recipe.toml", _RECIPE, ".save", recipe(self._state, self._field))

    def region_tables(self) -> Iterator[Item]:
        if "regions" in self._chosen.tables:
            for name, spectrum in self._spectra():
                table = call(".to_dataframe", spectrum, name=f"{name} table")
                yield self._file(f"{name}.csv", f"mean spectrum of {name} and its spread", "write_csv", table)

    def _spectra(self) -> Iterator[tuple[str, Call]]:
        names: list[str] = []
        for number, region in enumerate(self._state.regions, 1):
            names.append(unused(plain(region.name or f"region {number}"), names))
            yield names[-1], plan.spectrum(self._field, region)

    def _drawn(self, ending: str, what: str, draw: str, *arguments: Any, **options: Any) -> Iterator[Item]:
        drawing = call(draw, *arguments, **options, name=f"{self._field.label} {ending} drawing")
        for suffix in self._chosen.formats:
            dpi = {"dpi": int(self._chosen.dpi)} if suffix == "png" else {}
            yield self._file(f"{ending}.{suffix}", f"picture: {what}", "plot.save", drawing, **dpi)

    def _file(self, ending: str, what: str, write: str, obj: Call, **options: Any) -> Item:
        name, _, suffix = f"{self._stem} {ending}".rpartition(".")
        taken = [file.removesuffix(f".{suffix}") for file in self._files if file.endswith(f".{suffix}")]
        file = f"{unused(name, taken)}.{suffix}"
        self._files.append(file)
        return Item(file, what, call(write, obj, Output(file), **options, **self._replace))


def _reference_tables(state: ExplorerState) -> Iterator[Item]:
    known, chosen = plan.references(state), state.export.tables
    replace: dict[str, Any] = {"overwrite": True} if state.export.overwrite else {}
    if known is None:
        return
    if "references" in chosen:
        yield Item(_SPECTRA, "references", call("write_csv", known, Output(_SPECTRA), **replace))
    if "library" in chosen:
        what = "references with names, compositions, colours"
        yield Item(_LIBRARY, what, call("write_references", known, Output(_LIBRARY), **replace))


def _from_elsewhere(i0: Call) -> bool:
    """Tell whether an I0 comes from a file of its own, not from the stack."""
    return any(
        isinstance(part, File) for each in ordered([i0]) for part in each.parts() if each.function == "xstxm.read_i0"
    )


def _maps(found: xr.Dataset) -> list[str]:
    return [str(name) for name, array in found.data_vars.items() if {"y", "x"} <= {*array.dims}]


def _images(found: xr.Dataset) -> list[str]:
    return [name for name in _maps(found) if {*found[name].dims} == {"y", "x"}]


def _of_numbers(found: xr.Dataset) -> list[str]:
    """Return the maps that NXstxm has room for: whole numbers, as labels, have none."""
    return [name for name in _images(found) if found[name].dtype.kind == "f"]


def _said(found: xr.Dataset, name: str) -> str:
    return str(found[name].attrs.get("long_name", _words(name)))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _computed(phases: Call, found: xr.Dataset) -> Call:
    """Return a map that the script makes once for all files, where it fits into memory."""
    lazy = any(array.chunks for array in found.variables.values())
    return phases if lazy else call("compute", phases, name=phases.name.replace("phases", "maps"))
