from __future__ import annotations

import socket

import numba
import numpy as np
import pytest
import tifffile
import xarray as xr
from typer.testing import CliRunner

import xstxm
from xstxm import cli
from xstxm._commands.speaking import COMPILING, compiling_is_told, in_words_of
from xstxm.errors import MetadataWarning, warn

RUN = CliRunner()
pytestmark = pytest.mark.xdist_group("commands")  # of one demonstration


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    result = RUN.invoke(cli.app, ["demo", "-o", str(folder), "--size", "48"])
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_demo__writes_maps_and_says_how_to_go_on(demo):
    folder, said = demo
    assert {"lixv2o5.hdf5", "lixv2o5-references.csv", "maps.nc"} <= {path.name for path in folder.iterdir()}
    assert list(folder.glob("*.png"))
    assert not list(folder.glob("*.part"))
    assert "area fraction" in said
    assert "xstxm dashboard" in said
    with xr.open_dataset(folder / "maps.nc", engine="h5netcdf") as maps:
        xstxm.testing.assert_conforms(maps.load(), "phase_map")


def test_info__describes_a_file(demo):
    result = RUN.invoke(cli.app, ["info", str(demo[0] / "lixv2o5.hdf5")])
    assert result.exit_code == 0, result.output
    assert "sample image stack" in result.output
    assert "intensity [count]" in result.output


def test_map__gives_what_the_demo_gave(demo, tmp_path):
    folder, _ = demo
    names = xstxm.testing.simulate_references()
    options = [
        f"--composition={name}={float(names.sel(reference=name).composition)}" for name in names.reference.values
    ]
    arguments = ["map", str(folder / "lixv2o5.hdf5"), "-r", str(folder / "lixv2o5-references.csv"), "-o", str(tmp_path)]
    result = RUN.invoke(cli.app, [*arguments, *options])
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "maps.nc") as mapped, xr.open_dataset(folder / "maps.nc") as expected:
        assert float((mapped["phase_label"] == expected["phase_label"]).mean()) > 0.99

    again = RUN.invoke(cli.app, arguments)
    assert again.exit_code != 0
    assert "--overwrite" in again.output


def test_map__passes_on_what_the_fit_can_do(demo, tmp_path):
    folder, _ = demo
    arguments = ["map", str(folder / "lixv2o5.hdf5"), "-r", str(folder / "lixv2o5-references.csv"), "-o", str(tmp_path)]
    options = ["--noise", "poisson", "--selection", "bic", "--energy-shift", "0.1 eV", "--min-confidence", "0.8"]
    result = RUN.invoke(
        cli.app, [*arguments, *options, "--max-optical-density", "2.5", "--sel-energy", "509 eV", "559 eV"]
    )
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "maps.nc") as mapped:
        assert float(mapped["energy_shift"]) == pytest.approx(0.1)
        assert mapped.attrs["min_confidence"] == 0.8
        assert "n_energies" in mapped
        history = mapped.attrs["history"]
    assert "noise=poisson" in history
    assert "selection=bic" in history


def test_map__unknown_composition(demo, tmp_path):
    folder, _ = demo
    arguments = ["map", str(folder / "lixv2o5.hdf5"), "-r", str(folder / "lixv2o5-references.csv"), "-o", str(tmp_path)]
    result = RUN.invoke(cli.app, [*arguments, "--composition", "V2O5"])
    assert "write each as NAME=NUMBER" in result.output


def test_main__an_error_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["xstxm", "info", str(tmp_path / "missing.hdr")])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code != 0
    said = capsys.readouterr()
    assert "missing.hdr" in said.err + said.out
    assert "Traceback" not in said.err + said.out


def test_dashboard__script_is_found():
    assert cli.dashboard_script().name == "explorer.py"


def test_version__is_that_of_the_package():
    assert RUN.invoke(cli.app, ["--version"]).output.strip() == xstxm.__version__


def test_map__of_no_sample_is_one_error_and_no_file(demo, tmp_path):
    folder, _ = demo
    arguments = ["map", str(folder / "lixv2o5.hdf5"), "-r", str(folder / "lixv2o5-references.csv"), "-o", str(tmp_path)]
    result = RUN.invoke(cli.app, [*arguments, "--min-amount", "1e9"])
    assert "no pixel holds as much, the largest is" in result.output
    assert not list(tmp_path.iterdir())


def test_map__i0_without_units_says_which_option(demo, tmp_path):
    folder, _ = demo
    result = RUN.invoke(cli.app, ["map", str(folder / "lixv2o5.hdf5"), "--i0", "i0.xsp", "-o", str(tmp_path)])
    assert "add --i0-units count or --i0-units count/ms" in result.output


def test_map__references_of_one_name_are_refused(demo, tmp_path):
    folder, _ = demo
    files = ["-r", str(tmp_path / "a" / "ref.t"), "-r", str(tmp_path / "b" / "ref.t")]
    result = RUN.invoke(cli.app, ["map", str(folder / "lixv2o5.hdf5"), *files, "-o", str(tmp_path)])
    assert "reference names given twice" in result.output


def test_dashboard__refuses_what_it_could_not_serve(demo, tmp_path):
    file = str(demo[0] / "lixv2o5.hdf5")
    missing = RUN.invoke(cli.app, ["dashboard", "--root", str(tmp_path / "nowhere"), "--no-show"])
    assert "that folder does not exist" in missing.output
    outside = RUN.invoke(cli.app, ["dashboard", file, "--root", str(tmp_path), "--port", "5999", "--no-show"])
    assert "lixv2o5.hdf5 lies outside it" in outside.output
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        busy = RUN.invoke(cli.app, ["dashboard", file, "--port", port, "--no-show"])
    assert "something else uses it" in busy.output


def test_formats__lists_every_engine():
    result = RUN.invoke(cli.app, ["formats"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert all(name in result.output for name in xstxm.formats().index)


def test_convert__writes_what_was_there(tmp_path):
    path = xstxm.write_nxstxm(xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]], tmp_path / "a.hdf5")
    result = RUN.invoke(cli.app, ["convert", str(path), str(tmp_path / "a.nc"), "--memory", "64 MiB"])
    assert result.exit_code == 0, result.output
    assert "wrote" in result.output
    xr.testing.assert_equal(xstxm.open_stack(tmp_path / "a.nc"), xstxm.open_stack(path))


# ---------------------------------------------------------------- words of the command line


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        pytest.param("a.nc exists: pass overwrite=True to replace it", "a.nc exists: pass --overwrite to replace it"),
        pytest.param('pass pixel_size=, e.g. pixel_size="50 nm"', 'pass --pixel-size, e.g. --pixel-size "50 nm"'),
        pytest.param("end it in .nc, or pass to='zarr'", "end it in .nc, or pass --to 'zarr'"),
        pytest.param("memory='3': give 16 MiB or more", "--memory '3': give 16 MiB or more"),
        pytest.param('use sel_energy("510 eV", "520 eV") first', 'use --sel-energy "510 eV" "520 eV" first'),
        pytest.param("engine='x': no option of this command", "engine='x': no option of this command"),
        pytest.param("pass to={'a': path}", "pass to={'a': path}", id="a mapping"),
        pytest.param("call .chunk(memory=-1) first", "call .chunk(memory=-1) first", id="a call"),
    ],
)
def test_in_words_of__names_options_of_the_command(sentence, said):
    names = ("overwrite", "pixel_size", "to", "memory", "sel_energy")
    assert in_words_of({name: f"--{name.replace('_', '-')}" for name in names}, sentence) == said


@pytest.fixture
def frames(tmp_path):
    """A folder of images that say neither energies nor the size of a pixel, and a list of the energies."""
    folder = tmp_path / "frames"
    folder.mkdir()
    stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]].isel(energy=slice(0, 4))
    for k in range(4):
        tifffile.imwrite(folder / f"{'abcd'[k]}.tif", stack["intensity"].values[k].astype("uint16"))
    np.savetxt(tmp_path / "energies.txt", stack["energy"].values)
    return folder, tmp_path / "energies.txt", stack


def test_convert__of_files_that_leave_something_out(frames, tmp_path):
    folder, energies, stack = frames
    arguments = ["convert", str(folder), str(tmp_path / "a.nc")]
    refused = RUN.invoke(cli.app, arguments)
    assert refused.exit_code == 1
    assert "pass --energies, a list in eV" in refused.stderr
    refused = RUN.invoke(cli.app, [*arguments, "--energies", str(energies)])
    assert 'pass --pixel-size, e.g. --pixel-size "50 nm"' in refused.stderr
    result = RUN.invoke(cli.app, [*arguments, "--energies", str(energies), "--pixel-size", "50 nm"])
    assert result.exit_code == 0, result.output
    found = xstxm.open_stack(tmp_path / "a.nc")
    np.testing.assert_array_equal(found["energy"], stack["energy"])
    assert float(found["x"][1] - found["x"][0]) == pytest.approx(0.05)


def test_info__takes_what_a_file_leaves_out(frames):
    folder, energies, _ = frames
    given = ["--energies", str(energies), "--pixel-size", "50 nm", "--kind", "optical_density"]
    result = RUN.invoke(cli.app, ["info", str(folder), *given])
    assert "optical_density [1]" in result.output
    assert "pixel 0.05 um" in result.output


def test_map__hands_what_a_file_leaves_out_to_its_recipe(tmp_path):
    scan = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(scan.sizes["energy"]):
        tifffile.imwrite(folder / f"{k:03d}.tif", scan["intensity"].values[k].round().astype("uint16"))
    np.savetxt(tmp_path / "energies.txt", scan["energy"].values)
    spectra = xstxm.testing.simulate_references()["absorption"].reset_coords(drop=True)
    xstxm.write_csv(spectra, tmp_path / "references.csv")
    given = ["--energies", str(tmp_path / "energies.txt"), "--pixel-size", "50 nm"]
    arguments = ["map", str(folder), "-r", str(tmp_path / "references.csv"), *given, "-o", str(tmp_path / "maps")]
    result = RUN.invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    again = ["run", str(tmp_path / "maps" / "recipe.toml"), str(folder), "-o", str(tmp_path / "again")]
    repeated = RUN.invoke(cli.app, again)
    assert repeated.exit_code == 0, repeated.output
    with (
        xr.open_dataset(tmp_path / "maps" / "maps.nc") as one,
        xr.open_dataset(tmp_path / "again" / "frames.nc") as two,
    ):
        xr.testing.assert_equal(one, two)


@pytest.mark.filterwarnings("default")
def test_warnings__are_plain_lines_each_once(monkeypatch):
    def opened(*given, **options):
        for _ in range(2):
            warn("the dwell time is 0, pass kind='intensity'", MetadataWarning)
        return xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]

    monkeypatch.setattr(xstxm, "open_stack", opened)
    result = RUN.invoke(cli.app, ["info", "any.hdr"])
    assert result.stderr == "warning: the dwell time is 0, pass --kind 'intensity'\n"


def test_interrupt__is_one_word(monkeypatch):
    def opened(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(xstxm, "open_stack", opened)
    result = RUN.invoke(cli.app, ["info", "any.hdr"])
    assert (result.exit_code, result.output) == (130, "interrupted\n")


def test_map__onto_a_file_computes_nothing(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(xstxm, "open_stack", None)
    (tmp_path / "maps").write_text("a file")
    for output in (tmp_path / "maps", tmp_path / "maps" / "inside"):
        result = RUN.invoke(cli.app, ["map", str(demo[0] / "lixv2o5.hdf5"), "-o", str(output)])
        assert result.exit_code == 1
        assert "maps is a file: give a folder" in result.stderr


def test_map__energies_without_a_unit_are_in_ev(demo, tmp_path):
    file, references = demo[0] / "lixv2o5.hdf5", demo[0] / "lixv2o5-references.csv"
    arguments = ["map", str(file), "-r", str(references), "-o", str(tmp_path), "--sel-energy", "511", "540"]
    result = RUN.invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output


def test_map__of_clusters_leaves_out_errors_that_are_not_known(demo, tmp_path):
    result = RUN.invoke(cli.app, ["map", str(demo[0] / "lixv2o5.hdf5"), "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "cluster 1" in result.output
    assert "nan" not in result.output


def test_compiling__is_told_once_and_only_then():
    @numba.njit
    def twice(x):
        return 2 * x

    said = []
    for given in (1, 1.0, 1.0):
        with compiling_is_told(said.append):
            twice(given)
            twice(given)
    assert said == [COMPILING, COMPILING]


def test_stack_file__help_names_the_endings_of_all_formats():
    said = RUN.invoke(cli.app, ["info", "--help"], env={"COLUMNS": "200"}).output
    assert all(ending in said for ending in (".hdr", ".hdf5", ".zarr", ".cxi", ".stk", ".tif", ".txrm"))
