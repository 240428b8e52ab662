"""Optical densities of runs of counts, and what is wrong with them: what every pass over counts is made of.

A run is a part of a line, which is an image at one energy, or a spectrum. Index letters: l line, p place in a line.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import named
from xstxm._kernels.rows import Rows
from xstxm._kernels.small_nnls import INNER

LOST, UNMEASURED, THICK, NOT_BRIGHTER = 1, 2, 4, 8
"""Bits of a pixel: at some energy counts or I0 have no logarithm, counts are NaN, the density exceeds the limit, the pixel
is not brighter than I0."""

TERMS = {"f": 9, "d": 20}
"""Terms of the logarithm's polynomial that the precision asks for."""


class Beam(NamedTuple):
    """What makes the transmitted share of counts, ``(counts - dark) * inverse``."""

    dark: Rows
    inverse: Rows
    """One over what is left of I0."""

    def room(self, n: int) -> np.ndarray | None:
        """Return the room that runs of n need; None where lines have one dark and one I0."""
        even = self.dark.step == 0 and self.inverse.step == 0
        return None if even else np.empty((2, n), self.dark.values.dtype)


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


def _make_polynomial(coefficients: list[Any]) -> Any:
    """Return a function that sums coefficients times powers; a loop over them would keep that over values from vectors."""
    first, *others = coefficients
    name = f"polynomial_{first.dtype.char}_{len(coefficients)}"
    if not others:
        return named(lambda _: first, name)
    rest = _make_polynomial(others)
    return named(lambda x: first + x * rest(x), name)


@functools.cache
def _beyond_first_order(char: str) -> Any:
    """Return a function for ``(-ln(1 - g) - g) / g^2``, |g| <= 1/3, interpolated between the points of Chebyshev."""
    series = np.polynomial.Polynomial(1 / np.arange(2, 50))
    fitted = np.polynomial.Chebyshev.interpolate(series, TERMS[char] - 1, domain=[-1 / 3, 1 / 3])
    return _make_polynomial(list(fitted.convert(kind=np.polynomial.Polynomial).coef.astype(char)))


def _make_logarithm(dtype: np.dtype, even: bool) -> Any:
    """Return a function that fills ``od = -ln(t)`` of ``t = (counts - dark) * inverse`` and raises the highest so far.

    It returns a number below zero where some density is NaN. In an even beam dark and inverse are one number each.

    With ``t = m 2^k``, m in [2/3, 4/3), the exponent k is cut off by integer arithmetic, and ``-ln(1 - g) = g + g^2 P(g)`` with
    ``g = 1 - m`` is a polynomial: without a division, which costs more than all the rest, and without a branch or a table,
    which would keep the loop from becoming one over vectors. Numbers too small for that are left to `mark`.
    """
    number, word = dtype.type, np.dtype(f"i{dtype.itemsize}").type
    shift = np.finfo(dtype).nmant
    base, mask = int(np.array(2 / 3, dtype).view(word)), -(1 << shift)
    least = int(np.array(np.finfo(dtype).tiny).view(word))
    minus_ln2 = number(-math.log(2) / 2**shift)
    polynomial = _beyond_first_order(dtype.char)
    one, nan = number(1), number(math.nan)

    def logarithm(counts, dark, inverse, out, highest):
        left = word(0)  # of the width of the numbers: a wider one would halve the vectors
        for p in range(out.size):
            t = number((counts[p] - dark) * inverse if even else (counts[p] - dark[p]) * inverse[p])
            bits = t.view(word)
            exponent = word(word(bits - base) & mask)
            g = one - word(bits - exponent).view(number)
            od = number(exponent) * minus_ln2 + (g * g * polynomial(g) + g)
            # below zero for all but positive, normal numbers, by overflow above them
            above = word(bits - least)
            unusable = word(above | word(above + 2 * least))
            od = nan if unusable < 0 else od
            out[p] = od
            highest[p] = od if od > highest[p] else highest[p]
            left = word(left | unusable)
        return left

    return named(logarithm, f"logarithm_{dtype.char}_{'even' if even else 'uneven'}")


def _make_absorb(dtype: np.dtype) -> Any:
    """Return a function that fills a run of densities, of counts that begin at `first` of a line, as `_make_logarithm` does.

    It takes room for two runs, or None in an even beam: what it is decides when the loop around it is compiled.
    """
    evenly, unevenly = (_make_logarithm(dtype, even) for even in (True, False))

    def absorb(counts, beam, room, line, first, od, highest):
        dark, inverse = beam.dark, beam.inverse
        if room is None:
            return evenly(counts, dark.values[line * dark.row], inverse.values[line * inverse.row], od, highest)
        n = od.size
        darks, inverses = run_of(dark, line, first, n, room[0]), run_of(inverse, line, first, n, room[1])
        return unevenly(counts, darks, inverses, od, highest)

    # a call for each run, with all that it hands over, takes a quarter of the time of a block
    return named(absorb, f"absorb_{dtype.char}", forceinline=True)


absorb_f, absorb_d = (_make_absorb(np.dtype(char)) for char in TERMS)


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
