"""The engines of xarray and the recognition of files by their content."""

from __future__ import annotations

import ast
import io
import json
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import sdf_files
import xarray as xr
from nxstxm_files import COUNTS, hermes, pollux, write

import xstxm
from xstxm.errors import ChoiceError, CorruptFileError, FileFormatError, MetadataWarning, OptionError
from xstxm.io import backend
from xstxm.io.backend import NxstxmBackendEntrypoint, SdfBackendEntrypoint, StxmBackendEntrypoint

ENGINES = {"stxm": StxmBackendEntrypoint, "sdf": SdfBackendEntrypoint, "nxstxm": NxstxmBackendEntrypoint}


def test_engines__are_declared_but_for_stores_that_xarray_reads_itself():
    project = tomllib.loads((Path(xstxm.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    engines = {name: f"xstxm.io.backend:{engine.__name__}" for name, engine in backend.ENGINES.items()}
    assert project["project"]["entry-points"]["xarray.backends"] == {
        name: engine for name, engine in engines.items() if name not in ("netcdf", "zarr")
    }
    assert all(type(xr.backends.list_engines()[name]) is engine for name, engine in ENGINES.items())


@pytest.mark.parametrize("engine", backend.ENGINES.values(), ids=backend.ENGINES)
def test_engines__describe_themselves(engine):
    assert engine.description
    assert engine.url.startswith("docs/formats/")
    assert not {"chunks", "cache"} & set(engine.open_dataset_parameters)


def test_open_dataset__with_each_engine(tmp_path):
    sdf, nexus = sdf_files.write_stack(tmp_path), write(tmp_path / "scan.hdf5", pollux)
    for path, engines, numbers in (
        (sdf, ("stxm", "sdf", None), sdf_files.counts()),
        (nexus, ("stxm", "nxstxm"), COUNTS),
    ):
        for engine in engines:
            with xr.open_dataset(path, engine=engine, chunks={}) as stack:
                assert stack.chunksizes["energy"] == (1,) * len(numbers)
                np.testing.assert_array_equal(stack.intensity, numbers)
            assert "dwell_time" not in xr.open_dataset(str(path), engine=engine, drop_variables="dwell_time").variables


@pytest.mark.parametrize("engine", [name for name in backend.ENGINES if name not in ("stxm", "sdf")])
def test_engine_of_another_format__says_which_it_is(tmp_path, engine):
    path = sdf_files.write_stack(tmp_path)
    with pytest.raises(FileFormatError, match=r'found an SDF header: leave engine= out, or pass engine="sdf"') as told:
        xstxm.open_stack(path, engine=engine)
    assert not isinstance(told.value, CorruptFileError)


@pytest.mark.parametrize(
    "read", [xstxm.open_stack, xstxm.open_result, xstxm.read_references, xstxm.read_i0, xstxm.read_electrochemistry]
)
def test_file_that_is_not_there__is_named_in_plain_words(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"^there is no file '.*nothere\.hdr'$"):
        read(tmp_path / "nothere.hdr")


def test_file_that_is_not_there__may_be_another_of_its_folder(tmp_path):
    (tmp_path / "night_01.hdr").touch()
    with pytest.raises(FileNotFoundError, match=r"night_1\.hdr' \(did you mean 'night_01\.hdr'\?\)$"):
        xstxm.open_stack(tmp_path / "night_1.hdr")


@pytest.mark.parametrize("engine", backend.ENGINES)
def test_file_that_is_not_there__is_named_by_every_engine(tmp_path, engine):
    with pytest.raises(FileNotFoundError, match=r"^there is no file '.*nothere\.hdr'$"):
        xstxm.open_stack(tmp_path / "nothere.hdr", engine=engine)


def test_guess__goes_by_content_whatever_the_name(tmp_path):
    sdf = sdf_files.write_stack(tmp_path).rename(tmp_path / "scan.txt")
    files = {
        "sdf": sdf,
        "nxstxm": write(tmp_path / "scan.dat", pollux),
        "unmarked": write(tmp_path / "hermes.dat", hermes),
        "other HDF5": write(tmp_path / "other.hdf5", lambda file: file.create_group("data")),
    }
    (tmp_path / "image.hdr").write_text("ENVI\nsamples = 3\n")
    files["ENVI"] = tmp_path / "image.hdr"
    expected = {"sdf": {"stxm", "sdf"}, "nxstxm": {"stxm", "nxstxm"}, "unmarked": {"stxm", "nxstxm"}}
    for what, path in files.items():
        for source in (path, str(path), io.BytesIO(path.read_bytes())):
            found = {name for name, engine in ENGINES.items() if engine().guess_can_open(source)}
            assert found == expected.get(what, set()), what


def test_guess__never_raises(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "torn.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n rest is missing")
    for source in (tmp_path, tmp_path / "absent", tmp_path / "empty", tmp_path / "torn.hdf5", "https://a.b/c.hdr", 3):
        assert not [name for name, engine in ENGINES.items() if engine().guess_can_open(source)]


def test_guess__leaves_a_stream_at_its_start(tmp_path):
    stream = io.BytesIO(write(tmp_path / "scan.hdf5", pollux).read_bytes())
    assert StxmBackendEntrypoint().guess_can_open(stream)
    np.testing.assert_array_equal(xstxm.open_stack(stream).intensity, COUNTS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("V2O5.csv", "515,0.1\n", r"xstxm\.read_references or xstxm\.read_i0"),
        ("scan_a000.xim", "1\t2\n", r"give the \.hdr file that belongs to it"),
        ("notes.doc", "hello", "expected a scan in a format that xstxm reads, found a text that starts with 'hello'"),
        ("notes.doc", "hello", r"'hello': xstxm\.formats\(\) lists"),
        ("image.hdr", "ENVI\nsamples = 3\n", r"found an ENVI header: give the \.hdr of an SDF scan, .* ScanDefinition"),
    ],
)
def test_open_stack__of_something_else_says_what_to_do(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(FileFormatError, match=message):
        xstxm.open_stack(tmp_path / name)


@pytest.mark.parametrize("engine", ["stxm", "sdf"])
def test_envi_header__says_what_to_give_instead(tmp_path, engine):
    (tmp_path / "image.hdr").write_text("ENVI\nsamples = 3\n")
    with pytest.raises(FileFormatError, match=r"found an ENVI header: give the \.hdr of an SDF scan"):
        xstxm.open_stack(tmp_path / "image.hdr", engine=engine)


def test_errors__of_every_reader_say_what_to_do():
    errors = {"FileFormatError", "CorruptFileError", "UnsupportedScanError"}
    bare = [
        f"{path.name}:{node.lineno}"
        for path in Path(xstxm.io.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in errors and len(node.args) < 4
    ]
    assert not bare, f"path, expected, found and what to do: {bare}"


def test_conventions__are_named_by_every_reader(tmp_path):
    for path in (sdf_files.write_stack(tmp_path), write(tmp_path / "scan.hdf5", pollux)):
        for stack in (xstxm.open_stack(path), xr.open_dataset(path, engine="stxm")):
            assert stack.attrs["Conventions"] == xstxm.conventions.CONVENTIONS


def test_open_stack__checks_its_options(tmp_path):
    path = sdf_files.write_stack(tmp_path)
    with pytest.raises(ChoiceError, match="unknown engine 'sdff': use 'stxm', 'sdf', 'nxstxm'"):
        xstxm.open_stack(path, engine="sdff")
    with pytest.raises(OptionError, match="entry='entry1': an SDF scan has regions, use region="):
        xstxm.open_stack(path, entry="entry1")
    with pytest.raises(OptionError, match="region=True: the scan has region 0 only"):
        xstxm.open_stack(path, region=True)


def test_open_stack__starts_a_history_with_the_name_of_the_file(tmp_path):
    path = sdf_files.write_stack(tmp_path)
    (entry,) = json.loads(xstxm.open_stack(path, region=0).attrs["xstxm_provenance"])
    assert (entry["operation"], entry["input"], entry["parameters"]["region"]) == ("open_stack", "scan.hdr", 0)
    assert str(tmp_path) not in xstxm.open_stack(path).attrs["xstxm_provenance"]


def test_stack__survives_netcdf(tmp_path):
    stack = xstxm.open_stack(sdf_files.write_stack(tmp_path))
    stack.to_netcdf(tmp_path / "stack.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "stack.nc", engine="h5netcdf") as again:
        xr.testing.assert_equal(again, stack)
        assert again.intensity.attrs["units"] == "count"


def test_errors__of_files_can_be_pickled(tmp_path):
    with pytest.raises(FileFormatError) as caught:
        xstxm.open_stack(tmp_path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_import__of_the_readers_loads_no_h5py():
    code = "import sys, xstxm.io, xstxm.io.backend; assert 'h5py' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_warnings__point_at_the_line_of_the_caller(tmp_path):
    path = sdf_files.write_stack(tmp_path, sdf_files.counts(2))
    for opened in (xstxm.open_stack, lambda path: xr.open_dataset(path, engine="sdf")):
        with pytest.warns(MetadataWarning, match="2 of 4 frames") as caught:
            opened(path)
        assert [warning.filename for warning in caught] == [__file__]
