"""Attention of opset 23 to 25."""

from __future__ import annotations

from ..rewrites.base import NoMatch
from .attention_core import PLACES, core, heads, joined, repeated
from .base import Expansion, Operator, constant

_NEVER = float("-inf")
_FLOAT, _BOOL = 1, 9


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
        lines += constant("never", _NEVER) + PLACES
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


EXPANSIONS = {
    "Attention": Expansion(
        "q, k, v, mask, past_key, past_value, lengths", "y, present_key, present_value, qk_output", _standard
    ),
}
