"""The same scan through every format: what a writer writes, its reader reads; and every measured file opens."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import cxi_files
import ncb_files
import numpy as np
import pytest

import xstxm
from xstxm.errors import CorruptFileError, FileFormatError, OptionError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
WRITERS = {
    "sdf": ("scan.hdr", xstxm.write_sdf),
    "nxstxm": ("scan.hdf5", xstxm.write_nxstxm),
    "ncb": ("scan.dat", xstxm.write_ncb),
    "tiff": ("scan.tif", xstxm.write_tiff),
    "netcdf": ("scan.nc", xstxm.write_netcdf),
    "zarr": ("scan.zarr", xstxm.write_zarr),
}
REFERENCE_ENDINGS = (".t", ".r", ".xdi", ".nor", ".xmu", ".prj")


def measured(*endings: str) -> list[Path]:
    return sorted(path for path in DATA.rglob("*") if path.suffix in endings) if DATA.is_dir() else []


@pytest.fixture(scope="module", params=["simulated", "measured"])
def scan(request):
    if request.param == "simulated":
        return xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    header = DATA / "fe-l-edge-stack" / "71214078.hdr"
    if not header.exists():
        pytest.skip("the measured stack is not here")
    return xstxm.open_stack(header).isel(y=slice(20, 52), x=slice(40, 87)).load()


@pytest.mark.filterwarnings("ignore:.*not written:xstxm.errors.MetadataWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_scan__comes_back_pixel_for_pixel(scan, name, tmp_path):
    file, write = WRITERS[name]
    options = {"kind": "intensity"} if name in ("ncb", "tiff") else {}
    with xstxm.open_stack(write(scan, tmp_path / file), **options) as again:
        np.testing.assert_array_equal(again["intensity"], scan["intensity"].astype("float32"))
        assert again["intensity"].attrs["units"] == scan["intensity"].attrs["units"]
        np.testing.assert_allclose(again["energy"], scan["energy"], atol=0.0005)
        for dim in ("y", "x"):
            np.testing.assert_allclose(again[dim], scan[dim], atol=1e-5)
            assert again[dim].attrs["units"] == "um"


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured files are not here")
@pytest.mark.parametrize("path", measured(*REFERENCE_ENDINGS), ids=lambda path: path.name)
def test_measured_spectra__open(path):
    references = xstxm.read_references(path)
    assert references["absorption"].dims == ("reference", "energy")
    assert references["energy"].attrs["units"] == "eV"
    assert (np.diff(references["energy"]) > 0).all()
    assert np.isfinite(references["absorption"]).any("energy").all()


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured files are not here")
def test_measured_scans__open():
    stack = xstxm.open_stack(DATA / "fe-l-edge-stack" / "71214078.hdr")
    assert dict(stack.sizes) == {"energy": 123, "y": 125, "x": 125}
    image = xstxm.open_stack(DATA / "sdf-samples" / "30529000.hdr")
    assert dict(image.sizes) == {"energy": 1, "y": 200, "x": 200}
    assert float(image["energy"][0]) == pytest.approx(708.4, abs=0.1)
    for one, frame in ((stack, "fe-l-edge-stack/71214078_a000.xim"), (image, "sdf-samples/30529000_a.xim")):
        np.testing.assert_array_equal(one["intensity"][0], np.loadtxt(DATA / frame))


def test_measured_point_scan__without_its_data_says_so():
    header = DATA / "sdf-samples" / "30523005.hdr"
    if not header.exists():
        pytest.skip("the measured files are not here")
    with pytest.raises(CorruptFileError, match=r"30523005_0\.xsp"):
        xstxm.open_stack(header)


@pytest.mark.filterwarnings("ignore:.*not written:xstxm.errors.MetadataWarning")
@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("chunks", [None, {}], ids=["no dask", "dask"])
def test_stack__of_a_relative_path_is_read_elsewhere(name, chunks, tmp_path, monkeypatch):
    stack = xstxm.testing.simulate_stack(shape=(5, 4), seed=0)[["intensity"]]
    file, write = WRITERS[name]
    (tmp_path / "Meßzeit 1").mkdir()
    write(stack, tmp_path / "Meßzeit 1" / file)
    monkeypatch.chdir(tmp_path)
    for given in (f"Meßzeit 1/{file}", "Meßzeit 1"):
        monkeypatch.chdir(tmp_path)
        opened = xstxm.open_stack(given, chunks=chunks, **({"kind": "intensity"} if name in ("ncb", "tiff") else {}))
        monkeypatch.chdir(tmp_path.parent)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened))["intensity"], stack["intensity"])


def test_stack_of_several_files__can_be_sent_elsewhere(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(5, 4), seed=0)[["intensity"]]
    for index in range(3):
        xstxm.write_nxstxm(stack.isel(energy=[index]), tmp_path / f"{index}.hdf5")
    sent = pickle.loads(pickle.dumps(xstxm.open_stack(tmp_path, chunks={})))
    np.testing.assert_array_equal(sent["intensity"], stack["intensity"][:3])


@pytest.mark.filterwarnings("ignore:.*not written:xstxm.errors.MetadataWarning")
def test_scan_type__is_said_by_every_reader(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(5, 4), seed=0)[["intensity"]]
    del stack.attrs["scan_type"]
    paths = [
        xstxm.write_ncb(stack.isel(energy=[0]), tmp_path / "a.dat"),
        xstxm.write_tiff(stack.isel(energy=[0]), tmp_path / "a.tif"),
        cxi_files.write(tmp_path / "a.cxi"),
    ]
    for path in paths:
        options = {} if path.suffix == ".cxi" else {"kind": "intensity"}
        assert xstxm.open_stack(path, **options).attrs["scan_type"] == "sample image"


@pytest.mark.parametrize("given", [3.5, None, io.StringIO("energy")], ids=["number", "nothing", "text"])
def test_what_is_no_file__is_refused(given):
    for read in (xstxm.open_stack, xstxm.read_references, xstxm.read_i0):
        with pytest.raises(OptionError, match="give a path, or a file opened with 'rb'"):
            read(given)


def test_file_object_that_was_closed__says_so(tmp_path):
    path = xstxm.write_nxstxm(xstxm.testing.simulate_stack(shape=(5, 4), seed=0)[["intensity"]], tmp_path / "a.hdf5")
    with path.open("rb") as file:
        stack = xstxm.open_stack(file)
    with pytest.raises(FileFormatError, match=r"a\.hdf5: expected an open file, found a closed one: open the stack"):
        stack.load()


@pytest.mark.filterwarnings("ignore:.*met no real .stk")
def test_bytes_that_were_closed__say_so(tmp_path):
    with io.BytesIO(ncb_files.write_stk(tmp_path / "a.stk", ncb_files.numbers()).read_bytes()) as file:
        stack = xstxm.open_stack(file)
    with pytest.raises(FileFormatError, match="expected an open file, found a closed one: open the stack again"):
        stack.load()
