"""HDF5 files that are broken, or that want to lead a reader out of themselves."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import nxstxm_files
import pytest

import xstxm
from xstxm.errors import CorruptFileError, FileFormatError, StxmError

DATA = "entry1/counter0/data"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.hdf5"
    with h5py.File(path, "w") as file:
        nxstxm_files.pollux(file)
    return path


def _replace(path: Path, make) -> None:
    with h5py.File(path, "r+") as file:
        group = file["entry1/counter0"]
        del group["data"]
        make(group)


def _external_link(group: h5py.Group) -> None:
    group["data"] = h5py.ExternalLink("secret.h5", "/numbers")


def _external_storage(group: h5py.Group) -> None:
    group.create_dataset("data", (3, 2, 4), "int32", external=[("secret.raw", 0, 96)])


def _virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((3, 2, 4), "int32")
    layout[:] = h5py.VirtualSource("secret.h5", "numbers", (3, 2, 4))
    group.create_virtual_dataset("data", layout)


def _soft_link_through_another_file(group: h5py.Group) -> None:
    group.file["away"] = h5py.ExternalLink("secret.h5", "/")
    group["data"] = h5py.SoftLink("/away/numbers")


@pytest.mark.parametrize(
    "make",
    [_external_link, _external_storage, _virtual, _soft_link_through_another_file],
    ids=lambda make: make.__name__,
)
def test_numbers_in_another_file__are_refused_by_its_name(scan: Path, make) -> None:
    with h5py.File(scan.parent / "secret.h5", "w") as file:
        file["numbers"] = nxstxm_files.COUNTS.astype("int32")
    (scan.parent / "secret.raw").write_bytes(b"\1" * 96)
    _replace(scan, make)
    with pytest.raises(FileFormatError, match="secret"):
        xstxm.open_stack(scan, engine="nxstxm")


def test_external_link_beside_the_scan__is_left_alone(scan: Path) -> None:
    with h5py.File(scan, "r+") as file:
        file["entry1/camera"] = h5py.ExternalLink("raw.h5", "/frames")
    assert xstxm.open_stack(scan).sizes["energy"] == 3


def test_soft_links_in_a_circle__end(scan: Path) -> None:
    def circle(group: h5py.Group) -> None:
        group["data"] = h5py.SoftLink("/entry1/counter0/other")
        group["other"] = h5py.SoftLink("/entry1/counter0/data")

    _replace(scan, circle)
    with pytest.raises(FileFormatError, match="an NXdata group with an array"):
        xstxm.open_stack(scan, engine="nxstxm")


def test_soft_link_inside_the_file__is_followed(scan: Path) -> None:
    with h5py.File(scan, "r+") as file:
        file.move(DATA, "raw")
        file[DATA] = h5py.SoftLink("/raw")
    np.testing.assert_array_equal(xstxm.open_stack(scan).intensity, nxstxm_files.COUNTS)


def test_group_that_holds_itself__ends(scan: Path) -> None:
    with h5py.File(scan, "r+") as file:
        file["entry1/again"] = file["entry1"]
    assert xstxm.open_stack(scan).sizes["energy"] == 3


def test_claim_of_terabytes__is_refused_when_opened(scan: Path) -> None:
    def claim(group: h5py.Group) -> None:
        group.create_dataset("data", (3, 10**5, 10**5), "float32", chunks=(1, 10, 10))
        del group["sample_x"], group["sample_y"]
        group["sample_x"] = group["sample_y"] = np.arange(10.0**5)

    _replace(scan, claim)
    with pytest.raises(CorruptFileError, match="0 bytes"):
        xstxm.open_stack(scan)


def test_claim_of_an_axis__is_refused_when_opened(scan: Path) -> None:
    with h5py.File(scan, "r+") as file:
        del file["entry1/counter0/energy"]
        file.create_dataset("entry1/counter0/energy", (10**12,), "float64", chunks=(10,))
    with pytest.raises(CorruptFileError, match="energy"):
        xstxm.open_stack(scan)


def test_numbers_never_written__are_told(scan: Path) -> None:
    _replace(scan, lambda group: group.create_dataset("data", (3, 2, 4), "float32", chunks=(1, 2, 4)))
    with pytest.warns(xstxm.errors.MetadataWarning, match="ever written"):
        xstxm.open_stack(scan)


def damaged(good: bytes, seed: int) -> bytes:
    """The bytes of a file, cut short or with some of its first ones changed; further in the C library itself may crash."""
    random = np.random.default_rng(seed)
    if seed % 2 == 0:
        return good[: random.integers(0, len(good))]
    data = np.frombuffer(good, dtype=np.uint8).copy()
    places = random.integers(0, 96, random.integers(1, 6))
    data[places] = random.integers(0, 256, places.size)
    return data.tobytes()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", range(0, 200, 50))
def test_damaged_files__are_read_or_refused_in_the_words_of_the_package(scan: Path, start: int) -> None:
    good, broken = scan.read_bytes(), scan.with_name("broken.hdf5")
    refused = 0
    for seed in range(start, start + 50):
        broken.write_bytes(damaged(good, seed))
        try:
            with xstxm.open_stack(broken) as stack:
                stack.load()
        except StxmError:
            refused += 1
        broken.unlink()
    assert refused >= 10
