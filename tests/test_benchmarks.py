"""The benchmarks run, and their table has a row for each goal; how fast anything is does not matter here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
GOALS = {
    "density": ["numpy float32", "one read and one write", "float64 temporary"],
    "fit": [
        "from OD | 80 x scipy", "from counts | 80 x scipy", "one read of the stack", "float64 | within 1e-8 of scipy",
        "the same bits", "the time of NNLS", "weighted scipy loop", "all maps and statistics",
    ],
    "zarr": ["a bare read", "peak of the result", "linear in size"],
    "pca": ["covariance PCA, float32", "covariance PCA, float64", "eigenvalues to 1e-6", "svd_compressed", "an eighth"],
    "clusters": ["n_init=10", "inertia"],
    "shifts": ["high dose", "low dose", "scikit-image", "Cramer-Rao", "the lowest error"],
    "moving": ["ndimage.shift"],
    "import": ["import xarray", "nothing is compiled"],
}  # fmt: skip
TRUE_ANYWHERE = {"float64 | within 1e-8", "the same bits", "eigenvalues to 1e-6", "nothing is compiled"}
"""Goals that do not hang on the size or on the machine."""


@pytest.fixture(scope="module")
def rows():
    """The rows of the table of all topics."""
    pytest.importorskip("zarr")
    command = [sys.executable, str(BENCHMARKS / "bench_table.py"), "--size", "XS", "--rounds", "1"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [line for line in run.stdout.splitlines() if line.startswith("|")][2:]


@pytest.mark.slow
@pytest.mark.xdist_group("table")
@pytest.mark.parametrize("topic", GOALS)
def test_table__has_a_row_for_each_goal(rows, topic):
    assert all(
        row.count(" | ") == 3 and row.split(" | ")[-1].strip("* |") in ("yes", "no", "not judged") for row in rows
    )
    for goal in GOALS[topic]:
        assert [row for row in rows if goal in row], goal
    for goal in TRUE_ANYWHERE:
        assert all(row.endswith("| yes |") for row in rows if goal in row), rows


def test_table__has_no_topic_without_a_test(benchmarks):
    import bench_table

    assert set(bench_table.TOPICS) == set(GOALS)


@pytest.fixture
def benchmarks(monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_rows__are_judged_by_the_median(benchmarks):
    import bench_table

    ratios = np.array([1.0, 3.0, 30.0])
    assert bench_table.at_least("a", "peer", 3, ratios).held
    assert not bench_table.at_least("a", "peer", 3.1, ratios).held
    assert bench_table.at_most("a", "bound", 3, ratios).held
    assert not bench_table.at_most("a", "bound", 2.9, ratios).held
    assert bench_table.at_least("a", "peer", 3, ratios, judged=False).held is None
    assert str(bench_table.at_most("a", "bound", 2, ratios)) == "| a | within 2 x bound | 3 (1-30) x | **no** |"


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
    import measuring

    measuring.restart_peak()
    before = measuring.peak()
    np.ones(50_000_000)
    assert measuring.peak() - before > 0.3


@pytest.mark.slow
def test_scale__runs_a_verb_in_a_limit_of_memory():
    pytest.importorskip("zarr")
    options = ["--gigabytes", "0.01", "--limit", "1", "--schedulers", "threads", "--verbs", "fit"]
    run = subprocess.run([sys.executable, str(BENCHMARKS / "bench_scale.py"), *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("| fit | ")
    assert run.stdout.splitlines()[-1].endswith("| yes |")


def test_scale__has_every_lazy_verb(benchmarks):
    from lazy_verbs import VERBS
    from test_scale import LAZY

    assert {verb.partition(",")[0] for verb in LAZY} <= {verb.partition(",")[0] for verb in VERBS}
