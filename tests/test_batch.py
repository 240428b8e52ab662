"""`xstxm.batch`: one recipe, many files, on this computer and on a cluster whose workers die."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import xstxm
from xstxm import _run, cli, connecting
from xstxm._commands import scheduling
from xstxm.errors import (
    ClusterError,
    FileFormatError,
    MetadataWarning,
    NoRoomError,
    OptionError,
    PerformanceWarning,
    StxmWarning,
    warn,
)
from xstxm.io import _replacing

distributed = pytest.importorskip("distributed")
from distributed.cli import dask_worker  # noqa: E402

from xstxm import _cluster  # noqa: E402

pytestmark = pytest.mark.xdist_group("cluster")
posix = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by a signal")
N = 6


class Slowly(distributed.WorkerPlugin):
    """Makes workers open files slowly, and die of those that are named so."""

    name = "slowly"

    def setup(self, worker):
        self.before = before = _run.open_as

        def opened(recipe, file):
            time.sleep(0.3)
            if file.stem.startswith("deadly"):
                os.kill(os.getpid(), signal.SIGKILL)
            if file.stem.startswith("warns"):
                warn("the ring current is missing", MetadataWarning)
            return before(recipe, file)

        _run.open_as = opened

    def teardown(self, worker):
        _run.open_as = self.before


@pytest.fixture(scope="module")
def client(forked):
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def slow(client):
    client.register_plugin(Slowly())
    yield client
    client.unregister_worker_plugin(Slowly.name)


def work(address):
    """Be a worker without a nanny, until killed."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    dask_worker.main([address, "--no-nanny", "--nthreads=1"])


@pytest.fixture
def mortal(forked):
    """A client of two slow workers, each of which is started again when it dies; dask's own nanny does not see all deaths."""
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs="CRITICAL") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        ThreadPoolExecutor(2) as keepers,
    ):
        client.register_plugin(Slowly())
        over = threading.Event()

        def keep():
            while not over.is_set():
                worker = forked.Process(target=work, args=(cluster.scheduler_address,))
                worker.start()
                while worker.is_alive() and not over.wait(0.1):
                    pass
                worker.kill()
                worker.join()

        kept = [keepers.submit(keep) for _ in range(2)]
        try:
            client.wait_for_workers(2, timeout=120)
            yield client
        finally:
            over.set()
            wait(kept)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    for k in range(N):
        xstxm.write_nxstxm(xstxm.testing.simulate_stack(shape=(16, 24), seed=k)[["intensity"]], folder / f"s{k}.hdf5")
    return folder


@pytest.fixture(scope="module")
def files(folder):
    return sorted(folder.glob("s*.hdf5"))


@pytest.fixture(scope="module")
def recipe(folder):
    references = xstxm.testing.simulate_references()
    maps = xstxm.phase_map(xstxm.open_stack(folder / "s0.hdf5"), references)
    return xstxm.Recipe.from_result(maps, {"references": references})


@pytest.fixture(scope="module")
def expected(recipe, files):
    return {file.stem: recipe.apply(xstxm.open_stack(file)) for file in files}


def require_same(folder, expected):
    """Require the results of a folder to be the expected ones to the bit, and nothing else to be there."""
    assert {path.name for path in folder.iterdir()} == {f"{name}.nc" for name in expected}
    for name, maps in expected.items():
        with xr.open_dataset(folder / f"{name}.nc", engine="h5netcdf") as found:
            assert xstxm.diff(found.drop_attrs(deep=False), maps.drop_attrs(deep=False)).empty, name


def kill_one(client):
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_batch__tells_of_each_file_in_the_order_given(recipe, files, expected, tmp_path, jobs):
    (tmp_path / "bad.hdf5").write_bytes(b"nothing")
    given = [files[1], str(tmp_path / "bad.hdf5"), files[0]]
    table = xstxm.batch(recipe, given, tmp_path / "out", jobs=jobs)
    assert table["file"].tolist() == [str(file) for file in given]
    assert table["state"].tolist() == ["written", "failed", "written"]
    assert "expected a scan" in table["reason"][1]
    require_same(tmp_path / "out", {name: expected[name] for name in ("s0", "s1")})
    again = xstxm.batch(recipe, given, tmp_path / "out", jobs=jobs)
    assert again["state"].tolist() == ["skipped", "failed", "skipped"]


def test_batch__of_no_files_is_an_empty_table(recipe, tmp_path):
    with pytest.warns(StxmWarning, match="no file: look at the folder"):
        table = xstxm.batch(recipe, [], tmp_path / "out")
    assert list(table.columns) == ["file", "state", "seconds", "reason", "warned"]
    assert table.empty


def test_batch__tells_how_far_it_is(recipe, files, tmp_path):
    shares = []
    with xstxm.report_progress(shares.append):
        xstxm.batch(recipe, files[:4], tmp_path)
    assert shares == [0.25, 0.5, 0.75, 1]


@posix
def test_batch__begins_by_removing_what_a_killed_run_left_and_no_other(recipe, files, tmp_path):
    dead = get_context("spawn").Process()
    dead.start()
    dead.join()
    computer, _, _ = _replacing.this_process().partition("-")
    left = [tmp_path / f".s0.nc.{computer}-{dead.pid}-12345678.part", _replacing._beside(tmp_path / "s0.nc")]
    others = [
        tmp_path / f".other.nc.{computer}-{dead.pid}-12345678.part",
        tmp_path / f".s0.nc.{computer}-{os.getppid()}-12345678.part",
        tmp_path / f".s0.nc.0-{dead.pid}-12345678.part",
        tmp_path / ".s0.nc.of_another_program.part",
    ]
    for part in (*left, *others):
        part.write_bytes(b"half")
    there = []
    with xstxm.report_progress(lambda share: there.extend(path.exists() for path in left)):
        xstxm.batch(recipe, files[:1], tmp_path)
    assert there == [False, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(part.name for part in others), "s0.nc"])


def test_batch__leaves_alone_what_another_run_of_this_process_writes(recipe, files, tmp_path):
    with _replacing.run_of_files() as other:
        with _replacing.written_for(other):
            part = _replacing._beside(tmp_path / "s0.nc")
        part.write_bytes(b"half")
        xstxm.batch(recipe, files[:1], tmp_path)
        assert part.exists()
    xstxm.batch(recipe, files[:1], tmp_path)
    assert not part.exists()


def test_batch__takes_a_pattern_for_the_files_that_match(recipe, folder, tmp_path):
    table = xstxm.batch(recipe, [folder / "s[01].hdf5"], tmp_path)
    assert table["state"].tolist() == ["written", "written"]
    message = r"found nothing of that name in .*, which holds s\d\.hdf5, .*: try '.*\*\.hdf5'"
    with pytest.raises(FileFormatError, match=message):
        xstxm.batch(recipe, [folder / "*.hdr"], tmp_path)


class OnFullDisk(_run.Task):
    """Finds the disk full after two results."""

    def do(self, file, path):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(xstxm, "write_netcdf", write_of_two(xstxm.write_netcdf))
            return super().do(file, path)


def write_of_two(write):
    def written(obj, path, **options):
        if path.stem in ("s0", "s1"):
            return write(obj, path, **options)
        with _replacing.replacing(path, overwrite=True) as (_, part):
            part.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "no more")

    return written


@pytest.mark.parametrize("where", ["here", "processes", "cluster"])
def test_batch__ends_where_the_disk_is_full_and_goes_on(
    recipe, files, expected, client, forked, tmp_path, monkeypatch, where
):
    options = {"here": {}, "processes": {"jobs": 2}, "cluster": {"client": client}}[where]
    monkeypatch.setattr(_run, "get_context", lambda method: forked)
    xstxm.batch(recipe, files[:2], tmp_path)
    done = []
    told = r"s\d\.nc: there is no room .* What is done is written: start again to go on$"
    with monkeypatch.context() as patch, xstxm.report_progress(done.append):
        patch.setattr(_run, "Task", OnFullDisk)
        with pytest.raises(NoRoomError, match=told):
            xstxm.batch(recipe, files, tmp_path, **options)
    assert len(done) <= 2
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"s0.nc", "s1.nc"}
    table = xstxm.batch(recipe, files, tmp_path, **options)
    assert table["state"].tolist() == ["skipped"] * 2 + ["written"] * (N - 2)
    require_same(tmp_path, expected)


def test_batch__does_results_of_files_that_lack_frames_again(recipe, files, tmp_path):
    stack = xstxm.open_stack(files[0])
    path = xstxm.write_sdf(stack, tmp_path / "aborted.hdr")
    frames = {frame: frame.read_bytes() for frame in sorted(tmp_path.glob("*.xim"))[-3:]}
    for frame in frames:
        frame.unlink()
    table = xstxm.batch(recipe, [path, files[1]], tmp_path / "out")
    assert table["state"].tolist() == ["incomplete", "written"]
    assert "118 of 121 frames exist" in table["reason"][0]
    again = xstxm.batch(recipe, [path, files[1]], tmp_path / "out")
    assert again["state"].tolist() == ["incomplete", "skipped"]
    assert again["reason"].tolist() == [table["reason"][0], "done before"]
    path.touch()  # the header may come anew with the frames
    for frame, content in frames.items():
        frame.write_bytes(content)
    assert xstxm.batch(recipe, [path], tmp_path / "out")["state"].tolist() == ["written"]
    assert xstxm.batch(recipe, [path], tmp_path / "out")["state"].tolist() == ["skipped"]
    path.touch()
    changed = xstxm.batch(recipe, [path], tmp_path / "out")
    assert changed["state"].tolist() == ["failed"]
    assert "made by another file: pass overwrite=True" in changed["reason"][0]


def test_batch__refuses_what_it_cannot_use(recipe, files, tmp_path, client):
    with pytest.raises(OptionError, match="give a Recipe"):
        xstxm.batch("recipe.toml", files, tmp_path)
    file = tmp_path.parent / "a file"
    file.touch()
    with pytest.raises(OptionError, match="a file is a file: give a folder"):
        xstxm.batch(recipe, files, file / "maps")
    with pytest.raises(OptionError, match="give a list of files"):
        xstxm.batch(recipe, files[0], tmp_path)
    with pytest.raises(OptionError, match=r"give a distributed\.Client"):
        xstxm.batch(recipe, files, tmp_path, client="tcp://127.0.0.1:8786")
    with pytest.raises(OptionError, match="leave one of the two out"):
        xstxm.batch(recipe, files, tmp_path, client=client, jobs=2)
    with distributed.Client(client.scheduler.address, set_as_default=False) as closed:
        pass
    with pytest.raises(OptionError, match="it is closed"):
        xstxm.batch(recipe, files, tmp_path, client=closed)
    assert not list(tmp_path.iterdir())


@posix
def test_batch__says_that_a_process_was_killed_and_ends_no_other(recipe, files, tmp_path, monkeypatch, client):
    others = client.run(os.getpid)
    killer = xstxm.Recipe(recipe.steps, {**recipe.inputs, "more": _Deadly()}, recipe.reader, recipe.version)
    monkeypatch.setattr(xstxm.Recipe, "with_inputs", lambda self: self)
    with pytest.raises(
        ClusterError, match=r"one of 2 processes was killed: in a script, .*; else it may be short of memory"
    ):
        xstxm.batch(killer, files, tmp_path, jobs=2)
    assert client.run(os.getpid) == others


def test_batch__says_what_a_script_without_a_guard_lacks(recipe, files, tmp_path):
    path, script = recipe.save(tmp_path / "recipe.toml"), tmp_path / "night.py"
    call = f"xstxm.batch(xstxm.Recipe.load({str(path)!r}), {list(map(str, files))}, {str(tmp_path / 'maps')!r}, jobs=2)"
    script.write_text(f"import xstxm\n\n{call}\n")
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    *_, last = ran.stderr.strip().splitlines()
    assert "one of 2 processes was killed: in a script, call batch with jobs below `if __name__" in last
    assert not [*(tmp_path / "maps").iterdir()]
    script.write_text(f'import xstxm\n\nif __name__ == "__main__":\n    print(*{call}["state"])\n')
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert {*ran.stdout.split()} == {"written"}


class _Deadly:
    """Ends the process that reads it."""

    def __reduce__(self):
        return _end_child, (os.getpid(),)


def _end_child(parent):
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def test_cluster__gives_the_same_to_the_bit_from_any_folder(recipe, files, expected, client, tmp_path, monkeypatch):
    monkeypatch.chdir(files[0].parent)
    given = [Path(file.name) for file in files]
    table = xstxm.batch(recipe, given, tmp_path, client=client)
    assert table["file"].tolist() == [str(file) for file in given]
    assert set(table["state"]) == {"written"}
    require_same(tmp_path, expected)
    assert set(xstxm.batch(recipe, given, tmp_path, client=client)["state"]) == {"skipped"}
    assert set(xstxm.batch(recipe, given, tmp_path)["state"]) == {"skipped"}


def test_cluster__opens_chunked_files_on_workers_of_one_thread(files, client, tmp_path):
    references = xstxm.testing.simulate_references()
    maps = xstxm.phase_map(xstxm.open_stack(files[0], chunks={"energy": -1, "y": 8}), references)
    recipe = xstxm.Recipe.from_result(maps, {"references": references})
    table = xstxm.batch(recipe, files[:4], tmp_path, client=client)
    assert table["state"].tolist() == ["written"] * 4, table["reason"]
    require_same(
        tmp_path, {file.stem: recipe.apply(xstxm.open_stack(file, chunks={"energy": -1, "y": 8})) for file in files[:4]}
    )


def test_cluster__tells_failures_and_warnings(recipe, files, slow, tmp_path):
    (tmp_path / "bad.hdf5").write_bytes(b"nothing")
    (tmp_path / "warns.hdf5").write_bytes(files[0].read_bytes())
    given = [tmp_path / "bad.hdf5", tmp_path / "warns.hdf5"]
    table = xstxm.batch(recipe, given, tmp_path / "out", client=slow)
    assert table["state"].tolist() == ["failed", "written"]
    assert "expected a scan" in table["reason"][0]
    assert table["warned"].tolist() == ["", "the ring current is missing"]


@posix
@pytest.mark.slow
def test_cluster__whose_worker_is_killed_half_way_gives_the_same(recipe, files, expected, mortal, tmp_path):
    def at_half(share):
        if share == 0.5:
            kill_one(mortal)

    with xstxm.report_progress(at_half):
        table = xstxm.batch(recipe, files, tmp_path, client=mortal)
    assert table["state"].isin(["written", "skipped"]).all(), table
    require_same(tmp_path, expected)


@posix
@pytest.mark.slow
def test_cluster__gives_a_file_up_that_kills_its_workers(recipe, files, expected, mortal, tmp_path):
    deadly = tmp_path / "deadly.hdf5"
    deadly.write_bytes(files[0].read_bytes())
    table = xstxm.batch(recipe, [files[0], deadly, *files[1:]], tmp_path / "out", client=mortal)
    assert table["state"].tolist() == ["written", "failed", *["written"] * (N - 1)]
    assert "4 workers died at it, one after another" in table["reason"][1]
    assert np.isnan(table["seconds"][1])
    require_same(tmp_path / "out", expected)


def test_cluster__is_never_given_more_than_a_few_files_at_once(recipe, files, slow, tmp_path, monkeypatch):
    monkeypatch.setattr(_cluster, "IN_FLIGHT", 3)
    held = []
    with xstxm.report_progress(lambda share: held.append(len(slow.futures))):
        xstxm.batch(recipe, files, tmp_path, client=slow)
    assert max(held) <= 3 + 2  # and the recipe, and a file that is done while the client lets go of it
    assert held[-1] < held[0]


def test_cluster__drops_the_rest_after_an_interrupt_and_goes_on(recipe, files, expected, slow, tmp_path):
    def interrupt(share):
        raise KeyboardInterrupt

    with xstxm.report_progress(interrupt), pytest.raises(KeyboardInterrupt):
        xstxm.batch(recipe, files, tmp_path, client=slow)
    while any(slow.processing().values()):
        time.sleep(0.05)
    assert len(list(tmp_path.glob("*.nc"))) < N - 2
    table = xstxm.batch(recipe, files, tmp_path, client=slow)
    assert table["state"].isin(["written", "skipped"]).all()
    require_same(tmp_path, expected)


@pytest.mark.filterwarnings("default")
def test_cluster__tells_what_its_workers_complete_after_an_interrupt(
    recipe, files, expected, slow, tmp_path, monkeypatch
):
    def interrupted(futures, **options):  # as by Ctrl+C while nothing has ended yet
        monkeypatch.undo()
        while sum(map(len, slow.run(_cluster._at_work).values())) < 2:
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(_cluster, "as_completed", interrupted)
    path = recipe.save(tmp_path / "recipe.toml")
    arguments = ["run", str(path), *map(str, files), "-o", str(tmp_path / "out"), "--scheduler", slow.scheduler.address]
    result = CliRunner().invoke(cli.app, arguments, terminal_width=200)
    assert result.exit_code == 130, result.output
    assert "interrupted: 2 files that workers are at are completed" in " ".join(result.stderr.split())
    assert f"interrupted, 2 of {N} files are done" in " ".join(result.stderr.split())
    written = {path.stem for path in (tmp_path / "out").iterdir()}
    assert len(written) == 2
    assert all(f"{name}.hdf5" in result.stdout for name in written)
    again = CliRunner().invoke(cli.app, arguments)
    assert (again.exit_code, again.stdout.count("skipped")) == (0, 2)
    require_same(tmp_path / "out", expected)


def test_cluster__writes_one_file_twice_at_once_and_it_is_whole(recipe, files, expected, client, tmp_path):
    work = _run.Task(recipe.with_inputs(), True, _replacing.this_process(), xstxm.__version__)
    path, workers = tmp_path / "s0.nc", list(client.nthreads())
    done = [client.submit(work.do, files[0], path, pure=False, workers=[worker]) for worker in workers * 3]
    assert {one.state for one in client.gather(done)} == {"written"}
    require_same(tmp_path, {"s0": expected["s0"]})


def test_cluster__of_another_version_is_refused_with_what_to_install(recipe, files, client, tmp_path, monkeypatch):
    monkeypatch.setattr(xstxm, "__version__", "9.9")
    with pytest.raises(
        ClusterError, match=r"2 of 2 workers cannot do it: 'tcp://.*pip install 'xstxm\[distributed\]==9"
    ):
        xstxm.batch(recipe, files, tmp_path, client=client)
    assert not list(tmp_path.iterdir())


def test_cluster__whose_worker_lacks_numba_is_refused_by_its_address(recipe, files, client, tmp_path):
    address = next(iter(client.nthreads()))
    before = client.run(_swap_numba, None, workers=[address])
    try:
        with pytest.raises(ClusterError, match=f"1 of 2 workers cannot do it: '{address}': .*numba"):
            xstxm.batch(recipe, files, tmp_path, client=client)
    finally:
        client.run(_swap_numba, before[address], workers=[address])


def _swap_numba(module):
    """Hide numba, or put back what was there: its name, as modules do not travel."""
    kept = getattr(sys, "_kept_numba", None)
    sys._kept_numba = sys.modules.get("numba")
    sys.modules["numba"] = kept if module else None
    return "numba"


def test_cluster__that_does_not_share_the_folder_is_refused(recipe, files, client, tmp_path, monkeypatch):
    class Elsewhere:
        def __init__(self, dir, prefix):
            self.name = str(Path(dir) / "none")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(_cluster.tempfile, "NamedTemporaryFile", Elsewhere)
    with pytest.raises(ClusterError, match="is not there: give a folder that all of them share"):
        xstxm.batch(recipe, files, tmp_path, client=client)


def test_worker__that_came_later_with_another_version_fails_the_file(recipe, files, tmp_path):
    done = _run.Task(recipe, False, "", "9.9").do(files[0], tmp_path / "s0.nc")
    assert (done.state, list(tmp_path.iterdir())) == ("failed", [])
    assert "install 9.9 there" in done.reason


def test_workers__are_ready_before_their_first_task(mortal):
    assert set(mortal.run(_loaded).values()) == {(0, os.cpu_count())}
    with _cluster.ready(mortal):
        assert set(mortal.run(_loaded).values()) == {(2, 1)}
    assert {threads for _, threads in mortal.run(_loaded).values()} == {os.cpu_count()}


def _loaded():
    from xstxm._kernels.density import _filler
    from xstxm.options import get_options

    return sum(len(_filler(char, False).signatures) for char in "fd"), get_options().num_threads


def test_scheduler__without_a_worker_is_told(recipe, files, tmp_path):
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.warns(PerformanceWarning, match="has no worker: .* `dask worker"),
    ):
        _cluster.require_alike(client, tmp_path)


def test_cluster__that_loses_its_workers_is_told_and_goes_on(recipe, files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(_cluster, "PATIENCE", 0.2)
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):

        def lose(share):
            if len(cluster.workers):
                cluster.scale(0)
                threading.Timer(1, cluster.scale, [2]).start()

        monkeypatch.setattr(_cluster, "IN_FLIGHT", 1)
        with xstxm.report_progress(lose), pytest.warns(PerformanceWarning, match="has no worker: .* `dask worker"):
            table = xstxm.batch(recipe, files[:2], tmp_path, client=client)
    assert table["state"].tolist() == ["written"] * 2
    require_same(tmp_path, {file.stem: expected[file.stem] for file in files[:2]})


def test_scheduler__that_goes_away_is_told(recipe, files, tmp_path):
    def end(cluster):
        _replacing._beside(tmp_path / "s5.nc").write_bytes(b"half")  # of a worker that ended with it
        cluster.close()

    cluster = distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0", silence_logs="CRITICAL")
    with (
        distributed.Client(cluster, set_as_default=False) as client,
        xstxm.report_progress(lambda share: end(cluster)),
        pytest.raises(ClusterError, match="start again"),
    ):
        xstxm.batch(recipe, files, tmp_path, client=client)
    assert 1 <= len(list(tmp_path.glob("s*.nc"))) <= N
    assert not list(tmp_path.glob(".*"))


def test_scheduler__that_goes_away_before_the_first_file_is_told(recipe, files, client, tmp_path, monkeypatch):
    def closed(*arguments):
        raise distributed.comm.CommClosedError("Stream is closed")

    monkeypatch.setattr(_cluster, "require_alike", closed)
    with pytest.raises(ClusterError, match=r"the scheduler tcp://.* went away: .* start again"):
        xstxm.batch(recipe, files, tmp_path, client=client)


def test_cluster__that_fails_says_so_alone_and_dask_to_who_listens(capsys):
    logger, heard = logging.getLogger("distributed.scheduler"), logging.StreamHandler(sys.stderr)
    said = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    own = logging.getLogger("distributed")
    own.addHandler(heard)
    own.addHandler(listener)
    try:
        with _cluster.quiet():
            with _cluster.quiet():
                logger.error("a worker died")
            logger.error("another died")
        assert (capsys.readouterr().err, said) == ("", ["a worker died", "another died"])
        logger.error("at last")
        assert "at last" in capsys.readouterr().err
    finally:
        own.removeHandler(heard)
        own.removeHandler(listener)


def test_run__writes_what_dask_says_to_a_file(recipe, files, client, tmp_path):
    path, log = recipe.save(tmp_path / "recipe.toml"), tmp_path / "dask.log"
    arguments = ["run", str(path), str(files[0]), "-o", str(tmp_path / "out"), "--dask-log", str(log)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 1
    assert "give --scheduler too" in " ".join(result.stderr.split())
    logger = logging.getLogger("distributed.client")
    with scheduling.connected(client.scheduler.address, log):
        logger.warning("a line of dask")
    logger.warning("after it")
    assert " - distributed.client - WARNING - a line of dask\n" in log.read_text()
    assert "after it" not in log.read_text()


def test_run__on_a_cluster(recipe, files, expected, client, tmp_path):
    path = recipe.save(tmp_path / "recipe.toml")
    address = client.scheduler.address
    arguments = ["run", str(path), *map(str, files[:3]), "-o", str(tmp_path / "out"), "--scheduler", address]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert "3 of 3: " in result.stderr
    assert "2 workers: each loads its kernels" in " ".join(result.stderr.split())
    require_same(tmp_path / "out", {file.stem: expected[file.stem] for file in files[:3]})


def test_run__whose_scheduler_does_not_answer_says_how_to_start_one(recipe, files, tmp_path):
    path = recipe.save(tmp_path / "recipe.toml")
    arguments = ["run", str(path), str(files[0]), "-o", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 1
    assert "none answers there: start one with `dask scheduler`" in " ".join(result.stderr.split())
    result = CliRunner().invoke(cli.app, [*arguments[:-1], "127.0.0.1"])
    assert "e.g. tcp://10.0.0.5:8786" in " ".join(result.stderr.split())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["a web server", "silent"])
def test_run__whose_scheduler_is_another_program_says_how_to_start_one(recipe, files, tmp_path, monkeypatch, answer):
    class Other(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(answer)
            while self.request.recv(1024):
                pass

    monkeypatch.setattr(connecting, "PATIENCE", 1)
    path = recipe.save(tmp_path / "recipe.toml")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.server_address[1]}"
        arguments = ["run", str(path), str(files[0]), "-o", str(tmp_path / "out"), "--scheduler", address]
        result = CliRunner().invoke(cli.app, arguments)
        server.shutdown()
    assert result.exit_code == 1
    assert "none answers there: start one with `dask scheduler`" in " ".join(result.stderr.split())


@pytest.mark.parametrize("address", ["127.0.0.1", "tcp://127.0.0.1", "", None])
def test_connect__names_an_address_without_a_port(address):
    with pytest.raises(OptionError, match="give its address with the port"):
        xstxm.connect(address)


def test_connect__in_a_notebook_has_a_client(client):
    async def cell():
        with xstxm.connect(client.scheduler.address) as found:
            return found.submit(sum, [1, 2]).result()

    assert asyncio.run(cell()) == 3


def _read_slowly(block, marks):
    if block.size:  # not of dask, which looks at what it returns
        time.sleep(0.2)
        (marks / f"{time.time_ns()}-{os.getpid()}").touch()
    return block


@posix
@pytest.mark.slow
def test_lazy_chain__survives_a_worker_killed_half_way(mortal, tmp_path):
    references = xstxm.testing.simulate_references()
    stack = xstxm.testing.simulate_stack(shape=(48, 24), seed=0)[["intensity"]]
    i0 = xstxm.estimate_i0(stack)
    data = stack["intensity"].chunk(y=4).data.map_blocks(_read_slowly, tmp_path, dtype=stack["intensity"].dtype)

    def chain(counts):
        density = xstxm.optical_density(stack.assign(intensity=counts), i0)
        return xstxm.phase_map(density, references, min_amount=0.1)

    lazy = chain(stack["intensity"].copy(data=data))
    with ThreadPoolExecutor(1) as elsewhere:
        found = elsewhere.submit(lazy.compute, scheduler=mortal)
        while len(list(tmp_path.iterdir())) < 6 and not found.done():
            time.sleep(0.02)
        kill_one(mortal)
        xr.testing.assert_identical(found.result().drop_attrs(), chain(stack["intensity"]).drop_attrs())
    assert len(list(tmp_path.iterdir())) > 12  # some chunks were read again
