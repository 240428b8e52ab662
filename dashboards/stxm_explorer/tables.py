"""The table of particles: sorted as one likes, its rows known by the number of the particle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pandas as pd
import panel as pn
from bokeh.models.widgets.tables import BooleanFormatter, NumberFormatter

from xstxm import plot

_NUMBER = "number"
_LOOK = """
:host .tabulator { font-size: 12px !important }
:host .tabulator .tabulator-header .tabulator-col { font-size: 12px !important }
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-content { padding: 2px 4px !important }
:host .tabulator .tabulator-header .tabulator-col .tabulator-col-title { padding-right: 14px !important }
"""
_MEANING = {
    "composition_spread": "Beyond what noise makes; below zero where noise alone would make more",
    "core_shell_difference": "Mean of the pixels deeper than half of the deepest, less that of the others",
    "touches_edge": "The edge of the field cuts it",
}
"""What the head of a column says to who rests on it."""
_WIDE = 560
"""Pixels from which on there is room for columns on the shape."""


class ParticleTable:
    """Rows of numbers, one for each particle; who clicks one chooses it.

    Parameters
    ----------
    chosen
        Takes the numbers of the particles whose rows were chosen.
    """

    def __init__(self, chosen: Callable[[Sequence[int]], None]) -> None:
        self._take, self._marking = chosen, False
        self._widget = pn.widgets.Tabulator(pd.DataFrame())
        self.pane = pn.Column(sizing_mode=None, margin=0)

    def show(self, table: pd.DataFrame, quantity: str, *, whole: bool, size: tuple[int, int]) -> None:
        """List the particles of a result of `xstxm.particle_table`, those that the edge cuts only where asked for."""
        listed = table[~table["touches_edge"]] if whole else table
        columns = _columns(listed, quantity, wide=size[0] > _WIDE)
        rows = pd.DataFrame({key: listed[column] for key, (column, _) in columns.items()})
        rows.index = pd.Index(listed.index.astype(int), name=_NUMBER)
        # another table each time: in the browser, columns that change while a table is being drawn are an error
        self._widget = pn.widgets.Tabulator(
            rows,
            titles={_NUMBER: "No.", **{key: title for key, (_, title) in columns.items()}},
            formatters={key: _format(rows[key]) for key in columns},
            header_tooltips={key: _MEANING[key] for key in columns if key in _MEANING},
            width=max(size[0], 320),
            height=size[1],
            disabled=True,
            selectable=True,
            show_index=True,
            layout="fit_columns",
            theme="materialize",
            stylesheets=[_LOOK],
            configuration={"columnDefaults": {"headerWordWrap": True, "headerHozAlign": "right"}},
            sizing_mode=None,
            margin=(10, 8),
        )
        self._widget.param.watch(self._selected, "selection")
        self.pane[:] = [self._widget]

    def mark(self, numbers: Sequence[int]) -> None:
        """Mark the rows of some particles."""
        places = [place for place, number in enumerate(self._widget.value.index) if number in numbers]
        if places != [*self._widget.selection]:
            with self._quiet():
                self._widget.selection = places

    def _selected(self, event: Any) -> None:
        if not self._marking:
            numbers = [int(event.obj.value.index[place]) for place in event.new]  # of a table that may be gone by now
            # a click on a row comes without the lock of the page, which figures need to change
            pn.state.execute(partial(self._take, numbers), schedule=True)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Change the table without taking it for a choice of the user."""
        self._marking = True
        try:
            yield
        finally:
            self._marking = False


def _columns(table: pd.DataFrame, quantity: str, *, wide: bool) -> dict[str, tuple[str, str]]:
    """Return the columns that matter and there are, by a key without signs, with titles that say their units."""
    titles = {
        "equivalent_diameter": "Diameter",
        f"particle_{quantity}": "Mean",
        f"particle_{quantity}_stderr": "± noise",
        f"{quantity}_spread": "Spread",
        "core_shell_difference": "Core − shell",
        **({"particle_area": "Area", "aspect_ratio": "Aspect ratio", "n_neighbours": "Neighbours"} if wide else {}),
    }
    if table["touches_edge"].any():
        titles["touches_edge"] = "Cut"
    found = {}
    for column in table.columns:
        name, _, unit = column.partition(" [")
        if name in titles:
            shown = plot.pretty_units(unit.rstrip("]"))
            found[name] = column, f"{titles[name]} [{shown}]" if shown else titles[name]
    return {name: found[name] for name in titles if name in found}


def _format(column: pd.Series[Any]) -> Any:
    """Return a format with two digits of what is typical of a column, and two decimals at least."""
    if column.dtype.kind != "f":
        return BooleanFormatter() if column.dtype.kind == "b" else NumberFormatter(format="0", text_align="right")
    typical = float(column.abs().median())
    known = math.isfinite(typical) and typical > 0
    digits = max(1 - math.floor(math.log10(typical)), 2) if known else 3
    return NumberFormatter(format=f"0.{'0' * digits}" if digits else "0", text_align="right")
