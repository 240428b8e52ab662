"""Spikes and bad pixels: found robustly, replaced or blanked, and marked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy, over_energy, require_single_chunk
from xstxm._axes import match_pixels
from xstxm._kernels import bad_pixels as pixel_kernels
from xstxm._kernels import spikes as kernels
from xstxm._neighbours import over_frames
from xstxm._sums import made_again
from xstxm.conventions import (
    ENERGY,
    Stack,
    annotate,
    as_float,
    dwell_time_of,
    measure_of,
    pixel_dims,
    replace_signal,
    require_energy,
    require_image,
    signal_of,
    used_pixels,
    variance_of,
)
from xstxm.errors import OptionError, SchemaError, check_choice, require_number
from xstxm.provenance import note, recorded
from xstxm.steps import followed

SpikeMethod: TypeAlias = Literal["both", "spatial", "spectral"]
Fill: TypeAlias = Literal["nan", "neighbours"]

_FEWEST_TO_PREDICT = 4
"""Energies from which two disjoint predictions of each can be made."""
_FEWEST_TO_JUDGE = 8
"""Energies below which a sound pixel might be constant by chance."""


@recorded
def despike(stack: Stack, *, method: SpikeMethod = "both", threshold: float = 6.0, signal: str = "intensity") -> Stack:
    r"""Replace single values that stand out from their surroundings, and mark them.

    A value is a spike where it exceeds all but one of its eight neighbours, upwards or downwards, by
    `threshold` times the local noise :math:`\sigma`. In the frame (*spatial*) that is asked of the values, in
    energy (*spectral*) of their difference from what neighbouring energies predict, and of both by default.

    Parameters
    ----------
    stack
        Stack, or the array (energy, y, x) itself, with any further dimensions.
    method
        ``"both"``: a spike stands out in its frame and in energy. ``"spatial"``: in its frame; for a single
        image. ``"spectral"``: in energy; also for line scans and spectra without an image, where nothing
        tells a peak of one energy from a spike.
    threshold
        In units of the local noise.
    signal
        Variable of a Dataset to clean.

    Returns
    -------
    DataArray or Dataset
        The array, dtype kept (integers become float32), in its own units; of a Dataset the Dataset with it,
        and `spike` (energy, y, x), True where a value was put in now or before. A spike becomes the median
        of its neighbours in the frame that are no spikes, with ``"spectral"`` the linear interpolation
        between its neighbours in energy; NaN without any. NaN stays NaN and is no neighbour. Lazy; the
        result does not depend on the chunks.

        A variance beside the signal is carried: of a median of n values it is pi / 2 of their mean variance
        / n, of an interpolation with the weights w it is the sum of w^2 var.

    Raises
    ------
    MissingVariableError
        The Dataset lacks `signal`.
    MissingDimensionError, OptionError
        There is no image for ``"spatial"`` or ``"both"``, or there are fewer than four energies for the others.
    ChunkingError
        Energies are in chunks and the stack is too large to merge them, for methods that need energies.

    Notes
    -----
    *All but one* leaves edges, corners and lines alone at any contrast, since a pixel on them has two
    neighbours of its kind; pairs of spikes are found, larger clusters are not. There are two predictions,
    linear at the true energies, between the nearest and between the next neighbours, and a spike stands out
    from both. Structure that does not change with energy cancels in the difference, and what changes in
    a whole particle does not stand out from its neighbours there. An absorption peak therefore stays even
    where it is one energy wide.

    The noise is the mean distance from the median of 3 x 3, over a ring of 7 x 7 around the pixel. Counts are
    judged by their roots, 2 sqrt(I + 3/8) (Anscombe, Biometrika 35, 246, 1948,
    doi:10.1093/biomet/35.3-4.246), whose noise is the same for few and for many counts, and which is taken as at
    least half of the counting noise. Rates are judged as the counts that `dwell_time` makes of them; without it the
    smallest step between neighbours in a frame is one count.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> stack["intensity"][60, 12, 20] += 3000
    >>> int(xstxm.despike(stack).spike.sum())
    1
    """
    check_choice("method", method, SpikeMethod)
    threshold = require_number("threshold", threshold, "a multiple of the noise", above=0)
    stack = units.dequantify(stack)
    array = as_float(signal_of(stack, signal))
    array = _checked_axes(array, method)
    pairs = None if method == "spatial" else kernels.energy_pairs(np.asarray(array[ENERGY], dtype=float))
    find = partial(
        kernels.find_spikes,
        pairs=pairs,
        spatial=method != "spectral",
        image=_has_image(array),
        threshold=threshold,
        noise="counts" if measure_of(array) in ("counts", "rate") else "uniform",
    )
    if method == "spectral":
        fill = partial(kernels.fill_from_energies, pairs=pairs)
    else:
        fill = partial(kernels.fill_from_neighbours)
    counts, variance = _as_counts(array, stack), variance_of(stack, signal)
    scaled: list[xr.DataArray] = [] if counts is array else [counts]
    held: list[xr.DataArray] = [] if variance is None else [_like(variance, array)]
    found = over_frames(
        partial(_despiked, find=find, fill=fill, scaled=bool(scaled)),
        array,
        *scaled,
        *held,
        output_dtypes=[array.dtype, bool, *(item.dtype for item in held)],
        margin=kernels.MARGIN + 1,  # a neighbour whose value may fill a gap is judged first
    )
    cleaned, spikes = found[:2]
    _tell_number(spikes, "values")
    return replace_signal(stack, signal, cleaned, found[2] if held else None, spike=_marked(stack, "spike", spikes))


def _despiked(
    frames: np.ndarray, *others: np.ndarray, find: Callable[..., Any], fill: Callable[..., Any], scaled: bool
) -> list[np.ndarray]:
    """Return frames without spikes, the spikes, and the variance where there is one.

    `others`: the frames as counts, if `scaled`, then their variance.
    """
    spikes = find(others[0] if scaled else frames)
    return [fill(frames, spikes), spikes, *(fill(variance, spikes, squared=True) for variance in others[scaled:])]


def _checked_axes(array: xr.DataArray, method: SpikeMethod) -> xr.DataArray:
    """Return the array as the method needs it, or say what is missing."""
    require_energy(array)
    if method != "spectral":
        require_image(array, "without an image use despike(method='spectral')")
    if method == "spatial":
        return array
    if array.sizes[ENERGY] < _FEWEST_TO_PREDICT:
        found = f"{array.sizes[ENERGY]} energies say too little about each other, {_FEWEST_TO_PREDICT} are needed"
        raise OptionError("method", method, f"{found}: use method='spatial'")
    return require_single_chunk(array, "despike")


def _has_image(array: xr.DataArray) -> bool:
    return "y" in array.dims and "x" in array.dims


def _as_counts(array: xr.DataArray, stack: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return a rate as the counts behind it, so that few of them are taken for few; others as they are. Lazy."""
    if measure_of(array) != "rate":
        return array
    dwell = dwell_time_of(stack)
    if dwell is None:
        number = array / _smallest_step(made_again(array))
    else:
        number = array * (dwell * units.factor(units.units_of(array), "count/ms")).reset_coords(drop=True)
    return number.astype(array.dtype, copy=False).transpose(*array.dims)


def _smallest_step(array: xr.DataArray) -> xr.DataArray:
    """Return the smallest step between neighbours in a frame that is more than rounding: one count. Lazy."""
    pixels = pixel_dims(array)
    dims = tuple(dim for dim in pixels if dim in ("y", "x")) or pixels or (ENERGY,)
    along = max(dims, key=lambda dim: array.sizes[dim])
    steps, rounding = abs(array.diff(along)).drop_vars([along], errors="ignore"), 1e-6 * abs(array).max(dims)
    return steps.where(steps > rounding, np.inf).min(dims)


def _like(variance: xr.DataArray, array: xr.DataArray) -> xr.DataArray:
    """Return a variance with the chunks of its signal."""
    return variance.chunk(array.variable.chunksizes) if is_lazy(array) else variance


def _marked(stack: xr.DataArray | xr.Dataset, name: str, marks: xr.DataArray) -> xr.DataArray:
    """Return marks with those that the stack had before."""
    before = stack[name] if isinstance(stack, xr.Dataset) and name in stack else None
    return annotate(marks if before is None else marks | before, name)


def _tell_number(marks: xr.DataArray, what: str) -> None:
    if not is_lazy(marks):
        note(f"{int(marks.sum())} of {marks.size} {what}")


@recorded
def repair_pixels(
    stack: Stack, bad_pixels: xr.DataArray | None = None, *, fill: Fill = "nan", signal: str = "intensity"
) -> Stack:
    """Blank the bad pixels of a detector at every energy, or fill them from their neighbours on request.

    Parameters
    ----------
    stack
        Stack, or the array (energy, y, x) itself, with any further dimensions.
    bad_pixels
        Bool (y, x), True where a pixel is bad. By default they are found, see the notes; the history says how many.
    fill
        ``"nan"``: bad pixels become NaN, and nothing is invented; `optical_density` flags them `not_measured`.
        ``"neighbours"``: the median of the eight neighbours that are not bad, frame by frame; NaN without any.
    signal
        Variable of a Dataset to repair.

    Returns
    -------
    DataArray or Dataset
        The array, dtype kept (integers become float32), in its own units; of a Dataset the Dataset with it,
        and `bad_pixel` (y, x), True where the signal was changed now or before. A variance beside the signal
        becomes NaN, or pi / 2 of the mean variance of the n neighbours / n. Lazy with `bad_pixels`; without
        Eager on two images, the mean and the flicker along energy.

    Raises
    ------
    MissingVariableError, MissingDimensionError
        The Dataset lacks `signal`, or there is no image.
    OptionError
        Fewer than eight energies to find bad pixels with.
    SchemaError
        `bad_pixels` does not fit the stack or is not boolean.
    ChunkingError
        Bad pixels have to be found, energies are in chunks and the stack is too large to merge them.

    Notes
    -----
    Found are pixels whose behaviour along energy no sample has. The flicker is the median distance of a
    value from the mean of its neighbours in energy; values that are not finite are left out, and pixels with
    fewer than eight others are not judged, which the history says. A pixel is *stuck* where it flickers less than a
    twentieth of its surroundings (5 x 5), *noisy* where its flicker over the root of its mean is more than five
    times theirs; *dead* where its mean is below 2 % of the median image and of its
    surroundings; *hot* where it stands out from its neighbours, see `despike`, and exceeds the brightest
    hundredth of the pixels by a fifth. A dark or bright grain of one pixel follows the beam and is not bad.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), dead_pixels=5, seed=0)
    >>> repaired = xstxm.repair_pixels(stack)
    >>> bool((repaired.bad_pixel == stack.dead).all())
    True
    """
    check_choice("fill", fill, Fill)
    stack = units.dequantify(stack)
    array = as_float(signal_of(stack, signal))
    require_energy(array)
    require_image(array, "bad pixels belong to an image")
    bad = _found(used_pixels(array, stack)) if bad_pixels is None else _given(bad_pixels, array)
    _tell_number(bad, "pixels")
    variance = variance_of(stack, signal)
    put: Any = _blank if fill == "nan" else _fill_pixels
    repaired = put(array, bad, False)
    variance = None if variance is None else put(_like(variance, array), bad, True)
    return replace_signal(stack, signal, repaired, variance, bad_pixel=_marked(stack, "bad_pixel", bad))


def _given(bad: xr.DataArray, array: xr.DataArray) -> xr.DataArray:
    """Return the bad pixels that the user knows, on the pixels of the stack."""
    if not isinstance(bad, xr.DataArray) or bad.dtype != bool or ENERGY in bad.dims:
        found = f"{bad.dtype} {bad.dims}" if isinstance(bad, xr.DataArray) else type(bad).__name__
        raise SchemaError(f"bad_pixels is {found}, wanted a bool array over pixels: True where a pixel is bad")
    placed = match_pixels(bad, array, "bad_pixels")
    return placed.transpose(*(dim for dim in array.dims if dim in placed.dims))


def _found(array: xr.DataArray) -> xr.DataArray:
    """Find the pixels that do not follow the beam. Eager on two images."""
    if array.sizes[ENERGY] < _FEWEST_TO_JUDGE:
        told = f"{array.sizes[ENERGY]} energies are too few to find bad pixels, {_FEWEST_TO_JUDGE} are needed"
        raise OptionError("bad_pixels", None, f"{told}: pass them, True where a pixel is bad")
    order = np.argsort(np.asarray(array[ENERGY]), kind="stable")
    level, flicker = over_energy(
        pixel_kernels.behaviour,
        array,
        verb="repair_pixels",
        output_dims=[[], []],
        kwargs={"order": order, "fewest": _FEWEST_TO_JUDGE},
    )
    images = xr.Dataset({"level": level, "flicker": flicker}).compute(**followed())
    unjudged = int(images["flicker"].isnull().sum())
    if unjudged:
        note(f"{unjudged} pixels not judged: fewer than {_FEWEST_TO_JUDGE} finite values, or none in a row")
    bad = xr.apply_ufunc(
        pixel_kernels.bad_pixels,
        images["level"],
        images["flicker"],
        input_core_dims=[["y", "x"]] * 2,
        output_core_dims=[["y", "x"]],
        vectorize=True,
        output_dtypes=[bool],
    )
    return bad.transpose(*pixel_dims(array)).reset_coords(drop=True)


def _blank(array: xr.DataArray, bad: xr.DataArray, squared: bool) -> xr.DataArray:
    return array.where(~bad).transpose(*array.dims)


def _fill_pixels(array: xr.DataArray, bad: xr.DataArray, squared: bool) -> xr.DataArray:
    def fill(frames: np.ndarray, gaps: np.ndarray) -> list[np.ndarray]:
        return [kernels.fill_from_neighbours(frames, gaps, squared=squared)]

    return over_frames(fill, array, bad, output_dtypes=[array.dtype], margin=1)[0]
