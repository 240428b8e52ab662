from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm import testing
from xstxm._kernels import matching as kernel
from xstxm._kernels import propagation
from xstxm.conventions import NO_SAMPLE, UNDECIDED
from xstxm.errors import (
    AlignmentWarning,
    MissingDimensionError,
    MissingVariableError,
    OptionError,
    SchemaError,
    UnitsError,
)
from xstxm.matching import at_resolution

PSFS = {"fine_psf": "10 nm", "psf": "50 nm"}
FWHM = np.sqrt(8 * np.log(2))


def axes(shape, step, start=(0.0, 0.0)):
    return {d: (d, s + step * np.arange(n), {"units": "um"}) for d, n, s in zip("yx", shape, start, strict=True)}


def phases_of(fractions, total, step=0.008, *, error=0.02, min_amount=5.0, start=(0.0, 0.0), composition=(0.0, 1.0)):
    """Return a phase map of given fractions (phase, y, x) and amounts (y, x)."""
    names = ["alpha", "beta", "gamma"][: len(fractions)]
    sample = total >= min_amount
    held = np.where(sample, fractions, np.nan)
    maps = {
        "phase_fraction": (("phase", "y", "x"), held, {"units": "1"}),
        "phase_fraction_stderr": (("phase", "y", "x"), np.where(sample, error, np.nan) + 0 * held, {"units": "1"}),
        "total_amount": (("y", "x"), total, {"units": "nm"}),
        "min_amount": ((), min_amount, {"units": "nm"}),
        "phase_label": (("y", "x"), np.where(sample, held.argmax(0), NO_SAMPLE).astype(np.int16)),
        "confidence": (("y", "x"), np.where(sample, 1.0, np.nan), {"units": "1"}),
    }
    if len(fractions) == len(composition):
        maps["composition"] = (
            ("y", "x"),
            np.tensordot(composition, held, 1),
            {"units": "1", "long_name": "x in LixV2O5"},
        )
        maps["composition_stderr"] = (("y", "x"), np.where(sample, error, np.nan), {"units": "1"})
    return xr.Dataset(maps, {"phase": names, **axes(total.shape, step, start)})


@pytest.fixture(scope="module")
def smooth():
    """Return the fractions and the amounts of a fine map that varies smoothly, with an empty part."""
    y, x = np.mgrid[:120, :160] * 0.008
    second = 0.5 + 0.3 * np.sin(9 * x) * np.cos(11 * y)
    total = 60 + 20 * np.cos(6 * x + 5 * y)
    total[:, 130:] = 0.0
    return np.stack([1 - second, second]), total


@pytest.fixture(scope="module")
def coarse_like():
    """Return a coarse map of nothing but its pixels and its least amount."""
    total = np.full((40, 50), 60.0)
    return phases_of(np.full((2, 40, 50), 0.5), total, 0.04, start=(-0.2, -0.3))


@pytest.fixture(scope="module")
def tree():
    """Return two fields and their details, with many counts and wrong stage coordinates."""
    instruments = {
        "electrode": None,
        "field": testing.Instrument("40 nm", "50 nm", 5e4),
        "detail": testing.Instrument("8 nm", "10 nm", 3e4),
    }
    return testing.simulate_tree(n_fields=2, field_size="4 um", seed=11, stage_error="0.15 um", **instruments)


@pytest.fixture(scope="module")
def stacks(tree):
    return {name: xstxm.optical_density(xstxm.with_variance(node.to_dataset())) for name, node in tree.children.items()}


def phases_in(stack):
    """Return the phase map of a stack with the references it was made of, at its very energies."""
    references = testing.simulate_references(energies=stack.energy).sel(reference=["alpha-V2O5", "delta-LiV2O5"])
    return xstxm.phase_map(stack, references)


def true_shift(tree, fine, coarse):
    return {d: float(tree[fine][f"true_stage_shift_{d}"] - tree[coarse][f"true_stage_shift_{d}"]) for d in "yx"}


def brightness(stack):
    return np.exp(-stack.optical_density).mean("energy")


# The kernel


@settings(max_examples=50, deadline=None)
@given(
    fine=st.floats(0.2, 1.0),
    coarse=st.floats(1.0, 6.0),
    deviation=st.one_of(st.just(0.0), st.floats(0.05, 4.0)),
    place=st.floats(-3, 3),
)
def test_pixel_weights__add_up_to_one_around_the_place(fine, coarse, deviation, place):
    at = fine * np.arange(-200, 201)
    weights = kernel.pixel_weights(at, np.array([place]), fine, coarse, deviation)[0]
    assert (weights >= -1e-12).all()
    assert weights.sum() == pytest.approx(1)
    if deviation >= fine:
        assert weights @ at == pytest.approx(place, abs=1e-6)
        assert weights @ (at - place) ** 2 == pytest.approx(deviation**2 + (coarse**2 + fine**2) / 12, abs=1e-5)
    else:
        assert weights @ at == pytest.approx(place, abs=fine / 2)


def test_pixel_weights__are_shares_of_area_without_a_blur():
    weights = kernel.pixel_weights(np.arange(10.0), np.array([2.25, 5.75]), 1.0, 2.5, 0.0)
    np.testing.assert_allclose(weights[0], np.array([0, 0.5, 1, 1, 0, 0, 0, 0, 0, 0]) / 2.5)
    np.testing.assert_allclose(weights[1], np.array([0, 0, 0, 0, 0, 1, 1, 0.5, 0, 0]) / 2.5)


def test_correlations__are_those_of_numpy_at_each_offset():
    rng = np.random.default_rng(0)
    image, template = rng.normal(3, 1, (17, 15)), rng.normal(100, 1, (6, 5))
    template[:, 2:] += image[4:10, 7:10]
    image[5, 6], template[0, 0] = np.nan, np.nan
    found = kernel.correlations(template, image)
    for row, column in ((4, 5), (0, 0), (11, 10)):
        part = image[row : row + 6, column : column + 5]
        both = np.isfinite(part) & np.isfinite(template)
        expected = np.corrcoef(part[both], template[both])[0, 1]
        assert found[row + 5, column + 4] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(found[0, 0]), "one pixel in common"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 5))
def test_least_confidence__is_a_lower_bound_and_exact_for_two(seed, n):
    rng = np.random.default_rng(seed)
    fraction = rng.dirichlet(np.ones(n))
    half = rng.normal(size=(n, 3)) * 0.1
    half -= half.mean(0)  # fractions add up to one
    covariance = half @ half.T
    error = np.sqrt(np.diag(covariance))
    at = np.array(fraction.argmax())
    exact = float(propagation.chance_of_largest(fraction[None], covariance[None], at[None])[0])
    found = float(kernel.least_confidence(fraction, error))
    assert found <= exact + 0.02, "the exact one approximates too"
    if n == 2:
        assert found == pytest.approx(exact, abs=1e-9)


# Phase maps at another resolution


def test_at_resolution__is_a_gaussian_and_a_mean_over_pixels(smooth, coarse_like):
    """The amounts, blurred by scipy on the fine pixels and averaged over aligned blocks of five."""
    from scipy.ndimage import gaussian_filter

    fractions, total = smooth
    fine = phases_of(fractions, total, start=(-0.2 - 0.016, -0.3 - 0.016))
    found = at_resolution(fine, coarse_like, shift=None, **PSFS)
    sigma = np.sqrt(0.05**2 - 0.01**2) / FWHM / 0.008
    amounts = gaussian_filter(fractions * total, (0, sigma, sigma)).reshape(2, 24, 5, 32, 5).mean((2, 4))
    rows, columns = ((found[d] - coarse_like[d][0]).values / 0.04 for d in "yx")
    expected = amounts[:, np.rint(rows).astype(int)][:, :, np.rint(columns).astype(int)]
    assert 18 <= found.sizes["y"] <= 22
    np.testing.assert_allclose(found.total_amount, expected.sum(0), atol=0.02)
    inside = found.phase_label.values != NO_SAMPLE
    shares = expected[:, inside] / expected.sum(0)[inside]
    np.testing.assert_allclose(found.phase_fraction.values[:, inside], shares, atol=2e-4)
    np.testing.assert_allclose(found.composition.values[inside], shares[1], atol=2e-4)
    assert np.isnan(found.composition.values[~inside]).all()
    assert (~inside).sum() > 10


def test_at_resolution__conforms_and_keeps_what_belongs_to_the_phases(smooth, coarse_like):
    fine = phases_of(*smooth).assign_coords(color=("phase", ["#000000", "#ffffff"])).assign_attrs(sample="grains")
    found = at_resolution(fine, coarse_like, shift=None, **PSFS)
    testing.assert_conforms(found.assign(phase_spectra=spectra_of(found)), "phase_map")
    assert found.color.values.tolist() == ["#000000", "#ffffff"]
    assert found.composition.attrs["long_name"] == "x in LixV2O5"
    assert found.attrs["sample"] == "grains"
    assert xstxm.history(found).operation.tolist() == ["at_resolution"]
    np.testing.assert_allclose(found.phase_fraction.sum("phase", skipna=False).fillna(1), 1)
    for dim in "yx":
        assert np.isin(found[dim], coarse_like[dim]).all()


def spectra_of(found):
    energy = xr.DataArray([510.0, 520.0], dims="energy", attrs={"units": "eV"})
    spectra = xr.DataArray(np.ones((2, 2)), dims=("phase", "energy"), attrs={"units": "1/nm"})
    return spectra.assign_coords(energy=energy, phase=found.phase)


def test_at_resolution__weights_with_the_amount_not_the_area(coarse_like):
    """Half of the sample is thick and pure, half is thin and of the other phase: three quarters of the amount is the first's."""
    stripes = (np.arange(160) // 5 % 2)[None].repeat(120, 0)
    fine = phases_of(np.stack([1.0 - stripes, stripes]), np.where(stripes, 30.0, 90.0))
    found = at_resolution(fine, coarse_like, shift=None, fine_psf="10 nm", psf="200 nm")
    np.testing.assert_allclose(found.composition, 0.25, atol=0.0025)
    np.testing.assert_allclose(found.total_amount, 60, rtol=0.005)


@pytest.mark.parametrize("change", ["flipped", "coarse flipped", "nm", "transposed", "percent"])
def test_at_resolution__does_not_care_how_a_map_is_written(smooth, coarse_like, change):
    fine, coarse = phases_of(*smooth), coarse_like
    expected = at_resolution(fine, coarse, shift=None, **PSFS)
    if change == "flipped":
        fine = fine.isel(y=slice(None, None, -1))
    elif change == "coarse flipped":
        coarse = coarse.isel(x=slice(None, None, -1))
    elif change == "nm":
        fine = fine.assign_coords({d: (d, fine[d].values * 1e3, {"units": "nm"}) for d in "yx"})
    elif change == "transposed":
        fine = fine.transpose("x", "y", "phase")
    else:
        fine["composition"] = (fine.composition * 100).assign_attrs(units="percent")
    found = at_resolution(fine, coarse, shift=None, **PSFS)
    if change == "percent":
        found["composition"] = found.composition / 100
    xr.testing.assert_allclose(found.sortby(["y", "x"]), expected.transpose(*found.phase_fraction.dims, ...), atol=1e-9)


def test_at_resolution__errors_are_those_of_many_draws(smooth, coarse_like):
    rng, (fractions, total) = np.random.default_rng(1), smooth
    fine = phases_of(fractions, total, error=0.05)
    found = []
    for _ in range(60):
        noise = rng.normal(0, 0.05, total.shape)
        noisy = phases_of(fractions + np.stack([-noise, noise]), total, error=0.05)
        found.append(at_resolution(noisy, coarse_like, shift=None, **PSFS))
    told = at_resolution(fine, coarse_like, shift=None, **PSFS)
    for name in ("composition", "phase_fraction"):
        scatter = xr.concat([one[name] for one in found], "draw").std("draw", ddof=1)
        ratio = scatter / told[f"{name}_stderr"]
        assert float(ratio.mean()) == pytest.approx(1, abs=0.02), name
    every = xr.concat([one.composition - told.composition for one in found], "draw")
    lag = float((every * every.shift(x=1)).mean() / (every**2).mean())
    assert lag == pytest.approx(float(told.noise_correlation.sel(lag_y=0, lag_x=1)), abs=0.03)
    assert 0.4 < lag < 0.6


def test_at_resolution__labels_follow_the_new_fractions(smooth, coarse_like):
    found = at_resolution(phases_of(*smooth, error=0.2), coarse_like, shift=None, **PSFS)
    largest = found.phase_fraction.fillna(-1).argmax("phase")
    decided = found.phase_label >= 0
    assert bool((found.phase_label == largest).where(decided, True).all())
    assert bool((found.confidence >= 0.95).where(decided, True).all())
    assert bool((found.confidence < 0.95).where(found.phase_label == UNDECIDED, True).all())
    assert {-2, -1, 0, 1} == set(np.unique(found.phase_label))
    first = found.phase_fraction.isel(phase=0) - 0.5
    score = abs(first) / found.phase_fraction_stderr.isel(phase=0)
    from scipy.stats import norm

    np.testing.assert_allclose(found.confidence.where(first.notnull()), norm.cdf(score), atol=1e-6)


def test_at_resolution__pixels_that_are_not_measured_are_left_out(smooth, coarse_like):
    fractions, total = smooth
    expected = at_resolution(phases_of(fractions, total), coarse_like, shift=None, **PSFS)
    broken = total.copy()
    broken[40:70, 40:70] = np.nan
    found = at_resolution(phases_of(fractions, broken), coarse_like, shift=None, **PSFS)
    gone = found.total_amount.isnull()
    assert 4 <= int(gone.sum()) <= 49
    assert set(np.unique(found.phase_label.values[gone])) == {UNDECIDED}
    assert bool((found.quality.values[gone] == 32).all())
    unknown = phases_of(fractions, total)
    unknown["composition_stderr"][50, 50] = np.nan
    lost = at_resolution(unknown, coarse_like, shift=None, **PSFS).composition_stderr.isnull()
    assert 4 <= int((lost & expected.composition_stderr.notnull()).sum()) <= 49
    far = (abs(found.y - 0.44) > 0.25) | (abs(found.x - 0.44) > 0.25)
    xr.testing.assert_allclose(found.composition.where(far), expected.composition.where(far))


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.01, 0.99), amount=st.floats(10, 90), y=st.floats(-0.1, 0.1), x=st.floats(-0.1, 0.1))
def test_at_resolution__leaves_an_even_map_as_it_is(share, amount, y, x):
    fine = phases_of(
        np.array([1 - share, share])[:, None, None] * np.ones((1, 80, 90)), np.full((80, 90), amount), start=(y, x)
    )
    coarse = phases_of(np.full((2, 20, 30), 0.5), np.full((20, 30), 60.0), 0.04, start=(-0.2, -0.3))
    found = at_resolution(fine, coarse, shift=None, **PSFS)
    np.testing.assert_allclose(found.composition, share, rtol=1e-9)
    np.testing.assert_allclose(found.total_amount, amount, rtol=1e-9)


# Stacks at another resolution


def test_at_resolution__averages_light():
    """A fine stack without noise is what the coarse instrument shows of the same place, steep edges and all."""
    sharp = {"electrode": None, "noise": False, "energies": [510.0, 518.4]}
    made = testing.simulate_tree(n_fields=1, field_size="4 um", seed=2, **sharp)
    fine, coarse = (od_of(made[name]) for name in ("detail 1", "field 1"))
    found = at_resolution(fine, coarse, shift=None, **PSFS)
    here = coarse.optical_density.sel(y=found.y, x=found.x)
    assert float(here.max() - here.min()) > 0.8
    assert found.optical_density.dims == ("energy", "y", "x")
    difference = (found.optical_density - here).isel(energy=1)
    assert float(abs(difference).max()) < 0.1
    assert float(difference.std()) < 0.01
    naive = fine.optical_density.sel(y=found.y, x=found.x, method="nearest").assign_coords(y=found.y, x=found.x)
    assert float((naive - here).isel(energy=1).std()) > 10 * float(difference.std())


def od_of(node):
    stack = node.to_dataset()
    return stack.assign(optical_density=(-np.log(stack.intensity / stack.true_i0)).assign_attrs(units="1"))


def test_at_resolution__of_counts_makes_the_optical_density_first(tree):
    fine, coarse = (tree[name].to_dataset() for name in ("detail 1", "field 1"))
    found = at_resolution(fine, coarse, shift=None, **PSFS)
    expected = at_resolution(xstxm.optical_density(fine), xstxm.optical_density(coarse), shift=None, **PSFS)
    xr.testing.assert_allclose(found.optical_density, expected.optical_density)


def test_at_resolution__variance_is_that_of_many_draws():
    rng, shape = np.random.default_rng(0), (60, 70)
    clean = 1 + 0.5 * np.sin(np.arange(70) / 9) * np.ones(shape)
    coarse = stack_of(np.ones((14, 16)), 0.04)
    found = [
        at_resolution(stack_of(clean + rng.normal(0, 0.1, shape), 0.008, 0.01), coarse, shift=None, **PSFS)
        for _ in range(80)
    ]
    scatter = xr.concat([one.optical_density for one in found], "draw").var("draw", ddof=1)
    ratio = (scatter / found[0].optical_density_variance).mean()
    assert float(ratio) == pytest.approx(1, abs=0.1)


def stack_of(density, step, variance=None):
    held = {"optical_density": (("energy", "y", "x"), density[None], {"units": "1"})}
    if variance is not None:
        held["optical_density_variance"] = (("energy", "y", "x"), np.full_like(density, variance)[None], {"units": "1"})
    energy = ("energy", [518.4], {"units": "eV"})
    return xr.Dataset(held, {"energy": energy, **axes(density.shape, step, (0.02, 0.02))})


# Two instruments


@pytest.mark.parametrize("k", [1, 2])
def test_match_resolution__field_and_detail_disagree_before_and_agree_after(tree, stacks, k):
    fine, coarse = stacks[f"detail {k}"], stacks[f"field {k}"]
    matched = xstxm.match_resolution(fine, coarse, **PSFS)
    density = matched["agreement/optical_density"]
    assert 0.03 < float(density.share_beyond.mean()) < 0.1
    after = [phases_in(matched[name].to_dataset()) for name in ("fine", "coarse")]
    found = xstxm.bland_altman(*after, noise_correlation=matched["fine"].noise_correlation)
    assert int(found.n_differences) > 300
    assert abs(float(found.bias)) < 3 * float(found.bias_stderr) < 0.005
    assert 0.02 < float(found.share_beyond) < 0.09

    place = true_shift(tree, f"detail {k}", f"field {k}")
    moved = fine.assign_coords({d: fine[d] + place[d] for d in "yx"})
    naive = moved.sel(y=after[1].y, x=after[1].x, method="nearest").assign_coords(y=after[1].y, x=after[1].x)
    before = xstxm.bland_altman(naive, matched["coarse"].to_dataset(), signal="optical_density")
    assert float(before.share_beyond.mean()) > 3 * float(density.share_beyond.mean())
    assert float(before.difference_rms.mean()) > 3 * float(density.difference_rms.mean())


def test_match_resolution__of_phase_maps_compares_labels_amounts_and_composition(tree, stacks):
    fine, coarse = (phases_in(stacks[name]) for name in ("detail 2", "field 2"))
    matched = xstxm.match_resolution(fine, coarse, **PSFS)
    assert list(matched) == ["fine", "coarse", "agreement"]
    assert list(matched["agreement"]) == ["phases", "composition", "total_amount"]
    testing.assert_conforms(matched["agreement/phases"].to_dataset(), "compare")
    testing.assert_conforms(matched["agreement/total_amount"].to_dataset(), "bland_altman")
    testing.assert_conforms(matched["fine"].to_dataset(), "phase_map")
    composition = matched["agreement/composition"]
    # amounts are not what an instrument averages: the bias of edges is small, and larger than noise
    assert abs(float(composition.bias)) < 0.01
    assert float(composition.share_beyond) < 0.15
    assert float(matched["agreement/total_amount"].map_correlation) > 0.99
    assert float(matched["agreement/phases"].agreement) > 0.95
    assert matched["coarse"].sizes["y"] == matched["fine"].sizes["y"] < coarse.sizes["y"]
    assert "match" not in str(matched["coarse"].attrs.get("history"))
    assert xstxm.history(matched["agreement/composition"].to_dataset()).operation.tolist()[-1] == "bland_altman"
    assert xstxm.history(matched["fine"].to_dataset()).operation.tolist()[-1] == "at_resolution"


def test_match_resolution__takes_a_shift_that_was_found_before(tree, stacks):
    fine, coarse = stacks["detail 1"], stacks["field 1"]
    place = xstxm.locate(brightness(fine), brightness(coarse), **PSFS)
    given, found = (xstxm.match_resolution(fine, coarse, shift=shift, **PSFS) for shift in (place, "estimate"))
    xr.testing.assert_allclose(given["fine"].to_dataset(), found["fine"].to_dataset())
    wrong = xstxm.match_resolution(fine, coarse, shift=None, **PSFS)
    assert float(wrong["agreement/optical_density"].difference_rms.mean()) > 5 * float(
        found["agreement/optical_density"].difference_rms.mean()
    )


def test_match_resolution__names_phases_as_told(smooth, coarse_like):
    other = coarse_like.assign_coords(phase=["A", "B"])
    found = xstxm.match_resolution(phases_of(*smooth), other, shift=None, phases={"A": "alpha", "B": "beta"}, **PSFS)
    assert found["agreement/phases"].attrs["matched"] == "A: alpha; B: beta"
    with pytest.raises(OptionError, match="pass phases="):
        xstxm.match_resolution(phases_of(*smooth), other, shift=None, **PSFS)


def test_match_resolution__of_stacks_on_other_energies_compares_nothing(stacks):
    fine, coarse = stacks["detail 1"], stacks["field 1"].isel(energy=slice(3, None))
    assert list(xstxm.match_resolution(fine, coarse, shift=None, **PSFS)) == ["fine", "coarse"]


def test_match_resolution__is_lazy_where_the_place_is_given(smooth, coarse_like, stacks):
    for fine, coarse in (
        (phases_of(*smooth), coarse_like),
        (stacks["detail 1"], stacks["field 1"]),
    ):
        expected = xstxm.match_resolution(fine, coarse, shift=None, **PSFS)
        with raise_if_dask_computes():
            found = xstxm.match_resolution(fine.chunk(y=32), coarse.chunk(x=16), shift=None, **PSFS)
        for node in ("fine", "coarse", *(f"agreement/{name}" for name in expected["agreement"])):
            one, other = (made[node].to_dataset().drop_attrs() for made in (found, expected))
            xr.testing.assert_allclose(one.compute(), other)


def test_at_resolution__keeps_float32(stacks):
    found = at_resolution(stacks["detail 1"], stacks["field 1"], shift=None, **PSFS)
    assert found.optical_density.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param(
            {"fine_psf": "60 nm"},
            OptionError,
            "the fine map has 60 nm, and a map is not made sharper",
            id="swapped psf",
        ),
        pytest.param({"psf": "50 eV"}, UnitsError, "psf is in 'eV'", id="psf in eV"),
        pytest.param({"shift": "guess"}, xstxm.errors.ChoiceError, "unknown shift 'guess'", id="unknown shift"),
        pytest.param({"shift": xr.Dataset()}, MissingVariableError, "pass a result of xstxm.locate", id="empty shift"),
    ],
)
def test_at_resolution__refuses_options(smooth, coarse_like, options, error, message):
    with pytest.raises(error, match=message):
        at_resolution(phases_of(*smooth), coarse_like, **PSFS | {"shift": None} | options)


def test_at_resolution__refuses_maps_that_do_not_fit(smooth, coarse_like):
    fine = phases_of(*smooth)
    with pytest.raises(
        SchemaError, match=r"pixels of 40 nm along 'y', the coarse one of 8 nm: the map of the smaller pixels"
    ):
        at_resolution(coarse_like, fine, shift=None, **PSFS)
    with pytest.raises(SchemaError, match="compare them as they are"):
        at_resolution(fine, fine, shift=None, fine_psf="10 nm", psf="10 nm")
    away = fine.assign_coords(y=fine.y + 30)
    with pytest.raises(SchemaError, match=r"covers y from 30 to 30\.95 um and x from .* the coarse one y from -0\.2"):
        at_resolution(away, coarse_like, shift=None, **PSFS)
    with pytest.raises(MissingVariableError, match="pass two phase maps, or two stacks"):
        at_resolution(fine, stack_of(np.ones((20, 20)), 0.04), shift=None, **PSFS)
    with pytest.raises(MissingVariableError, match="pass results of phase_map, or stacks"):
        at_resolution(fine[["composition"]], coarse_like, shift=None, **PSFS)
    with pytest.raises(MissingVariableError, match="'total_amount' is missing"):
        at_resolution(fine.drop_vars("total_amount"), coarse_like, shift=None, **PSFS)
    with pytest.raises(SchemaError, match="pass the whole Dataset"):
        at_resolution(fine.composition, coarse_like.composition, shift=None, **PSFS)
    uneven = fine.assign_coords(x=("x", fine.x.values**2, {"units": "um"}))
    with pytest.raises(SchemaError, match="not evenly spaced"):
        at_resolution(uneven, coarse_like, shift=None, **PSFS)


# The place of a field


@pytest.mark.parametrize("k", [1, 2])
def test_locate__finds_the_stage_error_of_a_field(tree, stacks, k):
    """Light is what instruments average: the place is right to a hundredth of a pixel, and the error says so."""
    truth = true_shift(tree, f"detail {k}", f"field {k}")
    found = xstxm.locate(brightness(stacks[f"detail {k}"]), brightness(stacks[f"field {k}"]), **PSFS)
    testing.assert_conforms(found, "locate")
    for dim in "yx":
        away, error = float(found[f"shift_{dim}"]) - truth[dim], float(found[f"shift_{dim}_stderr"])
        assert abs(truth[dim]) > 0.001
        assert abs(away) < 4 * error
        assert error < 0.0004
        assert found[f"shift_{dim}"].attrs["units"] == "um"
    assert float(found.correlation) > 0.99 > float(found.rival_correlation)
    assert float(found.overlap_share) == 1


def test_locate__of_phase_maps_is_right_to_a_tenth_of_a_pixel(tree, stacks):
    fine, coarse = (phases_in(stacks[name]) for name in ("detail 1", "field 1"))
    truth = true_shift(tree, "detail 1", "field 1")
    with_blur, without = xstxm.locate(fine, coarse, **PSFS), xstxm.locate(fine, coarse)
    for dim in "yx":
        assert float(with_blur[f"shift_{dim}"]) == pytest.approx(truth[dim], abs=0.004)
        assert float(without[f"shift_{dim}"]) == pytest.approx(truth[dim], abs=0.004)
    assert float(with_blur.correlation) > float(without.correlation)


def patterns(shape=(70, 80), seed=0):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)


def image(values, step, start=(0.0, 0.0)):
    return xr.DataArray(values, dims=("y", "x"), coords=axes(values.shape, step, start), attrs={"units": "1"})


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(y=st.floats(-0.3, 0.3), x=st.floats(-0.3, 0.3), gain=st.floats(0.1, 10), flip=st.booleans(), nm=st.booleans())
def test_locate__undoes_any_move(y, x, gain, flip, nm):
    coarse = image(patterns(), 0.04)
    inner = coarse.interp(y=np.arange(0.8, 1.9, 0.01), x=np.arange(0.9, 2.195, 0.01), method="cubic")
    fine = gain * inner + 3
    fine = fine.assign_coords({d: (d, fine[d].values - s, {"units": "um"}) for d, s in (("y", y), ("x", x))})
    if flip:
        coarse, fine = coarse.isel(y=slice(None, None, -1)), fine.isel(x=slice(None, None, -1))
    if nm:
        fine = fine.assign_coords({d: (d, fine[d].values * 1e3, {"units": "nm"}) for d in "yx"})
    found = xstxm.locate(fine, coarse, max_shift="0.5 um")
    assert float(found.shift_y) == pytest.approx(y, abs=0.003)
    assert float(found.shift_x) == pytest.approx(x, abs=0.003)
    low, high = np.sort(found.outline_x)[[0, -1]]
    assert (low, high) == pytest.approx((0.895, 2.195), abs=0.004)


def test_locate__of_a_field_that_sticks_out_is_found_by_what_lies_inside():
    whole = patterns((90, 90))
    coarse = image(whole[:, 20:], 0.04, (0.0, 0.8))
    inner = image(whole, 0.04).interp(y=np.arange(1.0, 2.2, 0.01), x=np.arange(0.4, 1.9, 0.01), method="cubic")
    fine = inner.assign_coords({d: (d, inner[d].values - 0.1, {"units": "um"}) for d in "yx"})
    found = xstxm.locate(fine, coarse, max_shift=0.3)
    assert float(found.shift_y) == pytest.approx(0.1, abs=0.003)
    assert float(found.overlap_share) == pytest.approx(1 - 0.385 / 1.5, abs=0.01)


def test_locate__leaves_nan_out():
    coarse = image(patterns(), 0.04)
    fine = coarse.interp(y=np.arange(0.8, 1.9, 0.01), x=np.arange(0.9, 2.195, 0.01), method="cubic")
    fine = fine.assign_coords({d: (d, fine[d].values - 0.1, {"units": "um"}) for d in "yx"})
    holes = fine.where((fine.y < 1.1) | (fine.y > 1.3)), coarse.where(coarse.x != coarse.x[35])
    found = xstxm.locate(*holes, max_shift=0.3)
    assert float(found.shift_x) == pytest.approx(0.1, abs=0.003)


def test_locate__warns_where_nothing_correlates():
    fine = image(patterns((110, 130), 5), 0.01, (0.8, 0.9))
    with pytest.warns(AlignmentWarning, match="they may show different places"):
        xstxm.locate(fine, image(patterns(), 0.04), max_shift="0.1 um")


def test_locate__warns_at_the_limit_of_the_search():
    coarse = image(patterns(), 0.04)
    fine = coarse.interp(y=np.arange(0.8, 1.9, 0.01), x=np.arange(0.9, 2.195, 0.01), method="cubic")
    fine = fine.assign_coords({d: (d, fine[d].values - 0.1, {"units": "um"}) for d in "yx"})
    with pytest.warns(AlignmentWarning, match="as far away as max_shift allows"):
        xstxm.locate(fine, coarse, max_shift="80 nm")


@pytest.mark.parametrize("reach", [0, "40 nm"])
def test_locate__ends_at_the_limit_where_the_place_is_pixels_beyond_it(reach):
    coarse = image(patterns(), 0.04)
    fine = coarse.interp(y=np.arange(0.8, 1.9, 0.01), x=np.arange(0.9, 2.195, 0.01), method="cubic")
    fine = fine.assign_coords({d: (d, fine[d].values - 0.11, {"units": "um"}) for d in "yx"})
    with pytest.warns(AlignmentWarning):
        found = xstxm.locate(fine, coarse, max_shift=reach)
    assert max(abs(float(found[f"shift_{dim}"])) for dim in "yx") == pytest.approx(0.04 if reach == 0 else 0.08)
    assert bool(found.shift_y_stderr.isnull())


def test_locate__warns_of_a_pattern_that_repeats():
    def lattice(step, n, start):
        y, x = start + step * np.mgrid[:n, :n]
        return image(np.cos(2 * np.pi * y / 0.5) * np.cos(2 * np.pi * x / 0.5), step, (start, start))

    with pytest.warns(AlignmentWarning, match=r"another place correlates \d+% as well"):
        xstxm.locate(lattice(0.01, 100, 1.0), lattice(0.04, 80, 0.0), max_shift="0.8 um")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"psf": "50 nm"}, OptionError, "give both point-spread functions, or none", id="one psf"),
        pytest.param({"max_shift": "-1 um"}, OptionError, "a distance is not negative", id="negative reach"),
        pytest.param({"max_shift": "1 s"}, UnitsError, "max_shift is in 's'", id="reach in seconds"),
        pytest.param({"fine_psf": 10, "psf": 50}, OptionError, r"'48\.\d+ um': it is wider .* '50 nm'", id="psf in nm"),
    ],
)
def test_locate__refuses_options(options, error, message):
    coarse = image(patterns(), 0.04)
    with pytest.raises(error, match=message):
        xstxm.locate(coarse, coarse, **options)


def test_locate__refuses_maps_that_do_not_fit(smooth, coarse_like):
    coarse = image(patterns(), 0.04)
    fine = coarse.interp(y=np.arange(0.8, 1.9, 0.01), x=np.arange(0.9, 2.195, 0.01))
    fine = fine.assign_coords({d: fine[d].assign_attrs(units="um") for d in "yx"})
    with pytest.raises(SchemaError, match="the map of the smaller pixels comes first"):
        xstxm.locate(coarse, fine)
    away = fine.assign_coords(x=fine.x + 10)
    with pytest.raises(
        SchemaError, match=r"x from 10\.9 to 12\.19 um, the coarse one .* do not meet within max_shift=1 um"
    ):
        xstxm.locate(away, coarse)
    for maps in ((fine * np.nan, coarse), (fine, coarse * np.nan)):
        with pytest.raises(SchemaError, match="holds no measured pixel"):
            xstxm.locate(*maps)
    with pytest.raises(SchemaError, match="nothing that varies"):
        xstxm.locate(xr.ones_like(fine), coarse)
    with pytest.raises(SchemaError, match="too few to place it by"):
        xstxm.locate(fine.isel(y=slice(12), x=slice(14)), coarse, max_shift=0.1)
    with pytest.raises(SchemaError, match="pass one image of numbers"):
        xstxm.locate(fine.expand_dims(time=2), coarse)
    with pytest.raises(SchemaError, match="holds labels"):
        xstxm.locate(phases_of(*smooth), coarse_like, signal="phase_label")
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.phase_map"):
        xstxm.locate(stack_of(np.ones((20, 20)), 0.04), coarse)
    with pytest.raises(MissingDimensionError, match="'x'"):
        xstxm.locate(fine.isel(x=0), coarse)
