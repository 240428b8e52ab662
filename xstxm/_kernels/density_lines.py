"""Optical densities of runs of counts, and what is wrong with them: what every pass over counts is made of.

A run is a part of a line, which is an image at one energy, or a spectrum. Index letters: l line, p place in a line.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import FAST, named
from xstxm._kernels.rows import Rows
from xstxm._kernels.small_nnls import INNER

LOST, UNMEASURED, THICK, NOT_BRIGHTER = 1, 2, 4, 8
"""Bits of a pixel: at some energy counts or I0 have no logarithm, counts are NaN, the density exceeds the limit, the pixel
is not brighter than I0."""

SERIES = {"f": 5, "d": 12}
"""Terms of the logarithm's series that the precision asks for."""


class Beam(NamedTuple):
    """What makes the transmitted share of counts, ``(counts - dark) * inverse``."""

    dark: Rows
    inverse: Rows
    """One over what is left of I0."""


def over_incident(i0: np.ndarray, scale: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Return one over ``i0 scale - dark``, in the dtype of the dark; NaN where that is not above zero."""
    left = (i0.astype(float) * scale).astype(dark.dtype) - dark
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(left > 0, 1 / left, dark.dtype.type(np.nan))


@njit(**INNER)
def run_of(rows, line, first, n, room):
    """Return a run of a line; one number for the whole line is spread out in the room."""
    at = line * rows.row
    if rows.step == 1:
        return rows.values[at + first : at + first + n]
    run = room[:n]
    run[:] = rows.values[at]
    return run


@njit(**INNER)
def is_even(beam):
    """Tell whether lines have one dark and one I0. Asked once, outside of loops, which then become loops over vectors."""
    return beam.dark.step == 0 and beam.inverse.step == 0


@njit(**FAST)
def transmit_evenly(counts, beam, line, share):
    """Fill the transmitted share of a run of counts in an even beam."""
    dark, inverse = beam.dark.values[line * beam.dark.row], beam.inverse.values[line * beam.inverse.row]
    for p in range(share.size):
        share[p] = (counts[p] - dark) * inverse


@njit(**FAST)
def transmit_unevenly(counts, beam, line, first, rooms, share):
    """Fill the transmitted share of a run of counts that begins at `first` of a line."""
    n = share.size
    dark, inverse = run_of(beam.dark, line, first, n, rooms[0]), run_of(beam.inverse, line, first, n, rooms[1])
    for p in range(n):
        share[p] = (counts[p] - dark[p]) * inverse[p]


def _make_polynomial(coefficients: list[Any]) -> Any:
    """Return a function that sums coefficients times powers; a loop over them would keep that over values from vectors."""
    first, *others = coefficients
    name = f"polynomial_{first.dtype.char}_{len(coefficients)}"
    if not others:
        return named(lambda _: first, name)
    rest = _make_polynomial(others)
    return named(lambda x: first + x * rest(x), name)


def _make_logarithm(dtype: np.dtype) -> Any:
    """Return a function that puts ``-ln(t)`` in the place of a run t and raises the highest so far; it tells whether some is NaN.

    With ``t = m 2^k``, m in [2/3, 4/3), the exponent k is cut off by integer arithmetic, and ``-ln(m) = 2 artanh(s)`` with
    ``s = (1 - m) / (1 + m)`` is a short series, without a branch or a table, which would keep the loop from becoming one over
    vectors. Numbers too small for that are left to `mark`.
    """
    number, word = dtype.type, np.dtype(f"i{dtype.itemsize}").type
    shift = np.finfo(dtype).nmant
    base, mask = int(np.array(2 / 3, dtype).view(word)), -(1 << shift)
    minus_ln2 = number(-math.log(2) / 2**shift)
    series = _make_polynomial([number(2 / (2 * n + 1)) for n in range(SERIES[dtype.char])])
    zero, some = word(0), word(1)
    one, two, nan, infinite, least = (number(x) for x in (1, 2, math.nan, math.inf, np.finfo(dtype).tiny))

    def logarithm(out, highest):
        words = out.view(word)  # as an argument it might be other memory, and the loop would not be over vectors
        left = word(0)  # of the width of the numbers: a wider one would halve the vectors
        for p in range(out.size):
            t = out[p]
            usable = (t >= least) & (t < infinite)
            exponent = word(word(words[p] - base) & mask)
            words[p] = words[p] - exponent
            rest = one - out[p]
            s = rest / (two - rest)
            od = number(exponent) * minus_ln2 + s * series(s * s)
            out[p] = od if usable else nan
            highest[p] = od if usable & (od > highest[p]) else highest[p]
            left = word(left | (zero if usable else some))
        return left

    return named(logarithm, f"logarithm_{dtype.char}")


logarithm_f, logarithm_d = (_make_logarithm(np.dtype(char)) for char in SERIES)


@njit(**INNER)
def mark(counts, beam, line, first, od, highest, seen):
    """Fill the densities of a run that are left where there are any, and say why there is none elsewhere."""
    dark, inverse = beam.dark, beam.inverse
    for p in range(seen.size):
        if od[p] == od[p]:
            continue
        value = counts[p] - dark.values[line * dark.row + (first + p) * dark.step]
        t = value * inverse.values[line * inverse.row + (first + p) * inverse.step]
        if 0 < t < np.inf:
            od[p] = -np.log(t)
            highest[p] = max(highest[p], od[p])
        else:
            seen[p] |= np.uint8((LOST if value == value else UNMEASURED) | NOT_BRIGHTER)


@njit(**INNER)
def judge(highest, thick, seen):
    """Say of pixels what their highest density tells."""
    for p in range(seen.size):
        thicker, bright = highest[p] > thick, highest[p] < 0
        seen[p] |= np.uint8((THICK if thicker else 0) | (0 if bright else NOT_BRIGHTER))
