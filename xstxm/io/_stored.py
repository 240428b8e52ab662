"""Stacks and results as netCDF or Zarr hold them, and back, exactly: a tree of Datasets, whose odd attributes are described."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xstxm import units as _units
from xstxm.errors import CorruptFileError, FileFormatError, SchemaError, StxmError
from xstxm.io import _sources
from xstxm.provenance import RECORD

Stored: TypeAlias = "xr.Dataset | xr.DataArray | xr.DataTree"

STORED_AS = "xstxm_stored_as"
KINDS = "xstxm_kinds"
_UNNAMED = "__xarray_dataarray_variable__"
_RESERVED = {
    "_FillValue",
    "missing_value",
    "scale_factor",
    "add_offset",
    "dtype",
    "coordinates",
    "calendar",
    "_Unsigned",
}
_RESERVED |= {STORED_AS, KINDS}


def to_tree(obj: Stored) -> xr.DataTree:
    """Return a stack or result as the tree that is stored: the root says what it was.

    Raises
    ------
    SchemaError
        Names, values or attributes that no file can hold.
    """
    if isinstance(obj, xr.DataTree):
        nodes = {path: node.to_dataset(inherit=False) for path, node in obj.subtree_with_keys}
        said: dict[str, Any] = {"kind": "DataTree", "name": obj.name}
    elif isinstance(obj, xr.DataArray):
        name = obj.name if isinstance(obj.name, str) and obj.name not in obj.coords else _UNNAMED
        nodes, said = {".": obj.to_dataset(name=name)}, {"kind": "DataArray", "name": obj.name}
    elif isinstance(obj, xr.Dataset):
        nodes, said = {".": obj}, {"kind": "Dataset"}
    else:
        raise SchemaError(f"a {type(obj).__name__} cannot be stored: give a Dataset, a DataArray or a DataTree")
    packed = {path: _packed(_units.dequantify(node), path) for path, node in nodes.items()}
    packed["."].attrs[STORED_AS] = json.dumps(said)
    return xr.DataTree.from_dict({"/" if path == "." else path: node for path, node in packed.items()})


class _Guarded(BackendArray):
    """A variable of a file, whose damage is told as such when its numbers are read."""

    def __init__(self, variable: xr.Variable, file: object, name: str) -> None:
        self.shape, self.dtype = variable.shape, variable.dtype
        self._variable, self._file, self._name = variable, file, name

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        with _sources.guarded(self._file, f"the numbers of {self._name}"):
            return np.asarray(self._variable.isel(dict(zip(self._variable.dims, key, strict=True))).values)


def files_of(variable: xr.Variable) -> set[object]:
    """Return the files from which numbers that are not read yet come, as far as this package opened them."""
    layers = [] if variable.chunks is None else variable.data.dask.layers.values()
    single = [task for layer in layers if len(layer) == 1 for task in dict(layer).values()]
    held: list[Any] = [variable._data, *(getattr(task, "value", task) for task in single)]
    return {item._file for item in map(_innermost, held) if isinstance(item, _Guarded)}


def _innermost(wrapped: Any) -> Any:
    """Return what lies in all the wrappers that xarray puts around an array of a file."""
    while wrapped is not None and not isinstance(wrapped, _Guarded):
        wrapped = getattr(wrapped, "array", None)
    return wrapped


def opened(file: object, expected: str, open_tree: Callable[[], xr.DataTree]) -> Stored:
    """Return what is stored in a file; its damage is told as such, now or when numbers are read.

    Raises
    ------
    CorruptFileError
        The file is torn.
    """
    try:
        tree = open_tree()
        return _from_tree(tree, file)
    except (StxmError, FileNotFoundError):
        raise
    except Exception as error:  # a torn file fails anywhere below xarray, with anything
        raise CorruptFileError(file, expected, _sources.short(error), _sources.COPY_AGAIN) from error


def _guarded(node: xr.Dataset, file: object) -> xr.Dataset:
    """Return a Dataset whose numbers are still in the file, behind guards."""
    guards = {}
    for name, variable in node.variables.items():
        if name not in node.indexes:
            lazy: Any = indexing.LazilyIndexedArray(_Guarded(variable, file, str(name)))
            cached = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))
            guards[name] = xr.Variable(variable.dims, cached, variable.attrs, variable.encoding)
    return node.assign(guards)


def _from_tree(tree: xr.DataTree, file: object) -> Stored:
    """Return what was stored; a tree that xarray wrote without saying what it is stays a tree, or its only Dataset."""
    said = _json_of(tree.attrs.get(STORED_AS))
    nodes = {path: _unpacked(_guarded(node.to_dataset(inherit=False), file)) for path, node in tree.subtree_with_keys}
    kind = said.get("kind", "Dataset" if len(nodes) == 1 else "DataTree")
    if kind == "DataTree":
        out: Stored = xr.DataTree.from_dict(
            {"/" if p == "." else p: n for p, n in nodes.items()}, name=said.get("name")
        )
    elif kind == "DataArray" and len(nodes["."].data_vars) == 1:
        (array,) = nodes["."].data_vars.values()
        out = array.rename(said.get("name"))
    else:
        out = nodes["."]
    out.set_close(tree.close)
    return out


def only_dataset(obj: Stored, name: object) -> xr.Dataset:
    """Return the Dataset of a file, or say how to open what it holds."""
    if isinstance(obj, xr.Dataset):
        return obj
    if isinstance(obj, xr.DataArray):
        out = obj.to_dataset(name=obj.name or "intensity")
        out.set_close(obj.close)
        return out
    obj.close()
    raise FileFormatError(name, "one Dataset", "a tree", "open it with xstxm.open_tree or xstxm.open_result")


def dropped(stack: xr.Dataset, names: str | Iterable[str] | None) -> xr.Dataset:
    """Return a stack without some variables, still closable."""
    if names is None:
        return stack
    out = stack.drop_vars([names] if isinstance(names, str) else list(names), errors="ignore")
    out.set_close(stack.close)
    return out


def _packed(node: xr.Dataset, path: str) -> xr.Dataset:
    """Return a Dataset without encodings, whose attributes every format can hold."""
    node = node.drop_encoding()
    for name in node.variables:
        _check_variable(name, node[name], path)
    variables = {name: variable.copy(deep=False) for name, variable in node.variables.items()}
    for name, variable in variables.items():
        variable.attrs = _packed_attrs(variable.attrs, str(name), variable.dtype)
    out = xr.Dataset(
        {name: variables[name] for name in node.data_vars}, {name: variables[name] for name in node.coords}
    )
    return out.assign_attrs(_packed_attrs(node.attrs, f"node {path}"))


def _check_variable(name: Any, array: xr.DataArray, path: str) -> None:
    if not isinstance(name, str) or "/" in name or not name.strip("."):
        raise SchemaError(f"no variable of a file can be called {name!r} (node {path}): rename it first")
    if len(array.dims) == 1 and name in array.indexes and array.indexes[name].nlevels > 1:
        raise SchemaError(f"{name!r} is a MultiIndex: call .reset_index({name!r}) first")
    if array.dtype == object and not all(isinstance(value, str) for value in np.ravel(np.asarray(array))):
        raise SchemaError(f"{name!r} holds Python objects: convert it to numbers or words first, e.g. .astype(str)")
    if array.dtype.kind in "mM" and "units" in array.attrs:
        raise SchemaError(f"{name!r} holds dates, which have no units: remove that attribute first")
    if array.dtype.kind in "fiu" and " since " in str(array.attrs.get("units", "")):
        raise SchemaError(f"{name!r} counts time in {array.attrs['units']!r}: convert it to dates first, xr.decode_cf")


def _packed_attrs(attrs: Mapping[Any, Any], where: str, dtype: np.dtype | None = None) -> dict[str, Any]:
    """Return attributes as words, numbers and arrays, and with them which Python type each one was."""
    refused = sorted(str(name) for name in attrs if name in _RESERVED)
    if refused:
        raise SchemaError(
            f"{where!r} has attributes that files use themselves: {', '.join(refused)}: remove them first"
        )
    kinds = {str(name): _kind(value, f"{where}: attribute {name}") for name, value in attrs.items()}
    kinds = {name: kind for name, kind in kinds.items() if kind != "str"}
    if dtype is not None and dtype.kind in "mM":
        kinds[""] = str(dtype)
    plain = {str(name): _plain(value) for name, value in attrs.items()}
    return {**plain, KINDS: json.dumps(kinds)} if kinds else plain


def _kind(value: Any, where: str) -> str:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufU":
        shape = json.dumps(value.shape) if isinstance(value, np.ndarray) else ""
        return f"{'array' if shape else 'scalar'} {value.dtype.str} {shape}".rstrip()
    if value is None or isinstance(value, bool | int | float | str):
        return type(value).__name__
    if isinstance(value, list | tuple):
        try:
            return f"{type(value).__name__} {json.dumps(value)}"
        except TypeError:
            pass
    raise SchemaError(f"{where} is a {type(value).__name__}, which no file holds: make it a number, a word or an array")


def _plain(value: Any) -> Any:
    """Return an attribute as netCDF and Zarr can both show it."""
    if value is None or isinstance(value, list | tuple):
        return json.dumps(value)
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, np.ndarray):
        plain = value.astype("int8") if value.dtype == bool else value
        return plain.ravel().tolist() if plain.size else ""
    return value


def _unpacked(node: xr.Dataset) -> xr.Dataset:
    """Return a Dataset as it was before it was stored."""
    close = node.close
    for variable in node.variables.values():
        dtype = _json_of(variable.attrs.get(KINDS)).get("")
        variable.attrs = _unpacked_attrs(variable.attrs)
        if dtype and str(variable.dtype) != dtype:
            variable.data = variable.data.astype(dtype)
    node.attrs = _unpacked_attrs(node.attrs)
    node.set_close(close)
    return node


def _unpacked_attrs(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    kinds = _json_of(attrs.get(KINDS))
    kept = {str(name): value for name, value in attrs.items() if name not in (KINDS, STORED_AS)}
    return {name: _restored(value, str(kinds.get(name, "str"))) for name, value in kept.items()}


def _restored(value: Any, kind: str) -> Any:
    word, _, detail = kind.partition(" ")
    if word in ("array", "scalar"):
        dtype, _, shape = detail.partition(" ")
        array = np.asarray([] if isinstance(value, str) and not value else value).astype(dtype)
        return array.reshape(json.loads(shape)) if word == "array" else array.reshape(())[()]
    if word == "NoneType":
        return None
    if word in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[word](json.loads(detail))
    return {"int": int, "float": float, "bool": bool}.get(word, lambda same: same)(value)


def _json_of(text: Any) -> dict[str, Any]:
    """Return a described mapping, an empty one where another program broke it."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def is_ours(attrs: Mapping[Any, Any]) -> bool:
    """Tell by the attributes of its root whether a file holds a stack or result of this package, whoever wrote it."""
    said = attrs.get("Conventions", "")
    said = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return STORED_AS in attrs or RECORD in attrs or (isinstance(said, str) and said.startswith("xstxm"))
