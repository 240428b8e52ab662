"""The two texts of an Athena project, statements of Perl or JSON, as groups of named values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STATEMENT = re.compile(r"^(?:\$(old_group)|@(\w+))\s*=|^\[record\]", re.MULTILINE)
_TOKEN = re.compile(
    r"'(?P<quoted>[^'\\]*(?:\\.[^'\\]*)*)'|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<end>;)|=>|,|\s+"
    r"|(?P<bare>[^\s'()\[\]{},;=]+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Group:
    """A group of a project: its name, its settings, and its arrays as they are written."""

    name: str
    settings: Mapping[str, Any]
    arrays: Mapping[str, Sequence[Any]]


def parse(text: str) -> list[Group]:
    """Return the groups of a project, in its order.

    Nothing is evaluated: quoted strings and plain words are read, whatever they say.

    Raises
    ------
    ValueError
        The text is neither of the two forms; the message says what is wrong in it.
    """
    return _from_json(text) if text.lstrip().startswith("{") else list(_from_perl(text))


def _from_perl(text: str) -> Iterator[Group]:
    name, at = "", 0
    lists: dict[str, Any] = {}
    while match := _STATEMENT.search(text, at):
        at = match.end()
        if match[1]:
            values, at = _values(text, at)
            name, lists = (values or [""])[0], {}
        elif match[2]:
            lists[match[2]], at = _values(text, at)
        else:
            settings = lists.pop("args", [])
            yield Group(name, dict(zip(settings[::2], settings[1::2], strict=False)), lists)
            name, lists = "", {}
    if name:
        raise ValueError(f"no [record] after group {name!r}")


def _values(text: str, at: int) -> tuple[list[str], int]:
    """Return the values up to the semicolon, and the place after it; a list within the list is one empty value."""
    values: list[str] = []
    depth = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        kind = match.lastgroup
        if kind == "end":
            return values, at
        if kind == "open":
            depth += 1
            if depth == 2:
                values.append("")
        elif kind == "close":
            depth -= 1
        elif kind in ("quoted", "bare") and depth < 2:
            values.append(re.sub(r"\\([\\'])", r"\1", match[kind]) if kind == "quoted" else match[kind])
    raise ValueError(f"no end of the list in line {text.count(chr(10), 0, at) + 1}")


def _from_json(text: str) -> list[Group]:
    try:
        project = json.loads(text)
    except RecursionError:
        raise ValueError("lists within lists without end") from None
    groups = {name: group for name, group in project.items() if isinstance(group, dict)}
    order = project.get("_____order", list(groups))
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(groups):
        raise ValueError("an _____order of other groups than there are")
    return [_json_group(str(name), groups[str(name)]) for name in order]


def _json_group(name: str, group: Mapping[str, Any]) -> Group:
    settings = group.get("args", {})
    if isinstance(settings, list):
        settings = dict(zip(map(str, settings[::2]), settings[1::2], strict=False))
    if not isinstance(settings, dict):
        raise ValueError(f"no settings in group {name!r}")
    return Group(name, settings, {key: values for key, values in group.items() if isinstance(values, list)})
