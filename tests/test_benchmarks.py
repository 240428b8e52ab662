"""The benchmarks run, and their table has a row for each goal; how fast anything is does not matter here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = ["--size", "XS", "--rounds", "1"]
GOALS = {
    "density": ["numpy float32", "one read and one write", "float64 temporary"],
    "fit": [
        "from OD | 80 x scipy", "from counts | 80 x scipy", "one read of the stack", "float64 | within 1e-8 of scipy",
        "the same bits", "the time of NNLS", "weighted scipy loop", "all maps and statistics",
    ],
    "zarr": ["a bare read", "peak of the result", "linear in size"],
    "pca": ["covariance PCA, float32", "covariance PCA, float64", "eigenvalues to 1e-6", "25 x MANTiS"],
    "lazy": ["svd_compressed", "an eighth"],
    "clusters": ["n_init=10", "inertia"],
    "shifts": ["high dose", "low dose", "scikit-image", "Cramer-Rao", "the lowest error", "pattern", "hot row"],
    "moving": ["ndimage.shift"],
    "import": ["import xarray", "nothing is compiled"],
    "gpu": ["5 references", "8 references"],
}  # fmt: skip
TRUE_ANYWHERE = {"float64 | within 1e-8", "the same bits", "eigenvalues to 1e-6", "nothing is compiled"}
"""Goals that do not hang on the size or on the machine."""


@pytest.fixture
def benchmarks(monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.slow
@pytest.mark.parametrize("topic", GOALS)
def test_table__has_a_row_for_each_goal(benchmarks, topic):
    import bench_table

    rows = [str(row) for row in bench_table.measure(bench_table.parse([*TINY, "--topics", topic]))]
    for row in rows:
        what, goal, measured, held, *others = row.removeprefix("| ").removesuffix(" |").split(" | ")
        assert all((what, goal, measured))
        assert held not in ("", "**no**: "), "why not?"
        assert len(others) == 3
    for goal in GOALS[topic]:
        assert [row for row in rows if goal in row], goal
    for goal in TRUE_ANYWHERE:
        assert all("| yes |" in row for row in rows if goal in row), rows


@pytest.mark.slow
def test_table__is_printed_and_drawn(benchmarks, capsys, tmp_path):
    import bench_table
    from rows import HEADER

    bench_table.main([*TINY, "--topics", "moving", "gpu", "--plot", str(tmp_path / "table.svg")])
    facts, size, _, *table = capsys.readouterr().out.splitlines()
    assert "numpy" in facts
    assert "120 x 64 x 64" in size
    assert table[:2] == HEADER.splitlines()
    assert len(table) == 5
    assert "apply shifts: ndimage.shift of order 3" in (tmp_path / "table.svg").read_text()


def test_table__of_a_stack_larger_than_memory_has_few_topics(benchmarks, capsys):
    import bench_table

    assert bench_table.parse(["--size", "L"]).topics == ["zarr", "lazy"]
    with pytest.raises(SystemExit):
        bench_table.parse(["--size", "L", "--topics", "fit"])
    assert "take --size M" in capsys.readouterr().err


@pytest.mark.slow
def test_table__decomposes_a_store(benchmarks, tmp_path):
    import bench_table

    tiny = ["--size", "L", "--gigabytes", "0.02", "--rounds", "1", "--topics", "lazy", "--folder", str(tmp_path)]
    speed, memory = bench_table.measure(bench_table.parse(tiny))
    assert speed.what == memory.what == "PCA of 0.031 GB on zarr"
    assert len(speed.ratios.values) == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("size", "told"), [("S", "a row is much of a small image"), ("M", "not explained")])
def test_table__gives_reasons_for_its_size(benchmarks, size, told):
    import bench_table

    given = bench_table.parse(["--size", size])
    assert bench_table.because(given, small="a row is much of a small image").startswith(told)
    assert bench_table.because(given, "always", small="of small ones") == (
        "always; of small ones" if size == "S" else "always"
    )


@pytest.mark.slow
def test_table__measures_on_a_device_where_there_is_one(benchmarks, monkeypatch):
    import bench_table

    given = bench_table.parse([*TINY, "--topics", "gpu"])
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert all("CuPy is not installed" in str(row) for row in bench_table.measure(given))
    runtime = SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=OSError)
    stream = SimpleNamespace(synchronize=lambda: None)
    cuda = SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream)
    host = SimpleNamespace(asarray=np.asarray, tile=np.tile, copyto=np.copyto, cuda=cuda)  # this one in its place
    monkeypatch.setitem(sys.modules, "cupy", host)
    rows = list(bench_table.measure(given))
    assert [row.ratios.goal for row in rows] == [1.2, 2.0]
    assert all(row.ratios.values.size == given.rounds and min(row.seconds) > 0 for row in rows)


def test_table__has_no_topic_without_a_test(benchmarks):
    import bench_table

    assert set(bench_table.TOPICS) == set(GOALS)


def test_rows__are_judged_by_the_median(benchmarks):
    from rows import at_least, at_most

    times = np.array([1.0, 3.0, 30.0]), np.ones(3)
    assert at_most("a", "bound", 3, *times, "slow").held
    assert not at_most("a", "bound", 2.9, *times, "slow").held
    assert at_least("a", "peer", 3, *times[::-1], "slow").held
    assert not at_least("a", "peer", 3.1, *times[::-1], "slow").held
    assert at_least("a", "peer", 3, *times[::-1], "slow", judged=False).held is None
    expected = "| a | within 2 x bound | 3 (1-30) x | **no**: slow | 3 / 1 | 500 | 7 |"
    assert str(at_most("a", "bound", 2, *times, "slow", memory=[0.5], tasks=7)) == expected


SUM = """
def prepare(values):
    def call():
        np.ones(50_000_000)
        return [values.sum()]
    return call
"""


def test_peers__run_in_an_interpreter_of_their_own(benchmarks):
    import peers

    ran = peers.run(SUM, sys.executable, 2, values=np.arange(4.0))
    assert ran.found == [6.0]
    assert len(ran.seconds) == 2
    assert sys.platform != "linux" or 0.3 < ran.memory < 0.6


@pytest.mark.parametrize(
    ("python", "code", "told"), [(None, SUM, "give --peers"), (sys.executable, "import no_such_peer", "no_such_peer")]
)
def test_peers__that_are_not_there_say_so(benchmarks, python, code, told):
    import peers

    with pytest.raises(peers.NotRun, match=told):
        peers.run(code, python, 1)


def test_in_turn__takes_the_calls_in_turn_after_what_comes_before(benchmarks):
    import measuring

    calls = []
    found = measuring.in_turn(
        lambda: calls.append("a"), lambda: calls.append("b"), rounds=2, before=lambda: calls.append("-")
    )
    assert "".join(calls) == "a-a-b-a-b"
    assert found.shape == (2, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the peak start again")
def test_peak__sees_memory_that_was_given_back(benchmarks):
    import resident

    resident.restart_peak()
    before = resident.peak()
    np.ones(50_000_000)
    assert resident.peak() - before > 0.3


@pytest.mark.slow
def test_scale__runs_a_verb_in_a_limit_of_memory():
    pytest.importorskip("zarr")
    options = ["--gigabytes", "0.01", "--limit", "1", "--schedulers", "threads", "--verbs", "fit"]
    run = subprocess.run([sys.executable, str(BENCHMARKS / "bench_scale.py"), *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.match(r"\| fit \| .* \| yes \| [0-9a-f]{16} \|$", run.stdout.splitlines()[-1])


def test_scale__tells_results_apart_that_differ_in_a_bit(benchmarks):
    from bench_scale import drain

    one = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")
    other = one.copy()
    other[3, 5] = np.nextafter(other[3, 5], np.float32(9))
    cut = da.from_array(one, chunks=(3, 4))
    assert drain([cut, cut > 0])["bits"] == drain([cut.rechunk((2, 8)), cut > 0])["bits"]
    assert drain([cut])["bits"] != drain([da.from_array(other, chunks=(3, 4))])["bits"]


def test_scale__has_every_lazy_verb(benchmarks):
    from lazy_verbs import VERBS
    from test_scale import LAZY

    assert {verb.partition(",")[0] for verb in LAZY} <= {verb.partition(",")[0] for verb in VERBS}


def test_asv__finds_what_it_watches(benchmarks):
    from regressions import verbs

    lazily = verbs.Lazily()
    lazily.setup()
    n_chunks = np.prod(lazily.od.data.numblocks)
    assert n_chunks <= lazily.track_tasks_of_fit() < 30 * n_chunks
    assert n_chunks <= lazily.track_tasks_of_pca() < 30 * n_chunks
