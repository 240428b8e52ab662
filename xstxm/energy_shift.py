"""Energy shift and resolution between a stack and its references, found together with the amounts."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import require_single_chunk
from xstxm._kernels import energy_shift as kernel
from xstxm._references_at import (
    Move,
    checked_absorption,
    energy_move,
    moves,
    references_at,
    require_coverage,
    spectra_of,
)
from xstxm._sums import pixel_sums
from xstxm._unknowns import Background, background_spectra, require_determined
from xstxm.conventions import (
    ENERGY,
    annotate,
    as_float,
    density_of,
    nothing_usable,
    pixel_dims,
    require_energy,
    signal_of,
)
from xstxm.decomposition import usable_pixels
from xstxm.errors import ConvergenceWarning, OptionError, SchemaError, warn
from xstxm.provenance import note, recorded
from xstxm.roi import Region
from xstxm.steps import followed
from xstxm.units import EnergyLike, EnergyMove

BLOCKS = 24
"""Blocks of pixels whose scatter gives the standard errors."""
SHARPER = 3.0
"""Standard errors from which spectra of the stack are sharper than the references."""


@recorded
def estimate_energy_shift(
    stack: xr.DataArray | xr.Dataset,
    references: xr.Dataset,
    *,
    max_shift: EnergyLike = "1 eV",
    broadening: EnergyMove = 0.0,
    max_broadening: EnergyLike = "0.5 eV",
    background: Background = "constant",
    region: Region | None = None,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Find the energy shift between a stack and its references, one for all pixels, together with their amounts.

    What lies at the energy E in the references lies at ``E + energy_shift`` in the stack. It is the s that minimises
    ``sum_p min_c,b sum_e (od_p(e) - sum_k c_pk a_k(e - s) - sum_t b_pt g_t(e))^2``, with a the references, broadened where
    the stack has the worse resolution.

    Parameters
    ----------
    stack
        Optical density: an array, or a Dataset that holds it as `signal`. Any dimensions besides energy.
    references
        Reference set, which has to reach beyond the stack by `max_shift`, and by 1.7 times the broadening, at both ends.
    max_shift
        The search goes from minus to plus this.
    broadening
        Full width at half maximum of a Gaussian that broadens the references, in the middle of the stack and in
        proportion to the energy; ``"fit"`` finds it too.
    max_broadening
        Largest width of that search.
    background
        As in `fit`.
    region
        Pixels to use: a mask, a box or a polygon, see `spectrum`. Those outside the `mask` of a Dataset, and
        those that are not finite at every energy, are left out as well.
    signal
        Variable of a Dataset that is fitted.

    Returns
    -------
    Dataset
        In the unit of the energies: `energy_shift` and `energy_shift_stderr`, from the scatter over 24 blocks of
        pixels; `energy_shift_jackknife`, the standard error over eight parts of the spectrum, each left out in turn, which
        also knows of references that are not those of the sample; `broadening` and `broadening_stderr`, NaN where it
        was given. `rms_before` and `rms_after`, the residual over pixels and energies with nothing moved and at the end,
        and `trial_rms` (trial_shift), that of shifts over the whole search. Eager: one pass over the stack, of
        which an energy-by-energy matrix for each block is kept.

    Raises
    ------
    EnergyRangeError
        References that do not reach far enough beyond the stack; it says which energies to keep.
    ReferenceSpectrumError
        References that cannot be told apart, or too few energies.
    OptionError
        `max_shift` or `max_broadening` is not above zero, or `broadening` below zero.
    SchemaError
        No pixel is finite at every energy, or nothing in the stack depends on the shift.

    Warns
    -----
    ConvergenceWarning
        Shift or broadening end at the limit of the search, or the stack is sharper than the references.

    Notes
    -----
    The amounts are free in sign, as with ``method="lstsq"``; all energies weigh alike. References are interpolated by cubic
    splines: straight lines would flatten every peak between its points, and the sum of squares would have kinks.

    Examples
    --------
    >>> import xstxm
    >>> references = xstxm.testing.simulate_references()
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> od = xstxm.optical_density(xstxm.sel_energy(stack, 510, 558))
    >>> found = xstxm.estimate_energy_shift(xstxm.calibrate_energy(od, "0.3 eV"), references)
    >>> bool(abs(found.energy_shift - 0.3) < 0.01)
    True
    """
    stack = units.dequantify(stack)
    od = as_float(density_of(stack, signal))
    energy = require_energy(od)
    fitted = isinstance(broadening, str) and broadening == "fit"
    limit = _positive(max_shift, energy, "max_shift")
    widest = _positive(max_broadening, energy, "max_broadening") if fitted else None
    held = 0.0 if fitted else energy_move(broadening, energy, "broadening", least=0.0)
    absorption = checked_absorption(references)
    require_coverage(absorption, energy, Move(-limit, limit, held if widest is None else widest))
    terms = background_spectra(background, energy)
    require_determined(references_at(references, energy), terms, "lstsq")
    moments = _block_moments(od, stack, region)
    found = kernel.find(
        moments,
        np.asarray(terms, dtype=float),
        spectra_of(absorption, energy),
        np.asarray(energy, dtype=float),
        limit,
        held,
        widest,
    )
    if not kernel.determined(moments, found):
        raise SchemaError(
            "the residual is the same at every shift: the stack holds nothing that the references describe, check signal="
        )
    unit = units.units_of(energy)
    _warn_at_limits(found, limit, widest, unit)
    note(f"shift {found.shift:.4g} +- {found.shift_error:.2g} {unit}")
    return _result(found, moments, energy, units.units_of(od))


def _positive(value: EnergyLike, energy: xr.DataArray, option: str) -> float:
    number = energy_move(value, energy, option)
    if not number > 0:
        raise OptionError(option, value, "give an energy above zero, e.g. '1 eV'")
    return number


def _block_moments(od: xr.DataArray, stack: xr.DataArray | xr.Dataset, region: Region | None) -> np.ndarray:
    """Return second moments of contiguous blocks of pixels. Eager on these matrices."""
    usable = usable_pixels(od, stack, region)
    dims = pixel_dims(od)
    number = np.arange(usable.size).reshape(usable.shape) * BLOCKS // max(usable.size, 1)
    label = xr.DataArray(number.astype(np.int16), dims=dims).where(usable.drop_vars(list(usable.coords)), np.int16(-1))
    side = od.sizes[ENERGY] + 1
    sizes = {"block": BLOCKS, "row": side, "column": side}
    array = require_single_chunk(od, "estimate_energy_shift")
    sums = pixel_sums(kernel.block_moments, array, label, sizes, n_blocks=BLOCKS).compute(**followed())
    if not sums[:, -1, -1].any():
        raise nothing_usable(od, usable)
    return np.asarray(sums)


def _warn_at_limits(found: kernel.Found, limit: float, widest: float | None, unit: str) -> None:
    if abs(found.shift) > 0.999 * limit:
        warn(
            f"the energy shift ends at the limit of the search, {found.shift:.4g} {unit}: look at trial_rms, and pass a larger "
            "max_shift, or move the stack by most of it first with .stxm.calibrate_energy(...)",
            ConvergenceWarning,
        )
    if widest is not None and found.width > 0.999 * widest:
        warn(
            f"the broadening ends at the limit of the search, {widest:.4g} {unit}: pass a larger max_broadening",
            ConvergenceWarning,
        )
    if found.sharper > SHARPER:
        warn(
            f"the stack is sharper than the references, by {found.sharper:.2g} standard errors of a broadening of zero: "
            "use references of a better resolution",
            ConvergenceWarning,
        )


def _result(found: kernel.Found, moments: np.ndarray, energy: xr.DataArray, density: str) -> xr.Dataset:
    unit = units.units_of(energy)
    values = float(moments[:, -1, -1].sum()) * energy.size
    numbers = {
        "energy_shift": (found.shift, unit),
        "energy_shift_stderr": (found.shift_error, unit),
        "energy_shift_jackknife": (found.jackknife, unit),
        "broadening": (found.width, unit),
        "broadening_stderr": (found.width_error, unit),
        "rms_before": (np.sqrt(found.before / values), density),
        "rms_after": (np.sqrt(found.after / values), density),
    }
    result = xr.Dataset({name: annotate(xr.DataArray(value), name, units=of) for name, (value, of) in numbers.items()})
    trials, squares = found.trials
    curve = xr.DataArray(np.sqrt(squares / values), dims="trial_shift")
    result["trial_rms"] = annotate(curve, "trial_rms", units=density)
    shift_attrs = {"units": unit, "long_name": "Trial shift"}
    return result.assign_coords(trial_shift=("trial_shift", trials, shift_attrs)).assign_attrs(
        n_pixels=int(moments[:, -1, -1].sum())
    )


def move_asked_for(
    stack: xr.DataArray | xr.Dataset,
    references: xr.Dataset | None,
    shift: EnergyMove | None,
    broadening: EnergyMove | None,
    background: Background,
    signal: str,
) -> xr.Dataset | None:
    """Return the shift and the broadening of a fit with their standard errors; None for references that stay as they are.

    Eager where they are to be found.
    """
    if shift is None and broadening is None:
        return None
    if references is None:
        option, value = ("broadening", broadening) if shift is None else ("energy_shift", shift)
        raise OptionError(option, value, "moved references have to reach beyond the stack: pass references= as well")
    names = ["energy_shift", "energy_shift_stderr", "broadening", "broadening_stderr"]
    if isinstance(shift, str) and shift == "fit":
        width = 0.0 if broadening is None else broadening
        found = estimate_energy_shift(stack, references, broadening=width, background=background, signal=signal)
        return found[names].drop_attrs(deep=False)
    if isinstance(broadening, str) and broadening == "fit":
        raise OptionError("broadening", broadening, "it is found together with the shift: pass energy_shift='fit' too")
    energy = require_energy(signal_of(stack, signal))
    moved, broadened = moves(shift, broadening, energy)
    unit = units.units_of(energy)
    note(f"references moved by {moved:.6g} {unit} and broadened by {broadened:.6g} {unit}")
    values = [moved, np.nan, broadened, np.nan]
    return xr.Dataset({n: annotate(xr.DataArray(v), n, units=unit) for n, v in zip(names, values, strict=True)})
