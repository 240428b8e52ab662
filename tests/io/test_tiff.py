"""TIFF stacks: what they say, what they leave out, and how they break."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tifffile
import xarray as xr

import xstxm
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    OptionError,
    SchemaError,
    StxmError,
    UnsupportedScanError,
)
from xstxm.io._images import energies_of_names, read_energies
from xstxm.io.tiff import assemble_tiff

COUNTS = np.arange(24, dtype="uint16").reshape(2, 3, 4)
GIVEN = {"energies": [500.0, 510.0], "pixel_size": "50 nm"}


def write(path, images=COUNTS, **options):
    tifffile.imwrite(path, images, photometric="minisblack", **options)
    return path


def test_stack__has_what_the_caller_gives(tmp_path):
    stack = xstxm.open_stack(write(tmp_path / "a.tif"), **GIVEN)
    np.testing.assert_array_equal(stack.intensity, COUNTS)
    assert stack.intensity.dtype == "float32"
    np.testing.assert_array_equal(stack.energy, [500, 510])
    np.testing.assert_array_equal(stack.x, [0, 0.05, 0.1, 0.15])
    xstxm.conventions.validate(stack, "stack")


def test_what_nobody_says__is_asked_for(tmp_path):
    path = write(tmp_path / "a.tif")
    with pytest.raises(UnsupportedScanError, match="energies="):
        xstxm.open_stack(path)
    with pytest.raises(OptionError, match="one energy for each"):
        xstxm.open_stack(path, energies=[500.0])
    with pytest.raises(UnsupportedScanError, match="pixel_size="):
        xstxm.open_stack(path, energies=[500.0, 510.0])
    with pytest.raises(FileFormatError, match='kind="optical_density"'):
        xstxm.open_stack(write(tmp_path / "b.tif", COUNTS.astype("float32")), **GIVEN)
    assert "optical_density" in xstxm.open_stack(tmp_path / "b.tif", kind="optical_density", **GIVEN)


@pytest.mark.parametrize(
    ("unit", "step"),
    [("um", 0.05), ("micron", 0.05), ("\\u00B5m", 0.05), ("\\u00b5m", 0.05), ("nm", 5e-5), ("mm", 50.0)],
)
def test_unit_of_imagej__is_taken_exactly(tmp_path, unit, step):
    path = write(tmp_path / "a.tif", imagej=True, resolution=(20, 20), metadata={"unit": unit})
    np.testing.assert_allclose(xstxm.open_stack(path, energies=GIVEN["energies"]).x[1], step)


@pytest.mark.parametrize("unit", ["5m", "m", "0\\u00b5m", "microns5", "pixel", "inch"])
def test_unit_of_imagej__that_is_none_of_these_is_no_size(tmp_path, unit):
    path = write(tmp_path / "a.tif", imagej=True, resolution=(20, 20), metadata={"unit": unit})
    with pytest.raises(UnsupportedScanError, match="pixel_size="):
        xstxm.open_stack(path, energies=GIVEN["energies"])


def test_pixel_size__without_a_unit_is_in_um_and_believed_below_one(tmp_path):
    path = write(tmp_path / "a.tif")
    assert xstxm.open_stack(path, energies=[500.0, 510.0], pixel_size=0.05).x[1] == 0.05
    for size in (80, 80.0, np.float32(80)):
        with pytest.raises(OptionError, match=r'a number is in um.*write "80 nm", or "80 um" if it is that'):
            xstxm.open_stack(path, energies=[500.0, 510.0], pixel_size=size)
    assert xstxm.open_stack(path, energies=[500.0, 510.0], pixel_size="80 um").x[1] == 80


def test_energies__below_100_without_a_unit_are_kev_once(tmp_path):
    paths = [write(tmp_path / f"{name}.tif", image) for name, image in zip("ab", COUNTS, strict=True)]
    with pytest.warns(MetadataWarning) as caught:
        stack = xstxm.open_stack(paths, energies=[0.7, 0.705], pixel_size="50 nm")
    np.testing.assert_array_equal(stack.energy, [700, 705])
    assert len(caught) == 1
    assert "energies below 100 without a unit are taken to be keV: if they are eV, give" in str(caught[0].message)
    given = xr.DataArray([70.0, 70.5], attrs={"units": "eV"})
    with pytest.warns(MetadataWarning, match="look like keV") as caught:
        np.testing.assert_array_equal(xstxm.open_stack(paths, energies=given, pixel_size="50 nm").energy, given)
    assert len(caught) == 1
    for path, energy in zip(paths, (0.7, 0.705), strict=True):
        path.with_suffix(".txt").write_text(f"{energy}\n")
    with pytest.warns(MetadataWarning, match=r"^a\.txt, b\.txt: energies below 100 without") as caught:
        np.testing.assert_array_equal(xstxm.open_stack(paths, pixel_size="50 nm").energy, [700, 705])
    assert len(caught) == 1


@pytest.mark.parametrize("imagej", [True, False], ids=["ImageJ", "plain"])
def test_file_that_is_cut_short__says_so_and_nothing_else(tmp_path, caplog, imagej):
    path = write(tmp_path / "a.tif", imagej=imagej)
    content = path.read_bytes()
    first = tifffile.TiffFile(path).pages[0]
    path.write_bytes(content[: first.dataoffsets[0] + first.nbytes + 4])
    with pytest.raises(CorruptFileError, match="expected a directory for each image, found 1, and the next one behind"):
        xstxm.open_stack(path, **GIVEN)
    assert not caplog.records


def test_what_tifffile_says_of_a_file_that_opens__is_logged(tmp_path, caplog, monkeypatch):
    path, opened = write(tmp_path / "a.tif"), tifffile.TiffFile

    def complaining(content):
        logging.getLogger("tifffile").warning("a strange tag")
        return opened(content)

    monkeypatch.setattr(tifffile, "TiffFile", complaining)
    xstxm.open_stack(path, **GIVEN)
    assert [record.getMessage() for record in caplog.records] == ["a strange tag"]


def test_list_beside__gives_the_energies_and_must_fit(tmp_path):
    path = write(tmp_path / "a.tif")
    (tmp_path / "a.txt").write_text("# eV\n0, 500\n1, 510\n")
    np.testing.assert_array_equal(xstxm.open_stack(path, pixel_size="50 nm").energy, [500, 510])
    (tmp_path / "a.txt").write_text("500\n510\n520\n")
    with pytest.raises(CorruptFileError, match="2 energies"):
        xstxm.open_stack(path, pixel_size="50 nm")
    (tmp_path / "a.txt").write_text("500\nnan\n")
    with pytest.raises(CorruptFileError, match="finite"):
        read_energies(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_0853.50eV_1.tif", 853.5),
        ("x_08354.0_eV_001of003.xrm", 8354),
        ("m_8353_0eV.xrm", 8353),
        ("scan_12_853eV.tif", 853),
        ("x_8.353keV.tif", 8353),
        ("s_853_50.tif", None),
        ("sample_100_01.tif", None),
        ("2024_01_853_50.tif", None),
        ("853eV_to_900eV.tif", None),
        ("plain.tif", None),
    ],
)
def test_file_name__holds_the_energy_or_is_not_clear(name, expected):
    found = energies_of_names([name])
    assert found is expected is None or found.tolist() == [expected]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["s_853.50.tif"], [853.5], id="a point"),
        pytest.param(["s_01_853.50.tif", "s_02_854.0.tif"], [853.5, 854], id="a point, beside running numbers"),
        pytest.param(["s_853_50.tif", "s_854_0.tif"], [853.5, 854], id="an underscore in all that varies"),
    ],
)
def test_file_names_without_a_unit__are_taken_with_a_warning(names, expected):
    with pytest.warns(MetadataWarning, match=r"853\.5.* eV are taken from names that do not say eV: pass energies="):
        assert energies_of_names(names).tolist() == expected


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["sample_100_01.tif", "sample_100_02.tif"], id="numbers of frames"),
        pytest.param(["s_1_853_50.tif", "s_2_854_00.tif"], id="another number varies too"),
        pytest.param(["s_100_01_a.tif", "s_101_01_b.tif"], id="words vary too"),
        pytest.param(["s_853.50_a.tif", "s_853.50_b.tif"], id="the same twice"),
        pytest.param(["s_853.50.tif", "s_854.50eV.tif"], id="a unit in some"),
        pytest.param(["s_853.tif", "s_854.tif"], id="whole numbers"),
    ],
)
def test_file_names_that_cannot_be_decided__ask_for_energies(tmp_path, names):
    assert energies_of_names(names) is None
    paths = [write(tmp_path / name, COUNTS[0]) for name in names]
    with pytest.raises(UnsupportedScanError, match=r"no clear one in .*pass energies=.*or name each file"):
        assemble_tiff(paths, pixel_size="50 nm")
    stack = assemble_tiff(paths, pixel_size="50 nm", energies=[510.0, 500.0])
    np.testing.assert_array_equal(stack.energy, [500, 510])


def test_files_of_one_energy__become_a_sorted_stack(tmp_path):
    paths = [write(tmp_path / f"a_{at}eV.tif", COUNTS[i]) for i, at in ((0, 510), (1, 500))]
    stack = assemble_tiff(paths, pixel_size="50 nm")
    np.testing.assert_array_equal(stack.energy, [500, 510])
    np.testing.assert_array_equal(stack.intensity, COUNTS[::-1])
    paths.append(write(tmp_path / "a_520eV.tif", COUNTS[0, :2]))
    with pytest.raises(UnsupportedScanError, match=r"a_520eV\.tif \(shape 2 x 4\)"):
        assemble_tiff(paths, pixel_size="50 nm")


def test_files_of_other_pixels__are_named(tmp_path):
    coords = {"energy": [500.0], "y": np.arange(3.0), "x": np.arange(4.0)}
    labelled = {dim: (dim, at, {"units": "eV" if dim == "energy" else "um"}) for dim, at in coords.items()}
    stack = xr.DataArray(COUNTS[:1].astype("float32"), labelled, ("energy", "y", "x"), name="intensity")
    xstxm.write_tiff(stack, tmp_path / "a.tif")
    finer = {"energy": [510.0], "x": coords["x"] / 2}
    xstxm.write_tiff(stack.assign_coords({d: (d, at, stack[d].attrs) for d, at in finer.items()}), tmp_path / "b.tif")
    with pytest.raises(UnsupportedScanError, match=r"b\.tif \(x from 0 to 1\.5 um\)"):
        xstxm.open_stack(tmp_path)


@pytest.mark.parametrize("signal", ["intensity", "optical_density"])
def test_written_stack__comes_back(tmp_path, signal):
    values = np.linspace(0, 3, 24, dtype="float32").reshape(2, 3, 4)
    values[0, 1, 2] = np.nan
    axes = {"energy": [500.123456789, 510.0], "y": [2.0, 2.05, 2.1], "x": [-1.0, -0.9, -0.8, -0.7]}
    coords = {n: (n, v, {"units": "eV" if n == "energy" else "um"}) for n, v in axes.items()}
    stack = xr.DataArray(values, coords, ("energy", "y", "x"), name=signal)
    path = xstxm.write_tiff(stack.chunk(energy=1), tmp_path / "a.tif")
    found = xstxm.open_stack(path)
    np.testing.assert_array_equal(found[signal], values)
    np.testing.assert_array_equal(found.energy, axes["energy"])
    for dim in "yx":
        np.testing.assert_allclose(found[dim], axes[dim], atol=1e-6)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        xstxm.write_tiff(stack, path)
    with pytest.raises(SchemaError, match="sortby"):
        xstxm.write_tiff(stack[:, ::-1], path, overwrite=True)
    with pytest.raises(SchemaError, match="real numbers"):
        xstxm.write_tiff(stack * 1j, path, overwrite=True)
    with pytest.raises(SchemaError, match="beyond float32"):
        xstxm.write_tiff(stack.astype(float) * 1e300, path, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(
    ("written", "read"), [("count/ms", "count/ms"), ("count", "count"), (None, "count"), ("nonsense", "count")]
)
def test_units_of_written_counts__come_back(tmp_path, written, read):
    axes = {"energy": [500.0, 510.0], "y": [0.0, 0.1], "x": [0.0, 0.1, 0.2]}
    coords = {n: (n, v, {"units": "eV" if n == "energy" else "um"}) for n, v in axes.items()}
    attrs = {"units": written} if written else {}
    stack = xr.DataArray(np.ones((2, 2, 3), "float32"), coords, ("energy", "y", "x"), "intensity", attrs)
    path = xstxm.write_tiff(stack, tmp_path / "a.tif")
    assert xstxm.open_stack(path)["intensity"].attrs["units"] == read
    assert xstxm.open_stack(path, kind="optical_density")["optical_density"].attrs["units"] == "1"


def maps(values, dims=("y", "x"), **attributes):
    axes = {"y": np.arange(3) * 0.05 + 1, "x": np.arange(4) * 0.1 - 2}
    coords = {dim: (dim, at, {"units": "um"}) for dim, at in axes.items()}
    coords |= {"reference": ["A", "B"]} if "reference" in dims else {}
    return xr.DataArray(values, coords, dims, name="component_map", attrs=attributes)


def test_maps__open_in_imagej_with_pixel_size_names_and_units(tmp_path):
    values = np.linspace(-1, 1, 24, dtype="float32").reshape(2, 3, 4)
    values[1, 2, 3] = np.nan
    components = maps(values, ("reference", "y", "x"), units="nm").transpose("y", "x", "reference")
    with tifffile.TiffFile(xstxm.write_tiff(components, tmp_path / "a.tif")) as file:
        np.testing.assert_array_equal(file.asarray(), values)
        found, tags = file.imagej_metadata, file.pages[0].tags
    assert (found["Labels"], found["Info"], found["unit"]) == (["A", "B"], "component_map [nm]", "um")
    for tag, origin, step, first in (("YResolution", "yorigin", 0.05, 1), ("XResolution", "xorigin", 0.1, -2)):
        up, down = tags[tag].value
        assert down / up == pytest.approx(step)
        assert -found[origin] * down / up == pytest.approx(first)
    with tifffile.TiffFile(xstxm.write_tiff(components.sel(reference="B"), tmp_path / "b.tif")) as file:
        np.testing.assert_array_equal(file.asarray(), values[1])
        assert "B" in file.imagej_metadata["Labels"]
    named = components.assign_coords(color=("reference", ["#111111", "#222222"]), polarization=0.0)
    with pytest.warns(MetadataWarning, match=r"TIFF holds images on one grid: color, polarization not written"):
        xstxm.write_tiff(named, tmp_path / "c.tif")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("largest", "dtype", "stored"),
    [
        (1, "bool", "uint8"),
        (255, "int64", "uint8"),
        (256, "int32", "uint16"),
        (65535, "uint32", "uint16"),
        (65536, "int64", "float32"),
        (-2, "int16", "float32"),
    ],
)
def test_labels__are_whole_numbers_of_imagej_where_it_has_them(tmp_path, largest, dtype, stored, lazy):
    values = np.zeros((3, 4), dtype)
    values[0, 1] = largest
    labels = maps(values).chunk(y=1) if lazy else maps(values)
    found = tifffile.imread(xstxm.write_tiff(labels, tmp_path / "a.tif"))
    assert found.dtype == stored
    np.testing.assert_array_equal(found, values)


def test_labels_beyond_float32__are_told_to_be_rounded(tmp_path):
    with pytest.warns(MetadataWarning, match="'component_map' was rounded to float32 for TIFF"):
        xstxm.write_tiff(maps(np.full((3, 4), 2**24 + 1)), tmp_path / "a.tif")


@pytest.mark.parametrize("seed", range(8))
def test_broken_file__is_an_error_of_ours_or_a_stack(tmp_path, seed):
    whole = write(tmp_path / "a.tif").read_bytes()
    random, path = np.random.default_rng(seed), tmp_path / "b.tif"
    for _ in range(25):
        data = bytearray(whole)
        data[random.integers(len(data))] = random.integers(256)
        path.write_bytes(bytes(data[: random.integers(len(data))] if random.random() < 0.3 else data))
        try:
            xstxm.open_stack(path, **GIVEN).load()
        except StxmError as error:
            said = str(error)
        else:
            said = "b.tif"
        assert "b.tif" in said


@pytest.mark.parametrize("back_to", [0, 2, 120])
def test_directories_in_a_ring__are_refused(tmp_path, back_to):
    path = tmp_path / "ring.tif"
    with tifffile.TiffWriter(path, byteorder="<") as file:
        for _ in range(130):
            file.write(np.zeros((2, 3), "uint16"), contiguous=False)
    with tifffile.TiffFile(path) as file:
        places = [page.offset for page in file.pages]
    data = bytearray(path.read_bytes())
    entries = int.from_bytes(data[places[-1] : places[-1] + 2], "little")
    last = places[-1] + 2 + 12 * entries
    data[last : last + 4] = places[back_to].to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="found image 130 again"):
        xstxm.open_stack(path, energies=np.arange(130) + 500.0)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (4, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_stacks_of_one_pixel_of_height_or_width__come_back(tmp_path, n, shape, dtype):
    values = np.arange(n * np.prod(shape), dtype=dtype).reshape(n, *shape) + 1
    axes = {dim: (dim, 0.05 * np.arange(size), {"units": "um"}) for dim, size in zip("yx", shape, strict=True)}
    energy = ("energy", 500.0 + np.arange(n), {"units": "eV"})
    stack = xr.Dataset({"intensity": (("energy", "y", "x"), values, {"units": "count"})}, {"energy": energy, **axes})
    with xstxm.open_stack(xstxm.write_tiff(stack, tmp_path / "a.tif")) as opened:
        np.testing.assert_array_equal(opened["intensity"], values)
        np.testing.assert_allclose(opened["x"], stack["x"], atol=1e-6)
