"""Which energy is looked at: by slider, by arrow keys, or one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.keys import ArrowKeys
from stxm_explorer.session import Session
from stxm_explorer.state import View
from stxm_explorer.surveys import Survey

NO_ENERGIES = {"–": 0.0, "—": 1.0}
"""Options of a slider that is not shown: one with fewer than two places cannot be drawn."""

_PERIOD = 250
"""Milliseconds for which each image is shown at least."""


class Energies(pn.viewable.Viewer):
    """The energy of the image, and the other one of a difference or ratio.

    Parameters
    ----------
    session
        Its choices are followed, and changed.
    busy
        Tells whether the image is still being read: the next one waits for it.
    """

    def __init__(self, session: Session, busy: Callable[[], bool]) -> None:
        super().__init__()
        self._view, self._busy = session.state.view, busy
        self._energies: list[float] = []
        self._timer: Any = None
        self._first = _slider("Photon energy", session.state.view, "energy")
        self._second = _slider("Other energy", session.state.view, "second")
        self._play = pmui.ToggleIcon(
            icon="play_arrow",
            active_icon="pause",
            value=False,
            size="2em",
            margin=(14, 0, 0, 4),
            description="Step through the energies; the arrow keys do it one by one.",
        )
        self._play.param.watch(self._toggled, "value")
        self._keys = ArrowKeys(self.step)

    def __panel__(self) -> pn.viewable.Viewable:
        return pn.Row(self._play, self._first, self._second, self._keys, sizing_mode="stretch_width")

    def follow(self, survey: Survey) -> None:
        """Show the energies of a stack, and those that are chosen."""
        self._energies = sorted({*survey.energies})
        several = len(self._energies) > 1
        contrast = several and self._view.image != "frame"
        self._first.visible = self._play.visible = several
        self._second.visible = contrast
        if several:
            _offer(self._first, self._energies, survey.unit, survey.energies[survey.nearest(self._view.energy)])
        if contrast:
            _offer(self._second, self._energies, survey.unit, self.second_of(survey))

    def second_of(self, survey: Survey) -> float:
        """Return the other energy: the chosen one, else the lowest."""
        chosen = self._view.second
        return min(survey.energies) if chosen is None else survey.energies[survey.nearest(chosen)]

    def step(self, number: int) -> None:
        """Go some energies up or down, not beyond the last."""
        if len(self._energies) > 1:
            at = self._energies.index(self._first.value) + number
            self._view.energy = self._energies[min(max(at, 0), len(self._energies) - 1)]

    def tick(self) -> None:
        """Show the next energy; stop after the last, and where another page is looked at."""
        if self._view.page != "Explore" or self._is_last():
            self._play.value = False
        elif not self._busy():
            self.step(1)

    def _is_last(self) -> bool:
        return len(self._energies) < 2 or self._first.value == self._energies[-1]

    def _toggled(self, event: Any) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if event.new and pn.state.curdoc:
            if self._is_last():
                self.step(-len(self._energies))
            self._timer = pn.state.add_periodic_callback(self.tick, period=_PERIOD)


def _slider(label: str, view: View, name: str) -> pmui.DiscreteSlider:
    """Return a slider that sets a choice."""
    slider = pmui.DiscreteSlider(
        label=label, options=NO_ENERGIES, value=0.0, visible=False, sizing_mode="stretch_width", max_width=640
    )
    slider.param.watch(lambda event: view.param.update(**{name: event.new}), "value")
    return slider


def _offer(slider: pmui.DiscreteSlider, energies: list[float], unit: str, value: float) -> None:
    """Set what a slider offers, and where it is; what is so already is not sent."""
    steps = [after - before for before, after in pairwise(energies)]
    digits = max(math.ceil(-math.log10(min(steps))), 2) if steps else 2
    options = {f"{energy:.{digits}f} {unit}": energy for energy in energies}
    if slider.options != options:
        slider.param.update(options=options, value=value)
    elif slider.value != value:
        slider.value = value
