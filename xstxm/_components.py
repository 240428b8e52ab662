"""What the ways to unmix a stack share: the pixels they work on, their starts, and their result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import require_single_chunk
from xstxm._fit_maps import fit_maps
from xstxm._kernels.alternating import Factors
from xstxm._unknowns import MAX_REFERENCES, TERM, Method
from xstxm.conventions import (
    ENERGY,
    REFERENCE,
    annotate,
    as_float,
    density_of,
    nothing_usable,
    pixel_dims,
    require_energy,
)
from xstxm.errors import ConvergenceWarning, OptionError, SchemaError, require_whole, warn
from xstxm.steps import followed

EQUAL = 0.01
"""Starts whose residual is larger than the smallest by less than this share count as equally good."""
INDEPENDENT = 1e-8
"""Smallest singular value of spectra of unit length, relative to the largest, that tells components apart."""


def density_to_unmix(stack: xr.DataArray | xr.Dataset, signal: str, verb: str) -> xr.DataArray:
    """Return the optical density as floats, its spectra in one chunk. Lazy."""
    od = density_of(units.dequantify(stack), signal)
    require_energy(od)
    if od.sizes[ENERGY] < 2:
        raise SchemaError(f"{verb} needs two energies or more, the stack has {od.sizes[ENERGY]}: keep more of them")
    return require_single_chunk(as_float(od), verb)


def sample_spectra(od: xr.DataArray, n_pixels: int, seed: int) -> np.ndarray:
    """Return spectra (energy, pixel) of pixels that are finite at every energy, in float64, at most so many.

    Which ones depends on the seed only, not on the chunks. Eager: reads a lazy stack twice, keeps the sample.
    """
    import dask

    dims = pixel_dims(od)
    finite: Any = np.isfinite(od)
    usable, some = dask.compute(finite.all(ENERGY), finite.any(ENERGY), **followed())
    found = np.flatnonzero(np.asarray(usable))
    if not found.size:
        raise nothing_usable(od, some if some.any() else xr.ones_like(some))
    if found.size > n_pixels:
        found = np.sort(np.random.default_rng(seed).choice(found, n_pixels, replace=False))
    at = np.unravel_index(found, usable.shape) if dims else ()
    pixels = {dim: xr.DataArray(index, dims="pixel") for dim, index in zip(dims, at, strict=True)}
    picked = od.isel(pixels) if dims else od.expand_dims("pixel")
    return np.ascontiguousarray(picked.transpose(ENERGY, "pixel"), dtype=float)


def require_components(data: np.ndarray, n_components: int, dtype: np.dtype, *, closed: bool = False) -> int:
    """Return the number of components, or say why the spectra (energy, pixel) do not hold as many."""
    limits = {
        f"below the {len(data)} energies": len(data) - 1,
        "the pixels that are finite at every energy": data.shape[1],
        "the most that a fit takes": MAX_REFERENCES,
    }
    what = min(limits, key=limits.__getitem__)
    n_components = require_whole("n_components", n_components, 1, limits[what], what)
    singular = np.linalg.svd(np.linalg.qr(data.T, mode="r"), compute_uv=False)
    rank = int((singular > 10 * np.finfo(dtype).eps * singular[0]).sum())
    if not rank:
        raise SchemaError("the stack is zero everywhere, it has no components: check signal=")
    if rank + closed < n_components:
        told = f"the pixels hold {rank} independent spectra, ask for {rank + closed} at most"
        raise OptionError("n_components", n_components, told)
    return n_components


def best_of(runs: Sequence[Factors]) -> Factors:
    """Return the first of the runs that are as good as the one with the smallest residual."""
    return next(run for run in runs if _as_good(run, runs))


def _as_good(run: Factors, runs: Sequence[Factors]) -> bool:
    rounding = 1e-7 * np.sqrt(np.mean((run.spectra.T @ run.amounts) ** 2))
    return bool(run.rms[-1] <= min(other.rms[-1] for other in runs) * (1 + EQUAL) + rounding)


def angles_between_starts(runs: Sequence[Factors], best: Factors) -> np.ndarray:
    """Return for each component the largest angle (deg) to its like in another equally good run; NaN without one."""
    from scipy.optimize import linear_sum_assignment

    unit = [_unit_length(run.spectra) for run in (best, *runs)]
    angles = []
    for run, other in zip(runs, unit[1:], strict=True):
        if run is best or not _as_good(run, runs):
            continue
        own, partner = linear_sum_assignment(-np.abs(unit[0] @ other.T))
        sign = np.sign((unit[0][own] * other[partner]).sum(1, keepdims=True))
        apart = np.linalg.norm(unit[0][own] - sign * other[partner], axis=1)
        angles.append(np.degrees(2 * np.arcsin(np.minimum(apart / 2, 1))))
    return np.max(angles, axis=0) if angles else np.full(len(best.spectra), np.nan)


def _unit_length(spectra: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(spectra, axis=1, keepdims=True)
    return spectra / np.where(length > 0, length, 1)


def warn_unconverged(verb: str, best: Factors, iterations: int, tolerance: float) -> None:
    """Warn where the best start was stopped by the limit on iterations."""
    if not best.converged:
        warn(
            f"{verb}: the residual still falls by more than {tolerance:g} of itself per iteration after {iterations} "
            "iterations: raise max_iterations or the tolerance, or take fewer components",
            ConvergenceWarning,
        )


def component_dataset(
    od: xr.DataArray,
    runs: Sequence[Factors],
    *,
    method: Method,
    scale: np.ndarray,
    spectra_units: str,
    n_first: int = 0,
    iteration: np.ndarray | None = None,
) -> xr.Dataset:
    """Return the best run as a Dataset: spectra over their `scale`, and maps of every pixel fitted to them, lazily.

    The first `n_first` components keep their place, the others come in the order of their contribution. `iteration`
    numbers the entries of the convergence record, by default from 1.
    """
    best = best_of(runs)
    power = (best.spectra**2).sum(1) * (best.amounts**2).sum(1)
    order = [*range(n_first), *(n_first + np.argsort(-power[n_first:], kind="stable"))]
    spectra = (best.spectra / scale[:, None])[order]
    _require_distinct(spectra, method)
    number = np.arange(1, len(order) + 1)
    iteration = np.arange(1, len(best.rms) + 1) if iteration is None else iteration
    density = units.units_of(od)
    result = _maps(od, spectra, method, density, units.derive(density, spectra_units)).assign_coords(component=number)
    small = {
        "component_spectra": (("component", ENERGY), spectra, spectra_units),
        "contribution": (("component",), (power / power.sum())[order], None),
        "component_angle": (("component",), angles_between_starts(runs, best)[order], None),
        "convergence": (("iteration",), best.rms, density),
        "change": (("iteration",), best.change, None),
        "start_rms": (("start",), np.array([run.rms[-1] for run in runs]), density),
    }
    for name, (dims, values, unit) in small.items():
        result[name] = annotate(xr.DataArray(values, dims=dims), name, units=unit)
    return result.assign_coords(
        {ENERGY: od[ENERGY].variable, "iteration": iteration, "start": np.arange(1, len(runs) + 1)}
    ).assign_attrs(method=method, n_pixels=best.amounts.shape[1])


def _maps(od: xr.DataArray, spectra: np.ndarray, method: Method, density: str, unit: str) -> xr.Dataset:
    energy = od.sizes[ENERGY]
    none = xr.DataArray(np.empty((0, energy)), dims=(TERM, ENERGY))
    maps = fit_maps(od, xr.DataArray(spectra, dims=(REFERENCE, ENERGY)), none, method, False)
    dims = ("component", *pixel_dims(od))
    amount, stderr = (array.rename({REFERENCE: "component"}).transpose(*dims) for array in (maps.amount, maps.stderr))
    return xr.Dataset(
        {
            "component_amount": annotate(amount, "component_amount", units=unit),
            "component_amount_stderr": annotate(stderr, "component_amount_stderr", units=unit),
            "residual_rms": annotate(maps.rms, "residual_rms", units=density),
            "r_factor": annotate(maps.r_factor, "r_factor"),
        }
    )


def _require_distinct(spectra: np.ndarray, method: Method) -> None:
    """Refuse components that are zero or mixtures of each other: their amounts have no unique solution."""
    if method == "fcls":
        spectra = np.column_stack([spectra, np.full(len(spectra), np.abs(spectra).max())])
    singular = np.linalg.svd(_unit_length(spectra), compute_uv=False)
    if not singular[-1] > INDEPENDENT * singular[0]:
        raise SchemaError(
            f"the {len(spectra)} components that were found are zero or mixtures of each other: take fewer components"
        )
