"""The test of one support in one vector instruction per row: what numba's own loops do not become.

`test_support` is `vector_test` where this version of numba and llvmlite can build it and it gives what
`plain_test` gives, else `plain_test`. Index letters: r reference, s support, i lane, p pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from xstxm._kernels.fit_plan import LANES


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def plain_test(tables, support, first, target, p, size, solution):
    """Test a support on one pixel: y = table @ (target[:, p], 1), for the lanes from `first` on.

    `tables` (s, r + 3, lanes) holds for each support the rows of the references, of the constant, and of the
    tolerances of both, in units of `size`. Fills solution[p, first : first + LANES] with the amounts, which are y
    where it is above zero and the reference in the support, else 0. Returns bits, counted from lane `first`:
    the lanes below tolerance, then from bit `LANES` on those with an amount.
    """
    table = tables[support]
    n = table.shape[0] - 3
    bits = 0
    for i in range(LANES):
        y = table[n, first + i]
        for r in range(n):
            y += table[r, first + i] * target[r, p]
        positive = (support >> (first + i)) & 1 == 1 and y > 0
        solution[p, first + i] = y if positive else 0.0
        if positive:
            bits |= 1 << (LANES + i)
        if y < -(table[n + 1, first + i] * size + table[n + 2, first + i]):
            bits |= 1 << i
    return bits


@njit(nogil=True, cache=True)
def no_prefetch(array, p):
    """Do nothing."""


def _make_prefetch() -> Any:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array

    byte, index = ir.IntType(8).as_pointer(), ir.IntType(32)

    @intrinsic
    def prefetch(typing_context, array, p):
        """Ask memory for the line that holds array[p], for the second cache."""

        def generate(context, builder, signature, args):
            data = make_array(signature.args[0])(context, builder, args[0]).data
            kind = ir.FunctionType(ir.VoidType(), [byte, index, index, index])
            hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            read, second_cache, data_cache = (ir.Constant(index, k) for k in (0, 2, 1))
            builder.call(hint, [builder.bitcast(builder.gep(data, [args[1]]), byte), read, second_cache, data_cache])
            return context.get_dummy_value()

        return types.void(array, types.intp), generate

    return prefetch


def _make_vector_test() -> Any:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array

    word, number, index = ir.IntType(64), ir.DoubleType(), ir.IntType(32)
    vector, single = ir.VectorType(number, LANES), ir.VectorType(ir.FloatType(), LANES)
    bits, flags = ir.IntType(LANES), ir.VectorType(ir.IntType(1), LANES)

    @intrinsic
    def vector_test(typing_context, tables, support, first, target, p, size, solution):
        def generate(context, builder, signature, args):
            tables, support, first, target, p, size, solution = args
            arrays = [
                make_array(signature.args[k])(context, builder, value)
                for k, value in ((0, tables), (3, target), (6, solution))
            ]
            _, rows, lanes = cgutils.unpack_tuple(builder, arrays[0].shape)
            n = builder.sub(rows, ir.Constant(word, 3))
            width = cgutils.unpack_tuple(builder, arrays[1].shape)[1]

            def pointer(k, offset, kind):
                return builder.bitcast(builder.gep(arrays[k].data, [offset]), kind.as_pointer())

            def row(r):
                line = builder.add(builder.mul(support, rows), r)
                return builder.load(pointer(0, builder.add(builder.mul(line, lanes), first), vector), align=8)

            def as_number(value):
                return value if value.type == number else builder.fpext(value, number)

            def spread(value):
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(index, 0))
                zeros = ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
                return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

            def multiply_add(a, b, c):
                return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

            y = cgutils.alloca_once_value(builder, row(n))
            with cgutils.for_range(builder, n) as loop:
                place = builder.add(builder.mul(loop.index, width), p)
                value = as_number(builder.load(builder.gep(arrays[1].data, [place])))
                builder.store(multiply_add(row(loop.index), spread(value), builder.load(y)), y)
            y = builder.load(y)
            zeros = ir.Constant(vector, [0.0] * LANES)
            in_support = builder.bitcast(builder.trunc(builder.lshr(support, first), bits), flags)
            positive = builder.and_(in_support, builder.fcmp_ordered(">", y, zeros))
            place = builder.add(builder.mul(p, lanes), first)
            amounts = builder.select(positive, y, zeros)
            if signature.args[6].dtype == types.float32:
                amounts = builder.fptrunc(amounts, single)
            builder.store(amounts, pointer(2, place, amounts.type), align=4)
            tolerances = [row(builder.add(n, ir.Constant(word, k))) for k in (1, 2)]
            slack = multiply_add(tolerances[0], spread(as_number(size)), tolerances[1])
            below = builder.fcmp_ordered("<", builder.fadd(y, slack), zeros)
            found = [builder.zext(builder.bitcast(mask, bits), word) for mask in (below, positive)]
            return builder.or_(found[0], builder.shl(found[1], ir.Constant(word, LANES)))

        i = types.intp
        return i(tables, i, i, target, i, target.dtype, solution), generate

    return vector_test


try:
    vector_test, prefetch = _make_vector_test(), _make_prefetch()
except (ImportError, AttributeError):
    vector_test, prefetch = plain_test, no_prefetch


@njit(cache=True)
def _probe(tables, target, size, solution):
    prefetch(target, 1)
    return vector_test(tables, 3, 0, target, 1, size, solution)


def _works() -> bool:
    """Tell whether both can be compiled here, and `vector_test` agrees with `plain_test` on a small case."""
    tables = np.arange(4 * 5 * LANES, dtype=float).reshape(4, 5, LANES) % 7 - 3
    target = np.array([[0.0, -2.0], [0.0, 1.5]])
    one, other = np.zeros((2, LANES)), np.zeros((2, LANES))
    try:
        found = _probe(tables, target, 0.5, one)
    except Exception:
        return False
    return found == plain_test(tables, 3, 0, target, 1, 0.5, other) and np.array_equal(one, other)


if _works():
    test_support = vector_test
else:
    test_support, prefetch = plain_test, no_prefetch
