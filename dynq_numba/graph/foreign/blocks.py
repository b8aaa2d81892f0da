"""MatMulNBits of ONNX Runtime: y = x · weightᵀ + bias, of weights in blocks along K.

    B [N, blocks, bytes]     integers of 2, 4 or 8 bits, the first in the low bits; 2^(bits - 1) stands for 0
    scales [N · blocks]      zero points [N, bytes], packed as B, or in the type of x
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrites.base import FLOAT, Editor, NoMatch, Rewrite
from .calls import float_call, linear_call
from .integers import FLOAT_BEFORE, Integers, added, in_even_blocks


class Blocks(Rewrite):
    """`rowwise`: with x in 8 bits by rows; else in float32."""

    name = "blocks of integers"
    anchors = ("com.microsoft.MatMulNBits",)

    def __init__(self, rowwise: bool) -> None:
        self.rowwise = rowwise

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        inputs = [*node.inputs, *[None] * 6]
        if inputs[4] is not None:
            raise NoMatch("it has an order of groups")
        stored, scales = edit.array(inputs[1]), edit.array(inputs[2])
        zeros, bias = (edit.array(inputs[i]) for i in (3, 5))
        if stored is None or scales is None or (zeros is None and inputs[3]) or (bias is None and inputs[5]):
            raise NoMatch("its weight, scales, zero points or bias are computed at run time")
        n, k, bits, block = (node.attributes.get_int(name, 4) for name in ("N", "K", "bits", "block_size"))
        if bits not in (2, 4, 8):
            raise NoMatch(f"its weight has {bits} bits")
        count = -(-k // block)
        q = unpacked(stored.reshape(n, -1), bits)[:, : count * block].astype(np.int16)
        scale = np.asarray(scales, np.float32).reshape(n, count)
        points: np.ndarray
        if zeros is None:
            points = np.full((n, count), 1 << (bits - 1), np.int16)
        elif zeros.dtype == np.uint8:
            points = unpacked(zeros.reshape(n, -1), bits)[:, :count].astype(np.int16)
        else:
            points = np.asarray(zeros, np.float32).reshape(n, count)
        steps = in_even_blocks(scale, 1, k, block)
        assert steps is not None
        weight = Integers((q - points.repeat(block, 1))[:, :k], steps).turned(1, 0)
        x, dtype, end = node.inputs[0], scales.dtype, node
        assert x is not None
        nodes: list[ir.Node] = []
        if bias is None and dtype == np.float32:
            end, bias = added(node, n, edit)
        y = end.outputs[0]
        if dtype != np.float32:  # the model computes in float16, say
            nodes = [edit.node("Cast", [x], {"to": FLOAT}, like=y)]
            x = nodes[0].outputs[0]
        try:
            if not self.rowwise or weight.whole.dtype.kind == "f":
                raise NoMatch
            nodes += linear_call(x, weight, bias, node, FLOAT_BEFORE, edit)
        except NoMatch:
            nodes += float_call(x, weight, bias, node, edit)
        if dtype != np.float32:
            nodes.append(edit.node("Cast", nodes[-1].outputs, {"to": ir.DataType.from_numpy(dtype)}, like=y))
        edit.replace([y], nodes[-1].outputs, nodes, end)
        return ", ".join(each.op_type for each in nodes)


def unpacked(stored: np.ndarray, bits: int) -> np.ndarray:
    """Bytes [N, B] as integers [N, B · 8 / bits], those in low bits first."""
    parts = [(stored >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(stored), -1)
