"""Optical densities of a line of counts, and what is wrong with them: what every pass over counts is made of.

A line is an image at one energy, or a part of it. Index letters: l line of a table, p place in a line.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import CHUNK, named
from xstxm._kernels.rows import Rows
from xstxm._kernels.small_nnls import INNER

LOST, UNMEASURED, THICK, NOT_BRIGHTER = 1, 2, 4, 8
"""Bits of a pixel: at some energy counts or I0 have no logarithm, counts are NaN, the density exceeds the limit, the pixel
is not brighter than I0."""

SERIES = {"f": 5, "d": 12}
"""Terms of the logarithm's series that the precision asks for."""


class Places(NamedTuple):
    """Where a run begins in what it takes and gives."""

    counts: int
    dark: int
    inverse: int
    od: int
    pixel: int


class Beam(NamedTuple):
    """What makes optical densities of counts, ``-ln((counts - dark) * inverse)``, as rows (energy, pixel)."""

    dark: Rows
    inverse: Rows
    thick: Any


@njit(**INNER)
def run(values, at, n):
    return values[at : at + n]


@njit(**INNER)
def base(rows, room):
    """Return where runs are taken from: the table, or the room that `place` fills with the one number of a line."""
    return rows.values if rows.step == 1 else room


@njit(**INNER)
def place(rows, line, first, n, fresh, room):
    """Return where a run of a line begins in what `base` gave; a fresh line fills the room."""
    at = line * rows.row
    if rows.step == 1:
        return at + first
    if fresh:
        value = rows.values[at]
        for p in range(n):
            room[p] = value
    return 0


def _make_polynomial(coefficients: list[Any]) -> Any:
    """Return a function that sums coefficients times powers; a loop over them would keep that over values from vectors."""
    first, *others = coefficients
    name = f"polynomial_{first.dtype.char}_{len(coefficients)}"
    if not others:
        return named(lambda _: first, name)
    rest = _make_polynomial(others)
    return named(lambda x: first + x * rest(x), name)


def _make_density(dtype: np.dtype) -> Any:
    """Return a function that fills a line of densities and raises the highest so far; it tells whether it made some NaN.

    ``-ln(t)`` for ``t = m 2^k``, m in [2/3, 4/3): the exponent k is cut off by integer arithmetic, and
    ``-ln(m) = 2 artanh(s)`` with ``s = (1 - m) / (1 + m)`` is a short series, without a branch or a table, which would keep
    the loop from becoming one over vectors. Numbers too small for that are left to `mark`.
    """
    number, word = dtype.type, np.dtype(f"i{dtype.itemsize}").type
    shift = np.finfo(dtype).nmant
    base, mask = int(np.array(2 / 3, dtype).view(word)), -(1 << shift)
    minus_ln2 = number(-math.log(2) / 2**shift)
    series = _make_polynomial([number(2 / (2 * n + 1)) for n in range(SERIES[dtype.char])])
    zero, some = word(0), word(1)
    one, two, nan, infinite, least = (number(x) for x in (1, 2, math.nan, math.inf, np.finfo(dtype).tiny))

    def density(bright, level, factor, od, top, at, n):
        counts, dark, inverse = run(bright, at.counts, n), run(level, at.dark, n), run(factor, at.inverse, n)
        out, highest = run(od, at.od, n), run(top, at.pixel, n)
        words = out.view(word)  # as an argument it might be other memory, and the loop would not be over vectors
        left = word(0)  # of the width of the numbers: a wider one would halve the vectors
        for p in range(out.size):
            t = (counts[p] - dark[p]) * inverse[p]
            usable = (t >= least) & (t < infinite)
            out[p] = t
            exponent = word(word(words[p] - base) & mask)
            words[p] = words[p] - exponent
            rest = one - out[p]
            s = rest / (two - rest)
            value = number(exponent) * minus_ln2 + s * series(s * s)
            out[p] = value if usable else nan
            highest[p] = value if usable & (value > highest[p]) else highest[p]
            left = word(left | (zero if usable else some))
        return left

    return named(density, f"density_{dtype.char}")


density_f, density_d = (_make_density(np.dtype(char)) for char in SERIES)


@njit(**INNER)
def mark(bright, level, factor, od, top, bits, at, n):
    """Fill the densities that are left where there are any, and say why there is none elsewhere."""
    counts, dark, inverse = run(bright, at.counts, n), run(level, at.dark, n), run(factor, at.inverse, n)
    out, highest, seen = run(od, at.od, n), run(top, at.pixel, n), run(bits, at.pixel, n)
    for p in range(out.size):
        if out[p] == out[p]:
            continue
        value = counts[p] - dark[p]
        t = value * inverse[p]
        if 0 < t < np.inf:
            out[p] = -np.log(t)
            highest[p] = max(highest[p], out[p])
        else:
            seen[p] |= np.uint8((LOST if value == value else UNMEASURED) | NOT_BRIGHTER)


@njit(**INNER)
def judge(highest, thick, seen):
    for p in range(seen.size):
        thicker, bright = highest[p] > thick, highest[p] < 0
        seen[p] |= np.uint8((THICK if thicker else 0) | (0 if bright else NOT_BRIGHTER))


def over_incident(i0: np.ndarray, scale: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return one over ``i0 scale - level``, in the dtype of the level; NaN where that is not above zero."""
    empty = (i0.astype(float) * scale).astype(level.dtype) - level
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(empty > 0, 1 / empty, level.dtype.type(np.nan))


def _make_taker(char: str) -> Any:
    """Return a function that does what `chunk_loops.copy` does with counts, whose optical densities it puts into the tiles."""
    density = density_f if char == "f" else density_d

    def take(counts, row, first, n, n_energies, beam, tiles, bits):
        room = np.empty((3, tiles.shape[0] * CHUNK), tiles.dtype)
        top, out = room[2], tiles.reshape(-1)
        dark, inverse = base(beam.dark, room[0]), base(beam.inverse, room[1])
        top[:] = -np.inf
        tiles[:, n_energies * CHUNK :] = 0
        for e in range(n_energies):
            for c in range(0, n, CHUNK):
                m = min(CHUNK, n - c)
                at = Places(
                    e * row + first + c,
                    place(beam.dark, e, first + c, m, c == 0, room[0]),
                    place(beam.inverse, e, first + c, m, c == 0, room[1]),
                    c // CHUNK * tiles.shape[1] + e * CHUNK,
                    c,
                )
                if density(counts, dark, inverse, out, top, at, m):
                    mark(counts, dark, inverse, out, top, bits, at, m)
        judge(top[:n], beam.thick, bits)

    return named(take, f"take_densities_{char}")


take_densities_f, take_densities_d = (_make_taker(char) for char in SERIES)
