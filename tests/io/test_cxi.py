"""CXI files: complex transmission, one energy a file."""

from __future__ import annotations

import io
import pickle

import cxi_files
import h5py
import numpy as np
import pytest
from scipy import constants
from test_hdf5_safety import damaged

import xstxm
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    OptionError,
    StxmError,
    UnsupportedScanError,
)
from xstxm.io.cxi import assemble_cxi


def test_reconstruction__becomes_a_stack_of_one_energy(tmp_path):
    stack = xstxm.open_stack(cxi_files.write(tmp_path / "scan.cxi"))
    assert stack.transmission.dims == ("energy", "y", "x")
    assert stack.transmission.dtype == "complex64"
    np.testing.assert_array_equal(stack.transmission[0], cxi_files.image())
    assert float(stack.energy[0]) == 850.0
    np.testing.assert_array_equal(stack.y, [0, 0.008, 0.016, 0.024])
    assert stack.sizes["x"] == 6


def test_from_transmission__takes_it(tmp_path):
    stack = xstxm.open_stack(cxi_files.write(tmp_path / "scan.cxi"))
    density = xstxm.from_transmission(stack, None, unwrap=False).optical_density
    np.testing.assert_allclose(density[0], -2 * np.log(np.abs(cxi_files.image())), rtol=1e-5)


def test_file_object__reads_as_its_path(tmp_path):
    path = cxi_files.write(tmp_path / "scan.cxi")
    assert xstxm.open_stack(io.BytesIO(path.read_bytes())).equals(xstxm.open_stack(path))


def test_files_of_one_energy__become_one_stack_by_energy(tmp_path):
    paths = [cxi_files.write(tmp_path / f"{energy}.cxi", energy) for energy in (855.0, 850.0, 852.5)]
    with pytest.warns(MetadataWarning, match="850.0.cxi and 2 more: the files do not say where the images lie"):
        stack = assemble_cxi(paths)
    assert stack.energy.values.tolist() == [850.0, 852.5, 855.0]
    assert stack.source_file.values.tolist() == ["850.0.cxi", "852.5.cxi", "855.0.cxi"]
    assert pickle.loads(pickle.dumps(stack)).transmission.shape == (3, 4, 6)


def put_places(path, y=0.0, x=0.0):
    """Add the positions of a scan about a centre, in um."""
    places = np.array([[x - 1, y - 2, 0], [x + 1, y + 2, 0], [x, y, 0]]) / 1e6
    with h5py.File(path, "r+") as file:
        file["entry_1/data_1/translation"] = places


def test_scans_about_other_centres__are_told(tmp_path):
    paths = [cxi_files.write(tmp_path / f"{energy}.cxi", energy) for energy in (850.0, 851.0)]
    put_places(paths[0])
    put_places(paths[1], y=0.05, x=0.001)
    with pytest.warns(MetadataWarning, match=r"the centres of the scans lie 50 nm \(y\), 1 nm \(x\) apart"):
        assemble_cxi(paths)


def test_scans_about_one_centre__need_no_words(tmp_path):
    paths = [cxi_files.write(tmp_path / f"{energy}.cxi", energy) for energy in (850.0, 851.0)]
    for path in paths:
        put_places(path, y=3.0)
    assert assemble_cxi(paths).sizes["energy"] == 2


def test_unequal_images__are_cropped_about_the_centre_and_told(tmp_path):
    small = cxi_files.write(tmp_path / "small.cxi", 850.0, cxi_files.image(4, 6))
    large = cxi_files.write(tmp_path / "large.cxi", 851.0, cxi_files.image(8, 6))
    for path in (small, large):
        put_places(path)
    with pytest.warns(MetadataWarning, match=r"large.cxi 8 x 6: unequal images are cropped to 4 x 6"):
        stack = assemble_cxi([large, small])
    np.testing.assert_array_equal(stack.transmission[1], cxi_files.image(8, 6)[2:6])


def test_other_pixels__are_refused_unless_told(tmp_path):
    paths = [cxi_files.write(tmp_path / f"{nm}.cxi", 850.0 + nm, pixnm=nm) for nm in (8.0, 9.0)]
    with pytest.raises(UnsupportedScanError, match=r"pixels of 8 nm in every file, found 9 nm in 9.0.cxi"):
        assemble_cxi(paths)
    with pytest.warns(MetadataWarning, match="laid on one another"):
        assert float(assemble_cxi(paths, pixel_size="10 nm").x[1]) == 0.01


def test_pixel_size__is_asked_for_where_the_file_has_none(tmp_path):
    path = cxi_files.write(tmp_path / "scan.cxi", pixnm=None)
    with pytest.raises(FileFormatError, match="pass pixel_size="):
        xstxm.open_stack(path)
    assert float(xstxm.open_stack(path, pixel_size="5 nm").x[1]) == 0.005
    with pytest.raises(OptionError, match="pixel_size"):
        xstxm.open_stack(path, pixel_size="0 nm")


def test_pixel_size__follows_from_the_detector(tmp_path):
    path = cxi_files.write(tmp_path / "scan.cxi", pixnm=None)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/detector_1/distance"] = 0.1
        file["entry_1/instrument_1/detector_1/corner_position"] = [-0.0125, 0.0125, 0.1]
    wavelength = constants.h * constants.c / (850 * constants.e)
    with pytest.warns(MetadataWarning, match="by distance and corner of the detector"):
        stack = xstxm.open_stack(path)
    np.testing.assert_allclose(stack.x[1], 1e6 * wavelength * 0.1 / 0.025)


def test_pixels_that_are_not_square__follow_from_the_detector(tmp_path):
    path = cxi_files.write(tmp_path / "scan.cxi", pixnm=None)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/detector_1/distance"] = 0.1
        file["entry_1/instrument_1/detector_1/corner_position"] = [-0.0125, 0.025, 0.1]
    with pytest.warns(MetadataWarning, match=r"pixels of 2\.\d+ nm \(y\) x 5\.\d+ nm \(x\)"):
        stack = xstxm.open_stack(path)
    np.testing.assert_allclose(stack.x[1], 2 * stack.y[1])


def test_two_sizes_of_a_pixel__are_taken_where_they_are_one(tmp_path):
    assert float(xstxm.open_stack(cxi_files.write(tmp_path / "a.cxi", pixnm=[8.0, 8.0])).x[1]) == 0.008
    path = cxi_files.write(tmp_path / "b.cxi", pixnm=[8.0, 9.0])
    with pytest.raises(UnsupportedScanError, match="found 8 and 9 nm"):
        xstxm.open_stack(path)
    assert float(xstxm.open_stack(path, pixel_size="8 nm").x[1]) == 0.008


def _without_image(file):
    del file["entry_1/image_1"]
    file["entry_1/instrument_1/detector_1/data"] = np.ones((2, 3, 4), "uint16")


def _real_image(file):
    del file["entry_1/image_1/data"]
    file["entry_1/image_1/data"] = np.ones((3, 4))


def _many_images(file):
    del file["entry_1/image_1/data"]
    file["entry_1/image_1/data"] = np.ones((5, 2, 3, 4), "complex64")


def _energy(value):
    def change(file):
        file["entry_1/instrument_1/source_1/energy"][()] = value

    return change


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        pytest.param(_without_image, UnsupportedScanError, "raw diffraction patterns", id="raw data"),
        pytest.param(_real_image, UnsupportedScanError, "one complex image", id="real image"),
        pytest.param(_many_images, UnsupportedScanError, "one complex image", id="four axes"),
        pytest.param(_energy(850.0), CorruptFileError, "in joule", id="eV without a unit"),
        pytest.param(_energy(np.nan), CorruptFileError, "photon energy", id="energy NaN"),
        pytest.param(_energy(0.0), CorruptFileError, "photon energy", id="energy 0"),
    ],
)
def test_what_is_no_reconstruction__is_refused(tmp_path, change, error, says):
    path = cxi_files.write(tmp_path / "scan.cxi")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(error, match=says):
        xstxm.open_stack(path)


@pytest.mark.filterwarnings("ignore")
def test_damaged_files__are_read_or_refused_in_the_words_of_the_package(tmp_path):
    good, refused = cxi_files.write(tmp_path / "scan.cxi").read_bytes(), 0
    for seed in range(100):
        path = tmp_path / f"{seed}.cxi"
        path.write_bytes(damaged(good, seed))
        try:
            with xstxm.open_stack(path) as stack:
                stack.load()
        except StxmError:
            refused += 1
    assert refused >= 30
