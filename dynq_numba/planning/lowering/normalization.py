"""BatchNormalization, which is one product and one sum a value in a trained network; norms of images and of rows."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...kernels.reduce.reference import refused
from ..tensor import Expression, Tensor, expect
from ..trace import Trace, Unsupported, sources
from .base import BOOL, F32, axis_of, floats_only
from .elementwise import MOST, applied, weight_of
from .reductions import reduced, without


def batch_norm(trace: Trace, node: ir.Node) -> None:
    """BatchNormalization: (x - mean)·(scale / √(variance + epsilon)) + bias"""
    x = trace.input(node, 0)
    floats_only(x)
    if node.attributes.get_int("training_mode", 0) or x.rank < 2:
        raise Unsupported("training")
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    tensors = [trace.input(node, i) for i in range(1, 5)]
    if any(each.array is None for each in tensors):
        scale, bias, mean, variance = (_of_channels(trace.memory(each), x.rank) for each in tensors)
        trace.set(node.outputs[0], _normalized(node, trace.memory(x), mean, variance, scale, bias, epsilon))
        return
    arrays = [each.array for each in tensors]

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


def _of_channels(tensor: Tensor, rank: int) -> Tensor:
    """[C] as [C, 1, 1 …], to be beside [N, C, …]."""
    return tensor.view((*tensor.shape, *(1,) * (rank - 2)), (*tensor.strides, *(0,) * (rank - 2)))


def _normalized(
    node: ir.Node, x: Tensor, mean: Tensor, variance: Tensor, scale: Tensor, bias: Tensor, epsilon: float
) -> Tensor:
    """(x - mean)/√(variance + epsilon)·scale + bias"""
    deviation = applied(node, "Sqrt", (applied(node, "Add", (variance,), (np.float32(epsilon),)),))
    normal = applied(node, "Div", (applied(node, "Sub", (x, mean)), deviation))
    return applied(node, "Add", (applied(node, "Mul", (normal, scale)), bias))


def instance_norm(trace: Trace, node: ir.Node) -> None:
    """InstanceNormalization: mean and variance are those of a channel of an image"""
    x, *tensors = (trace.memory(trace.input(node, i)) for i in range(3))
    floats_only(x, *tensors)
    axes = list(range(2, x.rank))
    shape = (*x.shape[:2], *(1,) * (x.rank - 2))
    mean, variance = trace.block(F32, shape), trace.block(F32, shape)
    reduced(trace, "ReduceMean", x, axes, mean)
    apart = trace.memory(applied(node, "Sub", (x, mean)))
    reduced(trace, "ReduceMean", trace.memory(applied(node, "Mul", (apart, apart))), axes, variance)
    scale, bias = (_of_channels(each, x.rank) for each in tensors)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    trace.set(node.outputs[0], _normalized(node, x, mean, variance, scale, bias, epsilon))


def lp_norm(trace: Trace, node: ir.Node) -> None:
    """LpNormalization: x/‖x‖ along an axis; 0 where that is 0"""
    x = trace.memory(trace.input(node, 0))
    axis, p = axis_of(node, x.rank), node.attributes.get_int("p", 2)
    name = f"ReduceL{p}"
    if why := refused(name, x.dtype.name):
        raise Unsupported(why)
    norm = trace.block(x.dtype, without(x, axis, keep=True))
    reduced(trace, name, x, [axis], norm)
    zero = x.dtype.type(0)
    there = applied(node, "Not", (applied(node, "Equal", (norm,), (zero,), BOOL),))
    trace.set(node.outputs[0], applied(node, "Where", (there, applied(node, "Div", (x, norm))), (zero,), x.dtype))


LOWERINGS = {"BatchNormalization": batch_norm, "InstanceNormalization": instance_norm, "LpNormalization": lp_norm}
