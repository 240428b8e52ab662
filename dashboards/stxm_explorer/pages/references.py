"""References: which spectra, their compositions and colours, and how well they are told apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr
from bokeh.models import ColumnDataSource

from stxm_explorer import plan
from stxm_explorer.advice import told_apart, uncovered
from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.figures import Curve
from stxm_explorer.linked import LinkedCurves
from stxm_explorer.messages import verbatim
from stxm_explorer.pages.reference_table import (
    WIDTH,
    are_same,
    as_number,
    as_text,
    empty_table,
    height_of,
    rows_of,
)
from stxm_explorer.parts import Drawing, heading
from stxm_explorer.session import Session
from stxm_explorer.viewport import workspace_width
from stxm_explorer.views import View
from xstxm import plot
from xstxm.errors import OptionError
from xstxm.plot import NEUTRAL

_ADVICE, _HEIGHT = 760, 340
"""Pixels that words are wide, and curves are high."""
_TYPICAL = "typical counts"
"""Work that finds the counts of which the sentence speaks."""
_NONE_YET = (
    "Choose spectra of the substances that may be there: on the left, or under Files, Spectra. "
    "Without any, the page Unmix finds spectra in the stack itself."
)


class References(pn.viewable.Viewer):
    """The spectra with what is known of them, beside the energies of the field that is shown."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session, self.state = session, session.state
        self.table = empty_table()
        self.table.on_edit(self._edit)
        self.curves = LinkedCurves(session, width=self._width, height=_HEIGHT)
        self.shade = ColumnDataSource({"low": [], "high": []})
        self.curves.figure.vstrip(
            "low", "high", source=self.shade, fill_color=NEUTRAL, fill_alpha=0.12, line_color=None, level="underlay"
        )
        self.advice = pn.Column(sizing_mode=None)
        self.squares = Drawing()
        self.sentence = pn.pane.Markdown(width=_ADVICE, margin=(0, 10))
        self._spectra: xr.Dataset | None = None
        self._energy: xr.DataArray | None = None
        self.problems: list[str] = []
        self.read = View(session, self._all, self.table, self._list, look=self._details, label="Reading references")
        self.drawn = View(
            session,
            self._used,
            self.curves.pane,
            self._draw,
            label="Drawing references",
            then=lambda: self.apart.refresh(),
        )
        self.cover = View(
            session, self._selected, self.advice, self._compare,
            look=lambda: plan.field_of(self.state).label, label="Reading energies", then=lambda: self.apart.refresh(),
        )  # fmt: skip
        self._told = pn.Column(self.sentence, sizing_mode=None)
        self.apart = View(session, self._distinguished, self._told, self._tell, label="Telling references apart")

    def __panel__(self) -> pn.viewable.Viewable:
        return pn.Column(
            pn.Row(self.read, self.drawn),
            self.cover,
            heading("How well they are told apart"),
            self.apart,
            sizing_mode="stretch_width",
        )

    def views(self) -> list[View]:
        """Return the views; without references there is one, which says what to do."""
        chosen = self.state.references
        some = chosen.in_memory or chosen.files or chosen.uploads or chosen.internal
        return [self.read, self.drawn, self.cover, self.apart] if some else [self.read]

    def refresh(self) -> None:
        """Follow the choices."""
        self.curves.resize(self._width, _HEIGHT)
        for view in (self.read, self.drawn, self.cover, self.apart):
            view.refresh()
        self.curves.follow()

    @property
    def _width(self) -> int:
        return max(min(workspace_width(self.session.width) - WIDTH - 40, 640), 340)

    def _all(self) -> Call:
        known = plan.reference_spectra(self.state)
        if known is None:
            raise Missing(_NONE_YET)
        return known

    def _used(self) -> Call:
        known = plan.references(self.state)
        if known is None or (self.state.references.names and not self.state.references.used):
            raise Missing("The spectra that are used are drawn here, over the energies of the stack.")
        return known

    def _selected(self) -> Call:
        self._used()
        if self.state.field is None:
            raise Missing("Open a stack under Files: then this says whether the spectra have data at its energies.")
        return plan.selected(self.state.field)

    def _distinguished(self) -> Call:
        if self.state.field is None:
            raise Missing("Open a stack under Files: references are told apart at its energies.")
        stack = self.cover.result if self.cover.settled else None
        if stack is None:
            raise Missing("They are told apart once the energies of the stack are known.")
        wanted = plan.distinguished(self.state, self.state.field, counted=_is_counted(stack))
        if self.problems:
            raise Missing("They are told apart where all of them have data: see above.")
        return wanted

    def _details(self) -> Any:
        chosen = self.state.references
        return [*chosen.unused], {**chosen.composition}, {**chosen.colors}

    def _list(self, references: xr.Dataset) -> None:
        names = [str(name) for name in references["reference"].values]
        self.session.name_references(references)
        rows = rows_of(references, self.state.references)
        if not are_same(rows, self.table.value):  # a table that is drawn anew forgets the cell that is being edited
            self.table.param.update(value=rows, height=height_of(len(names)))

    def _edit(self, event: Any) -> None:
        """Take what was changed in the table, with all that it shows, which the files may have said."""
        chosen, frame = self.state.references, self.table.value
        name = frame["name"].iloc[event.row]
        if event.column == "used":
            kept = [other for other in chosen.unused if other != name]
            chosen.unused = kept if event.value else [*kept, name]
        elif event.column == "composition":
            numbers = dict(zip(frame["name"], map(as_number, frame["composition"]), strict=True))
            if as_text(event.value) and not math.isfinite(as_number(event.value)):
                self.session.report(OptionError("composition", str(event.value)[:40], "write a number, or nothing"))
                self.table.value = rows_of(self._spectra, chosen) if self._spectra is not None else frame
            else:
                chosen.composition = {one: number for one, number in numbers.items() if math.isfinite(number)}
        elif event.column == "color":
            chosen.colors = {**dict(zip(frame["name"], frame["color"], strict=True)), name: event.value}

    def _draw(self, references: xr.Dataset) -> None:
        energy, colors = np.asarray(references["energy"], dtype=float), plot.phase_colors(references)
        curves = [
            Curve(name, energy[known := np.isfinite(spectrum)], spectrum[known], color=color)
            for (name, color), spectrum in zip(colors.items(), references["absorption"].values, strict=True)
        ]
        axes = {"xlabel": plot.label(references["energy"]), "ylabel": plot.label(references["absorption"])}
        self.curves.show(curves, **axes)
        self._spectra = references
        self._advise()

    def _compare(self, stack: xr.Dataset) -> None:
        self._energy = stack["energy"]
        self._advise()

    def _advise(self) -> None:
        """Say whether the references cover the energies of the field, and shade these."""
        if self._spectra is None or self._energy is None or self.state.field is None:
            return
        label, values = self.state.field.label, np.asarray(self._energy, dtype=float)
        self.problems = uncovered(self._spectra, self._energy, label)
        self.shade.data = {"low": [float(values.min())], "high": [float(values.max())]}
        covered = f"Shaded: the energies of {label}, at which all of the spectra have data."
        warnings: list[Any] = [
            pmui.Alert(verbatim(text), severity="warning", width=_ADVICE, margin=(4, 10)) for text in self.problems
        ]
        self.advice[:] = warnings or [pmui.Typography(verbatim(covered), variant="body2", margin=(0, 10))]

    def _tell(self, result: xr.Dataset) -> None:
        assert self.apart.call is not None
        counts, label = self.apart.call.options["counts"], plan.field_of(self.state).label

        def tell(typical: Any) -> None:
            self.sentence.object = told_apart(result, float(typical), label)

        self.session.jobs.stop(_TYPICAL)
        if isinstance(counts, Call):
            self.sentence.object = ""
            median = call(".median", counts, name="typical counts")
            self.session.get(_TYPICAL, median, tell, label="Reading I0", at_once=True)
        else:
            self.sentence.object = told_apart(result, counts)
        if result.sizes["reference"] < 3:  # of one pair the sentence says it all
            self._told[:] = [self.sentence]
            return
        size = max(44 * result.sizes["reference"], 280)
        self.squares.draw(plot.distinguishability(result, size=size, toolbar=None, active_tools=[]))
        self._told[:] = [self.sentence, self.squares]


def _is_counted(stack: xr.Dataset) -> bool:
    """Tell whether the signal of a stack is counts, as its I0 then is."""
    return "intensity" in stack and stack["intensity"].attrs.get("units") == "count"
