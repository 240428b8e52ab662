"""HDF5 files of which the HDF5 library dies: another process finds out first."""

from __future__ import annotations

import errno
import multiprocessing
import os
import struct
import sys
from pathlib import Path

import h5py
import nxstxm_files
import pytest

import xstxm
from xstxm.errors import CorruptFileError, StxmError
from xstxm.io import _hdf5, _hdf5_safety, _hdf5_visitor

pytestmark = pytest.mark.filterwarnings("ignore::xstxm.errors.MetadataWarning")

HEAP = b"GCOL"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.hdf5"
    nxstxm_files.write(path, nxstxm_files.i08)
    return path


@pytest.fixture
def fresh_visitor(monkeypatch):
    visitor = _hdf5_safety._Visitor()
    monkeypatch.setattr(_hdf5_safety, "_visitor", visitor)
    _hdf5_safety._unsound.cache_clear()
    yield visitor
    visitor.close()


def _heap_objects(data: bytes) -> list[int]:
    """Return where the sizes of the objects in the first heap of words are."""
    at, found = data.index(HEAP) + 16, []
    while number := struct.unpack_from("<H", data, at)[0]:
        found.append(at + 8)
        assert number < 1000
        at += 16 + -(-struct.unpack_from("<Q", data, at + 8)[0] // 8) * 8
    return found


def _words(data: bytes) -> list[int]:
    """Return where lengths of words stand, each before the address of the heap and a number in it."""
    heap = struct.pack("<Q", data.index(HEAP))
    at, found = data.find(heap), []
    while at > 0:
        if struct.unpack_from("<I", data, at + 8)[0] < 1000:
            found.append(at - 4)
        at = data.find(heap, at + 1)
    return found


def _opens(path: Path) -> str:
    try:
        with xstxm.open_stack(path) as stack:
            stack.load()
    except StxmError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("size", [0x52, 0, 2**63])
def test_heap_with_wrong_sizes__is_refused_and_hangs_nobody(scan, size):
    data = scan.read_bytes()
    objects = _heap_objects(data)
    assert len(objects) >= 5
    for number, at in enumerate((objects[0], objects[-1])):
        wrong = scan.with_name(f"{number}.hdf5")
        wrong.write_bytes(data[:at] + struct.pack("<Q", size) + data[at + 8 :])
        assert "copy the file again" in _opens(wrong)


def test_words_that_claim_gigabytes__are_refused_by_name(scan):
    data = scan.read_bytes()
    places = _words(data)
    assert len(places) > 5
    messages = []
    for number, at in enumerate(places):
        wrong = scan.with_name(f"{number}.hdf5")
        wrong.write_bytes(data[:at] + struct.pack("<I", 2**32 - 2) + data[at + 4 :])
        messages.append(_opens(wrong))
    assert all("expected a sound HDF5 file" in message for message in messages)
    assert any("attribute" in message for message in messages)


def test_same_file__is_visited_once(scan, fresh_visitor, monkeypatch):
    asked = []
    monkeypatch.setattr(fresh_visitor, "visit", lambda path: asked.append(path))
    for _ in range(2):
        xstxm.open_stack(scan).close()
    assert asked == [str(scan)]


def test_path_from_the_folder_of_this_process__is_named_in_full(scan, fresh_visitor, monkeypatch):
    asked = []
    monkeypatch.setattr(fresh_visitor, "visit", lambda path: asked.append(path))
    monkeypatch.chdir(scan.parent)
    xstxm.open_stack(scan.name).close()
    assert asked == [str(scan)]


def test_visitor_that_was_killed_between_files__is_started_again(scan, fresh_visitor):
    assert fresh_visitor.visit(str(scan)) is None
    process = fresh_visitor._process
    process.kill()
    process.wait()
    assert fresh_visitor.visit(str(scan)) is None
    assert fresh_visitor._process is not process


@pytest.mark.parametrize("python", ["no-such-program", "true"])
def test_no_visitor__files_open_all_the_same(scan, fresh_visitor, monkeypatch, python):
    monkeypatch.setattr(_hdf5_safety.sys, "executable", python)
    with xstxm.open_stack(scan) as stack:
        assert stack.sizes["energy"] == 3
    assert fresh_visitor._process is None


def test_damaged_file__is_refused_again_after_it_killed_the_visitor(scan, fresh_visitor):
    data = scan.read_bytes()
    for at in reversed(_heap_objects(data)):
        scan.write_bytes(data[:at] + struct.pack("<Q", 0x52) + data[at + 8 :])
        if fresh_visitor.visit(str(scan)) == _hdf5_safety._DEADLY:
            break
    for _ in range(2):
        with pytest.raises(CorruptFileError):
            xstxm.open_stack(scan)
    scan.write_bytes(data)
    assert _opens(scan) == ""


def _visited_by(path: str, connection) -> None:
    _hdf5_safety._visitor.visit(path)
    connection.send(_hdf5_safety._visitor._process.pid)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_process__has_a_visitor_of_its_own(scan):
    visitor = _hdf5_safety._visitor
    visitor.visit(str(scan))
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_visited_by, args=(str(scan), there))
    with visitor._lock:  # as another thread may, whose unlocking a fork never sees
        process.start()
    assert here.poll(20)
    assert here.recv() != visitor._process.pid
    process.join()
    assert visitor.visit(str(scan)) is None


def test_index_of_very_many_chunks__is_read_until_the_time_is_up(tmp_path, monkeypatch):
    times: list[float] = []

    def ticking() -> float:
        times.append(len(times))
        return times[-1]

    monkeypatch.setattr(_hdf5_visitor.time, "process_time", ticking)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        item = file.create_dataset("a", (2 * _hdf5_visitor.FEW,), chunks=(1,), dtype="u1")
        item[:20] = 1
        assert _hdf5_visitor.unsound_words(item, "/a", end=4) is None
    assert len(times) == 6


@pytest.mark.parametrize(
    ("of", "name"),
    [
        pytest.param(h5py.AttributeManager, "__iter__", id="list of attributes"),
        pytest.param(h5py.h5o, "get_info", id="address of an object"),
    ],
)
def test_what_cannot_be_had__hides_nothing_else(scan, monkeypatch, of, name):
    def broken(*_):
        raise RuntimeError("addr overflow")

    data, found = scan.read_bytes(), []
    for at in _words(data):
        scan.write_bytes(data[: at + 12] + struct.pack("<I", 9999) + data[at + 16 :])
        found.append(_hdf5_visitor.visit(str(scan)))
        if str(found[-1]).startswith("/entry1"):
            break
    assert "bad heap index" in found[-1]
    monkeypatch.setattr(of, name, broken)
    assert _hdf5_visitor.visit(str(scan)) == found[-1]


@pytest.fixture
def opened_here(monkeypatch):
    """The files that this process tries to open itself."""
    paths, really = [], _hdf5._open

    def opening(path: str, mode: str = "r") -> h5py.File:
        paths.append(path)
        return really(path, mode)

    monkeypatch.setattr(_hdf5, "_open", opening)
    return paths


@pytest.mark.parametrize(
    ("at", "byte"),
    [
        pytest.param(8, 9, id="version of the superblock"),
        pytest.param(13, 77, id="bytes of an address"),
        pytest.param(40, 1, id="end of the file"),
        pytest.param(None, None, id="cut short"),
    ],
)
def test_file_that_hdf5_does_not_open__is_never_opened_here_and_opens_once_mended(scan, opened_here, at, byte):
    data, then = scan.read_bytes(), scan.stat()
    scan.write_bytes(data[:-100] if at is None else data[:at] + bytes([byte]) + data[at + 1 :])
    os.utime(scan, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert "expected a readable HDF5 file, found Unable to" in _opens(scan)
    assert opened_here == []
    scan.write_bytes(data)
    os.utime(scan, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert _opens(scan) == ""
    assert opened_here


@pytest.mark.parametrize(
    "content", [b"", b"energy,counts\n" * 50, b"CDF\x01" + bytes(500)], ids=["empty", "text", "netCDF 3"]
)
def test_file_that_is_no_hdf5__is_named_so(tmp_path, opened_here, content):
    path = tmp_path / "scan.nc"
    path.write_bytes(content)
    with pytest.raises(
        CorruptFileError, match=r"scan\.nc: expected a readable HDF5 file, found .*file signature not found"
    ):
        xstxm.open_stack(path, engine="nxstxm")
    assert opened_here == []


def test_file_that_this_process_writes__opens_here_though_it_is_locked_for_others(scan):
    with h5py.File(scan, "r+") as file:
        file.flush()
        assert _opens(scan) == ""


def test_file_that_was_locked__is_visited_when_asked_for_again(scan, fresh_visitor, monkeypatch):
    asked = []

    def locked(path: str) -> None:
        asked.append(path)
        raise OSError(errno.EAGAIN, "unable to lock file")

    monkeypatch.setattr(fresh_visitor, "visit", locked)
    for _ in range(2):
        _hdf5_safety.check_sound(scan)
    assert asked == [str(scan)] * 2


@pytest.mark.parametrize(
    ("of", "name", "error"),
    [
        pytest.param(
            h5py.Group, "__iter__", RuntimeError("Link iteration failed (memory allocation failed)"), id="members"
        ),
        pytest.param(h5py.AttributeManager, "__iter__", RuntimeError("(can't allocate attribute)"), id="attributes"),
        pytest.param(h5py.Group, "__getitem__", KeyError("image null after H5MM_realloc()"), id="an object"),
        pytest.param(h5py.Group, "__iter__", MemoryError(), id="memory of Python"),
    ],
)
def test_lack_of_memory__ends_the_visitor_as_a_reader_would_take_more(scan, monkeypatch, of, name, error):
    def starved(*_):
        raise error

    monkeypatch.setattr(of, name, starved)
    monkeypatch.setattr(_hdf5_visitor.os, "_exit", sys.exit)
    with pytest.raises(SystemExit):
        _hdf5_visitor.answer(str(scan))


def test_members_past_the_end_of_the_file__are_no_lack_of_memory(scan, monkeypatch):
    def broken(*_):
        raise RuntimeError("Link iteration failed (address of object past end of allocation)")

    monkeypatch.setattr(h5py.Group, "__iter__", broken)
    assert _hdf5_visitor.answer(str(scan)) == {"unsound": None}
