"""Only small tables of text are taken, and they are gone with the session."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from stxm_explorer.uploads import LARGEST, LONGEST_LINE, MOST_FILES, MOST_LINES, TABLES, Uploads

import xstxm
from xstxm.errors import (
    CorruptFileError,
    EnergyRangeError,
    FileFormatError,
    OptionError,
    ReferenceSpectrumError,
    StxmError,
)

GOOD = b"energy,V2O5,LiV2O5\n500,0.1,0.1\n518,1.0,0.7\n565,0.3,0.4\n"


@pytest.fixture
def uploads():
    """The uploads of one session."""
    uploads = Uploads()
    yield uploads
    uploads.close()


@pytest.fixture(scope="module")
def stack():
    """A stack at the vanadium L edge."""
    return xstxm.testing.simulate_stack(shape=(6, 8), seed=1)


def test_read__returns_what_xstxm_reads(uploads, stack, tmp_path):
    found = uploads.read("oxides.csv", GOOD, stack=stack, composition={"V2O5": 0, "LiV2O5": 1})
    (tmp_path / "oxides.csv").write_bytes(GOOD)
    expected = xstxm.read_references(tmp_path / "oxides.csv", composition={"V2O5": 0, "LiV2O5": 1})
    xr.testing.assert_equal(found, expected)
    assert list(uploads.files) == ["oxides.csv"]


@pytest.mark.parametrize("ending", TABLES)
def test_read__takes_every_ending_of_a_table(uploads, ending):
    assert uploads.read(f"a{ending}", b"515 1\n518 2\n521 3\n").sizes == {"reference": 1, "energy": 3}


@pytest.mark.parametrize(
    "data",
    [GOOD.replace(b"\n", b"\r\n"), GOOD.decode().encode("utf-16"), b"\xef\xbb\xbf" + GOOD, "# µ\n".encode() + GOOD],
    ids=["Windows", "UTF-16", "byte order mark", "UTF-8"],
)
def test_read__takes_texts_of_other_systems(uploads, data):
    assert uploads.read("a.csv", data).sizes["energy"] == 3


def test_close__removes_the_folder(stack):
    uploads = Uploads()
    assert uploads.files == {}
    uploads.read("a.csv", GOOD)
    path = uploads.files["a.csv"]
    assert path.is_file()
    assert oct(path.parent.stat().st_mode)[-3:] == "700"
    uploads.close()
    assert not path.parent.exists()
    assert uploads.files == {}
    uploads.close()


def test_read__two_sessions_share_nothing(uploads):
    other = Uploads()
    uploads.read("a.csv", GOOD)
    other.read("a.csv", b"515 1\n518 2\n")
    assert uploads.files["a.csv"].read_bytes() == GOOD
    other.close()
    assert uploads.files["a.csv"].is_file()


def test_read__a_refused_file_leaves_the_one_before(uploads):
    uploads.read("a.csv", GOOD)
    with pytest.raises(StxmError):
        uploads.read("a.csv", b"words\n")
    assert uploads.files["a.csv"].read_bytes() == GOOD
    with pytest.raises(StxmError):
        uploads.read("b.csv", b"words\n")
    assert list(uploads.files) == ["a.csv"]


def _zip():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", GOOD)
    return packed.getvalue()


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.nc", "a.pkl", "a.zip", "a.npy", "a.prj", "a.toml", "a.hdr", "a"])
def test_read__other_endings_are_refused(uploads, name):
    with pytest.raises(FileFormatError, match=r"found the ending '.*': send one of \.asc, \.csv"):
        uploads.read(name, GOOD)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(64), id="HDF5"),
        pytest.param(b"CDF\x01" + bytes(64), id="netCDF"),
        pytest.param(pickle.dumps({"energy": [515.0]}), id="pickle"),
        pytest.param(_zip(), id="zip"),
        pytest.param(gzip.compress(GOOD), id="gzip"),
        pytest.param(b"\x93NUMPY\x01\0" + bytes(64), id="numpy"),
        pytest.param(GOOD + b"\0", id="null byte"),
        pytest.param(b"\x1b[31m515 1\n518 2\n", id="escapes of a terminal"),
    ],
)
def test_read__binary_files_are_refused(uploads, data):
    with pytest.raises(FileFormatError, match=r"a\.csv: expected a table of text .* found a binary file"):
        uploads.read("a.csv", data)
    assert uploads.files == {}


def test_read__pickle_as_text_is_no_table_and_runs_nothing(uploads, tmp_path):
    mark = tmp_path / "ran"
    text = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    with pytest.raises(FileFormatError):
        uploads.read("a.txt", text)
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b" \n\n\t"])
def test_read__empty_files_are_refused(uploads, data):
    with pytest.raises(CorruptFileError, match="found an empty file"):
        uploads.read("a.csv", data)


def test_read__too_much_is_refused_with_the_limit(uploads):
    with pytest.raises(FileFormatError, match=r"expected at most 2 MB, found 2\.5 MB: put it into the folder"):
        uploads.read("a.csv", b"1" * (LARGEST + 500_000))
    with pytest.raises(FileFormatError, match=r"expected at most 0\.001 MB"):
        uploads.read("a.csv", GOOD * 30, largest=1000)
    with pytest.raises(CorruptFileError, match=f"at most {MOST_LINES} lines"):
        uploads.read("a.csv", b"1,2\n" * (MOST_LINES + 1))
    with pytest.raises(CorruptFileError, match=f"lines of {LONGEST_LINE} characters"):
        uploads.read("a.csv", b"1," * LONGEST_LINE)


def test_read__too_many_files_are_refused(uploads):
    for number in range(MOST_FILES):
        uploads.read(f"{number}.csv", GOOD)
    with pytest.raises(OptionError, match="load the page again"):
        uploads.read("more.csv", GOOD)
    uploads.read("0.csv", GOOD)
    assert len(uploads.files) == MOST_FILES


@pytest.mark.parametrize("name", ["../a.csv", "/etc/a.csv", "a/../../b.csv", "..\\a.csv", ".csv", "a\0.csv", "con.csv"])
def test_read__hostile_names_are_refused(uploads, name):
    with pytest.raises(OptionError, match="give a plain name"):
        uploads.read(name, GOOD)
    assert uploads.files == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"energy,a\n515,nan\n518,nan\n521,nan\n", "no finite values", id="nothing but NaN"),
        pytest.param(b"energy,a\n515,1\n", "fewer than two usable values", id="one point"),
        pytest.param(b"energy,a\n515,inf\n518,1e999\n521,2\n", "fewer than two usable values", id="infinite"),
        pytest.param(b"energy,a\n515,1\n515,2\n520,2\n", "energies twice", id="energies twice"),
    ],
)
def test_read__spectra_without_use_are_refused(uploads, data, reason):
    with pytest.raises(ReferenceSpectrumError, match=reason):
        uploads.read("a.csv", data)


@pytest.mark.parametrize(
    "data",
    [b"energy,a\n-515,1\n-514,1\n", b"energy,a\n515,1\n518\n521,2,3\n", b"hello world\n", b"energy,a\nnan,1\nnan,2\n"],
    ids=["negative", "ragged", "words", "energies of NaN"],
)
def test_read__broken_tables_say_what_is_wrong(uploads, data):
    with pytest.raises(FileFormatError, match=r"a\.csv: expected .*, found .*: ") as error:
        uploads.read("a.csv", data)
    assert "xstxm-upload" not in str(error.value)


def test_read__leaves_out_rows_of_nan(uploads):
    found = uploads.read("a.csv", b"energy,a,b\n515,nan,nan\n518,1,nan\n521,2,1\n565,3,2\n")
    assert found["energy"].values.tolist() == [518, 521, 565]
    assert np.isnan(found["absorption"].values).tolist() == [[False, False, False], [True, False, False]]


def test_read__of_another_edge_is_refused(uploads, stack):
    with pytest.raises(EnergyRangeError, match="references cover 'a' 700-720 eV, the stack 508-560 eV"):
        uploads.read("iron.csv", b"energy,a\n700,1\n710,2\n720,2\n", stack=stack)
    assert uploads.files == {}


def test_messages__name_no_folder_of_the_server(uploads):
    uploads.read("a.csv", GOOD)
    folder = str(Path(uploads.files["a.csv"]).parent)
    with pytest.raises(StxmError) as error:
        uploads.read("b.csv", b"words\n")
    assert folder not in str(error.value)
