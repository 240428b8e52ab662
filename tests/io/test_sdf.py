"""SDF scans: stacks, images, lines and points, and the ways in which they are broken."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr
from sdf_files import ENERGIES, X, Y, axis, counts, header, write_frame, write_stack

import xstxm
from xstxm.errors import (
    ChoiceError,
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    OptionError,
    UnsupportedScanError,
)
from xstxm.io.sdf import frames


def test_stack__has_names_units_and_measured_numbers(tmp_path):
    stack = xstxm.open_stack(write_stack(tmp_path))
    np.testing.assert_array_equal(stack.intensity, counts())
    assert stack.intensity.dims == ("energy", "y", "x")
    assert stack.intensity.dtype == "float32"
    assert {name: stack[name].attrs["units"] for name in ("intensity", "energy", "y", "x", "dwell_time")} == {
        "intensity": "count",
        "energy": "eV",
        "y": "um",
        "x": "um",
        "dwell_time": "ms",
    }
    for name, points in (("energy", ENERGIES), ("y", Y), ("x", X)):
        assert stack[name].dtype == "float64"
        np.testing.assert_array_equal(stack[name], points)
    assert stack.dwell_time.item() == 0.5
    xstxm.conventions.validate(stack, "stack")


def test_stack__carries_metadata_and_nothing_that_is_missing(tmp_path):
    attrs = xstxm.open_stack(write_stack(tmp_path)).attrs
    assert attrs["title"] == "scan"
    assert attrs["scan_type"] == "sample image stack"
    assert attrs["start_time"] == "2007-12-14T18:52:00"
    assert attrs["source_file"] == "scan.hdr"
    assert not {"sample", "facility", "beamline"} & set(attrs)
    assert "None" not in map(str, attrs.values())
    bare = xstxm.open_stack(write_stack(tmp_path, base="bare", time="", dwell=""))
    assert "start_time" not in bare.attrs
    assert "dwell_time" not in bare.coords
    assert "ring_current" not in bare.coords


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param("2007 December 14 18:52:00", "2007-12-14T18:52:00", id="month in full"),
        pytest.param("2026 Apr 07 04:47:38", "2026-04-07T04:47:38", id="short month"),
        pytest.param("2003 May23 15:06:23", "2003-05-23T15:06:23", id="day glued to the month"),
    ],
)
def test_start_time__is_iso_8601(tmp_path, said, expected):
    assert xstxm.open_stack(write_stack(tmp_path, time=said)).attrs["start_time"] == expected


@pytest.mark.parametrize("said", ["yesterday", "2007 Smarch 14 18:52:00", "2007 Feb 31 18:52:00"])
def test_start_time__that_makes_no_sense_is_left_out(tmp_path, said):
    with pytest.warns(MetadataWarning, match="start time"):
        stack = xstxm.open_stack(write_stack(tmp_path, time=said))
    assert "start_time" not in stack.attrs


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"newline": "\r\n"}, id="CRLF"),
        pytest.param({"trailing": "\t"}, id="trailing tabs"),
        pytest.param({"newline": "\r\n", "trailing": "\t"}, id="CRLF and trailing tabs"),
        pytest.param({"flags": "Image  Stack"}, id="two blanks in Flags"),
        pytest.param({"extra": 'Strange = {A = ;B = "a;b{=}";}; Other = 6.2774386e+066; }'}, id="rubbish fields"),
        pytest.param({"q": axis("Sample Y", "um", Y) + "}"}, id="stray brace in the array"),
    ],
)
def test_stack__reads_the_same_through_the_quirks_of_writers(tmp_path, changes):
    stack = xstxm.open_stack(write_stack(tmp_path, **changes))
    np.testing.assert_array_equal(stack.intensity, counts())
    np.testing.assert_array_equal(stack.y, Y)


def test_renamed_copy__finds_its_frames_by_the_name_of_the_header(tmp_path):
    path = write_stack(tmp_path, base="Renamed (copy)")
    (tmp_path / "._Renamed (copy)_a000.xim").write_text("rubbish of another system")
    path.with_name("Renamed (copy)_a001.xim").rename(path.with_name("RENAMED (COPY)_A001.XIM"))
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, counts())


def test_axes__are_converted_to_um_and_ev(tmp_path):
    path = write_stack(
        tmp_path,
        p=axis("Sample X", "nm", [0, 50, 100, 150]),
        q=axis("Sample Y", "mm", [0, 0.001, 0.002]),
        stack=axis("Energy", "keV", [0.7, 0.705, 0.708, 0.71]),
    )
    stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.x, [0, 0.05, 0.1, 0.15])
    np.testing.assert_array_equal(stack.y, [0, 1, 2])
    np.testing.assert_array_equal(stack.energy, [700, 705, 708, 710])


def test_axes__that_are_exchanged_are_told_by_their_names(tmp_path):
    data = counts(4, (4, 3))
    path = write_stack(tmp_path, data, p=axis("Sample Y", "um", Y), q=axis("Sample X", "um", X))
    stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.intensity, data.transpose(0, 2, 1))
    assert dict(stack.sizes) == {"energy": 4, "y": 3, "x": 4}


def test_energies__keep_their_order_and_their_repeats(tmp_path):
    energies = (710.0, 705.0, 705.0, 700.0)
    with pytest.warns(MetadataWarning, match=r"measured twice \(705 eV\)"):
        stack = xstxm.open_stack(write_stack(tmp_path, energies=energies))
    np.testing.assert_array_equal(stack.energy, energies)


def test_energies__below_100_look_like_kev(tmp_path):
    with pytest.warns(MetadataWarning, match="look like keV"):
        xstxm.open_stack(write_stack(tmp_path, energies=(0.5, 0.6, 0.7, 0.8)))


def test_energies__below_100_without_a_unit_are_taken_to_be_kev(tmp_path):
    path = write_stack(tmp_path, stack=axis("Energy", "", [0.7, 0.705, 0.708, 0.71]))
    with pytest.warns(MetadataWarning, match=r"energies below 100 without a unit are taken to be keV: .* scale=0\.001"):
        stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.energy, [700, 705, 708, 710])


def test_file_object__opened_from_disk_is_as_good_as_its_path(tmp_path):
    with write_stack(tmp_path).open("rb") as file:
        np.testing.assert_array_equal(xstxm.open_stack(file).intensity, counts())


# several channels


def test_channels__the_first_in_counts_is_the_intensity(tmp_path):
    channels = [("DCCT", "mA"), ("APD 1", "Hz"), ("photodiode", "V")]
    path = write_stack(tmp_path, letters="abc", channels=channels)
    stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.intensity, counts() + 1000)
    np.testing.assert_array_equal(stack.DCCT, counts())
    assert stack.intensity.attrs["units"] == "count/s"
    assert stack.intensity.attrs["detector"] == "APD 1"
    assert (stack.DCCT.attrs["units"], stack.photodiode.attrs["units"]) == ("mA", "V")
    asked = xstxm.open_stack(path, detector="photodiode")
    np.testing.assert_array_equal(asked.intensity, counts() + 2000)
    assert set(asked.data_vars) == {"intensity", "DCCT", "APD_1"}
    with pytest.raises(ChoiceError, match="unknown detector 'diode': use 'DCCT', 'APD 1' or 'photodiode'"):
        xstxm.open_stack(path, detector="diode")


def test_channels__a_ring_current_is_never_the_intensity(tmp_path):
    path = write_stack(tmp_path, channels=[("DCCT", "mA")])
    with pytest.raises(UnsupportedScanError, match=r"found DCCT \[mA\]: pass detector="):
        xstxm.open_stack(path)


def test_channels__without_files_are_left_out_with_a_warning(tmp_path):
    path = write_stack(tmp_path, channels=[("APD", "counts"), ("DCCT", "mA")])
    with pytest.warns(MetadataWarning, match="'DCCT' are missing"):
        assert set(xstxm.open_stack(path).data_vars) == {"intensity"}


def test_channels__of_a_unit_nobody_knows_have_none(tmp_path):
    with pytest.warns(MetadataWarning, match="cannot understand the unit 'furlongz'"):
        stack = xstxm.open_stack(write_stack(tmp_path, channels=[("APD", "furlongz")]))
    assert "units" not in stack.intensity.attrs


# records of frames


def test_ring_current__old_records_count_from_one_and_leave_out_the_first(tmp_path):
    records = "StorageRingCurrent = 400.5;" + "".join(
        f'Image{number} = {{StorageRingCurrent = {400 - number}; Time = "x";}};' for number in (2, 3, 4)
    )
    stack = xstxm.open_stack(write_stack(tmp_path, extra=records))
    np.testing.assert_array_equal(stack.ring_current, [400.5, 398, 397, 396])
    assert stack.ring_current.attrs["units"] == "mA"


def test_ring_current__of_zero_is_unknown(tmp_path):
    records = "".join(
        f"Image{number:03d}_0 = {{StorageRingCurrent = {current};}};" for number, current in enumerate((0.00, 5, 6, 7))
    )
    np.testing.assert_array_equal(
        xstxm.open_stack(write_stack(tmp_path, extra=records)).ring_current, [np.nan, 5, 6, 7]
    )
    none = "".join(f"Image{number:03d}_0 = {{StorageRingCurrent = 0.00;}};" for number in range(4))
    assert "ring_current" not in xstxm.open_stack(write_stack(tmp_path, base="none", extra=none)).coords


def test_energies__read_back_are_preferred_where_they_are_near(tmp_path):
    near = "".join(f"Image{n:03d}_0 = {{Energy = {e + 0.1};}};" for n, e in enumerate(ENERGIES))
    stack = xstxm.open_stack(write_stack(tmp_path, extra=near))
    np.testing.assert_allclose(stack.energy, np.array(ENERGIES) + 0.1)
    far = near.replace("705.6", "712.3")
    with pytest.warns(MetadataWarning, match=r"read back, 712\.3 eV, is not the one of the axis, 705\.5 eV"):
        stack = xstxm.open_stack(write_stack(tmp_path, base="far", extra=far))
    np.testing.assert_array_equal(stack.energy, ENERGIES)


def test_dwell_time__is_per_energy_where_regions_asked_for_several(tmp_path):
    asked = "ImageScan = {EnergyRegions = (2, {Points = 1; DwellTime = 2;}, {Points = 3; DwellTime = 5;});};"
    stack = xstxm.open_stack(write_stack(tmp_path, extra=asked))
    np.testing.assert_array_equal(stack.dwell_time, [2, 5, 5, 5])
    other = asked.replace("Points = 3", "Points = 7")
    assert xstxm.open_stack(write_stack(tmp_path, base="other", extra=other)).dwell_time.item() == 0.5


# frames that are missing, broken, or numbered oddly


def test_gaps__as_many_frames_as_energies_are_paired_in_order(tmp_path):
    path = write_stack(tmp_path, counts(2), energies=(700.0, 710.0), numbers=(3, 19))
    np.testing.assert_array_equal(xstxm.open_stack(path).intensity, counts(2))


def test_gaps__are_filled_by_the_numbers_of_the_records(tmp_path):
    records = "".join(f"Image{n:03d}_0 = {{StorageRingCurrent = {n + 1};}};" for n in (3, 5, 19, 20))
    path = write_stack(tmp_path, counts(3), numbers=(3, 19, 20), extra=records)
    with pytest.warns(MetadataWarning, match=r"3 of 4 frames exist.*705\.5 eV left out"):
        stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.energy, [700, 708.25, 710])
    np.testing.assert_array_equal(stack.ring_current, [4, 20, 21])


def test_aborted_scan__keeps_the_frames_that_exist(tmp_path):
    path = write_stack(tmp_path, counts(2))
    with pytest.warns(MetadataWarning, match=r"2 of 4 frames exist.*708\.25 eV, 710 eV left out"):
        stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.energy, ENERGIES[:2])
    np.testing.assert_array_equal(stack.intensity, counts(2))


def test_aborted_scan__drops_a_last_frame_that_is_too_short(tmp_path):
    path = write_stack(tmp_path)
    write_frame(tmp_path / "scan_a003.xim", counts()[3, :2])
    with pytest.warns(MetadataWarning, match=r"last frame scan_a003\.xim ends before its 3 rows of 4.*710 eV left out"):
        stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.intensity, counts()[:3])


def test_aborted_scan__of_one_image_is_an_error(tmp_path):
    path = write_stack(tmp_path, counts(1)[:, :2], energies=(700.0,))
    with pytest.raises(CorruptFileError, match=r"scan_a000\.xim: expected 3 rows of 4 numbers, found fewer"):
        xstxm.open_stack(path)


def test_more_frames_than_energies__are_an_error(tmp_path):
    path = write_stack(tmp_path, counts(3), energies=(700.0, 710.0))
    with pytest.raises(CorruptFileError, match="expected 2 frames, one for each energy, found 3"):
        xstxm.open_stack(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param("1 2 3 4\n5 6 7 8\n", "found 2 rows", id="a row less"),
        pytest.param("1 2 3 4\n5 6 7\n8 9 1 2\n", "columns changed", id="a number less"),
        pytest.param("1 2 3\n4 5 6\n7 8 9\n", "found 3 rows of 3", id="another shape"),
        pytest.param("1 2 3 4\n5 6 x 8\n8 9 1 2\n", "could not convert", id="a word"),
        pytest.param("", "found 0 rows", id="nothing"),
    ],
)
def test_frame__broken_in_the_middle_is_named_when_it_is_read(tmp_path, content, found):
    stack = xstxm.open_stack(write_stack(tmp_path))
    (tmp_path / "scan_a001.xim").write_text(content)
    with pytest.raises(CorruptFileError, match=rf"scan_a001\.xim: expected 3 rows of 4 numbers, .*{found}"):
        stack.intensity.load()
    np.testing.assert_array_equal(stack.intensity.isel(energy=2), counts()[2])


def test_frame__that_vanished_is_named(tmp_path):
    stack = xstxm.open_stack(write_stack(tmp_path))
    (tmp_path / "scan_a002.xim").unlink()
    with pytest.raises(CorruptFileError, match=r"scan_a002\.xim: .* found no such file"):
        stack.load()


def test_header__without_data_says_which_file_it_misses(tmp_path):
    path = write_stack(tmp_path, np.empty((0, 3, 4)))
    with pytest.raises(CorruptFileError, match=r"scan\.hdr: expected its data beside it, scan_a000\.xim first"):
        xstxm.open_stack(path)


# laziness


def test_header__that_is_a_link_says_where_its_data_are(tmp_path):
    path = write_stack(tmp_path)
    link = tmp_path / "links" / "scan.hdr"
    link.parent.mkdir()
    link.symlink_to(path)
    with pytest.raises(CorruptFileError, match=rf"open {path}, to which the link leads"):
        xstxm.open_stack(link)


def test_opening__reads_no_frame_and_using_one_reads_one(tmp_path, monkeypatch):
    read = []
    original = frames.read_frame
    monkeypatch.setattr(frames, "read_frame", lambda path, *a, **b: read.append(path.name) or original(path, *a, **b))
    path = write_stack(tmp_path)
    stack = xstxm.open_stack(path)
    lazy = xstxm.open_stack(path, chunks={})
    assert read == []
    assert lazy.intensity.chunks == ((1, 1, 1, 1), (3,), (4,))
    assert float(stack.intensity.isel(energy=2, y=1, x=3)) == counts()[2, 1, 3]
    assert read == ["scan_a002.xim"]
    lazy.intensity.isel(energy=1).compute()
    assert read == ["scan_a002.xim", "scan_a001.xim"]
    assert xstxm.open_stack(path, chunks={"energy": -1}).intensity.chunks == ((4,), (3,), (4,))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({"energy": [3, 0, 0]}, id="energies in any order, repeated"),
        pytest.param({"energy": slice(None, None, -2)}, id="backwards"),
        pytest.param({"energy": 1, "x": [2, 0]}, id="one energy, chosen columns"),
        pytest.param({"energy": [2, 1], "y": [1, 0], "x": slice(1, 3)}, id="two lists"),
        pytest.param({"energy": slice(0, 0)}, id="nothing"),
        pytest.param({"energy": xr.DataArray([0, 3], dims="p"), "x": xr.DataArray([1, 2], dims="p")}, id="points"),
    ],
)
def test_indexing__gives_what_numpy_gives(tmp_path, key):
    path = write_stack(tmp_path)
    loaded = xstxm.open_stack(path).load()
    xr.testing.assert_identical(xstxm.open_stack(path).isel(key).intensity.load(), loaded.isel(key).intensity)


def test_lazy_stack__can_be_pickled(tmp_path):
    stack = pickle.loads(pickle.dumps(xstxm.open_stack(write_stack(tmp_path), chunks={})))
    np.testing.assert_array_equal(stack.intensity, counts())


# other scans


def _image(folder, base="image", **fields):
    path = folder / f"{base}.hdr"
    given = {"p": axis("Sample X", "um", X), "q": axis("Sample Y", "um", Y), "stack": axis("Energy", "eV", [708.4])}
    path.write_text(header(**{"kind": "Image Scan", "flags": "Image", **given, **fields}))
    write_frame(folder / f"{base}_a.xim", counts(1)[0])
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [("Image Scan", "sample image"), ("OSA Scan", "osa image"), ("Detector Scan", "detector image")],
)
def test_single_image__is_a_stack_of_one_energy(tmp_path, kind, said):
    stack = xstxm.open_stack(_image(tmp_path, kind=kind))
    np.testing.assert_array_equal(stack.intensity, counts(1))
    assert stack.energy.item() == 708.4
    assert stack.attrs["scan_type"] == said


def test_single_image__without_energy_axis_takes_what_was_recorded(tmp_path):
    record = "Image000_0 = {Energy = 707.9; StorageRingCurrent = 400;};"
    stack = xstxm.open_stack(_image(tmp_path, stack="", extra=record))
    assert (stack.energy.item(), stack.ring_current.item()) == (707.9, 400)
    motor = 'Monochromator = {Name = "Energy"; LastPosition = 699.972;};'
    with pytest.warns(MetadataWarning, match=r"699\.972 eV, the last position of the monochromator"):
        assert xstxm.open_stack(_image(tmp_path, stack="", extra=motor)).energy.item() == 699.972
    with pytest.warns(MetadataWarning, match="photon energy is not recorded"):
        assert np.isnan(xstxm.open_stack(_image(tmp_path, stack="")).energy.item())


def test_focus_scan__is_refused(tmp_path):
    path = _image(tmp_path, kind="Focus Scan", q=axis("ZonePlateZ", "um", Y))
    with pytest.raises(UnsupportedScanError, match="found a 'Focus Scan' of Sample X and ZonePlateZ"):
        xstxm.open_stack(path)


def test_stack_over_something_else__is_refused(tmp_path):
    path = write_stack(tmp_path, stack=axis("Polarization", "deg", [0, 30, 60, 90]))
    with pytest.raises(UnsupportedScanError, match="found a stack over Polarization"):
        xstxm.open_stack(path)


def _regions(*shapes):
    return [(axis("Sample X", "um", range(nx)), axis("Sample Y", "um", range(ny))) for ny, nx in shapes]


def test_multi_region_stack__lets_the_region_be_chosen(tmp_path):
    shapes = [(3, 4), (2, 5)]
    text = header(flags="Multi-Region Image Stack", regions=_regions(*shapes), stack=axis("Energy", "eV", [700, 710]))
    (tmp_path / "multi.hdr").write_text(text)
    for region, shape in enumerate(shapes):
        for index, frame in enumerate(counts(2, shape)):
            write_frame(tmp_path / f"multi_a{index:03d}{region}.xim", frame)
    path = tmp_path / "multi.hdr"
    with pytest.warns(MetadataWarning, match="regions 0, 1: the first is read, pass region="):
        np.testing.assert_array_equal(xstxm.open_stack(path).intensity, counts(2))
    np.testing.assert_array_equal(xstxm.open_stack(path, region=1).intensity, counts(2, (2, 5)))
    with pytest.raises(OptionError, match="region=2: the scan has regions 0, 1"):
        xstxm.open_stack(path, region=2)
    with pytest.raises(OptionError, match="region=1: the scan has region 0 only"):
        xstxm.open_stack(write_stack(tmp_path), region=1)


def test_region__may_be_any_whole_number(tmp_path):
    path = write_stack(tmp_path)
    np.testing.assert_array_equal(xstxm.open_stack(path, region=np.int64(0))["intensity"], counts())


def test_multi_region_image__reads_each_region(tmp_path):
    text = header(kind="Image Scan", flags="Multi-Region Image", regions=_regions((3, 4), (2, 5)), stack="")
    path = tmp_path / "multi.hdr"
    path.write_text(text + "Image000_1 = {Energy = 530;};")
    write_frame(tmp_path / "multi_a0.xim", counts(1)[0])
    write_frame(tmp_path / "multi_a1.xim", counts(1, (2, 5))[0])
    stack = xstxm.open_stack(path, region=1)
    np.testing.assert_array_equal(stack.intensity, counts(1, (2, 5)))
    assert stack.energy.item() == 530


@pytest.mark.parametrize("energy_first", [True, False], ids=["energy is the fast axis", "energy is the slow axis"])
def test_line_scan__is_energy_by_position(tmp_path, energy_first):
    energy, line = axis("Energy", "eV", ENERGIES), axis("Line", "um", Y)
    p, q = (energy, line) if energy_first else (line, energy)
    path = tmp_path / "line.hdr"
    path.write_text(header(kind="NEXAFS Line Scan", flags="Image", p=p, q=q, stack=""))
    data = counts(1, (3, 4) if energy_first else (4, 3))[0]
    write_frame(tmp_path / "line_a.xim", data)
    stack = xstxm.open_stack(path)
    assert stack.intensity.dims == ("energy", "position")
    assert stack.attrs["scan_type"] == "sample line spectrum"
    np.testing.assert_array_equal(stack.intensity, data.T if energy_first else data)
    np.testing.assert_array_equal(stack.position, Y)
    np.testing.assert_array_equal(stack.energy, ENERGIES)


@pytest.mark.parametrize("energy_first", [True, False], ids=["energy is the fast axis", "energy is the slow axis"])
@pytest.mark.parametrize("torn", ["", "7\t"], ids=["after a row", "in a row"])
def test_line_scan__that_was_aborted_keeps_the_rows_that_exist(tmp_path, energy_first, torn):
    energy, line = axis("Energy", "eV", ENERGIES), axis("Line", "um", Y)
    p, q = (energy, line) if energy_first else (line, energy)
    path = tmp_path / "line.hdr"
    path.write_text(header(kind="NEXAFS Line Scan", flags="Image", p=p, q=q, stack=""))
    data = counts(1, (3, 4) if energy_first else (4, 3))[0]
    write_frame(tmp_path / "line_a.xim", data[:2])
    with (tmp_path / "line_a.xim").open("a") as file:
        file.write(torn)
    with pytest.warns(MetadataWarning, match=rf"line_a\.xim ends after 2 of {len(data)} rows along"):
        stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack["intensity"], data[:2].T if energy_first else data[:2])
    np.testing.assert_array_equal(stack["position"], Y[:2] if energy_first else Y)
    np.testing.assert_array_equal(stack["energy"], ENERGIES if energy_first else ENERGIES[:2])
    (tmp_path / "line_a.xim").write_text("")
    with pytest.raises(CorruptFileError, match="aborted in its first row"):
        xstxm.open_stack(path)


def _points(folder, rows, unit="Hz", channels=None, **fields):
    path = folder / "points.hdr"
    given = {"kind": "NEXAFS Point Scan", "flags": "Spectra", "p": axis("Energy", "eV", ENERGIES), "stack": ""}
    path.write_text(
        header(**{**given, "channels": channels or [("counter0", unit)], "dwell": "Dwell = 100;", **fields})
    )
    (folder / "points_0.xsp").write_text("".join(f"{row}\n" for row in rows))
    return path


ROWS = ["7.0000000E+2 10", "7.0550000E+2 20", "7.0825000E+2 30", "7.1000000E+2 40"]


def test_point_scan__is_a_spectrum(tmp_path):
    stack = xstxm.open_stack(_points(tmp_path, ROWS))
    assert stack.intensity.dims == ("energy",)
    assert stack.attrs["scan_type"] == "sample point spectrum"
    np.testing.assert_array_equal(stack.intensity, [10, 20, 30, 40])
    np.testing.assert_array_equal(stack.energy, ENERGIES)
    assert (stack.intensity.attrs["units"], stack.dwell_time.item()) == ("count/s", 100)


def test_point_scan__aborted_keeps_what_was_measured(tmp_path):
    with pytest.warns(MetadataWarning, match=r"points_0\.xsp holds 2 of 4 energies"):
        assert xstxm.open_stack(_points(tmp_path, ROWS[:2])).sizes["energy"] == 2


def test_point_scan__of_more_energies_than_announced_keeps_them_all(tmp_path):
    asked = "ImageScan = {EnergyRegions = (2, {Points = 2; DwellTime = 1;}, {Points = 2; DwellTime = 3;});};"
    path = _points(tmp_path, [*ROWS, "7.2000000E+2 50"], extra=asked)
    with pytest.warns(MetadataWarning, match=r"points_0\.xsp holds 5 of 4 energies: all are kept"):
        assert xstxm.open_stack(path)["intensity"].values.tolist() == [10, 20, 30, 40, 50]


def test_point_scan__has_a_column_per_channel(tmp_path):
    channels = [("DCCT", "mA"), ("APD", "counts")]
    path = _points(tmp_path, [f"{row} {row.split()[1]}5" for row in ROWS], channels=channels)
    stack = xstxm.open_stack(path)
    np.testing.assert_array_equal(stack.intensity, [105, 205, 305, 405])
    np.testing.assert_array_equal(stack.DCCT, [10, 20, 30, 40])
    with pytest.raises(CorruptFileError, match=r"points_0\.xsp: expected 3 columns of numbers, found 2"):
        xstxm.open_stack(_points(tmp_path, ROWS, channels=channels))
    with pytest.raises(CorruptFileError, match="found nothing"):
        xstxm.open_stack(_points(tmp_path, []))


def test_point_scan__of_several_regions_has_a_file_for_each(tmp_path):
    energy = axis("Energy", "eV", ENERGIES)
    path = _points(tmp_path, ROWS, flags="Multi-Region Spectra", regions=[(energy, ""), (energy, "")])
    (tmp_path / "points_1.xsp").write_text("\n".join(f"{row}7" for row in ROWS))
    np.testing.assert_array_equal(xstxm.open_stack(path, region=1).intensity, [107, 207, 307, 407])


def test_point_scan__without_data_names_the_file(tmp_path):
    path = _points(tmp_path, ROWS)
    (tmp_path / "points_0.xsp").unlink()
    with pytest.raises(CorruptFileError, match=r"points_0\.xsp first, found none"):
        xstxm.open_stack(path)


def test_motor_scan__is_refused(tmp_path):
    path = _points(tmp_path, ROWS, p=axis("OSAX", "um", X))
    with pytest.raises(UnsupportedScanError, match="found a scan of OSAX alone"):
        xstxm.open_stack(path)


# headers that are none


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(("Points = (4, 700", "Points = (5, 700"), "expected 5 Points of StackAxis, found 4", id="count"),
        pytest.param(("705.500", "many"), "numbers as Points of StackAxis", id="words as energies"),
        pytest.param(("705.500", "nan"), "finite Points of StackAxis", id="NaN as energy"),
        pytest.param(("PAxis", "RAxis"), "PAxis of region 0 with Points, found none", id="no axis"),
        pytest.param(("Regions = (1", "Others = (1"), "at least one region", id="no region"),
        pytest.param(('Type = "NEXAFS Image Scan";', ""), "a Type in ScanDefinition, found none", id="no type"),
        pytest.param(("NEXAFS Image Scan", "Dance"), "found a 'Dance'", id="unknown type"),
        pytest.param(("ScanDefinition = {", "ScanDefinition = 3; X = {"), "a struct ScanDefinition", id="no struct"),
    ],
)
def test_header__that_is_broken_says_where(tmp_path, change, message):
    path = write_stack(tmp_path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(FileFormatError, match=message):
        xstxm.open_stack(path)


def test_header__that_ends_in_the_middle_is_an_error(tmp_path):
    path = write_stack(tmp_path)
    path.write_text(path.read_text()[:350])
    with pytest.raises(CorruptFileError, match="its end before that"):
        xstxm.open_stack(path)


def test_header__without_channels_is_taken_to_count(tmp_path):
    path = write_stack(tmp_path)
    path.write_text(path.read_text().replace("Channels", "Chanels"))
    with pytest.warns(MetadataWarning, match="no Channels in the header"):
        assert xstxm.open_stack(path).intensity.attrs["units"] == "count"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(b"ENVI\nsamples = 100\nlines = 200\n", "an ENVI header", id="ENVI"),
        pytest.param(b"\x5c\x01\0\0" * 87, "a binary file", id="Analyze"),
        pytest.param(b"#?RADIANCE\nFORMAT=32-bit\n", r"a text that starts with '#\?RADIANCE'", id="Radiance"),
        pytest.param(b"", "an empty file", id="empty"),
    ],
)
@pytest.mark.parametrize("engine", ["stxm", "sdf"])
def test_other_header__is_refused(tmp_path, engine, content, found):
    path = tmp_path / "image.hdr"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"image\.hdr: expected .*found {found}"):
        xstxm.open_stack(path, engine=engine)


def test_frame_given__asks_for_its_header(tmp_path):
    write_stack(tmp_path)
    with pytest.raises(FileFormatError, match=r"give the \.hdr file that belongs to it"):
        xstxm.open_stack(tmp_path / "scan_a000.xim")


def test_folder_given__opens_the_scan_inside(tmp_path):
    write_stack(tmp_path)
    xr.testing.assert_equal(xstxm.open_stack(tmp_path), xstxm.open_stack(tmp_path / "scan.hdr"))


def test_missing_file__is_a_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        xstxm.open_stack(tmp_path / "absent.hdr")


def test_stream__without_a_path_is_refused(tmp_path):
    import io

    stream = io.BytesIO(write_stack(tmp_path).read_bytes())
    with pytest.raises(FileFormatError, match=r"several files: give the path of the \.hdr"):
        xstxm.open_stack(stream)


# real files


def test_real_stack__is_read_as_known(real_data):
    stack = xstxm.open_stack(real_data / "fe-l-edge-stack" / "71214078.hdr")
    assert dict(stack.sizes) == {"energy": 123, "y": 125, "x": 125}
    assert stack.intensity.dtype == "float32"
    np.testing.assert_allclose(stack.energy[[0, 1, 8, 9, 122]], [700, 700.375, 703, 703.202, 730.353])
    np.testing.assert_allclose(stack.x.diff("x"), 0.08, atol=1e-9)
    assert (float(stack.y[0]), float(stack.x[-1])) == (-638.153, -4726.682)
    assert stack.dwell_time.item() == 0.433
    np.testing.assert_array_equal(stack.ring_current[[0, 1, 2, 122]], [333.4, 333.08, 332.80, 306.38])
    np.testing.assert_array_equal(stack.intensity[0, 0, :3], [353, 371, 346])
    np.testing.assert_allclose(stack.intensity[10, 0, :2], [359.0914, 366.9826], rtol=1e-6)
    assert stack.attrs["start_time"] == "2007-12-14T18:52:00"
    i0 = xstxm.read_i0(real_data / "fe-l-edge-stack" / "i0.xsp", units="count/ms")
    np.testing.assert_allclose(i0.energy, stack.energy, atol=1e-6)


def test_real_image__is_read_as_known(real_data):
    stack = xstxm.open_stack(real_data / "sdf-samples" / "30529000.hdr")
    assert dict(stack.sizes) == {"energy": 1, "y": 200, "x": 200}
    assert stack.energy.item() == 708.4
    np.testing.assert_array_equal(stack.intensity[0, 0, :4], [749, 709, 741, 828])
    assert stack.intensity.attrs["units"] == "count/s"
    assert stack.attrs["start_time"] == "2003-05-29T04:45:38"
    np.testing.assert_allclose(stack.x.diff("x"), 0.25, atol=1e-9)


def test_real_point_scan__without_its_data_says_so(real_data):
    with pytest.raises(CorruptFileError, match=r"30523005_0\.xsp first, found none"):
        xstxm.open_stack(real_data / "sdf-samples" / "30523005.hdr")
