"""Phases: which phase where, its composition, and how much of each."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer import plan
from stxm_explorer.calls import Call
from stxm_explorer.parts import CHOICE, heading
from stxm_explorer.session import Session
from stxm_explorer.state import BACKGROUNDS, METHODS
from stxm_explorer.viewport import plot_side
from stxm_explorer.views import Page, Shown, View
from xstxm import plot


class Phases(Page):
    """Phase map."""

    title = "Phases"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._map = pn.pane.HoloViews(None, backend="bokeh", sizing_mode=None)
        self._view = View(session, self._want, self._map, self._show, look=lambda: self.side, label="Mapping phases")

    @property
    def side(self) -> int:
        """Pixels of a map's side."""
        return plot_side(self.session.width, self.session.height, taken=300)

    def _want(self) -> Call:
        return plan.phases(self.state, plan.field_of(self.state))

    def _show(self, phases: Any) -> None:
        self._map.object = plot.phase_map(phases, size=self.side)

    def views(self) -> list[View]:
        return [self._view]

    def controls(self) -> Shown:
        fit = self.state.fit.param
        return pmui.Column(
            heading("Fit"),
            pmui.Select.from_param(fit.method, label="Method", options=METHODS, **CHOICE),
            pmui.Select.from_param(fit.background, label="Background", options=BACKGROUNDS, **CHOICE),
            pmui.FloatSlider.from_param(fit.min_confidence, label="Least confidence", **CHOICE),
        )

    def workspace(self) -> Shown:
        return self._view
