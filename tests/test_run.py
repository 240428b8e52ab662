"""`xstxm run`: one recipe, many files, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xstxm
from xstxm import _run, cli
from xstxm._commands.speaking import out
from xstxm.errors import MetadataWarning, NoRoomError, PerformanceWarning, StxmWarning, warn
from xstxm.provenance import RECORD

RUN = CliRunner()
COMMAND = [sys.executable, "-m", "xstxm"]


def same(path, expected):
    """Tell whether a written result is the expected one, to the bit."""
    with xr.open_dataset(path, engine="h5netcdf") as found:
        return xstxm.diff(found.drop_attrs(deep=False), expected.drop_attrs(deep=False)).empty


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten stacks and a recipe made of the first."""
    folder = tmp_path_factory.mktemp("run")
    for k in range(10):
        stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=k)[["intensity"]]
        xstxm.write_nxstxm(stack, folder / f"s{k}.hdf5")
    references = xstxm.testing.simulate_references()
    maps = xstxm.phase_map(xstxm.open_stack(folder / "s0.hdf5"), references)
    xstxm.Recipe.from_result(maps, {"references": references}).save(folder / "recipe.toml")
    return folder


def test_run__in_another_process_gives_the_same_to_the_bit(folder, tmp_path):
    command = [*COMMAND, "run", folder / "recipe.toml", folder / "s0.hdf5", folder / "s1.hdf5", "-o", tmp_path]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    references = xstxm.testing.simulate_references()
    for name in ("s0", "s1"):
        assert same(tmp_path / f"{name}.nc", xstxm.phase_map(xstxm.open_stack(folder / f"{name}.hdf5"), references))


def test_run__that_was_killed_finishes_what_is_missing(folder, tmp_path):
    files = [str(folder / f"s{k}.hdf5") for k in range(10)]
    arguments = ["run", str(folder / "recipe.toml"), *files, "-o", str(tmp_path)]
    running = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
    while len(list(tmp_path.glob("*.nc"))) < 3 and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.nc")}
    assert 3 <= len(done) < 10
    for name in done:
        xr.load_dataset(tmp_path / name, engine="h5netcdf")
    result = RUN.invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "10 of 10: s9.hdf5 written" in result.stderr
    assert (result.stdout.count("skipped"), result.stdout.count("written")) == (len(done), 10 - len(done))
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in done} == done
    assert {path.name for path in tmp_path.iterdir()} == {f"s{k}.nc" for k in range(10)}


@pytest.mark.skipif(sys.platform == "win32", reason="groups of processes are told otherwise there")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_run__interrupted_says_what_is_done_and_how_to_go_on(folder, tmp_path, jobs):
    files = [str(folder / f"s{k}.hdf5") for k in range(10)]
    arguments = ["run", str(folder / "recipe.toml"), *files, "-o", str(tmp_path / "out"), "--jobs", jobs]
    with (tmp_path / "said").open("w+") as said:
        running = subprocess.Popen(
            [*COMMAND, *arguments], stdout=said, stderr=said, start_new_session=True, preexec_fn=_hear_interrupts
        )
        while len(list((tmp_path / "out").glob("*.nc"))) < 4 and running.poll() is None:
            time.sleep(0.005)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait() == 130
    told, done = (tmp_path / "said").read_text(), sorted((tmp_path / "out").iterdir())
    assert "of 10 files are done: start the same command again to go on" in told
    assert "│ written │" in told
    assert not any(word in told for word in ("Traceback", "Exception ignored", "warning:", "failed")), told
    assert all(path.suffix == ".nc" for path in done)
    assert len(done) < 10
    again = RUN.invoke(cli.app, arguments)
    assert again.exit_code == 0
    assert len(list((tmp_path / "out").iterdir())) == 10


def _hear_interrupts():
    """Undo what a shell does to what it runs in the background, as these tests may be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_run__one_that_fails_stops_no_other(folder, tmp_path):
    (tmp_path / "bad.hdf5").write_bytes(b"nothing")
    arguments = [str(folder / "recipe.toml"), str(tmp_path / "bad.hdf5"), str(folder / "s0.hdf5")]
    result = RUN.invoke(cli.app, ["run", *arguments, "-o", str(tmp_path / "out")], terminal_width=200)
    assert result.exit_code == 1
    assert "failed" in result.output
    assert "expected a scan" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["s0.nc"]


def test_run__says_that_nothing_matches_a_pattern(folder, tmp_path):
    arguments = ["run", str(folder / "recipe.toml"), str(folder / "*.hdr"), "-o", str(tmp_path / "out")]
    result = RUN.invoke(cli.app, arguments)
    assert result.exit_code == 1
    assert "found nothing of that name in" in result.stderr
    assert f"try '{folder}/*.hdf5'" in result.stderr.replace("\n", "")
    result = RUN.invoke(cli.app, [*arguments[:2], str(folder / "none.hdf5"), *arguments[3:]], terminal_width=400)
    assert "there is no file" in result.stdout
    assert "Errno" not in result.output


def test_run__shows_what_is_done_where_the_disk_is_full(folder, tmp_path, monkeypatch):
    write = xstxm.write_netcdf

    def full(obj, path, **options):
        if path.stem == "s1":
            raise NoRoomError(path, "", "0 B")
        return write(obj, path, **options)

    monkeypatch.setattr(xstxm, "write_netcdf", full)
    files = [str(folder / f"s{k}.hdf5") for k in range(3)]
    result = RUN.invoke(cli.app, ["run", str(folder / "recipe.toml"), *files, "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert "│ written │" in result.stdout
    assert "error: s1.nc: there is no room for it" in result.stderr
    assert result.stderr.rstrip().endswith("What is done is written: start again to go on")
    assert [path.name for path in tmp_path.iterdir()] == ["s0.nc"]


@pytest.mark.parametrize("change", ["frame", "file of the folder"])
def test_run__does_not_skip_a_scan_of_several_files_one_of_which_changed(folder, tmp_path, change):
    (tmp_path / "scan").mkdir()
    header = xstxm.write_sdf(xstxm.open_stack(folder / "s0.hdf5"), tmp_path / "scan" / "a.hdr", overwrite=True)
    source = header if change == "frame" else header.parent
    arguments = ["run", str(folder / "recipe.toml"), str(source), "-o", str(tmp_path / "out")]
    assert RUN.invoke(cli.app, arguments).exit_code == 0
    assert "done before" in RUN.invoke(cli.app, arguments).stdout
    frame = sorted(header.parent.glob("*.xim"))[0]
    frame.write_bytes(frame.read_bytes())
    os.utime(frame, ns=(1, 1))  # an older one too is another one
    result = RUN.invoke(cli.app, arguments, terminal_width=200)
    assert result.exit_code == 1
    assert "made by another file" in " ".join(result.stdout.split())


@pytest.mark.filterwarnings("default")
def test_run__replaces_nothing_of_another_recipe_unasked(folder, tmp_path):
    arguments = ["run", str(folder / "recipe.toml"), str(folder / "s0.hdf5"), "-o", str(tmp_path)]
    assert RUN.invoke(cli.app, arguments).exit_code == 0
    other = (folder / "recipe.toml").read_text().replace("min_confidence = 0.95", "min_confidence = 0.5")
    (tmp_path / "other.toml").write_text(other)
    arguments[1] = str(tmp_path / "other.toml")
    result = RUN.invoke(cli.app, arguments)
    assert result.exit_code == 1
    assert result.stderr.count("warning: other.toml was edited") == 1
    assert "made by" in result.output
    assert RUN.invoke(cli.app, [*arguments, "--overwrite"]).exit_code == 0
    with xr.open_dataset(tmp_path / "s0.nc", engine="h5netcdf") as found:
        assert found.attrs["min_confidence"] == 0.5


def test_run__says_which_option_of_the_reader_is_not_in_the_recipe(tmp_path):
    energies = np.linspace(500, 540, 300)
    values = np.random.default_rng(0).integers(50, 99, (300, 4, 5)).astype("float32")
    axes = {dim: (dim, 0.1 * np.arange(size), {"units": "um"}) for dim, size in (("y", 4), ("x", 5))}
    counts = xr.DataArray(
        values, {"energy": ("energy", energies, {"units": "eV"}), **axes}, ("energy", "y", "x"), "intensity"
    )
    xstxm.write_tiff(counts.assign_attrs(units="count"), tmp_path / "a.tif")
    density = xstxm.optical_density(xstxm.open_stack(tmp_path / "a.tif", energies=energies))
    recipe = xstxm.Recipe.from_result(density).save(tmp_path / "recipe.toml")
    arguments = ["run", str(recipe), str(tmp_path / "a.tif"), "-o", str(tmp_path / "out")]
    result = RUN.invoke(cli.app, arguments, terminal_width=400)
    assert result.exit_code == 1
    assert "a recipe does not hold" in " ".join(result.output.split())


def test_run__takes_inputs_from_files(folder, tmp_path):
    references = xstxm.testing.simulate_references()
    maps = xstxm.phase_map(xstxm.open_stack(folder / "s0.hdf5"), references)
    recipe = xstxm.Recipe.from_result(maps).save(tmp_path / "bare.toml")
    references.to_netcdf(tmp_path / "references.nc", engine="h5netcdf")
    arguments = ["run", str(recipe), str(folder / "s0.hdf5"), "-o", str(tmp_path / "out")]
    assert "--input 'references=PATH'" in RUN.invoke(cli.app, arguments).output
    assert "write each as NAME=PATH" in RUN.invoke(cli.app, [*arguments, "--input", "references"]).output
    given = f"references={tmp_path / 'references.nc'}"
    result = RUN.invoke(cli.app, [*arguments, "--input", given, "--jobs", "2"])
    assert result.exit_code == 0, result.output
    assert same(tmp_path / "out" / "s0.nc", maps)


@pytest.mark.filterwarnings("default")
def test_run__says_each_warning_once(folder, tmp_path, monkeypatch):
    def opened(recipe, file):
        warn("the ring current is missing", MetadataWarning)
        return xstxm.open_stack(file)

    monkeypatch.setattr(_run, "open_as", opened)
    files = [str(folder / "s0.hdf5"), str(folder / "s1.hdf5")]
    result = RUN.invoke(cli.app, ["run", str(folder / "recipe.toml"), *files, "-o", str(tmp_path)])
    assert result.stderr.splitlines() == [
        "1 of 2: s0.hdf5 written",
        "warning: s0.hdf5: the ring current is missing",
        "2 of 2: s1.hdf5 written",
    ]
    assert [line.split("│")[4].strip() for line in result.stdout.splitlines() if ".hdf5" in line] == ["warnings: 1"] * 2


@pytest.mark.filterwarnings("default")
def test_run__merges_the_frames_of_a_stack_without_a_word(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    xstxm.write_sdf(stack, tmp_path / "s.hdr")
    references = xstxm.testing.simulate_references()
    lazy = xstxm.open_stack(tmp_path / "s.hdr", chunks={})
    assert len(lazy["intensity"].chunksizes["energy"]) > 1
    with pytest.warns(PerformanceWarning, match="merges"):
        maps = xstxm.phase_map(lazy, references)
    xstxm.Recipe.from_result(maps, {"references": references}).save(tmp_path / "recipe.toml")
    arguments = ["run", str(tmp_path / "recipe.toml"), str(tmp_path / "s.hdr"), "-o", str(tmp_path / "out")]
    result = RUN.invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "merges" not in result.stderr
    assert same(tmp_path / "out" / "s.nc", maps)


def test_run__closes_each_file(folder, tmp_path, monkeypatch):
    closed, before = [], _run.open_as

    def opened(recipe, file):
        stack = before(recipe, file)
        close = stack._close
        stack.set_close(lambda: (closed.append(file.name), close()))
        return stack

    monkeypatch.setattr(_run, "open_as", opened)
    RUN.invoke(cli.app, ["run", str(folder / "recipe.toml"), str(folder / "s0.hdf5"), "-o", str(tmp_path)])
    assert closed == ["s0.hdf5"]


def test_run__of_two_files_of_one_name_is_refused(folder, tmp_path):
    twice = [str(folder / "s0.hdf5"), str(folder / "x" / "s0.hdf5")]
    result = RUN.invoke(cli.app, ["run", str(folder / "recipe.toml"), *twice, "-o", str(tmp_path)])
    assert "several would be s0.nc" in result.output


def test_diff__of_two_files(folder, tmp_path, monkeypatch):
    files = [str(folder / "s0.hdf5"), str(folder / "s1.hdf5")]
    assert RUN.invoke(cli.app, ["run", str(folder / "recipe.toml"), *files, "-o", str(tmp_path)]).exit_code == 0
    one, other = str(tmp_path / "s0.nc"), str(tmp_path / "s1.nc")
    same_file = RUN.invoke(cli.app, ["diff", one, one])
    assert (same_file.exit_code, "no difference" in same_file.output) == (0, True)
    monkeypatch.setattr(out, "width", 400)
    differ = RUN.invoke(cli.app, ["diff", one, other])
    assert differ.exit_code == 1
    assert all(said in differ.output for said in ("1 open_stack", one, other))
    assert RUN.invoke(cli.app, ["diff", one, str(tmp_path / "none.nc")]).exit_code == 2
    store, plain, scan = str(tmp_path / "s0.zarr"), str(tmp_path / "plain.nc"), str(folder / "s0.hdf5")
    xstxm.convert(one, store)
    with xstxm.open_result(one) as result:
        result.to_netcdf(plain)
    assert "no difference" in RUN.invoke(cli.app, ["diff", one, store]).output
    assert "no difference" in RUN.invoke(cli.app, ["diff", store, plain]).output
    assert "no difference" in RUN.invoke(cli.app, ["diff", scan, scan]).output


def test_map__writes_the_recipe_of_its_maps(folder, tmp_path):
    spectra = tmp_path / "references.csv"
    xstxm.testing.simulate_references()["absorption"].to_pandas().T.to_csv(spectra, index_label="energy")
    arguments = ["map", str(folder / "s0.hdf5"), "-r", str(spectra), "--reference-units", "1/nm", "-o", str(tmp_path)]
    assert RUN.invoke(cli.app, arguments).exit_code == 0
    spectra.unlink()
    with xr.open_dataset(tmp_path / "maps.nc", engine="h5netcdf") as maps:
        expected = maps.load()
    assert RECORD in expected.attrs
    run = ["run", str(tmp_path / "recipe.toml"), str(folder / "s0.hdf5"), "-o", str(tmp_path / "again")]
    assert RUN.invoke(cli.app, run).exit_code == 0
    assert same(tmp_path / "again" / "s0.nc", expected)


def test_run__repeats_the_maps_of_a_measured_iron_stack(real_data, tmp_path):
    data = real_data / "fe-l-edge-stack"
    references = xstxm.read_references({"oxidized": data / "oxidized.t", "reduced": data / "reduced.t"})
    i0 = xstxm.read_i0(data / "i0.xsp", units="count/ms")
    maps = xstxm.phase_map(xstxm.optical_density(xstxm.open_stack(data / "71214078.hdr"), i0), references).compute()
    recipe = xstxm.Recipe.from_result(maps, {"references": references, "i0": i0}).save(tmp_path / "recipe.toml")
    command = [*COMMAND, "run", str(recipe), str(data / "71214078.hdr"), "-o", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True)
    assert same(tmp_path / "out" / "71214078.nc", maps)


def test_run__names_a_file_once_where_a_warning_of_it_does():
    done = _run.Done(Path("a.zarr"), "incomplete", 1.0, "", ("a.zarr: a chunk is missing", "no ring current"))
    with pytest.warns(StxmWarning) as told:
        list(cli._told_as_they_end(iter([done]), 1))
    assert [str(one.message) for one in told] == ["a.zarr: a chunk is missing", "a.zarr: no ring current"]
