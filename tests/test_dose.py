"""What references tell apart at a dose, against the inverse Fisher matrix written out with numpy, and against counts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xstxm
from xstxm.errors import (
    CollinearityWarning,
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingVariableError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
)

REFERENCES = xstxm.testing.simulate_references()
NAMES = [str(name) for name in REFERENCES.reference.values]


def peaks(count: int, size: int, seed: int) -> xr.Dataset:
    """Return a set of random distinct spectra in optical density, on an uneven axis."""
    rng = np.random.default_rng(seed)
    energy = np.sort(rng.uniform(500, 520, size))
    centres = np.linspace(503, 517, count) + rng.uniform(-1, 1, count)
    rows = [0.1 + rng.uniform(0.3, 1) * np.exp(-(((energy - c) / rng.uniform(2, 4)) ** 2)) for c in centres]
    return xstxm.reference_set({f"R{k}": (energy, row) for k, row in enumerate(rows)})


def by_hand(references, amounts, counts, background, i0_counts=np.inf, free=None):
    """Return the covariance of the amounts: the inverse Fisher matrix of all unknowns."""
    spectra = references.absorption.transpose("reference", "energy").values
    energy = references.energy.values
    terms = {"none": [], "constant": [np.ones_like(energy)], "linear": [np.ones_like(energy), energy - 510]}[background]
    design = np.array([*spectra, *terms]).T
    variance = np.exp(amounts @ spectra) / counts + 1 / i0_counts
    free = np.eye(design.shape[1]) if free is None else scipy.linalg.block_diag(free, np.eye(len(terms)))
    fisher = free.T @ (design.T / variance @ design) @ free
    return (free @ np.linalg.inv(fisher) @ free.T)[: len(spectra), : len(spectra)]


def fractions_by_hand(covariance, amounts):
    """Return the covariance of the fractions, their slopes taken as difference quotients."""
    step = 1e-6 * amounts.sum()
    slopes = np.array(
        [
            (np.divide(amounts + e, (amounts + e).sum()) - np.divide(amounts - e, (amounts - e).sum())) / (2 * step)
            for e in step * np.eye(amounts.size)
        ]
    ).T
    return slopes @ covariance @ slopes.T


CASES = st.tuples(st.integers(2, 4), st.integers(8, 20), st.integers(0, 10_000))


@given(case=CASES, background=st.sampled_from(["none", "constant", "linear"]), counts=st.floats(10, 1e6))
def test_stderr__is_that_of_the_inverse_fisher_matrix(case, background, counts):
    references = peaks(*case)
    result = xstxm.distinguishability(references, counts=counts, background=background)
    amounts = result.amount.values
    covariance = by_hand(references, amounts, counts, background)
    np.testing.assert_allclose(result.amount_stderr, np.sqrt(np.diag(covariance)), rtol=1e-6)
    of_fractions = fractions_by_hand(covariance, amounts)
    variance = np.diag(of_fractions)
    np.testing.assert_allclose(result.fraction_stderr, np.sqrt(variance), rtol=1e-4)
    scale = np.sqrt(variance[:, None] * variance)
    np.testing.assert_allclose(result.fraction_correlation, of_fractions / scale, atol=1e-4)
    pairs = np.sqrt(np.maximum(variance[:, None] + variance - 2 * of_fractions, 0))
    np.testing.assert_allclose(result.pair_stderr, pairs, rtol=1e-4, atol=1e-3 * pairs.max())
    spread = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(result.amount_correlation, covariance / spread[:, None] / spread, atol=1e-6)


@given(case=CASES, background=st.sampled_from(["none", "constant"]))
def test_stderr__with_a_known_sum_is_that_of_the_constrained_fisher_matrix(case, background):
    references = peaks(*case)
    result = xstxm.distinguishability(references, counts=1000, method="fcls", background=background)
    count = case[0]
    np.testing.assert_allclose(result.amount, 1 / count)
    free = scipy.linalg.null_space(np.ones((1, count)))
    covariance = by_hand(references, result.amount.values, 1000, background, free=free)
    np.testing.assert_allclose(result.amount_stderr, np.sqrt(np.diag(covariance)), rtol=1e-6)
    np.testing.assert_allclose(result.fraction_stderr, result.amount_stderr, rtol=1e-6)


@given(case=CASES, seed=st.integers(0, 100))
def test_order__of_references_and_energies_changes_nothing(case, seed):
    references = peaks(*case)
    rng = np.random.default_rng(seed)
    turned = references.isel(reference=rng.permutation(case[0]), energy=rng.permutation(case[1]))
    expected = xstxm.distinguishability(references, counts=1000)
    found = xstxm.distinguishability(turned, counts=1000).sel(
        reference=expected.reference, other_reference=expected.other_reference
    )
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)
    assert set(found.attrs["worst_pair"].split(" and ")) == set(expected.attrs["worst_pair"].split(" and "))


@pytest.mark.parametrize("unit", ["1/um", "1", "cm**2/g"])
def test_unit__of_the_references_changes_the_unit_of_the_amounts_only(unit):
    scale = {"1/um": 1e3, "1": 100.0, "cm**2/g": 1e7 / 3.36}[unit]
    other = REFERENCES.assign(absorption=(scale * REFERENCES.absorption).assign_attrs(units=unit))
    expected = xstxm.distinguishability(REFERENCES, counts=2000)
    found = xstxm.distinguishability(other, counts=2000)
    for name in ("fraction_stderr", "pair_stderr", "condition_number", "amount_correlation"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.amount_stderr * scale, expected.amount_stderr, rtol=1e-8)
    assert expected.amount_stderr.attrs["units"] == expected.amount.attrs["units"] == "nm"
    assert found.amount.attrs["units"] == {"1/um": "um", "1": "1", "cm**2/g": "g/cm**2"}[unit]


def test_energy_axis__in_kev_gives_the_same():
    other = REFERENCES.assign_coords(
        energy=("energy", REFERENCES.energy.values / 1000, {**REFERENCES.energy.attrs, "units": "keV"})
    )
    expected = xstxm.distinguishability(REFERENCES, counts=2000, energies=["514 eV", 517, 520, 525, 529, 540])
    found = xstxm.distinguishability(other, counts=2000, energies=["0.514 keV", 0.517, "520 eV", 0.525, 0.529, 0.54])
    np.testing.assert_allclose(found.fraction_stderr, expected.fraction_stderr, rtol=1e-8)


def test_dose__halves_the_error_at_four_times_the_counts():
    once, four = (xstxm.distinguishability(REFERENCES, counts=counts) for counts in (500, 2000))
    np.testing.assert_allclose(once.fraction_stderr, 2 * four.fraction_stderr)


def test_energy__that_is_given_twice_counts_twice():
    some = REFERENCES.energy.values[::8]
    twice = xstxm.distinguishability(REFERENCES, counts=1000, energies=np.repeat(some, 2))
    expected = xstxm.distinguishability(REFERENCES, counts=2000, energies=some)
    np.testing.assert_allclose(twice.fraction_stderr, expected.fraction_stderr)


def test_i0__adds_its_noise():
    references, amounts = peaks(3, 15, 0), {"R0": 0.5, "R1": 0.2, "R2": 0.9}
    result = xstxm.distinguishability(references, counts=800, i0_counts=1600, amounts=amounts)
    covariance = by_hand(references, np.array([0.5, 0.2, 0.9]), 800, "constant", i0_counts=1600)
    np.testing.assert_allclose(result.amount_stderr, np.sqrt(np.diag(covariance)), rtol=1e-8)
    np.testing.assert_allclose(result.fraction, np.array([0.5, 0.2, 0.9]) / 1.6)


def test_counts__may_vary_over_energy():
    references = peaks(2, 12, 1)
    counts = xr.DataArray(
        np.linspace(900, 200, 12), coords={"energy": references.energy}, dims="energy", attrs={"units": "count"}
    )
    amounts = xr.DataArray([0.7, 0.4], dims="reference", coords={"reference": ["R0", "R1"]})
    result = xstxm.distinguishability(references, counts=counts, amounts=amounts)
    covariance = by_hand(references, amounts.values, counts.values, "constant")
    np.testing.assert_allclose(result.amount_stderr, np.sqrt(np.diag(covariance)), rtol=1e-8)


def test_amounts__have_units_and_any_order():
    given_as = dict.fromkeys(reversed(NAMES), "60 nm")
    result = xstxm.distinguishability(REFERENCES, counts=1000, amounts=given_as)
    np.testing.assert_allclose(result.amount, 60)
    array = xr.DataArray([0.06] * 4, dims="reference", coords={"reference": NAMES}, attrs={"units": "um"})
    np.testing.assert_allclose(xstxm.distinguishability(REFERENCES, counts=1000, amounts=array).amount, 60)


def test_sample__is_an_equal_mixture_of_optical_density_one_by_default():
    result = xstxm.distinguishability(REFERENCES, counts=1000)
    assert np.ptp(result.amount.values) == pytest.approx(0)
    density = result.amount.values @ REFERENCES.absorption.values
    assert density.max() == pytest.approx(1)


def test_sample__does_not_depend_on_the_energies():
    whole = xstxm.distinguishability(REFERENCES, counts=1000)
    for energies in (REFERENCES.energy[::20], [509, 512, 515, 517, 518.4, 520, 524, 530]):
        some = xstxm.distinguishability(REFERENCES, counts=1000, energies=energies)
        np.testing.assert_allclose(some.amount, whole.amount)


def nearly(step: float) -> xr.Dataset:
    """Return two references that differ by a small ripple."""
    energy = np.linspace(508, 530, 60)
    first = 0.1 + np.exp(-(((energy - 518) / 3) ** 2))
    return xstxm.reference_set({"a": (energy, first), "n": (energy, first * (1 + step * np.sin(2 * energy)))})


def test_references__that_no_dose_tells_apart_are_warned_of():
    with pytest.warns(
        CollinearityWarning, match=r"'a' and 'n' are so nearly .*\(condition number \de\+06\).*: leave out 'n'"
    ):
        xstxm.distinguishability(nearly(1e-6), counts=1000)
    od = nearly(1e-6).absorption.isel(reference=0, drop=True).expand_dims(y=2, x=3).astype("float32")
    with pytest.warns(CollinearityWarning, match="no realistic number of counts"):
        xstxm.fit(od.transpose("energy", "y", "x"), nearly(1e-6))
    near = xstxm.distinguishability(nearly(1e-3), counts=1000)  # without a warning
    assert 3e3 < float(near.condition_number) < 1e4


@pytest.mark.parametrize("seed", [0, 1])
def test_counts__simulated_and_fitted_with_their_weights_spread_as_expected(seed):
    energies = REFERENCES.energy.values[10:100:4]
    result = xstxm.distinguishability(REFERENCES, counts=5000, energies=energies)
    spectra = REFERENCES.absorption.sel(energy=energies).values
    density = result.amount.values @ spectra
    rng = np.random.default_rng(seed)
    noisy = -np.log(rng.poisson(5000 * np.exp(-density), (4000, energies.size)) / 5000)
    design = np.vstack([spectra, np.ones(energies.size)]).T
    weight = np.exp(-density / 2)
    fitted = np.linalg.lstsq(design * weight[:, None], (noisy * weight).T, rcond=None)[0][:4]
    np.testing.assert_allclose(fitted.std(1), result.amount_stderr, rtol=0.1)
    np.testing.assert_allclose(np.corrcoef(fitted), result.amount_correlation, atol=0.06)
    np.testing.assert_allclose((fitted / fitted.sum(0)).std(1), result.fraction_stderr, rtol=0.1)


def test_worst_pair__are_the_twins():
    energy = np.linspace(500, 520, 30)
    peak = {
        name: (energy, np.exp(-(((energy - at) / 3) ** 2))) for name, at in {"P": 504, "Q": 512.0, "T": 512.4}.items()
    }
    result = xstxm.distinguishability(xstxm.reference_set(peak), counts=1000)
    assert result.attrs["worst_pair"] == "Q and T"
    assert float(result.pair_stderr.sel(reference="Q", other_reference="T")) == float(result.pair_stderr.max())
    assert "worst pair Q and T" in result.attrs["history"]


def test_condition_number__is_that_of_spectra_of_unit_length():
    references = peaks(3, 15, 2)
    design = np.vstack([references.absorption.values, np.ones(15)])
    expected = np.linalg.cond((design / np.linalg.norm(design, axis=1, keepdims=True)).T)
    found = xstxm.distinguishability(references, counts=10).condition_number
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_single_reference__has_an_error_and_no_pair():
    result = xstxm.distinguishability(REFERENCES.isel(reference=[0]), counts=1000)
    assert "worst_pair" not in result.attrs
    assert float(result.fraction_stderr[0]) == 0 < float(result.amount_stderr[0])


def test_result__conforms_and_makes_a_table():
    result = REFERENCES.stxm.distinguishability(counts=1000)
    xstxm.testing.assert_conforms(result, "distinguishability")
    assert result.composition.values.tolist() == [0.0, 0.4, 1.0, 1.0]
    table = result[["amount_stderr", "fraction_stderr"]].to_dataframe()
    assert table.index.tolist() == NAMES
    assert len(result.to_dataframe()) == 16


def test_energies__are_by_default_those_that_all_references_reach():
    ends = {"A": np.linspace(500, 515, 31), "B": np.linspace(504, 520, 33)}
    spectra = {name: (grid, np.exp(-(((grid - 509) / (k + 2)) ** 2))) for k, (name, grid) in enumerate(ends.items())}
    result = xstxm.distinguishability(xstxm.reference_set(spectra), counts=1000)
    expected = xstxm.distinguishability(xstxm.reference_set(spectra), counts=1000, energies=np.linspace(504, 515, 23))
    np.testing.assert_allclose(result.fraction_stderr, expected.fraction_stderr, rtol=1e-8)
    assert "energies from 504 to 515 eV" in result.attrs["history"]


def wrong(references=REFERENCES, counts=1000, **options):
    return lambda: xstxm.distinguishability(references, counts=counts, **options)


def changed(values, **attrs) -> xr.Dataset:
    absorption = REFERENCES.absorption.copy(data=values)
    return REFERENCES.assign(absorption=absorption.assign_attrs(attrs))


ABSORPTION = REFERENCES.absorption.values
BAD = {
    "collinear references": (
        wrong(changed(np.vstack([ABSORPTION[:3], ABSORPTION[0] + 2 * ABSORPTION[1]]))),
        ReferenceSpectrumError,
        "cannot be told apart",
    ),
    "fewer energies than unknowns": (
        wrong(energies=[515, 518, 520]),
        ReferenceSpectrumError,
        "needs at least 6 energies, there are 3: ",
    ),
    "all-zero references": (
        wrong(changed(0 * ABSORPTION)),
        ReferenceSpectrumError,
        "zero at all energies from 508-560 eV",
    ),
    "references that absorb nothing": (
        wrong(changed(-ABSORPTION)),
        ReferenceSpectrumError,
        "give the sample as amounts=",
    ),
    "units of no absorption": (wrong(changed(ABSORPTION, units="nm")), IncompatibleUnitsError, "references are in '1'"),
    "energies beyond the references": (
        wrong(energies=[400, *range(515, 525)]),
        EnergyRangeError,
        "the energies 400-524 eV: take those from 508 to 560 eV",
    ),
    "energies in another unit": (wrong(energies=["3 nm", "5 um"] * 4), EnergyRangeError, "references cover"),
    "a wavelength that is a length": (wrong(energies=["5 kg"] * 8), IncompatibleUnitsError, "'kg'"),
    "energies that are a word": (wrong(energies="515 eV"), OptionError, "give a list of energies"),
    "no counts": (wrong(counts=0), OptionError, "above 0"),
    "counts in ms": (
        wrong(counts=xr.DataArray(5.0, attrs={"units": "ms"})),
        IncompatibleUnitsError,
        "does not convert to 'count'",
    ),
    "counts of every pixel": (
        wrong(counts=xr.DataArray(np.ones((2, 3)), dims=("y", "x"), attrs={"units": "count"})),
        OptionError,
        "counts along energy",
    ),
    "counts that vanish": (
        wrong(counts=xr.DataArray(0.0 * ABSORPTION[0], coords={"energy": REFERENCES.energy}, attrs={"units": "count"})),
        OptionError,
        "counts above zero at every energy",
    ),
    "counts of some energies": (
        wrong(counts=xr.DataArray([9.0, 9.0], coords={"energy": REFERENCES.energy[:2]}, attrs={"units": "count"})),
        EnergyRangeError,
        "counts covers 508-509 eV, the energies 508-560 eV: give counts over the whole range",
    ),
    "an amount of no reference": (wrong(amounts={"iron": 1}), OptionError, "one amount for each reference"),
    "amounts without names": (
        wrong(amounts=[60, 40, 0, 0]),
        OptionError,
        r"by its name, \{'alpha-V2O5': ..., 'epsilon-Li0.4V2O5': ...",
    ),
    "no amount": (wrong(amounts=dict.fromkeys(NAMES, 0)), OptionError, "one is above zero"),
    "a negative amount": (wrong(amounts=dict.fromkeys(NAMES, -1)), OptionError, "amounts are not negative"),
    "an amount in other units": (wrong(amounts=dict.fromkeys(NAMES, "1 eV")), IncompatibleUnitsError, "'eV'"),
    "amounts beyond the sum": (
        wrong(amounts=dict.fromkeys(NAMES, 1), method="fcls"),
        OptionError,
        "the amounts add up to one",
    ),
    "a stack": (
        wrong(xstxm.testing.simulate_stack(shape=(4, 5), seed=0)),
        MissingVariableError,
        "xstxm.reference_set",
    ),
    "an array": (wrong(REFERENCES.absorption), SchemaError, "pass a reference set"),
    "an unknown method": (wrong(method="bvls"), ValueError, "unknown method 'bvls'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input__says_what_is_wrong(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
