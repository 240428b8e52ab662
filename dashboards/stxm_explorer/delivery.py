"""What changes on a page reaches the browser in one message, in an order that it understands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import panel as pn
from bokeh.document import Document
from bokeh.document.events import RootAddedEvent, RootRemovedEvent


@contextmanager
def in_one_message() -> Iterator[None]:
    """Send all that changes meanwhile together, at the end.

    Otherwise Panel writes its changes at once and Bokeh its own at the end of the callback: what comes late names
    figures that have left the page by then, or are not there yet.
    """
    document = pn.state.curdoc
    if document is None:
        yield
        return
    with pn.io.hold(document):
        try:
            yield
        finally:
            held = document.callbacks._held_events  # neither Bokeh nor Panel lets anyone else at these
            held[:] = understood(document, held)


def understood(document: Document, changes: Sequence[Any]) -> list[Any]:
    """Return changes in an order in which the browser knows each model before it changes.

    Changes of what has left the page are dropped. What is new on the page changes last: it comes whole with the
    change of the one that holds it, but for what is as at first again.
    """
    known = {None, *document.models.synced_references}
    here = [change for change in changes if _model(change) is None or _model(change).document is document]
    return sorted(here, key=lambda change: _model(change) not in known)


def _model(change: Any) -> Any:
    """Return the model that changed, if it is one of the page."""
    return None if isinstance(change, RootAddedEvent | RootRemovedEvent) else getattr(change, "model", None)
