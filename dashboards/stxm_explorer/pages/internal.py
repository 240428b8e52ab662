"""References that are mean spectra of pixels: where they are made, and the list of them."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.parts import CHOICE, hint, icon
from stxm_explorer.session import Session, notify
from stxm_explorer.state import Internal, Region


def refer(session: Session, *, region: Region | None = None, cluster: int = 0) -> None:
    """Take the mean spectrum of a region, a cluster or the lasso as a reference, and say where it is."""
    if session.state.field is None:
        notify("warning", "open a stack first: page Data lists the files")
        return
    made = session.state.refer(region=region, cluster=cluster)
    notify("success", f"{made.label} is a reference now: page Data lists it, with its name")


def button(label: str, clicked: Any) -> pmui.Button:
    """Return the button that makes a reference."""
    return pmui.Button(label=label, icon="bookmark_add", variant="outlined", on_click=lambda _: clicked(), **CHOICE)


class Internals(pn.viewable.Viewer):
    """A row for each reference from the stacks themselves."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._chosen = session, session.state.references
        self._shown: Any = None
        self._rows = pn.Column(sizing_mode="stretch_width", margin=0)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._rows

    def follow(self) -> None:
        """List what there is now."""
        wanted = [(one, one.said) for one in self._chosen.internal]
        if wanted != self._shown:
            self._shown = wanted
            self._rows[:] = [self._row(one) for one in self._chosen.internal] or [
                hint("Regions on page Explore, clusters and the lasso on page Unmix can be references, too.")
            ]

    def _row(self, internal: Internal) -> pn.viewable.Viewable:
        name = pmui.TextInput(
            value=internal.label, label=internal.said, size="small", sizing_mode="stretch_width", margin=(6, 2, 6, 10)
        )
        name.param.watch(lambda event: self._rename(internal, name), "value")
        return pn.Row(name, icon("delete", "Forget this reference", lambda: self._chosen.remove(internal)))

    def _rename(self, internal: Internal, name: pmui.TextInput) -> None:
        if name.value.strip():
            self._chosen.rename(internal, name.value)
        else:
            notify("warning", "a reference needs a name: type one, or forget the reference")
            name.value = internal.label
