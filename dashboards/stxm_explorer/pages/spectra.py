"""Spectra of the picked pixel and of the regions, over the references and the fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import panel as pn
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.figures import Curve
from stxm_explorer.linked import CURSOR_COLOR, LinkedCurves, region_colors
from stxm_explorer.parts import Table, named, with_error
from stxm_explorer.session import Session
from stxm_explorer.state import SIGNALS, Region
from stxm_explorer.views import View
from xstxm import plot

_NAMES = {signal: name for name, signal in SIGNALS.items()}
_BELOW = 180
"""Pixels that the residual is high."""


class Spectra(pn.viewable.Viewer):
    """Mean spectra with their spread, the fit, what it leaves, and the fractions.

    Parameters
    ----------
    session
        Its choices are followed.
    regions
        Returns what is picked in this field, the pixel first.
    """

    def __init__(self, session: Session, regions: Callable[[], Sequence[Region]]) -> None:
        super().__init__()
        self._session, self._state, self._regions = session, session.state, regions
        self._curves = LinkedCurves(session, width=400, height=400)
        self._left = LinkedCurves(session, width=400, height=_BELOW)
        self._left.figure.x_range = self._curves.figure.x_range
        self._fractions = Table()
        self._width, self._refreshing, self._changed = 400, False, False
        look: dict[str, Any] = {"at_once": True, "then": self._arrived}
        self.mean = View(
            session, self._want, self._curves.pane, self._redraw, look=self._look, label="Reading spectra", **look
        )
        self.fit = View(session, self._want_fit, self._left.pane, self._redraw, label="Fitting spectra", **look)
        self.shares = View(
            session, self._want_shares, self._fractions, self._tabulate,
            look=lambda: self._width, label="Fractions", at_once=True,
        )  # fmt: skip

    def __panel__(self) -> pn.viewable.Viewable:
        return pn.Column(self.mean, self.fit, sizing_mode=None, margin=0)

    def resize(self, width: int, height: int, table: int) -> None:
        """Give the curves, and the table, another size in pixels."""
        self._width = table
        for view in (self.mean, self.fit):
            view.resize(width + 16)
        self._curves.resize(width, height)
        self._left.resize(width, _BELOW)

    def refresh(self) -> None:
        """Follow the choices; what comes at once is drawn once."""
        self._refreshing = True
        try:
            self.mean.refresh()
            self.fit.refresh()
            self.shares.refresh()
        finally:
            self._refreshing = False
        self.fit.visible = self.mean.settled
        self.shares.visible = self.mean.settled and self.fit.settled
        self._left.pane.visible = self._state.view.residual
        if self._changed:
            self._changed = False
            self._draw()
        self._curves.follow()
        self._left.follow()

    def views(self) -> list[View]:
        """Return the views."""
        return [self.mean, self.fit, self.shares]

    def calls(self) -> list[Call]:
        """Return the calls behind what is seen."""
        shown = [view.call for view in self.views() if view.settled and view.call is not None]
        return [*shown, *(self._after_fit() if self.fit.settled else [])]

    def _want(self) -> Call:
        regions = self._regions()
        if not regions:
            raise Missing("Tap a pixel of the image, or draw a box or a lasso: its spectrum appears here.")
        return plan.spectra(self._state, plan.field_of(self._state), regions)

    def _want_fit(self) -> Call:
        if self._state.view.signal != "optical_density":
            raise Missing("The references are fitted to optical density.")
        if self.mean.result is not None and self.mean.result.sizes["energy"] < 2:
            raise Missing("One energy is no spectrum: there is nothing to fit.")
        fit = plan.fitted(self._state, self._want())
        if fit is None:
            raise Missing("Choose reference spectra on page Data: their fit appears here.")
        return fit

    def _want_shares(self) -> Call:
        self._want_fit()
        shares = plan.shares(self._state, self._want())
        assert shares is not None
        return shares

    def _after_fit(self) -> list[Call]:
        """Return the calls that make the fitted curves, and what is left."""
        assert self.fit.call is not None
        assert self.mean.call is not None
        residual = call("residual", self.mean.call["spectrum"], self.fit.call, name="residual")
        return [call("predict", self.fit.call, name="model"), *([residual] if self._state.view.residual else [])]

    def _look(self) -> Any:
        state = self._state
        return state.view.region, state.view.spread, state.view.residual, tuple(region_colors(state).items())

    def _redraw(self, _: Any) -> None:
        self._changed = True

    def _arrived(self) -> None:
        """Go on with what came later."""
        if not self._refreshing:
            self.refresh()

    def _draw(self) -> None:
        spectra: xr.Dataset | None = self.mean.result
        if spectra is None:
            return
        spectra = spectra.sortby("energy")
        names = [str(name) for name in spectra["region"].values]
        colors = {names[0]: CURSOR_COLOR, **region_colors(self._state)}
        curves = [self._measured(spectra.sel(region=name), colors[name]) for name in names]
        labels = {
            "xlabel": plot.label(spectra["energy"]),
            "ylabel": named(spectra["spectrum"], _NAMES[self._state.view.signal]),
        }
        fit = self.fit.result if self.fit.settled else None
        if fit is not None and [*fit["region"].values] == names:
            model, *left = (self._session.store.run(each).sortby("energy") for each in self._after_fit())
            curves += _lines(model, names, colors, "{}, fit", legend="fit") + self._scaled(fit, self._active(names))
            for each in left:
                self._left.show(
                    _lines(each, names, colors, "{}", legend=""), xlabel=labels["xlabel"], ylabel="Residual"
                )
        self._curves.show(curves, **labels)

    def _measured(self, spectrum: xr.Dataset, color: str) -> Curve:
        name, energy, mean = str(spectrum["region"].values), spectrum["energy"].values, spectrum["spectrum"].values
        spread = spectrum["spectrum_std"].values
        if not self._state.view.spread or not (spread > 0).any():
            return Curve(name, energy, mean, color=color, points=True)
        return Curve(name, energy, mean, color=color, low=mean - spread, high=mean + spread, points=True)

    def _scaled(self, fit: xr.Dataset, name: str) -> list[Curve]:
        """Return the references as the fit of one spectrum adds them."""
        known = plan.references(self._state)
        colors = plot.phase_colors(self._session.store.run(known)) if known is not None else {}
        amounts = fit["component_map"].sel(region=name)
        energy = fit["energy"].values
        return [
            Curve(
                reference, energy, float(amounts.sel(reference=reference)) * fit["reference_spectra"].sel(reference=reference).values,
                color=colors.get(reference, plot.NEUTRAL), dash="dashed",
            )
            for reference in map(str, fit["reference"].values)
        ]  # fmt: skip

    def _active(self, names: Sequence[str]) -> str:
        """Return the region that is looked at, else the first."""
        chosen = self._state.view.region
        return chosen if chosen in names else names[0]

    def _tabulate(self, phases: xr.Dataset) -> None:
        regions = [str(region) for region in phases["region"].values]
        rows = [
            [str(phase), *_told(phases["phase_fraction"], phases["phase_fraction_stderr"], phase=phase)]
            for phase in phases["phase"].values
        ]
        if "composition" in phases:
            called = plot.label(phases["composition"])
            rows.append([called, *_told(phases["composition"], phases["composition_stderr"])])
        self._fractions.write(["Fraction", *regions], rows, self._width)


def _told(values: xr.DataArray, errors: xr.DataArray, **at: Any) -> list[str]:
    """Return the numbers of all regions with their errors."""
    pairs = zip(values.sel(at).values, errors.sel(at).values, strict=True)
    return [with_error(float(value), float(error)) for value, error in pairs]


def _lines(
    spectra: xr.DataArray, names: Sequence[str], colors: Mapping[str, str], called: str, legend: str | None = None
) -> list[Curve]:
    energy = np.asarray(spectra["energy"])
    return [
        Curve(called.format(name), energy, spectra.sel(region=name).values, color=colors[name], legend=legend)
        for name in names
    ]
