"""Decomposition: equal to a singular value decomposition in float64, whatever the chunks, order and mask."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from laziness import raise_if_dask_computes

import xstxm
from xstxm._kernels import moments, products
from xstxm.decomposition import eigenspectra, scores, second_moment
from xstxm.errors import (
    ChunkingError,
    MissingUnitsError,
    MissingVariableError,
    OptionError,
    PerformanceWarning,
    SchemaError,
    StxmWarning,
)

NUMBERS = ("scree", "eigenvalues", "eigenspectra", "explained_variance_ratio", "noise_floor", "center_spectrum")


def as_density(values, energy=None, dims=("energy", "y", "x")):
    grid = 510.0 + np.arange(values.shape[dims.index("energy")]) if energy is None else energy
    coords = {"energy": ("energy", grid, {"units": "eV"})}
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "1"}, name="optical_density")


@pytest.fixture
def noisy(density) -> xr.DataArray:
    """The density of three references with noise of 0.01, float32."""
    noise = np.random.default_rng(0).normal(0, 0.01, density.shape)
    return (density + noise).astype("float32").assign_attrs(density.attrs)


@pytest.fixture(scope="module")
def simulated() -> xr.DataArray:
    stack = xstxm.testing.simulate_stack(shape=(40, 56), seed=3)
    return xstxm.optical_density(stack, stack["true_i0"])["optical_density"]


def singular(array):
    """Eigenvalues per pixel and eigenspectra by an independent way: numpy's SVD in float64."""
    matrix = array.values.reshape(array.sizes["energy"], -1).astype(float)
    vectors, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return values**2 / matrix.shape[1], vectors.T


def test_pca__follows_the_schema(noisy):
    found = xstxm.pca(noisy, 4)
    xstxm.testing.assert_conforms(found, "pca")
    assert found["eigenimages"].dims == ("component", "y", "x")
    assert list(found["component"].values) == [1, 2, 3, 4]
    assert found["eigenimages"].dtype == np.float32
    assert found.attrs["n_pixels"] == 54
    assert found.stxm.pixel_dims == ("y", "x")


def test_pca__all_eigenvalues_equal_a_float64_svd_to_a_millionth(simulated):
    expected, _ = singular(simulated)
    found = xstxm.pca(simulated, simulated.sizes["energy"])
    np.testing.assert_allclose(found["scree"], expected, rtol=1e-6)
    np.testing.assert_array_equal(found["eigenvalues"], found["scree"])


def test_pca__randomised_svd_would_not_be_exact_in_the_tail(simulated):
    from sklearn.utils.extmath import randomized_svd

    expected, _ = singular(simulated)
    matrix = simulated.values.reshape(simulated.sizes["energy"], -1)
    values = randomized_svd(matrix, 20, n_iter=2, random_state=0)[1] ** 2 / matrix.shape[1]
    assert np.abs(values / expected[:20] - 1).max() > 1e-3
    np.testing.assert_allclose(xstxm.pca(simulated, 20)["eigenvalues"], expected[:20], rtol=1e-6)


@given(
    hnp.arrays("float64", st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-9, 9))
)
def test_pca__is_the_svd_of_any_array(values):
    od = as_density(values)
    found = xstxm.pca(od, od.sizes["energy"])
    expected, _ = singular(od)
    padded = np.zeros(od.sizes["energy"])
    padded[: len(expected)] = expected
    np.testing.assert_allclose(found["scree"], padded, rtol=1e-9, atol=1e-12 * (1 + padded[0]))
    np.testing.assert_allclose(
        found["eigenspectra"] @ found["eigenspectra"].rename(component="other"), np.eye(len(padded)), atol=1e-9
    )
    np.testing.assert_allclose(xstxm.reconstruct(found), od, atol=1e-9)


def test_pca__eigenspectra_and_images_are_those_of_the_svd_and_peak_upwards(noisy):
    found = xstxm.pca(noisy, 3)
    _, vectors = singular(noisy)
    for k in range(3):
        spectrum = found["eigenspectra"][k].values
        assert spectrum[np.abs(spectrum).argmax()] > 0
        assert abs(spectrum @ vectors[k]) == pytest.approx(1, abs=1e-6)
        image = np.tensordot(spectrum, noisy.values, 1)
        np.testing.assert_allclose(found["eigenimages"][k], image, atol=1e-5)
        assert float((image**2).mean()) == pytest.approx(float(found["eigenvalues"][k]), rel=1e-5)


def test_pca__centred_is_that_of_scikit_learn(noisy):
    from sklearn.decomposition import PCA

    peer = PCA(3, svd_solver="full").fit(noisy.values.reshape(42, -1).T.astype(float))
    found = xstxm.pca(noisy, 3, center=True)
    np.testing.assert_allclose(found["eigenvalues"], peer.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(found["explained_variance_ratio"], peer.explained_variance_ratio_, rtol=1e-6)
    np.testing.assert_allclose(found["center_spectrum"], peer.mean_, atol=1e-6)
    np.testing.assert_allclose(np.abs((found["eigenspectra"].values * peer.components_).sum(1)), 1, atol=1e-6)
    np.testing.assert_allclose(found["eigenimages"].mean(("y", "x")), 0, atol=1e-5)
    np.testing.assert_array_equal(xstxm.pca(noisy, 3)["center_spectrum"], 0)


CHUNKS = [{"y": 1}, {"y": 4, "x": 5}, {"y": 6, "x": 9}, {"y": (1, 3, 2), "x": (2, 7)}]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_pca__is_the_same_for_every_chunking(noisy, chunks):
    lazy, eager = xstxm.pca(noisy.chunk(chunks), 4).compute(), xstxm.pca(noisy, 4)
    np.testing.assert_allclose(lazy["scree"], eager["scree"], atol=1e-12 * float(eager["scree"][0]))
    np.testing.assert_allclose(lazy["eigenimages"][:3], eager["eigenimages"][:3], atol=1e-5)
    np.testing.assert_allclose(lazy["eigenspectra"][:3], eager["eigenspectra"][:3], atol=1e-9)
    for name in ("suggested_components", "significant_components"):
        assert int(lazy[name]) == int(eager[name])


def test_pca__is_lazy_where_the_number_is_given(noisy):
    with raise_if_dask_computes():
        found = xstxm.pca(noisy.to_dataset().chunk(y=2), 3)
        xstxm.reconstruct(found, 2)
    assert all(found[name].chunks is not None for name in ("eigenimages", "eigenvalues", "noise_floor"))


def test_pca__reads_every_chunk_twice_rather_than_hold_them_all(noisy):
    """Were the chunks of both passes the same, dask would keep the whole stack until the second."""
    made = []

    def chunk(block):
        made.append(block.shape)
        return block

    lazy = noisy.copy(
        data=noisy.chunk(y=2).data.map_blocks(chunk, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    )
    found = xstxm.pca(lazy, 3).compute(scheduler="sync")
    assert len(made) == 2 * 3
    np.testing.assert_allclose(found["eigenimages"], xstxm.pca(noisy, 3)["eigenimages"], atol=1e-5)


def test_pca__choosing_the_number_takes_one_pass(noisy):
    lazy = noisy.chunk(y=2)
    with raise_if_dask_computes(max_computes=1):
        found = xstxm.pca(lazy)
    assert found.sizes["component"] == int(found["suggested_components"]) == 3
    assert found["eigenimages"].chunks is not None
    assert "3 components above the noise floor" in found.attrs["history"]


def test_pca__uses_every_energy_chunk_or_refuses(noisy):
    whole = xstxm.pca(noisy, 2)
    cut = noisy.chunk(energy=10)
    with pytest.warns(PerformanceWarning, match="the decomposition merges 5 chunks"):
        np.testing.assert_allclose(xstxm.pca(cut, 2)["scree"], whole["scree"], rtol=1e-9)
    with xstxm.set_options(rechunk_limit=10), pytest.raises(ChunkingError, match=r"\.chunk\(energy=-1\)"):
        xstxm.pca(cut, 2)


def test_pca__reversed_energies_are_the_same_decomposition(noisy):
    down = xstxm.pca(noisy[::-1], 3)
    up = xstxm.pca(noisy, 3)
    np.testing.assert_allclose(down["scree"], up["scree"], atol=1e-12 * float(up["scree"][0]))
    np.testing.assert_allclose(down["eigenspectra"][:, ::-1], up["eigenspectra"], atol=1e-9)
    np.testing.assert_array_equal(down["energy"], noisy["energy"][::-1])


def test_pca__takes_an_energy_twice(noisy):
    twice = xr.concat([noisy, noisy[5:6]], "energy")
    found = xstxm.pca(twice, 3)
    np.testing.assert_allclose(found["eigenspectra"][:, 5], found["eigenspectra"][:, -1], atol=1e-9)
    np.testing.assert_allclose(found["scree"][:40], singular(twice)[0][:40], rtol=1e-6)
    assert xstxm.reconstruct(found).sizes == twice.sizes


@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "lazy"])
def test_pca__leaves_out_masked_pixels_and_those_with_a_nan(noisy, lazy):
    broken = noisy.copy(deep=True)
    broken[7, 2, 3] = np.nan
    broken[9, 4, 4] = np.inf
    mask = xr.DataArray(np.ones((6, 9), dtype=bool), dims=("y", "x"))
    mask[:, :2] = False
    out = ~mask.values
    out[2, 3] = out[4, 4] = True
    stack = broken.to_dataset().assign(mask=mask)
    found = xstxm.pca(stack.chunk(y=2, x=3) if lazy else stack, 3).compute()
    kept = noisy.values[:, ~out].astype(float)
    values = np.linalg.svd(kept, compute_uv=False) ** 2 / kept.shape[1]
    np.testing.assert_allclose(found["scree"][: len(values)], values, rtol=1e-6)
    np.testing.assert_array_equal(found["eigenimages"].isnull().all("component"), out)
    assert not bool(found["eigenimages"].where(~out, 0).isnull().any())


def test_pca__takes_a_box_as_mask(noisy):
    boxed = xstxm.pca(noisy, 2, region={"x": (0.08, 0.32)})
    np.testing.assert_allclose(boxed["scree"], xstxm.pca(noisy.sel(x=slice(0.08, 0.32)), 2)["scree"], atol=1e-10)
    np.testing.assert_array_equal(boxed["eigenimages"][0].isnull().all("y"), (noisy["x"] < 0.09) | (noisy["x"] > 0.31))


@pytest.mark.parametrize("kind", ["spectrum", "line", "theta"])
def test_pca__works_for_any_pixel_dims(noisy, kind):
    shaped = {
        "spectrum": lambda: noisy[:, 2, 4],
        "line": lambda: noisy[:, 2],
        "theta": lambda: noisy.expand_dims(theta=[0.0, 30.0]).transpose("theta", "energy", "y", "x"),
    }[kind]()
    for array in (shaped, shaped.chunk()):
        found = xstxm.pca(array, 1)
        assert found["eigenimages"].dims == ("component", *(dim for dim in shaped.dims if dim != "energy"))
        np.testing.assert_allclose(found["scree"][0], singular(shaped.transpose("energy", ...))[0][0], rtol=1e-6)


def test_pca__of_a_stack_with_energy_last_is_the_same(noisy):
    last = noisy.transpose("y", "x", "energy")
    np.testing.assert_allclose(xstxm.pca(last, 3)["eigenimages"], xstxm.pca(noisy, 3)["eigenimages"], atol=1e-5)


def test_pca__one_energy(noisy):
    found = xstxm.pca(noisy[:1])
    assert found.sizes["component"] == 1
    np.testing.assert_allclose(found["eigenimages"][0], noisy[0], rtol=1e-6)


def test_pca__more_components_than_energies_is_an_error(noisy):
    for number in (43, 0, 2.5, True):
        with pytest.raises(
            OptionError, match=r"n_components=.*: give a whole number from 1 to 42, the number of energies"
        ):
            xstxm.pca(noisy, number)


def test_pca__constant_stack_has_one_component(noisy):
    found = xstxm.pca(xr.ones_like(noisy) * 0.5)
    assert int(found["suggested_components"]) == int(found["significant_components"]) == 1
    np.testing.assert_allclose(found["eigenvalues"], [42 * 0.25], rtol=1e-6)
    centred = xstxm.pca(xr.ones_like(noisy) * 0.5, 2, center=True)
    np.testing.assert_allclose(centred["eigenvalues"], 0, atol=1e-12)


def test_pca__empty_mask_is_an_error_and_lazily_nan(noisy):
    nowhere = xr.DataArray(np.zeros((6, 9), dtype=bool), dims=("y", "x"))
    with pytest.raises(SchemaError, match="'mask' is False everywhere"):
        xstxm.pca(noisy.to_dataset().assign(mask=nowhere), 2)
    found = xstxm.pca(noisy.to_dataset().assign(mask=nowhere).chunk(y=3), 2).compute()
    assert all(bool(found[name].isnull().all()) for name in (*NUMBERS, "eigenimages"))


def test_pca__frame_that_was_not_measured_is_named(noisy):
    broken = noisy.copy(deep=True)
    broken[7] = np.nan
    broken[:, :, :] = np.nan
    with pytest.raises(SchemaError, match="the 54 pixels hold no finite value"):
        xstxm.pca(broken, 2)


BROKEN = {"NaN": np.nan, "infinite": np.inf}


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("chunks", [{}, {"y": 3}], ids=["numpy", "dask"])
@pytest.mark.parametrize("verb", ["pca", "cluster", "nmf", "mcr", "denoise"])
def test_decomposition__what_it_says_of_frames_without_values_works(noisy, verb, chunks, value):
    """What the message says to type is typed."""
    stack = noisy.to_dataset().assign(intensity=noisy * 0 + 100, image=noisy[0].drop_vars("energy"))
    stack["optical_density"][[7, 30]] = value
    stack["optical_density"][20, :, 3:] = np.nan
    stack = stack.chunk(chunks) if chunks and verb != "denoise" else stack
    analyse = {"pca": lambda s: xstxm.pca(s), "nmf": lambda s: xstxm.nmf(s, 2), "mcr": lambda s: xstxm.mcr(s, 2)}.get(
        verb, lambda s: getattr(xstxm, verb)(s)
    )
    with pytest.raises(SchemaError, match=r"at 512, 524\.5 eV none of the 54 pixels is") as caught:
        analyse(stack)
    typed = re.search(r"stack\.drop_isel\(energy=\[[\d, ]+\]\)", str(caught.value))[0]
    for kept in (eval(typed), eval(typed, {"stack": stack["optical_density"]})):
        assert kept["energy"].size == 40
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StxmWarning)
            analyse(kept)


@pytest.mark.parametrize(("dtype", "expected"), [("float32", "float32"), ("float64", "float64"), ("int16", "float32")])
def test_pca__keeps_the_dtype(noisy, dtype, expected):
    found = xstxm.pca((noisy * 100).astype(dtype).assign_attrs(units="1"), 2)
    assert found["eigenimages"].dtype == xstxm.reconstruct(found).dtype == expected
    assert found["eigenvalues"].dtype == np.float64


def test_pca__units_follow_the_signal(stack):
    found = xstxm.pca(stack, 2, signal="intensity")
    assert found["eigenimages"].attrs["units"] == "count"
    assert found["eigenvalues"].attrs["units"] == found["noise_floor"].attrs["units"] == "count**2"
    again = xstxm.reconstruct(found)
    assert (again.name, again.attrs["units"]) == ("intensity", "count")
    with pytest.raises(MissingUnitsError, match="has no units"):
        xstxm.pca(stack["intensity"].drop_attrs(deep=False), 2)
    with pytest.raises(MissingVariableError, match="'optical_density' is missing"):
        xstxm.pca(stack, 2)


def test_pca__suggests_the_references_that_made_the_stack(simulated):
    found = xstxm.pca(simulated)
    assert int(found["suggested_components"]) in (3, 4)
    assert int(found["suggested_components"]) <= int(found["significant_components"]) <= 8
    assert int((found["scree"] > found["noise_floor"]).sum()) == int(found["suggested_components"])


@pytest.mark.parametrize("spread", [1.0, 3.0], ids=["white noise", "noisier at some energies"])
def test_significant_components__finds_one_in_noise_as_often_as_it_says(spread):
    rng = np.random.default_rng(5)
    scale = rng.uniform(1, spread, (30, 1))
    alarms = 0
    for _ in range(200):
        noise = scale * rng.standard_normal((30, 600))
        alarms += moments.significant_components(noise @ noise.T / 600, 600) > 0
    assert alarms <= 20


def test_significant_components__is_what_parallel_analysis_draws(noisy):
    """Horn's way, by simulation: eigenvalues above the 95 % quantile of the largest in pure noise of the same size."""
    rng = np.random.default_rng(0)
    matrix = noisy.values.reshape(42, -1).astype(float)
    largest = [np.linalg.svd(0.01 * rng.standard_normal(matrix.shape), compute_uv=False)[0] for _ in range(200)]
    drawn = int((np.linalg.svd(matrix, compute_uv=False) > np.quantile(largest, 0.95)).sum())
    assert int(xstxm.pca(noisy, 2)["significant_components"]) == drawn == 3


def test_noise_floor__is_the_threshold_of_gavish_and_donoho():
    values = np.array([9.0, 4.0, 1.0, 0.25])
    omega = 0.56 * 0.04**3 - 0.95 * 0.04**2 + 1.82 * 0.04 + 1.43
    assert moments.noise_floor(values, 100) == pytest.approx((omega * np.median(np.sqrt(values))) ** 2, rel=0.2)
    assert moments.noise_floor(np.ones(3), 300) == pytest.approx(
        (0.56 * 0.01**3 - 0.95 * 0.01**2 + 1.82 * 0.01 + 1.43) ** 2
    )


def test_reconstruct__removes_noise_and_keeps_the_signal(noisy, density):
    clean = xstxm.reconstruct(xstxm.pca(noisy))
    before, after = float(((noisy - density) ** 2).mean()), float(((clean - density) ** 2).mean())
    assert after < 0.2 * before
    assert clean.dims == density.dims
    assert clean.attrs["long_name"] == "Optical density"


def test_reconstruct__with_all_components_is_the_stack(noisy):
    for center in (False, True):
        np.testing.assert_allclose(xstxm.reconstruct(xstxm.pca(noisy, 42, center=center)), noisy, atol=1e-5)


def test_reconstruct__takes_fewer_components(noisy):
    found = xstxm.pca(noisy, 4)
    np.testing.assert_allclose(xstxm.reconstruct(found, 2), xstxm.reconstruct(xstxm.pca(noisy, 2)), atol=1e-6)
    with pytest.raises(OptionError, match="from 1 to 4, the components that the result holds"):
        xstxm.reconstruct(found, 5)
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.pca\(\) first"):
        xstxm.reconstruct(noisy.to_dataset())


def test_reconstruct__gives_a_stack_that_fits(noisy, references):
    fit = xstxm.fit(xstxm.reconstruct(xstxm.pca(noisy, 3)), references, background="none")
    assert bool(np.isfinite(fit["component_map"]).all())


@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "lazy"])
def test_pca__can_be_saved(tmp_path, noisy, lazy):
    found = xstxm.pca(noisy.to_dataset().chunk(y=2) if lazy else noisy.to_dataset(), 3)
    found.to_netcdf(tmp_path / "pca.nc")
    with xr.open_dataset(tmp_path / "pca.nc") as again:
        xstxm.testing.assert_conforms(again, "pca")
        np.testing.assert_allclose(xstxm.reconstruct(again), xstxm.reconstruct(found), atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
@pytest.mark.parametrize(
    ("n_energies", "n_pixels"),
    [
        pytest.param(1, 1, id="one number"),
        pytest.param(7, 255, id="less than a block"),
        pytest.param(11, 300, id="one group of rows"),
        pytest.param(12, 300, id="a row more"),
        pytest.param(25, 300, id="three groups, the last not full"),
        pytest.param(5, 16 * (1 << 14) + 3000, id="parts that are no whole ranges"),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_second_moment__is_the_product_in_float64_on_any_number_of_threads(dtype, n_energies, n_pixels, order):
    rng = np.random.default_rng(0)
    pixels = np.asarray(rng.normal(3, 1, (n_energies, n_pixels)).astype(dtype), order=order)
    keep = rng.random(n_pixels) < 0.9
    pixels[0, ::50], pixels[-1, 7::90] = np.nan, -np.inf
    counted = np.vstack([pixels.astype(float), np.ones(n_pixels)])[:, keep & np.isfinite(pixels).all(0)]
    found = [moments.second_moment(pixels, keep, threads) for threads in (1, 3)]
    np.testing.assert_allclose(found[0], counted @ counted.T, rtol=1e-13)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[0], found[0].T)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_rows", "n_energies"), [(1, 1), (3, 7), (16, 8), (17, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_product__is_that_of_matrices_on_any_number_of_threads(dtype, n_rows, n_energies, order):
    rng = np.random.default_rng(0)
    pixels = np.asarray(rng.normal(size=(n_energies, 2 * (1 << 14) + 300)).astype(dtype), order=order)
    pixels[0, 5], pixels[-1, 700] = np.nan, np.inf
    matrix = rng.normal(size=(n_rows, n_energies))
    found = [products.product(matrix, pixels, threads) for threads in (1, 3)]
    expected = matrix.astype(dtype).astype(float) @ pixels.astype(float)
    assert found[0].dtype == dtype
    np.testing.assert_allclose(found[0], expected, atol=100 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(found[1], found[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_rows", "n_energies"), [(1, 1), (3, 7), (9, 40), (16, 18), (17, 30)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_project__is_that_of_matrices_on_any_number_of_threads(dtype, n_rows, n_energies, order):
    rng = np.random.default_rng(0)
    pixels = np.asarray(rng.normal(size=(n_energies, 2 * (1 << 14) + 300)).astype(dtype), order=order)
    basis = np.linalg.qr(rng.normal(size=(n_energies, n_rows)))[0].T.astype(dtype)
    pixels[0, 5], pixels[-1, 700] = np.nan, np.inf
    found, again = (moments.project(pixels, basis, threads) for threads in (1, 3))
    exact = pixels.astype(float)
    with np.errstate(invalid="ignore"):
        expected = basis.astype(float) @ exact
        left = ((exact - basis.astype(float).T @ expected) ** 2).sum(0)
    good = np.isfinite(left)
    assert good.sum() == good.size - 2
    assert not np.isfinite(found[1][~good]).any()
    rounding = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(found[0][:, good], expected[:, good], atol=rounding)
    np.testing.assert_allclose(found[1][good], left[good], rtol=rounding, atol=rounding)
    for one, other in zip(found, again, strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_pixels", [0, 1, 512, 3 * (1 << 14) + 77])
def test_label_sums__are_those_of_each_label_in_float64_on_any_number_of_threads(dtype, order, n_pixels):
    rng = np.random.default_rng(0)
    pixels = np.asarray(rng.normal(3, 1, (7, n_pixels)).astype(dtype), order=order)
    labels = np.repeat(rng.integers(-1, 6, n_pixels // 300 + 1), 300)[:n_pixels].astype(np.int16)
    labels[: n_pixels // 2] = rng.integers(-1, 6, n_pixels // 2)
    labels[labels == 3] = 0
    pixels[2, labels <= 0] = np.nan
    found = [moments.label_sums(pixels, labels, 4, threads) for threads in (1, 3)]
    of_label = [pixels[:, labels == k].astype(float) for k in (1, 2, 3, 4)]
    expected = [[(each**power).sum(1) for each in of_label] for power in (1, 2)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-13)
    np.testing.assert_array_equal(found[1], found[0])


def test_helpers__second_moment_eigenspectra_and_scores_belong_together(noisy):
    usable = xr.DataArray(np.ones((6, 9), dtype=bool), dims=("y", "x"))
    for array in (noisy, noisy.chunk(y=2)):
        moment = second_moment(array, usable)
        assert moment.dims == ("energy", "energy_")
        matrix = noisy.values.reshape(42, -1).astype(float)
        np.testing.assert_allclose(moment, matrix @ matrix.T, rtol=1e-10)
        basis = eigenspectra(moment.compute(), 54)
        projected, variance = scores(array, basis)
        left = noisy - xr.dot(basis, projected.compute(), dim="component")
        np.testing.assert_allclose(variance, (left**2).sum("energy") / 39, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(projected, xr.dot(basis, noisy, dim="energy"), atol=1e-5)


@pytest.mark.filterwarnings("ignore:the decomposition merges")
@pytest.mark.parametrize("chunks", [{"y": 2}, {"y": 4, "x": 5}, {"energy": 10, "y": 3}], ids=str)
def test_scores__of_chunks_are_those_in_memory_and_energy_is_not_copied_innermost(noisy, monkeypatch, chunks):
    basis = eigenspectra(second_moment(noisy, xr.ones_like(noisy[0], dtype=bool)), 54)
    runs, project = [], moments.project

    def seen(pixels, *given):
        runs.append(pixels.strides[1] == pixels.itemsize)
        return project(pixels, *given)

    monkeypatch.setattr(moments, "project", seen)
    lazy = scores(noisy.chunk(chunks), basis)
    assert not runs
    for found, expected in zip(lazy, scores(noisy, basis), strict=True):
        assert found.dtype == noisy.dtype
        xr.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(runs) > 1
    assert all(runs)


def test_scores__residual_does_not_cancel(density):
    basis = xstxm.pca(density, 3)["eigenspectra"]
    for dtype in ("float32", "float64"):
        variance = scores(density.astype(dtype) * 100, basis)[1]
        assert float(variance.max()) < 1e-8
