"""Stacks on a device: the same results as on the host, which stay there; a clear error from what cannot work there.

The stand-in runs everywhere; the same tests take real CuPy arrays where there is a GPU. None of them has yet.
"""

from __future__ import annotations

import shutil
import subprocess

import dask
import device_array
import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes
from test_every_verb import REFERENCES, VERBS, given

import xstxm
from xstxm._device import ON_DEVICE, check_devices, kind_of
from xstxm._kernels import array_fit, fit_plan, fused_fit, linear_fit
from xstxm.errors import DeviceError


def _gpu() -> str | None:
    """Return why there is no GPU to test on."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        return None if cupy.cuda.runtime.getDeviceCount() else "CuPy finds no GPU"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no GPU: {error}"


NO_GPU = _gpu()
needs_gpu = pytest.mark.skipif(NO_GPU is not None, reason=str(NO_GPU))


@pytest.fixture(params=["stand-in", pytest.param("cupy", marks=needs_gpu)])
def put(request):
    """Return what brings an array of the host to the device."""
    if request.param == "cupy":
        import cupy

        yield cupy.asarray
        return
    with device_array.known_to_xarray():
        yield device_array.DeviceArray


@pytest.fixture(scope="module")
def counts():
    stack = xstxm.testing.simulate_stack(shape=(24, 28), seed=0)
    stack = stack.assign(i0=stack["true_i0"].assign_attrs(units="count"))[["intensity", "i0"]]
    stack["intensity"][3, 5, 6] = 0
    return stack


@pytest.fixture(scope="module")
def od(counts):
    with pytest.warns(xstxm.errors.NonPositiveIntensityWarning):
        density = xstxm.optical_density(counts, noise="poisson", saturation=4500)
    density["optical_density"][:, 7, 7] = np.nan
    return density


def shifts(stack):
    energy = stack["energy"]
    along = xr.DataArray(
        np.linspace(-0.05, 0.07, energy.size), dims="energy", coords={"energy": energy}, attrs={"units": "um"}
    )
    return xr.Dataset({"shift_y": along, "shift_x": (-0.7 * along).assign_attrs(units="um")})


def turned(stack):
    by = shifts(stack)
    return by.assign(rotation=(0.01 * by["shift_y"]).assign_attrs(units="rad"))


PLAIN = ["optical_density", "quality"]

CASES = {
    "energies": ("density", lambda s: xstxm.sel_energy(s, 510, 530)),
    "energies calibrated": ("density", lambda s: xstxm.calibrate_energy(s, 0.2)),
    "frames left out": ("density", lambda s: xstxm.drop_frames(s, [516.4])),
    "part of the image": ("masked", lambda s: xstxm.crop(s, {"x": (0.1, 0.5)})),
    "references held": ("density", lambda s: xstxm.fit(xstxm.with_references(s, REFERENCES))),
    "optical density": ("counts", xstxm.optical_density),
    "optical density with variance": ("counts", lambda s: xstxm.optical_density(s, noise="poisson", saturation=4500)),
    "fit": ("density", lambda s: xstxm.fit(s, REFERENCES, covariance=True)),
    "fit without bounds": ("density", lambda s: xstxm.fit(s, REFERENCES, method="lstsq", background="linear")),
    "fit of a closure": ("density", lambda s: xstxm.fit(s, REFERENCES, method="fcls")),
    "fit of counts": ("counts", lambda s: xstxm.fit(s, REFERENCES)),
    "fit weighted by pixel": ("with variance", lambda s: xstxm.fit(s, REFERENCES)),
    "fit of energies moved": ("density", lambda s: xstxm.fit(inner(s), REFERENCES, energy_shift=0.1)),
    "phase map": ("density", lambda s: xstxm.phase_map(s, REFERENCES, covariance=True)),
    "phase map above an amount": ("density", lambda s: xstxm.phase_map(s, REFERENCES, min_amount="20 nm")),
    "phase map of counts": ("counts", lambda s: xstxm.phase_map(s, REFERENCES)),
    "phase map of a closure": ("density", lambda s: xstxm.phase_map(s, REFERENCES, method="fcls")),
    "phase map inside a mask": ("masked", lambda s: xstxm.phase_map(s, REFERENCES)),
    "pca": ("density", lambda s: xstxm.pca(s, 3)),
    "pca, centred": ("masked", lambda s: xstxm.pca(s, 3, center=True)),
    "clusters": ("density", lambda s: xstxm.cluster(s, 2, n_components=2)),
    "clusters, chosen": ("masked", lambda s: xstxm.cluster(s)),
    "apply shifts": ("with variance", lambda s: xstxm.apply_shifts(s, shifts(s))),
    "apply shifts, cropped": ("masked", lambda s: xstxm.apply_shifts(s, shifts(s), crop=True)),
    "predict": ("fitted", xstxm.predict),
    "reconstruct": ("decomposed", xstxm.reconstruct),
}
EAGER = {"apply shifts, cropped": 1, "clusters": 2, "clusters, chosen": 2}
"""How often these may compute."""


def inner(stack):
    """Leave out the outermost energies, which moved references do not reach."""
    return stack.isel(energy=slice(2, -2))


@pytest.fixture(scope="module")
def stacks(counts, od):
    density = od[PLAIN]
    inside = (od["optical_density"].isel(energy=0, drop=True).fillna(0) < 9) & (od["x"] > 0.1)
    return {
        "counts": counts,
        "with variance": od,
        "density": density,
        "masked": density.assign(mask=inside),
        "fitted": xstxm.fit(density, REFERENCES),
        "decomposed": xstxm.pca(density, 3),
    }


def on_device(array, put):
    return isinstance(array.variable._data, type(put(np.empty(0))))


def parts(result):
    return dict(result.data_vars) if isinstance(result, xr.Dataset) else {"": result}


def assert_same(result, expected, put):
    """Compare a result on a device with one of the host, to the rounding of float32."""
    for name, want in parts(expected).items():
        array = parts(result)[name]
        assert (array.dims, array.dtype) == (want.dims, want.dtype), name
        found, right = (array.data.get() if on_device(array, put) else array.values), want.values
        scale = np.abs(right[np.isfinite(right)]).max(initial=1e-30) if right.dtype.kind == "f" else 0
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.mark.filterwarnings("ignore::xstxm.errors.NonPositiveIntensityWarning")
@pytest.mark.parametrize("chunks", [None, {"y": 10}], ids=["in memory", "lazy"])
@pytest.mark.parametrize("case", CASES)
def test_verb__gives_on_a_device_what_it_gives_on_the_host(case, chunks, put, stacks):
    kind, verb = CASES[case]
    expected = verb(stacks[kind])
    stack = device_array.placed(stacks[kind] if chunks is None else stacks[kind].chunk(chunks), put)
    n_energies = stack.sizes.get("energy", 0)
    with device_array.nothing_fetched(beyond=max((n_energies + 1) ** 2, 24 * 28)):
        if chunks is None:
            result = verb(stack)
        else:
            with raise_if_dask_computes(EAGER.get(case, 0)):
                lazy = verb(stack)
            result = lazy.compute()
    assert_same(result, expected, put)
    images = [array for array in parts(result).values() if {"y", "x"} <= {*array.dims}]
    assert images
    assert all(on_device(array, put) for array in images)


@pytest.mark.parametrize("verb", [name for name, call in VERBS.items() if not hasattr(getattr(xstxm, name), ON_DEVICE)])
def test_verb__that_needs_the_host_says_so(verb, put):
    with pytest.raises(DeviceError, match=rf"{verb} works on numpy and dask arrays.*as_numpy\(\)"):
        VERBS[verb](device_array.placed(given(verb), put))


def test_verb__that_needs_the_host_says_so__lazy(put):
    with pytest.raises(DeviceError, match="'optical_density'"):
        xstxm.denoise(device_array.placed(given("denoise").chunk(), put), n_components=2)


def test_verb__inside_another_says_so_too(put, counts):
    with pytest.raises(DeviceError, match="estimate_i0 works on numpy"):
        xstxm.optical_density(device_array.placed(counts.drop_vars("i0"), put))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda s: xstxm.fit(s, REFERENCES, selection="bic"), id="selection"),
        pytest.param(lambda s: xstxm.fit(s, REFERENCES, max_optical_density=2.0), id="max_optical_density"),
        pytest.param(lambda s: xstxm.fit(s, REFERENCES, energy_shift="fit"), id="energy_shift"),
        pytest.param(lambda s: xstxm.apply_shifts(s, shifts(s), interpolation="fourier"), id="interpolation"),
        pytest.param(lambda s: xstxm.apply_shifts(s, turned(s)), id="turned"),
        pytest.param(lambda s: xstxm.phase_map(s), id="references"),
    ],
)
def test_option__that_needs_the_host_says_so(call, put, stacks, request):
    option = request.node.callspec.id.split("-")[-1]
    with pytest.raises(DeviceError, match=rf"{option}.* works on numpy and dask arrays, '.*as_numpy"):
        call(device_array.placed(stacks["density"], put))


def test_arrays__on_several_devices_are_named(put, stacks):
    stack = device_array.placed(stacks["masked"], put)
    with pytest.raises(
        DeviceError,
        match=r"fit needs all images in one place: 'optical_density' and 'quality' are.*'mask' lies elsewhere",
    ):
        xstxm.fit(stack.assign(mask=stacks["masked"]["mask"]), REFERENCES)
    with pytest.raises(DeviceError, match=r"residual needs all images in one place.*'component_map'"):
        xstxm.residual(stack, stacks["fitted"])


def test_arrays__of_one_name_on_two_devices(put, stacks):
    stack = device_array.placed(stacks["density"], put)
    with pytest.raises(DeviceError, match=r"'optical_density' is a .* array, 'optical_density' lies elsewhere"):
        xstxm.residual(stack["optical_density"], stacks["density"][["optical_density"]])


def test_door__reads_no_file(tmp_path, stacks):
    path = tmp_path / "fit.nc"
    stacks["fitted"].drop_attrs().to_netcdf(path)
    with xr.open_dataset(path) as stored:
        check_devices(xstxm.predict, {"fit_result": stored})
        np.empty_like(kind_of(stored["component_map"]))
        assert not stored["component_map"].variable._in_memory


def test_spectra__may_lie_anywhere(put, stacks, counts):
    stack = device_array.placed(stacks["density"], put)
    references = device_array.placed(REFERENCES, put)
    xr.testing.assert_identical(
        xstxm.fit(stack, references)["reference_spectra"], xstxm.fit(stack, REFERENCES)["reference_spectra"]
    )
    with pytest.warns(xstxm.errors.NonPositiveIntensityWarning):
        result = xstxm.optical_density(device_array.placed(counts[["intensity"]], put), counts["i0"])
    assert on_device(result["optical_density"], put)


def test_stack__larger_than_the_device_goes_through_chunk_by_chunk(stacks):
    stack = stacks["density"].chunk({"y": 2})
    with device_array.known_to_xarray(), dask.config.set(scheduler="sync"):
        device_array.memory.most = device_array.memory.held
        before = device_array.memory.held
        xstxm.phase_map(device_array.placed(stack), REFERENCES)["phase_label"].compute()
    assert device_array.memory.most - before < stack["optical_density"].nbytes


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore::xstxm.errors.NonPositiveIntensityWarning")
@pytest.mark.parametrize(
    "case", ["fit", "fit without bounds", "fit of a closure", "fit of counts", "phase map of counts"]
)
def test_fused_kernel__compiled_for_the_host_gives_the_same(case, stacks, monkeypatch):
    calls = []

    class Kernel(device_array.HostKernel):
        def __call__(self, *args):
            calls.append(args)
            super().__call__(*args)

    monkeypatch.setattr(device_array, "RawKernel", Kernel, raising=False)
    fused_fit._kernel.cache_clear()
    kind, verb = CASES[case]
    with device_array.known_to_xarray():
        result = verb(device_array.placed(stacks[kind]))
    assert calls
    assert_same(result, verb(stacks[kind]), device_array.DeviceArray)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no CUDA compiler")
@pytest.mark.parametrize("counts", [False, True], ids=["of densities", "of counts"])
@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fused_kernel__is_cuda(method, counts, tmp_path):
    _, references, _ = spectra_of(5)
    plan = fit_plan.make_plan(references, np.ones((1, 60)), method, np.dtype("float32"))
    (tmp_path / "fit.cu").write_text(fused_fit.source_of(plan, counts))
    subprocess.run(["nvcc", "-ptx", "-Werror", "all-warnings", "fit.cu"], cwd=tmp_path, check=True)
    assert ".entry fit" in (tmp_path / "fit.ptx").read_text()


def spectra_of(n, seed=0):
    rng = np.random.default_rng(seed)
    energy = np.linspace(0, 1, 60)
    rows = [0.2 + np.exp(-((energy - 0.2 - 0.6 * k / n) ** 2) / 0.02) + (energy > 0.1 + 0.05 * k) for k in range(n)]
    return energy, np.array(rows), rng


@pytest.mark.xdist_group("kernels")  # compiled for them
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("n", [3, 14], ids=["3 references", "14 references, beyond the tables"])
@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fit_pixels__agrees_with_the_compiled_kernel(method, n, weighted):
    energy, references, rng = spectra_of(n)
    amounts = rng.gamma(0.4, 1, (n, 300))
    amounts /= amounts.sum(0) if method == "fcls" else 1
    od = references.T @ amounts + 0.1 + 0.05 * rng.standard_normal((60, 300))
    od[rng.random(od.shape) < 0.002] = np.nan
    od[5, 7], od[::2, 9], od[:, 3], od[4:, 11] = np.inf, np.nan, np.nan, np.nan
    weights = rng.uniform(0.5, 2, 60) if weighted else None
    options = {"method": method, "weights": weights, "known_noise": weighted, "with_covariance": True}
    terms = np.array([np.ones(60), energy - 0.5])
    expected = linear_fit.fit_pixels(od, references, terms, **options)
    found = array_fit.fit_pixels(od, references, terms, **options)
    for name, want, got in zip(expected._fields, expected, found, strict=True):
        assert got.shape == want.shape or not want.size
        scale = np.nanmax(np.abs(want)) if want.size else 0
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=1e-8 * scale, err_msg=name)


def test_fit_pixels__of_many_blocks_is_that_of_one(monkeypatch):
    _, references, rng = spectra_of(3)
    od = (references.T @ rng.gamma(0.4, 1, (3, 50))).astype("float32")
    od[2, ::5] = np.nan
    whole = array_fit.fit_pixels(od, references, np.zeros((0, 60)), method="nnls")
    monkeypatch.setattr(array_fit, "BLOCK", 60 * 7)
    monkeypatch.setattr(array_fit, "EACH", 60 * 3 * 2)
    for one, other in zip(whole, array_fit.fit_pixels(od, references, np.zeros((0, 60)), method="nnls"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
