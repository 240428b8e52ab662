"""Designs of energies, against every choice, against matrices written out with numpy, and against measured pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.optimize
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dose import peaks

import xstxm
from xstxm._kernels import optimal_design
from xstxm._kernels.optimal_design import Problem, Rules
from xstxm.errors import (
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingUnitsError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
    UnitsError,
)

REFERENCES = xstxm.testing.simulate_references()
NAMES = [str(name) for name in REFERENCES.reference.values]
CRITERIA = ("d-optimal", "a-optimal", "bias-aware")


def problem(seed: int, size: int = 12, *, criterion: str = "bias-aware", weighted: bool = False) -> Problem:
    """Return a random problem of three references and a constant."""
    rng = np.random.default_rng(seed)
    references = peaks(3, size, seed)
    design = np.vstack([references.absorption.values, np.ones(size)]).T
    basis, triangle = np.linalg.qr(design)
    noise = rng.uniform(0.5, 2, size) * 1e-3
    amounts = rng.uniform(0.2, 1, (3, 30))
    targets = np.eye(3)
    deviation = 0.02 * rng.standard_normal((size, 4)) @ rng.standard_normal((4, 30))
    moments = optimal_design.second_moments(deviation, optimal_design.sensitivity(amounts, targets) / 30)
    return Problem(
        basis=basis,
        to_amount=np.linalg.inv(triangle)[:3],
        weight=1 / noise if weighted else np.ones(size),
        noise=noise,
        sensitivity=optimal_design.sensitivity(np.full((3, 1), 0.3), targets)[..., 0],
        moments=moments if criterion == "bias-aware" else np.empty((0, 0, size, size)),
        determinant=criterion == "d-optimal",
        by_variance=weighted,
    )


def condition(given: Problem, chosen) -> float:
    """Return the condition number of the normal equations of a choice."""
    at = list(chosen)
    return float(np.linalg.cond(given.basis[at].T @ np.diag(given.weight[at]) @ given.basis[at]))


def loss_by_hand(given: Problem, chosen) -> float:
    """Return the loss of a choice, every matrix written out."""
    at = list(chosen)
    rows, w = given.basis[at], np.diag(given.weight[at])
    if condition(given, at) > 1e11:
        return np.inf
    estimate = np.linalg.inv(rows.T @ w @ rows) @ rows.T @ w
    covariance = estimate @ np.diag(given.noise[at]) @ estimate.T
    if given.determinant:
        return float(np.linalg.slogdet(covariance)[1])
    to_amount = given.to_amount @ estimate
    loss = np.trace(given.sensitivity @ given.to_amount @ covariance @ given.to_amount.T)
    for r, s in itertools.product(range(len(given.moments)), repeat=2):
        loss += to_amount[r] @ given.moments[r, s][np.ix_(at, at)] @ to_amount[s]
    return float(loss)


@given(seed=st.integers(0, 1000), criterion=st.sampled_from(CRITERIA), weighted=st.booleans(), n=st.integers(5, 8))
def test_losses__are_those_of_the_matrices_written_out(seed, criterion, weighted, n):
    made = problem(seed, criterion=criterion, weighted=weighted)
    chosen = np.random.default_rng(seed).choice(12, n - 1, replace=False)
    found = optimal_design.losses(made, chosen)
    for added in range(12):
        every = [*chosen, added]
        rounding = 1e-13 * condition(made, every)  # an inverse that is written out loses as many digits
        if added not in chosen and rounding < 1e-3:
            np.testing.assert_allclose(found[added], loss_by_hand(made, every), rtol=1e-10 + rounding, atol=1e-12)


def test_losses__of_energies_that_determine_too_little_are_infinite():
    made = problem(0)
    assert np.isinf(optimal_design.losses(made, [1, 5])).all()
    assert np.isfinite(optimal_design.losses(made, [1, 5, 8])).any()


@given(seed=st.integers(0, 1000), criterion=st.sampled_from(CRITERIA), weighted=st.booleans())
@settings(max_examples=15)
def test_exchange__finds_what_the_exhaustive_search_finds(seed, criterion, weighted):
    made = problem(seed, criterion=criterion, weighted=weighted)
    rules = Rules(np.arange(12.0), np.ones(12, bool), ())
    best = min(loss_by_hand(made, some) for some in itertools.combinations(range(12), 5))
    chosen, loss = optimal_design.exhaustive(made, rules, 5)
    np.testing.assert_allclose([loss, loss_by_hand(made, chosen)], best, rtol=1e-7)
    runs = [optimal_design.exchange(made, rules, start) for start in optimal_design.starts(made, rules, 5)]
    assert len(runs) == 10
    np.testing.assert_allclose(min(loss for _, loss in runs), best, rtol=1e-7)
    for chosen, loss in runs:
        np.testing.assert_allclose(loss, loss_by_hand(made, chosen), rtol=1e-5)


@given(
    seed=st.integers(0, 1000),
    spacing=st.sampled_from([0.0, 1.0, 2.0, 2.5]),
    required=st.sets(st.sampled_from([0, 4, 9]), max_size=2),
    forbidden=st.sets(st.sampled_from([2, 6, 7, 12]), max_size=4),
    n=st.integers(5, 7),
)
@settings(max_examples=15)
def test_rules__hold_in_the_best_choice_of_all_that_obey_them(seed, spacing, required, forbidden, n):
    made = problem(seed, size=13, criterion="a-optimal")
    energy = np.arange(13.0)
    allowed = ~np.isin(energy, list(forbidden))
    rules = Rules(energy, allowed, tuple(sorted(required)), spacing)

    def obeys(some):
        apart = np.diff(np.sort(energy[list(some)])).min()
        return required <= set(some) and not forbidden & set(some) and apart >= spacing

    possible = [some for some in itertools.combinations(range(13), n) if obeys(some)]
    assert bool(possible) == (rules.room(rules.required) >= n)
    if not possible:
        return
    best = min(loss_by_hand(made, some) for some in possible)
    runs = [optimal_design.exhaustive(made, rules, n)]
    runs += [optimal_design.exchange(made, rules, start) for start in optimal_design.starts(made, rules, n)]
    for chosen, _ in runs:
        assert obeys(chosen)
    np.testing.assert_allclose(loss_by_hand(made, runs[0][0]), best, rtol=1e-7)
    assert min(loss for _, loss in runs[1:]) <= best * 1.05


@given(
    case=st.tuples(st.just(2), st.integers(8, 11), st.integers(0, 1000)), n=st.integers(4, 6), seed=st.integers(0, 99)
)
def test_d_optimal__is_never_below_a_random_choice(case, n, seed):
    references = peaks(*case)
    design = xstxm.design_energies(references, n, criterion="d-optimal")
    assert design.attrs["search"] == "exhaustive"
    rows = np.vstack([references.absorption.values, np.ones(case[1])]).T

    def determinant(at):
        return np.linalg.det(rows[at].T @ rows[at])

    chosen = np.searchsorted(references.energy.values, design.energy.values)
    other = np.random.default_rng(seed).choice(case[1], n, replace=False)
    assert determinant(chosen) >= determinant(other) * (1 - 1e-9)


@given(case=st.tuples(st.integers(2, 3), st.integers(9, 11), st.integers(0, 1000)), weighted=st.booleans())
@settings(max_examples=20)
def test_expected_stderr__is_that_of_the_covariance_written_out(case, weighted):
    references = peaks(*case)
    weighting = "variance" if weighted else "equal"
    design = xstxm.design_energies(references, 7, criterion="a-optimal", counts=500, weighting=weighting)
    known = xstxm.distinguishability(references, counts=500, energies=design.energy, amounts=equal_mixture(references))
    if weighted:  # a fit with these weights reaches the Cramer-Rao bound
        np.testing.assert_allclose(design.fraction_stderr, known.fraction_stderr, rtol=1e-6)
    else:
        assert (design.fraction_stderr >= known.fraction_stderr * (1 - 1e-9)).all()
        spectra = references.absorption.sel(energy=design.energy).values
        amounts = known.amount.values
        rows = np.vstack([spectra, np.ones(7)]).T
        estimate = np.linalg.pinv(rows)[: case[0]]
        covariance = estimate @ np.diag(np.exp(amounts @ spectra) / 500) @ estimate.T
        slopes = (np.eye(case[0]) - amounts[:, None] / amounts.sum()) / amounts.sum()
        expected = np.sqrt(np.diag(slopes @ covariance @ slopes.T))
        np.testing.assert_allclose(design.fraction_stderr, expected, rtol=1e-6)
    np.testing.assert_allclose(design.score, -(design.fraction_stderr**2).mean(), rtol=1e-6)


def equal_mixture(references):
    """Return the sample that is assumed by default: that of all candidates, not of the chosen ones."""
    return xstxm.distinguishability(references, counts=1).amount


def test_expected_stderr__is_the_spread_of_simulated_counts_that_are_fitted():
    design = xstxm.design_energies(REFERENCES, 12, criterion="a-optimal", counts=20_000, sharing="optimal")
    amounts = equal_mixture(REFERENCES)
    spectra = REFERENCES.absorption.sel(energy=design.energy)
    counts = design.incident_counts.values
    rng = np.random.default_rng(0)
    transmitted = rng.poisson(counts * np.exp(-(amounts.values @ spectra.values)), (4000, 12))
    density = xr.DataArray(
        -np.log(transmitted / counts), dims=("pixel", "energy"), coords={"energy": design.energy}, attrs={"units": "1"}
    )
    fitted = xstxm.fit(density, REFERENCES, method="lstsq").component_map
    fraction = fitted / fitted.sum("reference")
    np.testing.assert_allclose(fraction.std("pixel"), design.fraction_stderr, rtol=0.1)


def test_moments__give_the_mean_squared_error_of_the_targets():
    rng = np.random.default_rng(0)
    amounts, deviation, weight = rng.uniform(0.2, 1, (3, 9)), rng.standard_normal((6, 9)), rng.uniform(0, 1, 9)
    through, targets = rng.standard_normal((3, 6)), rng.standard_normal((2, 3))
    moments = optimal_design.second_moments(deviation, weight * optimal_design.sensitivity(amounts, targets))
    expected, step = 0.0, 1e-6
    for c, d, w in zip(amounts.T, deviation.T, weight, strict=True):
        wrong = [c + sign * step * (through @ d) for sign in (1, -1)]
        change = targets @ (wrong[0] / wrong[0].sum() - wrong[1] / wrong[1].sum()) / (2 * step)
        expected += w * (change**2).mean()
    np.testing.assert_allclose(np.einsum("re,rsef,sf->", through, moments, through), expected, rtol=1e-6)


def test_noise_moments__are_the_second_moments_of_noise():
    rng = np.random.default_rng(0)
    scales = optimal_design.sensitivity(rng.uniform(0.2, 1, (3, 5)), np.eye(3))
    variance = rng.uniform(0.5, 2, (8, 5))
    spread = (np.eye(8) - np.full((8, 8), 1 / 8))[2:6]
    found = optimal_design.noise_moments(variance, spread, scales)
    draws = 40_000
    noise = rng.standard_normal((draws, 8, 5)) * np.sqrt(variance)
    deviation = np.einsum("em,dmp->edp", spread, noise).reshape(4, -1)
    expected = optimal_design.second_moments(deviation, np.tile(scales, draws) / draws)
    np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(found).max())


def test_positive_part__drops_negative_directions_and_no_others():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((6, 6))
    matrix = (root @ root.T).reshape(2, 3, 2, 3).swapaxes(1, 2)
    np.testing.assert_allclose(optimal_design.positive_part(matrix), matrix, atol=1e-10)
    size, vectors = np.linalg.eigh(root + root.T)
    mixed = (root + root.T).reshape(2, 3, 2, 3).swapaxes(1, 2)
    found = optimal_design.positive_part(mixed).swapaxes(1, 2).reshape(6, 6)
    np.testing.assert_allclose(found, (vectors * size.clip(0)) @ vectors.T, atol=1e-10)


# ---- what the references do not describe


@pytest.fixture(scope="module")
def flawed():
    """A synthetic stack with a contamination that no reference describes, and the variance of its counts."""
    stack = xstxm.testing.simulate_stack(shape=(48, 56), counts=20_000, seed=3)
    variance = stack.intensity.clip(1).assign_attrs(units="count**2")
    made = xstxm.optical_density(stack.assign(intensity_variance=variance), stack.true_i0)
    extra = 0.02 * np.exp(-(((stack.energy - 530) / 1.5) ** 2)) * (made.optical_density.mean("energy") > 0.3)
    density = (made.optical_density + extra.transpose(*made.optical_density.dims)).astype("float32")
    return made.assign(optical_density=density.assign_attrs(units="1"))


def test_score__of_a_bias_aware_design_is_its_mean_squared_error(flawed):
    plain = flawed.drop_vars("optical_density_variance")
    design = xstxm.design_energies(REFERENCES, 8, training=plain, counts=5000)
    np.testing.assert_allclose(-design.score, (design.fraction_error**2).mean(), rtol=1e-6)
    squares = design.fraction_stderr**2 + design.fraction_bias**2
    np.testing.assert_allclose(design.fraction_error**2, squares, rtol=1e-6)


def test_bias__is_the_rms_that_evaluation_finds(flawed):
    plain = flawed.optical_density
    for n in (8, 20):
        design = xstxm.design_energies(REFERENCES, n, training=plain, method="lstsq", min_amount=30.0)
        found = xstxm.evaluate_energies(plain, REFERENCES, design, method="lstsq", min_amount=30.0)
        rms = found.fraction_difference_rms.rename(phase="reference").assign_coords(reference=NAMES)
        np.testing.assert_allclose(design.fraction_bias, rms, rtol=0.1)


@pytest.mark.parametrize("method", ["nnls", "fcls"])
def test_bias__is_exact_where_no_amount_is_at_its_bound(method):
    rng = np.random.default_rng(0)
    references = xstxm.testing.simulate_references(units="1")
    amounts = xr.DataArray(rng.dirichlet([20.0] * 4, (6, 7)), dims=("y", "x", "reference"), coords={"reference": NAMES})
    wave = 1e-4 * np.sin((references.energy - 500) / xr.DataArray(rng.uniform(1, 3, (6, 7)), dims=("y", "x")))
    stack = (xr.dot(amounts, references.absorption, dim="reference") + wave).transpose("energy", "y", "x")
    stack = stack.rename("optical_density").assign_attrs(units="1")
    design = xstxm.design_energies(references, 9, training=stack, method=method, min_amount=0.0)
    found = xstxm.evaluate_energies(stack, references, design, method=method, min_amount=0.0)
    assert float(found.fraction_difference_rms.min()) > 1e-6
    np.testing.assert_allclose(design.fraction_bias, found.fraction_difference_rms, rtol=0.02)


def test_bias_aware__beats_the_others_on_what_it_was_not_trained_on(flawed):
    train, judge = flawed.isel(x=slice(0, 28)), flawed.isel(x=slice(28, None))
    for n in (6, 20):
        chosen = {
            word: xstxm.design_energies(REFERENCES, n, criterion=word, candidates=train.energy) for word in CRITERIA[:2]
        }
        chosen["bias-aware"] = xstxm.design_energies(REFERENCES, n, training=train)
        rms = {
            word: float((xstxm.evaluate_energies(judge, REFERENCES, d).fraction_difference_rms ** 2).mean())
            for word, d in chosen.items()
        }
        assert rms["bias-aware"] < min(rms["d-optimal"], rms["a-optimal"])


def test_sample__does_not_depend_on_the_candidates():
    """Candidates beside the peaks, where an equal mixture of the whole range absorbs less than its largest density."""
    sample = xstxm.distinguishability(REFERENCES, counts=1000).amount
    density = sample @ REFERENCES.absorption
    beside = REFERENCES.energy[(density < 0.8).values]
    options = {"criterion": "a-optimal", "counts": 1000, "candidates": beside}
    default = xstxm.design_energies(REFERENCES, 7, **options)
    given = xstxm.design_energies(REFERENCES, 7, amounts=sample.reset_coords(drop=True), **options)
    np.testing.assert_allclose(default.fraction_stderr, given.fraction_stderr)


def test_noise__of_a_training_stack_is_no_bias_where_its_variance_is_known():
    stack = xstxm.testing.simulate_stack(shape=(48, 56), counts=3000, seed=1, psf="0 nm")
    variance = stack.intensity.clip(1).assign_attrs(units="count**2")
    made = xstxm.optical_density(stack.assign(intensity_variance=variance), stack.true_i0)
    options = {"counts": 3000, "min_amount": 50.0}
    known = xstxm.design_energies(REFERENCES, 8, training=made, **options)
    unknown = xstxm.design_energies(REFERENCES, 8, training=made.drop_vars("optical_density_variance"), **options)
    assert (unknown.fraction_bias > 0.5 * unknown.fraction_stderr).all()
    assert (known.fraction_bias < 0.25 * unknown.fraction_bias).all()
    np.testing.assert_allclose(-known.score, (known.fraction_error**2).mean(), rtol=0.15)
    said = "no variance of the training stack"
    assert said in unknown.attrs["history"]
    assert said not in known.attrs["history"]


def test_deviations__are_kept_out_of_the_fractions():
    energy = REFERENCES.energy
    bump = (0.05 * np.exp(-(((energy - 530.4) / 0.8) ** 2))).assign_attrs(units="1")
    aware = xstxm.design_energies(REFERENCES, 8, deviations=bump, counts=20_000)
    unaware = xstxm.design_energies(REFERENCES, 8, criterion="a-optimal", deviations=bump, counts=20_000)
    assert float((aware.fraction_bias**2).mean()) < 0.25 * float((unaware.fraction_bias**2).mean())
    assert float((aware.fraction_error**2).mean()) < float((unaware.fraction_error**2).mean())
    assert (aware.fraction_stderr**2).mean() >= (unaware.fraction_stderr**2).mean()


def test_bias__of_a_deviation_is_what_it_does_to_the_fit():
    energy = REFERENCES.energy
    bump = (1e-4 * np.exp(-(((energy - 519) / 2) ** 2))).assign_attrs(units="1")
    design = xstxm.design_energies(REFERENCES, 8, deviations=bump, counts=20_000)
    spectra = REFERENCES.absorption.sel(energy=design.energy)
    clean = xr.dot(spectra, equal_mixture(REFERENCES), dim="reference").assign_attrs(units="1")
    fractions = []
    for density in (clean, (clean + bump).assign_attrs(units="1")):
        amounts = xstxm.fit(density, REFERENCES, method="lstsq").component_map
        fractions.append(amounts / amounts.sum())
    np.testing.assert_allclose(design.fraction_bias, abs(fractions[1] - fractions[0]), rtol=0.02)


def test_training__may_be_lazy_or_hold_counts(flawed):
    expected = xstxm.design_energies(REFERENCES, 7, training=flawed.optical_density)
    lazy = xstxm.design_energies(REFERENCES, 7, training=flawed.chunk(y=16))
    xr.testing.assert_identical(lazy.drop_attrs(), expected.drop_attrs())
    counted = flawed[["intensity"]].assign(i0=flawed.true_i0.rename("i0"))
    design = REFERENCES.stxm.design_energies(7, training=counted)
    assert design.energy.size == 7


def test_training__leaves_out_pixels_that_were_not_measured(flawed):
    expected = xstxm.design_energies(REFERENCES, 7, training=flawed, min_amount=30.0)
    holes = flawed.optical_density.copy(deep=True)
    holes[3, :, 10], holes[90, 5, :] = np.nan, np.inf
    found = xstxm.design_energies(REFERENCES, 7, training=flawed.assign(optical_density=holes), min_amount=30.0)
    np.testing.assert_allclose(found.fraction_bias, expected.fraction_bias, rtol=0.2)
    mask = xr.ones_like(holes[0], dtype=bool)
    mask[:, 10], mask[5] = False, False
    masked = xstxm.design_energies(REFERENCES, 7, training=flawed.assign(mask=mask), min_amount=30.0)
    xr.testing.assert_identical(found.drop_attrs(), masked.drop_attrs())


def test_training__takes_a_sample_of_many_pixels(flawed, monkeypatch):
    monkeypatch.setattr("xstxm._undescribed.MAX_PIXELS", 1500)
    known = xstxm.design_energies(REFERENCES, 7, training=flawed, min_amount=-np.inf, method="lstsq", counts=5000)
    count = int(known.attrs["history"].split("trained on ")[1].split(" pixels")[0])
    assert 1000 < count <= 1500


# ---- composition


def test_composition__has_the_error_of_its_fractions(flawed):
    design = xstxm.design_energies(REFERENCES, 8, training=flawed.optical_density, counts=5000, method="lstsq")
    known = xstxm.design_energies(REFERENCES, 8, criterion="a-optimal", counts=5000, weighting="variance")
    bound = xstxm.distinguishability(REFERENCES, counts=5000, energies=known.energy, amounts=equal_mixture(REFERENCES))
    np.testing.assert_allclose(known.composition_stderr, bound.composition_stderr, rtol=1e-6)
    x, spread = REFERENCES.composition.values, bound.fraction_stderr.values
    covariance = bound.fraction_correlation.values * spread[:, None] * spread
    np.testing.assert_allclose(bound.composition_stderr, np.sqrt(x @ covariance @ x), rtol=1e-6)
    squares = design.composition_stderr**2 + design.composition_bias**2
    np.testing.assert_allclose(design.composition_error**2, squares)
    assert design.composition_bias.attrs["units"] == "1"


def test_bias__of_the_composition_is_the_rms_that_evaluation_finds(flawed):
    plain = flawed.optical_density
    design = xstxm.design_energies(REFERENCES, 8, target="composition", training=plain, method="lstsq", min_amount=30.0)
    found = xstxm.evaluate_energies(plain, REFERENCES, design, method="lstsq", min_amount=30.0)
    np.testing.assert_allclose(design.composition_bias, found.composition_difference_rms, rtol=0.1)
    np.testing.assert_allclose(-design.score, design.composition_bias**2)


@pytest.mark.parametrize("criterion", ["a-optimal", "bias-aware"])
def test_target__is_what_gets_better(flawed, criterion):
    options = {"criterion": criterion, "training": flawed, "counts": 5000}
    fractions, composition = (
        xstxm.design_energies(REFERENCES, 8, target=target, **options) for target in ("fractions", "composition")
    )
    assert float(composition.composition_error) < float(fractions.composition_error)
    assert float((composition.fraction_error**2).mean()) > float((fractions.fraction_error**2).mean())


def test_composition__is_left_out_where_references_lack_it():
    bare = REFERENCES.drop_vars("composition")
    design = xstxm.design_energies(bare, 7, criterion="a-optimal", counts=1000)
    assert "composition_stderr" not in design
    assert "composition_stderr" not in xstxm.distinguishability(bare, counts=1000)
    with pytest.raises(ReferenceSpectrumError, match="needs a composition for each reference"):
        xstxm.design_energies(bare, 7, criterion="a-optimal", target="composition")


def test_composition__that_one_reference_lacks_is_asked_for():
    partly = REFERENCES.assign_coords(composition=("reference", [0, 0.4, np.nan, 1.0]))
    message = "no composition for 'delta-LiV2O5': give every reference one"
    with pytest.raises(ReferenceSpectrumError, match=message):
        xstxm.distinguishability(partly, counts=1000)
    with pytest.raises(ReferenceSpectrumError, match=message):
        xstxm.design_energies(partly, 7, criterion="a-optimal", counts=1000)


def test_composition__in_percent_has_its_error_in_percent():
    percent = REFERENCES.assign_coords(
        composition=("reference", 100 * REFERENCES.composition.values, {"units": "percent"})
    )
    plain = xstxm.distinguishability(REFERENCES, counts=1000).composition_stderr
    found = xstxm.distinguishability(percent, counts=1000).composition_stderr
    assert float(found) == pytest.approx(100 * float(plain))
    assert found.attrs["units"] == "percent"
    with pytest.raises(IncompatibleUnitsError, match="the composition is in 'nm'"):
        xstxm.distinguishability(
            percent.assign_coords(composition=percent.composition.assign_attrs(units="nm")), counts=1000
        )


def test_composition__that_is_the_same_for_all_is_no_target():
    same = REFERENCES.isel(reference=[2, 3])
    with pytest.raises(ReferenceSpectrumError, match="all references have one composition"):
        xstxm.design_energies(same, 7, criterion="a-optimal", target="composition")


# ---- laws of the verb


def designs():
    yield {"criterion": "d-optimal"}
    yield {"criterion": "a-optimal", "counts": 4000}
    yield {
        "deviations": 0.05 * REFERENCES.absorption.isel(reference=0, drop=True).rolling(energy=9, min_periods=1).mean()
    }


@pytest.mark.parametrize("options", list(designs()), ids=CRITERIA)
def test_order_and_units__change_nothing(options):
    options = {
        key: (100 * value).assign_attrs(units="1") if isinstance(value, xr.DataArray) else value
        for key, value in options.items()
    }
    expected = xstxm.design_energies(REFERENCES, 7, **options)
    rng = np.random.default_rng(0)
    turned = REFERENCES.isel(reference=[2, 0, 3, 1], energy=rng.permutation(REFERENCES.sizes["energy"]))
    scaled = REFERENCES.assign(absorption=(1000 * REFERENCES.absorption).assign_attrs(units="1/um"))
    kev = REFERENCES.assign_coords(energy=("energy", REFERENCES.energy.values / 1000, {"units": "keV"}))
    for references in (turned, scaled, kev):
        found = xstxm.design_energies(references, 7, **options)
        energy = found.energy * (1000 if found.energy.attrs["units"] == "keV" else 1)
        np.testing.assert_allclose(energy, expected.energy)
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-5)
    xr.testing.assert_identical(xstxm.design_energies(REFERENCES, 7, **options).drop_attrs(), expected.drop_attrs())
    assert (np.diff(expected.energy) > 0).all()


def test_rules__are_given_in_any_unit():
    design = xstxm.design_energies(
        REFERENCES,
        8,
        criterion="a-optimal",
        required=["0.508 keV", 560.0],
        forbidden=[("528 eV", "529.5 eV"), 518.4],
        min_spacing="600 meV",
    )
    energy = design.energy.values
    assert {508.0, 560.0} < set(energy)
    assert not ((energy >= 528) & (energy <= 529.5)).any()
    assert 518.4 not in energy
    assert np.diff(energy).min() >= 0.6 - 1e-9
    free = xstxm.design_energies(REFERENCES, 8, criterion="a-optimal")
    assert float(free.score) > float(design.score)


def test_required_energies__may_be_all():
    some = REFERENCES.energy.values[[3, 30, 40, 55, 70, 90]]
    design = xstxm.design_energies(REFERENCES, 6, criterion="d-optimal", required=some)
    np.testing.assert_array_equal(design.energy, some)


def test_known_sum__needs_an_energy_less():
    design = xstxm.design_energies(REFERENCES, 5, criterion="a-optimal", method="fcls", counts=1000)
    assert design.energy.size == 5
    with pytest.raises(OptionError, match="from 6 to 121"):
        xstxm.design_energies(REFERENCES, 5, criterion="a-optimal", counts=1000)


def test_single_reference__has_a_d_optimal_design_only():
    one = REFERENCES.isel(reference=[0])
    assert xstxm.design_energies(one, 4, criterion="d-optimal").energy.size == 4
    with pytest.raises(ReferenceSpectrumError, match="a single reference has a fraction of one"):
        xstxm.design_energies(one, 4, criterion="a-optimal", counts=100)


def test_result__conforms_and_keeps_the_references(flawed):
    design = xstxm.design_energies(REFERENCES, 6, training=flawed, counts=1000, dwell=1.0)
    xstxm.testing.assert_conforms(design, "design_energies")
    assert design.composition.values.tolist() == [0.0, 0.4, 1.0, 1.0]
    assert design.attrs["criterion"] == "bias-aware"
    assert "trained on" in design.attrs["history"]
    assert design.energy.attrs == flawed.energy.attrs


# ---- exposure


def test_time__is_that_which_was_given():
    options = {"criterion": "a-optimal", "counts": 1000}
    plain = xstxm.design_energies(REFERENCES, 6, **options)
    assert "dwell_time" not in plain.coords
    once = xstxm.design_energies(REFERENCES, 6, dwell="2 ms", **options)
    np.testing.assert_allclose(once.dwell_time, 2.0)
    xr.testing.assert_equal(once.drop_vars("dwell_time"), plain)
    four = xstxm.design_energies(REFERENCES, 6, dwell="2 ms", total_time="0.048 s", **options)
    np.testing.assert_allclose(four.dwell_time, 8.0)
    np.testing.assert_allclose(four.incident_counts, 4000)
    np.testing.assert_allclose(four.fraction_stderr, once.fraction_stderr / 2)
    uncounted = xstxm.design_energies(REFERENCES, 6, criterion="d-optimal", total_time=12)
    np.testing.assert_allclose(uncounted.dwell_time, 2.0)


@pytest.mark.parametrize("weighting", ["equal", "variance"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_sharing__is_never_worse_at_the_same_total(criterion, weighting):
    bump = (0.05 * np.exp(-(((REFERENCES.energy - 518.4) / 1.0) ** 2))).assign_attrs(units="1")
    options = {"criterion": criterion, "weighting": weighting, "counts": 2000, "dwell": 1, "deviations": bump}
    equal = xstxm.design_energies(REFERENCES, 9, **options)
    shared = xstxm.design_energies(REFERENCES, 9, sharing="optimal", **options)
    np.testing.assert_array_equal(shared.energy, equal.energy)
    assert float(shared.score) > float(equal.score)
    assert float(shared.exposure_share.sum()) == pytest.approx(1)
    assert float(shared.dwell_time.sum()) == pytest.approx(9)
    assert float(shared.incident_counts.sum()) == pytest.approx(18_000)
    assert float(shared.exposure_share.min()) >= 0.2 / 9 - 1e-12


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("criterion", ["d-optimal", "a-optimal"])
@pytest.mark.parametrize("seed", range(3))
def test_sharing__is_what_a_numerical_search_finds(criterion, weighted, seed):
    made = problem(seed, criterion=criterion, weighted=weighted)
    chosen = [0, 2, 4, 7, 9, 11]

    def loss(shares):
        times = optimal_design.at_chosen(6 * shares, chosen, 12)
        return loss_by_hand(made.exposed(times), chosen)

    found, least = optimal_design.share_exposure(made, chosen)
    np.testing.assert_allclose(least, loss(found), rtol=1e-8)
    low = optimal_design.LEAST_SHARE / 6
    best = scipy.optimize.minimize(
        lambda x: loss(x) / abs(loss(np.full(6, 1 / 6))),
        np.full(6, 1 / 6),
        bounds=[(low, 1)] * 6,
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    reached = best.fun * abs(loss(np.full(6, 1 / 6)))
    assert least <= reached + 2e-3 * abs(reached)


# ---- bad input


def wrong(n=7, references=REFERENCES, **options):
    options = {"criterion": "a-optimal", **options}
    return lambda: xstxm.design_energies(references, n, **options)


def stack_of(values, units="1", energy=REFERENCES.energy):
    return xr.DataArray(
        values, dims=("energy", "y", "x"), coords={"energy": energy}, attrs={"units": units}, name="optical_density"
    )


ABSORPTION = REFERENCES.absorption.values
EMPTY = stack_of(np.full((121, 3, 4), -0.1) - 0.01 * np.arange(121)[:, None, None])
COLLINEAR = REFERENCES.assign(
    absorption=REFERENCES.absorption.copy(data=np.vstack([ABSORPTION[:3], 2 * ABSORPTION[0]]))
)
ZERO = REFERENCES.assign(absorption=0 * REFERENCES.absorption.assign_attrs(units="1"))
BUMP = (0 * REFERENCES.energy + 0.1).assign_attrs(units="1")
BAD = {
    "nothing to tell the bias": (wrong(criterion="bias-aware"), OptionError, "give training=, a measured stack, or"),
    "unknown criterion": (wrong(criterion="e-optimal"), ValueError, "did you mean '[ad]-optimal'"),
    "unknown target": (wrong(target="compositions"), ValueError, "did you mean 'composition'"),
    "a determinant of the composition": (
        wrong(criterion="d-optimal", target="composition"),
        OptionError,
        "counts all unknowns",
    ),
    "unknown sharing": (wrong(sharing="optimum"), ValueError, "did you mean 'optimal'"),
    "unknown weighting": (wrong(weighting="poisson"), ValueError, "unknown weighting 'poisson'"),
    "fewer energies than unknowns": (wrong(n=5), OptionError, "from 6 to 121, more than the unknowns"),
    "more energies than candidates": (wrong(n=122), OptionError, "no more than the candidates"),
    "collinear references": (wrong(references=COLLINEAR), ReferenceSpectrumError, "cannot be told apart"),
    "all-zero references": (wrong(references=ZERO), ReferenceSpectrumError, "zero at all energies"),
    "required within forbidden": (wrong(required=[518.4], forbidden=[(518, 519)]), OptionError, "forbidden too"),
    "required but no candidate": (
        wrong(required=[518.33]),
        EnergyRangeError,
        r"required energies .* 518.33 \(nearest 518.4",
    ),
    "forbidden but no candidate": (
        wrong(forbidden=[518.33]),
        EnergyRangeError,
        "forbidden energies that are not candidates",
    ),
    "required beyond n": (wrong(required=REFERENCES.energy.values[:9]), OptionError, "more energies than n=7"),
    "required as a word": (wrong(required="518.4 eV"), OptionError, "give a list of energies"),
    "a forbidden triple": (wrong(forbidden=[(1, 2, 3)]), OptionError, "give the two limits"),
    "no room": (wrong(min_spacing="10 eV"), OptionError, "6 of the candidates fit the rules"),
    "nearly all forbidden": (wrong(forbidden=[(508, 558)]), OptionError, "2 of the candidates fit"),
    "required too close": (wrong(required=[518.2, 518.4], min_spacing=0.5), OptionError, "closer to each other"),
    "negative spacing": (wrong(min_spacing=-1), OptionError, "above zero"),
    "spacing in other units": (wrong(min_spacing="2 nm"), IncompatibleUnitsError, "'nm'"),
    "candidates twice": (wrong(candidates=[514, 514, *range(515, 530)]), EnergyRangeError, "hold 514 eV twice"),
    "candidates beyond the references": (wrong(candidates=range(400, 600)), EnergyRangeError, "references cover"),
    "energies where nothing differs": (
        wrong(n=6, candidates=[*range(508, 514), 516, 518.4, 520, 530], forbidden=[516, 518.4, 520, 530]),
        ReferenceSpectrumError,
        "no 6 of the allowed energies tell",
    ),
    "no counts": (wrong(counts=0), OptionError, "above 0"),
    "I0 without counts": (wrong(i0_counts=100), OptionError, "give them too"),
    "weights without counts": (wrong(weighting="variance"), OptionError, "give them"),
    "sharing without counts": (
        wrong(criterion="bias-aware", deviations=BUMP, sharing="optimal"),
        OptionError,
        "give counts=",
    ),
    "a total without a dwell time": (wrong(counts=100, total_time="1 s"), OptionError, "say as dwell="),
    "no time": (wrong(counts=100, dwell=0), OptionError, "a time is above zero"),
    "a time in other units": (wrong(counts=100, dwell="1 eV"), UnitsError, "'eV'"),
    "deviations in other units": (
        wrong(deviations=BUMP.assign_attrs(units="1/nm")),
        IncompatibleUnitsError,
        "optical densities",
    ),
    "deviations of nothing": (wrong(deviations=0 * BUMP.assign_attrs(units="1")), SchemaError, "deviations"),
    "deviations of other energies": (
        wrong(deviations=BUMP[:50]),
        EnergyRangeError,
        "the deviations covers .*, the candidates .*: give",
    ),
    "deviations without units": (
        wrong(deviations=BUMP.drop_attrs()),
        MissingUnitsError,
        r"the deviations has no units: .* = '1'$",
    ),
    "a cube of deviations": (wrong(deviations=EMPTY), SchemaError, "give spectra"),
    "a training stack without sample": (
        wrong(training=EMPTY),
        SchemaError,
        "no pixel of the training stack holds sample",
    ),
    "counts as density": (wrong(training=stack_of(EMPTY.values, "count")), IncompatibleUnitsError, "optical_density"),
    "candidates that were not measured": (
        wrong(training=EMPTY, candidates=[*REFERENCES.energy.values, 515.55]),
        EnergyRangeError,
        "candidates that are not energies of the training stack: 515.55",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input__says_what_is_wrong(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()


# ---- measured data


@pytest.fixture(scope="module")
def iron(real_data):
    """The Fe L-edge stack as optical density, and its two references."""
    folder = real_data / "fe-l-edge-stack"
    stack = xr.open_dataset(folder / "71214078.hdr", engine="stxm").load()
    i0 = xstxm.read_i0(folder / "i0.xsp", units="count/ms")
    references = xstxm.read_references({"oxidized": folder / "oxidized.t", "reduced": folder / "reduced.t"})
    return xstxm.optical_density(stack, i0), references


def rms_of(stack, references, energies, background):
    found = xstxm.evaluate_energies(stack, references, energies, background=background, min_amount=0.2)
    return float(found.fraction_difference_rms.sel(phase="reduced"))


def uniform(stack, n):
    return stack.energy[np.round(np.linspace(0, stack.sizes["energy"] - 1, n)).astype(int)]


def test_iron__gives_the_known_figures_of_uniform_and_d_optimal_energies(iron):
    stack, references = iron
    known = {4: (0.41, 0.18), 6: (0.25, 0.17), 8: (0.43, 0.16), 20: (0.11, 0.15)}
    for n, expected in known.items():
        design = xstxm.design_energies(references, n, criterion="d-optimal", candidates=stack.energy)
        found = [rms_of(stack, references, energies, "constant") for energies in (uniform(stack, n), design)]
        np.testing.assert_allclose(found, expected, atol=0.016)


SPLITS = {
    "all of it": lambda y, x: (y >= 0, y >= 0),
    "one half, judged on the other": lambda y, x: (x < 62, x >= 62),
    "upper half, judged on the lower": lambda y, x: (y >= 62, y < 62),
    "every other block of eight pixels": lambda y, x: ((y // 8 + x // 8) % 2 == 0, (y // 8 + x // 8) % 2 == 1),
}


@pytest.mark.parametrize("background", ["constant", "linear"])
@pytest.mark.parametrize("split", SPLITS)
def test_iron__bias_aware_energies_beat_uniform_and_d_optimal_ones(iron, split, background):
    stack, references = iron
    place = xr.DataArray(np.arange(125), dims="y"), xr.DataArray(np.arange(125), dims="x")
    train, judge = (stack.assign(mask=part.broadcast_like(stack.optical_density[0])) for part in SPLITS[split](*place))
    for n in (6, 20):
        aware = xstxm.design_energies(references, n, training=train, background=background, min_amount=0.2)
        determinant = xstxm.design_energies(
            references, n, criterion="d-optimal", candidates=stack.energy, background=background
        )
        rms = [rms_of(judge, references, e, background) for e in (aware, determinant, uniform(stack, n))]
        assert rms[0] < 0.85 * min(rms[1:])
