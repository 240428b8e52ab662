"""What pages share in their looks."""

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

CHOICE: dict[str, Any] = {"size": "small", "sizing_mode": "stretch_width", "margin": (4, 10)}
"""Look of a choice among the controls."""


LEGEND_BELOW: dict[str, Any] = {
    "legend_position": "bottom",
    "legend_opts": {"ncols": 2, "border_line_alpha": 0, "background_fill_alpha": 0},
}
"""Options of a plot beside which there is no room."""


def heading(text: str) -> pmui.Typography:
    """Return the name of a group of choices."""
    return pmui.Typography(text, variant="subtitle2", margin=(10, 10, 2, 10))


def legend(entries: dict[str, str], width: int) -> pn.viewable.Viewable:
    """Return names with their colours, in rows as wide as a plot; `measured` is drawn as a point."""
    marks = "".join(
        f'<span style="white-space:nowrap"><span style="color:{escape(color)};font-weight:bold">'
        f"{'●' if name == 'measured' else '━━'}</span> {escape(name)}</span>"
        for name, color in entries.items()
    )
    html = f'<div class="legend" style="display:flex;flex-wrap:wrap;column-gap:16px">{marks}</div>'
    return pn.pane.HTML(html, width=width, margin=(0, 8, 4, 60))


def beside(*columns: pn.viewable.Viewable | pn.viewable.Viewer) -> pn.viewable.Viewable:
    """Return columns side by side, one under the other where the window is narrow."""
    return pn.FlexBox(*columns, align_items="flex-start", gap="0px", sizing_mode="stretch_width")


def rendered(drawing: Any) -> Any:
    """Return a drawing of `xstxm.plot` as a figure of Bokeh, over which the wheel scrolls the page."""
    import holoviews
    from bokeh.models import Toolbar

    figure = holoviews.render(drawing, backend="bokeh")
    for toolbar in figure.select({"type": Toolbar}):
        toolbar.update(logo=None, active_scroll=None)
    return figure
