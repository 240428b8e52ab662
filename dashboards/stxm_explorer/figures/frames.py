"""The frame of a map: axes, scale bar, colour bar and tools, in room that is the same whatever is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import panel as pn
from bokeh.model import Model
from bokeh.models import (
    BasicTicker,
    BasicTickFormatter,
    BoxSelectTool,
    BoxZoomTool,
    ColumnDataSource,
    Drag,
    LassoSelectTool,
    LinearColorMapper,
    NoOverlap,
    PanTool,
    ResetTool,
    Tool,
    WheelZoomTool,
)
from bokeh.models.annotations.dimensional import MetricLength
from bokeh.models.annotations.legends import ColorBar, ScaleBar
from bokeh.plotting import figure as Figure

from stxm_explorer.figures.ranges import MapRanges
from stxm_explorer.figures.rasters import Array, Window

Gesture: TypeAlias = Literal["tap", "box", "lasso"]

LEFT, RIGHT, TOP, BOTTOM = 88, 12, 34, 58
"""Pixels around the frame of a map; the colour bar or the names of classes stand further below."""
CLEAR = "#00000000"
"""Where there is no sample, the ground of the page is seen."""
BAR = 38
"""Pixels that the colour bar is high, with its numbers."""
PLOT_LEFT = 70
"""Pixels left of the frame of a plot that is no map."""
LENGTHS = ("m", "mm", "µm", "nm", "pm")
"""Units of a scale bar; Bokeh takes any for one that it knows."""
MARGIN = 12
"""Pixels right of the frame of a plot that is no map."""
LINE = "#808080"
_NOTHING: dict[str, list[Any]] = {"image": [], "x": [], "y": [], "dw": [], "dh": []}


class FigurePane(pn.pane.Bokeh):
    """A figure that may leave the page and come back.

    Panel takes the callbacks away from what leaves: its own are made anew for each visit, those of a figure are not.
    """

    def _cleanup(self, root: Model | None = None) -> None:
        kept = self.object._callbacks, self.object._event_callbacks
        super()._cleanup(root)
        self.object._callbacks, self.object._event_callbacks = kept


def map_frame(ranges: MapRanges, gestures: Sequence[Gesture]) -> Figure:
    """Return an empty map."""
    pan = PanTool(description="Move")
    tools = [pan, *zooms(match_aspect=True), *_picks(gestures)]
    drawn = empty_frame(tools, pan, borders=(LEFT, RIGHT), x_range=ranges.x, y_range=ranges.y)
    drawn.grid.visible = False
    for axis in drawn.axis:
        axis.ticker = BasicTicker(desired_num_ticks=5)
        axis.major_label_policy = NoOverlap(min_distance=8)
        axis.axis_line_color = axis.major_tick_line_color = LINE
    return drawn


def plot_frame(tools: Sequence[Tool], drag: Drag, *, width: int, height: int) -> Figure:
    """Return an empty plot with a grid, of a width and height that hold its labels too."""
    drawn = empty_frame(tools, drag, borders=(PLOT_LEFT, MARGIN), width=width, height=height)
    for grid in drawn.grid:
        grid.grid_line_color, grid.grid_line_alpha = LINE, 0.2
    return drawn


def empty_frame(tools: Sequence[Tool], drag: Drag, *, borders: tuple[int, int], **options: Any) -> Figure:
    """Return a figure with what all have: its tools above, fixed room around, lines that are seen on any ground."""
    drawn = Figure(
        tools=[*tools],
        active_drag=drag,
        toolbar_location="above",
        min_border_left=borders[0],
        min_border_right=borders[1],
        min_border_top=TOP,
        min_border_bottom=BOTTOM,
        outline_line_color=LINE,
        outline_line_alpha=0.5,
        sizing_mode=None,
        **options,
    )
    drawn.toolbar.logo = None
    for axis in drawn.axis:
        axis.formatter = plain_numbers()
        axis.minor_tick_line_color = None
    return drawn


def plain_numbers() -> BasicTickFormatter:
    """Return a format with the digits that tell ticks apart, however far from zero they lie."""
    return BasicTickFormatter(power_limit_high=8, power_limit_low=-5)


def zooms(*, match_aspect: bool = False) -> list[Tool]:
    """Return the tools that zoom."""
    return [
        WheelZoomTool(description="Zoom with the wheel"),
        BoxZoomTool(match_aspect=match_aspect, description="Zoom into a box"),
        ResetTool(description="Show all"),
    ]


def _picks(gestures: Sequence[Gesture]) -> list[Tool]:
    """Return the tools that draw a region; without renderers, or they would select pixels of the image as well."""
    tools: dict[str, Tool] = {
        "box": BoxSelectTool(description="Pick a box", renderers=[]),
        "lasso": LassoSelectTool(description="Pick a region, drawn freehand", renderers=[], continuous=False),
    }
    return [tool for gesture, tool in tools.items() if gesture in gestures]


def scale_bar(ranges: MapRanges) -> ScaleBar:
    """Return a bar of a round length, readable on any image."""
    return ScaleBar(
        range=ranges.x,
        dimensional=MetricLength(),
        location="bottom_right",
        background_fill_color="#f5f5f5",
        background_fill_alpha=0.5,
        border_line_alpha=0,
        bar_length=0.15,
        bar_line_width=3,
        bar_line_color="#222222",
        label_text_color="#222222",
        label_text_font_size="11px",
        label_standoff=2,
        padding=4,
        margin=6,
    )


def color_bar(mapper: LinearColorMapper) -> ColorBar:
    """Return a bar of colours below a map."""
    return ColorBar(
        color_mapper=mapper,
        orientation="horizontal",
        height=12,
        padding=4,
        label_standoff=4,
        ticker=BasicTicker(desired_num_ticks=5),
        formatter=BasicTickFormatter(power_limit_high=4, power_limit_low=-3),
        major_label_policy=NoOverlap(min_distance=8),
        bar_line_color=None,
        background_fill_alpha=0,
    )


class Sheet:
    """An image of a map, changed in place."""

    def __init__(self, drawn: Figure, kind: Literal["image", "image_rgba"], **look: Any) -> None:
        self._source = ColumnDataSource(dict(_NOTHING))
        names = {name: name for name in _NOTHING}
        self.renderer: Any = getattr(drawn, kind)(source=self._source, level="image", **names, **look)

    def send(self, columns: Mapping[str, Array], window: Window) -> None:
        """Show pixels, and what the tooltip says of them, in a window; nothing where there are none."""
        place = {"x": window.left, "y": window.bottom, "dw": window.width, "dh": window.height}
        if columns:
            self._source.data = {name: [value] for name, value in {**columns, **place}.items()}
        elif self._source.data["image"]:
            self._source.data = dict(_NOTHING)


def set_if_new(model: Any, **properties: Any) -> None:
    """Set properties of a model that are not so already: each that is set is sent, and some are laid out anew."""
    fresh = {name: value for name, value in properties.items() if getattr(model, name) != value}
    if fresh:
        model.update(**fresh)
