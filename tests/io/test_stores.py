"""Stacks and results stored as netCDF and Zarr come back exactly."""

from __future__ import annotations

import asyncio
import errno
import io
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xstxm
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    MissingDependencyError,
    NoRoomError,
    OptionError,
    SchemaError,
    StxmError,
)
from xstxm.io import _pixels_first, _replacing

pytest.importorskip("zarr")
WRITERS = {"nc": xstxm.write_netcdf, "zarr": xstxm.write_zarr}
DTYPES = [
    "bool",
    "int8",
    "int16",
    "uint64",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "U4",
    "M8[ns]",
    "M8[s]",
    "m8[ms]",
]


@pytest.fixture(params=WRITERS)
def suffix(request):
    return request.param


@pytest.fixture(scope="module")
def stack():
    return xstxm.testing.simulate_stack(shape=(12, 17), seed=0)


def returned(obj, folder, suffix):
    path = WRITERS[suffix](obj, folder / f"stored.{suffix}", overwrite=True)
    opened = xstxm.open_result(path)
    opened.load()
    opened.close()
    return opened


def assert_same(found, wanted):
    """Same values, names and attributes; the same dtypes; nothing of the file."""
    assert type(found) is type(wanted)
    if isinstance(wanted, xr.DataTree):
        assert found.identical(wanted)
        for path, node in wanted.subtree_with_keys:
            assert_same(found[path].to_dataset(inherit=False), node.to_dataset(inherit=False))
        return
    xr.testing.assert_identical(found, wanted)
    pairs = [(found, wanted)] if isinstance(wanted, xr.DataArray) else [(found[n], wanted[n]) for n in wanted.variables]
    for one, other in pairs:
        assert one.dtype.kind == ("U" if other.dtype.kind == "O" else other.dtype.kind)
        assert one.dtype.kind == "U" or one.dtype == other.dtype
        assert {k: type(v) for k, v in one.attrs.items()} == {k: type(v) for k, v in other.attrs.items()}


def phases(stack):
    references = xstxm.testing.simulate_references()
    return xstxm.phase_map(xstxm.optical_density(stack[["intensity"]], stack["true_i0"]), references).compute()


RESULTS = {
    "stack": lambda stack: stack,
    "array": lambda stack: stack["intensity"],
    "unnamed array": lambda stack: stack["intensity"].rename(None),
    "coordinate": lambda stack: stack["energy"],
    "phase map": phases,
    "fit": lambda stack: xstxm.fit(
        xstxm.optical_density(stack[["intensity"]], stack["true_i0"]), xstxm.testing.simulate_references()
    ).compute(),
    "clusters": lambda stack: xstxm.cluster(xstxm.optical_density(stack[["intensity"]], stack["true_i0"]), 3, seed=0),
    "tree": lambda stack: xr.DataTree.from_dict({"a": stack, "b/c": phases(stack)}, name="particles"),
}


@pytest.mark.parametrize("made", RESULTS.values(), ids=RESULTS)
def test_results__come_back_exactly(made, stack, tmp_path, suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.StxmWarning)
        result = made(stack)
    assert_same(returned(result, tmp_path, suffix), result)


@st.composite
def datasets(draw):
    sizes = {dim: draw(st.integers(1, 4)) for dim in ("energy", "y", "x")}
    names = draw(
        st.lists(st.text("abcµ é_1", min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=4, unique=True)
    )
    values = {}
    for name in names:
        dims = tuple(draw(st.lists(st.sampled_from(list(sizes)), max_size=3, unique=True)))
        dtype = draw(st.sampled_from(DTYPES))
        numbers = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 99, [sizes[dim] for dim in dims])
        array = numbers.astype(dtype)
        if array.dtype.kind in "fc" and draw(st.booleans()):
            array = np.where(numbers > 50, np.array(np.nan, dtype), array)
        attrs = draw(attributes())
        if array.dtype.kind in "mM":
            attrs.pop("units", None)
        values[name] = xr.Variable(dims, array, attrs)
    return xr.Dataset(values, {"energy": np.arange(sizes["energy"]) + 500.0}, draw(attributes()))


def attributes():
    value = st.one_of(
        *(
            st.none(),
            st.booleans(),
            st.integers(-(2**40), 2**40),
            st.floats(allow_nan=False, width=64),
            st.text("aµ\n {}", max_size=5),
        ),
        st.lists(st.sampled_from(["a", 1, 2.5, None, True]), max_size=3),
        st.sampled_from([np.array([1, 2], "int16"), np.array([1.5]), np.array([[1, 2]]), np.array(["a", "bc"])]),
        st.sampled_from([np.float32(1.5), np.int16(3), np.bool_(True), np.array([True, False])]),
    )
    return st.dictionaries(
        st.sampled_from(["units", "long_name", "comment", "flag_masks", "number"]), value, max_size=3
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dataset=datasets())
def test_any_dataset__comes_back_exactly(dataset, tmp_path, suffix):
    assert_same(returned(dataset, tmp_path, suffix), dataset)


def test_open_stack__opens_a_stored_stack(stack, tmp_path, suffix):
    path = WRITERS[suffix](stack, tmp_path / f"a.{suffix}")
    for opened in (xstxm.open_stack(path), xstxm.open_stack(str(path), chunks={})):
        xr.testing.assert_equal(opened, stack)
        assert list(xstxm.history(opened)["operation"]) == [*xstxm.history(stack)["operation"], "open_stack"]
    assert xstxm.open_stack(path, chunks={})["intensity"].chunks is not None


def test_stored_stack__is_lazy(stack, tmp_path, suffix):
    path = WRITERS[suffix](stack, tmp_path / f"a.{suffix}")
    opened = xstxm.open_stack(path)
    assert not opened["intensity"].variable._in_memory


def test_open_stack__refuses_a_tree(stack, tmp_path, suffix):
    path = WRITERS[suffix](xr.DataTree.from_dict({"a": stack}), tmp_path / f"a.{suffix}")
    with pytest.raises(FileFormatError, match=r"found a tree: open it with xstxm\.open_tree"):
        xstxm.open_stack(path)


def test_file_object__of_netcdf(stack, tmp_path):
    path = xstxm.write_netcdf(stack, tmp_path / "a.nc")
    xr.testing.assert_identical(xstxm.open_result(io.BytesIO(path.read_bytes())).load(), stack)


def test_writers__replace_only_when_asked(stack, tmp_path, suffix):
    path = WRITERS[suffix](stack, tmp_path / f"a.{suffix}")
    with pytest.raises(FileExistsError, match="exists: pass overwrite=True to replace it"):
        WRITERS[suffix](stack, path)
    assert_same(returned(stack + 1, tmp_path, suffix), stack + 1)
    WRITERS[suffix](stack + 1, path, overwrite=True)
    xr.testing.assert_equal(xstxm.open_result(path).load(), stack + 1)
    assert {entry.name for entry in tmp_path.iterdir()} == {f"a.{suffix}", f"stored.{suffix}"}


def test_writers__never_replace_a_folder_of_something_else(stack, tmp_path, suffix):
    folder = tmp_path / f"a.{suffix}"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no writer made: it is not replaced"):
        WRITERS[suffix](stack, folder, overwrite=True)
    assert (folder / "thesis.txt").exists()


def test_writers__leave_what_was_there_when_they_fail(stack, tmp_path, suffix):
    path = WRITERS[suffix](stack, tmp_path / f"a.{suffix}")
    broken = (
        stack[["intensity"]].chunk({"energy": 1}).map(lambda a: a.copy(data=da.map_blocks(_fail, a.data, dtype="f4")))
    )
    with pytest.raises(ZeroDivisionError):
        WRITERS[suffix](broken, path, overwrite=True)
    xr.testing.assert_equal(xstxm.open_result(path).load(), stack)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def _fail(block):
    raise ZeroDivisionError


def test_writers__leave_the_scheduler_of_other_threads_alone(tmp_path, suffix):
    seen, together = [], Barrier(2)

    def note(block):
        together.wait(timeout=60)
        seen.append(dask.config.get("scheduler", None))
        return block

    def write(number):
        lazy = da.zeros((2, 4), chunks=-1).map_blocks(note, token=f"note {number}", meta=np.empty((0, 0)))
        return WRITERS[suffix](xr.Dataset({"a": (("y", "x"), lazy)}), tmp_path / f"{number}.{suffix}")

    before = dask.config.get("scheduler", None)
    with ThreadPoolExecutor(2) as pool:
        [*pool.map(write, range(2))]
    assert [*seen, dask.config.get("scheduler", None)] == [before] * 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to see open files in")
def test_writers__that_fail_leave_no_file_open(tmp_path, suffix):
    lazy = da.zeros((4, 4), chunks=(1, 4)).map_blocks(_fail, meta=np.empty((0, 0)))
    try:
        WRITERS[suffix](xr.Dataset({"a": (("y", "x"), lazy)}), tmp_path / f"a.{suffix}")
    except ZeroDivisionError:  # while it is there it holds all that it came through
        opened = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert not [file for file in map(str, opened) if file.startswith(str(tmp_path))]


def test_writers__need_no_file_for_chunks_of_whole_spectra_of_any_size(tmp_path):
    for chunk in (50, 96, 128, 200, 256, 1500):
        stack = xr.Dataset(
            {"a": (("energy", "y", "x"), da.zeros((150, 1500, 1500), chunks=(-1, chunk, chunk), dtype="f4"))}
        )
        tree = xr.DataTree(stack)
        assert _pixels_first.room_for(tree, 2**29) == stack.nbytes
    frames = xr.DataTree(stack.chunk(energy=1, y=-1, x=-1))
    assert _pixels_first.room_for(frames, 2**29) == 2 * stack.nbytes


def test_writers__tell_who_listens_and_stop_when_told(tmp_path, suffix, stack):
    class Enough(Exception):
        pass

    def stop(share):
        raise Enough

    lazy, shares = stack.chunk(y=2), []
    with xstxm.report_progress(shares.append):
        WRITERS[suffix](lazy, tmp_path / f"a.{suffix}")
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1
    with pytest.raises(Enough), xstxm.report_progress(stop):
        WRITERS[suffix](lazy, tmp_path / f"b.{suffix}")
    assert [entry.name for entry in tmp_path.iterdir()] == [f"a.{suffix}"]


@pytest.mark.parametrize("memory", [4096, 2**29], ids=["through a raw file", "at once"])
def test_writers__take_frames_and_store_whole_spectra(tmp_path, suffix, memory, monkeypatch):
    monkeypatch.setattr(_pixels_first, "CHUNK_BYTES", 2**12)
    reads = []

    def frame(block, block_info=None):
        reads.append(block_info[0]["chunk-location"])
        return block + block_info[0]["chunk-location"][0]

    pattern = np.arange(60 * 70, dtype="float32").reshape(1, 60, 70)
    frames = da.map_blocks(
        frame,
        da.from_array(np.repeat(pattern, 9, 0), chunks=(1, 60, 70)),
        dtype="float32",
        meta=np.empty((0, 0, 0), "f4"),
    )
    wanted = pattern + np.arange(9, dtype="float32")[:, None, None]
    lazy = xr.Dataset({"intensity": (("energy", "y", "x"), frames)}, {"energy": np.arange(9.0)})
    for given_, expected in ((lazy, wanted), (lazy.transpose("y", "x", "energy"), wanted.transpose(1, 2, 0))):
        reads.clear()
        target = tmp_path / f"{len(given_.dims)}{given_.intensity.dims[0]}.{suffix}"
        stream = {"nc": xstxm.io.netcdf.writer.stream_netcdf, "zarr": xstxm.io.zarr.writer.stream_zarr}[suffix]
        told = []
        with xstxm.report_progress(told.append):
            stream(given_, target, memory=memory)
        assert len(reads) == 9, "each frame is read once"
        assert told == sorted(told), "one run from nothing to all, however many passes"
        assert told[-1] == 1
        opened = xstxm.open_stack(target, chunks={})["intensity"]
        assert opened.chunksizes["energy"] == (9,)
        np.testing.assert_array_equal(opened, expected)
    assert not [entry for entry in tmp_path.iterdir() if entry.suffix in (".raw", ".part")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.assign_attrs(record={"a": 1}), "is a dict, which no file holds"),
        (lambda d: d.assign(objects=("k", np.array([1, {}], dtype=object))), "holds Python objects"),
        (lambda d: d.rename({"intensity": "a/b"}), "no variable of a file can be called 'a/b'"),
        (lambda d: d.assign(t=("k", [1.0], {"units": "hours since 2020-01-01"})), "counts time in"),
        (lambda d: d.assign(t=("k", np.array([1], "M8[ns]"), {"units": "s"})), "dates, which have no units"),
        (lambda d: d.assign(t=("k", [1.0], {"scale_factor": 3})), "attributes that files use themselves: scale_factor"),
        (lambda d: d.stack(pixel=("y", "x")), r"call \.reset_index\('pixel'\) first"),
        (lambda d: [d], "a list cannot be stored"),
    ],
)
def test_writers__refuse_what_no_file_holds(stack, tmp_path, suffix, change, message):
    with pytest.raises(SchemaError, match=message):
        WRITERS[suffix](change(stack[["intensity"]]), tmp_path / f"a.{suffix}")
    assert not list(tmp_path.iterdir())


def test_open_result__of_something_else(tmp_path):
    (tmp_path / "a.nc").write_text("hello")
    with pytest.raises(
        FileFormatError, match=r"expected a file of write_netcdf or write_zarr, found a text .*open_stack"
    ):
        xstxm.open_result(tmp_path / "a.nc")
    with pytest.raises(FileNotFoundError):
        xstxm.open_result(tmp_path / "b.nc")


def test_netcdf__links_and_claims_are_refused(stack, tmp_path):
    path = xstxm.write_netcdf(stack, tmp_path / "a.nc")
    for what, change, message in (
        ("link", lambda f: f.__setitem__("other", h5py.ExternalLink("b.nc", "/x")), "other in the file, found a link"),
        ("loop", lambda f: f.__setitem__("loop", h5py.SoftLink("/loop")), "found a link"),
        (
            "claim",
            lambda f: f.create_dataset("big", (10**5, 10**5), "f4", chunks=(100, 100)),
            r"found the shape \(100000, 100000\)",
        ),
    ):
        broken = tmp_path / f"{what}.nc"
        broken.write_bytes(path.read_bytes())
        with h5py.File(broken, "a") as file:
            change(file)
        with pytest.raises(CorruptFileError, match=message):
            xstxm.open_result(broken)


def test_torn_netcdf__is_an_error_of_ours(tmp_path):
    small = xr.Dataset({"intensity": (("energy", "y"), np.ones((3, 2), "f4"))}, {"energy": [1.0, 2, 3]})
    data = xstxm.write_netcdf(small, tmp_path / "a.nc").read_bytes()
    rng, path, broken = random.Random(0), tmp_path / "b.nc", 0
    for case in range(150):
        torn = bytearray(data[: rng.randrange(len(data))] if case % 3 == 0 else data)
        for _ in range(rng.randrange(1, 9) if torn else 0):
            torn[rng.randrange(len(torn))] = rng.randrange(256)
        path.write_bytes(torn)
        try:
            xstxm.open_result(path).load()
        except (StxmError, OSError):
            broken += 1
    assert broken > 50


def test_torn_zarr__is_an_error_of_ours(stack, tmp_path):
    path = xstxm.write_zarr(stack, tmp_path / "a.zarr")
    for name in ("zarr.json", "intensity/zarr.json"):
        text = (path / name).read_bytes()
        (path / name).write_bytes(text[: len(text) // 2])
        with pytest.raises(FileFormatError):
            xstxm.open_result(path)
        (path / name).write_bytes(text)


def test_zarr__compresses_numbers(stack, tmp_path):
    path = xstxm.write_zarr(xstxm.testing.simulate_stack(shape=(64, 96), seed=0).round(), tmp_path / "a.zarr")
    table = xstxm.open_stack(path, chunks={}).stxm.chunk_report().table
    assert set(table["codec"]) == {"blosc lz4 5 bitshuffle"}
    size = sum(file.stat().st_size for file in (path / "intensity" / "c").rglob("*"))
    assert size < 0.5 * 121 * 64 * 96 * 4


def blank(dtype):
    """A stack of whole squares, half of them of nothing but what Zarr fills with."""
    values = np.zeros((3, 512, 512)) if np.dtype(dtype).kind == "u" else np.full((3, 512, 512), np.nan)
    values[:, :256] = 1
    return xr.Dataset({"intensity": (("energy", "y", "x"), values.astype(dtype))}, {"energy": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_missing_chunks__are_told(tmp_path, dtype):
    path = xstxm.write_zarr(blank(dtype), tmp_path / "a.zarr")
    xr.testing.assert_identical(xstxm.open_result(path).load(), blank(dtype))
    for key in ("0/0/1", "0/1/0"):
        (path / "intensity" / "c" / key).unlink()
    fill = "0" if dtype == "uint16" else "nan"
    message = f"a.zarr: 2 of 16 chunks of 'intensity' are missing, the first is intensity/c/0/0/1: they read as {fill}"
    for open_it in (xstxm.open_result, xstxm.open_stack, xstxm.open_tree):
        with pytest.warns(MetadataWarning, match=message):
            open_it(path)


def test_missing_chunks__are_counted_in_shards(tmp_path):
    stack = blank("float64")
    encoding = {"intensity": {"chunks": (3, 64, 64), "shards": (3, 256, 256)}}
    path = tmp_path / "a.zarr"
    stack.assign_attrs(Conventions="xstxm-1").to_zarr(
        path, encoding=encoding, write_empty_chunks=True, consolidated=False
    )
    xstxm.open_result(path)
    (path / "intensity" / "c" / "0" / "1" / "1").unlink()
    with pytest.warns(MetadataWarning, match="1 of 4 chunks of 'intensity'"):
        xstxm.open_result(path)


def test_missing_chunks__of_a_large_array_are_not_counted(tmp_path, monkeypatch):
    path = xstxm.write_zarr(blank("float64"), tmp_path / "a.zarr")
    (path / "intensity" / "c" / "0" / "0" / "1").unlink()
    monkeypatch.setattr("xstxm.io.zarr.reader._COUNTED", 15)
    xstxm.open_result(path)


def test_zarr__is_an_extra(stack, tmp_path, monkeypatch):
    path = xstxm.write_zarr(stack, tmp_path / "a.zarr")
    monkeypatch.setattr("xstxm.io.zarr.reader.find_spec", lambda name: None)
    for call in (lambda: xstxm.write_zarr(stack, tmp_path / "b.zarr"), lambda: xstxm.open_stack(path)):
        with pytest.raises(MissingDependencyError, match=r"pip install 'xstxm\[zarr\]'"):
            call()


def test_write_zarr__is_at_rest_before_it_removes_what_it_wrote(tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    before, begun, ended = LocalStore.set, [], []

    async def slowly(store, key, value):
        if key.endswith("intensity/c/0/0/0"):
            while not any("intensity/c/" in other for other in begun):
                await asyncio.sleep(0.01)
            raise OSError(errno.ENOSPC, "no more")
        begun.append(key)
        await asyncio.sleep(0.3 * ("intensity/c/" in key))
        await before(store, key, value)
        ended.append(key)

    monkeypatch.setattr(LocalStore, "set", slowly)
    stack = xr.Dataset({"intensity": (("energy", "y", "x"), np.zeros((120, 256, 256), "float32"))})
    with pytest.raises(NoRoomError):
        xstxm.write_zarr(stack, tmp_path / "full.zarr")
    assert any("intensity/c/" in key for key in begun)
    assert sorted(begun) == sorted(ended)
    assert not list(tmp_path.iterdir())


SHARDED = {"chunks": (6, 16, 16), "shards": (12, 32, 48)}


@pytest.mark.parametrize("frames", [True, False], ids=["by frames", "by pixels"])
def test_zarr__is_cut_and_packed_as_asked_and_holds_the_same(tmp_path, frames):
    zarr = pytest.importorskip("zarr")
    stack = xstxm.testing.simulate_stack(shape=(40, 70), seed=0)[["intensity"]].isel(energy=slice(12))
    lazy = stack.chunk({"energy": 1} if frames else {"y": 7, "x": 9})
    packed = zarr.codecs.ZstdCodec(level=3)
    encoding = {"intensity": SHARDED | {"compressors": packed}}
    path = xstxm.write_zarr(lazy, tmp_path / "a.zarr", encoding=encoding)
    array = zarr.open_array(path / "intensity")
    assert (array.chunks, array.shards, array.compressors) == (SHARDED["chunks"], SHARDED["shards"], (packed,))
    assert zarr.open_array(path / "energy").shards is None
    assert xstxm.open_result(path).load().identical(stack)
    again = xstxm.convert(path, tmp_path / "b.zarr", encoding={"intensity": {"chunks": (12, 8, 8)}})
    assert zarr.open_array(again / "intensity").chunks == (12, 8, 8)
    assert zarr.open_array(again / "intensity").compressors[0].to_dict()["configuration"]["cname"] == "lz4"
    xr.testing.assert_equal(xstxm.open_result(again), stack)
    tree = xr.DataTree.from_dict({"one": stack, "other": lazy})
    nodes = xstxm.write_zarr(tree, tmp_path / "tree.zarr", encoding={"intensity": SHARDED})
    assert all(zarr.open_array(nodes / node / "intensity").shards == SHARDED["shards"] for node in tree.children)


def test_zarr__writes_each_shard_once(tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    written, put = [], zarr.storage.LocalStore.set

    async def told(self, key, value):
        written.append(key)
        await put(self, key, value)

    counts = np.random.default_rng(0).integers(0, 9, (20, 128, 512)).astype("float32")
    stack = xr.DataArray(counts, dims=("energy", "y", "x"), name="intensity").chunk(energy=1)
    monkeypatch.setattr(zarr.storage.LocalStore, "set", told)
    encoding = {"intensity": {"chunks": (20, 32, 32), "shards": (20, 64, 64)}}
    path = xstxm.write_zarr(stack, tmp_path / "a.zarr", memory="16 MiB", encoding=encoding)
    shards = [key for key in written if "/c/" in key]
    assert len(shards) == len(set(shards)) == 16
    np.testing.assert_array_equal(xstxm.open_result(path), counts)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        pytest.param({"counts": {}}, r"no such variables of numbers, there are: intensity, .*energy", id="unknown"),
        pytest.param(
            {"intensity": {"dtype": "i2"}}, "stored to the bit: choose chunks, shards, compressors", id="lossy"
        ),
        pytest.param({"intensity": {"chunks": (8, 8)}}, "each of its dimensions, energy, y, x", id="dims"),
        pytest.param({"intensity": {"chunks": (1, 8, 8), "shards": (1, 12, 12)}}, "does not store .* so", id="shards"),
        pytest.param({"intensity": {"shards": "auto"}}, "each of its dimensions, energy, y, x", id="auto"),
        pytest.param({"intensity": {"compressors": "zstd"}}, "zarr does not store 'intensity' so", id="codec"),
        pytest.param(
            {"intensity": {"chunks": (40, 8, 8), "shards": (40, 256, 256)}}, 'or memory="41 MiB"', id="large shards"
        ),
    ],
)
def test_zarr__that_cannot_be_as_asked_is_refused_before_it_is_begun(tmp_path, encoding, message):
    pytest.importorskip("zarr")
    axes = {"energy": ("energy", np.arange(500.0, 540), {"units": "eV"})}
    counts = xr.DataArray(np.ones((40, 256, 256), "f4"), axes, ("energy", "y", "x"), name="intensity").chunk(energy=1)
    with pytest.raises(OptionError, match=message):
        xstxm.write_zarr(counts.to_dataset(), tmp_path / "a.zarr", memory="16 MiB", encoding=encoding)
    assert not list(tmp_path.iterdir())


def test_convert__to_another_format_has_no_encoding(tmp_path):
    with pytest.raises(OptionError, match="Zarr stores have one, netcdf has not: leave it out"):
        xstxm.convert(tmp_path / "a.hdf5", tmp_path / "a.nc", encoding={})


def test_netcdf__takes_no_more_room_than_is_looked_for(tmp_path):
    references = xstxm.testing.simulate_references()
    maps = xstxm.phase_map(xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]], references)
    size = xstxm.write_netcdf(maps, tmp_path / "a.nc").stat().st_size
    assert maps.nbytes + 2**16 < size < maps.nbytes + _replacing._MORE


OF_A_STORE = {
    "as it is": lambda stack: stack,
    "not in chunks": lambda stack: xstxm.open_stack(stack.encoding["source"]),
    "of a verb": lambda stack: stack.stxm.subtract_dark("1 count"),
    "an array": lambda stack: stack["intensity"].mean("energy"),
    "maps": lambda stack: xstxm.fit(xstxm.optical_density(stack, I0), xstxm.testing.simulate_references()),
    "a tree": lambda stack: xr.DataTree.from_dict({"one": stack}),
    "neighbours": lambda stack: stack.stxm.despike(),
}
I0 = xr.DataArray(5e3, attrs={"units": "count"})


@pytest.mark.parametrize("made", OF_A_STORE)
@pytest.mark.filterwarnings("ignore::xstxm.errors.StxmWarning")
def test_write_zarr__does_not_replace_the_store_that_it_reads(tmp_path, made):
    stack = xstxm.testing.simulate_stack(shape=(12, 16), seed=0)[["intensity"]]
    path = xstxm.write_zarr(stack, tmp_path / "a.zarr")
    lazy = OF_A_STORE[made](xstxm.open_stack(path, chunks={"y": 4}))
    with pytest.raises(OptionError, match="is lazy and reads this store: give another name"):
        xstxm.write_zarr(lazy, path, overwrite=True)
    xstxm.write_zarr(lazy, tmp_path / "b.zarr")
    np.testing.assert_array_equal(xstxm.open_stack(path)["intensity"], stack["intensity"])
    if not isinstance(lazy, xr.DataTree):
        xstxm.write_zarr(xstxm.compute(lazy), path, overwrite=True)
