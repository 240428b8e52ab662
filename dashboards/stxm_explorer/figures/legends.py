"""Names and their colours as text of the page, which has the colours of its theme and wraps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Literal, TypeAlias

import panel as pn

from stxm_explorer.figures.rasters import STRIPE_COLOR
from xstxm.plot import UNDECIDED_COLOR

Dash: TypeAlias = Literal["solid", "dashed", "dotted", "dotdash", "dashdot"]
_BORDERS = {"solid": "solid", "dotted": "dotted"}


class Legend(pn.Column):
    """Names beside or below a plot, and no room taken where there are none."""

    def __init__(self, width: int, margin: tuple[int, int, int, int]) -> None:
        # the box is hidden, not the text: that of Panel fails in the browser where it is shown before it was drawn
        self._text = pn.pane.HTML("", sizing_mode="stretch_width", margin=0)
        super().__init__(self._text, width=width, margin=margin, sizing_mode=None, visible=False)

    def tell(self, names: str) -> None:
        """Show names as HTML, or nothing."""
        self._text.object = names
        self.visible = bool(names)


def class_legend(colors: Mapping[str, str], *, undecided: bool) -> str:
    """Return the names of classes below each other, undecided last where there is some."""
    striped = f"repeating-linear-gradient(-45deg, {STRIPE_COLOR} 0 2px, {UNDECIDED_COLOR} 2px 5px)"
    entries = [(name, escape(color)) for name, color in colors.items()]
    rows = "".join(
        f'<div style="display:flex;gap:6px;margin-bottom:6px"><span style="flex:none;width:14px;height:14px;'
        f'margin-top:2px;border-radius:2px;background:{color}"></span>'
        f'<span style="overflow-wrap:anywhere">{escape(name)}</span></div>'
        for name, color in [*entries, *([("undecided", striped)] if undecided else [])]
    )
    return f'<div class="legend" style="font-size:14px">{rows}</div>'


def curve_legend(entries: Iterable[tuple[str, str, Dash, bool]]) -> str:
    """Return the names of curves in rows: name, colour, dash, and whether it is drawn as points."""
    marks = "".join(
        f'<span style="display:inline-flex;align-items:center;gap:6px">{_mark(color, dash, points)}'
        f"<span>{escape(name)}</span></span>"
        for name, color, dash, points in entries
    )
    look = "display:flex;flex-wrap:wrap;gap:2px 16px;font-size:14px"
    return f'<div class="legend" style="{look}">{marks}</div>' if marks else ""


def _mark(color: str, dash: Dash, points: bool) -> str:
    if points:
        return f'<span style="width:8px;height:8px;border-radius:4px;background:{escape(color)}"></span>'
    return f'<span style="width:22px;border-top:3px {_BORDERS.get(dash, "dashed")} {escape(color)}"></span>'
