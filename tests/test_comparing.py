from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm._kernels import agreement
from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import ChoiceError, MissingVariableError, OptionError, SchemaError

NAMES = ["alpha", "lithiated beta", "gamma"]


def labelled(values, names=NAMES):
    values = np.asarray(values, dtype="int16")
    axes = {dim: (dim, 0.05 * np.arange(n), {"units": "um"}) for dim, n in zip(("y", "x"), values.shape, strict=True)}
    label = xr.DataArray(values, dims=("y", "x"), coords=axes, name="phase_label")
    meanings = " ".join(["undecided", "no_sample", *(name.replace(" ", "_") for name in names)])
    label.attrs = {"flag_values": np.arange(-2, len(names)), "flag_meanings": meanings}
    return label


def map_of(values, names=NAMES):
    label = labelled(values, names)
    return label.to_dataset().assign_coords(phase=names)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    one = rng.integers(-2, 3, (30, 40))
    return one, np.where(rng.random(one.shape) < 0.6, one, rng.integers(-2, 3, one.shape))


@pytest.fixture(scope="module")
def maps():
    stack = xstxm.testing.simulate_stack(shape=(60, 80), seed=2)
    references = xstxm.testing.simulate_references()
    od = xstxm.optical_density(stack, noise="poisson")
    return stack, xstxm.phase_map(od, references), xstxm.phase_map(od, references, noise="residual")


@pytest.mark.parametrize("unlabelled", ["leave_out", "count"])
def test_compare__agrees_with_scikit_learn(pair, unlabelled):
    metrics = pytest.importorskip("sklearn.metrics")
    one, other = pair
    found = xstxm.compare(map_of(one), map_of(other), unlabelled=unlabelled)
    xstxm.testing.assert_conforms(found, "compare")
    order = [0, 1, 2] if unlabelled == "leave_out" else [0, 1, 2, UNDECIDED, NO_SAMPLE]
    inside = np.isin(one, order) & np.isin(other, order)
    a, b = one[inside], other[inside]
    np.testing.assert_array_equal(found["confusion"], metrics.confusion_matrix(a, b, labels=order))
    assert list(found["other_phase"].values) == [*NAMES, "undecided", "no sample"][: len(order)]
    assert int(found["n_compared"]) == inside.sum()
    assert float(found["agreement"]) == pytest.approx(metrics.accuracy_score(a, b))
    assert float(found["kappa"]) == pytest.approx(metrics.cohen_kappa_score(a, b))
    assert float(found["adjusted_rand_index"]) == pytest.approx(metrics.adjusted_rand_score(a, b))
    options = {"labels": order, "average": None}
    np.testing.assert_allclose(found["share_of_one"], metrics.recall_score(a, b, **options))
    np.testing.assert_allclose(found["share_of_other"], metrics.precision_score(a, b, **options))
    np.testing.assert_allclose(found["overlap"], metrics.jaccard_score(a, b, **options))


def test_compare__error_of_kappa_is_its_scatter():
    rng = np.random.default_rng(0)
    share = np.array([[0.3, 0.05, 0.02], [0.08, 0.2, 0.05], [0.0, 0.1, 0.2]])
    drawn = [agreement.agreements(t.reshape(3, 3))[4] for t in rng.multinomial(500, share.ravel(), 4000)]
    said = agreement.agreements(np.round(500 * share))[5]
    assert said == pytest.approx(np.std(drawn), rel=0.04)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_compare__of_a_map_with_itself_and_turned_round(seed, n):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, n, (2, 6, 7))
    names = [f"p{k}" for k in range(n)]
    same = xstxm.compare(map_of(one, names), map_of(one, names))
    assert float(same["agreement"]) == float(same["adjusted_rand_index"]) == 1
    if np.unique(one).size > 1:
        assert (float(same["kappa"]), float(same["kappa_stderr"])) == pytest.approx((1, 0), abs=1e-6)
    there, back = (xstxm.compare(map_of(a, names), map_of(b, names)) for a, b in ((one, other), (other, one)))
    np.testing.assert_array_equal(there["confusion"], back["confusion"].T)
    np.testing.assert_allclose(there["share_of_one"], back["share_of_other"])
    for name in ("agreement", "kappa", "kappa_stderr", "adjusted_rand_index"):
        np.testing.assert_allclose(there[name], back[name], atol=1e-12)


def test_compare__phases_meet_by_name_in_any_order(pair):
    one, other = pair
    turned = np.array([-2, -1, 2, 0, 1])[other + 2]
    found = xstxm.compare(map_of(one), map_of(turned, ["lithiated beta", "gamma", "alpha"]))
    xr.testing.assert_identical(
        found["confusion"].drop_attrs(), xstxm.compare(map_of(one), map_of(other))["confusion"].drop_attrs()
    )
    alone = xstxm.compare(labelled(one), labelled(other))
    np.testing.assert_array_equal(alone["confusion"], found["confusion"])
    assert list(alone["phase"].values) == NAMES


def test_compare__by_a_mapping_several_may_be_one(pair):
    one, other = pair
    names = ["c1", "c2", "c3"]
    found = xstxm.compare(
        map_of(one), map_of(other, names), phases={"c1": "alpha", "c2": "lithiated beta", "c3": "alpha"}
    )
    joined = np.where(other == 2, 0, other)
    np.testing.assert_array_equal(found["confusion"], xstxm.compare(map_of(one), map_of(joined))["confusion"])
    assert found.attrs["matched"] == "c1: alpha; c2: lithiated beta; c3: alpha"


@pytest.mark.parametrize(
    ("phases", "error", "message"),
    [
        pytest.param("name", OptionError, "one map has 'alpha'.*the other 'c1', 'c2', 'c3': pass phases=.*or phases='agreement'", id="names"),
        pytest.param({"c1": "alpha"}, OptionError, "say what 'c2', 'c3' is in the one map too", id="missing"),
        pytest.param({"c4": "alpha"}, ChoiceError, "unknown phase of the other map 'c4'", id="not there"),
        pytest.param({"c1": "alhpa", "c2": "gamma", "c3": "gamma"}, ChoiceError, "did you mean 'alpha'", id="typo"),
        pytest.param("agrement", ChoiceError, "did you mean 'agreement'", id="word"),
    ],
)  # fmt: skip
def test_compare__refuses_names(pair, phases, error, message):
    with pytest.raises(error, match=message):
        xstxm.compare(map_of(pair[0]), map_of(pair[1], ["c1", "c2", "c3"]), phases=phases)


@pytest.mark.parametrize("turned", [False, True], ids=["as they are", "backwards"])
def test_compare__keeps_the_classes_in_their_order(maps, turned):
    """Rows and columns alike, though differences of fractions know the phases only."""
    _, one, other = maps
    if turned:
        one, other = (
            m.isel(phase=slice(None, None, -1)).assign(
                phase_label=xr.where(m["phase_label"] < 0, m["phase_label"], m.sizes["phase"] - 1 - m["phase_label"])
            )
            for m in (one, other)
        )
    found = xstxm.compare(one, one, unlabelled="count")
    order = [*one["phase"].values, "undecided", "no sample"]
    assert list(found["phase"].values) == list(found["other_phase"].values) == order
    assert bool((found["confusion"].values == np.diag(np.diag(found["confusion"].values))).all())
    assert bool(found["fraction_difference_rms"].sel(phase=["undecided", "no sample"]).isnull().all())
    assert list(xstxm.compare(one, other, unlabelled="count")["phase"].values) == order


def test_compare__assigns_clusters_by_agreement(pair):
    one, _ = pair
    rng = np.random.default_rng(1)
    names = ["cluster 1", "cluster 2", "cluster 3", "cluster 4"]
    turned = np.array([-2, -1, 2, 3, 0])[one + 2]
    turned = np.where(rng.random(one.shape) < 0.1, 1, turned)
    found = xstxm.compare(map_of(one), map_of(turned, names), phases="agreement")
    assert list(found["phase"].values) == [*NAMES, "cluster 2"]
    assert found.attrs["matched"] == (
        "cluster 1: gamma; cluster 2: cluster 2; cluster 3: alpha; cluster 4: lithiated beta"
    )
    assert 0.85 < float(found["agreement"]) < 0.95
    assert "matched cluster 3 to alpha" in found.attrs["history"]
    few = xstxm.compare(map_of(turned, names), map_of(one), phases="agreement")
    assert few.sizes["phase"] == 4
    assert float(few["agreement"]) == pytest.approx(float(found["agreement"]))


def test_compare__takes_clusters_as_cluster_gives_them(maps):
    stack, fitted, _ = maps
    clusters = xstxm.cluster(xstxm.optical_density(stack), 4)
    found = xstxm.compare(fitted, clusters, phases="agreement")
    again = xstxm.compare(fitted, xstxm.phase_map(stack, n_phases=4, min_confidence=0), phases="agreement")
    assert float(found["kappa"]) > 0.4
    assert float(found["agreement"]) == pytest.approx(float(again["agreement"]), abs=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda m: m.isel(y=slice(5)), "the other map has 5 pixels along 'y', the stack 30", id="size"),
        pytest.param(lambda m: m.assign_coords(x=m["x"] + 1), "the other map and the stack differ along 'x'", id="places"),
        pytest.param(lambda m: m.isel(y=0), "compare maps of the same pixels", id="dims"),
        pytest.param(lambda m: m["phase_label"].drop_attrs(), "'other' is no map of labels", id="no flags"),
    ],
)  # fmt: skip
def test_compare__refuses_other_pixels(pair, change, message):
    with pytest.raises(SchemaError, match=message):
        xstxm.compare(map_of(pair[0]), change(map_of(pair[1])))


@pytest.mark.parametrize("value", [-3, 5])
def test_compare__refuses_labels_that_nothing_explains(pair, value):
    one = pair[0].copy()
    one[3, 5] = value
    for strange in (map_of(one), labelled(one)):
        for which, maps in (("one", (strange, map_of(pair[1]))), ("other", (map_of(pair[1]), strange))):
            message = f"the labels of '{which}' hold {value}, which none of their names belongs to"
            with pytest.raises(SchemaError, match=message):
                xstxm.compare(*maps)
            lazy = xstxm.compare(*(item.chunk(y=7) for item in maps))
            with pytest.raises(SchemaError, match=message):
                lazy.compute()


def test_compare__reads_labels_as_their_flags_say(pair):
    """Other numbers for the same words, in another order."""
    one, other = map_of(pair[0]), map_of(pair[1])
    values = {"no_sample": -2, "undecided": -1, "alpha": 7, "gamma": 3, "lithiated_beta": 9}
    place = {-2: -1, -1: -2, 0: 7, 1: 9, 2: 3}
    renamed = xr.DataArray(
        np.vectorize(place.get)(pair[1]),
        dims=("y", "x"),
        attrs={"flag_values": list(values.values()), "flag_meanings": " ".join(values)},
    )
    expected = xstxm.compare(one, other, unlabelled="count")["confusion"]
    found = xstxm.compare(one["phase_label"], renamed, unlabelled="count")["confusion"]
    xr.testing.assert_equal(found, expected)


def test_compare__needs_labels(pair):
    with pytest.raises(MissingVariableError, match=r"call .stxm.phase_map\(\) first"):
        xstxm.compare(map_of(pair[0]), xr.Dataset())
    with pytest.raises(OptionError, match=r"confidence=1\.5: give a probability"):
        xstxm.compare(map_of(pair[0]), map_of(pair[1]), confidence=1.5)


def test_compare__differences_equal_their_definition(maps):
    _, one, other = maps
    found = xstxm.compare(one, other, confidence=0.9)
    for name, long in (("fraction", "phase_fraction"), ("composition", "composition")):
        difference = (other[long] - one[long]).astype(float)
        square = (other[f"{long}_stderr"] ** 2 + one[f"{long}_stderr"] ** 2).astype(float)
        dims = ("y", "x")
        np.testing.assert_allclose(found[f"{name}_difference_rms"], (difference**2).mean(dims) ** 0.5, rtol=1e-4)
        np.testing.assert_allclose(found[f"{name}_difference_mean"], difference.mean(dims), rtol=1e-3, atol=1e-6)
        beyond = (abs(difference) > 1.6448536 * square**0.5).where(difference.notnull(), False).sum(dims)
        np.testing.assert_allclose(
            found[f"{name}_difference_beyond"], beyond / difference.notnull().sum(dims), atol=2e-3
        )
    assert float(xstxm.compare(one, one)["fraction_difference_rms"].max()) == 0


def test_compare__of_two_measurements_differ_beyond_their_error_as_often_as_it_says():
    from test_noise import counted, mixtures, references

    truth = mixtures(40, concentration=30.0)
    options = {"background": "none", "method": "lstsq", "min_amount": -np.inf}
    one, other = (
        xstxm.phase_map(
            xstxm.optical_density(counted(100_000, truth, seed=seed), noise="poisson"), references(), **options
        )
        for seed in (1, 2)
    )
    found = xstxm.compare(one, other)
    np.testing.assert_allclose(found["fraction_difference_beyond"], 0.05, atol=0.02)
    assert float(found["composition_difference_beyond"]) == pytest.approx(0.05, abs=0.02)
    assert (abs(found["fraction_difference_mean"]) < 0.1 * found["fraction_difference_rms"]).all()


def test_compare__is_lazy_and_equal_to_the_one_in_memory(maps):
    _, one, other = maps
    eager = xstxm.compare(one, other)
    with raise_if_dask_computes():
        lazy = xstxm.compare(one.chunk(y=20), other.chunk(x=30))
    assert all(array.chunks is not None for array in lazy.data_vars.values())
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-4)


def test_compare__with_the_truth_of_a_simulation(maps):
    stack, one, _ = maps
    truth = stack["true_label"].astype("int16")
    named = truth.assign_attrs(one["phase_label"].attrs)
    found = xstxm.compare(named, one["phase_label"])
    decided = (one["phase_label"] >= 0) & (truth >= 0)
    assert int(found["n_compared"]) == int(decided.sum())
    assert float(found["agreement"]) == pytest.approx(float((one["phase_label"] == truth).where(decided).mean()))
