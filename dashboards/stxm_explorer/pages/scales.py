"""Length scales: the fields from electrode to particle, and at which length a quantity varies."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui

from stxm_explorer import lengths
from stxm_explorer.calls import Missing
from stxm_explorer.messages import verbatim
from stxm_explorer.pages.particles import Particles
from stxm_explorer.pages.scale_parts import Blocks, Correlation, Fields, Part, Variance, called, phase_names
from stxm_explorer.parts import CHOICE, heading
from stxm_explorer.session import Session
from stxm_explorer.state import LENGTH_TABS, QUANTITIES
from stxm_explorer.views import Page, View
from xstxm.errors import StxmError

_FIRST = "First phase"


class Scales(Page):
    """Tabs, each with results and choices of its own; what no tab shows is not computed."""

    title = "Length scales"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._parts: dict[str, Part] = {}
        self._bar = pmui.Tabs(*((name, pn.Spacer(height=0)) for name in LENGTH_TABS), margin=0)
        self._bar.param.watch(self._turned, "active")
        self._note = pmui.Alert("", severity="info", visible=False, margin=(8, 10))
        self._phase = pmui.Select(label="Phase", **CHOICE)
        self._phase.param.watch(lambda event: self.state.scales.param.update(phase=event.new or ""), "value")
        self._choices, self._body = pn.Column(), pn.Column()
        self._shown: tuple[str, ...] = ()
        session.param.watch(self._worked, "running")

    @property
    def part(self) -> Part:
        """The part that is looked at; it is made at the first visit."""
        tab = self.state.scales.tab
        if tab not in self._parts:
            (made,) = (kind for kind in (Fields, Variance, Blocks, Correlation, Particles) if kind.title == tab)
            self._parts[tab] = made(self.session)
        return self._parts[tab]

    def views(self) -> list[View]:
        return [*self.part.views()]

    def refresh(self) -> None:
        """Follow the choices."""
        shown = (self.state.scales.tab, *(field.label for field in self.state.fields))
        if shown != self._shown:
            self._shown = shown
            self._bar.active = LENGTH_TABS.index(self.state.scales.tab)
            self._choices[:] = [self.part.controls()]
            self._body[:] = [self.part.workspace()]
        self._name_phases()
        self.part.refresh()

    def _turned(self, event: object) -> None:
        self.state.scales.tab = LENGTH_TABS[self._bar.active]

    def _worked(self, _: object) -> None:
        if self.state.view.page == self.title:
            self._name_phases()

    def _name_phases(self) -> None:
        """Say which phases there are, once that is known, and what is shown in place of what is not."""
        try:
            quantity, names = lengths.quantity(self.state), phase_names(self.session)
        except (Missing, StxmError):
            quantity, names = "", []
        chosen = self.state.scales.phase
        options = {_FIRST: "", **{name: name for name in [*names, *([chosen] if chosen else [])]}}
        self._phase.param.update(options=options, value=chosen, visible=quantity == "fraction")
        instead = quantity == "fraction" and self.state.scales.quantity == "composition"
        self._note.param.update(
            object=f"No composition is given on page Data: the {verbatim(called(self.session))} is shown."
            if instead
            else "",
            visible=instead,
        )

    def controls(self) -> pn.viewable.Viewable:
        quantity = self.state.scales.param.quantity
        return pmui.Column(
            heading("Compared"),
            pmui.Select.from_param(quantity, label="Quantity", options=QUANTITIES, **CHOICE),
            self._phase,
            self._choices,
        )

    def workspace(self) -> pn.viewable.Viewable:
        return pn.Column(self._bar, self._note, self._body, sizing_mode="stretch_width")
