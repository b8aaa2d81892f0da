"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy import empty, ndarray

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import Causal
from ...arguments.matrices import delivered
from ...kernels.attention.reference import LONGEST
from .backend import attention as run


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    causal: Causal = False,
    scale: float | None = None,
    key_lengths: Any = None,
    bits: Literal[8] | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """softmax(q · kᵀ · scale + mask) · v in float32, without a matrix of all scores in memory.

    A row's result has the same bits in any call, on every instruction set and for every number of threads. So a decode
    step (S = 1) gives the same bits as that row in a prefill of the same keys.

    Parameters
    ----------
    q : array [..., H, S, D] of float16, float32, float64 or bfloat16
        Queries: H heads of S rows.
    k : such an array [..., Hkv, T, D]
        Keys of T positions.
    v : such an array [..., Hkv, T, Dv]
        Values. H is a multiple of Hkv: query heads i·H/Hkv … (i+1)·H/Hkv-1 share key head i. Leading dimensions
        broadcast. q, k and v are not copied if they are float32 with a contiguous last axis; the other strides may be
        any. So projections [S, H·D] as ``x.reshape(S, H, D).swapaxes(0, 1)`` are not copied.
    mask : array that broadcasts to [..., H, S, T], optional
        Booleans: True where a row sees a key. Or floats, which are added to the scores; -inf hides a key.
    causal : bool, "bottom_right" or "top_left"
        For S rows and T keys. True or "bottom_right": row i sees the first T - S + i + 1 keys, so the last row sees
        all, as the newest positions of a cache do (FlashAttention). "top_left": row i sees the first i + 1 keys, as
        with ``is_causal`` in PyTorch. The two are the same if S = T.
    scale : float, optional
        1 / sqrt(D) by default. q is multiplied by it, in float32.
    key_lengths : int or array of integers that broadcasts to the leading dimensions, optional
        How many of the T keys are used (0 … T) in each batch, also for `causal`. Keys after them are not read.
    bits : 8, optional
        Multiply in 8-bit integers: rows of q, k and v, and weights, are quantized in the call. With VNNI this is about
        twice as fast if a key head has many query rows, and slower below about 24 rows, because k and v are quantized
        in every call. On other sets it is not faster. D must be at most 1040.
    out : float32 array [..., H, S, Dv], optional
        Written and returned; its last axis must be contiguous. It may overlap the others.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work, at most
        `get_num_threads()`.

    Returns
    -------
    float32 array [..., H, S, Dv]
        Rows that see no key are zeros. Heads and positions have the same order in memory as in q. So for
        q = x.reshape(B, S, H, D).swapaxes(1, 2), ``.swapaxes(1, 2).reshape(B, S, H * Dv)`` of the result is no copy.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result or a block of scores.

    Notes
    -----
    With u = 2^-24, V = max |v| and ``e = max_j (Σ_d |q_d·scale·k_jd| + |mask_j|)`` over the keys that a row sees:
    ``|error| ≤ 1.01·u·V·(2·(D + 3)·e + 13·⌈T/64⌉ + 350)``, unless results are denormal or near float32's largest.
    A score is off by (D + 3)·u·e at most; its difference from the maximum, of at most 104, by 104·u; exp by 2.6 ulp,
    and again where the maximum grows from one block of 64 keys to the next; the two sums by 64·u, and 2·u a block.
    The error of a weight counts twice, because it is in both sums.

    If a row sees a key whose score is NaN or infinite, that row becomes NaN, and no other row. Keys that `causal` or
    `key_lengths` hide may hold anything. A key that `mask` hides has weight 0, which is multiplied by its v.

    With ``bits=8`` rows of q · scale, k and v are rint(x / s)·s with s = max |x| / 127. Weights, each times the s of
    its v, are multiples of 1/255 of the largest in their block of 64 keys. This adds to the error:

    * of scores, V·δ (weights whose scores are within δ differ by 2·tanh(δ / 2) in all). With Q and K the largest
      |q_d·scale| and |k_d| of two rows, and |q|₁ and |k|₁ their sums,
      ``δ ≤ 1.01·(|q|₁·K + |k|₁·Q + D·Q·K / 254) / 254``;
    * of v, V / 254;
    * of weights, n·ρ·V / 510, where n is min(64, T) and ρ ≤ 1 the part that the largest weights of all blocks have in
      the sum of weights;
    * of a shorter exp, within 2^-17, V·2^-16·(⌈T/64⌉ + 1).

    There a row of q, k or v that is not finite is NaN as a whole. The v of a key with weight 0 is ignored.

    Source: Dao, FlashAttention-2 (2023), for the order of work: a block of keys, its maximum, then the sums rescaled.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> q = np.array([[[0.0, 0.0], [9.0, 0.0]]], np.float32)                 # 1 head, 2 rows
    >>> k = np.array([[[1.0, 0.0], [-1.0, 0.0]]], np.float32)
    >>> v = np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32)
    >>> dq.attention(q, k, v).round(2)
    array([[[2., 3.],
            [1., 2.]]], dtype=float32)
    """
    if (
        type(q) is type(k) is type(v) is ndarray and q.dtype is F32 and k.dtype is F32 and v.dtype is F32
        and mask is None and key_lengths is None and out is None and q.ndim == k.ndim == v.ndim == 4
        and k.shape[:3] == v.shape[:3] and q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3] > 0
        and k.shape[1] and q.shape[1] % k.shape[1] == 0 and type(causal) is bool and scale is None
        and (bits is None or (type(bits) is int and bits == 8 and q.shape[3] <= LONGEST))
        and q.strides[3] == 4 and k.strides[3] == 4 and v.strides[3] == 4
    ):  # fmt: skip
        # What small calls are made of: no step more than the kernel needs.
        batch, heads, rows, dim = q.shape
        result = _room(batch, heads, rows, v.shape[3], q.strides)
        count = 0 if threads is None else checks.thread_count("threads", threads)
        run(q, k, v, result, None, None, causal, dim**-0.5, count, bits)
        return result
    q, k, v = _operand("q", q), _operand("k", k), _operand("v", v)
    batch_shape = _fitting(q, k, v)
    (heads, rows, dim), keys = q.shape[-3:], k.shape[-2]
    if isinstance(causal, str):
        if checks.choice("causal", causal, ("bottom_right", "top_left")) == "top_left":
            options = {"scale": scale, "bits": bits, "threads": threads}
            return _top_left(q, k, v, batch_shape, mask, key_lengths, out, options)
        causal = True
    causal = checks.boolean("causal", causal, 'True, False, "bottom_right" or "top_left"')
    factor = (dim or 1) ** -0.5 if scale is None else checks.number("scale", scale, "a number or None")
    chosen = None if mask is None else _mask(mask, (*batch_shape, heads, rows, keys))
    seen = None if key_lengths is None else _lengths(key_lengths, batch_shape, keys)
    byte_bits = _bits(bits, q)
    count = 0 if threads is None else checks.thread_count("threads", threads)
    shape = (*batch_shape, heads, rows, v.shape[-1])
    target = out
    if out is not None:
        checks.out_array(out, F32, shape)
    if out is None or any(np.may_share_memory(out, other) for other in (q, k, v, chosen) if other is not None):
        target = _room(math.prod(batch_shape), heads, rows, v.shape[-1], q.strides).reshape(shape)
    assert target is not None
    arrays = [_spread(array, (*batch_shape, *array.shape[-3:])) for array in (q, k, v)]
    for i in np.ndindex(batch_shape[:-1]) if len(batch_shape) > 1 else ((),):
        queries, keys_, values, place = (_four(array[i]) for array in (*arrays, target))
        bias = None if chosen is None else _four(chosen[i])
        run(
            queries, keys_, values, place, bias, None if seen is None else seen[i].reshape(-1), causal, factor,
            count, byte_bits,
        )  # fmt: skip
    return delivered(target, out)


def _top_left(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, batch: tuple[int, ...], mask: Any, key_lengths: Any, out: Any,
    options: dict[str, Any],
) -> np.ndarray:
    """Row i sees the first i + 1 keys: of as many keys as rows, that is the bottom right, too."""
    (heads, rows, _), keys = q.shape[-3:], k.shape[-2]
    seen = np.full(batch, keys) if key_lengths is None else _lengths(key_lengths, batch, keys)
    if (seen >= rows).all():
        return attention(q, k, v, mask=mask, causal=True, key_lengths=np.minimum(seen, rows), out=out, **options)
    # There are fewer keys than rows: rows beyond them see all.
    chosen = None if mask is None else _mask(mask, (*batch, heads, rows, keys))
    result = _room(math.prod(batch), heads, rows, v.shape[-1], q.strides).reshape(*batch, heads, rows, v.shape[-1])
    arrays = [_spread(array, (*batch, *array.shape[-3:])) for array in (q, k, v)]
    for i in np.ndindex(batch):
        queries, keys_, values = (array[i] for array in arrays)
        n = min(int(seen[i]), rows)
        for part, causal in ((slice(n), True), (slice(n, rows), False)):
            addend = None if chosen is None else chosen[i][:, part, :n]
            result[i][:, part] = attention(
                queries[:, part], keys_[:, :n], values[:, :n], mask=addend, causal=causal, **options
            )
    if out is None:
        return result
    checks.out_array(out, F32, result.shape)
    out[...] = result
    return out


def _room(batch: int, heads: int, rows: int, dim: int, like: tuple[int, ...]) -> np.ndarray:
    """A new array [batch, heads, rows, dim] whose heads and rows lie in memory in the order of those strides."""
    if like[-3] < like[-2]:
        return empty((batch, rows, heads, dim), F32).swapaxes(1, 2)
    return empty((batch, heads, rows, dim), F32)


def _operand(name: str, value: Any) -> np.ndarray:
    """A float32 array of at least three axes whose last is contiguous: the given one where it can be."""
    array = checks.float_array(name, value)
    if array.ndim < 3:
        raise ValueError(f"{name} must have at least three dimensions, [..., heads, positions, dim]; got {array.shape}")
    return array if array.strides[-1] == 4 or array.shape[-1] <= 1 else np.ascontiguousarray(array)


def _fitting(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[int, ...]:
    """The batch shape of arrays that fit each other."""
    if k.shape[-1] != q.shape[-1]:
        raise ValueError(f"k must have q's last dimension, {q.shape[-1]}; got {k.shape}")
    if v.shape[-3:-1] != k.shape[-3:-1]:
        raise ValueError(f"v must have k's heads and positions, {k.shape[-3:-1]}; got {v.shape}")
    heads, key_heads = q.shape[-3], k.shape[-3]
    if heads % key_heads if key_heads else heads:
        raise ValueError(f"k must have heads that divide q's {heads}; got {key_heads}")
    if q.shape[:-3] == k.shape[:-3] == v.shape[:-3]:
        return q.shape[:-3]
    try:
        return np.broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    except ValueError:
        shapes = f"{q.shape}, {k.shape}, {v.shape}"
        raise ValueError(f"q, k and v must broadcast in their leading dimensions; got {shapes}") from None


def _bits(bits: Any, q: np.ndarray) -> int | None:
    if bits is None:
        return None
    if checks.integer("bits", bits, "8 or None") != 8:
        raise ValueError(f"bits must be 8 or None; got {bits}")
    if q.shape[-1] > LONGEST:
        raise ValueError(f"q must have a last dimension of at most {LONGEST} where bits is 8; got {q.shape}")
    return 8


def _mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Booleans or float32 of the full shape, the last axis contiguous; the others may have stride 0."""
    mask = checks.mask_array("mask", mask)
    if mask.dtype != np.bool_:
        mask = checks.float_array("mask", mask)
    try:
        full = _spread(mask, shape)
    except ValueError:
        raise ValueError(f"mask must broadcast to {shape}; got shape {mask.shape}") from None
    if full.strides[-1] == full.itemsize or shape[-1] <= 1:
        return full
    last = np.broadcast_to(mask, (*mask.shape[:-1], shape[-1]))
    return np.broadcast_to(np.ascontiguousarray(last), shape)


def _lengths(key_lengths: Any, batch: tuple[int, ...], keys: int) -> np.ndarray:
    """int64 of the batch shape, C contiguous."""
    given = checks.integers("key_lengths", key_lengths)
    if given.size and not 0 <= given.min() <= given.max() <= keys:
        raise ValueError(f"key_lengths must lie in [0, {keys}], the keys of k; got {key_lengths}")
    try:
        return np.ascontiguousarray(_spread(given.astype(np.int64), batch)).reshape(batch)
    except ValueError:
        raise ValueError(f"key_lengths must broadcast to {batch}; got shape {given.shape}") from None


def _spread(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`array`, broadcast where it must be."""
    return array if array.shape == shape else np.broadcast_to(array, shape)


def _four(array: np.ndarray) -> np.ndarray:
    """Four axes of what has three or four."""
    return array if array.ndim == 4 else array[None]
