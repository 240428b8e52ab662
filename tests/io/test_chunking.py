"""How stacks are cut into chunks, and what to type where that costs time or memory."""

from __future__ import annotations

import re
import shlex
import warnings
from types import SimpleNamespace

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from typer.testing import CliRunner

import xstxm
from xstxm.cli import app
from xstxm.errors import ChoiceError, OptionError, PerformanceWarning, store_by_spectra
from xstxm.io import _cuts, chunking

zarr = pytest.importorskip("zarr")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """The same machine everywhere: four threads, 16 GB."""
    monkeypatch.setattr(chunking, "_memory", lambda: 16 * 10**9)
    with dask.config.set(num_workers=4):
        yield


def empty_store(folder, shape, chunks, ours=True, **options):
    """A store of the stack's shape, in which no chunk was ever written: any size fits on the disk."""
    path = folder / "night.zarr"
    group = zarr.create_group(path, attributes={"Conventions": "xstxm-1"} if ours else {})
    dims = ["energy", "y", "x"]
    group.create_array("intensity", shape=shape, chunks=chunks, dtype="f4", dimension_names=dims, **options)
    group.create_array("energy", shape=shape[:1], dtype="f8", dimension_names=dims[:1])[:] = np.arange(shape[0]) + 500.0
    return path


def opened(path, chunks):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The specified chunks separate")
        return xr.open_dataset(path, engine="zarr", chunks=chunks, consolidated=False)


LARGE = (150, 2048, 2048)
FRAMES, SQUARES, SPECKS, BLOCKS = (1, 2048, 2048), (150, 128, 128), (150, 4, 4), (150, 1024, 1024)
WHOLE = {"energy": -1, "y": 128, "x": 768}
CALL = "chunks={}"


@pytest.mark.parametrize(
    ("stored", "chunks", "then", "advice"),
    [
        pytest.param(SQUARES, WHOLE, {}, "", id="whole spectra in good chunks"),
        pytest.param(FRAMES, {}, {}, "by 1 of 150 energies, so a spectrum needs all", id="frames"),
        pytest.param(FRAMES, WHOLE, {}, "each stored chunk is read 48 times", id="frames, read as spectra"),
        pytest.param(FRAMES, {}, WHOLE, "dask holds almost all of the 2.517 GB", id="frames, merged by dask"),
        pytest.param(SQUARES, None, {}, f"not in chunks: .* reads all 2.517 GB .* {CALL}", id="no chunks"),
        pytest.param(SQUARES, {"energy": 10}, {}, "each stored chunk is read 15 times", id="spectra read apart"),
        pytest.param(SQUARES, {}, {"energy": 10}, f"cut by 10 of 150 energies: .* {CALL}", id="spectra cut apart"),
        pytest.param(SQUARES, {"y": 64, "x": 768}, {}, "read 2 times, since chunks of dask cut it", id="cut"),
        pytest.param(SPECKS, {}, {}, r"262144 chunks of 9.6 kB: tasks cost more", id="specks"),
        pytest.param(BLOCKS, {}, {}, "chunks of 629.1 MB: each thread holds about 3", id="blocks"),
        pytest.param(LARGE, {}, {}, "stored in chunks of 2.517 GB: .*xstxm convert", id="one block"),
        pytest.param(SQUARES, {"y": 1024, "x": 512}, {"x": 512}, "chunks of 314.6 MB", id="blocks of whole squares"),
    ],
)
def test_advice__names_what_costs(tmp_path, stored, chunks, then, advice):
    path = empty_store(tmp_path, LARGE, stored)
    with raise_if_dask_computes():
        stack = opened(path, chunks)
        report = (stack.chunk(then) if then else stack).stxm.chunk_report()
    assert len(report.advice) == bool(advice)
    assert not advice or re.search(advice, report.advice[0]), report.advice


def test_advice__is_a_call_that_mends_it(tmp_path):
    path = empty_store(tmp_path, LARGE, SPECKS)
    (advice,) = xstxm.chunk_report(opened(path, {})).advice
    call = advice.partition("Open it in chunks: ")[2]
    stack = eval(call, {"xstxm": SimpleNamespace(open_stack=opened)})  # the store is empty, which open_stack refuses
    assert xstxm.chunk_report(stack).advice == ()


def test_advice__on_frames_is_the_command_that_stores_spectra(tmp_path):
    path = empty_store(tmp_path, LARGE, FRAMES)
    (advice,) = xstxm.chunk_report(opened(path, {})).advice
    assert advice.endswith(f"xstxm convert {path} {tmp_path / 'night_spectra.zarr'}")


def test_advice__on_a_store_of_another_program_is_a_call_that_works_on_it(tmp_path):
    path = empty_store(tmp_path, LARGE, FRAMES, ours=False)
    (advice,) = xstxm.chunk_report(opened(path, {})).advice
    assert advice.endswith('xstxm.write_zarr(stack, "spectra.zarr")')


def test_advice__names_variables_with_the_same_trouble_once(tmp_path):
    stack = opened(empty_store(tmp_path, LARGE, FRAMES), {})
    (advice,) = stack.assign(other=stack["intensity"]).stxm.chunk_report().advice
    assert advice.startswith("'intensity' and 'other': stored by 1 of 150 energies")


def test_advice__counts_threads_and_memory(tmp_path, monkeypatch):
    computed = xr.Dataset({"maps": (("phase", "y", "x"), da.zeros((4, 4096, 4096), chunks=(4, 2048, 4096)))})
    (advice,) = computed.stxm.chunk_report().advice
    assert "2 chunks for 4 threads" in advice
    assert len(xstxm.chunk_report(_as_said(computed, advice)).advice) == 0
    monkeypatch.setattr(chunking, "_memory", lambda: 10**9)
    stack = opened(empty_store(tmp_path, LARGE, SQUARES), {"y": 512, "x": 512})
    assert "dask.config.set(num_workers=1)" in stack.stxm.chunk_report().advice[0]
    with dask.config.set(num_workers=1):
        assert stack.stxm.chunk_report().advice == ()


def test_advice__asks_for_no_more_chunks_than_processors(monkeypatch):
    maps = xr.Dataset({"maps": (("phase", "y", "x"), da.zeros((4, 4096, 4096), chunks=(4, 2048, 4096)))})
    with dask.config.set(num_workers=None):
        for processors, found in ((2, 0), (3, 1)):
            monkeypatch.setattr("dask.system.CPU_COUNT", processors)
            assert len(maps.stxm.chunk_report().advice) == found


def _as_said(stack, advice):
    return eval(f"stack{advice.partition('Call ')[2]}", {"stack": stack})


@pytest.mark.parametrize(
    "stack",
    [
        pytest.param(lambda: xstxm.testing.simulate_stack(shape=(8, 6), seed=0), id="in memory"),
        pytest.param(lambda: xstxm.testing.simulate_stack(shape=(8, 6), seed=0).chunk(energy=1), id="small"),
        pytest.param(lambda: xr.Dataset({"i0": ("energy", np.ones(3))}), id="a spectrum"),
    ],
)
def test_report__says_nothing_where_all_is_well(stack):
    report = stack().stxm.chunk_report()
    assert report.advice == ()
    assert repr(report).endswith("nothing to change")


def test_advice__is_not_to_cut_what_the_file_holds_in_one(tmp_path):
    stack = opened(empty_store(tmp_path, (121, 512, 512), (121, 512, 512)), {})
    assert stack.stxm.chunk_report().advice == ()


def test_loaded_frames__need_no_advice(tmp_path):
    stack = opened(empty_store(tmp_path, (20, 1024, 1024), (1, 1024, 1024)), None)
    assert len(stack.stxm.chunk_report().advice) == 1
    assert stack.load().stxm.chunk_report().advice == ()


@pytest.mark.parametrize(
    ("options", "codec"),
    [
        ({"compressors": None}, "none"),
        ({"compressors": zarr.codecs.ZstdCodec(level=3)}, "zstd 3"),
        (
            {"compressors": zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")},
            "blosc lz4 5 bitshuffle",
        ),
    ],
)
def test_table__tells_the_file(tmp_path, options, codec):
    path = empty_store(tmp_path, (12, 64, 96), (4, 16, 48), shards=(12, 64, 96), **options)
    row = xstxm.chunk_report(opened(path, {"energy": 12, "y": 16, "x": 48})).table.loc["intensity"]
    assert (row["stored_chunk"], row["stored_chunks"], row["shard"]) == ((4, 16, 48), 24, (12, 64, 96))
    assert (row["chunk"], row["chunks"], row["codec"], row["reads"]) == ((12, 16, 48), 8, codec, 1)
    assert row["megabytes"] == pytest.approx(12 * 64 * 96 * 4 / 1e6, abs=1e-3)
    assert row["chunk_megabytes"] == pytest.approx(12 * 16 * 48 * 4 / 1e6, abs=1e-3)


@pytest.mark.parametrize("suffix", ["hdf5", "nc"])
def test_table__tells_files_of_hdf5(tmp_path, suffix):
    stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    path = {"hdf5": xstxm.write_nxstxm, "nc": xstxm.write_netcdf}[suffix](stack, tmp_path / f"a.{suffix}")
    with xstxm.open_stack(path, chunks={}) as again:
        row = again["intensity"].stxm.chunk_report().table.loc["intensity"]
    assert row["stored_chunk"] == {"hdf5": (1, 8, 6), "nc": (121, 8, 6)}[suffix]
    assert row["codec"] == {"hdf5": None, "nc": "none"}[suffix]
    assert row["reads"] == 1


def test_reads__are_those_before_a_slice(tmp_path):
    stack = opened(empty_store(tmp_path, (12, 64, 96), (4, 16, 48)), {"energy": 12, "y": 8})
    assert stack.isel(energy=slice(2, 9)).stxm.chunk_report().table.loc["intensity", "reads"] == 2


def test_reads__of_one_image_are_not_known(tmp_path):
    stack = opened(empty_store(tmp_path, (12, 64, 96), (4, 16, 48)), {"energy": 12, "y": 8})
    assert stack.isel(energy=3).stxm.chunk_report().table.loc["intensity", "reads"] is None


def test_computed__have_no_reads(tmp_path):
    stack = opened(empty_store(tmp_path, (12, 64, 96), (4, 16, 48)), {"y": 8})
    assert (stack + 1).stxm.chunk_report().table.loc["intensity", "reads"] is None


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 12))
def test_reads__are_those_that_counting_finds(sizes, stored):
    ends = np.cumsum(sizes)
    block_of = np.repeat(np.arange(len(sizes)), sizes)
    chunks = [set(block_of[start : start + stored]) for start in range(0, ends[-1], stored)]
    assert _cuts._times_read(tuple(sizes), stored) == pytest.approx(np.mean([len(met) for met in chunks]))


def test_html__escapes_names():
    report = chunking.ChunkReport(xstxm.chunk_report(xr.Dataset()).table, ("<b>",))
    assert "<b>" not in report._repr_html_()


def test_other_things__are_refused():
    with pytest.raises(OptionError, match="give a Dataset or a DataArray"):
        xstxm.chunk_report(np.zeros(3))


@pytest.mark.parametrize("chunks", [{}, {"energy": -1, "y": 16}], ids=["frames", "spectra"])
def test_open_stack__warns_of_large_stacks_by_frames(tmp_path, chunks):
    stack = xstxm.testing.simulate_stack(shape=(32, 48), seed=0)[["intensity"]]
    path = xstxm.write_nxstxm(stack, tmp_path / "first night.hdf5")
    with xstxm.set_options(rechunk_limit=stack.nbytes / 2):
        with pytest.warns(
            PerformanceWarning, match="first night.hdf5: 'intensity': stored by 1 of 121 energies"
        ) as told:
            xstxm.open_stack(path, chunks=chunks).close()
        command = shlex.split(str(told[0].message).partition("chunks={}: ")[2])
        assert command == ["xstxm", "convert", str(path), str(tmp_path / "first night.zarr")]
        assert CliRunner().invoke(app, command[1:]).exit_code == 0
        with xstxm.open_stack(tmp_path / "first night.zarr", chunks={}) as again:
            np.testing.assert_array_equal(again["intensity"], stack["intensity"])
        with xstxm.open_stack(path) as unchunked:
            assert not unchunked["intensity"].variable._in_memory
    with xstxm.open_stack(path, chunks=chunks) as small:
        assert small.stxm.is_lazy


def test_open_stack__names_a_dimension_of_chunks_that_is_none(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    path = xstxm.write_zarr(stack, tmp_path / "night.zarr")
    xstxm.write_nxstxm(stack, tmp_path / "night.hdf5")
    for source in (path, [tmp_path / "night.hdf5"]):
        with pytest.raises(ChoiceError, match=r"unknown dimension of chunks 'enrgy': .*did you mean 'energy'"):
            xstxm.open_stack(source, chunks={"enrgy": 1})


@pytest.mark.parametrize(
    "chunks",
    [
        0,
        4.0,
        "64 MB",
        [4],
        True,
        np.array(4),
        *({"y": size} for size in (0, -5, "big", "50", 2.5, (), (4, 0), np.array([4, 4]))),
    ],
    ids=str,
)
def test_open_stack__refuses_chunks_that_are_none(tmp_path, chunks):
    path = xstxm.write_zarr(xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]], tmp_path / "a.zarr")
    for open_them in (xstxm.open_stack, xstxm.open_tree):
        with pytest.raises(OptionError, match=r"^chunks=.*: give the pixels of a chunk, -1 for all"):
            open_them(path, chunks=chunks)


@pytest.mark.parametrize(
    "chunks", [4, -1, "auto", {"y": 4}, {"y": (3, 5)}, {"y": "auto"}, {"y": "1 MB"}, {"y": None}], ids=str
)
@pytest.mark.filterwarnings("ignore:The specified chunks separate")
def test_open_stack__takes_chunks_as_dask_does(tmp_path, chunks):
    path = xstxm.write_zarr(xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]], tmp_path / "a.zarr")
    with xstxm.open_stack(path, chunks=chunks) as stack:
        assert stack.stxm.is_lazy


def test_advice__on_small_stacks_is_given_above_the_limit_alone():
    stack = xstxm.testing.simulate_stack(shape=(32, 48), seed=0)[["intensity"]].chunk(energy=1)
    assert stack.stxm.chunk_report().advice == ()
    with xstxm.set_options(rechunk_limit="100 kB"):
        (advice,) = stack.stxm.chunk_report().advice
        assert advice.startswith("'intensity': cut by 1 of 121 energies")
        assert advice.endswith('open that with chunks={}: xstxm.write_zarr(stack, "spectra.zarr")')


def test_convert__of_frames_does_not_advise_itself(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    path = xstxm.write_nxstxm(stack, tmp_path / "night.hdf5")
    with xstxm.set_options(rechunk_limit=1):
        assert xstxm.convert(path, tmp_path / "night.zarr").exists()


def test_advice__cuts_a_variable_beside_others_alone():
    counts = da.zeros((500, 4000, 4000), chunks=(500, 64, 512), dtype="f4")
    labels = xr.Dataset({"labels": (("y", "x"), da.zeros((4000, 4000), chunks=50))})
    (advice,) = chunking.chunk_report(labels).advice
    assert advice.endswith("Call .chunk(y=2048, x=-1)")
    (advice,) = chunking.chunk_report(labels.assign(intensity=(("energy", "y", "x"), counts))).advice
    assert advice.startswith("'labels': 6400 chunks of 20 kB")
    assert advice.endswith("Call .chunk(y=2048, x=-1) on it alone")


def test_advice__names_a_target_that_is_free(tmp_path):
    source = tmp_path / "night.hdf5"
    source.touch()
    assert store_by_spectra(source).endswith("night.zarr")
    (tmp_path / "night.zarr").mkdir()
    assert store_by_spectra(source).endswith("night_2.zarr")
