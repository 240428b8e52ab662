"""Phases: which phase where, its composition, and how much of each."""

from __future__ import annotations

from html import escape
from typing import Literal

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

import xstxm
from stxm_explorer.pages._parts import beside, empty, map_button, plot_pane
from stxm_explorer.session import Session
from stxm_explorer.state import ExplorerState
from stxm_explorer.viewport import plot_side
from xstxm import plot


class Phases(pn.viewable.Viewer):
    """Phase map and composition side by side, the shares in a table below."""

    def __init__(self, state: ExplorerState, session: Session) -> None:
        super().__init__()
        self._state, self._session = state, session
        self._left, self._right = pn.Column(sizing_mode=None), pn.Column(sizing_mode=None)
        self._table = pn.Column(sizing_mode=None)
        self._fade = pmui.Switch(
            label="Fade what is less sure", value=False, visible=session.param.phases.rx.is_not(None)
        )
        self._map = map_button(session)
        session.param.watch(lambda *_: self._draw(), ["phases", "stack", "mapping", "references"])
        state.param.watch(lambda *_: self._draw(), ["width", "height"])
        self._fade.param.watch(lambda *_: self._draw(), "value")
        self._draw()

    def __panel__(self) -> pn.viewable.Viewable:
        return pmui.Column(
            pmui.Row(self._map, self._fade, sizing_mode="stretch_width"),
            beside(self._left, self._right),
            self._table,
            sizing_mode="stretch_width",
        )

    def _draw(self) -> None:
        phases = self._session.phases
        if phases is None:
            self._left[:], self._right[:], self._table[:] = [empty(self._hint())], [], []
            return
        side = plot_side(self._state.width, self._state.height, taken=380, rows_below=130)
        opacity: Literal["none", "confidence"] = "confidence" if self._fade.value else "none"
        if "composition" in phases:
            other = plot.composition(phases, size=side)
        else:
            other = plot.spectra(phases, width=side, height=side, legend=False)
        self._left[:] = [plot_pane(plot.phase_map(phases, opacity=opacity, size=side))]
        self._right[:] = [plot_pane(other)]
        self._table[:] = [_table(xstxm.phase_summary(phases))]

    def _hint(self) -> str:
        if self._session.stack is None:
            return "Choose a stack on the left first, then map its phases here."
        if self._session.mapping:
            return "Mapping phases: the page stays usable meanwhile."
        if not self._state.references:
            return "Press Map phases: without references, pixels are grouped by the shape of their spectra."
        return "Press Map phases: every pixel is fitted with the references."


def _table(summary: xr.Dataset) -> pn.viewable.Viewable:
    measured = "mean_composition" in summary
    head = ["Phase", "Area fraction", *([f"Mean {summary['mean_composition'].attrs['long_name']}"] if measured else [])]
    rows = []
    for name in np.asarray(summary["phase"]):
        row = summary.sel(phase=name)
        cells = [str(name), f"{float(row['area_fraction']):.3f} ± {float(row['area_fraction_stderr']):.3f}"]
        if measured:
            error = np.hypot(row["mean_composition_stderr"], row["mean_composition_bias"])
            cells.append(f"{float(row['mean_composition']):.4f} ± {float(error):.4f}")
        rows.append(cells)
    rows.append(["of these undecided", f"{float(summary['undecided_fraction']):.3f}", *([""] if measured else [])])
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(_plain(cell) for cell in cells)} |" for cells in lines)
    return pn.pane.Markdown(table, margin=(0, 20))


def _plain(text: str) -> str:
    """Return text that is neither HTML nor a border of the table, whatever a file calls its columns."""
    return escape(text).replace("|", "&#124;")
