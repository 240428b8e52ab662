from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from stxm_explorer import plan
from stxm_explorer.calls import script
from stxm_explorer.pages.prepare import Prepare
from stxm_explorer.session import Session
from stxm_explorer.state import STEPS, ExplorerState, Field, Region
from stxm_explorer.store import Store

import xstxm
from xstxm.conventions import FRAME_FLAGS, QUALITY_FLAGS

pytestmark = pytest.mark.filterwarnings("ignore::xstxm.errors.StxmWarning")  # a view writes them above its result

DARK = 30
"""Frame without beam."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a stack that drifts and has a frame without beam, one of a single energy, and an I0 spectrum."""
    root = tmp_path_factory.mktemp("prepare")
    stack = xstxm.testing.simulate_stack(shape=(48, 64), counts=40_000, drift="200 nm", seed=3)
    stack["intensity"][DARK] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        xstxm.write_nxstxm(stack[["intensity"]], root / "drifting.hdf5")
        xstxm.write_nxstxm(stack[["intensity"]].isel(energy=[3]), root / "single.hdf5")
    stack["true_i0"].to_pandas().to_csv(root / "i0.csv", header=["i0"], index_label="energy")
    return root


@pytest.fixture
def page(root):
    """The page of the drifting stack, which follows every change."""
    return opened(root, "drifting.hdf5")


@pytest.fixture
def toasts(monkeypatch):
    """What the toasts say."""
    texts: list[str] = []
    monkeypatch.setattr("stxm_explorer.session.notify", lambda kind, text: texts.append(text))
    return texts


def opened(root, *files):
    state = ExplorerState()
    for file in files:
        state.open(file)
    state.view.page = "Prepare"
    page = Prepare(Session(state, Store(root)))
    state.listen(page.refresh)
    page.refresh()
    return page


def energies(page):
    return np.asarray(page.session.store.run(plan.raw(page.state.field))["energy"], dtype=float)


def turn(page, step):
    page.state.view.prepare = step
    return page.step


def hints(view):
    return " ".join(str(text.object) for text in view._words.select(lambda part: hasattr(part, "object")))


def extreme(page, *, bright):
    """Return a box of 5 x 5 pixels where the stack is brightest, or darkest."""
    stack = page.session.store.run(plan.raw(page.state.field))
    means = stack["intensity"].mean("energy").rolling(y=5, x=5, center=True).mean()
    at = (means.argmax if bright else means.argmin)(["y", "x"])
    y, x, half = float(stack["y"][at["y"]]), float(stack["x"][at["x"]]), 2.2 * float(stack["x"][1] - stack["x"][0])
    return Region("box", ((x - half, y - half), (x + half, y + half)))


def test_prepare__without_a_stack_says_what_to_do(root):
    page = opened(root)
    assert "Open a stack first" in page._middle[0].object
    assert page.calls() == []


def test_frames__are_listed_with_what_is_wrong_with_them(page):
    table = page.step._table.value
    assert len(table) == len(energies(page))
    assert table["why"][DARK] == "no beam; the same value in all pixels"
    assert set(table["why"].drop(DARK)) == {""}


def test_frames__every_flag_has_words():
    from stxm_explorer.pages.steps.density import COLORS, MEANING
    from stxm_explorer.pages.steps.frames import WHY

    assert [*WHY] == [*FRAME_FLAGS]
    assert [*MEANING] == [*QUALITY_FLAGS]
    assert len(COLORS) == len(QUALITY_FLAGS)


def test_frames__that_are_ticked_are_left_out_of_all_that_follows(page):
    page.step._table.selection = [DARK, 2]
    assert page.state.field.dropped == sorted(energies(page)[[2, DARK]])
    assert "xstxm.drop_frames(" in script([plan.density(page.state.field)])
    kept = page.session.store.run(plan.prepared(page.state.field))
    np.testing.assert_array_equal(kept["energy"], np.delete(energies(page), [2, DARK]))
    assert "2 frames left out" in page._menu.items[0]["label"]
    page.step._table.selection = []
    assert page.state.field.dropped == []


def test_frames__all_flagged_are_left_out_by_one_button(page):
    page.step._leave_flagged()
    assert page.state.field.dropped == [energies(page)[DARK]]
    assert page.step._table.selection == [DARK]


def test_frames__at_least_one_is_kept(page, toasts):
    page.step._table.selection = [*range(len(energies(page)))]
    assert page.state.field.dropped == page.step._table.selection == []
    assert "keep at least one" in toasts[-1]


def test_frames__in_a_range_of_energies_are_used(page):
    page.step._range.param.trigger("value_throttled")
    assert page.state.field.start is page.state.field.stop is None
    page.step._limited(event((515.0, 530.0)))
    assert (page.state.field.start, page.state.field.stop) == (515.0, 530.0)
    used = page.session.store.run(plan.prepared(page.state.field))["energy"]
    assert float(used.min()) >= 515
    assert float(used.max()) <= 530
    page.step._limited(event((energies(page).min(), 530.0)))
    assert page.state.field.start is None


def test_frames__a_range_without_any_changes_nothing(page, toasts):
    page.step._limited(event((1.0, 2.0)))
    assert page.state.field.start is page.state.field.stop is None
    assert "take a wider range" in toasts[-1]
    assert page.step._range.value == (energies(page).min(), energies(page).max())


class event:
    """A change of a widget."""

    def __init__(self, new):
        self.new = new


def test_alignment__waits_until_shifts_are_asked_for(page):
    step = turn(page, "Alignment")
    shifts, before, after = step.views()
    assert "Press Estimate shifts" in hints(shifts)
    assert before.result is not None
    assert after.result is None
    step._estimate()
    assert shifts.result.sizes["energy"] == len(energies(page))
    assert after.result is not None
    assert not page.state.field.align


def test_alignment__makes_frames_before_the_edge_equal(page):
    first = energies(page)
    page.state.view.param.update(energy=first[0], second=first[5])
    step = turn(page, "Alignment")
    step._estimate()
    before, after = (view.result for view in step.views()[1:])
    inside = {"y": slice(8, -8), "x": slice(8, -8)}
    assert float(after.isel(inside).std()) < 0.8 * float(before.isel(inside).std())


def test_alignment__applies_the_shifts_that_were_shown(page):
    step = turn(page, "Alignment")
    step._estimate()
    shown = step.views()[0].call
    page.state.field.align = True
    text = script([plan.density(page.state.field)])
    assert text.count("estimate_shifts(") == 1
    assert script([shown]).splitlines()[-1] in text
    moved = page.session.store.run(plan.prepared(page.state.field))
    np.testing.assert_array_equal(moved["shift_x"], step.views()[0].result["shift_x"])


def test_alignment__marks_frames_that_were_not_found(page):
    step = turn(page, "Alignment")
    step._estimate()
    marked = step._likeness._slots[1]
    assert marked._dots.name == "not found"
    np.testing.assert_array_equal(marked._data.data["x"], [energies(page)[DARK]])


def test_alignment__of_one_frame_is_refused_in_words(root):
    page = opened(root, "single.hdf5")
    assert not page.step._range.visible
    assert "One energy" in page.step._range_name.object
    step = turn(page, "Alignment")
    assert "One frame is in use" in hints(step.views()[0])
    assert "two different frames" in hints(step.views()[1])
    assert turn(page, "I0").views()[0].result is not None
    assert turn(page, "Optical density").views()[0].result is not None


def test_i0__of_a_region_that_is_empty_and_of_one_that_is_not(page):
    page.state.field.dropped = [energies(page)[DARK]]
    step = turn(page, "I0")
    step._drawn(extreme(page, bright=True))
    assert page.state.field.i0_source == "region"
    assert step._verdict.severity == "success"
    step._drawn(extreme(page, bright=False))
    assert step._verdict.severity == "warning"
    assert "shows an edge" in step._verdict.object


@pytest.mark.parametrize(("step", "name"), [("I0", "i0_region"), ("Alignment", "align_region")])
def test_regions__without_a_pixel_change_nothing(page, caplog, step, name):
    turn(page, step)._drawn(Region("box", ((0.001, 0.001), (0.002, 0.002))))
    assert getattr(page.state.field, name) is None
    assert page.state.field.i0_source == "brightest"
    assert "holds no pixel" in caplog.text


def test_i0__from_each_source_says_what_is_missing(page):
    step, field = turn(page, "I0"), page.state.field
    assert step.views()[0].result["mask"].any()
    field.i0_source = "region"
    assert "Draw the region" in hints(step.views()[0])
    field.i0_source = "stack"
    assert "holds no I0" in hints(step.views()[0])
    field.i0_source = "file"
    assert "Choose the file" in hints(step.views()[0])
    field.param.update(i0_file="i0.csv", i0_units="count")
    assert step.views()[0].result.dims == ("energy",)


def test_density__counts_flagged_pixels_and_all_pixels_of_the_histogram(page):
    page.state.field.dropped = [energies(page)[DARK]]
    step = turn(page, "Optical density")
    image, quality = (view.result for view in step.views())
    _, count = step._histogram._slots[0]._data.data.values()
    assert count[1::2].sum() == np.isfinite(image).sum()
    page.state.field.thick = 0.5
    flagged = int((step.views()[1].result & QUALITY_FLAGS["too_thick"] != 0).sum())
    assert flagged > int((quality & QUALITY_FLAGS["too_thick"] != 0).sum())
    assert f">{flagged}<" in step._counts.object


def test_density__has_errors_of_photon_counting_where_asked(page):
    turn(page, "Optical density")
    page.state.field.param.update(noise="poisson", gain=2.0, dropped=[energies(page)[DARK]])
    assert "noise='poisson', gain=2.0" in script([plan.density(page.state.field)])
    assert "optical_density_variance" in page.session.store.run(plan.density(page.state.field))


def test_optional_number__is_typed_or_not_there(page, toasts):
    step = turn(page, "Alignment")
    (box,) = (each for each in step.controls(page.state.field) if getattr(each, "label", "") == "Farthest shift [µm]")
    box.value = "0.25"
    assert page.state.field.max_shift == 0.25
    box.value = "far"
    assert page.state.field.max_shift == 0.25
    assert box.value == "0.25"
    assert "far is no number" in toasts[-1]
    box.value = ""
    assert page.state.field.max_shift is None
    page.state.field.max_shift = 0.5
    assert box.value == "0.5"


def test_reset__takes_back_one_step_or_all(page):
    page.state.field.param.update(despike=True, align=True, i0_fraction=0.2)
    turn(page, "I0")
    page.reset(page.step.choices)
    assert page.state.field.i0_fraction == 0.1
    assert page.state.field.despike
    assert page.state.field.align
    page.reset([name for step in page._steps.values() for name in step.choices])
    assert page.state.field.table() == {"label": "drifting", "file": "drifting.hdf5", "align": True}


def test_share__copies_what_does_not_belong_to_one_field(root):
    page = opened(root, "drifting.hdf5", "single.hdf5")
    first, second = page.state.fields
    page.state.view.field = first.label
    first.param.update(
        despike=True, dropped=[510.0], i0_region=extreme(page, bright=True), i0_source="region", thick=2.0
    )
    page.share()
    assert second.despike
    assert second.thick == 2.0
    assert second.dropped == []
    assert second.i0_region is None
    assert second.i0_source == "brightest"


def test_field__another_one_has_choices_of_its_own(root):
    page = opened(root, "drifting.hdf5", "single.hdf5")
    page.state.view.field = "drifting"
    page.step._table.selection = [DARK]
    page.state.view.field = "single"
    assert len(page.step._table.value) == 1
    assert page.step._table.selection == []
    assert page.state.fields[0].dropped
    assert not page.state.fields[1].dropped


def test_steps__need_every_choice_of_a_field_once():
    from stxm_explorer.pages.steps import STEPS as known

    assert tuple(known) == STEPS
    named = [name for step in known.values() for name in step.choices]
    assert len(named) == len(set(named))
    assert {*Field().param} - {*named} <= {"name", "label", "file", "entry", "region", "in_memory"}


def test_state__of_the_preparation_reads_back(page):
    region = Region("polygon", ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)), "alignment")
    page.state.field.param.update(align_region=region, max_shift=0.4, transform="similarity", saturation=9000.0)
    again = ExplorerState()
    again.from_json(page.state.to_json())
    assert again.table() == page.state.table()
    assert again.field.align_region == region


@pytest.fixture(autouse=True)
def logged(caplog):
    """What users would be told is in the log."""
    caplog.set_level(logging.INFO, logger="stxm_explorer")


def test_i0__files_to_choose_from_are_looked_for_beside_the_page(page, monkeypatch):
    looked = []
    monkeypatch.setattr(page.session.jobs, "start", lambda kind, *rest: looked.append((kind, rest)))
    step = turn(page, "I0")
    (choice,) = (each for each in step.controls(page.state.field) if getattr(each, "label", "") == "I0 spectrum")
    assert choice.options == [""]
    _, work, done, _ = next(rest for kind, rest in reversed(looked) if kind == "files of I0")
    done(work(None))
    assert choice.options == ["", "i0.csv"]


def test_prepare__has_no_more_widgets_after_many_changes_of_field(root):
    page = opened(root, "drifting.hdf5", "single.hdf5")

    def watchers(times):
        for step in [*STEPS] * times:
            for field in page.state.fields:
                page.state.view.param.update(field=field.label, prepare=step)
        of_choices = page.state.fields[0].param.watchers.values()
        return sum(len(heard) for of_what in of_choices for heard in of_what.values())

    assert watchers(1) == watchers(3)


def test_prepare__makes_no_widgets_for_a_field_that_was_closed(root):
    page = opened(root, "drifting.hdf5", "single.hdf5")
    page.state.close(page.state.fields[1])
    assert {field for field, _ in page._made} == {*page.state.fields}
