"""The tile for K beyond MAX_K, where an exact sum can pass 2^31: integer tiles of K in steps, added in int64.

    total[r, c] = Σ_steps int64(Σ_{k in step} a[r, k] · w[c, k])
    y = float32(total - zero_point[r]·column_sum[c]) · (scale[r]·scale[c]) + bias[c]

x of 16 bits: total = 256·(total of the high bytes) + (total of the low ones), two rows of the integer tile.

Same operands and layouts as gemm/tile.py: both streams are contiguous along k, so a step is an offset into them.
|column_sum| ≤ 127·K stays in int32 to K = 16.9 million. Correct, but not fast: one panel at a time, through scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import carray

from ..base.jit import kernel
from ..base.memory import load_f32, load_i32, offset, stack_bytes, stack_zeros
from ..isa.base import InstructionSet
from .pack import LONG_STEP
from .portable import strip_for
from .tile import Output, Scheme


@cache
def long_strip(isa: InstructionSet, planes: int = 1) -> Callable:
    """``strip(rows, *Tile.ARGUMENTS)`` for any K, 8-bit weights, one scale per channel."""
    strip = strip_for(isa, Scheme(), Output.INTEGER)
    nr, word_bytes = isa.columns, isa.word_bytes
    step = LONG_STEP // isa.k_per_word

    @kernel(variant=f"{'x16_' if planes == 2 else ''}{isa.name}")
    def long_strip(
        rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last_columns, ahead, near
    ):  # fmt: skip
        height = rows * planes
        none, sums = stack_zeros(4 * max(height, 3 * nr)), stack_bytes(4 * height * nr)
        part = carray(sums, (height, nr), np.int32)
        total = carray(stack_bytes(8 * height * nr), (height, nr), np.int64)
        for p in range(panels):
            total[:] = 0
            for begin in range(0, words, step):
                strip(
                    height, offset(a, 4 * begin * height), offset(b, p * panel_stride + begin * word_bytes),
                    min(step, words - begin), none, none, none, sums, 4 * nr, 1, 0, nr, none, 0,
                )  # fmt: skip
                total += part
            ints = carray(offset(columns, 12 * p * nr), (3, nr), np.int32)
            floats = carray(offset(columns, 12 * p * nr), (3, nr), np.float32)
            valid = last_columns if p == panels - 1 else nr
            for r in range(rows):
                y = carray(offset(out, r * out_stride + 4 * p * nr), (valid,), np.float32)
                zero, row_scale = np.int64(load_i32(zero_point, r)), load_f32(scale, r)
                for c in range(valid):
                    exact = total[planes * r, c]
                    if planes == 2:
                        exact = 256 * exact + total[2 * r + 1, c]
                    exact += zero * ints[0, c]
                    y[c] = np.float32(np.float32(exact) * np.float32(row_scale * floats[1, c])) + floats[2, c]

    return long_strip
