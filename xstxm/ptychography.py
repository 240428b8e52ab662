"""Ptychography: optical density and phase shift from complex transmission, and both parts in one fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._kernels import phase_plane
from xstxm._neighbours import over_frames
from xstxm._references_at import references_at
from xstxm._unknowns import PART
from xstxm.conventions import (
    ENERGY,
    annotate,
    quality_bits,
    quality_of,
    require_energy,
    require_image,
    require_variable,
    signal_of,
    used_pixels,
    variance_of,
)
from xstxm.errors import (
    MissingDependencyError,
    MissingVariableError,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
)
from xstxm.incident import AutoRegion, brightest
from xstxm.provenance import note, recorded
from xstxm.references import holding
from xstxm.roi import Region, used_region
from xstxm.units import EnergyLike

_MADE = ("optical_density_variance", "phase_shift_variance")


@recorded
def from_transmission(
    stack: xr.DataArray | xr.Dataset,
    region: AutoRegion | Region | None = "brightest",
    *,
    fraction: float = 0.1,
    ramp: bool = True,
    conjugate: bool = False,
    unwrap: bool = True,
    signal: str = "transmission",
) -> xr.Dataset:
    """Return optical density and phase shift from the complex transmission T that ptychography reconstructs.

    ``T / T0 = exp(-OD / 2 + i phase)``, so that ``OD = -2 ln |T / T0|``. A reconstruction knows T at each energy but for a
    factor and a plane of phase: T0 is the wave ``a exp(i (p + p_y row + p_x column))`` of the empty region.

    Parameters
    ----------
    stack
        Stack with `transmission` (energy, y, x), complex, or that array. Pixels are evenly spaced.
    region
        Where there is no sample: ``"brightest"``, the `fraction` of the pixels that transmit most, as in `estimate_i0`; or a
        mask, a box or a polygon, see `spectrum`. None: nowhere; T0 is then 1, nothing is taken off the phase, and there
        are no variances.
    fraction
        Share of the pixels that ``"brightest"`` takes, in (0, 1].
    ramp
        Take off a plane of phase; False: a constant only.
    conjugate
        Take the complex conjugate of T first: the reconstruction has the other sign of the phase, see Notes.
    unwrap
        Undo jumps of 2 pi at the energies where neighbouring pixels differ by more than pi (scikit-image).
    signal
        Variable of a Dataset that holds the transmission.

    Returns
    -------
    Dataset
        The Dataset, or a new one, with `optical_density` [1], `phase_shift` [rad] (energy, y, x), floats of the precision of T,
        `quality`, and with a region `optical_density_variance` and `phase_shift_variance`. A transmission of zero, or that is not
        finite, becomes NaN, and the pixel `not_measured`. Lazy where a region is given; ``"brightest"`` is Eager on two
        images.

    Raises
    ------
    SchemaError
        The transmission is not complex.
    MissingVariableError, MissingDimensionError
        There is no such signal, or it has no image.
    OptionError
        The region holds no pixel, too few to show their noise, or with `ramp` lies on one line.
    IncompatibleUnitsError
        The transmission has units.
    MissingDependencyError
        Phases wrap, and scikit-image is not installed.

    Notes
    -----
    With the refractive index ``1 - delta + i beta`` and waves ``exp(i k z)``, the phase shift of a sample of thickness t is
    ``-k delta t``, with ``k = 2 pi / wavelength``, and its optical density ``2 k beta t``. With waves ``exp(-i k z)`` it is the
    opposite: `conjugate` brings it to this sign, in which most materials have a negative phase shift.

    The plane is that of the highest peak in the spectrum of the region, refined by robust least squares (Tukey's
    biweight), so that it needs no unwrapping and outvotes grains in the region. What the noise of T / T0 is along and
    across the wave there, s and s', is taken to be that of all pixels: the variances are ``4 s^2 (1 / |T / T0|^2 + 1 / n)`` of
    the optical density and ``s'^2 / |T / T0|^2`` plus the variance of the plane, which grows away from the region, of the
    phase. A reconstruction finer than its resolution has noise that neighbours share, see `regions.noise_correlation`.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> density = xstxm.optical_density(stack).optical_density
    >>> wave = np.exp(-density / 2 + 1j * (0.3 - 0.4 * density)).assign_attrs(units="1")
    >>> found = xstxm.from_transmission(wave.to_dataset(name="transmission"))
    >>> found.phase_shift.dims, found.phase_shift.attrs["units"]
    (('energy', 'y', 'x'), 'rad')
    """
    stack = units.dequantify(stack)
    wave = _complex(stack, signal)
    wave = wave.conj() if conjugate else wave
    empty = None if region is None else _empty(wave, stack, region, fraction, ramp)
    if empty is None:
        note("no empty region: amplitude and phase are as they were reconstructed")
        flat, scatter = wave, dict[str, Any]()
    else:
        flat, scatter = _flattened(wave, empty, ramp)
    measured: xr.DataArray = np.isfinite(flat) & (flat != 0)  # type: ignore[assignment]  # numpy keeps the labels
    flat = flat.where(measured)
    square = _square(flat)
    phase: xr.DataArray = np.arctan2(flat.imag, flat.real)  # type: ignore[assignment]  # numpy keeps the labels
    found: dict[str, Any] = {"optical_density": -np.log(square), "phase_shift": phase}
    if unwrap:
        found["phase_shift"] = _unwrapped(phase, empty)
    found |= {name: (a / square + b).astype(square.dtype) for name, (a, b) in scatter.items()}
    made = {name: annotate(values.transpose(*wave.dims), name) for name, values in found.items()}
    made["quality"] = quality_bits({"not_measured": ~measured.all(ENERGY)}, quality_of(stack))
    if isinstance(stack, xr.DataArray):
        return xr.Dataset(made)
    return stack.drop_vars(_MADE, errors="ignore").assign(made)


def _square(wave: xr.DataArray) -> xr.DataArray:
    return wave.real**2 + wave.imag**2


def _complex(stack: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray:
    """Return the transmission, NaN outside the mask, without attributes, or say what is wrong with it."""
    wave = signal_of(stack, signal)
    require_energy(wave)
    require_image(wave, "a transmission function is an image at each energy")
    if wave.dtype.kind != "c":
        raise SchemaError(
            f"{str(wave.name or signal)!r} is {wave.dtype}, wanted complex numbers: join amplitude and phase, "
            "amplitude * np.exp(1j * phase); an intensity goes to xstxm.optical_density"
        )
    if "units" in wave.attrs:
        wave = wave * wave.real.dtype.type(units.factor(units.units_of(wave), "1", "the transmission"))
    return used_pixels(wave, stack).drop_attrs(deep=False)


def _empty(
    wave: xr.DataArray, stack: xr.DataArray | xr.Dataset, region: AutoRegion | Region, fraction: float, ramp: bool
) -> xr.DataArray:
    """Return where there is no sample, bool (pixel dims), and along energy where pixels are chosen by their brightness."""
    if isinstance(region, str):
        check_choice("region", region, AutoRegion)
        square = _square(wave)
        share = require_number("fraction", fraction, "a share of the pixels", above=0, most=1)
        # each energy has a factor of its own, and the largest would decide alone
        masks = brightest(square / square.mean(("y", "x")), share)
        for mask in masks:
            _require_area(mask, region, ramp)
        turn = xr.DataArray(np.arange(wave.sizes[ENERGY]) % len(masks), {ENERGY: wave[ENERGY]})
        return xr.concat(masks, "turn").isel(turn=turn)
    empty = used_region(wave, stack, region)
    if not is_lazy(empty):
        _require_area(empty, region, ramp)
    return empty


def _require_area(empty: xr.DataArray, region: AutoRegion | Region, ramp: bool) -> None:
    """Refuse pixels on one line, across which the phase could have any slope, or too few to show their noise."""
    inside = np.asarray(empty.any([dim for dim in empty.dims if dim not in ("y", "x")]))
    if phase_plane.shows_plane(*np.nonzero(inside), ramp=ramp):
        return
    do = f"its pixels are only {int(inside.sum())}, which do not show noise: give a larger area, or a larger fraction"
    if ramp:
        do = "its pixels lie on one line, or are too few, and show no plane of phase: give an area, or pass ramp=False"
    raise OptionError("region", region, do)


def _flattened(
    wave: xr.DataArray, empty: xr.DataArray, ramp: bool
) -> tuple[xr.DataArray, dict[str, tuple[xr.DataArray, xr.DataArray]]]:
    """Return T / T0, and for each variance its part over ``|T / T0|^2`` and the part that does not depend on it. Lazy."""
    whole = [item.chunk({"y": -1, "x": -1}) if is_lazy(item) else item for item in (wave, empty)]
    sizes = {"term": phase_plane.N_TERMS, "other_term": phase_plane.N_TERMS}
    plane, spread, amplitude, along, across, of_mean = xr.apply_ufunc(
        phase_plane.empty_wave,
        *whole,
        input_core_dims=[["y", "x"], ["y", "x"]],
        output_core_dims=[["term"], ["term", "other_term"], [], [], [], []],
        vectorize=True,
        dask="parallelized",
        # dask would cast the complex meta of the input, and warn
        dask_gufunc_kwargs={"output_sizes": sizes, "meta": (np.empty(0),) * 6},
        kwargs={"ramp": ramp},
    )
    row, column = (xr.DataArray(np.arange(float(wave.sizes[dim])), dims=dim) for dim in ("y", "x"))
    first, by_row, by_column = (plane.isel(term=k, drop=True) for k in range(phase_plane.N_TERMS))
    # two factors along an axis each, as an image of the plane would take as much memory as the stack
    turns = np.exp(-1j * (first + by_row * row)) / amplitude, np.exp(-1j * by_column * column)
    flat = (wave * turns[0].astype(wave.dtype) * turns[1].astype(wave.dtype)).transpose(*wave.dims)
    term = xr.concat([xr.ones_like(row), row, column], "term", coords="minimal")
    of_plane = across**2 * xr.dot(spread, term, term.rename(term="other_term"), dim=["term", "other_term"])
    return flat, {
        "optical_density_variance": (4 * along**2, 4 * along**2 * of_mean),
        "phase_shift_variance": (across**2, of_plane),
    }


def _unwrapped(phase: xr.DataArray, empty: xr.DataArray | None) -> xr.DataArray:
    """Return phases without jumps of 2 pi, near zero in the empty region. Lazy; whole images."""
    whole = phase.chunk({"y": -1, "x": -1}) if is_lazy(phase) else phase
    around = xr.ones_like(phase, dtype=bool) if empty is None else empty
    return over_frames(_unwrapped_frames, whole, around, output_dtypes=[phase.dtype])[0]


def _unwrapped_frames(phase: np.ndarray, around: np.ndarray) -> list[np.ndarray]:
    """Take (energy, y, x)."""
    return [np.stack([_unwrapped_frame(*frames) for frames in zip(phase, around, strict=True)])]


def _unwrapped_frame(phase: np.ndarray, around: np.ndarray) -> np.ndarray:
    jumps: Any = [np.abs(np.diff(phase, axis=axis)) > np.pi for axis in (0, 1)]
    if not any(jump.any() for jump in jumps):
        return phase
    try:
        from skimage.restoration import unwrap_phase
    except ImportError as error:
        raise MissingDependencyError("unwrapping phases beyond pi", "scikit-image", "denoise") from error
    found = np.ma.filled(unwrap_phase(np.ma.masked_invalid(phase.astype(float)), rng=0), np.nan)
    turns = np.round(np.nanmedian(found[around]) / (2 * np.pi))
    return (found - 2 * np.pi * turns).astype(phase.dtype)


@recorded
def join_phase_shift(
    stack: xr.Dataset,
    references: xr.Dataset,
    *,
    energy_shift: EnergyLike | None = None,
    broadening: EnergyLike | None = None,
) -> xr.Dataset:
    """Put the phase shift behind the optical density, along energy, so that one fit takes both with common amounts.

    A fit of what is returned is ``min sum_e w_e (od_e - sum_k c_k a_ke - b)^2 + w'_e (phase_e - sum_k c_k p_ke - b')^2``: the
    amounts c belong to both, each part has a background of its own, and the weights are one over the two variances.

    Parameters
    ----------
    stack
        Stack with `optical_density` and `phase_shift`, and the variance of both or of none, as of `from_transmission`.
    references
        Reference set with `absorption` and `phase_shift` (reference, energy) per the same length, e.g. in 1/nm and rad/nm,
        see `phase_references`; interpolated onto the stack's energies, never beyond.
    energy_shift, broadening
        As in `with_references`.

    Returns
    -------
    Dataset
        For `fit`, `phase_map` and what else takes a stack, which need no references with it: `optical_density` (energy,
        pixel dims), its `optical_density_variance` where the parts have one, and `reference_spectra` (reference, energy), each with all energies twice; the coordinate
        `part` along energy is ``"optical_density"`` and then ``"phase_shift"``. What does not lie along energy is kept. Lazy.

    Raises
    ------
    MissingVariableError
        A part of the stack, of the references, or one of two variances is missing.
    IncompatibleUnitsError
        The phase shift is no angle, or that of the references not one per the length of their absorption.
    SchemaError
        `stack` is not a Dataset, or holds results for other references.
    EnergyRangeError, ReferenceSpectrumError
        See `references_at`.

    Notes
    -----
    The information of both parts adds up, so that the error of an amount is below that of either part alone. Without
    variances the weights are alike for 1 and rad. Options of the fit that know of optical density only, ``energy_shift``,
    ``broadening`` and ``max_optical_density``, are refused there.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.from_transmission(xstxm.testing.simulate_transmission(shape=(24, 32), seed=0))
    >>> both = xstxm.join_phase_shift(stack, xstxm.testing.simulate_phase_references())
    >>> stack.sizes["energy"], both.sizes["energy"]
    (121, 242)
    >>> xstxm.phase_map(both).composition.dims
    ('y', 'x')
    """
    if not isinstance(stack, xr.Dataset):
        raise SchemaError("optical density and phase shift are two variables: give a Dataset that holds both")
    stack, references = units.dequantify(stack), units.dequantify(references)
    od = signal_of(stack, "optical_density")
    phase = units.to_units(require_variable(stack, "phase_shift", "call .stxm.from_transmission() first"), "rad")
    variances = {name: variance_of(stack, name) for name in ("optical_density", "phase_shift")}
    missing = [name for name, variance in variances.items() if variance is None]
    if len(missing) == 1:
        do = "both parts need a variance to be weighed, or none of them: drop_vars the other, or call from_transmission again"
        raise MissingVariableError(f"{missing[0]}_variance", stack.data_vars, do)
    per_length = require_variable(references, "phase_shift", "make it from the absorption with xstxm.phase_references")
    moved: dict[str, Any] = {"energy_shift": energy_shift, "broadening": broadening}
    absorption = references_at(references, require_energy(od), **moved)
    # pint takes an angle for a number, so that rad/nm converts to 1/nm
    turned = references_at(references.assign(absorption=per_length), require_energy(od), **moved)
    turned = units.to_units(turned, units.units_of(absorption), "the phase shift of the references")
    joined = {"optical_density": _behind(od, phase).assign_attrs(long_name="Optical density and phase shift")}
    if not missing:
        squares = (units.to_units(held, "rad**2") for held in variances.values() if held is not None)
        joined["optical_density_variance"] = _behind(*squares).assign_attrs(units="1")
    return holding(stack.drop_dims(ENERGY).assign(joined), _behind(absorption, turned))


def _behind(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    """Return two arrays of the same energies one behind the other, with the attributes of the first."""
    parts = [
        array.transpose(*first.dims)
        .drop_attrs(deep=False)
        .assign_coords({PART: (ENERGY, [name] * array.sizes[ENERGY])})
        for name, array in (("optical_density", first), ("phase_shift", second))
    ]
    whole = xr.concat(parts, ENERGY, coords="minimal", compat="override", join="override")
    whole[ENERGY].attrs.update(first[ENERGY].attrs)
    whole = whole.chunk({ENERGY: -1}) if is_lazy(whole) else whole
    return whole.rename(first.name).assign_attrs(first.attrs)
