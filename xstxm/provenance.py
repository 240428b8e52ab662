"""Provenance: every public verb leaves one line of history and one machine-readable entry.

``attrs["history"]`` is a CF-style text, ``attrs["xstxm_provenance"]`` a JSON array with an entry per
operation. Only the outermost call writes; nothing is computed; arrays are described, never stored: what they were, a
digest of those in memory, and the record of how they were made. What a
Dataset says about itself, its title and its sample, stays with every Dataset that is made from it.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from xstxm import units
from xstxm._device import check_devices
from xstxm._digests import digest_if_cheap
from xstxm.errors import SchemaError

P = ParamSpec("P")
R = TypeVar("R")

HISTORY = "history"
RECORD = "xstxm_provenance"
MARKS = frozenset({"array", "input", "type"})
"""Keys that say what a table in a record stands for."""

_WRITTEN = 256
"""Most numbers of a plain row, such as energies, that a record holds in full."""
_DEPTH = 2
"""How far the records of arrays are followed into those of theirs."""

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
        check_devices(verb, {first: args, **kwargs})
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
        said = ", ".join(f"{name}={_text(describe(bound.arguments[name]))}" for name in given)
        parameters = {name: kept(value) for name, value in bound.arguments.items()}
        return _append(result, primary, verb.__name__, parameters, said, notes)

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


def _append(result: Any, primary: Any, operation: str, parameters: dict[str, Any], said: str, notes: list[str]) -> Any:
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
        "output": describe(result),
        **({"notes": "; ".join(notes)} if notes else {}),
    }
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


def kept(value: Any) -> Any:
    """Return what a record keeps of a parameter: all of it, except of arrays, which are described."""
    if isinstance(value, xr.DataArray | xr.Dataset):
        return _kept_array(value, _pruned(_stored(value.attrs), _DEPTH))
    if isinstance(value, np.ndarray) and value.ndim:
        short = value.size <= 16 or (value.ndim == 1 and value.size <= _WRITTEN)
        return value.tolist() if short and value.dtype.kind in "iufUS" else _kept_array(value, [])
    if isinstance(value, np.ndarray):
        return value.item()
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not MARKS & value.keys():
            return {key: kept(item) for key, item in value.items()}
        return {"type": "mapping", "items": [[kept(key), kept(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple | set):
        return [kept(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "type": type(value).__name__,
            **{field.name: kept(getattr(value, field.name)) for field in fields(value)},
        }
    if units.is_quantity(value) and np.ndim(value):
        return [str(item) for item in value]
    return describe(value)


def _kept_array(array: Any, made_by: list[dict[str, Any]]) -> dict[str, Any]:
    found = digest_if_cheap(array)
    text = f"<array {array.dtype} {array.shape}>" if isinstance(array, np.ndarray) else describe(array)
    return {"array": text, **({"digest": found} if found else {}), **({"from": made_by} if made_by else {})}


def _pruned(record: Any, depth: int) -> Any:
    """Return a record in which the records of arrays go `depth` deep: one that is its own input would double each time."""
    if isinstance(record, list):
        return [_pruned(item, depth) for item in record]
    if not isinstance(record, Mapping):
        return record
    inner = {"from": depth - 1} if "array" in record else {}
    return {key: _pruned(item, inner.get(key, depth)) for key, item in record.items() if depth or key not in inner}


def shortened(parameters: Any) -> Any:
    """Return parameters of a record with arrays by their description alone."""
    if isinstance(parameters, Mapping):
        if "array" in parameters:
            return parameters["array"]
        return {name: shortened(value) for name, value in parameters.items()}
    return [shortened(item) for item in parameters] if isinstance(parameters, list) else parameters


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
