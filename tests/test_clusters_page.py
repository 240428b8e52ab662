"""The code of the page *Clusters and archives* runs, but for that of batch systems that are not here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import xstxm

pytest.importorskip("distributed")
pytest.importorskip("zarr")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "clusters.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
ELSEWHERE = "# not run here"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A night of two files, an archive of two days, a large stack, and a recipe."""
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "night", tmp_path / "archive" / "monday", tmp_path / "archive" / "tuesday"):
        place.mkdir(parents=True)
        for k in range(2):
            stack = xstxm.testing.simulate_stack(shape=(16, 24), seed=k)[["intensity"]]
            xstxm.write_nxstxm(stack, place / f"scan{k}.hdf5")
    xstxm.write_zarr(stack.chunk(y=8), tmp_path / "large.zarr")
    references = xstxm.testing.simulate_references()
    maps = xstxm.phase_map(xstxm.open_stack(tmp_path / "night" / "scan0.hdf5"), references)
    xstxm.Recipe.from_result(maps, {"references": references}).save(tmp_path / "recipe.toml")
    return tmp_path


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
@pytest.mark.usefixtures("forked")
def test_page__code_runs_from_top_to_bottom(folder):
    names: dict = {}
    for block in BLOCKS:
        if not block.startswith(ELSEWHERE):
            exec(compile(block, str(PAGE), "exec"), names)
    assert set(names["table"]["state"]) == {"skipped"}  # by the cluster, of what was written here
    assert set(names["everything"]["state"]) == {"written"}
    assert not names["phases"].stxm.is_lazy


def test_page__what_does_not_run_here_is_code():
    elsewhere = [block for block in BLOCKS if block.startswith(ELSEWHERE)]
    assert len(elsewhere) == 2
    for block in elsewhere:
        compile(block, str(PAGE), "exec")


def test_page__pods_of_kubernetes_run_commands_that_there_are():
    pytest.importorskip("dask_kubernetes", reason="needs dask-kubernetes, which makes what pods run")
    from click.testing import CliRunner
    from distributed.cli import dask_scheduler, dask_worker

    (block,) = (block for block in BLOCKS if "KubeCluster" in block)
    names: dict = {}
    exec(compile(block.partition("cluster = ")[0], str(PAGE), "exec"), names)
    for name, command in (("scheduler", dask_scheduler.main), ("worker", dask_worker.main)):
        args = names["spec"]["spec"][name]["spec"]["containers"][0]["args"]
        assert args[:2] == ["dask", name]
        assert CliRunner().invoke(command, [*args[2:], "--version"]).exit_code == 0
