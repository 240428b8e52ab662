"""Folders, patterns and trees of files."""

from __future__ import annotations

import ncb_files
import numpy as np
import pytest
import sdf_files
import xarray as xr
from laziness import raise_if_dask_computes
from nxstxm_files import pollux, write

import xstxm
from xstxm.errors import ChoiceError, FileFormatError, MetadataWarning, OptionError, UnsupportedScanError

N = 5
"""Energies of the stack."""


@pytest.fixture(scope="module")
def stack():
    made = xstxm.testing.simulate_stack(shape=(5, 7), seed=0)[["intensity"]].isel(energy=slice(0, N))
    return made.assign_coords(dwell_time=((), 2.0, {"units": "ms"}))


NAMES = [f"frame{12 - index}.hdf5" for index in range(N)]
"""Of a file per energy; numbered backwards, so that neither names nor bytes sort the energies."""


def write_frames(stack, folder):
    for index in range(stack.sizes["energy"]):
        xstxm.write_nxstxm(stack.isel(energy=[index]), folder / NAMES[index])
    return folder


@pytest.fixture(scope="module")
def frames(stack, tmp_path_factory):
    """A folder with a file per energy, and a text."""
    folder = write_frames(stack, tmp_path_factory.mktemp("frames"))
    (folder / "notes.txt").write_text("beam dump at 3 am")
    return folder


@pytest.mark.parametrize("given", ["folder", "pattern", "path", "list"])
def test_files_of_one_energy__are_one_stack(stack, frames, given):
    files = [frames / name for name in NAMES]
    source = {"folder": str(frames), "pattern": f"{frames}/*.hdf5", "path": frames, "list": files}[given]
    for chunks in (None, {}, {"y": 2}):
        with xstxm.open_stack(source, chunks=chunks) as opened:
            np.testing.assert_array_equal(opened["intensity"], stack["intensity"])
            np.testing.assert_array_equal(opened["energy"], stack["energy"])
            np.testing.assert_array_equal(opened["x"], stack["x"])
            assert list(opened["source_file"].values) == NAMES
            np.testing.assert_array_equal(opened["dwell_time"], np.full(N, 2.0))
            assert opened["dwell_time"].attrs["units"] == "ms"
            assert opened["intensity"].attrs["units"] == "count"
            assert xstxm.history(opened)["operation"].iloc[-1] == "open_stack"


def test_files_of_one_energy__are_read_when_used(stack, frames):
    with raise_if_dask_computes():
        opened = xstxm.open_stack(frames, chunks={})
    assert opened["intensity"].chunks[0] == (1,) * N
    np.testing.assert_array_equal(opened["intensity"].isel(energy=3), stack["intensity"].isel(energy=3))


def test_files_of_one_energy__wait_without_dask_too(stack, frames):
    opened = xstxm.open_stack(frames)
    assert not opened["intensity"].variable._in_memory
    np.testing.assert_array_equal(opened["intensity"].isel(energy=3), stack["intensity"].isel(energy=3))
    np.testing.assert_array_equal(opened["intensity"], stack["intensity"])


def test_repeated_energies__are_kept_with_a_warning(stack, tmp_path):
    double = xr.concat([stack.isel(energy=[0, 1]), stack.isel(energy=[1]) + 1], "energy")
    write_frames(double, tmp_path)
    with pytest.warns(MetadataWarning, match="1 energies were measured twice"):
        opened = xstxm.open_stack(tmp_path)
    assert opened.sizes["energy"] == 3
    assert sorted(opened["intensity"].values[1:, 0, 0]) == sorted(double["intensity"].values[1:, 0, 0])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.isel(x=slice(1, None)), r"odd\.hdf5 \(shape 5 x 6\)"),
        (lambda s: s.assign_coords(x=s["x"] + 1.0), r"odd\.hdf5 \(x from .* um\)"),
        (lambda s: s.assign(second=s["intensity"]), r"odd\.hdf5 \(variables intensity, second\)"),
        (lambda s: s.assign(intensity=s["intensity"].assign_attrs(units="count/s")), r"\(intensity in count/s\)"),
        (
            lambda s: s.assign_coords(ring_current=(s["intensity"].dims, np.full((1, 5, 7), 400.0), {"units": "mA"})),
            r"odd\.hdf5 \(coordinates .*ring_current.*\)",
        ),
    ],
    ids=["shape", "positions", "detectors", "units", "ring current per pixel"],
)
def test_files_that_differ__are_named(stack, tmp_path, change, problem):
    write_frames(stack.isel(energy=slice(0, 3)), tmp_path)
    xstxm.write_nxstxm(change(stack.isel(energy=[4])), tmp_path / "odd.hdf5")
    with pytest.raises(UnsupportedScanError, match=rf"{problem}: give a pattern that leaves them out"):
        xstxm.open_stack(tmp_path)


def test_positions__may_differ_by_rounding(stack, tmp_path):
    write_frames(stack.isel(energy=slice(0, 3)), tmp_path)
    step = float(stack["x"].diff("x")[0])
    xstxm.write_nxstxm(stack.isel(energy=[4]).assign_coords(x=stack["x"] + 0.001 * step), tmp_path / "zz.hdf5")
    np.testing.assert_array_equal(xstxm.open_stack(tmp_path)["x"], stack["x"])


def test_stacks_in_a_folder__are_no_frames(stack, tmp_path):
    for name in "ab":
        xstxm.write_nxstxm(stack, tmp_path / f"{name}.hdf5")
    with pytest.raises(UnsupportedScanError, match=rf"a\.hdf5 \({N} energies\), b\.hdf5 \({N} energies\).*open_tree"):
        xstxm.open_stack(tmp_path)


def test_folder_of_one_scan__opens_that(tmp_path):
    path = sdf_files.write_stack(tmp_path)
    np.testing.assert_array_equal(xstxm.open_stack(tmp_path)["intensity"], xstxm.open_stack(path)["intensity"])
    assert xstxm.open_stack(tmp_path, chunks={})["intensity"].chunks[0][0] == 1
    with pytest.raises(OptionError, match="an SDF scan has regions, use region="):
        xstxm.open_stack(tmp_path, entry="entry1")
    with pytest.raises(FileFormatError, match="expected files of the format nxstxm, found sdf"):
        xstxm.open_stack(tmp_path, engine="nxstxm")


def test_folders__of_nothing_or_of_others(stack, tmp_path):
    with pytest.raises(FileFormatError, match="expected scans, found nothing"):
        xstxm.open_stack(tmp_path)
    with pytest.raises(FileFormatError, match="expected scans, found nothing"):
        xstxm.open_stack(f"{tmp_path}/*.hdf5")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileFormatError, match=r"expected scans, found notes\.txt"):
        xstxm.open_stack(tmp_path)
    xstxm.write_nxstxm(stack, tmp_path / "a.hdf5")
    (tmp_path / "strange.bin").write_bytes(b"\0\1")
    with pytest.raises(FileFormatError, match=r"found also strange\.bin: name those to open with a pattern"):
        xstxm.open_stack(tmp_path)
    (tmp_path / "strange.bin").unlink()
    xstxm.write_netcdf(stack, tmp_path / "b.nc")
    with pytest.raises(FileFormatError, match=r"files of one format, found a\.hdf5 \(nxstxm\), b\.nc \(netcdf\)"):
        xstxm.open_stack(tmp_path)


def test_texts_without_an_ending__are_passed_over(stack, tmp_path):
    xstxm.write_nxstxm(stack, tmp_path / "a.hdf5")
    (tmp_path / "LICENSE").write_text("Permission is hereby granted")
    assert xstxm.open_stack(tmp_path).sizes["energy"] == N
    (tmp_path / "core").write_bytes(b"\0\1")
    with pytest.raises(FileFormatError, match="found also core: name those"):
        xstxm.open_stack(tmp_path)


def test_what_is_warned_of_several_files__is_said_once_with_their_names(tmp_path):
    for name, energy in (("a", 0.7), ("b", 0.705)):
        data = ncb_files.write_ncb(tmp_path, ncb_files.numbers()[:1], base=name)
        data.write_text(data.read_text().replace("700.000", f"{energy}"))
    with pytest.warns(MetadataWarning, match=r"^a\.dat, b\.dat: energies below 100 without a unit") as caught:
        assert xstxm.open_stack(tmp_path).energy.values.tolist() == [700, 705]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(MetadataWarning, match=r"^a\.dat, b\.dat: energies below 100 without a unit") as caught:
        xstxm.open_tree(tmp_path)
    assert len(caught) == 1


def test_open_tree__of_every_kind_of_paths(stack, tmp_path):
    paths = [xstxm.write_nxstxm(stack + index, tmp_path / f"{name}.hdf5") for index, name in enumerate(("p2", "p10"))]
    for given, names in (
        (tmp_path, ["p2", "p10"]),
        (f"{tmp_path}/*.hdf5", ["p2", "p10"]),
        (paths, ["p2", "p10"]),
        (iter(paths), ["p2", "p10"]),
        ({"first": paths[1], "second": str(paths[0])}, ["first", "second"]),
        (paths[0], ["p2"]),
    ):
        tree = xstxm.open_tree(given, chunks={})
        assert list(tree.children) == names
    np.testing.assert_array_equal(tree["p2"]["intensity"], stack["intensity"])
    assert tree["p2"]["intensity"].chunks[0] == (1,) * N
    tree.close()


def test_open_tree__of_a_stored_tree(stack, tmp_path):
    stored = xr.DataTree.from_dict({"a": stack, "b/c": stack + 1})
    opened = xstxm.open_tree(xstxm.write_netcdf(stored, tmp_path / "night.nc"))
    assert [path for path, node in opened.subtree_with_keys if node.data_vars] == ["night/a", "night/b/c"]
    np.testing.assert_array_equal(opened["night/b/c"]["intensity"], stack["intensity"] + 1)


def test_open_tree__names_every_file_that_fails(stack, tmp_path):
    good = xstxm.write_nxstxm(stack, tmp_path / "good.hdf5")
    (tmp_path / "torn.hdf5").write_bytes(good.read_bytes()[:300])
    (tmp_path / "text.hdf5").write_text("hello")
    with pytest.raises(FileFormatError, match=r"3 of 4 files: .*torn\.hdf5: .*text\.hdf5: .*absent\.hdf5"):
        xstxm.open_tree([good, tmp_path / "torn.hdf5", tmp_path / "text.hdf5", tmp_path / "absent.hdf5"])


def test_open_tree__of_one_file_says_what_is_wrong_with_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^there is no file '.*absent\.hdf5'$"):
        xstxm.open_tree(tmp_path / "absent.hdf5")


def test_open_tree__refuses_two_files_of_one_name(stack, tmp_path):
    (tmp_path / "b").mkdir()
    paths = [xstxm.write_nxstxm(stack, folder / "a.hdf5") for folder in (tmp_path, tmp_path / "b")]
    with pytest.raises(OptionError, match=r"two files are called a: name each, e\.g\. \{'a': path, 'a_2': other\}"):
        xstxm.open_tree(paths)
    with pytest.raises(OptionError, match="give at least one file"):
        xstxm.open_tree([])


def test_open_tree__leaves_a_record_in_every_node(tmp_path):
    write(tmp_path / "a.hdf5", pollux)
    node = xstxm.open_tree(tmp_path)["a"].to_dataset()
    assert list(xstxm.history(node)["operation"]) == ["open_tree"]


@pytest.mark.filterwarnings("ignore:NXstxm holds images on one grid. source_file not written")
@pytest.mark.parametrize("ending", ["zarr", "nc", "hdf5"])
def test_convert__of_a_folder_of_frames(stack, frames, tmp_path, ending):
    told = []
    path = xstxm.convert(frames, tmp_path / f"a.{ending}", progress=told.append)
    with xstxm.open_stack(path) as opened:
        np.testing.assert_array_equal(opened["intensity"], stack["intensity"])
        assert opened["intensity"].attrs["units"] == "count"
    assert all(0 <= share <= 1 for share in told)
    assert told[-1] == 1
    assert told == sorted(told)
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        xstxm.convert(frames, path)


def test_convert__keeps_results_as_they_are(stack, tmp_path):
    tree = xr.DataTree.from_dict({"a": stack, "b": stack + 1})
    path = xstxm.convert(xstxm.write_netcdf(tree, tmp_path / "a.nc"), tmp_path / "b", to="zarr")
    assert xstxm.open_result(path).load().identical(tree)


def test_convert__refuses(stack, tmp_path):
    path = xstxm.write_netcdf(stack, tmp_path / "a.nc")
    with pytest.raises(OptionError, match=r"end it in \.zarr, \.nc"):
        xstxm.convert(path, tmp_path / "b.xyz")
    with pytest.raises(ChoiceError, match="did you mean 'zarr'"):
        xstxm.convert(path, tmp_path / "b", to="zar")
    with pytest.raises(OptionError, match="that is the source"):
        xstxm.convert(path, path, overwrite=True)
    with pytest.raises(OptionError, match="progress=3: give a function"):
        xstxm.convert(path, tmp_path / "b.nc", progress=3)
    for memory in ("much", "2 kB", 3):
        with pytest.raises(OptionError, match="give 16 MiB or more"):
            xstxm.convert(path, tmp_path / "b.nc", memory=memory)
        with pytest.raises(OptionError, match="give 16 MiB or more"):
            xstxm.write_netcdf(stack, tmp_path / "b.nc", memory=memory)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nc"]


def test_list_of_files__names_what_is_wrong(stack, tmp_path):
    write_frames(stack, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lost\.hdf5"):
        xstxm.open_stack([tmp_path / NAMES[-1], tmp_path / "lost.hdf5"])
    whole = xstxm.write_nxstxm(stack, tmp_path / "whole.hdf5")
    with pytest.raises(UnsupportedScanError, match=f"{N} energies"):
        xstxm.open_stack([tmp_path / NAMES[-1], whole])


def test_result__is_no_stack(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=0)
    result = stack[["thickness"]] if "thickness" in stack else stack[["intensity"]].isel(energy=0, drop=True)
    path = xstxm.write_netcdf(result, tmp_path / "result.nc")
    with pytest.raises(FileFormatError, match=r"open a result with xstxm\.open_result"):
        xstxm.open_stack(path)
    assert xstxm.open_result(path).identical(result)


def test_dwell_times_and_ring_currents__are_those_of_each_file(stack, tmp_path):
    bare = stack.isel(energy=slice(0, 3)).drop_vars(["dwell_time", "ring_current"])
    said = [{"dwell_time": 2.0, "ring_current": 400.0}, {"dwell_time": 3.0}, {"ring_current": 402.0}]
    units = {"dwell_time": "ms", "ring_current": "mA"}
    for index, numbers in enumerate(said):
        coords = {name: ("energy", [value], {"units": units[name]}) for name, value in numbers.items()}
        xstxm.write_nxstxm(bare.isel(energy=[index]).assign_coords(coords), tmp_path / f"{index}.hdf5")
    with pytest.warns(MetadataWarning) as told:
        opened = xstxm.open_stack(tmp_path)
    assert [str(one.message).partition(": ")[2] for one in told] == [
        "2.hdf5 without a dwell_time, which is NaN there",
        "1.hdf5 without a ring_current, which is NaN there",
    ]
    np.testing.assert_allclose(opened["dwell_time"], [2, 3, np.nan])
    np.testing.assert_allclose(opened["ring_current"], [400, np.nan, 402])
    assert opened["dwell_time"].attrs["units"] == "ms"


def test_chunks__of_a_folder_are_those_asked_for(stack, frames):
    for chunks, expected in (({"energy": 2}, (2, 2, 1)), ("auto", (N,)), (-1, (N,)), ({}, (1,) * N)):
        opened = xstxm.open_stack(frames, chunks=chunks)
        assert opened["intensity"].chunks[0] == expected
        np.testing.assert_array_equal(opened["intensity"], stack["intensity"])


@pytest.mark.filterwarnings("ignore:.*not written:xstxm.errors.MetadataWarning")
def test_folder_of_pairs__has_each_stack_once(stack, tmp_path):
    for index in (1, 0):
        xstxm.write_ncb(stack.isel(energy=[index]), tmp_path / f"{index}.dat")
    for given in (tmp_path, f"{tmp_path}/*.ncb", f"{tmp_path}/*.dat"):
        opened = xstxm.open_stack(given, kind="intensity")
        assert list(opened["source_file"].values) == ["0.dat", "1.dat"]
    assert list(xstxm.open_tree(tmp_path).children) == ["0", "1"]


def test_folder__has_no_room_for_broken_links_and_passes_over_folders(stack, tmp_path):
    path = xstxm.write_nxstxm(stack, tmp_path / "10²3.hdf5")
    path.with_name("a.hdf5").symlink_to(path)
    (tmp_path / "older").mkdir()
    for given in (tmp_path, f"{tmp_path}/*"):
        assert list(xstxm.open_tree(given).children) == ["10²3", "a"]
    (tmp_path / "lost.hdf5").symlink_to(tmp_path / "moved.hdf5")
    for given in (tmp_path, f"{tmp_path}/*"):
        with pytest.raises(FileFormatError, match=r"found also lost\.hdf5"):
            xstxm.open_tree(given)


def test_images_of_one_energy__become_a_stack_in_words_too(stack, tmp_path):
    for index in range(2):
        image = stack.isel(energy=[index]).assign_attrs(scan_type="sample image")
        xstxm.write_nxstxm(image, tmp_path / f"{index}.hdf5")
    assert xstxm.open_stack(tmp_path / "0.hdf5").attrs["scan_type"] == "sample image"
    assert xstxm.open_stack(tmp_path).attrs["scan_type"] == "sample image stack"


@pytest.mark.parametrize("chunks", [None, {}], ids=["no dask", "dask"])
def test_maps__become_one_for_each_file(stack, tmp_path, chunks):
    for index in range(3):
        thickness = (("y", "x"), np.full((5, 7), 1.0 + index), {"units": "nm"})
        xstxm.write_nxstxm(stack.isel(energy=[index]).assign(thickness=thickness), tmp_path / f"{index}.hdf5")
    opened = xstxm.open_stack(tmp_path, chunks=chunks)
    np.testing.assert_array_equal(opened["thickness"], np.broadcast_to(np.array([[[1]], [[2]], [[3]]]), (3, 5, 7)))
    np.testing.assert_array_equal(opened["intensity"], stack["intensity"][:3])
