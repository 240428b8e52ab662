"""Trees of stacks: each verb at every node, what fails is left out and told, one axis, one basis, one table."""

from __future__ import annotations

import inspect
import json
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm import trees
from xstxm.accessor import StxmAccessor
from xstxm.errors import (
    ChoiceError,
    LeftOutWarning,
    MetadataWarning,
    NoStacksError,
    OptionError,
    SchemaError,
    StxmWarning,
)
from xstxm.tree_accessor import StxmTreeAccessor

REFERENCES = xstxm.testing.simulate_references()
ALONE = {"chunk_report", "design_energies", "distinguishability", "explore", "internal_references"}
ALONE |= {"phase_references", "to_hyperspy"}
"""Verbs of references, and of one stack only."""
"""Verbs of the accessor whose primary input is no stack."""


@pytest.fixture(scope="module")
def big() -> xr.Dataset:
    return xstxm.testing.simulate_stack(shape=(24, 28), seed=0)[["intensity"]].assign_attrs(title="big", sample="one")


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return xstxm.testing.simulate_stack(shape=(10, 12), seed=4)[["intensity"]].assign_attrs(title="small")


@pytest.fixture
def tree(big, small) -> xr.DataTree:
    """A large and a small image, and a line, in a group of their own."""
    nodes = {"/": xr.Dataset(attrs={"cell": 7}), "fields/big": big, "fields/small": small, "line": big.isel(y=12)}
    return xr.DataTree.from_dict(nodes, name="electrode")


@pytest.fixture
def dense(tree) -> xr.DataTree:
    return tree.stxm.optical_density()


def left_out(tree: xr.DataTree) -> dict[str, str]:
    return {path: node.attrs["left_out"] for path, node in tree.subtree_with_keys if "left_out" in node.attrs}


def flat(stack: xr.Dataset) -> xr.DataArray:
    """Return the spectra of a stack along one dimension."""
    density = stack["optical_density"].reset_coords(drop=True).drop_vars(["y", "x"], errors="ignore")
    pixels = [dim for dim in density.dims if dim != "energy"]
    return density.stack(pixel=pixels, create_index=False).transpose("energy", "pixel")


# ---- stacks and map


def test_stacks__are_the_nodes_with_data_in_their_order(tree):
    assert list(tree.stxm.stacks) == ["line", "fields/big", "fields/small"]
    assert list(tree["fields"].stxm.stacks) == ["big", "small"]
    xr.testing.assert_identical(tree.stxm.stacks["fields/big"], tree["fields/big"].to_dataset())


def test_map__keeps_names_order_attributes_and_groups(tree, big):
    found = tree.stxm.sel_energy("515 eV", "520 eV")
    assert [path for path, _ in found.subtree_with_keys] == [path for path, _ in tree.subtree_with_keys]
    assert (found.name, found.attrs) == ("electrode", {"cell": 7})
    alone = xstxm.sel_energy(big, "515 eV", "520 eV")
    xr.testing.assert_equal(found["fields/big"].to_dataset(), alone)
    assert found["fields/big"].attrs["title"] == "big"
    assert list(xstxm.history(found["fields/big"].to_dataset())["operation"])[-1] == "sel_energy"


def test_map__takes_trees_node_by_node_and_all_else_for_all(tree):
    i0 = tree.stxm.estimate_i0()
    found = tree.stxm.optical_density(i0)
    alone = xstxm.optical_density(tree["line"].to_dataset(), i0["line"].to_dataset())
    xr.testing.assert_equal(found["line"].to_dataset(), alone)
    named = tree.stxm.map(xstxm.optical_density, kwargs={"i0": i0, "thick": 1.0})
    assert json.loads(named["line"].attrs["xstxm_provenance"])[-1]["parameters"]["thick"] == 1.0


def test_map__takes_the_only_variable_of_a_node_where_no_dataset_is_wanted(dense):
    masks = dense.stxm.map(lambda stack: (stack["optical_density"].mean("energy") > 0.3).rename("mask"))
    found = dense.stxm.spectrum(masks)
    inside = masks["line"]["mask"]
    assert int(found["line"]["n_pixels"].max()) == int(inside.sum())


def test_map__makes_a_dataset_of_an_array_that_keeps_its_record(dense):
    fitted = dense.stxm.fit(REFERENCES)
    left = dense.stxm.residual(fitted)
    assert list(left["line"].data_vars) == ["residual"]
    assert json.loads(left["line"].attrs["xstxm_provenance"])[-1]["operation"] == "residual"
    assert left["fields/big"].attrs["title"] == "big"


def test_map__leaves_out_what_fails_with_one_warning_that_names_all(tree):
    image = tree["line"].to_dataset().isel(energy=0, drop=True)
    bad = tree.assign({"image": xr.DataTree(image), "empty": xr.DataTree(image.isel(x=slice(0)))})
    with pytest.warns(LeftOutWarning) as caught:
        found = bad.stxm.sel_energy("515 eV", "520 eV")
    assert len(caught) == 1
    assert "2 of 5 nodes are left out: 'image' and 'empty': no dimension 'energy'" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert not found["image"].data_vars
    assert left_out(found)["image"].startswith("no dimension 'energy'")
    assert found["line"].sizes["energy"] == 26
    again = found.stxm.optical_density()  # no warning: they stay so
    assert left_out(again) == left_out(found)


def test_map__a_missing_i0_and_a_missing_node_are_of_the_node(tree, dense):
    with pytest.warns(
        LeftOutWarning, match=r"'line': i0 has no stack at node 'line' \(found: fields/big, fields/small\)"
    ):
        found = tree.stxm.optical_density(tree.drop_nodes("line").stxm.estimate_i0())
    assert list(found.stxm.stacks) == ["fields/big", "fields/small"]
    nothing = tree.assign({"line": xr.DataTree(tree["line"].to_dataset().rename(intensity="counts"))})
    with pytest.warns(LeftOutWarning, match="'line': 'intensity' is missing"):
        assert left_out(nothing.stxm.phase_map(REFERENCES))["line"].startswith("'intensity' is missing (found: counts)")


def test_map__raises_where_asked_and_where_nothing_is_left(tree):
    with pytest.raises(SchemaError) as raised:
        tree.stxm.map(xstxm.fit, REFERENCES, errors="raise")
    assert raised.value.__notes__ == ["in node 'line' of the tree"]
    with pytest.raises(NoStacksError, match=r"none of 3 stacks can be used: 'line', 'fields/big' and 'fields/small': "):
        tree.stxm.fit(REFERENCES)
    with pytest.raises(NoStacksError, match=r"the tree holds no stack \(nodes: \., a\)"):
        xr.DataTree.from_dict({"a": xr.Dataset(attrs={"title": "b"})}).stxm.map(xstxm.fit)
    with pytest.raises(ChoiceError, match="leave_out"):
        tree.stxm.map(xstxm.despike, errors="ignore")
    with pytest.raises(OptionError, match="give a DataTree"):
        trees.map_stacks(tree["line"].to_dataset(), xstxm.despike)


def test_map__lets_defects_through_with_a_note_of_the_node(tree):
    def broken(stack):
        return stack["intensity"].values / np.empty(3)[5]

    with pytest.raises(IndexError) as raised:
        tree.stxm.map(broken)
    assert raised.value.__notes__ == ["in node 'line' of the tree"]
    with pytest.raises(OptionError, match="func='<lambda>': it returned a float, wanted a Dataset or a DataArray"):
        tree.stxm.map(lambda stack: 1.0)


def test_map__says_what_nodes_below_each_other_need(big):
    nested = xr.DataTree.from_dict({"/": big, "below": big.rename(intensity="counts")})
    assert list(nested.stxm.stacks) == [".", "below"]
    with pytest.raises(SchemaError, match="put all stacks side by side"):
        nested.stxm.map(lambda stack: stack.isel(x=slice(3 if "counts" in stack else 4)))
    assert nested.stxm.sel_energy("515 eV", "520 eV")["below"].sizes["energy"] == 26


def test_map__keeps_float32_and_computes_nothing(tree):
    lazy = tree.chunk(y=5)
    with raise_if_dask_computes():
        dense = lazy.stxm.map(
            lambda stack: xstxm.optical_density(
                stack, stack["intensity"].max(["x", "y"]) if "y" in stack.dims else stack["intensity"].max("x")
            )
        )
        maps = dense.stxm.phase_map(REFERENCES)
        maps.stxm.summary()
        repr(maps.stxm)
    assert maps["fields/small"]["phase_fraction"].dtype == np.float32
    assert maps["fields/small"]["phase_fraction"].chunks is not None


def test_compute__computes_node_after_node_and_says_which(tree, capsys):
    lazy = tree.chunk(y=5)
    with raise_if_dask_computes(max_computes=3), xstxm.set_options(progress=True):
        found = lazy.stxm.compute()
    xr.testing.assert_identical(found, tree)
    assert capsys.readouterr().err.splitlines() == [
        "compute: node 1 of 3, line",
        "compute: node 2 of 3, fields/big",
        "compute: node 3 of 3, fields/small",
    ]
    tree.stxm.compute()
    assert capsys.readouterr().err == ""


# ---- the accessor


VERBS = {name for name, member in vars(StxmAccessor).items() if inspect.isfunction(member) and not name.startswith("_")}


def test_accessor__has_every_verb_of_one_stack():
    assert VERBS - {*vars(StxmTreeAccessor)} == ALONE


@pytest.mark.parametrize("name", sorted(VERBS - ALONE - {"pca", "cluster", "compute"}))
def test_methods__show_the_options_of_the_function(name):
    method, function = getattr(StxmTreeAccessor, name), getattr(xstxm, name)
    own, options = (list(inspect.signature(f).parameters.values())[1:] for f in (method, function))
    assert own == options
    assert f"`xstxm.{name}`" in method.__doc__
    assert method.__name__ == name


@pytest.mark.parametrize("name", ["pca", "cluster", "match_energies", "compute", "summary"])
def test_joint_methods__have_the_signature_of_their_function(name):
    method, function = getattr(StxmTreeAccessor, name), getattr(trees, name)
    own, options = (
        [(p.name, p.kind, p.default) for p in list(inspect.signature(f).parameters.values())[1:]]
        for f in (method, function)
    )
    assert own == options


@pytest.mark.parametrize("name", ["coarse_grain", "heterogeneity"])
def test_methods__of_all_stacks_together_give_what_the_function_gives(tree, name):
    maps = tree.drop_nodes("line").stxm.phase_map(REFERENCES)
    labels = maps.stxm.particles()
    maps = maps.stxm.map(lambda one, other: one.assign(particle_label=other["particle_label"]), labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StxmWarning)
        found, expected = getattr(maps.stxm, name)(), getattr(xstxm, name)(maps)
    xr.testing.assert_equal(found, expected)


def test_repr__has_a_line_for_each_node(tree):
    tree["line"].attrs["scan_type"] = "sample line spectrum"
    bad = tree.assign({"gone": xr.DataTree(xr.Dataset(attrs={"left_out": "no beam"}))})
    lines = repr(bad.stxm).splitlines()
    assert lines[0] == "<xstxm tree, 3 stacks>"
    assert [line.split()[0] for line in lines[1:]] == ["line", "gone", "fields/big", "fields/small"]
    assert "sample line spectrum" in lines[1]
    assert lines[2] == "  gone  left out: no beam"
    for part in ("24 y x 28 x", "pixel 0.03 um x 0.03 um", "field 0.72 um x 0.84 um", "121 energies, 508-560 eV"):
        assert part in lines[3]
    assert repr(xr.DataTree().stxm) == "<xstxm tree, 0 stacks>"


def test_repr__says_what_was_made(tree, dense):
    made = {
        "phase map": tree.stxm.phase_map(REFERENCES),
        "pca": dense.stxm.pca(2),
        "clusters": dense.stxm.cluster(2),
    }
    for kind, result in made.items():
        one = xr.DataTree.from_dict({"a": result["fields/big"].to_dataset()})
        assert repr(one.stxm).splitlines()[0] == "<xstxm tree, 1 stack>"
        assert repr(one.stxm).splitlines()[1].split("  ")[2] == kind
        assert repr(one["a"].to_dataset().stxm).startswith(f"<xstxm {kind}>")
    assert "optical_density()" not in repr(made["clusters"]["line"].to_dataset().stxm)


# ---- energies


def moved(stack: xr.Dataset, by: float) -> xr.Dataset:
    return stack.assign_coords(energy=("energy", stack["energy"].values + by, stack["energy"].attrs))


def in_kev(stack: xr.Dataset) -> xr.Dataset:
    return stack.assign_coords(energy=("energy", stack["energy"].values / 1000, {"units": "keV"}))


def test_match_energies__gives_all_the_numbers_of_the_first(big, small):
    tree = xr.DataTree.from_dict({"a": big, "b": moved(small, 0.004), "c": in_kev(small)})
    found = tree.stxm.match_energies()
    for name in "bc":
        xr.testing.assert_identical(found[name]["energy"].variable, big["energy"].variable)
        np.testing.assert_array_equal(found[name]["intensity"], small["intensity"])
    assert json.loads(found["b"].attrs["xstxm_provenance"])[-1]["input"].keys() == {"a", "b", "c"}


def test_match_energies__exactly_leaves_out_with_the_first_energies_that_differ(big, small):
    tree = xr.DataTree.from_dict({"a": big, "b": moved(small, 0.02), "c": small.isel(energy=slice(1, None))})
    with pytest.warns(LeftOutWarning, match="2 of 3 nodes are left out"):
        found = tree.stxm.match_energies()
    assert (
        "node 'b' and node 'a' differ first at point 0: 508.02 and 508 eV (tolerance 0.01 eV)" in left_out(found)["b"]
    )
    assert "node 'c' has 120 energies, node 'a' 121" in left_out(found)["c"]
    assert not left_out(tree.drop_nodes("c").stxm.match_energies(tolerance="30 meV"))


def test_match_energies__in_common_takes_any_order(big, small):
    down = small.isel(energy=slice(None, None, -1))
    tree = xr.DataTree.from_dict({"a": big.isel(energy=slice(0, 60)), "b": in_kev(down.isel(energy=slice(0, None, 2)))})
    found = tree.stxm.match_energies(how="common")
    shared = np.intersect1d(big["energy"][:60], down["energy"][::2])
    for name, stack in (("a", big), ("b", small)):
        np.testing.assert_array_equal(found[name]["energy"], shared)
        np.testing.assert_array_equal(found[name]["intensity"], stack["intensity"].sel(energy=shared))
    assert found["b"]["energy"].attrs["units"] == "eV"


@pytest.mark.parametrize("how", ["common", "interp"])
def test_match_energies__leaves_out_what_shares_none(big, small, how):
    tree = xr.DataTree.from_dict({"a": big, "far": moved(small, 300), "b": small})
    with pytest.warns(LeftOutWarning, match="'far': no energy in common: it covers 808-860 eV, node 'a' and the nodes"):
        found = tree.stxm.match_energies(how=how)
    assert list(found.stxm.stacks) == ["a", "b"]


def test_match_energies__interpolates_inside_the_range_of_all(big, small):
    few = moved(small, 0.13).sel(energy=slice(512, 550))
    tree = xr.DataTree.from_dict({"a": big, "b": in_kev(few)})
    found = tree.stxm.match_energies(how="interp")
    energy = found["a"]["energy"].values
    np.testing.assert_array_equal(energy, found["b"]["energy"])
    np.testing.assert_array_equal(energy, big["energy"].sel(energy=slice(few["energy"].min(), few["energy"].max())))
    expected = few["intensity"].astype(float).interp(energy=energy)
    np.testing.assert_allclose(found["b"]["intensity"], expected, rtol=1e-6)
    listed = tree.stxm.match_energies(["515 eV", "0.52 keV"], how="interp")
    np.testing.assert_array_equal(listed["b"]["energy"], [515, 520])
    with pytest.warns(LeftOutWarning, match="'b': 508 eV lies outside the stack"):
        tree.stxm.match_energies([508, 520], how="interp")
    onto = tree.stxm.match_energies("b", how="interp")
    np.testing.assert_allclose(onto["a"]["energy"], few["energy"] / 1000, rtol=1e-12)


def test_match_energies__holds_the_last_energy_within_the_tolerance(big, small):
    tree = xr.DataTree.from_dict({"a": big, "b": moved(small, 0.003)})
    found = tree.stxm.match_energies(how="interp")
    assert found["b"].sizes["energy"] == 121


@pytest.mark.parametrize("how", ["common", "interp"])
@pytest.mark.parametrize("names", [("a", "twice", "b"), ("twice", "a", "b")], ids=" ".join)
def test_match_energies__of_a_stack_with_an_energy_twice_leave_the_others_as_they_are(big, small, how, names):
    stacks = {"a": big, "b": small, "twice": small.isel(energy=[0, 1, 1, 2, 3])}
    tree = xr.DataTree.from_dict({name: stacks[name] for name in names})
    with pytest.warns(LeftOutWarning, match="'twice': the stack holds an energy twice"):
        found = tree.stxm.match_energies(how=how)
    assert {name: stack.sizes["energy"] for name, stack in found.stxm.stacks.items()} == {"a": 121, "b": 121}


def test_match_energies__refuses_nonsense(tree):
    with pytest.raises(
        OptionError, match="energies='nobody': give a list of energies, or one of the nodes line, fields/big"
    ):
        tree.stxm.match_energies("nobody")
    with pytest.raises(ChoiceError, match="unknown how 'outer'"):
        tree.stxm.match_energies(how="outer")
    few = tree.assign({"few": xr.DataTree(tree["line"].to_dataset().isel(energy=slice(None, None, 5)))})
    with pytest.raises(OptionError, match="two energies of a stack are as near"):
        few.stxm.match_energies("line", how="common", tolerance="2 eV")


@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=4), st.data())
def test_match_energies__common_is_the_intersection(grids, data):
    """The law, for axes in any order, wherever an energy is shared by all."""
    grids = [[*grid, 20] for grid in grids]
    orders = [data.draw(st.permutations(grid)) for grid in grids]
    stacks = {
        f"n{k}": xr.Dataset(
            {"intensity": ("energy", np.array(order, dtype=float))},
            {"energy": ("energy", 500.0 + np.array(order), {"units": "eV"})},
        )
        for k, order in enumerate(orders)
    }
    found = xr.DataTree.from_dict(stacks).stxm.match_energies(how="common")
    shared = set.intersection(*map(set, grids))
    for stack in found.stxm.stacks.values():
        np.testing.assert_array_equal(stack["intensity"], [value for value in orders[0] if value in shared])


# ---- one basis


def test_pca__of_equal_pixels_is_that_of_all_pixels_in_one_stack(dense):
    together = xr.concat([flat(stack) for stack in dense.stxm.stacks.values()], "pixel")
    for center in (False, True):
        alone = xstxm.pca(together, 5, center=center)
        found = dense.stxm.pca(5, weights="pixel", center=center)
        for stack in found.stxm.stacks.values():
            np.testing.assert_allclose(stack["scree"], alone["scree"], rtol=1e-10)
            np.testing.assert_allclose(stack["eigenspectra"], alone["eigenspectra"], atol=1e-10)
        joined = [stack["eigenimages"].values.reshape(5, -1) for stack in found.stxm.stacks.values()]
        np.testing.assert_allclose(np.concatenate(joined, 1), alone["eigenimages"], atol=1e-5)


def test_pca__every_node_follows_the_schema_and_says_what_was_done(dense):
    found = dense.stxm.pca(weights={"line": 0, "fields/big": 2, "fields/small": 1.5})
    for path, stack in found.stxm.stacks.items():
        xstxm.testing.assert_conforms(stack, "pca")
        assert stack["eigenimages"].dtype == np.float32
        assert json.loads(stack.attrs["weights"]) == {"line": 0, "fields/big": 2, "fields/small": 1.5}
        record = json.loads(stack.attrs["xstxm_provenance"])[-1]
        assert (record["operation"], record["input"].keys()) == ("pca", {"line", "fields/big", "fields/small"})
        assert stack.attrs["n_pixels"] == {"line": 28, "fields/big": 24 * 28, "fields/small": 120}[path]


def test_pca__with_one_node_of_weight_is_that_of_the_node(dense):
    alone = xstxm.pca(dense["fields/small"].to_dataset(), 4)
    found = dense.stxm.pca(4, weights={"line": 0, "fields/big": 0, "fields/small": 3})
    np.testing.assert_allclose(found["line"]["scree"], alone["scree"], rtol=1e-12)
    np.testing.assert_allclose(found["fields/small"]["eigenimages"], alone["eigenimages"], atol=1e-6)


def rare_and_common() -> xr.DataTree:
    """A large field of one shape, with hardly a pixel of another, and a small one of the other alone."""
    rng = np.random.default_rng(0)
    energy = np.linspace(510, 530, 21)
    shapes = np.exp(-(((energy - np.array([[516.0], [522.0]])) / 2) ** 2))

    def field(shape, second):
        which = np.zeros(shape, dtype=int)
        which.flat[: round(second * which.size)] = 1
        values = shapes[which].transpose(2, 0, 1) * rng.uniform(0.5, 1.5, shape) + rng.normal(0, 0.01, (21, *shape))
        coords = {"energy": ("energy", energy, {"units": "eV"})}
        step = 0.02 if shape[0] < 20 else 0.1
        coords |= {dim: (dim, step * np.arange(n), {"units": "um"}) for dim, n in zip("yx", shape, strict=True)}
        return xr.DataArray(values, dims=("energy", "y", "x"), coords=coords, attrs={"units": "1"})

    nodes = {"large": field((60, 70), 0.001), "detail": field((8, 9), 1.0)}
    return xr.DataTree.from_dict({name: array.to_dataset(name="optical_density") for name, array in nodes.items()})


def test_pca__weights_decide_what_is_seen():
    tree = rare_and_common()
    second = {
        w: float(tree.stxm.pca(3, weights=w)["large"]["explained_variance_ratio"][1])
        for w in ("equal", "pixel", "area")
    }
    assert second["equal"] == pytest.approx(0.5, abs=0.05)
    assert second["pixel"] == pytest.approx(72 / 4272, rel=0.25)
    assert second["area"] < second["pixel"] / 3
    by_name = tree.stxm.pca(3, weights={"large": 1, "detail": 1})
    np.testing.assert_allclose(by_name["large"]["scree"], tree.stxm.pca(3)["large"]["scree"], rtol=1e-12)


@pytest.mark.parametrize("variance", [False, True], ids=["estimated", "from its variance"])
def test_pca__noise_weighs_each_pixel_by_its_inverse(variance):
    tree = rare_and_common()
    rng = np.random.default_rng(1)
    loud = tree["detail"]["optical_density"]
    tree["detail"] = xr.DataTree(
        (loud + rng.normal(0, 0.1, loud.shape)).assign_attrs(loud.attrs).to_dataset(name="optical_density")
    )
    if variance:
        for path, size in (("large", 0.01**2), ("detail", 0.01**2 + 0.1**2)):
            held = tree[path]["optical_density"]
            tree[path]["optical_density_variance"] = xr.full_like(held, size)
    found = tree.stxm.pca(3, weights="noise")["large"]
    ratio = 0.01**2 / (0.01**2 + 0.1**2)  # of a pixel in the detail to one in the large field
    given = tree.stxm.pca(3, weights={"large": 4200.0, "detail": 72 * ratio})["large"]
    np.testing.assert_allclose(found["eigenvalues"], given["eigenvalues"], rtol=1e-9 if variance else 0.02)


def noisy_field(rng, side, noise, second):
    """A strong component everywhere, a second one of a given strength, and noise."""
    energy = np.linspace(500, 540, 40)
    shapes = np.stack([1 + np.exp(-(((energy - 515) / 4) ** 2)), np.exp(-(((energy - 530) / 3) ** 2))], axis=1)
    amounts = np.stack([rng.uniform(0.5, 1.5, side**2), second * rng.normal(size=side**2)])
    values = (shapes @ amounts + noise * rng.normal(size=(40, side**2))).reshape(40, side, side)
    density = xr.DataArray(values, dims=("energy", "y", "x"), attrs={"units": "1"})
    return density.assign_coords(energy=("energy", energy, {"units": "eV"})).to_dataset(name="optical_density")


def test_pca__evened_noise_hides_nothing_that_a_stack_shows_alone():
    rng = np.random.default_rng(0)
    loud = noisy_field(rng, 100, 1.0, 0.3)
    tree = xr.DataTree.from_dict({"loud": loud, "quiet": noisy_field(rng, 10, 0.05, 0.0)})
    assert int(xstxm.pca(loud, 3)["significant_components"]) == 2
    assert int(tree.stxm.pca(3, weights="noise")["loud"]["significant_components"]) == 2


def test_pca__takes_weights_that_are_numpy_numbers(dense):
    weights = {"line": np.int64(0), "fields/big": np.float32(0.5), "fields/small": 3}
    said = dense.stxm.pca(2, weights=weights)["line"].attrs["weights"]
    assert json.loads(said) == {"line": 0, "fields/big": 0.5, "fields/small": 3}


def test_pca__leaves_out_what_weights_cannot_be_said_of(dense):
    with pytest.warns(LeftOutWarning, match="'line': weights='area' needs images with y and x"):
        assert left_out(dense.stxm.pca(2, weights="area")).keys() == {"line"}
    clean = dense.stxm.map(lambda stack: (stack["optical_density"] * 0 + 1).assign_attrs(units="1"))
    with pytest.raises(NoStacksError, match="weights='noise' needs noise"):
        clean.stxm.pca(1, weights="noise")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weights": "size"}, ChoiceError, "unknown weights 'size': use 'equal', 'pixel', 'area' or 'noise'"),
        ({"weights": {"line": 1}}, OptionError, r"give a number for each stack .* \(see fields/big, fields/small\)"),
        (
            {"weights": {"line": -1, "fields/big": 1, "fields/small": 1}},
            OptionError,
            r"weights\['line'\]=-1: give a weight",
        ),
        ({"weights": {"line": 0, "fields/big": 0, "fields/small": 0}}, OptionError, "all zero"),
        ({"energies": "interp"}, ChoiceError, "unknown energies 'interp': use 'exact' or 'common'"),
        ({"n_components": 500}, OptionError, "n_components=500: give a whole number from 1 to 121"),
    ],
    ids=str,
)
def test_pca__refuses_nonsense(dense, options, error, message):
    with pytest.raises(error, match=message):
        dense.stxm.pca(**options)


def test_pca__leaves_out_other_energies_and_empty_stacks(dense):
    other = moved(dense["line"].to_dataset(), 1.0)
    nothing = dense["line"].to_dataset() * np.nan
    nothing["optical_density"].attrs["units"] = "1"
    tree = dense.assign({"other": xr.DataTree(other), "nothing": xr.DataTree(nothing)})
    with pytest.warns(LeftOutWarning, match="2 of 5 nodes are left out"):
        found = tree.stxm.pca(3)
    assert "differ first at point 0" in left_out(found)["other"]
    assert "hold no finite value" in left_out(found)["nothing"]
    xr.testing.assert_equal(found["line"].to_dataset(), dense.stxm.pca(3)["line"].to_dataset())
    few = tree.assign({"other": xr.DataTree(other.isel(energy=slice(2, None)))}).drop_nodes("nothing")
    shared = few.stxm.pca(3, energies="common")["other"]
    assert 0 < shared.sizes["energy"] < 121


def test_pca__converts_the_unit_of_the_signal(dense):
    percent = dense["line"].to_dataset()
    percent["optical_density"] = (percent["optical_density"] * 100).assign_attrs(units="percent")
    tree = dense.assign({"line": xr.DataTree(percent)})
    found = tree.stxm.pca(3)["fields/big"]
    assert (found["eigenimages"].attrs["units"], found["scree"].attrs["units"]) == ("percent", "percent**2")
    np.testing.assert_allclose(found["scree"], 1e4 * dense.stxm.pca(3)["line"]["scree"], rtol=1e-5)


def test_pca__reads_each_stack_once_and_leaves_the_images_lazy(dense):
    lazy = dense.chunk(y=6)
    with raise_if_dask_computes(max_computes=3):
        found = lazy.stxm.pca(3)
    assert found["fields/big"]["eigenimages"].chunks is not None
    xr.testing.assert_allclose(
        found.compute()["fields/big"].to_dataset(), dense.stxm.pca(3)["fields/big"].to_dataset(), atol=1e-5
    )


def test_cluster__of_equal_pixels_is_that_of_all_pixels_in_one_stack(dense):
    together = xr.concat([flat(stack) for stack in dense.stxm.stacks.values()], "pixel")
    alone = xstxm.cluster(together, 3, min_amount=0.02)
    found = dense.stxm.cluster(3, min_amount=0.02, weights="pixel")
    stacks = found.stxm.stacks.values()
    np.testing.assert_array_equal(np.concatenate([stack["labels"].values.ravel() for stack in stacks]), alone["labels"])
    np.testing.assert_array_equal(sum(stack["n_pixels"].values for stack in stacks), alone["n_pixels"])
    for stack in stacks:
        xstxm.testing.assert_conforms(stack, "cluster")
        np.testing.assert_allclose(stack["cluster_spectra"], alone["cluster_spectra"], rtol=1e-6)
        np.testing.assert_allclose(stack["cluster_spectra_std"], alone["cluster_spectra_std"], rtol=1e-4)
        np.testing.assert_allclose(stack["silhouette"], alone["silhouette"], atol=1e-6)
        assert float(stack["stability"]) == pytest.approx(float(alone["stability"]), abs=1e-9)


def test_cluster__numbers_are_the_same_everywhere_and_ordered_as_the_stacks_count():
    tree = rare_and_common()
    tree["large"] = xr.DataTree(tree["large"].to_dataset().isel(y=slice(1, None)))
    for weights, first in (("pixel", "large"), ({"large": 1, "detail": 3}, "detail")):
        found = tree.stxm.cluster(2, min_amount=0.05, weights=weights, background="none")
        own = {path: int(stack["n_pixels"].values.argmax()) + 1 for path, stack in found.stxm.stacks.items()}
        assert own == {"large": 1 if first == "large" else 2, "detail": 1 if first == "detail" else 2}
        assert set(np.unique(found["detail"]["labels"])) == {own["detail"]}
        xr.testing.assert_equal(found["large"]["cluster_spectra"], found["detail"]["cluster_spectra"])


@pytest.mark.parametrize("method", ["gaussian_mixture", "hdbscan"])
def test_cluster__works_with_every_method(method):
    tree = rare_and_common()
    number = None if method == "hdbscan" else 2
    found = tree.stxm.cluster(
        number, method=method, min_amount=0.05, weights={"large": 1, "detail": 2}, background="none"
    )
    assert np.unique(found["detail"]["labels"]).size == 1
    assert int(found["detail"]["labels"][0, 0]) != int(found["large"]["labels"][30, 30])


def test_cluster__has_a_threshold_for_each_node_unless_given(dense):
    found = dense.stxm.cluster(2)
    own = {path: float(stack["min_amount"]) for path, stack in found.stxm.stacks.items()}
    assert len(set(own.values())) == 3
    one = dense.stxm.cluster(2, min_amount="0.05")
    assert {float(stack["min_amount"]) for stack in one.stxm.stacks.values()} == {np.float32(0.05)}
    each = xr.DataTree.from_dict({path: xr.Dataset({"least": value}) for path, value in own.items()})
    for path, stack in dense.stxm.cluster(2, min_amount=each).stxm.stacks.items():
        np.testing.assert_array_equal(stack["labels"], found[path]["labels"])


def test_cluster__needs_sample_where_the_weight_is(dense):
    least = {"line": 0.05, "fields/big": 0.05, "fields/small": 9.0}
    each = xr.DataTree.from_dict({path: xr.Dataset({"least": value}) for path, value in least.items()})
    with pytest.raises(SchemaError, match="the stacks that have a weight hold no pixel that counts"):
        dense.stxm.cluster(2, min_amount=each, weights={"line": 0, "fields/big": 0, "fields/small": 1})


def test_cluster__is_the_same_lazily_in_three_passes(dense):
    lazy = dense.chunk(y=6)
    with raise_if_dask_computes(max_computes=9):
        found = lazy.stxm.cluster(3)
    for path, stack in dense.stxm.cluster(3).stxm.stacks.items():
        assert found[path]["labels"].chunks is not None
        np.testing.assert_array_equal(found[path]["labels"], stack["labels"])
        np.testing.assert_allclose(found[path]["cluster_spectra"], stack["cluster_spectra"], atol=1e-5)


# ---- phases


def test_phase_map__has_the_same_clusters_in_all_nodes(tree, dense):
    maps = tree.stxm.phase_map(n_phases=2)
    clusters = dense.stxm.cluster(2)
    for path, stack in maps.stxm.stacks.items():
        np.testing.assert_array_equal(stack["phase_spectra"], maps["line"]["phase_spectra"])
        assert list(stack["phase"].values) == ["cluster 1", "cluster 2"]
        wanted = clusters[path]["labels"] - 1
        sure = (stack["phase_label"] >= 0).values
        assert sure.any()
        np.testing.assert_array_equal(stack["phase_label"].values[sure], wanted.values[sure])
        xstxm.testing.assert_conforms(stack, "phase_map")
    assert "phase_map(n_phases=2); i0 estimated" in maps["line"].attrs["history"]
    assert "pixels in clusters" in maps["line"].attrs["history"]


def test_phase_map__takes_clusters_that_were_made_otherwise(dense):
    clusters = dense.stxm.cluster(2, weights="noise")
    maps = dense.stxm.phase_map(clusters=clusters)
    sure = maps["line"]["phase_label"] >= 0
    np.testing.assert_array_equal(maps["line"]["phase_label"].values[sure], clusters["line"]["labels"].values[sure] - 1)
    assert '"weights": "noise"' in maps["line"].attrs["history"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_phases": 2}, "phases are those of the clusters: leave it out"),
        ({"min_amount": 0.1}, "phases are those of the clusters: leave it out"),
        ({"references": REFERENCES}, "phases are those of the clusters: leave it out"),
        ({"covariance": True}, "it belongs to a fit of references"),
    ],
    ids=str,
)
def test_phase_map__refuses_what_belongs_to_something_else_than_clusters(dense, options, message):
    stack = dense["line"].to_dataset()
    with pytest.raises(OptionError, match=message):
        xstxm.phase_map(stack, clusters=xstxm.cluster(stack, 2), **options)


def test_phase_map__refuses_clusters_of_other_pixels(dense):
    with pytest.raises(SchemaError, match="the image of clusters has 10 pixels along 'y', the stack 24"):
        xstxm.phase_map(dense["fields/big"].to_dataset(), clusters=xstxm.cluster(dense["fields/small"].to_dataset(), 2))
    with pytest.raises(SchemaError, match="not a cluster: 'labels' is missing"):
        xstxm.phase_map(dense["line"].to_dataset(), clusters=dense["line"].to_dataset())


def test_phase_map__with_references_is_that_of_each_node(tree):
    maps = tree.stxm.phase_map(REFERENCES, min_confidence=0.5)
    alone = xstxm.phase_map(tree["line"].to_dataset(), REFERENCES, min_confidence=0.5)
    xr.testing.assert_equal(maps["line"].to_dataset(), alone)
    held = tree.stxm.with_references(REFERENCES).stxm.phase_map(min_confidence=0.5)
    xr.testing.assert_allclose(held["line"]["composition"], alone["composition"])
    own = xr.DataTree.from_dict(dict.fromkeys(tree.stxm.stacks, REFERENCES))
    xr.testing.assert_equal(tree.stxm.phase_map(own, min_confidence=0.5)["line"].to_dataset(), alone)


def test_phase_map__makes_no_clusters_of_its_own_where_others_have_references(tree):
    some = tree.assign({"line": xr.DataTree(xstxm.with_references(tree["line"].to_dataset(), REFERENCES))})
    with pytest.warns(
        LeftOutWarning, match=r"'fields/big' and 'fields/small': 'reference_spectra' is missing .*with_refer"
    ):
        maps = some.stxm.phase_map()
    assert list(maps.stxm.stacks) == ["line"]


def test_phase_map__of_clusters_warns_once(tree):
    far = moved(tree["line"].to_dataset(), 5.0)
    bad = tree.assign({"far": xr.DataTree(far), "names": xr.DataTree(xr.Dataset({"word": "a"}))})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StxmWarning)
        maps = bad.stxm.phase_map(n_phases=2)
    assert [one.category for one in caught] == [LeftOutWarning]
    assert left_out(maps).keys() == {"far", "names"}


def test_particles__are_found_in_each_map_and_join_with_their_node(tree):
    maps = tree.drop_nodes("line").stxm.phase_map(REFERENCES)
    tables = maps.stxm.particles()
    joined = xstxm.join_particles(tables.stxm.stacks)
    number = {path: table.sizes["particle"] for path, table in tables.stxm.stacks.items()}
    assert {path: int((joined["node"] == path).sum()) for path in number} == number
    labels = tables.stxm.map(lambda table: table["particle_label"])
    for path, row in maps.stxm.phase_summary(labels).stxm.stacks.items():
        np.testing.assert_array_equal(row["region"], tables[path]["particle"])


# ---- the table


def test_summary__joins_phases_by_name(tree):
    maps = tree.stxm.phase_map(REFERENCES)
    few = xstxm.phase_map(tree["line"].to_dataset(), REFERENCES.isel(reference=[0, 1]))
    maps = maps.assign({"line": xr.DataTree(few)})
    table = maps.stxm.summary()
    xstxm.testing.assert_conforms(table, "tree_summary")
    assert table["node"].values.tolist() == ["line", "fields/big", "fields/small"]
    for path, stack in maps.stxm.stacks.items():
        alone = xstxm.phase_summary(stack)
        row = table.sel(node=path, phase=alone["phase"])
        for name in alone.data_vars:
            np.testing.assert_allclose(row[name], alone[name])
            assert table[name].attrs == alone[name].attrs
    assert bool(table["area_fraction"].sel(node="line", phase=["delta", "gamma"]).isnull().all())
    assert table["color"].dims == ("phase",)
    assert table.attrs["history"].endswith("summary()")
    assert set(table.to_dataframe().columns) == {*table.data_vars, "color"}


def test_summary__says_the_field_and_the_time(tree):
    maps = tree.stxm.phase_map(REFERENCES)
    maps["fields/big"].attrs["start_time"] = "2024-05-01T10:00:00+02:00"
    table = maps.stxm.summary()
    np.testing.assert_allclose(table["pixel_size"], [np.nan, 0.03, 0.03])
    np.testing.assert_allclose(table["field_area"], [np.nan, 24 * 28 * 0.03**2, 120 * 0.03**2])
    np.testing.assert_array_equal(table["pixel_count"], [28, 24 * 28, 120])
    assert table["time"].sel(node="fields/big") == np.datetime64("2024-05-01T08:00")
    assert table["time"].attrs["time_zone"] == "UTC"
    assert bool(table["time"].sel(node="line").isnull())
    maps["line"].attrs["start_time"] = "2024-05-01T10:00:00"
    with pytest.warns(MetadataWarning, match="names a time zone in some nodes only"):
        assert "time_zone" not in maps.stxm.summary()["time"].attrs
    maps["line"].attrs["start_time"] = "yesterday"
    with pytest.warns(MetadataWarning, match="no time in ISO 8601: 'yesterday'"):
        maps.stxm.summary()


def test_summary__counts_pixels_of_an_image_only_whatever_lags_lie_beside_it(tree):
    maps = tree.stxm.phase_map(REFERENCES)
    big = maps["fields/big"].to_dataset()
    big["noise_correlation"] = ("lag_y", "lag_x"), np.ones((7, 7))
    assert int(xr.DataTree.from_dict({"big": big}).stxm.summary()["pixel_count"][0]) == 24 * 28


def test_summary__names_nodes_by_plain_words_that_align(tree):
    table = tree.stxm.phase_map(REFERENCES).stxm.summary()
    assert table["node"].dtype.kind == "U"
    other = table.isel(node=[2, 0, 1]).assign_coords(node=table["node"].values[[2, 0, 1]].astype(object))
    assert float(abs(table["area"] - other["area"]).max()) == 0


def test_summary__converts_compositions_and_leaves_out_other_quantities(tree):
    maps = tree.stxm.phase_map(REFERENCES)
    line = maps["line"].to_dataset()
    scaled = {
        name: (line[name] * 100).assign_attrs({**line[name].attrs, "units": "percent"})
        for name in ("composition", "composition_stderr")
    }
    other = line.assign(composition=line["composition"].assign_attrs(long_name="Fe(III) / Fe"))
    heavy = line.assign({name: line[name].assign_attrs({**line[name].attrs, "units": "mol/m**3"}) for name in scaled})
    nodes = {"percent": line.assign(scaled), "other": other, "heavy": heavy}
    table = maps.assign({name: xr.DataTree(stack) for name, stack in nodes.items()}).stxm.summary()
    np.testing.assert_allclose(
        table["mean_composition"].sel(node="percent"), table["mean_composition"].sel(node="line"), rtol=1e-5
    )
    assert str(table["left_out"].sel(node="other").values).startswith("its composition is 'Fe(III) / Fe'")
    assert "'mol/m**3', which does not convert to '1'" in str(table["left_out"].sel(node="heavy").values)
    assert bool(table["area_fraction"].sel(node=["other", "heavy"]).isnull().all())


def test_summary__leaves_out_other_phases_and_keeps_who_was_left_out(tree, dense):
    maps = tree.stxm.phase_map(REFERENCES)
    nodes = {
        "clusters": xstxm.phase_map(tree["line"].to_dataset(), n_phases=2),
        "stack": dense["line"].to_dataset(),
        "series": maps["line"].to_dataset().expand_dims(time=[0.0, 1.0]),
        "gone": xr.Dataset(attrs={"left_out": "no beam"}),
    }
    table = maps.assign({name: xr.DataTree(stack) for name, stack in nodes.items()}).stxm.summary()
    said = {path: str(table["left_out"].sel(node=path).values) for path in table["node"].values.tolist()}
    assert said["line"] == said["fields/big"] == ""
    assert said["clusters"].startswith("none of its phases, cluster 1, cluster 2, is one of alpha, epsilon")
    assert said["stack"].startswith("it is no phase map, as others are")
    assert said["series"].startswith("its phase map runs over time")
    assert said["gone"] == "no beam"
    assert int(table["pixel_count"].sel(node="gone")) == 0


def test_summary__of_stacks_says_their_sizes_and_energies(tree):
    kev = in_kev(tree["line"].to_dataset().isel(energy=slice(10, 40)))
    table = tree.assign({"kev": xr.DataTree(kev), "image": xr.DataTree(xr.Dataset({"a": ("x", [1.0])}))}).stxm.summary()
    assert table["energy_count"].values.tolist() == [121, 30, 0, 121, 121]
    np.testing.assert_allclose(table["energy_max"].sel(node=["line", "kev"]), [560, kev["energy"].max() * 1000])
    assert table["energy_min"].attrs["units"] == "eV"
    assert str(table["left_out"].sel(node="image").values).startswith("no dimension 'energy'")


def test_summary__needs_something(tree):
    with pytest.raises(NoStacksError, match="none of 1 stacks can be used: 'a': no dimension 'energy'"):
        xr.DataTree.from_dict({"a": xr.Dataset({"b": 1.0})}).stxm.summary()


@settings(max_examples=10)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 5))
def test_pca__equal_weights_do_not_change_when_a_stack_is_there_in_copies_of_its_pixels(sides, seed):
    """The law: a field of the same pixels twice counts the same."""
    rng = np.random.default_rng(seed)
    coords = {"energy": ("energy", np.arange(4.0) + 500, {"units": "eV"})}
    fields = {f"n{k}": rng.normal(size=(4, side)) for k, side in enumerate(sides)}

    def scree(fields):
        nodes = {
            name: xr.DataArray(values, dims=("energy", "position"), coords=coords, attrs={"units": "1"}).to_dataset(
                name="optical_density"
            )
            for name, values in fields.items()
        }
        return xr.DataTree.from_dict(nodes).stxm.pca(2)["n0"]["scree"].values

    doubled = {**fields, "n0": np.repeat(fields["n0"], 3, axis=1)}
    np.testing.assert_allclose(scree(doubled), scree(fields), rtol=1e-9, atol=1e-12)


def test_tree__in_place_of_a_stack_is_told(tree):
    big = tree["fields/big"].to_dataset()
    with pytest.raises(SchemaError, match=r"'stack' of phase_map is a DataTree.*tree\['line'\]\.to_dataset\(\)"):
        xstxm.phase_map(tree, REFERENCES)
    with pytest.raises(
        SchemaError, match=r"'fine' of at_resolution is a DataTree.*give that of a node, tree\.to_dataset"
    ):
        xstxm.match_resolution(tree["line"], big, fine_psf=0, psf=1)
    with pytest.raises(SchemaError, match="'other' of compare is a DataTree"):
        xstxm.compare(big, other=tree)


def test_tree__tells_where_what_one_stack_has_is_found(tree):
    with pytest.raises(AttributeError, match=r"of one node, tree\['a'\]\.to_dataset\(\)\.stxm\.history"):
        _ = tree.stxm.history
    with pytest.raises(AttributeError, match=r"\.stxm\.plot\.composition"):
        tree.stxm.plot.composition()
    with pytest.raises(AttributeError, match=r"no attribute 'phase_mop'$"):
        tree.stxm.phase_mop()
    assert not hasattr(tree.stxm, "phase_mop")
