"""Attention: of opset 23 to 25, and ONNX Runtime's Attention and MultiHeadAttention.

    q4 [B, H, S, D], k4 [B, Hkv, T, D], v4 [B, Hkv, T, Dv] ─▶ y4 [B, H, S, Dv]

Keys that a row does not see have the score -inf in ONNX, and a large negative number in ONNX Runtime. A row that sees
none is zeros in ONNX: so the NaN that Softmax makes of it become 0.
"""

from __future__ import annotations

from ..rewrites.base import NoMatch
from ..rewrites.matching.shapes import is_axis
from .base import Expansion, Operator, constant

_NEVER, _LOWEST = float("-inf"), -3.4028234663852886e38
_FLOAT, _BOOL = 1, 9


def core(mask: str, scale: float | None, softcap: float = 0.0, *, blind: bool = False) -> str:
    """y4; `mask` makes `masked` of `scores`, and `blind` rows may see no key."""
    lines = "    turned = Transpose <perm = [0, 1, 3, 2]> (k4)\n    products = MatMul (q4, turned)\n"
    if scale is None:
        lines += """
    width = Shape <start = 3, end = 4> (q4)
    width_float = Cast <to = 1> (width)
    root = Sqrt (width_float)
    raw = Div (products, root)
"""
    else:
        lines += constant("scale", scale) + "    raw = Mul (products, scale)\n"
    if softcap:
        lines += constant("cap", softcap) + """
    shrunk = Div (raw, cap)
    bent = Tanh (shrunk)
    scores = Mul (bent, cap)
"""
    else:
        lines += "    scores = Identity (raw)\n"
    lines += (mask or "    masked = Identity (scores)\n") + "    shares = Softmax <axis = -1> (masked)\n"
    if not blind:
        return lines + "    y4 = MatMul (shares, v4)\n"
    return lines + constant("nothing", 0.0) + """
    unknown = IsNaN (shares)
    weights = Where (unknown, nothing, shares)
    y4 = MatMul (weights, v4)
"""


#: `row` [S, 1] and `key` [T]: positions of queries and of keys; `rows` [1] and `keys` [1]: how many there are.
_PLACES = constant("from", 0) + constant("by", 1) + constant("none", [0]) + constant("beside", [1]) + """
    rows = Shape <start = 2, end = 3> (q4)
    row_limit = Squeeze (rows, none)
    row_range = Range (from, row_limit, by)
    row = Unsqueeze (row_range, beside)
    keys = Shape <start = 2, end = 3> (k4)
    key_limit = Squeeze (keys, none)
    key = Range (from, key_limit, by)
"""


def heads(name: str, heads: int) -> str:
    """⟨name⟩4 [B, H, S, D] of ⟨name⟩3 [B, S, H·D]."""
    return constant(f"{name}_apart", [0, 0, heads, -1]) + f"""
    {name}_rows = Reshape ({name}3, {name}_apart)
    {name}4 = Transpose <perm = [0, 2, 1, 3]> ({name}_rows)
"""


def joined(result: str, like: str = "", width: int = 0) -> str:
    """`result` [B, S, H·Dv] of y4; `width` is H·Dv, 0 if not known: if it is, onnx sees that B and S are `like`'s."""
    together = constant("together", [0, 0, -1])
    if width:
        together = constant("y_width", [width]) + f"""
    y_front = Shape <start = 0, end = 2> ({like})
    together = Concat <axis = 0> (y_front, y_width)
"""
    return f"""{together}
    y_rows = Transpose <perm = [0, 2, 1, 3]> (y4)
    {result} = Reshape (y_rows, together)
"""


# -- opset 23 to 25 ------------------------------------------------------------------------------
def repeated(name: str, groups: int) -> str:
    """⟨name⟩4 with each head `groups` times, of ⟨name⟩_few."""
    return constant(f"{name}_third", [2]) + constant(f"{name}_groups", [1, 1, groups, 1, 1]) + f"""
    {name}_alone = Unsqueeze ({name}_few, {name}_third)
    {name}_many = Expand ({name}_alone, {name}_groups)
    {name}_batch = Shape <start = 0, end = 1> ({name}_few)
    {name}_heads = Shape <start = 1, end = 2> (q4)
    {name}_ends = Shape <start = 2, end = 4> ({name}_few)
    {name}_shape = Concat <axis = 0> ({name}_batch, {name}_heads, {name}_ends)
    {name}4 = Reshape ({name}_many, {name}_shape)
"""


def _standard(operator: Operator) -> str:
    operator.refuse("qk_output")
    if operator.integer("softmax_precision", _FLOAT) != _FLOAT:
        raise NoMatch("its softmax is not in float32")
    operator.integer("qk_matmul_output_mode")
    rank, counts = operator.rank("q"), [operator.integer(f"{each}_num_heads") for each in ("q", "kv")]
    if rank == 3:
        lines = "".join(f"    {each}3 = Identity ({each})\n" for each in "qkv")
        lines += heads("q", counts[0]) + "".join(
            heads(each, counts[1]).replace(f"{each}4", f"{each}_new") for each in "kv"
        )
    else:
        counts = [operator.length(each, 1) for each in "qk"]
        lines = "    q4 = Identity (q)\n" + "".join(f"    {each}_new = Identity ({each})\n" for each in "kv")
    if not counts[1] or counts[0] % counts[1]:
        raise NoMatch(f"{counts[0]} heads of q, {counts[1]} of k")
    groups = counts[0] // counts[1]
    for each, name in (("k", "key"), ("v", "value")):
        few, joins = f"{each}_few", operator.has(f"past_{name}")
        lines += f"    {few} = Concat <axis = 2> (past_{name}, {each}_new)\n" if joins else (
            f"    {few} = Identity ({each}_new)\n"
        )  # fmt: skip
        lines += f"    {each}4 = Identity ({few})\n" if groups == 1 else repeated(each, groups)
        if operator.wants(f"present_{name}"):
            lines += f"    present_{name} = Identity ({few})\n"
    mask, blind = _standard_mask(operator)
    scale = operator.number("scale", 0.0) or None
    lines += core(mask, scale, operator.number("softcap", 0.0), blind=blind)
    if rank == 4:
        return lines + "    y = Identity (y4)\n"
    return lines + joined("y", "q", operator.known("v", 2) * groups)


def _standard_mask(operator: Operator) -> tuple[str, bool]:
    """What makes `masked` of `scores`, and whether rows may see no key."""
    causal, masked = operator.integer("is_causal") == 1, "scores"
    windows = [operator.integer(f"{side}_window_size", -1) for side in ("left", "right")]
    lengths = operator.has("lengths")
    conditions, lines = [], ""
    if causal or lengths or max(windows) >= 0:
        lines += constant("never", _NEVER) + _PLACES
    if lengths:
        lines += constant("spread", [1, 2, 3]) + "    filled = Unsqueeze (lengths, spread)\n"
    if lengths and not causal:
        lines += "    within = Less (key, filled)\n"
        conditions.append("within")
    if causal or max(windows) >= 0:
        if lengths:
            lines += "    before = Sub (filled, rows)\n    place = Add (row, before)\n"
        elif operator.has("past_key"):
            lines += "    before = Shape <start = 2, end = 3> (past_key)\n    place = Add (row, before)\n"
        else:
            lines += "    place = Identity (row)\n"
    if causal:
        lines += "    not_after = LessOrEqual (key, place)\n"
        conditions.append("not_after")
    for side, size, compare in zip(("left", "right"), windows, ("LessOrEqual", "GreaterOrEqual"), strict=True):
        if size >= 0:
            lines += constant(f"{side}_size", size if side == "left" else -size)
            lines += "" if "distance" in lines else "    distance = Sub (place, key)\n"
            lines += f"    {side} = {compare} (distance, {side}_size)\n"
            conditions.append(side)
    if operator.has("mask"):
        given, more = _whole_mask(operator)
        if operator.inputs["mask"].dtype == _BOOL:
            lines += (constant("never", _NEVER) if "never" not in lines else "") + more
            conditions.append(given)
        else:
            lines += f"{more}    biased = Add (scores, {given})\n"
            masked = "biased"
    for i, condition in enumerate(conditions):
        name = "masked" if i == len(conditions) - 1 else f"masked_{i}"
        lines += f"    {name} = Where ({condition}, {masked}, never)\n"
        masked = name
    if lines and masked == "biased":
        lines += "    masked = Identity (biased)\n"
    return lines, lengths or operator.has("mask") or max(windows) >= 0


def _whole_mask(operator: Operator) -> tuple[str, str]:
    """The mask for all keys, and the lines for it: keys that it does not have are not seen."""
    dims, key_dims = operator.edit.dims(operator.inputs["mask"]), operator.edit.dims(operator.inputs["k"])
    length = None if key_dims is None else key_dims[-2]
    if dims and length is not None and dims[-1] == length and not operator.has("past_key"):
        return "mask", ""
    boolean = operator.inputs["mask"].dtype == _BOOL
    nothing = "Constant <value: tensor = bool {0}> ()" if boolean else "Constant <value_float: float = -inf> ()"
    return "whole_mask", constant("mask_axis", [-1]) + constant("mask_zero", [0]) + f"""
    mask_keys = Shape <start = 2, end = 3> (k4)
    mask_given = Shape <start = -1> (mask)
    mask_more = Sub (mask_keys, mask_given)
    mask_pads = Concat <axis = 0> (mask_zero, mask_more)
    mask_nothing = {nothing}
    whole_mask = Pad (mask, mask_pads, mask_nothing, mask_axis)
"""


# -- ONNX Runtime --------------------------------------------------------------------------------
def _runtime_mask(operator: Operator, name: str, batch_of: str) -> str:
    """What makes `masked` of `scores`: a mask of integers, or lengths, then a bias, then only keys before a row."""
    hidden = operator.number("mask_filter_value", -10000.0)
    causal, lines, masked = operator.integer("unidirectional") == 1, "", "scores"
    if causal or (operator.has(name) and operator.rank(name) == 1):
        lines += _PLACES
    if operator.has(name):
        rank = operator.rank(name)
        if rank == 1:
            _check_lengths(operator, name, batch_of)
            lines += constant("spread", [1, 2, 3]) + f"""
    lengths = Cast <to = 7> ({name})
    filled = Unsqueeze (lengths, spread)
    seen = Less (key, filled)
"""
        elif rank in (2, 3):
            axes = [1, 2] if rank == 2 else [1]
            lines += constant("spread", axes) + f"""
    whole = Cast <to = 7> ({name})
    spread_mask = Unsqueeze (whole, spread)
    no = Constant <value_int: int = 0> ()
    seen = Greater (spread_mask, no)
"""
        else:
            raise NoMatch(f"its mask has {rank} axes")
        lines += constant("kept", 0.0) + constant("hidden", hidden) + """
    mask_bias = Where (seen, kept, hidden)
    with_mask = Add (scores, mask_bias)
"""
        masked = "with_mask"
    if operator.has("bias_of_scores"):
        lines += f"    with_bias = Add ({masked}, bias_of_scores)\n"
        masked = "with_bias"
    if causal:
        lines += constant("lowest", _LOWEST) + f"""
    before = Sub (keys, rows)
    place = Add (row, before)
    not_after = LessOrEqual (key, place)
    masked = Where (not_after, {masked}, lowest)
"""
    elif masked != "scores":
        lines += f"    masked = Identity ({masked})\n"
    return lines


def _check_lengths(operator: Operator, name: str, batch_of: str) -> None:
    """Vectors of other lengths than the batch have starts, too."""
    value = operator.inputs[name]
    operator.kind(batch_of)  # which finds shapes, where what stands in front has just been expanded
    dims, batch = operator.edit.dims(value), operator.edit.dims(operator.inputs[batch_of])
    counted = operator.edit.maker(value, "ReduceSum") is not None
    if not counted and not (dims and batch and dims[0] is not None and dims[0] == batch[0]):
        raise NoMatch(f"it is not known that {name} has one length for each batch")


def _attention(operator: Operator) -> str:
    operator.refuse("past_length")
    count, scale = operator.integer("num_heads"), operator.number("scale", 0.0) or None
    lines, product = "    product = MatMul (input, weights)\n", "product"
    if operator.has("bias"):
        lines, product = f"{lines}    projected = Add (product, bias)\n", "projected"
    sizes = operator.integers("qkv_hidden_sizes")
    if sizes:
        lines += constant("sizes", sizes) + f"    q3, k3, v3 = Split <axis = -1> ({product}, sizes)\n"
    else:
        lines += f"    q3, k3, v3 = Split <axis = -1, num_outputs = 3> ({product})\n"
    lines += heads("q", count)
    if operator.has("past") or operator.wants("present"):
        lines += "".join(heads(each, count).replace(f"{each}4", f"{each}_new") for each in "kv")
        lines += constant("first", 0) + constant("second", 1) + constant("front", [0])
        for each, place in (("k", "first"), ("v", "second")):
            lines += f"    {each}_past = Gather <axis = 0> (past, {place})\n" \
                     f"    {each}4 = Concat <axis = 2> ({each}_past, {each}_new)\n" if operator.has("past") else \
                     f"    {each}4 = Identity ({each}_new)\n"  # fmt: skip
            lines += f"    {each}_present = Unsqueeze ({each}4, front)\n"
        if operator.wants("present"):
            lines += "    present = Concat <axis = 0> (k_present, v_present)\n"
    else:
        lines += heads("k", count) + heads("v", count)
    return lines + core(_runtime_mask(operator, "mask", "input"), scale) + joined("y")


def _multi_head(operator: Operator) -> str:
    operator.refuse("past_length", "indirection", "qk")
    count, scale = operator.integer("num_heads"), operator.number("scale", 0.0) or None
    if not operator.has("k") or not operator.has("v"):
        raise NoMatch("its k and v are packed")
    ranks = [operator.rank(each) for each in "qkv"]
    if ranks[0] != 3 or ranks[1] != ranks[2] or ranks[1] not in (3, 4):
        raise NoMatch(f"its q, k and v have {ranks} axes")
    q, k = (operator.inputs[each] for each in "qk")
    square = operator.has("past_key") or is_axis((k, ranks[1] - 2), q, 1, operator.edit)
    if operator.integer("unidirectional") == 1 and not square:
        raise NoMatch("it is causal, and it is not known that there are as many keys as rows")
    lines, names = "", {each: each for each in "qkv"}
    if operator.has("bias"):
        if ranks[1] == 4:
            raise NoMatch("it has a bias of k and v that have heads already")
        lines += "    q_bias, k_bias, v_bias = Split <axis = 0, num_outputs = 3> (bias)\n"
        lines += "".join(f"    {each}3 = Add ({each}, {each}_bias)\n" for each in "qkv")
    else:
        lines += "".join(f"    {each}3 = Identity ({each})\n" for each in (names if ranks[1] == 3 else "q"))
    lines += heads("q", count)
    for each, name in (("k", "key"), ("v", "value")):
        past = operator.has(f"past_{name}")
        new = f"{each}_new" if past else f"{each}4"
        split = heads(each, count).replace(f"{each}4", new)
        lines += split if ranks[1] == 3 else f"    {new} = Identity ({each})\n"
        if past:
            lines += f"    {each}4 = Concat <axis = 2> (past_{name}, {new})\n"
        if operator.wants(f"present_{name}"):
            lines += f"    present_{name} = Identity ({each}4)\n"
    return lines + core(_runtime_mask(operator, "mask", "q"), scale) + joined("y")


EXPANSIONS = {
    "Attention": Expansion(
        "q, k, v, mask, past_key, past_value, lengths", "y, present_key, present_value, qk_output", _standard
    ),
    "com.microsoft.Attention": Expansion(
        "input, weights, bias, mask, past, bias_of_scores, past_length", "y, present", _attention
    ),
    "com.microsoft.MultiHeadAttention": Expansion(
        "q, k, v, bias, mask, bias_of_scores, past_key, past_value, past_length, indirection",
        "y, present_key, present_value, qk", _multi_head,
    ),
}  # fmt: skip
