"""Optical densities, their variances and what is wrong with the counts, in one pass over blocks that stay in cache.

A block is a table: an image at each energy, or, where energy is the last dimension, a spectrum of each pixel. Index
letters: l line of a table, p place in a line.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import FAST
from xstxm._kernels.density_lines import (
    Beam,
    absorb_d,
    absorb_f,
    judge,
    mark,
    over_incident,
    run_of,
)
from xstxm._kernels.rows import Rows, flat_result, rows_of
from xstxm._kernels.small_nnls import INNER, JIT

SATURATED = 16
"""Bit of a pixel in which the detector is saturated, beside those of `density_lines`."""


RANGE = 1 << 16
"""Pixels of one block. Memory gives long runs of an image faster than it gives short ones."""

CONVERTED = 1 << 13
"""Pixels of one block where the counts have to be converted, or I0 is a stack, as what is made of them takes room."""

RUN = 1024
"""Values that are worked on together and stay in the first cache."""


class CountNoise(NamedTuple):
    """The variance of counts, ``source * share`` where the source is not below `least`, and that of I0."""

    source: np.ndarray
    share: np.ndarray
    least: float
    of_i0: np.ndarray


class Densities(NamedTuple):
    """Optical densities and their variances, of the shape of the counts; bits without the energies."""

    od: np.ndarray
    variance: np.ndarray | None
    bits: np.ndarray


class Noise(NamedTuple):
    """`CountNoise` of a block: the relative variance of I0, and all of it as rows."""

    source: Rows
    share: Rows
    added: Rows
    least: Any


class Result(NamedTuple):
    """Where a block goes: flat, lines `row` apart."""

    od: np.ndarray
    variance: np.ndarray
    row: int
    bits: np.ndarray


@njit(**FAST)
def _spread(counts, beam, noise, rooms, line, first, od, out):
    """Fill a run of variances of densities."""
    n = out.size
    dark = run_of(beam.dark, line, first, n, rooms[0])
    source, share = run_of(noise.source, line, first, n, rooms[1]), run_of(noise.share, line, first, n, rooms[2])
    added = run_of(noise.added, line, first, n, rooms[3])
    nan = out.dtype.type(np.nan)
    for p in range(n):
        value = counts[p] - dark[p]
        variance = source[p] * share[p] / (value * value) + added[p]
        known = (od[p] == od[p]) & (source[p] >= noise.least)
        out[p] = variance if known else nan


@njit(**INNER)
def _judge_spectrum(highest, thick, seen, bits):
    """Gather what was seen along a part of a spectrum, and forget it."""
    judge(highest, thick, seen)
    for p in range(seen.size):
        bits[0] |= seen[p]
    seen[:] = 0
    highest[:] = -np.inf


@functools.cache
def _filler(char: str, noisy: bool) -> Any:
    """Return the compiled pass over a block; each has a name of its own, and so an index of its own on disk.

    What it calls are global functions: with one of its own, its code on disk would never be found again.
    """

    def fill(counts, beam, room, noise, thick, n_lines, n, spectra, result):
        rooms = np.empty((5, RUN), counts.values.dtype)
        top, seen = np.full(RUN if spectra else n, -np.inf, counts.values.dtype), np.zeros(RUN, np.uint8)
        for line in range(n_lines):
            for first in range(0, n, RUN):
                m, at = min(RUN, n - first), line * result.row + first
                bright, od = run_of(counts, line, first, m, rooms[4]), result.od[at : at + m]
                pixel = 0 if spectra else first
                highest, bits = top[pixel : pixel + m], (seen if spectra else result.bits)[pixel : pixel + m]
                if char == "f":
                    left = absorb_f(bright, beam, room, line, first, od, highest)
                else:
                    left = absorb_d(bright, beam, room, line, first, od, highest)
                if left < 0:
                    mark(bright, beam, line, first, od, highest, bits)
                if noisy:
                    _spread(bright, beam, noise, rooms, line, first, od, result.variance[at : at + m])
                if spectra:
                    _judge_spectrum(highest, thick, bits, result.bits[line : line + 1])
        if not spectra:
            judge(top, thick, result.bits)

    fill.__qualname__ = f"fill_{char}_{'noisy' if noisy else 'plain'}"
    return njit(**JIT)(fill)


def optical_densities(
    counts: np.ndarray,
    i0: np.ndarray,
    scale: np.ndarray,
    dark: np.ndarray,
    noise: CountNoise | None = None,
    *,
    energy: int,
    dtype: Any,
    thick: float,
    saturation: float | None = None,
    threads: int = 1,
) -> Densities:
    """Return ``-ln((counts - dark) / (i0 scale - dark))``, NaN where it has no value, and what is wrong in each pixel.

    Memory is needed for the result and a few blocks.

    Parameters
    ----------
    counts
        Numbers of any dtype and strides.
    i0, scale, dark, noise
        Arrays of as many dimensions, of size one where they do not change. The variance is
        ``var(I) / (I - dark)^2 + scale^2 var(I0) / (i0 scale - dark)^2``.
    energy
        The dimension along which bits are gathered.
    dtype
        Of the result and the arithmetic, float32 or float64.
    thick, saturation
        Limits of the density and of the counts.
    threads
        Threads; the result does not depend on their number.
    """
    dtype = np.dtype(dtype)
    od = np.empty(counts.shape, dtype)
    variance = None if noise is None else np.empty(counts.shape, dtype)
    bits = np.zeros(counts.shape[:energy] + counts.shape[energy + 1 :], np.uint8)

    def work(at: tuple[slice, ...]) -> None:
        block = functools.partial(_table, at=at, energy=energy, shape=od[at].shape)
        pixels: Any = (*at[:energy], *at[energy + 1 :], ...)  # a view even where there is but one
        level = block(dark).astype(dtype)
        inverse = over_incident(block(i0), block(scale), level)
        known = None
        if noise is not None:
            with np.errstate(over="ignore"):
                added = block(noise.of_i0) * (block(scale).astype(float) * inverse) ** 2
            source, share, of_i0 = (rows_of(x, dtype) for x in (block(noise.source), block(noise.share), added))
            known = Noise(source, share, of_i0, noise.least)
        bright = block(counts)
        spectra = energy == counts.ndim - 1
        result = _result(block(od), None if variance is None else block(variance), bits[pixels].reshape(-1))
        beam = Beam(rows_of(level, dtype), rows_of(inverse, dtype))
        fill = _filler(dtype.char, noise is not None)
        fill(rows_of(bright, dtype), beam, beam.room(RUN), known, dtype.type(thick), *bright.shape, spectra, result)
        if saturation is not None:
            saturated = (bright >= saturation).any(1 if spectra else 0)
            result.bits[saturated] |= SATURATED

    stacked = any(n > 1 for axis, n in enumerate(i0.shape) if axis != energy) and i0.shape[energy] > 1
    blocks = list(_blocks(counts.shape, energy, CONVERTED if stacked or counts.dtype != dtype else RANGE))
    if threads == 1 or len(blocks) == 1:
        for at in blocks:
            work(at)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, blocks))
    return Densities(od, variance, bits)


def _blocks(shape: tuple[int, ...], energy: int, room: int) -> Iterator[tuple[slice, ...]]:
    """Yield parts of an array of a shape: so many pixels that lie one behind the other, at all energies."""
    steps = list(shape)
    for axis in reversed(range(len(shape))):
        if axis == energy:
            room = room if axis == len(shape) - 1 else 1
        else:
            steps[axis] = min(shape[axis], max(room, 1))
            room = room // shape[axis] if shape[axis] else 0
    for start in np.ndindex(*(-(-n // step) if step else 0 for n, step in zip(shape, steps, strict=True))):
        yield tuple(slice(i * step, (i + 1) * step) for i, step in zip(start, steps, strict=True))


def _table(array: np.ndarray, *, at: tuple[slice, ...], energy: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return a block of an array as a table, one line or place only where it does not change along these."""
    part = array[tuple(own if n > 1 else slice(None) for n, own in zip(array.shape, at, strict=True))]
    n_energies = part.shape[energy]
    whole = (*shape[:energy], n_energies, *shape[energy + 1 :])
    if part.size > n_energies and part.shape != whole:
        part = np.broadcast_to(part, whole)
    if energy == array.ndim - 1:
        return part.reshape(-1, n_energies)
    return np.moveaxis(part, energy, 0).reshape(n_energies, -1)


def _result(od: np.ndarray, variance: np.ndarray | None, bits: np.ndarray) -> Result:
    values, row = flat_result(od)
    return Result(values, values if variance is None else flat_result(variance)[0], row, bits)
