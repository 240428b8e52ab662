"""From choices to results, without a browser: jobs run at once where there is no page."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import numpy as np
import panel as pn
import pytest
import xarray as xr
from stxm_explorer import store as rooms
from stxm_explorer.session import Session, message, report
from stxm_explorer.shell import App
from stxm_explorer.state import ExplorerState, Region
from stxm_explorer.store import Store

import xstxm
from xstxm.errors import CorruptFileError, MetadataWarning, OptionError


@pytest.fixture
def said(monkeypatch):
    """What the toasts say."""
    texts: list[tuple[str, str]] = []
    monkeypatch.setattr("stxm_explorer.session.notify", lambda kind, text: texts.append((kind, text)))
    return texts


@pytest.fixture
def session(filled, said) -> Session:
    session = Session(ExplorerState(file="lixv2o5.hdf5"), Store(filled))
    session.start()
    return session


def test_start__opens_the_file_with_its_density(session):
    assert {"intensity", "optical_density"} <= set(session.stack.data_vars)
    low, high = session.limits["optical_density"]
    assert low < high
    assert session.state.energy in session.stack["energy"].values


def test_start__without_a_file_waits(filled, said):
    session = Session(ExplorerState(), Store(filled))
    session.start()
    assert session.stack is None
    session.map_phases()
    assert session.phases is None
    assert not said


def test_pick__spectrum_and_fit_of_the_region(session, filled):
    session.state.references = ["references.csv"]
    session.pick(Region("box", ((0.5, 0.4), (0.9, 0.8))))
    expected = xstxm.spectrum(session.stack, {"x": (0.5, 0.9), "y": (0.4, 0.8)})
    xr.testing.assert_allclose(session.probe.spectrum["spectrum"], expected["spectrum"].compute())
    assert session.probe.fit["component_map"].dims == ("reference",)
    session.pick(None)
    assert session.probe is None


def test_pick__outside_the_image_warns(session, said):
    session.pick(Region("point", ((1e3, 1e3),)))
    assert session.state.region is None
    assert said == [("warning", "that lies outside the image: pick inside its frame")]


def test_map_phases__without_references_finds_clusters(session):
    session.map_phases()
    assert str(session.phases["phase"].values[0]) == "cluster 1"


def test_map_phases__with_references_and_composition(session, names):
    session.state.param.update(
        references=["references.csv"], composition=", ".join(f"{name}={k}" for k, name in enumerate(names))
    )
    session.map_phases()
    assert set(session.phases["phase"].values) == set(names)
    assert "composition" in session.phases


@pytest.mark.parametrize(
    "change",
    [{"method": "fcls"}, {"background": "linear"}, {"i0_fraction": 0.2}, {"references": ["references.csv"]}],
    ids=str,
)
def test_map_phases__other_settings_drop_the_map(session, change):
    session.map_phases()
    assert session.phases is not None
    session.state.param.update(**change)
    assert session.phases is None
    assert not session.mapping


def test_i0__from_a_file_with_its_unit(session, filled):
    session.state.param.update(i0_file="i0.csv", i0_source="file", i0_units="count")
    expected = xstxm.optical_density(
        xstxm.open_stack(filled / "lixv2o5.hdf5"), xstxm.read_i0(filled / "i0.csv", units="count")
    )
    np.testing.assert_allclose(session.stack["optical_density"], expected["optical_density"])


def test_i0__that_does_not_fit_leaves_the_intensity(session, said, tmp_path, filled):
    other = filled / "short_i0.csv"
    other.write_text("energy,i0\n700,1\n710,1\n720,1\n")
    try:
        session.state.param.update(i0_file="short_i0.csv", i0_source="file", i0_units="count")
    finally:
        other.unlink()
    assert session.state.signal == "intensity"
    assert set(session.limits) == {"intensity"}
    assert said[0][0] == "error"


def test_i0__without_a_unit_is_refused(session, said):
    with pytest.warns(MetadataWarning, match="counts or a rate"):
        session.state.param.update(i0_file="i0.csv", i0_source="file")
    assert "optical_density" not in session.stack
    assert "unit" in said[0][1]


def test_file__another_one_forgets_the_first(session):
    session.pick(Region("point", ((0.5, 0.5),)))
    session.map_phases()
    session.state.file = ""
    assert session.stack is session.phases is session.probe is session.state.region is None


def test_file__outside_the_root_is_refused(session, said):
    session.state.file = "../secret.hdf5"
    assert session.stack is None
    assert said == [
        ("error", "secret.hdf5: not a file below the folder that this page serves: choose one from the list")
    ]


def test_composition__that_cannot_be_read_is_a_toast(session, said):
    session.state.param.update(references=["references.csv"], composition="alpha")
    assert said
    assert "write NAME=NUMBER" in said[-1][1]
    assert len(said) == 1
    session.pick(Region("point", ((0.5, 0.5),)))
    assert session.probe.fit is None
    assert len(said) == 1


def test_store__reads_a_file_again_only_when_it_changed(filled, monkeypatch):
    opened = []
    original = xstxm.open_stack
    monkeypatch.setattr(rooms.xstxm, "open_stack", lambda *a, **k: opened.append(a) or original(*a, **k))
    rooms._stack.clear()
    recipe = ExplorerState(file="lixv2o5.hdf5").recipe
    first, second = Store(filled).stack(recipe), Store(filled).stack(recipe)
    assert first is second
    assert len(opened) == 1
    (filled / "lixv2o5.hdf5").touch()
    Store(filled).stack(recipe)
    assert len(opened) == 2


def test_store__large_stacks_stay_lazy(filled, monkeypatch):
    monkeypatch.setattr(rooms, "IN_MEMORY", 0)
    rooms._stack.clear()
    rooms._density.clear()
    recipe = replace(ExplorerState(file="lixv2o5.hdf5").recipe, i0_fraction=0.11)
    try:
        stack = Store(filled).density(recipe)
        assert stack["optical_density"].chunks is not None
        assert Store(filled).limits(recipe, "optical_density")[0] < 1
    finally:
        rooms._stack.clear()
        rooms._density.clear()


def test_report__no_path_of_the_server_leaves_it(said, caplog):
    with caplog.at_level(logging.ERROR):
        report(CorruptFileError("/srv/data/secret/71214078.hdr", "123 frames", "7 in /srv/data/secret/a"))
        report(FileNotFoundError("/srv/data/secret"))
    assert said[0][1] == "71214078.hdr: expected 123 frames, found 7 in a"
    assert said[1][1] == "something went wrong (FileNotFoundError): the server's log has the details"
    assert "/srv/data/secret" in caplog.text


def test_message__keeps_units():
    text = "write it as 'eV', 'um', 'count/ms', '1/nm', 'cm**2/g', '1'"
    assert message(OptionError("units", "x", text)).endswith(text)


def test_app__builds_and_follows_the_state(filled, said, names):
    pn.extension()
    state = ExplorerState(file="lixv2o5.hdf5")
    app = App(state, Store(filled))
    app.__panel__().get_root()
    state.energy = float(app.session.stack["energy"][3])
    state.signal = "intensity"
    app.session.pick(Region("polygon", ((0.2, 0.2), (0.9, 0.2), (0.5, 0.9))))
    state.references = ["references.csv"]
    app.session.map_phases()
    state.param.update(width=1900, height=1000)
    assert app.session.phases is not None
    assert not said


def test_message__leaves_the_root_out_whatever_it_is_called(tmp_path):
    from stxm_explorer.session import message

    from xstxm.errors import SchemaError

    root = tmp_path / "my data"
    assert message(SchemaError(f"{root}/secret.hdr: truncated"), root) == "secret.hdr: truncated"


def test_table__takes_names_from_files_as_text():
    from stxm_explorer.pages.phases import _plain

    assert _plain("<img src=x>|b") == "&lt;img src=x&gt;&#124;b"


def test_i0__from_a_file_that_is_not_chosen_yet_drops_the_map(session):
    session.map_phases()
    assert session.phases is not None
    session.state.i0_source = "file"
    assert session.phases is None


def test_file__without_any_count_shows_its_intensity_and_says_why(tmp_path, said):
    stack = xstxm.testing.simulate_stack(shape=(12, 16), seed=1)[["intensity"]]
    dark = stack.assign(intensity=xr.zeros_like(stack["intensity"]))
    xstxm.write_nxstxm(dark, tmp_path / "dark.hdf5")
    session = Session(ExplorerState(file="dark.hdf5"), Store(tmp_path))
    with pytest.warns(xstxm.errors.NonPositiveIntensityWarning):
        session.start()
    assert session.stack is not None
    assert session.state.signal == "intensity"
    assert "has no usable value: check I0" in said[-1][1]


def test_file__that_is_no_image_is_refused_with_a_reason(tmp_path, monkeypatch):
    line = xstxm.testing.simulate_stack(shape=(12, 16), seed=1)[["intensity"]].isel(y=3)
    (tmp_path / "line.hdf5").write_bytes(b"")
    monkeypatch.setattr(rooms.xstxm, "open_stack", lambda *_, **__: line)
    with pytest.raises(xstxm.errors.SchemaError, match="the explorer shows images, this scan has"):
        Store(tmp_path).stack(ExplorerState(file="line.hdf5").recipe)


def test_store__reads_a_frame_that_was_written_anew(tmp_path):
    (tmp_path / "a.hdr").write_text("ScanDefinition")
    (tmp_path / "a_a000.xim").write_text("1 2")
    store = Store(tmp_path)
    before = store._key("a.hdr")
    stamp = before[1] + 10**9
    os.utime(tmp_path / "a_a000.xim", ns=(stamp, stamp))
    assert store._key("a.hdr")[1] == stamp
