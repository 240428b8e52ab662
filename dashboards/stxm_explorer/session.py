"""One user's page: the choices, the store, the work under way, and what users are told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import panel as pn
import param
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, Missing
from stxm_explorer.figures import MapRanges
from stxm_explorer.jobs import Job, Jobs, Stopped
from stxm_explorer.messages import message
from stxm_explorer.outputs import Outputs
from stxm_explorer.referring import brought_by
from stxm_explorer.state import ExplorerState
from stxm_explorer.store import Store
from xstxm.errors import StxmError

logger = logging.getLogger("stxm_explorer")

LOST = "Server connection lost: load the page again once the server runs, the choices are in its address."


class Session(param.Parameterized):
    """What the views of one page share."""

    running = param.List([], item_type=Job, doc="Jobs under way.")
    progress = param.Number(None, allow_None=True, doc="How far the newest of them is, from 0 to 1.")
    spoken = param.Event(doc="A view says something else, or nothing more.")
    width = param.Integer(1280, bounds=(200, 20_000), doc="Width of the window in pixels.")
    height = param.Integer(800, bounds=(200, 20_000), doc="Height of the window in pixels.")

    def __init__(self, state: ExplorerState, store: Store, outputs: Outputs | None = None) -> None:
        super().__init__()
        self.state, self.store, self.outputs = state, store, outputs or Outputs()
        self.ranges = MapRanges()
        self._asked: tuple[str, ...] = ()
        self.jobs = Jobs(self._count, pn.state.curdoc)

    def get(
        self,
        kind: str,
        call: Call,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
        *,
        label: str = "",
        at_once: bool = False,
    ) -> None:
        """Have a call run: `done` is given its result, at once if it is there, else when it is made.

        With `at_once`, what takes no time is made without a job.
        """
        store = self.store  # alone, so that work which cannot be stopped at once keeps no page that was closed
        result, failed = store.ready(call), failed or self.report
        if result is None and at_once:
            try:
                result = store.at_once(call)
            except Exception as error:
                failed(error)
                return
        if result is None:
            self.jobs.start(kind, label or kind, lambda job: store.run(call, job), done, failed)
            return
        self.jobs.stop(kind)
        try:
            done(result)
        except Exception as error:
            failed(error)

    def ask_cluster(self) -> None:
        """Find the cluster that does the work, if there shall be one; where none answers, the user is told."""
        cluster = self.store.cluster
        if cluster is not None and cluster.client is None:
            self.jobs.start("cluster", "Asking the scheduler", lambda job: cluster.ask(), lambda _: None, self.report)

    def follow_references(self) -> None:
        """Keep the names of the references as their files have them, which may have changed; a view says what is wrong there."""
        with suppress(StxmError, Missing):  # a file that is gone, or a stack that was closed
            known = plan.reference_spectra(self.state)
            if known is None:
                return
            asked = (self.store.key(known), *self.state.references.names)
            if asked != self._asked:
                self._asked = asked
                self.get("references", known, self.name_references, lambda error: None, label="Reading references")

    def name_references(self, found: xr.Dataset) -> None:
        """Take the names of references that were read, and the compositions that came with them."""
        names, chosen = [str(name) for name in found["reference"].values], self.state.references
        if chosen.namesake(names) is None:
            chosen.learn(names, brought_by(found))
        else:  # later, as all are read anew then, also by who shows these now
            self.jobs.soon(lambda: self._set_apart(names), 0)

    def _set_apart(self, names: list[str]) -> None:
        """Give a mean spectrum whose name a table has another one: what was said of it by its name would be lost."""
        internal = self.state.references.namesake(names)
        if internal is not None:
            label = self.state.references.set_apart(internal)
            notify(
                "info", f"A table has {internal.label}, too: the mean spectrum, {internal.said}, is called {label} now"
            )

    def report(self, error: Exception) -> None:
        """Tell the user what to do in a toast, and the log everything; what the user stopped needs no words."""
        if not isinstance(error, Stopped):
            report(error, self.store.root)

    def close(self) -> None:
        """Stop the work of a page that was left; a store of arrays outlives the page, and is closed by who has them."""
        self.jobs.close()
        if not self.store.given:
            self.store.close()

    def _count(self) -> None:
        jobs = [*self.jobs.running.values()]
        self.param.update(running=jobs, progress=jobs[-1].share if jobs else None)


def report(error: Exception, root: Path | None = None) -> None:
    """Tell the user what to do in a toast, and the log everything; no path of the server leaves it."""
    if isinstance(error, Missing):
        notify("warning", str(error))
        return
    logger.error("%s", error, exc_info=error)
    notify("error", message(error, root))


def notify(kind: str, text: str) -> None:
    """Show a toast, where there is a page that does not show it already."""
    area: Any = pn.state.notifications
    if area is not None and text not in [shown.message for shown in area.notifications]:
        pn.state.onload(lambda: getattr(area, kind)(text, duration=8000))
