"""What attention tells its workers: its own words of the context (see base/context.py), after the common ones.

Strides are in bytes. SEEN: address of the keys of each batch (int64), or 0 where all have KEYS. MASK: address or 0,
with MASK_BYTES 1 for booleans, 4 for float32. DECODE_ROWS: rows of the decode form, or 0. VECTORS, BLOCKS: how the
other form is cut.
"""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import load_int, load_ptr, offset

LANES = 16

(
    HEADS, GROUP, ROWS, KEYS, DIM, VALUE_DIM, CAUSAL, SCALE, Q, Q_BATCH, Q_HEAD, Q_ROW, K, K_BATCH, K_HEAD, K_ROW, V,
    V_BATCH, V_HEAD, V_ROW, OUT, OUT_BATCH, OUT_HEAD, OUT_ROW, MASK, MASK_BATCH, MASK_HEAD, MASK_ROW, MASK_BYTES, SEEN,
    DECODE_ROWS, VECTORS, BLOCKS,
) = range(at.SIZE, at.SIZE + 33)  # fmt: skip
SIZE = at.SIZE + 40  # whole cache lines: counters follow


@kernel
def padded(count):
    """Whole sixteens."""
    return (count + LANES - 1) // LANES * LANES


@kernel
def head_of(context, array, batch, head):
    """Where one head of Q, K, V or OUT lies: address, batch, head and row strides follow each other."""
    start = batch * load_int(context, array + 1) + head * load_int(context, array + 2)
    return offset(load_ptr(context, array), start)
