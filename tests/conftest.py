"""Fixtures and helpers that all tests share."""

from __future__ import annotations

import gc
import os
import sys
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of each worker: more threads spin while they wait for one another

import hypothesis
import numpy as np
import pytest
import xarray as xr

hypothesis.settings.register_profile("default", max_examples=40, deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


def pytest_collection_finish() -> None:
    """Leave modules and tests, which stay, out of the collections of garbage that follow: each would take seconds."""
    gc.collect()
    gc.freeze()


DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real measurements, beside the checkout; not part of the project."""
WORKERS_IMPORT = [
    "distributed.nanny",
    "distributed.cli.dask_worker",
    "h5netcdf",
    "numba",
    "pandas",
    "pint_xarray",
    "pytest",
    "scipy.optimize",
    "scipy.ndimage",
    "typer.testing",
    "xstxm.phases",
    "xstxm._cluster",
    "xstxm._kernels.linear_fit",
    "xstxm.io.backend",
]
"""Modules of a worker of a cluster, see `forked`."""


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real measurements; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data in {DATA}")
    return DATA


@pytest.fixture(scope="module")
def forked():
    """Have workers of a cluster begin as copies of one process that has imported what they need: it takes each seconds."""
    dask = pytest.importorskip("dask")
    if sys.platform == "win32":
        yield get_context("spawn")
        return
    pytest.importorskip("distributed")  # whose settings would go with this one, were they read while it lasts
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        context = pytest.importorskip("distributed.utils").get_mp_context()
        context.set_forkserver_preload(WORKERS_IMPORT)
        yield context


@pytest.fixture
def spectra() -> xr.DataArray:
    """Three smooth, distinct spectra (reference, energy) on a non-uniform axis."""
    energy = np.concatenate([np.linspace(505, 514, 10), np.linspace(514.5, 530, 32)])
    peaks = [np.exp(-(((energy - centre) / 2.5) ** 2)) + 0.02 * (energy - 500) for centre in (517.0, 519.0, 524.0)]
    return xr.DataArray(
        np.array(peaks),
        dims=("reference", "energy"),
        coords={"reference": ["A", "B", "C"], "energy": ("energy", energy, {"units": "eV"})},
        attrs={"units": "1"},
        name="absorption",
    )


@pytest.fixture
def references(spectra: xr.DataArray) -> xr.Dataset:
    """The spectra as a reference set with a composition."""
    return spectra.assign_coords(
        composition=("reference", [0.0, 0.4, 1.0], {"units": "1", "long_name": "x in LixV2O5"})
    ).to_dataset()


@pytest.fixture
def amounts() -> xr.DataArray:
    """Amounts (reference, y, x) of a 6 x 9 image: an empty border of two columns, mixtures elsewhere."""
    rng = np.random.default_rng(1)
    values = rng.dirichlet([0.6, 0.6, 0.6], size=(6, 9)).transpose(2, 0, 1) * rng.uniform(0.5, 1.0, (6, 9))
    values[:, :, :2] = 0
    return xr.DataArray(
        values,
        dims=("reference", "y", "x"),
        coords={
            "reference": ["A", "B", "C"],
            "y": ("y", np.arange(6) * 0.05, {"units": "um"}),
            "x": ("x", np.arange(9) * 0.05, {"units": "um"}),
        },
    )


@pytest.fixture
def density(spectra: xr.DataArray, amounts: xr.DataArray) -> xr.DataArray:
    """Optical density (energy, y, x) without noise, float64."""
    od = xr.dot(spectra, amounts, dim="reference").transpose("energy", "y", "x")
    return od.rename("optical_density").assign_attrs(units="1", long_name="Optical density")


@pytest.fixture
def stack(density: xr.DataArray) -> xr.Dataset:
    """Counts (energy, y, x), float32, behind `density`, with a structured I0, as a file would give them."""
    i0 = 4000 - 10 * np.arange(density.sizes["energy"])
    counts = (xr.DataArray(i0, dims="energy") * np.exp(-density)).astype("float32")
    counts = counts.transpose("energy", "y", "x").rename("intensity")
    counts.attrs = {"units": "count", "long_name": "Transmitted intensity"}
    dwell = xr.DataArray(2.0, attrs={"units": "ms"})
    return (
        counts.to_dataset().assign_coords(dwell_time=dwell).assign_attrs(title="a test", scan_type="sample image stack")
    )


@pytest.fixture
def i0(stack: xr.Dataset) -> xr.DataArray:
    """The incident intensity behind `stack`."""
    return stack["intensity"].isel(y=0, x=0, drop=True).astype(float).rename("i0")
