"""The parts of page Length scales that compare fields: maps side by side, variance split, blocks, correlation."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer import lengths, readings
from stxm_explorer.calls import Call, Missing
from stxm_explorer.figures import MapFigure, MapRanges
from stxm_explorer.figures.frames import CLEAR, PLOT_LEFT
from stxm_explorer.figures.rasters import outer_edges
from stxm_explorer.length_curve import LengthCurve
from stxm_explorer.parts import CHOICE, LEGEND_BELOW, Drawing, Table, beside, heading, optional
from stxm_explorer.session import Session
from stxm_explorer.state import FRAMES, QUANTITIES, WEIGHTS, ExplorerState
from stxm_explorer.viewport import plot_side, rest_of_row, workspace_width
from stxm_explorer.views import Page, View
from xstxm import plot

_WORDS = {variable: name.lower() for name, variable in QUANTITIES.items()}

_WIDE = 1000
"""Pixels of the workspace from which on three maps stand in a row."""
_ABOVE = 110
"""Pixels above the drawings: tabs, and what they say in words."""
_LARGEST, _SMALLEST = 900, 150
"""Pixels of the side of a map of a field; in smaller ones nothing can be read."""
_BAR, _AXIS = 120, 80
"""Pixels that the colour bar takes, and the axis of each map."""


def phase_names(session: Session) -> list[str]:
    """Return the names of the phases, as far as a map is there to tell them."""
    found = [session.store.ready(call) for call in lengths.phases(session.state).values()]
    return list(dict.fromkeys(str(name) for phases in found if phases is not None for name in phases["phase"].values))


def called(session: Session) -> str:
    """Return the quantity that is compared, in words."""
    quantity = lengths.quantity(session.state)
    if quantity != "fraction":
        return _WORDS[quantity]
    return f"fraction of {session.state.scales.phase or next(iter(phase_names(session)), 'the first phase')}"


def count_choice(state: ExplorerState) -> pn.viewable.Viewable:
    """Return the choice of the fields that do not count."""
    labels = dict.fromkeys([*(field.label for field in state.fields), *state.scales.left_out])
    left_out = state.scales.param.left_out
    look = {"sizing_mode": "stretch_width", "margin": CHOICE["margin"]}
    return pmui.MultiChoice.from_param(left_out, label="Fields left out", options=[*labels], **look)


def search_choices(state: ExplorerState) -> list[pn.viewable.Viewable]:
    """Return the choices of how particles are found."""
    scales = state.scales
    return [
        heading("Particles"),
        pmui.FloatSlider.from_param(scales.param.max_neck, label="Widest neck", **CHOICE),
        optional(scales, "min_area", "Least area [µm²]", "that of 9 pixels"),
        optional(scales, "min_amount", "Least amount of sample", "found from the map"),
    ]


class Part(Page):
    """What one tab shows, with choices of its own."""

    def said(self) -> pn.pane.Markdown:
        """Return a place for what the result says in words."""
        return pn.pane.Markdown("", width=min(workspace_width(self.session.width) - 40, 900), margin=(0, 10))

    def frame(self) -> tuple[int, int]:
        """Return width and height of a plot with text above, and a legend beside it or below."""
        room = workspace_width(self.session.width) - 330
        return min(max(room, 300), 640), max(220, min(self.session.height - 520, 440))


class Fields(Part):
    """The maps of all fields side by side."""

    title = "Fields"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._maps = Drawing()
        self._view = View(session, self._want, self._maps, self._show, look=self._look, label="Mapping all fields")

    def _want(self) -> Call:
        return lengths.tree(self.state)

    def _look(self) -> tuple[Any, ...]:
        return self.state.scales.labels, self.state.scales.scale, self.session.width, self.session.height

    def _show(self, tree: Any) -> None:
        columns = min(len(tree), 3 if workspace_width(self.session.width) > _WIDE else 2)
        size = self._size(tree, columns)
        signal = "phase_label" if self.state.scales.labels else lengths.quantity(self.state)
        drawing = plot.fields(tree, signal, scale=self.state.scales.scale, columns=columns, size=size)
        self._maps.draw(drawing)

    def _size(self, tree: Any, columns: int) -> int:
        """Return the pixels of the longest side of all maps, with which a row of them fills the workspace."""
        edges = [outer_edges(field["phase_label"]) for field in tree.children.values()]
        sides = [max(edge.width, edge.height) for edge in edges]
        scale = [max(sides)] * len(edges) if self.state.scales.scale == "common" else sides
        wide = [edge.width / side for edge, side in zip(edges, scale, strict=True)]
        tall = max(edge.height / side for edge, side in zip(edges, scale, strict=True))
        across = workspace_width(self.session.width) - _BAR - columns * _AXIS
        upwards = self.session.height - 2 * _ABOVE - _AXIS
        fitting = (
            size
            for size in range(_LARGEST, _SMALLEST, -10)
            if sum(max(size * max(wide[k::columns]), _SMALLEST) for k in range(columns)) <= across
            and size * tall <= upwards
        )
        return next(fitting, _SMALLEST)

    def views(self) -> list[View]:
        return [self._view]

    def controls(self) -> pn.viewable.Viewable:
        scales = self.state.scales.param
        return pmui.Column(
            heading("Maps"),
            pmui.Select.from_param(scales.scale, label="Frames", options=FRAMES, **CHOICE),
            pmui.Checkbox.from_param(scales.labels, label="Draw the phases", **CHOICE),
        )

    def workspace(self) -> View:
        return self._view


class Variance(Part):
    """The variance split within particles, between particles and between fields."""

    title = "Variance"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._said, self._bars = self.said(), Drawing()
        self._numbers = Table()
        body = pn.Column(self._said, self._bars, self._numbers)
        self._view = View(session, self._want, body, self._show, look=self.frame, label="Splitting the variance")

    def _want(self) -> Call:
        return lengths.heterogeneity(self.state)

    def _show(self, split: Any) -> None:
        width, height = self.frame()
        self._said.object = readings.of_split(split, called(self.session))
        self._bars.draw(plot.variance_split(split, width=min(width, 560), height=height))
        head, *rows = readings.split_rows(split)
        self._numbers.write(head, rows, workspace_width(self.session.width) - 40)

    def views(self) -> list[View]:
        return [self._view]

    def controls(self) -> pn.viewable.Viewable:
        weights = self.state.scales.param.weights
        return pmui.Column(
            count_choice(self.state),
            pmui.Select.from_param(weights, label="What counts the same", options=WEIGHTS, **CHOICE),
            *search_choices(self.state),
        )

    def workspace(self) -> View:
        return self._view


class Blocks(Part):
    """The variance that is left in larger and larger blocks, and the map in blocks of a length."""

    title = "Coarse-graining"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._said, self._curve = self.said(), LengthCurve(self._choose)
        self._ranges, self._fitted = MapRanges(), ""
        self._map = MapFigure(self._ranges, side=self.side, tools=())
        self._sides: list[float] = [0.0]
        self._coarse: Any = None
        self._slider = pmui.DiscreteSlider(label="Side of a block [µm]", options=self._sides, width=240, margin=(4, 20))
        self._slider.param.watch(lambda event: self._choose(event.new), "value_throttled")
        self._curves = View(
            session, self._want, self._curve.pane, self._show, look=self._look, label="Averaging blocks"
        )
        self._image = View(
            session, self._want_map, self._map.pane, self._show_map, look=self._look_of_map, label="Mapping blocks"
        )

    @property
    def side(self) -> int:
        """Pixels of the side of the map, and of the curve beside it."""
        return plot_side(self.session.width, self.session.height, MapFigure.taken[0], share=0.5, below=_ABOVE)

    @property
    def length(self) -> float:
        """Side of the blocks in um: that of the curve which is nearest to the chosen one."""
        chosen = self.state.scales.length
        wanted = 4 * self._sides[0] if chosen is None else chosen
        return min(self._sides, key=lambda side: abs(side - wanted))

    def refresh(self) -> None:
        """Follow the choices."""
        super().refresh()
        if self._curves.result is None:
            self._coarse = None
        self._said.visible = self._coarse is not None
        self._follow()

    def _want(self) -> Call:
        return lengths.coarse_grain(self.state)

    def _look(self) -> tuple[Any, ...]:
        return self.side, self.state.view.field

    def _look_of_map(self) -> tuple[Any, ...]:
        return self.side, lengths.shown(self.state)

    def _show(self, coarse: Any) -> None:
        self._coarse, self._said.visible = coarse, True
        width = rest_of_row(self.session.width, self.side + MapFigure.taken[0])
        self._curve.show(coarse, width - PLOT_LEFT, self.side)
        self._sides = lengths.sides(coarse, lengths.shown(self.state)) or [0.0]
        self._image.refresh()
        self._follow()

    def _want_map(self) -> Call:
        name = lengths.shown(self.state)
        if name not in lengths.counted(self.state):
            raise Missing(f"{name} is left out: let it count, or look at another field.")
        phases = self.session.store.ready(lengths.phases(self.state)[name])
        if phases is None or not self.length:
            raise Missing("The map in blocks comes with the curve.")
        return lengths.blocks(self.state, name, lengths.factors(phases, self.length))

    def _show_map(self, image: Any) -> None:
        name = lengths.shown(self.state)
        if name != self._fitted:
            self._fitted = name
            self._ranges.fit(self.session.store.ready(lengths.phases(self.state)[name])["phase_label"])
        self._map.resize(self.side)
        self._map.show(image, missing=CLEAR, title=f"{name}, {self.length:.3g} µm")

    def _follow(self) -> None:
        self._map.mark(self.state.view.cursor)
        if self._coarse is None or not self.length:
            self._said.object = ""
            return
        self._curve.mark(self.length)
        self._slider.param.update(options=self._sides, value=self.length)
        self._said.object = readings.of_blocks(
            self._coarse, lengths.shown(self.state), self.length, called(self.session)
        )

    def _choose(self, length: float) -> None:
        if abs(length - self.length) > 1e-9:
            self.state.scales.length = length

    def views(self) -> list[View]:
        return [self._curves, self._image]

    def controls(self) -> pn.viewable.Viewable:
        return pmui.Column(count_choice(self.state), heading("Map in blocks"), self._slider)

    def workspace(self) -> pn.viewable.Viewable:
        return pn.Column(self._said, beside(self._curves, self._image))


class Correlation(Part):
    """The distance over which pixels resemble each other."""

    title = "Correlation"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._said, self._curves = self.said(), Drawing()
        body = pn.Column(self._said, self._curves)
        self._view = View(session, self._want, body, self._show, look=self.frame, label="Correlating pixels")

    def _want(self) -> Call:
        return lengths.correlation_length(self.state)

    def _show(self, found: Any) -> None:
        width, height = self.frame()
        within = self.state.scales.in_particles
        self._said.object = readings.of_lengths(found, called(self.session), within=within)
        self._curves.draw(plot.autocovariance(found, width=width, height=height, **LEGEND_BELOW))

    def views(self) -> list[View]:
        return [self._view]

    def controls(self) -> pn.viewable.Viewable:
        scales = self.state.scales
        return pmui.Column(
            count_choice(self.state),
            pmui.Checkbox.from_param(scales.param.in_particles, label="Within particles", **CHOICE),
            pmui.Checkbox.from_param(scales.param.together, label="All fields together", **CHOICE),
            *search_choices(self.state),
        )

    def workspace(self) -> View:
        return self._view
