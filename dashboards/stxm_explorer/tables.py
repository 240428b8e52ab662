"""The table of particles: sorted as one likes, its rows known by the number of the particle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import panel as pn
from bokeh.models.widgets.tables import BooleanFormatter, NumberFormatter

from xstxm import plot


class ParticleTable:
    """Rows of numbers, one for each particle; who clicks one chooses it.

    Parameters
    ----------
    chosen
        Takes the numbers of the particles whose rows were chosen.
    """

    def __init__(self, chosen: Callable[[Sequence[int]], None]) -> None:
        self._take, self._marking = chosen, False
        self.pane = pn.widgets.Tabulator(
            pd.DataFrame(),
            disabled=True,
            selectable=True,
            show_index=True,
            layout="fit_data_table",
            theme="materialize",
            sizing_mode=None,
            margin=(10, 8),
        )
        self.pane.param.watch(self._selected, "selection")

    def show(self, table: pd.DataFrame, quantity: str, *, whole: bool, size: tuple[int, int]) -> None:
        """List the particles of a result of `xstxm.particle_table`, those that the edge cuts only where asked for."""
        listed = table[~table["touches_edge"]] if whole else table
        names = _columns(listed, quantity)
        rows = listed[[*names]].rename_axis("No.")
        rows.index = rows.index.astype(int)
        self._marking = True
        try:
            self.pane.param.update(
                value=rows,
                selection=[],
                titles=names,
                formatters={name: _format(rows[name]) for name in names},
                width=max(size[0], 320),
                height=size[1],
            )
        finally:
            self._marking = False

    def mark(self, numbers: Sequence[int]) -> None:
        """Mark the rows of some particles."""
        places = [place for place, number in enumerate(self.pane.value.index) if number in numbers]
        if places != [*self.pane.selection]:
            self._marking = True
            try:
                self.pane.selection = places
            finally:
                self._marking = False

    def _selected(self, event: Any) -> None:
        if not self._marking:
            self._take([int(self.pane.value.index[place]) for place in event.new])


def _columns(table: pd.DataFrame, quantity: str) -> dict[str, str]:
    """Return the columns that matter, with titles that say their units."""
    titles = {
        "particle_area": "Area",
        "equivalent_diameter": "Diameter",
        f"particle_{quantity}": quantity.capitalize(),
        f"particle_{quantity}_stderr": "± noise",
        f"{quantity}_spread": "Spread",
        "core_shell_difference": "Core − shell",
        "aspect_ratio": "Aspect",
        "touches_edge": "Cut",
    }
    found = {}
    for name, title in titles.items():
        column = next((column for column in table.columns if column.split(" [")[0] == name), None)
        if column is not None and not (name == "touches_edge" and not table[column].any()):
            unit = plot.pretty_units(column.partition(" [")[2].rstrip("]"))
            found[column] = f"{title} [{unit}]" if unit else title
    return found


def _format(column: pd.Series[Any]) -> Any:
    """Return a format with three digits of what is typical of a column."""
    if column.dtype.kind != "f":
        return BooleanFormatter()
    typical = float(column.abs().median())
    digits = max(2 - math.floor(math.log10(typical)), 0) if math.isfinite(typical) and typical > 0 else 3
    return NumberFormatter(format=f"0.{'0' * digits}" if digits else "0", text_align="right")
