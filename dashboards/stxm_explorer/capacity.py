"""How many pages are open at once: one beyond the limit says so and holds nothing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.parts import calm_page

MOST = 20
GRACE = 15.0
"""Seconds that a page may take to connect, or be away, before its place is given to another."""

logger = logging.getLogger("stxm_explorer")


class Sessions:
    """The pages of this process: those that are connected, or have just been opened or left."""

    def __init__(self, most: int = MOST, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock, self._lock = clock, threading.Lock()
        self._open: dict[str, tuple[Any, float]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, context: Any) -> bool:
        """Take a place for a session until it ends; False where all are taken.

        Parameters
        ----------
        context
            Bokeh's session context: its `id`, and its `session` once that is there.
        """
        with self._lock:
            if len(self._open) >= self.most:
                self._let_go()
            if len(self._open) >= self.most and context.id not in self._open:
                logger.warning("refused a page: %s are open", len(self._open))
                return False
            self._open[context.id] = (context, self._clock())
            return True

    def release(self, context: Any) -> None:
        """Give the place of a session back."""
        with self._lock:
            self._open.pop(context.id, None)

    def _let_go(self) -> None:
        """End the sessions that nobody looks at: pages that were closed, and such as never connected, as robots load them."""
        for name, (context, since) in list(self._open.items()):
            if self._clock() - since < GRACE or _is_watched(context.session):
                continue
            if context.session is not None:
                context.session.request_expiration()
            del self._open[name]


def _is_watched(session: Any) -> bool:
    """Tell whether a page is connected, or was a moment ago; a session that is still none by now never will be."""
    return session is not None and (
        session.connection_count > 0 or session.milliseconds_since_last_unsubscribe < GRACE * 1000
    )


def most_sessions() -> int:
    """Return the limit that the environment says, the default where it says nothing useful."""
    said = os.environ.get("XSTXM_MAX_SESSIONS", "")
    return int(said) if said.isdecimal() and int(said) > 0 else MOST


SESSIONS = Sessions(most_sessions())


def admitted(sessions: Sessions = SESSIONS) -> bool:
    """Tell whether there is a place for the page that is being made, and take it until the page is gone."""
    context = pn.state.curdoc.session_context if pn.state.curdoc else None
    if context is None:  # made by a script, not by a server
        return True
    if not sessions.admit(context):
        return False
    pn.state.on_session_destroyed(sessions.release)
    return True


def busy_page() -> pmui.Page:
    """Return the page of one who comes too late."""
    text = (
        f"As many pages are open as this server serves at once ({SESSIONS.most}). Close one that is no longer needed, "
        "or wait a few minutes, and load this page again."
    )
    words = pmui.Column(
        pmui.Typography("The explorer is busy", variant="h5"),
        pmui.Typography(text, variant="body1"),
        max_width=560,
        margin=40,
    )
    return calm_page(title="xstxm explorer", main=[words])
