"""Athena projects as reference sets."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest
from athena_files import HEAD, TAIL, as_json, packed, perl
from damage import damaged, spectra_or_refusal

import xstxm
from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning, ReferenceSpectrumError

FORMS = [
    pytest.param(packed(perl()), id="Perl, packed"),
    pytest.param(perl(), id="Perl, plain"),
    pytest.param(as_json(), id="JSON, plain"),
    pytest.param(packed(as_json()), id="JSON, packed"),
]


def read(data):
    return xstxm.read_references(io.BytesIO(data))


def group(label="V2O5", x=("5460", "5470"), y=("0.1", "1.0"), **settings):
    return ({"label": label, **settings}, list(x), list(y))


@pytest.mark.parametrize("data", FORMS)
def test_project__becomes_references(tmp_path, data):
    (tmp_path / "library.prj").write_bytes(data)
    references = xstxm.read_references(tmp_path / "library.prj")
    assert references.reference.values.tolist() == ["V2O5", r"it's C:\V"]
    first, second = (references.absorption[index].dropna("energy") for index in (0, 1))
    np.testing.assert_array_equal(first.energy, [5460, 5465.5, 5470])
    np.testing.assert_array_equal(first, [0.1, 1.0, 0.3])
    np.testing.assert_array_equal(second.energy, [5460.5, 5465.5, 5470.5, 5479.5])
    np.testing.assert_array_equal(second, [0, 0.9, 1.1, 1])
    assert references.source.values.tolist() == [
        "library.prj, mu(E)",
        "library.prj, normalised, energies moved by -0.5 eV",
    ]
    xstxm.conventions.validate(references, "reference_set")


def test_project__nothing_in_it_is_run():
    text = perl({"a": group(label="`touch x`; $old_group = 'b';\n@x = (1);\n[record]")})
    assert read(text).reference.values.tolist() == ["`touch x`; $old_group = 'b';\n@x = (1);\n[record]"]


def test_project__json_keeps_the_order_athena_shows():
    assert read(as_json(order=["tikzo", "nuldi"])).reference.values.tolist()[1] == "V2O5"


def test_project__labels_that_are_shared_get_the_name_of_the_group():
    with pytest.warns(MetadataWarning, match="'V2O5' label several groups"):
        references = read(perl({"a": group(), "b": group(y=("0", "2"))}))
    assert references.reference.values.tolist() == ["V2O5 (a)", "V2O5 (b)"]


def test_project__groups_of_chi_are_passed_over():
    with pytest.warns(MetadataWarning, match=r"'k' hold chi\(k\)"):
        references = read(perl({"a": group(), "b": group("k", x=("0", "1"), is_chi=1)}))
    assert references.reference.values.tolist() == ["V2O5"]


def test_project__without_its_last_line_warns():
    with pytest.warns(MetadataWarning, match="the last line of an Athena project is missing"):
        assert read(perl(tail="")).sizes["reference"] == 2


def test_project__of_several_groups_is_not_one_reference():
    with pytest.raises(ReferenceSpectrumError, match="holds 2 spectra"):
        xstxm.read_references({"V2O5": io.BytesIO(perl())})


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        pytest.param(packed(perl())[:-20], CorruptFileError, "a damaged one", id="packed, cut"),
        pytest.param(perl().partition(b"@y")[0], CorruptFileError, r"no \[record\] after group 'nuldi'", id="cut"),
        pytest.param(perl()[: perl().index(b"5465.5")], CorruptFileError, "no end of the list in line 6", id="in list"),
        pytest.param(perl({"a": group(y=("1",))}), CorruptFileError, "found 2 and 1", id="unequal"),
        pytest.param(perl({"a": group(y=("1", "x"))}), CorruptFileError, "finite numbers as 'y'", id="words"),
        pytest.param(perl({"a": group(x=("nan", "2"))}), CorruptFileError, "finite numbers as 'x'", id="NaN energy"),
        pytest.param(perl({"a": group(x=("0", "2"))}), CorruptFileError, "energies above 0", id="energy of zero"),
        pytest.param(perl({"a": group(bkg_eshift="x")}), CorruptFileError, "as 'bkg_eshift'", id="shift"),
        pytest.param(perl({"a": group(is_chi=1)}), FileFormatError, "1 groups, none of them", id="chi only"),
        pytest.param(as_json(order=["other"]), CorruptFileError, "other groups than there are", id="order"),
        pytest.param(
            b'{"h": "# Athena project file", "a": ' + b"[" * 10**6, CorruptFileError, "without end", id="nested"
        ),
        pytest.param(
            packed(perl() + b"#" * (64 * 1024**2)), FileFormatError, "at most 64 MiB when unpacked", id="gzip bomb"
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*the last line:xstxm.errors.MetadataWarning")
def test_project__refuses(data, error, message):
    with pytest.raises(error, match=message):
        read(data)


def test_gzip_of_something_else__is_no_project():
    with pytest.raises(FileFormatError, match="found a gzip archive"):
        read(gzip.compress(b"515 1\n518 2\n"))


def counts_only(i0=("8", "4"), signal=("4", "1"), y=()):
    """Return a project of a group whose absorption is in the counts of its detectors."""
    lists = {"x": ("5460", "5470"), "i0": i0, "signal": signal, "y": y}
    written = "".join(f"@{key} = ({','.join(map(repr, values))});\n" for key, values in lists.items() if values)
    return (HEAD + f"$old_group = 'a';\n@args = ('label','V2O5');\n{written}[record]\n" + TAIL).encode()


def test_project__of_counts_alone_forms_the_absorption():
    references = read(counts_only())
    np.testing.assert_allclose(references.absorption[0], [np.log(2), np.log(4)])
    assert references.source.item().endswith("ln(i0/signal)")
    assert references.kind.item() == "raw"


def test_project__takes_y_before_counts():
    references = read(counts_only(y=("0.1", "0.9")))
    np.testing.assert_array_equal(references.absorption[0], [0.1, 0.9])
    assert references.source.item().endswith("mu(E)")


@pytest.mark.parametrize("change", [{"i0": ("8",)}, {"signal": ("4", "0")}, {"signal": ("4", "-1")}])
def test_project__of_counts_that_are_none_is_refused(change):
    with pytest.raises(CorruptFileError, match="as many i0 as signal, of one sign, in group 'V2O5'"):
        read(counts_only(**change))


def test_project__keeps_kinds():
    assert read(perl()).kind.values.tolist() == ["raw", "normalized_absorption"]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 10, 11, 12, 30])
def test_project__whose_archive_is_damaged_at_its_head_says_so(tmp_path, at):
    data = bytearray(packed(perl()))
    data[at] ^= 0xFF
    (tmp_path / "library.prj").write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"a damaged one|a gzip archive"):
        xstxm.read_references(tmp_path / "library.prj")


@pytest.mark.parametrize("data", FORMS)
def test_project__damaged_is_read_or_refused(data):
    assert "an error without words" not in {spectra_or_refusal(bad) for bad in damaged(data, 150)}


@pytest.mark.parametrize(
    ("name", "count", "first", "points"),
    [("Vglasses.prj", 28, "ALL_45 NNO+3.8", None), ("json_unzipped.prj", 4, "FeXANES_DebbysSample.001", 442)],
)
def test_real_project(real_data, name, count, first, points):
    references = xstxm.read_references(real_data / "athena" / name)
    assert references.sizes["reference"] == count
    assert references.reference.values[0] == first
    spectrum = references.absorption[0].dropna("energy")
    if points:
        assert spectrum.size == points
    else:
        np.testing.assert_allclose(spectrum[:2], [0.402113444998642, 0.4014706168356])
        np.testing.assert_array_equal(spectrum.energy[:2], [5365, 5367.5])
