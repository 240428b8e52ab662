"""A row of small images, of which one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, Range1d
from bokeh.plotting import figure as Figure

from stxm_explorer.figures.frames import FigurePane, set_if_new
from stxm_explorer.figures.marks import PICK
from stxm_explorer.figures.rasters import Array, outer_edges, packed, rgb, upright
from xstxm import plot
from xstxm.plot import NEUTRAL

_SIDE, _GAP, _TEXT = 110, 10, 20
"""Pixels of a small image, between two, and for the words above."""


class StripFigure:
    """Small images in a row, each in its own colours, with words above; a tap chooses one.

    They show what there is to be looked at, so they have no axes: the chosen one is to be drawn large elsewhere.
    """

    def __init__(self) -> None:
        self.figure: Figure = Figure(
            toolbar_location=None, tools="", width=_SIDE, height=_SIDE, min_border=0, outline_line_color=None,
            background_fill_alpha=0, border_fill_alpha=0, x_range=Range1d(start=0, end=1), y_range=Range1d(start=0, end=1),
        )  # fmt: skip
        self.figure.axis.visible = False
        self.figure.grid.visible = False
        self._images = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self._words = ColumnDataSource({"x": [], "y": [], "text": []})
        self._frame = ColumnDataSource({"left": [], "right": [], "bottom": [], "top": []})
        self.figure.image_rgba(image="image", x="x", y="y", dw="dw", dh="dh", source=self._images)
        self.figure.text(
            "x", "y", "text", source=self._words, text_color=NEUTRAL, text_font_size="12px", text_baseline="bottom"
        )
        self.figure.quad(
            "left", "right", "top", "bottom", source=self._frame, fill_alpha=0, line_color=PICK, line_width=3
        )
        self.pane = FigurePane(self.figure, sizing_mode=None, margin=(4, 10))
        self._size = (0.0, 0.0)

    def show(self, images: xr.DataArray, dim: str, words: Sequence[str], *, width: int) -> None:
        """Show the images (dim, y, x) in so many pixels across. Eager."""
        extent, n = outer_edges(images.isel({dim: 0})), images.sizes[dim]
        across = min(_SIDE, (width - 20) // n - _GAP)
        up = max(round(across * extent.height / extent.width), 8)
        if up > _SIDE:
            across, up = max(round(across * _SIDE / up), 8), _SIDE
        places = [k * (across + _GAP) for k in range(n)]
        set_if_new(self.figure, width=n * (across + _GAP), height=up + _TEXT + 4)
        set_if_new(self.figure.x_range, start=-2, end=n * (across + _GAP) - 2)
        set_if_new(self.figure.y_range, start=-2, end=up + _TEXT + 2)
        self._images.data = {
            "image": [_colored(images.isel({dim: k}), (up, across)) for k in range(n)],
            "x": places, "y": [0] * n, "dw": [across] * n, "dh": [up] * n,
        }  # fmt: skip
        self._words.data = {"x": places, "y": [up + 3] * n, "text": [*words]}
        self._size = across, up

    def mark(self, number: int) -> None:
        """Frame an image, counted from zero."""
        across, up = self._size
        left = number * (across + _GAP)
        self._frame.data = {"left": [left], "right": [left + across], "bottom": [0], "top": [up]}

    def on_pick(self, callback: Callable[[int], None]) -> None:
        """Call back with the number of the image that is tapped, from zero."""

        def tapped(event: Any) -> None:
            number = int(event.x // (self._size[0] + _GAP))
            if 0 <= number < len(self._images.data["x"]):
                callback(number)

        self.figure.on_event(Tap, tapped)


def _colored(image: xr.DataArray, screen: tuple[int, int]) -> Array:
    """Return the colours (y, x) of an image, no finer than the screen."""
    steps = {dim: slice(None, None, max(image.sizes[dim] // n, 1)) for dim, n in zip(("y", "x"), screen, strict=True)}
    small = image.isel(steps)
    colors = plot.image_colors(small)
    values = upright(small).astype(float)
    shades = packed(np.array([(*rgb(color), 255) for color in (*colors.palette, colors.missing)], dtype=np.uint8))
    n = len(colors.palette)
    with np.errstate(invalid="ignore"):
        place = np.clip((values - colors.low) / (colors.high - colors.low) * n, 0, n - 1)
    return np.asarray(shades[np.where(np.isfinite(values), np.nan_to_num(place), n).astype(int)])
