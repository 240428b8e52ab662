"""What users read of an error names no folder of the server, whatever the text."""

from __future__ import annotations

import re
import tempfile
from html import unescape
from pathlib import Path

import pytest
from panel.pane import Markdown
from stxm_explorer.messages import LONGEST, message, verbatim
from stxm_explorer.wording import in_words_of_pages

import xstxm
from xstxm.errors import CorruptFileError, OptionError, SchemaError, StxmError, left_out_warning


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("/srv/data/secret/a.hdr: truncated", "a.hdr: truncated", id="path"),
        pytest.param("cannot read '/srv/data/secret/a.hdr'", "cannot read 'a.hdr'", id="in quotes"),
        pytest.param('cannot read "/srv/data/secret/a.hdr"', 'cannot read "a.hdr"', id="in double quotes"),
        pytest.param("PosixPath('/srv/data/a.hdr')", "PosixPath('a.hdr')", id="representation"),
        pytest.param("file:///srv/data/a.hdr is broken", "a.hdr is broken", id="address"),
        pytest.param("[/srv/data/a.hdr, /srv/data/b.hdr]", "[a.hdr, b.hdr]", id="list"),
        pytest.param("found:/srv/data/b", "found:b", id="after a colon"),
        pytest.param("path=/srv/data/b", "path=b", id="after an equals sign"),
        pytest.param("/srv/../srv/data/b", "b", id="way up"),
        pytest.param("C:\\Users\\anna\\a.hdr is broken", "a.hdr is broken", id="Windows"),
        pytest.param("\\\\server\\share\\data\\a.hdr", "a.hdr", id="share"),
        pytest.param("C:/Users/anna/a.hdr", "a.hdr", id="Windows with slashes"),
        pytest.param("first\nsecond\tthird", "first second third", id="lines"),
    ],
)
def test_message__keeps_the_last_part_of_a_path(text, shown):
    assert message(SchemaError(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "write it as 'eV', 'um', 'count/ms', '1/nm', 'cm**2/g', '1'",
        "counts (I/I0) and 3/4 of the pixels",
        "energies 700-730 eV: the ratio 1:2",
    ],
)
def test_message__keeps_units_and_ratios(text):
    assert message(SchemaError(text)) == text
    assert message(OptionError("units", "x", text)).endswith(text)


def test_message__leaves_out_known_folders_with_blanks_in_them(tmp_path, monkeypatch):
    root = tmp_path / "my data (2026)"
    root.mkdir()
    assert message(SchemaError(f"{root}/night 1/a.hdr: truncated"), root) == "night 1/a.hdr: truncated"
    assert message(SchemaError(f"nothing in {root}"), root) == "nothing in the served folder"
    home = tmp_path / "home of anna"
    monkeypatch.setenv("HOME", str(home))
    assert message(SchemaError(f"{home}/a.hdr"), root) == "a.hdr"
    temporary = Path(tempfile.gettempdir()) / "xstxm-upload-x7" / "b.csv"
    assert "xstxm-upload" not in message(SchemaError(f"{temporary}: empty"))


def test_message__of_a_root_at_the_top_leaves_units_alone():
    assert message(SchemaError("3 count/ms in /data.hdr"), Path("/")) == "3 count/ms in /data.hdr"


def test_message__of_other_errors_says_their_kind_only():
    said = message(FileNotFoundError("/srv/data/secret"))
    assert said == "something went wrong (FileNotFoundError): the server's log has the details"


def test_message__of_a_file_names_the_file():
    error = CorruptFileError("/srv/data/secret/71214078.hdr", "123 frames", "7 in /srv/data/secret/a")
    assert message(error) == "71214078.hdr: expected 123 frames, found 7 in a"


def test_message__is_cut_to_what_can_be_read():
    assert len(message(SchemaError("word " * 1000))) <= LONGEST


SAID = {
    "a range of energies": (
        lambda stack, references: stack.stxm.fit(references.sel(energy=slice(512, 540))),
        "on page Prepare",
    ),
    "a shift": (lambda stack, _: stack.stxm.estimate_shifts(max_shift=-1), "Farthest shift -1: "),
    "a region": (lambda stack, _: stack.stxm.spectrum({"x": 900.0, "y": 900.0}), "900"),
    "a way to fit": (
        lambda stack, references: stack.stxm.fit(references, method="lstsq", selection="bic"),
        "use Amounts: Non-negative (nnls)",
    ),
    "one energy for two": (
        lambda stack, _: stack.stxm.ratio_map("515 eV", "515 eV"),
        "both 515 eV: move one of the sliders",
    ),
    "a density where counts are wanted": (
        lambda stack, _: xstxm.flag_frames(stack["optical_density"]),
        "frames are judged by their counts",
    ),
}


@pytest.mark.parametrize(("wrong", "wanted"), SAID.values(), ids=SAID.keys())
def test_message__of_the_library_says_what_to_choose_on_a_page(wrong, wanted):
    stack = xstxm.testing.simulate_stack(shape=(32, 40), seed=1).stxm.optical_density()
    with pytest.raises(StxmError) as caught:
        wrong(stack, xstxm.testing.simulate_references())
    said = message(caught.value)
    assert wanted in said
    assert not re.search(r"[a-z]_[a-z]|\w=\S|\w\(|\.\w+\(|xstxm|Data(set|Array|Tree)", said), said


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        pytest.param(
            "there is one field only, give several in a DataTree or a dict",
            "there is one field only, open several on page Data",
            id="more fields",
        ),
        pytest.param(
            "reference 'a' has NaN, first at 520 eV: drop those energies (.dropna('energy')) to interpolate across, or "
            "cut the stack with sel_energy",
            "reference 'a' has NaN, first at 520 eV: drop those energies",
            id="half an advice",
        ),
        pytest.param(
            "no particle: the largest covers 1 um**2: pass a smaller min_amount or min_area",
            "no particle: the largest covers 1 um**2: choose a smaller Least amount of sample or Least area",
            id="fields of the page",
        ),
        pytest.param("a.tif: no pixel size: pass pixel_size='50 nm'", "a.tif: no pixel size: convert", id="an option"),
        pytest.param("min_amount.hdf5: cut short", "min_amount.hdf5: cut short", id="a file's name stays"),
        pytest.param(
            "region 'min_area' holds no pixel", "region 'min_area' holds no pixel", id="a name of a region stays"
        ),
        pytest.param("'gain=2' and 'b' are alike", "'gain=2' and 'b' are alike", id="a name with signs in it"),
        pytest.param(
            "at 520 eV none of the 6 pixels is. Leave those frames out first, stack.drop_isel(energy=[3])",
            "at 520 eV none of the 6 pixels is. Leave those frames out on page Prepare",
            id="frames",
        ),
        pytest.param(
            "an energy is there twice: call .drop_duplicates('energy'), or average them",
            "an energy is there twice: average them",
            id="the advice after one that is typed",
        ),
        pytest.param("temp=300.hdf5: cut short", "temp=300.hdf5: cut short", id="signs in it too"),
        pytest.param(left_out_warning({"a": "no sample"}, 2), "1 of 2 fields is left out: 'a': no sample", id="nodes"),
    ],
)
def test_in_words_of_pages__names_fields_and_leaves_out_what_is_typed(sentence, shown):
    assert in_words_of_pages(sentence).startswith(shown)


@pytest.mark.parametrize(
    ("option", "value", "shown"),
    [
        ("name", "a_b", "name 'a_b': no"),
        ("min_amount", -1.0, "Least amount of sample -1.0: no"),
        ("off", "a=b", "off 'a=b': no"),
        ("method", "hdbscan", "method 'hdbscan': no"),
    ],
)
def test_message__of_an_option_names_the_field_and_what_was_chosen(option, value, shown):
    assert message(OptionError(option, value, "no")) == shown


def test_verbatim__names_bring_no_markup():
    name = "a_b <img src=x onerror=alert(1)> ![p](x.png) [l](x) *b* &lt;i&gt; `c`"
    html = Markdown._get_parser("markdown-it", ()).render(verbatim(name))
    shown = html.strip().removeprefix("<p>").removesuffix("</p>")
    assert "<" not in shown
    assert unescape(shown) == name
