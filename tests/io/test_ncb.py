"""aXis2000 stacks: what is read, what is written, and what is refused."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from damage import damaged, opens_or_refuses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ncb_files import ENERGIES, X, Y, numbers, write_ncb

import xstxm
from xstxm.errors import (
    ChoiceError,
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    MissingCoordinateError,
    OptionError,
    SchemaError,
)


@pytest.mark.parametrize("suffix", [".dat", ".ncb"])
@pytest.mark.parametrize("scale", [1, -1], ids=["integers", "floats"])
def test_stack__opens_by_either_file(tmp_path, suffix, scale):
    path = write_ncb(tmp_path, numbers(), scale).with_suffix(suffix)
    stack = xstxm.open_stack(path, kind="intensity" if scale < 0 else None)
    np.testing.assert_array_equal(stack.intensity, numbers())
    assert (stack.intensity.dims, stack.intensity.dtype) == (("energy", "y", "x"), "float32")
    np.testing.assert_allclose(stack.x, np.linspace(*X, 4))
    np.testing.assert_allclose(stack.y, np.linspace(*Y, 2))
    np.testing.assert_array_equal(stack.energy, ENERGIES)
    assert (stack.dwell_time.item(), stack.intensity.attrs["units"]) == (1.5, "count")
    assert (stack.attrs["source_file"], stack.attrs["scan_type"]) == ("stack.dat", "sample image stack")
    xstxm.conventions.validate(stack, "stack")


def test_partner__is_found_in_any_case(tmp_path):
    path = write_ncb(tmp_path, numbers())
    path.rename(tmp_path / "STACK.DAT")
    np.testing.assert_array_equal(xstxm.open_stack(tmp_path / "stack.ncb").intensity, numbers())


def test_partner__that_is_missing_is_named(tmp_path):
    path = write_ncb(tmp_path, numbers())
    path.with_suffix(".ncb").unlink()
    for engine in ("ncb", "stxm"):
        with pytest.raises(FileFormatError, match=r"stack\.dat: expected its \.ncb beside it, found none"):
            xstxm.open_stack(path, engine=engine)
    numbers_alone = path.with_suffix(".ncb")
    path.rename(tmp_path / "kept.txt")
    numbers_alone.write_bytes(b"\0" * 48)
    with pytest.raises(FileFormatError, match=r"stack\.ncb: expected its \.dat beside it, found none"):
        xstxm.open_stack(numbers_alone)
    with pytest.raises(FileFormatError, match=r"stack\.ncb: expected its \.dat beside it, found none"):
        xstxm.open_tree(tmp_path)


def test_optical_density__is_what_the_user_says(tmp_path):
    path = write_ncb(tmp_path, numbers() / 1000, 1000)
    stack = xstxm.open_stack(path, kind="optical_density")
    np.testing.assert_array_equal(stack.optical_density, (numbers() / 1000).astype("float32"))
    assert stack.optical_density.attrs["units"] == "1"
    with pytest.warns(MetadataWarning, match='look like optical densities.*pass kind="optical_density"'):
        assert "intensity" in xstxm.open_stack(path)
    path = write_ncb(tmp_path, numbers() / 1000, -1)
    with pytest.warns(MetadataWarning, match='float32 numbers may be optical densities.*pass kind="optical_density"'):
        assert "intensity" in xstxm.open_stack(path)
    with pytest.raises(ChoiceError, match="optical_density"):
        xstxm.open_stack(path, kind="density")


def test_axes__that_descend_are_turned_with_their_numbers(tmp_path):
    stack = xstxm.open_stack(write_ncb(tmp_path, numbers(), x=X[::-1], y=Y[::-1]))
    np.testing.assert_array_equal(stack.intensity, numbers()[:, ::-1, ::-1])
    assert (stack.x.diff("x") > 0).all()
    assert (stack.y.diff("y") > 0).all()


def test_lines_of_frames__may_be_missing(tmp_path):
    assert "dwell_time" not in xstxm.open_stack(write_ncb(tmp_path, numbers(), frames=False)).coords


def test_lazy_stack__reads_frames_and_can_be_pickled(tmp_path):
    stack = xstxm.open_stack(write_ncb(tmp_path, numbers()), chunks={})
    assert stack.intensity.chunks == ((1, 1, 1), (2,), (4,))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack)).intensity, numbers())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(("4 2 1\r", "4 2 0\r"), "a scale in line 1, found 0", id="scale of zero"),
        pytest.param(
            ("4 2 1\r", "4 2 -1\r"), "expected 96 bytes.*found 48: each has 2 bytes: correct the scale", id="f"
        ),
        pytest.param(("4 2 1\r", "5 2 1\r"), r"expected 60 bytes \(3 x 2 x 5 of i2\), found 48", id="size"),
        pytest.param(("4 2 1\r", "999999 999999 1\r"), "expected 5999988000006 bytes", id="a claim of terabytes"),
        pytest.param(("4 2 1\r", "4.5 2 1\r"), "a number of columns from 1 to 1000000, found 4.5", id="half a column"),
        pytest.param(("4 2 1\r", "4 2\r"), "columns, rows and scale in line 1, found '4 2'", id="a word less"),
        pytest.param(("0.0 0.15", "0.1 0.1"), "a first and a last x for 4 pixels, found 0.1 twice", id="no width"),
        pytest.param(("0.0 0.15", "nan 0.1"), "first and last x in line 2", id="NaN"),
        pytest.param(("\n3\r", "\n4\r"), "expected 4 energies, one on each line, found 3", id="more energies"),
        pytest.param(("705.500\r", "0.000\r"), "energies above zero", id="an energy of zero"),
    ],
)
def test_text__that_is_wrong_says_where(tmp_path, change, message):
    path = write_ncb(tmp_path, numbers())
    text = path.read_bytes().decode()
    assert change[0] in text
    path.write_bytes(text.replace(*change, 1).encode())
    with pytest.raises(CorruptFileError, match=message):
        xstxm.open_stack(path, engine="ncb")


def test_numbers__that_shrink_after_opening_are_told(tmp_path):
    path = write_ncb(tmp_path, numbers())
    stack = xstxm.open_stack(path)
    path.with_suffix(".ncb").write_bytes(b"\0" * 40)
    with pytest.raises(CorruptFileError, match="16 bytes from byte 32, found 8"):
        stack.load()


@pytest.mark.parametrize("suffix", [".dat", ".ncb"])
def test_damaged_files__open_or_say_what_is_wrong(tmp_path, suffix):
    path = write_ncb(tmp_path, numbers())
    file, ends = path.with_suffix(suffix), Counter()
    for content in damaged(file.read_bytes(), 200):
        file.write_bytes(content)
        ends[opens_or_refuses(path, engine="ncb")] += 1
    assert ends["opened"] > 10
    assert ends["CorruptFileError"] > 10


# the writer


def stack_of(values: np.ndarray, name: str = "intensity", **coords: object) -> xr.Dataset:
    energies = {"energy": ("energy", list(ENERGIES[: len(values)]), {"units": "eV"})}
    x = ("x", 0.1 * np.arange(values.shape[2]), {"units": "um"})
    y = ("y", 0.3 * np.arange(values.shape[1]) - 7, {"units": "um"})
    signal = (("energy", "y", "x"), values, {"units": {"intensity": "count"}.get(name, "1")})
    return xr.Dataset({name: signal}, {**energies, "y": y, "x": x, **coords})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.floats(1, 1e5), min_size=3, max_size=3, unique=True).filter(lambda found: max(found) >= 100),
    st.lists(st.floats(width=32), min_size=24, max_size=24),
    st.floats(1e-3, 1e4),
)
def test_round_trip__keeps_every_digit_of_floats(tmp_path, energies, values, dwell):
    data = np.array(values, "float32").reshape(3, 2, 4)
    stack = stack_of(data, dwell_time=((), dwell, {"units": "ms"}))
    stack = stack.assign_coords(energy=("energy", energies, {"units": "eV"}))
    again = xstxm.open_stack(xstxm.write_ncb(stack, tmp_path / "s", overwrite=True)).load()
    np.testing.assert_array_equal(again.intensity, data)
    np.testing.assert_array_equal(again.energy, energies)
    np.testing.assert_allclose(again.x, stack.x, atol=1e-9)
    assert again.dwell_time.item() == dwell


@pytest.mark.parametrize("chunks", [None, {"energy": 1}, {"energy": -1, "x": 2}], ids=["numpy", "frames", "pixels"])
def test_integers__are_the_values_times_the_scale(tmp_path, chunks):
    density = stack_of(numbers().astype("float32") / 64, "optical_density")
    density = density if chunks is None else density.chunk(chunks)
    with pytest.warns(MetadataWarning, match="rounded to 1/1000"):
        path = xstxm.write_ncb(density, tmp_path / "od.ncb", scale=1000)
    assert path.read_text().splitlines()[0] == "4 2 1000"
    stored = np.fromfile(path.with_suffix(".ncb"), "<i2").reshape(3, 2, 4)
    np.testing.assert_array_equal(stored, np.rint(numbers() / 64 * 1000))
    again = xstxm.open_stack(path, kind="optical_density")
    np.testing.assert_allclose(again.optical_density, density.optical_density, atol=0.0005001)


@pytest.mark.parametrize(
    ("values", "scale", "message"),
    [
        pytest.param(np.full((3, 2, 4), 40.0), 1000, r"up to 40 do not fit into 16 bits: at most 819", id="too large"),
        pytest.param(np.full((3, 2, 4), np.nan), 1, "integers hold no NaN", id="NaN"),
        pytest.param(np.ones((3, 2, 4)), -1, "a number above zero, or leave it out", id="a negative scale"),
    ],
)
def test_integers__that_do_not_fit_are_refused_and_leave_no_file(tmp_path, values, scale, message):
    with pytest.raises(OptionError, match=message):
        xstxm.write_ncb(stack_of(values), tmp_path / "s", scale=scale)
    assert not list(tmp_path.iterdir())


def test_writer__tells_what_it_does_not_write(tmp_path):
    stack = stack_of(numbers() / 3, ring_current=("energy", [1.0, 2, 3], {"units": "mA"}))
    with pytest.warns(MetadataWarning) as caught:
        xstxm.write_ncb(stack, tmp_path / "s")
    said = " ".join(str(warning.message) for warning in caught)
    assert "'intensity' was rounded to float32" in said
    assert "ring_current not written" in said


def test_writer__refuses_what_the_format_cannot_hold(tmp_path):
    stack = stack_of(numbers().astype("float32"))
    with pytest.raises(SchemaError, match="x is not in even steps"):
        xstxm.write_ncb(stack.assign_coords(x=("x", [0, 1, 2, 4.0], {"units": "um"})), tmp_path / "s")
    with pytest.raises(MissingCoordinateError, match="'y'"):
        xstxm.write_ncb(stack.drop_vars("y"), tmp_path / "s")
    with pytest.raises(SchemaError, match=r"aXis2000 holds \(energy, y, x\)"):
        xstxm.write_ncb(stack.isel(y=0), tmp_path / "s")
    with pytest.raises(SchemaError, match=r"holds one variable \(found: intensity, optical_density\): pass signal="):
        xstxm.write_ncb(stack.assign(optical_density=stack.intensity), tmp_path / "s")
    with pytest.raises(SchemaError, match="wants a Dataset"):
        xstxm.write_ncb(stack.intensity, tmp_path / "s")


@pytest.mark.parametrize("dwell", [{}, {"dwell_time": ((), 2.0, {"units": "ms"})}], ids=["no dwell", "dwell"])
@pytest.mark.parametrize("scale", [None, 100], ids=["floats", "integers"])
@pytest.mark.parametrize(
    ("name", "units", "read"),
    [
        ("intensity", "count", "count"),
        ("intensity", "count/ms", "count/ms"),
        ("intensity", "Hz", "count/s"),
        ("intensity", "µA", "uA"),
        ("intensity", "drôle\nd'unité", "count"),
        ("optical_density", "1", "1"),
    ],
)
def test_written_stack__comes_back_as_what_it_is(tmp_path, dwell, scale, name, units, read):
    stack = stack_of(numbers().astype("float32"), name, **dwell)
    stack[name].attrs["units"] = units
    path = xstxm.write_ncb(stack, tmp_path / "s", scale=scale)
    again = xstxm.open_stack(path)
    assert list(again.data_vars) == [name]
    assert again[name].attrs["units"] == read
    np.testing.assert_array_equal(again[name], stack[name])
    assert ("dwell_time" in again.coords) == bool(dwell)
    other = "optical_density" if name == "intensity" else "intensity"
    assert xstxm.open_stack(path, kind=other)[other].attrs["units"] == ("1" if name == "intensity" else "count")


def test_energies_of_a_written_stack__are_in_ev_whatever_their_size(tmp_path):
    stack = stack_of(numbers().astype("float32")).assign_coords(energy=("energy", [70.0, 70.5, 71], {"units": "eV"}))
    with pytest.warns(MetadataWarning, match="look like keV"):
        again = xstxm.open_stack(xstxm.write_ncb(stack, tmp_path / "s"))
    np.testing.assert_array_equal(again.energy, stack.energy)


def test_writer__of_other_variables_leaves_open_what_they_are(tmp_path):
    stack = stack_of(numbers().astype("float32"), "thickness", dwell_time=((), 2.0, {"units": "ms"}))
    path = xstxm.write_ncb(stack, tmp_path / "s", signal="thickness")
    with pytest.warns(MetadataWarning, match="may be optical densities and are taken to be counts"):
        assert xstxm.open_stack(path)["dwell_time"] == 2


def test_writer__replaces_files_when_told_to(tmp_path):
    stack = stack_of(numbers().astype("float32"))
    path = xstxm.write_ncb(stack, tmp_path / "s.ncb")
    with pytest.raises(FileExistsError, match=r"s\.dat exists: pass overwrite=True"):
        xstxm.write_ncb(stack, path)
    xstxm.write_ncb(stack + 1, path, overwrite=True)
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, numbers() + 1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.dat", "s.ncb"]
