"""BatchNormalization, which is one product and one sum a value in a trained network."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..tensor import Expression, Tensor, expect
from ..trace import Trace, Unsupported, sources
from .base import F32, floats_only
from .elementwise import MOST, weight_of


def batch_norm(trace: Trace, node: ir.Node) -> None:
    """BatchNormalization: (x - mean)·(scale / √(variance + epsilon)) + bias"""
    x = trace.input(node, 0)
    floats_only(x)
    if node.attributes.get_int("training_mode", 0) or x.rank < 2:
        raise Unsupported("training")
    scale, bias, mean, variance = (np.asarray(trace.constant(node, i), np.float32) for i in range(1, 5))
    factor = scale / np.sqrt(variance + np.float32(node.attributes.get_float("epsilon", 1e-5)))
    expect(x.shape[1], factor.size, "channels of x and of BatchNormalization")
    along = (-1, *[1] * (x.rank - 2))

    def constant(array: np.ndarray) -> Tensor:
        return trace.weights.tensor_of(array.reshape(along))

    if trace.uses.get(node.inputs[0], 0) > 1 or weight_of(x) + 6 > MOST:  # type: ignore[arg-type]
        x = trace.memory(x, node.inputs[0])
    tensor = x
    for operator, operand in (("Sub", mean), ("Mul", factor), ("Add", bias)):
        tensor = Tensor(F32, x.shape, expression=Expression(operator, (tensor, constant(operand)), (), sources(node)))
    trace.set(node.outputs[0], tensor)


LOWERINGS = {"BatchNormalization": batch_norm}
