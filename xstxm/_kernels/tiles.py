"""A tile of a symmetric product of spectra: sums that stay in the registers.

`add_tile` is `add_vector_tile`, where the processor has vectors of eight numbers, this version of numba and llvmlite can build
it and it gives a tile, else `add_plain_tile`. `TILE` is the number of its rows and columns. Index letters: i row and j
column of the product, p pixel.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numba import njit

from xstxm._kernels.fit_plan import LANES

WIDE = 4
"""Rows and columns of the tile in vectors: 16 sums are half the registers of AVX-512, what makes them a quarter."""


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def add_plain_tile(block, i, j, moment):
    """Add block[i : i + 3] @ block[j : j + 3].T to moment[i : i + 3, j : j + 3]: nine sums fit the registers of AVX2."""
    a0, a1, a2 = block[i], block[i + 1], block[i + 2]
    b0, b1, b2 = block[j], block[j + 1], block[j + 2]
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = 0.0
    for p in range(block.shape[1]):
        x0, x1, x2 = a0[p], a1[p], a2[p]
        y0, y1, y2 = b0[p], b1[p], b2[p]
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
    m0, m1, m2 = moment[i], moment[i + 1], moment[i + 2]
    m0[j], m0[j + 1], m0[j + 2] = m0[j] + s00, m0[j + 1] + s01, m0[j + 2] + s02
    m1[j], m1[j + 1], m1[j + 2] = m1[j] + s10, m1[j + 1] + s11, m1[j + 2] + s12
    m2[j], m2[j + 1], m2[j + 2] = m2[j] + s20, m2[j + 1] + s21, m2[j + 2] + s22


def _make_vector_tile() -> Any:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.core.registry import cpu_target
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array

    if "+avx512f" not in cpu_target.target_context.codegen().magic_tuple()[2].split(","):
        raise ImportError("the registers of this processor are too few, and too short")
    word, number = ir.IntType(64), ir.DoubleType()
    vector = ir.VectorType(number, LANES)

    @intrinsic
    def add_vector_tile(typing_context, block, i, j, moment):
        """Add block[i : i + WIDE] @ block[j : j + WIDE].T to a moment; rows of a block are a multiple of LANES long."""

        def generate(context, builder, signature, args):
            block, moment = (make_array(signature.args[k])(context, builder, args[k]) for k in (0, 3))
            n, width = (cgutils.unpack_tuple(builder, array.shape)[1] for array in (block, moment))
            rows, columns = ([builder.add(args[k], ir.Constant(word, d)) for d in range(WIDE)] for k in (1, 2))
            tile = list(itertools.product(range(WIDE), repeat=2))
            nothing = ir.Constant(vector, [0.0] * LANES)
            sums = [cgutils.alloca_once_value(builder, nothing) for _ in tile]
            with cgutils.for_range_slice(builder, word(0), n, word(LANES)) as (p, _):

                def lanes(row):
                    place = builder.gep(block.data, [builder.add(builder.mul(row, n), p)])
                    return builder.load(builder.bitcast(place, vector.as_pointer()), align=8)

                a, b = [lanes(row) for row in rows], [lanes(row) for row in columns]
                for (r, c), held in zip(tile, sums, strict=True):
                    product = builder.fmul(a[r], b[c], flags=("contract",))
                    builder.store(builder.fadd(product, builder.load(held), flags=("contract",)), held)
            kind = ir.FunctionType(number, [number, vector])
            total = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f64")
            for (r, c), held in zip(tile, sums, strict=True):
                place = builder.gep(moment.data, [builder.add(builder.mul(rows[r], width), columns[c])])
                builder.store(
                    builder.call(total, [builder.load(place), builder.load(held)], fastmath=("reassoc",)), place
                )
            return context.get_dummy_value()

        return types.void(block, types.intp, types.intp, moment), generate

    return add_vector_tile


try:
    add_vector_tile = _make_vector_tile()
except Exception:  # whatever the inside of numba has become
    add_vector_tile = add_plain_tile


@njit(cache=True)
def _probe_tile(block, moment):
    add_vector_tile(block, WIDE, 0, moment)


def _works() -> bool:
    """Tell whether `add_vector_tile` can be compiled here, and makes a tile of a product of whole numbers."""
    block, moment = np.arange(4.0 * WIDE * LANES).reshape(2 * WIDE, -1) % 11, np.ones((2 * WIDE, 2 * WIDE))
    expected = moment.copy()
    expected[WIDE:, :WIDE] += block[WIDE:] @ block[:WIDE].T
    try:
        _probe_tile(block, moment)
    except Exception:
        return False
    return np.array_equal(moment, expected)


if add_vector_tile is not add_plain_tile and _works():
    add_tile, TILE = add_vector_tile, WIDE
else:
    add_tile, TILE = add_plain_tile, 3
