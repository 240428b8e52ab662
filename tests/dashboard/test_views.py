"""A view always says something: what to choose, that work is under way, why there is nothing, or the result."""

from __future__ import annotations

import gc
import logging
import weakref
from html import unescape

import panel as pn
import panel_material_ui as pmui
import pytest
from panel.util import edit_readonly
from panel_material_ui.notifications import NotificationArea
from stxm_explorer import plan, readings, shell
from stxm_explorer import store as rooms
from stxm_explorer.calls import Missing
from stxm_explorer.figures import MapFigure
from stxm_explorer.jobs import Job, Stopped
from stxm_explorer.messages import message, verbatim
from stxm_explorer.parts import calm_page
from stxm_explorer.session import Session, notify, report
from stxm_explorer.shell import App
from stxm_explorer.state import PAGES, ExplorerState, Region
from stxm_explorer.store import Store
from stxm_explorer.viewport import plot_side, rest_of_row, workspace_width
from stxm_explorer.views import Page, View

from xstxm.errors import CorruptFileError, OptionError


@pytest.fixture
def said(monkeypatch):
    """What the toasts say."""
    texts: list[tuple[str, str]] = []
    monkeypatch.setattr("stxm_explorer.session.notify", lambda kind, text: texts.append((kind, text)))
    return texts


@pytest.fixture
def session(filled, said) -> Session:
    rooms._RESULTS.clear()
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    return Session(state, Store(filled))


class Drawn:
    """A view of the prepared stack that counts its drawings."""

    def __init__(self, session: Session) -> None:
        self.shown: list[object] = []
        self.size, self.want = 300, plan.raw
        self.body = pn.pane.Markdown("the result")
        self.view = View(
            session,
            lambda: self.want(plan.field_of(session.state)),
            self.body,
            self.shown.append,
            look=lambda: self.size,
        )

    @property
    def text(self) -> str:
        found = self.view.__panel__().select(lambda item: hasattr(item, "object") or hasattr(item, "label"))
        return " ".join(str(getattr(item, "object", "") or getattr(item, "label", "")) for item in found).strip()


def test_view__draws_once_and_again_when_its_look_or_its_call_changes(session, filled, monkeypatch):
    monkeypatch.setattr(rooms, "FRESH", 0)
    drawn = Drawn(session)
    for _ in range(3):
        drawn.view.refresh()
    assert len(drawn.shown) == 1
    assert drawn.text == "the result"
    drawn.size = 500
    drawn.view.refresh()
    assert len(drawn.shown) == 2
    (filled / "lixv2o5.hdf5").touch()
    drawn.view.refresh()
    assert len(drawn.shown) == 3


def test_view__of_a_file_that_vanished_comes_back_at_a_press(session, filled, monkeypatch):
    monkeypatch.setattr(rooms, "FRESH", 0)
    drawn, file = Drawn(session), filled / "lixv2o5.hdf5"
    drawn.view.refresh()
    kept = file.rename(filled / "elsewhere")
    try:
        drawn.view.refresh()
        assert "not a file below the folder" in drawn.text
        (again,) = drawn.view.__panel__().select(pmui.Button)
    finally:
        kept.rename(file)
    again.param.trigger("clicks")
    assert drawn.text == "the result"
    assert not drawn.view.__panel__().select(pmui.Button)


def test_view__hint_in_place_of_a_result(session, said):
    drawn = Drawn(session)
    drawn.view.refresh()
    session.state.fields = []
    drawn.view.refresh()
    assert drawn.text.startswith("Open a stack first")
    assert drawn.view.result is drawn.view.call is None
    assert not said


def test_view__an_error_is_a_toast_once_and_can_be_tried_again(session, said, monkeypatch):
    drawn, original = Drawn(session), session.store.run

    def broken(call, job=None):
        raise CorruptFileError("scan.hdf5", "a stack", "it ends early", "copy it again")

    monkeypatch.setattr(session.store, "run", broken)
    for _ in range(3):
        drawn.view.refresh()
    assert len(said) == 1
    assert "it ends early" in drawn.text
    assert "Try again" in drawn.text
    monkeypatch.setattr(session.store, "run", original)
    drawn.view._again()
    assert drawn.text == "the result"


def test_view__what_was_stopped_waits_until_it_is_asked_for(session, said, monkeypatch):
    drawn, original = Drawn(session), session.store.run

    def stopped(call, job=None):
        raise Stopped

    monkeypatch.setattr(session.store, "run", stopped)
    for _ in range(3):
        drawn.view.refresh()
    assert drawn.text.startswith("Stopped.")
    assert not said
    monkeypatch.setattr(session.store, "run", original)
    drawn.view.refresh()
    assert not drawn.shown
    drawn.view._again()
    assert len(drawn.shown) == 1


def test_view__a_drawing_that_fails_says_so(session, said, monkeypatch):
    drawn = Drawn(session)
    monkeypatch.setattr(drawn.view, "_show", lambda result: 1 / 0)
    drawn.view.refresh()
    assert "something went wrong (ZeroDivisionError)" in drawn.text
    assert len(said) == 1


@pytest.mark.parametrize("title", PAGES)
def test_app__every_page_says_what_to_do_without_a_stack(filled, said, title):
    state = ExplorerState()
    state.view.page = title
    app = App(state, Store(filled))
    assert app.page().title == title
    assert not said
    for view in app.page().views()[:1]:
        words, body = view.__panel__()
        assert body.visible or [*words]


@pytest.mark.parametrize("title", PAGES)
def test_app__every_page_of_a_stack_without_an_error(filled, said, title):
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.references.files = ["references.csv"]
    state.view.page = title
    app = App(state, Store(filled))
    assert not said
    for view in app.page().views():
        words, body = view.__panel__()
        assert body.visible or [*words] or not view.visible, view


def test_app__hidden_pages_compute_nothing(filled, said, monkeypatch):
    asked = []
    monkeypatch.setattr(plan, "phases", lambda *args: asked.append(args))
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    App(state, Store(filled))
    state.fit.method = "fcls"
    assert not asked


def test_app__the_address_brings_the_state(filled, said, monkeypatch):
    other = ExplorerState()
    other.open("lixv2o5.hdf5")
    other.fit.method = "fcls"
    state = ExplorerState()
    monkeypatch.setattr("stxm_explorer.shell._word", lambda: other.to_query())
    app = App(state, Store(filled))
    assert state.table() == other.table()
    assert app._viewport.query == f"state={other.to_query()}"


def test_app__going_back_in_the_browser_goes_to_the_page_before(filled, said):
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    app = App(state, Store(filled))
    state.view.page = "Unmix"
    assert app._viewport.page == "Unmix"
    app._viewport.page = "Data"  # as the browser says it
    assert state.view.page == "Data"
    assert app.page().title == "Data"
    app._viewport.page = "javascript:"
    assert state.view.page == "Data"


@pytest.mark.parametrize(("width", "height", "beside_a_plot", "two"), [(1280, 800, 400, 330), (1920, 1080, 740, 640)])
def test_plot_side__uses_the_width_of_the_window(width, height, beside_a_plot, two):
    taken, room = MapFigure.taken[0], workspace_width(width)
    side = plot_side(width, height, taken, below=100)
    assert side >= beside_a_plot
    assert side + taken + rest_of_row(width, side + taken) <= room
    side = plot_side(width, height, taken, share=0.5, below=190)
    assert side >= two
    assert 2 * (side + taken) <= room


def test_app__a_broken_address_is_a_toast(filled, said, monkeypatch):
    monkeypatch.setattr("stxm_explorer.shell._word", lambda: "abc")
    App(ExplorerState(), Store(filled))
    assert "copy the whole link" in said[0][1]


def test_app__is_not_touched_by_the_work_of_other_pages(filled):
    template = App(ExplorerState(), Store(filled)).__panel__()
    heard = []
    template.param.watch(heard.append, "busy")
    with edit_readonly(pn.state):
        pn.state.busy = True
        pn.state.busy = False
    assert heard == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OptionError("energy", 5, "choose another"), "choose another"),
        (ValueError("secret /home/x"), "something went wrong (ValueError): the server's log has the details"),
    ],
)
def test_message__says_what_to_do(error, text):
    assert text in message(error)


@pytest.mark.parametrize("path", ["/srv/data/scan.hdf5", "'/srv/data/a/scan.hdf5'"])
def test_message__keeps_folders_of_the_server_to_itself(path):
    text = message(CorruptFileError(path, "a stack", "it ends early", "copy it again"))
    assert "/srv" not in text
    assert "scan.hdf5" in text


def test_report__log_has_everything(caplog, said):
    with caplog.at_level(logging.ERROR, logger="stxm_explorer"):
        report(ValueError("secret /home/x"))
    assert "secret /home/x" in caplog.text
    assert said[0][0] == "error"


class _Later:
    """Jobs that end when they are told to."""

    def __init__(self, session: Session) -> None:
        self.waiting: dict[str, object] = {}
        session.jobs.start = lambda kind, label, work, done, failed: self.waiting.update({kind: (work, done)})
        session.jobs.stop = lambda kind: self.waiting.pop(kind, None)

    def finish(self) -> None:
        while self.waiting:
            _, (work, done) = self.waiting.popitem()
            done(work(Job()))


def test_view__choices_taken_back_are_not_drawn_when_their_work_ends(session):
    drawn, later = Drawn(session), _Later(session)
    drawn.view.refresh()
    later.finish()
    session.state.fields[0].despike = True
    drawn.want = plan.cleaned
    drawn.view.refresh()
    assert not drawn.view.settled
    session.state.fields[0].despike = False
    drawn.view.refresh()
    later.finish()
    assert drawn.view.settled
    assert len(drawn.shown) == 1


def test_view__nothing_follows_on_a_page_that_was_left(session):
    drawn, later, followed = Drawn(session), _Later(session), []
    drawn.view._then = lambda: followed.append(session.state.place)
    session.state.view.page = "Phases"
    drawn.view.refresh()
    session.state.view.page = "Data"
    later.finish()
    assert drawn.view.settled
    assert followed == []
    drawn.size = 500
    drawn.view.refresh()
    assert followed == [("Data", "Files")]


def test_report__a_hint_is_no_error(said, caplog):
    report(Missing("Take a wider range."))
    assert said == [("warning", "Take a wider range.")]
    assert not caplog.records


def test_view__a_name_brings_no_markup_into_the_page(session):
    drawn = Drawn(session)

    def want(field):
        raise Missing(f"{field.label} is left out")

    session.state.fields[0].label = "<img src=x onerror=alert(1)>"
    drawn.want = want
    drawn.view.refresh()
    (said,) = (pane for pane in drawn.view.__panel__().select(pn.pane.Markdown) if pane is not drawn.body)
    html = unescape(said._transform_object(said.object)["object"])
    assert "onerror" in html
    assert "<img" not in html


def test_app__another_field_is_seen_as_a_whole(filled, said, tmp_path):
    for name in ("one.hdf5", "two.hdf5"):
        (tmp_path / name).write_bytes((filled / "lixv2o5.hdf5").read_bytes())
    state = ExplorerState()
    for name in ("one.hdf5", "two.hdf5"):
        state.open(name)
    state.view.page = "Explore"
    app = App(state, Store(tmp_path))
    ranges = app.session.ranges
    ranges.look_at(0.3, 0.3, 0.1)
    zoomed = ranges.view
    state.view.energy = 520.0
    assert ranges.view == zoomed
    state.view.field = "one"
    assert ranges.view != zoomed


def test_app__says_once_what_several_views_say(filled, said):
    state = ExplorerState()
    state.view.page, state.scales.tab = "Length scales", "Particles"
    app = App(state, Store(filled))
    app.refresh()
    views = app.page().views()
    assert len({view.said for view in views}) == 1
    assert [view._words.visible for view in views] == [True, False, False]


def test_app__goes_on_without_the_stack_that_a_reference_is_from(filled, said):
    state = ExplorerState()
    app = App(state, Store(filled))
    state.open("lixv2o5.hdf5")
    state.refer(region=Region("box", ((0.3, 0.3), (0.9, 0.9)), "core"))
    state.view.data = "References"
    before = state.to_json()
    state.close(state.fields[0])
    for title in PAGES:
        state.view.page = title
        assert app.page().title == title
    state.view.page = "Data"
    app.page().choice.internal._rows[0][1].clicks += 1
    assert state.references.internal == []
    state.from_json(before)  # the reference comes before its stack
    assert state.references.names == ["core"]
    assert state.to_json() == before


@pytest.mark.parametrize("title", PAGES)
def test_app__of_files_says_that_it_has_no_arrays_of_a_notebook(filled, said, title):
    state = ExplorerState()
    app = App(state, Store(filled))
    state.from_json('{"fields": [{"label": "stack", "in_memory": true}], "references": {"in_memory": true}}')
    state.view.data = "References"
    state.view.page = title
    assert app.page().title == title
    assert any("an array in a notebook" in view.said[0] for view in app.page().views())


def test_app__what_one_view_says_for_another_is_said_by_that_one_afterwards(filled, monkeypatch):
    waiting = []

    class Twice(Page):
        title = "Explore"

        def __init__(self, session):
            super().__init__(session)
            self._both = [
                View(session, lambda: plan.raw(plan.field_of(session.state)), pn.Spacer(), lambda result: None)
                for _ in range(2)
            ]

        def views(self):
            return self._both

        controls = workspace = pn.Spacer

    monkeypatch.setitem(shell.PAGES, "Explore", Twice)
    monkeypatch.setattr(Session, "get", lambda session, kind, call, done, failed, **_: waiting.append(done))
    monkeypatch.setattr(Session, "follow_references", lambda session: None)
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.view.page = "Explore"
    first, second = App(state, Store(filled)).page().views()
    assert first.said == second.said == ("Working ...", "info")
    assert (first._words.visible, second._words.visible) == (True, False)
    waiting[0]("a result")
    assert second.said == ("Working ...", "info")
    assert second._words.visible


def test_app__a_page_that_fails_is_built_and_says_so(filled, monkeypatch):
    app, told = App(ExplorerState(), Store(filled)), []
    monkeypatch.setattr(app.session, "report", told.append)
    monkeypatch.setattr("stxm_explorer.pages.phases.Phases.refresh", lambda page: 1 / 0)
    app.state.view.page = "Phases"
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert app._controls[0] is app._parts()[1]


def test_notify__says_the_same_once_while_it_is_seen(monkeypatch):
    area = NotificationArea()
    monkeypatch.setattr(type(pn.state), "notifications", area)
    for _ in range(2):
        notify("warning", "tap a pixel")
    notify("error", "no such file")
    assert [shown.message for shown in area.notifications] == ["tap a pixel", "no such file"]
    area._handle_msg({"type": "destroy", "uuid": area.notifications[0]._uuid})
    notify("warning", "tap a pixel")
    assert [shown.message for shown in area.notifications] == ["no such file", "tap a pixel"]


def test_phases__shares_say_what_they_and_their_errors_are_of(filled):
    state = ExplorerState()
    state.open("lixv2o5.hdf5")
    state.references.choose(["references.csv"])
    state.view.param.update(page="Phases", below="Shares")
    page = App(state, Store(filled)).page()
    summary = page.views()[2].result
    told = readings.of_shares(summary)
    assert f"{100 * float(summary.undecided_fraction):.2g} % of it is undecided" in told
    for phase, error in zip(summary.phase.values, summary.area_fraction_sampling_stderr.values, strict=True):
        assert verbatim(f"{phase} ± {error:.2g}") in told
    assert told in [said.object for said in page._table.select(pmui.Typography)]
    assert "told apart" not in told
    assert "can be told apart. Errors" in readings.of_shares(summary.assign(undecided_fraction=0.8))


def test_calm_page__is_not_held_by_panel():
    page = weakref.ref(calm_page(title="left"))
    gc.collect()
    assert page() is None
