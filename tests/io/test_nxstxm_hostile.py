"""NXstxm files of every layout, damaged as bytes and piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import nxstxm_files
import pytest
from damage import damaged, opens_or_refuses

import xstxm

LAYOUTS = {**nxstxm_files.DIALECTS, "als 2 line": nxstxm_files.als_2_line, "cls line": nxstxm_files.cls_line}
REFUSED = {"opened", "CorruptFileError", "FileFormatError", "UnsupportedScanError"}


def own(file: h5py.File) -> None:
    """What `write_nxstxm` makes of a stack with a map, an optical density and a record."""
    stack = xstxm.testing.simulate_stack(shape=(4, 3), seed=0)[["intensity"]].isel(energy=slice(5))
    stack = xstxm.calibrate_energy(stack, 0.1)
    stack["optical_density"] = (stack["intensity"] * 2).assign_attrs(units="1")
    stack["thickness"] = stack["intensity"].mean("energy").assign_attrs(units="nm")
    path = xstxm.write_nxstxm(stack, f"{file.filename}.own")
    with h5py.File(path) as written:
        for name in written:
            written.copy(name, file)
        file.attrs.update(written.attrs)


LAYOUTS["own"] = own


@cache
def good(name: str) -> bytes:
    """A sound file of a layout."""
    with TemporaryDirectory() as folder:
        return nxstxm_files.write(Path(folder) / "good.hdf5", LAYOUTS[name]).read_bytes()


@pytest.fixture
def sound(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "good.hdf5"
    path.write_bytes(good(name))
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_damaged_bytes__are_read_or_refused(tmp_path, sound, name):
    path = tmp_path / "scan.hdf5"
    assert opens_or_refuses(sound) == "opened"
    for content in damaged(good(name), 60, seed=len(name)):
        path.write_bytes(content)
        assert opens_or_refuses(path) in REFUSED


def _claim(parent: h5py.Group, name: str) -> None:
    parent.create_dataset(name, (10**6, 10**6), "float64", chunks=(10, 10))


def _empty(parent: h5py.Group, name: str) -> None:
    parent[name] = h5py.Empty("f8")


def _put(value: object) -> Callable[[h5py.Group, str], None]:
    def put(parent: h5py.Group, name: str) -> None:
        parent[name] = value

    return put


PIECES: dict[str, Callable[[h5py.Group, str], object]] = {
    "nothing": lambda parent, name: None,
    "a number": _put(-1.0),
    "no numbers": _put(np.array([])),
    "an empty space": _empty,
    "NaN": _put(np.full((3, 2, 4), np.nan)),
    "too many": _put(np.arange(100.0)),
    "five axes": _put(np.ones((1, 1, 1, 1, 1))),
    "words": _put(np.array([b"\xff\xfe", b"energy"])),
    "complex": _put(np.ones((3, 2, 4), complex)),
    "a pair": _put(np.zeros(3, [("a", "f8"), ("b", "i4")])),
    "a claim": _claim,
    "a group": lambda parent, name: parent.create_group(name),
    "a link to itself": _put(h5py.SoftLink(".")),
    "a broken link": _put(h5py.SoftLink("/nowhere")),
    "another file": _put(h5py.ExternalLink("secret.h5", "/")),
}


def _places(path: Path) -> list[str]:
    found: list[str] = []
    with h5py.File(path) as file:
        file.visit(found.append)
    return found


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("name", ["als 2", "als 3", "own"])
def test_any_piece_replaced__is_read_or_refused(tmp_path, sound, name, piece):
    path = tmp_path / "scan.hdf5"
    ended = set()
    for place in _places(sound)[len(piece) % 2 :: 2]:
        path.write_bytes(good(name))
        with h5py.File(path, "r+") as file:
            parent, _, last = place.rpartition("/")
            del file[place]
            PIECES[piece](file[parent or "/"], last)
        ended.add(opens_or_refuses(path))
    assert ended
    assert ended <= REFUSED


@pytest.mark.parametrize("value", [np.nan, 10**12, b"\xff\xb5", "axes:" * 1000, h5py.Empty("f8")])
@pytest.mark.parametrize("name", ["als 2", "own"])
def test_any_attribute_replaced__is_read_or_refused(tmp_path, sound, name, value):
    path = tmp_path / "scan.hdf5"
    for place in ["/", *_places(sound)]:
        with h5py.File(sound) as file:
            attributes = list(file[place].attrs)
        for attribute in attributes:
            path.write_bytes(good(name))
            with h5py.File(path, "r+") as file:
                file[place].attrs[attribute] = value
            assert opens_or_refuses(path) in REFUSED
