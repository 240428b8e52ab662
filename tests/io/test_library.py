"""Reference sets in a library, a text of TOML."""

from __future__ import annotations

import io
import re
import tomllib

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from damage import damaged, spectra_or_refusal
from hypothesis import given

import xstxm
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    MissingVariableError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
)

BY_HAND = b"""
# vanadates, by hand
xstxm_references = 1

[[references]]
name = "V2O5"
composition = 0
color = "#0072B2"
energy = [515, 518.5, 521.0]
absorption = [0.1, 1, 0.3]

[[references]]
name = "LiV2O5"
composition = 1
energy = [514.0, 518.5]
absorption = [0.2, 0.7]
"""


def full_set() -> xr.Dataset:
    """Return two references on grids of their own, with all that may be along `reference`."""
    references = xstxm.reference_set(
        {"V2O5": ([515, 518.5, 521], [0.1, 1 / 3, 0.3]), "LiV2O5": ([514, 518.5], [1e-300, 0.7])},
        units="1/nm",
        phase={"V2O5": "alpha"},
        composition={"V2O5": 0, "LiV2O5": 1 / 3},
        composition_name="x in LixV2O5",
        color={"V2O5": "#0072B2"},
        source='a "quoted"\n\\ path, µ',
        kind="linear_absorption",
    )
    chain = ("reference", [3.5640, np.nan], {"units": "angstrom"})
    return references.assign_coords(cell_chain=chain, cell_rung=("reference", [11.512, 9.9]))


def written(references, tmp_path, name="library.toml"):
    return xstxm.read_references(xstxm.write_references(references, tmp_path / name, overwrite=True))


def without_record(references):
    kept = {key: value for key, value in references.attrs.items() if key not in ("history", "xstxm_provenance")}
    return references.drop_attrs(deep=False).assign_attrs(kept)


def assert_same(found, expected):
    xr.testing.assert_identical(without_record(found), without_record(expected))


def test_library__gives_back_what_was_written(tmp_path):
    references = full_set()
    found = written(references, tmp_path)
    assert_same(found, references)
    assert found["absorption"].dtype == "float64"
    assert found.attrs["history"].startswith(references.attrs["history"])
    assert [entry["operation"] for entry in xstxm.provenance.entries(found)] == ["reference_set", "read_references"]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.floats(allow_infinity=False, width=64)
WORDS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | NUMBERS.filter(np.isfinite) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def reference_sets(draw):
    count, size = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    names = draw(st.lists(TEXTS, min_size=count, max_size=count, unique=True))
    energy = sorted(draw(st.lists(st.floats(1e-3, 1e6), min_size=size, max_size=size, unique=True)))
    rows = draw(st.lists(st.lists(NUMBERS, min_size=size, max_size=size), min_size=count, max_size=count))
    rows = [row if np.isfinite(row).any() else [1.0] * size for row in rows]
    along = {
        "source": draw(st.lists(TEXTS, min_size=count, max_size=count)),
        "composition": draw(st.lists(NUMBERS, min_size=count, max_size=count)),
        "number": draw(st.lists(st.integers(-(2**60), 2**60), min_size=count, max_size=count)),
        "pure": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
    }
    coords = {name: ("reference", np.array(values), {"of": draw(WORDS)}) for name, values in along.items()}
    unit = draw(st.sampled_from(["1", "1/nm", "cm**2/g"]))
    return xr.Dataset(
        {
            "absorption": (("reference", "energy"), np.array(rows), {"units": unit, "more": draw(WORDS)}),
            "absorption_stderr": (("reference", "energy"), np.abs(rows)),
        },
        {"reference": names, "energy": ("energy", energy, {"units": "eV"}), **coords},
        attrs=draw(st.dictionaries(TEXTS, WORDS, max_size=3)),
    )


@given(reference_sets())
def test_library__is_exact(tmp_path_factory, references):
    assert_same(written(references, tmp_path_factory.getbasetemp()), references)


def test_library__of_a_selection_keeps_energies_without_data(tmp_path):
    references = full_set().isel(reference=[1])
    assert references["absorption"].isnull().any()
    assert_same(written(references, tmp_path), references)


def test_library__of_internal_references_keeps_their_errors(tmp_path):
    stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(8, 6), seed=0))
    references = xstxm.internal_references(stack, {"left": {"x": (0, 0.05)}, "right": {"x": (0.1, 0.15)}})
    assert_same(written(references, tmp_path), references)


def test_references__as_netcdf_are_the_same_too(tmp_path):
    references = full_set()
    with xstxm.open_result(xstxm.write_netcdf(references, tmp_path / "references.nc")) as opened:
        xr.testing.assert_identical(opened.load(), references)


def test_library__is_a_text_to_read(tmp_path):
    table = tomllib.loads(xstxm.write_references(full_set(), tmp_path / "a.toml").read_text(encoding="utf-8"))
    first, second = table["references"]
    assert first["name"] == "V2O5"
    assert first["energy"] == [515.0, 518.5, 521.0]
    assert first["absorption"][1] == 1 / 3
    assert (second["energy"], second["absorption"]) == ([514.0, 518.5], [1e-300, 0.7])
    assert table["variables"]["absorption"]["units"] == "1/nm"


@pytest.mark.parametrize("head", [pytest.param(b"", id="plain"), pytest.param(b"\xef\xbb\xbf", id="byte order mark")])
def test_library__by_hand_needs_names_and_numbers_only(head):
    references = xstxm.read_references(io.BytesIO(head + BY_HAND))
    xstxm.conventions.validate(references, "reference_set")
    assert references["energy"].values.tolist() == [514, 515, 518.5, 521]
    np.testing.assert_array_equal(references["absorption"][1], [0.2, np.nan, 0.7, np.nan])
    assert references["color"].values.tolist() == ["#0072B2", ""]
    assert references["composition"].values.tolist() == [0, 1]
    assert references["absorption"].attrs["units"] == "1"


def test_library__is_replaced_when_asked_only(tmp_path):
    path = xstxm.write_references(full_set(), tmp_path / "a.toml")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        xstxm.write_references(full_set(), path)
    xstxm.write_references(full_set().isel(reference=[0]), path, overwrite=True)
    assert xstxm.read_references(path).sizes["reference"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.toml"]


def test_library__that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = xstxm.write_references(full_set(), tmp_path / "a.toml")
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="half a character"):
        xstxm.write_references(full_set().assign_attrs(title="\ud800"), path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.toml"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda r: r.drop_vars("absorption"), MissingVariableError, "absorption", id="no absorption"),
        pytest.param(lambda r: r.isel(energy=slice(None, None, -1)), SchemaError, "sortby", id="descending"),
        pytest.param(lambda r: r.assign_coords(part=("energy", [1, 2, 3, 4])), SchemaError, "'part'", id="of energy"),
        pytest.param(lambda r: r.assign_coords(t=1.0, u=2), SchemaError, "'t', 'u'", id="scalars, all named"),
        pytest.param(
            lambda r: r.assign_coords(o=("reference", np.array([None, {}]))), SchemaError, "'o'", id="objects"
        ),
        pytest.param(lambda r: r.assign_coords(name=("reference", [1, 2])), SchemaError, "'name'", id="called name"),
        pytest.param(lambda r: r.assign(extra=r["composition"] * 1), SchemaError, "'extra'", id="a variable along it"),
        pytest.param(lambda r: r * np.inf, ReferenceSpectrumError, "infinite", id="infinite"),
    ],
)
def test_write_references__refuses(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        xstxm.write_references(change(full_set()), tmp_path / "a.toml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        pytest.param(b"= 1\n", b"= 2\n", FileFormatError, "xstxm_references = 1, found 2", id="version"),
        pytest.param(b"xstxm_references = 1\n", b"", FileFormatError, "xstxm_references = 1, found no such", id="mark"),
        pytest.param(b"[[references]]", b"[[references", FileFormatError, "which is TOML", id="no TOML"),
        pytest.param(b'"V2O5"', b'"\xff"', FileFormatError, "which is TOML", id="not UTF-8"),
        pytest.param(b"[[references]]", b"[[spectra]]", CorruptFileError, "references", id="no tables"),
        pytest.param(b'name = "V2O5"', b"", CorruptFileError, "a reference without a name", id="no name"),
        pytest.param(b'name = "V2O5"', b'reference = "V2O5"', CorruptFileError, "is called 'name' here", id="key"),
        pytest.param(b'"LiV2O5"', b'"V2O5"', ReferenceSpectrumError, "given twice: 'V2O5'", id="name twice"),
        pytest.param(b"[0.2, 0.7]", b"[0.2]", CorruptFileError, "'LiV2O5' has 2 energies", id="unequal"),
        pytest.param(b"[514.0, 5", b"[518.5, 5", CorruptFileError, "some twice", id="energy twice"),
        pytest.param(b"[514.0, 5", b"[nan, 5", CorruptFileError, "no finite numbers", id="NaN energy"),
        pytest.param(b"[0.2, 0.7]", b"[0.2, true]", CorruptFileError, "no list of numbers", id="a word for a number"),
        pytest.param(b"[0.2, 0.7]", b"[inf, 1]", ReferenceSpectrumError, "infinite", id="infinite"),
        pytest.param(b"composition = 1", b'composition = "x"', CorruptFileError, "neither all words", id="mixed"),
        pytest.param(b"composition = 1", b"composition = {}", CorruptFileError, "neither all words", id="table"),
        pytest.param(b"[0.2, 0.7]", b"[" * 10**5, FileFormatError, "which is TOML", id="lists without end"),
        pytest.param(b"[0.2, 0.7]", b"[1" + b"0" * 400 + b", 1]", CorruptFileError, "too large", id="too large"),
    ],
)
def test_read_library__refuses(old, new, error, message):
    assert old in BY_HAND
    with pytest.raises(error, match=message):
        xstxm.read_references(io.BytesIO(BY_HAND.replace(old, new)))


def test_read_library__takes_energies_below_100_for_kev_unless_it_says_ev():
    def scaled(found):
        return b", ".join(b"%g" % (float(number) / 1000) for number in found[1].split(b",")).join((b"energy = [", b"]"))

    in_kev = re.sub(rb"energy = \[([^]]*)\]", scaled, BY_HAND)
    wanted = xstxm.read_references(io.BytesIO(BY_HAND))
    with pytest.warns(MetadataWarning, match=r"taken to be keV: if they are eV, add \[variables\.energy\]"):
        xr.testing.assert_identical(xstxm.read_references(io.BytesIO(in_kev)).drop_attrs(), wanted.drop_attrs())
    said = in_kev + b"\n[variables.energy]\nunits = 'eV'\n"
    assert xstxm.read_references(io.BytesIO(said)).energy.max() < 1


@pytest.mark.parametrize("option", [{"units": "1/nm"}, {"composition": {"V2O5": 0}}, {"kind": "raw"}])
def test_read_library__takes_no_options(option):
    with pytest.raises(OptionError, match="is a library and says it"):
        xstxm.read_references(io.BytesIO(BY_HAND), **option)


def test_libraries__are_joined(tmp_path):
    whole = full_set()
    names = whole.reference.values.tolist()
    first = xstxm.write_references(whole.sel(reference=names[:1]), tmp_path / "a.toml")
    second = xstxm.write_references(whole.sel(reference=names[1:]).drop_vars("color"), tmp_path / "b.toml")
    joined = xstxm.read_references([first, second])
    assert joined.reference.values.tolist() == names
    assert joined.color.values.tolist() == [whole.color.values[0], *[""] * (len(names) - 1)]
    xr.testing.assert_identical(
        joined.drop_vars("color").drop_attrs(deep=False),
        whole.drop_vars("color").drop_attrs(deep=False),
    )


@pytest.mark.parametrize(
    ("names", "variable", "attrs", "message"),
    [
        (["V2O5", "VO2"], "absorption", {}, "names given twice: 'V2O5'"),
        (["VO2", "V2O3"], "absorption", {"units": "1"}, "units of 'absorption' differ between the sets"),
        (["VO2", "V2O3"], "composition", {"long_name": "y"}, "long_name of 'composition' differ"),
    ],
)
def test_libraries__that_do_not_fit_are_refused(tmp_path, names, variable, attrs, message):
    first, other = full_set(), full_set().assign_coords(reference=names)
    other[variable].attrs.update(attrs)
    files = [xstxm.write_references(one, tmp_path / f"{k}.toml") for k, one in enumerate((first, other))]
    with pytest.raises(ReferenceSpectrumError, match=message):
        xstxm.read_references(files)


def test_library__is_not_one_spectrum_of_a_mapping(tmp_path):
    path = xstxm.write_references(full_set(), tmp_path / "a.toml")
    with pytest.raises(FileFormatError, match="expected a file of one spectrum, found a library"):
        xstxm.read_references({"V2O5": path})


@pytest.mark.parametrize("seed", range(3))
def test_damaged_library__is_read_or_refused(seed):
    assert "an error without words" not in {spectra_or_refusal(bad) for bad in damaged(BY_HAND, 150, seed)}


def test_recipe__reads_its_references_from_a_library(tmp_path):
    counts = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    path = xstxm.write_references(xstxm.testing.simulate_references(), tmp_path / "library.toml")
    maps = xstxm.fit(xstxm.optical_density(counts), xstxm.read_references(path))
    recipe = xstxm.Recipe.load(xstxm.Recipe.from_result(maps).save(tmp_path / "recipe.toml"))
    np.testing.assert_array_equal(recipe.apply(counts)["component_map"], maps["component_map"])


@pytest.fixture
def own() -> xr.Dataset:
    """References of regions of a stack."""
    stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(12, 10), seed=0))
    return xstxm.internal_references(stack, {"left": {"x": (0.0, 0.1)}, "FeO": {"x": (0.2, 0.3)}})


@pytest.fixture
def iron() -> xr.Dataset:
    """References with compositions, in eV."""
    spectra = {"Fe2O3": ([500, 520, 570], [0.1, 1.0, 0.4]), "FeO": ([500, 530, 570], [0.1, 0.8, 0.5])}
    return xstxm.reference_set(spectra, composition={"Fe2O3": 0, "FeO": 1}, color={"FeO": "#112233"})


def test_join_references__each_keeps_what_it_has_on_its_own_energies(own, iron):
    joined = xstxm.join_references([iron, own.sel(reference=["left"])])
    assert joined.reference.values.tolist() == ["Fe2O3", "FeO", "left"]
    for one in (iron, own):
        for name in set(one.reference.values) & {"Fe2O3", "left"}:
            kept = joined.absorption.sel(reference=name).dropna("energy")
            xr.testing.assert_equal(
                kept.reset_coords(drop=True),
                one.absorption.sel(reference=name).dropna("energy").reset_coords(drop=True),
            )
    np.testing.assert_array_equal(joined.composition, [0, 1, np.nan])
    assert joined.color.values.tolist() == ["", "#112233", ""]
    assert joined.kind.values.tolist() == ["", "", "optical_density"]
    assert joined.absorption_stderr.sel(reference="FeO").isnull().all()
    np.testing.assert_array_equal(
        joined.absorption_stderr.sel(reference="left").dropna("energy"), own.absorption_stderr.sel(reference="left")
    )
    assert xstxm.testing.assert_conforms(joined, "reference_set") is None
    assert list(joined.stxm.history["operation"]) == ["join_references"]


def test_join_references__of_one_name_say_whose_they_are(own, iron):
    with pytest.raises(ReferenceSpectrumError, match="names given twice: 'FeO'"):
        xstxm.join_references([iron, own])
    with pytest.warns(MetadataWarning, match="'FeO' is in table, particle"):
        joined = xstxm.join_references({"table": iron, "particle": own})
    assert joined.reference.values.tolist() == ["Fe2O3", "FeO (table)", "left", "FeO (particle)"]


def test_join_references__brings_energies_together_and_no_units(own, iron):
    in_kev = iron.assign_coords(energy=("energy", iron.energy.values / 1000, {"units": "keV"}))
    joined = xstxm.join_references([in_kev, own.sel(reference=["left"])])
    assert float(joined.absorption.sel(reference="Fe2O3").dropna("energy").energy[1]) == pytest.approx(520)
    per_nm = xstxm.testing.simulate_references()
    with pytest.raises(ReferenceSpectrumError, match="units of 'absorption' differ between the sets"):
        xstxm.join_references([per_nm, own])


@pytest.mark.parametrize(
    ("given", "found"),
    [(lambda own: [], "none"), (lambda own: own, "one Dataset"), (lambda own: [own, 1], "int")],
    ids=["none", "one", "a number"],
)
def test_join_references__of_no_sets_says_what_to_pass(own, given, found):
    with pytest.raises(ReferenceSpectrumError, match=rf"no reference sets to join \(found: {found}\): pass a list"):
        xstxm.join_references(given(own))
