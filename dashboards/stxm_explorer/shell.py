"""The page around the pages."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.controls import Controls
from stxm_explorer.pages.code import Code
from stxm_explorer.pages.explore import Explore
from stxm_explorer.pages.phases import Phases
from stxm_explorer.session import Session
from stxm_explorer.state import ExplorerState
from stxm_explorer.store import Store
from stxm_explorer.viewport import SIDEBAR, Viewport

THEME: dict[str, Any] = {
    "chart_style": "standard",
    "palette": {"primary": {"main": "#0072B2"}, "secondary": {"main": "#D55E00"}},
}


class App(pn.viewable.Viewer):
    """The explorer of one session."""

    def __init__(self, state: ExplorerState, store: Store) -> None:
        super().__init__()
        self.state, self.session = state, Session(state, store)
        self._viewport = Viewport(width=0, height=0, margin=0)
        self._viewport.param.watch(self._resize, "inner_width")
        self._viewport.param.watch(self._resize, "inner_height")
        self._tabs = pmui.Tabs(
            ("Explore", Explore(state, self.session)),
            ("Phases", Phases(state, self.session)),
            ("Code", Code(state)),
            sizing_mode="stretch_width",
        )
        self._waits_for = {"page", "size"} if pn.state.curdoc else {"page"}
        pn.state.onload(lambda: self._ready("page"))

    def _ready(self, what: str) -> None:
        """Start once the page is there, which misses what changes before, and its size is known."""
        waited = bool(self._waits_for)
        self._waits_for.discard(what)
        if waited and not self._waits_for:
            self.session.start()

    def _resize(self, _: Any) -> None:
        width, height = self._viewport.inner_width, self._viewport.inner_height
        if width and height:
            self.state.param.update(width=max(width, 200), height=max(height, 200))
            self._ready("size")

    def __panel__(self) -> pn.viewable.Viewable:
        return pmui.Page(
            title="xstxm explorer",
            header=[pmui.LoadingSpinner(value=True, size=24, color="light", visible=self.session.param.busy.rx() > 0)],
            sidebar=[Controls(self.state, self.session)],
            sidebar_width=SIDEBAR,
            sidebar_resizable=False,
            main=[self._tabs, self._viewport],
            theme_config=THEME,
        )
