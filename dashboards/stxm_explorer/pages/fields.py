"""The stacks that are open, each a named field, and what the one that is shown says of itself."""

from __future__ import annotations

from html import escape
from typing import Any

import panel as pn
import panel_material_ui as pmui

from stxm_explorer.descriptions import scans_in
from stxm_explorer.metadata import facts, steps
from stxm_explorer.parts import CHOICE, heading
from stxm_explorer.session import Session
from stxm_explorer.state import Field
from xstxm.errors import StxmError


class Fields(pn.viewable.Viewer):
    """Which field is shown, its name, and which scan of its file it is."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session, self.state = session, session.state
        self.list = pmui.MenuList(items=[], dense=True, sizing_mode="stretch_width", margin=(0, 4, 8, 4))
        self.list.on_click(self._choose_field)
        self.list.on_action("close", self._close)
        self.label = pmui.TextInput(label="Name of the field", **CHOICE)
        self.label.param.watch(self._rename, "value")
        self.scan = pmui.Select(label="Scan in the file", options=[], visible=False, **CHOICE)
        self.scan.param.watch(self._choose, "value")
        self.every = pmui.Button(
            label="Open every scan", size="small", variant="text", visible=False, on_click=self._open_every
        )
        self.path = pmui.TextInput(
            label="Open by name", placeholder="folder/stack.hdf5, then Enter", description=_BY_NAME, **CHOICE
        )
        self.path.param.watch(self._open, "value")
        self._scans: dict[str, dict[str, Any]] = {}
        self._looked_at = ""

    def __panel__(self) -> pn.viewable.Viewable:
        return pn.Column(
            heading("Open stacks"), self.list, self.label, self.scan, self.every, self.path, sizing_mode="stretch_width"
        )

    def refresh(self) -> None:
        """Follow the fields."""
        field = self.state.field
        items = [_item(field) for field in self.state.fields]
        if items != self.list.items:
            self.list.param.update(items=items, active=None)
        self.list.active = None if field is None else self.state.fields.index(field)
        self.label.param.update(visible=field is not None, value=field.label if field else "")
        if field is None:
            self._show_scans({})
        elif field.file != self._looked_at:
            self._look(field.file)
        else:
            self._show_scans(self._scans)

    def _look(self, file: str) -> None:
        """Find out which scans are in a file."""
        self._looked_at, self._scans = file, {}
        root = self.session.store.root

        def done(scans: dict[str, dict[str, Any]]) -> None:
            self._scans = scans
            self._show_scans(scans)

        # a file that cannot be read says so where its metadata are
        self.session.jobs.start("scans", "Reading file", lambda job: scans_in(root, file), done, lambda error: None)

    def _show_scans(self, scans: dict[str, dict[str, Any]]) -> None:
        field = self.state.field
        shown = next((name for name, options in scans.items() if field and options == _options(field)), None)
        self.scan.param.update(
            options=[*scans], value=shown or next(iter(scans), None), visible=bool(scans) and field is not None
        )
        self.every.visible = self.scan.visible

    def _choose(self, event: Any) -> None:
        field, options = self.state.field, self._scans.get(event.new)
        if field is None or options is None or field.file != self._looked_at or options == _options(field):
            return
        if options == next(iter(self._scans.values())) and not _options(field):
            return  # the first is what is open without a choice
        field.param.update(region=options.get("region"), entry=options.get("entry", ""))

    def _open_every(self, *_: Any) -> None:
        first = self.state.field
        if first is None or first.file != self._looked_at:
            return
        if not _options(first):
            first.param.update(**next(iter(self._scans.values()), {}))
        for options in [*self._scans.values()]:
            self.state.open(first.file, **options)
        self.state.view.field = first.label

    def _rename(self, event: Any) -> None:
        field = self.state.field
        if field is None or self.label.value == field.label:
            return
        try:
            self.state.rename(field, self.label.value)
        except StxmError as error:
            self.session.report(error)
            self.label.value = field.label

    def _choose_field(self, item: Any) -> None:
        self.state.view.field = item["label"]

    def _close(self, item: Any) -> None:
        for field in [field for field in self.state.fields if field.label == item["label"]]:
            self.state.close(field)

    def _open(self, event: Any) -> None:
        """Open what was typed."""
        name = event.new.strip()
        if not name:
            return
        try:
            self.session.store.path(name)
        except StxmError as error:
            self.session.report(error)
            return
        self.path.value = ""
        self.state.open(name)


_BY_NAME = "A file below the folder that this page serves, with the folders on the way."


def _item(field: Field) -> dict[str, Any]:
    which = [field.file, *([] if field.region is None else [f"region {field.region}"]), field.entry]
    return {
        "label": field.label,
        "secondary": ", ".join(part for part in which if part),
        "icon": "layers",
        "actions": [{"label": "Close", "action": "close", "icon": "close", "inline": True}],
    }


def _options(field: Field) -> dict[str, Any]:
    """Return the option that opens the scan of a field; none for the first by default."""
    found: dict[str, Any] = {} if field.region is None else {"region": field.region}
    return found | ({"entry": field.entry} if field.entry else {})


def metadata(stack: Any) -> str:
    """Return what a stack says of itself and how it was made, as HTML that is right in light and dark."""
    rows = [f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts(stack).items()]
    made = [
        f"<tr><th>{escape(time.replace('T', ' ').rstrip('Z'))}</th><td>{escape(f'{operation} {notes}'.strip())}</td></tr>"
        for time, operation, notes in steps(stack)
    ]
    return f"{_STYLE}<div class='facts'>{_rows('', rows)}{_rows('History (UTC)', made)}</div>"


def _rows(title: str, rows: list[str]) -> str:
    return f"<table>{f'<caption>{title}</caption>' if title else ''}{''.join(rows)}</table>" if rows else ""


_STYLE = """<style>
.facts { display: flex; flex-wrap: wrap; gap: 8px 40px; font-size: 13px; align-items: flex-start }
.facts caption { text-align: left; font-weight: 600; padding: 2px 0 4px }
.facts th { text-align: left; font-weight: 400; opacity: 0.7; padding: 2px 16px 2px 0; vertical-align: top; white-space: nowrap }
.facts td { padding: 2px 0; overflow-wrap: anywhere }
</style>"""
