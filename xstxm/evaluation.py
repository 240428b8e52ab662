"""What fewer energies of a measured stack would have given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import equal_within
from xstxm._design_options import places_of
from xstxm._unknowns import Background, Method
from xstxm.absorption import with_density
from xstxm.conventions import ENERGY, annotate, require_energy, require_variable
from xstxm.energy import given_energies
from xstxm.phases import phase_map
from xstxm.provenance import recorded
from xstxm.units import AmountLike, EnergyLike


@recorded
def evaluate_energies(
    stack: xr.DataArray | xr.Dataset,
    references: xr.Dataset | None,
    energies: Sequence[EnergyLike] | xr.DataArray | xr.Dataset,
    *,
    method: Method = "nnls",
    background: Background = "constant",
    min_amount: AmountLike | None = None,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Return what some energies of a measured stack would have given, against all of them.

    Parameters
    ----------
    stack
        Stack or array of optical density; a Dataset without it is taken from counts by `optical_density` first.
    references
        Reference set; None takes the `reference_spectra` of the Dataset.
    energies
        Energies of the stack: a list, an array, or a design of `design_energies`. Of an energy that the stack holds more
        than once all frames are taken.
    method, background, min_amount, signal
        As in `phase_map`, for both fits; sample is what the fit of all energies finds.

    Returns
    -------
    Dataset
        `fraction_difference` (phase, pixel dims), some minus all energies, NaN where there is no sample;
        `fraction_difference_rms` and `fraction_difference_mean` (phase) over the sample; where the references carry a
        composition the same of it, `composition_difference` (pixel dims), `composition_difference_rms` and
        `composition_difference_mean`; `agreement`, the share of the sample whose phase is the same, and `n_sample`,
        the pixels of the sample. A pixel in which the chosen energies find nothing has no fraction: it does not
        agree, and is in no mean. Lazy.

    Raises
    ------
    EnergyRangeError
        Energies that the stack does not have.
    ReferenceSpectrumError
        Too few energies for the fit, or references that cannot be told apart there.

    Notes
    -----
    The fit of all energies is no truth. It has noise of its own, part of which it shares with the fit of some of its
    energies; and an error that both make, as that of a phase that is missing from the references, does not show.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> refs = xstxm.testing.simulate_references()
    >>> even = stack.energy[::12]
    >>> found = xstxm.evaluate_energies(stack, refs, even)
    >>> found.fraction_difference.dims, bool(found.agreement > 0.5)
    (('phase', 'y', 'x'), True)
    """
    stack = with_density(stack, signal)
    if references is None:
        holder = stack if isinstance(stack, xr.Dataset) else xr.Dataset()
        require_variable(
            holder, "reference_spectra", "pass references, or call .stxm.with_references(references) first"
        )
    frames = _frames(stack, energies)
    options: dict[str, Any] = {"method": method, "background": background, "signal": signal, "min_confidence": 0.0}
    whole = phase_map(stack, references, min_amount=min_amount, **options)
    part = phase_map(stack.isel({ENERGY: frames}), references, min_amount=-np.inf, **options)
    return _differences(part, whole).assign_attrs(method=method, n_energies=len(frames))


def _frames(stack: xr.DataArray | xr.Dataset, energies: Sequence[EnergyLike] | xr.DataArray | xr.Dataset) -> list[int]:
    """Return the places of all frames at some energies, in the order of the stack."""
    axis = require_energy(stack)
    wanted = energies[ENERGY] if isinstance(energies, xr.Dataset) else energies
    wanted = units.dequantify(wanted) if isinstance(wanted, xr.DataArray) else wanted
    values = given_energies(wanted, axis)
    places_of(values, axis, "energies", "in the stack")
    apart = np.abs(np.asarray(axis, dtype=float)[:, None] - values).min(1)
    return np.flatnonzero(apart <= equal_within(None, units.units_of(axis))).tolist()


def _differences(part: xr.Dataset, whole: xr.Dataset) -> xr.Dataset:
    sample = whole["phase_label"] >= 0
    dims = sample.dims
    fraction = part["phase_fraction"].where(sample) - whole["phase_fraction"]
    found = part["phase_fraction"].notnull().all("phase")
    equal = (part["phase_label"] == whole["phase_label"]) & found
    result = {
        "fraction_difference": fraction,
        "agreement": equal.where(sample).mean(dims),
        "n_sample": sample.sum(dims),
        **_summaries("fraction_difference", fraction, dims),
    }
    unit = None
    if "composition" in whole:
        unit = whole["composition"].attrs["units"]
        composition = part["composition"].where(sample) - whole["composition"]
        result["composition_difference"] = composition
        result |= _summaries("composition_difference", composition, dims)
    stamped = {
        name: annotate(array, name, units=unit if name.startswith("composition") else None)
        for name, array in result.items()
    }
    return xr.Dataset(stamped)


def _summaries(name: str, difference: xr.DataArray, dims: tuple[Any, ...]) -> dict[str, xr.DataArray]:
    return {f"{name}_rms": (difference**2).mean(dims) ** 0.5, f"{name}_mean": difference.mean(dims)}
