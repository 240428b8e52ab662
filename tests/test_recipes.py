"""An analysis is a file: what is recorded can be replayed, to the bit."""

from __future__ import annotations

import contextlib
import inspect
import json
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given as attacked
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from test_every_verb import REFERENCES, VERBS, counts, density, given

import xstxm
from xstxm._digests import LARGEST, digest, digest_if_cheap
from xstxm.errors import CorruptFileError, FileFormatError, RecipeError, RecipeWarning, StxmError
from xstxm.provenance import RECORD, entries


def without_times(obj):
    """Return an object without what says when it was made."""
    return obj.drop_attrs(deep=False).assign_attrs({k: v for k, v in obj.attrs.items() if k not in ("history", RECORD)})


def spied(monkeypatch, verb: str, stack):
    """Return the result of a verb, what it was called on, and the arrays it was given besides."""
    seen, function = [], getattr(xstxm, verb)

    def spy(*args, **kwargs):
        seen.append(inspect.signature(function).bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(xstxm, verb, spy)
        result = VERBS[verb](stack)
    first, *others = seen[-1].items() if seen else [("stack", stack)]
    return result, first[1], {k: v for k, v in others if isinstance(v, xr.DataArray | xr.Dataset | np.ndarray)}


@pytest.mark.parametrize("verb", VERBS)
def test_recipe__of_every_verb_gives_the_identical_result(verb, monkeypatch, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.AlignmentWarning)
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        result, stack, inputs = spied(monkeypatch, verb, given(verb))
        alone = result.assign_attrs({RECORD: json.dumps(entries(result)[-1:])})
        path = xstxm.Recipe.from_result(alone, inputs=inputs).save(tmp_path / "recipe.toml")
        again = xstxm.Recipe.load(path).apply(stack)
    xr.testing.assert_identical(without_times(again), without_times(result))


def test_recipe__of_every_verb_there_is():
    """Verbs that no test above calls are readers, or join several stacks."""
    from xstxm._recipe_record import READERS, verbs

    several = {"open_tree", "merge_stacks", "join_particles", "time_series", "trajectories", "state_of_charge"}
    two = {"bland_altman", "locate", "join_references", "read_shifts", "reference_set"}
    assert set(verbs()) - set(VERBS) == set(READERS) | several | two


@pytest.fixture
def maps(tmp_path):
    """A phase map whose references and I0 come from files, and the folder of these."""
    (tmp_path / "i0.txt").write_text("".join(f"{e} {20000 + e}\n" for e in counts()["energy"].values))
    table = REFERENCES["absorption"].to_pandas().T
    table.to_csv(tmp_path / "references.csv", index_label="energy")
    references = xstxm.read_references(tmp_path / "references.csv", units="1/nm")
    i0 = xstxm.read_i0(tmp_path / "i0.txt", units="count")
    return xstxm.phase_map(xstxm.optical_density(counts(), i0), references)


def test_recipe__keeps_the_reader_and_finds_the_files_beside_it(maps, tmp_path):
    recipe = xstxm.Recipe.load(xstxm.Recipe.from_result(maps).save(tmp_path / "recipe.toml"))
    assert [item.steps[0].verb for item in recipe.inputs.values()] == ["read_i0", "read_references"]
    xr.testing.assert_identical(without_times(recipe.apply(counts())), without_times(maps))
    assert "read_references of 'references.csv'" in repr(recipe)


def test_recipe__without_its_files_says_what_to_pass(maps, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    recipe = xstxm.Recipe.load(xstxm.Recipe.from_result(maps).save(tmp_path / "elsewhere" / "recipe.toml"))
    with pytest.raises(RecipeError, match=r"'i0' was read from i0.txt, which is not in .*--input 'i0=PATH'"):
        recipe.apply(counts())
    given = {"i0": tmp_path / "i0.txt", "references": tmp_path}
    xr.testing.assert_identical(without_times(recipe.apply(counts(), given)), without_times(maps))
    with pytest.raises(RecipeError, match="no input 'reference': its inputs are 'i0', 'references'"):
        recipe.apply(counts(), {"reference": REFERENCES})


def test_recipe__tells_that_a_file_holds_other_numbers(maps, tmp_path):
    recipe = xstxm.Recipe.load(xstxm.Recipe.from_result(maps).save(tmp_path / "recipe.toml"))
    text = (tmp_path / "i0.txt").read_text()
    (tmp_path / "i0.txt").write_text(text.replace("508.0 20508.0", "508.0 20509.0"))
    with pytest.warns(RecipeWarning, match="'i0' is not the recorded one"):
        recipe.apply(counts())


def test_recipe__of_an_array_without_a_past_asks_for_it():
    result = xstxm.phase_map(counts(), REFERENCES)
    with pytest.raises(RecipeError, match=r"does not hold 'references'.*pass inputs="):
        xstxm.Recipe.from_result(result).apply(counts())
    with pytest.raises(RecipeError, match=r"inputs\['references'\] is not what phase_map was given"):
        xstxm.Recipe.from_result(result, {"references": REFERENCES.isel(reference=[0, 1])})
    with pytest.raises(RecipeError, match="no step was given 'i0': the inputs are 'references'"):
        xstxm.Recipe.from_result(result, {"i0": REFERENCES})


def test_recipe__makes_of_each_stack_what_was_made_of_the_first():
    other = xstxm.sel_energy(xstxm.testing.simulate_stack(shape=(24, 28), seed=3)[["intensity"]], 508, 528)

    def analysed(stack):
        begun = xstxm.despike(stack)
        return xstxm.optical_density(begun, xstxm.estimate_i0(begun, fraction=0.05))

    recipe = xstxm.Recipe.from_result(analysed(counts()))
    assert (recipe.inputs["i0"].after, [step.verb for step in recipe.inputs["i0"].steps]) == (2, ["estimate_i0"])
    expected = analysed(other)
    xr.testing.assert_identical(without_times(recipe.apply(other)), without_times(expected))
    assert not expected.equals(analysed(counts()))


def test_recipe__takes_an_array_out_of_a_dataset():
    recipe = xstxm.Recipe.from_result(xstxm.pca(density()["optical_density"], 2))
    assert recipe.steps[0].takes == "optical_density"
    assert recipe.apply(density()).equals(xstxm.pca(density()["optical_density"], 2))
    with pytest.raises(RecipeError, match=r"the array 'optical_density', which is missing \(found: intensity\)"):
        recipe.apply(counts())


def test_recipe__is_lazy_where_the_verbs_are():
    recipe = xstxm.Recipe.from_result(
        xstxm.phase_map(density(), REFERENCES, min_amount=10.0), {"references": REFERENCES}
    )
    with raise_if_dask_computes():
        assert recipe.apply(counts().chunk(y=12).assign(i0=counts()["intensity"].max(("y", "x")))).stxm.is_lazy


def test_recipe__tells_what_happened_between_the_steps():
    cut = density().isel(x=slice(10))
    with pytest.warns(RecipeWarning, match=r"between optical_density and pca .*x: 28.* became .*x: 10"):
        xstxm.Recipe.from_result(xstxm.pca(cut, 2))


def test_recipe__begins_after_stacks_were_joined():
    joined = xstxm.merge_stacks([xstxm.sel_energy(density(), 508, 516), xstxm.sel_energy(density(), 516.1, 528)])
    with pytest.warns(RecipeWarning, match="merge_stacks makes one of several"):
        recipe = xstxm.Recipe.from_result(xstxm.pca(joined, 2))
    assert [step.verb for step in recipe.steps] == ["pca"]


def test_recipe__reads_records_of_before():
    old = [
        {
            "operation": "phase_map",
            "parameters": {"references": "<dataset (energy: 121, reference: 4) with absorption>"},
        }
    ]
    recipe = xstxm.Recipe.from_result(xr.Dataset(attrs={RECORD: json.dumps(old)}))
    assert recipe.apply(density(), {"references": REFERENCES}).equals(xstxm.phase_map(density(), REFERENCES))


def test_recipe__keeps_large_inputs_beside_it_and_replaces_nothing_unasked(tmp_path):
    stack = xr.concat([counts()] * 2, "time").drop_attrs()
    stack["intensity"].attrs["units"], stack["energy"].attrs["units"] = "count", "eV"
    dark = xr.zeros_like(stack["intensity"]) + 3.0
    result = xstxm.subtract_dark(stack, dark)
    recipe = xstxm.Recipe.from_result(result, {"dark": dark})
    path = recipe.save(tmp_path / "recipe.toml")
    assert {file.name for file in tmp_path.iterdir()} == {"recipe.toml", "recipe-dark.nc"}
    assert xstxm.Recipe.load(path).digest == recipe.digest
    assert xstxm.Recipe.load(path).apply(stack).equals(result)
    with pytest.raises(FileExistsError, match=r"recipe.toml, recipe-dark.nc exists: pass overwrite=True"):
        recipe.save(path)
    recipe.save(path, overwrite=True)


def test_recipe__keeps_large_inputs_to_the_bit_whatever_their_encoding_and_attributes(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(16, 16), seed=0)[["intensity"]]
    i0 = (stack["intensity"] * 0 + 6000.25).assign_attrs(units="count", known=True, none=None)
    i0.encoding = {"dtype": "int16", "scale_factor": 1.0}
    result = xstxm.optical_density(stack, i0)
    recipe = xstxm.Recipe.from_result(result, {"i0": i0})
    again = xstxm.Recipe.load(recipe.save(tmp_path / "recipe.toml"))
    xr.testing.assert_identical(again.inputs["i0"].data, i0)
    assert again.apply(stack).equals(result)


def test_recipe__keeps_inputs_of_one_name_with_blanks_apart():
    stack = density()
    masks = [xr.full_like(stack["optical_density"].isel(energy=0, drop=True), k, dtype=bool) for k in (True, False)]
    masks[1][:4] = True
    first, second = (xstxm.internal_references(stack, {"left side": mask, "all": masks[0]}) for mask in masks)
    both = [*entries(first)[-1:], *entries(second)[-1:]]
    with pytest.warns(RecipeWarning, match="between internal_references and internal_references"):
        recipe = xstxm.Recipe.from_result(first.assign_attrs({RECORD: json.dumps(both)}))
    sides = [step.parameters["regions"]["left side"]["input"] for step in recipe.steps]
    assert len({recipe.inputs[name].digest for name in sides}) == 2


def test_recipe__calls_nothing_but_recorded_public_functions(tmp_path):
    good = xstxm.Recipe.from_result(density()).save(tmp_path / "good.toml").read_text()
    for verb in ("write_nxstxm", "provenance.recorded", "errors", "__import__", "set_options"):
        (tmp_path / "bad.toml").write_text(good.replace('"optical_density"', f'"{verb}"'))
        with pytest.raises(RecipeError, match="a recipe cannot call"):
            xstxm.Recipe.load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text(good.replace("gain = 1.0", 'gain = {type = "Path", path = "/"}'))
    with pytest.raises(RecipeError, match="a recipe cannot make a 'Path'"), pytest.warns(RecipeWarning, match="edited"):
        xstxm.Recipe.load(tmp_path / "bad.toml").apply(counts())
    (tmp_path / "bad.toml").write_text(good.replace("gain = 1.0", "gane = 1.0"))
    wanted = "optical_density of this version of xstxm has no 'gane'"
    with pytest.raises(RecipeError, match=wanted), pytest.warns(RecipeWarning, match="edited"):
        xstxm.Recipe.load(tmp_path / "bad.toml").apply(counts())


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"a = ", b"xstxm_recipe = 2", b"a = " + b"[" * 100_000], ids=repr)
def test_load__of_what_is_no_recipe(tmp_path, text):
    (tmp_path / "a.toml").write_bytes(text)
    with pytest.raises(FileFormatError, match=r"^a.toml: expected"):
        xstxm.Recipe.load(tmp_path / "a.toml")


def test_load__of_broken_recipes_is_an_error_of_xstxm_or_works(tmp_path):
    pair = REFERENCES.isel(reference=[0, 3], energy=slice(None, None, 6))
    recipe = xstxm.Recipe.from_result(xstxm.phase_map(counts(), pair), {"references": pair})
    good = recipe.save(tmp_path / "good.toml").read_bytes()
    rng, broken = np.random.default_rng(0), tmp_path / "broken.toml"
    for _ in range(300):
        bad = bytearray(good[: rng.integers(len(good))] if rng.random() < 0.3 else good)
        for at in rng.integers(len(bad), size=3) if bad else ():
            bad[at] = rng.choice(list(b'0"[]{}=\n.a\xff'))
        broken.write_bytes(bad)
        with warnings.catch_warnings(), contextlib.suppress(StxmError):
            warnings.simplefilter("ignore", RecipeWarning)
            xstxm.Recipe.load(broken)


def test_load__tells_other_versions_and_changed_inputs(tmp_path):
    recipe = xstxm.Recipe.from_result(xstxm.phase_map(counts(), REFERENCES), {"references": REFERENCES})
    text = recipe.save(tmp_path / "a.toml").read_text()
    (tmp_path / "b.toml").write_text(text.replace(f'version = "{xstxm.__version__}"', 'version = "0.0.1"'))
    with pytest.warns(RecipeWarning, match=r"b.toml is of xstxm 0.0.1"):
        xstxm.Recipe.load(tmp_path / "b.toml")
    (tmp_path / "c.toml").write_text(text.replace("    508.0,\n", "    508.5,\n", 1))
    with pytest.warns(RecipeWarning, match="'references' is not what its digest says"):
        xstxm.Recipe.load(tmp_path / "c.toml")
    (tmp_path / "e.toml").write_text(text.replace("min_confidence = 0.95", "min_confidence = 0.5"))
    with pytest.warns(RecipeWarning, match="e.toml was edited") as told:
        xstxm.Recipe.load(tmp_path / "e.toml")
    assert len(told) == 1
    (tmp_path / "d.toml").write_text(text.replace("    508.0,\n", "", 1))
    with pytest.raises(CorruptFileError, match="arrays of equal lengths in the input 'references'"):
        xstxm.Recipe.load(tmp_path / "d.toml")


ANY = st.sampled_from(["float32", "float64", "int16", "uint8", "bool", "str"])


@attacked(ANY, st.lists(st.floats(width=32, allow_nan=True), min_size=1, max_size=6))
def test_arrays__are_the_same_to_the_bit_after_toml(tmp_path_factory, kind, numbers):
    values = np.array(numbers)
    values = np.nan_to_num(values, posinf=1, neginf=-1).clip(0, 200) if kind[0] in "iu" else values
    array = xr.DataArray(values.astype(kind), dims="energy", attrs={"units": "1", "none": None}, name="a")
    recipe = xstxm.Recipe(
        (), {"a": xstxm.recipes.Input("<array>", digest(array), data=array)}, version=xstxm.__version__
    )
    again = xstxm.Recipe.load(recipe.save(tmp_path_factory.mktemp("r") / "a.toml")).inputs["a"].data
    assert again.dtype.kind == array.dtype.kind
    xr.testing.assert_identical(again, array)


def test_digest__is_of_values_axes_and_units_and_costs_no_compute():
    array = REFERENCES["absorption"]
    assert digest(array) == digest(array.astype(">f8")) == digest(array.rename("b").assign_attrs(title="b"))
    others = (
        array + 1e-16,
        array.transpose(),
        array.assign_attrs(units="1"),
        array.assign_coords(energy=array.energy + 1),
    )
    assert len({digest(array), *(digest(other) for other in others)}) == 5
    assert digest_if_cheap(array.chunk()) is None
    assert digest_if_cheap(np.broadcast_to(0.0, LARGEST)) is None


def test_record__that_is_its_own_input_stays_small():
    found = density()
    for _ in range(6):
        found = xstxm.optical_density(
            found, found.get("i0", counts()["intensity"].max(("y", "x"))).assign_attrs(found.attrs)
        )
    assert len(found.attrs[RECORD]) < 1e5


def test_diff__says_where_two_analyses_part():
    one = xstxm.phase_map(xstxm.sel_energy(density(), 508, 526), REFERENCES)
    other = xstxm.phase_map(density(), REFERENCES.isel(reference=slice(3)), min_confidence=0.8)
    assert xstxm.diff(one, one.copy(deep=True)).empty
    found = xstxm.diff(one, other)
    rows = {(row.what, row.where) for row in found.itertuples()}
    assert {("step", "3"), ("parameter", "4 phase_map: min_confidence"), ("input", "4 phase_map: references")} <= rows
    assert ("sizes", "phase_fraction") in rows
    labels = found[found["where"] == "phase_label"].iloc[0]
    n = int((one["phase_label"].values != other["phase_label"].values).sum())
    assert labels["one"] == f"{n} of {one['phase_label'].size} differ"


def test_diff__takes_inputs_of_equal_digests_for_equal():
    stack = counts()
    i0 = stack["intensity"].max(("y", "x"))
    one, other = (xstxm.optical_density(stack, i0.rename(name)) for name in ("i0", "of_the_diode"))
    assert "<array of_the_diode" in other.attrs[RECORD]
    assert xstxm.diff(one, other).empty
    assert "input" in set(xstxm.diff(one, xstxm.optical_density(stack, i0 * 2))["what"])


def test_diff__of_equal_dates_and_words_that_are_missing_has_no_row():
    dates = np.array(["2026-01-01", "NaT"], dtype="datetime64[ns]")
    held = xr.Dataset({"time": ("a", dates), "word": ("a", np.array(["a", np.nan], dtype=object))})
    assert xstxm.diff(held, held.copy(deep=True)).empty
    later = held.assign(time=("a", dates + np.timedelta64(1, "D")))
    assert xstxm.diff(held, later).to_numpy().tolist() == [["numbers", "time", "1 of 2 differ", ""]]


def test_diff__shows_an_option_that_was_none():
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    references = xstxm.testing.simulate_references()
    one, other = (xstxm.phase_map(stack, references, selection=selection) for selection in (None, "bic"))
    found = xstxm.diff(one, other)
    row = found[found["where"].str.endswith("phase_map: selection")].iloc[0]
    assert (row["one"], row["other"]) == (None, "bic")


def test_diff__counts_infinite_numbers_apart():
    a, b = (xr.DataArray([1.0, at, np.inf], dims="x", name="a") for at in (np.inf, 3.0))
    assert xstxm.diff(a, b).to_numpy().tolist() == [["numbers", "a", "1 of 3 differ", "1 not finite in one or both"]]


def test_diff__counts_numbers_and_the_largest_difference():
    a = xr.DataArray([1.0, 2.0, np.nan, np.nan], dims="x", name="a", attrs={"units": "1"})
    b = xr.DataArray([1.0, 2.5, np.nan, 4.0], dims="x", name="a", attrs={"units": "nm"})
    assert xstxm.diff(a, b).to_numpy().tolist() == [
        ["units", "a", "1", "nm"],
        ["numbers", "a", "2 of 4 differ", "by up to 0.5, 1 not finite in one or both"],
    ]


@pytest.mark.filterwarnings("ignore::xstxm.errors.MetadataWarning")
@pytest.mark.parametrize("ending", ["csv", "toml", "nc"])
@pytest.mark.parametrize("held", ["read from a file", "two files", "made in memory"])
def test_apply__takes_any_file_of_references(tmp_path, ending, held):
    references = REFERENCES
    spectra = references[["absorption"]].drop_vars([name for name in references.coords if name not in references.dims])
    if held == "read from a file":
        references = xstxm.read_references(xstxm.write_csv(spectra, tmp_path / "first.csv"), units="1/nm")
    elif held == "two files":
        names = references.reference.values.tolist()
        files = {
            name: xstxm.write_csv(spectra.absorption.sel(reference=name, drop=True), tmp_path / f"{name}.csv")
            for name in names
        }
        references = xstxm.read_references(files, composition={name: k for k, name in enumerate(names)})
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    maps = xstxm.phase_map(xstxm.optical_density(stack), references)
    path = xstxm.Recipe.from_result(maps, {"references": references}).save(tmp_path / "recipe.toml")
    other = tmp_path / f"other.{ending}"
    write = {"csv": xstxm.write_csv, "toml": xstxm.write_references, "nc": xstxm.write_netcdf}[ending]
    write(spectra.assign(absorption=2 * spectra.absorption), other)
    with pytest.warns(RecipeWarning, match="not the recorded one"):
        found = xstxm.Recipe.load(path).apply(stack, inputs={"references": other})
    np.testing.assert_allclose(found.total_amount, maps.total_amount / 2, rtol=1e-5)
    assert ("composition" in found) == (held == "two files" and ending == "csv")


def test_apply__takes_a_file_of_i0_as_the_recorded_one_was_read(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    for name, factor in {"i0.txt": 1.0, "other.txt": 2.0}.items():
        values = factor * xstxm.estimate_i0(stack).i0
        np.savetxt(tmp_path / name, np.column_stack([stack.energy, values]))
    i0 = xstxm.read_i0(tmp_path / "i0.txt", units="count")
    density = xstxm.optical_density(stack, i0)
    recipe = xstxm.Recipe.from_result(density, {"i0": i0})
    with pytest.warns(RecipeWarning, match="not the recorded one"):
        found = recipe.apply(stack, inputs={"i0": tmp_path / "other.txt"})
    np.testing.assert_allclose(found.optical_density, density.optical_density + np.log(2), atol=1e-6)


def test_apply__of_a_file_that_is_not_there_names_it(tmp_path):
    references = REFERENCES
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    recipe = xstxm.Recipe.from_result(xstxm.phase_map(stack, references), {"references": references})
    with pytest.raises(RecipeError, match=r"nothere\.csv, which is not there: pass inputs="):
        recipe.apply(stack, inputs={"references": tmp_path / "nothere.csv"})


@pytest.mark.filterwarnings("ignore:.*rounded to float32:xstxm.errors.MetadataWarning")
def test_apply__takes_a_point_scan_of_i0_in_its_own_units(tmp_path):
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    counts = xstxm.estimate_i0(stack).i0
    np.savetxt(tmp_path / "i0.txt", np.column_stack([stack.energy, counts / stack.dwell_time]))
    i0 = xstxm.read_i0(tmp_path / "i0.txt", units="count/ms")
    density = xstxm.optical_density(stack, i0)
    scan = (
        (4 * counts)
        .rename("intensity")
        .reset_coords(drop=True)
        .to_dataset()
        .assign_coords(dwell_time=((), 4.0, {"units": "ms"}))
    )
    other = xstxm.write_sdf(scan, tmp_path / "other.hdr")
    found = xstxm.Recipe.from_result(density, {"i0": i0})
    with pytest.warns(RecipeWarning, match="not the recorded one"):
        again = found.apply(stack, inputs={"i0": other})
    np.testing.assert_allclose(again.optical_density, density.optical_density, atol=1e-5)
