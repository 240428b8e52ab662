"""Files of TOML that this package writes and reads: whole or not at all, marked with what they are."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xstxm.errors import FileFormatError, SchemaError, shown
from xstxm.io._endings import require_ending
from xstxm.io._replacing import replacing
from xstxm.io._sources import Source, called, read_head

LARGEST = 64 * 1024**2


def write_toml(table: Mapping[str, Any], path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a table, which appears at once when it is complete.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    SchemaError
        A text in it cannot be written as UTF-8.
    """
    require_ending(path, "toml")
    import tomli_w

    with replacing(path, overwrite) as (target, part):
        try:
            part.write_bytes(tomli_w.dumps(table).encode("utf-8"))
        except UnicodeEncodeError as error:
            raise SchemaError(
                f"{target.name}: half a character in {shown(error.object[max(error.start - 9, 0) :])}"
            ) from error
    return target


def read_toml(source: Source, mark: str, version: int, *, what: str, do: str) -> dict[str, Any]:
    """Read a table that says ``mark = version``.

    Raises
    ------
    FileFormatError
        It is no TOML, has another mark or more than 64 MiB.
    """
    name = called(source)
    data = read_head(source, LARGEST + 1)
    if len(data) > LARGEST:
        raise FileFormatError(name, f"{what} of at most {LARGEST // 1024**2} MiB", "more", do)
    try:
        table = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(name, f"{what}, which is TOML", shown(str(error)), do) from error
    if table.get(mark) != version:
        found = shown(table[mark]) if mark in table else "no such line"
        raise FileFormatError(name, f"{mark} = {version}", found, do)
    return table


def plain(value: Any) -> Any:
    """Return attributes or parameters as TOML can hold them: None, which it lacks, as a table."""
    if value is None:
        return {"type": "none"}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return value if isinstance(value, bool | int | float | str) else str(value)


def unplain(value: Any) -> Any:
    """Return what `plain` was given."""
    if isinstance(value, Mapping):
        return None if value == {"type": "none"} else {key: unplain(item) for key, item in value.items()}
    return [unplain(item) for item in value] if isinstance(value, list) else value
