"""Nothing outside the root folder can be opened, whatever the name, and every refusal is in the log."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from stxm_explorer.access import OutsideRootError, refuse_links_out, resolve, resolve_all, stamp

import xstxm


@pytest.fixture
def root(tmp_path):
    """A root folder with files and links of all sorts, and neighbours that are not to be seen."""
    root, secret = tmp_path / "root", tmp_path / "root_secret"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "stack.hdf5").write_bytes(b"x")
    (root / ".hidden.hdf5").write_bytes(b"x")
    (root / "broken.zarr").mkdir()
    secret.mkdir()
    (secret / "secret.hdf5").write_bytes(b"x")
    (secret / "zarr.json").write_text("{}")
    (root / "linked.hdf5").symlink_to(secret / "secret.hdf5")
    (root / "linked_folder").symlink_to(secret)
    (root / "linked.zarr").symlink_to(secret)
    (root / "null.hdf5").symlink_to("/dev/null")
    (root / "loop.hdf5").symlink_to(root / "loop2.hdf5")
    (root / "loop2.hdf5").symlink_to(root / "loop.hdf5")
    (root / "inside.hdf5").symlink_to(root / "inner" / "stack.hdf5")
    os.mkfifo(root / "pipe.hdf5")
    return root


HOSTILE = [
    pytest.param("../root_secret/secret.hdf5", id="parent"),
    pytest.param("inner/../../root_secret/secret.hdf5", id="parent in the middle"),
    pytest.param("inner/../inner/stack.hdf5", id="parent, and back inside"),
    pytest.param("inner/..", id="parent at the end"),
    pytest.param("../root/inner/stack.hdf5", id="out and in again"),
    pytest.param("{tmp}/root_secret/secret.hdf5", id="absolute, sibling with the same prefix"),
    pytest.param("{tmp}/root/inner/stack.hdf5", id="absolute, inside"),
    pytest.param("../root_secret", id="sibling folder with the same prefix"),
    pytest.param("C:\\data\\secret.hdf5", id="drive"),
    pytest.param("C:secret.hdf5", id="drive without a slash"),
    pytest.param("..\\root_secret\\secret.hdf5", id="backslashes"),
    pytest.param("\\\\server\\share\\secret.hdf5", id="share"),
    pytest.param("linked.hdf5", id="link to a file outside"),
    pytest.param("linked_folder/secret.hdf5", id="link to a folder outside"),
    pytest.param("linked.zarr", id="store that is a link to a folder outside"),
    pytest.param("linked_folder/../root_secret/secret.hdf5", id="link and parent"),
    pytest.param("loop.hdf5", id="loop of links"),
    pytest.param("%2e%2e/root_secret/secret.hdf5", id="percent-encoded"),
    pytest.param("%252e%252e%252froot_secret%252fsecret.hdf5", id="percent-encoded twice"),
    pytest.param("inner/stack.hdf5\0", id="null byte"),
    pytest.param("inner/stack.hdf5\0.csv", id="null byte in the middle"),
    pytest.param("inner/stack.hdf5\n", id="new line"),
    pytest.param("x\n2026-01-01 WARNING refused: nothing", id="forged line"),
    pytest.param("", id="nothing"),
    pytest.param(".", id="the folder itself"),
    pytest.param("./inner/stack.hdf5", id="dot first"),
    pytest.param("~/secret.hdf5", id="home"),
    pytest.param("~root/secret.hdf5", id="home of another"),
    pytest.param("$HOME/secret.hdf5", id="variable"),
    pytest.param("file://{tmp}/root_secret/secret.hdf5", id="address of a file"),
    pytest.param("http://127.0.0.1/secret.hdf5", id="address on the network"),
    pytest.param("simplecache::file://{tmp}/root_secret/secret.hdf5", id="chained address"),
    pytest.param("a" * 5000, id="very long name"),
    pytest.param("a/" * 3000 + "b", id="very deep name"),
    pytest.param("..\u2215root_secret\u2215secret.hdf5", id="division slash"),
    pytest.param("\uff0e\uff0e/root_secret/secret.hdf5", id="full width dots"),
    pytest.param("inner/stack\u202e.hdf5", id="text turned round"),
    pytest.param("\udcff.hdf5", id="bytes that are no text"),
    pytest.param("inner/stack.hdf5/", id="trailing slash"),
    pytest.param("inner//stack.hdf5", id="double slash"),
    pytest.param("pipe.hdf5", id="pipe"),
    pytest.param("null.hdf5", id="device"),
    pytest.param("inner", id="folder"),
    pytest.param("broken.zarr", id="folder called a store"),
    pytest.param("absent.hdf5", id="absent"),
    pytest.param(".hidden.hdf5", id="hidden"),
    pytest.param("inner/*.hdf5", id="wildcard"),
    pytest.param("inner/stack.hdf[5]", id="set of characters"),
    pytest.param("<img src=x onerror=alert(1)>", id="markup"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_resolve__stays_below_the_root_and_logs_the_refusal(root, tmp_path, caplog, name):
    asked = name.replace("{tmp}", str(tmp_path))
    with (
        caplog.at_level(logging.WARNING, "stxm_explorer"),
        pytest.raises(OutsideRootError, match="not a file below the folder that this page serves") as error,
    ):
        resolve(root, asked)
    said = str(error.value)
    assert str(tmp_path) not in said
    assert "<" not in said
    assert said.isprintable()
    assert len(said) < 200
    (record,) = caplog.records
    assert record.getMessage().startswith("refused: ")
    assert record.getMessage().isascii()
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 250


def test_resolve__finds_what_is_inside(root):
    assert resolve(root, "inner/stack.hdf5") == root / "inner" / "stack.hdf5"
    assert resolve(root, "inside.hdf5") == root / "inner" / "stack.hdf5"
    (root / "broken.zarr" / "zarr.json").write_text("{}")
    assert resolve(root, "broken.zarr") == root / "broken.zarr"


@pytest.mark.parametrize("name", ["a[1].hdf5", "50 %.hdf5", "µm.hdf5", "a b.hdf5", "a~b..hdf5"])
def test_resolve__takes_unusual_names(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert resolve(tmp_path, name) == tmp_path / name


def test_resolve__of_a_root_that_is_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert resolve(tmp_path / "link", "inner/stack.hdf5") == root / "inner" / "stack.hdf5"


def test_resolve_all__finds_the_files_of_a_pattern(root):
    (root / "inner" / "b.hdf5").write_bytes(b"x")
    assert [path.name for path in resolve_all(root, "inner/*.hdf5")] == ["b.hdf5", "stack.hdf5"]


@pytest.mark.parametrize(
    "pattern",
    [
        "*.hdf5",
        "../*/*.hdf5",
        "linked_folder/*.hdf5",
        "*_folder/*",
        "nothing*",
        "/etc/*",
        "**/*.hdf5",
        "",
        "inner/../*",
    ],
)
def test_resolve_all__refuses_links_and_ways_out(root, pattern):
    with pytest.raises(OutsideRootError):
        resolve_all(root, pattern)


def _written(folder, name):
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=1)[["intensity"]]
    return xstxm.write_nxstxm(stack, folder / name)


@pytest.fixture
def outside(tmp_path):
    """A folder outside with an HDF5 file, and the root folder."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    with h5py.File(tmp_path / "outside" / "secret.hdf5", "w") as file:
        file["data"] = np.arange(6.0)
    (tmp_path / "outside" / "raw.bin").write_bytes(np.arange(6.0).tobytes())
    return tmp_path / "outside"


def _external(file, outside):
    file["extra"] = h5py.ExternalLink(str(outside / "secret.hdf5"), "/data")


def _soft_to_external(file, outside):
    file["door"] = h5py.ExternalLink(str(outside / "secret.hdf5"), "/")
    file["extra"] = h5py.SoftLink("/door/data")


def _virtual(file, outside):
    layout = h5py.VirtualLayout(shape=(6,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(outside / "secret.hdf5"), "data", shape=(6,))
    file.create_virtual_dataset("extra", layout)


def _external_storage(file, outside):
    file.create_dataset("extra", (6,), "f8", external=[(str(outside / "raw.bin"), 0, 48)])


def _deep(file, outside):
    file.create_group("a/b/c")["extra"] = h5py.ExternalLink(str(outside / "secret.hdf5"), "/data")


@pytest.mark.parametrize("add", [_external, _soft_to_external, _virtual, _external_storage, _deep])
@pytest.mark.parametrize("ending", ["hdf5", "nxs", "tif"])
def test_refuse_links_out__hdf5_that_takes_data_from_elsewhere(outside, add, ending, caplog):
    root = outside.parent / "root"
    path = _written(root, "scan.hdf5").rename(root / f"scan.{ending}")
    refuse_links_out(root, path)
    with h5py.File(path, "a") as file:
        add(file, outside)
    with pytest.raises(OutsideRootError, match="takes data from other files") as error:
        refuse_links_out(root, path)
    assert str(root) not in str(error.value)
    assert "refused: scan" in caplog.text


def test_refuse_links_out__of_a_result_that_xstxm_wrote(outside):
    root = outside.parent / "root"
    path = xstxm.write_netcdf(xstxm.testing.simulate_stack(shape=(6, 8), seed=1), root / "maps.nc")
    refuse_links_out(root, path)
    with h5py.File(path, "a") as file:
        _external(file, outside)
    with pytest.raises(OutsideRootError):
        refuse_links_out(root, path)


def test_refuse_links_out__takes_cycles_and_links_inside_the_file(tmp_path):
    path = _written(tmp_path, "scan.hdf5")
    with h5py.File(path, "a") as file:
        group = file.create_group("circle")
        group["again"] = file["/"]
        group["soft"] = h5py.SoftLink("/circle/again/circle")
        layout = h5py.VirtualLayout(shape=(6,), dtype="f8")
        file["own"] = np.arange(6.0)
        layout[:] = h5py.VirtualSource(".", "own", shape=(6,))
        file.create_virtual_dataset("mirror", layout)
    refuse_links_out(tmp_path, path)


def test_refuse_links_out__gives_up_on_objects_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("stxm_explorer.access.MAX_OBJECTS", 3)
    with pytest.raises(OutsideRootError):
        refuse_links_out(tmp_path, _written(tmp_path, "scan.hdf5"))


def test_refuse_links_out__leaves_broken_files_to_the_reader(tmp_path):
    path = _written(tmp_path, "scan.hdf5")
    path.write_bytes(path.read_bytes()[:3000])
    refuse_links_out(tmp_path, path)


@pytest.mark.parametrize(
    ("main", "part"),
    [("a.hdr", "a_a000.xim"), ("a.hdr", "A_b001.XIM"), ("a.dat", "a.ncb"), ("a.dat", "a.NCB"), ("a.tif", "a.txt")],
)
def test_refuse_links_out__parts_beside_a_file(outside, main, part):
    root = outside.parent / "root"
    (root / main).write_text("ScanDefinition")
    (root / "ab_a000.xim").symlink_to(outside / "secret.hdf5")
    refuse_links_out(root, root / main)
    (root / part).symlink_to(outside / "secret.hdf5")
    with pytest.raises(OutsideRootError, match="a part of it lies outside"):
        refuse_links_out(root, root / main)
    (root / part).unlink()
    (root / "inside.bin").write_bytes(b"x")
    (root / part).symlink_to(root / "inside.bin")
    refuse_links_out(root, root / main)


def test_refuse_links_out__inside_a_store(outside):
    root = outside.parent / "root"
    store = xstxm.write_zarr(xstxm.testing.simulate_stack(shape=(6, 8), seed=1)[["intensity"]], root / "a.zarr")
    refuse_links_out(root, store)
    chunk = next(path for path in store.rglob("c/*") if not path.name.startswith("."))
    chunk.rename(outside / "chunk")
    chunk.symlink_to(outside / "chunk")
    with pytest.raises(OutsideRootError, match="a part of it lies outside"):
        refuse_links_out(root, store)


@pytest.mark.parametrize("problem", [TypeError("unknown link"), KeyError("no such object"), RuntimeError("broken")])
def test_refuse_links_out__of_what_cannot_be_followed(tmp_path, monkeypatch, problem):
    def fails(*_, **__):
        raise problem

    path = _written(tmp_path, "scan.hdf5")
    monkeypatch.setattr(h5py.Group, "get", fails)
    monkeypatch.setattr(
        "xarray.backends.list_engines", lambda: {"stxm": SimpleNamespace(guess_can_open=lambda _: True)}
    )
    with pytest.raises(OutsideRootError, match="or may"):
        refuse_links_out(tmp_path, path)


def test_stamp__of_one_file_is_its_own(tmp_path):
    path = _written(tmp_path, "scan.hdf5")
    before = stamp(path)
    (tmp_path / "another.hdf5").write_bytes(b"x")
    assert stamp(path) == before


def test_stamp__follows_the_frames_of_a_scan(tmp_path):
    (tmp_path / "a.hdr").write_text("ScanDefinition")
    (tmp_path / "a_a000.xim").write_text("1 2")
    later = stamp(tmp_path / "a.hdr") + 10**9
    os.utime(tmp_path / "a_a000.xim", ns=(later, later))
    assert stamp(tmp_path / "a.hdr") == later
