"""The loops of a fit over all energies of a chunk of pixels, where nearly all of its time goes.

Index letters: e energy, p pixel, u unknown. Arrays are flat, their rows `CHUNK` pixels long: with rows of one known
length the compiler sees that nothing overlaps, and makes vectors of pixels.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from xstxm._kernels.lanes import prefetch
from xstxm._kernels.small_nnls import INNER

CHUNK = 256
"""Pixels that are fitted together: their numbers stay in the first cache, their spectra in the second."""

AHEAD = 8
"""Energies by which memory is asked beforehand: images lie too far apart for it to guess what comes next."""

LINE = 64
"""Bytes that memory gives at once."""

# contracting a*b+c keeps the arithmetic of every pixel the same; reordering its sums would not
FAST: dict[str, Any] = {**INNER, "fastmath": {"contract", "nsz"}}


@njit(**FAST)
def ask(data, at):
    """Ask memory for a run of a chunk, which may lie beyond the data: that does no harm."""
    for p in range(at, at + CHUNK, LINE // data.itemsize):
        prefetch(data, p)


@njit(**FAST)
def copy(od, row, first, n, n_energies, tiles):
    """Copy n pixels into tiles, a long run of each image at a time."""
    tiles[:, n_energies * CHUNK :] = 0  # what pads them is not zero after a fit that is NaN
    for e in range(n_energies):
        for c in range(0, n, CHUNK):
            m = min(CHUNK, n - c)
            at = e * row + first + c
            source = od[at : at + m]
            tile = tiles[c // CHUNK, e * CHUNK : e * CHUNK + m]
            for p in range(m):
                tile[p] = source[p]


@njit(**FAST)
def add_four(matrix, e, o, out):
    """Add four columns of a matrix, from e on, times four rows to out, two of its rows at a time: what the registers hold."""
    for u in range(0, matrix.shape[0], 2):
        q0, q1, q2, q3 = matrix[u, e], matrix[u, e + 1], matrix[u, e + 2], matrix[u, e + 3]
        s0, s1, s2, s3 = matrix[u + 1, e], matrix[u + 1, e + 1], matrix[u + 1, e + 2], matrix[u + 1, e + 3]
        both = out[u * CHUNK : (u + 2) * CHUNK]
        for p in range(CHUNK):
            o0, o1, o2, o3 = o[p], o[CHUNK + p], o[2 * CHUNK + p], o[3 * CHUNK + p]
            both[p] += (q0 * o0 + q1 * o1) + (q2 * o2 + q3 * o3)
            both[CHUNK + p] += (s0 * o0 + s1 * o1) + (s2 * o2 + s3 * o3)


@njit(**FAST)
def multiply(matrix, rows, out):
    """Fill out = matrix @ rows; the last two flat, CHUNK pixels a row."""
    out[: matrix.shape[0] * CHUNK] = 0
    for e in range(0, matrix.shape[1], 4):
        add_four(matrix, e, rows[e * CHUNK : (e + 4) * CHUNK], out)


def named(func, name, **options):
    """Return a compiled function under a name of its own.

    The code of functions of one name differs by a number that each process counts from the start: code that two
    processes cached would call the first of that name and number, whichever variant it is.
    """
    func.__qualname__ = name
    return njit(**{**FAST, "cache": False, **options})(func)


def _make_residual(n, out):
    """Return a function that takes n unknowns of a fit from the data, and does with the rest what `out` says.

    n is a constant for the loop over unknowns to unroll, arrays are flat and rows CHUNK apart for the loop over
    pixels to become vectors. The rest goes back into the tile (""), or its squares are added to the sums: "plain", with
    the weights (e) of energies too, or with those of "each" value (e * p), where a weight of zero leaves the value out.

    They are cached on disk with what calls them.
    """

    def residual(tile, spectra, first, fitted, weights, sums):
        f = fitted[first * CHUNK : (first + n) * CHUNK]
        for e in range(0, spectra.shape[1], 4):
            q, o = spectra[first : first + n, e : e + 4], tile[e * CHUNK : (e + 4) * CHUNK]
            if out == "weighted":
                w0, w1, w2, w3 = weights[e], weights[e + 1], weights[e + 2], weights[e + 3]
            if out == "each":
                w = weights[e * CHUNK : (e + 4) * CHUNK]
            for p in range(CHUNK):
                r0, r1, r2, r3 = o[p], o[CHUNK + p], o[2 * CHUNK + p], o[3 * CHUNK + p]
                for u in range(n):
                    x = f[u * CHUNK + p]
                    r0 -= q[u, 0] * x
                    r1 -= q[u, 1] * x
                    r2 -= q[u, 2] * x
                    r3 -= q[u, 3] * x
                if out == "each":
                    w0, w1, w2, w3 = w[p], w[CHUNK + p], w[2 * CHUNK + p], w[3 * CHUNK + p]
                    r0, r1 = r0 if w0 > 0 else w0, r1 if w1 > 0 else w1
                    r2, r3 = r2 if w2 > 0 else w2, r3 if w3 > 0 else w3
                if out == "":
                    o[p], o[CHUNK + p], o[2 * CHUNK + p], o[3 * CHUNK + p] = r0, r1, r2, r3
                else:
                    sums[p] += (r0 * r0 + r1 * r1) + (r2 * r2 + r3 * r3)
                if out == "weighted" or out == "each":
                    sums[CHUNK + p] += (w0 * r0 * r0 + w1 * r1 * r1) + (w2 * r2 * r2 + w3 * r3 * r3)

    return named(residual, f"residual_{out}_{n}")


_take_out_8 = _make_residual(8, "")


@njit(**INNER)
def _take_out_all_but_last(tile, spectra, fitted, weights, sums):
    """Take from the data all unknowns but the last two to eight, in place; return how many that were."""
    first = 0
    while spectra.shape[0] - first > 8:
        _take_out_8(tile, spectra, first, fitted, weights, sums)
        first += 8
    return first


def _make_sum(out):
    """Return a function that sums the squares of the residual over energies as `out` says; the tile may be lost."""
    two, four, six, eight = (_make_residual(n, out) for n in (2, 4, 6, 8))

    def sum_squares_of_rest(tile, spectra, fitted, weights, sums):
        first = _take_out_all_but_last(tile, spectra, fitted, weights, sums)
        last = spectra.shape[0] - first
        if last == 2:
            two(tile, spectra, first, fitted, weights, sums)
        elif last == 4:
            four(tile, spectra, first, fitted, weights, sums)
        elif last == 6:
            six(tile, spectra, first, fitted, weights, sums)
        else:
            eight(tile, spectra, first, fitted, weights, sums)

    return named(sum_squares_of_rest, f"sum_squares_of_rest_{out}")


sum_residuals, weigh_residuals, weigh_each_residual = (_make_sum(out) for out in ("plain", "weighted", "each"))


@njit(**FAST)
def sum_squares(tile, n_energies, square):
    """Sum the squares of the data over energies."""
    for e in range(n_energies):
        o = tile[e * CHUNK : (e + 1) * CHUNK]
        for p in range(CHUNK):
            square[p] += o[p] * o[p]
