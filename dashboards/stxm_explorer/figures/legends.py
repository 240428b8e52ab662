"""Names and their colours as text of the page, which has the colours of its theme and wraps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Literal, TypeAlias

import panel as pn

from stxm_explorer.figures.rasters import STRIPE_COLOR
from xstxm.plot import UNDECIDED_COLOR

Dash: TypeAlias = Literal["solid", "dashed", "dotted", "dotdash", "dashdot"]
_LETTER = 8
"""Pixels that a letter of a title takes."""
_BORDERS = {"solid": "solid", "dotted": "dotted"}


class Legend(pn.Column):
    """Names below a plot or above, and no room taken where there are none."""

    def __init__(
        self, width: int, margin: int | tuple[int, int, int, int], styles: Mapping[str, str] | None = None
    ) -> None:
        # the box is hidden, not the text: that of Panel fails in the browser where it is shown before it was drawn
        self._text = pn.pane.HTML("", sizing_mode="stretch_width", margin=0)
        super().__init__(
            self._text, width=width, margin=margin, sizing_mode=None, visible=False, styles={**(styles or {})}
        )

    def tell(self, names: str) -> None:
        """Show names as HTML, or nothing."""
        self._text.object = names
        self.visible = bool(names)


def heading(text: str, width: int) -> str:
    """Return what a map shows, in one line, or in two smaller ones; of what is longer the pointer tells the rest."""
    long = len(text) * _LETTER > width
    look = "font-size:11px;line-height:14px;margin-top:-6px" if long else "font-size:14px"
    look += ";font-weight:600;overflow:hidden;overflow-wrap:anywhere;pointer-events:auto"
    look += ";display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2"
    return f'<div class="title" title="{escape(text)}" style="{look}">{escape(text)}</div>'


def caption(text: str) -> str:
    """Return what colours mean, to stand below their bar."""
    return f'<div class="legend" style="font-size:14px;text-align:center">{escape(text)}</div>'


def class_legend(colors: Mapping[str, str], *, undecided: bool) -> str:
    """Return the names of classes in rows, undecided last where there is some."""
    striped = f"repeating-linear-gradient(-45deg, {STRIPE_COLOR} 0 2px, {UNDECIDED_COLOR} 2px 5px)"
    entries = [(name, escape(color)) for name, color in colors.items()]
    return _legend(
        (name, f'<span style="flex:none;width:14px;height:14px;border-radius:2px;background:{color}"></span>')
        for name, color in [*entries, *([("undecided", striped)] if undecided else [])]
    )


def curve_legend(entries: Iterable[tuple[str, str, Dash, bool]]) -> str:
    """Return the names of curves in rows: name, colour, dash, and whether it is drawn as points."""
    return _legend((name, _mark(color, dash, points)) for name, color, dash, points in entries)


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return names, each behind its mark, in rows; nothing where there are none."""
    marks = "".join(
        f'<span style="display:inline-flex;align-items:center;gap:6px">{mark}'
        f'<span style="overflow-wrap:anywhere">{escape(name)}</span></span>'
        for name, mark in entries
    )
    look = "display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px"
    return f'<div class="legend" style="{look}">{marks}</div>' if marks else ""


def _mark(color: str, dash: Dash, points: bool) -> str:
    if points:
        return f'<span style="flex:none;width:8px;height:8px;border-radius:4px;background:{escape(color)}"></span>'
    return f'<span style="flex:none;width:22px;border-top:3px {_BORDERS.get(dash, "dashed")} {escape(color)}"></span>'
