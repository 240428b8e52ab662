"""Data: which stacks are open, what they say of themselves, and the references."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing
from stxm_explorer.pages.fields import Fields, metadata
from stxm_explorer.pages.files import Files
from stxm_explorer.pages.reference_choice import Choice
from stxm_explorer.pages.references import References
from stxm_explorer.parts import heading
from stxm_explorer.session import Session
from stxm_explorer.views import Page, Shown, View


class Data(Page):
    """Files, fields and references."""

    title = "Data"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.fields, self.choice = Fields(session), Choice(session)
        self.files, self.references = Files(session, self.refresh), References(session)
        self._said = pn.pane.HTML(sizing_mode="stretch_width", margin=(0, 10))
        self.about = View(session, self._want, self._said, self._show, label="Opening the stack")
        self._shown = ""
        self._place = pn.Column(sizing_mode="stretch_width")

    def _want(self) -> Call:
        if self.state.field is None:
            raise Missing("Click a stack in the list: it is opened, and what it says of itself is shown here.")
        return plan.raw(self.state.field)

    def _show(self, stack: Any) -> None:
        self._said.object = metadata(stack)

    def views(self) -> list[View]:
        if self.state.view.data == "References":
            return self.references.views()
        return [self.about]

    def refresh(self) -> None:
        """Follow the choices, in the half that is looked at."""
        self._place_shown()
        self.fields.refresh()
        self.choice.refresh(self.files.catalogue.spectra if self.files.catalogue else ())
        self.files.refresh()
        if self.state.view.data == "References":
            self.references.refresh()
        else:
            self.about.refresh()

    def _place_shown(self) -> None:
        shown = self.state.view.data
        if shown == self._shown:
            return
        self._shown = shown
        if shown == "References":
            self._place[:] = [self.references]
        else:
            self._place[:] = [self.files, heading("The stack that is shown"), self.about]

    def controls(self) -> Shown:
        return pmui.Column(self.fields, self.choice)

    def workspace(self) -> Shown:
        tabs = pmui.RadioButtonGroup.from_param(self.state.view.param.data, label="", size="small", margin=(8, 10))
        return pn.Column(tabs, self._place, sizing_mode="stretch_width")
