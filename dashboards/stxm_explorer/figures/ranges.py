"""What is seen of a field: the ranges that all its maps share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr
from bokeh.document import Document
from bokeh.models import Range1d

from stxm_explorer.figures.rasters import Window, outer_edges

_REST = 60
"""Milliseconds in which the zooming of a wheel is gathered before the maps are drawn anew."""
_FLATTEST = 1 / 4
"""Shortest side of a frame, in its longer side; a line of pixels lies in the middle of it."""


class MapRanges:
    """The ranges of x and y that the maps of a field share: who zooms into one zooms into all."""

    def __init__(self) -> None:
        self.x, self.y = Range1d(start=0.0, end=1.0), Range1d(start=0.0, end=1.0)
        self.extent: Window | None = None
        """Outer edges of the pixels, once an image was fitted."""
        self._whole = Window(0.0, 0.0, 1.0, 1.0)
        self._watchers: list[Callable[[], None]] = []
        self._waiting = False

    def fit(self, image: xr.DataArray) -> None:
        """Show all of an image (y, x); the reset button comes back to this."""
        self.extent = outer_edges(image)
        self._whole = whole = _not_too_flat(self.extent)
        self.x.update(start=whole.left, end=whole.right, reset_start=whole.left, reset_end=whole.right)
        self.y.update(start=whole.bottom, end=whole.top, reset_start=whole.bottom, reset_end=whole.top)
        self._changed()

    def look_at(self, x: float, y: float, half: float) -> None:
        """Show what lies around a place, at least as far as `half` in each direction, and nothing beyond the image."""
        whole = self._whole
        share = min(2 * half / min(whole.width, whole.height), 1)
        across, upwards = share * whole.width / 2, share * whole.height / 2
        x = min(max(x, whole.left + across), whole.right - across)
        y = min(max(y, whole.bottom + upwards), whole.top - upwards)
        self.x.update(start=x - across, end=x + across)
        self.y.update(start=y - upwards, end=y + upwards)
        self._changed()

    def forget(self) -> None:
        """Have the next map show all of its image: it is of another field."""
        self.extent = None

    @property
    def view(self) -> Window:
        """What is seen now."""
        ends: list[Any] = [self.x.start, self.y.start, self.x.end, self.y.end]
        return Window(*map(float, ends))

    def frame(self, side: int) -> tuple[int, int]:
        """Return width and height in pixels of a frame whose longer side is given, as long per unit in x as in y."""
        scale = side / max(self._whole.width, self._whole.height)
        return max(round(self._whole.width * scale), 1), max(round(self._whole.height * scale), 1)

    def watch(self, callback: Callable[[], None]) -> None:
        """Call back when something else is seen."""
        self._watchers.append(callback)

    def zoomed(self, document: Document | None) -> None:
        """Tell that somebody zoomed or panned; many such events in a row are one."""
        if document is None:
            self._changed()
        elif not self._waiting:
            self._waiting = True
            document.add_timeout_callback(self._settled, _REST)

    def _settled(self) -> None:
        self._waiting = False
        self._changed()

    def _changed(self, *_: Any) -> None:
        for callback in self._watchers:
            callback()


def _not_too_flat(extent: Window) -> Window:
    """Return a window about an extent, wider where that is a line of pixels."""
    side = max(extent.width, extent.height) * _FLATTEST
    more_x, more_y = (max(side - length, 0) / 2 for length in (extent.width, extent.height))
    return Window(extent.left - more_x, extent.bottom - more_y, extent.right + more_x, extent.top + more_y)
