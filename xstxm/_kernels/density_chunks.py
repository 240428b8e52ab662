"""Optical densities of the chunks of pixels that a fit works on, made of counts in the place where the fit takes them from.

Index letters: e energy, p pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import CHUNK, FAST, named
from xstxm._kernels.density_lines import (
    SERIES,
    is_even,
    judge,
    logarithm_d,
    logarithm_f,
    mark,
    transmit_evenly,
    transmit_unevenly,
)

TOGETHER = 8
"""Energies of which the logarithms are taken in one loop."""


@njit(**FAST)
def copy_transmitted(counts, row, first, n, n_energies, beam, tiles):
    """Do what `chunk_loops.copy` does with the transmitted share of counts."""
    even, rooms = is_even(beam), np.empty((2, CHUNK), tiles.dtype)
    tiles[:, n_energies * CHUNK :] = 0
    for e in range(n_energies):
        for c in range(0, n, CHUNK):
            m = min(CHUNK, n - c)
            at = e * row + first + c
            share = tiles[c // CHUNK, e * CHUNK : e * CHUNK + m]
            if even:
                transmit_evenly(counts[at : at + m], beam, e, share)
            else:
                transmit_unevenly(counts[at : at + m], beam, e, first + c, rooms, share)


def _make_absorb(char: str) -> Any:
    """Return a function that puts densities in the place of what a chunk transmits, and fills the bits of its pixels.

    The pixels begin at `first` of the counts.
    """
    logarithm = logarithm_f if char == "f" else logarithm_d

    def absorb(counts, row, first, n_energies, beam, thick, tile, bits):
        n, top = bits.size, np.full(TOGETHER * CHUNK, -np.inf, tile.dtype)
        left = 0
        for e in range(0, n_energies, TOGETHER):
            size = min(TOGETHER, n_energies - e) * CHUNK
            left |= logarithm(tile[e * CHUNK : e * CHUNK + size], top[:size])
        highest = top[:CHUNK]
        for e in range(1, TOGETHER):
            other = top[e * CHUNK : (e + 1) * CHUNK]
            for p in range(CHUNK):
                highest[p] = max(highest[p], other[p])
        if left:
            for e in range(n_energies):
                at = e * row + first
                mark(counts[at : at + n], beam, e, first, tile[e * CHUNK : (e + 1) * CHUNK], highest, bits)
        judge(highest, thick, bits)

    return named(absorb, f"absorb_{char}")


absorb_f, absorb_d = (_make_absorb(char) for char in SERIES)
