"""Rotary embeddings: RotaryEmbedding of opset 23, and ONNX Runtime's.

    y1 = x1 · cos - x2 · sin        x1, x2 the halves of a head, or its even and odd values (interleaved)
    y2 = x1 · sin + x2 · cos        values beyond those that are turned stay as they are
"""

from __future__ import annotations

from ..rewrites.attention.rotary import PAIRS
from ..rewrites.base import NoMatch
from .base import Expansion, Operator, constant

_FAR = 2**62  # past the end of any axis
_HALVES = f"""
    x1, x2 = Split <axis = -1, num_outputs = 2> (part)
{PAIRS}
    turned = Concat <axis = -1> (y1, y2)
"""
_INTERLEAVED = constant("first", [0]) + constant("second", [1]) + constant("two", [2]) + f"""
    x1 = Slice (part, first, far, last, two)
    x2 = Slice (part, second, far, last, two)
{PAIRS}
    pair1 = Unsqueeze (y1, last)
    pair2 = Unsqueeze (y2, last)
    pairs = Concat <axis = -1> (pair1, pair2)
    whole = Shape (part)
    turned = Reshape (pairs, whole)
"""


def rotated(interleaved: bool, dim: int) -> str:
    """`y` of x [B, S, H, D] or [B, H, S, D]; cos and sin broadcast to it but for their last axis. 0: all D."""
    lines = constant("last", [-1]) + constant("far", [_FAR]) + constant("zero", [0]) + constant("dim", [dim or _FAR])
    lines += "    part = Slice (x, zero, dim, last)\n" if dim else "    part = Identity (x)\n"
    lines += _INTERLEAVED if interleaved else _HALVES
    if not dim:
        return f"{lines}    y = Identity (turned)\n"
    return f"{lines}    rest = Slice (x, dim, far, last)\n    y = Concat <axis = -1> (turned, rest)\n"


def _tables(operator: Operator, axis: int) -> str:
    """cos and sin [B, S, 1, …] or [B, 1, S, …], or without B; the new axis is that of heads."""
    lines = constant("heads_axis", [axis])
    if not operator.has("positions"):
        rows = {"cos": "cos_cache", "sin": "sin_cache"}
    else:
        places, rows = "positions", {"cos": "cos_rows", "sin": "sin_rows"}
        if operator.rank("positions") == 1:  # the position of the first row
            at = 1 if axis == 2 else 2
            lines += constant("from", 0) + constant("by", 1) + constant("none", [0]) + f"""
    length = Shape <start = {at}, end = {at + 1}> (given)
    limit = Squeeze (length, none)
    steps = Range (from, limit, by)
    whole_places = Cast <to = 7> (positions)
    offsets = Add (steps, whole_places)
    places = Unsqueeze (offsets, none)
"""
            places = "places"
        lines += f"    cos_rows = Gather (cos_cache, {places})\n    sin_rows = Gather (sin_cache, {places})\n"
    return lines + "".join(f"    {name} = Unsqueeze ({of}, heads_axis)\n" for name, of in rows.items())


def _rotary(operator: Operator) -> str:
    rank, heads = operator.rank("given"), operator.integer("num_heads")
    interleaved, dim = operator.integer("interleaved") == 1, operator.integer("rotary_embedding_dim")
    if operator.number("scale", 1.0) != 1.0:
        raise NoMatch("it has a scale")
    if rank == 4:
        return _tables(operator, 1) + "    x = Identity (given)\n" + rotated(interleaved, dim)
    if rank != 3:
        raise NoMatch(f"its input has {rank} axes")
    width = -1 if heads else 2 * operator.length("cos_cache", -1)
    lines = constant("apart", [0, 0, heads or -1, width])
    turned = rotated(interleaved, dim).replace("    y = ", "    turned_heads = ")
    return (
        _tables(operator, 2) + lines + "    x = Reshape (given, apart)\n" + turned
        + "    together = Shape (given)\n    y = Reshape (turned_heads, together)\n"  # so that onnx knows its shape
    )  # fmt: skip


EXPANSIONS = {
    "RotaryEmbedding": Expansion("given, cos_cache, sin_cache, positions", "y", _rotary),
    "com.microsoft.RotaryEmbedding": Expansion("given, positions, cos_cache, sin_cache", "y", _rotary),
}
