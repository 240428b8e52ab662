"""The explorer of arrays in memory, served by the process that has them."""

from __future__ import annotations

import socket
import time
import weakref
from html import escape
from pathlib import Path
from typing import Any

import panel as pn
import xarray as xr

from stxm_explorer import plan
from stxm_explorer.calls import Call, script
from stxm_explorer.referring import brought_by
from stxm_explorer.session import LOST, report
from stxm_explorer.shell import App
from stxm_explorer.state import ExplorerState, Field
from stxm_explorer.store import Store

_HOST = "127.0.0.1"


class Explorer:
    """A page on a stack in memory; it is served from the first time that it is shown.

    Parameters
    ----------
    stack
        With `intensity` (energy, y, x).
    references
        A reference set, if there is one.
    """

    def __init__(self, stack: xr.Dataset, references: xr.Dataset | None = None) -> None:
        given = {"stack": stack} if references is None else {"stack": stack, "references": references}
        self._store = Store(Path.cwd(), given=given)
        self._state = _opened(stack, references)
        self._pages: weakref.WeakSet[App] = weakref.WeakSet()
        self._server: Any = None
        self._port = 0

    @property
    def address(self) -> str:
        """Where the page is, for a browser on this computer."""
        self._serve()
        return f"http://{_HOST}:{self._port}/explorer"

    def show(self) -> Explorer:
        """Open the page in the browser."""
        import webbrowser

        webbrowser.open(self.address)
        return self

    def stop(self) -> None:
        """End the page and its server, and forget what was computed."""
        if self._server is not None:
            self._server.stop()
            self._server.join(10)
        self._server = None
        for page in self._pages:  # Panel keeps them
            page.close()
        self._store.close()
        self._state, self._store = _copied(self._state), Store(self._store.root, given=self._store.given)

    def phases(self) -> xr.Dataset:
        """Return the phase map of the choices on the page that was opened last."""
        found: xr.Dataset = self._store.run(self._wanted())
        return found

    def script(self) -> str:
        """Return the code of that phase map, in which the arrays of this notebook have the names `stack` and `references`."""
        return script([self._wanted()])

    def _wanted(self) -> Call:
        return plan.phases(self._state, plan.field_of(self._state))

    def _serve(self) -> None:
        if self._server is None:
            self._port = _free_port()
            self._server = pn.serve(
                {"explorer": self._page},
                address=_HOST,
                port=self._port,
                websocket_origin=[f"{_HOST}:{self._port}", f"localhost:{self._port}"],
                threaded=True,
                show=False,
                verbose=False,
            )
            _wait_for(self._port)

    def _page(self) -> pn.viewable.Viewable:
        """Return a page of its own for every browser, with the choices of the one before."""
        if pn.state.curdoc:  # components find their style sheets on this server
            pn.state.curdoc.template_variables["dist_url"] = "static/extensions/panel/"
        pn.config.param.update(notifications=True, exception_handler=report, disconnect_notification=LOST)
        self._state = _copied(self._state)
        page = App(self._state, self._store)
        self._pages.add(page)
        return page.__panel__()

    def _repr_html_(self) -> str:
        return f'<iframe src="{escape(self.address)}" width="100%" height="820" style="border:0"></iframe>'

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in self._store.given["stack"].sizes.items())
        return f"<Explorer of a stack ({sizes}): show() opens it in the browser>"


def _opened(stack: xr.Dataset, references: xr.Dataset | None) -> ExplorerState:
    state = ExplorerState()
    state.fields = [Field(label="stack", in_memory=True, i0_source="stack" if "i0" in stack else "brightest")]
    state.view.page = "Explore"
    if references is not None:
        names, known = [str(name) for name in references["reference"].values], brought_by(references)
        state.references.param.update(in_memory=True, names=names, composition=known, brought={**known})
    return state


def _copied(state: ExplorerState) -> ExplorerState:
    """Return the same choices, which no page follows."""
    copied = ExplorerState()
    copied.from_json(state.to_json())
    return copied


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    """Wait until the thread of the server listens."""
    for _ in range(200):
        try:
            socket.create_connection((_HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
