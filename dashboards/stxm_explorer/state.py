"""What the user chose: parameters only, no widget, no data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

import param

from xstxm.errors import OptionError

Vertices: TypeAlias = tuple[tuple[float, float], ...]

METHODS = {"Non-negative (nnls)": "nnls", "Fractions sum to 1 (fcls)": "fcls", "Unconstrained (lstsq)": "lstsq"}
BACKGROUNDS = {"None": "none", "Constant": "constant", "Linear": "linear"}
I0_SOURCES = {"Brightest pixels": "brightest", "From file": "file"}
I0_UNITS = {"As the file says": "", "counts": "count", "counts per ms": "count/ms", "counts per s": "count/s"}
SIGNALS = {"Optical density": "optical_density", "Intensity": "intensity"}


@dataclass(frozen=True)
class Region:
    """Pixels that were picked: a point, a box by two corners, or a polygon; (x, y) in um."""

    kind: Literal["point", "box", "polygon"]
    vertices: Vertices

    def rounded(self, length: float) -> Region:
        """Return the region with coordinates that read well, moved by less than a length."""
        digits = max(math.ceil(-math.log10(length)), 0)
        return Region(self.kind, tuple((round(float(x), digits), round(float(y), digits)) for x, y in self.vertices))

    def for_xstxm(self) -> Any:
        """Return the region as `xstxm.spectrum` takes it."""
        if self.kind == "polygon":
            return [tuple(vertex) for vertex in self.vertices]
        if self.kind == "point":
            ((x, y),) = self.vertices
            return {"x": x, "y": y}
        (left, bottom), (right, top) = self.vertices
        return {"x": (left, right), "y": (bottom, top)}

    def outline(self) -> list[tuple[float, float]]:
        """Return the closed line around the region; of a point the point."""
        if self.kind != "box":
            return [*self.vertices, *self.vertices[:1]] if self.kind == "polygon" else list(self.vertices)
        (left, bottom), (right, top) = self.vertices
        return [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the numbers on the page; equal recipes give equal numbers."""

    file: str
    i0_source: str
    i0_fraction: float
    i0_file: str
    i0_units: str
    references: tuple[str, ...]
    composition: str
    method: Literal["lstsq", "nnls", "fcls"]
    background: Literal["none", "constant", "linear"]
    min_confidence: float

    @property
    def compositions(self) -> dict[str, float] | None:
        """Composition of each reference by name; None where none is given.

        Raises
        ------
        OptionError
            The text cannot be read.
        """
        return dict(parse_composition(self.composition)) or None


class ExplorerState(param.Parameterized):
    """The choices of one session."""

    file = param.String("", doc="Stack, relative to the root folder.")
    i0_source: Any = param.Selector(default="brightest", objects=list(I0_SOURCES.values()))
    i0_fraction = param.Number(0.1, bounds=(0.01, 0.5), step=0.01, doc="Share of the pixels taken as empty.")
    i0_file = param.String("", doc="I0 spectrum, relative to the root folder.")
    i0_units: Any = param.Selector(default="", objects=list(I0_UNITS.values()), doc="Rates and counts differ.")
    references = param.List([], item_type=str, doc="Reference files, relative to the root folder.")
    composition = param.String("", doc="Composition of each reference, e.g. V2O5=0, LiV2O5=1.")
    method: Any = param.Selector(default="nnls", objects=list(METHODS.values()))
    background: Any = param.Selector(default="constant", objects=list(BACKGROUNDS.values()))
    min_confidence = param.Number(0.95, bounds=(0.5, 0.999), step=0.01)
    signal: Any = param.Selector(default="optical_density", objects=list(SIGNALS.values()))
    energy = param.Number(None, allow_None=True, doc="Energy of the image, in the unit of the stack.")
    region = param.ClassSelector(class_=Region, default=None, allow_None=True)
    width = param.Integer(1280, bounds=(200, None), doc="Width of the window in pixels.")
    height = param.Integer(800, bounds=(200, None), doc="Height of the window in pixels.")

    @property
    def recipe(self) -> Recipe:
        """The choices that decide the numbers."""
        return Recipe(
            file=self.file,
            i0_source=self.i0_source,
            i0_fraction=self.i0_fraction,
            i0_file=self.i0_file,
            i0_units=self.i0_units,
            references=tuple(self.references),
            composition=self.composition,
            method=self.method,
            background=self.background,
            min_confidence=self.min_confidence,
        )


def parse_composition(text: str) -> tuple[tuple[str, float], ...]:
    """Return the pairs of "V2O5=0, LiV2O5=1".

    Raises
    ------
    OptionError
        A part is not NAME=NUMBER.
    """
    pairs = [part.partition("=") for part in text.replace(";", ",").split(",") if part.strip()]
    try:
        named = tuple((name.strip(), float(value)) for name, _, value in pairs)
    except ValueError:
        named = (("", math.nan),)
    if len(dict(named)) < len(named) or not all(math.isfinite(value) for _, value in named):
        raise OptionError("composition", text, "write NAME=NUMBER once for each reference, e.g. V2O5=0, LiV2O5=1")
    return named


def reference_files(files: tuple[str, ...]) -> dict[str, str]:
    """Return the name of each reference file: its stem, or the whole path where two stems are alike."""
    stems = [PurePosixPath(file).stem for file in files]
    return {stem if stems.count(stem) == 1 else file: file for stem, file in zip(stems, files, strict=True)}
