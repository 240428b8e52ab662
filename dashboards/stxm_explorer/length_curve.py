"""The curve of variance against length, with a line that chooses a length: it can be dragged, or put by a tap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.events import Tap
from bokeh.models.annotations import Span

from stxm_explorer.parts import LEGEND_BELOW, Drawing
from xstxm import plot

_LINE = "#D55E00"


class LengthCurve:
    """Variance against the side of a block, on logarithmic scales."""

    def __init__(self, chosen: Callable[[float], None]) -> None:
        self.pane = Drawing()
        self._chosen = chosen
        self._line: Any = None

    def show(self, coarse: Any, width: int, height: int) -> None:
        """Draw a result of `xstxm.coarse_grain`."""
        drawing = plot.coarse_graining(coarse, width=width, height=height, **LEGEND_BELOW)
        figure = self.pane.draw(drawing)
        self._line = Span(
            dimension="height", line_color=_LINE, line_width=3, line_dash="dashed", editable=True, visible=False
        )
        self._line.on_change("location", lambda name, old, new: self._chosen(float(new)))
        figure.add_layout(self._line)
        figure.on_event(Tap, lambda event: event.x and self._chosen(float(event.x)))

    def mark(self, length: float) -> None:
        """Move the line to a length in um."""
        if self._line is not None and (self._line.location != length or not self._line.visible):
            self._line.update(location=length, visible=True)
