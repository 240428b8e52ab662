"""Phases: which one where, how much of each, how sure, and what the fit leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan, readings
from stxm_explorer.calls import Call, Missing
from stxm_explorer.figures import Curve, CurveFigure, histogram
from stxm_explorer.figures.frames import CLEAR
from stxm_explorer.linked import LinkedMap
from stxm_explorer.pages.phase_maps import MIXED, choices, image_of, mixed
from stxm_explorer.pages.spectra import Spectra
from stxm_explorer.parts import CHOICE, Table, bars, beside, heading, optional, with_error
from stxm_explorer.session import Session
from stxm_explorer.state import BACKGROUNDS, BELOW, METHODS, PHASES_FROM, SELECTIONS, Region
from stxm_explorer.viewport import plot_side, workspace_width
from stxm_explorer.views import Page, Shown, View
from xstxm import plot

_CURVES, _LEAST = 250, 190
"""Pixels that the spectrum of a pixel is high, and in a small window."""
_BETWEEN = 310
"""Pixels above, between and below maps and spectrum."""


class Phases(Page):
    """Two maps above, the picked pixel, the shares or a histogram below."""

    title = "Phases"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._labels, self._other = LinkedMap(session), LinkedMap(session)
        self._maps = View(
            session, self._want, self._labels.pane, self._show_labels,
            look=lambda: (self.side, self.state.view.faded), label="Mapping phases", then=self._follow,
        )  # fmt: skip
        self._second = View(
            session, self._want_second, self._other.pane, self._show_second,
            look=lambda: (self.side, self.state.view.map), label="Mapping the misfit",
        )  # fmt: skip
        self._table = pn.Column(sizing_mode=None, margin=0)
        self._shares = View(session, self._want_shares, self._table, self._show_shares, label="Adding up the phases")
        self._bins = CurveFigure(width=600, height=_CURVES)
        self._histogram = View(
            session, self._want_second, self._bins.pane, self._show_histogram,
            look=lambda: (self._wide, self.state.view.map), label="Counting pixels",
        )  # fmt: skip
        self._pixel = Spectra(session, self._picked)
        self._tabs = pmui.RadioButtonGroup.from_param(
            self.state.view.param.below, label="", options=list(BELOW), size="small", margin=(4, 10), visible=False
        )
        self._below = pn.Column(sizing_mode="stretch_width", margin=0, visible=False)
        self._choice = pmui.Select(label="Second map", groups=choices(None), value="composition", **CHOICE)
        self._choice.param.watch(lambda event: setattr(self.state.view, "map", event.new), "value")

    @property
    def side(self) -> int:
        """Pixels of the longer side of a map."""
        return plot_side(self.session.width, self.session.height, LinkedMap.taken[0], share=0.5, below=_LEAST)

    @property
    def _high(self) -> int:
        return min(max(self.session.height - self.side - _BETWEEN, _LEAST), _CURVES)

    @property
    def _wide(self) -> int:
        return min(workspace_width(self.session.width) - 40, 900)

    def views(self) -> list[View]:
        below = {"Shares": [self._shares], "Histogram": [self._histogram]}.get(self.state.view.below, [])
        return [self._maps, self._second, *below]

    def calls(self) -> list[Call]:
        pixel = self._pixel.calls() if self.state.view.below == "Pixel" else []
        return [*super().calls(), *pixel]

    def refresh(self) -> None:
        for each in (self._labels, self._other):
            each.resize(self.side)
        self._bins.resize(self._wide, self._high)
        self._maps.refresh()
        self._show_rest(self._maps.settled)
        if self._maps.settled:
            self._follow()
        for each in (self._labels, self._other):
            each.follow()

    def controls(self) -> Shown:
        fit, view = self.state.fit.param, self.state.view.param
        return pmui.Column(
            heading("Phases"),
            pmui.Select.from_param(fit.source, label="Phases are", options=PHASES_FROM, **CHOICE),
            heading("Fit"),
            pmui.Select.from_param(fit.method, label="Amounts", options=METHODS, **CHOICE),
            pmui.Select.from_param(fit.background, label="Background", options=BACKGROUNDS, **CHOICE),
            pmui.Select.from_param(fit.selection, label="References of a pixel", options=SELECTIONS, **CHOICE),
            optional(self.state.fit, "max_optical_density", "Darkest optical density", "no limit"),
            heading("Pixels"),
            optional(self.state.fit, "min_amount", "Least amount of sample", "found from the map"),
            pmui.FloatSlider.from_param(fit.min_confidence, label="Least confidence of a label", **CHOICE),
            heading("Maps"),
            pmui.Switch.from_param(view.faded, label="Fade what is less sure", margin=(4, 10)),
            self._choice,
            sizing_mode="stretch_width",
        )

    def workspace(self) -> Shown:
        return pmui.Column(beside(self._maps, self._second), self._tabs, self._below, sizing_mode="stretch_width")

    def _follow(self) -> None:
        """Show what needs the phase map."""
        self._show_rest(True)
        self._second.refresh()
        below: dict[str, Spectra | View] = {"Pixel": self._pixel, "Shares": self._shares, "Histogram": self._histogram}
        chosen = below[self.state.view.below]
        if [*self._below] != [chosen]:
            self._below[:] = [chosen]
        if chosen is self._pixel:
            self._pixel.resize(self._wide, self._high, self._wide)
            self._pixel.refresh()
        else:
            chosen.refresh()

    def _show_rest(self, there: bool) -> None:
        """Show what stands beside and below the phase map, or none of it."""
        self._tabs.visible = self.state.field is not None
        for part in (self._second, self._below):
            if part.visible != there:
                part.visible = there

    def _picked(self) -> Sequence[Region]:
        cursor = self.state.view.cursor
        return [] if cursor is None else [Region("point", (cursor,), "pixel")]

    def _want(self) -> Call:
        return plan.phases(self.state, plan.field_of(self.state))

    def _want_second(self) -> Call:
        field = plan.field_of(self.state)
        if self.state.view.map == "residual_rms":
            return plan.misfit(self.state, field)
        phases = self._maps.result
        if phases is not None and not _has(phases, self.state.view.map):
            raise Missing(_why(self.state.view.map))
        return plan.phases(self.state, field)

    def _want_shares(self) -> Call:
        return plan.summary(self.state, plan.field_of(self.state))

    def _show_labels(self, phases: xr.Dataset) -> None:
        opacity = phases["confidence"] if self.state.view.faded else None
        self._labels.show_classes(phases["phase_label"], plot.phase_colors(phases), opacity=opacity)
        self._choice.param.update(groups=choices(phases), value=self.state.view.map)

    def _show_second(self, result: xr.Dataset) -> None:
        if self.state.view.map == MIXED:
            colors = plot.phase_colors(result)
            self._other.show_rgb(mixed(result, colors), colors=colors)
        else:
            self._other.show(image_of(result, self.state.view.map), missing=CLEAR)

    def _show_histogram(self, result: xr.Dataset) -> None:
        name = self.state.view.map if self.state.view.map != MIXED else "confidence"
        image = image_of(result, name)
        edges, counts = histogram(image)
        self._bins.show([Curve("pixels", edges, counts, color=plot.NEUTRAL)], xlabel=plot.label(image), ylabel="Pixels")

    def _show_shares(self, summary: xr.Dataset) -> None:
        names = [str(name) for name in summary["phase"].values]
        parts = {name: _told(summary.sel(phase=name), "area_fraction") for name in names}
        drawn = bars(parts, plot.phase_colors(summary), self._wide // 2)
        measured = [name for name in ("mean_composition", "mean_amount") if name in summary]
        rows = [
            [name, *(with_error(*_told(summary.sel(phase=name), variable)) for variable in measured)] for name in names
        ]
        head = ["Phase", *(plot.label(summary[variable]) for variable in measured)]
        means = Table()
        means.write(head, rows, self._wide // 2)
        said = pmui.Typography(readings.of_shares(summary), variant="body2", width=self._wide, margin=(4, 8))
        self._table[:] = [pn.Column(beside(drawn, *([means] if measured else [])), said)]


def _told(summary: xr.Dataset, name: str) -> tuple[float, float]:
    """Return a mean with its error, statistical and systematic."""
    errors = [float(summary[part]) for part in (f"{name}_stderr", f"{name}_bias") if part in summary]
    return float(summary[name]), math.hypot(*errors) if errors else 0.0


def _has(phases: xr.Dataset, name: str) -> bool:
    variable, _, phase = name.partition(":")
    return name == MIXED or (variable in phases and (not phase or phase in phases["phase"].values))


def _why(name: str) -> str:
    """Return what to do for a map that there is not."""
    if name.startswith("composition"):
        return "Give every reference a composition on page Data, or choose another map on the left."
    return "There is no such map with these choices: choose another one on the left."
