"""The maps of many fields: where each lies, what is drawn of it in colours that all share, and which lies in which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._nodes import attempt, left_out, require_stacks
from xstxm.conventions import NO_SAMPLE, PALETTE, UNDECIDED, content_of, require_image, require_variable
from xstxm.errors import MissingCoordinateError, NoStacksError, SchemaError
from xstxm.plot._classes import class_image, draw_classes, phase_colors
from xstxm.plot._holoviews import Frame
from xstxm.plot._images import SIGNED, default_cmap, draw, limits
from xstxm.plot._styles import COLORS, UNDECIDED_COLOR, require_colors

Images: TypeAlias = dict[str, xr.DataArray]

PHASES = "phase_label"


def fields_of(
    tree: xr.DataTree | Mapping[str, xr.Dataset], signal: str
) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """Return the nodes whose map can be drawn, positions in um, and of all others why not. Eager on the maps."""
    tree = xr.DataTree.from_dict(dict(tree)) if isinstance(tree, Mapping) and not isinstance(tree, xr.Dataset) else tree
    given, reasons = require_stacks(tree), left_out(tree)
    unit: list[str] = []

    def field(_: str, stack: xr.Dataset) -> xr.Dataset:
        stack = units.dequantify(stack)
        image = _in_um(_image(stack, signal))
        if signal == PHASES and "phase" not in stack.coords:
            raise MissingCoordinateError("phase", "the labels have no names: draw what .stxm.phase_map() returned")
        if content_of(signal, image) not in ("labels", "flags") and "units" in image.attrs:
            unit.append(str(image.attrs["units"]))
            image = units.to_units(image, unit[0], signal)
        image = image.compute()
        if image.dtype.kind == "f" and not bool(image.notnull().any()):
            raise SchemaError(f"{signal!r} holds no sample, all of it is NaN")
        of_phases = {name: stack[name].variable for name in ("phase", "color") if name in stack.coords}
        return image.to_dataset(name=signal).assign_coords(of_phases)

    found = attempt(given, field, reasons, "plot.fields")
    if not found:
        raise NoStacksError(reasons)
    return found, reasons


def _image(stack: xr.Dataset, signal: str) -> xr.DataArray:
    image = require_variable(stack, signal, "name a variable with a value per pixel as signal=")
    require_image(image, "a field is drawn as an image")
    if image.ndim > 2:
        other = next(str(dim) for dim in image.dims if dim not in ("y", "x"))
        raise SchemaError(f"{signal!r} has dims {image.dims}: select along {other!r} first, e.g. .isel({other}=0)")
    for dim in ("y", "x"):
        if dim not in image.coords:
            raise MissingCoordinateError(dim, "fields are drawn where they lie: assign the positions of the pixels")
    return image.transpose("y", "x").reset_coords(drop=True)


def _in_um(image: xr.DataArray) -> xr.DataArray:
    """Return an image whose positions are in um, so that the scales of all fields are one."""
    places = {dim: units.to_units(image[dim].astype(float), "um", f"the position along {dim!r}") for dim in ("y", "x")}
    return image.assign_coords({dim: place.variable for dim, place in places.items()})


def parents(frames: Mapping[str, Frame]) -> dict[str, list[str]]:
    """Return the fields that lie in another one, by the smallest that holds their middle.

    Examples
    --------
    >>> square = lambda x, width: Frame((x, 0, x + width, width), 1, 1, "um", 0, False, False)
    >>> parents({"all": square(0, 9), "left": square(1, 3), "detail": square(2, 1), "far": square(20, 1)})
    {'all': ['left'], 'left': ['detail']}
    """
    inside: dict[str, list[str]] = {}
    for name, frame in frames.items():
        around = {
            other: _area(larger)
            for other, larger in frames.items()
            if _area(larger) > 1.01 * _area(frame) and _holds(larger, frame)
        }
        if around:
            inside.setdefault(min(around, key=around.__getitem__), []).append(name)
    return inside


def _area(frame: Frame) -> float:
    left, bottom, right, top = frame.bounds
    return (right - left) * (top - bottom)


def _holds(larger: Frame, frame: Frame) -> bool:
    left, bottom, right, top = frame.bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    return larger.bounds[0] < x < larger.bounds[2] and larger.bounds[1] < y < larger.bounds[3]


@dataclass(frozen=True)
class Numbers:
    """Colours of maps of numbers: one colour map over one range."""

    cmap: str
    clim: tuple[float, float]

    @classmethod
    def of(cls, images: Images, signal: str, cmap: str | None, clim: tuple[float, float] | None) -> Numbers:
        """Return a range that outliers of none of the images set."""
        signed = signal in SIGNED
        ends = [own for image in images.values() if (own := limits(image, signed=signed))] or [(0.0, 1.0)]
        shared = (min(low for low, _ in ends), max(high for _, high in ends))
        return cls(cmap or default_cmap(signal), clim or shared)

    def paint(self, image: xr.DataArray, *, legend: bool, **options: Any) -> Any:
        """Draw an image, with its colour bar."""
        return draw(image, cmap=self.cmap, clim=self.clim, colorbar=legend, **options)


@dataclass(frozen=True)
class Classes:
    """Colours of images of labels: one for each name in whichever field."""

    what: str
    colors: dict[str, str]
    named: bool

    def paint(self, image: xr.DataArray, *, legend: bool, **options: Any) -> Any:
        """Draw an image of class numbers, with the names of the classes."""
        sure = xr.ones_like(image)
        return draw_classes(image, sure, self.colors, what=self.what, legend=legend and self.named, **options)


def phase_classes(fields: Mapping[str, xr.Dataset]) -> tuple[Images, Classes]:
    """Return images of phases as numbers of all phases that any field knows."""
    given: dict[str, str] = {}
    for field in fields.values():
        own = np.asarray(field["color"]).astype(str) if "color" in field.coords else [""] * field.sizes["phase"]
        for name, color in zip(np.asarray(field["phase"]).astype(str), own, strict=True):
            given[str(name)] = given.get(str(name)) or str(color)
    names = [*given]
    colors = phase_colors(xr.Dataset(coords={"phase": names, "color": ("phase", [*given.values()])}))
    require_colors([*colors.values()], "phase")
    images = {}
    for node, field in fields.items():
        # -1 and -2 count from the end
        number = np.array(
            [names.index(name) for name in np.asarray(field["phase"]).astype(str)] + [UNDECIDED, NO_SAMPLE]
        )
        images[node] = class_image(field[PHASES].copy(data=number[np.asarray(field[PHASES])]), len(names))
    if any(bool((image == len(names)).any()) for image in images.values()):
        colors["undecided"] = UNDECIDED_COLOR
    return images, Classes("Phase", colors, named=True)


def numbered_classes(labels: Images, signal: str) -> tuple[Images, Classes]:
    """Return images of numbers from 1, of clusters or of particles; more than there are colours are not named."""
    numbers = np.unique(np.concatenate([np.unique(image) for image in labels.values()]))
    numbers = numbers[numbers > 0].astype(int)
    turn = PALETTE if len(numbers) > len(COLORS) else COLORS
    what = {"labels": "Cluster", "particle_label": "Particle"}.get(signal, "Label")
    colors = {f"{what.lower()} {n}": turn[(n - 1) % len(turn)] for n in numbers}
    images = {
        node: xr.where(image > 0, np.searchsorted(numbers, image), np.nan).astype("float32").assign_coords(image.coords)
        for node, image in labels.items()
    }
    return images, Classes(what, colors or {"none": "#ffffff"}, named=len(numbers) <= len(COLORS))
