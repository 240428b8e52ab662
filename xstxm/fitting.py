"""Fit of reference spectra to every pixel: exact, constrained, with statistics."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy, mixed
from xstxm._axes import match_energy, match_pixels
from xstxm._device import on_device, on_host, require_host
from xstxm._fit_maps import FitMaps, added_probabilities, fit_maps
from xstxm._fit_of_counts import counted, fit_light, quality_of_fit
from xstxm._kernels import devices
from xstxm._references_at import references_at
from xstxm._saturation import without_saturated
from xstxm._selection import significant
from xstxm._sums import made_again
from xstxm._unknowns import PART, TERM, Background, Method, background_spectra, require_determined
from xstxm.conventions import (
    ENERGY,
    OTHER_REFERENCE,
    REFERENCE,
    annotate,
    density_of,
    pixel_dims,
    quality_of,
    require_energy,
    require_variable,
    signal_of,
    used_pixels,
    variance_of,
)
from xstxm.energy_shift import move_asked_for
from xstxm.errors import (
    MissingVariableError,
    NoiseWarning,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    require_whole,
    warn,
)
from xstxm.noise import check_noise, given_variance
from xstxm.provenance import describe, recorded
from xstxm.units import EnergyMove

FitNoise: TypeAlias = Literal["residual", "variance"]
Selection: TypeAlias = Literal["bic", "f-test"]

MAX_SUBSETS = 5000
"""Subsets of references that are tried in every pixel."""
DISAGREES = 2.0
"""Median reduced chi-square, or one over it, from which a variance is not that of the data."""
CERTAIN = 5.0
"""Standard errors by which an amount is above zero beyond doubt."""


@recorded
@on_device
def fit(
    stack: xr.DataArray | xr.Dataset,
    references: xr.Dataset | None = None,
    *,
    method: Method = "nnls",
    background: Background = "constant",
    noise: FitNoise | xr.DataArray | None = None,
    selection: Selection | None = None,
    max_references: int | None = None,
    false_discovery_rate: float = 0.05,
    energy_shift: EnergyMove | None = None,
    broadening: EnergyMove | None = None,
    max_optical_density: float | None = None,
    covariance: bool = False,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Fit references and a background to every pixel, exactly.

    ``min sum_e w_e (od - sum_k c_k a_k - sum_t b_t g_t)^2`` with c free (``"lstsq"``), c >= 0 (``"nnls"``), or c >= 0
    and sum(c) = 1 (``"fcls"``); the background b is free in each. The weights w are one, or one over the variance.

    Parameters
    ----------
    stack
        Optical density: an array, or a Dataset that holds it as `signal`, or `intensity` and `i0`, of which it is made as
        by `optical_density`. Any dimensions besides energy.
    references
        Reference set, interpolated onto the stack's energies, never beyond its data. By default the
        `reference_spectra` of the Dataset.
    method
        Constraint on the amounts.
    background
        ``"none"``, ``"constant"``, ``"linear"`` (a constant and a slope over the energy scaled to -1..1), or
        an array of spectra (term, energy).
    noise
        ``"variance"``: values weigh by one over the variance that the Dataset holds, e.g. `optical_density_variance`,
        and errors come from it; an array is such a variance, along energy, pixels or both. ``"residual"``: all weigh
        alike, and errors come from what the fit leaves. By default the variance, where the Dataset holds one.
    selection
        Which references a pixel needs, of all subsets that fit with amounts above zero: ``"bic"``, the subset of least
        ``chi2 + k ln n`` (``n ln chi2 + k ln n`` without a variance), k of n energies; ``"f-test"``, one more only
        where that is significant over the whole image. By default the constraint alone decides.
    max_references
        Most references of a pixel, with `selection`; by default all.
    false_discovery_rate
        Share of the references found by ``"f-test"`` that are not there (Benjamini and Hochberg). With ``"fcls"`` the first
        of a pixel needs no finding, and is not counted.
    energy_shift, broadening
        Move the references by so much, and broaden them with a Gaussian of that full width at half maximum; ``"fit"``
        finds one number for the whole stack first, as `estimate_energy_shift` does with its defaults. The references have
        to reach beyond the stack accordingly.
    max_optical_density
        Energies at which a pixel is thicker than this are left out of its fit: those where a fit of the others says so,
        as the noise of a single value must not decide.
    covariance
        Add `component_map_covariance` (reference, other_reference, pixel dims): that of the amounts with
        no reference held at its bound.
    signal
        Variable of a Dataset that is fitted.

    Returns
    -------
    Dataset
        `component_map`, `component_map_stderr` (reference, pixel dims) in units of the optical density over
        those of the references, `background` (term, pixel dims), `residual_rms`, `r_factor`, `reduced_chi2`
        (pixel dims), `n_active`, `n_energies` (pixel dims), `reference_spectra` (reference, energy) and
        `background_spectra` (term, energy) as used, and `quality` (pixel dims): that of the stack, and `not_measured`
        where a pixel cannot be fitted. With `max_optical_density` also `too_thick` where energies were left out,
        `poor_fit` where those left do not tell the references apart and the pixel is NaN. With `energy_shift` or
        `broadening` both of these numbers and their standard errors, NaN where they were given. Float maps have the
        dtype of the stack. Lazy, but for the warning, which an array in memory gives at once, and for ``"fit"``, which
        reads the stack once before. ``"f-test"`` needs a pass over the image before that of the fit, and reads a lazy stack
        twice.

    Raises
    ------
    MissingVariableError
        The Dataset has no such signal, or no references.
    EnergyRangeError
        References that do not cover the stack, or what their move needs, all of them named.
    ReferenceSpectrumError
        References that cannot be told apart from each other or from the background, or more unknowns than
        the energies determine.
    ChoiceError
        Unknown method or background.
    SchemaError, OptionError
        Optical density that is not float32 or float64, a background without its dimensions, a variance of other
        pixels or below zero, a selection among too many subsets, or a number out of its range.
    MissingUnitsError, IncompatibleUnitsError
        Optical density without units, or counts in its place.
    ChunkingError
        A large lazy stack with its energies in chunks.

    Warns
    -----
    NoiseWarning
        The median `reduced_chi2`, of the pixels with sample, says that the variance is not that of the data.
    CollinearityWarning
        References so nearly mixtures of each other that no realistic number of counts tells them apart.
    ConvergenceWarning
        An energy shift or broadening that is fitted ends at the limit of the search.

    Notes
    -----
    NaN and infinite values, and those with a variance of zero, are left out, pixel by pixel, and so are those with a
    variance below zero in a lazy stack, which is an error where it is in memory; a pixel with no more usable
    energies than unknowns is NaN. Standard errors are those of the references in use: one at its bound has 0.
    ``reduced_chi2 = sum(w (od - fit)^2) / (n_energies - n_unknowns)`` is about one where the variance is right; without
    one, the weights being one, it is the residual variance, as in Larch. `residual_rms` and `r_factor` have no weights.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> fit = xstxm.fit(stack, xstxm.testing.simulate_references())
    >>> fit.component_map.dims, fit.component_map.attrs["units"]
    (('reference', 'y', 'x'), 'nm')
    """
    check_choice("method", method, Method)
    rate = require_number("false_discovery_rate", false_discovery_rate, "a share", above=0, below=1)
    asked = noise, selection, max_optical_density, energy_shift, broadening
    stack, light = counted(units.dequantify(stack), signal, *asked)
    od = _floating(density_of(stack, signal), signal) if light is None else annotate(light.counts, "optical_density")
    energy = require_energy(od)
    moves = {"energy_shift": energy_shift, "broadening": broadening}
    _require_one_part(energy, **moves, max_optical_density=max_optical_density)
    searched = {name: move for name, move in moves.items() if isinstance(move, str) and move == "fit"}
    for name, value in {"selection": selection, "max_optical_density": max_optical_density, **searched}.items():
        if value is not None:
            require_host(od, f"fit with {name}")
    move = move_asked_for(stack, references, energy_shift, broadening, background, signal)
    spectra = _reference_spectra(stack, references, energy, move)
    terms = background_spectra(background, energy)
    require_determined(spectra, terms, method)
    quality, flags = quality_of(stack), dict[str, xr.DataArray]()
    if max_optical_density is not None:
        limit = require_number("max_optical_density", max_optical_density, "an optical density", above=0)
        od, quality = without_saturated(od, spectra, terms, limit, quality)
    variance = None if light is not None else _variance(stack, od, noise, signal)
    choice = _choice(selection, max_references, spectra.sizes[REFERENCE], method)
    wanted = None
    if selection == "f-test":
        before = None if variance is None else made_again(variance)
        added = significant(added_probabilities(made_again(od), spectra, terms, method, before, choice), rate)
        wanted = added + (method == "fcls")  # a sum has a first reference, which is none of those added
    if light is None:
        maps = fit_maps(od, spectra, terms, method, covariance, variance, choice, wanted)
    else:
        maps, flags = fit_light(light, stack, spectra, terms, method, covariance)
    named = background if isinstance(background, str) else "given"
    used = "residual" if variance is None else "variance"
    more: dict[Hashable, xr.DataArray] = {} if move is None else dict(move.data_vars)
    more["quality"] = quality_of_fit(flags, used_pixels(maps.reduced_chi2.isnull(), stack, False), quality)
    result = _result(maps, od, spectra, terms, more, weighted=variance is not None)
    if variance is not None and not is_lazy(result):
        _compare_noise(result)
    return result.assign_attrs(method=method, background=named, noise=used, selection=selection or "none")


def _require_one_part(energy: xr.DataArray, **options: Any) -> None:
    """Refuse options that know of optical density only, where the stack holds more."""
    for name, value in options.items():
        if PART in energy.coords and value is not None:
            do = "the stack holds phase shifts too: move the references, or leave thick pixels out, in join_phase_shift or before"
            raise OptionError(name, describe(value), do)


def _floating(od: xr.DataArray, signal: str) -> xr.DataArray:
    if od.dtype.kind != "f" or od.dtype.itemsize not in (4, 8):
        raise SchemaError(
            f"{str(od.name or signal)!r} has dtype {od.dtype}: a fit works in float32 or float64, .astype('float32') first"
        )
    return od


def _variance(
    stack: xr.DataArray | xr.Dataset, od: xr.DataArray, noise: FitNoise | xr.DataArray | None, signal: str
) -> xr.DataArray | None:
    """Return the variance that values are weighted by, None for alike weights."""
    if isinstance(noise, xr.DataArray):
        return given_variance(noise, od)
    if noise is not None:
        check_noise(noise, FitNoise, od)
    held = None if noise == "residual" else variance_of(stack, signal)
    if noise == "variance" and held is None:
        found = stack.data_vars if isinstance(stack, xr.Dataset) else [stack.name]
        raise MissingVariableError(
            f"{signal}_variance", found, "call .stxm.optical_density(noise='poisson') first, or pass noise=<array>"
        )
    return held if held is None else given_variance(held, od, f"{signal}_variance")


def _choice(selection: Selection | None, max_references: int | None, n: int, method: Method) -> int:
    """Return the most references that a pixel may have, 0 where the constraint alone decides."""
    if selection is None:
        if max_references is not None:
            raise OptionError("max_references", max_references, "say how to choose them: selection='bic' or 'f-test'")
        return 0
    check_choice("selection", selection, Selection)
    if method == "lstsq":
        raise OptionError("selection", selection, "amounts of any sign are not chosen among: use method='nnls'")
    most = n if max_references is None else require_whole("max_references", max_references, 1, n)
    number = sum(math.comb(n, k) for k in range(most + 1))
    if number > MAX_SUBSETS:
        raise OptionError(
            "max_references", most, f"{number} subsets of {n} references are too many to try: give a smaller number"
        )
    return most


def _compare_noise(fitted: xr.Dataset) -> None:
    """Warn where the residual is not what the variance says. Eager on maps in memory.

    Pixels in which a reference is found beyond doubt are asked, so that empty ones cannot outvote them; all where there
    are none.
    """
    chi2 = fitted["reduced_chi2"].data.ravel()
    step = slice(None, None, 1 + chi2.size // 100_000)  # enough for a median
    amount, stderr = (
        devices.on_host(fitted[name].data.reshape(-1, chi2.size)[:, step])
        for name in ("component_map", "component_map_stderr")
    )
    values = devices.on_host(chi2[step])
    found = values[(amount > CERTAIN * stderr).any(0) & np.isfinite(values)]
    values = found if found.size else values[np.isfinite(values)]
    ratio = float(np.median(values)) if values.size else 1.0
    if not 1 / DISAGREES <= ratio <= DISAGREES:
        less = "more" if ratio > 1 else "less"
        where = "with sample" if found.size else "without sample"
        warn(
            f"the fit leaves {ratio:.3g} times the variance that was given, {less} than noise would (median over "
            f"{values.size} pixels {where}): the counts are not of that noise, or the references do not describe the sample; "
            "noise='residual' takes the errors from what the fit leaves",
            NoiseWarning,
        )


def _reference_spectra(
    stack: xr.DataArray | xr.Dataset, references: xr.Dataset | None, energy: xr.DataArray, move: xr.Dataset | None
) -> xr.DataArray:
    if references is not None:
        references = on_host(references)
        if move is None:
            return references_at(references, energy)
        shift, width = float(move["energy_shift"]), float(move["broadening"])
        return references_at(references, energy, energy_shift=shift, broadening=width)
    if not isinstance(stack, xr.Dataset) or "reference_spectra" not in stack:
        found = stack.data_vars if isinstance(stack, xr.Dataset) else [stack.name]
        raise MissingVariableError(
            "reference_spectra", found, "pass references=..., or call .stxm.with_references(references) first"
        )
    held = stack["reference_spectra"]
    return references_at(on_host(held).rename("absorption").to_dataset(), energy)


def _result(
    maps: FitMaps,
    od: xr.DataArray,
    spectra: xr.DataArray,
    terms: xr.DataArray,
    more: dict[Hashable, xr.DataArray],
    *,
    weighted: bool,
) -> xr.Dataset:
    dims = pixel_dims(od)
    density = units.units_of(od, "the optical density")
    unit = units.derive(density, spectra.attrs["units"])
    result = xr.Dataset(
        {
            "component_map": annotate(maps.amount.transpose(REFERENCE, *dims), "component_map", units=unit),
            "component_map_stderr": annotate(
                maps.stderr.transpose(REFERENCE, *dims), "component_map_stderr", units=unit
            ),
            "background": annotate(maps.background.transpose(TERM, *dims), "background", units=density),
            "residual_rms": annotate(maps.rms, "residual_rms", units=density),
            "r_factor": annotate(maps.r_factor, "r_factor"),
            "reduced_chi2": annotate(
                maps.reduced_chi2, "reduced_chi2", units="1" if weighted else units.derive(density, density, "*")
            ),
            "n_active": annotate(maps.n_active, "n_active"),
            "n_energies": annotate(maps.n_energies, "n_energies"),
            "reference_spectra": spectra,
            "background_spectra": terms,
            **more,
        }
    )
    if maps.covariance is not None:
        matrix = maps.covariance.transpose(REFERENCE, OTHER_REFERENCE, *dims).assign_coords(
            {OTHER_REFERENCE: (OTHER_REFERENCE, spectra[REFERENCE].data)}
        )
        squared = units.derive(unit, unit, "*")
        result["component_map_covariance"] = annotate(matrix, "component_map_covariance", units=squared)
    return result


@recorded
@on_device
def predict(fit_result: xr.Dataset, *, background: bool = True) -> xr.DataArray:
    """Return the optical density that a fit describes, ``sum_k c_k a_k + sum_t b_t g_t``.

    Parameters
    ----------
    fit_result
        A result of `fit`.
    background
        Add the background.

    Returns
    -------
    DataArray
        `optical_density` (energy, pixel dims), dtype of the maps. Lazy where the fit is.

    Raises
    ------
    MissingVariableError
        `fit_result` is no fit.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> xstxm.predict(xstxm.fit(stack, xstxm.testing.simulate_references())).dims
    ('energy', 'y', 'x')
    """
    fit_result = units.dequantify(fit_result)
    amount = require_variable(fit_result, "component_map", "call .stxm.fit(references) first")
    model = mixed(amount, fit_result["reference_spectra"], REFERENCE)
    if background and fit_result.sizes[TERM]:
        model = model + mixed(fit_result["background"], fit_result["background_spectra"], TERM)
    dims = [dim for dim in amount.dims if dim != REFERENCE]
    density = units.derive(amount.attrs["units"], fit_result["reference_spectra"].attrs["units"], "*")
    return annotate(
        model.transpose(ENERGY, *dims), "optical_density", units=density, long_name="Fitted optical density"
    )


@recorded
@on_device
def residual(
    stack: xr.DataArray | xr.Dataset, fit_result: xr.Dataset, *, signal: str = "optical_density"
) -> xr.DataArray:
    """Return optical density minus fit.

    Parameters
    ----------
    stack
        What was fitted.
    fit_result
        The result of `fit`.
    signal
        Variable of a Dataset.

    Returns
    -------
    DataArray
        `residual` (energy, pixel dims), in units of the optical density. Lazy.

    Raises
    ------
    EnergyRangeError, SchemaError
        The stack has other energies or other pixels than the fit.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> fit = xstxm.fit(stack, xstxm.testing.simulate_references())
    >>> xstxm.residual(stack, fit).dims
    ('energy', 'y', 'x')
    """
    od = signal_of(units.dequantify(stack), signal)
    model = match_energy(predict(fit_result), require_energy(od), how="exact", what="the fit")
    model = match_pixels(model, od, "the fit")
    return annotate((od - model).transpose(*od.dims), "residual", units=units.units_of(od))
