"""What all writers have in common: a file is there as a whole or not at all, and what it leaves out is told."""

from __future__ import annotations

import contextlib
import errno
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xstxm
from xstxm.errors import MetadataWarning, NoRoomError, OptionError, StxmError
from xstxm.io._endings import ENDINGS

resource = pytest.importorskip("resource", reason="no limits of file sizes on this system")

LIMIT = 2**16
WRITERS = {
    "sdf": ("scan.hdr", xstxm.write_sdf),
    "nxstxm": ("scan.hdf5", xstxm.write_nxstxm),
    "ncb": ("scan.dat", xstxm.write_ncb),
    "tiff": ("scan.tif", xstxm.write_tiff),
    "netcdf": ("scan.nc", xstxm.write_netcdf),
    "zarr": ("scan.zarr", xstxm.write_zarr),
}
FRAMES = ("sdf", "nxstxm", "ncb", "tiff")
every_writer = pytest.mark.parametrize(("file", "write"), WRITERS.values(), ids=WRITERS)


def scan(shape: tuple[int, int, int] = (2, 3, 4), offset: float = 0, **coords: object) -> xr.Dataset:
    axes = {dim: (dim, np.arange(size) * 0.5, {"units": "um"}) for dim, size in zip("yx", shape[1:], strict=True)}
    axes["energy"] = ("energy", 500.0 + np.arange(shape[0]), {"units": "eV"})
    values = np.random.default_rng(0).random(shape, dtype="float32") + np.float32(offset)
    return xr.Dataset({"intensity": (("energy", "y", "x"), values, {"units": "count"})}, {**axes, **coords})


@contextlib.contextmanager
def full_disk():
    """Let the system refuse every file beyond a size, in the middle of writing it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_writer
@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "lazy"])
def test_full_disk__leaves_nothing_and_keeps_what_was_there(tmp_path, file, write, lazy):
    large = scan((2, 200, 300))
    large = large.chunk(energy=1) if lazy else large
    with full_disk(), pytest.raises((OSError, StxmError)):
        write(large, tmp_path / file)
    assert not list(tmp_path.iterdir())
    write(scan(), tmp_path / file)
    before = content(tmp_path)
    with full_disk(), pytest.raises((OSError, StxmError)):
        write(large, tmp_path / file, overwrite=True)
    assert content(tmp_path) == before
    write(large, tmp_path / file, overwrite=True)


@every_writer
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=["full", "quota"])
def test_full_disk__is_told_with_where_and_how_much(tmp_path, file, write, number):
    def broken(block):
        raise OSError(number, "no more")

    whole = scan((2, 200, 300)).chunk(energy=1)
    lazy = whole.map(
        lambda array: array.copy(data=array.data.map_blocks(broken, dtype=array.dtype, meta=np.empty(0, "f4")))
    )
    needs = r" and it needs up to 48\d\.?\d? kB" if file.endswith(("nc", "zarr", "hdf5")) else ""
    message = rf"{file}: there is no room for it in {re.escape(str(tmp_path))}, where .*B are free{needs}: make room"
    with pytest.raises(NoRoomError, match=message) as told:
        write(lazy, tmp_path / file)
    assert told.value.__cause__.errno == number
    assert not list(tmp_path.iterdir())


def test_full_disk__leaves_no_part_of_a_table(tmp_path):
    table = pd.DataFrame({"a": np.random.default_rng(0).random(10_000)})
    with full_disk(), pytest.raises(OSError, match="large"):
        xstxm.write_csv(table, tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@every_writer
def test_error_of_the_data__leaves_nothing_and_keeps_what_was_there(tmp_path, file, write):
    def broken(block):
        raise OSError("the disk went away")

    write(scan(), tmp_path / file)
    before = content(tmp_path)
    bad = scan(offset=1).chunk(energy=1).map_blocks(lambda block: block).copy()
    bad["intensity"] = bad["intensity"].copy(data=bad["intensity"].data.map_blocks(broken, dtype="float32"))
    with pytest.raises(OSError, match="the disk went away"):
        write(bad, tmp_path / file, overwrite=True)
    assert content(tmp_path) == before


@every_writer
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("chunks", [(1, 3, 4), (2, 2, 2), (5, 2, 4)], ids=["frames", "blocks", "spectra"])
def test_blocks_of_a_lazy_stack__are_computed_once(tmp_path, file, write, chunks, dtype):
    stack = scan((5, 3, 4)).map(lambda array: (200 * array).astype(dtype), keep_attrs=True)
    times: list[int] = []

    def counted(block):
        times.append(block.size)
        return block

    lazy = stack.chunk(dict(zip(("energy", "y", "x"), chunks, strict=True)))
    blocks = lazy["intensity"].data.map_blocks(counted, dtype=dtype, meta=np.empty((0, 0, 0), dtype))
    path = write(lazy.assign(intensity=lazy["intensity"].copy(data=blocks)), tmp_path / file)
    passes = 2 if file == "scan.tif" and dtype == "uint8" and chunks[0] == 1 else 1  # TIFF looks for its type first
    assert sum(times) == passes * stack["intensity"].size
    with xstxm.open_stack(path) as again:
        np.testing.assert_array_equal(again["intensity"], stack["intensity"])
    assert not [left for left in tmp_path.rglob("*") if left.suffix in (".raw", ".part")]


@every_writer
def test_folder_of_that_name__is_never_replaced(tmp_path, file, write):
    (tmp_path / file).mkdir()
    (tmp_path / file / "other.txt").write_text("kept")
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match="folder"):
        write(scan(), tmp_path / file, overwrite=True)
    assert content(tmp_path) == before


@every_writer
def test_folder_that_is_not_there__is_named_and_not_made(tmp_path, file, write):
    with pytest.raises(FileNotFoundError, match=rf"^there is no folder '.*lost' to write {file} into: make it first$"):
        write(scan(), tmp_path / "lost" / file)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".png", ".csv", ".toml", ".stk"])
@pytest.mark.parametrize("name", [name for name in WRITERS if name != "sdf"])
def test_ending_of_another_format__is_refused(tmp_path, name, ending):
    with pytest.raises(OptionError, match=rf"is written, and \{ending} is the ending of another format: use \."):
        WRITERS[name][1](scan(), tmp_path / f"scan{ending}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["", ".7", ".own"])
@pytest.mark.parametrize("name", [name for name in WRITERS if name != "sdf"])
def test_ending_of_no_format__is_written(tmp_path, name, ending):
    np.testing.assert_array_equal(
        xstxm.open_stack(WRITERS[name][1](scan(), tmp_path / f"scan{ending}"))["intensity"], scan()["intensity"]
    )


def test_ending_of_each_format__suits_its_writer(tmp_path):
    for ending, name in ENDINGS.items():
        (tmp_path / ending).mkdir()
        WRITERS[name][1](scan(), tmp_path / ending / f"scan{ending}")
    xstxm.write_netcdf(scan(), tmp_path / "scan.h5")


def test_tables__refuse_endings_and_folders_too(tmp_path):
    table = pd.DataFrame({"a": [1.0]})
    with pytest.raises(OptionError, match=r"a table is written, and \.nc is the ending of another format: use \.csv"):
        xstxm.write_csv(table, tmp_path / "a.nc")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        xstxm.write_csv(table, tmp_path / "lost" / "a.csv")
    references = xstxm.testing.simulate_references()
    with pytest.raises(OptionError, match=r"TOML is written, and \.csv is the ending of another format: use \.toml"):
        xstxm.write_references(references, tmp_path / "a.csv")


@every_writer
def test_file_that_is_there__is_replaced_when_told_to(tmp_path, file, write):
    path = write(scan(), tmp_path / file)
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match=rf"{file} exists: pass overwrite=True to replace"):
        write(scan(offset=1), path)
    assert content(tmp_path) == before
    write(scan(offset=1), path, overwrite=True)
    with xstxm.open_stack(path) as again:
        np.testing.assert_array_equal(again["intensity"], scan(offset=1)["intensity"])
    assert set(content(tmp_path)) == set(before) or file == "scan.zarr"


@pytest.mark.parametrize("last", [False, True], ids=["one rename fails", "the program ends there"])
@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("name", ["ncb", "sdf"])
def test_files_that_belong_together__are_the_old_ones_or_recognised_as_broken(tmp_path, monkeypatch, name, step, last):
    file, write = WRITERS[name]
    path = write(scan((1, 3, 4)), tmp_path / file)
    before, rename, count = content(tmp_path), Path.rename, iter(range(1000))

    def failing(here, there):
        at = next(count)
        if at == step or (last and at > step):
            raise OSError("no rename")
        return rename(here, there)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no rename"):
        write(scan((1, 3, 4), offset=1), path, overwrite=True)
    assert last or content(tmp_path) == before
    try:
        found = xstxm.open_stack(tmp_path / file)["intensity"]
    except (StxmError, FileNotFoundError):
        assert last
        assert step > 0
    else:
        np.testing.assert_array_equal(found, scan((1, 3, 4))["intensity"])


def test_old_files_that_do_not_get_their_names_back__are_kept(tmp_path, monkeypatch):
    path = xstxm.write_ncb(scan(), tmp_path / "scan.dat")
    before, rename = sorted(content(tmp_path).values()), Path.rename
    moved: list[Path] = []

    def twice(here, there):
        if len(moved) == 2:
            raise OSError("no rename")
        moved.append(there)
        return rename(here, there)

    monkeypatch.setattr(Path, "rename", twice)
    with pytest.raises(OSError, match="no rename"):
        xstxm.write_ncb(scan(offset=1), path, overwrite=True)
    assert sorted(content(tmp_path).values()) == before


@pytest.mark.parametrize(("file", "write"), [WRITERS[name] for name in FRAMES], ids=FRAMES)
def test_coordinates_without_a_place__are_named(tmp_path, file, write):
    stack = scan(position=(("y", "x"), np.zeros((3, 4))), polarization=0.5)
    with pytest.warns(MetadataWarning, match=r"position, polarization not written \(write_netcdf and write_zarr keep"):
        write(stack, tmp_path / file)


@pytest.mark.parametrize(
    ("file", "write"), [WRITERS[name] for name in ("ncb", "sdf", "tiff")], ids=["ncb", "sdf", "tiff"]
)
def test_rounding_to_single_precision__is_told_and_overflow_refused(tmp_path, file, write):
    with pytest.warns(MetadataWarning, match="'intensity' was rounded to float32"):
        write(scan().astype(float) / 3, tmp_path / file)
    with pytest.raises(StxmError, match="beyond float32"):
        write(scan().astype(float) * 1e300, tmp_path / file, overwrite=True)


@pytest.mark.filterwarnings("ignore:.* not written:xstxm.errors.MetadataWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_real_rate__stays_a_rate(real_data, tmp_path, name):
    source = real_data / "sdf-samples" / "30529000.hdr"
    with xstxm.open_stack(xstxm.convert(source, tmp_path / WRITERS[name][0])) as stack:
        assert stack["intensity"].attrs["units"] == "count/s"
        np.testing.assert_array_equal(stack["intensity"], xstxm.open_stack(source)["intensity"])
