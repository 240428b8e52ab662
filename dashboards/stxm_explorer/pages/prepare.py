"""Prepare: from the frames of a file to optical density, in steps that can be taken back; the file stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.messages import counted
from stxm_explorer.pages.steps import STEPS, Measured, Step
from stxm_explorer.pages.steps.step import note
from stxm_explorer.parts import CHOICE, heading
from stxm_explorer.session import Session, notify
from stxm_explorer.state import Field
from stxm_explorer.views import Page, Shown, View

OF_THE_FIELD = {"dropped", "align_region", "i0_region"}
"""Choices of the steps that make sense for one field only."""


class Prepare(Page):
    """The steps from counts to optical density."""

    title = "Prepare"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._measured = Measured(session, self.refresh)
        self._steps: dict[str, Step] = {}
        self._menu = pmui.StepperMenu(
            items=[*STEPS],
            orientation="vertical",
            non_linear=True,
            connector=False,
            margin=(8, 10),
            sizing_mode="stretch_width",
        )
        self._menu.param.watch(self._turned, "active")
        self._made: dict[tuple[Field, str], Sequence[Shown]] = {}
        self._ends = self._buttons()
        self._choices, self._middle = pn.Column(sizing_mode="stretch_width"), pn.Column(sizing_mode="stretch_width")
        self._shown: tuple[Field | None, str] | None = None

    @property
    def step(self) -> Step:
        """The step that is looked at; it is made at the first visit."""
        title = self.state.view.prepare
        if title not in self._steps:
            self._steps[title] = STEPS[title](self.session, self._measured)
        return self._steps[title]

    def views(self) -> Sequence[View]:
        """Return the views of the step."""
        return self.step.views() if self.state.fields else []

    def controls(self) -> Shown:
        """Return the steps in their order, and the choices of the one that is looked at."""
        return pmui.Column(self._menu, self._choices, sizing_mode="stretch_width")

    def workspace(self) -> Shown:
        """Return what the step does."""
        return self._middle

    def refresh(self) -> None:
        """Follow the choices."""
        field, title = self.state.field, self.state.view.prepare
        if field is not None:
            self._measured.view.refresh()
            self.step.refresh()
        if self._shown is None or self._shown[0] is not field or self._shown[1] != title:
            self._shown = (field, title)
            self._turn(field)
        self._menu.param.update(items=self._items(field), active=[*STEPS].index(title))

    def reset(self, names: Sequence[str]) -> None:
        """Take choices of the field back to what they are at the start."""
        field = self.step.field
        fresh = Field()
        field.param.update({name: getattr(fresh, name) for name in names})

    def share(self) -> None:
        """Prepare all fields as this one, but for what belongs to one field only."""
        field = self.step.field
        names = {name for step in STEPS.values() for name in step.choices} - OF_THE_FIELD
        if field.i0_source == "region":
            names -= {"i0_source"}
        values = {name: getattr(field, name) for name in names}
        others = [other for other in self.state.fields if other is not field]
        for other in others:
            other.param.update(values)
        kept = "frames that are left out, and regions, stay those of each field"
        notify("success", f"{counted(len(others), 'other field')} prepared in the same way; {kept}")

    def _turn(self, field: Field | None) -> None:
        """Show the choices and the views of another field or step."""
        if field is None:
            self._choices[:] = []
            self._middle[:] = [note("Open a stack first: page Data lists the files.", sizing_mode=None, width=380)]
            return
        self._choices[:] = [heading(self.step.title), *self._controls_of(field), *self._ends]
        self._middle[:] = [self.step.workspace()]
        self.step.turned_to(field)

    def _controls_of(self, field: Field) -> Sequence[Shown]:
        """Return the choices of the step; they are made once for each field, which holds widgets that watch it for ever."""
        self._made = {of: made for of, made in self._made.items() if of[0] in self.state.fields}
        which = field, self.step.title
        if which not in self._made:
            self._made[which] = self.step.controls(field)
        return self._made[which]

    def _buttons(self) -> list[Shown]:
        """Return the buttons that take choices back, or to other fields."""
        look: dict[str, Any] = {**CHOICE, "variant": "text"}
        every = [name for step in STEPS.values() for name in step.choices]
        this = pmui.Button(
            label="Reset this step", icon="restart_alt", on_click=lambda _: self.reset(self.step.choices), **look
        )
        whole = pmui.Button(label="Reset all steps", icon="restart_alt", on_click=lambda _: self.reset(every), **look)
        share = pmui.Button(
            label="Use for all fields",
            icon="content_copy",
            on_click=lambda _: self.share(),
            visible=self.state.param.fields.rx().rx.len() > 1,
            **look,
        )
        return [pmui.Divider(margin=(8, 10), sizing_mode="stretch_width"), this, whole, share]

    def _items(self, field: Field | None) -> list[dict[str, Any]]:
        """Return the steps with what each does."""
        fresh = Field()
        return [
            {
                "label": title if field is None else f"{title}: {step.summary(field)}",
                "completed": field is not None and any(getattr(field, n) != getattr(fresh, n) for n in step.choices),
            }
            for title, step in STEPS.items()
        ]

    def _turned(self, event: Any) -> None:
        self.state.view.prepare = [*STEPS][event.new]
