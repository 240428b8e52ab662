from __future__ import annotations

import socket

import pytest
import xarray as xr
from typer.testing import CliRunner

import xstxm
from xstxm import cli

RUN = CliRunner()


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
    assert "--overwrite" in str(again.exception)


def test_map__passes_on_what_the_fit_can_do(demo, tmp_path):
    folder, _ = demo
    arguments = ["map", str(folder / "lixv2o5.hdf5"), "-r", str(folder / "lixv2o5-references.csv"), "-o", str(tmp_path)]
    options = ["--noise", "poisson", "--selection", "bic", "--energy-shift", "0.1 eV", "--min-confidence", "0.8"]
    result = RUN.invoke(
        cli.app, [*arguments, *options, "--max-optical-density", "2.5", "--energies", "509 eV", "559 eV"]
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
    assert "write each as NAME=NUMBER" in str(result.exception)


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
    assert "no pixel holds as much, the largest is" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_map__i0_without_units_says_which_option(demo, tmp_path):
    folder, _ = demo
    result = RUN.invoke(cli.app, ["map", str(folder / "lixv2o5.hdf5"), "--i0", "i0.xsp", "-o", str(tmp_path)])
    assert "add --i0-units count or --i0-units count/ms" in str(result.exception)


def test_map__references_of_one_name_are_refused(demo, tmp_path):
    folder, _ = demo
    files = ["-r", str(tmp_path / "a" / "ref.t"), "-r", str(tmp_path / "b" / "ref.t")]
    result = RUN.invoke(cli.app, ["map", str(folder / "lixv2o5.hdf5"), *files, "-o", str(tmp_path)])
    assert "give files of different names" in str(result.exception)


def test_dashboard__refuses_what_it_could_not_serve(demo, tmp_path):
    file = str(demo[0] / "lixv2o5.hdf5")
    missing = RUN.invoke(cli.app, ["dashboard", "--root", str(tmp_path / "nowhere"), "--no-show"])
    assert "that folder does not exist" in str(missing.exception)
    outside = RUN.invoke(cli.app, ["dashboard", file, "--root", str(tmp_path), "--port", "0", "--no-show"])
    assert "lixv2o5.hdf5 lies outside it" in str(outside.exception)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        busy = RUN.invoke(cli.app, ["dashboard", file, "--port", port, "--no-show"])
    assert "something else uses it" in str(busy.exception)


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
