"""Many scans as one tree: those in a file, a folder, a list or a mapping."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import xarray as xr

from xstxm.errors import FileFormatError, OptionError, StxmError
from xstxm.io import _sources, _stored
from xstxm.io._remote import is_url
from xstxm.io.folders import chunked, is_many, scans_of, told_once
from xstxm.io.formats import format_of
from xstxm.io.netcdf import NETCDF
from xstxm.io.results import open_result
from xstxm.io.zarr import ZARR

Given: TypeAlias = "str | os.PathLike[str]"


def open_nodes(paths: Given | Iterable[Given] | Mapping[str, Given], chunks: Any) -> xr.DataTree:
    """Return the tree of `xstxm.open_tree`.

    Raises
    ------
    FileFormatError
        Files that cannot be opened, all of them named, each with its reason; of a single one the error is its own.
    OptionError
        Two files that would have the same name in the tree.
    """
    named = _named(paths)
    nodes, reasons = told_once(named.values(), lambda: _opened(named, chunks))
    if reasons:
        for node in nodes.values():
            node.close()
        if len(named) == 1:
            raise next(iter(reasons.values()))
        do = "mend them, or leave them out of what is opened"
        raise FileFormatError(
            f"{len(reasons)} of {len(named)} files", "scans", "; ".join(map(str, reasons.values())), do
        )
    tree = xr.DataTree.from_dict(nodes)
    tree.set_close(_sources.closing(nodes.values()))
    return tree


def _opened(named: Mapping[str, Path], chunks: Any) -> tuple[dict[str, xr.Dataset], dict[str, Exception]]:
    """Return the scans of files by their names in the tree, and what is wrong with the others, by path."""
    nodes: dict[str, xr.Dataset] = {}
    reasons: dict[str, Exception] = {}
    for name, path in named.items():
        try:
            nodes |= _scans(name, path, chunks)
        except (StxmError, OSError) as error:
            reasons[str(path)] = error
    return nodes, reasons


def _named(paths: Given | Iterable[Given] | Mapping[str, Given]) -> dict[str, Path]:
    """Return the name in the tree of each file."""
    if isinstance(paths, Mapping):
        _refuse_urls(paths.values())
        return {str(name): Path(path).expanduser() for name, path in paths.items()}
    if isinstance(paths, str | os.PathLike):
        _refuse_urls([paths])
        files = [path for path, _ in scans_of(paths)] if is_many(paths) else [Path(paths).expanduser()]
    else:
        files = [Path(path).expanduser() for path in _refuse_urls(paths)]
    if not files:
        raise OptionError("paths", [], "give at least one file")
    stems = [path.stem for path in files]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        do = f"two files are called {_sources.listed(twice)}: name each, e.g. {{'{twice[0]}': path, '{twice[0]}_2': other}}"
        raise OptionError("paths", [str(path) for path in files], do)
    return dict(zip(stems, files, strict=True))


def _refuse_urls(paths: Iterable[Given]) -> list[Given]:
    given = list(paths)
    for path in given:
        if is_url(path):
            do = 'open each with xstxm.open_stack, and join them: xr.DataTree.from_dict({"name": stack})'
            raise OptionError("paths", path, do)
    return given


def _scans(name: str, path: Path, chunks: Any) -> dict[str, xr.Dataset]:
    """Return the scans of one file by their names in the tree."""
    found = format_of(path)
    if found in (NETCDF, ZARR):
        return _stored_scans(name, open_result(path), chunks)
    scans = found.scans(path) if found.scans is not None else {}
    if len(scans) < 2:
        return {name: chunked(found.open(path), chunks)}
    return {f"{name}/{scan}": chunked(found.open(path, **options), chunks) for scan, options in scans.items()}


def _stored_scans(name: str, stored: _stored.Stored, chunks: Any) -> dict[str, xr.Dataset]:
    if not isinstance(stored, xr.DataTree):
        return {name: chunked(_stored.only_dataset(stored, name), chunks)}
    nodes = {node.path: node.to_dataset(inherit=True) for node in stored.subtree if node.data_vars}
    for node in nodes.values():
        node.set_close(stored.close)
    return {f"{name}{'' if path == '/' else path}": chunked(node, chunks) for path, node in nodes.items()}
