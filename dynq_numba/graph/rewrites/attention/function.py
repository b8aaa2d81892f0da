"""The functions of attention, by their names: what dq.attention computes, in standard ONNX.

    Attention[_3d][_grouped][_causal | _topleft][_lengths][_bias][_8]
    q [B, H, S, D], k [B, Hkv, T, D], v [B, Hkv, T, Dv], scale [], bias (to [B, H, S, T]),
    lengths int64 [B]
    y [B, H, S, Dv] = softmax(q · kᵀ · scale + bias) · v

| in the name | keys that row i sees |
|---|---|
| `causal` | the first T - S + i + 1 |
| `topleft` | the first i + 1 |
| `lengths` | the first `lengths` of its batch |
| `causal_lengths` | the first `lengths` - S + i + 1 |

`grouped`: Hkv is not H, each head of k and v serves H / Hkv of q. `3d`: without B. A row that sees no key is zeros.
`8`: our kernel multiplies in 8 bits; the body is the float meaning.
"""

from __future__ import annotations

import onnx_ir as ir

from ...functions import function

_GROUPS = """
    one = Constant <value_ints: ints = [1]> ()
    third = Constant <value_ints: ints = [2]> ()
    heads = Shape <start: int = 1, end: int = 2> (q)
    few = Shape <start: int = 1, end: int = 2> (k)
    groups = Div (heads, few)
    times = Concat <axis: int = 0> (one, one, groups, one, one)
    k_alone = Unsqueeze (k, third)
    k_spread = Expand (k_alone, times)
    k_batch = Shape <start: int = 0, end: int = 1> (k)
    k_ends = Shape <start: int = 2, end: int = 4> (k)
    k_shape = Concat <axis: int = 0> (k_batch, heads, k_ends)
    all_k = Reshape (k_spread, k_shape)
    v_alone = Unsqueeze (v, third)
    v_spread = Expand (v_alone, times)
    v_batch = Shape <start: int = 0, end: int = 1> (v)
    v_ends = Shape <start: int = 2, end: int = 4> (v)
    v_shape = Concat <axis: int = 0> (v_batch, heads, v_ends)
    all_v = Reshape (v_spread, v_shape)
"""
_PRODUCTS = """
    scaled = Mul (q, scale)
    turned = Transpose <perm: ints = [PERM]> (KEYS)
    products = MatMul (scaled, turned)
"""
_PLACES = """
    from = Constant <value_int: int = 0> ()
    by = Constant <value_int: int = 1> ()
    none = Constant <value_ints: ints = [0]> ()
    beside = Constant <value_ints: ints = [1]> ()
    rows = Shape <start: int = -2, end: int = -1> (q)
    row_limit = Squeeze (rows, none)
    row_range = Range (from, row_limit, by)
    row = Unsqueeze (row_range, beside)
    keys = Shape <start: int = -2, end: int = -1> (k)
    key_limit = Squeeze (keys, none)
    key = Range (from, key_limit, by)
"""
_CAUSAL = """
    before = Sub (keys, rows)
    place = Add (row, before)
    not_after = LessOrEqual (key, place)
"""
_TOP_LEFT = """
    not_after = LessOrEqual (key, row)
"""
_LENGTHS = """
    spread = Constant <value_ints: ints = [1, 2, 3]> ()
    filled = Unsqueeze (lengths, spread)
    not_after = Less (key, filled)
"""
_CAUSAL_LENGTHS = """
    spread = Constant <value_ints: ints = [1, 2, 3]> ()
    filled = Unsqueeze (lengths, spread)
    before = Sub (filled, rows)
    place = Add (row, before)
    not_after = LessOrEqual (key, place)
"""
_SHARES = """
    last = Constant <value_ints: ints = [-1]> ()
    largest = ReduceMax (SCORES, last)
    blind = Equal (largest, never)
    shares = Softmax <axis: int = -1> (SCORES)
    weights = Where (blind, zero, shares)
    y = MatMul (weights, VALUES)
"""


def attention(name: str) -> ir.Function:
    """The function of that name."""
    flags = set(name.split("_"))
    rank = 3 if "3d" in flags else 4
    keys, values = ("all_k", "all_v") if "grouped" in flags else ("k", "v")
    perm = ", ".join(map(str, [*range(rank - 2), rank - 1, rank - 2]))
    body = _GROUPS if "grouped" in flags else ""
    body += _PRODUCTS.replace("PERM", perm).replace("KEYS", keys)
    body += "    never = Constant <value_float: float = -inf> ()\n    zero = Constant <value_float: float = 0.0> ()\n"
    scores = "products"
    if "bias" in flags:
        body += "    biased = Add (products, bias)\n"
        scores = "biased"
    conditions = {"causal": _CAUSAL, "topleft": _TOP_LEFT, "lengths": _LENGTHS}
    found = [condition for flag, condition in conditions.items() if flag in flags]
    if found:
        body += _PLACES + (found[0] if len(found) == 1 else _CAUSAL_LENGTHS)
    if flags & {"causal", "topleft", "lengths"}:
        body += f"    before_row = Where (not_after, {scores}, never)\n"
        scores = "before_row"
    body += _SHARES.replace("SCORES", scores).replace("VALUES", values)
    more = [each for each in ("bias", "lengths") if each in flags]
    return function(name, ", ".join(["q, k, v, scale", *more]), body)
