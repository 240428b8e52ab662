"""What pages share."""

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.session import Session


def empty(text: str) -> pn.viewable.Viewable:
    """Return what stands where a plot will be: what to do to see it. Of fixed width, as a plot is."""
    return pmui.Alert(text, severity="info", width=400, margin=20)


def plot_pane(plot: object) -> pn.pane.HoloViews:
    """Return a pane of fixed size: anything responsive would distort images."""
    return pn.pane.HoloViews(plot, backend="bokeh", sizing_mode=None, linked_axes=False, margin=(0, 8))


def legend(entries: dict[str, str], width: int) -> pn.viewable.Viewable:
    """Return names with their colours, in rows as wide as a plot; `measured` is drawn as a point."""
    marks = "".join(
        f'<span style="white-space:nowrap"><span style="color:{escape(color)};font-weight:bold">'
        f"{'●' if name == 'measured' else '━━'}</span> {escape(name)}</span>"
        for name, color in entries.items()
    )
    html = f'<div class="legend" style="display:flex;flex-wrap:wrap;column-gap:16px">{marks}</div>'
    return pn.pane.HTML(html, width=width, margin=(0, 8, 4, 60))


def beside(*columns: pn.Column) -> pn.viewable.Viewable:
    """Return columns side by side, one under the other where the window is narrow.

    Each plot lives in a column of its own: only what changes inside a column is drawn in the theme of the page.
    """
    return pn.FlexBox(*columns, align_items="flex-start", gap="0px", sizing_mode="stretch_width")


def map_button(session: Session, **look: Any) -> pmui.Button:
    """Return the button that starts the phase map; while one is under way it says so and waits."""
    return pmui.Button(
        label=session.param.mapping.rx.where("Mapping phases ...", "Map phases"),
        icon="map",
        on_click=lambda _: session.map_phases(),
        disabled=session.param.stack.rx.is_(None).rx.or_(session.param.mapping),
        **look,
    )
