"""HoloViews on first use, options for both of its backends, and the frame that all images share."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm.errors import MissingDependencyError, MissingDimensionError, SchemaError
from xstxm.plot._labels import label, pretty_units

FRAME = 400
"""Pixels on the screen along the longer side of an image."""

LEGEND = {
    "location": "top_left",
    "border_line_alpha": 0,
    "background_fill_alpha": 0,
    "label_text_font_size": "0.95em",
    "label_standoff": 8,
    "glyph_width": 24,
    "glyph_height": 14,
    "spacing": 8,
}
"""Legend of a Bokeh plot; a page's own theme that differs much would cut it off, as its room is fixed before."""

COLOR_BAR = {"width": 14, "title_standoff": 6, "padding": 5}
"""Colour bar of a Bokeh plot."""

INCHES_PER_PIXEL = 1 / 80
Box: TypeAlias = tuple[float, float, float, float, float, float]
"""Left, bottom, width and height of a frame on paper, and width and height of the paper, in inches."""

_LENGTHS = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9}


@functools.cache
def holoviews() -> ModuleType:
    """Import HoloViews with its Bokeh and Matplotlib backends, and keep the backend in use.

    Raises
    ------
    MissingDependencyError
        HoloViews or Bokeh is not installed.
    """
    for package in ("holoviews", "bokeh"):
        if find_spec(package) is None:
            raise MissingDependencyError("drawing", package, "plot")
    import holoviews as hv

    loaded = hv.Store.loaded_backends()
    wanted = ["bokeh", *(["matplotlib"] if find_spec("matplotlib") else [])]
    if not set(wanted) <= set(loaded):
        current = hv.Store.current_backend if loaded else "bokeh"
        hv.extension(*wanted, logo=False)
        hv.Store.set_current_backend(current)
    return hv


def styled(element: Any, *, bokeh: Mapping[str, Any], matplotlib: Mapping[str, Any]) -> Any:
    """Return a HoloViews object with options for each backend that is installed."""
    for backend, options in (("bokeh", bokeh), ("matplotlib", matplotlib)):
        if backend in holoviews().Store.loaded_backends():
            element = element.opts(backend=backend, **options)
    return element


@dataclass(frozen=True)
class Frame:
    """Where the pixels of an image lie, and how large it is drawn."""

    bounds: tuple[float, float, float, float]
    """Outer edges: left, bottom, right, top, in the units of the coordinates."""
    width: int
    height: int
    units: str
    digits: int
    """Decimals that tell pixels apart."""
    flip_x: bool
    flip_y: bool

    @property
    def inches(self) -> tuple[float, float]:
        """Size on paper, with room for axes and colour bar."""
        return self.width * INCHES_PER_PIXEL + 1.6, self.height * INCHES_PER_PIXEL + 0.9


def frame_of(image: xr.DataArray, size: int = FRAME) -> Frame:
    """Return the frame of an image (y, x), one micrometre as long upwards as sideways."""
    for dim in ("y", "x"):
        if dim not in image.dims:
            raise MissingDimensionError(dim, image.dims, "an image needs y and x; plot a spectrum instead")
        if dim not in image.coords:
            raise SchemaError(f"{dim!r} has no coordinate values: assign the pixel centres first")
    step = _step(image["x"]) or _step(image["y"]) or 1.0
    left, right = _edges(image["x"], step)
    bottom, top = _edges(image["y"], _step(image["y"]) or step)
    scale = size / max(right - left, top - bottom)
    return Frame(
        bounds=(left, bottom, right, top),
        width=max(round((right - left) * scale), 1),
        height=max(round((top - bottom) * scale), 1),
        units=str(image["x"].attrs.get("units", "1")),
        digits=max(1 - math.floor(math.log10(step)), 0),
        flip_x=_descends(image["x"]),
        flip_y=_descends(image["y"]),
    )


def _step(centres: xr.DataArray) -> float:
    return abs(float(centres[-1] - centres[0])) / (centres.size - 1) if centres.size > 1 else 0.0


def _edges(centres: xr.DataArray, step: float) -> tuple[float, float]:
    ends = float(centres[0]), float(centres[-1])
    return min(ends) - step / 2, max(ends) + step / 2


def _descends(centres: xr.DataArray) -> bool:
    return bool(centres[0] > centres[-1])


def raster(image: xr.DataArray, frame: Frame) -> np.ndarray:
    """Return the pixels with the top row first, as HoloViews wants bare arrays. Eager on this image."""
    values = np.asarray(image.transpose("y", "x"))
    return values[:: 1 if frame.flip_y else -1, :: -1 if frame.flip_x else 1]


def axes_of(image: xr.DataArray) -> list[Any]:
    """Return the two spatial dimensions with their labels."""
    hv = holoviews()
    return [hv.Dimension((dim, label(image[dim]))) for dim in ("x", "y")]


def frame_options(frame: Frame, *, scale_bar: bool, title: str) -> dict[str, dict[str, Any]]:
    """Return what every image shares, as keyword arguments of `styled`."""
    bar = scale_bar and frame.units in _LENGTHS
    bokeh: dict[str, Any] = {
        "frame_width": frame.width,
        "frame_height": frame.height,
        "tools": ["hover"],
        "hooks": [functools.partial(_tidy_image, digits=frame.digits)],
        "title": title,
        "toolbar": "above",
    }
    matplotlib: dict[str, Any] = {
        "fig_inches": frame.inches,
        "data_aspect": 1,
        "title": title,
        "hooks": [functools.partial(_draw_scale_bar, units=frame.units)] if bar else [],
    }
    if bar:
        bokeh |= {
            "scalebar": True,
            "scalebar_unit": (pretty_units(frame.units), "m"),
            "scalebar_location": "bottom_right",
            "scalebar_opts": {
                "background_fill_color": "white",
                "background_fill_alpha": 0.75,
                "border_line_alpha": 0,
                "bar_line_width": 3,
                "bar_line_color": "black",
                "label_text_color": "black",
                "label_text_font_size": "11px",
                "label_standoff": 2,
                "padding": 4,
                "margin": 6,
                "bar_length": 0.12,
            },
            "scalebar_tool": False,
        }
    return {"bokeh": bokeh, "matplotlib": matplotlib}


def tidy(plot: Any, element: Any) -> None:
    """Bokeh hook: a frame around the data on light and dark pages, and a toolbar of what one clicks on."""
    plot.state.outline_line_color = "#808080"
    plot.state.outline_line_alpha = 0.5
    plot.state.toolbar.logo = None
    for tool in plot.state.toolbar.tools:
        tool.visible = type(tool).__name__ != "HoverTool"


def _tidy_image(plot: Any, element: Any, digits: int) -> None:
    """Bokeh hook: zooming keeps the aspect, tooltips tell pixels apart however far from zero they lie."""
    tidy(plot, element)
    hover = plot.handles.get("hover")
    if hover is not None and isinstance(hover.tooltips, list):
        places = {"$x": f"$x{{0.{'0' * digits}}}", "$y": f"$y{{0.{'0' * digits}}}"}
        hover.tooltips = [(name, places.get(field, field)) for name, field in hover.tooltips]
    for tool in plot.state.toolbar.tools:
        if type(tool).__name__ == "BoxZoomTool":
            tool.match_aspect = True


def draw_color_bar(plot: Any, element: Any, text: str) -> None:
    """Matplotlib hook: a bar beside the image, pointed where values lie beyond its ends.

    HoloViews' own draws the whole figure once more for each bar, which makes a page of maps slow.
    """
    axis, artist = plot.handles["axis"], plot.handles["artist"]
    values, (low, high) = np.ma.masked_invalid(artist.get_array()), artist.get_clim()
    below, above = bool((values < low).any()), bool((values > high).any())
    if (bar := plot.handles.pop("color_bar", None)) is not None:
        bar.remove()
    plot.handles["color_bar"] = axis.inset_axes((1.03, 0, 0.05, 1))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]
    plot.handles["fig"].colorbar(artist, cax=plot.handles["color_bar"], extend=extend, label=text)


def place(plot: Any, element: Any, box: Box) -> None:
    """Matplotlib hook: put a frame where it has its size, as HoloViews knows no frames of unequal size in a row."""
    from matplotlib.transforms import Bbox

    figure = plot.handles["fig"]
    figure.set_size_inches(*box[4:])

    def located(axes: Any, renderer: Any) -> Any:
        across, upwards = figure.get_size_inches()
        return Bbox.from_bounds(box[0] / across, box[1] / upwards, box[2] / across, box[3] / upwards)

    plot.handles["axis"].set_axes_locator(located)


def _draw_scale_bar(plot: Any, element: Any, units: str) -> None:
    """Draw a bar of 1, 2 or 5 times a power of ten, about a quarter of the image."""
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    axis = plot.handles["axis"]
    if (old := plot.handles.pop("scale_bar", None)) is not None:
        old.remove()
    left, right = axis.get_xlim()
    length = round_length(abs(right - left) / 4)
    bar = AnchoredSizeBar(
        axis.transData,
        length,
        f"{length:g} {pretty_units(units)}",
        "lower right",
        pad=0.3,
        borderpad=0.4,
        sep=3,
        size_vertical=abs(right - left) / 150,
    )
    bar.patch.set(alpha=0.75, linewidth=0)
    plot.handles["scale_bar"] = axis.add_artist(bar)


def round_length(length: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not longer.

    Examples
    --------
    >>> round_length(0.37), round_length(7.0)
    (0.2, 5.0)
    """
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))
