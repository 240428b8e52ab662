"""The regions that were drawn, and the pixel that was picked: names, colours, and what to do with them."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.linked import CURSOR_COLOR, region_colors
from stxm_explorer.pages.internal import refer
from stxm_explorer.parts import hint, icon
from stxm_explorer.session import Session, notify
from stxm_explorer.state import Region

_CUT = {"& input": {"textOverflow": "ellipsis"}}
"""A name longer than its box ends in dots while nobody edits it."""


class Regions(pn.viewable.Viewer):
    """A row for each region."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._state: Any = session.state
        self._shown: Any = None
        self._place = pmui.Typography("", variant="body2", width=144, margin=(10, 2))
        self._cursor = self._cursor_row()
        self._rows = pn.Column(sizing_mode="stretch_width", margin=0)

    def __panel__(self) -> pn.viewable.Viewable:
        return pn.Column(self._cursor, self._rows, sizing_mode="stretch_width", margin=(0, 4))

    def follow(self) -> None:
        """List what there is now."""
        view = self._state.view
        self._cursor.visible = view.cursor is not None
        if view.cursor is not None:
            self._place.object = f"({view.cursor[0]:g}, {view.cursor[1]:g}) µm"
        wanted = (tuple(self._state.regions), view.region, view.cursor is None)
        if wanted == self._shown:
            return
        self._shown = wanted
        colors = region_colors(self._state)
        rows = [self._row(region, colors[region.name]) for region in self._state.regions]
        empty = [] if self._cursor.visible else [hint("Tap the image, or draw a box or a lasso on it.")]
        self._rows[:] = rows or empty

    def _row(self, region: Region, color: str) -> pn.viewable.Viewable:
        active = region.name == self._state.view.region
        name = pmui.TextInput(value=region.name, size="small", width=132, margin=(2, 2), label="", sx=_CUT)
        name.param.watch(lambda event: self._rename(region, name), "value")
        look = icon("radio_button_checked" if active else "circle", "Look at this region", lambda: self._look(region))
        look.sx = {"color": color}
        return pn.Row(
            look, name,
            icon("bookmark_add", "Use as reference", lambda: refer(self._session, region=region)),
            icon("delete", "Forget this region", lambda: self._state.remove_region(region)),
        )  # fmt: skip

    def _cursor_row(self) -> pn.viewable.Viewable:
        view = self._state.view
        look = icon("add", "Look at the picked pixel", lambda: view.param.update(region=""))
        look.sx = {"color": CURSOR_COLOR}
        keep = icon("push_pin", "Keep this pixel as a region", self._keep)
        drop = icon("close", "Pick nothing", lambda: view.param.update(cursor=None))
        return pn.Row(look, self._place, keep, drop, visible=False)

    def _look(self, region: Region) -> None:
        self._state.view.region = region.name

    def _keep(self) -> None:
        view = self._state.view
        self._state.add_region(Region("point", (view.cursor,), "pixel"))
        view.cursor = None

    def _rename(self, region: Region, name: pmui.TextInput) -> None:
        if name.value.strip():
            self._state.rename_region(region, name.value)
        else:
            notify("warning", "a region needs a name: type one, or forget the region")
            name.value = region.name
