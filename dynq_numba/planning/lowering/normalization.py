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
    epsilon, arrays = node.attributes.get_float("epsilon", 1e-5), trace.constants(node, 1, 2, 3, 4)

    def constants() -> list[Tensor]:
        scale, bias, mean, variance = (np.asarray(array, np.float32) for array in arrays)
        factor = scale / np.sqrt(variance + np.float32(epsilon))
        return [trace.weights.tensor_of(each.reshape(-1, *[1] * (x.rank - 2))) for each in (mean, factor, bias)]

    mean, factor, bias = trace.weights.packed(("batch norm", x.rank, epsilon), arrays, constants)
    expect(x.shape[1], factor.size, "channels of x and of BatchNormalization")
    if trace.uses.get(node.inputs[0], 0) > 1 or weight_of(x) + 6 > MOST:  # type: ignore[arg-type]
        x = trace.memory(x, node.inputs[0])
    tensor = x
    for operator, operand in (("Sub", mean), ("Mul", factor), ("Add", bias)):
        tensor = Tensor(F32, x.shape, expression=Expression(operator, (tensor, operand), (), sources(node)))
    trace.set(node.outputs[0], tensor)


LOWERINGS = {"BatchNormalization": batch_norm}
