"""The grammar of SDF headers."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xstxm.errors import CorruptFileError
from xstxm.io.sdf.grammar import Array, parse


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("A = 1; B = -2.5; C = 6.2774386e+066;", {"A": 1, "B": -2.5, "C": 6.2774386e66}, id="numbers"),
        pytest.param("A = true; B = false; C = moveto;", {"A": True, "B": False, "C": "moveto"}, id="words"),
        pytest.param('A = "x;{=}(,"; B = "";', {"A": "x;{=}(,", "B": ""}, id="marks in quotes"),
        pytest.param("A = ; B = {C = ;};", {"A": None, "B": {"C": None}}, id="empty values"),
        pytest.param("A = (3, 1,\n\t2, 3);", {"A": Array(3, [1, 2, 3])}, id="array"),
        pytest.param("A = (2, {B = 1;}, {B = 2});", {"A": Array(2, [{"B": 1}, {"B": 2}])}, id="structs"),
        pytest.param("A = (1,\r\n{ B = 1;};\r\n);", {"A": Array(1, [{"B": 1}])}, id="semicolon in an array"),
        pytest.param("A = (1, {B = 1;}}); C = 2;", {"A": Array(1, [{"B": 1}]), "C": 2}, id="stray brace in an array"),
        pytest.param("A = 1;} ); B = 2;", {"A": 1, "B": 2}, id="stray marks outside"),
        pytest.param("A = {B = 1} C = 2", {"A": {"B": 1}, "C": 2}, id="no semicolons"),
        pytest.param("\n\n \tA=1 ;", {"A": 1}, id="blanks anywhere"),
        pytest.param("A = Sample X; B = 1.#QNAN;", {"A": "Sample X", "B": "1.#QNAN"}, id="words with blanks"),
        pytest.param("", {}, id="nothing"),
    ],
)
def test_parse__understands(text, fields):
    assert parse(text, "scan.hdr") == fields


@pytest.mark.parametrize("text", ["A = {B = 1;", "A = (2, 1, 2", "A = (1, {B = (2, 1"])
def test_parse__refuses_an_end_in_the_middle(text):
    with pytest.raises(CorruptFileError, match=r"scan\.hdr: expected a header that closes"):
        parse(text, "scan.hdr")


@given(st.text(alphabet='Ab1.{}();,="\n \t', max_size=60))
def test_parse__ends_on_any_text(text):
    with suppress(CorruptFileError):
        parse(text, "scan.hdr")


_words = st.from_regex(r"[A-Za-z]{1,6}", fullmatch=True).filter(
    lambda word: word not in ("true", "false", "nan", "inf")
)
_values = st.recursive(
    st.integers(-1000, 1000) | st.booleans() | st.text("ab;{}=(), ", max_size=6),
    lambda inner: st.dictionaries(_words, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)


def _write(value) -> str:
    if isinstance(value, dict):
        return "{ " + "".join(f"{name} = {_write(item)};\n" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "(" + ", ".join([str(len(value)), *map(_write, value)]) + ")"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _plain(value):
    if isinstance(value, Array):
        assert value.count == len(value.items)
        return [_plain(item) for item in value.items]
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(_words, _values, max_size=4))
def test_parse__returns_what_was_written(fields):
    text = "".join(f"{name} = {_write(value)};\n" for name, value in fields.items())
    assert _plain(parse(text, "scan.hdr")) == fields
