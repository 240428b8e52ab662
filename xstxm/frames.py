"""Frames that are empty, broken, or there twice: flagged, and dropped where that is asked."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy, require_single_chunk
from xstxm._axes import equal_within, format_range
from xstxm._device import on_device
from xstxm._kernels.frames import excess_odds, frame_sums, similarity
from xstxm.conventions import (
    ENERGY,
    FRAME_FLAGS,
    Stack,
    annotate,
    flag_attrs,
    measure_of,
    pixel_dims,
    require_energy,
    signal_of,
    used_pixels,
)
from xstxm.energy import given_energies
from xstxm.errors import EnergyRangeError, SchemaError, require_number
from xstxm.provenance import recorded
from xstxm.steps import followed
from xstxm.units import EnergyLike

_REACH = 2
"""Neighbours in energy on either side that a frame is compared with."""
_FEWEST = 5
"""Sound frames below which none can be told to be the odd one."""
_ODDS = 10.0
"""How much larger than usual the odds of being unexplained have to be for an outlier."""
_FEW_DARK = 0.005
"""Share of dark pixels that is no cause for a flag."""


@recorded
def flag_frames(
    stack: xr.DataArray | xr.Dataset,
    *,
    min_similarity: float = 0.5,
    dark_share: float = 0.02,
    max_missing: float = 0.1,
    tolerance: float | str | None = None,
    signal: str = "intensity",
) -> xr.Dataset:
    """Flag the frames that are not measured, dark, constant, unlike their neighbours, or there twice.

    Nothing is dropped: ``stack.isel(energy=flags.frame_quality == 0)`` keeps the sound frames, and `drop_frames` leaves
    out those at given energies.

    Parameters
    ----------
    stack
        Stack, or the array of counts (energy, y, x). Frames with further dimensions, as theta, are judged
        apart for each of their values. Pixels outside the `mask` of the stack are left out.
    min_similarity
        Share of its variance over the pixels that a frame's neighbours in energy must explain; below it a
        frame is an `outlier`, unless the frames around it are no better explained.
    dark_share
        Share of the usual counts below which a frame has no beam, and a pixel is dark.
    max_missing
        Largest share of NaN, among the pixels measured in at least half of the frames, of a frame that is not
        partly measured. Frames moved by an alignment lack a margin.
    tolerance
        Largest difference of equal energies; the option `energy_tolerance`, 10 meV, by default.
    signal
        Variable of a Dataset that holds the counts.

    Returns
    -------
    Dataset
        Of each frame:

        - `frame_quality`, bit flags, 0 for a sound frame: `not_measured` (no finite pixel), `partly_measured`,
          `no_beam`, `partly_dark`, `constant`, `outlier`, `duplicate_frame` (bit for bit an earlier frame),
          `duplicate_energy` (an energy that an earlier frame has),
        - `frame_mean`, in the units of the counts, `frame_similarity` [1], `dark_fraction` [1] of the brighter
          half of the pixels, `missing_fraction` [1],
        - `duplicate_of`, the position of the earlier frame, -1 without one.

        Along `energy`, and along dimensions of the stack that are neither energy nor image, as theta. Numbers that
        do not exist are NaN. Eager: two passes over the stack, block by block.

    Raises
    ------
    MissingVariableError, SchemaError
        The Dataset has no such signal, the signal is an optical density, or there are no pixels.
    OptionError
        A share outside 0 to 1.
    ChunkingError
        Energies are in chunks and the stack is too large to merge them.

    Notes
    -----
    The similarity of a frame is that of the best linear combination of the two sound frames before and
    after it in energy, whatever the order of the axis. An absorption edge, where contrast grows or inverts,
    leaves it high, because coefficients are free. Noise lowers it for all frames alike; hence an outlier's
    odds (1 - s) / s must also be ten times the median of those of the ten nearest frames. With fewer than
    five sound frames none is called an outlier.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> stack["intensity"][7] = 0
    >>> flags = xstxm.flag_frames(stack)
    >>> [int(n) for n in (flags.frame_quality != 0).values.nonzero()[0]]
    [7]
    """
    shares = {"min_similarity": min_similarity, "dark_share": dark_share, "max_missing": max_missing}
    settings = [require_number(option, share, "a share", least=0, most=1) for option, share in shares.items()]
    stack = units.dequantify(stack)
    counts = signal_of(stack, signal)
    require_energy(counts)
    if measure_of(counts) == "density":
        raise SchemaError("frames are judged by their counts, this is an optical density: pass signal='intensity'")
    limit = equal_within(tolerance, units.units_of(counts[ENERGY]))
    counts = require_single_chunk(used_pixels(counts, stack), "flag_frames").reset_coords(drop=True)
    return _along_further_dims(counts, *settings, limit)


@recorded
@on_device
def drop_frames(stack: Stack, energies: EnergyLike | Sequence[EnergyLike] | xr.DataArray) -> Stack:
    """Leave out the frames at some energies.

    Parameters
    ----------
    stack
        Stack or array with an energy dimension.
    energies
        One or more: floats in the unit of the axis, strings with a unit (``"530.2 eV"``), pint quantities, or an array
        of energies. Each names the frame nearest to it, no farther than the option `energy_tolerance`, 10 meV by
        default; where several frames have that very energy, all of them go.

    Returns
    -------
    DataArray or Dataset
        As given, without these frames; the others in their order. Lazy.

    Raises
    ------
    EnergyRangeError
        The stack has no frame at one of the energies, or none would be left.
    OptionError, UnitsError
        What is given is no list of finite energies.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> stack["intensity"][7] = 0
    >>> flags = xstxm.flag_frames(stack)
    >>> xstxm.drop_frames(stack, flags.energy[flags.frame_quality != 0]).sizes["energy"] - stack.sizes["energy"]
    -1
    """
    stack = units.dequantify(stack)
    energy = require_energy(stack)
    alone = isinstance(energies, str) or not np.iterable(energies)
    asked = given_energies([energies] if alone else energies, energy)  # type: ignore[arg-type, list-item]
    values, unit = np.asarray(energy, dtype=float), units.units_of(energy)
    nearest = values[np.abs(values - asked[:, None]).argmin(axis=1)]
    absent = np.flatnonzero(np.abs(nearest - asked) > equal_within(None, unit))
    if absent.size:
        first = absent[0]
        raise EnergyRangeError(
            f"no frame at {', '.join(f'{value:g}' for value in asked[absent][:5])} {unit} to drop: the stack has "
            f"{values.size} energies, {format_range(values, unit)}, and the nearest to {asked[first]:g} is {nearest[first]:g}"
        )
    keep = ~np.isin(values, nearest)
    if not keep.any():
        raise EnergyRangeError(f"all {values.size} frames of the stack would be dropped: leave out fewer energies")
    return stack.isel({ENERGY: np.flatnonzero(keep)})


def _along_further_dims(counts: xr.DataArray, *settings: float) -> xr.Dataset:
    """Judge frames (energy, y, x), apart for each value of a further dimension."""
    dims = pixel_dims(counts)
    if not dims:
        raise SchemaError("a single spectrum has no frames to judge: give a stack, or a line scan")
    image = tuple(dim for dim in dims if dim in ("y", "x")) or dims
    for dim in dims:
        if dim not in image:
            parts = [_along_further_dims(counts.isel({dim: at}), *settings) for at in range(counts.sizes[dim])]
            along = counts[dim] if dim in counts.coords else dim
            return xr.concat(parts, along, combine_attrs="override").transpose(ENERGY, ...)
    return _judged(counts.transpose(ENERGY, *image), image, *settings)


def _judged(
    counts: xr.DataArray, dims: tuple[Hashable, ...], least: float, dark: float, missing: float, limit: float
) -> xr.Dataset:
    """Judge the frames of one stack. Eager."""
    seen = _seen(counts, dims)
    usual = float(np.median(seen["mean"].dropna(ENERGY))) if bool(seen["finite"].any()) else 0.0
    pairs = _copies(counts, seen)
    bits = {
        "not_measured": seen["finite"] == 0,
        "no_beam": seen["mean"] < dark * usual,
        "constant": (seen["low"] == seen["high"]) & (seen["finite"] > 1),
        "duplicate_frame": pairs >= 0,
        "duplicate_energy": _repeats(counts[ENERGY], limit),
    }
    unusable = bits["not_measured"] | bits["no_beam"] | bits["constant"] | bits["duplicate_frame"]
    numbers = _compared(counts, seen, dark, ~np.asarray(unusable))
    lost = numbers["dark_fraction"]
    bits["partly_measured"] = (numbers["missing_fraction"] > missing) & ~bits["not_measured"]
    bits["partly_dark"] = (lost > max(_FEW_DARK, 5 * float(lost.median()))) & ~bits["no_beam"]
    bits["outlier"] = (numbers["frame_similarity"] < least) & (numbers["odds"] > _ODDS)
    raised = [bit.astype("int16") * np.int16(FRAME_FLAGS[name]) for name, bit in bits.items()]
    quality = functools.reduce(operator.or_, raised)
    judged = {
        "frame_quality": annotate(quality, "frame_quality", **flag_attrs(FRAME_FLAGS, masks=True)),
        "frame_mean": annotate(seen["mean"], "frame_mean", units=units.units_of(counts, "the intensity")),
        "duplicate_of": annotate(pairs, "duplicate_of"),
        **{name: annotate(numbers[name], name) for name in ("frame_similarity", "dark_fraction", "missing_fraction")},
    }
    return xr.Dataset(judged).assign_coords({ENERGY: counts[ENERGY]})


def _seen(counts: xr.DataArray, dims: tuple[Hashable, ...]) -> xr.Dataset:
    """Return mean, extremes and number of the finite pixels of each frame, and the mean image. Eager."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN", RuntimeWarning)  # flagged, so not news
        reduced = {
            "mean": counts.mean(dims, dtype=float),
            "low": counts.min(dims),
            "high": counts.max(dims),
            "finite": counts.count(dims),
            "image": counts.mean(ENERGY, dtype=float),
            "times": counts.count(ENERGY),
        }
        return xr.Dataset({name: array.drop_attrs(deep=False) for name, array in reduced.items()}).compute(**followed())


def _copies(counts: xr.DataArray, seen: xr.Dataset) -> xr.DataArray:
    """Return the position of an earlier frame that a frame repeats bit for bit, -1 without one. Eager on frames alike."""
    earlier = np.full(counts.sizes[ENERGY], -1)
    facts = np.stack([np.asarray(seen[name], dtype=float) for name in ("mean", "low", "high", "finite")], axis=1)
    first: dict[tuple[float, ...], list[int]] = {}
    for e, fact in enumerate(map(tuple, facts)):
        if fact[1] < fact[2]:
            frame = counts.isel({ENERGY: e}, drop=True)
            others = first.setdefault(fact, [])
            earlier[e] = next((k for k in others if _equal(frame, counts.isel({ENERGY: k}, drop=True))), -1)
            others.append(e)
    return xr.DataArray(earlier, dims=ENERGY, coords={ENERGY: counts[ENERGY]})


def _equal(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Tell whether two frames are equal, NaN and all. Eager."""
    return bool(((one == other) | (one.isnull() & other.isnull())).all().compute())


def _repeats(energy: xr.DataArray, limit: float) -> xr.DataArray:
    """Tell which energies an earlier frame has, within the tolerance."""
    values = np.asarray(energy, dtype=float)
    near = np.abs(values[:, None] - values) <= limit
    return xr.DataArray(np.tril(near, -1).any(1), dims=ENERGY, coords={ENERGY: energy})


def _compared(counts: xr.DataArray, seen: xr.Dataset, dark: float, usable: np.ndarray) -> xr.Dataset:
    """Return what takes a second pass: similarity to the neighbours in energy, dark and missing pixels. Eager."""
    mean, n = np.nan_to_num(np.asarray(seen["mean"])), counts.sizes[ENERGY]
    image, times = np.asarray(seen["image"]), np.asarray(seen["times"])
    common = times >= max(n / 2, 1)
    bright = np.where(common & (image >= np.median(image[common])), image, np.nan) if common.any() else image * np.nan
    darkness = dark * mean / (mean[mean > 0].mean() if (mean > 0).any() else 1.0)
    sums = _summed(counts, mean, darkness, bright, common)
    order = np.argsort(np.asarray(counts[ENERGY]), kind="stable")
    order = order[usable[order]]
    explained, odds = np.full(n, np.nan), np.full(n, np.nan)
    explained[order] = similarity(sums[np.ix_(order, order)], _REACH)
    if order.size >= _FEWEST:
        odds[order] = excess_odds(explained[order], _FEWEST)
    shares = {
        "frame_similarity": explained,
        "odds": odds,
        "dark_fraction": sums[:, n] / max(np.isfinite(bright).sum(), 1),
        "missing_fraction": sums[:, n + 1] / max(common.sum(), 1),
    }
    return xr.Dataset({name: (ENERGY, values) for name, values in shares.items()}, {ENERGY: counts[ENERGY]})


def _summed(
    counts: xr.DataArray, mean: np.ndarray, darkness: np.ndarray, bright: np.ndarray, common: np.ndarray
) -> np.ndarray:
    """Return `frame_sums` over all pixels: block by block, chunks in parallel. Eager."""
    if not is_lazy(counts):
        return frame_sums(np.asarray(counts), mean, darkness, bright, common)
    import dask.array as da

    image, axes = counts.variable.chunksizes, "ijkl"[: counts.ndim - 1]
    cut = [da.from_array(pixels, chunks=[image[dim] for dim in counts.dims[1:]]) for pixels in (bright, common)]
    parts = da.blockwise(
        lambda *block: frame_sums(block[0], mean, darkness, *block[1:]).reshape(len(mean), -1, *[1] * len(axes)),
        "ef" + axes,
        counts.data,
        "e" + axes,
        *(item for pixels in cut for item in (pixels, axes)),
        new_axes={"f": len(mean) + 2},
        adjust_chunks=dict.fromkeys(axes, 1),
        concatenate=True,
        dtype=float,
        meta=np.empty((0,) * (len(axes) + 2)),
    )
    return np.asarray(parts.sum(axis=tuple(range(2, parts.ndim))).compute(**followed()))
