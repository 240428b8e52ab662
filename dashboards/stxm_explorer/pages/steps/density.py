"""Optical density: its image, its histogram, and which pixels cannot be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call
from stxm_explorer.figures import Curve, CurveFigure, histogram
from stxm_explorer.linked import LinkedMap
from stxm_explorer.pages.steps.step import FIRST, EnergyChoice, Measured, Step
from stxm_explorer.parts import CHOICE, beside, optional
from stxm_explorer.session import Session
from stxm_explorer.state import NOISES, Field
from stxm_explorer.verdicts import flagged
from stxm_explorer.views import Shown, View
from xstxm import plot
from xstxm.conventions import QUALITY_FLAGS

MEANING = {
    "nonpositive_counts": "counts or I0 of zero or less: no optical density",
    "saturated": "counts at the limit of the detector or above",
    "too_thick": "more optical density than can be trusted",
    "outside_overlap": "not covered by every frame after the alignment",
    "poor_fit": "explained poorly by a fit",
    "not_measured": "no counts at some energy",
    "below_noise": "a ratio whose denominator is noise",
    "outside_window": "an edge or peak outside the window it was sought in",
}
COLORS = ("#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#F0E442", "#999999")
"""Of the flags, in their order."""


class Density(Step):
    """Optical density and its quality."""

    title = "Optical density"
    choices = ("noise", "gain", "thick", "saturation")

    def __init__(self, session: Session, measured: Measured) -> None:
        super().__init__(session, measured)
        self._map, self._flagged = LinkedMap(session, side=self.side), LinkedMap(session, side=self.side)
        self._histogram = CurveFigure(width=self.beside, height=300)
        self._counts = pn.pane.HTML("", width=self.beside, margin=(8, 10))
        self._energy = EnergyChoice(self, "energy", "Energy of the image")
        self._quality = View(
            session,
            lambda: plan.density(self.field)["quality"],
            beside(self._flagged.pane, self._counts),
            self._show_quality,
            label="Looking for flagged pixels",
        )
        body = pmui.Column(beside(self._map.pane, self._histogram.pane), self._quality, sizing_mode="stretch_width")
        self._image = View(session, self._want, body, self._show, label="Optical density")

    @staticmethod
    def summary(field: Field) -> str:
        """Return where the errors come from."""
        return (
            f"errors of photon counting, {field.gain:g} photons a count"
            if field.noise
            else "errors as the stack states"
        )

    def controls(self, field: Field) -> Sequence[Shown]:
        """Return the noise and the limits of the flags."""
        own = field.param
        return [
            self._energy.widget,
            pmui.Select.from_param(own.noise, label="Errors", options=NOISES, **CHOICE),
            pmui.FloatInput.from_param(
                own.gain, label="Photons for one count", visible=own.noise.rx() == "poisson", **CHOICE
            ),
            pmui.FloatInput.from_param(own.thick, label="Too thick above an optical density of", step=0.1, **CHOICE),
            optional(field, "saturation", "Saturated from counts of", "not looked for"),
        ]

    def workspace(self) -> Shown:
        """Return the image with its histogram above the flagged pixels."""
        return self._image

    def views(self) -> Sequence[View]:
        """Return the views."""
        return [self._image, self._quality]

    def refresh(self) -> None:
        """Follow the choices."""
        for each in (self._map, self._flagged):
            each.resize(self.side)
        self._histogram.resize(self.beside, 300)
        self._energy.follow()
        super().refresh()
        for each in (self._map, self._flagged):
            each.follow()

    def _want(self) -> Call:
        return self.frame(plan.density(self.field), self._energy.energy, "optical_density")

    def _show(self, image: xr.DataArray) -> None:
        energy = f"{float(image['energy']):.2f} {self.measured.unit}"
        self._map.show(image, title=energy)
        at, count = histogram(image)
        curve = Curve(f"pixels at {energy}", at, count, color=FIRST)
        self._histogram.show([curve], xlabel=plot.label(image), ylabel="Pixels")

    def _show_quality(self, quality: xr.DataArray) -> None:
        found, known = flagged(quality), dict(zip(QUALITY_FLAGS, COLORS, strict=True))
        raised = found.counts
        self._flagged.pane.visible = bool(raised)
        if raised:
            colors = {name.replace("_", " "): known[name] for name in raised}
            self._flagged.show_classes(found.classes, colors, title="Flagged pixels")
        self._counts.object = _table([(name, count, count / quality.size) for name, count in raised.items()])


def _table(rows: list[tuple[str, int, float]]) -> str:
    """Return how many pixels are flagged, and what that means."""
    if not rows:
        return "<p>No pixel is flagged: all have counts, and none is too thick.</p>"
    cells = "".join(
        f"<tr><td style='white-space:nowrap'>{escape(name.replace('_', ' '))}</td>"
        f"<td style='text-align:right'>{count}</td>"
        f"<td style='text-align:right;white-space:nowrap'>{100 * share:.2f} %</td><td>{escape(MEANING[name])}</td></tr>"
        for name, count, share in rows
    )
    head = "<tr><th>Flag</th><th>Pixels</th><th>Share</th><th>Meaning</th></tr>"
    return f'<table style="border-spacing:8px 4px;text-align:left;font-size:14px">{head}{cells}</table>'
