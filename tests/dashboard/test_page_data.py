"""Page Data: files, fields, metadata and references, driven by the choices."""

from __future__ import annotations

import base64
import io
import math
import shutil

import h5py
import numpy as np
import pytest
from panel.models.tabulator import TableEditEvent
from PIL import Image
from stxm_explorer import plan
from stxm_explorer import store as rooms
from stxm_explorer.advice import ranges, told_apart, uncovered
from stxm_explorer.calls import File, Upload, script
from stxm_explorer.descriptions import scans_in
from stxm_explorer.metadata import facts, steps
from stxm_explorer.pages import files as table_of_files
from stxm_explorer.pages.data import Data
from stxm_explorer.pages.fields import metadata
from stxm_explorer.pages.files import look_into
from stxm_explorer.session import Session
from stxm_explorer.state import ExplorerState, Field, Region
from stxm_explorer.store import Store
from stxm_explorer.thumbnails import SIDE, thumbnail

import xstxm
from xstxm.errors import OptionError

pytestmark = pytest.mark.filterwarnings("ignore:.* hold a scan each:xstxm.errors.MetadataWarning")
MARKUP = "<img src=x onerror=alert(1)>.hdf5"


@pytest.fixture
def said(monkeypatch):
    """What the toasts say."""
    texts: list[str] = []
    for module in ("session", "pages.files"):
        monkeypatch.setattr(f"stxm_explorer.{module}.notify", lambda kind, text: texts.append(text))
    return texts


@pytest.fixture(scope="module")
def shelf(filled, tmp_path_factory):
    """A root folder with a good stack, one of two scans, a broken one, and spectra."""
    root = tmp_path_factory.mktemp("shelf") / "root"
    shutil.copytree(filled, root)
    with h5py.File(root / "two.hdf5", "w") as both, h5py.File(root / "lixv2o5.hdf5") as one:
        (entry,) = one
        one.copy(entry, both, "first")
        one.copy(entry, both, "second")
    (root / "broken.hdf5").write_bytes((root / "lixv2o5.hdf5").read_bytes()[:900])
    (root / MARKUP).write_bytes(b"nothing")
    (root / "iron.csv").write_text("energy,FeO,Fe2O3\n700,0.1,0.1\n710,0.9,0.5\n720,0.3,0.7\n")
    (root / "short.csv").write_text("energy,a,b\n515,0.1,0.1\n520,0.9,0.5\n530,0.3,0.7\n")
    return root


@pytest.fixture
def page(shelf, said) -> Data:
    """The page, which follows its choices, as the explorer has it."""
    rooms._RESULTS.clear()
    page = Data(Session(ExplorerState(), Store(shelf)))
    page.state.listen(page.refresh)
    page.refresh()
    return page


def shown(view) -> str:
    """Return the text of what stands in the place of a view."""
    return " ".join(str(getattr(item, "object", "")) for item in view.__panel__().select())


def row(page: Data, name: str) -> dict:
    """Return a row of the table of files."""
    frame = page.files.table.value
    return frame[frame["name"] == name].iloc[0].to_dict()


def edit(page: Data, column: str, row: int, value: object) -> None:
    """Change a cell of the table of references as a user does."""
    table = page.references.table
    table.value.iloc[row, list(table.value.columns).index(column)] = value
    table._process_event(TableEditEvent(None, column=column, row=row, value=value))
    table._update_column(column, table.value[column].to_numpy())  # panel 1.10 waits for it


@pytest.fixture
def referring(page) -> Data:
    """The page on its references."""
    page.state.open("lixv2o5.hdf5")
    page.state.references.choose(["references.csv"])
    page.state.view.data = "References"
    return page


class TestFiles:
    def test_table__says_what_is_in_a_stack(self, page):
        found = row(page, "lixv2o5.hdf5")
        assert (found["pixels"], found["pixel"], found["energies"]) == ("48 × 64", "0.03 µm", 121)
        assert (found["first"], found["last"]) == (508.0, 560.0)
        assert found["what"] == "image stack"
        assert found["size"] > 1e5
        assert found["picture"].startswith("data:image/png;base64,")

    def test_table__says_why_a_file_cannot_be_read(self, page, said):
        assert row(page, "broken.hdf5")["what"] == "cannot be read: click to see why"
        page.files.take("broken.hdf5")
        assert len(said) == 1
        assert said[0].startswith("broken.hdf5: expected")
        assert page.state.fields == []

    def test_table__lists_spectra_apart(self, page, names):
        assert "references.csv" not in set(page.files.table.value["name"])
        page.state.view.listed = "Spectra"
        assert set(page.files.table.value["name"]) == {"i0.csv", "iron.csv", "references.csv", "short.csv"}
        assert row(page, "references.csv")["what"] == ", ".join(names)
        assert "picture" in page.files.table.hidden_columns

    def test_search__keeps_names_with_all_words_and_says_when_there_is_none(self, page):
        page.state.view.search = "5 LI"
        assert list(page.files.table.value["name"]) == ["lixv2o5.hdf5"]
        page.state.view.search = "nowhere"
        assert "shorten the search" in shown(page.files)
        page.state.view.search = ""
        assert len(page.files.table.value) == 4

    def test_search__is_of_the_list_that_is_seen(self, page):
        page.state.view.search = "5 LI"
        page.state.view.listed = "Spectra"
        assert page.state.view.search == ""
        page.state.view.listed = "Stacks"
        assert len(page.files.table.value) == 4

    def test_take__opens_a_stack_once(self, page, said):
        page.files.take("lixv2o5.hdf5")
        page.files.take("lixv2o5.hdf5")
        assert [field.file for field in page.state.fields] == ["lixv2o5.hdf5"]
        (chosen,) = page.files.table.selection
        assert page.files.table.value["name"].iloc[chosen] == "lixv2o5.hdf5"
        assert not said

    def test_take__adds_a_table_of_spectra_and_leaves_it_again(self, page):
        page.state.view.listed = "Spectra"
        page.files.take("iron.csv")
        assert page.state.references.files == ["iron.csv"]
        page.files.take("iron.csv")
        assert page.state.references.files == []

    def test_take__a_file_that_went_away_is_a_toast(self, page, said, shelf):
        path = shelf / "fleeting.hdf5"
        shutil.copy(shelf / "lixv2o5.hdf5", path)
        page.files.look_again()
        path.unlink()
        page.files.take("fleeting.hdf5")
        assert said == ["fleeting.hdf5: not a file below the folder that this page serves: choose one from the list"]
        assert page.state.fields == []
        page.files.look_again()
        assert "fleeting.hdf5" not in set(page.files.table.value["name"])

    def test_table__looks_only_into_the_files_that_are_seen(self, shelf, tmp_path, said):
        for number in range(9):
            shutil.copy(shelf / "lixv2o5.hdf5", tmp_path / f"{number}.hdf5")
        page = Data(Session(ExplorerState(), Store(tmp_path)))
        page.session.height = 700
        page.state.listen(page.refresh)
        page.refresh()
        assert list(page.files.known) == ["0.hdf5", "1.hdf5", "2.hdf5", "3.hdf5", "4.hdf5"]
        page.files.table.page = 2
        assert len(page.files.known) == 9

    def test_table__an_empty_folder_says_what_to_do(self, tmp_path, said):
        page = Data(Session(ExplorerState(), Store(tmp_path)))
        page.state.listen(page.refresh)
        page.refresh()
        assert "There is no stack in the folder" in shown(page.files)
        assert "Click a stack in the list" in shown(page.about)

    def test_table__a_folder_with_too_many_files_says_so(self, shelf, monkeypatch, said):
        monkeypatch.setattr("stxm_explorer.catalogue.MAX_ENTRIES", 5)
        page = Data(Session(ExplorerState(), Store(shelf)))
        page.state.listen(page.refresh)
        page.refresh()
        assert "serve a folder with fewer" in shown(page.files)

    def test_look_into__a_frame_that_cannot_be_drawn_is_told(self, shelf, monkeypatch):
        monkeypatch.setattr(table_of_files, "thumbnail", lambda *_: 1 / 0)
        assert look_into(shelf, "lixv2o5.hdf5").description.problem.startswith("something went wrong")

    def test_thumbnail__has_the_shape_of_the_field_and_its_first_row_below(self, tmp_path):
        stack = xstxm.testing.simulate_stack(shape=(24, 64), seed=1)[["intensity"]].isel(energy=slice(0, 3))
        rising = (stack["intensity"] * 0 + np.arange(24.0)[:, np.newaxis] + 1).astype("float32")
        xstxm.write_nxstxm(stack.assign(intensity=rising.assign_attrs(stack["intensity"].attrs)), tmp_path / "a.hdf5")
        head, _, data = thumbnail(tmp_path, "a.hdf5").partition(",")
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), dtype=int)
        assert head == "data:image/png;base64"
        assert picture.shape[1] == SIDE
        assert picture.shape[0] == pytest.approx(SIDE * 24 / 64, abs=0.5)
        assert (np.diff(picture[:, 0]) < 0).all()


class TestFields:
    def test_rename__names_are_unique_and_the_field_stays_shown(self, page, said):
        first, second = page.state.open("lixv2o5.hdf5"), page.state.open("two.hdf5")
        page.fields.label.value = "particle"
        assert second.label == page.state.view.field == "particle"
        assert page.state.field is second
        page.fields.label.value = first.label
        assert said == [f"name {first.label!r}: another field is called so: names tell fields apart"]
        assert page.fields.label.value == "particle"

    @pytest.mark.parametrize("label", ["", "  ", "x" * 61])
    def test_rename__refuses_no_name_and_long_ones(self, label):
        state = ExplorerState()
        with pytest.raises(OptionError, match="1 to 60 characters"):
            state.rename(state.open("a.hdf5"), label)

    def test_list__shows_chooses_and_closes(self, page):
        page.state.open("lixv2o5.hdf5")
        page.state.open("two.hdf5")
        assert [item["label"] for item in page.fields.list.items] == ["lixv2o5", "two"]
        assert page.fields.list.active == (1,)
        page.fields._choose_field(page.fields.list.items[0])
        assert page.state.field.label == "lixv2o5"
        page.fields._close(page.fields.list.items[0])
        assert [field.label for field in page.state.fields] == ["two"]
        assert page.fields.list.active == (0,)

    def test_scan__which_of_several_is_chosen_and_every_one_is_opened(self, page, shelf):
        assert scans_in(shelf, "two.hdf5") == {"first": {"entry": "first"}, "second": {"entry": "second"}}
        assert scans_in(shelf, "lixv2o5.hdf5") == {}
        field = page.state.open("two.hdf5")
        assert page.fields.scan.options == ["first", "second"]
        assert page.fields.scan.visible
        page.fields.scan.value = "second"
        assert field.entry == "second"
        assert "entry='second'" in script([plan.raw(field)])
        page.fields._open_every()
        assert [(field.label, field.entry) for field in page.state.fields] == [
            ("two", "second"),
            ("two first", "first"),
        ]
        page.state.open("lixv2o5.hdf5")
        assert not page.fields.scan.visible

    def test_open_by_name__has_the_checks_of_the_table(self, page, said):
        for name in ("../secret.hdf5", "/etc/passwd", "absent.hdf5"):
            page.fields.path.value = name
        assert len(said) == 3
        assert page.state.fields == []
        page.fields.path.value = "lixv2o5.hdf5"
        assert page.state.field.file == "lixv2o5.hdf5"
        assert page.fields.path.value == ""

    def test_region__is_a_choice_that_the_state_keeps(self):
        state = ExplorerState()
        state.open("a.hdr", region=2)
        other = ExplorerState()
        other.from_json(state.to_json())
        assert (other.fields[0].label, other.fields[0].region) == ("a region 2", 2)
        assert "region=2" in script([plan.raw(other.fields[0])])


class TestMetadata:
    def test_facts__are_what_the_stack_says(self, page, shelf):
        with xstxm.open_stack(shelf / "lixv2o5.hdf5", chunks={}) as stack:
            told = facts(stack.assign_coords(polarization=90.0))
            made = steps(stack)
        assert told["Energies"] == "121, 508 to 560 eV"
        assert told["Pixels"] == "48 along y × 64 along x"
        assert told["Field of view"] == "1.92 µm × 1.44 µm"
        assert told["Dwell time"] == "1 ms"
        assert told["Polarization"] == "90"
        assert told["Signals"] == "Transmitted intensity [counts]"
        assert made[0][1] == "open_stack"

    def test_facts__leave_out_what_is_not_known(self):
        stack = xstxm.testing.simulate_stack(shape=(1, 5), seed=0)[["intensity"]].isel(energy=[0])
        told = facts(stack.drop_vars(["dwell_time", "ring_current"], errors="ignore").assign_attrs(sample=" "))
        assert {"Sample", "Dwell time", "Energy steps", "Start"}.isdisjoint(told)
        assert not any("None" in text or "nan" in text for text in told.values())

    def test_metadata__takes_no_markup_of_a_file(self):
        stack = xstxm.testing.simulate_stack(shape=(3, 5), seed=0)[["intensity"]]
        text = metadata(stack.assign_attrs(title="<script>alert(1)</script>"))
        assert "<script>" not in text
        assert "&lt;script&gt;" in text

    def test_about__shows_the_field_and_its_error(self, page, said):
        page.state.open("lixv2o5.hdf5")
        assert "508 to 560 eV" in shown(page.about)
        page.state.open("broken.hdf5")
        assert "broken.hdf5: expected" in shown(page.about)


class TestReferences:
    def test_references__without_any_says_what_to_do(self, page):
        page.state.view.data = "References"
        assert "Choose spectra of the substances" in shown(page.references.read)
        assert page.calls() == []

    def test_table__shows_names_colours_and_ranges(self, referring, names):
        frame = referring.references.table.value
        assert list(frame["name"]) == names == referring.state.references.names
        assert list(frame["color"][:2]) == ["#0072B2", "#D55E00"]
        assert set(frame["composition"]) == {""}
        assert set(frame["range"]) == {"508 – 560"}

    def test_edit__composition_counts_once_every_reference_has_one(self, referring, names):
        for number in range(len(names) - 1):
            edit(referring, "composition", number, str(number / 2))
        assert "composition" not in script(referring.calls())
        edit(referring, "composition", len(names) - 1, "1.5")
        known = referring.session.store.run(plan.references(referring.state))
        assert known["composition"].values.tolist() == [0, 0.5, 1, 1.5]
        edit(referring, "composition", 0, "")
        assert names[0] not in referring.state.references.composition
        assert not referring.state.references.compositions

    def test_edit__a_composition_that_is_no_number_is_refused(self, referring, said):
        edit(referring, "composition", 0, "0.5")
        edit(referring, "composition", 1, "half")
        assert "write a number, or nothing" in said[-1]
        assert list(referring.state.references.composition.values()) == [0.5]
        assert list(referring.references.table.value["composition"][:2]) == ["0.5", ""]

    def test_edit__colour_is_that_of_every_map(self, referring, names):
        edit(referring, "color", 1, "#123456")
        known = referring.session.store.run(plan.references(referring.state))
        assert xstxm.plot.phase_colors(known)[names[1]] == "#123456"
        assert xstxm.plot.phase_colors(known)[names[0]] == "#0072B2"

    def test_edit__a_reference_that_is_not_used_is_not_fitted(self, referring, names):
        edit(referring, "used", 2, False)
        known = referring.session.store.run(plan.references(referring.state))
        assert list(known["reference"].values) == [names[0], names[1], names[3]]
        assert list(referring.references.table.value["used"]) == [True, True, False, True]
        for number in (0, 1, 3):
            edit(referring, "used", number, False)
        assert "are drawn here" in shown(referring.references.drawn)

    def test_other_files__bring_their_own_names(self, referring, names):
        referring.state.references.composition = dict.fromkeys(names, 1.0)
        referring.state.references.choose(["iron.csv"])
        assert referring.state.references.names == ["FeO", "Fe2O3"]
        known = referring.session.store.run(plan.references(referring.state))
        assert "composition" not in known.coords

    def test_cover__says_that_spectra_are_of_another_edge(self, referring):
        assert "all of the spectra have data" in shown(referring.references.cover)
        referring.state.references.choose(["iron.csv"])
        text = shown(referring.references.cover)
        assert "FeO, Fe2O3: no data between 508 and 560 eV, where lixv2o5 was measured" in text
        assert "see above" in shown(referring.references.apart)

    def test_cover__says_which_energies_to_use(self, referring, said):
        referring.state.references.choose(["short.csv"])
        assert "use lixv2o5 from 515 to 530 eV (page Prepare)" in shown(referring.references.cover)
        referring.state.fields[0].param.update(start=515.0, stop=530.0)
        assert "all of the spectra have data" in shown(referring.references.cover)
        assert not said

    def test_apart__names_the_hardest_pair_at_the_counts(self, referring):
        result = referring.references.apart.result
        assert result.attrs["worst_pair"].split(" and ")[0] in referring.references.sentence.object
        own = referring.session.store.run(plan.incident(referring.state.field))["i0"]
        assert f"At {float(own.median()):,.0f} incident counts" in referring.references.sentence.object
        assert "the median of lixv2o5" in referring.references.sentence.object
        referring.state.references.counts = 1000.0
        assert "At 1,000 incident counts" in referring.references.sentence.object
        before = float(referring.references.apart.result["pair_stderr"].max())
        assert before > float(result["pair_stderr"].max())
        referring.state.references.counts = 100_000.0
        after = float(referring.references.apart.result["pair_stderr"].max())
        assert after == pytest.approx(before / 10, rel=1e-6)

    def test_apart__reads_an_i0_that_is_gone_beside_the_page(self, referring, monkeypatch):
        references, looked = referring.references, []
        rooms._RESULTS.clear()
        monkeypatch.setattr(
            referring.session.jobs, "start", lambda kind, label, work, done, failed: looked.append((work, done))
        )
        monkeypatch.setattr(
            referring.session.store, "run", lambda call, job=None: pytest.fail("computed on the page's thread")
        )
        references._tell(references.apart.result)
        monkeypatch.undo()
        ((work, done),) = looked
        assert not references.sentence.object
        done(work(None))
        assert "the median of lixv2o5" in references.sentence.object

    def test_apart__comes_once_the_energies_are_known(self, referring):
        cover, apart = referring.references.cover, referring.references.apart
        cover._drawn = None  # as while the stack is being read
        apart.refresh()
        assert "once the energies of the stack are known" in shown(apart)
        cover.refresh()
        assert apart.result is not None

    def test_apart__of_a_stack_that_tells_no_counts_is_at_a_thousand(self, referring):
        referring.state.fields[0].i0_source = "region"
        assert "At 1,000 incident counts" in referring.references.sentence.object

    def test_script__is_what_is_shown(self, referring, names):
        edit(referring, "color", 0, "#123456")
        text = script(referring.calls())
        assert "xstxm.read_references('references.csv')" in text
        assert "xstxm.distinguishability(" in text
        assert "energies=lixv2o5_stack['energy']" in text
        assert "counts=lixv2o5_i0['i0']" in text
        assert "'#123456'" in text

    def test_kind__is_read_with_its_unit(self, referring, shelf):
        referring.state.references.kind = "linear_absorption"
        known = referring.session.store.run(plan.references(referring.state))
        assert known["absorption"].attrs["units"] == "1/nm"
        assert set(known["kind"].values) == {"linear_absorption"}

    def test_choice__says_that_it_does_not_offer_all(self, referring):
        choice = referring.choice
        assert not choice._more.visible
        choice.refresh(tuple(f"{k}.csv" for k in range(512)))
        assert choice._more.visible
        assert "The first 300 of 512 files" in choice._more.object

    def test_choice__offers_files_and_keeps_what_is_chosen(self, referring):
        choice = referring.choice
        assert choice.files.value == [File("references.csv")]
        assert "iron.csv" in choice.files.options
        choice.files.value = [File("iron.csv")]
        assert referring.state.references.files == ["iron.csv"]


class TestInternal:
    @pytest.fixture
    def own(self, referring, names) -> Data:
        """The page with the mean spectrum of a region among its references."""
        referring.state.refer(region=Region("box", ((0.3, 0.3), (0.9, 0.9)), "core"))
        return referring

    def test_list__has_the_spectrum_of_pixels_under_its_name(self, own, names):
        assert list(own.references.table.value["name"]) == [*names, "core"]
        (row,) = own.choice.internal._rows
        assert (row[0].value, row[0].label) == ("core", "region core of lixv2o5")
        assert "xstxm.internal_references(" in script(own.calls())

    def test_rename__keeps_the_composition(self, own, names):
        edit(own, "composition", len(names), "0.5")
        own.choice.internal._rows[0][0].value = "oxide"
        assert own.references.table.value["name"].iloc[-1] == "oxide"
        assert own.state.references.composition["oxide"] == 0.5
        own.choice.internal._rows[0][0].value = " "
        assert own.choice.internal._rows[0][0].value == "oxide"

    def test_rows__are_of_the_choices_that_were_opened_last(self, own, names):
        own.state.from_json(own.state.to_json())
        own.choice.internal._rows[0][1].clicks += 1
        assert own.state.references.internal == []
        assert list(own.references.table.value["name"]) == names

    def test_closed__says_what_to_do(self, own):
        own.state.close(own.state.field)
        assert "Open lixv2o5 again, or forget core" in shown(own.references.read)

    def test_compositions_of_a_library__are_shown_and_kept(self, own, shelf, names):
        known = xstxm.testing.simulate_references().isel(reference=[0, 3])
        unitless = known.assign(absorption=known["absorption"].assign_attrs(units="1"))
        xstxm.write_references(unitless, shelf / "library.toml", overwrite=True)
        own.state.references.choose(["library.toml"])
        assert list(own.references.table.value["composition"]) == ["0", "1", ""]
        assert "composition" not in own.session.store.run(plan.references(own.state)).coords


class TestUploads:
    DATA = b"energy,A,B\n508,0.1,0.2\n520,1.0,0.4\n540,0.5,0.9\n560,0.3,0.4\n"

    def send(self, page: Data, name: str, data: bytes) -> None:
        page.choice.upload.filename = [name]
        page.choice.upload.value = [data]

    def test_upload__is_read_drawn_and_named_in_the_script(self, referring, said):
        referring.state.references.choose([])
        self.send(referring, "sent.csv", self.DATA)
        assert referring.state.references.uploads == ["sent.csv"]
        assert referring.state.references.names == ["A", "B"]
        assert referring.choice.files.value == [Upload("sent.csv")]
        assert "# sent.csv was sent to the page: put it into the folder" in script(referring.calls())
        assert not said

    @pytest.mark.parametrize(
        ("name", "data"), [("../x.csv", DATA), ("x.exe", DATA), ("x.csv", b"\x00\x01"), ("x.csv", b"")]
    )
    def test_upload__what_is_no_table_of_spectra_is_a_toast(self, referring, said, name, data):
        self.send(referring, name, data)
        assert len(said) == 1
        assert referring.state.references.uploads == []

    def test_upload__sent_again_is_read_again(self, referring):
        referring.state.references.choose([])
        self.send(referring, "sent.csv", self.DATA)
        self.send(referring, "sent.csv", self.DATA.replace(b"energy,A", b"energy,C"))
        assert referring.state.references.names == ["C", "B"]

    def test_upload__of_another_session_says_so(self, referring, shelf, said):
        self.send(referring, "sent.csv", self.DATA)
        other = Data(Session(ExplorerState(), Store(shelf)))
        other.state.from_json(referring.state.to_json())
        other.refresh()
        assert "references 'sent.csv': it was sent to another page: send it again" in shown(other.references.read)

    def test_close__removes_what_was_sent(self, referring):
        self.send(referring, "sent.csv", self.DATA)
        path = referring.session.store.uploads.files["sent.csv"]
        referring.session.close()
        assert not path.exists()


def test_state__checks_compositions_and_colours_from_outside():
    state = ExplorerState()
    for table in ({"composition": {"a": "much"}}, {"colors": {"a": "url(x)"}}, {"composition": {"a": math.inf}}):
        with pytest.raises(OptionError, match="that cannot be chosen"):
            state.restore({"references": table})
    state.restore({"references": {"composition": {"a": 0.5}, "colors": {"a": "#00ff00"}}})
    assert state.references.composition == {"a": 0.5}


def test_uncovered__says_nothing_of_spectra_that_cover_all(names):
    references = xstxm.testing.simulate_references()
    assert uncovered(references, references["energy"], "field") == []
    assert ranges(references)[names[0]] == (508.0, 560.0)


def test_told_apart__says_how_well():
    references = xstxm.testing.simulate_references()
    words = [
        told_apart(xstxm.distinguishability(references, counts=counts), counts) for counts in (100, 10_000, 10_000_000)
    ]
    assert ["hardly told" in words[0], "roughly" in words[1], "well told apart" in words[2]] == [True] * 3


def test_told_apart__two_references_are_no_hardest_pair():
    references = xstxm.testing.simulate_references().isel(reference=[0, 3])
    text = told_apart(xstxm.distinguishability(references, counts=1000), 1000)
    assert "**alpha-V2O5** and **gamma-LiV2O5** are " in text
    assert "hardest" not in text


def test_field__says_which_scan_it_is():
    assert "open_stack('a.hdf5', chunks={}, entry='e')" in script(
        [plan.raw(Field(file="a.hdf5", label="a", entry="e"))]
    )
