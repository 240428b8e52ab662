"""The size of the window, so that plots are drawn as large as there is room for."""

from __future__ import annotations

import param
from panel.custom import JSComponent

SIDEBAR = 320
_HEADER = 215
"""App bar, tabs, slider, plot toolbar, axis and margins above and below a plot, in pixels."""


class Viewport(JSComponent):
    """Invisible component that tells the size of the window, at the start and when it changes."""

    inner_width = param.Integer(0)
    inner_height = param.Integer(0)

    _esm = """
    export function render({ model }) {
      let pending = null
      const measure = () => {
        model.inner_height = window.innerHeight
        model.inner_width = window.innerWidth
      }
      const later = () => { clearTimeout(pending); pending = setTimeout(measure, 300) }
      window.addEventListener("resize", later)
      model.on("remove", () => window.removeEventListener("resize", later))
      measure()
      return document.createElement("div")
    }
    """


def plot_side(width: int, height: int, taken: int, *, beside: int = 2, rows_below: int = 0) -> int:
    """Return the side in pixels of plots that share a row; `taken` is what their axes and legends need."""
    room = (width - SIDEBAR - 56 - taken) // beside
    return max(240, min(room, height - _HEADER - rows_below, 760))
