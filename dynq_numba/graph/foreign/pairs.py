"""Values that a file rounds to integers and back: they stay floats, within the range of the integers.

    QuantizeLinear ─▶ DequantizeLinear            ─▶   Clip: the least and the largest integer stand for the ends
    DynamicQuantizeLinear ─▶ DequantizeLinear     ─▶   nothing: its range is that of the values

ONNX Runtime leaves out a Relu in front of a QuantizeLinear whose least value is 0, so the ends count.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrites.base import FLOAT, Editor, NoMatch, Rewrite


class Pairs(Rewrite):
    name = "rounded value"
    anchors = ("DequantizeLinear",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        source = edit.maker(node.inputs[0], "QuantizeLinear", "DynamicQuantizeLinear")
        if source is None:
            raise NoMatch
        x, (y,) = source.inputs[0], node.outputs
        assert x is not None
        if y.is_graph_output() and x.producer() is None:
            raise NoMatch("it is a result of the model")
        if source.op_type == "DynamicQuantizeLinear":
            if list(node.inputs) != list(source.outputs):
                raise NoMatch("it has another scale than the DynamicQuantizeLinear")
            if y.is_graph_output():
                raise NoMatch("it is a result of the model")
            edit.replace([y], [x], [], node)
            return x.name or ""
        scale, zero = (_same(source, node, i, edit) for i in (1, 2))
        if scale is None or scale.size != 1 or scale.dtype != np.float32:
            raise NoMatch("it has no single scale of float32")
        q = source.outputs[0].dtype or (ir.DataType.UINT8 if zero is None else ir.DataType.from_numpy(zero.dtype))
        if q not in (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT16, ir.DataType.INT16):
            raise NoMatch(f"its integers are {q}")
        limits, point = np.iinfo(q.numpy()), 0 if zero is None else int(zero.reshape(-1)[0])
        ends = [np.float32(end - point) * scale.reshape(()) for end in (limits.min, limits.max)]
        values = [edit.constant(name, np.array(end)) for name, end in zip(("least", "most"), ends, strict=True)]
        clip = edit.node("Clip", [x, *values], like=y)
        clip.outputs[0].dtype = FLOAT
        edit.replace([y], clip.outputs, [clip], node)
        return "Clip"


def _same(one: ir.Node, other: ir.Node, i: int, edit: Editor) -> np.ndarray | None:
    """An input that both have, and that is constant; None where both have none."""
    values = [node.inputs[i] if i < len(node.inputs) else None for node in (one, other)]
    arrays = [edit.array(value) for value in values]
    if any(array is None and value is not None for array, value in zip(arrays, values, strict=True)):
        raise NoMatch("its scale or zero point is computed at run time")
    first, second = (np.zeros(1) if array is None else array for array in arrays)
    if not np.array_equal(first.reshape(-1), second.reshape(-1)):
        raise NoMatch("the QuantizeLinear in front has another scale or zero point")
    return arrays[0] if arrays[0] is not None else arrays[1]
