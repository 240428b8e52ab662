"""I0: where the incident intensity comes from, and whether it is free of sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import panel_material_ui as pmui
import param
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing, call
from stxm_explorer.figures import Curve
from stxm_explorer.linked import LinkedCurves, LinkedMap
from stxm_explorer.pages.steps.step import DROPPED, FIRST, FLAGGED, Measured, Step, note
from stxm_explorer.parts import CHOICE, beside, hint
from stxm_explorer.session import Session
from stxm_explorer.state import I0_SOURCES, I0_UNITS, Field, Region
from stxm_explorer.verdicts import emptiness
from stxm_explorer.views import Shown, View
from xstxm import plot


class Incident(Step):
    """The incident intensity."""

    title = "I0"
    choices = ("i0_source", "i0_fraction", "i0_region", "i0_file", "i0_units")

    def __init__(self, session: Session, measured: Measured) -> None:
        super().__init__(session, measured)
        self._files = param.rx([])
        self._map = LinkedMap(session, side=self.side, regions=self._drawn, tools=("box", "lasso"))
        self._curves = LinkedCurves(session, width=self.beside, height=280)
        self._rest = LinkedCurves(session, width=self.beside, height=200)
        self._verdict = note("", width=self.beside, sizing_mode=None)
        self._i0 = View(
            session, self._want, self._curves.pane, self._show, label="Reading I0", then=lambda: self._image.refresh()
        )
        self._image = View(
            session,
            self._want_image,
            self._map.pane,
            self._show_image,
            look=lambda: id(self._i0.result),
            label="Adding up the frames",
        )
        rest = pmui.Column(self._rest.pane, self._verdict)
        self._edge = View(session, self._want_rest, rest, self._show_rest, label="Comparing with the brightest pixels")
        self._second = pmui.Column(self._edge)

    @staticmethod
    def summary(field: Field) -> str:
        """Return where I0 comes from."""
        return {
            "brightest": f"brightest {100 * field.i0_fraction:g} %",
            "region": "region without sample" if field.i0_region else "region: not drawn yet",
            "file": field.i0_file or "file: not chosen yet",
            "stack": "in the stack",
        }[field.i0_source]

    def controls(self, field: Field) -> Sequence[Shown]:
        """Return the source, and what belongs to it."""
        own = field.param
        source = own.i0_source.rx()
        files = pmui.Select.from_param(
            own.i0_file,
            label="I0 spectrum",
            options=self._files.rx.pipe(lambda names: [*dict.fromkeys(["", *names, field.i0_file])]),
            visible=source == "file",
            **CHOICE,
        )
        return [
            pmui.Select.from_param(own.i0_source, label="Source", options=I0_SOURCES, **CHOICE),
            pmui.FloatSlider.from_param(
                own.i0_fraction, label="Share of the pixels", visible=source == "brightest", **CHOICE
            ),
            files,
            pmui.Select.from_param(
                own.i0_units, label="Unit of the file", options=I0_UNITS, visible=source == "file", **CHOICE
            ),
            hint("Draw a box or lasso around an empty part of the map to take I0 there."),
        ]

    def turned_to(self, field: Field) -> None:
        """Look for files with spectra: in a large folder that takes a while."""

        def done(names: Sequence[str]) -> None:
            self._files.rx.value = names

        store = self.session.store
        self.session.jobs.start(
            "files of I0", "Looking for files", lambda job: store.catalogue().spectra, done, self.session.report
        )

    def workspace(self) -> Shown:
        """Return the pixels that are used beside the spectrum."""
        return beside(self._image, pmui.Column(self._i0, self._second))

    def views(self) -> Sequence[View]:
        """Return the views."""
        of_region = self.state.field is not None and self.field.i0_source == "region"
        return [self._i0, self._image, *([self._edge] if of_region else [])]

    def refresh(self) -> None:
        """Follow the choices."""
        self._map.resize(self.side)
        self._curves.resize(self.beside, 280)
        self._rest.resize(self.beside, 200)
        self._second.visible = (
            self.state.field is not None and self.field.i0_region is not None and self._edge in self.views()
        )
        super().refresh()
        self._curves.follow()
        self._rest.follow()
        self._map.mark(regions=self._outlines())

    def _outlines(self) -> dict[str, list[tuple[float, float]]]:
        field = self.state.field
        if field is None or field.i0_source != "region" or field.i0_region is None:
            return {}
        return {field.i0_region.name or "I0": field.i0_region.outline()}

    def _want(self) -> Call:
        self.measured.flags()
        wanted = plan.incident(self.field)
        if self.field.i0_source == "stack":
            stack = self.session.store.ready(wanted)
            if stack is not None and "i0" not in stack:
                raise Missing("The file of this stack holds no I0: choose another source.")
        return wanted

    def _want_image(self) -> Call:
        return call(".mean", plan.prepared(self.field)["intensity"], "energy", keep_attrs=True, name="mean image")

    def _want_rest(self) -> Call:
        field = self.field
        brightest = call("estimate_i0", plan.prepared(field), fraction=field.i0_fraction, name="brightest")
        return call("optical_density", plan.incident(field)["i0"], brightest, name="density of the region")

    def _show(self, found: xr.Dataset | xr.DataArray) -> None:
        given = found if isinstance(found, xr.Dataset) else found.to_dataset(name="i0")
        i0, mean = given["i0"], self.measured.flags()["frame_mean"].sortby("energy")
        i0 = i0.mean([dim for dim in i0.dims if dim != "energy"], keep_attrs=True)
        i0 = (i0 if "energy" in i0.dims else i0.expand_dims(energy=mean["energy"])).sortby("energy")
        energy, values = np.asarray(i0["energy"], dtype=float), np.asarray(i0, dtype=float)
        error = (
            np.asarray(given["i0_stderr"].sortby("energy"), dtype=float) if "i0_stderr" in given else np.nan * values
        )
        self._curves.show(
            [
                Curve("I0 ± standard error", energy, values, color=FIRST, low=values - error, high=values + error),
                Curve("mean of the stack", np.asarray(mean["energy"]), np.asarray(mean), color=DROPPED, dash="dashed"),
            ],
            xlabel=plot.label(mean["energy"]),
            ylabel=plot.label(i0),
        )

    def _show_image(self, image: xr.DataArray) -> None:
        found = self._i0.result
        used = found["mask"] if isinstance(found, xr.Dataset) and self.field.i0_source == "brightest" else None
        if used is None:
            self._map.show(image, title="Mean of the frames")
        else:
            clim = plot.image_colors(image)
            ends, title = (clim.low, clim.high), "Orange: taken for I0"
            self._map.show(image.where(~used), clim=ends, missing=FLAGGED, told=image, title=title)

    def _show_rest(self, density: xr.DataArray) -> None:
        density = density.sortby("energy")
        energy, values = np.asarray(density["energy"], dtype=float), np.asarray(density, dtype=float)
        curve = Curve("region against the brightest pixels", energy, values, color=FIRST)
        self._rest.show([curve], xlabel=plot.label(density["energy"]), ylabel=plot.label(density))
        found = emptiness(density)
        self._verdict.param.update(object=str(found), severity="warning" if found.doubtful else "success")

    def _drawn(self, region: Region) -> None:
        field = self.field
        self.take(region, "I0", lambda held: field.param.update(i0_region=held, i0_source="region"))
