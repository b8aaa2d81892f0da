"""Attention as a step of a program (kernels/program/run.py)."""

from __future__ import annotations

from ..base.jit import kernel
from ..base.record import Float, Pointer, Record
from ..base.status import FINE, NO_MEMORY
from .call import attend_at


class AttentionStep(Record):
    """float32 out [B, H, S, Dv] of q [B, H, S, D], k [B, Hkv, T, D], v [B, Hkv, T, Dv]; last axes contiguous."""

    batch: int
    heads: int
    rows: int
    key_heads: int
    keys: int
    dim: int
    value_dim: int
    q: Pointer
    q_batch: int
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
    mask: Pointer  # [B, H, S, T] of booleans or float32, its last axis contiguous
    mask_bytes: int  # 1 or 4; 0: none
    mask_batch: int
    mask_head: int
    mask_row: int
    seen: Pointer  # int64 [B], from 0 to T: how many keys of each batch there are; or NULL
    causal: int  # 1: row i sees the first T - S + i + 1 keys
    scale: Float
    descriptor: Pointer


@kernel
def attention_step(record, threads):
    s = AttentionStep(record)
    fine = attend_at(
        (s.batch, s.heads, s.rows, s.key_heads, s.keys, s.dim, s.value_dim), s.q, (s.q_batch, s.q_head, s.q_row),
        s.k, (s.k_batch, s.k_head, s.k_row), s.v, (s.v_batch, s.v_head, s.v_row), s.out,
        (s.out_batch, s.out_head, s.out_row), s.mask, s.mask_bytes, (s.mask_batch, s.mask_head, s.mask_row), s.seen,
        s.causal, s.scale, s.descriptor, threads,
    )  # fmt: skip
    return FINE if fine else NO_MEMORY
