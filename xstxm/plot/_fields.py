"""Maps of many fields side by side, true to scale, the small ones outlined in the large ones."""

from __future__ import annotations

import functools
import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import xarray as xr

from xstxm.conventions import content_of
from xstxm.errors import OptionError, check_choice, require_whole
from xstxm.plot._curves import legend_beside
from xstxm.plot._field_maps import PHASES, Classes, Images, Numbers, fields_of, numbered_classes, parents, phase_classes
from xstxm.plot._holoviews import FRAME, INCHES_PER_PIXEL, Box, Frame, axes_of, frame_of, holoviews, place, styled
from xstxm.plot._labels import wrapped
from xstxm.plot._styles import NEUTRAL

Scale: TypeAlias = Literal["common", "fill"]

_SMALLEST = 150
"""Pixels on the screen that a frame needs for its title and its ticks."""

_MARGINS = {"left": 0.75, "right": 0.25, "bottom": 0.6, "top": 0.15, "line": 0.2, "bar": 0.95, "letter": 0.09}
"""Inches on paper around a map: for its axes, each line of its title, its colour bar, each letter of its legend."""

_LABEL = {"background_fill_color": "white", "background_fill_alpha": 0.75, "text_color": "black"}


def fields(
    maps: xr.DataTree | Mapping[str, xr.Dataset],
    signal: str = "composition",
    *,
    scale: Scale = "common",
    columns: int = 3,
    cmap: str | None = None,
    clim: tuple[float, float] | None = None,
    outlines: bool = True,
    legend: bool = True,
    size: int = FRAME,
    **opts: Any,
) -> Any:
    """Draw a map of every field side by side, in the same colours and true to scale.

    Parameters
    ----------
    maps
        Results that hold the map, as of `phase_map`, in a DataTree or by name.
    signal
        Variable with a value per pixel, or labels: of phases, clusters or particles. Numbers convert to the units of the first
        field; phases are matched by their name.
    scale
        ``"common"``: a micrometre is as long in all maps; a small field lies in the middle of a frame that has room for its
        title. ``"fill"``: all maps are as large, each with a scale bar.
    columns
        Maps in a row.
    cmap, clim
        Colour map of numbers, and the values at its ends; by default those between the 0.5 and 99.5 percentiles of the
        fields, and red to blue about zero for what has a sign.
    outlines
        Draw where a field lies in a larger one, in the smallest that holds its middle.
    legend
        Draw the colour bar, or the names of phases or clusters, once for all, beside the tallest map.
    size
        Pixels on the screen along the longest side, of the largest field or of every one.
    **opts
        Passed to HoloViews as options of the Layout for the backend in use.

    Returns
    -------
    holoviews.Layout
        A map for each field in the order of the tree, transparent where there is no value. Fields without a map that can be
        drawn are named above, with the reason. Eager on the maps.

    Raises
    ------
    NoStacksError
        No field has such a map.
    SchemaError
        More phases than colours that one can tell apart.
    OptionError, ChoiceError
        Bit flags, no such colour map, or a scale that is none.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> tree = xr.DataTree.from_dict({"all": stack, "corner": stack.isel(x=slice(12), y=slice(12))})
    >>> maps = xstxm.trees.phase_map(tree, xstxm.testing.simulate_references())
    >>> len(xstxm.plot.fields(maps, "phase_label"))
    2
    """
    check_choice("scale", scale, Scale)
    found, reasons = fields_of(maps, signal)
    images, colors = _colored(found, signal, cmap, clim)
    frames = {name: frame_of(image) for name, image in images.items()}
    views = _views(frames, scale, size)
    columns = min(require_whole("columns", columns), len(views))
    keyed = _tallest(views, columns) if legend else None
    inside = parents(frames) if outlines else {}
    barred = {_largest(frames)} if scale == "common" else {*frames}
    said = _said(reasons, columns * size)
    places = _places(views, columns, keyed, colors, len(said))
    drawn: list[Any] = []
    for name, image in images.items():
        view, within = views[name], {other: frames[other] for other in inside.get(name, [])}
        element = colors.paint(image, legend=name == keyed, scale_bar=name in barred, size=view.longer)
        layers = [
            element,
            *([_edge([frames[name]], NEUTRAL, 1)] if view.padded else []),
            *_outlines(within, image, view),
        ]
        drawn.append(_framed(layers, view, places[name], said if not drawn else [], legend=name == keyed))
    heading = "<br>".join(html.escape(line, quote=False) for line in said).replace("{", "{{").replace("}", "}}")
    layout = styled(
        holoviews().Layout(drawn).cols(columns),
        bokeh={"shared_axes": False, "title": heading, "fontsize": {"title": "10pt"}},
        matplotlib={"sublabel_format": "", "shared_axes": False},
    )
    return layout.opts(**opts) if opts else layout


def _colored(
    found: Mapping[str, xr.Dataset], signal: str, cmap: str | None, clim: tuple[float, float] | None
) -> tuple[Images, Numbers | Classes]:
    """Return the images to draw, and the colours that all share."""
    images = {name: field[signal] for name, field in found.items()}
    kind = content_of(signal, next(iter(images.values())))
    if kind == "flags":
        raise OptionError("signal", signal, "these are bit flags, of which a pixel may have several: draw one of them")
    if signal == PHASES:
        return phase_classes(found)
    if kind == "labels":
        return numbered_classes(images, signal)
    images = {name: image if image.dtype.kind == "f" else image.astype(float) for name, image in images.items()}
    return images, Numbers.of(images, signal, cmap, clim)


@dataclass(frozen=True)
class _View:
    """A frame as drawn: how large, what of the plane it shows, and its title."""

    width: int
    height: int
    xlim: tuple[float, float]
    ylim: tuple[float, float]
    longer: int
    """Pixels on the screen along the longer side of the field."""
    padded: bool
    """Whether the frame is larger than the field."""
    title: str


def _views(frames: Mapping[str, Frame], scale: Scale, size: int) -> dict[str, _View]:
    """Return the frames, each of at least the smallest size, around the middle of its field."""
    largest = max(max(_sides(frame)) for frame in frames.values())
    views = {}
    for name, frame in frames.items():
        sides = _sides(frame)
        density = size / (largest if scale == "common" else max(sides))
        inner = [max(round(side * density), 1) for side in sides]
        width, height = (max(side, _SMALLEST) for side in inner)
        left, bottom, right, top = frame.bounds
        xlim, ylim = (
            ((low + high - pixels / density) / 2, (low + high + pixels / density) / 2)
            for low, high, pixels in ((left, right, width), (bottom, top, height))
        )
        views[name] = _View(width, height, xlim, ylim, max(inner), padded=[width, height] != inner, title=name)
    titles = wrapped([*views], [view.width for view in views.values()])
    return {name: replace(view, title=title) for (name, view), title in zip(views.items(), titles, strict=True)}


def _sides(frame: Frame) -> tuple[float, float]:
    left, bottom, right, top = frame.bounds
    return right - left, top - bottom


def _largest(frames: Mapping[str, Frame]) -> str:
    return max(frames, key=lambda name: max(_sides(frames[name])))


def _tallest(views: Mapping[str, _View], columns: int) -> str:
    """Return the map beside which a legend has most room, that furthest to the right of several as tall, give or take."""
    least = 0.95 * max(view.height for view in views.values())
    places = {name: (k % columns, -k) for k, (name, view) in enumerate(views.items()) if view.height >= least}
    return max(places, key=places.__getitem__)


def _said(reasons: Mapping[str, str], width: int) -> list[str]:
    """Return what is said of the fields that are not drawn, in lines of letters that are seven pixels wide."""
    told = (f"not drawn: {name}: {reason}" for name, reason in reasons.items())
    return [line for text in told for line in textwrap.wrap(text, max(width // 7, 40))]


def _outlines(inside: Mapping[str, Frame], image: xr.DataArray, view: _View) -> list[Any]:
    """Return rectangles around the fields within another, dark on white to be seen on any colour, with their names."""
    if not inside:
        return []
    hv, axes = holoviews(), axes_of(image)
    layers = [_edge([*inside.values()], "white", 4), _edge([*inside.values()], "black", 1.5)]
    middle = sum(view.xlim) / 2
    for side, corner in (("left", 0), ("right", 2)):
        at = [
            (frame.bounds[corner], frame.bounds[3], name)
            for name, frame in inside.items()
            if (sum(frame.bounds[::2]) / 2 > middle) == (side == "right")
        ]
        if at:
            labels = hv.Labels(at, kdims=axes, vdims="field")
            box = {"text_align": side, "text_baseline": "top", "text_font_size": "9pt", **_LABEL}
            paper = {"horizontalalignment": side, "verticalalignment": "top", "size": 8, "color": "black"}
            layers.append(styled(labels, bokeh=box, matplotlib={**paper, "hooks": [_on_white]}))
    return layers


def _on_white(plot: Any, element: Any) -> None:
    """Matplotlib hook: names on a white ground."""
    for text in plot.handles["artist"]:
        text.set_bbox({"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1})


def _edge(frames: Sequence[Frame], color: str, width: float) -> Any:
    return styled(
        holoviews().Rectangles([frame.bounds for frame in frames]),
        bokeh={"fill_alpha": 0, "line_color": color, "line_width": width},
        matplotlib={"facecolor": "none", "edgecolor": color, "linewidth": 0.7 * width},
    )


def _framed(layers: Sequence[Any], view: _View, box: Box, said: Sequence[str], *, legend: bool) -> Any:
    overlay = functools.reduce(lambda below, above: below * above, layers, holoviews().Overlay([]))
    beside = legend_beside([*overlay], view.height, legend=legend)
    shared = {"xlim": view.xlim, "ylim": view.ylim, "title": view.title}
    hooks = [functools.partial(place, box=box), *([functools.partial(_say, lines=said, top=box[5])] if said else [])]
    return styled(
        overlay,
        bokeh={**beside["bokeh"], **shared, "frame_width": view.width, "frame_height": view.height},
        matplotlib={**beside["matplotlib"], **shared, "hooks": hooks},
    )


def _places(
    views: Mapping[str, _View], columns: int, keyed: str | None, colors: Numbers | Classes, lines: int
) -> dict[str, Box]:
    """Return left, bottom, width and height of each map on paper, and width and height of the whole, in inches."""
    beside: float = _MARGINS["bar"] + (
        max(map(len, colors.colors)) * _MARGINS["letter"] if isinstance(colors, Classes) else 0
    )
    cells = {
        name: (
            view.width * INCHES_PER_PIXEL + _MARGINS["left"] + (beside if name == keyed else _MARGINS["right"]),
            view.height * INCHES_PER_PIXEL + _MARGINS["bottom"] + _MARGINS["top"] + _lines(view) * _MARGINS["line"],
        )
        for name, view in views.items()
    }
    names = [*views]
    rows = [names[k : k + columns] for k in range(0, len(names), columns)]
    across = [max(cells[name][0] for name in names[k::columns]) for k in range(columns)]
    total = sum(max(cells[name][1] for name in row) for row in rows) + lines * _MARGINS["line"]
    places: dict[str, Box] = {}
    top = total - lines * _MARGINS["line"]
    for row in rows:
        for k, name in enumerate(row):
            width, height = views[name].width * INCHES_PER_PIXEL, views[name].height * INCHES_PER_PIXEL
            left = sum(across[:k]) + _MARGINS["left"]
            bottom = top - height - _MARGINS["top"] - _lines(views[name]) * _MARGINS["line"]
            places[name] = (left, bottom, width, height, sum(across), total)
        top -= max(cells[name][1] for name in row)
    return places


def _lines(view: _View) -> int:
    return view.title.count("\n") + 1


def _say(plot: Any, element: Any, lines: Sequence[str], top: float) -> None:
    """Matplotlib hook: write lines above all maps."""
    at = {"xycoords": "figure points", "verticalalignment": "top", "annotation_clip": False}
    plot.handles["axis"].annotate("\n".join(lines), (0, 72 * top), fontsize=9, **at)
