"""Which frames are used: the range of energies, frames that are left out, and spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing
from stxm_explorer.figures import Curve
from stxm_explorer.linked import LinkedCurves, LinkedMap
from stxm_explorer.messages import counted
from stxm_explorer.pages.steps.step import DROPPED, FIRST, FLAGGED, Measured, Step
from stxm_explorer.parts import CHOICE, beside
from stxm_explorer.session import Session
from stxm_explorer.state import Field
from stxm_explorer.views import Shown, View
from xstxm.conventions import FRAME_FLAGS
from xstxm.plot import label

WHY = {
    "not_measured": "not measured",
    "partly_measured": "measured in part",
    "no_beam": "no beam",
    "partly_dark": "dark in part",
    "constant": "the same value in all pixels",
    "outlier": "unlike its neighbours in energy",
    "duplicate_frame": "copy of the frame at {copy}",
    "duplicate_energy": "energy measured before; both frames go",
    "uncertain_shift": "shift uncertain",
}
"""What a flag of a frame means."""


class Frames(Step):
    """Energies, bad frames, spikes."""

    title = "Frames"
    choices = ("start", "stop", "dropped", "despike")

    def __init__(self, session: Session, measured: Measured) -> None:
        super().__init__(session, measured)
        self._map = LinkedMap(session, side=self.side)
        self._means = LinkedCurves(session, width=self.beside, height=self.side + 60)
        self._table = pn.widgets.Tabulator(pd.DataFrame())
        self._list = pn.Column(sizing_mode="stretch_width", margin=0)
        self._image = View(
            session, self._want_image, self._map.pane, self._show_image, label="Reading the frame", at_once=True
        )
        ticks = pmui.Typography("Tick the frames to leave out; click one to see it.", variant="body2", margin=(4, 8))
        body = pmui.Column(beside(self._image, self._means.pane), ticks, self._list, sizing_mode="stretch_width")
        self._judged = View(session, self._want, body, self._show, look=self._look, label="Looking at the frames")
        self._listed: xr.Dataset | None = None
        self._range_name = pmui.Typography("", variant="body2", margin=(4, 10, 0, 10))
        self._range = pmui.EditableRangeSlider(label="", start=0.0, end=1.0, step=0.01, **CHOICE)
        self._range.param.watch(self._limited, "value_throttled")

    @staticmethod
    def summary(field: Field) -> str:
        """Return what is left out."""
        low, high = (f"{end:g}" if end is not None else "" for end in (field.start, field.stop))
        words = [f"{low or 'lowest'} to {high or 'highest'}"] if low or high else ["all energies"]
        words += [f"{counted(len(field.dropped), 'frame')} left out"] if field.dropped else []
        return ", ".join([*words, *(["spikes replaced"] if field.despike else [])])

    def controls(self, field: Field) -> Sequence[Shown]:
        """Return the range of energies and the buttons for bad frames."""
        leave = pmui.Button(
            label="Leave out all flagged", icon="filter_alt", on_click=lambda _: self._leave_flagged(), **CHOICE
        )
        take = pmui.Button(
            label="Take all back in",
            icon="undo",
            variant="text",
            on_click=lambda _: setattr(field, "dropped", []),
            **CHOICE,
        )
        return [
            self._range_name,
            self._range,
            leave,
            take,
            pmui.Switch.from_param(field.param.despike, label="Replace spikes", **CHOICE),
        ]

    def workspace(self) -> Shown:
        """Return the frame beside the means and the list of all frames."""
        return self._judged

    def views(self) -> Sequence[View]:
        """Return the views."""
        return [self._judged, self._image]

    def refresh(self) -> None:
        """Follow the choices."""
        self._map.resize(self.side)
        self._means.resize(self.beside, self.side + 60)
        super().refresh()
        self._map.follow()
        self._means.follow()
        try:
            self._offer_range(self.measured.flags()["energy"])
        except Missing:
            self._range.disabled = True

    def _want(self) -> Call:
        return plan.frames(self.field)

    def _look(self) -> Any:
        field = self.field
        return field.start, field.stop, *field.dropped

    def _want_image(self) -> Call:
        energies = np.asarray(self.measured.flags()["energy"], dtype=float)
        wanted = self.state.view.energy
        at = 0 if wanted is None else int(np.abs(energies - wanted).argmin())
        return self.frame(plan.raw(self.field), float(energies[at]))

    def _show_image(self, image: xr.DataArray) -> None:
        self._map.show(image, title=f"{float(image['energy']):.2f} {self.measured.unit}")

    def _show(self, flags: xr.Dataset) -> None:
        mean, field = flags["frame_mean"].sortby("energy"), self.field
        energy, values = np.asarray(mean["energy"], dtype=float), np.asarray(mean, dtype=float)
        used = np.array([field.uses(float(e)) for e in energy])
        bad = np.asarray(flags["frame_quality"].sortby("energy")) != 0
        curves = [Curve("mean of the frame", energy, np.where(used, values, np.nan), color=FIRST)]
        curves += (
            [Curve("left out", energy[~used], values[~used], color=DROPPED, points=True)] if not used.all() else []
        )
        curves += [Curve("flagged", energy[bad], values[bad], color=FLAGGED, points=True)] if bad.any() else []
        self._means.show(curves, xlabel=label(flags["energy"]), ylabel=label(flags["frame_mean"]))
        if flags is not self._listed:
            self._listed = flags
            # another table: in the browser, columns that change while a table is being drawn are an error
            self._table = _table(flags)
            self._table.param.watch(self._ticked, "selection")
            self._table.on_click(self._clicked)
            self._list[:] = [self._table]
        self._tick(flags)

    def _tick(self, flags: xr.Dataset) -> None:
        energies, dropped = np.asarray(flags["energy"], dtype=float), self.field.dropped
        with self.following():
            self._table.selection = [at for at, energy in enumerate(energies) if float(energy) in dropped]

    def _offer_range(self, energy: xr.DataArray) -> None:
        low, high = float(energy.min()), float(energy.max())
        field = self.field
        with self.following():
            value = (low if field.start is None else field.start, high if field.stop is None else field.stop)
            self._range.param.update(start=low, end=max(high, low + 0.01), value=value, visible=low < high)
            self._range_name.object = (
                f"Energies in use [{self.measured.unit}]" if low < high else "One energy: there is no range."
            )

    def _limited(self, event: Any) -> None:
        if self._following or event.new is None:
            return
        low, high = event.new
        energies = np.asarray(self.measured.flags()["energy"], dtype=float)
        if not ((energies >= low) & (energies <= high)).any():
            self._offer_range(self.measured.flags()["energy"])
            self.session.report(Missing(f"No frame lies between {low:g} and {high:g}: take a wider range."))
            return
        self.field.param.update(
            start=None if low <= energies.min() else float(low), stop=None if high >= energies.max() else float(high)
        )

    def _ticked(self, event: Any) -> None:
        if not self._following:
            energies = np.asarray(self.measured.flags()["energy"], dtype=float)
            self._leave({float(energies[at]) for at in event.new})

    def _leave_flagged(self) -> None:
        flags = self.measured.flags()
        bad = flags["energy"].where(flags["frame_quality"] != 0, drop=True)
        self._leave({*self.field.dropped, *map(float, np.asarray(bad))})

    def _leave(self, dropped: set[float]) -> None:
        if not {*map(float, np.asarray(self.measured.flags()["energy"]))} - dropped:
            self.session.report(Missing("All frames would be left out: keep at least one."))
            self._tick(self.measured.flags())
        else:
            self.field.dropped = sorted(dropped)

    def _clicked(self, event: Any) -> None:
        if event.column != "_selected":
            self.state.view.energy = float(self.measured.flags()["energy"][event.row])


def _table(flags: xr.Dataset) -> pn.widgets.Tabulator:
    return pn.widgets.Tabulator(
        _listed(flags),
        selectable="checkbox",
        disabled=True,
        show_index=False,
        sortable=False,
        layout="fit_columns",
        titles={
            "energy": label(flags["energy"]),
            "mean": label(flags["frame_mean"]),
            "like": "Like its neighbours",
            "why": "What is wrong with it",
        },
        widths={"energy": 170, "mean": 220, "like": 170},
        sizing_mode="stretch_width",
        height=260,
        margin=(0, 8),
    )


def _listed(flags: xr.Dataset) -> pd.DataFrame:
    """Return a row for each frame, in the order of the file."""
    energies = np.asarray(flags["energy"], dtype=float)
    return pd.DataFrame(
        {
            "energy": [f"{energy:.2f}" for energy in energies],
            "mean": [f"{mean:.4g}" for mean in np.asarray(flags["frame_mean"])],
            "like": [f"{100 * like:.0f} %" if np.isfinite(like) else "" for like in np.asarray(flags["frame_similarity"])],
            "why": [why(int(bits), f"{energies[of]:.2f}") for bits, of in zip(np.asarray(flags["frame_quality"]), np.asarray(flags["duplicate_of"]), strict=True)],
        }
    )  # fmt: skip


def why(bits: int, copy: str = "") -> str:
    """Return in words what the flags of a frame say."""
    return "; ".join(WHY[name].format(copy=copy) for name, bit in FRAME_FLAGS.items() if bits & bit)
