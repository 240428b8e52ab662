"""A block of spectra taken from memory, once: copied, or made of counts, and projected on the basis of a fit on its way.

Index letters: e energy, p pixel, u unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import AHEAD, CHUNK, FAST, add_four, ask, multiply, named
from xstxm._kernels.density_lines import absorb_d, absorb_f, judge, mark


@njit(**FAST)
def _copy(source, out):
    for p in range(source.size):
        out[p] = source[p]


def _make_load(char: str) -> Any:
    """Return a function that fills the chunks of a block of n pixels, their tiles and projections; of `first` the data.

    The data are optical densities (""), or counts, to be worked on in the dtype of the letter. Of counts the bits of the
    pixels are filled, with `thick` as the limit of the density.
    """
    absorb = absorb_d if char == "d" else absorb_f

    def load(data, row, first, n, plan, beam, room, thick, block, bits):
        tiles, projected = block.tiles, block.projected
        n_energies, size = plan.n_energies, tiles.shape[0] * CHUNK
        left, highest = np.zeros(tiles.shape[0], np.int64), np.full(n, -np.inf, tiles.dtype)
        tiles[:, n_energies * CHUNK :] = 0  # what pads them is not zero after a fit that is NaN
        projected[:] = 0
        for four in range(0, plan.basis.shape[1], 4):
            for c in range(0, n, CHUNK):
                m, tile = min(CHUNK, n - c), tiles[c // CHUNK]
                for e in range(four, min(four + 4, n_energies)):
                    beyond = e + AHEAD >= n_energies
                    ask(data, (e + AHEAD - n_energies * beyond) * row + first + c + size * beyond)
                    at = e * row + first + c
                    source, out = data[at : at + m], tile[e * CHUNK : e * CHUNK + m]
                    if char:
                        left[c // CHUNK] |= absorb(source, beam, room, e, first + c, out, highest[c : c + m])
                    else:
                        _copy(source, out)
                add_four(plan.basis, four, tile[four * CHUNK : (four + 4) * CHUNK], projected[c // CHUNK].reshape(-1))
        if char:
            for c in range(0, n, CHUNK):
                m, tile = min(CHUNK, n - c), tiles[c // CHUNK]
                if left[c // CHUNK] < 0:
                    for e in range(n_energies):
                        at, out = e * row + first + c, tile[e * CHUNK : e * CHUNK + m]
                        mark(data[at : at + m], beam, e, first + c, out, highest[c : c + m], bits[c : c + m])
                    multiply(plan.basis, tile, projected[c // CHUNK].reshape(-1))
                judge(highest[c : c + m], thick, bits[c : c + m])

    return named(load, f"load_{char}")


load_densities, load_counts_f, load_counts_d = (_make_load(char) for char in ("", "f", "d"))
