"""The text of an SDF header as nested Python values.

The grammar: a file is fields ``NAME = value;``, a value is a struct ``{...}``, an array
``(count, item, ...)``, a quoted string or a bare word. Real headers carry stray braces, miss
semicolons and leave values empty; all of that is forgiven, an end in the middle is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from xstxm.errors import CorruptFileError
from xstxm.io._sources import COPY_AGAIN

Struct: TypeAlias = "dict[str, Any]"

_TOKEN = re.compile(r'"(?P<text>[^"]*)"|(?P<mark>[{}();,=])|(?P<word>[^\s"{}();,=](?:[^"{}();,=\r\n]*[^\s"{}();,=])?)')
_END = ("end", "")
_DEEPEST = 32
"""Structs and arrays inside each other; real headers have six."""
_DIGITS = 15
"""A whole number with more is a float; to turn a million digits into an int takes time, or fails."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE)


@dataclass(frozen=True)
class Array:
    """An array of a header: how many items it announces, and the items."""

    count: int
    items: list[Any]


def parse(text: str, name: str) -> Struct:
    """Return the fields of a header.

    Raises
    ------
    CorruptFileError
        The text ends inside a struct or an array, or nests them endlessly.
    """
    return _Parser(text, name).fields(closing="")


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self._tokens = self._tokenize(text)
        self._name = name
        self._next = next(self._tokens)
        self._depth = 0

    @staticmethod
    def _tokenize(text: str) -> Iterator[tuple[str, str]]:
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup or "mark"
            yield (match[0], "") if kind == "mark" else (kind, match[kind])
        while True:
            yield _END

    def _take(self) -> tuple[str, str]:
        token, self._next = self._next, next(self._tokens)
        return token

    def fields(self, closing: str) -> Struct:
        found: Struct = {}
        while True:
            kind, word = self._take()
            if kind == closing:
                return found
            if kind == "end":
                if not closing:
                    return found
                raise CorruptFileError(
                    self._name, f"a header that closes its {closing!r}", "its end before that", COPY_AGAIN
                )
            if kind == "word" and self._next[0] == "=":
                self._take()
                found[word] = self._value()

    def _value(self) -> Any:
        kind = self._next[0]
        if kind in ("{", "("):
            self._take()
            return self._nested(kind)
        if kind in ("text", "word"):
            kind, word = self._take()
            return word if kind == "text" else _number(word)
        return None

    def _nested(self, kind: str) -> Any:
        if self._depth == _DEEPEST:
            expected = f"structs and arrays nested at most {_DEEPEST} deep"
            raise CorruptFileError(self._name, expected, "more", COPY_AGAIN)
        self._depth += 1
        found = self.fields(closing="}") if kind == "{" else self._array()
        self._depth -= 1
        return found

    def _array(self) -> Array:
        items: list[Any] = []
        while True:
            kind = self._next[0]
            if kind == "end":
                raise CorruptFileError(self._name, "a header that closes its ')'", "its end before that", COPY_AGAIN)
            if kind in ("{", "(", "text", "word"):
                items.append(self._value())
                continue
            self._take()
            if kind == ")":
                count = items[0] if items and isinstance(items[0], int) else -1
                return Array(count, items[1:])


def _number(word: str) -> Any:
    """Return a bare word as int, float, bool or, failing that, as it is."""
    if word in ("true", "false"):
        return word == "true"
    if not _NUMBER.fullmatch(word):
        return word
    whole = word.lstrip("+-").isdecimal() and len(word) <= _DIGITS
    return int(word) if whole else float(word)
