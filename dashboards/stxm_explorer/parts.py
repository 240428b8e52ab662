"""What pages share in their looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import holoviews
import holoviews.plotting  # before there are threads: two that import it first at the same time stop each other
import panel as pn
import panel_material_ui as pmui
import param
import xarray as xr

from stxm_explorer.calls import Missing
from stxm_explorer.figures.frames import FigurePane, plain_numbers
from stxm_explorer.session import report
from xstxm import plot

CHOICE: dict[str, Any] = {"size": "small", "sizing_mode": "stretch_width", "margin": (7, 10)}
"""Look of a choice among the controls."""


_TABLE = """
:host { overflow-x: auto }
table { border-collapse: collapse; font-size: 14px }
th, td { padding: 3px 16px 3px 0; border-bottom: 1px solid #80808055; white-space: nowrap; text-align: right; font-weight: 400 }
th { font-weight: 500; white-space: normal; overflow-wrap: anywhere; min-width: 60px; max-width: 180px }
th:first-child, td:first-child { text-align: left }
"""

_LEFT = "td { text-align: left }"

LEGEND_BELOW: dict[str, Any] = {
    "legend_position": "bottom",
    "legend_opts": {"ncols": 2},
}
"""Options of a plot beside which there is no room."""


_PLACEHOLDER = {
    "& .MuiInputLabel-root": {"transform": "translate(14px, -9px) scale(0.75)"},
    "& .MuiInputBase-root.MuiInputBase-root .MuiInputBase-input.MuiInputBase-input::placeholder": {
        "opacity": "0.6 !important"
    },
    "& fieldset legend": {"maxWidth": "100%"},
}
"""An empty box shows what that means, its name above as in a full one."""


def heading(text: str) -> pmui.Typography:
    """Return the name of a group of choices."""
    return pmui.Typography(text, variant="subtitle2", margin=(10, 10, 2, 10))


def hint(text: str) -> pmui.Typography:
    """Return a sentence among the controls that says what to do."""
    return pmui.Typography(text, variant="body2", color="text.secondary", margin=(2, 10))


def icon(name: str, description: str, clicked: Callable[[], object]) -> pmui.IconButton:
    """Return a small button without words; they appear where the pointer rests on it."""
    return pmui.IconButton(
        icon=name, size="small", margin=(2, 0), description=description, on_click=lambda _: clicked()
    )


def optional(choices: param.Parameterized, name: str, label: str, empty: str) -> pmui.TextInput:
    """Return a box for a number that need not be there; `empty` is what the choice means while it has its default."""
    default = choices.param[name].default

    def text() -> str:
        value = getattr(choices, name)
        return "" if value == default else f"{value:g}"

    box = pmui.TextInput(
        label=label, value=text(), placeholder=empty, description=choices.param[name].doc, sx=_PLACEHOLDER, **CHOICE
    )

    def typed(event: Any) -> None:
        if event.new != text():
            try:
                choices.param.update({name: _finite(event.new) if event.new.strip() else default})
            except ValueError:
                report(Missing(f"{label}: {event.new[:20]} is no number that this can be."))
            box.value = text()

    box.param.watch(typed, "value")
    choices.param.watch(lambda _: setattr(box, "value", text()), name)
    return box


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def named(array: xr.DataArray, name: str) -> str:
    """Return a label with the unit of an array and another name."""
    return plot.label(array.assign_attrs(long_name=name))


def with_error(value: float, error: float) -> str:
    """Return a number with its standard error, with the digits that mean something.

    Examples
    --------
    >>> with_error(0.18342, 0.0123)
    '0.183 ± 0.012'
    >>> with_error(0.18342, 0.0032)
    '0.183 ± 0.003'
    """
    if not math.isfinite(value):
        return "–"
    if not (math.isfinite(error) and error > 0):
        return f"{value:.3g}"
    first = math.floor(math.log10(error))
    digits = min(max(-first + (error < 2 * 10**first), 0), 6)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


class Table(pn.Column):
    """A small table, the first column to the left, whose rows may change while it is seen."""

    def __init__(self) -> None:
        # the box has the width, not the text: that of Panel fails in the browser where it changes before it was drawn
        self._text = pn.pane.HTML("", sizing_mode="stretch_width", margin=0, stylesheets=[_TABLE])
        super().__init__(self._text, sizing_mode=None, margin=(4, 8))

    def write(self, head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
        """Write other rows into it."""
        lines = [_row("th", head), *(_row("td", row) for row in rows)]
        self._text.object, self.width = f"<table>{''.join(lines)}</table>", width


def bars(parts: Mapping[str, tuple[float, float]], colors: Mapping[str, str], width: int) -> pn.viewable.Viewable:
    """Return fractions with their errors, each with a bar in its colour."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><div style='width:{round(200 * min(max(value, 0), 1))}px;height:12px;"
        f"background:{escape(colors.get(name, plot.NEUTRAL))}'></div></td><td>{with_error(value, error)}</td></tr>"
        for name, (value, error) in parts.items()
        if math.isfinite(value)
    )
    return pn.pane.HTML(f"<table>{rows}</table>", width=width, margin=(4, 8), stylesheets=[_TABLE, _LEFT])


def _row(kind: str, texts: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(text)}</{kind}>' for text in texts)}</tr>"


def beside(*columns: pn.viewable.Viewable | pn.viewable.Viewer) -> pn.viewable.Viewable:
    """Return columns side by side, one under the other where the window is narrow."""
    # of figures below a box of Panel, whose children Bokeh does not lay out, axes move when another one appears
    return pmui.FlexBox(*columns, align_items="flex-start", gap="0px", sizing_mode="stretch_width")


def calm_page(**parts: Any) -> pmui.Page:
    """Return what the browser shows; it does not follow whether the server is busy.

    Any work there would walk the models of every page that is open, and the state of Panel that is followed would hold each page for ever.
    """
    known = _busy_watchers()
    page = pmui.Page(busy_indicator=None, **parts)
    for watcher in _busy_watchers():
        if watcher not in known:
            pn.state.param.unwatch(watcher)
    return page


def _busy_watchers() -> list[Any]:
    return [*pn.state.param.watchers["busy"]["value"]]


class Drawing(pn.viewable.Viewer):
    """A place for one drawing of `xstxm.plot` after the other, over which the wheel scrolls the page."""

    def __init__(self) -> None:
        super().__init__()
        self._place = pn.Column(sizing_mode=None)

    def draw(self, drawing: Any) -> Any:
        """Show a drawing in place of the one before; its figure of Bokeh, whose parts can be changed."""
        from bokeh.models import BasicTickFormatter, LinearAxis, Toolbar
        from bokeh.models.annotations import Legend

        figure = holoviews.render(drawing, backend="bokeh")
        for toolbar in figure.select({"type": Toolbar}):
            toolbar.update(logo=None, active_scroll=None)
        for legend in figure.select({"type": Legend}):
            legend.border_line_width = 0  # the theme of the page sets what else would hide it
        for axis in figure.select({"type": LinearAxis}):
            if type(axis.formatter) is BasicTickFormatter:
                axis.formatter = plain_numbers()
        # of another figure in the same pane Panel would leave the theme out
        self._place[:] = [FigurePane(figure, sizing_mode=None)]
        return figure

    def __panel__(self) -> pn.viewable.Viewable:
        return self._place
