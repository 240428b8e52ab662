"""The table of files: what can be opened, what is in it, and why some cannot be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
from bokeh.models.widgets.tables import NumberFormatter

from stxm_explorer.catalogue import MAX_ENTRIES, Catalogue, Entry
from stxm_explorer.descriptions import Description, describe
from stxm_explorer.jobs import Stopped
from stxm_explorer.messages import message, verbatim
from stxm_explorer.metadata import printed
from stxm_explorer.session import Session, notify
from stxm_explorer.thumbnails import thumbnail
from xstxm.errors import StxmError

_COLUMNS = {
    "picture": " ",
    "name": "File",
    "what": "Content",
    "first": "From eV",
    "last": "To eV",
    "energies": "Energies",
    "pixels": "Pixels",
    "pixel": "Pixel size",
    "size": "Size",
    "modified": "Modified",
}
_WIDTHS = {"picture": 54, "what": 104, "first": 78, "last": 74, "energies": 80, "pixels": 84, "pixel": 90, "size": 80}
_WIDTHS["modified"] = 92
_WIDTHS_OF_SPECTRA = {**{column: width for column, width in _WIDTHS.items() if column != "what"}, "name": 250}
_SPECTRA_LACK = ["picture", "pixels", "pixel"]
_ROW = 50
_OFTEN = 1.0
"""Seconds between two times that the table is filled, which is lost on one that is still being drawn."""
STYLE = """
.tabulator .tabulator-col-title { font-size: 12px }
.tabulator .tabulator-row .tabulator-cell { font-size: 13px; white-space: normal; overflow-wrap: anywhere; line-height: 1.15 }
.tabulator .tabulator-row .tabulator-cell[tabulator-field="picture"] { padding: 3px 4px; text-overflow: clip; text-align: center }
.tabulator .tabulator-row .tabulator-cell { display: inline-flex; align-items: center }
.tabulator .tabulator-row .tabulator-cell > * { flex: 1 }
.tabulator .tabulator-row { cursor: pointer }
.tabulator .tabulator-row.tabulator-selected { background-color: rgba(0, 114, 178, 0.18) !important; color: var(--mdc-theme-on-background) !important }
.tabulator .tabulator-row.tabulator-selected .tabulator-cell { color: var(--mdc-theme-on-background) }
"""


@dataclass(frozen=True)
class Look:
    """What is in a file, with a small picture of a stack."""

    description: Description
    picture: str = ""


class Files(pn.viewable.Viewer):
    """The files below the root folder; those that are seen are looked into, one after the other.

    Parameters
    ----------
    session
        Its choices are followed, and changed.
    found
        Called when the folder was looked through.
    """

    def __init__(self, session: Session, found: Callable[[], None]) -> None:
        super().__init__()
        self.session, self.state = session, session.state
        self._tell = found
        self.catalogue: Catalogue | None = None
        self.known: dict[str, Look] = {}
        self._entries: list[Entry] = []
        self._news: list[str] = []
        self._filled_at = 0.0
        self._listed: tuple[Any, ...] = ()
        self.table = _table()
        self.table.on_click(lambda event: self.take(str(self.table.value["name"].iloc[event.row])))
        self.table.param.watch(lambda *_: self._look_further(), ["page", "sorters"])
        view = self.state.view
        view.param.watch(lambda _: view.param.update(search=""), "listed")  # words for the other list
        self._hint = pmui.Alert(object="Looking for files ...", severity="info", width=480, margin=10)
        self._place = pn.Column(self._hint, sizing_mode="stretch_width")

    def __panel__(self) -> pn.viewable.Viewable:
        view = self.state.view.param
        listed = pmui.RadioButtonGroup.from_param(view.listed, label="", size="small", margin=(12, 10))
        search = pmui.TextInput.from_param(
            view.search, label="Search", placeholder="part of a name", size="small", width=260, margin=(6, 10)
        )
        again = pmui.Button(
            label="Look again", icon="refresh", variant="text", size="small", margin=(12, 10), on_click=self.look_again
        )
        return pn.Column(pn.Row(listed, search, again), self._place, sizing_mode="stretch_width")

    def refresh(self) -> None:
        """List the files that are asked for; the folder is looked through at the first visit."""
        if self.catalogue is None:
            if "catalogue" not in self.session.jobs.running:
                self.look_again()
            return
        wanted = (id(self.catalogue), self.state.view.listed, self.state.view.search, self.session.height)
        if wanted != self._listed:
            self._listed = wanted
            self._list(self.catalogue)
        open_now = {field.file for field in self.state.fields} | {*self.state.references.files}
        self.table.selection = [row for row, entry in enumerate(self._entries) if entry.name in open_now]

    def look_again(self, *_: Any) -> None:
        """Look through the folder anew."""

        def done(found: Catalogue) -> None:
            self.catalogue, self.known = found, {}
            self._tell()

        store = self.session.store
        self.session.jobs.start("catalogue", "Looking for files", lambda job: store.catalogue(), done, self._failed)

    def take(self, name: str) -> None:
        """Open a stack, or choose a table of spectra or leave it again; say why where that cannot be."""
        look = self.known.get(name)
        try:
            self.session.store.path(name)
        except StxmError as error:
            self.session.report(error)
            return
        if look is not None and look.description.content == "unreadable":
            notify("warning", look.description.problem)
        elif look is not None and look.description.content == "result":
            notify("info", f"{name} is a result, not a stack: open the stack that it was made from")
        elif self._is_spectra(name):
            files = self.state.references.files
            self.state.references.choose([*files, name] if name not in files else [f for f in files if f != name])
        else:
            self.state.open(name)

    def _is_spectra(self, name: str) -> bool:
        if name in self.known:
            return self.known[name].description.content == "references"
        return any(entry.name == name and entry.kind == "spectra" for entry in self._entries)

    def _failed(self, error: Exception) -> None:
        self.session.report(error)
        text = "Stopped: press Look again." if isinstance(error, Stopped) else message(error, self.session.store.root)
        self._say(text, "warning")

    def _list(self, catalogue: Catalogue) -> None:
        spectra = self.state.view.listed == "Spectra"
        words = self.state.view.search.lower().split()
        entries = [entry for entry in catalogue.entries if (entry.kind == "spectra") == spectra]
        self._entries = [entry for entry in entries if all(word in entry.name.lower() for word in words)]
        if not self._entries:
            what = "file with spectra" if spectra else "stack"
            self._say(
                f"No {what} has these words in its name: shorten the search."
                if entries
                else f"There is no {what} in the folder that this page serves. Put some there and look again.",
                "info",
            )
            return
        self._news = []
        self.table.selection = []  # rows of the table as it was
        self.table.param.update(
            page=1,
            page_size=max((self.session.height - 420) // _ROW, 5),
            hidden_columns=_SPECTRA_LACK if spectra else [],
            widths=_WIDTHS_OF_SPECTRA if spectra else _WIDTHS,
            value=_frame(_cells(entry, self.known.get(entry.name)) for entry in self._entries),
        )
        self._place[:] = [self.table]
        self._filled_at = time.monotonic()
        if not catalogue.complete:
            first = f"The first {MAX_ENTRIES:,} files are listed: serve a folder with fewer to see all."
            self._place.append(pmui.Alert(first, severity="info", margin=10))
        self._look_further()

    def _look_further(self) -> None:
        """Look into the next file that is seen and not known yet."""
        name = next((name for name in self._seen() if name not in self.known), None)
        rest = self._filled_at + _OFTEN - time.monotonic()
        if rest < 0:
            self._fill()
        elif name is None:
            self.session.jobs.soon(self._fill, int(1000 * rest))
        if name is None:
            return
        root, with_picture = self.session.store.root, self.state.view.listed == "Stacks"
        self.session.jobs.start(
            "files",
            "Reading files",
            lambda job: look_into(root, name, with_picture),
            lambda look: self._found(name, look),
            lambda error: None,  # stopped by the user: the rest is read on the next page
        )

    def _seen(self) -> list[str]:
        page, size = self.table.page or 1, self.table.page_size or 1
        return [str(name) for name in self.table.current_view["name"].iloc[(page - 1) * size : page * size]]

    def _found(self, name: str, look: Look) -> None:
        self.known[name] = look
        self._news.append(name)
        if (self.state.view.page, self.state.view.data) == ("Data", "Files"):
            self._look_further()
        else:
            self._listed = ()  # the table is not on the page: it is filled when it comes back

    def _fill(self) -> None:
        """Write into the table what was found since, all at once: it is drawn anew each time, and clicks may get lost."""
        rows = {entry.name: row for row, entry in enumerate(self._entries)}
        news = [rows[name] for name in self._news if name in rows]
        self._news, self._filled_at = [], time.monotonic()
        if news:
            cells = {row: _cells(self._entries[row], self.known[self._entries[row].name]) for row in news}
            self.table.patch({column: [(row, cells[row][column]) for row in news] for column in _COLUMNS})

    def _say(self, text: str, severity: str) -> None:
        self._hint.param.update(object=verbatim(text), severity=severity)
        self._place[:] = [self._hint]


def look_into(root: Path, name: str, with_picture: bool = True) -> Look:
    """Return what is in a file; never an error. Slow at first."""
    description = describe(root, name)
    if description.content != "stack" or not with_picture:
        return Look(description)
    try:
        return Look(description, thumbnail(root, name))
    except Exception as error:  # a frame that is broken: the rest of the file may do
        return Look(Description("unreadable", problem=message(error, root)))


def _cells(entry: Entry, look: Look | None) -> dict[str, Any]:
    told = look.description if look else Description("stack")
    low, high = told.energy_range or (float("nan"), float("nan"))
    return {
        "picture": look.picture if look else "",
        "name": entry.name,
        "what": _content(told) if look else "...",
        "first": low,
        "last": high,
        "energies": float(told.energies or "nan"),
        "pixels": " × ".join(map(str, told.pixels)),
        "pixel": " × ".join(map(printed, told.pixel_size.split(" x "))) if told.pixel_size else "",
        "size": float("nan") if entry.size is None else float(entry.size),
        "modified": f"{entry.modified:%Y-%m-%d}",
    }


def _content(told: Description) -> str:
    if told.content == "unreadable":
        return "cannot be read: click to see why"
    return ", ".join(told.names) or told.scan_type.removeprefix("sample ") or told.content


def _frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(_COLUMNS))


def _table() -> pn.widgets.Tabulator:
    plain = {"type": "plaintext"}
    number = partial(NumberFormatter, nan_format="", text_align="right")
    return pn.widgets.Tabulator(
        _frame([]),
        titles=_COLUMNS,
        widths=_WIDTHS,
        formatters={
            "picture": {"type": "image"},
            **dict.fromkeys(("name", "what", "pixels", "pixel", "modified"), plain),
            "first": number(format="0.0"),
            "last": number(format="0.0"),
            "energies": number(format="0"),
            "size": number(format="0.0 b"),
        },
        sortable={"picture": False},
        pagination="local",
        page_size=7,
        row_height=_ROW,
        configuration={"rowHeight": _ROW, "columnDefaults": {"tooltip": True}},
        stylesheets=[STYLE],
        layout="fit_columns",
        show_index=False,
        disabled=True,
        selectable=False,
        sizing_mode="stretch_width",
        margin=(0, 10),
    )
