"""Tables as coloured squares with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xstxm.plot._holoviews import holoviews, styled, tidy
from xstxm.plot._styles import require_colormap

DARK = 0.6
"""Share of the colour range from which a number is white."""


def numbered_squares(
    cells: Sequence[tuple[Any, ...]],
    values: Sequence[Any],
    *,
    top: float,
    cmap: str,
    size: int,
    axes: Sequence[Any] = ("x", "y"),
    **shared: Any,
) -> Any:
    """Return an Overlay of squares around (column, row), coloured from 0 to `top`, each with its text on it.

    `cells` are (column, row, text, value, ...), `values` the dimensions of what follows the text, the first of which is the
    colour; `shared` are options of both backends.
    """
    require_colormap(cmap)
    hv = holoviews()
    colours: dict[str, Any] = {"color": values[0].name, "cmap": cmap, "clim": (0.0, top), "colorbar": True}
    corners = [(x - 0.5, y - 0.5, x + 0.5, y + 0.5, *rest) for x, y, _, *rest in cells]
    squares = styled(
        hv.Rectangles(corners, vdims=list(values)),
        bokeh={**colours, "clabel": values[0].label, "line_color": "white", "tools": ["hover"]},
        matplotlib={**colours, "clabel": values[0].label, "edgecolor": "white"},
    )
    numbers = [
        styled(
            hv.Labels([cell[:3] for cell in cells if (cell[3] > DARK * top) == dark], list(axes), "text"),
            bokeh={"text_color": ink, "text_font_size": "11pt"},
            matplotlib={"color": ink, "size": 10},
        )
        for ink, dark in (("black", False), ("white", True))
    ]
    framed: dict[str, Any] = {"xrotation": 45, "padding": 0, **shared}
    return styled(
        hv.Overlay([squares, *numbers]),
        bokeh={**framed, "frame_width": size, "frame_height": size, "hooks": [tidy], "toolbar": "above"},
        matplotlib={**framed, "fig_inches": (size / 80 + 1.8, size / 80 + 1.2), "aspect": 1},
    )
