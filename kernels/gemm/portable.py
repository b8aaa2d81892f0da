"""The tile for any CPU: plain loops that LLVM vectorises for it.

Same operands, same layouts (KR = 4, NR = 16, ≤ 4 rows) and same bits as `tile.py`, whose drawing applies:

    acc[r, c] = Σ_words Σ_{j<4} int32(a[word, r, j]) · int32(w[word, c, j])          x of 16 bits: two rows r, in turn
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import carray

from ..base.jit import kernel
from ..base.memory import load_f32, load_i32, offset, stack_bytes
from ..isa.base import InstructionSet
from ..isa.intrinsics import fma
from ..isa.portable import Portable
from .intrinsics import strip
from .tile import Output, Scheme


@cache
def portable_strip(isa: Portable, scheme: Scheme, output: Output) -> Callable:
    nr = isa.columns
    group_words = scheme.group // isa.k_per_word
    grouped = scheme.group > 0
    four_bit, zero_points, float_scales = scheme.bits == 4, scheme.zero_points, scheme.float_scales
    integer, planes = output is Output.INTEGER, scheme.planes
    word_bytes = isa.word_bytes * scheme.bits // 8
    block = group_words * word_bytes + scheme.scale_bytes * nr  # a group's words and scales
    variant = f"{scheme.name}_{output.value}__{isa.name}"

    @kernel(variant=variant)
    def add_words(acc, a, rows, r, b, words, zeros):
        """acc[c] += row r of `a` times `words` k-words of weights; `zeros` are the zero points, if there are any."""
        for word in range(words):
            values = carray(offset(a, 4 * (word * rows + r)), (4,), np.uint8)
            a0, a1, a2, a3 = np.int32(values[0]), np.int32(values[1]), np.int32(values[2]), np.int32(values[3])
            if zero_points:
                nibbles = carray(offset(b, (word // 2) * 2 * word_bytes), (4 * nr,), np.uint8)
                z = carray(zeros, (nr,), np.uint8)
                shift = 4 * (word % 2)
                for c in range(nr):
                    w0, w1 = np.int32((nibbles[4 * c] >> shift) & 15), np.int32((nibbles[4 * c + 1] >> shift) & 15)
                    w2, w3 = np.int32((nibbles[4 * c + 2] >> shift) & 15), np.int32((nibbles[4 * c + 3] >> shift) & 15)
                    products = a0 * (w0 - z[c]) + a1 * (w1 - z[c]) + a2 * (w2 - z[c]) + a3 * (w3 - z[c])
                    acc[c] += np.int32(products)
            elif four_bit:
                nibbles = carray(offset(b, (word // 2) * 2 * word_bytes), (4 * nr,), np.int8)
                if word % 2 == 0:
                    for c in range(nr):
                        w0, w1 = np.int8(nibbles[4 * c] << 4), np.int8(nibbles[4 * c + 1] << 4)
                        w2, w3 = np.int8(nibbles[4 * c + 2] << 4), np.int8(nibbles[4 * c + 3] << 4)
                        acc[c] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                else:
                    for c in range(nr):
                        w0, w1 = np.int8(nibbles[4 * c] & -16), np.int8(nibbles[4 * c + 1] & -16)
                        w2, w3 = np.int8(nibbles[4 * c + 2] & -16), np.int8(nibbles[4 * c + 3] & -16)
                        acc[c] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
            else:
                w = carray(offset(b, word * word_bytes), (4 * nr,), np.int8)
                for c in range(nr):
                    acc[c] += a0 * w[4 * c] + a1 * w[4 * c + 1] + a2 * w[4 * c + 2] + a3 * w[4 * c + 3]

    @kernel(variant=variant)
    def portable_strip(
        rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last_columns, ahead, near
    ):  # fmt: skip
        acc, total = carray(stack_bytes(4 * nr), (nr,), np.int32), carray(stack_bytes(4 * nr), (nr,), np.float32)
        high, buffer = carray(stack_bytes(4 * nr), (nr,), np.int32), stack_bytes(4 * nr)
        scales, bits = carray(buffer, (nr,), np.float32), carray(buffer, (nr,), np.uint32)
        for p in range(panels):
            valid = last_columns if p == panels - 1 else nr
            weights = offset(b, p * panel_stride)
            words_of_columns = offset(columns, 12 * p * nr)
            as_int = carray(words_of_columns, (3, nr), np.int32)
            as_float = carray(words_of_columns, (3, nr), np.float32)
            for r in range(rows):
                acc[:] = 0
                if grouped:
                    total[:] = np.float32(0)
                    groups = words // group_words
                    for g in range(groups):
                        acc[:] = 0
                        start = offset(weights, g * block)
                        zeros = offset(weights, groups * block + g * nr)
                        activations = offset(a, 4 * g * group_words * rows)
                        add_words(acc, activations, rows, r, start, group_words, zeros)
                        stored = carray(offset(start, group_words * word_bytes), (nr,), np.uint32)
                        if float_scales:
                            bits[:] = stored
                        else:  # pairs
                            for c in range(nr // 2):
                                bits[c], bits[nr // 2 + c] = stored[c] << 16, stored[c] & 0xFFFF0000
                        for c in range(nr):
                            total[c] = fma(np.float32(acc[c]), scales[c], total[c])
                elif planes == 2:
                    high[:] = 0
                    add_words(high, a, 2 * rows, 2 * r, weights, words, weights)
                    add_words(acc, a, 2 * rows, 2 * r + 1, weights, words, weights)
                else:
                    add_words(acc, a, rows, r, weights, words, weights)
                zero = load_i32(zero_point, r)
                target = offset(out, r * out_stride + 4 * p * nr)
                if integer:
                    y = carray(target, (valid,), np.int32)
                    row_sum = load_i32(scale, r)
                    for c in range(valid):
                        y[c] = acc[c] + zero * as_int[0, c] - row_sum * as_int[1, c]
                elif grouped:
                    z = carray(target, (valid,), np.float32)
                    row_scale = load_f32(scale, r)
                    for c in range(valid):
                        shift = np.float32(np.float32(zero) * as_float[0, c])
                        z[c] = np.float32(np.float32(total[c] - shift) * row_scale) + as_float[2, c]
                elif planes == 2:
                    z = carray(target, (valid,), np.float32)
                    row_scale = load_f32(scale, r)
                    for c in range(valid):
                        joined = 256 * np.int64(high[c]) + np.int64(acc[c]) + np.int64(zero) * np.int64(as_int[0, c])
                        z[c] = np.float32(np.float32(joined) * np.float32(row_scale * as_float[1, c])) + as_float[2, c]
                else:
                    z = carray(target, (valid,), np.float32)
                    row_scale = load_f32(scale, r)
                    for c in range(valid):
                        exact = np.int32(acc[c] + zero * as_int[0, c])
                        z[c] = np.float32(np.float32(exact) * np.float32(row_scale * as_float[1, c])) + as_float[2, c]

    return portable_strip


def strip_for(isa: InstructionSet, scheme: Scheme, output: Output) -> Callable:
    """The tile of `isa`, emitted or jitted; both take ``(rows, *Tile.ARGUMENTS)``."""
    return strip(isa, scheme, output) if isa.emitted else portable_strip(isa, scheme, output)
