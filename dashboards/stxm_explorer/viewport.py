"""The window: its size, so that plots are drawn as large as there is room for, and its address, which holds the choices."""

from __future__ import annotations

import param
from panel.custom import JSComponent

RAIL = 92
CONTROLS = 256
_BESIDE = RAIL + CONTROLS + 40
"""Pixels beside the workspace."""
_HEADER = 210
"""App bar, plot toolbar, axis, names or colour bar, and margins above and below a map, in pixels."""
_GAP = 28
"""Margins of a plot, and a scroll bar."""


class Viewport(JSComponent):
    """Invisible component: tells the size of the window, and writes the choices into its address."""

    inner_width = param.Integer(0)
    inner_height = param.Integer(0)
    query = param.String("", doc="Behind the question mark of the address.")
    page = param.String(
        "", doc="Page of the explorer; the history of the browser has the changes of page, not of choices."
    )

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
      let writing = null  // browsers take some hundred changes of the address in half a minute, and no more
      const seen = () => history.state?.page ?? model.page
      const write = () => {
        clearTimeout(writing)
        const how = seen() == model.page ? "replaceState" : "pushState"
        history[how]({ page: model.page }, "", `?${model.query}`)
      }
      const changed = () => {
        clearTimeout(writing)
        writing = setTimeout(write, seen() == model.page ? 300 : 0)
      }
      const back = () => { clearTimeout(writing); model.page = seen() }
      window.addEventListener("popstate", back)
      model.on("remove", () => window.removeEventListener("popstate", back))
      model.on("query", changed)
      if (model.query) write()
      measure()
      return document.createElement("div")
    }
    """


def workspace_width(width: int) -> int:
    """Return the pixels that a page has beside its controls."""
    return max(width - _BESIDE, 400)


def plot_side(width: int, height: int, taken: int, *, share: float = 0.58, below: int = 0) -> int:
    """Return the longer side in pixels of the frame of a map.

    Parameters
    ----------
    width, height
        Of the window.
    taken
        Pixels across that the map needs beside its frame.
    share
        Of the workspace that the map has across; a plot beside it has the rest.
    below
        Pixels above or below the map that something else takes.
    """
    room = int(share * (workspace_width(width) - 16)) - taken
    return max(220, min(room, height - _HEADER - below, 760))


def rest_of_row(width: int, taken: int) -> int:
    """Return the pixels across that a plot has beside a map that takes so many, in a window of a width."""
    return max(workspace_width(width) - taken - _GAP, 280)
