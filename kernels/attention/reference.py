"""The numpy reference of `worker.py`: the same float32 operations in the same order, hence the same bits. Normative.

For every query row, over the keys it sees, in blocks of BLOCK counted from key 0:

    s_j = Σ_d fma(q_d · scale, k_jd)          one chain, ascending d;  + bias_j, and -inf where bias_j is -inf
    m'  = max(m, s_j of the block);  c = m', or 0 while that is -inf
    p_j = exp(s_j - c);  factor = exp(m - c)
    l   = fma(l, factor, Σ_j p_j)             the sum: one chain, ascending j
    o_d = fma(o_d, factor, Σ_j fma(p_j, v_jd))    one chain, too
    out = o_d · (1 / l) + 0;  0 where l = 0

from m = -inf, l = o = 0.

With bits = 8 rows of q, k and v become integers, and so do the weights of a block. exp is `short_exp`.

    of a row x:  sx = max |x| / 127, 1 if that is 0, NaN where x is not finite;  ix = rint(x / sx), within ±127
    s_j = float32(Σ_d iq_d · ik_jd) · (sq · sk_j)       the sum exact;  sq, iq of q_d · scale
    u_j = p_j · sv_j, 0 where p_j is 0;  t = max(u_j of the block, LEAST);  ip_j = rint(u_j · (255 / t))
    o_d = fma(o_d, factor, float32(Σ_j ip_j · iv_jd) · (t / 255))

No row depends on other rows: a decode step gives the same bits as that row in a prefill.
"""

from __future__ import annotations

import numpy as np

from ..activations.reference import LOG2_E, exp
from ..base.exact import fma

F32 = np.float32
#: What rounds to an integer when it is added, and taken away again.
MAGIC = np.array(1.5 * 2**23, F32)
#: Keys of a block.
BLOCK = 64
#: The largest D of 8 bits: Σ iq · ik stays below 2^24.
LONGEST = 1040
#: The smallest t, so that 255 / t is a number.
LEAST = 2.0**-100
#: Of `short_exp`: what is smaller gives 0; 2^f for |f| ≤ 1/2 within 2^-18.4, exact at 0; and what leaves an integer
#: with the exponent's bias in the low byte of a float.
SHORT_MIN = -86.0
SHORT_P = [1.0, *map(float.fromhex, ("0x1.62e12cp-1", "0x1.ec0378p-3", "0x1.c9fc5cp-5", "0x1.3a02d2p-7"))]
POWER_MAGIC = 1.5 * 2**23 + 127


def short_exp(x: np.ndarray) -> np.ndarray:
    """exp for x ≤ 0 within 2^-17 of it (0 below SHORT_MIN): 2^n · p(x·log2 e - n), in fused multiply-adds."""
    log2_e, magic = np.array(LOG2_E, F32), np.array(POWER_MAGIC, F32)
    shifted = fma(x, log2_e, magic)
    n = shifted - magic
    f, p = fma(x, log2_e, -n), np.full(x.shape, SHORT_P[-1], F32)
    for coefficient in SHORT_P[-2::-1]:
        p = fma(p, f, np.array(coefficient, F32))
    return np.where(x < SHORT_MIN, F32(0), np.ldexp(p, np.clip(np.nan_to_num(n), -126, 0).astype(np.int32)))


def limits(lengths: np.ndarray, rows: int, causal: bool) -> np.ndarray:
    """How many keys each query row sees, [B, S]; `lengths` [B] are the keys there are, and the last row sees all."""
    before = np.arange(1 - rows, 1) if causal else np.zeros(rows, np.int64)
    return np.maximum(lengths[:, None] + before, 0)


def integers(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers of x's shape, as float64, and the scales of its rows; 127 in a row whose scale is NaN."""
    scale = np.abs(x).max(axis=-1, initial=0) / F32(127)
    scale = np.where(scale == 0, F32(1), np.where(np.isfinite(scale), scale, F32(np.nan)))
    whole = np.clip(np.rint(x / scale[..., None]), -127, 127)
    return np.where(np.isnan(whole), 127, whole).astype(np.float64), scale


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    scale: np.float32,
    bias: np.ndarray | None,
    seen: np.ndarray,
    bits: int | None = None,
) -> np.ndarray:
    """float32 [B, H, S, Dv] of q [B, H, S, D], k [B, Hkv, T, D], v [B, Hkv, T, Dv]; bias [B, H, S, T]; seen [B, S]."""
    batch, heads, rows, dim = q.shape
    keys = k.shape[2]
    groups = np.arange(heads) // max(1, heads // max(1, k.shape[1]))
    k, v = np.broadcast_to(k, (batch, *k.shape[1:]))[:, groups], np.broadcast_to(v, (batch, *v.shape[1:]))[:, groups]
    m = np.full((batch, heads, rows), -np.inf, F32)
    total, out = np.zeros(m.shape, F32), np.zeros((*m.shape, v.shape[3]), F32)
    with np.errstate(all="ignore"):
        scaled = q * F32(scale)
        if bits:
            (iq, sq), (ik, sk), (iv, sv) = integers(scaled), integers(k), integers(v)
        for first in range(0, keys, BLOCK):
            last = min(first + BLOCK, keys)
            if bits:
                product = iq @ np.swapaxes(ik[:, :, first:last], -1, -2)
                s = product.astype(F32) * (sq[..., None] * sk[:, :, None, first:last])
            else:
                s = np.zeros((batch, heads, rows, last - first), F32)
                for d in range(dim):
                    s = fma(scaled[..., d, None], k[:, :, None, first:last, d], s)
            if bias is not None:
                b = bias[..., first:last]
                s = np.where(b == -np.inf, F32(-np.inf), s + b)
            inside = (np.arange(first, last) < seen[:, :, None])[:, None]
            s = np.where(inside, s, F32(-np.inf))
            most = np.fmax(m, np.fmax.reduce(s, axis=-1))  # a NaN reaches the row by its weight
            shift = np.where(most == -np.inf, F32(0), most)
            decay = short_exp if bits else exp
            p, factor = decay(s - shift[..., None]), decay(m - shift)
            some, part = np.zeros(m.shape, F32), np.zeros(out.shape, F32)
            for j in range(last - first):
                some = some + p[..., j]
            if bits:
                u = np.where(p == 0, F32(0), p * sv[:, :, None, first:last])
                t = np.maximum(u.max(axis=-1), F32(LEAST))[..., None]  # a NaN stays
                ip = fma(u, F32(255) / t, MAGIC) - MAGIC
                part = (ip.astype(np.float64) @ iv[:, :, first:last]).astype(F32) * (t / F32(255))
            else:
                for j in range(last - first):
                    more = fma(p[..., j, None], v[:, :, None, first + j], part)
                    part = np.where(inside[..., j, None], more, part)
            total, out = fma(total, factor, some), fma(out, factor[..., None], part)
            m = most
        result = out * (F32(1) / total)[..., None] + F32(0)
    return np.where(total[..., None] == 0, F32(0), result)
