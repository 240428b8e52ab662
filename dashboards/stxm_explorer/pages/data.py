"""Data: which files are open, and the references."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer import plan
from stxm_explorer.parts import CHOICE, heading
from stxm_explorer.session import Session
from stxm_explorer.views import Page, Shown, View
from xstxm import plot


class Data(Page):
    """Files and references."""

    title = "Data"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._spectra = pn.pane.HoloViews(None, backend="bokeh", sizing_mode=None)
        self._references = View(session, self._want, self._spectra, self._show, label="Reading references")
        self._file = pmui.Select(label="Stack", options=["", *session.store.catalogue().stacks], **CHOICE)
        self._file.param.watch(lambda event: event.new and self.state.open(event.new), "value")

    def _want(self) -> Any:
        from stxm_explorer.calls import Missing

        known = plan.references(self.state)
        if known is None:
            raise Missing("Choose reference spectra on the left.")
        return known

    def _show(self, references: Any) -> None:
        self._spectra.object = plot.spectra(references, width=500, height=300)

    def views(self) -> list[View]:
        return [self._references]

    def controls(self) -> Shown:
        spectra = pmui.MultiChoice.from_param(
            self.state.references.param.files,
            label="Reference spectra",
            options=list(self.session.store.catalogue().spectra),
            searchable=True,
            sizing_mode="stretch_width",
        )
        return pmui.Column(heading("Stack"), self._file, heading("References"), spectra)

    def workspace(self) -> Shown:
        return self._references
