"""Maps and curves that follow the choices: one cursor, one set of regions, one energy on all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from stxm_explorer.figures import CurveFigure, MapFigure
from stxm_explorer.figures.maps import Kind, Point
from stxm_explorer.figures.marks import PICK
from stxm_explorer.figures.rasters import Window
from stxm_explorer.session import Session, notify
from stxm_explorer.state import ExplorerState, Region

REGION_COLORS = ("#AA3333", "#88BB77", "#665566", "#6611FF", "#227755", "#CCAAAA", "#339944", "#3388FF")
"""None of those that references and clusters have: told apart from these, and from each other, by the colour-blind too.

The blue is last, as the first reference is blue."""

CURSOR_COLOR = PICK
"""Neither one nor the other."""


def region_colors(state: ExplorerState) -> dict[str, str]:
    """Return the colour of each region by its name, in the order in which they were drawn."""
    return {region.name: color for region, color in zip(state.regions, itertools.cycle(REGION_COLORS), strict=False)}


_FINE = 1 / 20
"""Of a pixel: places are rounded to this, so that they read well, and what a hand draws has no more corners than that needs."""


class LinkedMap(MapFigure):
    """A map on which a tap picks a pixel, and a box or a lasso makes a region.

    Parameters
    ----------
    session
        Its choices are followed, and changed.
    regions
        Takes what is drawn in place of the regions of the session.
    places
        Takes what is tapped in place of the cursor.
    """

    def __init__(
        self,
        session: Session,
        *,
        side: int = 400,
        regions: Callable[[Region], None] | None = None,
        places: Callable[[Point], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(session.ranges, side=side, **options)
        self._session = session
        self._take, self._go = regions or session.state.add_region, places or self._move
        self.on_pick(self._picked)

    def follow(self) -> None:
        """Draw the cursor, the regions and the line where they are now."""
        state = self._session.state
        self.mark(
            cursor=state.view.cursor,
            regions={region.name: region.outline() for region in state.regions},
            active=state.view.region or None,
            line=state.view.line,
            colors=region_colors(state),
        )

    def _picked(self, kind: Kind, vertices: tuple[Point, ...]) -> None:
        extent = self.ranges.extent
        region = Region(kind, tuple((float(x), float(y)) for x, y in vertices))
        if extent is None or not _overlap(region, extent):
            notify("warning", "that lies outside the image: pick inside its frame")
            return
        region = region.simplified(self.pixel * _FINE).rounded(self.pixel * _FINE)
        if kind == "point":
            self._go(region.vertices[0])
        else:
            self._take(region)

    def _move(self, place: Point) -> None:
        self._session.state.view.cursor = place


class LinkedCurves(CurveFigure):
    """Curves over the energy: a line marks the energy that is looked at, a tap chooses another."""

    def __init__(self, session: Session, *, width: int, height: int) -> None:
        super().__init__(width=width, height=height)
        self._session = session
        self.on_x(self._picked)

    def follow(self) -> None:
        """Move the line to the energy that is looked at."""
        self.mark(self._session.state.view.energy)

    def _picked(self, energy: float) -> None:
        self._session.state.view.energy = float(energy)


def _overlap(region: Region, extent: Window) -> bool:
    """Tell whether the bounding box of a region meets the image."""
    x, y = ([vertex[axis] for vertex in region.vertices] for axis in (0, 1))
    return min(x) <= extent.right and max(x) >= extent.left and min(y) <= extent.top and max(y) >= extent.bottom
