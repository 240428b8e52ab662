"""Choices of a session, and what they decide."""

from __future__ import annotations

import pytest
from stxm_explorer.state import ExplorerState, Region, parse_composition, reference_files

from xstxm.errors import OptionError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (), id="empty"),
        pytest.param("V2O5=0, LiV2O5=1", (("V2O5", 0.0), ("LiV2O5", 1.0)), id="commas"),
        pytest.param(" V2O5 = 0 ;LiV2O5= 1e0;", (("V2O5", 0.0), ("LiV2O5", 1.0)), id="semicolons and blanks"),
    ],
)
def test_parse_composition__reads_pairs(text, expected):
    assert parse_composition(text) == expected


@pytest.mark.parametrize("text", ["V2O5", "V2O5=x", "0, 1"])
def test_parse_composition__says_how_to_write_it(text):
    with pytest.raises(OptionError, match="write NAME=NUMBER once for each reference"):
        parse_composition(text)


def test_recipe__does_not_know_what_is_only_looked_at():
    state = ExplorerState(file="a.hdr")
    before = state.recipe
    state.param.update(energy=515.0, region=Region("point", ((0.0, 0.0),)), signal="intensity", width=1900)
    assert state.recipe == before
    state.method = "fcls"
    assert state.recipe != before


def test_region__is_what_xstxm_takes():
    assert Region("point", ((1.0, 2.0),)).for_xstxm() == {"x": 1.0, "y": 2.0}
    assert Region("box", ((0.0, 1.0), (2.0, 3.0))).for_xstxm() == {"x": (0.0, 2.0), "y": (1.0, 3.0)}
    triangle = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    assert Region("polygon", triangle).for_xstxm() == list(triangle)
    assert Region("polygon", triangle).outline() == [*triangle, triangle[0]]


def test_region__rounds_below_a_length():
    region = Region("point", ((-4735.159292035398, 1.23456),)).rounded(0.0008)
    assert region.vertices == ((-4735.1593, 1.2346),)


def test_reference_files__keeps_files_of_one_name_apart():
    assert reference_files(("a/V2O5.txt", "b/VO2.txt")) == {"V2O5": "a/V2O5.txt", "VO2": "b/VO2.txt"}
    assert reference_files(("a/V.txt", "b/V.txt")) == {"a/V.txt": "a/V.txt", "b/V.txt": "b/V.txt"}


@pytest.mark.parametrize("text", ["a=nan", "a=0, a=1", "a"])
def test_parse_composition__refuses_what_a_script_could_not_say(text):
    from stxm_explorer.state import parse_composition

    from xstxm.errors import OptionError

    with pytest.raises(OptionError, match="write NAME=NUMBER once for each reference"):
        parse_composition(text)
