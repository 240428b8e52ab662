"""The page Export: files, recipe, script and choices that are taken away are those of the screen."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import panel as pn
import pytest
import xarray as xr
from stxm_explorer import exports, lengths, plan, surveys
from stxm_explorer import store as rooms
from stxm_explorer.calls import FOLDER, Missing
from stxm_explorer.outputs import Outputs
from stxm_explorer.pages.export import Export
from stxm_explorer.session import Session
from stxm_explorer.state import ExplorerState, Field, Region
from stxm_explorer.store import Store
from typer.testing import CliRunner

import xstxm
from xstxm import cli

EVERYTHING = {
    "results": ["phases", "components", "clusters", "particles", "variance", "coarse", "correlation"],
    "maps": ["netcdf", "zarr", "nxstxm", "tiff", "csv"],
    "pictures": ["phases", "composition", "confidence", "total_amount", "spectra", "regions", "image", "results"],
    "formats": ["png"],
    "tables": ["phases", "particles", "regions", "references", "library", "recipe"],
}


def chosen(names) -> ExplorerState:
    """Return the choice of a stack and of references with their composition."""
    made = ExplorerState()
    made.open("lixv2o5.hdf5")
    values = xstxm.testing.simulate_references()["composition"].values
    composition = {name: float(value) for name, value in zip(names, values, strict=True)}
    made.references.param.update(files=["references.csv"], names=names, composition=composition)
    return made


@pytest.fixture
def state(names) -> ExplorerState:
    return chosen(names)


def page_of(state, root, outputs=None, **more) -> Export:
    page = Export(Session(state, Store(root, **more), outputs))
    assert page.controls() is not None
    assert page.workspace() is not None
    page.refresh()
    return page


def assert_same(found, wanted) -> None:
    """Assert the same numbers to the last bit."""
    xr.testing.assert_equal(found, wanted)


def words(page) -> str:
    """Return the hint or the error in place of the files."""
    return " ".join(pane.object for pane in page._files.__panel__().select(pn.pane.Markdown))


def made_by(page) -> zipfile.ZipFile:
    page._made.make()
    return zipfile.ZipFile(page._made.package.data)


@pytest.fixture(scope="module")
def everything(filled, names) -> tuple[Export, zipfile.ZipFile]:
    """The page of which everything is asked, with two regions, and the archive that it makes."""
    state = chosen(names)
    state.regions = [Region("box", ((0.1, 0.1), (0.4, 0.4)), "left: top/.."), Region("point", ((0.5, 0.5),), "")]
    state.view.energy = 518.4
    state.export.param.update(**EVERYTHING, dpi=100)
    page = page_of(state, filled)
    archive = made_by(page)
    assert not failures(page)
    return page, archive


def failures(page) -> list[str]:
    return [made.failed for made in page._made.package.made if made.failed]


def test_export__without_a_stack_says_what_to_do(filled):
    page = page_of(ExplorerState(), filled)
    assert "Open a stack first" in words(page)
    assert "Open a stack first" in page.script()


def test_export__with_nothing_chosen_says_what_to_do(filled, state):
    state.export.param.update(maps=[], pictures=[], tables=[])
    page = page_of(state, filled)
    assert "Choose on the left" in words(page)
    with pytest.raises(Missing, match="Choose on the left"):
        exports.items(state, None)


def test_export__lists_the_files_before_they_are_made(filled, state):
    state.export.param.update(maps=["netcdf"], pictures=["phases"], formats=["png", "svg"], tables=["phases"])
    page = page_of(state, filled)
    text = page._made._list.object
    for ending in ("phase map.nc", "phases.png", "phases.svg", "phases.csv"):
        assert f"lixv2o5 {ending}" in text
    assert not page._made._button.disabled
    assert page._made.package is None


def test_export__a_phase_map_that_the_cache_forgot_is_still_known(filled, state):
    state.export.param.update(maps=["netcdf"], pictures=[], tables=[])
    page = page_of(state, filled)
    rooms._RESULTS.clear()
    assert "write_netcdf" in page.script()
    page._made.make()
    assert page._made.package.name == "lixv2o5 phase map.nc"
    assert not failures(page)


def test_sharing__says_where_an_address_cannot_hold_the_choices(filled, state):
    page = page_of(state, filled)
    page._tabs.active = 3
    sharing = page._sharing
    assert (sharing.copy.disabled, sharing.note.visible) == (False, False)
    rng = random.Random(1)
    state.regions = [
        Region("polygon", tuple((round(rng.uniform(0, 9), 4), rng.uniform(0, 9)) for _ in range(3000)), f"{number}")
        for number in range(3)
    ]
    page.refresh()
    assert (sharing.copy.disabled, sharing.note.visible) == (True, True)
    sharing.open(state.to_json().encode())
    assert len(state.regions) == 3
    state.regions = []
    page.refresh()
    assert (sharing.copy.disabled, sharing.note.visible) == (False, False)


def test_export__draws_the_image_that_explore_shows(filled, state):
    state.export.param.update(maps=[], pictures=["image"], formats=["png"], tables=[])
    page = page_of(state, filled)
    explored = surveys.survey(page.session.store.run(plan.density(state.fields[0]))["optical_density"])
    assert f"at {explored.brightest:g}.png" in page._made._list.object
    state.view.energy = 520.0
    page.refresh()
    assert "at 520.png" in page._made._list.object


def test_export__of_image_and_phases_lists_both_before_explore_was_seen(filled, state):
    rooms._RESULTS.clear()
    state.export.param.update(maps=[], pictures=["image", "phases"], formats=["png"], tables=[])
    page = page_of(state, filled)
    assert "lixv2o5 phases.png" in page._made._list.object
    assert "lixv2o5 at " in page._made._list.object


@pytest.mark.xdist_group("everything")
def test_export__everything_is_in_the_archive_and_holds_the_numbers(everything, tmp_path):
    (page, archive), state = everything, everything[0].state
    archive.extractall(tmp_path)
    tmp_path = tmp_path / "lixv2o5"
    phases = page.session.store.run(plan.phases(state, state.field))
    with xr.open_dataset(tmp_path / "lixv2o5 phase map.nc") as back:
        xr.testing.assert_equal(back["composition"].load(), phases["composition"])
    zarr = xr.open_zarr(tmp_path / "lixv2o5 phase map.zarr", consolidated=False)
    np.testing.assert_array_equal(zarr["phase_label"].values, phases["phase_label"].values)
    stack = xstxm.open_stack(tmp_path / "lixv2o5 stack.hdf5")
    np.testing.assert_allclose(stack["composition"].values, phases["composition"].values, rtol=1e-6)
    table = pd.read_csv(tmp_path / "lixv2o5 maps.csv")
    np.testing.assert_array_equal(table["phase_label"], phases["phase_label"].values.ravel())
    spectrum = pd.read_csv(tmp_path / "lixv2o5 left top.csv")
    region = page.session.store.run(plan.spectrum(state.field, state.regions[0]))
    np.testing.assert_allclose(spectrum["spectrum"], region["spectrum"].values, rtol=1e-6)
    library = xstxm.read_references(tmp_path / "reference library.toml")
    assert list(library["reference"].values) == list(phases["phase"].values)
    for name, variable in (("components", "eigenimages"), ("clusters", "labels"), ("coarse-graining", "variance")):
        with xr.open_dataset(tmp_path / f"lixv2o5 {name}.nc") as back:
            assert variable in back
    pixels = pd.read_csv(tmp_path / "lixv2o5 clusters maps.csv")
    labels = page.session.store.run(plan.clusters(state, state.field))["labels"]
    np.testing.assert_array_equal(pixels["labels"], labels.values.ravel())
    split = pd.read_csv(tmp_path / "lixv2o5 variance.csv")
    np.testing.assert_allclose(split["variance"], page.session.store.run(lengths.heterogeneity(state))["variance"])
    assert xstxm.read_references(tmp_path / "lixv2o5 components spectra.csv").sizes["reference"] > 1
    assert (tmp_path / "lixv2o5 eigenimages.tif").stat().st_size > 4 * 48 * 64
    for name in (
        "components",
        "clusters",
        "particles",
        "variance",
        "coarse-graining",
        "correlation",
        "phases",
        "composition",
        "confidence",
        "total amount",
        "phase spectra",
        "left top",
        "region 2",
        "at 518.4",
    ):
        assert (tmp_path / f"lixv2o5 {name}.png").stat().st_size > 4000


def test_export__a_region_that_is_called_as_a_result_has_a_file_of_its_own(filled, state):
    state.regions = [Region("point", ((0.5, 0.5),), name) for name in ("variance", "clusters")]
    state.export.param.update(
        results=["clusters", "variance"], maps=["csv"], pictures=["regions", "results"], tables=["regions"]
    )
    files = [item.file for item in exports.items(state, None)]
    assert len({*files}) == len(files)
    assert {"lixv2o5 clusters.png", "lixv2o5 clusters 2.png", "lixv2o5 variance.csv", "lixv2o5 variance 2.csv"} <= {
        *files
    }


def test_export__results_without_phases_map_none(filled, state):
    state.export.param.update(results=["clusters"], maps=["netcdf", "csv"], pictures=["results"], tables=[])
    assert not exports.needs_phases(state)
    page = page_of(state, filled)
    assert "phase_map" not in page.script()
    names = {name.removeprefix("lixv2o5/lixv2o5 ") for name in made_by(page).namelist()}
    files = {"clusters.nc", "clusters spectra.csv", "clusters maps.csv", "clusters.png"}
    assert names == {"lixv2o5/export.py", *files}


def test_export__components_are_those_of_the_chosen_way(filled, state):
    state.unmix.param.update(method="mcr")
    state.export.param.update(results=["components"], maps=["netcdf"], pictures=[], tables=[])
    page = page_of(state, filled)
    text = page.script()
    assert "lixv2o5_number = lixv2o5_eigenspectra['component'].item(-1)" in text
    assert "xstxm.mcr(lixv2o5_density, lixv2o5_number, seed=0)" in text
    page._made.make()
    assert not failures(page)


def test_export__tells_what_a_format_has_no_room_for(filled, state):
    state.export.param.update(maps=["tiff"], pictures=[], tables=[])
    page = page_of(state, filled)
    made_by(page)
    said = {made.item.file: made.said for made in page._made.package.made}
    assert any("TIFF holds images" in text for text in said["lixv2o5 phase fraction.tif"])
    assert said["lixv2o5 composition.tif"] == ()
    assert "TIFF holds images" in page._made._list.object


def test_export__one_file_is_sent_as_it_is(filled, state):
    state.export.param.update(maps=[], pictures=[], tables=["references"])
    page = page_of(state, filled)
    page._made.make()
    assert page._made.package.name == "reference spectra.csv"
    assert page._made.package.data.getvalue().startswith(b"# spectra of xstxm")


def test_export__a_file_that_cannot_be_made_keeps_no_other_back(filled, state):
    state.regions = [Region("point", ((900.0, 900.0),), "far away")]
    state.export.param.update(maps=["netcdf"], pictures=[], tables=["regions"])
    page = page_of(state, filled)
    archive = made_by(page)
    assert archive.namelist() == ["lixv2o5/export.py", "lixv2o5/lixv2o5 phase map.nc"]
    assert len(failures(page)) == 1
    assert "not made" in page._made._list.object


def test_export__every_field_has_files_of_its_own(filled, state):
    state.fields = [*state.fields, type(state.field)(file="lixv2o5.hdf5", label="../lixv2o5")]
    state.export.param.update(every_field=True, maps=["netcdf"], pictures=[], tables=[])
    page = page_of(state, filled)
    files = {"lixv2o5/lixv2o5 phase map.nc", "lixv2o5/lixv2o5 2 phase map.nc"}
    assert files == {*made_by(page).namelist()} - {"lixv2o5/export.py"}


def test_export__new_choices_forget_what_was_made(filled, state):
    state.export.param.update(maps=["netcdf"], pictures=[], tables=[])
    page = page_of(state, filled)
    page._made.make()
    assert page._made.package is not None
    state.export.maps = ["csv"]
    page.refresh()
    assert page._made.package is None
    assert "maps.csv" in page._made._list.object


def test_export__writes_into_the_folder_of_the_server(filled, state, tmp_path):
    state.export.param.update(maps=["netcdf", "zarr"], pictures=[], tables=["recipe"])
    page = page_of(state, filled, outputs=Outputs(tmp_path))
    page._made.make()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "lixv2o5 phase map.nc",
        "lixv2o5 phase map.zarr",
        "lixv2o5 recipe.toml",
    ]
    page._made.make()
    assert len(failures(page)) == 3
    assert "is there already" in page._made._list.object
    state.export.overwrite = True
    page.refresh()
    page._made.make()
    assert not failures(page)
    assert str(tmp_path) not in page._made._list.object


def test_script__is_the_same_whatever_the_server_has_in_memory(filled, state):
    page = page_of(state, filled)
    before = page.script()
    assert "open_stack" in before
    rooms._RESULTS.clear()
    assert page.script() == before


@pytest.mark.xdist_group("everything")
def test_script__makes_the_same_files_in_a_fresh_interpreter(filled, everything, tmp_path):
    page, archive = everything
    assert page.script() == archive.read("lixv2o5/export.py").decode()
    for file in ("lixv2o5.hdf5", "references.csv"):
        (tmp_path / file).write_bytes((filled / file).read_bytes())
    (tmp_path / "export.py").write_text(page.script())
    archive.extractall(tmp_path / "made")
    made = tmp_path / "made" / "lixv2o5"
    command = [sys.executable, "-W", "ignore", "export.py"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=900)
    inputs, again = {"lixv2o5.hdf5", "references.csv", "made", "export.py"}, tmp_path / FOLDER
    assert {path.name for path in tmp_path.iterdir()} - inputs == {FOLDER}
    assert {path.name for path in again.iterdir()} == {path.name for path in made.iterdir()} - {"export.py"}
    for table in made.glob("*.csv"):
        mine, theirs = (pd.read_csv(path, comment="#") for path in (table, again / table.name))
        pd.testing.assert_frame_equal(mine, theirs, rtol=1e-5, atol=1e-5, obj=table.name)  # float32
    assert_same(*(xr.load_dataset(folder / "lixv2o5 phase map.nc") for folder in (made, again)))


@pytest.mark.parametrize("i0", ["brightest", "file", "region"])
def test_recipe__gives_the_same_numbers(filled, state, tmp_path, i0):
    state.field.param.update(
        i0_source=i0,
        i0_file="i0.csv",
        i0_units="count",
        i0_region=Region("box", ((0.0, 0.0), (0.2, 0.2))),
        start=509.0,
    )
    page = page_of(state, filled)
    page._tabs.active = 1
    page.refresh()
    (download, _) = page._recipe._download.objects
    (tmp_path / "recipe.toml").write_bytes(download.file.getvalue())
    assert str(filled) not in page._recipe._text.object
    assert not page.session.store.notes(exports.recipe(state, state.field))
    arguments = ["run", str(tmp_path / "recipe.toml"), str(filled / "lixv2o5.hdf5"), "-o", str(tmp_path / "results")]
    ran = CliRunner().invoke(cli.app, arguments)
    assert ran.exit_code == 0, ran.output
    (result,) = (tmp_path / "results").glob("*.nc")
    shown = page.session.store.run(plan.phases(state, state.field))
    assert_same(xr.load_dataset(result), shown)


def test_recipe__tells_what_it_does_not_hold(filled):
    stack = xstxm.despike(xstxm.open_stack(filled / "lixv2o5.hdf5"))
    state = in_memory()
    page = page_of(state, filled, given={"stack": stack.isel(energy=slice(1, None))})
    page._tabs.active = 1
    page.refresh()
    (note,) = page.session.store.notes(exports.recipe(state, state.field))
    assert "a recipe cannot repeat that" in note


def test_choices__round_trip_through_a_file(filled, state):
    state.export.param.update(**EVERYTHING, dpi=600, every_field=True)
    page = page_of(state, filled)
    text = state.to_json()
    other = page_of(ExplorerState(), filled)
    other._sharing.open(text.encode())
    assert json.loads(other.state.to_json()) == json.loads(text)
    assert page.script() == page_of(other.state, filled).script()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"[1, 2]", b'{"colour": 1}', b'{"export": {"maps": ["exe"]}}', b" " * 300_000],
    ids=["empty", "binary", "no table", "of another version", "a format that there is not", "too long"],
)
def test_choices__a_broken_file_changes_nothing(filled, state, content):
    page = page_of(state, filled)
    before = state.to_json()
    page._sharing.open(content)
    assert state.to_json() == before


def in_memory(**choices) -> ExplorerState:
    made = ExplorerState()
    made.fields = [Field(label="stack", in_memory=True)]
    made.references.param.update(**choices)
    return made


def test_in_memory__the_page_shows_an_array_and_the_script_names_it(filled, tmp_path, monkeypatch):
    stack, references = xstxm.open_stack(filled / "lixv2o5.hdf5"), xstxm.testing.simulate_references()
    state = in_memory(in_memory=True)
    page = page_of(state, filled, given={"stack": stack, "references": references})
    shown = page.session.store.run(plan.phases(state, state.field))
    assert_same(shown, xstxm.phase_map(xstxm.optical_density(stack), references, background="constant"))
    state.export.param.update(maps=["netcdf"], pictures=[], tables=["references"])
    assert "open_stack" not in page.script()
    monkeypatch.chdir(tmp_path)
    with pytest.warns(xstxm.errors.MetadataWarning, match="color, source, composition not written"):
        exec(page.script(), {"stack": stack, "references": references})
    assert_same(xr.load_dataset(tmp_path / FOLDER / "stack phase map.nc"), shown)


def test_in_memory__two_arrays_are_not_mistaken_for_each_other(filled):
    stack = xstxm.open_stack(filled / "lixv2o5.hdf5")
    state = in_memory()
    first = Store(filled, given={"stack": stack}).run(plan.density(state.field))
    second = Store(filled, given={"stack": stack.isel(x=slice(0, 20))}).run(plan.density(state.field))
    assert (first.sizes["x"], second.sizes["x"]) == (64, 20)


def test_in_memory__nothing_is_kept_of_a_page_that_was_closed_while_it_worked(filled, monkeypatch):
    stack, state = xstxm.open_stack(filled / "lixv2o5.hdf5"), in_memory()
    store, kept = Store(filled, given={"stack": stack}), len(rooms._RESULTS._kept)
    density = xstxm.optical_density

    def amid_work(*given, **options):
        made = density(*given, **options)
        store.close()
        return made

    monkeypatch.setattr(xstxm, "optical_density", amid_work)
    assert store.run(plan.density(state.field)).sizes["x"] == 64
    assert len(rooms._RESULTS._kept) == kept


def test_in_memory__a_page_of_files_says_where_the_array_was(filled):
    page = page_of(in_memory(), filled)
    assert "open the explorer from the notebook" in words(page)


def test_plain__is_one_name_that_no_system_refuses():
    from stxm_explorer.names import plain_name

    for label in ("../../etc", "a/b\\c", "", "...", "x" * 300, "~root", "nul\0", "a:b"):
        assert plain_name(f"{exports.plain(label)} map.nc")
        assert Path(exports.plain(label)).name == exports.plain(label)
