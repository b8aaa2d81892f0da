"""What the workers of attention are told."""

from __future__ import annotations

from ..base.context import Context, Descriptor
from ..base.jit import kernel
from ..base.memory import is_null, load_int
from ..base.record import Float, Pointer

LANES = 16


class AttentionDescriptor(Descriptor):
    most_vectors: int  # of a block of query rows
    decodes: int  # whether the worker has a decode form


class AttentionContext(Context):
    heads: int  # of k and v
    group: int  # query heads that share one
    rows: int
    keys: int
    dim: int
    value_dim: int
    causal: int
    scale: Float
    q: Pointer
    q_batch: int  # strides
    q_head: int
    q_row: int
    k: Pointer
    k_batch: int
    k_head: int
    k_row: int
    v: Pointer
    v_batch: int
    v_head: int
    v_row: int
    out: Pointer
    out_batch: int
    out_head: int
    out_row: int
    mask: Pointer  # or NULL
    mask_bytes: int  # 1 for booleans, 4 for float32, 0 for none
    mask_batch: int
    mask_head: int
    mask_row: int
    seen: Pointer  # the keys of each batch (int64), or NULL where all have `keys`
    decode_rows: int  # rows of the decode form, or 0
    vectors: int  # of the other form: vectors of the largest block
    blocks: int  # of the query rows of a key head


@kernel
def padded(count):
    """Whole sixteens."""
    return (count + LANES - 1) // LANES * LANES


@kernel
def keys_of(context, batch):
    """How many keys there are for a batch."""
    return context.keys if is_null(context.seen) else load_int(context.seen, batch)
