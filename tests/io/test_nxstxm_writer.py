"""Stacks written as NXstxm."""

from __future__ import annotations

import json
import tracemalloc

import dask
import dask.array
import h5py
import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm.errors import (
    MetadataWarning,
    MissingCoordinateError,
    MissingUnitsError,
    MissingVariableError,
    SchemaError,
)


@pytest.fixture
def scan(stack: xr.Dataset) -> xr.Dataset:
    """A stack with all that the format holds."""
    current = ("energy", np.linspace(400, 390, stack.sizes["energy"]), {"units": "mA"})
    return stack.assign_coords(dwell_time=((), 0.433, {"units": "ms"}), ring_current=current).assign_attrs(
        title="LixV2O5", sample="particle 3", start_time="2024-05-06T07:08:09", beamline="5.3.2", facility="ALS"
    )


def _assert_same(opened, scan):
    for name in ("intensity", *scan.coords):
        np.testing.assert_array_equal(opened[name], scan[name], err_msg=name)
        assert opened[name].dims == scan[name].dims
        assert opened[name].attrs["units"] == scan[name].attrs["units"]
    assert opened.intensity.dtype == scan.intensity.dtype == "float32"
    for name in ("title", "sample", "start_time", "beamline", "facility", "scan_type"):
        assert opened.attrs.get(name) == scan.attrs.get(name)


def test_round_trip__is_exact(tmp_path, scan):
    path = xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")
    assert path == tmp_path / "scan.hdf5"
    with xstxm.open_stack(path) as opened:
        _assert_same(opened, scan)
        assert opened.attrs["source_file"] == "scan.hdf5"


def test_scan_type__is_that_of_what_a_selection_leaves(tmp_path, scan):
    said = scan.assign_attrs(scan_type="sample image stack").drop_vars("ring_current")
    line = said.isel(x=0, drop=True).rename(y="position")
    for stack, expected in (
        (said, "sample image stack"),
        (said.isel(energy=[0]), "sample image"),
        (line, "sample line spectrum"),
        (line.isel(position=0, drop=True), "sample point spectrum"),
        (said.assign_attrs(scan_type="osa image"), "osa image"),
    ):
        path = xstxm.write_nxstxm(stack, tmp_path / "scan.hdf5", overwrite=True)
        with xstxm.open_stack(path) as opened:
            assert opened.attrs["scan_type"] == expected


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param({"energy": 1}, id="by frame"),
        pytest.param({"energy": -1, "y": 2, "x": 4}, id="by pixel"),
        pytest.param({"energy": 5, "y": 4}, id="blocks"),
    ],
)
def test_round_trip__of_a_lazy_stack(tmp_path, scan, chunks):
    with xstxm.open_stack(xstxm.write_nxstxm(scan.chunk(chunks), tmp_path / "scan.hdf5")) as opened:
        _assert_same(opened, scan)


def test_lazy_stack__is_written_without_holding_it(tmp_path):
    frames = dask.array.ones((60, 128, 128), chunks=(1, 128, 128), dtype="float32")
    grid = {"energy": np.arange(500.0, 560), "y": np.arange(128.0), "x": np.arange(128.0)}
    stack = xr.DataArray(frames, coords=grid, dims=tuple(grid)).to_dataset(name="intensity")
    for name, units in (("energy", "eV"), ("y", "um"), ("x", "um"), ("intensity", "count")):
        stack[name].attrs["units"] = units
    xstxm.write_nxstxm(stack, tmp_path / "warm.hdf5")
    tracemalloc.start()
    with dask.config.set(scheduler="synchronous"):
        path = xstxm.write_nxstxm(stack, tmp_path / "scan.hdf5")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > frames.nbytes
    assert peak < frames.nbytes / 4


@pytest.mark.parametrize(
    "reduce",
    [
        pytest.param(lambda scan: scan.isel(energy=[4]), id="single image"),
        pytest.param(lambda scan: scan.isel(energy=slice(None, None, -1)), id="descending energies"),
        pytest.param(lambda scan: scan.isel(y=0, drop=True).rename(x="position"), id="line scan"),
        pytest.param(lambda scan: scan.isel(y=0, x=0, drop=True), id="point spectrum"),
        pytest.param(lambda scan: scan.transpose("x", "y", "energy"), id="other order of axes"),
    ],
)
def test_round_trip__of_other_scans(tmp_path, scan, reduce):
    reduced = reduce(scan).drop_attrs(deep=False)
    with xstxm.open_stack(xstxm.write_nxstxm(reduced, tmp_path / "scan.hdf5")) as opened:
        for name in ("intensity", *reduced.coords):
            np.testing.assert_array_equal(opened[name], reduced[name].transpose(*opened[name].dims), err_msg=name)


def test_round_trip__of_rates_and_further_detectors(tmp_path, scan):
    scan.intensity.attrs["units"] = "count/ms"
    scan["APD_2"] = (scan.intensity * 2).assign_attrs(units="count")
    with xstxm.open_stack(xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")) as opened:
        assert (opened.intensity.attrs["units"], opened.APD_2.attrs["units"]) == ("count/ms", "count")
        np.testing.assert_array_equal(opened.APD_2, scan.APD_2)


def test_round_trip__of_a_ring_current_per_pixel_and_dwell_per_energy(tmp_path, scan):
    scan = scan.assign_coords(
        ring_current=scan.intensity.astype(float).assign_attrs(units="mA").variable,
        dwell_time=("energy", np.arange(1.0, scan.sizes["energy"] + 1), {"units": "ms"}),
    )
    with xstxm.open_stack(xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")) as opened:
        np.testing.assert_array_equal(opened.ring_current, scan.ring_current)
        np.testing.assert_array_equal(opened.dwell_time, scan.dwell_time)


@pytest.mark.parametrize("units", ["ms", "s"])
@pytest.mark.parametrize("dims", [("energy", "y", "x"), ("energy",), ()])
def test_round_trip__of_dwell_times_of_pixels(tmp_path, scan, dims, units):
    times = 1 + np.random.default_rng(0).random([scan.sizes[dim] for dim in dims])
    stack = scan.assign_coords(dwell_time=(dims, times if units == "ms" else times / 1000, {"units": units}))
    with xstxm.open_stack(xstxm.write_nxstxm(stack, tmp_path / "a.hdf5"), chunks={}) as opened:
        assert opened["dwell_time"].dims == dims
        assert opened["dwell_time"].attrs["units"] == "ms"
        np.testing.assert_allclose(opened["dwell_time"], times, rtol=1e-6)


@pytest.mark.parametrize("dims", [("y", "x"), ("y",), ("energy", "y")])
def test_dwell_times_that_the_format_cannot_hold__are_named(tmp_path, scan, dims):
    times = np.ones([scan.sizes[dim] for dim in dims])
    stack = scan.assign_coords(dwell_time=(dims, times, {"units": "ms"}))
    with pytest.warns(MetadataWarning, match="dwell_time not written"):
        path = xstxm.write_nxstxm(stack, tmp_path / "a.hdf5")
    with xstxm.open_stack(path) as opened:
        assert "dwell_time" not in opened.coords


@pytest.mark.parametrize("broken", [0.0, np.nan, 2.001])
def test_dwell_times_of_another_program__are_those_of_the_first_pixel(tmp_path, scan, broken):
    stack = scan.assign_coords(
        dwell_time=(scan["intensity"].dims, np.full(scan["intensity"].shape, 2.0), {"units": "ms"})
    )
    path = xstxm.write_nxstxm(stack, tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file.attrs["creator"], file["entry1/program_name"][...] = "another", "another"
        file["entry1/counter0/count_time"][:, 1, 1] = broken
    with xstxm.open_stack(path) as opened:
        assert opened["dwell_time"].dims == ("energy",)
        np.testing.assert_array_equal(opened["dwell_time"], 2.0)
    with h5py.File(path, "a") as file:
        file["entry1/counter0/count_time"][:, -1, -1] = 3.0
    with (
        pytest.warns(MetadataWarning, match="differs between pixels: that of the first"),
        xstxm.open_stack(path) as opened,
    ):
        np.testing.assert_array_equal(opened["dwell_time"], 2.0)


def test_dwell_times_of_pixels__are_written_once_and_summed_up_without_reading_them(tmp_path, scan):
    times = 1 + np.random.default_rng(0).random(scan["intensity"].shape)
    stack = scan.assign(other=scan["intensity"] + 1).assign_coords(
        dwell_time=(scan["intensity"].dims, times, {"units": "ms"})
    )
    shares = []
    with xstxm.report_progress(shares.append):
        path = xstxm.write_nxstxm(stack, tmp_path / "a.hdf5")
    assert shares == sorted(shares)
    assert shares[-1] == 1
    with h5py.File(path) as file:
        assert isinstance(file["entry1/other"].get("count_time", getlink=True), h5py.SoftLink)
    with xstxm.open_stack(path) as opened:
        str(opened.stxm)
        assert not opened["dwell_time"].variable._in_memory
        np.testing.assert_allclose(opened["dwell_time"], times, rtol=1e-6)


def test_units__are_converted_on_the_way_out(tmp_path, scan):
    nm = scan.assign_coords(x=("x", scan.x.values * 1000, {"units": "nm"}))
    kev = nm.assign_coords(energy=("energy", scan.energy.values / 1000, {"units": "keV"}))
    with xstxm.open_stack(xstxm.write_nxstxm(kev, tmp_path / "scan.hdf5")) as opened:
        np.testing.assert_allclose(opened.x, scan.x, rtol=1e-12)
        np.testing.assert_allclose(opened.energy, scan.energy, rtol=1e-12)


def test_units__of_a_ring_current_per_pixel_are_converted_too(tmp_path, scan):
    current = (scan.intensity * 0 + 0.4).assign_attrs(units="A").variable
    with xstxm.open_stack(xstxm.write_nxstxm(scan.assign_coords(ring_current=current), tmp_path / "a.h5")) as opened:
        np.testing.assert_allclose(opened.ring_current, 400)
        assert opened.ring_current.attrs["units"] == "mA"


@pytest.mark.parametrize("name", ["dwell_time", "ring_current", "x", "intensity", "APD"])
def test_units__that_are_missing_are_not_guessed(tmp_path, scan, name):
    scan["APD"] = scan.intensity.copy()
    del scan[name].attrs["units"]
    with pytest.raises(MissingUnitsError, match=f"'{name}' has no units: set them"):
        xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_names__that_are_numbers_become_words(tmp_path, scan):
    scan[2] = (scan.intensity * 2).assign_attrs(units="count")
    with xstxm.open_stack(xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")) as opened:
        np.testing.assert_array_equal(opened["2"], scan[2])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param([1, "1"], "names given twice: '1': rename them first", id="one name in two types"),
        pytest.param(
            ["sample"], "no detector can be called 'sample' in NXstxm: rename it first", id="a name of the format"
        ),
        pytest.param(["a/b"], "no detector can be called 'a/b' in NXstxm: rename it first", id="a path"),
    ],
)
def test_names__that_the_file_cannot_hold_are_refused(tmp_path, scan, names, message):
    for name in names:
        scan[name] = scan.intensity.copy()
    with pytest.raises(SchemaError, match=message):
        xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_names__of_a_detector_and_of_something_else_are_told_apart(tmp_path, scan):
    scan["2"], scan[2] = scan.intensity.copy(), 3.0
    with pytest.raises(SchemaError, match="names given twice: '2'"):
        xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")


def _operations(stack):
    return [entry["operation"] for entry in json.loads(stack.attrs["xstxm_provenance"])]


def test_record__goes_on_from_the_file(tmp_path, scan):
    cut = xstxm.sel_energy(scan.drop_attrs(deep=False), float(scan.energy[1]), float(scan.energy[-2]))
    with xstxm.open_stack(xstxm.write_nxstxm(cut, tmp_path / "scan.hdf5")) as opened:
        assert _operations(opened) == ["sel_energy", "open_stack"]
        before, last = opened.attrs["history"].rsplit("\n", 1)
        assert before == cut.attrs["history"]
        assert "open_stack" in last
        again = xstxm.calibrate_energy(opened, 0.1)
        assert _operations(again) == ["sel_energy", "open_stack", "calibrate_energy"]
    with xr.open_dataset(tmp_path / "scan.hdf5", engine="stxm") as plain:
        assert plain.attrs["xstxm_provenance"] == cut.attrs["xstxm_provenance"]


def test_record__that_is_read_is_equal_to_what_was_written(tmp_path, scan):
    moved = xstxm.calibrate_energy(scan.drop_attrs(deep=False), 0.1)
    for offset in np.linspace(0.1, 1.2, 12):  # more than nine, whose names are not in the order of their numbers
        moved = xstxm.calibrate_energy(moved, offset)
    i0 = moved.intensity.mean(("y", "x")).assign_attrs(units="count")
    moved = xstxm.optical_density(moved, i0).drop_vars("quality")
    with xr.open_dataset(xstxm.write_nxstxm(moved, tmp_path / "scan.hdf5"), engine="stxm") as plain:
        assert plain.attrs["xstxm_provenance"] == moved.attrs["xstxm_provenance"]
        assert plain.attrs["history"] == moved.attrs["history"]


def test_record__is_a_process_for_each_step(tmp_path, scan):
    low, high = float(scan.energy[1]), float(scan.energy[-2])
    cut = xstxm.calibrate_energy(xstxm.sel_energy(scan.drop_attrs(deep=False), low, high), 0.1)
    with h5py.File(xstxm.write_nxstxm(cut, tmp_path / "scan.hdf5")) as file:
        entry = file["entry1"]
        assert entry["program_name"].attrs["version"] == xstxm.__version__
        for number, operation in enumerate(["sel_energy", "calibrate_energy"], start=1):
            process = entry[f"process_{number}"]
            step = json.loads(cut.attrs["xstxm_provenance"])[number - 1]
            assert process.attrs["NX_class"] == "NXprocess"
            assert process["program"].asstr()[()] == "xstxm"
            assert process["sequence_index"][()] == number
            assert process["version"].asstr()[()] == xstxm.__version__
            assert process["date"].asstr()[()] == step["time"]
            assert process["note"].attrs["NX_class"] == "NXnote"
            assert process["note/type"].asstr()[()] == "application/json"
            assert process["note/description"].asstr()[()] == operation
            assert json.loads(process["note/data"][()]) == step
        assert entry["notes/data"].asstr()[()] == cut.attrs["history"]


def _in_the_old_form(path):
    """Rewrite the record of a file as one process for all steps, as it was first."""
    with h5py.File(path, "r+") as file:
        entry = file["entry1"]
        steps = [json.loads(entry[f"process_{number}/note/data"][()]) for number in (1, 2)]
        note = entry.create_group("process/note")
        entry["process/program"] = "xstxm"
        note["description"], note["data"] = entry["notes/data"][()], json.dumps(steps)
        del entry["notes"], entry["process_1"], entry["process_2"], entry["program_name"]
    return path


@pytest.fixture
def cut(scan):
    low, high = float(scan.energy[1]), float(scan.energy[-2])
    return xstxm.calibrate_energy(xstxm.sel_energy(scan.drop_attrs(deep=False), low, high), 0.1)


def test_record__in_the_old_form_is_read(tmp_path, cut):
    path = _in_the_old_form(xstxm.write_nxstxm(cut, tmp_path / "scan.hdf5"))
    with xr.open_dataset(path, engine="stxm") as plain:
        assert plain.attrs["xstxm_provenance"] == cut.attrs["xstxm_provenance"]
        assert plain.attrs["history"] == cut.attrs["history"]


@pytest.mark.parametrize("form", ["old", "new"])
@pytest.mark.parametrize("broken", ["[{", "3", '["fit"]', "[" * 100_000], ids=["cut", "number", "words", "deep"])
def test_record__that_is_broken_is_left_out(tmp_path, cut, form, broken):
    path = xstxm.write_nxstxm(cut, tmp_path / "scan.hdf5")
    place = "entry1/process_2/note/data" if form == "new" else "entry1/process/note/data"
    with h5py.File(_in_the_old_form(path) if form == "old" else path, "r+") as file:
        del file[place]
        file[place] = broken
    with pytest.warns(MetadataWarning, match="record of the steps in /entry1 is broken: it is left out"):
        opened = xstxm.open_stack(path)
    assert _operations(opened) == ["open_stack"]
    assert opened.attrs["history"].startswith(cut.attrs["history"])


@pytest.mark.parametrize("missing", ["process_1", "process_2/note", "process_2/sequence_index"])
def test_record__of_which_a_step_is_missing_is_left_out(tmp_path, cut, missing):
    path = xstxm.write_nxstxm(cut, tmp_path / "scan.hdf5")
    with h5py.File(path, "r+") as file:
        del file["entry1"][missing]
    with pytest.warns(MetadataWarning, match="it is left out"):
        assert _operations(xstxm.open_stack(path)) == ["open_stack"]


def test_record__of_another_program_is_not_ours(tmp_path, cut):
    path = xstxm.write_nxstxm(cut, tmp_path / "scan.hdf5")
    with h5py.File(path, "r+") as file:
        process = file["entry1"].create_group("process_7")
        process.attrs["NX_class"], process["program"], process["sequence_index"] = "NXprocess", "another", 1
    assert _operations(xstxm.open_stack(path)) == ["sel_energy", "calibrate_energy", "open_stack"]
    with h5py.File(path, "r+") as file:
        file.attrs["creator"] = "another"
        del file["entry1/program_name"]
    assert _operations(xstxm.open_stack(path)) == ["open_stack"]


def test_record__that_another_program_broke_is_not_written_and_told(tmp_path, scan):
    with pytest.warns(MetadataWarning, match="cannot be read: it is not written"):
        xstxm.write_nxstxm(scan.assign_attrs(xstxm_provenance="[{"), tmp_path / "scan.hdf5")


# optical density and maps


@pytest.fixture
def absorbed(scan):
    i0 = scan.intensity.max(("y", "x")).assign_attrs(units="count")
    return xstxm.optical_density(scan, i0).drop_vars("quality")


def test_optical_density__is_read_as_such(tmp_path, absorbed):
    lazy = absorbed.drop_vars("intensity", errors="ignore").chunk({"energy": 1})
    path = xstxm.write_nxstxm(lazy, tmp_path / "scan.hdf5")
    with xstxm.open_stack(path) as opened:
        assert set(opened.data_vars) == {"optical_density"}
        np.testing.assert_array_equal(opened.optical_density, absorbed.optical_density.astype("float32"))
        assert opened.optical_density.attrs["units"] == "1"
        np.testing.assert_array_equal(opened.dwell_time, absorbed.dwell_time)
    with h5py.File(path) as file:
        assert file["entry1"].attrs["default"] == "optical_density"
        assert file["entry1/optical_density"].attrs["NX_class"] == "NXdata"
        assert file["entry1/optical_density/data"].attrs["units"] == "1"


def test_optical_density__beside_the_counts_keeps_its_name(tmp_path, scan, absorbed):
    both = scan.assign(optical_density=absorbed.optical_density)
    with xstxm.open_stack(xstxm.write_nxstxm(both, tmp_path / "scan.hdf5")) as opened:
        assert set(opened.data_vars) == {"intensity", "optical_density"}
        np.testing.assert_array_equal(opened.intensity, scan.intensity)


@pytest.mark.parametrize("detector", ["counter0", "optical_density"])
def test_optical_density__is_no_intensity_when_it_is_asked_for(tmp_path, scan, absorbed, detector):
    path = xstxm.write_nxstxm(scan.assign(optical_density=absorbed.optical_density), tmp_path / "scan.hdf5")
    with xstxm.open_stack(path, detector=detector) as opened:
        assert set(opened.data_vars) == {"intensity", "optical_density"}
        np.testing.assert_array_equal(opened.intensity, scan.intensity)


def test_maps__come_back_beside_the_stack(tmp_path, scan):
    thickness = scan.intensity.mean("energy").assign_attrs(units="nm")
    image = (scan.intensity[0] * 2).drop_vars("energy").assign_attrs(units="1")
    with xstxm.open_stack(
        xstxm.write_nxstxm(scan.assign(thickness=thickness, image=image), tmp_path / "scan.hdf5")
    ) as opened:
        assert set(opened.data_vars) == {"intensity", "thickness", "image"}
        for name, array in (("thickness", thickness), ("image", image)):
            assert opened[name].dims == ("y", "x")
            assert opened[name].attrs["units"] == array.attrs["units"]
            np.testing.assert_array_equal(opened[name], array)
    with h5py.File(tmp_path / "scan.hdf5") as file:
        group = file["entry1/thickness"]
        assert group.attrs["NX_class"] == "NXdata"
        assert list(group.attrs["axes"]) == ["sample_y", "sample_x"]
        assert "energy" not in group
        assert group["sample_x"].attrs["units"] == "um"


def test_maps__and_detectors_of_any_name_come_back_whatever_their_order_of_axes(tmp_path, scan):
    scan["current_x"] = (scan.intensity * 3).assign_attrs(units="count")
    scan["energy_map"] = scan.intensity.mean("energy").assign_attrs(units="eV").T
    with xstxm.open_stack(xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")) as opened:
        np.testing.assert_array_equal(opened.current_x, scan.current_x)
        np.testing.assert_array_equal(opened.energy_map, scan.energy_map.T)


@pytest.mark.parametrize("name", ["process_1", "notes", "program_name"])
def test_maps__of_a_name_of_the_format_are_refused(tmp_path, scan, name):
    scan[name] = scan.intensity.mean("energy").assign_attrs(units="1").T
    with pytest.raises(SchemaError, match=f"no detector can be called '{name}'"):
        xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")


def test_maps__beside_a_single_image_are_told_apart_from_it(tmp_path, scan):
    one = scan.isel(energy=[4])
    one["thickness"] = one.intensity[0].drop_vars(["energy", "ring_current"]).assign_attrs(units="nm")
    with xstxm.open_stack(xstxm.write_nxstxm(one, tmp_path / "scan.hdf5")) as opened:
        assert opened.intensity.dims == ("energy", "y", "x")
        assert opened.thickness.dims == ("y", "x")


def test_file__is_laid_out_as_the_definition_says(tmp_path, scan):
    with h5py.File(xstxm.write_nxstxm(scan, tmp_path / "scan.hdf5")) as file:
        entry = file["entry1"]
        classes = {name: entry[name].attrs["NX_class"] for name in entry if hasattr(entry[name], "keys")}
        assert classes == {
            "control": "NXmonitor",
            "counter0": "NXdata",
            "instrument": "NXinstrument",
            "sample": "NXsample",
        }
        assert entry["definition"][()] == b"NXstxm"
        assert entry["definition"].attrs["version"] == "1.1"
        data = entry["counter0"]
        assert list(data.attrs["axes"]) == ["energy", "sample_y", "sample_x"]
        assert data["count_time"].attrs["units"] == "s"
        assert data["count_time"][()] == 0.433e-3
        assert entry["instrument/detector_counter0/data"].shape == scan.intensity.shape
        assert entry["instrument/source"].attrs["NX_class"] == "NXsource"
        np.testing.assert_array_equal(entry["instrument/monochromator/energy"], scan.energy)


def test_missing_metadata__is_absent(tmp_path, stack):
    stack = stack.drop_attrs(deep=False).drop_vars("dwell_time")
    with h5py.File(xstxm.write_nxstxm(stack, tmp_path / "scan.hdf5")) as file:
        assert not {"title", "start_time", "control"} & set(file["entry1"])
        assert "count_time" not in file["entry1/counter0"]
    opened = xstxm.open_stack(tmp_path / "scan.hdf5")
    assert set(opened.attrs) == {"scan_type", "source_file", "Conventions", "history", "xstxm_provenance"}


def test_existing_file__is_kept_unless_told(tmp_path, scan):
    path = tmp_path / "scan.hdf5"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        xstxm.write_nxstxm(scan, path)
    assert path.read_text() == "precious"
    xstxm.write_nxstxm(scan, path, overwrite=True)
    opened = xstxm.open_stack(path, chunks={})
    xstxm.write_nxstxm(opened, path, overwrite=True)
    _assert_same(xstxm.open_stack(path), scan)


def test_failure__leaves_nothing_behind(tmp_path, scan):
    def fail(block):
        raise RuntimeError("no more data")

    broken = scan.assign(
        intensity=(
            scan.intensity.dims,
            dask.array.map_blocks(fail, scan.intensity.chunk().data, dtype="f4", meta=np.empty(0)),
        )
    )
    with pytest.raises(RuntimeError, match="no more data"):
        xstxm.write_nxstxm(broken, tmp_path / "scan.hdf5")
    assert list(tmp_path.iterdir()) == []


def test_what_the_format_cannot_hold__is_named(tmp_path, scan, i0):
    with pytest.warns(MetadataWarning, match="i0, mask not written"):
        xstxm.write_nxstxm(scan.assign(i0=i0, mask=scan.intensity[0] > 0), tmp_path / "scan.hdf5")


def test_coordinates_that_the_format_cannot_hold__are_named(tmp_path, scan):
    moved = scan.assign_coords(shift_y=("energy", np.zeros(scan.sizes["energy"]), {"units": "um"}))
    with pytest.warns(MetadataWarning, match="shift_y not written"):
        xstxm.write_nxstxm(moved.drop_vars("mask", errors="ignore"), tmp_path / "scan.hdf5")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda s: s.intensity, SchemaError, "holds a Dataset with 'intensity'", id="an array"),
        pytest.param(
            lambda s: s.drop_vars("intensity"), MissingVariableError, "'intensity' is missing", id="no counts"
        ),
        pytest.param(lambda s: s.expand_dims(theta=2), SchemaError, r"select along the others", id="an angle"),
        pytest.param(lambda s: s.drop_vars("x"), MissingCoordinateError, "'x' has no coordinate", id="no positions"),
    ],
)
def test_what_is_no_stack__is_refused(tmp_path, scan, change, error, message):
    with pytest.raises(error, match=message):
        xstxm.write_nxstxm(change(scan), tmp_path / "scan.hdf5")
    assert list(tmp_path.iterdir()) == []
