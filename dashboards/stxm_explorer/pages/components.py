"""Components: how many there are, and the map and spectrum of each."""

from __future__ import annotations

import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call
from stxm_explorer.figures import Curve, StripFigure
from stxm_explorer.figures.legends import Dash
from stxm_explorer.linked import LinkedCurves, LinkedMap
from stxm_explorer.parts import CHOICE, LEGEND_BELOW, Drawing, Table, beside, heading
from stxm_explorer.session import Session
from stxm_explorer.state import DECOMPOSITIONS, MOST_COMPONENTS
from stxm_explorer.viewport import plot_side, rest_of_row, workspace_width
from stxm_explorer.views import Page, Shown, View
from xstxm import plot

NUMBERS = {"All above the noise": 0, **{str(k): k for k in range(1, MOST_COMPONENTS + 1)}}
"""How many components there may be."""

_NAMES = {
    "pca": ("eigenimages", "eigenspectra", "explained_variance_ratio"),
    "nmf": ("component_amount", "component_spectra", "contribution"),
    "mcr": ("component_amount", "component_spectra", "contribution"),
}
"""Variables of the maps, the spectra and the shares."""

_BELOW = 250
"""Pixels that eigenvalues and shares are high."""
_TOGETHER = 7
"""Spectra that can be told apart in one plot."""


class Components(Page):
    """A map and the spectra above, eigenvalues and shares below."""

    title = "Components"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._map, self._curves = LinkedMap(session), LinkedCurves(session, width=400, height=400)
        self._number = pmui.RadioButtonGroup(label="", options=[1], value=1, size="small", margin=(4, 10))
        self._number.param.watch(self._stepped, "value")
        self._strip = StripFigure()
        self._overview: tuple[xr.Dataset | None, int] = (None, 0)
        self._strip.on_pick(self._picked)
        self._shares = Table()
        self._scree, self._said = Drawing(), pmui.Typography("", variant="body2", margin=(8, 10))
        self._eigenvalues = View(
            session, self._want_eigenvalues, pn.Column(self._said, self._scree, sizing_mode=None), self._show_scree,
            look=lambda: self._narrow, label="Decomposing the stack", then=self._follow,
        )  # fmt: skip
        body = pmui.Column(
            self._number, self._strip.pane, beside(self._map.pane, self._curves.pane),
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self._parts = View(
            session, self._want_parts, body, self._show_parts,
            look=lambda: (self.side, self.session.width, self.state.unmix.component), label="Finding components",
            width=workspace_width(session.width),
        )  # fmt: skip

    @property
    def side(self) -> int:
        """Pixels of the longer side of the map."""
        return plot_side(self.session.width, self.session.height, LinkedMap.taken[0], below=_BELOW + 110)

    @property
    def _narrow(self) -> int:
        return min(workspace_width(self.session.width) // 2, 560) - 100

    def views(self) -> list[View]:
        return [self._eigenvalues, self._parts]

    def refresh(self) -> None:
        """Follow the choices."""
        self._map.resize(self.side)
        self._eigenvalues.refresh()
        self._follow()
        self._map.follow()
        self._curves.follow()

    def controls(self) -> Shown:
        unmix = self.state.unmix.param
        return pmui.Column(
            heading("Components"),
            pmui.Select.from_param(unmix.method, label="Way to components", options=DECOMPOSITIONS, **CHOICE),
            pmui.Select.from_param(unmix.n_components, label="Number", options=NUMBERS, **CHOICE),
            pmui.Switch.from_param(unmix.center, label="Subtract the mean", margin=(4, 10)),
            pmui.IntInput.from_param(unmix.n_starts, label="Starts of NMF and MCR", **CHOICE),
            pmui.IntInput.from_param(unmix.seed, label="Seed", **CHOICE),
        )

    def workspace(self) -> Shown:
        return pmui.Column(self._parts, beside(self._eigenvalues, self._shares), sizing_mode="stretch_width")

    def _follow(self) -> None:
        """Show what needs to know how many components there are."""
        self._parts.visible = self._eigenvalues.settled
        self._shares.visible = self._eigenvalues.settled
        if self._eigenvalues.settled:
            self._parts.refresh()
            self._shares.visible = self._parts.settled

    def _want_eigenvalues(self) -> Call:
        return plan.pca(self.state, plan.field_of(self.state))

    def _want_parts(self) -> Call:
        return plan.resolved(self.state, plan.field_of(self.state))

    def _stepped(self, event: object) -> None:
        self.state.unmix.component = int(self._number.value)

    def _picked(self, number: int) -> None:
        self.state.unmix.component = number + 1

    def _show_scree(self, found: xr.Dataset) -> None:
        above, all_of_them = int(found["suggested_components"]), found.sizes["rank"]
        self._said.object = f"{above} of {all_of_them} eigenvalues lie above the noise floor."
        drawing = plot.scree(found, width=self._narrow, height=_BELOW - 100, **LEGEND_BELOW)
        self._scree.draw(drawing)

    def _show_parts(self, found: xr.Dataset) -> None:
        maps, spectra, shares = (found[name] for name in _NAMES[self._kind(found)])
        numbers = [int(number) for number in found["component"].values]
        chosen = min(self.state.unmix.component, numbers[-1])
        self._number.param.update(options=numbers, value=chosen)
        self._show_all(found, maps, shares)
        self._strip.mark(chosen - 1)
        share = f"{100 * float(shares.sel(component=chosen)):.3g} %"
        self._map.show(maps.sel(component=chosen), title=f"Component {chosen}: {share}")
        self._curves.resize(
            rest_of_row(self.session.width, self.side + LinkedMap.taken[0]),
            self.session.ranges.frame(self.side)[1] + LinkedMap.taken[1],
        )
        self._curves.show(
            _curves(spectra.sortby("energy"), chosen), xlabel=plot.label(found["energy"]), ylabel=plot.label(spectra)
        )
        self._shares.write(*_shares(found, shares), self._narrow)

    def _show_all(self, found: xr.Dataset, maps: xr.DataArray, shares: xr.DataArray) -> None:
        """Show the maps of all components, where they are others than before."""
        width = workspace_width(self.session.width)
        if self._overview[0] is not found or self._overview[1] != width:
            self._overview = (found, width)
            words = [f"{int(one['component'])}: {100 * float(one):.2g} %" for one in shares]
            self._strip.show(maps, "component", words, width=width)

    def _kind(self, found: xr.Dataset) -> str:
        return "pca" if "eigenimages" in found else "nmf"


def numbered_colors(array: xr.DataArray, dim: str) -> list[str]:
    """Return a colour of the palette for each number along a dimension."""
    return [*plot.phase_colors(array.drop_vars(dim).rename({dim: "phase"}).to_dataset(name="all")).values()]


def _curves(spectra: xr.DataArray, chosen: int) -> list[Curve]:
    """Return the spectra, that of the chosen component as a solid line; only this one where there are many."""
    energy, colors = spectra["energy"].values, numbered_colors(spectra, "component")
    curves = []
    for one, color in zip(spectra, colors, strict=True):
        number = int(one["component"])
        if number == chosen or spectra.sizes["component"] <= _TOGETHER:
            dash: Dash = "solid" if number == chosen else "dotted"
            curves.append(Curve(f"component {number}", energy, one.values, color=color, dash=dash))
    return curves


def _shares(found: xr.Dataset, shares: xr.DataArray) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: the share of each component, and of those of several starts how sure its spectrum is."""
    rows = [[str(int(one["component"])), f"{100 * float(one):.3g} %"] for one in shares]
    head = ["Component", "Share of the signal"]
    if "component_angle" in found:
        head.append("Angle to another start")
        for row, angle in zip(rows, found["component_angle"].values, strict=True):
            row.append("–" if angle != angle else f"{angle:.2g}°")
    return head, rows
