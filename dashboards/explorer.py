"""Explore STXM stacks in the browser: `panel serve explorer.py`, or `xstxm dashboard`.

Serve it without --num-threads: long work has threads of its own, and what changes a page stays in order.
Serve it without --num-procs: what is computed is shared by all pages of one process.
XSTXM_ROOT names the folder whose files can be opened (by default the current one), XSTXM_FILE a stack below it
that is open at the start, XSTXM_OUTPUT a folder that results may be written to, XSTXM_SCHEDULER a dask scheduler that
does the work, XSTXM_MAX_SESSIONS how many pages may be open at once.
"""

import panel as pn

if pn.state.curdoc:  # components find their style sheets on this server, whichever process made the session
    pn.state.curdoc.template_variables["dist_url"] = "static/extensions/panel/"

from stxm_explorer.capacity import admitted, busy_page
from stxm_explorer.session import LOST, report
from stxm_explorer.shell import App

pn.extension("tabulator", notifications=True, exception_handler=report, disconnect_notification=LOST)

page = App.from_environment() if admitted() else busy_page()
page.servable()
