"""Corrections of counts: dark signal, ring current, lines of a scan that differ as a whole."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import alongside, is_lazy, require_single_chunk
from xstxm._kernels.scan_lines import line_offsets
from xstxm.absorption import placed_dark
from xstxm.conventions import (
    ENERGY,
    REFERENCE_CURRENT,
    Stack,
    annotate,
    as_float,
    measure_of,
    replace_signal,
    require_energy,
    require_image,
    signal_of,
    variance_of,
)
from xstxm.errors import (
    MetadataWarning,
    MissingCoordinateError,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    require_whole,
    warn,
)
from xstxm.provenance import note, recorded

LineKind: TypeAlias = Literal["gain", "offset"]
SlowAxis: TypeAlias = Literal["y", "x"]


@recorded
def subtract_dark(stack: Stack, dark: float | str | xr.DataArray, *, signal: str = "intensity") -> Stack:
    """Subtract what the detector shows without light: ``I - dark``.

    `optical_density` does the same on its way with ``dark=``; this verb is for what comes before.

    Parameters
    ----------
    stack
        Stack, or the array of counts.
    dark
        A number in the units of the counts, a string with a unit, or an array over any of the stack's
        dimensions; in the units of the counts unless it has its own. Another energy axis is interpolated.
    signal
        Variable of a Dataset that holds the counts.

    Returns
    -------
    DataArray or Dataset
        The array in its units, dtype kept (integers become float32); of a Dataset the Dataset with it, and
        with `i0` less the dark too, where the counts are the `intensity`. Counts below the dark are negative
        and stay so; `optical_density` makes them NaN and flags them. A variance stays as it is: the dark is
        taken as known. Lazy.

    Raises
    ------
    MissingVariableError, SchemaError
        The Dataset lacks `signal`; `dark` lies on other pixels, or varies over pixels where `i0` does not.
    IncompatibleUnitsError, EnergyRangeError
        `dark` is in units of another kind, or does not cover the stack.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> light = xstxm.subtract_dark(stack, "20 count")
    >>> float(stack.intensity[0, 0, 0] - light.intensity[0, 0, 0])
    20.0
    """
    stack = units.dequantify(stack)
    counts = signal_of(stack, signal)
    require_energy(counts)
    level = placed_dark(dark, counts)
    light = _less(counts, level)
    others: dict[str, xr.DataArray] = {}
    if isinstance(stack, xr.Dataset) and signal == "intensity" and "i0" in stack:
        others["i0"] = _incident_less(stack, counts, level)
    return replace_signal(stack, signal, light, **others)


def _less(counts: xr.DataArray, level: Any) -> xr.DataArray:
    """Return counts less a level, a number or an array, in their own dtype."""
    floats = as_float(counts)
    level = alongside(level.astype(floats.dtype), counts) if isinstance(level, xr.DataArray) else level
    return (floats - level).astype(floats.dtype, copy=False).transpose(*counts.dims).assign_attrs(counts.attrs)


def _incident_less(stack: xr.Dataset, counts: xr.DataArray, level: Any) -> xr.DataArray:
    """Return the I0 of the stack less the dark, in whatever unit it is, or say why that cannot be."""
    i0 = stack["i0"]
    do = "drop_vars('i0') first and estimate it after, or pass dark= to optical_density"
    if isinstance(level, xr.DataArray) and not {*level.dims} <= {*i0.dims}:
        raise SchemaError(f"dark lies over {level.dims}, 'i0' over {i0.dims} only, so its dark is unknown: {do}")
    if not units.same_kind(units.units_of(i0), units.units_of(counts)):
        raise SchemaError(f"'i0' is in {units.units_of(i0)}, the counts in {units.units_of(counts)}: {do}")
    return _less(i0, level * units.factor(units.units_of(counts), units.units_of(i0)))


@recorded
def normalize_current(stack: Stack, reference: float | str | None = None, *, signal: str = "intensity") -> Stack:
    """Scale the counts to one ring current: ``I * reference / ring_current``. Never done unasked.

    Parameters
    ----------
    stack
        Stack with a coordinate `ring_current`, one value, or one for each energy or pixel; or the array of
        counts with that coordinate.
    reference
        The current to scale to, a number in mA or a string with a unit; the mean of `ring_current` by
        default. Give one to compare stacks.
    signal
        Variable of a Dataset that holds the counts.

    Returns
    -------
    DataArray or Dataset
        The array in its units, dtype kept (integers become float32), with the current in its attribute
        `reference_current`, for example ``"400 mA"``; of a Dataset the Dataset with it. NaN with a warning
        where the current is not above zero. A variance is scaled by (reference / ring_current)^2. The noise is
        then that of the counts before, not of the number that stands there. Lazy with a `reference`; else
        Eager on `ring_current`, for its mean.

    Raises
    ------
    MissingCoordinateError
        There is no `ring_current`.
    SchemaError
        The counts are normalised already, or the Dataset holds an `i0` that would no longer fit them.
    OptionError
        `reference` is not above zero.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> xstxm.normalize_current(stack, "400 mA").intensity.attrs["reference_current"]
    '400 mA'
    """
    stack = units.dequantify(stack)
    counts = signal_of(stack, signal)
    _refuse_twice(stack, counts, signal)
    current = units.to_units(stack["ring_current"].astype(float), "mA", "ring_current").reset_coords(drop=True)
    lit = current > 0
    if not is_lazy(current) and not bool(lit.all()):
        warn(f"ring_current is not above zero at {int((~lit).sum())} of {lit.size} points: NaN there", MetadataWarning)
    current = current.where(lit)
    wanted = float(current.mean()) if reference is None else units.to_magnitude(reference, "mA", "reference")
    if not wanted > 0:
        raise OptionError("reference", reference, "a ring current is above zero")
    floats = as_float(counts)
    factor = wanted / current
    note(f"scaled to {wanted:.6g} mA")
    scaled = _times(floats, factor).assign_attrs({**counts.attrs, REFERENCE_CURRENT: f"{wanted:.6g} mA"})
    variance = variance_of(stack, signal)
    return replace_signal(stack, signal, scaled, None if variance is None else _times(variance, factor**2))


def _refuse_twice(stack: xr.DataArray | xr.Dataset, counts: xr.DataArray, signal: str) -> None:
    if "ring_current" not in stack.coords:
        held = isinstance(stack, xr.Dataset) and "ring_current" in stack
        do = "assign it, e.g. .assign_coords(ring_current=('energy', values, {'units': 'mA'}))"
        do = "it is a data variable: .set_coords('ring_current') first" if held else do
        raise MissingCoordinateError("ring_current", do)
    if REFERENCE_CURRENT in counts.attrs:
        raise SchemaError(
            f"{signal!r} is normalised already, to {counts.attrs[REFERENCE_CURRENT]}: use the stack as it was"
        )
    if isinstance(stack, xr.Dataset) and signal == "intensity" and "i0" in stack:
        raise SchemaError(
            "the stack holds 'i0', which would no longer fit the counts: drop_vars('i0') first and estimate it "
            "after, or normalise a measured one as a stack of its own"
        )


def _times(array: xr.DataArray, factor: xr.DataArray) -> xr.DataArray:
    return (array * alongside(factor.astype(array.dtype), array)).transpose(*array.dims).assign_attrs(array.attrs)


@recorded
def level_lines(
    stack: Stack,
    *,
    kind: LineKind = "gain",
    slow: SlowAxis = "y",
    max_lines: int = 3,
    min_significance: float = 5.0,
    signal: str = "intensity",
) -> Stack:
    """Bring lines of a scan that are brighter or darker as a whole back to the course of their frame.

    The median step from each line to the next, of ln I for a gain and of I for an offset, adds up to a profile of
    the frame. What a line lies above the running median of that profile is its error, and is taken out.

    Parameters
    ----------
    stack
        Stack, or the array (energy, y, x) itself, with any further dimensions.
    kind
        ``"gain"``: the beam flickers, I = gain * I_true. ``"offset"``: something adds to the line, I = I_true + offset;
        also for an optical density, where a gain is an offset.
    slow
        Dimension along which lines follow each other.
    max_lines
        Most lines in a row that count as an artefact; slower changes are the sample's and stay.
    min_significance
        A line is corrected where its error exceeds so many of its standard errors; all others stay bit for bit.
    signal
        Variable of a Dataset to level.

    Returns
    -------
    DataArray or Dataset
        The array in its units, dtype kept (integers become float32); of a Dataset the Dataset with it, and
        `line_correction` (energy, slow axis): the gain [1], 1 for a line that stays, or the offset in the units of
        the signal, 0 for a line that stays. A variance is divided by gain^2; the error of the correction is
        not added. Values of zero or less and NaN have no part in finding a gain. Lazy.

    Raises
    ------
    MissingVariableError, MissingDimensionError
        The Dataset lacks `signal`, or there is no image.
    OptionError
        `max_lines` is not a whole number above zero, `min_significance` is negative, or a gain is asked
        of an optical density.
    ChunkingError
        Lines are in chunks and the stack is too large to merge them.

    Notes
    -----
    Structure that changes from one line to the next in less than half of the line does not touch the median.
    A straight edge along the lines, over more than half of the image, cannot be told from a run of lines with
    another gain; it stays where it bounds more than `max_lines` lines. Nor can the outermost line be told
    from the course of the frame; it stays.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> stack["intensity"][60, 12] *= 0.8
    >>> level = xstxm.level_lines(stack)
    >>> round(float(level.line_correction[60, 12]), 1)
    0.8
    """
    check_choice("kind", kind, LineKind)
    check_choice("slow", slow, SlowAxis)
    max_lines = require_whole("max_lines", max_lines)
    least = require_number("min_significance", min_significance, "a number of standard errors", least=0)
    stack = units.dequantify(stack)
    array = as_float(signal_of(stack, signal))
    require_energy(array)
    if kind == "gain" and measure_of(array) == "density":
        raise OptionError("kind", kind, "a gain of the counts is an offset of the optical density: kind='offset'")
    require_image(array, "lines follow each other in an image")
    fast = "x" if slow == "y" else "y"
    correction = _line_correction(array, kind, (slow, fast), max_lines, least)
    variance = variance_of(stack, signal)
    if kind == "gain":
        level = (array / correction).transpose(*array.dims)
        variance = None if variance is None else _times(variance, correction**-2)
    else:
        level = (array - correction).transpose(*array.dims)
    unit = "1" if kind == "gain" else array.attrs.get("units")
    told = annotate(correction.transpose(ENERGY, ...), "line_correction", units=unit, kind=kind)
    if not is_lazy(correction):
        note(f"{int((correction != (kind == 'gain')).sum())} of {correction.size} lines")
    return replace_signal(stack, signal, level.assign_attrs(array.attrs), variance, line_correction=told)


def _line_correction(
    array: xr.DataArray, kind: LineKind, lines: tuple[str, str], max_lines: int, least: float
) -> xr.DataArray:
    """Return the gain or the offset of each line. Lazy."""
    return xr.apply_ufunc(
        partial(_corrections, kind=kind, max_lines=max_lines, least=least),
        require_single_chunk(array, "level_lines", *lines),
        input_core_dims=[lines],
        output_core_dims=[lines[:1]],
        vectorize=True,
        dask="parallelized",
        output_dtypes=[array.dtype],
    )


def _corrections(frame: np.ndarray, kind: LineKind, max_lines: int, least: float) -> np.ndarray:
    """Return the corrections of one frame (slow, fast)."""
    if kind == "offset":
        return line_offsets(frame, max_lines, least).astype(frame.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.log(np.where(frame > 0, frame, np.nan))
    return np.exp(line_offsets(logarithm, max_lines, least)).astype(frame.dtype)
