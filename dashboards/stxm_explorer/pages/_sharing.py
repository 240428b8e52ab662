"""The choices themselves: a link to them, a file of them, and one that is opened."""

from __future__ import annotations

import io
from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.parts import heading
from stxm_explorer.session import Session, notify
from stxm_explorer.state import MAX_STATE, TOO_LONG
from xstxm.errors import OptionError, StxmError

_HOLDS = (
    "Address and file hold your choices: names of files, regions, settings, and what you look at. They hold no data: who "
    "opens them needs the same files in the folder that the server serves."
)
_ONLY_HERE = (
    "The file holds your choices: regions, settings, and what you look at. It holds no data: open it on a page of the same "
    "stack."
)
_TOO_MANY = (
    "These choices are too many for an address, most often because of regions drawn by hand: download them as a file."
)
_COPY = """
const told = copied => {
  source.data.label = copied ? "Copied" : "Copy the address of this page"
  setTimeout(() => { source.data.label = "Copy link" }, 3000)
}
const otherwise = () => {
  const area = document.createElement("textarea")
  area.value = window.location.href
  document.body.append(area)
  area.select()
  const copied = document.execCommand("copy")
  area.remove()
  return copied
}
if (navigator.clipboard) {
  navigator.clipboard.writeText(window.location.href).then(() => told(true), () => told(otherwise()))
} else { told(otherwise()) }
"""
"""The clipboard of browsers is closed to pages without TLS on other computers: then the older way."""


class Sharing(pn.viewable.Viewer):
    """Link and file of the choices."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._state = session, session.state
        self._upload = pmui.FileInput(
            label="Open a file of choices", accept=".json", multiple=False, max_file_size=5 * MAX_STATE, margin=10
        )
        self._upload.param.watch(self._opened, "value")
        given = bool(session.store.given)
        self.copy = pmui.Button(label="Copy link", icon="link", variant="outlined", margin=10, visible=not given)
        self.copy.js_on_click(code=_COPY)
        self.note = pmui.Alert(_TOO_MANY, severity="info", width=640, margin=10, visible=False)
        save = pmui.FileDownload(
            callback=lambda: io.StringIO(self._state.to_json()),
            filename="explorer.json",
            label="Download choices",
            margin=10,
        )
        words = pmui.Typography(_ONLY_HERE if given else _HOLDS, margin=10, width=640)
        self._body = pmui.Column(
            heading("Share"),
            words,
            self.note,
            pmui.Row(self.copy, save, margin=0),
            heading("Open"),
            self._upload,
            margin=0,
        )

    def refresh(self) -> None:
        """Offer a link where an address can hold the choices, else say so."""
        fits = self._state.to_query() != TOO_LONG
        self.copy.disabled, self.note.visible = not fits, self.copy.visible and not fits

    def open(self, content: bytes) -> None:
        """Take the choices of a file; one that cannot be read leaves all as it was, and a toast says why."""
        try:
            if len(content) > MAX_STATE:
                raise OptionError("state", f"{len(content)} bytes", f"take a file of at most {MAX_STATE}")
            self._state.from_json(content.decode("utf-8", "replace"))
        except StxmError as error:
            self._session.report(error)
        else:
            notify("success", "The choices of the file are open")

    def _opened(self, event: Any) -> None:
        if event.new:
            self._upload.clear()
            self.open(event.new)

    def __panel__(self) -> pn.viewable.Viewable:
        return self._body
