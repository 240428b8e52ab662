"""Curves that follow what is chosen without being built anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from html import escape
from typing import Any

import numpy as np
import panel as pn
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, HoverTool, PanTool
from bokeh.models.annotations.geometry import Span
from bokeh.plotting import figure as Figure
from numpy.typing import ArrayLike

from stxm_explorer.figures.frames import LINE, MARGIN, PLOT_LEFT, FigurePane, plot_frame, set_if_new, zooms
from stxm_explorer.figures.legends import Dash, Legend, curve_legend
from stxm_explorer.figures.rasters import Array
from xstxm.plot import NEUTRAL


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve with its name; NaN is a gap. `low` and `high` bound a band, `points` draws no line.

    `legend` stands below the plot in place of the name, once for all curves that share it, e.g. all fits; an empty one does not.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    _: KW_ONLY
    color: str = NEUTRAL
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    dash: Dash = "solid"
    points: bool = False
    legend: str | None = None


class CurveFigure:
    """Curves with their names below; the axes follow the data until somebody zooms."""

    def __init__(self, *, width: int = 480, height: int = 400) -> None:
        pan = PanTool(description="Move")
        self.figure: Figure = plot_frame([pan, *zooms()], pan, width=width, height=height)
        self._slots: list[_Slot] = []
        self._cursor = Span(dimension="height", line_color=LINE, line_dash="dashed", line_width=1.5, visible=False)
        self._hover = HoverTool(renderers=[], visible=False, formatters={"$x": "printf", "$y": "printf"}, tooltips=[])
        self.figure.add_layout(self._cursor)
        self.figure.add_tools(self._hover)
        self._legend = Legend(width=width - PLOT_LEFT, margin=(0, MARGIN, 8, PLOT_LEFT))
        self._plot = pn.Column(FigurePane(self.figure, sizing_mode=None, margin=0), sizing_mode=None, margin=0)
        self.pane: pn.viewable.Viewable = pn.Column(self._plot, self._legend, sizing_mode=None, margin=(0, 8))

    def show(self, curves: Sequence[Curve], *, xlabel: str, ylabel: str, title: str = "") -> None:
        """Show these curves in place of those that were there; of curves of one point, as of one energy, the values."""
        alone = bool(curves) and all(np.size(curve.x) == 1 for curve in curves)
        self._plot.visible = not alone
        while len(self._slots) < len(curves):
            self._slots.append(_Slot(self.figure))
            self._hover.renderers = [renderer for slot in self._slots for renderer in slot.pointed]
        for k, slot in enumerate(self._slots):
            slot.show(curves[k] if k < len(curves) else None)
        set_if_new(self.figure.xaxis[0], axis_label=xlabel)
        set_if_new(self.figure.yaxis[0], axis_label=ylabel)
        set_if_new(self.figure.title, text=title)
        set_if_new(
            self._hover, tooltips=[("", "$name"), (_quantity(xlabel), "$x{%.6g}"), (_quantity(ylabel), "$y{%.4g}")]
        )
        self._legend.tell(_of_one(curves, xlabel, ylabel) if alone else curve_legend(_entries(curves)))

    def mark(self, x: float | None) -> None:
        """Draw a vertical line at x, or none."""
        if x is not None:
            set_if_new(self._cursor, location=float(x))
        set_if_new(self._cursor, visible=x is not None)

    def on_x(self, callback: Callable[[float], None]) -> None:
        """Call back with the x that was tapped."""

        def tapped(event: Any) -> None:
            if _inside(event.x, self.figure.x_range) and _inside(event.y, self.figure.y_range):
                callback(float(event.x))

        self.figure.on_event(Tap, tapped)

    def resize(self, width: int, height: int) -> None:
        """Give the figure, without the names below, another size in pixels."""
        set_if_new(self.figure, width=width, height=height)
        self._legend.width = width - PLOT_LEFT


class _Slot:
    """What one curve after the other is drawn with."""

    def __init__(self, drawn: Figure) -> None:
        self._data = ColumnDataSource({"x": [], "y": []})
        self._edges = ColumnDataSource({"xs": [], "ys": []})
        self._band = drawn.patches(
            "xs", "ys", source=self._edges, fill_alpha=0.25, line_color=None, level="underlay", visible=False
        )
        self._line = drawn.line("x", "y", source=self._data, line_width=2, visible=False)
        self._dots = drawn.scatter("x", "y", source=self._data, size=6, line_color=None, visible=False)
        self.pointed: list[Any] = [self._line, self._dots]

    def show(self, curve: Curve | None) -> None:
        """Draw a curve, or nothing."""
        banded = curve is not None and curve.low is not None and curve.high is not None
        set_if_new(self._line, visible=curve is not None and not curve.points)
        set_if_new(self._dots, visible=curve is not None and curve.points)
        set_if_new(self._band, visible=banded)
        if curve is None:
            self._data.data, self._edges.data = {"x": [], "y": []}, {"xs": [], "ys": []}
            return
        for part in (self._line, self._dots, self._band):
            set_if_new(part, name=curve.name)
        set_if_new(self._line.glyph, line_color=curve.color, line_dash=curve.dash)
        set_if_new(self._dots.glyph, fill_color=curve.color)
        set_if_new(self._band.glyph, fill_color=curve.color)
        self._data.data = {"x": np.asarray(curve.x, dtype=float), "y": np.asarray(curve.y, dtype=float)}
        self._edges.data = _band(curve)


def _entries(curves: Sequence[Curve]) -> list[tuple[str, str, Dash, bool]]:
    """Return what the legend says: a shared entry once, grey where its curves have several colours."""
    entries: dict[str, tuple[str, str, Dash, bool]] = {}
    for curve in curves:
        text = curve.name if curve.legend is None else curve.legend
        known = entries.get(text)
        color = curve.color if known is None or known[1] == curve.color else NEUTRAL
        entries[text] = text, color, curve.dash, curve.points
    entries.pop("", None)
    return [*entries.values()]


def _of_one(curves: Sequence[Curve], xlabel: str, ylabel: str) -> str:
    """Return the values of curves of one point, as HTML."""
    at, (quantity, _, unit) = float(np.asarray(curves[0].x).item()), xlabel.partition(" [")
    text = f"{ylabel} at the only {quantity[:1].lower()}{quantity[1:]}, {at:g} {unit.rstrip(']')}".rstrip()
    rows = ((f"{c.name}: {float(np.asarray(c.y).item()):.4g}", c.color, c.dash, c.points) for c in curves)
    return f'<div style="font-size:13px;margin:8px 0">{escape(text)}</div>{curve_legend(rows)}'


def _band(curve: Curve) -> dict[str, list[Array]]:
    """Return the outlines of a band, one for each stretch without a gap."""
    if curve.low is None or curve.high is None:
        return {"xs": [], "ys": []}
    x, low, high = (np.asarray(part, dtype=float) for part in (curve.x, curve.low, curve.high))
    there = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    ends = np.flatnonzero(np.diff(there, prepend=False, append=False)).reshape(-1, 2)
    return {
        "xs": [np.concatenate([x[i:j], x[i:j][::-1]]) for i, j in ends],
        "ys": [np.concatenate([low[i:j], high[i:j][::-1]]) for i, j in ends],
    }


def _quantity(label: str) -> str:
    """Return a label without its unit."""
    return label.partition(" [")[0]


def _inside(value: float, ends: object) -> bool:
    low, high = getattr(ends, "start", None), getattr(ends, "end", None)
    return low is None or high is None or min(low, high) <= value <= max(low, high)
