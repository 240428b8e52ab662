"""Contrast between energies: difference and ratio maps."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import over_energy
from xstxm._axes import format_range
from xstxm.conventions import ENERGY, annotate, quality_bits, quality_of, require_energy, signal_and_variance
from xstxm.energy import Window, window_at
from xstxm.errors import EnergyRangeError, OptionError, require_number
from xstxm.options import get_options
from xstxm.provenance import note, recorded
from xstxm.units import EnergyLike

At: TypeAlias = "EnergyLike | Window"


@recorded
def difference_map(stack: xr.DataArray | xr.Dataset, on: At, off: At, *, signal: str = "optical_density") -> xr.Dataset:
    """Map the difference of a signal between two energies or two windows of energies, ``on - off``.

    Parameters
    ----------
    stack
        Stack, or an array. Any dimensions besides energy.
    on, off
        Where the material absorbs and where it does not: an energy, of which the nearest measured one is taken, or a
        window, two energies, over which the signal is averaged.
    signal
        Variable of a Dataset that is read.

    Returns
    -------
    Dataset
        `difference` (pixel dims) in units of the signal, dtype kept (integers become float32), `quality`, where
        `not_measured` says that a pixel has no finite value at either, and `difference_stderr`. The error comes from
        the variance of the signal where the Dataset holds it, e.g. `optical_density_variance`; else from the residual
        of a straight line in each window; with one energy each and no variance there is none, and the history says
        so. Energies used are in attrs. Lazy.

    Raises
    ------
    MissingVariableError
        The Dataset has no such signal.
    EnergyRangeError
        An energy that the stack does not cover, or a window without energies.
    OptionError
        `on` and `off` share an energy.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> xstxm.difference_map(stack, "518.4 eV", ("508 eV", "512 eV")).difference.dims
    ('y', 'x')
    """
    stack = units.dequantify(stack)
    array, bright, dark = _sides(stack, on, off, signal)
    unit = array.attrs.get("units")
    result = {"difference": annotate(bright.mean - dark.mean, "difference", units=unit)}
    if bright.variance is not None and dark.variance is not None:
        stderr = ((bright.variance + dark.variance) ** 0.5).astype(array.dtype)
        result["difference_stderr"] = annotate(stderr, "difference_stderr", units=unit)
    flags = {"not_measured": result["difference"].isnull()}
    return xr.Dataset(
        {**result, "quality": quality_bits(flags, quality_of(stack))}, attrs={"on": bright.label, "off": dark.label}
    )


@recorded
def ratio_map(
    stack: xr.DataArray | xr.Dataset,
    on: At,
    off: At,
    *,
    min_significance: float = 3.0,
    min_denominator: float = 0.0,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Map the ratio of a signal at two energies or in two windows of energies, ``on / off``.

    Parameters
    ----------
    stack
        Stack, or an array. Any dimensions besides energy.
    on, off
        An energy, of which the nearest measured one is taken, or a window, two energies, over which the signal is
        averaged.
    min_significance
        A denominator that is not above zero by this many of its standard errors is noise: NaN.
    min_denominator
        A denominator at or below this, in units of the signal, is noise too. The only guard where there is no error.
    signal
        Variable of a Dataset that is read.

    Returns
    -------
    Dataset
        `ratio` [1] (pixel dims), dtype kept (integers become float32), `quality`, where `below_noise` says that the
        denominator is noise and `not_measured` that a pixel has no finite value at either, and `ratio_stderr` to
        first order, from the same sources as in `difference_map`. Lazy.

    Raises
    ------
    MissingVariableError
        The Dataset has no such signal.
    EnergyRangeError
        An energy that the stack does not cover, or a window without energies.
    OptionError
        `on` and `off` share an energy.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> xstxm.ratio_map(stack, ("518 eV", "519 eV"), ("516 eV", "517 eV")).ratio.attrs["units"]
    '1'
    """
    least = require_number("min_significance", min_significance, "a number of standard errors", least=0)
    floor = require_number("min_denominator", min_denominator)
    stack = units.dequantify(stack)
    array, over, under = _sides(stack, on, off, signal)
    ratio, stderr, noise = _quotient(over, under, least, floor)
    result = {"ratio": annotate(ratio, "ratio")}
    if stderr is not None:
        result["ratio_stderr"] = annotate(stderr.astype(array.dtype), "ratio_stderr")
    flags = {"not_measured": (over.mean + under.mean).isnull(), "below_noise": noise}
    return xr.Dataset(
        {**result, "quality": quality_bits(flags, quality_of(stack))}, attrs={"on": over.label, "off": under.label}
    )


class _Side(NamedTuple):
    """A mean and its variance, None where nothing tells it."""

    mean: xr.DataArray
    variance: xr.DataArray | None
    label: str


def _quotient(
    over: _Side, under: _Side, least: float, floor: float
) -> tuple[xr.DataArray, xr.DataArray | None, xr.DataArray]:
    """Return a ratio of independent means, its error, and where the denominator is noise, NaN there."""
    noise = under.mean <= floor
    if under.variance is not None:
        noise = noise | (under.mean <= least * under.variance**0.5)
    divisor = under.mean.where(~noise)
    ratio = over.mean / divisor
    if over.variance is None or under.variance is None:
        return ratio, None, noise
    return ratio, (over.variance + ratio**2 * under.variance) ** 0.5 / divisor, noise


def _sides(stack: xr.DataArray | xr.Dataset, on: At, off: At, signal: str) -> tuple[xr.DataArray, _Side, _Side]:
    """Return the signal and its means at two places, with errors that have one source for both."""
    array, variance = signal_and_variance(stack, signal)
    energy = require_energy(array)
    index = {name: _energies_at(energy, at, name) for name, at in (("on", on), ("off", off))}
    unit = units.units_of(energy)
    shared = np.intersect1d(index["on"], index["off"])
    if shared.size:
        raise OptionError("off", off, f"on and off share {_said(energy[shared], unit)}: part them")
    places = list(index.values())
    if variance is None and max(map(len, places)) == 1:
        note(f"no standard error: one energy each and no {array.name}_variance")
    found = _means_and_variances(array, variance, places)
    labels = [_said(energy[positions], unit) for positions in places]
    note(f"on: {labels[0]}, off: {labels[1]}")
    means, errors = found[:2], found[2:] or (None, None)
    over, under = (_Side(*side) for side in zip(means, errors, labels, strict=True))
    return array, over, under


def _means_and_variances(
    array: xr.DataArray, variance: xr.DataArray | None, places: list[np.ndarray]
) -> list[xr.DataArray]:
    """Return the mean at each of two places, and the variances of both where something tells them. Lazy.

    Chunks that hold all energies give all of them in one task.
    """
    arrays = [array] if variance is None else [array, variance]
    if not all(len(item.variable.chunksizes.get(ENERGY, ())) == 1 for item in arrays):
        return _means_and_variances_of(places, *arrays)
    known = variance is not None or max(map(len, places)) > 1
    dtypes = [array.dtype] * 2 + [np.dtype(float)] * (2 if known else 0)
    found = over_energy(
        functools.partial(_of_chunk, places=places, energy=np.asarray(array[ENERGY], dtype=float)),
        *arrays,
        verb="the map",
        output_dims=[[]] * len(dtypes),
        output_dtypes=dtypes,
    )
    return [item.drop_attrs() for item in found]


def _of_chunk(*blocks: np.ndarray, places: list[np.ndarray], energy: np.ndarray) -> tuple[np.ndarray, ...]:
    dims = [*(f"pixel_{k}" for k in range(blocks[0].ndim - 1)), ENERGY]
    arrays = [xr.DataArray(block, {ENERGY: energy}, dims) for block in blocks]
    return tuple(np.asarray(found) for found in _means_and_variances_of(places, *arrays))


def _means_and_variances_of(
    places: list[np.ndarray], array: xr.DataArray, variance: xr.DataArray | None = None
) -> list[xr.DataArray]:
    pieces = [array.isel({ENERGY: positions}) for positions in places]
    means = [piece.mean(ENERGY, skipna=True, dtype=float).astype(array.dtype) for piece in pieces]
    if variance is not None:
        held = [variance.isel({ENERGY: positions}) for positions in places]
        summed = [v.where(p.notnull(), 0).sum(ENERGY, skipna=False) for v, p in zip(held, pieces, strict=True)]
        errors = [total / piece.count(ENERGY) ** 2 for total, piece in zip(summed, pieces, strict=True)]
    elif max(map(len, places)) > 1:
        point = _point_variance(pieces)
        errors = [point / piece.count(ENERGY) for piece in pieces]
    else:
        errors = []
    return [*means, *errors]


def _said(energy: xr.DataArray, unit: str) -> str:
    """Return ``518.4 eV``, or ``508-512 eV (9 energies)``."""
    if len(np.unique(energy)) == 1:
        return f"{float(energy[0]):g} {unit}"
    return f"{format_range(np.asarray(energy), unit)} ({energy.size} energies)"


def _energies_at(energy: xr.DataArray, at: At, what: str) -> np.ndarray:
    """Return the positions of the energies in a window, or of the measured energy that is nearest."""
    if isinstance(at, tuple | list):
        return window_at(energy, at, what)
    values = np.asarray(energy, dtype=float)
    wanted = units.to_magnitude(at, energy, what)
    nearest = values[np.abs(values - wanted).argmin()]
    unit = units.units_of(energy)
    gaps = np.abs(values[values != nearest] - nearest)
    reach = max(gaps.min() / 2 if gaps.size else 0.0, get_options().energy_tolerance * units.factor("eV", unit))
    if not values.min() - reach <= wanted <= values.max() + reach:
        raise EnergyRangeError(
            f"{what} is {wanted:g} {unit}, the stack covers {format_range(values, unit)}: give an energy within"
        )
    return np.flatnonzero(values == nearest)


def _point_variance(pieces: list[xr.DataArray]) -> xr.DataArray:
    """Return the variance of a point: the residual of a straight line in each window, of the mean for two energies."""
    total: Any = 0
    free: Any = 0
    for piece in pieces:
        seen, energy = piece.notnull(), piece[ENERGY].astype(float)
        # centred twice: small numbers, which the dtype of the signal holds as well as float64 would
        x = (energy - energy.mean()).astype(piece.dtype).where(seen)
        x = x - x.mean(ENERGY)
        y = piece - piece.mean(ENERGY)
        count, power = seen.sum(ENERGY), (x * x).sum(ENERGY)
        sloping = (count > 2) & (power > 0)
        slope = xr.where(sloping, (x * y).sum(ENERGY) / power.where(sloping), 0).astype(piece.dtype)
        total = total + ((y - slope * x) ** 2).sum(ENERGY, dtype=float)
        free = free + (count - 1 - sloping).clip(min=0)
    return total / free.where(free > 0)
