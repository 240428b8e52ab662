"""Data Exchange files, which are made by the tests only."""

from __future__ import annotations

import io
import pickle
from collections import Counter

import exchange_files
import h5py
import numpy as np
import pytest
import xarray as xr
from damage import opens_or_refuses
from exchange_files import COUNTS, ENERGY, X, Y
from test_hdf5_safety import damaged

import xstxm
from xstxm.errors import (
    ChoiceError,
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    OptionError,
    StxmError,
    UnsupportedScanError,
)

WHITE = "spectromicroscopy/normalization"


@pytest.fixture
def scan(tmp_path):
    return exchange_files.write(tmp_path / "scan.hdf5")


def change(path, **fields):
    """Put fields into a file, in place of those that are there; a tuple holds a unit too, None takes a field away."""
    with h5py.File(path, "r+") as file:
        for name, value in fields.items():
            where = name.replace("__", "/")
            if where in file:
                del file[where]
            if value is None:
                continue
            numbers, unit = value if isinstance(value, tuple) else (value, None)
            file[where] = numbers
            if unit is not None:
                file[where].attrs["units"] = unit
    return path


def test_stack__is_turned_into_its_dimensions(scan):
    with xstxm.open_stack(scan) as stack:
        assert stack.intensity.dims == ("energy", "y", "x")
        assert stack.intensity.dtype == "float32"
        assert stack.intensity.attrs["units"] == "count"
        np.testing.assert_array_equal(stack.intensity, COUNTS)
        for name, values in (("energy", ENERGY), ("y", Y), ("x", X)):
            np.testing.assert_array_equal(stack[name], values)
        assert stack.attrs["title"] == "particle"
        assert stack.attrs["scan_type"] == "sample image stack"


def test_every_door__opens_the_same(scan):
    stack = xstxm.open_stack(scan)
    assert xstxm.open_stack(io.BytesIO(scan.read_bytes())).equals(stack)
    assert xstxm.open_stack(scan, engine="exchange").equals(stack)
    assert xstxm.open_tree(scan)["scan"].to_dataset().equals(stack)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(xstxm.open_stack(scan))).intensity, COUNTS)


def test_words_of_any_length__are_read_too(scan):
    change(scan, implements="exchange", exchange__x=(X * 1000, "nm"))
    np.testing.assert_allclose(xstxm.open_stack(scan).x, X)


def test_implements__decides_what_the_file_is(scan):
    assert not xstxm.io.exchange.is_exchange(change(scan, implements="information:exchanges"))
    with pytest.raises(FileFormatError):
        xstxm.open_stack(scan)


@pytest.mark.parametrize("stored", ["energy:y:x", "y:x:energy", "x:energy:y"])
@pytest.mark.parametrize("told", [True, False], ids=["by the attribute", "by the lengths"])
def test_order__of_the_axes(tmp_path, stored, told):
    path = exchange_files.write(tmp_path / "scan.hdf5", axes=None)
    frames = xr.DataArray(COUNTS, dims=("energy", "y", "x"))
    change(path, exchange__data=frames.transpose(*stored.split(":")).values)
    if told:
        with h5py.File(path, "r+") as file:
            file["exchange/data"].attrs["axes"] = stored
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, COUNTS)


def test_order__that_contradicts_the_lengths_is_told(tmp_path):
    path = exchange_files.write(tmp_path / "scan.hdf5", axes="y:x:energy")
    with pytest.warns(MetadataWarning, match="says y:x:energy, and its lengths x:y:energy"):
        stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.intensity, COUNTS)


def test_square__asks_for_the_axes(tmp_path):
    path = exchange_files.write_square(tmp_path / "scan.hdf5")
    with pytest.raises(UnsupportedScanError, match=r'such as axes="x:y:energy"'):
        xstxm.open_stack(path)
    stack = xstxm.open_stack(path, axes="x:y:energy")
    np.testing.assert_array_equal(stack.intensity, COUNTS[:, :, :2])
    np.testing.assert_array_equal(
        xstxm.open_stack(path, axes="y:x:energy").intensity, COUNTS[:, :, :2].transpose(0, 2, 1)
    )


@pytest.mark.parametrize("axes", ["x:y", "x:y:theta", "x:y:y", 3, "energy:y:x"])
def test_axes__that_are_not_those_of_the_numbers(scan, axes):
    with pytest.raises(OptionError, match="axes="):
        xstxm.open_stack(scan, axes=axes)


def test_single_image__has_one_energy(scan):
    change(scan, exchange__data=COUNTS[0], exchange__energy=(ENERGY[:1], "eV"))
    stack = xstxm.open_stack(scan)
    np.testing.assert_array_equal(stack.intensity, COUNTS[:1])
    assert stack.attrs["scan_type"] == "sample image"


def test_files_of_one_energy__become_one_stack(tmp_path):
    for index in (2, 0, 1):
        path = exchange_files.write(tmp_path / f"{index}.hdf5")
        change(path, exchange__data=COUNTS[index], exchange__energy=(ENERGY[index : index + 1], "eV"))
    stack = xstxm.open_stack(tmp_path)
    np.testing.assert_array_equal(stack.intensity, COUNTS)
    assert stack.source_file.values.tolist() == ["0.hdf5", "1.hdf5", "2.hdf5"]


def test_positions__that_the_file_lacks(scan):
    change(scan, exchange__x=None, exchange__y=None)
    with pytest.raises(UnsupportedScanError, match="pass pixel_size="):
        xstxm.open_stack(scan)
    np.testing.assert_allclose(xstxm.open_stack(scan, pixel_size="50 nm").x, [0, 0.05, 0.1, 0.15])


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("energy", (ENERGY / 1000, "keV"), ENERGY),
        ("energy", ENERGY, ENERGY),
        ("x", (X * 1000, "nm"), X),
        ("x", X, X),
        ("x", (X[::-1], "um"), X[::-1]),
    ],
)
def test_units__of_energies_and_positions(scan, field, values, expected):
    change(scan, **{f"exchange__{field}": values})
    np.testing.assert_allclose(xstxm.open_stack(scan)[field], expected)


def test_small_energies__without_a_unit_are_kev_and_told(scan):
    change(scan, exchange__energy=ENERGY / 1000)
    with pytest.warns(MetadataWarning, match="taken to be keV"):
        np.testing.assert_allclose(xstxm.open_stack(scan).energy, ENERGY)


def test_dwell__is_in_ms(scan):
    change(scan, spectromicroscopy__data_dwell=(np.array([1.0, 2.0, 3.0]), "s"))
    np.testing.assert_array_equal(xstxm.open_stack(scan).dwell_time, [1000, 2000, 3000])
    change(scan, spectromicroscopy__data_dwell=np.array([1.0, 2.0, 3.0]))
    with pytest.warns(MetadataWarning, match="taken to be ms"):
        np.testing.assert_array_equal(xstxm.open_stack(scan).dwell_time, [1, 2, 3])


@pytest.mark.parametrize(
    ("white", "dims"),
    [
        pytest.param(ENERGY, ("energy",), id="spectrum"),
        pytest.param(COUNTS[0].T, ("y", "x"), id="image"),
        pytest.param(COUNTS.transpose(2, 1, 0), ("energy", "y", "x"), id="image for each energy"),
    ],
)
@pytest.mark.parametrize("name", ["white_data", "data_white"])
def test_white_data__are_i0(scan, white, dims, name):
    change(scan, **{f"exchange__{name}": white})
    with xstxm.open_stack(scan, chunks={}) as stack:
        assert stack.i0.dims == dims
        assert stack.i0.attrs["units"] == "count"
        np.testing.assert_array_equal(stack.i0, white.T)


@pytest.mark.parametrize(
    ("axes", "white", "taken"),
    [
        pytest.param("y:x", COUNTS[0], True, id="turned"),
        pytest.param("x:x", np.ones((4, 4)), False, id="one axis twice"),
        pytest.param("white:y:x", np.ones((5, 2, 4)), False, id="several images"),
        pytest.param("energy:x", np.ones((3, 4)), False, id="no image"),
    ],
)
def test_white_data__with_axes_of_their_own(scan, axes, white, taken):
    change(scan, exchange__white_data=white)
    with h5py.File(scan, "r+") as file:
        file["exchange/white_data"].attrs["axes"] = axes
    if taken:
        np.testing.assert_array_equal(xstxm.open_stack(scan).i0, white)
        return
    with pytest.warns(MetadataWarning, match="it is left out"):
        assert "i0" not in xstxm.open_stack(scan)


def test_white_data__of_a_single_image(scan):
    change(scan, exchange__data=COUNTS[0].T, exchange__energy=(ENERGY[:1], "eV"), exchange__white_data=[7.0])
    with h5py.File(scan, "r+") as file:
        file["exchange/data"].attrs["axes"] = "x:y"
    np.testing.assert_array_equal(xstxm.open_stack(scan).i0, [7])


def test_white_data__give_optical_densities(scan):
    change(scan, exchange__white_data=(2 * COUNTS).transpose(2, 1, 0))
    density = xstxm.optical_density(xstxm.open_stack(scan)).optical_density
    np.testing.assert_allclose(density, np.full(COUNTS.shape, np.log(2)), rtol=1e-5)


def test_white_data__of_another_shape_are_left_out_and_told(scan):
    change(scan, exchange__white_data=np.ones((7, 4, 2)))
    with pytest.warns(MetadataWarning, match=r"white_data of the shape \(7, 4, 2\) is not"):
        assert "i0" not in xstxm.open_stack(scan)


@pytest.mark.parametrize("energies", [(ENERGY, None), (ENERGY / 1000, "keV")])
def test_white_spectrum__of_the_same_energies_is_i0(scan, energies):
    change(scan, **{f"{WHITE}/white_spectrum": ENERGY * 2, f"{WHITE}/white_spectrum_energy": energies})
    stack = xstxm.open_stack(scan)
    assert stack.i0.dims == ("energy",)
    np.testing.assert_array_equal(stack.i0, ENERGY * 2)


@pytest.mark.parametrize(
    ("energies", "says"),
    [
        pytest.param(None, "has no energies", id="none"),
        pytest.param(ENERGY + 0.5, "up to 0.5 eV from those", id="moved"),
        pytest.param(np.arange(700.0, 712.0), "has 3 numbers at 12 energies", id="another count"),
        pytest.param(np.full(3, np.nan), "up to nan eV", id="NaN"),
    ],
)
def test_white_spectrum__of_other_energies_is_left_out_and_told(scan, energies, says):
    change(scan, **{f"{WHITE}/white_spectrum": ENERGY * 2, f"{WHITE}/white_spectrum_energy": energies})
    with pytest.warns(MetadataWarning, match=says):
        assert "i0" not in xstxm.open_stack(scan)


def test_white_data_and_spectrum__the_spectrum_gives_way(scan):
    change(scan, **{f"{WHITE}/white_spectrum": ENERGY, f"{WHITE}/white_spectrum_energy": ENERGY})
    change(scan, exchange__white_data=ENERGY * 3)
    with pytest.warns(MetadataWarning, match="white data are i0"):
        np.testing.assert_array_equal(xstxm.open_stack(scan).i0, ENERGY * 3)


def test_kind__is_taken_at_its_word(scan):
    change(scan, exchange__white_data=ENERGY)
    stack = xstxm.open_stack(scan, kind="optical_density")
    assert set(stack.data_vars) == {"optical_density"}
    assert stack.optical_density.attrs["units"] == "1"
    with pytest.raises(ChoiceError):
        xstxm.open_stack(scan, kind="density")


def test_shifts_and_dark_images__are_left_out_and_told(scan):
    change(scan, spectromicroscopy__xshifts=np.zeros(3))
    xstxm.open_stack(scan)
    change(scan, spectromicroscopy__xshifts=np.array([0.0, 0.1, 0.2]), exchange__data_dark=np.ones((4, 2)))
    with pytest.warns(MetadataWarning) as caught:
        xstxm.open_stack(scan)
    said = " ".join(str(one.message) for one in caught)
    assert "the shifts in spectromicroscopy/xshifts are left out" in said
    assert "the dark images in exchange/data_dark are left out" in said


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        pytest.param({"exchange__theta": [0.0, 1.0]}, UnsupportedScanError, "2 angles in exchange/theta", id="angles"),
        pytest.param({"exchange__data": np.ones((2, 2, 2, 2))}, UnsupportedScanError, "axes x, y, energy", id="4-D"),
        pytest.param({"exchange__data": np.ones(3)}, UnsupportedScanError, "axes x, y, energy", id="1-D"),
        pytest.param({"exchange__data": np.ones((4, 2, 3), "c8")}, CorruptFileError, "numbers in", id="complex"),
        pytest.param({"exchange__data": np.ones((0, 2, 3))}, CorruptFileError, "numbers in", id="empty"),
        pytest.param({"exchange__data": None}, CorruptFileError, "numbers in exchange/data", id="no data"),
        pytest.param({"exchange__data": np.ones((4, 2, 5))}, CorruptFileError, "a length of", id="other lengths"),
        pytest.param({"exchange__data": np.ones((4, 2))}, CorruptFileError, "3 of energy", id="image of 3 energies"),
        pytest.param({"exchange__energy": None}, CorruptFileError, "the energies in", id="no energies"),
        pytest.param({"exchange__energy": ENERGY * np.nan}, CorruptFileError, "finite energies", id="energies NaN"),
        pytest.param({"exchange__energy": ENERGY * 0}, CorruptFileError, "above zero", id="energies 0"),
        pytest.param({"exchange__energy": (ENERGY, "um")}, CorruptFileError, "energy in eV", id="energies in um"),
        pytest.param({"exchange__x": X * np.inf}, CorruptFileError, "finite positions", id="positions inf"),
        pytest.param({"exchange__x": np.arange(99.0)}, CorruptFileError, "at most 4 numbers", id="many positions"),
    ],
)
def test_what_is_no_stack__is_refused(scan, fields, error, says):
    with pytest.raises(error, match=says):
        xstxm.open_stack(change(scan, **fields))


def test_axes_of_another_kind__are_refused(tmp_path):
    path = exchange_files.write(tmp_path / "scan.hdf5", axes="theta:y:x")
    with pytest.raises(UnsupportedScanError, match="found theta:y:x"):
        xstxm.open_stack(path)


def test_numbers_in_another_file__are_refused_by_its_name(scan):
    with h5py.File(scan, "r+") as file:
        del file["exchange/data"]
        file["exchange/data"] = h5py.ExternalLink("secret.h5", "/numbers")
    with pytest.raises(FileFormatError, match=r"secret\.h5"):
        xstxm.open_stack(scan)


@pytest.mark.parametrize("field", ["data", "energy", "white_data"])
def test_claims_of_terabytes__are_refused_before_they_are_read(scan, field):
    shape = (3, 10**5, 10**5) if field == "data" else (10**12,)
    with h5py.File(scan, "r+") as file:
        if field in file["exchange"]:
            del file["exchange"][field]
        file.create_dataset(f"exchange/{field}", shape, "float32", chunks=(1, 10, 10) if field == "data" else (10,))
    with pytest.raises(CorruptFileError):
        xstxm.open_stack(scan)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param((4, 2, 1), {"energy": (1, 1, 1), "y": (2,), "x": (4,)}, id="frames"),
        pytest.param((2, 1, 3), {"energy": (3,), "y": (2,), "x": (4,)}, id="spectra"),
        pytest.param(None, {"energy": (3,), "y": (2,), "x": (4,)}, id="energies side by side, no chunks"),
    ],
)
def test_chunks__are_those_of_the_file(scan, chunks, expected):
    with h5py.File(scan, "r+") as file:
        del file["exchange/data"]
        file.create_dataset("exchange/data", data=COUNTS.transpose(2, 1, 0), chunks=chunks)
    with xstxm.open_stack(scan, chunks={}) as stack:
        assert dict(stack.chunks) == expected
        np.testing.assert_array_equal(stack.intensity, COUNTS)


@pytest.mark.filterwarnings("ignore")
def test_damaged_files__are_read_or_refused_in_the_words_of_the_package(scan):
    good, ends = scan.read_bytes(), Counter()
    for seed in range(200):
        path = scan.with_name(f"{seed}.hdf5")
        path.write_bytes(damaged(good, seed))
        ends[opens_or_refuses(path, engine="exchange")] += 1
    assert ends["opened"] > 4
    assert ends["CorruptFileError"] > 60
    assert all(issubclass(getattr(xstxm.errors, end), StxmError) for end in ends if end != "opened")
