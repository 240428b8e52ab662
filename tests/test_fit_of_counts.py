"""Maps of counts in one pass, against their optical density made first."""

from __future__ import annotations

import tracemalloc

import dask
import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import MetadataWarning, NonPositiveIntensityWarning


@pytest.fixture
def noisy(stack: xr.Dataset) -> xr.Dataset:
    """Counts with the noise of light."""
    rng = np.random.default_rng(2)
    return stack.assign(intensity=stack["intensity"].copy(data=rng.poisson(stack["intensity"]).astype("float32")))


@pytest.fixture
def counts(noisy: xr.Dataset, i0: xr.DataArray) -> xr.Dataset:
    """Counts with their I0, a dark frame, a hole, a pixel that nothing was measured in, and a thick one."""
    stack = noisy.assign(i0=i0.assign_attrs(units="count"))
    intensity = stack["intensity"]
    intensity[3, 1, 4] = 0
    intensity[5, 2, 5] = np.nan
    intensity[:, 3, 6] = np.nan
    intensity[7, 4, 7] = 1
    return stack


def of_i0(stack: xr.Dataset, kind: str) -> xr.Dataset:
    """Return counts whose I0 has other dimensions."""
    i0, image = stack["i0"], 1 + 0.1 * xr.DataArray(np.random.default_rng(1).random((6, 9)), dims=("y", "x"))
    made = {
        "spectrum": i0,
        "image": image * float(i0.mean()),
        "stack": i0 * image,
        "column": i0 * image.isel(x=0),
        "rate": i0 / stack["dwell_time"],
    }[kind]
    return stack.assign(i0=made.assign_attrs(units="count/ms" if kind == "rate" else "count"))


def plain(result: xr.Dataset) -> xr.Dataset:
    """Return a result without its history."""
    return result.compute().drop_attrs(deep=False)


def assert_same(found: xr.Dataset, expected: xr.Dataset) -> None:
    xr.testing.assert_identical(plain(found), plain(expected))


@pytest.mark.filterwarnings(
    "ignore:counts of zero or less", "ignore:more than half of the pixels", "ignore:the fit leaves"
)
class TestSameBits:
    """One pass gives what two give, to the last bit."""

    @pytest.mark.parametrize("kind", ["spectrum", "image", "stack", "column", "rate"])
    def test_fit__of_any_i0(self, counts, references, kind):
        stack = of_i0(counts, kind)
        assert_same(xstxm.fit(stack, references), xstxm.fit(xstxm.optical_density(stack), references))

    @pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", ">f4"])
    def test_fit__of_any_dtype(self, counts, references, dtype):
        stack = counts.assign(intensity=counts["intensity"].fillna(0).astype(dtype))
        found = xstxm.fit(stack, references)
        assert_same(found, xstxm.fit(xstxm.optical_density(stack), references))
        assert found["component_map"].dtype == ("float64" if dtype == "float64" else "float32")

    @pytest.mark.parametrize("options", [{"method": "lstsq", "background": "linear"}, {"method": "fcls"}])
    def test_fit__by_other_methods(self, counts, references, options):
        options = {**options, "covariance": True}
        found = xstxm.fit(counts, references, **options)
        assert_same(found, xstxm.fit(xstxm.optical_density(counts), references, **options))

    @pytest.mark.parametrize(
        "order", [("energy", "y", "x"), ("y", "x", "energy"), ("y", "energy", "x"), ("x", "energy", "y")]
    )
    @pytest.mark.filterwarnings("ignore:fit merges")
    @pytest.mark.parametrize("chunks", [None, {"y": 4, "x": 5}, {"y": 2, "energy": 7}], ids=str)
    def test_phase_map__in_any_order_and_chunks(self, counts, references, order, chunks):
        stack = counts.transpose(*order)
        held = stack if chunks is None else stack.chunk(chunks)
        with raise_if_dask_computes():
            found = xstxm.phase_map(held, references)
        assert_same(found, xstxm.phase_map(xstxm.optical_density(stack), references))

    def test_fit__where_a_mask_leaves_pixels_out(self, counts, references):
        mask = xr.DataArray(np.arange(54).reshape(6, 9) % 4 > 0, dims=("y", "x"))
        stack = counts.assign(mask=mask)
        found = xstxm.fit(stack, references, covariance=True)
        assert_same(found, xstxm.fit(xstxm.optical_density(stack), references, covariance=True))
        assert bool(found["n_energies"].where(~mask, 0).max() == 0)

    def test_fit__keeps_flags_of_others_and_judges_its_own_anew(self, counts, references):
        before = QUALITY_FLAGS["outside_overlap"] | QUALITY_FLAGS["not_measured"]
        stack = counts.assign(quality=xr.DataArray(np.full((6, 9), before, "int16"), dims=("y", "x")))
        assert_same(xstxm.fit(stack, references), xstxm.fit(xstxm.optical_density(stack), references))

    @pytest.mark.parametrize(
        "options",
        [{"selection": "bic"}, {"max_optical_density": 1.5}, {"noise": "residual"}, {"energy_shift": 0.1}],
        ids=str,
    )
    def test_fit__with_other_options(self, counts, references, options):
        stack = xstxm.with_variance(counts, gain=2.0)
        stack = stack.isel(energy=slice(2, -2))
        found = xstxm.fit(stack, references, **options)
        assert_same(found, xstxm.fit(xstxm.optical_density(stack), references, **options))
        assert found.attrs["noise"] == ("residual" if "noise" in options else "variance")


def test_phase_map__of_counts_estimates_i0_and_says_so(noisy, references):
    found = xstxm.phase_map(noisy, references)
    assert_same(found, xstxm.phase_map(xstxm.optical_density(noisy), references))
    assert "i0 estimated" in found.stxm.history["notes"].iloc[-1]


def test_fit__warns_of_counts_as_the_optical_density_does(counts, references):
    with pytest.warns(NonPositiveIntensityWarning, match="in 1 pixels"):
        xstxm.fit(counts, references)
    dark = counts.assign(intensity=counts["intensity"].fillna(1) + 1e5)
    with pytest.warns(MetadataWarning, match="brighter than I0"):
        xstxm.fit(dark, references)


def test_phase_map__of_lazy_counts_reads_each_chunk_once_in_one_task(references, i0):
    reads = []

    def read(block_id=None):
        reads.append(block_id)
        return np.full((i0.size, 4, 4), 500.0, "float32")

    data = dask.array.map_blocks(
        read, chunks=((i0.size,), (4, 4), (4, 4)), dtype="float32", meta=np.empty((0, 0, 0), "float32")
    )
    intensity = xr.DataArray(data, dims=("energy", "y", "x"), coords={"energy": i0["energy"]}, attrs={"units": "count"})
    stack = xr.Dataset({"intensity": intensity, "i0": i0.assign_attrs(units="count")})
    fitted = xstxm.fit(stack, references)
    fitted.compute(scheduler="sync")
    assert len(reads) == 4
    of_density = xstxm.fit(xstxm.optical_density(stack), references)
    assert len(fitted.__dask_graph__()) < len(of_density.__dask_graph__())


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_fit__of_counts_needs_a_few_megabytes_beyond_its_maps(dtype):
    references = xstxm.testing.simulate_references()
    energy = references["energy"].values[:: references.sizes["energy"] // 100]
    values = np.random.default_rng(5).integers(100, 4000, (energy.size, 512, 512)).astype(dtype)
    axis = {"energy": ("energy", energy, {"units": "eV"})}
    intensity = xr.DataArray(values, dims=("energy", "y", "x"), coords=axis, attrs={"units": "count"})
    stack = intensity.to_dataset(name="intensity").assign(
        i0=("energy", np.full(energy.size, 4000.0), {"units": "count"})
    )
    with xstxm.set_options(num_threads=1):
        xstxm.fit(stack.isel(y=slice(8)), references)  # compiles
        tracemalloc.start()
        result = xstxm.fit(stack, references)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - result.nbytes < 0.25 * intensity.astype("float32").nbytes
