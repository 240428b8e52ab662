"""Explore STXM stacks in the browser: `panel serve explorer.py`, or `xstxm dashboard`.

Serve it without --num-threads: long work has threads of its own, and what changes a page stays in order.
XSTXM_ROOT names the folder whose files can be opened (by default the current one), XSTXM_FILE a stack below it
that is open at the start, XSTXM_OUTPUT a folder that files may be written to, XSTXM_SCHEDULER a dask scheduler that
does the work.
"""

import os
from pathlib import Path

import panel as pn

if pn.state.curdoc:  # components find their style sheets on this server, whichever process made the session
    pn.state.curdoc.template_variables["dist_url"] = "static/extensions/panel/"

from stxm_explorer.outputs import Outputs
from stxm_explorer.session import report
from stxm_explorer.shell import App
from stxm_explorer.state import ExplorerState
from stxm_explorer.store import Store

pn.extension(notifications=True, exception_handler=report)

output = os.environ.get("XSTXM_OUTPUT")
store = Store(Path(os.environ.get("XSTXM_ROOT") or Path.cwd()), outputs=Outputs(Path(output) if output else None))
state = ExplorerState()
if name := store.name_of(os.environ.get("XSTXM_FILE")):
    state.open(name)
    state.view.page = "Phases"
App(state, store).servable()
