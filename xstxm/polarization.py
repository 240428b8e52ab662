"""Dichroism: what two polarizations of the light tell apart."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, annotate, quality_bits, quality_of, signal_and_variance
from xstxm.errors import MissingDimensionError, OptionError, require_number
from xstxm.provenance import note, recorded

Label: TypeAlias = "float | str | int"


@recorded
def dichroism(
    stack: xr.DataArray | xr.Dataset,
    *,
    dim: str = "polarization",
    plus: Label | None = None,
    minus: Label | None = None,
    min_significance: float = 3.0,
    min_denominator: float = 0.0,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Compare two polarizations of a stack: ``plus + minus``, ``plus - minus`` and their ratio, the asymmetry.

    With the two helicities of circular light the difference is the magnetic circular dichroism (XMCD), with
    horizontal and vertical light the linear dichroism (XLD).

    Parameters
    ----------
    stack
        Stack, or an array, with a dimension for the polarization. Any dimensions besides, energy or none.
    dim
        That dimension, e.g. ``"polarization"``, or ``"field"`` where the magnet was reversed instead.
    plus, minus
        Their labels along `dim`: names, numbers, or numbers with units (``"90 deg"``). Of two polarizations the first
        is `plus` by default, which the history says.
    min_significance
        A sum that is not above zero by this many of its standard errors is noise: no asymmetry, NaN.
    min_denominator
        A sum at or below this, in units of the signal, is noise too. The only guard where there is no variance.
    signal
        Variable of a Dataset that is read.

    Returns
    -------
    Dataset
        `dichroism_sum`, `dichroism_difference` in units of the signal and `dichroism_asymmetry` [1] (energy, pixel
        dims), dtype kept (integers become float32); their `_stderr` where the Dataset holds the variance of the
        signal, e.g. `optical_density_variance`, else the history says why not; and `quality` (pixel dims) with
        `below_noise` and `not_measured`, each for one energy or more. Lazy.

    Raises
    ------
    MissingVariableError
        The Dataset has no such signal.
    MissingDimensionError
        There is no dimension `dim`.
    OptionError
        Labels that are not there, or there more than once, or missing where there are not two polarizations.

    Notes
    -----
    The error of the asymmetry is ``2 sqrt(minus^2 var(plus) + plus^2 var(minus)) / (plus + minus)^2``. The two
    polarizations have to be aligned with each other; nothing is corrected for an incomplete polarization.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> left, right = (xstxm.testing.simulate_stack(shape=(8, 12), seed=0, counts=c) for c in (5000, 4000))
    >>> both = xr.concat([left.intensity, right.intensity], "polarization", coords="minimal", compat="override")
    >>> both = both.assign_coords(polarization=["left", "right"])
    >>> result = xstxm.dichroism(both, plus="left", minus="right")
    >>> result.dichroism_asymmetry.dims, round(float(result.dichroism_asymmetry.mean()), 2)
    (('energy', 'y', 'x'), 0.11)
    """
    least = require_number("min_significance", min_significance, "a number of standard errors", least=0)
    floor = require_number("min_denominator", min_denominator)
    stack = units.dequantify(stack)
    array, variance = signal_and_variance(stack, signal)
    at = _two_labels(array, dim, plus, minus)
    first, second = (array.isel({dim: k}, drop=True) for k in at)
    total, difference = first + second, first - second
    errors: dict[str, xr.DataArray] = {}
    noise = total <= floor
    if variance is None:
        note(f"no standard errors: no {array.name}_variance")
    else:
        v_first, v_second = (variance.isel({dim: k}, drop=True) for k in at)
        squared = second**2 * v_first + first**2 * v_second
        errors["sum"] = errors["difference"] = ((v_first + v_second) ** 0.5).astype(array.dtype)
        noise = noise | (total <= least * errors["sum"])
        errors["asymmetry"] = (2 * squared**0.5 / total.where(~noise) ** 2).astype(array.dtype)
    values = {"sum": total, "difference": difference, "asymmetry": difference / total.where(~noise)}
    unit = array.attrs.get("units")
    made = {f"dichroism_{name}": value for name, value in values.items()}
    made |= {f"dichroism_{name}_stderr": error for name, error in errors.items()}
    stamped = {name: annotate(item, name, units="1" if "asymmetry" in name else unit) for name, item in made.items()}
    along = [ENERGY] if ENERGY in total.dims else []
    flags = {"not_measured": total.isnull().any(along), "below_noise": noise.any(along)}
    named = {side: str(_label(array, dim, k)) for side, k in zip(("plus", "minus"), at, strict=True)}
    note(f"plus: {named['plus']}, minus: {named['minus']}")
    quality = quality_bits(flags, _joined(quality_of(stack), dim, at))
    return xr.Dataset({**stamped, "quality": quality}, attrs=named)


def _two_labels(array: xr.DataArray, dim: str, plus: Label | None, minus: Label | None) -> tuple[int, int]:
    """Return the positions of plus and minus along the polarization."""
    if dim not in array.dims:
        raise MissingDimensionError(
            dim, array.dims, f'join the two stacks first, xarray.concat([a, b], "{dim}"), or pass dim=...'
        )
    found = [_label(array, dim, k) for k in range(array.sizes[dim])]
    if (plus is None or minus is None) and len(found) != 2:
        unnamed = "plus" if plus is None else "minus"
        raise OptionError(unnamed, None, f"{dim!r} holds {found}, not two: name plus= and minus=")
    places = [
        None if label is None else _place(array, dim, label, side) for side, label in (("plus", plus), ("minus", minus))
    ]
    first = places[0] if places[0] is not None else (0 if places[1] is None else 1 - places[1])
    second = places[1] if places[1] is not None else 1 - first
    if first == second:
        raise OptionError("minus", minus, f"plus and minus are one polarization; {dim!r} holds {found}")
    return first, second


def _label(array: xr.DataArray, dim: str, position: int) -> Any:
    return array[dim][position].item() if dim in array.coords else position


def _place(array: xr.DataArray, dim: str, label: Label, side: str) -> int:
    """Return the one position of a label: a name, or a number with or without a unit."""
    found = [_label(array, dim, k) for k in range(array.sizes[dim])]
    coord = array.coords.get(dim)
    if coord is not None and coord.dtype.kind not in "fiu":
        hits = [k for k, name in enumerate(found) if str(name) == str(label)]
    else:
        unit = "1" if coord is None or "units" not in coord.attrs else units.units_of(coord)
        hits = np.flatnonzero(np.isclose(found, units.to_magnitude(label, unit, side))).tolist()
    if len(hits) != 1:
        times = "not there" if not hits else f"there {len(hits)} times, average the repeats first"
        raise OptionError(side, label, f"{times}; {dim!r} holds {found}")
    return hits[0]


def _joined(quality: xr.DataArray | None, dim: str, at: tuple[int, int]) -> xr.DataArray | None:
    """Return the flags that either of the two polarizations has."""
    if quality is None or dim not in quality.dims:
        return quality
    first, second = (quality.isel({dim: k}, drop=True) for k in at)
    return first | second
