"""The table of files: what is listed, what it says of each, and that nothing outside the root folder is in it."""

from __future__ import annotations

import os
import warnings

import pytest
from stxm_explorer import catalogue as rooms
from stxm_explorer.access import endings_beside, formats_by_ending
from stxm_explorer.catalogue import Catalogue, catalogue
from stxm_explorer.descriptions import describe
from stxm_explorer.store import Store

import xstxm


@pytest.fixture
def root(tmp_path):
    """A root folder with a file, and neighbours that are not to be seen."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "stack.hdf5").write_bytes(b"x")
    (tmp_path / "root_secret").mkdir()
    (tmp_path / "root_secret" / "secret.hdf5").write_bytes(b"x")
    (root / "linked.hdf5").symlink_to(tmp_path / "root_secret" / "secret.hdf5")
    (root / "linked_folder").symlink_to(tmp_path / "root_secret")
    (root / "linked.zarr").symlink_to(tmp_path / "root_secret")
    (root / "gone.hdf5").symlink_to(root / "nowhere.hdf5")
    (root / "inside.hdf5").symlink_to(root / "inner" / "stack.hdf5")
    return root


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with one file of each sort."""
    shelf = tmp_path_factory.mktemp("shelf")
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=1)[["intensity"]]
    references = xstxm.testing.simulate_references()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        xstxm.write_nxstxm(stack, shelf / "stack.hdf5")
        xstxm.write_sdf(stack, shelf / "scan.hdr")
        xstxm.write_ncb(stack, shelf / "axis.dat")
        xstxm.write_tiff(stack, shelf / "images.tif")
    xstxm.write_zarr(stack, shelf / "stack.zarr")
    xstxm.write_netcdf(stack, shelf / "stack.nc")
    xstxm.write_netcdf(stack["intensity"].mean("energy"), shelf / "mean.nc")
    xstxm.write_netcdf(references, shelf / "references.nc")
    xstxm.write_references(references, shelf / "library.toml")
    xstxm.write_csv(references["absorption"].reset_coords(drop=True), shelf / "table.csv")
    (shelf / "settings.toml").write_text("[tool]\nname = 'x'\n")
    (shelf / "notes.txt").write_text("nothing to fit here\n")
    (shelf / "envi.hdr").write_text("ENVI\nsamples = 3")
    (shelf / "picture.png").write_bytes(b"\x89PNG")
    return shelf


def test_catalogue__lists_what_may_be_opened_only(root):
    assert catalogue(root).stacks == ("inner/stack.hdf5", "inside.hdf5")


def test_catalogue__knows_every_format_of_the_library(shelf):
    assert set().union(*formats_by_ending().values()) == set(xstxm.formats().index)
    assert endings_beside()[".hdr"] == {".xim", ".xsp"}
    kinds = {entry.name: (entry.kind, entry.format) for entry in catalogue(shelf).entries}
    assert kinds == {
        "axis.dat": ("stack", "ncb"),
        "images.tif": ("stack", "tiff"),
        "library.toml": ("spectra", "toml"),
        "mean.nc": ("result", "netcdf"),
        "references.nc": ("result", "netcdf"),
        "scan.hdr": ("stack", "sdf"),
        "stack.hdf5": ("stack", "nxstxm or exchange"),
        "stack.nc": ("result", "netcdf"),
        "stack.zarr": ("result", "zarr"),
        "table.csv": ("spectra", "csv"),
    }


def test_catalogue__sorts_into_stacks_results_and_spectra(shelf):
    found = catalogue(shelf)
    assert {"scan.hdr", "stack.zarr", "stack.nc"} <= {*found.stacks}
    assert found.spectra == ("library.toml", "table.csv")
    assert found.results == ("mean.nc", "references.nc", "stack.nc", "stack.zarr")


def test_catalogue__says_size_and_time(shelf):
    entries = {entry.name: entry for entry in catalogue(shelf).entries}
    frames = [path for path in shelf.iterdir() if path.name.startswith("scan")]
    assert len(frames) > 2
    assert entries["scan.hdr"].size == sum(path.stat().st_size for path in frames)
    assert entries["axis.dat"].size == sum((shelf / name).stat().st_size for name in ("axis.dat", "axis.ncb"))
    assert entries["stack.zarr"].size is None
    assert entries["table.csv"].modified.timestamp() == pytest.approx((shelf / "table.csv").stat().st_mtime)
    assert entries["table.csv"].modified.tzinfo is not None


def test_catalogue__opens_no_stack(shelf, monkeypatch):
    def opened(*_, **__):
        raise AssertionError("the list of files opened one")

    for name in ("open_stack", "open_result", "read_references"):
        monkeypatch.setattr(xstxm, name, opened)
    assert len(catalogue(shelf).entries) == 10


def test_catalogue__tells_stacks_from_spectra_and_text(filled):
    found = catalogue(filled)
    assert found.stacks == ("lixv2o5.hdf5",)
    assert found.spectra == ("i0.csv", "references.csv")
    assert found.complete


def test_catalogue__gives_up_on_a_folder_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "MAX_ENTRIES", 3)
    for number in range(6):
        (tmp_path / f"{number}.h5").write_bytes(b"x")
    found = catalogue(tmp_path)
    assert not found.complete
    assert len(found.stacks) == 3


def test_catalogue__goes_no_deeper_than_told(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "MAX_DEPTH", 1)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        (folder / "scan.h5").write_bytes(b"x")
    assert catalogue(tmp_path).stacks == ("a/scan.h5", "scan.h5")


def test_catalogue__lists_no_name_that_is_refused_when_opened(tmp_path):
    for name in ("new\nline.h5", "back\\slash.h5", "turned\u202e.h5", "plain.h5"):
        (tmp_path / name).write_bytes(b"x")
    assert catalogue(tmp_path).stacks == ("plain.h5",)


def test_catalogue__reads_nothing_through_a_link_that_leads_out(root, tmp_path, monkeypatch):
    (tmp_path / "root_secret" / "table.csv").write_text("1,2\n")
    (root / "linked.csv").symlink_to(tmp_path / "root_secret" / "table.csv")
    (root / "own.csv").write_text("1,2\n")
    read = []
    original = rooms.Path.open
    monkeypatch.setattr(rooms.Path, "open", lambda self, *a, **k: read.append(self.name) or original(self, *a, **k))
    assert catalogue(root).spectra == ("own.csv",)
    assert read == ["own.csv"]


def test_catalogue__of_an_empty_folder_is_complete(tmp_path):
    assert catalogue(tmp_path) == Catalogue((), complete=True)


def test_catalogue__passes_over_hidden_files(tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.h5").write_bytes(b"x")
    (tmp_path / ".a.h5").write_bytes(b"x")
    assert not catalogue(tmp_path).entries


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_catalogue__skips_what_it_may_not_read(tmp_path):
    closed = tmp_path / "closed.csv"
    closed.write_text("1,2\n")
    closed.chmod(0)
    assert catalogue(tmp_path).spectra == ()


def test_catalogue__does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "p.csv")
    assert catalogue(tmp_path).spectra == ()


def test_store__name_of_a_file_outside_is_nothing(root, tmp_path):
    store = Store(root)
    assert store.name_of(str(root / "inner" / "stack.hdf5")) == "inner/stack.hdf5"
    assert store.name_of(str(tmp_path / "root_secret" / "secret.hdf5")) == ""
    assert store.name_of(None) == ""


@pytest.mark.parametrize(
    ("name", "format"), [("stack.hdf5", "nxstxm"), ("scan.hdr", "sdf"), ("stack.zarr", "zarr"), ("stack.nc", "netcdf")]
)
def test_describe__a_stack(shelf, name, format):
    found = describe(shelf, name)
    assert (found.content, found.format, found.problem) == ("stack", format, "")
    expected = xstxm.open_stack(shelf / "stack.hdf5")
    assert found.energies == expected.sizes["energy"]
    assert found.energy_range == pytest.approx((float(expected.energy.min()), float(expected.energy.max())), abs=0.01)
    assert found.pixels == (6, 8)
    assert found.pixel_size == expected.stxm.pixel_size["x"]


def test_describe__results_and_references(shelf, names):
    assert (describe(shelf, "mean.nc").content, describe(shelf, "mean.nc").names) == ("result", ("intensity",))
    for file in ("references.nc", "library.toml", "table.csv"):
        found = describe(shelf, file)
        assert (found.content, found.names) == ("references", tuple(names)), file
        assert found.energies > 100


def test_describe__a_broken_file_gives_the_reason(shelf, tmp_path):
    whole = (shelf / "stack.hdf5").read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.nc").write_bytes(b"")
    (tmp_path / "words.csv").write_text("1,2\nand words\n")
    for name in ("cut.hdf5", "empty.nc", "words.csv", "../shelf/stack.hdf5", "absent.hdf5"):
        found = describe(tmp_path, name)
        assert found.content == "unreadable", name
        assert found.problem
        assert str(tmp_path) not in found.problem


def test_describe__opens_a_file_again_only_when_it_changed(shelf, monkeypatch):
    opened = []
    original = xstxm.read_references
    monkeypatch.setattr(xstxm, "read_references", lambda *a, **k: opened.append(a) or original(*a, **k))
    path = shelf / "again.csv"
    path.write_text("energy,a\n515,1\n518,2\n521,3\n")
    try:
        assert describe(shelf, "again.csv") is describe(shelf, "again.csv")
        assert len(opened) == 1
        path.write_text("energy,a,b\n515,1,2\n518,2,3\n")
        later = path.stat().st_mtime_ns + 10**9
        os.utime(path, ns=(later, later))
        assert describe(shelf, "again.csv").names == ("a", "b")
    finally:
        path.unlink()


def test_describe__real_scan(real_data):
    found = describe(real_data / "fe-l-edge-stack", "71214078.hdr")
    assert (found.content, found.energies, found.pixels) == ("stack", 123, (125, 125))
    assert found.start_time.startswith("2007-12-14")
