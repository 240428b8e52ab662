"""The record of a stack in a NeXus file: an NXprocess for each step, and the history in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import xarray as xr

from xstxm.errors import MetadataWarning, warn
from xstxm.io._hdf5 import Store, attribute, field_text
from xstxm.io.nxstxm import dialects
from xstxm.io.nxstxm.layout import children, nexus_group
from xstxm.provenance import HISTORY, RECORD, entries

if TYPE_CHECKING:
    import h5py


def write_record(entry: h5py.Group, stack: xr.Dataset) -> None:
    """Write each recorded step as an NXprocess, and the history in words as the notes of the entry."""
    if stack.attrs.get(HISTORY):
        _note(entry, "notes", "text/plain", str(stack.attrs[HISTORY]))
    steps = entries(stack)
    if not steps and stack.attrs.get(RECORD, "[]") != "[]":
        warn(f"the record in attrs[{RECORD!r}] cannot be read: it is not written", MetadataWarning)
    for number, step in enumerate(steps, start=1):
        process = nexus_group(entry, f"process_{number}", "NXprocess")
        process["program"], process["sequence_index"] = "xstxm", number
        for field, said in (("version", "version"), ("date", "time")):
            if isinstance(step.get(said), str):
                process[field] = step[said]
        _note(process, "note", "application/json", json.dumps(step), str(step.get("operation", "")))


def _note(parent: h5py.Group, name: str, kind: str, data: str, description: str = "") -> None:
    note = nexus_group(parent, name, "NXnote")
    note["type"], note["data"] = kind, data
    if description:
        note["description"] = description


def read_record(store: Store, entry: h5py.Group) -> dict[str, str | None]:
    """Return what `write_nxstxm` noted of the stack's past, so that it goes on; without a record that is broken."""
    if field_text(entry, "process/program") == "xstxm":  # as it was before each step had a process of its own
        said, stored = field_text(entry, "process/note/description"), field_text(entry, "process/note/data") or "[]"
    elif dialects.wrote("xstxm", entry):
        said, stored = field_text(entry, "notes/data"), _chain(entry)
    else:
        return {}
    steps = _steps(stored)
    if steps is None:
        warn(f"{store.name}: the record of the steps in {entry.name} is broken: it is left out", MetadataWarning)
    return {HISTORY: said, RECORD: json.dumps(steps) if steps else None}


def _chain(entry: h5py.Group) -> str:
    """Return the steps that this package recorded, in their order, as a list in JSON; nothing where one is missing."""
    processes = [group for group in children(entry).values() if attribute(group, "NX_class") == "NXprocess"]
    ours = [group for group in processes if field_text(group, "program") == "xstxm"]
    places = {field_text(group, "sequence_index"): group for group in ours}
    order = [str(number) for number in range(1, len(ours) + 1)]
    if set(places) != set(order):
        return ""
    return f"[{', '.join(field_text(places[number], 'note/data') or '' for number in order)}]"


def _steps(stored: str) -> list[dict[str, Any]] | None:
    """Return the steps in a text of JSON, None where it is broken."""
    try:
        found = json.loads(stored)
    except (json.JSONDecodeError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(step, dict) for step in found) else None
