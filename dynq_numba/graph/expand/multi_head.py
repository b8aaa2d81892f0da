"""ONNX Runtime's Attention and MultiHeadAttention."""

from __future__ import annotations

from ..rewrites.base import NoMatch
from ..rewrites.matching.shapes import is_axis
from .attention_core import PLACES, core, heads, joined
from .base import Expansion, Operator, constant

_LOWEST = -3.4028234663852886e38


def _runtime_mask(operator: Operator, name: str, batch_of: str) -> str:
    """What makes `masked` of `scores`: a mask of integers, or lengths, then a bias, then only keys before a row."""
    hidden = operator.number("mask_filter_value", -10000.0)
    causal, lines, masked = operator.integer("unidirectional") == 1, "", "scores"
    if causal or (operator.has(name) and operator.rank(name) == 1):
        lines += PLACES
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
    "com.microsoft.Attention": Expansion(
        "input, weights, bias, mask, past, bias_of_scores, past_length", "y, present", _attention
    ),
    "com.microsoft.MultiHeadAttention": Expansion(
        "q, k, v, bias, mask, bias_of_scores, past_key, past_value, past_length, indirection",
        "y, present_key, present_value, qk", _multi_head,
    ),
}  # fmt: skip
