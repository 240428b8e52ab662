"""Shifts in files: alignments of aXis2000 and tables, and that a stack is moved where they say."""

from __future__ import annotations

import io
import json

import dask.array
import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import (
    ChoiceError,
    CorruptFileError,
    EnergyRangeError,
    FileFormatError,
    MissingDimensionError,
    MissingVariableError,
    SchemaError,
    UnitsError,
)

ENERGY = [515.0, 518.5, 521.25]
DX = [0.0, 1.5, -2.0]
DY = [0.0, -0.25, 3.0]

ALN = """\
! X-Y Pixel shifts after alignment
! Full alignment performed
ALIGN(-1, -1, -1, -1,  0)
PLOTIT(3,
A_5001_a000.xim 515.00 1.50,0.000,0.000
A_5001_a001.xim 518.50 1.50,1.500,-0.250
A_5001_a002.xim 521.25 1.50,-2.000,3.000
"""


@pytest.fixture
def stack() -> xr.Dataset:
    """Three frames (26, 30) of which each row and column is known; y descends, pixels are not square."""
    rng = np.random.default_rng(0)
    frames = rng.uniform(100, 200, (3, 26, 30)).astype("float32")
    coords = {
        "energy": ("energy", ENERGY, {"units": "eV"}),
        "y": ("y", 1.0 - 0.05 * np.arange(26), {"units": "um"}),
        "x": ("x", 2.0 + 0.04 * np.arange(30), {"units": "um"}),
    }
    return xr.Dataset({"intensity": (("energy", "y", "x"), frames, {"units": "count"})}, coords)


def read(text: str, stack, **options) -> xr.Dataset:
    return xstxm.read_shifts(io.BytesIO(text.encode()), stack, **options)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ALN, id="aln"),
        pytest.param(ALN.replace("\n", "\r\n"), id="aln, CRLF"),
        pytest.param(
            ALN.replace(",1.500,-0.250", ",   1.500,  -0.250 ") + ")\n", id="aln, blanks and a closing bracket"
        ),
        pytest.param(ALN.replace("515.00 1.50", ": 515.00 eV, 1.50 ms"), id="aln, units in a line"),
        pytest.param(ALN.replace("A_5001_a001.xim", "stack 2 a001.xim"), id="aln, a name with blanks and numbers"),
        pytest.param(ALN.replace("515.00", "515.004"), id="aln, energy rounded"),
        pytest.param("energy,dx,dy\n515,0,0\n518.5,1.5,-0.25\n521.25,-2,3\n", id="csv"),
        pytest.param("dy\tenergy\tdx\n0\t515\t0\n-.25\t518.5\t1.5\n3\t521.25\t-2\n", id="tsv, columns in any order"),
        pytest.param("energy shift_x shift_y\n515 0 0\n518.5 1.5 -0.25\n521.25 -2 3\n", id="blanks"),
        pytest.param("energy;x_shift;y_shift\n515;0;0\n518,5;1,5;-0,25\n521,25;-2;3\n", id="decimal commas"),
        pytest.param(
            "Energy (keV),dx (px),dy [pixel]\n.515,0,0\n.5185,1.5,-.25\n.52125,-2,3\n", id="units in the header"
        ),
        pytest.param(
            "# note\nenergy (eV),dx (nm),dy (um),r\n515,0,0,1\n518.5,60,.0125,.9\n521.25,-80,-.15,.8\n",
            id="lengths, a further column",
        ),
    ],
)
def test_read_shifts__understands(stack, text):
    shifts = read(text, stack)
    np.testing.assert_allclose(shifts.shift_x, np.array(DX) * 0.04, atol=1e-12)
    np.testing.assert_allclose(shifts.shift_y, np.array(DY) * -0.05, atol=1e-12)
    np.testing.assert_array_equal(shifts.energy, stack.energy)
    assert shifts.shift_x.attrs["units"] == shifts.shift_y.attrs["units"] == "um"
    xstxm.testing.assert_conforms(shifts, "read_shifts")


@pytest.mark.parametrize("meaning", ["correction", "displacement"])
def test_read_shifts__numbers_move_the_array_to_later_rows_and_columns(stack, meaning):
    sign = 1 if meaning == "correction" else -1
    text = f"energy,dx,dy\n515,0,0\n518.5,{sign * 3},{sign * 2}\n521.25,{sign * -4},0\n"
    moved = xstxm.apply_shifts(stack, read(text, stack, meaning=meaning)).intensity
    frames = stack.intensity.values
    np.testing.assert_array_equal(moved[0], frames[0])
    np.testing.assert_array_equal(moved[1, 2:, 3:], frames[1, :-2, :-3])
    np.testing.assert_array_equal(moved[2, :, :-4], frames[2, :, 4:])
    assert np.isnan(moved[1, :2]).all()
    assert np.isnan(moved[2, :, -4:]).all()


def test_read_shifts__of_an_alignment_made_elsewhere_bring_the_frames_together():
    stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="200 nm", noise=False, seed=2)
    pixels = [(stack[f"true_shift_{axis}"] / 0.03).values for axis in ("x", "y")]
    rows = [
        f"a{k:03d}.xim {float(e):.3f} 1.00,{x:.4f},{y:.4f}"
        for k, (e, x, y) in enumerate(zip(stack.energy, *pixels, strict=True))
    ]
    shifts = read("\n".join(["ALIGN(-1)", f"PLOTIT({len(rows)},", *rows]), stack)
    still = xstxm.testing.simulate_stack(shape=(48, 56), noise=False, seed=2)

    def error(found):
        return float(np.abs(np.log(found.intensity / still.intensity)).mean())

    assert error(xstxm.apply_shifts(stack, shifts)) < 0.1 * error(stack)


def test_read_shifts__units_override_the_header(stack):
    text = "energy,dx (px),dy (px)\n515,0,0\n518.5,40,50\n521.25,0,0\n"
    shifts = read(text, stack, units="nm")
    assert float(shifts.shift_x[1]) == pytest.approx(0.04)
    assert float(shifts.shift_y[1]) == pytest.approx(0.05)


def test_read_shifts__serves_every_frame_dimension(stack):
    both = stack.expand_dims(polarization=["left", "right"])
    moved = xstxm.apply_shifts(both, read(ALN, both))
    assert moved.intensity.sizes["polarization"] == 2
    xr.testing.assert_allclose(
        moved.intensity[0].drop_vars("polarization"), xstxm.apply_shifts(stack, read(ALN, stack)).intensity
    )


def test_read_shifts__takes_descending_and_repeated_energies(stack):
    stack = stack.assign_coords(energy=("energy", [521.0, 515.0, 515.0], {"units": "eV"}))
    shifts = read("energy,dx,dy\n521,0,0\n515,1,0\n515,2,0\n", stack)
    np.testing.assert_allclose(shifts.shift_x, [0, 0.04, 0.08])


def test_read_shifts__leaves_a_lazy_stack_alone(stack):
    lazy = stack.chunk(energy=1)
    with raise_if_dask_computes():
        moved = xstxm.apply_shifts(lazy, read(ALN, lazy))
    assert isinstance(moved.intensity.data, dask.array.Array)


def test_read_shifts__of_an_array_and_of_optical_density_only(stack):
    of_array = read(ALN, stack.intensity)
    assert of_array.identical(read(ALN, stack).assign_attrs(of_array.attrs))
    assert "shift_x" in read(ALN, stack.rename(intensity="optical_density"))


def test_read_shifts__missing_number_stays_missing(stack):
    shifts = read("energy,dx,dy\n515,0,0\n518.5,,nan\n521.25,1,1\n", stack)
    np.testing.assert_array_equal(np.isnan(shifts.shift_x), [False, True, False])
    with pytest.raises(SchemaError, match="some shifts are NaN"):
        xstxm.apply_shifts(stack, shifts)


def test_read_shifts__records_the_file(tmp_path, stack):
    path = tmp_path / "particle.aln"
    path.write_text(ALN)
    shifts = xstxm.read_shifts(path, stack, meaning="displacement")
    (entry,) = json.loads(shifts.attrs["xstxm_provenance"])
    assert entry["input"] == shifts.attrs["source_file"] == "particle.aln"
    assert entry["parameters"]["meaning"] == "displacement"


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        pytest.param(ALN.replace("PLOTIT(3", "PLOTIT(4"), CorruptFileError, "expected 4 frames.*found 3", id="cut short"),
        pytest.param(ALN.replace("1.500,-0.250", "1.500"), CorruptFileError, "in line 6: correct the line", id="torn line"),
        pytest.param(ALN.replace("-2.000", "-2.0.0"), CorruptFileError, "in line 7", id="no number"),
        pytest.param("515,0,0\n518.5,1,1\n521.25,2,2\n", FileFormatError, "found no names: write a first line", id="no names"),
        pytest.param("energy,dx\n515,0\n518.5,1\n521.25,2\n", FileFormatError, "found 'energy', 'dx'", id="no dy"),
        pytest.param("energy,dx,dy\n515,0,0\n518.5,1\n521.25,2,2\n", CorruptFileError, "in line 3", id="ragged"),
        pytest.param("", FileFormatError, "found an empty file", id="empty"),
        pytest.param("\x89HDF\r\n\x1a\n\x00\x00", FileFormatError, "expected a text table", id="binary"),
        pytest.param("energy,dx (s),dy (s)\n515,0,0\n518.5,1,1\n521.25,2,2\n", UnitsError, "in 'pixel', or in a length", id="seconds"),
    ],
)  # fmt: skip
def test_read_shifts__broken_file_is_an_error(stack, text, error, match):
    with pytest.raises(error, match=match):
        read(text, stack)


@pytest.mark.parametrize(
    ("energies", "match"),
    [
        pytest.param("515 518.5", r"2 frames, the stack has 3: select the frames", id="fewer"),
        pytest.param("515 518.5 521.3", r"other energies, first at frame 2: 521.3, the stack 521.25 eV", id="other"),
        pytest.param("521.25 518.5 515", r"in another order, first at frame 0.*sortby\('energy'\)", id="reversed"),
        pytest.param("515 518.5 nan", r"other energies, first at frame 2: nan", id="not finite"),
    ],
)
def test_read_shifts__of_other_frames_is_an_error(stack, energies, match):
    text = "energy,dx,dy\n" + "".join(f"{energy},0,0\n" for energy in energies.split())
    with pytest.raises(EnergyRangeError, match=match):
        read(text, stack)


def test_read_shifts__tolerance_is_in_the_users_hand(stack):
    text = "energy,dx,dy\n515.04,0,0\n518.54,1,1\n521.29,2,2\n"
    with pytest.raises(EnergyRangeError, match="pass tolerance="):
        read(text, stack)
    np.testing.assert_array_equal(read(text, stack, tolerance="50 meV").energy, ENERGY)


def test_read_shifts__bad_options_and_stacks(stack):
    with pytest.raises(ChoiceError, match="did you mean 'correction'"):
        read(ALN, stack, meaning="corection")
    with pytest.raises(UnitsError, match="in 'pixel', or in a length"):
        read(ALN, stack, units="eV")
    with pytest.raises(SchemaError, match="no variable of the stack has frames"):
        read(ALN, stack.isel(y=0))
    with pytest.raises(MissingDimensionError, match="only images can be aligned"):
        read(ALN, stack.intensity.isel(y=0))


def test_write_shifts__are_read_back_exactly(tmp_path, stack):
    shifts = read("energy,dx,dy\n515,0,0\n518.5,1.23456789012345,-0.1\n521.25,2,1e-7\n", stack)
    path = xstxm.write_shifts(shifts, tmp_path / "shifts.csv")
    again = xstxm.read_shifts(path, stack)
    for name in ("shift_y", "shift_x"):
        np.testing.assert_array_equal(again[name], shifts[name])
    assert [file.name for file in tmp_path.iterdir()] == ["shifts.csv"]
    assert path.read_text().splitlines()[1] == "energy (eV),shift_x (um),shift_y (um)"


def test_write_shifts__of_an_aligned_stack(tmp_path, stack):
    moved = xstxm.apply_shifts(stack, read(ALN, stack))
    again = xstxm.read_shifts(xstxm.write_shifts(moved, tmp_path / "shifts.csv"), stack)
    np.testing.assert_allclose(again.shift_x, np.array(DX) * 0.04, atol=1e-12)


def test_write_shifts__refuses_what_a_table_cannot_hold(tmp_path, stack):
    shifts = read(ALN, stack)
    path = tmp_path / "shifts.csv"
    with pytest.raises(SchemaError, match=r"holds no rotation: use write_netcdf"):
        xstxm.write_shifts(shifts.assign(rotation=shifts.shift_x), path)
    with pytest.raises(SchemaError, match="select along the others"):
        xstxm.write_shifts(shifts.expand_dims(theta=[0.0]), path)
    with pytest.raises(MissingVariableError, match="result of estimate_shifts or read_shifts"):
        xstxm.write_shifts(stack, path)
    assert not path.exists()
    xstxm.write_shifts(shifts, path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xstxm.write_shifts(shifts, path)
    xstxm.write_shifts(2 * shifts.shift_y.to_dataset().assign(shift_x=shifts.shift_x), path, overwrite=True)
    np.testing.assert_allclose(xstxm.read_shifts(path, stack).shift_x, 2 * shifts.shift_x)
