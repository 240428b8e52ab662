"""Each defect that was found in another program, and each complaint of its users, as a rule that holds here."""

from __future__ import annotations

import inspect
import tracemalloc

import numpy as np
import pytest
import scipy.optimize
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from laziness import raise_if_dask_computes

import xstxm
from xstxm import decomposition
from xstxm._kernels import linear_fit
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import ChoiceError, ChunkingError, ConvergenceWarning, NonPositiveIntensityWarning, PerformanceWarning

ENERGY = np.linspace(510, 530, 12)


def curves(values, dims=("energy", "pixel"), energy=ENERGY):
    """Optical density from plain numbers."""
    coords = {"energy": ("energy", energy, {"units": "eV"})}
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "1"}, name="optical_density")


@pytest.fixture
def noisy(density):
    """The density of the conftest with noise of 0.01."""
    noise = 0.01 * np.random.default_rng(4).standard_normal(density.shape)
    return (density + noise).rename("optical_density").assign_attrs(density.attrs)


# ---- bad pixels


@pytest.mark.parametrize("counts", [0.0, -5.0])
def test_counts__of_zero_or_less_stay_nan_with_a_reason_to_the_end(stack, i0, references, counts):
    """Elsewhere: counts <= 0 become 0.01 and bad optical densities 0, which looks like "no sample"."""
    broken = stack.copy(deep=True)
    broken["intensity"][:, 2, 5] = counts
    with pytest.warns(NonPositiveIntensityWarning):
        od = xstxm.optical_density(broken, i0)
    assert bool(od["optical_density"][:, 2, 5].isnull().all())
    assert int(od["quality"][2, 5]) & QUALITY_FLAGS["nonpositive_counts"]
    phases = od.stxm.phase_map(references)
    assert int(phases["phase_label"][2, 5]) == xstxm.conventions.UNDECIDED
    assert np.isnan(phases["composition"][2, 5])
    for verb in (xstxm.nmf, xstxm.mcr):
        assert bool(verb(od, 2)["component_amount"][:, 2, 5].isnull().all())
    assert bool(xstxm.denoise(od, "savgol")["optical_density"][:, 2, 5].isnull().all())


def test_i0__outside_its_range_is_refused_not_filled(stack, i0):
    """Elsewhere: I0 beyond its data is filled with zero."""
    with pytest.raises(xstxm.errors.EnergyRangeError, match="I0 covers"):
        xstxm.optical_density(stack, i0.isel(energy=slice(3, None)))


# ---- memory and laziness


def test_pca__holds_no_further_stack_in_memory():
    """Elsewhere: four extra float64 stacks and all eigenimages."""
    rng = np.random.default_rng(0)
    od = curves(rng.standard_normal((60, 700, 400), dtype=np.float32), ("energy", "y", "x"), np.linspace(500, 559, 60))
    usable = xr.ones_like(od.isel(energy=0, drop=True), dtype=bool)
    tracemalloc.start()
    basis = decomposition.eigenspectra(decomposition.second_moment(od, usable), usable.size, 4)
    projected, _ = decomposition.scores(od, basis)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert projected.sizes == {"component": 4, "y": 700, "x": 400}
    assert peak < 1.3 * od.nbytes  # a float64 stack is twice the float32 one


def test_pca__is_that_of_a_float64_svd(noisy):
    """Elsewhere: lazy decompositions that differ from the eager one, or from another library."""
    usable = xr.ones_like(noisy.isel(energy=0, drop=True), dtype=bool)
    values = np.linalg.eigvalsh(decomposition.second_moment(noisy, usable))[::-1]
    singular = np.linalg.svd(noisy.values.reshape(42, -1), compute_uv=False)
    np.testing.assert_allclose(values[:3], singular[:3] ** 2, rtol=1e-9)


@pytest.mark.parametrize("chunks", [{"energy": 5}, {"energy": 42, "x": 4}, {"energy": 1, "y": 2}], ids=str)
@pytest.mark.filterwarnings("ignore::xstxm.errors.PerformanceWarning")
def test_lazy_decomposition__uses_every_chunk_of_the_energy_axis(noisy, chunks):
    """Elsewhere: only the first energy chunk was used, silently."""
    usable = xr.ones_like(noisy.isel(energy=0, drop=True), dtype=bool)
    lazy = noisy.chunk(chunks)
    moment = decomposition.second_moment(lazy, usable)
    np.testing.assert_allclose(moment, decomposition.second_moment(noisy, usable), rtol=1e-10)
    np.testing.assert_allclose(xstxm.denoise(lazy, n_components=3), xstxm.denoise(noisy, n_components=3), atol=1e-10)
    for verb in (xstxm.nmf, xstxm.mcr):
        np.testing.assert_allclose(verb(lazy, 3)["component_spectra"], verb(noisy, 3)["component_spectra"], atol=1e-10)


def test_chunks_along_energy__merge_with_a_warning_or_are_refused_with_the_call_to_make(noisy, references):
    """Elsewhere: wrong chunking is refused without a word on what to do, or read many times in silence."""
    lazy = noisy.chunk(energy=5)
    for verb in (lambda od: xstxm.nmf(od, 2), lambda od: xstxm.fit(od, references), xstxm.denoise):
        with pytest.warns(PerformanceWarning, match=r"\.chunk\(energy=-1\)"):
            verb(lazy)
        with xstxm.set_options(rechunk_limit=100), pytest.raises(ChunkingError, match=r"\.chunk\(energy=-1\)"):
            verb(lazy)


def test_unmixing__memory_does_not_grow_with_the_stack():
    """Elsewhere: lazy factorisations that hold the stack, or die."""
    import dask.array as da

    spectra = np.random.default_rng(0).uniform(0, 1, (2, 30))

    def peak(n):
        chunks = [(30,), (100,) * (n // 100), (500,)]
        x = da.linspace(0, 1, 500, chunks=500)
        values = spectra[0][:, None, None] * x + spectra[1][:, None, None] * (1 - x)
        values = da.broadcast_to(values, (30, n, 500), chunks=chunks).astype("float32")
        lazy = curves(values, ("energy", "y", "x"), np.linspace(500, 529, 30))
        tracemalloc.start()
        result = xstxm.mcr(lazy, 2, sample=500, n_starts=1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert result["component_amount"].chunks is not None
        return most, lazy.nbytes

    import dask

    with dask.config.set(scheduler="synchronous"):
        peak(100)  # compiles
        most, size = peak(1600)
    assert most < 0.5 * size


@pytest.mark.parametrize("verb", [xstxm.nmf, xstxm.mcr])
def test_results__can_be_saved_and_hold_no_object(noisy, verb, tmp_path):
    """Elsewhere: lazy results cannot be saved, or the kernel dies."""
    result = verb(noisy.chunk(y=2), 2)
    result.to_netcdf(tmp_path / "lazy.nc", engine="h5netcdf")
    assert all(array.dtype.kind in "fiuU" for array in result.variables.values())


# ---- parameters

ACTS = {
    "nmf": {
        "n_components": 2, "init": "random", "n_starts": 2, "max_iterations": 10, "tolerance": 1e-6, "sample": 30,
        "seed": 5, "signal": "other",
    },
    "mcr": {
        "n_components": 2, "method": "fcls", "spectra": "unimodal", "references": None, "freedom": 0.1, "init": "random",
        "n_starts": 2, "max_iterations": 1, "tolerance": 1e-7, "sample": 30, "seed": 5, "signal": "other",
    },
    "denoise": {
        "method": "savgol", "n_components": 1, "window": "4 eV", "order": 0, "strength": 3.0, "patch_size": 3,
        "patch_distance": 2, "signal": "other",
    },
}  # fmt: skip
BASE = {
    "nmf": {"n_components": 3, "n_starts": 1, "init": "pure"},
    "mcr": {"n_components": 3, "n_starts": 1, "init": "pure"},
    "denoise": {},
}
NEEDS = {
    ("nmf", "seed"): {"init": "random"},
    ("nmf", "tolerance"): {"init": "random"},
    ("nmf", "max_iterations"): {"init": "random"},
    ("mcr", "seed"): {"init": "random"},
    ("denoise", "window"): {"method": "savgol"},
    ("denoise", "order"): {"method": "savgol"},
    ("denoise", "strength"): {"method": "tv"},
    ("denoise", "patch_size"): {"method": "nlm"},
    ("denoise", "patch_distance"): {"method": "nlm"},
}


@pytest.mark.parametrize(("verb", "parameter"), [(verb, name) for verb, names in ACTS.items() for name in names])
@pytest.mark.filterwarnings("ignore::xstxm.errors.ConvergenceWarning")
def test_every_parameter__acts(noisy, references, verb, parameter):
    """Elsewhere: the smoothness parameter of a factorisation does nothing."""
    stack = noisy.to_dataset().assign(other=(noisy**2).assign_attrs(noisy.attrs))
    base = {**BASE[verb], **NEEDS.get((verb, parameter), {})}
    value = ACTS[verb][parameter]
    if parameter in ("references", "freedom"):
        wrong = references.assign(absorption=(references["absorption"] + 0.1).assign_attrs(units="1"))
        base = {**base, "references": wrong} if parameter == "freedom" else base
        value = wrong if parameter == "references" else value
    plain = getattr(xstxm, verb)(stack, **base)
    changed = getattr(xstxm, verb)(stack, **{**base, parameter: value})
    same = plain.drop_attrs().equals(changed.drop_attrs())
    assert not same, f"{verb}({parameter}=...) changes nothing"


@pytest.mark.parametrize("verb", ACTS)
def test_every_parameter__has_a_test_that_it_acts(verb):
    assert set(ACTS[verb]) == set(list(inspect.signature(getattr(xstxm, verb)).parameters)[1:])


def test_parameters__of_another_method_are_refused_not_ignored(noisy):
    for method, names in (("svd", ("window", "strength")), ("savgol", ("n_components", "patch_size"))):
        for name in names:
            with pytest.raises(xstxm.errors.OptionError, match="belongs to"):
                xstxm.denoise(noisy, method, **{name: 2})


# ---- numbers


@given(st.integers(-9, 9))
def test_small_residuals__do_not_vanish(exponent):
    """Elsewhere: a sum of squares is cast to an integer, so that small residuals vanish."""
    rng = np.random.default_rng(1)
    scale = 10.0**exponent
    spectra = rng.uniform(0, 1, (2, 12))
    od = rng.uniform(0, 1, (12, 2)) @ rng.uniform(0, 1, (2, 40)) + 0.05 * rng.standard_normal((12, 40))
    refs = xstxm.reference_set({"A": (ENERGY, spectra[0]), "B": (ENERGY, spectra[1])})
    one, other = (xstxm.fit(curves(od * factor), refs) for factor in (1.0, scale))
    np.testing.assert_allclose(other["residual_rms"], one["residual_rms"] * scale, rtol=1e-9)
    np.testing.assert_allclose(other["reduced_chi2"], one["reduced_chi2"] * scale**2, rtol=1e-9)
    np.testing.assert_allclose(other["r_factor"], one["r_factor"], rtol=1e-9)
    assert (other["residual_rms"] > 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_clusters__do_not_depend_on_the_scale_of_the_data(noisy, scale):
    """Elsewhere: clusters are split at sigmas of an integer, and thickness decides."""
    sample = noisy.isel(energy=0, drop=True) == noisy.isel(energy=0, drop=True)
    sample = sample & (noisy.mean("energy") > 0.1)
    one, other = (
        xstxm.cluster((noisy * factor).assign_attrs(noisy.attrs), 3, n_components=3, region=sample)
        for factor in (1.0, scale)
    )
    np.testing.assert_array_equal(one["labels"], other["labels"])


def test_clusters__are_by_shape_after_svd_not_by_thickness():
    """Elsewhere: users ask for k-means after PCA, and for its standardisation."""
    rng = np.random.default_rng(0)
    shapes = np.array([np.exp(-(((ENERGY - centre) / 3) ** 2)) for centre in (517, 521)])
    which, thickness = np.repeat([0, 1], 150), rng.uniform(0.2, 2.0, 300)
    od = curves((shapes[which] * thickness[:, None]).T + 0.01 * rng.standard_normal((12, 300)))
    found = xstxm.cluster(od, n_components=2)
    labels = found["labels"].values
    assert len(np.unique(labels)) == 2
    assert len(np.unique(labels[:150])) == len(np.unique(labels[150:])) == 1


ARRAYS = hnp.arrays("float64", (12, 3), elements=st.floats(-3, 3).filter(lambda value: value == 0 or abs(value) > 1e-6))


@given(ARRAYS)
def test_r_factor__is_the_sum_of_squares_of_the_residual_over_that_of_the_data(od):
    """Elsewhere: the residual is summed before it is squared, so that it cancels (2.08 where 0.115 is right)."""
    rng = np.random.default_rng(2)
    refs = xstxm.reference_set({name: (ENERGY, rng.uniform(0, 1, 12)) for name in "AB"})
    fit = xstxm.fit(curves(od), refs)
    rest = xstxm.residual(curves(od), fit).values
    square = (od**2).sum(0)
    measured = square > 0
    np.testing.assert_allclose(
        fit["r_factor"].values[measured], (rest**2).sum(0)[measured] / square[measured], rtol=1e-6, atol=1e-12
    )
    assert (fit["r_factor"].values[measured] >= 0).all()
    assert (fit["r_factor"].values[measured] <= 1 + 1e-9).all()


def test_r_factor__is_zero_for_a_perfect_fit_and_is_not_cut_for_a_bad_one():
    """Elsewhere: what is called R-factor is one minus it, or a PCA residual cut at 0.1."""
    bump, other = np.exp(-(((ENERGY - 515) / 2) ** 2)), np.exp(-(((ENERGY - 526) / 2) ** 2))
    refs = xstxm.reference_set({"A": (ENERGY, bump)})
    od = curves(np.column_stack([bump, bump - other, -bump]))
    fit = xstxm.fit(od, refs, background="none")
    np.testing.assert_allclose(fit["r_factor"], [0, 0.5, 1], atol=0.02)


@pytest.mark.parametrize("method", ["nnls", "fcls"])
def test_stderr__under_an_active_constraint_is_that_of_a_bootstrap(method):
    """Elsewhere: the covariance comes from the unconstrained normal matrix though bounds are active."""
    rng = np.random.default_rng(8)
    shapes = {name: np.exp(-(((ENERGY - centre) / 3) ** 2)) for name, centre in (("A", 516), ("B", 518), ("C", 524))}
    refs = xstxm.reference_set({name: (ENERGY, values) for name, values in shapes.items()})
    # B is missing so clearly that its amount is zero in every draw
    truth = (0.55 * shapes["A"] + 0.45 * shapes["C"]) - 0.25 * shapes["B"]
    noise = 0.01
    model = xstxm.fit(curves(truth[:, None]), refs, method=method, background="none")
    centre = xstxm.predict(model).values[:, 0]
    draws = curves(centre[:, None] + (truth - centre)[:, None] + noise * rng.standard_normal((12, 4000)))
    fits = xstxm.fit(draws, refs, method=method, background="none")
    spread = fits["component_map"].std("pixel", ddof=1)
    assert float(fits["component_map"].sel(reference="B").max()) == 0
    columns = np.array([shapes["A"], shapes["C"]]).T
    if method == "fcls":
        step = columns[:, 0] - columns[:, 1]
        exact = np.full(2, noise / np.linalg.norm(step))
    else:
        exact = noise * np.sqrt(np.diag(np.linalg.inv(columns.T @ columns)))
    np.testing.assert_allclose(spread.sel(reference=["A", "C"]), exact, rtol=0.05)
    # said per unit of the residual, which the misfit of B enlarges here
    scale = np.sqrt(fits["reduced_chi2"]) / noise
    said = (fits["component_map_stderr"] / scale).mean("pixel")
    np.testing.assert_allclose(said.sel(reference=["A", "C"]), spread.sel(reference=["A", "C"]), rtol=0.05)
    assert float(fits["component_map_stderr"].sel(reference="B").max()) == 0
    free = noise * np.sqrt(np.diag(np.linalg.inv(np.array(list(shapes.values())) @ np.array(list(shapes.values())).T)))
    assert free[0] > 1.3 * exact[0]  # the unconstrained matrix would say this


@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fit__calls_the_solver_once_for_thousands_of_pixels(monkeypatch, references, spectra, method):
    """Elsewhere: one call of a general optimiser for each pixel, 21 hours for a large map."""
    calls = []
    original = linear_fit.fit_range
    monkeypatch.setattr(linear_fit, "fit_range", lambda *args: (calls.append(1), original(*args))[1])
    for name in ("nnls", "lsq_linear", "minimize", "least_squares"):
        monkeypatch.setattr(scipy.optimize, name, lambda *args, **kwargs: pytest.fail("a solver for one pixel"))
    amounts = np.random.default_rng(0).dirichlet([1, 1, 1], 20_000)
    od = curves((amounts @ spectra.values).T, energy=spectra["energy"].values)
    fit = xstxm.fit(od, references, method=method)
    np.testing.assert_allclose(fit["component_map"].T, amounts, atol=1e-9)
    assert len(calls) == 2


@pytest.mark.parametrize("method", ["nnls", "fcls"])
def test_bounded_fit__is_lazy(noisy, references, method):
    """Elsewhere: the batched linear fit cannot hold bounds lazily."""
    with raise_if_dask_computes():
        lazy = xstxm.fit(noisy.chunk(y=2), references, method=method)
    amount = lazy["component_map"].compute()
    np.testing.assert_array_equal(amount, xstxm.fit(noisy, references, method=method)["component_map"])
    assert float(amount.min()) >= 0


def test_composition__has_its_end_points_and_its_units(spectra):
    """Elsewhere: a missing bracket turns 7260 mol/m^3 at the end of the range into 15375."""
    ends = {"A": 1850.0, "B": 7260.0}
    refs = xstxm.reference_set(
        {name: (spectra["energy"].values, spectra.sel(reference=name).values) for name in ends},
        composition=ends,
        composition_name="Li concentration",
    )
    refs["composition"].attrs["units"] = "mol/m**3"
    share = np.array([0.0, 0.25, 0.5, 1.0])
    mixed = np.outer(spectra.values[0], 1 - share) + np.outer(spectra.values[1], share)
    phases = xstxm.phase_map(curves(mixed, energy=spectra["energy"].values), refs, min_amount=0.0)
    np.testing.assert_allclose(phases["composition"], 1850 + share * (7260 - 1850), rtol=1e-9)
    assert phases["composition"].attrs["units"] == "mol/m**3"
    assert phases["composition"].attrs["long_name"] == "Li concentration"
    assert xstxm.distinguishability(refs, counts=1000)["composition_stderr"].attrs["units"] == "mol/m**3"


# ---- what users ask for


def test_mcr__has_closure_unimodality_and_fixed_spectra_together(noisy, references):
    """Elsewhere: asked for again and again; zero channels made it fail."""
    od = noisy.copy(deep=True)
    od[[0, 1, 40]] = 0
    od[:, 0, :] = 0
    known = references.isel(reference=[0])
    result = xstxm.mcr(od, 3, method="fcls", spectra="unimodal", references=known, max_iterations=200, tolerance=1e-4)
    np.testing.assert_allclose(result["component_amount"].sum("component"), 1, atol=1e-9)
    assert float(result["component_amount"].min()) >= 0
    np.testing.assert_array_equal(result["component_spectra"][0], known["absorption"][0])
    for spectrum in result["component_spectra"][1:].values:
        top = spectrum.argmax()
        assert (np.diff(spectrum[: top + 1]) >= -1e-12).all()
        assert (np.diff(spectrum[top:]) <= 1e-12).all()
    assert bool(np.isfinite(result["component_amount"]).all())


def test_unmixing__says_when_it_is_not_done(noisy):
    with pytest.warns(ConvergenceWarning, match="after 1 iterations"):
        xstxm.mcr(noisy, 3, init="random", max_iterations=1, tolerance=1e-9)


def test_masks__are_passed_on_and_typed(noisy):
    """Elsewhere: masks are lost between steps, or fail in the lazy path."""
    mask = noisy.isel(energy=0, drop=True).copy(data=np.arange(54).reshape(6, 9) % 9 > 1).astype(bool)
    held = noisy.to_dataset().assign(mask=mask)
    for stack in (held, held.chunk(y=2)):
        result = xstxm.nmf(stack, 2)
        assert result.attrs["n_pixels"] == int(mask.sum())
        np.testing.assert_array_equal(result["component_amount"].isnull().all("component"), ~mask)


@pytest.mark.parametrize("shape", [(5, 13), (13, 5)])
def test_frames__that_are_not_square_keep_their_rows_and_columns(shape):
    """Elsewhere: rows and columns are swapped, or the program ends."""
    rng = np.random.default_rng(0)
    spectra, amounts = rng.uniform(0, 1, (2, 12)), rng.uniform(0, 1, (2, *shape))
    amounts[:, 0, 0], amounts[:, -1, -1] = (1, 0), (0, 1)
    od = curves(np.einsum("ce,cyx->eyx", spectra, amounts), ("energy", "y", "x"))
    for verb in (xstxm.nmf, xstxm.mcr):
        result = verb(od, 2)
        np.testing.assert_allclose(
            xr.dot(result["component_amount"], result["component_spectra"], dim="component").transpose(*od.dims),
            od,
            atol=1e-3,
        )


def test_words__that_are_unknown_come_with_those_that_are_known(noisy):
    with pytest.raises(ChoiceError, match="use 'svd', 'savgol', 'nlm' or 'tv'"):
        xstxm.denoise(noisy, "median")
