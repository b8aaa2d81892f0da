"""Constants where a graph computes them: each becomes an initializer.

    Constant node            ─▶ initializer
    Transpose(W), Cast(W) …  ─▶ initializer
    Shape(x)[known]          ─▶ initializer
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from ...names import nodes
from ..base import Editor
from ..matching.shapes import known, parts

#: A constant of more bytes than this, and than four times what it is made of, stays computed: a mask of ones, say.
MOST_BYTES = 1 << 20


def lift(model: ir.Model) -> None:
    """Constant nodes become initializers of the main graph."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.LiftSubgraphInitializersToMainGraphPass()(model)


def fold(edit: Editor) -> None:
    """What is computed of constants, or of dimensions that are known, becomes constant."""
    for node in list(nodes(edit.model)):
        if node.graph is None or any(value.is_graph_output() for value in node.outputs):
            continue
        arrays = _constants(node, edit) or _dimensions(node, edit)
        if arrays is None:
            continue
        for value, array in zip(node.outputs, arrays, strict=True):
            if value.uses():
                value.replace_all_uses_with(edit.constant(value.name or node.op_type, array))
        edit.drop(node)


def _constants(node: ir.Node, edit: Editor) -> list[np.ndarray] | None:
    if not node.outputs or not all(map(edit.constants.is_constant, node.outputs)):
        return None
    given = [None if value is None else edit.constants.weight(value) for value in node.inputs]
    arrays = edit.constants.folded(node, given)
    most = max(MOST_BYTES, 4 * sum(array.nbytes for array in given if array is not None))  # float16 to float64
    return arrays if sum(array.nbytes for array in arrays) <= most else None


def _dimensions(node: ir.Node, edit: Editor) -> list[np.ndarray] | None:
    """Of Shape, and of what is sliced out of one, where all that it gives is known."""
    shape = node.outputs[0].shape if node.outputs else None
    if node.op_type not in ("Shape", "Gather", "Slice") or shape is None or shape.is_dynamic():
        return None
    found = parts(node.outputs[0], edit)
    numbers = [None] if found is None else [known(part, edit) for part in found]
    kind = node.outputs[0].dtype or ir.DataType.INT64  # there may be a Cast in front
    return None if None in numbers else [np.array(numbers, kind.numpy()).reshape(shape.numpy())]
