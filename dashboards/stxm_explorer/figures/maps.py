"""Maps that follow what is chosen without being built anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import panel as pn
import xarray as xr
from bokeh.events import RangesUpdate, SelectionGeometry, Tap
from bokeh.models import CustomJSHover, HoverTool, LinearColorMapper
from bokeh.plotting import figure as Figure

from stxm_explorer.figures.frames import (
    BAR,
    BOTTOM,
    LEFT,
    LENGTHS,
    RIGHT,
    TOP,
    FigurePane,
    Gesture,
    Sheet,
    color_bar,
    map_frame,
    scale_bar,
    set_if_new,
)
from stxm_explorer.figures.gestures import Kind, drawn_region
from stxm_explorer.figures.layers import Bands, Classes, Layer, Values
from stxm_explorer.figures.legends import Legend, caption, class_legend, heading
from stxm_explorer.figures.marks import Marks, Point
from stxm_explorer.figures.ranges import MapRanges
from stxm_explorer.figures.rasters import Array, Crop, Window, crop_to, outer_edges, stripes, upright, whole_labels
from xstxm import plot
from xstxm.conventions import UNDECIDED

Pick: TypeAlias = Callable[[Kind, tuple[Point, ...]], None]


_NARROWEST = 160
"""Pixels across in which names can be read."""
_TOOL = 27
"""Pixels that a tool takes above the frame."""
_ABOVE = {"position": "absolute", "top": "7px", "left": f"{LEFT}px", "z-index": "1", "pointer-events": "none"}
"""The title lies on the left of the tools, and moves no frame."""
_GAP = 4
"""Pixels between two maps, on each side."""


class MapFigure:
    """A map of values, of classes or of mixed colours, with marks above it.

    What is sent to the browser are the pixels that are seen, no finer than the screen; they are sent anew when
    somebody zooms in. One micrometre is as long in y as in x.
    """

    taken = (LEFT + RIGHT + 2 * _GAP, TOP + BOTTOM)
    """Pixels of the page beside the frame, and above and below it up to the colour bar or the names."""

    def __init__(
        self, ranges: MapRanges, *, side: int = 400, tools: Sequence[Gesture] = ("tap", "box", "lasso")
    ) -> None:
        self.ranges, self._side, self._gestures = ranges, side, tuple(tools)
        self.pixel = 1.0
        """Shorter side of a pixel, in the unit of the axes."""
        self._layer: Layer | None = None
        self._extent = Window(0.0, 0.0, 1.0, 1.0)
        self._sent: Crop | None = None
        self._columns: dict[str, Array] = {}
        self.figure: Figure = map_frame(ranges, self._gestures)
        self._mapper = LinearColorMapper(palette=["#808080"], low=0.0, high=1.0)
        self._values = Sheet(self.figure, "image", color_mapper=self._mapper)
        self._picture, self._stripes = Sheet(self.figure, "image_rgba"), Sheet(self.figure, "image_rgba")
        self._bar, self._scale = color_bar(self._mapper), scale_bar(ranges)
        self.figure.add_layout(self._bar, "below")
        self.figure.add_layout(self._scale)
        self._hover = HoverTool(renderers=[self._values.renderer, self._picture.renderer], visible=False, tooltips=[])
        self.figure.add_tools(self._hover)
        self._marks = Marks(self.figure)
        # a title of Bokeh stays black on dark where the map was drawn before it was seen
        self._title, self._said = Legend(width=side, margin=0, styles=_ABOVE), ""
        self._legend = Legend(width=side, margin=(0, 0, 8, LEFT))
        self.pane: pn.viewable.Viewable = pn.Column(
            self._title, FigurePane(self.figure, sizing_mode=None, margin=0), self._legend,
            sizing_mode=None, margin=(0, _GAP), styles={"position": "relative"},
        )  # fmt: skip
        self.figure.on_event(RangesUpdate, lambda _: ranges.zoomed(self.figure.document))
        ranges.watch(self._draw)
        self.resize(side)

    def show(
        self,
        image: xr.DataArray,
        *,
        cmap: str | None = None,
        clim: tuple[float, float] | None = None,
        missing: str | None = None,
        told: xr.DataArray | None = None,
        title: str = "",
    ) -> None:
        """Show a value for each pixel. Eager.

        Parameters
        ----------
        image
            Map (y, x) of any number; its `long_name` and `units` are written below the colours.
        cmap, clim
            Colour map, and the values at its ends; by default those of `xstxm.plot.image`. Who steps through frames
            gives `clim`: finding it takes longer than drawing.
        missing
            Colour of a pixel without a value, e.g. ``"#00000000"``, which is none; by default one that is not in the colour map.
        told
            What the tooltip tells, where that is more than is drawn: the values of pixels that are drawn as missing.
        title
            Text above.

        Raises
        ------
        OptionError
            No such colour map.
        """
        colors = plot.image_colors(image, cmap=cmap, clim=clim)
        set_if_new(
            self._mapper,
            palette=[*colors.palette],
            low=colors.low,
            high=colors.high,
            nan_color=missing or colors.missing,
        )
        unit = plot.pretty_units(str(image.attrs.get("units", "1")))
        name = str(image.attrs.get("long_name") or image.name or "value")
        column = "@image" if told is None else "@told"
        self._tell(image, [(name, f"{column}{{%.5g}} {unit}".rstrip())], {column: "printf"})
        layer = Values(upright(image), None if told is None else upright(told))
        self._show(layer, image, title=title, legend=caption(plot.label(image)))

    def show_classes(
        self,
        labels: xr.DataArray,
        colors: Mapping[str, str],
        *,
        opacity: xr.DataArray | None = None,
        names_in_legend: bool = True,
        title: str = "",
    ) -> None:
        """Show a class for each pixel. Eager.

        Parameters
        ----------
        labels
            Map (y, x) of 0 to n - 1; -1 or NaN is no sample and transparent, -2 undecided and striped.
        colors
            Colour of each of the n classes by its name.
        opacity
            Map (y, x) of 0 to 1, e.g. the confidence: what is less sure is fainter.
        names_in_legend
            Whether the names stand below the map.
        title
            Text above.

        Raises
        ------
        SchemaError
            A label without a colour.
        """
        pixels = whole_labels(upright(labels), len(colors))
        layer = Classes(pixels, tuple(colors.values()), None if opacity is None else upright(opacity))
        names = CustomJSHover(args={"names": [*colors, "undecided", "no sample"]}, code="return names.at(value)")
        rows = [("Class", "@label{custom}")]
        if opacity is not None:
            rows.append(("Confidence", "@sure{0.000}"))
        self._tell(labels, rows, {"@label": names})
        legend = class_legend(colors, undecided=bool((pixels == UNDECIDED).any())) if names_in_legend else ""
        self._show(layer, labels, title=title, legend=legend)

    def show_rgb(self, image: xr.DataArray, *, colors: Mapping[str, str] | None = None, title: str = "") -> None:
        """Show a map (y, x, band) of red, green and blue in 0 to 1, and the names of colours that it mixes. Eager."""
        self._tell(image, [], {})
        self._show(Bands(upright(image)), image, title=title, legend=class_legend(colors or {}, undecided=False))

    def mark(
        self,
        cursor: Point | None = None,
        regions: Mapping[str, Sequence[Point]] | None = None,
        *,
        active: str | None = None,
        line: Sequence[Point] | None = None,
        colors: Mapping[str, str] | None = None,
    ) -> None:
        """Mark a place, the closed outlines of regions by their names, and a line from its first point on.

        `active` is drawn thicker; `colors` are those of regions by name. An outline of one point is a cross.
        """
        self._marks.show(cursor, regions or {}, active, line, colors or {})

    def on_pick(self, callback: Pick) -> None:
        """Call back with what was picked: a point, a box by two corners, or a polygon; vertices (x, y)."""

        def tapped(event: Any) -> None:
            if self.ranges.view.holds(event.x, event.y):
                callback("point", ((event.x, event.y),))

        def drawn(event: Any) -> None:
            picked = drawn_region(event.geometry) if event.final else None
            if picked is not None:
                callback(*picked)

        if "tap" in self._gestures:
            self.figure.on_event(Tap, tapped)
        self.figure.on_event(SelectionGeometry, drawn)

    def resize(self, side: int) -> None:
        """Give the longer side of the frame another length in pixels."""
        self._side = side
        self._draw()

    def _tell(self, image: xr.DataArray, rows: list[tuple[str, str]], formatters: dict[str, Any]) -> None:
        """Set the axes and what the tooltip says, places with the decimals that tell pixels apart."""
        if self.ranges.extent is None:
            self.ranges.fit(image)
        unit = plot.pretty_units(str(image["x"].attrs.get("units", "1")))
        extent = outer_edges(image)
        self.pixel = min(extent.width / image.sizes["x"], extent.height / image.sizes["y"])
        digits = max(1 - int(np.floor(np.log10(self.pixel))), 0)
        places = [(dim, f"${dim}{{0.{'0' * digits}}} {unit}".rstrip()) for dim in ("x", "y")]
        set_if_new(self._hover, tooltips=[*places, *rows])
        set_if_new(self._hover, formatters=formatters)
        set_if_new(self.figure.xaxis[0], axis_label=plot.label(image["x"]))
        set_if_new(self.figure.yaxis[0], axis_label=plot.label(image["y"]))
        known = unit in LENGTHS
        set_if_new(self._scale, unit=unit if known else "m", visible=known)

    def _show(self, layer: Layer, image: xr.DataArray, *, title: str, legend: str | None = None) -> None:
        valued = isinstance(layer, Values)
        self._legend.tell(legend or "")
        set_if_new(self._bar, visible=valued)
        set_if_new(self.figure, min_border_bottom=BOTTOM + (BAR if valued else 0))
        self._said = title
        set_if_new(self._values.renderer, visible=valued)
        set_if_new(self._picture.renderer, visible=not valued)
        self._layer, self._extent, self._sent = layer, outer_edges(image), None
        self._draw()

    def _draw(self) -> None:
        """Send what is seen, where that is not what was sent last."""
        frame = self.ranges.frame(self._side)
        set_if_new(self.figure, frame_width=frame[0], frame_height=frame[1])
        self._legend.width = max(frame[0], _NARROWEST)
        self._title.width = max(frame[0] - _TOOL * sum(tool.visible for tool in self.figure.tools), 60)
        self._title.tell(heading(self._said, self._title.width) if self._said else "")
        layer, view = self._layer, self.ranges.view
        if layer is None:
            return
        crop = crop_to(self._extent, layer.pixels.shape[:2], view, frame)
        if crop != self._sent:
            self._columns, self._sent = {} if crop.empty else layer.columns(crop), crop
            (self._values if isinstance(layer, Values) else self._picture).send(self._columns, crop.window)
        labels = self._columns.get("label")
        if labels is not None and (labels == UNDECIDED).any():
            self._stripes.send({"image": stripes(labels, crop.window, view, frame)}, view)
        else:
            self._stripes.send({}, view)
