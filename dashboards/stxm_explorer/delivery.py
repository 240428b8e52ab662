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
    """Return the changes of what the browser knows and still shows.

    What is new on the page comes whole, as it is now, with the change of the one that holds it: its own changes would
    reach views that are not drawn yet. What has left the page is not known there any more.
    """
    known = {None, *document.models.synced_references}
    return [change for change in changes if _model(change) in known]


def _model(change: Any) -> Any:
    """Return the model that changed, if it is one of the page."""
    return None if isinstance(change, RootAddedEvent | RootRemovedEvent) else getattr(change, "model", None)
