"""Points in a plane that follow what is chosen without being built anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import panel as pn
from bokeh.events import SelectionGeometry, Tap
from bokeh.models import BoxSelectTool, ColumnDataSource, LassoSelectTool, PanTool
from bokeh.plotting import figure as Figure
from numpy.typing import ArrayLike

from stxm_explorer.figures.frames import MARGIN, PLOT_LEFT, FigurePane, plot_frame, set_if_new, zooms
from stxm_explorer.figures.gestures import drawn_polygon
from stxm_explorer.figures.legends import Legend, curve_legend
from stxm_explorer.figures.marks import PICK, Point


class CloudFigure:
    """Points in the colours of their classes, rings around some, and the line of a lasso."""

    def __init__(self, *, width: int = 400, height: int = 400) -> None:
        lasso = LassoSelectTool(description="Pick points, drawn freehand", renderers=[], continuous=False)
        box = BoxSelectTool(description="Pick a box of points", renderers=[])
        tools = [lasso, box, PanTool(description="Move"), *zooms()]
        self.figure: Figure = plot_frame(tools, lasso, width=width, height=height)
        self._points = ColumnDataSource({"x": [], "y": [], "color": []})
        self._rings = ColumnDataSource({"x": [], "y": [], "color": []})
        self._line = ColumnDataSource({"x": [], "y": []})
        self._cross = ColumnDataSource({"x": [], "y": []})
        self.figure.scatter(
            "x", "y", color="color", source=self._points, size=4, line_color=None, alpha=0.6, nonselection_alpha=0.6
        )
        self.figure.scatter("x", "y", line_color="color", source=self._rings, size=8, fill_color=None, line_width=1.5)
        self.figure.line("x", "y", source=self._line, line_color=PICK, line_width=2)
        self.figure.scatter("x", "y", marker="cross", source=self._cross, size=20, line_color=PICK, line_width=3)
        self._legend = Legend(width=width - PLOT_LEFT, margin=(0, MARGIN, 8, PLOT_LEFT))
        self.pane: pn.viewable.Viewable = pn.Column(
            FigurePane(self.figure, sizing_mode=None, margin=0), self._legend, sizing_mode=None, margin=(0, 8)
        )

    def show(self, x: ArrayLike, y: ArrayLike, classes: ArrayLike, colors: Mapping[str, str]) -> None:
        """Show points in place of those that were there; `classes` are numbers into `colors`, which has names."""
        palette = np.array([*colors.values()], dtype=object)
        shown = palette[np.asarray(classes)] if palette.size else []
        self._points.data = {"x": np.asarray(x), "y": np.asarray(y), "color": shown}
        names = curve_legend((name, color, "solid", True) for name, color in colors.items())
        self._legend.tell(names)

    def ring(self, places: Sequence[tuple[ArrayLike, ArrayLike, str]]) -> None:
        """Draw rings around points: x, y and a colour for each group of them."""
        columns: dict[str, list[Any]] = {"x": [], "y": [], "color": []}
        for x, y, color in places:
            columns["x"] += np.asarray(x).tolist()
            columns["y"] += np.asarray(y).tolist()
            columns["color"] += [color] * np.size(x)
        self._rings.data = columns

    def mark(self, lasso: Sequence[Point], cursor: Point | None) -> None:
        """Draw the closed line of a lasso, and a cross, each or none."""
        closed = [*lasso, *lasso[:1]]
        for source, places in ((self._line, closed), (self._cross, [cursor] if cursor else [])):
            data = {"x": [x for x, _ in places], "y": [y for _, y in places]}
            if source.data != data:
                source.data = data

    def name_axes(self, across: str, up: str) -> None:
        """Write what lies along the axes."""
        set_if_new(self.figure.xaxis[0], axis_label=across)
        set_if_new(self.figure.yaxis[0], axis_label=up)

    def on_lasso(self, callback: Callable[[list[Point]], None]) -> None:
        """Call back with the vertices of the lasso or box that was drawn."""

        def drawn(event: Any) -> None:
            vertices = drawn_polygon(event.geometry) if event.final else []
            if vertices:
                callback(vertices)

        self.figure.on_event(SelectionGeometry, drawn)

    def on_tap(self, callback: Callable[[Point], None]) -> None:
        """Call back with the place that was tapped."""
        self.figure.on_event(Tap, lambda event: callback((float(event.x), float(event.y))))

    def resize(self, width: int, height: int) -> None:
        """Give the figure, without the names below, another size in pixels."""
        set_if_new(self.figure, width=width, height=height)
        self._legend.width = width - PLOT_LEFT
