from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm import testing
from xstxm.errors import OptionError, ReferenceSpectrumError, SchemaError, UnitsError

SMALL = {"n_fields": 2, "field_size": "3 um", "energies": [510.0, 518.4], "seed": 3}
REFERENCES = testing.simulate_references().sel(reference=["alpha-V2O5", "delta-LiV2O5"])
MANY = {"n_fields": 25, "field_size": "4 um", "energies": [518.4], "electrode": None, "detail": None, "chunks": "auto"}


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return testing.simulate_tree(**SMALL, noise=False)


@pytest.fixture(scope="module")
def draws() -> list[xr.DataTree]:
    """Return electrodes of which only the truth is ever computed, once."""
    made = [testing.simulate_tree(**MANY, seed=seed) for seed in range(3)]
    for node in fields_of(made):
        node.dataset = node.to_dataset().assign(node.to_dataset()[["true_composition", "true_particle"]].compute())
    return made


def within_bounds(found, expected, at_most=4.0):
    """Assert that a mean of independent numbers is what is expected, and that it says anything."""
    found = np.asarray(found, dtype=float)
    error = found.std(ddof=1) / np.sqrt(found.size)
    assert error < 0.1 * expected
    assert abs(found.mean() - expected) < at_most * error


def fields_of(draws):
    return [node for tree in draws for node in tree.children.values()]


# What a tree holds


def test_simulate_tree__nodes_are_stacks_with_their_truth(tree):
    assert list(tree) == ["electrode", "field 1", "field 2", "detail 1", "detail 2"]
    for node in tree.children.values():
        stack = node.to_dataset()
        testing.assert_conforms(stack, "stack")
        assert "synthetic" in stack.attrs["title"]
        assert stack["true_particle"].dtype == np.int32
        assert stack["true_composition"].dims == stack["true_particle"].dims == ("y", "x")
        assert set(stack.data_vars) >= {"true_stage_shift_y", "true_stage_shift_x", "true_thickness", "true_i0"}
    assert not tree.to_dataset().variables, "children would inherit them"


def test_simulate_tree__details_lie_in_fields_and_fields_in_the_electrode(tree):
    for inner, outer in (
        ("detail 1", "field 1"),
        ("detail 2", "field 2"),
        ("field 1", "electrode"),
        ("field 2", "electrode"),
    ):
        for dim in "yx":
            assert tree[outer][dim].min() <= tree[inner][dim].min() < tree[inner][dim].max() <= tree[outer][dim].max()


def test_simulate_tree__shows_one_ground_truth_at_all_scales(tree):
    for fine, coarse in (("detail 1", "field 1"), ("field 2", "electrode")):
        inner, outer = tree[fine].to_dataset(), tree[coarse].to_dataset()
        here = outer.sel({d: slice(float(inner[d].min()), float(inner[d].max())) for d in "yx"})
        around = inner.true_particle.rolling(y=3, x=3, center=True)
        inside = inner.assign(true_composition=inner.true_composition.where(around.min() == around.max()))
        difference = inside.true_composition.interp(y=here.y, x=here.x) - here.true_composition
        assert int(difference.notnull().sum()) > 20
        assert float(abs(difference).max()) < 0.005
        number = inner.true_particle.sel(y=here.y, x=here.x, method="nearest")
        assert float((number.values == here.true_particle.values).mean()) > 0.95


def test_simulate_tree__a_particle_has_one_number_in_all_images(tree):
    numbers = [set(np.unique(tree[name].true_particle)) for name in ("detail 1", "field 1", "electrode")]
    assert numbers[0] < numbers[1] < numbers[2]
    assert 0 in numbers[0], "an empty ground shows the incident light"


def test_simulate_tree__particles_touch_and_do_not_overlap(tree):
    stack = tree["field 1"].to_dataset()
    label = stack.true_particle.values
    pairs = np.concatenate(
        [
            np.stack([label[:, :-1], label[:, 1:]], -1).reshape(-1, 2),
            np.stack([label[:-1], label[1:]], -1).reshape(-1, 2),
        ]
    )
    touching = {tuple(sorted(pair)) for pair in pairs[(pairs > 0).all(1) & (pairs[:, 0] != pairs[:, 1])].tolist()}
    assert 2 <= len(touching) < len(np.unique(label))
    total = stack.true_thickness.sum("reference")
    assert 50 <= float(total.max()) <= 90
    assert float((total > 49.9).where(stack.true_particle > 0).mean()) > 0.7, "flat, but for a short edge"
    # half of the edge, which is a few hundredths of a particle, lies outside the outline, where less than half is left
    outside = total.where(stack.true_particle == 0, 0)
    assert 0 < float(outside.max()) <= 45
    assert float((outside > 1).sum()) < 0.2 * float((stack.true_particle > 0).sum())


def test_simulate_tree__leaves_kinds_out():
    made = testing.simulate_tree(**SMALL, electrode=None, detail=None)
    assert list(made) == ["field 1", "field 2"]
    whole = testing.simulate_tree(**SMALL)
    np.testing.assert_array_equal(made["field 2"].true_composition, whole["field 2"].true_composition)


def test_simulate_tree__a_seed_is_a_tree():
    options = SMALL | {"electrode": None, "detail": None}
    first, again, other = (testing.simulate_tree(**options | {"seed": seed}) for seed in (7, 7, 8))
    xr.testing.assert_identical(first, again)
    assert not first["field 1"].true_composition.equals(other["field 1"].true_composition)
    noise = [first[name].intensity.where(first[name].true_particle == 0) for name in first]
    assert not noise[0].equals(noise[1])


def test_simulate_tree__stage_errors_are_told(tree):
    wrong = testing.simulate_tree(**SMALL, noise=False, stage_error="0.1 um")
    moved = []
    for name, node in wrong.children.items():
        np.testing.assert_array_equal(node.true_composition.values, tree[name].true_composition.values)
        for dim in "yx":
            moved.append(float(node[f"true_stage_shift_{dim}"]))
            np.testing.assert_allclose(node[dim] + moved[-1], tree[name][dim].values, atol=1e-12)
    assert 0.03 < np.std(moved) < 0.3


# Counts


def test_simulate_tree__pixels_average_blurred_light():
    """The coarse image is that of a fine one without blur, blurred and averaged by hand."""
    from scipy.ndimage import gaussian_filter

    sharp = SMALL | {"detail": None, "noise": False, "electrode": None}
    fine = testing.simulate_tree(**sharp, field=testing.Instrument("10 nm", 0))["field 1"]
    coarse = testing.simulate_tree(**sharp, field=testing.Instrument("50 nm", "120 nm"))["field 1"]
    light = gaussian_filter((fine.intensity / fine.true_i0).values, (0, *[0.12 / 0.01 / np.sqrt(8 * np.log(2))] * 2))
    binned = light.reshape(2, 60, 5, 60, 5).mean((2, 4))
    inside = (slice(None), slice(6, -6), slice(6, -6))
    found = (coarse.intensity / coarse.true_i0).values
    assert np.ptp(found[1]) > 0.5
    np.testing.assert_allclose(found[inside], binned[inside], atol=0.01)
    assert np.abs(found - binned)[inside].std() < 0.002


def test_simulate_tree__counts_scatter_like_poisson(tree):
    noisy = testing.simulate_tree(**SMALL)
    for name in ("electrode", "field 1", "detail 2"):
        expected = tree[name].intensity.astype(float)
        chi2 = float(((noisy[name].intensity - expected) ** 2 / expected).mean())
        assert chi2 == pytest.approx(1, abs=5 * np.sqrt(2 / expected.size))


def test_simulate_tree__phase_maps_find_the_composition():
    made = testing.simulate_tree(n_fields=1, field_size="4 um", seed=5)
    for name in ("field 1", "detail 1"):
        stack = made[name].to_dataset()
        phases = xstxm.phase_map(stack, REFERENCES)
        total = stack.true_thickness.sum("reference")
        inside = total == total.rolling(y=5, x=5, center=True).min()  # edges are blurred
        deviation = ((phases.composition - stack.true_composition) / phases.composition_stderr).where(inside)
        assert int(inside.sum()) > 1000
        assert abs(float(deviation.mean())) < 0.15
        assert 0.85 < float(deviation.std()) < 1.15


# The statistics


def test_tree_truth__follows_the_law_of_total_variance(tree):
    truth = testing.tree_truth(tree)
    assert truth.scale.values.tolist() == ["within particles", "between particles", "between fields"]
    assert float(truth.true_variance.sum()) == pytest.approx(0.05**2 + 0.08**2 + 0.06**2)
    assert 0.1 < float(truth.true_mean_correlation) < 0.4
    assert truth.true_correlation_length.attrs["units"] == "um"
    with pytest.raises(SchemaError, match=r"pass a result of testing\.simulate_tree"):
        testing.tree_truth(xr.DataTree())


def test_tree_truth__variances_are_those_of_many_draws(draws):
    within, between = [], []
    for node in fields_of(draws):
        q, label = node.true_composition.values.astype(float), node.true_particle.values
        inside = np.isfinite(q) & (label > 0)
        _, member = np.unique(label[inside], return_inverse=True)
        n = np.bincount(member)
        mean = np.bincount(member, q[inside]) / n
        weight = n / n.sum()
        within.append(np.mean((q[inside] - mean[member]) ** 2))
        between.append((weight * (mean - weight @ mean) ** 2).sum() / (1 - (weight**2).sum()))
    expected = np.mean([testing.tree_truth(tree).true_variance.values for tree in draws], axis=0)
    within_bounds(within, expected[0])
    within_bounds(between, expected[1])


def test_tree_truth__fields_vary_as_told():
    small = MANY | {"field_size": "2 um", "particle_size": "0.8 um", "n_fields": 100}
    found = testing.simulate_tree(**small, between_fields=0.07)
    means = np.array([float(node.true_field_composition) for node in found.children.values()])
    assert means.mean() == pytest.approx(0.5, abs=4 * 0.07 / 10)
    assert means.std() == pytest.approx(0.07, rel=4 / np.sqrt(200))


def test_tree_truth__composition_correlates_over_the_length_within_particles(draws):
    """The semivariogram of pairs in a particle is free of its mean: s_W^2 (1 - exp(-(d / l)^2))."""
    for pixels in (3, 6, 9):
        found = []
        for node in fields_of(draws):
            q, label = node.true_composition.values.astype(float), node.true_particle.values
            pair = (label[:, :-pixels] == label[:, pixels:]) & (label[:, pixels:] > 0)
            found.append(0.5 * np.nanmean((q[:, :-pixels] - q[:, pixels:])[pair] ** 2))
        within_bounds(found, 0.06**2 * (1 - np.exp(-((0.04 * pixels / 0.2) ** 2))))


def test_expected_block_variance__is_that_of_many_draws(draws):
    lengths = [0.04, 0.2, 0.48, 1.0]
    found, expected = [], []
    for tree in draws:
        for node in tree.children.values():
            particle, q = node.true_particle, node.true_composition.astype(float)
            # the thinnest rim has no composition
            particle = particle.where(q.notnull(), 0).astype(np.int32)
            expected.append(testing.expected_block_variance(particle, lengths, tree).values)
            found.append(
                [
                    block_variance(q.values, float(node.true_field_composition), round(length / 0.04))
                    for length in lengths
                ]
            )
    ratio = np.array(found) / np.array(expected)
    for column in ratio.T:
        within_bounds(column, 1.0)
    mean = np.mean(expected, axis=0)
    assert (np.diff(mean) < 0).all()
    assert mean[-1] < 0.75 * mean[0]


def block_variance(q: np.ndarray, mean: float, side: int) -> float:
    known = np.isfinite(q)
    n, total = block_sums(known, side), block_sums(np.where(known, q - mean, 0), side)
    full = n >= 0.5 * side**2
    return float(np.average((total[full] / n[full]) ** 2, weights=n[full]))


def block_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over all squares of an image."""
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]


def test_expected_block_variance__of_particles_alone_falls_with_their_number():
    """Two pixels, each a particle of its own: the mean of both does not vary, each varies by half."""
    options = {"within_particles": 0.0, "n_fields": 1, "field_size": "3 um", "electrode": None, "detail": None}
    tree = testing.simulate_tree(**options, energies=[518.4])
    particle = xr.DataArray(
        np.array([[1, 2], [1, 2]]), dims=("y", "x"), coords={d: (d, [0.0, 0.1], {"units": "um"}) for d in "yx"}
    )
    found = testing.expected_block_variance(particle, ["100 nm", 0.2], tree)
    np.testing.assert_allclose(found, [0.08**2, 0.08**2 / 2], atol=1e-15)
    with pytest.raises(OptionError, match="whole numbers of pixels"):
        testing.expected_block_variance(particle, [0.15], tree)


def test_simulate_tree__composition_never_leaves_the_range():
    wide = {"between_fields": 0.07, "between_particles": 0.09, "within_particles": 0.08}
    made = testing.simulate_tree(**MANY | {"chunks": None}, **wide)
    thickness = xr.concat([node.true_thickness for node in made.children.values()], "node", join="override")
    assert float(thickness.min()) == 0
    assert float(testing.tree_truth(made).true_variance.sum()) == pytest.approx(0.0194)


# Chunks


def test_simulate_tree__chunks_change_nothing():
    options = SMALL | {"detail": None}
    eager, lazy = testing.simulate_tree(**options), testing.simulate_tree(**options, chunks={"y": 40, "x": 33})
    for name in eager:
        for variable in ("intensity", "true_particle", "true_label"):
            np.testing.assert_array_equal(lazy[name][variable], eager[name][variable])
        np.testing.assert_allclose(lazy[name].true_composition, eager[name].true_composition, atol=1e-4)


def test_simulate_tree__computes_nothing_until_asked():
    with raise_if_dask_computes():
        made = testing.simulate_tree(n_fields=2, chunks="auto", field_size="20 um", detail_size="18 um")
    assert made["detail 2"].intensity.shape == (24, 2250, 2250)
    for variable in ("intensity", "true_particle", "true_composition", "true_label"):
        assert all(node[variable].chunks is not None for node in made.children.values())


# What is refused


def test_simulate_tree__takes_references_and_their_range():
    refs = testing.simulate_references().sel(reference=["delta-LiV2O5", "epsilon-Li0.4V2O5"])
    spreads = {"between_fields": 0.03, "between_particles": 0.04, "within_particles": 0.04}
    made = testing.simulate_tree(**SMALL, references=refs, electrode=None, detail=None, **spreads)
    assert made["field 1"].reference.values.tolist() == ["epsilon-Li0.4V2O5", "delta-LiV2O5"]
    assert float(testing.tree_truth(made).true_mean_composition) == pytest.approx(0.7)
    assert float(testing.tree_truth(made).true_variance.sum()) == pytest.approx(0.0041)
    assert float(made["field 1"].true_composition.mean()) == pytest.approx(0.7, abs=0.15)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"n_fields": 0}, OptionError, "a whole number of 1 or more", id="no field"),
        pytest.param({"between_particles": 0.3}, OptionError, "make between_fields, between_particles", id="too wide"),
        pytest.param({"mean_composition": 0.9}, OptionError, "mean_composition=", id="mean near the end"),
        pytest.param({"within_particles": -0.1}, OptionError, "a standard deviation", id="negative deviation"),
        pytest.param({"detail_size": "5 um"}, OptionError, "a detail lies in its field of 3 um", id="large detail"),
        pytest.param({"correlation_length": "1 eV"}, UnitsError, "correlation_length is in 'eV'", id="length in eV"),
        pytest.param({"field": testing.Instrument("40 nm", "5 eV")}, UnitsError, "psf is in 'eV'", id="psf in eV"),
        pytest.param({"field": testing.Instrument("40 nm", 0, -1)}, OptionError, "counts=-1", id="no light"),
        pytest.param({"seed": -1}, OptionError, "seed=-1", id="negative seed"),
        pytest.param({"stage_error": "-1 nm"}, OptionError, "stage_error='-1 nm'", id="negative error"),
        pytest.param({"field": None}, OptionError, "fields are not left out", id="no field"),
        pytest.param(
            {"references": testing.simulate_references()}, ReferenceSpectrumError, "give two of", id="four references"
        ),
        pytest.param(
            {"references": testing.simulate_references().sel(reference=["delta-LiV2O5", "gamma-LiV2O5"])},
            ReferenceSpectrumError,
            "different compositions",
            id="one composition",
        ),
    ],
)
def test_simulate_tree__refuses(options, error, message):
    with pytest.raises(error, match=message):
        testing.simulate_tree(**SMALL | options)
