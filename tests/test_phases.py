from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from test_fitting import thick_stack
from test_noise import counted, mixtures
from test_noise import references as five

import xstxm
from xstxm._kernels import propagation
from xstxm.conventions import NO_SAMPLE, QUALITY_FLAGS, UNDECIDED
from xstxm.errors import IncompatibleUnitsError, MissingVariableError, OptionError, ReferenceSpectrumError, SchemaError
from xstxm.phases import _scores_of_known


@pytest.fixture
def noisy(stack):
    rng = np.random.default_rng(3)
    return stack.copy(data={"intensity": rng.poisson(stack["intensity"]).astype("float32")})


@pytest.fixture(scope="module")
def simulated():
    return xstxm.testing.simulate_stack(shape=(60, 80), seed=2)


@pytest.fixture(scope="module")
def simulated_references():
    return xstxm.testing.simulate_references()


@pytest.fixture(scope="module")
def simulated_phases(simulated, simulated_references):
    return xstxm.phase_map(simulated, simulated_references)


def test_phase_map__follows_the_schema(noisy, references, i0):
    phases = noisy.stxm.optical_density(i0).stxm.phase_map(references)
    xstxm.testing.assert_conforms(phases, "phase_map")
    assert phases["phase_label"].dtype == np.int16
    assert phases["phase_label"].attrs["flag_meanings"] == "undecided no_sample A B C"
    assert phases["composition"].attrs["long_name"] == "x in LixV2O5"
    assert list(phases["phase"].values) == ["A", "B", "C"]
    assert phases["color"].dims == ("phase",)
    assert phases["phase_fraction"].dims == ("phase", "y", "x")


def test_phase_map__recovers_fractions_and_composition_without_noise(density, references, amounts):
    phases = density.stxm.phase_map(references, min_amount=0.1)
    sample = amounts.sum("reference") > 0.1
    fraction = (amounts / amounts.sum("reference")).where(sample)
    np.testing.assert_allclose(phases["phase_fraction"], fraction, atol=1e-6)
    composition = (fraction * references["composition"]).sum("reference", skipna=False)
    np.testing.assert_allclose(phases["composition"], composition, atol=1e-6)
    np.testing.assert_array_equal(phases["phase_label"] == NO_SAMPLE, ~sample)
    decided = phases["phase_label"] >= 0
    best = fraction.fillna(0).argmax("reference")
    assert bool((phases["phase_label"] == best).where(decided, True).all())


def test_phase_map__is_lazy_and_equal_to_the_one_in_memory(noisy, references, i0):
    eager = noisy.stxm.optical_density(i0).stxm.phase_map(references)
    with raise_if_dask_computes():
        lazy = noisy.chunk(y=2, x=4).stxm.optical_density(i0).stxm.phase_map(references)
    assert lazy["phase_label"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-5, atol=1e-6)


def test_phase_map__descending_energy_is_the_same_map(noisy, references, i0):
    od = noisy.stxm.optical_density(i0)
    down = od.isel(energy=slice(None, None, -1)).stxm.phase_map(references)
    np.testing.assert_allclose(down["composition"], od.stxm.phase_map(references)["composition"], atol=2e-4)


def test_phase_map__with_no_argument_does_all_the_steps(noisy, references):
    phases = noisy.stxm.with_references(references).stxm.phase_map()
    assert "i0 estimated from the brightest 10 % of the pixels" in phases.attrs["history"]
    assert [entry["operation"] for entry in xstxm.provenance.entries(phases)] == ["with_references", "phase_map"]
    assert phases.attrs["title"] == "a test"


def test_phase_map__pixel_that_was_not_measured_is_undecided_not_empty(noisy, references, i0):
    od = noisy.stxm.optical_density(i0)
    od["optical_density"][:, 3, 5] = np.nan
    phases = od.stxm.phase_map(references)
    assert int(phases["phase_label"][3, 5]) == UNDECIDED
    assert bool(phases["phase_fraction"][:, 3, 5].isnull().all())


def test_phase_map__keeps_the_quality_of_the_stack(noisy, references, i0):
    od = noisy.stxm.optical_density(i0, thick=0.9)
    np.testing.assert_array_equal(od.stxm.phase_map(references)["quality"], od["quality"])


def test_phase_map__threshold_acts_on_the_label_only(noisy, references, i0):
    od = noisy.stxm.optical_density(i0)
    sure, unsure = (
        od.stxm.phase_map(references, min_confidence=0.999999),
        od.stxm.phase_map(references, min_confidence=0),
    )
    assert int((sure["phase_label"] == UNDECIDED).sum()) > int((unsure["phase_label"] == UNDECIDED).sum()) == 0
    np.testing.assert_array_equal(sure["phase_fraction"], unsure["phase_fraction"])


def test_phase_map__references_of_one_phase_are_added_up(density, references, amounts):
    grouped = references.assign_coords(phase=("reference", ["first", "first", "second"]))
    phases = density.stxm.phase_map(grouped, min_amount=0.1)
    assert list(phases["phase"].values) == ["first", "second"]
    share = amounts.sel(reference=["A", "B"]).sum("reference") / amounts.sum("reference")
    np.testing.assert_allclose(phases["phase_fraction"].sel(phase="first")[:, 2:], share[:, 2:], atol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        pytest.param(
            {"min_confidence": 1.2}, OptionError, r"a probability of at least 0 and of at most 1", id="confidence"
        ),
        pytest.param({"method": "nnsl"}, ValueError, "did you mean 'nnls'", id="method"),
        pytest.param({"signal": "od"}, MissingVariableError, "'od' is missing", id="signal"),
    ],
)
def test_phase_map__refuses(noisy, references, i0, kwargs, error, message):
    with pytest.raises(error, match=message):
        noisy.stxm.optical_density(i0).stxm.phase_map(references, **kwargs)


def test_phase_map__without_counts_or_density(references):
    with pytest.raises(MissingVariableError, match="'intensity' is missing"):
        xr.Dataset({"other": ("energy", [1.0])}, {"energy": ("energy", [510.0], {"units": "eV"})}).stxm.phase_map(
            references
        )


def test_phase_map__errors_are_honest_on_simulated_data(simulated, simulated_references, simulated_phases):
    """The composition deviates from the truth by what its standard error says."""
    truth = simulated["true_composition"]
    error = (simulated_phases["composition"] - truth) / simulated_phases["composition_stderr"]
    inside = (simulated_phases["phase_label"] >= 0) & (simulated["true_thickness"].sum("reference") > 50)
    spread = float(np.sqrt((error.where(inside) ** 2).median() / 0.455))
    assert 0.6 < spread < 1.3


def test_phase_map__confident_labels_are_right_as_often_as_they_say(simulated, simulated_phases):
    truth, label = simulated["true_label"], simulated_phases["phase_label"]
    decided = (label >= 0) & (truth >= 0)
    assert int(decided.sum()) > 500
    assert float((label == truth).where(decided).mean()) > 0.95


def test_phase_map__finds_the_sample(simulated, simulated_phases):
    found = simulated_phases["phase_label"] != NO_SAMPLE
    truth = simulated["true_thickness"].sum("reference") > 20
    assert float((found == truth).mean()) > 0.85


def test_phase_map__without_references_finds_clusters(simulated):
    phases = xstxm.phase_map(simulated, n_phases=3, seed=1)
    xstxm.testing.assert_conforms(phases, "phase_map")
    assert list(phases["phase"].values) == ["cluster 1", "cluster 2", "cluster 3"]
    sizes = [int((phases["phase_label"] == k).sum()) for k in range(3)]
    assert sizes == sorted(sizes, reverse=True)
    again = xstxm.phase_map(simulated, n_phases=3, seed=1)
    np.testing.assert_array_equal(phases["phase_label"], again["phase_label"])


def test_phase_map__clusters_sort_by_shape_not_by_thickness(simulated):
    """Within a cluster the thickness varies as in the whole sample; the composition does not."""
    phases = xstxm.phase_map(simulated, n_phases=3)
    sample = phases["phase_label"] >= 0
    composition, thickness = simulated["true_composition"], simulated["true_thickness"].sum("reference")

    def explained(truth):
        total = truth.where(sample).var()
        within = sum(
            truth.where(phases["phase_label"] == k).var() * (phases["phase_label"] == k).sum() for k in range(3)
        )
        return 1 - float(within / total / sample.sum())

    assert explained(composition) > 0.6
    assert explained(composition) > 2 * explained(thickness)


def test_phase_map__clusters_chosen_by_themselves(simulated):
    phases = xstxm.phase_map(simulated)
    assert 2 <= phases.sizes["phase"] <= 6
    assert phases["phase_fraction_stderr"].isnull().all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_propagation__agrees_with_monte_carlo_in_the_linear_limit(seed, n_references):
    rng = np.random.default_rng(seed)
    amount = rng.uniform(1, 2, n_references)
    root = rng.normal(size=(n_references, n_references)) * 1e-3
    draws = amount + rng.normal(size=(4000, n_references)) @ root.T
    covariance = root @ root.T
    fraction, stderr, total = propagation.phase_fractions(amount, covariance, np.eye(n_references))
    np.testing.assert_allclose(total, amount.sum())
    np.testing.assert_allclose(fraction, amount / amount.sum())
    sampled = (draws / draws.sum(1, keepdims=True)).std(0)
    np.testing.assert_allclose(stderr, sampled, rtol=0.12, atol=1e-7)
    x = rng.uniform(size=n_references)
    mean, error = propagation.composition(amount, covariance, x)
    np.testing.assert_allclose(mean, amount @ x / amount.sum())
    np.testing.assert_allclose(error, (draws @ x / draws.sum(1)).std(), rtol=0.12, atol=1e-7)


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_propagation__covariance_of_fractions_agrees_with_their_errors_and_adds_up_to_zero(seed, n_phases):
    rng = np.random.default_rng(seed)
    amount, root = rng.uniform(1, 2, (3, 5)), rng.normal(size=(3, 5, 5)) * 0.1
    covariance = root @ root.swapaxes(-1, -2)
    membership = np.eye(n_phases)[:, np.arange(5) % n_phases]
    _, stderr, _ = propagation.phase_fractions(amount, covariance, membership)
    full = propagation.fraction_covariance(amount, covariance, membership)
    np.testing.assert_allclose(np.einsum("pkk->pk", full), stderr**2, rtol=1e-9)
    np.testing.assert_allclose(full.sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose(full, full.swapaxes(-1, -2), atol=1e-12)


@pytest.mark.parametrize("n_phases", [2, 3, 5, 8])
def test_propagation__confidence_is_the_probability_of_the_largest(n_phases):
    rng = np.random.default_rng(n_phases)
    for _ in range(8):
        amount, root = rng.uniform(0, 2, n_phases), rng.normal(size=(n_phases, n_phases)) * 0.4
        label = propagation.phase_label(amount, root @ root.T, np.eye(n_phases))
        confidence = propagation.chance_of_label(amount, root @ root.T, label, np.eye(n_phases))
        draws = amount + rng.normal(size=(40_000, n_phases)) @ root.T
        assert int(label) == amount.argmax()
        assert float(confidence) == pytest.approx((draws.argmax(1) == amount.argmax()).mean(), abs=0.02)
        chances = propagation.chances(amount, root @ root.T)
        share = np.bincount(draws.argmax(1), minlength=n_phases) / len(draws)
        np.testing.assert_allclose(chances, share, atol=0.03)


def test_propagation__confidence_of_no_noise_and_of_many_pixels():
    amount = np.array([[1.0, 0.9, 0.0], [1.0, 1.0, 0.0], [np.nan, 1.0, 0.0]])
    confidence = propagation.chance_of_largest(amount, np.zeros((3, 3, 3)), np.array([0, 0, 1]))
    np.testing.assert_array_equal(confidence, [1, 0.5, np.nan])
    many = np.random.default_rng(0).uniform(size=(propagation.BLOCK + 5, 3)).astype("float32")
    covariance = np.broadcast_to(0.01 * np.eye(3, dtype="float32"), (len(many), 3, 3))
    label = propagation.phase_label(many, covariance, np.eye(3))
    np.testing.assert_array_equal(label, many.argmax(1))
    confidence = propagation.chance_of_largest(many, covariance, label)
    assert confidence.dtype == np.float32
    last = propagation.chance_of_largest(many[-3:], covariance[-3:], label[-3:])
    np.testing.assert_array_equal(confidence[-3:], last)


def held_at_zero(amount, covariance):
    """The constrained amounts (p, 3) of free ones, of which only the last can be below zero."""
    below = np.minimum(amount[:, 2:], 0)
    return amount - below * covariance[:, 2] / covariance[2, 2]


@pytest.mark.parametrize("seed", range(4))
def test_propagation__released_amounts_are_right_on_average_where_the_constraint_makes_others_wrong(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3))
    covariance = root @ root.T / 100
    true = np.array([3, 2, 0.0])
    amount = held_at_zero(rng.multivariate_normal(true, covariance, 40_000), covariance)
    amount[:, 2][np.abs(amount[:, 2]) < 1e-12] = 0
    free = propagation.released(amount, np.broadcast_to(covariance, (len(amount), 3, 3)))
    error = amount.std(0) / np.sqrt(len(amount))
    assert np.abs((amount.mean(0) - true) / error).max() > 10
    assert np.abs((free.mean(0) - true) / error).max() < 4


def test_propagation__released_amounts_without_an_error_are_as_they_were():
    amount = np.array([[1, 0, 0], [1, 2, 0.0]])
    np.testing.assert_array_equal(propagation.released(amount, np.zeros((2, 3, 3))), amount)
    same = np.ones((2, 3, 3)) * [1, 1, 0] * np.array([1, 1, 0])[:, None]
    assert np.isfinite(propagation.released(amount[:, [1, 2, 0]], same)).all()


def test_propagation__bias_of_chance_is_what_the_constraint_adds():
    """Two phases are equal in truth; the third is absent and, held at zero, favours the first."""
    covariance = np.array([[1, 0, -0.8], [0, 1, 0.3], [-0.8, 0.3, 1]]) / 100
    amount = np.random.default_rng(0).multivariate_normal([1, 1, 0.0], covariance, 20_000)
    amount = held_at_zero(amount, covariance)
    amount[:, 2][np.abs(amount[:, 2]) < 1e-12] = 0
    many, label = np.broadcast_to(covariance, (len(amount), 3, 3)), np.zeros(len(amount), int)
    chance = propagation.chance_of_label(amount, many, label, np.eye(3))
    bias = propagation.bias_of_chance(amount, many, label, chance, np.eye(3))
    assert chance.mean() < 0.45
    assert (chance - bias).mean() == pytest.approx(0.5, abs=0.01)
    assert not bias[amount[:, 2] > 0].any()


def test_phase_map__bias_of_the_confidence_is_that_of_the_constraint(simulated, simulated_references, simulated_phases):
    found, label = simulated_phases["confidence_bias"], simulated_phases["phase_label"]
    np.testing.assert_array_equal(found.isnull(), simulated_phases["confidence"].isnull())
    held = (simulated_phases["phase_fraction"] == 0).any("phase")
    assert not found.where(~held & (label >= 0), 0).any()
    assert 0.05 < float(np.abs(found).max()) < 0.6
    free = xstxm.phase_map(simulated, simulated_references, method="lstsq")
    assert not free["confidence_bias"].fillna(0).any()


def test_propagation__a_pure_pixel_still_has_an_error():
    covariance = np.array([[0.01, -0.009], [-0.009, 0.01]])
    fraction, stderr, _ = propagation.phase_fractions(np.array([1.0, 0.0]), covariance, np.eye(2))
    np.testing.assert_allclose(fraction, [1, 0])
    assert (stderr > 0.05).all()


def test_phase_map__one_wild_pixel_does_not_empty_the_map(noisy, references, i0):
    od = noisy.stxm.optical_density(i0)
    calm = od.stxm.phase_map(references)
    od["optical_density"][:, 3, 5] *= 1e5
    wild = od.stxm.phase_map(references)
    assert int((wild["phase_label"] != NO_SAMPLE).sum()) == pytest.approx(
        int((calm["phase_label"] != NO_SAMPLE).sum()), abs=2
    )


def test_phase_map__field_without_empty_area_is_sample_everywhere(density, references):
    full = density.isel(x=slice(2, None))
    phases = full.stxm.phase_map(references)
    assert bool((phases["phase_label"] != NO_SAMPLE).all())
    assert float(phases["min_amount"]) == -np.inf


def test_phase_map__tells_the_threshold(density, references):
    assert float(density.stxm.phase_map(references, min_amount=0.1)["min_amount"]) == pytest.approx(0.1)
    otsu = density.stxm.phase_map(references)
    total, label = otsu["total_amount"], otsu["phase_label"]
    np.testing.assert_array_equal(label == NO_SAMPLE, total < otsu["min_amount"])


@pytest.mark.parametrize("verb", ["phase_map", "fit"])
def test_counts__are_not_taken_for_optical_density(stack, references, verb):
    with pytest.raises(IncompatibleUnitsError, match=r"call .stxm.optical_density\(\) on counts first"):
        getattr(stack["intensity"].stxm, verb)(references)


def test_phase_map__mask_of_the_stack_is_used(noisy, references, i0):
    mask = xr.DataArray(np.ones((6, 9), dtype=bool), dims=("y", "x"))
    mask[:, 5:] = False
    od = noisy.stxm.optical_density(i0).assign(mask=mask)
    phases = od.stxm.phase_map(references)
    assert bool((phases["phase_label"][:, 5:] == NO_SAMPLE).all())
    assert bool(phases["phase_fraction"][:, :, 5:].isnull().all())
    with pytest.raises(SchemaError, match="'mask' is False everywhere"):
        od.assign(mask=mask & False).stxm.phase_map(references)


def test_phase_map__of_an_unmeasured_frame_says_so(noisy, i0):
    od = noisy.stxm.optical_density(i0)
    od["optical_density"][7] = np.nan
    with pytest.raises(SchemaError, match=r"at 512 eV none of the 54 pixels is.*drop_isel\(energy=\[7\]\)"):
        od.stxm.phase_map()


@pytest.mark.parametrize("kwargs", [{"n_phases": 2.5}, {"n_phases": 0}, {"n_components": 0}])
def test_phase_map__refuses_numbers_that_are_none(simulated, kwargs):
    with pytest.raises(OptionError, match=r"give a whole number (of 1 or more|from 1 to 120)"):
        xstxm.phase_map(simulated, **kwargs)


def test_phase_map__clusters_are_the_same_lazily(simulated):
    lazy = xstxm.phase_map(simulated.chunk(y=20, x=40), n_phases=3)
    eager = xstxm.phase_map(simulated, n_phases=3)
    assert float((lazy["phase_label"] == eager["phase_label"]).mean()) > 0.999


def test_results__know_their_pixels(simulated_phases):
    assert simulated_phases.stxm.pixel_dims == ("y", "x")
    assert simulated_phases.stxm.pixel_size == {"y": "0.03 um", "x": "0.03 um"}
    assert ".plot.composition()" in repr(simulated_phases.stxm)


def test_phase_map__fcls_of_a_full_field(density, references):
    phases = density.isel(x=slice(2, None)).stxm.phase_map(references, method="fcls")
    np.testing.assert_allclose(phases["total_amount"], 1, atol=1e-6)
    assert bool((phases["phase_label"] != NO_SAMPLE).all())


@pytest.mark.parametrize("chunks", [None, {"y": 5}])
@pytest.mark.parametrize("background", ["none", "linear"])
def test_phase_map__fcls_finds_where_there_is_no_sample(density, references, chunks, background):
    stack = density if chunks is None else density.chunk(chunks)
    known = xstxm.phase_map(density, references, background=background)
    phases = xstxm.phase_map(stack, references, method="fcls", background=background)
    np.testing.assert_array_equal(phases["phase_label"] == NO_SAMPLE, known["phase_label"] == NO_SAMPLE)
    assert 0 < int((phases["phase_label"] == NO_SAMPLE).sum()) < phases["phase_label"].size
    assert bool(phases["phase_fraction"].isnull().all("phase").where(phases["phase_label"] == NO_SAMPLE, True).all())
    gap = stack.where(stack.energy != stack.energy[3])
    holed = xstxm.phase_map(gap, references, method="fcls", background=background)
    np.testing.assert_array_equal(holed["phase_label"] == NO_SAMPLE, known["phase_label"] == NO_SAMPLE)
    every = xstxm.phase_map(stack, references, method="fcls", background=background, min_amount=0)
    assert bool((every["phase_label"] != NO_SAMPLE).all())


def test_phase_map__fcls_finds_the_sample_in_pixels_that_lack_values(density, references):
    holed = density.copy(deep=True)
    holed[3, 2:4] = np.nan
    holed[:, 5, 6] = np.nan
    holed[4, 4, 7] = np.inf
    for stack in (holed, holed.chunk(y=5, x=4)):
        label, known = (xstxm.phase_map(s, references, method="fcls")["phase_label"] for s in (stack, density))
        assert label[5, 6] == UNDECIDED
        known[5, 6] = known[4, 7] = label[4, 7] = UNDECIDED
        np.testing.assert_array_equal(label == NO_SAMPLE, known == NO_SAMPLE)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_scores_of_known__take_the_mean_of_a_pixel_for_what_it_lacks(dtype):
    rng = np.random.default_rng(0)
    spectra, basis = rng.uniform(1, 2, (7, 5, 40)).astype(dtype), np.linalg.qr(rng.normal(size=(40, 3)))[0]
    spectra[rng.uniform(size=spectra.shape) < 0.03] = np.nan
    spectra[2, 3] = np.nan
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
        filled = np.where(np.isnan(spectra), np.nanmean(spectra, -1, keepdims=True), spectra)
    found = _scores_of_known(spectra, basis, threads=1)
    np.testing.assert_allclose(found, filled @ basis, rtol=1e-4 if dtype == "f4" else 1e-9, atol=1e-5)
    assert np.isnan(found[2, 3]).all()


def test_phase_map__composition_of_some_references_is_refused(density, references):
    some = references.assign_coords(composition=("reference", [0.0, 1.0, np.nan]))
    with pytest.raises(ReferenceSpectrumError, match="no composition for 'C': give every reference one"):
        density.stxm.phase_map(some)


def test_phase_map__of_nothing(density, references):
    with pytest.raises(SchemaError, match="the stack is empty"):
        density.isel(y=slice(0)).stxm.phase_map(references)
    with pytest.raises(SchemaError, match="a single energy has no spectra to group"):
        density.isel(energy=[20]).stxm.phase_map()


# ---- what a phase map keeps


def test_phase_map__covariance_on_request(noisy, references, i0):
    od = noisy.stxm.optical_density(i0)
    plain, full = od.stxm.phase_map(references), od.stxm.phase_map(references, covariance=True)
    assert "phase_fraction_covariance" not in plain
    covariance = full["phase_fraction_covariance"]
    assert covariance.dims == ("phase", "other_phase", "y", "x")
    assert list(covariance["other_phase"].values) == ["A", "B", "C"]
    diagonal = np.sqrt(np.einsum("kkyx->kyx", covariance))
    np.testing.assert_allclose(diagonal, full["phase_fraction_stderr"], rtol=2e-3)
    xr.testing.assert_equal(full.drop_vars(["phase_fraction_covariance", "other_phase"]), plain)
    with raise_if_dask_computes():
        lazy = noisy.chunk(y=2, x=4).stxm.optical_density(i0).stxm.phase_map(references, covariance=True)
    np.testing.assert_allclose(lazy["phase_fraction_covariance"].compute(), covariance, rtol=1e-3, atol=1e-7)


def test_phase_map__carries_what_all_references_of_a_phase_agree_on(density, references):
    given = references.assign_coords(
        phase=("reference", ["first", "first", "second"]),
        cell_chain=("reference", [3.5, 3.5, 3.6], {"units": "angstrom"}),
        formula_units=("reference", [2, 4, 2]),
        space_group=("reference", ["Pmmn", "Pmmn", "Cmcm"]),
        source=("reference", ["mine", "yours", "ours"]),
    )
    phases = density.stxm.phase_map(given, min_amount=0.1)
    np.testing.assert_array_equal(phases["cell_chain"], [3.5, 3.6])
    assert phases["cell_chain"].dims == ("phase",)
    assert phases["cell_chain"].attrs["units"] == "angstrom"
    np.testing.assert_array_equal(phases["formula_units"], [np.nan, 2])
    np.testing.assert_array_equal(phases["phase_composition"], [np.nan, 1.0])
    assert list(phases["space_group"].values) == ["Pmmn", "Cmcm"]
    assert list(phases["source"].values) == ["", "ours"]


def test_phase_map__hands_the_choice_of_references_on_to_the_fit(noisy, references, i0):
    od = noisy.stxm.optical_density(i0)
    options = {"selection": "bic", "max_references": 2}
    phases, fit = od.stxm.phase_map(references, **options), od.stxm.fit(references, **options)
    np.testing.assert_array_equal(phases["n_active"], fit["n_active"])
    np.testing.assert_array_equal(phases["reduced_chi2"], fit["reduced_chi2"])
    assert int(phases["n_active"].max()) == 2
    assert int(od.stxm.phase_map(references)["n_active"].max()) == 3
    share = (fit["component_map"] / fit["component_map"].sum("reference")).values
    inside = phases["phase_label"] != NO_SAMPLE
    np.testing.assert_allclose(phases["phase_fraction"].where(inside), np.where(inside, share, np.nan), atol=1e-5)
    few, many = (od.stxm.phase_map(references, selection="f-test", false_discovery_rate=r) for r in (1e-6, 0.5))
    assert int(few["n_active"].sum()) < int(many["n_active"].sum())


def test_phase_map__errors_after_a_choice_are_those_of_all_references(noisy, references, i0):
    """A reference that was not chosen could still be there: its absence does not make the others more certain."""
    od = noisy.stxm.optical_density(i0)
    phases = od.stxm.phase_map(references, selection="bic", max_references=1, min_amount=0.1)
    inside = phases["phase_label"] != NO_SAMPLE
    assert bool((phases["n_active"].where(inside, 1) == 1).all())
    assert bool((phases["phase_fraction_stderr"].where(inside, 1) > 0).all())


@pytest.mark.parametrize(
    "options",
    [
        {"selection": "bic"},
        {"max_references": 2},
        {"energy_shift": "fit"},
        {"broadening": 0.1},
        {"max_optical_density": 2},
        {"covariance": True},
        {"noise": "residual"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_phase_map__without_references_refuses_options_of_a_fit(simulated, options):
    with pytest.raises(OptionError, match=f"^{next(iter(options))}=.*it belongs to a fit of references"):
        xstxm.phase_map(simulated, **options)


@pytest.mark.parametrize("selection", [None, "bic"])
def test_phase_map__leaves_out_what_is_too_thick_as_the_fit_does(selection):
    stack, references = thick_stack()
    stack = stack.assign(
        quality=xr.full_like(stack["optical_density"][0], QUALITY_FLAGS["not_measured"], dtype="int16")
    )
    phases = xstxm.phase_map(stack, references, max_optical_density=1.5, selection=selection)
    fitted = xstxm.fit(stack, references, max_optical_density=1.5)
    xr.testing.assert_equal(phases["n_energies"], fitted["n_energies"])
    for flag in ("too_thick", "poor_fit", "not_measured"):
        bit = QUALITY_FLAGS[flag]
        xr.testing.assert_equal(phases["quality"] & bit, fitted["quality"] & bit)
    lost = phases["n_energies"] == 0
    assert 0 < int(lost.sum()) < lost.size / 4
    assert bool((phases["phase_label"] == UNDECIDED).where(lost, True).all())
    assert int(xstxm.phase_map(stack, references)["n_energies"].min()) == 121


@pytest.mark.parametrize("options", [{}, {"selection": "bic"}, {"noise": "variance"}], ids=str)
def test_phase_map__pixel_that_cannot_be_fitted_is_flagged_and_no_other_is_touched(noisy, references, i0, options):
    noise = "poisson" if "noise" in options else "residual"
    od = noisy.stxm.optical_density(i0, noise=noise).assign(quality=xr.zeros_like(noisy["intensity"][0], dtype="int16"))
    whole = od.stxm.phase_map(references, min_amount=0.1, **options)
    od["optical_density"][:, 3, 5] = np.nan
    od["optical_density"][4:, 2, 6] = np.inf
    phases = od.stxm.phase_map(references, min_amount=0.1, **options)
    failed = xr.zeros_like(phases["phase_label"], dtype=bool).drop_attrs()
    failed[3, 5] = failed[2, 6] = True
    for name in ("phase_fraction", "phase_fraction_stderr", "composition", "total_amount", "confidence"):
        assert bool(phases[name].where(failed).isnull().all())
    assert bool((phases["phase_label"].where(failed, UNDECIDED) == UNDECIDED).all())
    np.testing.assert_array_equal(phases["quality"], np.where(failed, QUALITY_FLAGS["not_measured"], 0))
    for name in phases.data_vars:
        if {"y", "x"} <= {*phases[name].dims} and name != "quality":
            xr.testing.assert_equal(phases[name].where(~failed), whole[name].where(~failed))


@pytest.mark.parametrize("options", [{}, {"selection": "bic"}, {"method": "lstsq"}], ids=str)
def test_phase_map__pixel_whose_energies_do_not_tell_the_references_apart_is_flagged(amounts, references, options):
    """Two references that are equal before 519 eV, and a pixel that was measured there only."""
    twins = references.copy(deep=True)
    twins["absorption"][1] = twins["absorption"][1].where(twins["energy"] > 519, twins["absorption"][0])
    od = xr.dot(twins["absorption"].drop_vars("composition"), amounts + 0.1, dim="reference").transpose(
        "energy", "y", "x"
    )
    od = (od + 1e-3 * np.random.default_rng(0).normal(size=od.shape)).rename("optical_density").assign_attrs(units="1")
    whole = xstxm.phase_map(od, twins, min_amount=-np.inf, **options)
    part = od.where((od["energy"] < 519) | (od["x"] != od["x"][4]) | (od["y"] != od["y"][2]))
    phases = xstxm.phase_map(part.assign_attrs(units="1"), twins, min_amount=-np.inf, **options)
    failed = xr.zeros_like(phases["phase_label"], dtype=bool).drop_attrs()
    failed[2, 4] = True
    np.testing.assert_array_equal(phases["quality"] == QUALITY_FLAGS["not_measured"], failed)
    for name in ("phase_fraction", "confidence", "total_amount", "composition", "reduced_chi2"):
        assert bool(phases[name].where(failed).isnull().all())
        xr.testing.assert_equal(phases[name].where(~failed), whole[name].where(~failed))
    assert (int(phases["n_active"][2, 4]), int(phases["phase_label"][2, 4])) == (0, UNDECIDED)


def test_phase_map__clusters_do_not_flag_pixels_outside_the_mask(simulated):
    od = xstxm.optical_density(simulated)
    mask = od["x"] < float(od["x"].median())
    assert not od.assign(mask=mask.broadcast_like(od["quality"])).stxm.phase_map(n_phases=2)["quality"].any()


def test_phase_map__pixels_outside_the_mask_are_not_flagged(noisy, references, i0):
    mask = xr.DataArray(np.ones((6, 9), dtype=bool), dims=("y", "x"))
    mask[:, 5:] = False
    assert not noisy.stxm.optical_density(i0).assign(mask=mask).stxm.phase_map(references)["quality"].any()


# ---- confidence: how often labels are right, against what it says

BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.01)
ENOUGH = 600


def reliability(truth, counts, **options):
    """Confidence and share of right labels (bin) of the bins that hold enough pixels."""
    od = xstxm.optical_density(counted(counts, truth, seed=counts), noise="poisson")
    phases = xstxm.phase_map(od, five(), min_amount=-np.inf, min_confidence=0, **options)
    confidence = phases["confidence"].values.ravel()
    right = (phases["phase_label"].values == truth.argmax(-1)).ravel()
    at = np.digitize(confidence, BINS)
    return np.array(
        [(confidence[at == k].mean(), right[at == k].mean()) for k in range(9) if (at == k).sum() >= ENOUGH]
    )


@pytest.mark.parametrize("counts", [10_000, 40_000, 100_000])
@pytest.mark.parametrize("concentration", [1.0, 2.0, 4.0])
def test_confidence__of_mixtures_is_the_share_of_right_labels(counts, concentration):
    said, found = reliability(mixtures(140, 1, concentration), counts).T
    assert said.size >= 5
    np.testing.assert_allclose(found, said, atol=0.05)


@pytest.mark.parametrize(
    ("counts", "options"),
    [(n, options) for n in (500, 2000, 20_000, 100_000) for options in ({}, {"selection": "bic"})]
    + [(n, {"method": "lstsq"}) for n in (20_000, 100_000)],  # below, noise exceeds what fractions can be
    ids=str,
)
def test_confidence__where_most_amounts_are_zero_is_not_too_high(counts, options):
    truth = mixtures(80, 1, 1.0)
    truth = np.where(truth < 0.2, 0, truth)
    said, found = reliability(truth / truth.sum(-1, keepdims=True), counts, **options).T
    assert (found > said - 0.05).all()


@pytest.mark.parametrize("selection", ["bic", "f-test"])
def test_confidence__after_a_choice_is_that_of_all_references(selection):
    """A reference that was left out may be there: choosing makes no label more certain."""
    said, found = reliability(mixtures(80, 1, 1.0), 10_000, selection=selection, max_references=4).T
    np.testing.assert_allclose(found, said, atol=0.06)


def test_phase_map__least_amount_with_a_unit(simulated, simulated_references, simulated_phases):
    expected = xstxm.phase_map(simulated, simulated_references, min_amount=60.0)
    found = xstxm.phase_map(simulated, simulated_references, min_amount="0.06 um")
    assert float(found["min_amount"]) == pytest.approx(60, rel=1e-6)
    xr.testing.assert_equal(found["phase_label"], expected["phase_label"])
    with pytest.raises(IncompatibleUnitsError, match="min_amount"):
        xstxm.phase_map(simulated, simulated_references, min_amount="5 eV")


@pytest.mark.parametrize("chunks", [{"y": 5}, {"y": 7, "x": 11}, {"energy": 1}], ids=str)
@pytest.mark.filterwarnings("ignore::xstxm.errors.PerformanceWarning")
def test_phase_map__is_the_same_to_the_last_bit_however_the_stack_is_cut(chunks):
    stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0)).astype(
        "float32", keep_attrs=True
    )
    references = xstxm.testing.simulate_references()
    whole = xstxm.phase_map(stack[["optical_density"]], references, background="constant")
    parts = xstxm.phase_map(stack[["optical_density"]].chunk(chunks), references, background="constant").compute()
    xr.testing.assert_equal(parts, whole)
