"""Clusters: groups of pixels whose spectra have one shape, and how many of them there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel_material_ui as pmui
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call
from stxm_explorer.figures import Curve, CurveFigure
from stxm_explorer.linked import LinkedCurves, LinkedMap
from stxm_explorer.pages.components import NUMBERS, numbered_colors
from stxm_explorer.pages.internal import button, refer
from stxm_explorer.parts import CHOICE, Table, beside, heading, optional
from stxm_explorer.session import Session, notify
from stxm_explorer.state import (
    BACKGROUNDS,
    GROUPINGS,
    MOST_CLUSTERS,
    NORMALIZATIONS,
    NUMBERED_BY,
)
from stxm_explorer.viewport import plot_side, rest_of_row, workspace_width
from stxm_explorer.views import Page, Shown, View
from xstxm import plot
from xstxm.conventions import NO_SAMPLE, UNDECIDED

_COMPARED = range(2, 7)
"""Numbers of clusters that are compared."""
_BELOW = 250
"""Pixels that scores are high."""


class Clusters(Page):
    """The map and the mean spectra above, scores below."""

    title = "Clusters"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._map, self._curves = LinkedMap(session), LinkedCurves(session, width=400, height=400)
        self._sizes = Table()
        self._said = pmui.Typography("", variant="body2", margin=(8, 10))
        self._worth = CurveFigure(width=400, height=_BELOW)
        self._worth.on_x(self._choose)
        self._scores = View(
            session, self._want_scores, self._worth.pane, self._show_scores,
            look=lambda: self._narrow, label="Comparing numbers of clusters",
        )  # fmt: skip
        body = pmui.Column(
            self._said, beside(self._map.pane, self._curves.pane), beside(self._scores, self._sizes),
            sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self._groups = View(
            session, self._want, body, self._show,
            look=lambda: (self.side, self.session.width, self.state.view.faded),
            label="Grouping the pixels", then=self._follow, width=workspace_width(session.width),
        )  # fmt: skip
        self._slider = pmui.IntSlider(label="Number", start=1, end=MOST_CLUSTERS, value=2, **CHOICE)
        self._slider.param.watch(lambda event: self._choose(event.new), "value_throttled")
        self._which = pmui.Select(label="Cluster", options=[1], value=1, **CHOICE)
        self._by_itself = pmui.Switch(label="Number that the data prefer", value=True, margin=(4, 10))
        self._by_itself.param.watch(self._switched, "value")

    @property
    def side(self) -> int:
        """Pixels of the longer side of the map."""
        return plot_side(self.session.width, self.session.height, LinkedMap.taken[0], below=110)

    @property
    def _narrow(self) -> int:
        return min(workspace_width(self.session.width) // 2 - 20, 560)

    def views(self) -> list[View]:
        return [self._groups, self._scores] if self.state.unmix.compare else [self._groups]

    def refresh(self) -> None:
        """Follow the choices."""
        self._map.resize(self.side)
        self._groups.refresh()
        self._follow()
        self._map.follow()
        self._curves.follow()

    def controls(self) -> Shown:
        unmix = self.state.unmix.param
        return pmui.Column(
            heading("Clusters"),
            self._by_itself,
            self._slider,
            pmui.Select.from_param(unmix.choose, label="Preferred by", options=NUMBERED_BY, **CHOICE),
            pmui.Switch.from_param(unmix.compare, label="Compare 2 to 6", margin=(4, 10)),
            heading("Shapes"),
            pmui.Select.from_param(unmix.grouping, label="Method", options=GROUPINGS, **CHOICE),
            pmui.Select.from_param(unmix.normalize, label="Divided out", options=NORMALIZATIONS, **CHOICE),
            pmui.Select.from_param(unmix.background, label="Background", options=BACKGROUNDS, **CHOICE),
            pmui.Select.from_param(unmix.cluster_components, label="Eigenspectra", options=NUMBERS, **CHOICE),
            optional(self.state.fit, "min_amount", "Least amount of sample", "found from the map"),
            pmui.IntInput.from_param(unmix.seed, label="Seed", **CHOICE),
            heading("References"),
            self._which,
            button("Use as reference", self._refer),
            heading("Phases"),
            pmui.Button(
                label="Map them as phases", icon="layers", variant="outlined", on_click=lambda _: self.use(), **CHOICE
            ),
        )

    def workspace(self) -> Shown:
        return self._groups

    def _refer(self) -> None:
        if self._groups.settled:
            refer(self.session, cluster=int(self._which.value))
        else:
            notify("warning", "there are no clusters yet: wait until they are on the map")

    def use(self) -> None:
        """Take the clusters for phases, and go to their page."""
        self.state.fit.source = "clusters"
        self.state.view.page = "Phases"

    def _follow(self) -> None:
        """Show what needs the clusters."""
        unmix, found = self.state.unmix, self._groups.result
        number = unmix.n_clusters or (0 if found is None else found.sizes["cluster"])
        if number:
            self._slider.value = min(number, MOST_CLUSTERS)
        self._by_itself.value = not unmix.n_clusters
        self._scores.visible = unmix.compare
        if self._groups.settled and unmix.compare:
            self._scores.refresh()
        self._worth.mark(number or None)

    def _choose(self, number: float) -> None:
        self.state.unmix.n_clusters = min(max(round(number), 1), MOST_CLUSTERS)

    def _switched(self, event: Any) -> None:
        if event.new == bool(self.state.unmix.n_clusters):
            self.state.unmix.n_clusters = 0 if event.new else self._slider.value

    def _want(self) -> Call:
        return plan.clusters(self.state, plan.field_of(self.state))

    def _want_scores(self) -> Call:
        return plan.cluster_scores(self.state, plan.field_of(self.state), _COMPARED)

    def _show(self, found: xr.Dataset) -> None:
        n, stability = found.sizes["cluster"], float(found["stability"])
        self._said.object = (
            f"{n} clusters. Stability {stability:.3f}: near 1, the data make them; far below, chance does."
        )
        opacity = found["confidence"] if self.state.view.faded else None
        self._map.show_classes(classes(found["labels"]), cluster_colors(found), opacity=opacity)
        self._curves.resize(
            rest_of_row(self.session.width, self.side + LinkedMap.taken[0]),
            self.session.ranges.frame(self.side)[1] + LinkedMap.taken[1],
        )
        spectra = found["cluster_spectra"]
        self._curves.show(
            _curves(found.sortby("energy")), xlabel=plot.label(found["energy"]), ylabel=plot.label(spectra)
        )
        numbers = [int(number) for number in found["cluster"].values]
        self._which.param.update(options=numbers, value=min(self._which.value, n))
        self._sizes.write(["", "Pixels", "Share", "Silhouette"], _sizes(found), self._narrow)

    def _show_scores(self, scores: xr.Dataset) -> None:
        self._worth.resize(self._narrow, _BELOW)
        numbers = scores["number"].values
        curves = [
            Curve(name.capitalize(), numbers, scores[name].values, color=color)
            for name, color in (("silhouette", "#0072B2"), ("stability", "#D55E00"))
        ]
        self._worth.show(curves, xlabel="Number of clusters", ylabel="Score")


def cluster_colors(found: xr.Dataset) -> dict[str, str]:
    """Return the colour of each cluster by its name."""
    colors = numbered_colors(found["cluster_spectra"], "cluster")
    return {f"cluster {int(k)}": color for k, color in zip(found["cluster"].values, colors, strict=True)}


def classes(labels: xr.DataArray) -> xr.DataArray:
    """Return labels as a map of classes shows them: from zero, negative where there is no cluster, or no sample."""
    return (labels - 1).where(labels != 0, UNDECIDED).where(labels >= 0, NO_SAMPLE)


def _curves(found: xr.Dataset) -> list[Curve]:
    """Return the mean spectra, each with a band of one standard deviation."""
    energy, curves = found["energy"].values, []
    for k, (name, color) in enumerate(cluster_colors(found).items()):
        mean, spread = (found[each].isel(cluster=k).values for each in ("cluster_spectra", "cluster_spectra_std"))
        curves.append(Curve(name, energy, mean, color=color, low=mean - spread, high=mean + spread))
    return curves


def _sizes(found: xr.Dataset) -> list[list[str]]:
    """Return how many pixels are in each cluster, and how well it is set apart."""
    pixels = found["n_pixels"].values
    silhouettes = ["–" if np.isnan(worth) else f"{worth:.2f}" for worth in found["silhouette"].values]
    return [
        [name, str(int(own)), f"{100 * own / max(pixels.sum(), 1):.1f} %", worth]
        for name, own, worth in zip(cluster_colors(found), pixels, silhouettes, strict=True)
    ]
