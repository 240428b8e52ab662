"""What the steps of the preparation share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.figures import MapFigure
from stxm_explorer.pages.energies import NO_ENERGIES
from stxm_explorer.parts import CHOICE
from stxm_explorer.session import Session
from stxm_explorer.state import Field, Region
from stxm_explorer.viewport import plot_side, rest_of_row, workspace_width
from stxm_explorer.views import Shown, View
from xstxm.plot import pretty_units

FLAGGED, DROPPED, FIRST, SECOND = "#D55E00", "#999999", "#0072B2", "#E69F00"
"""Colours of frames that are flagged and left out, and of two curves; they read on a light and a dark ground."""


class Measured:
    """The frames of the field that is shown: their energies, and what is wrong with them."""

    def __init__(self, session: Session, told: Callable[[], None]) -> None:
        self._session = session
        self.view = View(
            session, self._want, pn.Spacer(height=0), lambda _: None, label="Looking at the frames", then=told
        )

    def _want(self) -> Call:
        return plan.frames(plan.field_of(self._session.state))

    def flags(self) -> xr.Dataset:
        """Return the flags of all frames of the file.

        Raises
        ------
        Missing
            They are not there yet.
        """
        found = self._session.store.ready(self._want())
        if found is None and self.view.settled:
            found = self.view.result  # the work of others pushed it out of the cache
        if found is None:
            raise Missing("The frames of the stack are read first.")
        known: xr.Dataset = found
        return known

    @property
    def unit(self) -> str:
        """The unit of the energies, as it is printed."""
        return pretty_units(str(self.flags()["energy"].attrs["units"]))

    def kept(self) -> list[float]:
        """Return the energies that are used, in the order of the file."""
        flags, field = self.flags(), plan.field_of(self._session.state)
        return [energy for energy in map(float, np.asarray(flags["energy"])) if field.uses(energy)]

    def nearest(self, wanted: float | None, otherwise: float = 0.0) -> float:
        """Return the energy in use that is nearest to one; without one that after a share of all.

        Raises
        ------
        Missing
            No frame is in use.
        """
        kept = self.kept()
        if not kept:
            raise Missing("No frame is left: widen the range of energies, or take frames back in.")
        if wanted is None:
            return kept[math.ceil(otherwise * (len(kept) - 1))]
        return min(kept, key=lambda energy: abs(energy - wanted))


class Step:
    """One step of the preparation: its choices on the left, and what they do in the middle."""

    title: ClassVar[str]
    choices: ClassVar[tuple[str, ...]]
    """Parameters of a field that belong to the step."""

    def __init__(self, session: Session, measured: Measured) -> None:
        self.session, self.state, self.measured = session, session.state, measured
        self._following = False

    @property
    def field(self) -> Field:
        """The field that is prepared."""
        return plan.field_of(self.state)

    @property
    def width(self) -> int:
        """Pixels across of the workspace."""
        return workspace_width(self.session.width)

    @property
    def side(self) -> int:
        """Pixels of the longer side of a map that shares its row with a plot."""
        return plot_side(self.session.width, self.session.height, MapFigure.taken[0], below=160)

    @property
    def beside(self) -> int:
        """Pixels across of a plot beside a map."""
        return rest_of_row(self.session.width, self.side + MapFigure.taken[0])

    @staticmethod
    def summary(field: Field) -> str:
        """Return in few words what the step does to a field."""
        raise NotImplementedError

    def controls(self, field: Field) -> Sequence[Shown]:
        """Return the choices of the step."""
        raise NotImplementedError

    def workspace(self) -> Shown:
        """Return what shows the effect."""
        raise NotImplementedError

    def views(self) -> Sequence[View]:
        """Return the views."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Follow the choices."""
        for view in self.views():
            view.refresh()

    def turned_to(self, field: Field) -> None:
        """Look for what the choices of a field offer, when they come into sight."""

    @contextmanager
    def following(self) -> Iterator[None]:
        """Set widgets by the choices: what watches the widgets does nothing."""
        self._following = True
        try:
            yield
        finally:
            self._following = False

    def frame(self, stack: Call, energy: float, signal: str = "intensity") -> Call:
        """Return the image of a stack at one of its energies."""
        name = f"{signal} at {energy:g}"
        return call(".isel", call("sel_energy", stack[signal], energy, energy, name="energies"), energy=0, name=name)

    def take(self, region: Region, name: str, adopt: Callable[[Region], Any]) -> None:
        """Adopt a region that was drawn once it is known to hold pixels; else tell, and leave all as it is."""
        named = Region(region.kind, region.vertices, name)
        held = plan.spectrum(self.field, named, "intensity")
        self.session.get(f"region {name}", held, lambda _: adopt(named), label="Reading the region")


class EnergyChoice:
    """A slider over the energies that are used, tied to one of the energies that are looked at."""

    def __init__(self, step: Step, name: str, label: str, otherwise: float = 0.0) -> None:
        self._step, self._name, self._label, self._otherwise = step, name, label, otherwise
        self._known: list[float] = []
        self._following = False
        self.widget = pmui.DiscreteSlider(label=label, options=NO_ENERGIES, value=0.0, **CHOICE)
        self.widget.param.watch(self._chosen, "value")

    @property
    def energy(self) -> float:
        """The energy of the frame that is looked at."""
        return self._step.measured.nearest(getattr(self._step.state.view, self._name), self._otherwise)

    def follow(self) -> None:
        """Offer the energies in use, and stand at the one that is looked at."""
        try:
            known, energy = [*dict.fromkeys(self._step.measured.kept())], self.energy
        except Missing:
            return
        self.widget.visible = len(known) > 1
        if len(known) < 2:
            return
        self._following = True
        if known != self._known:
            self._known = known
            self.widget.param.update(options={f"{e:.2f} {self._step.measured.unit}": e for e in known}, value=energy)
        elif self.widget.value != energy:
            self.widget.value = energy
        self._following = False

    def _chosen(self, event: Any) -> None:
        if not self._following:
            self._step.state.view.param.update({self._name: event.new})


def note(text: str, severity: str = "info", **look: Any) -> pmui.Alert:
    """Return a remark."""
    return pmui.Alert(object=text, severity=severity, **{"margin": (4, 10), "sizing_mode": "stretch_width", **look})
