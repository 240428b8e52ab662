"""Explore: the image at an energy, picked pixels and their spectrum over the references and the fit."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer.pages._parts import beside, empty, legend, plot_pane
from stxm_explorer.session import Session
from stxm_explorer.state import SIGNALS, ExplorerState, Region
from stxm_explorer.viewport import plot_side
from xstxm import plot

PICK = "#D55E00"


class Explore(pn.viewable.Viewer):
    """Image and spectrum side by side; the slider moves both."""

    def __init__(self, state: ExplorerState, session: Session) -> None:
        super().__init__()
        self._state, self._session = state, session
        self._slider = pmui.DiscreteSlider(
            label="Photon energy", options=[0.0], value=0.0, visible=False, sizing_mode="stretch_width", max_width=640
        )
        self._signal = pmui.RadioButtonGroup.from_param(
            state.param.signal, label="", options=SIGNALS, size="small", visible=False, margin=(18, 10), width=260
        )
        self._clear = pmui.Button(
            label="Clear selection",
            variant="outlined",
            size="small",
            margin=(18, 10),
            visible=state.param.region.rx.is_not(None),
            on_click=lambda _: session.pick(None),
        )
        self._image = pn.Column(sizing_mode=None)
        self._spectrum = pn.Column(sizing_mode=None)
        self._energy = hv.streams.Pipe(data=None)
        self._outline = hv.streams.Pipe(data=None)
        self._streams: list[Any] = []
        self._slider.param.watch(self._slide, "value")
        state.param.watch(lambda *_: self._move(), "energy")
        state.param.watch(lambda event: self._outline.send(event.new), "region")
        state.param.watch(lambda *_: self._draw(), ["signal", "width", "height"])
        session.param.watch(lambda *_: self._draw(), ["stack", "limits"])
        session.param.watch(lambda *_: self._draw_spectrum(), ["probe", "references"])
        self._draw()

    def __panel__(self) -> pn.viewable.Viewable:
        return pmui.Column(
            pmui.Row(self._slider, self._signal, self._clear, sizing_mode="stretch_width"),
            beside(self._image, self._spectrum),
            sizing_mode="stretch_width",
        )

    @property
    def side(self) -> int:
        """Pixels of a plot's side for this window."""
        return plot_side(self._state.width, self._state.height, taken=250)

    def _slide(self, event: Any) -> None:
        self._state.energy = event.new

    def _move(self) -> None:
        if self._state.energy is not None and self._session.stack is not None:
            self._slider.value = self._state.energy
            self._energy.send(self._state.energy)

    def _draw(self) -> None:
        stack = self._session.stack
        shown = stack is not None and self._state.signal in self._session.limits
        self._slider.visible = self._signal.visible = shown
        self._streams.clear()
        if shown:
            self._set_slider(stack)
            self._image[:] = [plot_pane(self._picture(stack))]
        elif stack is None:
            self._image[:] = [
                empty("Choose a stack on the left: its image appears here, with a slider over the energies.")
            ]
        else:
            self._image[:] = [
                empty("There is no optical density yet: choose an I0 on the left, or show the intensity.")
            ]
        self._draw_spectrum()

    def _set_slider(self, stack: xr.Dataset) -> None:
        axis = stack["energy"]
        energies = np.sort(np.asarray(axis, dtype=float)).tolist()
        options = {f"{energy:.2f} {axis.attrs.get('units', '')}": energy for energy in energies}
        nearest = min(energies, key=lambda energy: abs(energy - (self._state.energy or energies[0])))
        self._slider.param.update(options=options, value=nearest)

    def _picture(self, stack: xr.Dataset) -> Any:
        """Return the linked image; the tools belong to the image, the outline of the selection lies above."""
        signal, side = stack[self._state.signal], self.side
        clim = self._session.limits[self._state.signal]

        def image(data: float | None) -> Any:
            energy = self._state.energy if data is None else data
            return plot.image(
                signal, energy, clim=clim, size=side, title="", tools=["hover", "box_select", "lasso_select"]
            )

        self._energy = hv.streams.Pipe(data=self._state.energy)
        self._outline = hv.streams.Pipe(data=self._state.region)
        frames = hv.DynamicMap(image, streams=[self._energy])
        arm = 0.02 * max(float(np.ptp(np.asarray(stack[dim]))) for dim in ("x", "y"))
        outline = hv.DynamicMap(lambda data: _outline(data, arm), streams=[self._outline])
        for stream in (
            hv.streams.SingleTap(source=frames),
            hv.streams.BoundsXY(source=frames),
            hv.streams.Lasso(source=frames),
        ):
            stream.add_subscriber(self._picked)
            self._streams.append(stream)
        return frames * outline

    def _picked(self, x: Any = None, y: Any = None, bounds: Any = None, geometry: Any = None) -> None:
        if bounds is not None:
            left, bottom, right, top = bounds
            self._session.pick(Region("box", ((left, bottom), (right, top))))
        elif geometry is not None and len(geometry) > 2:
            self._session.pick(Region("polygon", tuple((x, y) for x, y in geometry)))
        elif x is not None and y is not None:
            self._session.pick(Region("point", ((x, y),)))

    def _draw_spectrum(self) -> None:
        session, side = self._session, self.side
        if session.stack is None:
            self._spectrum[:] = []
            return
        known = plot.phase_colors(session.references) if session.references is not None else {}
        look: dict[str, Any] = {"width": side, "height": side, "legend": False}
        if session.probe is not None:
            drawn = plot.spectra(session.probe.spectrum, fit=session.probe.fit, ylabel="Optical density", **look)
            entries = {"measured": plot.NEUTRAL, **known, **({"fit": plot.NEUTRAL} if session.probe.fit else {})}
        elif known:
            drawn, entries = plot.spectra(session.references, **look), known
        else:
            hint = "Tap a pixel of the image, or draw a box or a lasso: its spectrum appears here. "
            self._spectrum[:] = [empty(hint + "With references on the left, so does their fit.")]
            return
        self._spectrum[:] = [plot_pane(drawn), legend(entries, side)]


def _outline(region: Region | None, arm: float) -> Any:
    """Return the line around a region, a cross with arms of a given length for a point, or nothing."""
    lines: list[Any] = []
    if region is not None and region.kind == "point":
        ((x, y),) = region.vertices
        lines = [[(x - arm, y), (x + arm, y)], [(x, y - arm), (x, y + arm)]]
    elif region is not None:
        lines = [region.outline()]
    return hv.Path(lines).opts(backend="bokeh", color=PICK, line_width=2)
