"""Particles: each outlined in the map and a row of the table, with profiles from the surface to the centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import lengths
from stxm_explorer.calls import Call
from stxm_explorer.figures import MapFigure, MapRanges
from stxm_explorer.figures.frames import CLEAR
from stxm_explorer.outlines import outlines
from stxm_explorer.pages.scale_parts import Part, search_choices
from stxm_explorer.parts import CHOICE, LEGEND_BELOW, Drawing, beside
from stxm_explorer.session import Session
from stxm_explorer.tables import ParticleTable
from stxm_explorer.viewport import plot_side, rest_of_row
from stxm_explorer.views import View
from xstxm import plot

_NONE = "No particle is listed: lower the least area, or list those that the edge cuts too."

_ROOM = 3
"""Width of what is seen around a chosen particle, in its diameters."""


class Particles(Part):
    """Map and table of the particles of a field, linked, and the profiles of those that are chosen."""

    title = "Particles"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._ranges, self._fitted = MapRanges(), ""
        self._map = MapFigure(self._ranges, side=self.side, tools=("tap",))
        self._map.on_pick(self._tapped)
        self._table = ParticleTable(self._chosen)
        self._profiles, self._scatter = Drawing(), Drawing()
        self._plots = beside(self._profiles, self._scatter)
        self._none = pmui.Alert(_NONE, severity="info", width=380, margin=10, visible=False)
        self._image = View(
            session, self._want_map, self._map.pane, self._show_map, look=self._look_of_map, label="Mapping"
        )
        self._rows = View(
            session, self._want_table, self._table.pane, self._show_table, look=self._look, label="Listing particles"
        )
        self._found = View(
            session,
            self._want,
            pn.Column(self._none, self._plots),
            self._show,
            look=lambda: (*self._look(), self.state.scales.relative, *self.state.scales.particles),
            label="Finding particles",
        )
        self._particles: Any = None
        self._outlines: dict[int, list[tuple[float, float]]] = {}
        self._seen: tuple[int, ...] = ()
        self._field = self.state.view.field

    @property
    def side(self) -> int:
        """Pixels of the side of the map."""
        return plot_side(self.session.width, self.session.height, MapFigure.taken[0], below=60)

    def refresh(self) -> None:
        """Follow the choices; numbers of particles are those of one field."""
        before, self._field = self._field, self.state.view.field
        if self._field != before:
            self.state.scales.particles = []
        super().refresh()
        self._follow()

    def _look(self) -> tuple[Any, ...]:
        return self.side, self.state.scales.whole

    def _look_of_map(self) -> tuple[Any, ...]:
        return self.side, lengths.shown(self.state)

    def _want(self) -> Call:
        return lengths.particles(self.state, lengths.shown(self.state))

    def _want_table(self) -> Call:
        return lengths.table(self.state, lengths.shown(self.state))

    def _want_map(self) -> Call:
        return lengths.maps(self.state)[lengths.shown(self.state)]

    def _show_map(self, maps: Any) -> None:
        image, name = maps[lengths.quantity(self.state)], lengths.shown(self.state)
        if name != self._fitted:
            self._fitted = name
            self._ranges.fit(image)
        self._map.resize(self.side)
        self._map.show(image, missing=CLEAR, title=name)

    def _show_table(self, table: Any) -> None:
        width = rest_of_row(self.session.width, self.side + MapFigure.taken[0])
        self._table.show(table, lengths.quantity(self.state), whole=self.state.scales.whole, size=(width, self.side))
        self._follow()

    def _show(self, found: Any) -> None:
        if found is not self._particles:
            self._particles, self._outlines = found, outlines(found["particle_label"])
        listed = self._listed(found)
        self._none.visible = not listed.sizes["particle"]
        self._plots.visible = not self._none.visible
        if self._none.visible:
            return
        width, height = self.frame()
        size: dict[str, Any] = {"width": width // 2, "height": height, **LEGEND_BELOW}
        profiles = plot.profiles(self._drawn(found), relative=self.state.scales.relative, **size)
        means = plot.particles(listed, y=f"particle_{lengths.quantity(self.state)}", **size)
        self._profiles.draw(profiles)
        self._scatter.draw(means)
        self._follow()

    def _listed(self, found: xr.Dataset) -> xr.Dataset:
        """Return the particles that the table lists."""
        whole = self.state.scales.whole & found["touches_edge"]
        return found.isel(particle=np.flatnonzero(~whole))

    def _drawn(self, found: xr.Dataset) -> xr.Dataset:
        """Return the chosen particles, all that the table lists where none is chosen."""
        chosen = [number for number in self.state.scales.particles if number in found["particle"].values]
        return found.sel(particle=chosen) if chosen else self._listed(found)

    def _follow(self) -> None:
        """Outline the chosen particles, and mark their rows; a new choice comes into the middle of the map."""
        chosen = tuple(number for number in self.state.scales.particles if number in self._outlines)
        self._map.mark(regions={f"{number}": self._outlines[number] for number in chosen})
        self._table.mark(chosen)
        if chosen and chosen != self._seen:
            self._centre(self._particles.sel(particle=chosen[-1]))
        self._seen = chosen

    def _centre(self, particle: xr.Dataset) -> None:
        """Move what is seen until a particle is in its middle."""
        half = _ROOM / 2 * float(particle["equivalent_diameter"])
        self._ranges.look_at(float(particle["centroid_x"]), float(particle["centroid_y"]), half)

    def _tapped(self, kind: str, vertices: Sequence[tuple[float, float]]) -> None:
        if self._particles is not None:
            ((x, y),) = vertices
            number = int(self._particles["particle_label"].sel(x=x, y=y, method="nearest"))
            self._seen = (number,)  # who tapped it sees it where it is
            self._chosen([number] if number else [])

    def _chosen(self, numbers: Sequence[int]) -> None:
        self.state.scales.particles = [*numbers]

    def views(self) -> list[View]:
        return [self._image, self._rows, self._found]

    def controls(self) -> pn.viewable.Viewable:
        scales = self.state.scales.param
        return pmui.Column(
            pmui.Checkbox.from_param(scales.whole, label="Whole particles only", **CHOICE),
            pmui.Checkbox.from_param(scales.relative, label="Relative to the mean", **CHOICE),
            *search_choices(self.state),
        )

    def workspace(self) -> pn.viewable.Viewable:
        return pn.Column(beside(self._image, self._rows), self._found)
