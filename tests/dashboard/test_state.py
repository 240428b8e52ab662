"""Choices that come from outside are checked; they round-trip."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab
from stxm_explorer.linked import CURSOR_COLOR, REGION_COLORS, region_colors
from stxm_explorer.state import LONGEST_QUERY, MAX_STATE, TOO_LONG, ExplorerState, Field, Region, unused

from xstxm.conventions import PALETTE
from xstxm.errors import OptionError
from xstxm.plot import NEUTRAL

BOX = Region("box", ((0.0, 1.0), (2.0, 3.0)), "rim")
TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))


def full() -> ExplorerState:
    """Return a state with every group changed."""
    state = ExplorerState()
    state.open("a/b.hdf5").param.update(start=512.0, i0_region=BOX, i0_source="region", dropped=[520.0])
    state.open("c/b.hdf5")
    state.regions = [BOX, Region("polygon", TRIANGLE)]
    state.references.param.update(files=["r.csv"], composition={"a": 1.0})
    state.fit.method = "fcls"
    state.view.param.update(page="Phases", cursor=(1.5, 2.5), energy=515.0)
    return state


def test_state__round_trips_through_json_and_the_address():
    state = full()
    for back, text in ((ExplorerState.from_json, state.to_json()), (ExplorerState.from_query, state.to_query())):
        other = ExplorerState()
        back(other, text)
        assert other.table() == state.table()
        assert other.fields[0].i0_region == BOX
        assert other.view.cursor == (1.5, 2.5)
        assert other.regions == state.regions
    assert state.to_query().replace("-", "").replace("_", "").isalnum()


def by_hand(number: int, rng: random.Random) -> Region:
    """Return a lasso of 400 corners on whole pixels of a screen of 600, 10 um across, as a hand draws it."""
    turns, wobble = [2 * math.pi * k / 400 for k in range(400)], [rng.uniform(0, 6) for _ in range(5)]
    reach = [1.5 * (1 + sum(0.15 / n * math.sin((n + 1) * t + w) for n, w in enumerate(wobble, 1))) for t in turns]
    return Region(
        "polygon",
        tuple(
            (round((5 + r * math.cos(t)) * 60) / 60, round((5 + r * math.sin(t)) * 60) / 60)
            for r, t in zip(reach, turns, strict=True)
        ),
        f"particle {number}",
    )


@pytest.mark.parametrize("pixels", [64, 512, 2048])
def test_to_query__forty_lassos_of_a_hand_fit_into_an_address(pixels):
    rng, fine = random.Random(pixels), 10 / pixels / 20
    drawn = [by_hand(number, rng) for number in range(40)]
    state = ExplorerState()
    for region in drawn:
        state.add_region(region.simplified(fine).rounded(fine))
    other = ExplorerState()
    other.from_query(state.to_query())
    assert other.regions == state.regions
    assert len(state.to_query()) < 0.75 * LONGEST_QUERY
    other.from_json(state.to_json())
    assert other.regions == state.regions


def test_to_query__choices_that_are_too_many_are_said_and_nothing_of_them_is_taken():
    rng, state = random.Random(0), full()
    scattered = tuple((rng.uniform(0, 9), rng.uniform(0, 9)) for _ in range(2000))
    state.regions = [Region("polygon", scattered, "scattered")]
    before = state.to_json()
    assert state.to_query() == TOO_LONG
    with pytest.raises(OptionError, match="open a file of them on page Export"):
        state.from_query(TOO_LONG)
    assert state.to_json() == before


def off(place, line) -> float:
    """Return how far a place is from a line."""
    (x, y), far = place, []
    for (ax, ay), (bx, by) in pairwise(line):
        along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        share = min(max(along, 0), 1)
        far.append(math.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay)))
    return min(far)


def test_simplified__moves_the_outline_by_less_than_a_length():
    region = by_hand(0, random.Random(3))
    few = region.simplified(0.02)
    assert 3 <= len(few.vertices) < len(region.vertices) / 4
    assert {*few.vertices} <= {*region.vertices}
    assert max(off(vertex, few.outline()) for vertex in region.vertices) <= 0.02
    tiny = Region("polygon", TRIANGLE, "tiny")
    assert tiny.simplified(5.0) == tiny
    assert BOX.simplified(5.0) == BOX


@pytest.mark.parametrize(
    "vertices",
    [TRIANGLE, ((-4735.16, 1e-9), (0.1, 1.23456789012), (3, 4)), ((1e-7, 0.0), (2e20, 1.0), (0.5, 2.0))],
    ids=["plain", "many digits", "powers of ten"],
)
def test_short_table__is_the_same_region(vertices):
    region = Region("polygon", vertices, "µ <b>")
    assert Region.from_table(json.loads(json.dumps(region.short_table()))) == region


def test_short_table__can_be_changed_by_who_asked_for_it():
    region = Region("polygon", TRIANGLE, "mine")
    region.short_table()["name"] = "theirs"
    assert region.short_table()["name"] == "mine"


def test_restore__forgets_what_the_table_does_not_say():
    state = full()
    state.from_json("{}")
    assert state.table() == {}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("[1, 2]", id="no table"),
        pytest.param("{" * 5000, id="nested without end"),
        pytest.param(json.dumps({"fields": 3}), id="a number for a list"),
        pytest.param(json.dumps({"fields": [{"file": 3}]}), id="a number for a name"),
        pytest.param(json.dumps({"fields": [{"path": "x"}]}), id="an unknown choice"),
        pytest.param(json.dumps({"__class__": "x"}), id="an attribute"),
        pytest.param(json.dumps({"fit": {"method": "eval"}}), id="a method there is not"),
        pytest.param(json.dumps({"fit": {"min_confidence": 7}}), id="out of bounds"),
        pytest.param(json.dumps({"view": {"cursor": [1, 2, 3]}}), id="a cursor of three"),
        pytest.param(json.dumps({"regions": [{"kind": "polygon", "vertices": [[0, 0]]}]}), id="polygon of one"),
        pytest.param(json.dumps({"regions": [{"kind": "circle", "vertices": [[0, 0]]}]}), id="unknown kind"),
        pytest.param('{"regions": [{"kind": "point", "vertices": [[NaN, 0]]}]}', id="a region at NaN"),
        pytest.param(" " * (MAX_STATE + 1), id="too long"),
    ],
)
def test_from_json__refuses_and_keeps_the_state(text):
    state = full()
    before = state.to_json()
    with pytest.raises(OptionError):
        state.from_json(text)
    assert state.to_json() == before


@given(st.text(max_size=60))
def test_from_query__any_text_is_a_state_or_an_error(word):
    state = full()
    before = state.to_json()
    with pytest.raises(OptionError):
        state.from_query(word)
    assert state.to_json() == before


def test_from_query__does_not_unpack_without_end():
    import base64
    import zlib

    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 50_000_000, 9)).decode()
    with pytest.raises(OptionError, match="characters"):
        ExplorerState().from_query(bomb)


def test_open__names_fields_apart_and_knows_open_ones():
    state = full()
    assert [field.label for field in state.fields] == ["b", "b 2"]
    assert state.field is state.fields[1]
    assert state.open("a/b.hdf5") is state.fields[0] is state.field
    state.close(state.fields[0])
    assert [field.file for field in state.fields] == ["c/b.hdf5"]
    assert state.field is state.fields[0]


def test_listen__tells_of_every_group_and_of_fields_opened_later():
    state, heard = ExplorerState(), []
    state.listen(lambda: heard.append(1))
    state.fit.method = "fcls"
    state.view.energy = 515.0
    field = state.open("a.hdf5")
    count = len(heard)
    field.align = True
    assert len(heard) == count + 1 >= 4
    state.restore({})
    count = len(heard)
    field.align = False
    assert len(heard) == count + 1  # a closed field is heard still, which harms nothing


def test_region__is_what_xstxm_takes():
    assert Region("point", ((1.0, 2.0),)).for_xstxm() == {"x": 1.0, "y": 2.0}
    assert BOX.for_xstxm() == {"x": (0.0, 2.0), "y": (1.0, 3.0)}
    assert Region("polygon", TRIANGLE).for_xstxm() == list(TRIANGLE)
    assert Region("polygon", TRIANGLE).outline() == [*TRIANGLE, TRIANGLE[0]]


def test_region__rounds_below_a_length():
    region = Region("point", ((-4735.159292035398, 1.23456),), "p").rounded(0.0008)
    assert region == Region("point", ((-4735.1593, 1.2346),), "p")


@pytest.mark.parametrize(
    "table", [{"composition": {"a": "x"}}, {"composition": {"a": None}}, {"colors": {"a": "red;"}}]
)
def test_references__numbers_and_colours_by_name(table):
    with pytest.raises(OptionError):
        ExplorerState().restore({"references": table})


def test_unused__counts_on():
    assert unused("a", []) == "a"
    assert unused("a", ["a", "a 2", "a 4"]) == "a 3"


def test_settings__every_choice_has_help_text():
    state = full()
    for group in (Field, type(state.fit), type(state.references), type(state.unmix), type(state.scales)):
        for name in group()._choices():
            assert group.param[name].doc, f"{group.__name__}.{name}"


def test_open__and_draw_more_than_there_can_be_is_said_and_changes_nothing():
    state = ExplorerState()
    for number in range(60):
        state.open(f"{number}.hdf5")
    before = state.to_json()
    with pytest.raises(OptionError, match="keep at most 60, and close or remove others"):
        state.open("one more.hdf5")
    assert state.to_json() == before
    state.regions = [Region("point", ((0.0, float(number)),), f"{number}") for number in range(100)]
    with pytest.raises(OptionError, match="keep at most 100"):
        state.add_region(BOX)
    with pytest.raises(OptionError, match="keep at most 50"):
        state.references.choose([f"{number}.csv" for number in range(51)])
    assert (len(state.regions), state.references.files) == (100, [])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"view": {"energy": NaN}}', id="no number"),
        pytest.param('{"fit": {"min_amount": 1e999}}', id="infinity as a number"),
        pytest.param('{"fit": {"min_amount": 1' + "0" * 400 + "}}", id="a number that no float holds"),
        pytest.param('{"fit": {"min_amount": 1' + "0" * 5000 + "}}", id="a number that Python does not read"),
        pytest.param('{"regions": [{"kind": "point", "vertices": [["nan", 0]]}]}', id="no number as text"),
        pytest.param('{"regions": [{"kind": "polygon", "steps": [99, [0, 1, 1], [0, 1, 0]]}]}', id="steps too fine"),
        pytest.param('{"regions": [{"kind": "polygon", "steps": [2, [0, 1, 1], [0, 1]]}]}', id="steps that lack one"),
        pytest.param('{"regions": [{"kind": "polygon", "steps": ["2", "abc", "abc"]}]}', id="steps of text"),
        pytest.param('{"regions": [{"kind": "polygon", "steps": 3}]}', id="steps of a number"),
        pytest.param(json.dumps({"fields": [{"label": str(n)} for n in range(61)]}), id="too many fields"),
        pytest.param(json.dumps({"references": {"files": [str(n) for n in range(51)]}}), id="too many files"),
        pytest.param(json.dumps({"references": {"names": ["a"] * 10_001}}), id="too many names"),
        pytest.param(json.dumps({"view": {"search": "a" * 1001}}), id="a text that is too long"),
        pytest.param(json.dumps({"references": {"composition": {"a" * 1001: 1.0}}}), id="a name that is too long"),
        pytest.param('{"fields": [{"label": "a"}, {"label": "a"}]}', id="two fields of one name"),
        pytest.param('{"regions": ' + "[" * 994 + "]" * 994 + "}", id="nested without end"),
    ],
)
def test_from_json__what_no_explorer_writes_is_refused(text):
    state = ExplorerState()
    state.open("a.hdf5")
    before = state.to_json()
    with pytest.raises(OptionError):
        state.from_json(text)
    assert state.to_json() == before


def test_region_colors__eight_differ():
    state = ExplorerState()
    for _ in range(8):
        state.add_region(Region("point", ((0.0, 0.0),)))
    assert len({CURSOR_COLOR, *region_colors(state).values()}) == 9


def test_region_colors__are_none_of_those_of_references():
    assert not {CURSOR_COLOR, *REGION_COLORS, NEUTRAL} & {*PALETTE}


def test_region_colors__the_first_is_not_near_that_of_the_first_reference():
    region, reference = (
        np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) for color in (REGION_COLORS[0], PALETTE[0])
    )
    assert deltaE_ciede2000(rgb2lab(region / 255), rgb2lab(reference / 255)) > 30
