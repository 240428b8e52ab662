"""Phases from amounts: fractions, labels with confidence and composition, with errors from the covariance of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm._device import beside, kind_of
from xstxm._kernels import propagation
from xstxm._kernels.devices import pattern
from xstxm.conventions import (
    NO_SAMPLE,
    OTHER_REFERENCE,
    PALETTE,
    REFERENCE,
    UNDECIDED,
    annotate,
    flag_attrs,
    pixel_dims,
    require_compositions,
    without_coords,
)
from xstxm.roi import sample_threshold
from xstxm.units import AmountLike

_CARRIED = ("n_energies", "quality", "energy_shift", "energy_shift_stderr", "broadening", "broadening_stderr")
"""What a phase map takes from the fit as it is, where there is one."""


def phases_of_fit(
    fitted: xr.Dataset,
    whole: xr.Dataset | None,
    min_amount: AmountLike | None,
    with_covariance: bool,
    density: xr.DataArray | None = None,
) -> xr.Dataset:
    """Return the phases of a fit; `whole` is that of all references, where some were chosen.

    `density` says where there is sample in place of the total amount, which a closure holds at one.
    """
    every = fitted if whole is None else whole
    determined = every["reduced_chi2"].notnull()
    amount, covariance = fitted["component_map"].where(determined), fitted["component_map_covariance"]
    names, membership = _membership(amount)
    total_units = amount.attrs["units"]
    fraction, stderr, total = _per_pixel(
        propagation.phase_fractions, amount, covariance, [["phase"], ["phase"], []], {"membership": membership}
    )
    threshold = beside(total, sample_threshold(total, min_amount))
    if density is None:
        empty = total < threshold
    else:
        density = density.where(determined)
        empty = density < beside(density, sample_threshold(density, None))
    label, confidence, bias = _judged(amount, covariance, every, membership, empty)
    if whole is not None:  # a choice leaves out what is small, of either sign
        bias = confidence.where(confidence.isnull(), 0)
    dims = pixel_dims(total)
    phases = xr.Dataset(
        {
            "phase_fraction": annotate(fraction.where(~empty).transpose("phase", *dims), "phase_fraction"),
            "phase_fraction_stderr": annotate(stderr.where(~empty).transpose("phase", *dims), "phase_fraction_stderr"),
            "phase_label": label,
            "confidence": annotate(confidence, "confidence"),
            "confidence_bias": annotate(bias, "confidence_bias"),
            "total_amount": annotate(total, "total_amount", units=total_units),
            "min_amount": annotate(threshold, "min_amount", units=total_units),
            "phase_spectra": _phase_spectra(fitted["reference_spectra"], names),
            "n_active": fitted["n_active"].where(determined, np.int16(0)),
            "reduced_chi2": fitted["reduced_chi2"].where(determined),
            **{name: fitted[name] for name in _CARRIED if name in fitted},
        }
    )
    phases = phases.drop_vars([name for name in phases.coords if REFERENCE in phases[name].dims])
    if with_covariance:
        phases["phase_fraction_covariance"] = _covariance(amount, covariance, names, membership, empty)
    if "composition" in amount.coords:
        require_compositions(amount)
        phases = phases.assign(_composition(amount, covariance, empty))
    return phases.assign_coords(_phase_coords(names, amount))


def _judged(
    amount: xr.DataArray, covariance: xr.DataArray, every: xr.Dataset, membership: np.ndarray, empty: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return the largest phase of each pixel, the probability that the fit of every reference gives it, and its bias."""
    options = {"membership": membership}
    (largest,) = _per_pixel(propagation.phase_label, amount, covariance, [[]], options, dtypes=[np.int16])
    label = largest.where(~empty, np.int16(NO_SAMPLE)).drop_attrs()
    judged, spread = every["component_map"], every["component_map_covariance"]
    (confidence,) = _per_pixel(propagation.chance_of_label, judged, spread, [[]], options, others=[label])
    about = [label, confidence]
    (bias,) = _per_pixel(propagation.bias_of_chance, judged, spread, [[]], options, others=about)
    return label, confidence, bias


def _covariance(
    amount: xr.DataArray, covariance: xr.DataArray, names: list[str], membership: np.ndarray, empty: xr.DataArray
) -> xr.DataArray:
    pair = ["phase", "other_phase"]
    (found,) = _per_pixel(propagation.fraction_covariance, amount, covariance, [pair], {"membership": membership})
    named = found.where(~empty).transpose(*pair, *pixel_dims(empty)).assign_coords(other_phase=names)
    return annotate(named, "phase_fraction_covariance")


def _per_pixel(
    func: Any,
    amount: xr.DataArray,
    covariance: xr.DataArray,
    outputs: list[list[str]],
    kwargs: dict[str, Any],
    *,
    dtypes: list[Any] | None = None,
    others: Sequence[xr.DataArray] = (),
) -> tuple[xr.DataArray, ...]:
    metas = tuple(
        pattern(kind_of(amount), dtype, amount.ndim - 1 + len(dims))
        for dims, dtype in zip(outputs, dtypes or [amount.dtype] * len(outputs), strict=True)
    )
    found = xr.apply_ufunc(
        func,
        without_coords(amount, REFERENCE),
        without_coords(covariance, REFERENCE, OTHER_REFERENCE),
        *others,
        input_core_dims=[[REFERENCE], [REFERENCE, OTHER_REFERENCE], *[[]] * len(others)],
        output_core_dims=outputs,
        dask="parallelized",
        dask_gufunc_kwargs={
            "output_sizes": {dim: len(kwargs["membership"]) for dims in outputs for dim in dims},
            "meta": metas if len(metas) > 1 else metas[0],
        },
        kwargs=kwargs,
        keep_attrs=True,
    )
    return found if isinstance(found, tuple) else (found,)


def _composition(amount: xr.DataArray, covariance: xr.DataArray, empty: xr.DataArray) -> dict[str, xr.DataArray]:
    value = amount.coords["composition"]
    mean, stderr = _per_pixel(
        propagation.composition, amount, covariance, [[], []], {"value": np.asarray(value, dtype=float)}
    )
    return named_composition(mean.where(~empty), stderr.where(~empty), value)


def named_composition(mean: xr.DataArray, stderr: xr.DataArray, like: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return a composition and its errors under their names, in the units and with the label of another one."""
    unit = str(like.attrs.get("units", "1"))
    label = str(like.attrs.get("long_name", "Composition"))
    return {
        "composition": annotate(mean, "composition", units=unit, long_name=label),
        "composition_stderr": annotate(
            stderr, "composition_stderr", units=unit, long_name=f"Standard error of {label}"
        ),
    }


def label_attrs(phase: xr.DataArray) -> dict[str, Any]:
    """Return the attributes that explain the values of `phase_label`."""
    names = [str(name) for name in np.asarray(phase)]
    values = {"undecided": UNDECIDED, "no sample": NO_SAMPLE, **{name: k for k, name in enumerate(names)}}
    return flag_attrs(values, masks=False)


def _membership(amount: xr.DataArray) -> tuple[list[str], np.ndarray]:
    """Return the phases, and which references belong to each: references that share a `phase` are added up."""
    labels = _phase_labels(amount)
    names = list(dict.fromkeys(labels))
    return names, np.array([[label == name for label in labels] for name in names], dtype=float)


def _phase_labels(array: xr.DataArray) -> list[str]:
    """Return the phase of each reference, which is its own where none is given."""
    names = [str(name) for name in np.asarray(array[REFERENCE])]
    given = [str(name) for name in np.asarray(array.coords["phase"])] if "phase" in array.coords else names
    return [label or name for label, name in zip(given, names, strict=True)]


def _phase_coords(names: list[str], amount: xr.DataArray) -> dict[str, Any]:
    """Return the coordinates along phase: name, colour, and what all references of a phase agree on."""
    labels = _phase_labels(amount)
    given = [str(color) for color in np.asarray(amount.coords["color"])] if "color" in amount.coords else []
    chosen = dict(zip(reversed(labels), reversed(given), strict=False)) if given else {}
    colors = [chosen.get(name) or PALETTE[k % len(PALETTE)] for k, name in enumerate(names)]
    carried: dict[Any, Any] = {
        "phase_composition" if name == "composition" else name: ("phase", _agreed(coord, labels, names), coord.attrs)
        for name, coord in amount.coords.items()
        if coord.dims == (REFERENCE,) and name not in (REFERENCE, "phase", "color")
    }
    return {**carried, "phase": ("phase", names), "color": ("phase", colors)}


def _agreed(coord: xr.DataArray, labels: list[str], names: list[str]) -> np.ndarray:
    """Return the value that all references of each phase share; NaN, or no word, where they differ."""
    values = np.asarray(coord)
    values = values.astype(float) if values.dtype.kind in "iufb" else values.astype(str)
    nothing = np.nan if values.dtype.kind == "f" else ""
    rows = [values[[label == name for label in labels]] for name in names]
    return np.array([row[0] if (row == row[0]).all() else nothing for row in rows])


def _phase_spectra(spectra: xr.DataArray, names: list[str]) -> xr.DataArray:
    """Return the reference of each phase; the mean where several share it."""
    plain = without_coords(spectra, REFERENCE)
    labels = _phase_labels(spectra)
    rows = [plain.isel({REFERENCE: [k for k, label in enumerate(labels) if label == name]}) for name in names]
    joined = xr.concat([row.mean(REFERENCE) for row in rows], dim="phase")
    return annotate(joined, "phase_spectra", units=spectra.attrs["units"])
