"""Alignment: how far each frame has moved, and what two frames have in common before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.figures import Curve
from stxm_explorer.linked import LinkedCurves, LinkedMap
from stxm_explorer.pages.steps.step import FIRST, FLAGGED, SECOND, EnergyChoice, Measured, Step
from stxm_explorer.parts import CHOICE, beside, hint, optional
from stxm_explorer.session import Session
from stxm_explorer.state import ALIGN_TO, TRANSFORMS, Field, Region
from stxm_explorer.viewport import plot_side
from stxm_explorer.views import Shown, View
from xstxm import plot


class Alignment(Step):
    """Shifts of the frames."""

    title = "Alignment"
    choices = ("align", "align_to", "align_region", "max_shift", "transform", "crop")

    def __init__(self, session: Session, measured: Measured) -> None:
        super().__init__(session, measured)
        self._moves = LinkedCurves(session, width=self._half, height=220)
        self._likeness = LinkedCurves(session, width=self._half, height=220)
        curves = beside(self._moves.pane, self._likeness.pane)
        self._maps = [
            LinkedMap(session, side=self._side, regions=self._drawn, tools=("box", "lasso")) for _ in range(2)
        ]
        self._shifts = View(
            session, self._want_shifts, curves, self._show_shifts, label="Estimating shifts",
            then=lambda: self._after.refresh(),
        )  # fmt: skip
        self._before = View(
            session,
            lambda: self._difference(plan.cleaned(self.field)),
            self._maps[0].pane,
            self._show_before,
            label="Reading two frames",
        )
        self._after = View(
            session,
            self._want_after,
            self._maps[1].pane,
            self._show_after,
            look=lambda: self._colors,
            label="Moving frames",
        )
        self._colors: tuple[float, float] | None = None
        self._asked = ""
        self._one = EnergyChoice(self, "energy", "Energy of a frame")
        self._other = EnergyChoice(self, "second", "Energy of the other frame", otherwise=0.1)
        self._whole = pmui.Button(
            label="Use all pixels", icon="clear", variant="text", on_click=lambda _: self._drawn(None), **CHOICE
        )

    @property
    def _half(self) -> int:
        return max(self.width // 2 - 30, 320)

    @property
    def _side(self) -> int:
        return plot_side(self.session.width, self.session.height, LinkedMap.taken[0], share=0.5, below=220)

    @staticmethod
    def summary(field: Field) -> str:
        """Return whether frames are moved."""
        if not field.align:
            return "frames as measured"
        return "frames moved" + (", cut to what all cover" if field.crop else "")

    def controls(self, field: Field) -> Sequence[Shown]:
        """Return how shifts are found, and whether they are applied."""
        own = field.param
        return [
            pmui.Select.from_param(own.align_to, label="Compare each frame with", options=ALIGN_TO, **CHOICE),
            pmui.Select.from_param(own.transform, label="Frames differ by", options=TRANSFORMS, **CHOICE),
            optional(field, "max_shift", "Farthest shift [µm]", "30 % of the shorter side"),
            hint("Draw a box or lasso on a map to find shifts on these pixels only."),
            self._whole,
            pmui.Button(label="Estimate shifts", icon="play_arrow", on_click=lambda _: self._estimate(), **CHOICE),
            pmui.Switch.from_param(own.align, label="Use the aligned frames", **CHOICE),
            pmui.Switch.from_param(own.crop, label="Cut to what all frames cover", **CHOICE),
            self._one.widget,
            self._other.widget,
        ]

    def workspace(self) -> Shown:
        """Return the shifts above the difference of two frames before and after."""
        return pmui.Column(self._shifts, beside(self._before, self._after), sizing_mode="stretch_width")

    def views(self) -> Sequence[View]:
        """Return the views."""
        return [self._shifts, self._before, self._after]

    def refresh(self) -> None:
        """Follow the choices."""
        for curves in (self._moves, self._likeness):
            curves.resize(self._half, 220)
        for each in self._maps:
            each.resize(self._side)
        self._one.follow()
        self._other.follow()
        self._whole.visible = self.state.field is not None and self.field.align_region is not None
        super().refresh()
        for curves in (self._moves, self._likeness):
            curves.follow()
        for each in self._maps:
            each.mark(regions=self._outlines())

    def _outlines(self) -> dict[str, list[tuple[float, float]]]:
        region = self.state.field.align_region if self.state.field is not None else None
        return {} if region is None else {region.name: region.outline()}

    def _estimate(self) -> None:
        self._asked = self.session.store.key(plan.shifts(self.field))
        self.refresh()

    def _want_shifts(self) -> Call:
        field = self.field
        if len(self.measured.kept()) < 2:
            raise Missing("One frame is in use: there is nothing to align it with.")
        wanted = plan.shifts(field)
        key = self.session.store.key(wanted)
        if not field.align and key != self._asked and self.session.store.ready(wanted) is None:
            raise Missing("Press Estimate shifts: how far each frame has moved is shown here before anything is moved.")
        return wanted

    def _difference(self, stack: Call) -> Call:
        one, other = self._one.energy, self._other.energy
        if one == other:
            raise Missing("Choose the energies of two different frames: their difference is shown here.")
        return call("difference_map", stack, one, other, signal="intensity", name="difference")["difference"]

    def _want_after(self) -> Call:
        if self.session.store.ready(plan.shifts(self.field)) is None:
            raise Missing("The difference after the alignment is shown here once there are shifts.")
        return self._difference(plan.aligned(self.field))

    def _show_shifts(self, shifts: xr.Dataset) -> None:
        shifts = shifts.sortby("energy")
        energy = np.asarray(shifts["energy"], dtype=float)
        found = np.asarray(shifts["frame_quality"]) == 0
        curves = [_curve(shifts, axis, color) for axis, color in (("x", FIRST), ("y", SECOND))]
        likeness = np.asarray(shifts["correlation"], dtype=float)
        flags = (
            [Curve("not found", energy[~found], likeness[~found], color=FLAGGED, points=True)]
            if not found.all()
            else []
        )
        xlabel = plot.label(shifts["energy"])
        unit = plot.pretty_units(str(shifts["shift_x"].attrs["units"]))
        self._moves.show(curves, xlabel=xlabel, ylabel=f"Shift [{unit}]")
        self._likeness.show(
            [Curve("correlation", energy, likeness, color=FIRST), *flags],
            xlabel=xlabel,
            ylabel=plot.label(shifts["correlation"]),
        )

    def _show_before(self, image: xr.DataArray) -> None:
        colors = plot.image_colors(image)
        self._colors = (colors.low, colors.high)
        self._maps[0].show(image, clim=self._colors, title="As measured")

    def _show_after(self, image: xr.DataArray) -> None:
        self._maps[1].show(image, clim=self._colors, title="Aligned")

    def _drawn(self, region: Region | None) -> None:
        field = self.field
        if region is None:
            field.align_region = None
        else:
            self.take(region, "alignment", lambda held: setattr(field, "align_region", held))


def _curve(shifts: xr.Dataset, axis: str, color: str) -> Curve:
    shift, error = (np.asarray(shifts[f"shift_{axis}{end}"], dtype=float) for end in ("", "_stderr"))
    energy: Any = np.asarray(shifts["energy"], dtype=float)
    return Curve(f"{axis} ± standard error", energy, shift, color=color, low=shift - error, high=shift + error)
