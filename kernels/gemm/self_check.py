"""Whether a set's matrix registers multiply as they should on this machine: one small product, compared exactly.

A hypervisor or an emulator may offer the instructions but compute them wrongly; that would look like a bad model. Here
numpy lays out the operands, from the drawing in matrix_tile.py, and numpy computes the sums.
"""

from __future__ import annotations

import numpy as np

from ..base.jit import entry, kernel
from ..base.memory import ALIGN
from ..isa.base import ROW_BYTES, ROWS, VECTORS, InstructionSet
from ..objects.view import ADDRESS
from .intrinsics import matrix_registers, matrix_strip

#: Two tiles of rows of which the second is not full, two steps, three panels of which the last is not whole.
M, STEPS, PANELS = 2 * ROWS - 5, 2, 3
K, COLUMNS = STEPS * ROW_BYTES, VECTORS * ROWS
N = PANELS * COLUMNS - 7


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a cache line."""
    buffer = np.zeros(array.nbytes + ALIGN, np.uint8)
    skip = -buffer.ctypes.data % ALIGN
    copy = buffer[skip : skip + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def matrix_products_are_exact(isa: InstructionSet) -> bool:
    """Multiply extreme and random bytes on the matrix registers of `isa`, which this process may use."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2 * ROWS, K)).astype(np.uint8)
    w = rng.integers(-127, 128, (PANELS * COLUMNS, K)).astype(np.int8)
    x[0], x[1], w[0], w[1] = 255, 0, 127, -127
    zero_point = rng.integers(0, 256, 2 * ROWS).astype(np.int32)
    # [tiles][steps][16][64] and [panels][2][words][16][4]
    a = _aligned(x.reshape(2, ROWS, STEPS, ROW_BYTES).swapaxes(1, 2))
    b = _aligned(w.reshape(PANELS, VECTORS, ROWS, K // 4, 4).swapaxes(2, 3))
    columns = _aligned(np.zeros((PANELS, 3, COLUMNS), np.int32))
    columns[:, 0] = -w.sum(1, dtype=np.int32).reshape(PANELS, COLUMNS)
    columns[:, 1] = np.ones((), np.float32).view(np.int32)
    out = np.full((M + 1, N + 1), np.float32(0.5))
    multiply = matrix_registers(isa, "configure"), matrix_strip(isa), matrix_registers(isa, "release")
    arguments = (a, b, np.ones(2 * ROWS, np.float32), zero_point, columns, out)
    entry(_run(isa.name, *multiply), (ADDRESS,) * len(arguments))(*arguments)
    exact = (x[:M].astype(np.int64) - zero_point[:M, None]) @ w[:N].T.astype(np.int64)  # below 2^24: exact in float32
    return bool((out[:M, :N] == exact).all() and (out[M] == 0.5).all() and (out[:, N] == 0.5).all())


def _run(variant, configure, strip, release):
    @kernel(variant=variant)
    def run(a, b, scale, zero_point, columns, out):
        configure()
        strip(
            M, a.data, b.data, K // 4, scale.data, zero_point.data, columns.data, out.data, 4 * (N + 1), PANELS,
            COLUMNS * K, N - (PANELS - 1) * COLUMNS, a.data, 0,
        )  # fmt: skip
        release()

    return run
