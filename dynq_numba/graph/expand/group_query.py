"""GroupQueryAttention, ONNX Runtime's attention of decoders: rotary embedding, cache, heads of groups, causal.

    past [B, Hkv, T, D] ─┐
    new  [B, Hkv, S, D] ─Append─▶ present [B, Hkv, max (T, total), D] ─▶ attention of S rows

Of batch b, `seqlens` + 1 positions are filled when the new ones are there: they stand at `starts` = seqlens + 1 - S,
which is 0 for a first prompt, padded at its right or not. Row i sees the positions up to starts + i. What stands in
present behind the filled positions is nobody's.
"""

from __future__ import annotations

import onnx_ir as ir

from ..functions import function
from ..rewrites.base import NoMatch
from .attention_core import core, heads, joined, repeated
from .base import Expansion, Operator, constant, renamed
from .rotary import rotated

#: past, and new at `starts` of each batch, in so many positions that there is room for `total`.
_APPEND = """
    axis = Constant <value_ints: ints = [2]> ()
    zero = Constant <value_ints: ints = [0]> ()
    beside = Constant <value_ints: ints = [1]> ()
    ends = Constant <value_ints: ints = [1, 3]> ()
    from = Constant <value_int: int = 0> ()
    by = Constant <value_int: int = 1> ()
    there = Shape <start: int = 2, end: int = 3> (past)
    rows = Shape <start: int = 2, end: int = 3> (new)
    room = Max (there, total)
    more = Sub (room, there)
    pads = Concat <axis: int = 0> (zero, more)
    nothing = Constant <value_float: float = 0.0> ()
    whole = Pad (past, pads, nothing, axis)
    limit = Squeeze (room)
    key = Range (from, limit, by)
    first = Unsqueeze (starts, beside)
    distance = Sub (key, first)
    not_before = GreaterOrEqual (distance, zero)
    not_behind = Less (distance, rows)
    inside = And (not_before, not_behind)
    last = Sub (rows, beside)
    not_less = Max (distance, zero)
    place = Min (not_less, last)
    place4 = Unsqueeze (place, ends)
    inside4 = Unsqueeze (inside, ends)
    shape_front = Shape <start: int = 0, end: int = 2> (new)
    shape_end = Shape <start: int = 3, end: int = 4> (new)
    shape = Concat <axis: int = 0> (shape_front, room, shape_end)
    index = Expand (place4, shape)
    spread = GatherElements <axis: int = 2> (new, index)
    y = Where (inside4, spread, whole)
"""


def append() -> ir.Function:
    """dynq::Append (past [B, H, T, D], new [B, H, S, D], starts int64 [B], total int64 [1])."""
    return function("Append", "past, new, starts, total", _APPEND)


def _group_query(operator: Operator) -> str:
    operator.refuse("sink", "k_scale", "v_scale", "q_norm", "k_norm", "query_seqlens", "qk")
    count, few = operator.integer("num_heads"), operator.integer("kv_num_heads")
    if not few or count % few:
        raise NoMatch(f"{count} heads of q, {few} of k")
    if operator.integer("smooth_softmax") > 0:
        raise NoMatch("its softmax is smooth")
    for each in "kv":
        if operator.string(f"{each}_quant_type", "NONE") != "NONE":
            raise NoMatch("its cache is of integers")
    for each in ("qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon"):
        operator.number(each, 0.0)
    causal, window = operator.integer("causal", 1) == 1, operator.integer("local_window_size", -1)
    if operator.rank("q") != 3 or operator.rank("seqlens") != 1:
        raise NoMatch("its query must have 3 axes, and there must be one length for each batch")
    lines = constant("one", [1]) + constant("front", [0]) + constant("flat", [-1]) + _projections(operator, count, few)
    lines += """
    seqlens64 = Cast <to = 7> (seqlens)
    total_there = Reshape (total, flat)
    totals = Cast <to = 7> (total_there)
    filled_by = Add (seqlens64, one)
    rows = Shape <start = 1, end = 2> (q)
    starts_or_less = Sub (filled_by, rows)
    starts = Max (starts_or_less, front)
    lengths = Add (starts, rows)
"""
    if operator.integer("do_rotary") == 1:
        lines += _rotary(operator, count)
    else:
        operator.integer("rotary_interleaved")
        lines += "    q4 = Identity (q_raw)\n    k_new = Identity (k_raw)\n"
    of_heads = "Reshape ({}_all, known)" if _width(operator) else "Identity ({}_all)"  # so that onnx knows the heads
    for each, name in (("k", "key"), ("v", "value")):
        if operator.has(f"past_{name}"):
            operator.call("Append", append)
            lines += f"    {each}_all = dynq.Append (past_{name}, {each}_new, starts, totals)\n" \
                     f"    {each}_few = {of_heads.format(each)}\n"  # fmt: skip
        else:
            lines += f"    {each}_all = Identity ({each}_new)\n    {each}_few = Identity ({each}_all)\n"
        lines += f"    {each}4 = Identity ({each}_few)\n" if count == few else repeated(each, count // few)
        if operator.wants(f"present_{name}"):
            lines += f"    present_{name} = Identity ({each}_all)\n"
    mask = _mask(operator, causal=causal, window=window)
    return lines + core(mask, operator.number("scale", 0.0) or None, operator.number("softcap", 0.0)) + joined(
        "y", "q", count * _width(operator)
    )


def _width(operator: Operator) -> int:
    """Of a head, 0 where it is not known."""
    return operator.known("past_key", 3) or operator.known("k", 2) // operator.integer("kv_num_heads")


def _projections(operator: Operator, count: int, few: int) -> str:
    """q_raw, k_raw, v_new, with heads."""
    width = _width(operator)
    lines = constant("known", [0, few, -1, width]) if width else ""
    if operator.has("k") and operator.has("v"):
        lines += "".join(f"    {each}3 = Identity ({each})\n" for each in "qkv")
        return lines + heads("q", count).replace("q4", "q_raw") + heads("k", few).replace("k4", "k_raw") + heads(
            "v", few
        ).replace("v4", "v_new")
    if operator.has("k") or operator.has("v"):
        raise NoMatch("it has one of k and v")
    lines += constant("apart", [0, 0, count + 2 * few, -1]) + constant("sizes", [count, few, few]) + """
    packed = Reshape (q, apart)
    q_rows, k_rows, v_rows = Split <axis = 2> (packed, sizes)
"""
    names = ("q_rows", "q_raw"), ("k_rows", "k_raw"), ("v_rows", "v_new")
    return lines + "".join(f"    {to} = Transpose <perm = [0, 2, 1, 3]> ({of})\n" for of, to in names)


def _rotary(operator: Operator, count: int) -> str:
    """q4 and k_new, turned by the angles of their positions."""
    if not operator.has("cos") or not operator.has("sin"):
        raise NoMatch("it has no tables of cos and sin")
    dim, width = 2 * operator.length("cos", 1), _width(operator)
    if not width:
        raise NoMatch("the width of its heads is not known")
    interleaved, places = operator.integer("rotary_interleaved") == 1, "positions"
    lines = constant("heads_axis", [1])
    if not operator.has("positions"):
        places = "places"
        lines += constant("from", 0) + constant("by", 1) + """
    row_limit0 = Squeeze (rows, front)
    row_numbers = Range (from, row_limit0, by)
    first_places = Unsqueeze (starts, one)
    places = Add (first_places, row_numbers)
"""
    for table in ("cos", "sin"):
        lines += f"    {table}_rows = Gather ({table}, {places})\n" \
                 f"    {table}_heads = Unsqueeze ({table}_rows, heads_axis)\n"  # fmt: skip
    for of, to in (("q_raw", "q4"), ("k_raw", "k_new")):
        turned = rotated(interleaved, dim if dim < width else 0)
        lines += renamed(turned, to, x=of, y=to, cos="cos_heads", sin="sin_heads")
    return lines


def _mask(operator: Operator, *, causal: bool, window: int) -> str:
    """What makes `masked` of `scores`."""
    lines = constant("never", float("-inf")) + constant("key_from", 0) + constant("key_by", 1) + constant(
        "spread", [1, 2, 3]
    ) + """
    keys = Shape <start = 2, end = 3> (k4)
    key_limit = Squeeze (keys, front)
    key = Range (key_from, key_limit, key_by)
    filled = Unsqueeze (lengths, spread)
"""  # fmt: skip
    masked = "scores"
    if operator.has("bias"):
        lines += constant("last_axis", [-1]) + constant("nothing_added", 0.0) + """
    bias_keys = Shape <start = -1> (bias)
    bias_more = Sub (keys, bias_keys)
    bias_pads = Concat <axis = 0> (front, bias_more)
    whole_bias = Pad (bias, bias_pads, nothing_added, last_axis)
    biased = Add (scores, whole_bias)
"""
        masked = "biased"
    if not causal:
        return f"{lines}    within = Less (key, filled)\n    masked = Where (within, {masked}, never)\n"
    lines += """
    key_row_limit = Squeeze (rows, front)
    key_row_range = Range (key_from, key_row_limit, key_by)
    key_row = Unsqueeze (key_row_range, one)
    before = Sub (filled, rows)
    place = Add (key_row, before)
    not_after = LessOrEqual (key, place)
"""
    if window > 0:
        lines += constant("window", window) + f"""
    distance = Sub (place, key)
    near = Less (distance, window)
    near_only = Where (near, {masked}, never)
"""
        masked = "near_only"
    return f"{lines}    masked = Where (not_after, {masked}, never)\n"


EXPANSIONS = {
    "com.microsoft.GroupQueryAttention": Expansion(
        "q, k, v, past_key, past_value, seqlens, total, cos, sin, positions, bias, sink, k_scale, v_scale, q_norm, "
        "k_norm, query_seqlens", "y, present_key, present_value, qk", _group_query,
    ),
}  # fmt: skip
