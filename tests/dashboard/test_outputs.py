"""Files are written into the given folder only, as a whole or not at all; downloads leave nothing behind."""

from __future__ import annotations

import errno
import io
import tempfile
import threading
import zipfile

import pytest
from stxm_explorer import outputs as rooms
from stxm_explorer.outputs import NoOutputError, OutputExistsError, OutputFailedError, Outputs

import xstxm
from xstxm.errors import OptionError


@pytest.fixture
def folder(tmp_path):
    """The folder to write into; a file beside it must stay as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "precious.nc").write_text("precious")
    return tmp_path / "out"


def _text(text):
    return lambda path: path.write_text(text)


def _left(folder):
    return sorted(path.name for path in folder.iterdir())


BAD_NAMES = [
    pytest.param("", id="nothing"),
    pytest.param("   ", id="blanks"),
    pytest.param("../precious.nc", id="parent"),
    pytest.param("..", id="two dots"),
    pytest.param(".", id="dot"),
    pytest.param("a/b.nc", id="slash"),
    pytest.param("/etc/passwd", id="absolute"),
    pytest.param("a\\b.nc", id="backslash"),
    pytest.param("C:maps.nc", id="drive"),
    pytest.param("maps.nc:stream", id="stream"),
    pytest.param(".hidden", id="hidden"),
    pytest.param("-rf.nc", id="option"),
    pytest.param("~maps.nc", id="home"),
    pytest.param("maps.nc ", id="blank at the end"),
    pytest.param("maps.", id="dot at the end"),
    pytest.param("maps\0.nc", id="null byte"),
    pytest.param("maps\n.nc", id="new line"),
    pytest.param("maps\u202ecn.exe", id="text turned round"),
    pytest.param("CON", id="console"),
    pytest.param("nul.nc", id="nothing on Windows"),
    pytest.param("LPT1.tar.nc", id="printer"),
    pytest.param("con .nc", id="console with a blank"),
    pytest.param("a*.nc", id="wildcard"),
    pytest.param("<b>.nc", id="markup"),
    pytest.param("a" * 130, id="too long"),
    pytest.param("\udcff.nc", id="bytes that are no text"),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names__that_are_not_plain_are_refused(folder, name):
    outputs = Outputs(folder)
    for attempt in (lambda: outputs.write(name, _text("x")), lambda: outputs.package(name, _text("x"))):
        with pytest.raises(OptionError, match="give a plain name") as error:
            attempt()
        assert str(error.value).isascii()
        assert "\n" not in str(error.value)
    assert _left(folder) == []
    assert _left(folder.parent) == ["out", "precious.nc"]


@pytest.mark.parametrize("name", ["maps.nc", "LixV2O5 map (1).nc", "µ-map.nc", "a.b.c", "console.nc"])
def test_write__plain_names(folder, name):
    assert Outputs(folder).write(name, _text("x")) == folder / name
    assert _left(folder) == [name]


def test_write__same_letters_composed_in_two_ways_are_one_name(folder):
    outputs = Outputs(folder)
    outputs.write("M\u00fcller.nc", _text("x"))
    with pytest.raises(OutputExistsError):
        outputs.write("Mu\u0308ller.nc", _text("y"))


def test_write__without_a_folder_is_refused_and_packages_still_work():
    outputs = Outputs(None)
    assert not outputs.allowed
    with pytest.raises(NoOutputError, match="download it"):
        outputs.write("maps.nc", _text("x"))
    assert outputs.package("maps.csv", _text("x")).getvalue() == b"x"


def test_write__a_result_that_reads_back(folder):
    image = xstxm.testing.simulate_stack(shape=(6, 8), seed=1)["intensity"].mean("energy")
    path = Outputs(folder).write("mean.nc", lambda part: xstxm.write_netcdf(image, part))
    with xstxm.open_result(path) as opened:
        assert opened.load().identical(image.compute())


def test_write__what_is_there_stays_unless_told(folder):
    outputs = Outputs(folder)
    outputs.write("a.txt", _text("old"))
    with pytest.raises(OutputExistsError, match=r"a\.txt is there already: tick Replace files"):
        outputs.write("a.txt", _text("new"))
    assert (folder / "a.txt").read_text() == "old"
    outputs.write("a.txt", _text("new"), overwrite=True)
    assert (folder / "a.txt").read_text() == "new"
    assert _left(folder) == ["a.txt"]


def test_write__one_that_fails_leaves_the_old_one_and_nothing_else(folder):
    outputs = Outputs(folder)
    outputs.write("a.txt", _text("old"))

    def half(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(OutputFailedError, match=r"a\.txt could not be written: no space left on device") as error:
        outputs.write("a.txt", half, overwrite=True)
    assert str(folder) not in str(error.value)
    assert (folder / "a.txt").read_text() == "old"
    assert _left(folder) == ["a.txt"]


def test_write__a_folder_is_replaced_as_a_whole(folder):
    def store(*names):
        def write(path):
            path.mkdir()
            for name in names:
                (path / name).write_text(name)

        return write

    outputs = Outputs(folder)
    outputs.write("a.zarr", store("one", "two"))
    with pytest.raises(OutputExistsError):
        outputs.write("a.zarr", store("three"))
    outputs.write("a.zarr", store("three"), overwrite=True)
    assert _left(folder / "a.zarr") == ["three"]
    assert _left(folder) == ["a.zarr"]


def test_write__a_folder_comes_back_when_the_new_one_cannot_take_its_place(folder, monkeypatch):
    def store(path):
        path.mkdir()
        (path / "one").write_text("1")

    outputs = Outputs(folder)
    outputs.write("a.zarr", store)
    monkeypatch.setattr(rooms.Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Denied")))
    with pytest.raises(OutputFailedError):
        outputs.write("a.zarr", lambda path: path.mkdir(), overwrite=True)
    assert _left(folder / "a.zarr") == ["one"]


def test_write__files_that_belong_together_come_together(folder):
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=1)[["intensity"]]
    outputs = Outputs(folder)
    outputs.write("scan.hdr", lambda path: xstxm.write_sdf(stack, path))
    assert xstxm.open_stack(folder / "scan.hdr").sizes["x"] == 8
    (folder / "scan.hdr").unlink()
    with pytest.raises(OutputExistsError, match=r"scan_a\d+\.xim is there already"):
        outputs.write("scan.hdr", lambda path: xstxm.write_sdf(stack, path))
    assert "scan.hdr" not in _left(folder)


def test_write__a_link_is_replaced_and_not_followed(folder):
    (folder / "a.txt").symlink_to(folder.parent / "precious.nc")
    outputs = Outputs(folder)
    with pytest.raises(OutputExistsError):
        outputs.write("a.txt", _text("x"))
    outputs.write("a.txt", _text("x"), overwrite=True)
    assert (folder.parent / "precious.nc").read_text() == "precious"
    assert not (folder / "a.txt").is_symlink()
    (folder / "b.txt").symlink_to(folder.parent / "nowhere")
    with pytest.raises(OutputExistsError):
        outputs.write("b.txt", _text("x"))
    assert not (folder.parent / "nowhere").exists()


def test_write__a_writer_that_leaves_no_file_is_told(folder):
    with pytest.raises(OutputFailedError, match="left no file of that name"):
        Outputs(folder).write("a.txt", lambda path: None)


def test_write__a_folder_that_is_gone_is_told_without_its_path(tmp_path):
    with pytest.raises(OutputFailedError) as error:
        Outputs(tmp_path / "gone").write("a.txt", _text("x"))
    assert str(tmp_path) not in str(error.value)


def test_write__of_two_at_once_one_is_refused(folder):
    outputs, together, ended = Outputs(folder), threading.Barrier(2), []

    def write(path):
        together.wait(10)
        path.write_text("x")

    def attempt():
        try:
            ended.append(outputs.write("a.txt", write))
        except OutputExistsError as error:
            ended.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(type(one).__name__ for one in ended) == ["OutputExistsError", "PosixPath"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder that temporary folders are made in."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_package__leaves_nothing_behind(temporary):
    seen = []

    def writer(path):
        seen.append(path)
        path.write_text("1,2\n")

    package = Outputs().package("table.csv", writer)
    assert isinstance(package, io.BytesIO)
    assert package.read() == b"1,2\n"
    assert seen[0].is_relative_to(temporary)
    assert _left(temporary) == []

    def broken(path):
        path.write_text("half")
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        Outputs().package("table.csv", broken)
    assert _left(temporary) == []


def test_package__packs_a_folder(temporary):
    image = xstxm.testing.simulate_stack(shape=(6, 8), seed=1)["intensity"].mean("energy")

    def writer(folder):
        xstxm.write_netcdf(image, folder / "mean.nc")
        (folder / "notes").mkdir()
        (folder / "notes" / "a.txt").write_text("a")

    with zipfile.ZipFile(Outputs().package("maps.zip", writer)) as archive:
        assert archive.namelist() == ["maps/mean.nc", "maps/notes/a.txt"]
        assert archive.read("maps/notes/a.txt") == b"a"
    assert _left(temporary) == []


def test_package__of_several_files_wants_a_zip():
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=1)[["intensity"]]
    with pytest.raises(OptionError, match=r"give a name that ends in \.zip"):
        Outputs().package("scan.hdr", lambda path: xstxm.write_sdf(stack, path))


def test_package__that_is_too_large_for_a_page_is_refused(monkeypatch, temporary):
    monkeypatch.setattr(rooms, "LARGEST_DOWNLOAD", 10)
    with pytest.raises(OutputFailedError, match="more than the 0 MB that a page sends"):
        Outputs().package("a.txt", _text("x" * 11))
    assert _left(temporary) == []
