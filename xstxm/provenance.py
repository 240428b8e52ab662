"""Provenance: every public verb leaves one line of history and one machine-readable entry.

``attrs["history"]`` is a CF-style text, ``attrs["xstxm_provenance"]`` a JSON array with an entry per
operation. Only the outermost call writes; nothing is computed; arrays are described, never stored. What a
Dataset says about itself, its title and its sample, stays with every Dataset that is made from it.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from xstxm import units
from xstxm.errors import SchemaError

P = ParamSpec("P")
R = TypeVar("R")

HISTORY = "history"
RECORD = "xstxm_provenance"

_notes: ContextVar[list[str] | None] = ContextVar("notes of the recorded verb that is running", default=None)


def note(text: str) -> None:
    """Add to the record of the verb that is running what it decided by itself."""
    notes = _notes.get()
    if notes is not None and text not in notes:
        notes.append(text)


def recorded(verb: Callable[P, R]) -> Callable[P, R]:
    """Append to the result of a verb what was called, with which parameters.

    The first argument is the primary input: its history is carried on, whatever happened to the
    attributes on the way, and from Dataset to Dataset its other attributes too, where the result does not say
    otherwise. Readers, whose first argument is a path, start a new history. Of a tree every stack has its own, and the
    record names all; one that is given to a verb of one stack is refused.
    """
    signature = inspect.signature(verb)
    first = next(iter(signature.parameters))

    @functools.wraps(verb)
    def record_call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _notes.get() is not None:
            return verb(*args, **kwargs)
        if any(isinstance(value, xr.DataTree) for value in (*args, *kwargs.values())):
            _require_no_tree(verb, signature.bind(*args, **kwargs).arguments)
        notes: list[str] = []
        token = _notes.set(notes)
        try:
            result = verb(*args, **kwargs)
        finally:
            _notes.reset(token)
        bound = signature.bind(*args, **kwargs)
        given = [name for name in bound.arguments if name != first]
        bound.apply_defaults()
        primary = bound.arguments.pop(first)
        parameters = {name: describe(value) for name, value in bound.arguments.items()}
        return _append(result, primary, verb.__name__, parameters, given, notes)

    return record_call


def _require_no_tree(verb: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse a tree where a verb takes none: a node of a tree looks like the Dataset in it."""
    for name, value in arguments.items():
        if isinstance(value, xr.DataTree) and not _takes_tree(verb, name):
            path = next((path for path, node in value.subtree_with_keys if node.data_vars), ".")
            node = "tree" if path == "." else f"tree[{path!r}]"
            raise SchemaError(
                f"{name!r} of {verb.__name__} is a DataTree, wanted one Dataset: give that of a node, {node}.to_dataset(); "
                "tree.stxm has the verbs that are applied to every node"
            )


def _takes_tree(verb: Callable[..., Any], name: str) -> bool:
    """Tell whether an argument of a verb may be a tree: its annotation says so, or an alias in it; or they are not its own."""
    annotation = str(verb.__annotations__.get(name, "Any"))
    told = [annotation, *(str(verb.__globals__.get(word, "")) for word in re.findall(r"\w+", annotation))]
    return hasattr(verb, "__wrapped__") or annotation == "Any" or any("DataTree" in text for text in told)


def _append(
    result: Any, primary: Any, operation: str, parameters: dict[str, Any], given: list[str], notes: list[str]
) -> Any:
    """Return the result with the record of the primary input, or of the file, and one entry more."""
    if not isinstance(result, xr.DataArray | xr.Dataset | xr.DataTree):
        return result
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {
        "operation": operation,
        "parameters": parameters,
        "version": _version(),
        "time": now,
        "input": _describe_input(primary),
        **({"notes": "; ".join(notes)} if notes else {}),
    }
    said = ", ".join(f"{name}={_text(parameters[name])}" for name in given)
    line = "; ".join([f"{now} xstxm {entry['version']}: {operation}({said})", *notes])
    if isinstance(result, xr.DataTree):
        return _append_to_nodes(result, primary, line, entry)
    out = result.copy(deep=False)
    out.set_close(result._close)  # a copy forgets its file
    out.attrs = _with_record(result, primary, line, entry)
    return out


def _append_to_nodes(result: xr.DataTree, primary: Any, line: str, entry: dict[str, Any]) -> xr.DataTree:
    out = result.copy()
    out.set_close(result._close)
    for path, node in out.subtree_with_keys:
        if node.data_vars:
            source = primary[path].to_dataset() if isinstance(primary, xr.DataTree) else primary
            node.attrs = _with_record(node.to_dataset(), source, line, entry)
    return out


def _with_record(result: xr.DataArray | xr.Dataset, primary: Any, line: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a result with one line and one entry more."""
    both = isinstance(primary, xr.Dataset) and isinstance(result, xr.Dataset)
    source = (primary.attrs if isinstance(primary, xr.DataArray | xr.Dataset) else {}) or result.attrs
    before = [source[HISTORY]] if source.get(HISTORY) else []
    return {
        **(primary.attrs if both else {}),
        **result.attrs,
        HISTORY: "\n".join([*before, line]),
        RECORD: json.dumps([*_stored(source), entry]),
    }


def _describe_input(primary: Any) -> Any:
    """Describe the first argument; of a path only the file's name, which is the same on every machine."""
    if isinstance(primary, xr.DataTree):
        return {path: describe(node.to_dataset()) for path, node in primary.subtree_with_keys if node.data_vars}
    if isinstance(primary, Mapping) and not isinstance(primary, xr.Dataset):
        return {str(name): _describe_input(item) for name, item in primary.items()}
    if isinstance(primary, list | tuple):
        return [_describe_input(item) for item in primary]
    return Path(primary).name if isinstance(primary, str | Path) else describe(primary)


@functools.cache
def _version() -> str:
    import xstxm

    return xstxm.__version__


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def describe(value: Any) -> Any:
    """Return a JSON-able value: numbers and words as they are, arrays as a description."""
    if isinstance(value, xr.DataArray):
        sizes = ", ".join(f"{dim}: {size}" for dim, size in value.sizes.items())
        return f"<array {value.name or ''} ({sizes})>"
    if isinstance(value, xr.Dataset):
        sizes = ", ".join(f"{dim}: {size}" for dim, size in value.sizes.items())
        return f"<dataset ({sizes}) with {', '.join(map(str, value.data_vars))}>"
    if isinstance(value, xr.DataTree):
        return f"<tree ({', '.join(path for path, node in value.subtree_with_keys if node.data_vars)})>"
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 16 else f"<array {value.dtype} {value.shape}>"
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [describe(item) for item in value]
    if units.is_quantity(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"<{type(value).__name__}>"


def entries(obj: xr.DataArray | xr.Dataset) -> list[dict[str, Any]]:
    """Return the recorded operations of an object as they are stored, oldest first."""
    return _stored(obj.attrs)


def _stored(attrs: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return the entries in the attributes; none where another program broke them."""
    try:
        stored = json.loads(attrs.get(RECORD, "[]"))
    except (json.JSONDecodeError, TypeError):
        return []
    return [entry for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []


def history(obj: xr.DataArray | xr.Dataset) -> pd.DataFrame:
    """Return the recorded operations of an object as a table, oldest first."""
    columns = ["time", "operation", "parameters", "input", "version", "notes"]
    return pd.DataFrame([{"notes": "", **entry} for entry in entries(obj)], columns=columns)
