"""Explore: the image at an energy, what is picked on it, and the spectra behind."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.figures import Curve, CurveFigure
from stxm_explorer.linked import CURSOR_COLOR, LinkedMap
from stxm_explorer.pages.energies import Energies
from stxm_explorer.pages.regions import Regions
from stxm_explorer.pages.spectra import Spectra
from stxm_explorer.parts import CHOICE, beside, heading, named, optional
from stxm_explorer.session import Session
from stxm_explorer.state import COLORS, IMAGES, SIGNALS, TAPS, Region, unused
from stxm_explorer.surveys import Survey
from stxm_explorer.viewport import plot_side, rest_of_row, workspace_width
from stxm_explorer.views import Page, Shown, View
from xstxm import plot

_LIMITS = {"optical_density": "density_limits", "intensity": "intensity_limits"}
"""Which choice holds the ends of the colour scale of a signal."""

_NAMES = {key: name for name, key in {**SIGNALS, **IMAGES}.items()}
_PROFILE = 220
"""Pixels that the profile is high."""


class AtOnce(pmui.RadioButtonGroup):
    """Buttons that count before a tap which follows: Panel takes the choices of others up 50 ms after they came."""

    _priority_changes: ClassVar[list[str]] = ["value"]


class Explore(Page):
    """Image and spectra side by side."""

    title = "Explore"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._map = LinkedMap(session, regions=self._check, places=self._tapped)
        self._image = View(
            session, self._want_image, self._map.pane, self._show_image,
            look=lambda: (self.side, self._limits()), label="Reading the image", at_once=True,
        )  # fmt: skip
        self._along = CurveFigure(width=400, height=_PROFILE)
        self._profile = View(
            session, self._want_profile, self._along.pane, self._show_profile,
            look=lambda: self.side, label="Profile", at_once=True,
        )  # fmt: skip
        self._spectra = Spectra(session, self._picked)
        self._energies = Energies(session, lambda: not self._image.settled)
        self._regions = Regions(session)
        self._colors = pmui.RangeSlider(label="Colours", visible=False, **CHOICE)
        self._colors.param.watch(self._recolor, "value")
        self._taps = AtOnce.from_param(session.state.view.param.tap, label="", options=TAPS, **CHOICE)
        self._line = pn.Column(
            optional(session.state.view, "line_width", "Width of the line [µm]", "one line of pixels"),
            pmui.Button(
                label="Forget the line", icon="close", variant="outlined", on_click=lambda _: self._forget_line(), **CHOICE
            ),
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self._body = pn.Column(
            self._energies,
            beside(pn.Column(self._image, self._profile, sizing_mode=None), self._spectra),
            self._spectra.shares,
            sizing_mode="stretch_width",
        )
        self._survey = View(
            session, self._want_survey, self._body, self._surveyed, label="Opening the stack", then=self._follow
        )
        self._known: Survey

    @property
    def side(self) -> int:
        """Pixels of the longer side of the image."""
        return plot_side(self.session.width, self.session.height, LinkedMap.taken[0], below=100)

    def views(self) -> list[View]:
        rest = [self._image, self._profile, *self._spectra.views()] if self._survey.settled else []
        return [self._survey, *rest]

    def calls(self) -> list[Call]:
        shown = [view.call for view in (self._image, self._profile) if view.call is not None and view.settled]
        return [*shown, *self._spectra.calls()]

    def refresh(self) -> None:
        self._survey.refresh()
        self._regions.follow()
        if self._survey.settled:
            self._follow()

    def workspace(self) -> Shown:
        return self._survey

    def controls(self) -> Shown:
        view = self.state.view.param
        return pmui.Column(
            heading("Image"),
            pmui.RadioButtonGroup.from_param(view.signal, label="", options=SIGNALS, **CHOICE),
            pmui.Select.from_param(view.image, label="Image", options=IMAGES, **CHOICE),
            pmui.Select.from_param(view.colors, label="Colour scale", options=COLORS, **CHOICE),
            self._colors,
            heading("A tap on the image picks"),
            self._taps,
            self._line,
            heading("Regions"),
            self._regions,
            heading("Spectra"),
            pmui.Switch.from_param(view.spread, label="Spread of the pixels", **CHOICE),
            pmui.Switch.from_param(view.residual, label="Residual of the fit", **CHOICE),
        )

    def _follow(self) -> None:
        """Follow the choices, once the stack is known."""
        self._energies.follow(self._known)
        self._follow_colors()
        room = workspace_width(self.session.width)
        width = rest_of_row(self.session.width, self.side + LinkedMap.taken[0])
        self._image.refresh()
        self._map.follow()
        height = self.session.ranges.frame(self.side)[1] + LinkedMap.taken[1]
        self._line.visible = self._profile.visible = self.state.view.tap == "line" or len(self.state.view.line) == 2
        self._profile.refresh()
        self._spectra.resize(width, max(height, 340), room - 40)
        self._spectra.refresh()

    def _want_survey(self) -> Call:
        return Call("surveys.survey", (plan.signal_of(plan.field_of(self.state), self.state.view.signal),))

    def _surveyed(self, survey: Survey) -> None:
        self._known = survey

    def _want_image(self) -> Call:
        view, known = self.state.view, self._known
        number = known.nearest(view.energy)
        second = self._energies.second_of(known)
        return plan.image(self.state, plan.field_of(self.state), number, known.energies[number], second, known.floor)

    def _show_image(self, image: xr.DataArray) -> None:
        self._map.resize(self.side)
        self._map.show(image, clim=self._limits(), title=self._title(image))

    def _title(self, image: xr.DataArray) -> str:
        view, known = self.state.view, self._known
        if view.image == "frame":
            return ""
        sign = {"difference": "−", "ratio": "/"}[view.image]
        ends = known.energies[known.nearest(view.energy)], self._energies.second_of(known)
        shown = f"{ends[0]:g} {known.unit} {sign} {ends[1]:g} {known.unit}"
        if view.image == "difference" or not known.floor:
            return shown
        without = f"{100 * float(image.isnull().mean()):.2g} % of the pixels have no ratio"
        return f"{shown}, where the latter is above {known.floor:g}: {without}"

    def _limits(self) -> tuple[float, float] | None:
        """Return the ends of the colour scale; None where each image has its own."""
        view = self.state.view
        if view.colors == "image" or view.image != "frame":
            return None
        return getattr(view, _LIMITS[view.signal]) or self._known.limits

    def _follow_colors(self) -> None:
        """Offer ends of the colour scale around those of the stack."""
        limits = self._limits()
        self._colors.visible = limits is not None
        if limits is None:
            return
        low, high = self._known.limits
        room = (high - low) / 2
        ends = {"start": min(low - room, limits[0]), "end": max(high + room, limits[1]), "step": room / 100}
        changed = {
            name: value for name, value in {**ends, "value": limits}.items() if getattr(self._colors, name) != value
        }
        self._colors.param.update(**changed)

    def _recolor(self, event: Any) -> None:
        if self._limits() not in (None, event.new):
            self.state.view.param.update(**{_LIMITS[self.state.view.signal]: event.new})

    def _tapped(self, place: tuple[float, float]) -> None:
        view = self.state.view
        if view.tap == "pixel":
            view.param.update(cursor=place, region="")
        else:
            view.line = [*view.line, place] if len(view.line) < 2 else [place]

    def _check(self, region: Region) -> None:
        """Add a region that was drawn, if it holds a pixel; else say so."""
        if self._image.call is not None:
            mask = call("roi.region_mask", self._image.call, region.for_xstxm())
            self.session.get("region", mask, lambda _: self.state.add_region(region), label="Region")

    def _picked(self) -> list[Region]:
        """Return the pixel and the regions that lie in this field, by names of their own; raise `Missing` where none does."""
        place, regions = self.state.view.cursor, self.state.regions
        cursor = [] if place is None else [Region("point", (place,), unused("pixel", [each.name for each in regions]))]
        here = [region for region in [*cursor, *regions] if self._known.holds(region.vertices)]
        if regions and not here:
            raise Missing("No region lies in this field: tap a pixel of the image, or draw a box or a lasso on it.")
        return here

    def _want_profile(self) -> Call:
        if self._image.call is None:
            raise Missing("There is no image yet.")
        return plan.profile(self.state, self._image.call)

    def _show_profile(self, profile: xr.Dataset) -> None:
        distance, mean, spread = (np.asarray(profile[name]) for name in ("distance", "profile", "profile_std"))
        band = {"low": mean - spread, "high": mean + spread} if (spread > 0).any() else {}
        self._along.resize(self.side + LinkedMap.taken[0], _PROFILE)
        self._along.show(
            [Curve("profile", distance, mean, color=CURSOR_COLOR, **band)],
            xlabel=plot.label(profile["distance"]),
            ylabel=named(profile["profile"], self._quantity()),
        )

    def _quantity(self) -> str:
        """Return the name of what the image shows."""
        view = self.state.view
        return _NAMES[view.signal if view.image == "frame" else view.image]

    def _forget_line(self) -> None:
        self.state.view.line = []
