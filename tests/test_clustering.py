"""Clusters: by the shape of the spectra and not by thickness, deterministic, the same lazily."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm import _partition
from xstxm._kernels import kmeans
from xstxm._sums import in_memory
from xstxm.errors import ChoiceError, IncompatibleUnitsError, OptionError, SchemaError

METHODS = ["kmeans", "gaussian_mixture", "hdbscan"]


def rand_index(one, other):
    from sklearn.metrics import adjusted_rand_score

    return adjusted_rand_score(np.asarray(one).ravel(), np.asarray(other).ravel())


@pytest.fixture(scope="module")
def truth() -> xr.DataArray:
    """Three shapes in stripes of 12, 8 and 4 rows, the last two columns empty: (y, x), from 1, 0 for empty."""
    labels = np.repeat([1, 2, 3], [12, 8, 4])[:, None] * np.ones(30, dtype=int)
    labels[:, -4:] = 0
    return xr.DataArray(labels, dims=("y", "x"))


@pytest.fixture(scope="module")
def od(truth) -> xr.DataArray:
    """Optical density of the three shapes, thickness from 0.7 to 1.5 and a matrix of any amount between; float32."""
    rng = np.random.default_rng(4)
    energy = np.concatenate([np.linspace(505, 514, 10), np.linspace(514.5, 530, 32)])
    shapes = np.array([0 * energy] + [np.exp(-(((energy - centre) / 2) ** 2)) for centre in (517.0, 519.0, 523.0)])
    thickness = rng.uniform(0.7, 1.5, truth.shape)
    matrix = rng.uniform(0, 2, truth.shape)
    values = shapes[truth.values].transpose(2, 0, 1) * thickness + matrix + rng.normal(0, 0.01, (42, *truth.shape))
    coords = {"energy": ("energy", energy, {"units": "eV"})}
    array = xr.DataArray(values.astype("float32"), dims=("energy", "y", "x"), coords=coords, name="optical_density")
    return array.assign_attrs(units="1")


def test_cluster__follows_the_schema(od):
    found = xstxm.cluster(od, 3)
    xstxm.testing.assert_conforms(found, "cluster")
    assert found["labels"].dtype == np.int16
    assert found["membership"].dims == ("cluster", "y", "x")
    assert list(found["cluster"].values) == [1, 2, 3]
    assert found["labels"].attrs["flag_meanings"] == "masked unassigned cluster_1 cluster_2 cluster_3"
    assert found.stxm.pixel_dims == ("y", "x")
    assert {found[name].dtype for name in ("membership", "confidence", "cluster_spectra", "total_amount")} == {
        np.dtype("float32")
    }


@pytest.mark.parametrize("method", METHODS)
def test_cluster__finds_the_shapes_whatever_the_thickness(od, truth, method):
    found = xstxm.cluster(od, None if method == "hdbscan" else 3, method=method)
    sample = truth > 0
    assert rand_index(found["labels"].where(sample, 0), truth) > 0.98
    np.testing.assert_array_equal((found["labels"] == -1).where(~sample, False), ~sample)
    sizes = [int((found["labels"] == k).sum()) for k in (1, 2, 3)]
    assert sizes == sorted(sizes, reverse=True) == found["n_pixels"].values.tolist()
    assert float(found["stability"]) > 0.9
    assert float(found["silhouette"].min()) > 0.7
    np.testing.assert_array_equal(np.isfinite(found["confidence"]), found["labels"] >= 0)


@pytest.mark.parametrize("choose", ["silhouette", "gap", "stability"])
@pytest.mark.parametrize("seed", [0, 7])
def test_cluster__finds_their_number(od, choose, seed):
    found = xstxm.cluster(od, choose=choose, seed=seed)
    assert found.sizes["cluster"] == 3
    assert f"3 clusters by {choose}: " in found.attrs["history"]


def test_cluster__gap_may_find_one(od, truth):
    one = od.where(truth <= 1, drop=True)
    assert xstxm.cluster(one, choose="gap").sizes["cluster"] == 1
    assert bool(xstxm.cluster(one, 1)["silhouette"].isnull().all())


def test_cluster__plain_scores_sort_by_thickness(od, truth):
    """What MANTiS' default does: the counterpart of normalising."""
    plain = xstxm.cluster(od, 3, normalize="none", background="none", min_amount=0)
    assert rand_index(plain["labels"].where(truth > 0, 0), truth) < 0.5


def test_cluster__the_matrix_decides_only_where_it_is_left_in(od, truth):
    """Two shapes, and across them a field of little and one of much featureless matrix."""
    two = od.where(truth.isin([1, 2]), drop=True).assign_attrs(od.attrs)
    matrix = xr.where(np.arange(26) < 13, 0.5, 20.0) * xr.ones_like(two[0], dtype="float32")
    two = (two + matrix).astype("float32").assign_attrs(od.attrs)
    shape = truth.where(truth.isin([1, 2]), drop=True)
    assert rand_index(xstxm.cluster(two, 2, background="none", min_amount=0.0)["labels"], matrix > 1) > 0.9
    for background in ("constant", "linear"):
        assert rand_index(xstxm.cluster(two, 2, background=background)["labels"], shape) > 0.98


def test_cluster__angle_counts_thin_and_thick_pixels_alike(od):
    """One pixel of another shape, a thousand times as thick, takes a cluster by thickness and none by angle."""
    heavy = od.copy(deep=True)
    peak = np.exp(-(((od["energy"] - 527) / 1.5) ** 2))
    heavy[:, 0, 0] = 300 * peak
    options = {"min_amount": 0.05, "n_components": 4}
    by_weight = xstxm.cluster(heavy, 3, normalize="thickness", **options)
    alike = xstxm.cluster(heavy, 3, normalize="angle", **options)
    assert 1 in by_weight["n_pixels"]
    assert 1 not in alike["n_pixels"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunks", [{"y": 5, "x": 7}, {"y": 24}], ids=str)
def test_cluster__is_the_same_lazily(od, method, chunks):
    number = None if method == "hdbscan" else 3
    lazy, eager = xstxm.cluster(od.chunk(chunks), number, method=method), xstxm.cluster(od, number, method=method)
    assert all(lazy[name].chunks is not None for name in ("labels", "membership", "confidence", "cluster_spectra"))
    lazy = lazy.compute()
    np.testing.assert_array_equal(lazy["labels"], eager["labels"])
    for name in ("membership", "confidence", "cluster_spectra", "cluster_spectra_std", "silhouette", "stability"):
        np.testing.assert_allclose(lazy[name], eager[name], atol=1e-3)


def test_cluster__computes_a_lazy_stack_twice(od):
    """Once for the moment, once for the scores; labels and spectra wait."""
    lazy = od.chunk(y=8)
    with raise_if_dask_computes(max_computes=2):
        xstxm.cluster(lazy, 3)


def test_cluster__is_the_same_for_a_seed(od):
    once, again = xstxm.cluster(od, 3, seed=5), xstxm.cluster(od, 3, seed=5)
    xr.testing.assert_identical(once.drop_attrs(), again.drop_attrs())


@settings(max_examples=5)
@given(st.floats(0.2, 5), st.floats(-1, 1), st.integers(0, 3))
def test_cluster__does_not_depend_on_scale_offset_or_the_order_of_energies(od, factor, offset, seed):
    base = xstxm.cluster(od, 3)["labels"]
    order = np.random.default_rng(seed).permutation(42)
    other = (od * factor + offset).isel(energy=order).astype("float32").assign_attrs(od.attrs)
    assert rand_index(xstxm.cluster(other, 3)["labels"], base) > 0.99


def test_cluster__spectra_are_mean_and_spread_of_the_members(od):
    found = xstxm.cluster(od, 3)
    for number in (1, 2, 3):
        inside = od.where(found["labels"] == number)
        np.testing.assert_allclose(found["cluster_spectra"].sel(cluster=number), inside.mean(("y", "x")), atol=1e-5)
        np.testing.assert_allclose(found["cluster_spectra_std"].sel(cluster=number), inside.std(("y", "x")), atol=1e-5)
        assert int(found["n_pixels"].sel(cluster=number)) == int((found["labels"] == number).sum())


def test_cluster__spectra_can_be_fitted_to_references(od):
    found = xstxm.cluster(od, 3)
    grid = od["energy"]
    spectra = {
        name: (grid.values, np.exp(-(((grid.values - c) / 2) ** 2)))
        for name, c in zip("ABC", (517, 519, 523), strict=True)
    }
    references = xstxm.reference_set(spectra).assign_coords(color=("reference", ["red", "green", "blue"]))
    fit = xstxm.fit(found["cluster_spectra"], references)
    assert fit["component_map"].dims == ("reference", "cluster")
    share = fit["component_map"] / fit["component_map"].sum("reference")
    np.testing.assert_allclose(np.diag(share), 1, atol=0.02)
    assert list(fit["cluster"].values) == [1, 2, 3]


@pytest.mark.parametrize("method", ["kmeans", "gaussian_mixture"])
def test_cluster__memberships_add_up_and_agree_with_the_label(od, method):
    found = xstxm.cluster(od, 3, method=method)
    sample = found["labels"] > 0
    np.testing.assert_allclose(found["membership"].sum("cluster", skipna=False).where(sample, 1), 1, atol=1e-5)
    most = found["membership"].fillna(-1).argmax("cluster") + 1
    np.testing.assert_array_equal(most.where(sample, -1), found["labels"])


def test_cluster__mixed_pixels_are_less_sure(od):
    mixed = od.copy(deep=True)
    one, two = (np.exp(-(((od["energy"].values - centre) / 2) ** 2)) for centre in (517.0, 519.0))
    mixed[:, 0, :26] = 0.5 * (one + two)[:, None] + 0.1 * np.random.default_rng(0).normal(size=(42, 26))
    found = xstxm.cluster(mixed, 3)
    assert float(found["confidence"][0, :26].median()) < 0.95
    assert float(found["confidence"][1:, :26].quantile(0.02)) > 0.99


def test_cluster__leaves_out_masked_and_unmeasured_pixels(od):
    broken = od.copy(deep=True)
    broken[3, 2, 3] = np.nan
    mask = xr.DataArray(np.ones(od.shape[1:], dtype=bool), dims=("y", "x"))
    mask[:, :2] = False
    found = xstxm.cluster(broken.to_dataset().assign(mask=mask), 3)
    assert bool((found["labels"][:, :2] == -1).all())
    assert int(found["labels"][2, 3]) == -1
    boxed = xstxm.cluster(broken.assign_coords(x=("x", np.arange(30.0), {"units": "um"})), 3, region={"x": (2, 29)})
    np.testing.assert_array_equal(boxed["labels"], found["labels"])


def test_cluster__hdbscan_leaves_outliers_unassigned(od):
    odd = od.copy(deep=True)
    rng = np.random.default_rng(2)
    odd[:, 0, :5] += 3 * rng.normal(size=(42, 5)).astype("float32")
    found = xstxm.cluster(odd, method="hdbscan", n_components=6)
    outside = found["labels"] == 0
    assert int(outside[0, :5].sum()) >= 3
    assert bool((found["membership"].sum("cluster").where(outside, 0) == 0).all())
    assert bool((found["confidence"].where(outside, 0) == 0).all())
    assert float(found["membership"][:, 0, :5].max()) < 0.5


def test_cluster__works_for_a_line_and_for_theta(od):
    line = od[:, ::5].stack(position=("y", "x")).drop_vars(["position", "y", "x"])
    assert xstxm.cluster(line, 3)["labels"].dims == ("position",)
    both = xr.concat([od, od], "theta").transpose("theta", "energy", "y", "x")
    found = xstxm.cluster(both, 3)
    assert found["labels"].dims == ("theta", "y", "x")
    np.testing.assert_array_equal(found["labels"][0], found["labels"][1])


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        pytest.param({"method": "kmean"}, ChoiceError, "did you mean 'kmeans'", id="method"),
        pytest.param({"normalize": "length"}, ChoiceError, "unknown normalize 'length'", id="normalize"),
        pytest.param({"choose": "silhouete"}, ChoiceError, "did you mean 'silhouette'", id="choose"),
        pytest.param({"background": "quadratic"}, ChoiceError, "unknown background", id="background"),
        pytest.param(
            {"n_clusters": 0}, OptionError, "n_clusters=0: give a whole number of 1 or more", id="no clusters"
        ),
        pytest.param({"n_clusters": 2.5}, OptionError, "a whole number of 1 or more", id="half a cluster"),
        pytest.param({"seed": -1}, OptionError, "seed=-1: give a whole number of 0 or more", id="seed"),
        pytest.param({"seed": "a"}, OptionError, "seed='a': give a whole number", id="seed in words"),
        pytest.param({"max_clusters": 1}, OptionError, "a whole number of 2 or more", id="max_clusters"),
        pytest.param(
            {"n_components": 99}, OptionError, "from 1 to 41, the energies less the background terms", id="n_components"
        ),
        pytest.param({"method": "hdbscan", "n_clusters": 3}, OptionError, "finds the number by itself", id="hdbscan"),
        pytest.param(
            {"n_clusters": 700}, OptionError, "from 1 to 624, the pixels of the sample", id="more clusters than pixels"
        ),
    ],
)
def test_cluster__refuses(od, kwargs, error, message):
    with pytest.raises(error, match=message):
        xstxm.cluster(od, **kwargs)


def test_cluster__refuses_stacks_without_shapes(od):
    with pytest.raises(SchemaError, match=r"with 1 background terms 3 energies are needed, the stack has 1$"):
        xstxm.cluster(od[:1], 2)
    with pytest.raises(SchemaError, match="the stack has 2: pass background='none'"):
        xstxm.cluster(od[:2], 2)
    assert xstxm.cluster(od[:2], 2, background="none").sizes["cluster"] == 2
    with pytest.raises(SchemaError, match=r"at 505 eV none of the 720 pixels is.*drop_isel\(energy=\[0\]\)"):
        xstxm.cluster(od.where(od["energy"] != 505), 2)
    with pytest.raises(
        SchemaError, match=r"^1 pixels inside mask and region are finite at every energy, 4 or more are"
    ):
        xstxm.cluster(od, 2, region=np.arange(od[0].size).reshape(od[0].shape) == 5)
    with pytest.raises(SchemaError, match=r"^0 of 720 pixels hold a total_amount of 100 or more, 4 or more are needed"):
        xstxm.cluster(od, 2, min_amount=100)
    outside = od.to_dataset(name="optical_density").assign(mask=od[0].drop_vars("energy") * 0 == 1)
    outside["mask"][0, 0] = True
    with pytest.raises(SchemaError, match="no pixel lies inside both the mask and the region"):
        xstxm.cluster(outside, 2, region=~outside["mask"])
    with pytest.raises(IncompatibleUnitsError, match=r"call .stxm.optical_density\(\) on counts first"):
        xstxm.cluster(od.assign_attrs(units="count"), 2)


@pytest.mark.parametrize("chunks", [{}, {"y": 8}], ids=["numpy", "dask"])
def test_cluster__records_what_counts_as_sample(od, chunks):
    found = xstxm.cluster(od.chunk(chunks) if chunks else od, 2)
    told = re.search(r"(\d+) of 720 pixels in clusters, of a total_amount of ([\d.]+) or more", found.attrs["history"])
    assert int(told[1]) == int((found["labels"] > 0).sum()) == int(found["n_pixels"].sum())
    assert float(told[2]) == pytest.approx(float(found["min_amount"]), rel=1e-3)


def test_cluster__of_a_constant_stack_says_that_there_is_one_shape(od):
    flat = xr.ones_like(od)
    with pytest.raises(OptionError, match="the sample has 1 different shapes only"):
        xstxm.cluster(flat, 3, background="none")
    assert xstxm.cluster(flat, background="none").sizes["cluster"] == 1


def test_cluster__can_be_saved(tmp_path, od):
    found = xstxm.cluster(od.to_dataset().chunk(y=8), 3)
    found.to_netcdf(tmp_path / "clusters.nc")
    with xr.open_dataset(tmp_path / "clusters.nc") as again:
        xstxm.testing.assert_conforms(again, "cluster")
        np.testing.assert_array_equal(again["labels"], found["labels"])


def test_phase_map__without_references_is_the_same_clustering(od):
    phases, found = xstxm.phase_map(od, n_phases=3, min_confidence=0), xstxm.cluster(od, 3)
    np.testing.assert_array_equal(
        phases["phase_label"].where(found["labels"] > 0), (found["labels"] - 1).where(found["labels"] > 0)
    )
    np.testing.assert_array_equal(phases["phase_spectra"], found["cluster_spectra"])
    np.testing.assert_array_equal(phases["total_amount"], found["total_amount"])
    linear = xstxm.phase_map(od, n_phases=3, background="linear")
    np.testing.assert_array_equal(linear["total_amount"], xstxm.cluster(od, 3, background="linear")["total_amount"])


def test_kmeans__inertia_is_no_higher_than_that_of_ten_starts_on_all_pixels():
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 4))
    points = (centres[rng.integers(6, size=30_000)] + 0.4 * rng.normal(size=(30_000, 4))).astype("float32")
    weight = rng.uniform(0.1, 2, 30_000).astype("float32")

    def inertia(centres):
        return weight @ np.min([((points - centre) ** 2).sum(1) for centre in centres], axis=0)

    peer = KMeans(6, n_init=10, random_state=0).fit(points, sample_weight=weight).cluster_centers_
    assert inertia(_partition.kmeans_centres(points, weight, 6, 0)) <= inertia(peer) * (1 + 1e-5)


def blobs(n, n_clusters, n_components, seed, spread=0.5, dtype="float64"):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(n_clusters, n_components))
    points = centres[rng.integers(n_clusters, size=n)] + spread * rng.normal(size=(n, n_components))
    return points.astype(dtype), rng.uniform(0.1, 2, n).astype(dtype)


@settings(max_examples=15)
@given(st.integers(2, 7), st.integers(1, 6), st.integers(2, 1500), st.integers(0, 99))
def test_lloyd__goes_where_scikit_learn_goes_from_the_same_start(n_clusters, n_components, n, seed):
    import warnings

    from sklearn.cluster import KMeans

    points, weight = blobs(max(n, n_clusters), n_clusters, n_components, seed)
    along = np.ascontiguousarray(points.T)
    start = kmeans.seeds(along, weight, np.random.default_rng(seed).random((n_clusters, 3)))
    peer = KMeans(n_clusters, init=start, n_init=1, tol=0, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.fit(points, sample_weight=weight)
    centres, inertia, passes = kmeans.lloyd(along, weight, start, 0.0, 500)
    np.testing.assert_allclose(centres, peer.cluster_centers_, atol=1e-9)
    assert inertia == pytest.approx(peer.inertia_, rel=1e-9, abs=1e-9)
    assert passes <= 500


def test_lloyd__never_raises_the_inertia_and_leaves_its_start_alone():
    points, weight = blobs(3000, 6, 4, 1, spread=2.0, dtype="float32")
    along = np.ascontiguousarray(points.T)
    start = along[:, :6].T.copy()
    held = start.copy()
    values = [kmeans.lloyd(along, weight, start, 0.0, passes)[1] for passes in range(1, 30)]
    np.testing.assert_array_equal(start, held)
    assert values[0] > 1.05 * values[-1]
    assert (np.diff(values) <= 1e-6 * values[0]).all()


def test_lloyd__a_centre_without_points_moves_to_the_one_that_is_worst_off():
    points = np.array([[0.0, 0.1, 0.2, 10.0, 10.1, 30.0]])
    centres, inertia, _ = kmeans.lloyd(points, np.ones(6), np.array([[0.0], [9.0], [1e3]]), 0.0, 100)
    np.testing.assert_allclose(np.sort(centres.ravel()), [0.1, 10.05, 30])
    assert inertia == pytest.approx(0.02 + 0.005)


def test_seeds__are_different_points_one_in_each_group():
    points, weight = blobs(4000, 5, 3, 3, spread=0.01)
    along = np.ascontiguousarray(points.T)
    for seed in range(5):
        found = kmeans.seeds(along, weight, np.random.default_rng(seed).random((5, 4)))
        assert all((points == centre).all(1).any() for centre in found)
        nearest = ((points[:, None] - found) ** 2).sum(-1).min(1)
        assert nearest.max() < 0.05


def test_kmeans__takes_points_without_weight_and_points_that_are_all_the_same():
    points, weight = blobs(2000, 3, 2, 0)
    weight[::2] = 0
    half = _partition.kmeans_centres(points[1::2], weight[1::2], 3, 0)
    np.testing.assert_allclose(np.sort(_partition.kmeans_centres(points, weight, 3, 0), 0), np.sort(half, 0), atol=1e-6)
    same = _partition.kmeans_centres(np.ones((5000, 2)), np.zeros(5000), 3, 0)
    np.testing.assert_allclose(same, 1)


def test_kmeans__a_heavy_group_of_few_points_is_not_overlooked():
    """Fewer than one of them would be among the points of a start, were these not drawn by weight."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(200_000, 2)), 9 + 0.01 * rng.normal(size=(10, 2))])
    weight = np.repeat([1.0, 5e3], [200_000, 10])
    centres = _partition.kmeans_centres(points, weight, 2, 0)
    assert (np.abs(centres - 9).max(1) < 0.1).any()


@pytest.mark.parametrize("normalize", ["thickness", "none"])
def test_cluster__leaves_its_input_alone(od, normalize):
    given = od.copy(deep=True)
    xstxm.cluster(given, 3, normalize=normalize)
    xr.testing.assert_identical(given, od)


def test_in_memory__is_what_compute_gives_in_one_pass(od):
    lazy = od.chunk(y=5, x=7)
    with raise_if_dask_computes(max_computes=1):
        one, two = in_memory(lazy, (2 * lazy).sum("energy"))
    xr.testing.assert_identical(one, od)
    np.testing.assert_allclose(two, (2 * od).sum("energy"), rtol=1e-5)
    assert one.chunks is None
    assert in_memory(od)[0] is od


def test_drawn__prefers_the_heavier_ones():
    weight = np.repeat([1.0, 3.0], 500)
    count = np.zeros(1000)
    for seed in range(200):
        few = _partition.drawn(weight, 20, seed)
        assert len(np.unique(few)) == 20
        count[few] += 1
    assert count[500:].sum() / count[:500].sum() == pytest.approx(3, rel=0.1)


def test_confidence__is_how_often_noise_keeps_the_pixel_on_its_side():
    rng = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [1.0, 0.0]])
    point, noise = np.array([[0.3, 0.5]]), np.array([0.4])
    found = _partition._nearest(point, noise, centres)
    draws = point + noise * rng.normal(size=(40_000, 2))
    assert float(found.confidence[0]) == pytest.approx((draws[:, 0] < 0.5).mean(), abs=0.01)
    likelihood = np.exp(-((point - centres) ** 2).sum(1) / (2 * 0.16))
    np.testing.assert_allclose(found.membership[:, 0], likelihood / likelihood.sum())


def test_real_stack__clusters_are_the_phases_of_the_fit(real_data):
    """Fe L edge of marine particles: oxidised and reduced grains, whatever their thickness."""
    folder = real_data / "fe-l-edge-stack"
    stack = xr.open_dataset(folder / "71214078.hdr", engine="stxm").load()
    references = xstxm.read_references({"oxidized": folder / "oxidized.t", "reduced": folder / "reduced.t"})
    od = xstxm.optical_density(stack, xstxm.read_i0(folder / "i0.xsp", units="count/ms"))
    for background in ("constant", "linear"):
        fitted = xstxm.phase_map(od, references, background=background)["phase_label"]
        found = xstxm.cluster(od, background=background)
        both = ((fitted >= 0) & (found["labels"] > 0)).values
        assert found.sizes["cluster"] == 2
        assert both.sum() > 0.9 * int((fitted >= 0).sum())
        assert rand_index(found["labels"].values[both], fitted.values[both]) > 0.9
        named = xstxm.fit(found["cluster_spectra"], references, background=background)["component_map"]
        assert named.idxmax("reference").values.tolist() == ["oxidized", "reduced"]
    for left_out in ({"normalize": "none", "background": "none"}, {"normalize": "none"}, {"background": "none"}):
        other = xstxm.cluster(od, 2, **left_out)["labels"].values
        both = (fitted.values >= 0) & (other > 0)
        assert rand_index(other[both], fitted.values[both]) < 0.5


def test_cluster__of_a_small_region_judges_noise_by_its_own_pixels(monkeypatch):
    judged = []
    original = xstxm.clustering.eigenspectra

    def listening(moment, n_pixels, *args, **options):
        judged.append(n_pixels)
        return original(moment, n_pixels, *args, **options)

    monkeypatch.setattr(xstxm.clustering, "eigenspectra", listening)
    stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    found = xstxm.cluster(stack, 2, region={"x": ("0 nm", "275 nm")})
    assert judged == [24 * 10]
    assert "components" in found.attrs["history"]


def test_kmeans_centres__are_not_led_astray_by_a_rare_point_far_off():
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(6, 3))
    sound = centres[rng.integers(0, 6, 30_000)] + rng.normal(size=(30_000, 3))
    noise = 30 * rng.normal(size=(15_000, 3))  # of hardly any weight: a sample holds one of them now and then
    points, weight = np.vstack([sound, noise]), np.r_[np.ones(30_000), np.full(15_000, 1e-4)]

    def inertia(found):
        nearest = ((points[:, None] - found) ** 2).sum(-1).min(1)
        return float(weight @ nearest)

    reached = [inertia(_partition.kmeans_centres(points, weight, 6, seed)) for seed in range(16)]
    assert max(reached) < 1.001 * inertia(centres)


def test_cluster__of_one_image_says_that_it_needs_energies():
    od = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    with pytest.raises(xstxm.errors.MissingDimensionError, match="'energy'"):
        xstxm.cluster(od["optical_density"].isel(energy=5))
