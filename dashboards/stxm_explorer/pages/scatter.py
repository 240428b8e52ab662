"""Scatter: the pixels as points in the plane of two components, linked to the map and to the regions."""

from __future__ import annotations

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing
from stxm_explorer.clouds import Cloud
from stxm_explorer.figures import CloudFigure, Curve
from stxm_explorer.figures.marks import Point
from stxm_explorer.linked import LinkedCurves, LinkedMap, region_colors
from stxm_explorer.messages import counted
from stxm_explorer.pages.clusters import classes, cluster_colors
from stxm_explorer.pages.components import NUMBERS
from stxm_explorer.pages.internal import button, refer
from stxm_explorer.parts import CHOICE, beside, heading, hint
from stxm_explorer.session import Session, notify
from stxm_explorer.state import MOST_COMPONENTS
from stxm_explorer.viewport import plot_side, rest_of_row, workspace_width
from stxm_explorer.views import Page, Shown, View
from xstxm import plot
from xstxm.conventions import NO_SAMPLE

_BELOW = 250
"""Pixels that the spectrum is high."""
_PICKED = {"in the lasso": "#D55E00", "outside": "#b4b4b4"}


class Scatter(Page):
    """Points and map above, the spectrum of what the lasso holds below."""

    title = "Scatter"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._points, self._map = CloudFigure(), LinkedMap(session)
        self._points.on_lasso(self._lassoed)
        self._points.on_tap(self._tapped)
        self._curves = LinkedCurves(session, width=600, height=_BELOW)
        self._components = View(
            session, lambda: plan.pca(self.state, plan.field_of(self.state)), pn.Spacer(height=0), lambda _: None,
            label="Decomposing the stack", then=self._follow,
        )  # fmt: skip
        self._groups = View(
            session, self._want_groups, pn.Spacer(height=0), lambda _: None,
            label="Grouping the pixels", then=self._follow,
        )  # fmt: skip
        self._pixels = View(
            session, self._want_pixels, self._map.pane, self._show_pixels,
            look=lambda: (self.side, self._groups.settled), label="Marking the pixels",
        )  # fmt: skip
        self._cloud = View(
            session, self._want_cloud, self._points.pane, self._show_cloud,
            look=lambda: (self.side, tuple(region_colors(self.state).items())), label="Drawing the pixels",
        )  # fmt: skip
        self._spectrum = View(
            session, self._want_spectrum, self._curves.pane, self._show_spectrum,
            look=lambda: self._wide, label="Reading the spectrum",
        )  # fmt: skip
        choices = {str(k): k for k in range(1, MOST_COMPONENTS + 1)}
        self._axes = {
            name: pmui.Select(
                label=f"Component along {dim}", options=choices, value=getattr(self.state.unmix, name), **CHOICE
            )
            for name, dim in (("across", "x"), ("up", "y"))
        }
        for select in self._axes.values():
            select.param.watch(self._turned, "value")

    @property
    def side(self) -> int:
        """Pixels of the longer side of the map."""
        return plot_side(self.session.width, self.session.height, LinkedMap.taken[0], below=110)

    @property
    def _wide(self) -> int:
        return min(workspace_width(self.session.width) - 40, 900)

    @property
    def _lasso(self) -> bool:
        return len(self.state.unmix.lasso) > 2

    def views(self) -> list[View]:
        return [self._components, self._groups, *([self._pixels, self._spectrum] if self._lasso else [])]

    def refresh(self) -> None:
        """Follow the choices."""
        self._map.resize(self.side)
        for name, select in self._axes.items():
            select.value = getattr(self.state.unmix, name)
        self._components.refresh()
        self._groups.refresh()
        self._follow()
        self._map.follow()
        self._curves.follow()

    def controls(self) -> Shown:
        unmix = self.state.unmix.param
        return pmui.Column(
            heading("Scatter"),
            *self._axes.values(),
            pmui.Select.from_param(unmix.n_components, label="Components", options=NUMBERS, **CHOICE),
            pmui.Switch.from_param(unmix.center, label="Subtract the mean", margin=(4, 10)),
            heading("Lasso"),
            button("Use as reference", self._refer),
            pmui.Button(
                label="Forget the lasso",
                icon="close",
                variant="outlined",
                on_click=lambda _: self._lassoed([]),
                **CHOICE,
            ),
            hint(
                "Regions that are drawn on the map are ringed in the scatter; a tap picks the pixel of the nearest point."
            ),
        )

    def workspace(self) -> Shown:
        above = beside(self._cloud, self._pixels)
        return pmui.Column(self._components, self._groups, above, self._spectrum, sizing_mode="stretch_width")

    def _follow(self) -> None:
        """Show what needs the components."""
        for view in (self._cloud, self._pixels, self._spectrum):
            view.visible = self._components.settled
        if not self._components.settled:
            return
        for view in (self._pixels, self._cloud, self._spectrum):
            view.refresh()
        self._points.mark(self.state.unmix.lasso, self._at_cursor())

    def _want_groups(self) -> Call:
        return plan.clusters(self.state, plan.field_of(self.state))

    def _want_pixels(self) -> Call:
        if self._lasso:
            return plan.picked(self.state, plan.field_of(self.state))
        return self._want_groups()

    def _want_spectrum(self) -> Call:
        return plan.picked_spectrum(self.state, plan.field_of(self.state))

    def _want_cloud(self) -> Call:
        unmix, field = self.state.unmix, plan.field_of(self.state)
        known = self._components.result.sizes["component"]
        if max(unmix.across, unmix.up) > known:
            raise Missing(f"Ask for {max(unmix.across, unmix.up)} components or more on the left: there are {known}.")
        images = plan.call(".sel", plan.pca(self.state, field)["eigenimages"], component=[unmix.across, unmix.up])
        labels = {"labels": plan.clusters(self.state, field)["labels"]} if self._groups.settled else {}
        regions = {region.name: region.for_xstxm() for region in self.state.regions}
        return Call("clouds.cloud", (images, regions), labels)

    def _show_pixels(self, found: xr.Dataset | xr.DataArray) -> None:
        if isinstance(found, xr.Dataset):
            self._map.show_classes(classes(found["labels"]), cluster_colors(found))
            return
        image = self._components.result["eigenimages"].isel(component=0).transpose("y", "x")
        groups = self._groups.result if self._groups.settled else None
        sample = image.notnull() if groups is None else groups["labels"] >= 0
        marked = xr.where(sample, 1, NO_SAMPLE).where(~found, 0)
        self._map.show_classes(
            marked.assign_coords(image.coords), _PICKED, title=f"{counted(int(found.sum()), 'pixel')} in the lasso"
        )

    def _show_cloud(self, cloud: Cloud) -> None:
        height = self.session.ranges.frame(self.side)[1] + LinkedMap.taken[1]
        self._points.resize(rest_of_row(self.session.width, self.side + LinkedMap.taken[0]), max(height, 300))
        found = self._groups.result if self._groups.settled else None
        colors = {} if found is None else cluster_colors(found)
        numbers = np.where(cloud.label > 0, cloud.label - 1, len(colors))
        self._points.show(cloud.across, cloud.up, numbers, {**colors, "no cluster, or no sample": plot.UNDECIDED_COLOR})
        shades = region_colors(self.state)
        self._points.ring([(cloud.across[m], cloud.up[m], shades[name]) for name, m in cloud.regions.items()])
        unit = plot.label(self._components.result["eigenimages"])
        self._points.name_axes(*(f"{unit}, component {k}" for k in (self.state.unmix.across, self.state.unmix.up)))

    def _show_spectrum(self, found: xr.Dataset) -> None:
        found = found.sortby("energy")
        energy, mean, spread = (found[name].values for name in ("energy", "spectrum", "spectrum_std"))
        curve = Curve(
            "in the lasso", energy, mean, color=_PICKED["in the lasso"], low=mean - spread, high=mean + spread
        )
        self._curves.resize(self._wide, _BELOW)
        self._curves.show([curve], xlabel=plot.label(found["energy"]), ylabel=plot.label(found["spectrum"]))

    def _at_cursor(self) -> Point | None:
        """Return where the picked pixel lies in the scatter."""
        unmix, place = self.state.unmix, self.state.view.cursor
        images = self._components.result["eigenimages"]
        if place is None or max(unmix.across, unmix.up) > images.sizes["component"]:
            return None
        values = images.sel(x=place[0], y=place[1], method="nearest").sel(component=[unmix.across, unmix.up]).values
        return (float(values[0]), float(values[1])) if np.isfinite(values).all() else None

    def _tapped(self, place: Point) -> None:
        """Pick the pixel of the drawn point that is nearest, as seen on the screen."""
        cloud: Cloud | None = self._cloud.result
        if cloud is None or not cloud.across.size:
            return
        scale = np.ptp(cloud.across) or 1.0, np.ptp(cloud.up) or 1.0
        far = np.hypot((cloud.across - place[0]) / scale[0], (cloud.up - place[1]) / scale[1])
        nearest = int(far.argmin())
        self.state.view.cursor = (float(cloud.x[nearest]), float(cloud.y[nearest]))

    def _lassoed(self, vertices: list[Point]) -> None:
        self.state.unmix.lasso = [(float(f"{x:.5g}"), float(f"{y:.5g}")) for x, y in vertices]

    def _refer(self) -> None:
        if self._lasso:
            refer(self.session)
        else:
            notify("warning", "draw a lasso or a box around points of the scatter first: their mean spectrum is taken")

    def _turned(self, event: object) -> None:
        """Take other axes, in which the lasso means nothing."""
        chosen = {name: select.value for name, select in self._axes.items()}
        if chosen != {name: getattr(self.state.unmix, name) for name in chosen}:
            self.state.unmix.param.update(**chosen, lasso=[])
