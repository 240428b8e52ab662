"""Zeiss X-ray microscope files, which are made by the tests only."""

from __future__ import annotations

import io
import struct
import sys
from collections import Counter

import numpy as np
import pytest
from damage import damaged, opens_or_refuses
from xrm_files import SHAPE, compound, counts, write_xrm

import xstxm
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    MissingDependencyError,
    UnsupportedScanError,
)

olefile = pytest.importorskip("olefile")
ENERGIES = (8330.5, 8353.1, 8360.0)
WIDE = np.tile(counts(), (1, 2, 3))
"""Images of more than 4096 bytes, below which streams lie in the mini stream."""


def test_txrm__is_read_with_its_reference_from_a_path_and_a_stream(tmp_path):
    path = write_xrm(tmp_path / "scan.txrm", counts(), ENERGIES, reference=counts(1, seed=1)[0])
    for source in (path, io.BytesIO(path.read_bytes())):
        stack = xstxm.open_stack(source, chunks={})
        assert stack.intensity.dims == ("energy", "y", "x")
        np.testing.assert_array_equal(stack.intensity, counts())
        np.testing.assert_array_equal(stack.i0, counts(1, seed=1)[0])
        np.testing.assert_array_equal(stack.energy, ENERGIES)
        np.testing.assert_array_equal(stack.dwell_time, [2000, 2000, 2000])
        np.testing.assert_allclose(stack.x, 0.03 * np.arange(SHAPE[1]))


def test_more_than_a_hundred_images__lie_in_two_storages(tmp_path):
    energies = tuple(float(value) for value in range(8000, 8103))
    path = write_xrm(tmp_path / "scan.txrm", counts(103)[:, :5, :7], energies)
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity[100:], counts(103)[100:, :5, :7])


@pytest.mark.parametrize("name", ["a_08354.0_eV_001of003.xrm", "a_8354_0eV.xrm"])
def test_energy__of_the_name_where_the_header_says_zero(tmp_path, name):
    assert xstxm.open_stack(write_xrm(tmp_path / name, counts(1))).energy.item() == 8354.0


def test_energy__that_nobody_says_is_asked_for(tmp_path):
    path = write_xrm(tmp_path / "image.xrm", counts(1))
    with pytest.raises(UnsupportedScanError, match=r"pass energies="):
        xstxm.open_stack(path)
    assert xstxm.open_stack(path, energies=[8350.0]).energy.item() == 8350.0


def test_mosaic__that_claims_more_images_than_it_stores(tmp_path):
    path = write_xrm(tmp_path / "m.xrm", counts(1), (8353.0,), NoOfImages=np.int32(16), ImagesTaken=np.int32(16))
    with pytest.warns(MetadataWarning, match="16 images were taken and 1 are stored"):
        assert xstxm.open_stack(path).sizes["energy"] == 1


def test_folder__averages_repetitions_and_pairs_references(tmp_path):
    frames = counts(6)
    names = [
        "a_8360.0_eV",
        "a_8350.0_eV_1",
        "a_8350.0_eV_2",
        "ref_a_8350.0_eV",
        "ref_a_8360.0_eV_1",
        "ref_a_8360.0_eV_2",
    ]
    for name, frame in zip(names, frames, strict=True):
        write_xrm(tmp_path / f"{name}.xrm", frame[None])
    with pytest.warns(MetadataWarning, match="up to 2 images of the same energy are averaged"):
        stack = xstxm.open_stack(tmp_path)
    np.testing.assert_array_equal(stack.energy, [8350, 8360])
    wide = frames.astype(float)
    np.testing.assert_allclose(stack.intensity, [wide[1:3].mean(0), wide[0]])
    np.testing.assert_allclose(stack.i0, [wide[3], wide[4:].mean(0)])
    (tmp_path / "ref_a_8350.0_eV.xrm").unlink()
    with (
        pytest.warns(MetadataWarning, match="averaged"),
        pytest.raises(UnsupportedScanError, match=r"none for 8350 eV"),
    ):
        xstxm.open_stack(tmp_path)


def test_folder__with_another_exposure_of_the_references_says_so(tmp_path):
    write_xrm(tmp_path / "a_8350.0_eV.xrm", counts(1))
    write_xrm(tmp_path / "b_8360.0_eV.xrm", counts(1), pixel_size=0.031)
    for energy in (8350, 8360):
        write_xrm(tmp_path / f"ref_{energy}.0_eV.xrm", counts(1), ExpTimes=np.float32(1))
    with pytest.warns(MetadataWarning) as caught:
        xstxm.open_stack(tmp_path)
    said = " ".join(str(one.message) for one in caught)
    assert "not exposed alike" in said
    assert "pixels from 0.03 to 0.031 um" in said


def test_folder__names_the_images_of_each_energy(tmp_path):
    for name in ("a_8360.0_eV", "a_8350.0_eV_1", "a_8350.0_eV_2"):
        write_xrm(tmp_path / f"{name}.xrm", counts(1))
    with pytest.warns(MetadataWarning, match="averaged"):
        stack = xstxm.open_stack(tmp_path)
    assert stack.source_file.values.tolist() == ["a_8350.0_eV_1.xrm, a_8350.0_eV_2.xrm", "a_8360.0_eV.xrm"]
    assert "source_file" not in stack.attrs


def test_folder__with_the_thumbnails_of_windows(tmp_path):
    write_xrm(tmp_path / "a_8350.0_eV.xrm", counts(1))
    (tmp_path / "Thumbs.db").write_bytes(compound({"256_3a1b": b"x" * 5000}))
    assert xstxm.open_stack(tmp_path).sizes["energy"] == 1


def test_references__of_another_exposure_are_scaled_and_told(tmp_path):
    frame = counts(1, seed=1)[0]
    path = write_xrm(tmp_path / "a.txrm", counts(), ENERGIES, reference=frame, ExpTimes=np.full(3, 3.0, "f4"))
    with pytest.warns(MetadataWarning, match=r"times the ratio of the exposures, 1\.5$"):
        stack = xstxm.open_stack(path)
    assert stack.i0.dims == ("y", "x")
    np.testing.assert_array_equal(stack.i0, frame * np.float32(1.5))
    path = write_xrm(tmp_path / "b.txrm", counts(), ENERGIES, reference=frame, ExpTimes=np.array([2, 4, 1], "f4"))
    with pytest.warns(MetadataWarning, match=r"the ratio of the exposures, 0\.5 to 2$"):
        stack = xstxm.open_stack(path)
    assert stack.i0.dims == ("energy", "y", "x")
    np.testing.assert_array_equal(stack.i0, frame * np.array([1, 2, 0.5], "f4")[:, None, None])


def test_references__of_fractional_numbers_are_not_scaled(tmp_path):
    frame = counts(1, seed=1)[0].astype("float32")
    path = write_xrm(tmp_path / "a.txrm", counts(), ENERGIES, reference=frame, ExpTimes=np.full(3, 3.0, "f4"))
    with pytest.warns(MetadataWarning, match="fractional numbers may be rates"):
        np.testing.assert_array_equal(xstxm.open_stack(path).i0, frame)


def _several(path, energies, references, of_references=None, exposures=None):
    """A file of several references, in the storage that holds them."""
    info = {"MultiReferenceData/DataType": np.int32(5).tobytes()}
    streams = {f"MultiReferenceData/Image{number}": frame.tobytes() for number, frame in enumerate(references, start=1)}
    if of_references is not None:
        info["MultiReferenceData/ImageInfo/Energy"] = np.array(of_references, "f4").tobytes()
    if exposures is not None:
        info["MultiReferenceData/ImageInfo/ExpTimes"] = np.array(exposures, "f4").tobytes()
    return write_xrm(path, counts(len(energies)), energies, streams=info | streams)


def test_references__of_one_energy_are_averaged_and_told(tmp_path):
    frames = counts(3, seed=1)
    path = _several(tmp_path / "a.xrm", (8350.0,), frames)
    with pytest.warns(MetadataWarning, match="mean of 3 stored references"):
        stack = xstxm.open_stack(path)
    np.testing.assert_allclose(stack.i0, frames.mean(0, dtype=float))
    path = _several(tmp_path / "b.xrm", (8350.0,), frames, exposures=(1, 2, 3))
    with pytest.warns(MetadataWarning, match="mean of 3"):
        np.testing.assert_allclose(xstxm.open_stack(path).i0, frames.mean(0, dtype=float))


def test_references__that_say_their_energies_are_paired(tmp_path):
    frames = counts(3, seed=1)
    path = _several(tmp_path / "a.txrm", ENERGIES, frames, of_references=ENERGIES[::-1])
    stack = xstxm.open_stack(path)
    assert stack.i0.dims == ("energy", "y", "x")
    np.testing.assert_array_equal(stack.i0, frames[::-1])


@pytest.mark.parametrize("of_references", [None, (8330.5, 8330.5)])
def test_references__that_belong_nowhere_are_left_out_and_told(tmp_path, of_references):
    path = _several(tmp_path / "a.txrm", ENERGIES, counts(2, seed=1), of_references=of_references)
    with pytest.warns(MetadataWarning, match="2 references are stored that do not say an energy for each image"):
        assert "i0" not in xstxm.open_stack(path)


def test_sectors__in_any_order_are_put_together(tmp_path):
    path = write_xrm(tmp_path / "a.xrm", WIDE[:1], (8350.0,))
    data = bytearray(path.read_bytes())
    first = data.index(WIDE.tobytes()[:512]) // 512 - 1
    fat = (struct.unpack_from("<I", data, 76)[0] + 1) * 512
    one, two = (slice((at + 1) * 512, (at + 2) * 512) for at in (first + 1, first + 2))
    data[one], data[two] = data[two], data[one]
    struct.pack_into("<4I", data, fat + 4 * first, first + 2, first + 3, first + 1, first + 4)
    path.write_bytes(data)
    with olefile.OleFileIO(path) as ole:
        assert ole.openstream("ImageData1/Image1").read() == WIDE[:1].tobytes()
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, WIDE[:1])


def test_table_of_sectors__is_read_once(tmp_path, monkeypatch):
    stack = xstxm.open_stack(write_xrm(tmp_path / "a.txrm", WIDE, ENERGIES))
    monkeypatch.delattr(olefile, "OleFileIO")
    np.testing.assert_array_equal(stack.intensity, WIDE)


def test_tomography__is_refused(tmp_path):
    path = write_xrm(tmp_path / "t.txrm", counts(), (8350.0,) * 3, Angles=np.array([0, 1, 2], "f4"))
    with pytest.raises(UnsupportedScanError, match="3 angles from 0 to 2 degrees"):
        xstxm.open_stack(path)


def test_fractional_numbers__are_asked_about(tmp_path):
    path = write_xrm(tmp_path / "f.xrm", counts(1).astype("float32"), (8350.0,))
    with pytest.raises(FileFormatError, match="pass kind="):
        xstxm.open_stack(path)
    assert "optical_density" in xstxm.open_stack(path, kind="optical_density")


def test_other_compound_files__are_refused(tmp_path):
    path = tmp_path / "letter.doc"
    path.write_bytes(compound({"Word/Document": b"x" * 5000}))
    with pytest.raises(FileFormatError, match=r"found one without: give a \.xrm"):
        xstxm.open_stack(path, engine="xrm")
    with pytest.raises(FileFormatError, match=r"found a compound file, as Office and Windows write: "):
        xstxm.open_stack(path)


@pytest.mark.parametrize("size", [0, 100, 600, 3000])
def test_truncated__is_refused(tmp_path, size):
    path = write_xrm(tmp_path / "a.xrm", counts(1), (8350.0,))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FileFormatError):
        xstxm.open_stack(path)


def test_sizes__that_claim_more_than_the_file_holds_allocate_nothing(tmp_path):
    path = write_xrm(
        tmp_path / "a.xrm", counts(1), (8350.0,), ImageWidth=np.int32(100_000), ImageHeight=np.int32(100_000)
    )
    with pytest.raises(CorruptFileError, match="expected 20000000000 bytes"):
        xstxm.open_stack(path)
    data = path.read_bytes()
    path.write_bytes(data[:44] + struct.pack("<I", 2**31) + data[48:])
    with pytest.raises(CorruptFileError, match="tables of sectors that fit"):
        xstxm.open_stack(path)


def test_olefile__that_is_not_installed_is_named(tmp_path, monkeypatch):
    path = write_xrm(tmp_path / "a.xrm", counts(1), (8350.0,))
    monkeypatch.setitem(sys.modules, "olefile", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'xstxm\[txrm\]'"):
        xstxm.open_stack(path)


def test_damaged_files__open_or_say_what_is_wrong(tmp_path):
    path = write_xrm(tmp_path / "a.txrm", counts(), ENERGIES)
    ends = Counter()
    for content in damaged(path.read_bytes(), 300):
        path.write_bytes(content)
        ends[opens_or_refuses(path, engine="xrm")] += 1
    assert ends["opened"] > 10
    assert ends["CorruptFileError"] > 10
