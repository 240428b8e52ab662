"""Data: reads files below the root folder and calls xstxm; results are shared by all sessions, read-only.

Caches are keyed by path, time of change and the choices that matter, so a file written anew is read anew.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import panel as pn
import xarray as xr

import xstxm
from stxm_explorer.catalogue import Catalogue, catalogue, refuse_links_out, resolve
from stxm_explorer.state import Recipe, Region, reference_files
from xstxm.errors import SchemaError

FileKey: TypeAlias = tuple[str, int]
I0Key: TypeAlias = "tuple[str, float] | tuple[str, FileKey, str]"
ReferenceKey: TypeAlias = "tuple[tuple[tuple[str, FileKey], ...], tuple[tuple[str, float], ...]]"

IN_MEMORY = 1_500_000_000
"""Bytes up to which a stack is held in memory; a larger one is read frame by frame."""

_FRAMES, _PIXELS = 16, 10_000
"""Frames of a large stack and pixels of a frame from which the colour scale is taken."""


@dataclass(frozen=True)
class Probe:
    """The spectrum of the picked pixels, and the references fitted to it where there are any."""

    spectrum: xr.Dataset
    fit: xr.Dataset | None


class Store:
    """The files below a root folder and what is computed from them."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def catalogue(self) -> Catalogue:
        """Return the files that can be opened."""
        return catalogue(self.root)

    def name_of(self, path: str | None) -> str:
        """Return a file's name relative to the root folder; nothing for one that is not below it."""
        if not path:
            return ""
        found = Path(path).resolve()
        return found.relative_to(self.root).as_posix() if found.is_relative_to(self.root) else ""

    def stack(self, recipe: Recipe) -> xr.Dataset:
        """Return the stack as its file has it."""
        return _stack(self._key(recipe.file))

    def density(self, recipe: Recipe) -> xr.Dataset:
        """Return the stack with its optical density."""
        return _density(self._key(recipe.file), self._i0_key(recipe))

    def references(self, recipe: Recipe) -> xr.Dataset | None:
        """Return the chosen references, if any."""
        return _references(*self._reference_key(recipe)) if recipe.references else None

    def phases(self, recipe: Recipe) -> xr.Dataset:
        """Return the phase map."""
        references = self._reference_key(recipe) if recipe.references else None
        return _phases(
            self._key(recipe.file),
            self._i0_key(recipe),
            references,
            recipe.method,
            recipe.background,
            recipe.min_confidence,
        )

    def probe(self, recipe: Recipe, region: Region) -> Probe:
        """Return the mean spectrum of a region and its fit."""
        spectrum = xstxm.spectrum(self.density(recipe), region.for_xstxm()).compute()
        references = self.references(recipe)
        if references is None:
            return Probe(spectrum, None)
        fit = xstxm.fit(spectrum["spectrum"], references, method=recipe.method, background=recipe.background)
        return Probe(spectrum, fit.compute())

    def limits(self, recipe: Recipe, signal: str) -> tuple[float, float]:
        """Return the ends of the colour scale that all frames of a stack share."""
        i0 = self._i0_key(recipe) if signal == "optical_density" else None
        return _limits(self._key(recipe.file), i0, signal)[:2]

    def brightest_energy(self, recipe: Recipe, signal: str) -> float:
        """Return the energy of the frame with the largest values, on a sample of the pixels."""
        i0 = self._i0_key(recipe) if signal == "optical_density" else None
        return _limits(self._key(recipe.file), i0, signal)[2]

    def _key(self, name: str) -> FileKey:
        path = resolve(self.root, name)
        refuse_links_out(self.root, path)
        parts = [path, path.parent]
        if path.suffix.lower() == ".hdr":
            parts += path.parent.glob(f"{glob.escape(path.stem)}*")
        return str(path), max(part.stat().st_mtime_ns for part in parts)

    def _i0_key(self, recipe: Recipe) -> I0Key:
        if recipe.i0_source == "brightest":
            return "brightest", recipe.i0_fraction
        return "file", self._key(recipe.i0_file), recipe.i0_units

    def _reference_key(self, recipe: Recipe) -> ReferenceKey:
        files = reference_files(recipe.references)
        return tuple((name, self._key(file)) for name, file in files.items()), tuple(
            (recipe.compositions or {}).items()
        )


@pn.cache(max_items=4, policy="LRU")
def _stack(file: FileKey) -> xr.Dataset:
    stack = xstxm.open_stack(file[0], chunks={})
    if not {"y", "x"} <= {*stack.dims}:
        raise SchemaError(
            f"the explorer shows images, this scan has {tuple(stack.dims)}: open it with xstxm.open_stack"
        )
    return stack.load() if stack.nbytes < IN_MEMORY else stack


@pn.cache(max_items=4, policy="LRU")
def _density(file: FileKey, i0: I0Key) -> xr.Dataset:
    stack = _stack(file)
    if len(i0) == 2:
        incident: xr.DataArray | xr.Dataset = xstxm.estimate_i0(stack, fraction=i0[1])
    else:
        incident = xstxm.read_i0(i0[1][0], units=i0[2] or None)
    return xstxm.optical_density(stack, incident)


@pn.cache(max_items=16, policy="LRU")
def _references(files: tuple[tuple[str, FileKey], ...], compositions: tuple[tuple[str, float], ...]) -> xr.Dataset:
    """Read one table of references, or a file for each, named after the files."""
    paths = {name: path for name, (path, _) in files}
    source = next(iter(paths.values())) if len(paths) == 1 else paths
    return xstxm.read_references(source, composition=dict(compositions) or None)


@pn.cache(max_items=8, policy="LRU")
def _phases(
    file: FileKey,
    i0: I0Key,
    references: ReferenceKey | None,
    method: Any,
    background: Any,
    min_confidence: float,
) -> xr.Dataset:
    known = _references(*references) if references else None
    phases = xstxm.phase_map(
        _density(file, i0),
        known,
        method=method,
        background=background,
        min_confidence=min_confidence,
    )
    return phases.compute()


@pn.cache(max_items=32, policy="LRU")
def _limits(file: FileKey, i0: I0Key | None, signal: str) -> tuple[float, float, float]:
    """Return the ends of the colour scale, and the energy with the largest mean, from a sample."""
    array = (_stack(file) if i0 is None else _density(file, i0))[signal]
    frames = max(array.sizes["energy"] // _FRAMES, 1) if array.chunks else 1
    pixels = array.size / array.sizes["energy"]
    stride = max(int(np.sqrt(pixels / _PIXELS)), 1)
    steps = {dim: slice(None, None, frames if dim == "energy" else stride) for dim in array.dims}
    sample = array.isel(steps).astype(float).compute()
    if not bool(sample.notnull().any()):
        raise SchemaError(f"{signal} has no usable value: check I0 and the counts")
    low, high = np.nanquantile(np.asarray(sample), [0.002, 0.9995])
    mean = sample.mean([dim for dim in sample.dims if dim != "energy"])
    return float(low), float(high if high > low else low + 1), float(sample["energy"][int(mean.argmax("energy"))])
