"""Rows of a table of integers: only those become floats that are looked up.

    DequantizeLinear(table) ─▶ Gather(ids)         ─▶   Cast(Gather(table, ids)) · Gather(scale, ids)
    GatherBlockQuantized(table, ids, scales)       ─▶   the same, block by block

The values are those of the file, bit for bit.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrites.base import FLOAT, Editor, NoMatch, Rewrite
from .blocks import unpacked
from .integers import Integers, in_even_blocks, integers_of, stored

BLOCKS = "com.microsoft.GatherBlockQuantized"


class Tables(Rewrite):
    name = "table of integers"
    anchors = ("Gather", BLOCKS)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        ids = node.inputs[1]
        blocks = node.op_type == "GatherBlockQuantized"
        table = _blocks(node, edit) if blocks else integers_of(node.inputs[0], edit)
        if table is None:
            raise NoMatch
        axis = node.attributes.get_int("gather_axis" if blocks else "axis", 0)
        if table.whole.ndim != 2 or axis not in (0, -2):
            raise NoMatch(f"it gathers along axis {axis} of {table.whole.ndim}")
        (_, width), (rows, count) = table.whole.shape, table.scale.shape
        if width % count:
            raise NoMatch(f"blocks do not divide rows of {width}")
        y = node.outputs[0]
        ends = table.whole.min(initial=0), table.whole.max(initial=0)
        kind = next(each for each in (np.int8, np.int16, np.int32) if _holds(each, *ends))
        whole = edit.constant("table", np.ascontiguousarray(table.whole, kind))
        scales = table.scale if rows > 1 else table.scale[0]  # an index may be a scalar: a row is a vector, then
        scale, nodes = edit.constant("scale", np.ascontiguousarray(scales, np.float32)), []

        def add(op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
            nodes.append(edit.node(op_type, inputs, attributes))
            return nodes[-1].outputs[0]

        def ints(*numbers: int) -> ir.Value:
            return edit.constant("numbers", np.array(numbers, np.int64))

        found = add("Cast", add("Gather", whole, ids, axis=0), to=FLOAT)
        steps = add("Gather", scale, ids, axis=0) if rows > 1 else scale
        if count in (1, width):
            add("Mul", found, steps)
        else:
            shape = add("Shape", ids)
            apart = add("Concat", shape, ints(count, width // count), axis=0)
            scaled = add("Mul", add("Reshape", found, apart), add("Unsqueeze", steps, ints(-1)))
            add("Reshape", scaled, add("Concat", shape, ints(width), axis=0))
        edit.replace([y], nodes[-1].outputs, nodes, node)
        return ", ".join(dict.fromkeys(each.op_type for each in nodes))


def _holds(kind: type[np.signedinteger], least: int, most: int) -> bool:
    limits = np.iinfo(kind)
    return bool(limits.min <= least and most <= limits.max)


def _blocks(node: ir.Node, edit: Editor) -> Integers:
    """The table of a GatherBlockQuantized."""
    q, scale = edit.array(node.inputs[0]), edit.array(node.inputs[2])
    given = node.inputs[3] if len(node.inputs) > 3 else None
    zero = edit.array(given)
    if q is None or scale is None or (zero is None and given is not None):
        raise NoMatch("its table, scales or zero points are computed at run time")
    if scale.dtype != np.float32 or q.ndim != 2:
        raise NoMatch(f"its scales are {scale.dtype}, its table has {q.ndim} axes")
    if node.attributes.get_int("quantize_axis", 1) not in (1, -1):
        raise NoMatch("its blocks are not along rows")
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 128)
    if q.dtype == np.uint8:  # packed; else a type of 4 bits
        q = unpacked(q, bits)
        zero = None if zero is None else unpacked(zero, bits)[:, : scale.shape[1]]
        if zero is None:
            zero = np.full(scale.shape, 1 << (bits - 1), np.uint8)
    steps = in_even_blocks(scale, 1, q.shape[1], block)
    if zero is not None and steps is not None:
        zero = in_even_blocks(zero, 1, q.shape[1], block)
    if steps is None or (zero is None and given is not None):
        raise NoMatch("its scales or zero points do not fit its blocks")
    whole = q.astype(np.int8).astype(np.int16) if bits == 4 and q.dtype != np.uint8 else q
    return stored(whole, steps, None if zero is None else zero.astype(np.int16), 1)
