"""Reference spectra and incident intensities in files of many makes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from damage import damaged, spectra_or_refusal
from sdf_files import ENERGIES, axis, header, write_stack

import xstxm
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    MissingUnitsError,
    ReferenceSpectrumError,
    UnitsError,
    UnsupportedScanError,
)

ENERGY = [515.0, 518.5, 521.0]
VALUES = [0.1, 1.0, 0.3]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("515 0.1\n518.5 1.0\n521 0.3\n", id="blanks"),
        pytest.param("515\t0.1\n518.5\t1.0\n521\t0.3", id="tabs, no last newline"),
        pytest.param("515,0.1\r\n518.5,1.0\r\n521,0.3\r\n", id="csv, CRLF"),
        pytest.param("515, 0.1,\n518.5, 1.0,\n521, 0.3,\n", id="csv with trailing commas"),
        pytest.param("515;0.1\n518.5;1.0\n521;0.3\n", id="semicolons"),
        pytest.param("515,0;0,1\n518,5;1,0\n521,0;0,3\n", id="decimal commas, semicolons"),
        pytest.param("515,0\t0,1\n518,5\t1,0\n521\t0,3\n", id="decimal commas, tabs"),
        pytest.param("515 0.1\r518.5 1.0\r521 0.3\r", id="CR only"),
        pytest.param("# a\n% b\n* c\n! d\n; e\n515 0.1\n518.5 1.0\n521 0.3\n", id="comments of five kinds"),
        pytest.param("% title\n3\n515 0.1\n518.5 1.0\n521 0.3\n", id="aXis, count of points"),
        pytest.param("% title\r\n% 2 of 7\r\n  3  \r\n521 0.3\r\n515 0.1\r\n518.5 1.0\r\n", id="aXis, blanks, CRLF"),
        pytest.param("\ufeff% title\n3\n521 0.3\n518.5 1.0\n515 0.1\n", id="aXis, byte order mark, descending"),
        pytest.param("515,0 0,1\n518,5 1,0\n521,0 0,3\n", id="decimal commas, blanks"),
        pytest.param("\ufeffeV;OD\n515,0;0,1\n518,5;1,0\n521,0;0,3\n", id="decimal commas, names, byte order mark"),
        pytest.param("#%name: a b\n#%edge: K\n#----\n# energy mu\n515 .1\n518.5 .1E1\n521 .3E+00\n", id="#% keys"),
        pytest.param("Energy (eV)  OD\n515 0.1\n518.5 1.0\n521 0.3\n", id="header that splits oddly"),
        pytest.param("energy,absorption\n515,0.1\n518.5,1.0\n521,0.3\n", id="header row"),
        pytest.param('"Energy","OD"\n515,0.1\n518.5,1.0\n521,0.3\n', id="quoted header"),
        pytest.param("5.150E+2 1.0E-1\n5.185E+2 1.0E+0\n5.210E+2 3.0E-1\n", id="xsp"),
        pytest.param(".5150D+03 .1D0\n.5185D+03 .1D+1\n.5210D+03 .3D0\n", id="Fortran doubles"),
        pytest.param("521 0.3\n518.5 1.0\n515 0.1\n", id="descending"),
        pytest.param("521 0.3\n515 0.1\n518.5 1.0\n518.5 1.0\n", id="unordered, an identical row twice"),
        pytest.param("\ufeff515 0.1\n518.5 1.0\n521 0.3\n", id="byte order mark"),
        pytest.param("515 0.1\n\n518.5 1.0\n521 0.3\n522 nan\n", id="blank line, missing value"),
    ],
)
def test_read_references__understands_text(tmp_path, text):
    path = tmp_path / "V2O5.txt"
    path.write_bytes(text.encode("utf-8"))
    references = xstxm.read_references(path)
    assert references.reference.values.tolist() == ["V2O5"]
    np.testing.assert_array_equal(references.energy, ENERGY)
    np.testing.assert_array_equal(references.absorption[0], VALUES)
    assert references.absorption.attrs["units"] == "1"
    assert references.energy.attrs["units"] == "eV"
    assert references.source.item().startswith("V2O5.txt")
    xstxm.conventions.validate(references, "reference_set")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig"])
def test_read_references__understands_encodings(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes("# µ of vanadate\n515,0.1\n518.5,1.0\n521,0.3\n".encode(encoding))
    np.testing.assert_array_equal(xstxm.read_references(path).absorption[0], VALUES)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("energy,V2O5,LiV2O5\n1000,1,2\n1001,3,4\n", ["V2O5", "LiV2O5"], id="header row"),
        pytest.param("1000,1,2\n1001,3,4\n", ["refs_1", "refs_2"], id="no names"),
        pytest.param("# energy V2O5 LiV2O5\n1000 1 2\n1001 3 4\n", ["V2O5", "LiV2O5"], id="names in a comment"),
        pytest.param("# made in 2005\n1000 1 2\n1001 3 4\n", ["refs_1", "refs_2"], id="a comment of as many words"),
        pytest.param("V2O5,Energy,VO2\n1,1000,2\n3,1001,4\n", ["V2O5", "VO2"], id="energy in the middle"),
        pytest.param("E;V2O5 dry;VO2 wet\n1000;1;2\n1001;3;4\n", ["V2O5 dry", "VO2 wet"], id="names with blanks"),
        pytest.param("* Common name: Vanadate\n1000, 1\n1001, 3\n", ["Vanadate"], id="Mantis label"),
        pytest.param("energy,V2O5\n1000,1\n1001,3\n", ["V2O5"], id="one named column"),
        pytest.param("energy,V2O5,\n1000,1,2\n1001,3,4\n", ["V2O5", "refs_2"], id="one name missing"),
        pytest.param(
            "energy,scan 1,scan 2\n1000,1,2\n1001,3,4\n", ["scan 1", "scan 2"], id="names that end in numbers"
        ),
        pytest.param("energy (eV),V2O5 A,V2O5 s\n1000,1,2\n1001,3,4\n", ["V2O5 A", "V2O5 s"], id="names, not units"),
    ],
)
def test_read_references__names_come_from_the_file(tmp_path, text, names):
    (tmp_path / "refs.csv").write_text(text)
    references = xstxm.read_references(tmp_path / "refs.csv")
    assert references.reference.values.tolist() == names
    np.testing.assert_array_equal(references.energy, [1000, 1001])
    np.testing.assert_array_equal(references.absorption[0], [1, 3])


@pytest.mark.parametrize(
    ("head", "name"),
    [
        pytest.param("energy,V2O5,V2O5", "V2O5", id="twice"),
        pytest.param("energy,a,a_3,a", "a", id="and one like a numbered one"),
        pytest.param("energy,refs_2,", "refs_2", id="like the number of one without a name"),
    ],
)
def test_read_references__refuses_names_given_twice(tmp_path, head, name):
    row = ",".join("123456"[: head.count(",")])
    (tmp_path / "refs.csv").write_text(f"{head}\n1000,{row}\n1001,{row[::-1]}\n")
    message = f"reference names given twice: '{name}': give each a name of its own"
    with pytest.raises(ReferenceSpectrumError, match=message) as caught:
        xstxm.read_references(tmp_path / "refs.csv")
    assert caught.value.names == (name,)


XDI = """# XDI/1.0 GSE/1.0
# Column.1: energy eV || 13BMA:E:Energy.VAL
# Column.2: {1}
# Column.3: {2}
# Element.symbol: nan
# ///
# a free comment, Column.2 of which nobody
#-----
# energy a b
515 100 50
518 100 25
"""


@pytest.mark.parametrize(
    ("columns", "expected", "origin"),
    [
        pytest.param(
            ("i0 counts || X", "itrans counts || Y"), [np.log(2), np.log(4)], "ln(i0/itrans)", id="transmission"
        ),
        pytest.param(("ifluor counts", "i0 counts"), [2, 4], "ifluor/i0", id="fluorescence"),
        pytest.param(("mutrans", "i0 counts"), [100, 100], "column mutrans", id="mu as it is"),
        pytest.param(("i0", "norm"), [50, 25], "column norm", id="normalised"),
    ],
)
def test_xdi__absorption_is_formed_and_said(tmp_path, columns, expected, origin):
    (tmp_path / "VO2.xdi").write_text(XDI.replace("{1}", columns[0]).replace("{2}", columns[1]))
    if len(set(expected)) == 1:
        with pytest.raises(ReferenceSpectrumError, match="constant over energy"):
            xstxm.read_references(tmp_path / "VO2.xdi")
        return
    references = xstxm.read_references(tmp_path / "VO2.xdi")
    assert references.reference.item() == "VO2"
    np.testing.assert_allclose(references.absorption[0], expected)
    assert references.source.item() == f"VO2.xdi, {origin}"


def test_xdi__many_columns_are_named_by_column_lines(tmp_path):
    text = XDI.replace("{1}", "Fe(III) PO4").replace("{2}", "Hematite").replace("100 25", "99 25")
    (tmp_path / "library.nor").write_text(text)
    assert xstxm.read_references(tmp_path / "library.nor").reference.values.tolist() == ["Fe(III) PO4", "Hematite"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("head", ["", "\ufeff"])
def test_xdi__has_lines_of_any_end(tmp_path, head, end):
    text = head + XDI.replace("{1}", "i0 counts").replace("{2}", "itrans counts").replace("\n", end)
    (tmp_path / "VO2.xdi").write_bytes(text.encode())
    references = xstxm.read_references(tmp_path / "VO2.xdi")
    np.testing.assert_allclose(references.absorption[0], [np.log(2), np.log(4)])
    np.testing.assert_array_equal(xstxm.read_i0(tmp_path / "VO2.xdi", units="count"), [100, 100])


NOR = """# XDI/1.0 Demeter/0.9.26
# Demeter.output_filetype: {type}
# Column.1: energy eV
# Column.2: Fe foil 1
# Column.3: LiFe(II)PO4
# Column.4: Fe s
#------------------------
#  energy  Fe  foil  1  LiFe(II)PO4  Fe s
7090 0.1 0.2 0.3
7091 0.4 0.5 0.7
"""


@pytest.mark.parametrize(
    ("filetype", "kind"),
    [
        ("multicolumn normalized mu(E)", "normalized_absorption"),
        ("multicolumn flattened mu(E)", "normalized_absorption"),
        ("multicolumn mu(E)", "raw"),
        ("multicolumn derivative mu(E)", ""),
    ],
)
def test_nor__with_blanks_in_its_labels_has_those_of_its_column_lines(tmp_path, filetype, kind):
    (tmp_path / "library.nor").write_text(NOR.replace("{type}", filetype))
    references = xstxm.read_references(tmp_path / "library.nor")
    assert references.reference.values.tolist() == ["Fe foil 1", "LiFe(II)PO4", "Fe s"]
    np.testing.assert_array_equal(references.absorption[:, 1], [0.4, 0.5, 0.7])
    assert ("kind" in references.coords) == bool(kind)
    assert not kind or set(references.kind.values) == {kind}


def test_nor__without_column_lines_numbers_what_its_labels_do_not_tell(tmp_path):
    text = "\n".join(line for line in NOR.splitlines() if "Column" not in line)
    (tmp_path / "library.nor").write_text(text)
    assert xstxm.read_references(tmp_path / "library.nor").reference.values.tolist() == [
        "library_1",
        "library_2",
        "library_3",
    ]


# kinds


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("energy,xmu,i0", "raw"),
        ("energy,i0,itrans", "raw"),
        ("energy,ifluor,i0", "raw"),
        ("energy,norm,i0", "normalized_absorption"),
        ("energy,flat,i0", "normalized_absorption"),
        ("energy,OD,V2O5", "optical_density"),
        ("energy,V2O5,VO2", None),
    ],
)
def test_kind__is_what_the_names_of_columns_say(tmp_path, head, kind):
    (tmp_path / "a.csv").write_text(f"{head}\n515,1,3\n518,2,7\n")
    references = xstxm.read_references(tmp_path / "a.csv")
    assert (references["kind"].values[0] if "kind" in references.coords else None) == kind


def test_kind__is_what_the_caller_says_or_the_units_or_the_file(two_files):
    assert "kind" not in xstxm.read_references(two_files).coords
    assert xstxm.read_references(two_files, kind="raw").kind.values.tolist() == ["raw"] * 2
    one = xstxm.read_references(two_files, kind={"reduced": "optical_density"})
    assert one.kind.values.tolist() == ["", "optical_density"]
    per_length = xstxm.read_references(two_files, units="1/um")
    assert per_length.kind.values.tolist() == ["linear_absorption"] * 2
    with pytest.raises(ReferenceSpectrumError, match="not references: 'other'"):
        xstxm.read_references(two_files, kind={"other": "raw"})


def test_xdi__in_angles_is_refused(tmp_path):
    (tmp_path / "a.xdi").write_text("# XDI/1.0\n# Column.1: angle degrees\n# Column.2: i0\n12.5 1\n12.6 2\n")
    with pytest.raises(FileFormatError, match="expected a column of energies, found angles"):
        xstxm.read_references(tmp_path / "a.xdi")


# energies


def test_energies__below_100_are_taken_to_be_kev(tmp_path):
    (tmp_path / "a.txt").write_text("8.2 0\n8.3335 1\n8.4 0.5\n")
    with pytest.warns(
        MetadataWarning, match=r"energies below 100 without a unit are taken to be keV: pass energy_units"
    ):
        np.testing.assert_array_equal(xstxm.read_references(tmp_path / "a.txt").energy, [8200, 8333.5, 8400])
    np.testing.assert_array_equal(
        xstxm.read_references(tmp_path / "a.txt", energy_units="keV").energy, [8200, 8333.5, 8400]
    )
    np.testing.assert_array_equal(
        xstxm.read_references(tmp_path / "a.txt", energy_units="eV").energy, [8.2, 8.3335, 8.4]
    )
    with pytest.raises(UnitsError, match=r"a\.txt: .*'mm'"):
        xstxm.read_references(tmp_path / "a.txt", energy_units="mm")


@pytest.mark.parametrize("head", ["Energy (keV),NiO", "energy_keV,NiO", "energy keV,NiO", "keV,NiO"])
def test_energies__in_kev_by_their_header_need_no_warning(tmp_path, head):
    (tmp_path / "a.csv").write_text(f"{head}\n8.2,0\n8.3335,1\n")
    references = xstxm.read_references(tmp_path / "a.csv")
    np.testing.assert_array_equal(references.energy, [8200, 8333.5])
    assert references.reference.item() == "NiO"
    assert "energies of a.csv are converted from keV" in references.attrs["history"]


def test_energies__that_descend_are_said_to(tmp_path):
    (tmp_path / "a.txt").write_text("521 0.3\n518.5 1.0\n515 0.1\n")
    references = xstxm.read_references(tmp_path / "a.txt")
    np.testing.assert_array_equal(references.energy, ENERGY)
    assert "energies descend in a.txt" in references.attrs["history"]


# sets of files


@pytest.fixture
def two_files(tmp_path):
    (tmp_path / "ox.t").write_text("515 0.1\n518.5 1.0\n521 0.3\n")
    (tmp_path / "red.t").write_text("514 0.2\n517 0.9\n521 0.4\n")
    return {"oxidized": tmp_path / "ox.t", "reduced": str(tmp_path / "red.t")}


def test_mapping__names_one_spectrum_per_file(two_files):
    references = xstxm.read_references(
        two_files,
        composition={"reduced": 1, "oxidized": 0},
        composition_name="x in LixV2O5",
        color={"reduced": "#ff0000"},
        phase={"oxidized": "alpha", "reduced": "gamma"},
        units="1/nm",
    )
    assert references.reference.values.tolist() == ["oxidized", "reduced"]
    np.testing.assert_array_equal(references.composition, [0, 1])
    assert references.composition.attrs["long_name"] == "x in LixV2O5"
    np.testing.assert_array_equal(references.phase, ["alpha", "gamma"])
    assert references.absorption.attrs["units"] == "1/nm"
    np.testing.assert_array_equal(references.energy, [514, 515, 517, 518.5, 521])
    assert references.absorption.isnull().sum() == 4
    assert references.source.values.tolist() == ["ox.t", "red.t"]
    (entry,) = json.loads(references.attrs["xstxm_provenance"])
    assert entry["input"] == {"oxidized": "ox.t", "reduced": "red.t"}


def test_mapping__that_is_wrong_says_how(two_files, tmp_path):
    (tmp_path / "many.csv").write_text("energy,A,B\n1000,1,2\n1001,3,4\n")
    with pytest.raises(ReferenceSpectrumError, match=r"many\.csv for reference 'x' holds 2 spectra \('A', 'B'\)"):
        xstxm.read_references({"x": tmp_path / "many.csv"})
    with pytest.raises(ReferenceSpectrumError, match="no reference files given"):
        xstxm.read_references({})
    with pytest.raises(ReferenceSpectrumError, match="not references: 'oxidised'; nothing for 'oxidized'"):
        xstxm.read_references(two_files, composition={"oxidised": 0, "reduced": 1})


def test_mapping__with_one_name_in_two_types_is_refused(two_files):
    files = list(two_files.values())
    with pytest.raises(ReferenceSpectrumError, match="names given twice: '1': give each a name of its own"):
        xstxm.read_references({1: files[0], "1": files[1]})
    assert xstxm.read_references({1: files[0], 2: files[1]}).reference.values.tolist() == ["1", "2"]


def test_file_object__is_as_good_as_a_path(tmp_path):
    references = xstxm.read_references(io.BytesIO(b"energy,V2O5\n515,0.1\n518,1\n"))
    assert references.reference.item() == "V2O5"
    assert xstxm.read_i0(io.BytesIO(b"515 10\n518 11\n"), units="count").sizes["energy"] == 2


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        pytest.param(b"hello\nworld\n", FileFormatError, "expected columns of numbers, found a text that", id="prose"),
        pytest.param(b"", FileFormatError, "found an empty file", id="empty"),
        pytest.param(b"1\n2\n3\n", FileFormatError, "found one column", id="one column"),
        pytest.param(b"% a\n4\n1 2\n3 4\n", CorruptFileError, "2 numbers in each row", id="a count that lies"),
        pytest.param(b"1 2\n3 4 5\n6 7\n", CorruptFileError, "another number of them in line 2", id="ragged"),
        pytest.param(b"1 2\nabc def\n3 4\n", CorruptFileError, "other words in line 2", id="words inside"),
        pytest.param(b"nan 2\n1000 4\n", FileFormatError, "finite energies above zero, found 1", id="NaN energy"),
        pytest.param(
            b"-5 2\n0 4\n5 6\n", FileFormatError, "finite energies above zero, found 2", id="relative energies"
        ),
        pytest.param(b"\x89HDF\r\n\x1a\n\0\0\0", FileFormatError, "found an HDF5 file", id="HDF5"),
        pytest.param(b"# Athena project file\n1;\n", FileFormatError, "found no group", id="Athena without groups"),
        pytest.param(
            b"500 1\n501 2\n501 3\n", ReferenceSpectrumError, r"energies twice \(501 eV\): average", id="energy twice"
        ),
    ],
)
def test_read_references__refuses(tmp_path, content, error, message):
    (tmp_path / "a.prj").write_bytes(content)
    with pytest.raises(error, match=message):
        xstxm.read_references(tmp_path / "a.prj")


# I0


def test_read_i0__has_the_units_it_is_told(tmp_path):
    (tmp_path / "i0.xsp").write_text("521 900\n518.5 950\n515 910\n")
    i0 = xstxm.read_i0(tmp_path / "i0.xsp", units="counts/ms")
    assert (i0.name, i0.dims, i0.dtype, i0.attrs["units"]) == ("i0", ("energy",), "float64", "count/ms")
    np.testing.assert_array_equal(i0.energy, ENERGY[::-1])
    np.testing.assert_array_equal(i0, [900, 950, 910])
    assert i0.attrs["source_file"] == "i0.xsp"


def test_read_i0__without_units_warns_and_is_refused_later(tmp_path, stack):
    (tmp_path / "i0.txt").write_text("500 900\n540 950\n")
    with pytest.warns(MetadataWarning, match="pass units='count' or units='count/ms'"):
        i0 = xstxm.read_i0(tmp_path / "i0.txt")
    assert "units" not in i0.attrs
    with pytest.raises(MissingUnitsError):
        xstxm.optical_density(stack, i0)


def test_read_i0__takes_the_column_of_that_name(tmp_path):
    (tmp_path / "scan.xdi").write_text(XDI.replace("{1}", "i0 counts").replace("{2}", "itrans counts"))
    np.testing.assert_array_equal(xstxm.read_i0(tmp_path / "scan.xdi", units="count"), [100, 100])


def test_read_i0__refuses_several_spectra(tmp_path):
    (tmp_path / "i0.csv").write_text("energy,A,B\n1000,1,2\n1001,3,4\n")
    with pytest.raises(FileFormatError, match=r"expected one spectrum, found 2 \('A', 'B'\)"):
        xstxm.read_i0(tmp_path / "i0.csv", units="count")


def test_read_i0__refuses_a_name_given_twice_as_several_spectra(tmp_path):
    (tmp_path / "i0.csv").write_text("energy,A,A\n1000,1,2\n1001,3,4\n")
    with pytest.raises(FileFormatError, match=r"expected one spectrum, found 2 \('A', 'A'\)"):
        xstxm.read_i0(tmp_path / "i0.csv", units="count")


def test_read_i0__below_100_without_a_unit_is_taken_to_be_kev(tmp_path):
    (tmp_path / "i0.txt").write_text("0.515 900\n0.521 950\n")
    with pytest.warns(
        MetadataWarning, match=r"taken to be keV: if they are eV, use calibrate_energy\(i0, scale=0\.001\)"
    ):
        i0 = xstxm.read_i0(tmp_path / "i0.txt", units="count")
    np.testing.assert_array_equal(i0.energy, [515, 521])


@pytest.mark.parametrize(
    ("unit", "asked", "values", "units"),
    [
        pytest.param("counts", None, [0.1, 0.2, 0.3, 0.4], "count/ms", id="counts become a rate by their own dwell"),
        pytest.param("Hz", None, [10, 20, 30, 40], "count/s", id="a rate stays one"),
        pytest.param("counts", "count", [10, 20, 30, 40], "count", id="as the caller says"),
    ],
)
def test_read_i0__of_a_point_scan_knows_its_units(tmp_path, unit, asked, values, units):
    energies = axis("Energy", "eV", ENERGIES)
    text = header(kind="NEXAFS Point Scan", flags="Spectra", p=energies, channels=[("c", unit)], dwell="Dwell = 100;")
    (tmp_path / "i0.hdr").write_text(text)
    (tmp_path / "i0_0.xsp").write_text("".join(f"{e} {10 * n}\n" for n, e in enumerate(ENERGIES, start=1)))
    i0 = xstxm.read_i0(tmp_path / "i0.hdr", units=asked)
    np.testing.assert_allclose(i0, values)
    assert i0.attrs["units"] == units
    np.testing.assert_array_equal(i0.energy, ENERGIES)


def test_read_i0__of_an_image_stack_is_refused(tmp_path):
    with pytest.raises(UnsupportedScanError, match="expected a point scan, found a 'sample image stack'"):
        xstxm.read_i0(write_stack(tmp_path))


# real files


def test_real_fe_references__meet_the_stack(real_data):
    folder = real_data / "fe-l-edge-stack"
    references = xstxm.read_references(
        {name: folder / f"{name}.t" for name in ("oxidized", "reduced")}, composition={"oxidized": 0, "reduced": 1}
    )
    assert references.absorption.shape == (2, 123)
    np.testing.assert_allclose(references.absorption[:, 0], [1.5291122e-2, 1.9692342e-2])
    raw = xstxm.read_references(folder / "oxidized.r")
    np.testing.assert_allclose(raw.absorption[0, [0, -1]], [1.1786773, 1.1806811])
    i0 = xstxm.read_i0(folder / "i0.xsp", units="count/ms")
    np.testing.assert_allclose(i0[:2], [901.48397, 903.58931])


def test_real_fe_stack__has_no_absorption_where_it_is_empty(real_data):
    folder = real_data / "fe-l-edge-stack"
    stack = xstxm.open_stack(folder / "71214078.hdr")
    i0 = xstxm.read_i0(folder / "i0.xsp", units="count/ms")
    od = xstxm.optical_density(stack, i0)
    brightest = stack.intensity.mean("energy")
    empty = od.optical_density.where(brightest > brightest.quantile(0.95)).median(("y", "x"))
    assert abs(empty).max() < 0.08


def test_real_xdi__becomes_absorption(real_data):
    folder = real_data / "vanadium-k-edge"
    references = xstxm.read_references({name: folder / f"{name}.xdi" for name in ("V2O5", "VO2", "V2O3")})
    spectrum = references.absorption.sel(reference="V2O5").dropna("energy")
    assert spectrum.sizes["energy"] == 517
    assert references.source.sel(reference="V2O5").item() == "V2O5.xdi, ln(i0/itrans)"
    last = np.log(9.9428e4 / 3.4134100e5)
    np.testing.assert_allclose(spectrum[-1], last)


def test_real_nor__has_its_eleven_names(real_data):
    references = xstxm.read_references(real_data / "iron-k-edge" / "FeLibNov2021.nor")
    assert references.sizes["reference"] == 11
    assert {"LiFe(II)PO4", "Fe(III)PO4", "Hematite_NP"} <= set(references.reference.values)
    np.testing.assert_allclose(references.absorption.sel(reference="Magnetite")[0], 0.0031976961)


def test_real_two_columns__in_kev(real_data):
    with pytest.warns(MetadataWarning, match="taken to be keV"):
        references = xstxm.read_references(real_data / "nickel-k-edge" / "ref_NiO.txt")
    np.testing.assert_array_equal(references.energy[[0, -1]], [8200, 9000])


@pytest.mark.parametrize(
    ("file", "ends", "kind"),
    [
        ("athena/cu_10k.xmu", (8786.204, 11362.47), "raw"),
        ("athena/Vglasses.prj", (5364.9964, 5645.0), "raw"),
        ("athena/json_unzipped.prj", (7011.995018, 7745.91432), "raw"),
        ("iron-k-edge/FeLibNov2021.nor", (7090, 7199.7197), "normalized_absorption"),
        ("vanadium-k-edge/V2O5.xdi", (5364.995, 6300.228), "raw"),
        ("vanadium-k-edge/VO2.xdi", None, "raw"),
        ("vanadium-k-edge/V2O3.xdi", None, "raw"),
        ("vanadium-k-edge/VO.xdi", (5364.983, 6300.228), "raw"),
        ("vanadium-k-edge/V_foil.xdi", (5385.0, 6089.816), "raw"),
        ("nickel-k-edge/ref_NiO.txt", (8200, 9000), None),
        ("nickel-k-edge/ref_LiNiO2.txt", (8200, 9000), None),
        ("fe-l-edge-stack/oxidized.t", (700, 730.353), None),
        ("fe-l-edge-stack/reduced.t", (700, 730.353), None),
        ("fe-l-edge-stack/oxidized.r", (700, 730.353), None),
        ("fe-l-edge-stack/reduced.r", (700, 730.353), None),
    ],
)
@pytest.mark.filterwarnings("ignore:.*taken to be keV:xstxm.errors.MetadataWarning")
def test_real_references__have_their_energies_and_kinds(real_data, tmp_path, file, ends, kind):
    references = xstxm.read_references(real_data / file)
    if ends is not None:
        np.testing.assert_allclose(references.energy[[0, -1]], ends, rtol=1e-9)
    assert ("kind" in references.coords) == (kind is not None)
    assert kind is None or set(references.kind.values) == {kind}
    again = xstxm.read_references(xstxm.write_references(references, tmp_path / "library.toml"))
    assert again.equals(references)


def test_real_xmu(real_data):
    references = xstxm.read_references(real_data / "athena" / "cu_10k.xmu")
    assert references.sizes["energy"] == 612


@pytest.mark.parametrize("given", ["list", "pattern", "mapping"])
def test_read_references__of_several_files_has_their_names(tmp_path, given):
    paths = [tmp_path / f"V{number}.t" for number in (9, 10)]
    for factor, path in enumerate(paths, 1):
        path.write_text(f"515 {factor}\n518 {2 * factor}\n521 {3 * factor}\n", encoding="utf-8")
    named = {"list": paths, "pattern": str(tmp_path / "V*.t"), "mapping": {path.stem: path for path in paths}}
    references = xstxm.read_references(named[given], composition={"V9": 0, "V10": 1})
    assert references.reference.values.tolist() == ["V9", "V10"]
    np.testing.assert_array_equal(references.absorption, [[1, 2, 3], [2, 4, 6]])
    recipe = xstxm.Recipe.from_result(xstxm.calibrate_energy(references, shift="1 eV"))
    assert recipe.reader.verb == "read_references"


def test_read_references__of_files_of_one_name_or_none_says_so(tmp_path):
    with pytest.raises(ReferenceSpectrumError, match="given twice: 'a'"):
        xstxm.read_references([tmp_path / "a.t", tmp_path / "other" / "a.t"])
    with pytest.raises(ReferenceSpectrumError, match=r"no reference files behind .*nothing\*\.xdi': pass a list"):
        xstxm.read_references(tmp_path / "nothing*.xdi")


def test_real_references__of_a_pattern(real_data):
    folder = real_data / "vanadium-k-edge"
    references = xstxm.read_references(str(folder / "V*.xdi"))
    assert sorted(references.reference.values.tolist()) == ["V2O3", "V2O5", "VO", "VO2", "V_foil"]
    alone = xstxm.read_references(folder / "VO2.xdi").absorption[0]
    np.testing.assert_array_equal(references.absorption.sel(reference="VO2").dropna("energy"), alone)


TEXTS = [
    "\ufeffenergy,V2O5,LiV2O5\n515,0.1,0.1\n518,1.0,0.7\n521,0.3,0.4\n".encode("utf-16"),
    b"515,0;0,1\n518,5;1,0\n521,0;0,3\n",
    b"% title\n3\n515 0.1\n518.5 1.0\n521 0.3\n",
    XDI.replace("{1}", "i0 counts || X").replace("{2}", "itrans counts").encode(),
]


@pytest.mark.parametrize("data", TEXTS, ids=["csv in UTF-16", "decimal commas", "aXis", "XDI"])
def test_damaged_texts__are_read_or_refused(data):
    assert "an error without words" not in {spectra_or_refusal(bad) for bad in damaged(data, 100)}


def test_text_of_half_a_character__is_corrupt():
    with pytest.raises(CorruptFileError, match="expected a text in UTF-16"):
        xstxm.read_references(io.BytesIO(TEXTS[0][:-1]))


@pytest.fixture
def tables(tmp_path):
    """Two tables of two spectra, one of one."""
    (tmp_path / "iron.csv").write_text("energy,FeO,Fe2O3\n700,0.1,0.1\n710,0.9,0.5\n720,0.3,0.7\n")
    (tmp_path / "more.csv").write_text("energy,metal,FeO\n700,0.2,0.1\n712,0.8,0.6\n720,0.4,0.7\n")
    (tmp_path / "foil.csv").write_text("energy,mu\n700,0.3\n710,0.7\n720,0.5\n")
    return [tmp_path / name for name in ("foil.csv", "iron.csv", "more.csv")]


def test_read_references__of_tables_keeps_their_order_and_tells_names_apart(tables):
    with pytest.warns(MetadataWarning, match=r"'FeO' is in iron, more: .* e\.g\. 'FeO \(iron\)'"):
        references = xstxm.read_references(tables)
    assert references.reference.values.tolist() == ["foil", "FeO (iron)", "Fe2O3", "metal", "FeO (more)"]
    files = [source.partition(",")[0] for source in references.source.values.tolist()]
    assert files == ["foil.csv", *["iron.csv"] * 2, *["more.csv"] * 2]
    for name, label, file in (("Fe2O3", "Fe2O3", tables[1]), ("FeO (more)", "FeO", tables[2])):
        alone = xstxm.read_references(file).absorption.sel(reference=label)
        np.testing.assert_array_equal(references.absorption.sel(reference=name).dropna("energy"), alone)


def test_read_references__of_a_table_and_a_file_of_its_name(tables):
    spectrum = tables[0].rename(tables[0].with_name("metal.csv"))
    with pytest.warns(MetadataWarning, match="'metal' is in more, metal"):
        references = xstxm.read_references([tables[2], spectrum])
    assert references.reference.values.tolist() == ["metal (more)", "FeO", "metal (metal)"]


def test_read_references__of_a_name_that_another_has_in_full_loses_none(tables):
    taken = tables[0].with_name("taken.csv")
    taken.write_text("energy,FeO (iron),other\n700,0.2,0.1\n712,0.8,0.6\n720,0.4,0.7\n")
    with (
        pytest.warns(MetadataWarning, match="'FeO' is in"),
        pytest.raises(ReferenceSpectrumError, match=r"names given twice: 'FeO \(iron\)'"),
    ):
        xstxm.read_references([*tables, taken])
