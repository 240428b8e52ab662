"""The code of the page *How do I ...* runs, its messages are what xstxm says, and what its tables name is there."""

from __future__ import annotations

import ast
import inspect
import operator
import re
import shutil
from pathlib import Path

import howto_files
import pytest

import xstxm

pytest.importorskip("holoviews")
DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "how_do_i.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = [(match[1], match[2], match.start(2)) for match in re.finditer(r"```(\w+)\n(.*?)```", TEXT, re.S)]
STARTS = {match[1]: match.start() for match in re.finditer(r"^## (.+)$", TEXT, re.M)}
SECTIONS = [title for title in STARTS if title != "Coming from another program"]
LAST_CELLS = re.findall(r"^\|.*\|(.*)\|$", TEXT, re.M)
CALLS = sorted({code for cell in LAST_CELLS for code in re.findall(r"`((?!stack\.)[\w.]+\(.*?\))`", cell)})


def blocks_of(title: str) -> list[tuple[str, str, int]]:
    """Blocks in front of the first section, and those of one section."""
    ends = [start for start in STARTS.values() if start > STARTS[title]]
    end = min(ends, default=len(TEXT))
    return [block for block in BLOCKS if block[2] < min(STARTS.values()) or STARTS[title] < block[2] < end]


def run(code: str, place: int, names: dict) -> None:
    """Run a block so that a traceback has the line of the page."""
    above = TEXT.count("\n", 0, place)
    exec(compile("\n" * above + code, str(PAGE), "exec"), names)


def expect(session: str, place: int, names: dict) -> None:
    """Run the line of a session, and compare what it raises, or warns, with what stands below."""
    call, *said = session.removeprefix(">>> ").splitlines()
    with pytest.raises((xstxm.errors.StxmError, xstxm.errors.StxmWarning)) as raised:
        run(call, place, names)
    assert f"{raised.type.__name__}: {raised.value}" == " ".join(said)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    howto_files.write(folder)
    return folder


@pytest.mark.parametrize("title", SECTIONS)
def test_how_do_i__code_of_a_section_runs(title, files, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for language, code, place in blocks_of(title):
        {"python": run, "pycon": expect}[language](code, place, names)


def test_how_do_i__every_block_is_of_a_section_that_runs():
    assert {language for language, *_ in BLOCKS} == {"python", "pycon"}
    ran = {block for title in SECTIONS for block in blocks_of(title)}
    assert ran == set(BLOCKS)


@pytest.mark.parametrize("code", CALLS)
def test_how_do_i__call_in_a_table_is_one(code):
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    function = operator.attrgetter(ast.unparse(call.func))(xstxm)
    inspect.signature(function).bind(*call.args, **{word.arg: word.value for word in call.keywords})


def test_how_do_i__links_lead_to_entries_of_the_api():
    linked = set(re.findall(r"\{(?:func|class)\}`~?xstxm\.([\w.]+)`", TEXT))
    entries = {line.strip() for line in (DOCS / "api" / "index.rst").read_text(encoding="utf-8").splitlines()}
    assert linked
    assert not linked - entries
