"""NXstxm files in the dialects of several beamlines, and the ways in which they are broken."""

from __future__ import annotations

import io
import pickle
import warnings

import h5py
import numpy as np
import pytest
import xarray as xr
from nxstxm_files import (
    COUNTS,
    DIALECTS,
    ENERGIES,
    X,
    Y,
    als_2,
    als_2_line,
    als_21,
    cls_line,
    field,
    group,
    hermes,
    i08,
    pixelator,
    points,
    pollux,
    scan,
    write,
)

import xstxm
from xstxm.errors import (
    ChoiceError,
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    OptionError,
    UnsupportedScanError,
)

GRID = {"energy": (ENERGIES, "eV"), "sample_y": (Y, "um"), "sample_x": (X, "um")}
NO_FILE = "was met in no real file"
MS = "taken to be ms, which pystxmcontrol writes"
SAID = {
    "i08": ["sample_y has no unit and steps of 6.7e-05: taken to be mm", "sample_x has no unit"],
    "hermes": [NO_FILE],
    "cls": [NO_FILE],
    "als 0": [NO_FILE, MS, "entries entry0, entry1 hold a scan each"],
    "als 2": [NO_FILE, MS, "its raw points become the mean in each requested pixel"],
    "als 2.1": [NO_FILE, MS],
    "als 3": [NO_FILE, MS],
}


def open_dialect(source, name, **options):
    """Open a stack, which says what it should, each once, and nothing else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stack = xstxm.open_stack(source, **options)
    said = [str(one.message) for one in caught]
    for words in SAID.get(name, []):
        assert sum(words in text for text in said) == 1, said
    assert len(said) == len(SAID.get(name, [])), said
    return stack


def opened(tmp_path, name, **options):
    return open_dialect(write(tmp_path / "scan.hdf5", DIALECTS[name]), name, **options)


@pytest.mark.parametrize("as_stream", [False, True], ids=["path", "file object"])
@pytest.mark.parametrize("name", DIALECTS)
def test_dialects__give_the_same_stack(tmp_path, name, as_stream):
    path = write(tmp_path / "scan.hdf5", DIALECTS[name])
    with open_dialect(io.BytesIO(path.read_bytes()) if as_stream else path, name) as stack:
        assert stack.intensity.dims == ("energy", "y", "x")
        assert stack.intensity.dtype == "float32"
        assert stack.intensity.attrs["units"] == "count"
        np.testing.assert_array_equal(stack.intensity, COUNTS)
        np.testing.assert_array_equal(stack.energy, ENERGIES)
        assert stack.attrs["scan_type"] == "sample image stack"
        assert ("source_file" in stack.attrs) is not as_stream
        assert "None" not in map(str, stack.attrs.values())
        if name != "i08":
            np.testing.assert_array_equal(stack.y, Y)
            np.testing.assert_array_equal(stack.x, X)
        xstxm.conventions.validate(stack, "stack")


def test_pollux__metadata_dwell_and_ring_current_with_nan(tmp_path):
    stack = xstxm.open_stack(write(tmp_path / "scan.hdf5", pollux))
    assert stack.attrs["title"] == "carbon particle"
    assert stack.attrs["start_time"] == "2016-05-20T11:12:13"
    assert stack.attrs["facility"] == "Swiss Light Source"
    assert not {"sample", "beamline"} & set(stack.attrs)
    assert stack.dwell_time.item() == 5.0
    np.testing.assert_array_equal(stack.ring_current, [400, np.nan, 401])


def test_pixelator__says_nothing_about_the_facility(tmp_path):
    stack = xstxm.open_stack(write(tmp_path / "scan.hdf5", pixelator))
    assert "facility" not in stack.attrs
    np.testing.assert_array_equal(stack.dwell_time, [2, 2, 2])
    assert stack.ring_current.dims == ("energy", "y", "x")
    assert np.isnan(stack.ring_current[0, 0, 0])
    assert float(stack.ring_current[1, 1, 3]) == 300


def test_detectors__on_the_same_grid_are_further_variables(tmp_path):
    path = write(tmp_path / "scan.hdf5", pixelator)
    stack = xstxm.open_stack(path)
    assert set(stack.data_vars) == {"intensity", "photodiode"}
    np.testing.assert_array_equal(stack.photodiode, COUNTS + 1000)
    asked = xstxm.open_stack(path, detector="photodiode")
    np.testing.assert_array_equal(asked.intensity, COUNTS + 1000)
    assert set(asked.data_vars) == {"intensity", "APD"}
    with pytest.raises(ChoiceError, match=r"unknown detector 'APDD': use 'APD' or 'photodiode' \(did you mean 'APD'"):
        xstxm.open_stack(path, detector="APDD")


def test_detectors__a_drain_current_is_one_but_a_ring_current_is_none(tmp_path):
    def measure(file):
        for name in ("A sample current", "ring_current"):
            file["entry1"].copy("APD", name)

    stack = xstxm.open_stack(write(tmp_path / "scan.hdf5", pixelator, measure))
    assert set(stack.data_vars) == {"intensity", "A_sample_current", "photodiode"}
    assert stack["intensity"].attrs["detector"] == "APD"


def test_detectors__the_default_of_the_entry_comes_first(tmp_path):
    def prefer(file):
        file["entry1"].attrs["default"] = "photodiode"

    stack = xstxm.open_stack(write(tmp_path / "scan.hdf5", pixelator, prefer))
    np.testing.assert_array_equal(stack.intensity, COUNTS + 1000)


def test_detectors__on_another_grid_are_left_out_with_a_warning(tmp_path):
    path = write(tmp_path / "scan.hdf5", pollux)
    with h5py.File(path, "r+") as file:
        other = group(file["entry1"], "wide", b"NXdata")
        other["data"], other["energy"] = np.ones((3, 5, 6)), ENERGIES
    with pytest.warns(MetadataWarning, match="detector 'wide' has another grid than 'counter0'"):
        assert set(xstxm.open_stack(path).data_vars) == {"intensity"}


def test_i08__positions_without_a_unit_are_mm(tmp_path):
    with pytest.warns(MetadataWarning, match="has no unit and steps of 6.7e-05: taken to be mm"):
        stack = xstxm.open_stack(write(tmp_path / "scan.nxs", i08))
    np.testing.assert_allclose(stack.x.diff("x"), 0.067, rtol=1e-9)
    np.testing.assert_allclose(stack.y[0], -1779.0)
    assert stack.dwell_time.item() == 10


def test_hermes__beamline_and_dwell_per_energy(tmp_path):
    stack = opened(tmp_path, "hermes")
    assert stack.attrs["beamline"] == "Hermes"
    np.testing.assert_array_equal(stack.dwell_time, [1, 2, 3])


@pytest.mark.filterwarnings("ignore:.*in no real file")
def test_hermes__regions_are_entries_with_or_without_a_class(tmp_path):
    def second(file):
        file.copy("entry1", "entry2")
        file["entry2"].attrs["NX_class"] = "NXentry"
        file["entry2/Counter0/data"][:] = COUNTS + 7

    path = write(tmp_path / "scan.nxs", hermes, second)
    tree = xstxm.open_tree(path)
    np.testing.assert_array_equal(tree["scan/entry1"].intensity, COUNTS)
    np.testing.assert_array_equal(tree["scan/entry2"].intensity, COUNTS + 7)


def test_cls__line_spectrum_follows_the_shape_where_the_axes_contradict(tmp_path):
    with pytest.warns(MetadataWarning, match="CLS pyStxm was met in no real file"):
        stack = xstxm.open_stack(write(tmp_path / "line.hdf5", cls_line))
    assert stack.intensity.dims == ("energy", "position")
    np.testing.assert_array_equal(stack.intensity, COUNTS[:, 0])
    np.testing.assert_array_equal(stack.x, X)


# ALS pystxmcontrol


@pytest.mark.parametrize("name", ["als 0", "als 2", "als 2.1", "als 3"])
def test_als__dwell_is_ms_whatever_the_file_calls_it_and_zeros_are_no_ring_current(tmp_path, name):
    stack = opened(tmp_path, name)
    np.testing.assert_array_equal(stack.dwell_time, [2, 2, 2])
    assert "ring_current" not in stack.coords
    assert stack.attrs["sample"] == "cathode"


@pytest.mark.filterwarnings("ignore:.*(in no real file|taken to be ms)")
def test_als_0__each_region_is_an_entry(tmp_path):
    path = write(tmp_path / "scan.stxm", DIALECTS["als 0"])
    np.testing.assert_array_equal(xstxm.open_stack(path, entry="entry1").intensity, COUNTS[:, :, :3] + 1000)
    assert set(xstxm.open_tree(path)["scan"].children) == {"entry0", "entry1"}


def test_als_2__lines_are_averaged_within_requested_pixels_as_frames_are_read(tmp_path, monkeypatch):
    from xstxm.io._hdf5 import Store

    stack = opened(tmp_path, "als 2", chunks={})
    assert stack.intensity.chunks == ((1, 1, 1), (2,), (4,))
    read = []
    original = Store.read
    monkeypatch.setattr(Store, "read", lambda self, path, key=(): read.append((path, key)) or original(self, path, key))
    np.testing.assert_array_equal(stack.intensity[1], COUNTS[1])
    assert read == [("/entry0/counter0/data", (1,)), ("/entry0/counter0/sample_x", (1,))]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack)).intensity, COUNTS)


def _as(path, change):
    with h5py.File(path, "r+") as file:
        change(file["entry0"])
    return path


def _put(entry, name, values):
    del entry[name]
    entry[name] = values


@pytest.fixture
def raw(tmp_path):
    return write(tmp_path / "scan.stxm", als_2)


only_gaps = pytest.mark.filterwarnings("ignore:.*(in no real file|taken to be ms|is not on a grid)")


@only_gaps
def test_als_2__mean_is_that_of_every_point_between_the_borders_of_a_pixel(raw):
    counts, _, xs = points()
    rng = np.random.default_rng(0)
    counts, xs = rng.poisson(50, counts.shape), xs + rng.normal(0, 0.01, xs.shape)
    _as(raw, lambda entry: (_put(entry, "counter0/data", counts), _put(entry, "counter0/sample_x", xs)))
    borders = np.concatenate([X - 0.025, [X[-1] + 0.025]])
    expected = [
        [np.histogram(x, borders, weights=c)[0] / np.histogram(x, borders)[0] for x, c in zip(*frame, strict=True)]
        for frame in zip(xs, counts, strict=True)
    ]
    np.testing.assert_allclose(xstxm.open_stack(raw).intensity, expected, rtol=1e-6)


@only_gaps
def test_als_2__descending_requested_positions_turn_the_columns(raw):
    _as(raw, lambda entry: _put(entry, "requested_values/sample_x", X[::-1]))
    stack = xstxm.open_stack(raw)
    np.testing.assert_array_equal(stack.intensity, COUNTS[:, :, ::-1])
    np.testing.assert_array_equal(stack.x, X[::-1])


@only_gaps
def test_als_2__requested_positions_in_another_unit_are_converted(raw):
    def in_nm(entry):
        _put(entry, "requested_values/sample_x", X * 1000)
        entry["requested_values/sample_x"].attrs["units"] = "nm"

    stack = xstxm.open_stack(_as(raw, in_nm))
    np.testing.assert_array_equal(stack.intensity, COUNTS)
    np.testing.assert_allclose(stack.x, X)


@only_gaps
def test_als_2__requested_positions_without_a_unit_have_that_of_the_measured(raw):
    def small(entry):
        for place in ("counter0/sample_x", "requested_values/sample_x"):
            values = entry[place][()] / 1000
            _put(entry, place, values)
        entry["counter0/sample_x"].attrs["units"] = "um"

    stack = xstxm.open_stack(_as(raw, small))
    np.testing.assert_array_equal(stack.intensity, COUNTS)
    np.testing.assert_allclose(stack.x, X / 1000)


@only_gaps
def test_als_2__pixels_without_a_point_are_nan_and_told_when_their_frame_is_read(raw):
    def leave(entry):
        xs = points()[2].copy()
        xs[1, 0, 4:7] = xs[1, 0, 3]
        _put(entry, "counter0/sample_x", xs)

    stack = xstxm.open_stack(_as(raw, leave))
    np.testing.assert_array_equal(stack.intensity[0], COUNTS[0])
    with pytest.warns(MetadataWarning, match="1 of 8 pixels of frame 1 hold no measured point: they are NaN"):
        frame = stack.intensity[1].values
    np.testing.assert_array_equal(np.isnan(frame), [[False, True, False, False], [False] * 4])


@only_gaps
def test_als_2__points_without_a_position_are_left_out_and_told(raw):
    def lose(entry):
        xs = points()[2].copy()
        xs[2, 1, 3] = np.nan
        _put(entry, "counter0/sample_x", xs)

    stack = xstxm.open_stack(_as(raw, lose))
    with pytest.warns(MetadataWarning, match="1 points of frame 2 have no measured position: they are left out"):
        frame = stack.intensity[2].values
    assert frame[1, 0] == COUNTS[2, 1, 0] - 0.5


@only_gaps
def test_als_2__line_spectrum_is_averaged_along_its_way(tmp_path):
    stack = xstxm.open_stack(write(tmp_path / "line.stxm", als_2_line))
    assert stack.intensity.dims == ("energy", "position")
    np.testing.assert_array_equal(stack.intensity, np.arange(36.0).reshape(3, 4, 3).mean(axis=2))
    np.testing.assert_allclose(stack.position, [0, 5, 10, 15])


@pytest.mark.filterwarnings("ignore:.*(in no real file|taken to be ms)")
def test_als_2__as_many_columns_as_requested_are_the_pixels(raw):
    def without_excess(entry):
        for name in ("data", "sample_x", "sample_y"):
            _put(entry, f"counter0/{name}", entry[f"counter0/{name}"][:, :, 1:5])

    stack = xstxm.open_stack(_as(raw, without_excess))
    np.testing.assert_array_equal(stack.intensity, points()[0][:, :, 1:5])


@pytest.mark.filterwarnings("ignore:.*(in no real file|taken to be ms)")
def test_als_21__line_spectrum_on_a_grid(tmp_path):
    def line(file):
        entry = file["entry0"]
        _put(entry, "binned_values/data", COUNTS[:, :1])
        _put(entry, "binned_values/sample_y", np.full(4, 2.0))
        _put(entry, "counter0/stxm_scan_type", "Line Spectrum")

    stack = xstxm.open_stack(write(tmp_path / "line.stxm", als_21, line))
    assert stack.intensity.dims == ("energy", "position")
    np.testing.assert_array_equal(stack.intensity, COUNTS[:, 0])
    np.testing.assert_array_equal(stack.x, X)


@pytest.mark.filterwarnings("ignore:.*(in no real file|taken to be ms)")
def test_als_3__counters_of_photons_are_detectors_and_default_is_the_first(tmp_path):
    path = write(tmp_path / "scan.stxm", DIALECTS["als 3"])
    stack = xstxm.open_stack(path)
    assert set(stack.data_vars) == {"intensity", "analyzer"}
    np.testing.assert_array_equal(stack.analyzer, COUNTS + 1000)
    other = xstxm.open_stack(path, detector="analyzer")
    np.testing.assert_array_equal(other.intensity, COUNTS + 1000)
    np.testing.assert_array_equal(other.energy, ENERGIES)


@only_gaps
def test_als__counter_of_a_ptychography_scan_is_read_and_its_frames_are_not(raw):
    def camera(entry):
        frames = group(entry, "ccd0", "NXdata")
        group(frames, "exp"), group(frames, "dark")
        _put(entry, "counter0/stxm_scan_type", "Ptychography Image")

    with pytest.warns(MetadataWarning, match="its camera frames are not"):
        np.testing.assert_array_equal(xstxm.open_stack(_as(raw, camera)).intensity, COUNTS)


def _claim(entry, name, shape):
    del entry[name]
    entry.create_dataset(name, shape, "float64", chunks=(1,) * (len(shape) - 1) + (10,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda entry: _put(entry, "counter0/sample_x", np.ones((3, 2, 9))),
            r"2 x 4 requested pixels, found counts of shape \(3, 2, 14\), positions of shapes",
            id="positions of another shape",
        ),
        pytest.param(
            lambda entry: _put(entry, "counter0/sample_x", X), "positions of shapes", id="positions of one line"
        ),
        pytest.param(
            lambda entry: _put(entry, "requested_values/sample_x", np.arange(20.0)), "2 x 20", id="too few points"
        ),
        pytest.param(
            lambda entry: _put(entry, "requested_values/sample_y", np.arange(5.0)), "5 x 4", id="too few lines"
        ),
        pytest.param(
            lambda entry: _put(entry, "requested_values/sample_x", np.array([0, 1, 1, 2.0])),
            "requested positions in order",
            id="repeated requested positions",
        ),
        pytest.param(
            lambda entry: _put(entry, "requested_values/sample_x", np.array([0, 1, np.nan, 2])),
            "requested positions in order|finite positions",
            id="NaN requested positions",
        ),
        pytest.param(
            lambda entry: _put(entry, "requested_values/sample_y", np.array([0, np.nan])),
            "finite positions along y, found 1 that are not",
            id="NaN requested lines",
        ),
        pytest.param(
            lambda entry: _put(entry, "requested_values/sample_x", np.array([])), "2 x 0 requested", id="no position"
        ),
        pytest.param(
            lambda entry: _claim(entry, "requested_values/sample_x", (10**12,)), "2 x 1000000000000", id="a huge grid"
        ),
        pytest.param(
            lambda entry: (
                [_claim(entry, f"counter0/{name}", (3, 2, 10**12)) for name in ("data", "sample_x", "sample_y")]
                + [_claim(entry, "requested_values/sample_x", (10**11,))]
            ),
            "and 0 bytes",
            id="points that are not there for a huge grid",
        ),
        pytest.param(
            lambda entry: [
                _put(entry, "counter0/data", np.ones((3, 2, 10**6), "i1")),
                *(_claim(entry, f"counter0/{name}", (3, 2, 10**6)) for name in ("sample_x", "sample_y")),
                _claim(entry, "counter0/sample_x", (3, 2 * 10**6, 10**6)),
            ],
            "positions of shapes",
            id="positions that are not there",
        ),
    ],
)
@only_gaps
def test_als_2__that_contradicts_itself_is_refused(raw, change, message):
    with pytest.raises(CorruptFileError, match=message) as caught:
        xstxm.open_stack(_as(raw, change))
    assert "scan.stxm" in str(caught.value)


def test_entries__that_are_each_other_end(tmp_path):
    def loops(file):
        file["entry1/entry3"] = file["entry1"]
        file["entry4"] = h5py.SoftLink("/entry5")
        file["entry5"] = h5py.SoftLink("/entry4")
        file["entry6"] = h5py.SoftLink("/entry1/entry3/entry3")

    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID), loops)
    with pytest.warns(MetadataWarning, match="entries entry1, entry6 hold a scan each"):
        np.testing.assert_array_equal(xstxm.open_stack(path).intensity, COUNTS)


# axes


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        pytest.param(COUNTS, {"axes": "energy:sample_y:sample_x"}, id="axes as one word with colons"),
        pytest.param(COUNTS, {"axes": "[energy,sample_y,sample_x]"}, id="axes as one word with commas"),
        pytest.param(COUNTS.transpose(2, 1, 0), {"axes": ["sample_x", "sample_y", "energy"]}, id="energy last"),
        pytest.param(COUNTS, {}, id="lengths alone"),
        pytest.param(COUNTS.transpose(1, 2, 0), {}, id="lengths alone, energy last"),
        pytest.param(COUNTS, {"axes": ["energy", "sample_x", "sample_y"]}, id="axes that contradict the shape"),
        pytest.param(COUNTS, {"axes": [".", "sample_y", "sample_x"]}, id="axes with a gap"),
    ],
)
def test_axes__are_found(tmp_path, data, fields):
    stack = xstxm.open_stack(write(tmp_path / "scan.hdf5", scan(data, **fields, **GRID)))
    np.testing.assert_array_equal(stack.intensity, COUNTS)
    np.testing.assert_array_equal(stack.intensity[1], COUNTS[1])
    np.testing.assert_array_equal(stack.intensity[:, 1, [3, 0]], COUNTS[:, 1, [3, 0]])


def test_axes__by_indices(tmp_path):
    cube = np.arange(27.0).reshape(3, 3, 3)
    grid = {"energy": ENERGIES, "sample_y": np.arange(3.0), "sample_x": np.arange(3.0)}
    path = write(tmp_path / "scan.hdf5", scan(cube, **grid))
    with h5py.File(path, "r+") as file:
        data = file["entry1/counter0"]
        data.attrs["sample_x_indices"], data.attrs["energy_indices"] = np.array([0]), 2
        data.attrs["sample_y_indices"] = 1
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, cube.transpose(2, 1, 0))


def test_axes__that_fit_no_shape_are_an_error(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(np.ones((3, 2, 5)), **GRID))
    with pytest.raises(
        CorruptFileError, match=r"'counter0' with axes of the lengths energy 3, y 2, x 4.*found the shape"
    ):
        xstxm.open_stack(path)


def test_single_image__is_a_stack_of_one_energy(tmp_path):
    path = write(
        tmp_path / "scan.hdf5",
        scan(COUNTS[0], axes=["sample_y", "sample_x"], **{**GRID, "energy": np.array([530.0])}, kind="sample image"),
    )
    stack = xstxm.open_stack(path, chunks={})
    assert dict(stack.sizes) == {"energy": 1, "y": 2, "x": 4}
    assert stack.attrs["scan_type"] == "sample image"
    np.testing.assert_array_equal(stack.intensity, COUNTS[:1])
    np.testing.assert_array_equal(stack.intensity.isel(energy=0, x=[3, 1]), COUNTS[0][:, [3, 1]])
    np.testing.assert_array_equal(stack.intensity.isel(energy=[0, 0], y=1), COUNTS[[0, 0], 1])


@pytest.mark.parametrize("kind", ["sample line spectrum", "Sample_Line_Spectrum", None])
@pytest.mark.parametrize("turned", [False, True], ids=["energy first", "position first"])
def test_line_scan__is_energy_by_position(tmp_path, kind, turned):
    data = COUNTS[:, 0]
    line = {"line_position": (np.arange(4.0), "um"), "sample_x": (X, "um"), "sample_y": (np.full(4, 2.0), "um")}
    path = write(tmp_path / "line.hdf5", scan(data.T if turned else data, kind=kind, energy=ENERGIES, **line))
    stack = xstxm.open_stack(path)
    assert stack.intensity.dims == ("energy", "position")
    assert stack.attrs["scan_type"] == "sample line spectrum"
    np.testing.assert_array_equal(stack.intensity, data)
    np.testing.assert_array_equal(stack.x, X)
    assert stack.y.dims == ("position",)


def test_line_scan__without_line_position_measures_the_way(tmp_path):
    line = {
        "axes": ["energy", "sample_x"],
        "sample_x": (3 * np.arange(4.0), "um"),
        "sample_y": (4 * np.arange(4.0), "um"),
    }
    stack = xstxm.open_stack(write(tmp_path / "line.hdf5", scan(COUNTS[:, 0], energy=ENERGIES, **line)))
    np.testing.assert_allclose(stack.position, [0, 5, 10, 15])


def test_point_spectrum__is_along_energy(tmp_path):
    path = write(tmp_path / "point.hdf5", scan(COUNTS[:, 0, 0], energy=ENERGIES, sample_x=1.0, sample_y=2.0))
    stack = xstxm.open_stack(path)
    assert stack.intensity.dims == ("energy",)
    assert stack.attrs["scan_type"] == "sample point spectrum"


# positions and energies


def test_positions__descending_stay_descending(tmp_path):
    stack = xstxm.open_stack(write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, "sample_y": (Y[::-1], "um")})))
    np.testing.assert_array_equal(stack.y, Y[::-1])
    np.testing.assert_array_equal(stack.intensity, COUNTS)


@pytest.mark.parametrize("flat", [False, True], ids=["2-D", "one per point"])
def test_positions__measured_at_every_point_give_means_and_themselves(tmp_path, flat):
    ys, xs = np.meshgrid(Y, X, indexing="ij")
    ys, xs = ys + np.array([-0.01, 0.01, -0.01, 0.01]), xs + np.array([[0.02], [-0.02]])
    fields = {"sample_y": (ys.ravel() if flat else ys, "um"), "sample_x": (xs.ravel() if flat else xs, "um")}
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, **fields}, axes=["energy", "sample_y", "sample_x"]))
    stack = xstxm.open_stack(path)
    np.testing.assert_allclose(stack.y, Y)
    np.testing.assert_allclose(stack.x, X)
    np.testing.assert_array_equal(stack.x_measured, xs)
    assert (stack.y_measured.dims, stack.y_measured.attrs["units"]) == (("y", "x"), "um")


def test_positions__that_are_missing_at_some_points_do_not_count_in_the_mean(tmp_path):
    xs = np.broadcast_to(X, (2, 4)).copy()
    xs[0, 1] = np.nan
    fields = {**GRID, "sample_x": (xs, "um")}
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **fields, axes=["energy", "sample_y", "sample_x"]))
    np.testing.assert_array_equal(xstxm.open_stack(path).x, X)


@pytest.mark.parametrize("xs", [np.array([0, np.nan, 2, 3]), np.full((2, 4), np.nan)], ids=["1-D", "2-D"])
def test_positions__that_are_no_numbers_are_an_error(tmp_path, xs):
    fields = {**GRID, "sample_x": (xs, "um")}
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **fields, axes=["energy", "sample_y", "sample_x"]))
    with pytest.raises(CorruptFileError, match="finite positions along x"):
        xstxm.open_stack(path)


def test_energies__in_kev_are_converted(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, "energy": (ENERGIES / 1000, "keV")}))
    np.testing.assert_array_equal(xstxm.open_stack(path).energy, ENERGIES)


@pytest.mark.parametrize("units", ["ev", "EV", " eV "])
def test_energies__in_ev_of_any_spelling_are_left_as_they_are(tmp_path, units):
    energies = np.array([528.123456789012345, 530.1, 531.2])
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, "energy": (energies, units)}))
    np.testing.assert_array_equal(xstxm.open_stack(path).energy, energies)


@pytest.mark.parametrize("units", ["KeV", "kev", "KEV"])
def test_energies__in_kev_of_any_spelling_are_converted(tmp_path, units):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, "energy": (ENERGIES / 1000, units)}))
    np.testing.assert_array_equal(xstxm.open_stack(path).energy, ENERGIES)


def test_energies__below_100_without_a_unit_are_taken_to_be_kev(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, "energy": ENERGIES / 1000}))
    with pytest.warns(
        MetadataWarning, match="without a unit are taken to be keV: if they are eV, use calibrate_energy"
    ):
        stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.energy, ENERGIES)
    np.testing.assert_allclose(xstxm.calibrate_energy(stack, scale=0.001).energy, ENERGIES / 1000)


def test_energies__below_100_in_ev_stay_and_look_like_kev(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, "energy": (ENERGIES / 1000, "eV")}))
    with pytest.warns(MetadataWarning, match=r"look like keV: if they are, use calibrate_energy\(stack, scale=1000\)"):
        np.testing.assert_array_equal(xstxm.open_stack(path).energy, ENERGIES / 1000)


def test_energies__in_the_monochromator_are_found(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, sample_y=(Y, "um"), sample_x=(X, "um")))
    with pytest.raises(CorruptFileError, match="expected the photon energy"):
        xstxm.open_stack(path)
    with h5py.File(path, "r+") as file:
        file["entry1/instrument/monochromator/energy"] = ENERGIES
    np.testing.assert_array_equal(xstxm.open_stack(path).energy, ENERGIES)


def test_energies__beside_the_numbers_need_no_monochromator_in_another_file(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID))
    with h5py.File(path, "r+") as file:
        group(file["entry1"], "instrument")["monochromator"] = h5py.ExternalLink("other.h5", "/")
    np.testing.assert_array_equal(xstxm.open_stack(path).energy, ENERGIES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"energy": np.array([528, np.nan, 531])}, "expected finite energies, found 1", id="NaN energy"),
        pytest.param({"energy": (ENERGIES, "mm")}, "expected energy in eV, found 'mm'", id="energy in mm"),
        pytest.param({"sample_x": (X, "deg")}, "sample_x in um, found 'deg'", id="position in degrees"),
    ],
)
def test_values__that_make_no_sense_are_an_error(tmp_path, fields, message):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **{**GRID, **fields}))
    with pytest.raises(CorruptFileError, match=message):
        xstxm.open_stack(path)


@pytest.mark.parametrize(
    ("control", "units"),
    [
        pytest.param(np.array([1.0, 2.0, 3.0]), "count", id="a monitor in counts"),
        pytest.param(np.array([1.0, 2.0, 3.0]), None, id="no unit"),
        pytest.param(np.array([1.0, 2.0, 3.0]), "furlongz", id="a unit nobody knows"),
        pytest.param(np.array([np.nan] * 3), "mA", id="NaN throughout"),
    ],
)
def test_control__that_is_no_ring_current_is_absent(tmp_path, control, units):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID))
    with h5py.File(path, "r+") as file:
        field(group(file["entry1"], "control"), "data", control, **({"units": units} if units else {}))
    assert "ring_current" not in xstxm.open_stack(path).coords


@pytest.mark.parametrize(("control", "units"), [(np.ones(7), "mA"), (np.ones(COUNTS.shape), "A")], ids=["length", "A"])
def test_control__of_another_length_is_left_out_with_a_warning(tmp_path, control, units):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID))
    with h5py.File(path, "r+") as file:
        field(group(file["entry1"], "control"), "data", control, units=units)
    with pytest.warns(MetadataWarning, match=rf"ring current /entry1/control/data in {units} of the shape \("):
        assert "ring_current" not in xstxm.open_stack(path).coords


def test_dwell_times__of_another_length_are_left_out_with_a_warning(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID, count_time=np.ones(7)))
    with pytest.warns(MetadataWarning, match=r"count_time of the shape \(7,\) .* dwell times are left out"):
        assert "dwell_time" not in xstxm.open_stack(path).coords


def test_control__in_ampere_becomes_ma(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID))
    with h5py.File(path, "r+") as file:
        field(group(file["entry1"], "control"), "data", np.array([0.4, 0.0, 0.41]), units="A")
    np.testing.assert_array_equal(xstxm.open_stack(path).ring_current, [400, np.nan, 410])


# entries


def test_entries__the_first_is_read_with_a_warning_and_any_on_request(tmp_path):
    second = scan(COUNTS + 7, entry="entry2", **GRID)
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID), second, lambda file: group(file, "entry0", "NXentry"))
    with pytest.warns(MetadataWarning, match="entries entry1, entry2 hold a scan each: 'entry1' is read, pass entry="):
        np.testing.assert_array_equal(xstxm.open_stack(path).intensity, COUNTS)
    np.testing.assert_array_equal(xstxm.open_stack(path, entry="entry2").intensity, COUNTS + 7)
    with pytest.raises(ChoiceError, match="unknown entry 'entry3': use 'entry0', 'entry1' or 'entry2'"):
        xstxm.open_stack(path, entry="entry3")
    with pytest.raises(FileFormatError, match="an NXdata group with an array in 'entry0', found none"):
        xstxm.open_stack(path, entry="entry0")


# files that are none


def _skeleton(file):
    entry = group(file, "entry", "NXentry")
    entry["definition"] = "NXstxm"
    data = group(entry, "data", "NXdata")
    data["data"], data["energy"], data["sample_x"], data["sample_y"] = 1, 1.0, 1.0, 1.0


def _camera(file):
    frames = group(group(file, "entry0", "NXentry"), "ccd0")
    frames["exp"], frames["dark"] = group(frames, "frames").name, np.ones((2, 2))


def _raw(file):
    scan(np.ones((3, 9)), **GRID)(file)
    group(file["entry1/counter0"], "requested_values")


@pytest.mark.parametrize(
    ("writer", "error", "message"),
    [
        pytest.param(lambda file: None, FileFormatError, "expected an NXentry, found nothing", id="empty"),
        pytest.param(lambda file: group(file, "data"), FileFormatError, "found groups data", id="other HDF5"),
        pytest.param(_skeleton, FileFormatError, "found data that are scalars: an empty skeleton", id="NXDL skeleton"),
        pytest.param(_camera, UnsupportedScanError, "camera frames of a ptychography scan", id="ptychography"),
        pytest.param(_raw, UnsupportedScanError, "found raw points in 'counter0'", id="raw points"),
        pytest.param(
            scan(COUNTS, kind="sample focus", **GRID), UnsupportedScanError, "found a 'sample focus' scan", id="focus"
        ),
        pytest.param(
            scan(np.ones((2, 3, 2, 4)), **GRID), UnsupportedScanError, "found an array with 4 axes", id="4-D array"
        ),
    ],
)
def test_file__that_holds_no_scan_says_why(tmp_path, writer, error, message):
    with pytest.raises(error, match=message):
        xstxm.open_stack(write(tmp_path / "scan.hdf5", writer))


def test_other_definition__is_named(tmp_path):
    def xas(file):
        group(file, "entry", "NXentry")["definition"] = "NXxas"

    with pytest.raises(FileFormatError, match="found a file of definition 'NXxas' without one"):
        xstxm.open_stack(write(tmp_path / "scan.nxs", xas))


def test_truncated_file__is_corrupt(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CorruptFileError, match=r"scan\.hdf5: expected a readable HDF5 file, found .*truncated"):
        xstxm.open_stack(path)


def test_missing_filter__names_the_package(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID))
    with h5py.File(path, "r+") as file:
        data = file["entry1/counter0"]
        del data["data"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 2, 4))
        plist.set_filter(32768, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(COUNTS.shape)
        packed = h5py.h5d.create(data.id, b"data", h5py.h5t.NATIVE_DOUBLE, space, plist)
        for index in range(3):
            packed.write_direct_chunk((index, 0, 0), b"packed", filter_mask=0)
    stack = xstxm.open_stack(path)
    with pytest.raises(FileFormatError, match="found filter 32768: pip install hdf5plugin"):
        stack.intensity.load()


def test_sdf_option__is_refused(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(COUNTS, **GRID))
    with pytest.raises(OptionError, match="region=1: an NXstxm file has entries, use entry="):
        xstxm.open_stack(path, region=1)


# laziness


def test_opening__reads_no_image_and_using_one_reads_one(tmp_path, monkeypatch):
    from xstxm.io._hdf5 import Store

    read = []
    original = Store.read
    monkeypatch.setattr(Store, "read", lambda self, path, key=(): read.append((path, key)) or original(self, path, key))
    path = write(tmp_path / "scan.hdf5", pixelator)
    stack = xstxm.open_stack(path)
    lazy = xstxm.open_stack(path, chunks={})
    assert not [name for name, key in read if name.endswith("data")]
    read.clear()
    np.testing.assert_array_equal(stack.intensity[2], COUNTS[2])
    assert [(name, key[0]) for name, key in read] == [("/entry1/APD/data", 2)]
    assert lazy.intensity.chunks == ((1, 1, 1), (2,), (4,))


def test_chunks__follow_a_file_that_stores_whole_spectra(tmp_path):
    path = write(tmp_path / "scan.hdf5", scan(np.ones((3, 200, 300)), energy=ENERGIES))
    with h5py.File(path, "r+") as file:
        data = file["entry1/counter0"]
        del data["data"]
        data.create_dataset("data", data=np.ones((3, 200, 300), "f4"), chunks=(3, 16, 16))
        data["sample_y"], data["sample_x"] = np.arange(200.0), np.arange(300.0)
    assert xstxm.open_stack(path, chunks={}).intensity.chunks == ((3,), (128, 72), (128, 128, 44))


def test_lazy_stack__can_be_pickled(tmp_path):
    lazy = xstxm.open_stack(write(tmp_path / "scan.hdf5", pollux), chunks={})
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).intensity, COUNTS)


def test_stack__can_be_closed(tmp_path):
    file = io.BytesIO(write(tmp_path / "scan.hdf5", pollux).read_bytes())
    with xstxm.open_stack(file) as stack:
        assert float(stack.intensity[0, 0, 0]) == 50
    with pytest.raises(FileFormatError, match="found a closed one: open the stack again"):
        stack.intensity.load()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({"energy": [2, 0, 0]}, id="energies in any order, repeated"),
        pytest.param({"x": slice(None, None, -2)}, id="backwards"),
        pytest.param({"energy": 1, "x": [2, 0], "y": [1]}, id="lists"),
        pytest.param({"energy": xr.DataArray([0, 2], dims="p"), "y": xr.DataArray([1, 0], dims="p")}, id="points"),
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=["energy first", "energy in the middle"])
def test_indexing__gives_what_numpy_gives(tmp_path, key, order):
    names = [["energy", "sample_y", "sample_x"][axis] for axis in order]
    path = write(tmp_path / "scan.hdf5", scan(COUNTS.transpose(order), axes=names, **GRID))
    loaded = xstxm.open_stack(path).load()
    xr.testing.assert_identical(xstxm.open_stack(path).isel(key).intensity.load(), loaded.isel(key).intensity)
