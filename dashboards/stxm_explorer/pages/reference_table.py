"""The table of references: what is known of each, and what the user says of it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import panel as pn
import xarray as xr

from stxm_explorer.advice import ranges
from stxm_explorer.state import References
from xstxm import plot

WIDTH = 440
_ROW = 32
_STYLE = """
.tabulator .tabulator-row:hover { background-color: rgba(0, 114, 178, 0.1) !important; color: inherit !important }
.tabulator .tabulator-col-title { font-size: 12px }
.tabulator .tabulator-row .tabulator-cell { font-size: 13px }
"""


def rows_of(references: xr.Dataset, chosen: References) -> pd.DataFrame:
    """Return a row for each reference."""
    names = [str(name) for name in references["reference"].values]
    colors = plot.phase_colors(references)
    spans = ranges(references)
    return pd.DataFrame(
        {
            "used": [name not in chosen.unused for name in names],
            "color": [chosen.colors.get(name, colors[name]) for name in names],
            "name": names,
            # text, as the browser makes 0 of an empty cell of numbers
            "composition": [as_text(chosen.composition.get(name)) for name in names],
            "range": [f"{low:.4g} – {high:.4g}" if low <= high else "no data" for low, high in spans.values()],
        }
    )


def are_same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Tell whether two tables read the same."""
    texts = (frame.assign(composition=frame["composition"].map(as_text)) for frame in (one, other))
    first, second = (frame.astype(object) for frame in texts)
    return bool(first.equals(second))


def as_text(value: Any) -> str:
    """Return a number as it is written, nothing for none; other text as it is."""
    number = as_number(value)
    if math.isfinite(number):
        return f"{number:.6g}"
    return "" if value is None or isinstance(value, float) else str(value).strip()


def as_number(value: Any) -> float:
    """Return the number that was written, NaN for none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def height_of(rows: int) -> int:
    """Return the pixels that a table of so many rows takes."""
    return min(rows, 12) * (_ROW + 4) + 40


def empty_table() -> pn.widgets.Tabulator:
    """Return the table before there is anything in it."""
    return pn.widgets.Tabulator(
        pd.DataFrame(columns=["used", "color", "name", "composition", "range"]),
        titles={"used": "Use", "color": "Colour", "name": "Name", "composition": "Composition", "range": "Data (eV)"},
        widths={"used": 46, "color": 64, "composition": 100, "range": 92},
        editors={
            "used": {"type": "tickCross"},
            "color": {"type": "input", "elementAttributes": {"type": "color"}},
            "name": None,
            "composition": {"type": "input"},
            "range": None,
        },
        formatters={
            "used": {"type": "tickCross"},
            "color": {"type": "color"},
            "name": {"type": "plaintext"},
            "composition": {"type": "plaintext"},
            "range": {"type": "plaintext"},
        },
        show_index=False,
        sortable=False,
        selectable=False,
        row_height=_ROW,
        configuration={"rowHeight": _ROW, "columnDefaults": {"tooltip": True}},
        stylesheets=[_STYLE],
        layout="fit_columns",
        width=WIDTH,
        margin=(0, 10),
    )
