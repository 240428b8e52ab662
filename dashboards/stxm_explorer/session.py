"""One user's results: follows the state, has the store compute, holds what the pages show."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
import param
import xarray as xr

from stxm_explorer.jobs import Jobs
from stxm_explorer.state import ExplorerState, Recipe, Region
from stxm_explorer.store import Probe, Store
from xstxm.errors import StxmError

_FOLDERS = re.compile(r"(?<![\w*.)])/(?:[^\s/:'\"]+/)+")

logger = logging.getLogger("stxm_explorer")


class Session(param.Parameterized):
    """What was computed for the state, or nothing yet."""

    stack = param.Parameter(None, doc="Dataset with intensity, and optical density where that worked.")
    limits = param.Dict({}, doc="Ends of the colour scale for each signal.")
    references = param.Parameter(None, doc="Reference set, or nothing.")
    probe = param.ClassSelector(class_=Probe, default=None, allow_None=True)
    phases = param.Parameter(None, doc="Phase map of the present settings, or nothing.")
    busy = param.Integer(0, doc="Jobs under way.")
    mapping = param.Boolean(False, doc="Whether a phase map is under way.")

    def __init__(self, state: ExplorerState, store: Store) -> None:
        super().__init__()
        self.state, self.store = state, store
        self._jobs = Jobs(self._report, self._count)
        watch = state.param.watch
        watch(lambda *_: self._open(), "file")
        watch(lambda *_: self._open(keep=True), ["i0_source", "i0_fraction", "i0_file", "i0_units"])
        watch(lambda *_: self._refer(), ["references", "composition"])
        watch(lambda *_: self._settle(), ["method", "background", "min_confidence"])
        watch(lambda *_: self._probe(), "region")

    def start(self) -> None:
        """Open what the state asks for at the beginning."""
        self._refer()
        self._open()

    def map_phases(self) -> None:
        """Compute the phase map in the background."""
        recipe = self.state.recipe
        if self.stack is not None:
            self.mapping = True
            self._jobs.start("phases", lambda: self.store.phases(recipe), self._mapped, self._map_failed)

    def _mapped(self, phases: xr.Dataset) -> None:
        self.param.update(phases=phases, mapping=False)

    def _report(self, error: Exception) -> None:
        report(error, self.store.root)

    def _map_failed(self, error: Exception) -> None:
        self.mapping = False
        self._report(error)

    def _drop_phases(self) -> None:
        """Other settings: the map on the page no longer belongs to them."""
        self._jobs.cancel("phases")
        self.param.update(phases=None, mapping=False)

    def pick(self, region: Region | None) -> None:
        """Pick pixels; those of a region outside the image are none."""
        if region is None or self.stack is None:
            self.state.region = None
            return
        if not _meets(region, self.stack):
            notify("warning", "that lies outside the image: pick inside its frame")
            return
        self.state.region = region.rounded(_step(self.stack) / 100)

    def _open(self, keep: bool = False) -> None:
        recipe = self.state.recipe
        if not recipe.file:
            self._jobs.cancel("open")
        if not recipe.file or not keep:
            self._forget()
        self._drop_phases()
        if not recipe.file or (recipe.i0_source == "file" and not recipe.i0_file):
            return
        self._jobs.start("open", lambda: self._load(recipe), self._show)

    def _forget(self) -> None:
        self._jobs.cancel("probe")
        self.state.param.update(region=None, energy=None)
        self.param.update(stack=None, limits={}, probe=None, phases=None)

    def _load(self, recipe: Recipe) -> tuple[xr.Dataset, dict[str, tuple[float, float]], float, Exception | None]:
        """Return the stack with optical density; without, and why, where I0 cannot be used."""
        problem = None
        try:
            stack, signals = self.store.density(recipe), ["optical_density", "intensity"]
            limits = {name: self.store.limits(recipe, name) for name in signals}
        except StxmError as error:
            stack, signals, problem = self.store.stack(recipe), ["intensity"], error
            limits = {"intensity": self.store.limits(recipe, "intensity")}
        return stack, limits, self.store.brightest_energy(recipe, signals[0]), problem

    def _show(self, loaded: tuple[xr.Dataset, dict[str, tuple[float, float]], float, Exception | None]) -> None:
        stack, limits, energy, problem = loaded
        signal = self.state.signal if self.state.signal in limits else next(iter(limits))
        self.state.param.update(signal=signal, energy=self.state.energy or energy)
        self.param.update(stack=stack, limits=limits)
        if problem is not None:
            self._report(problem)
        self._probe()

    def _count(self, running: int) -> None:
        self.busy = running

    def _probed(self, probe: Probe) -> None:
        self.probe = probe

    def _refer(self) -> None:
        recipe = self.state.recipe
        self._drop_phases()
        self._jobs.start("references", lambda: self.store.references(recipe), self._referred, self._not_referred)

    def _not_referred(self, error: Exception) -> None:
        self._referred(None)
        self._report(error)

    def _referred(self, references: xr.Dataset | None) -> None:
        self.references = references
        self._probe()

    def _settle(self) -> None:
        self._drop_phases()
        self._probe()

    def _probe(self) -> None:
        recipe, region = self.state.recipe, self.state.region
        if self.references is None:
            recipe = replace(recipe, references=())
        if region is None or self.stack is None or "optical_density" not in self.stack:
            self._jobs.cancel("probe")
            self.probe = None
            return
        self._jobs.start("probe", lambda: self.store.probe(recipe, region), self._probed)


def _meets(region: Region, stack: xr.Dataset) -> bool:
    """Tell whether a region's bounding box overlaps the image."""
    overlaps = True
    for axis, dim in enumerate(("x", "y")):
        centres = np.asarray(stack[dim], dtype=float)
        half = _step(stack) / 2
        along = [vertex[axis] for vertex in region.vertices]
        overlaps &= min(along) <= centres.max() + half and max(along) >= centres.min() - half
    return bool(overlaps)


def _step(stack: xr.Dataset) -> float:
    """Return the smaller pixel step."""
    steps = [np.abs(np.diff(np.asarray(stack[dim], dtype=float))).min() for dim in ("x", "y") if stack.sizes[dim] > 1]
    return float(min(steps, default=1.0))


def report(error: Exception, root: Path | None = None) -> None:
    """Tell the user what to do in a toast, and the log everything; no path of the server leaves it."""
    logger.error("%s", error, exc_info=error)
    notify("error", message(error, root))


def message(error: Exception, root: Path | None = None) -> str:
    """Return what a user may read about an error: folders of the server stay out of it."""
    if isinstance(error, StxmError):
        known = str(error) if root is None else str(error).replace(f"{root}/", "")
        return _FOLDERS.sub("", known)
    return f"something went wrong ({type(error).__name__}): the server's log has the details"


def notify(kind: str, text: str) -> None:
    """Show a toast, where there is a page."""
    area: Any = pn.state.notifications
    if area is not None:
        getattr(area, kind)(text, duration=8000)
