"""Unmix: components and clusters of a stack, found without references."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.calls import Call
from stxm_explorer.pages.clusters import Clusters
from stxm_explorer.pages.components import Components
from stxm_explorer.pages.scatter import Scatter
from stxm_explorer.session import Session
from stxm_explorer.state import UNMIX_TABS
from stxm_explorer.views import Page, Shown, View


class Unmix(Page):
    """Tabs, each with results and choices of its own; what no tab shows is not computed."""

    title = "Unmix"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._parts: dict[str, Page] = {}
        self._bar = pmui.Tabs(*((name, pn.Spacer(height=0)) for name in UNMIX_TABS), margin=0)
        self._bar.param.watch(self._turned, "active")
        self._choices, self._body = pn.Column(), pn.Column(sizing_mode="stretch_width")
        self._shown = ""

    @property
    def part(self) -> Page:
        """The part that is looked at; it is made at the first visit."""
        tab = self.state.unmix.tab
        if tab not in self._parts:
            (made,) = (kind for kind in (Components, Clusters, Scatter) if kind.title == tab)
            self._parts[tab] = made(self.session)
        return self._parts[tab]

    def views(self) -> list[View]:
        return [*self.part.views()]

    def calls(self) -> list[Call]:
        return self.part.calls()

    def refresh(self) -> None:
        """Follow the choices."""
        if self._shown != self.state.unmix.tab:
            self._shown = self.state.unmix.tab
            self._bar.active = UNMIX_TABS.index(self._shown)
            self._choices[:] = [self.part.controls()]
            self._body[:] = [self.part.workspace()]
        self.part.refresh()

    def _turned(self, event: object) -> None:
        self.state.unmix.tab = UNMIX_TABS[self._bar.active]

    def controls(self) -> Shown:
        return self._choices

    def workspace(self) -> Shown:
        return pn.Column(self._bar, self._body, sizing_mode="stretch_width")
