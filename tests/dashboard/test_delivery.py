"""What is held back reaches a second document, which stands for the browser, whole, and without what it does not know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bokeh.core.serialization import UnknownReferenceError
from bokeh.document import Document
from bokeh.io.doc import _PATCHED_CURDOCS
from bokeh.models import Column, Div
from bokeh.protocol import Protocol
from stxm_explorer.delivery import understood


class Sent:
    """A document whose changes are held back, and its copy in the browser."""

    def __init__(self) -> None:
        self.left, self.right = Column(), Column(children=[Div(text="here")])
        self.document = Document()
        self.document.add_root(Column(children=[self.left, self.right]))
        self.browser = Document.from_json(self.document.to_json())
        self.document.models.flush_synced()
        self.document.hold("combine")

    def deliver(self, order=understood) -> None:
        """Apply in the browser what was held back."""
        changes = order(self.document, self.document.callbacks._held_events)
        Protocol().create("PATCH-DOC", changes).apply_to_document(self.browser)

    def texts(self) -> list[list[str]]:
        return [[div.text for div in side.children] for side in self.browser.roots[0].children]


def as_they_came(document, changes):
    return list(changes)


@pytest.fixture
def sent() -> Iterator[Sent]:
    yield Sent()
    if isinstance(_PATCHED_CURDOCS, list):  # Bokeh before 3.10 leaves its document there where a change is refused
        _PATCHED_CURDOCS.clear()


def test_understood__keeps_what_is_attached_changed_and_moved_in_one_go(sent):
    new = Div(text="new")
    sent.left.children = [new]
    new.text = "changed"
    sent.left.children = []
    sent.right.children = [*sent.right.children, new]
    sent.deliver()
    assert sent.texts() == [[], ["here", "changed"]]


def test_understood__drops_what_has_left_the_page(sent):
    (here,) = sent.right.children
    new = Div(text="new")
    sent.left.children = [new]
    new.text = here.text = "changed"
    sent.left.children = sent.right.children = []
    sent.deliver()
    assert sent.texts() == [[], []]


def test_understood__is_needed(sent):
    new = Div(text="new")
    sent.left.children = [new]
    new.text = "changed"
    sent.left.children = []
    with pytest.raises(UnknownReferenceError):
        sent.deliver(as_they_came)
