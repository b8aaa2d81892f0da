"""Elementwise operators: expressions, which become one compiled region where somebody needs their values in memory.

    y = Relu(x · a + b)      three nodes, no step; when a Linear reads y: one region with the leaves x, a, b

An operand that is an expression is taken in where this node alone reads it and it has the result's shape, so nothing is
computed twice. Otherwise it is written to memory first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...kernels.region import call as kernels
from ...kernels.region import compiled
from ...kernels.region.axes import padded
from ...kernels.region.check import refused
from ...kernels.region.context import AXES, record_of
from ...kernels.region.reference import OPERATORS, Region
from ...runtime import isa, threads
from ..segment import Word
from ..sizes import AnySize, Shape, hint
from ..tensor import Expression, Tensor, broadcast, broadcast_strides, same
from ..trace import Trace, Unsupported, sources
from .base import BOOL, F32, dtype_of
from .copies import merged

#: Operators and leaves that one region has at most.
MOST = 48
#: Of operators of ONNX, by an attribute.
_VARIANTS = ("Fmod", "GeluTanh", "BitShiftLeft", "BitShiftRight")
_BOOLEAN = {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "IsNaN", "IsInf", "Not", "And", "Or", "Xor"}
#: Attributes that are operands here, with ONNX's defaults.
_OPTIONS: dict[str, dict[str, float]] = {
    "LeakyRelu": {"alpha": 0.01}, "Elu": {"alpha": 1.0}, "Celu": {"alpha": 1.0}, "ThresholdedRelu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
}  # fmt: skip


def elementwise(trace: Trace, node: ir.Node) -> None:
    """Every operator of kernels/region/reference.py"""
    name = _name(node)
    operands = [trace.input(node, i) for i, value in enumerate(node.inputs) if value is not None]
    options: tuple[Any, ...] = tuple(
        np.float32(node.attributes.get_float(option, default)) for option, default in _OPTIONS.get(name, {}).items()
    )
    if name == "Clip":
        operands, options = _clip(trace, node)
    if node.op_type == "CastLike":
        to, operands = operands[1].dtype, operands[:1]
    elif name == "Cast":
        to = dtype_of(node.attributes.get_int("to", 0))
    else:
        to = BOOL if name in _BOOLEAN else operands[1 if name == "Where" else 0].dtype
    if name == "IsInf" and (sign := _one_sign(node)):
        name, options = "Equal", (operands[0].dtype.type(sign * np.inf),)
    given, narrow = operands, name != "Cast" and to == F16
    if name != "Cast":  # float16 is computed in float32, and rounded
        operands = [in_float32(trace, each) for each in operands]
        options = tuple(np.float32(each) if each.dtype == F16 else each for each in options)
    if name == "Pow" and operands[0].dtype == F32 and operands[1].array is None and operands[1].dtype.kind in "iu":
        operands[1] = Tensor(F32, operands[1].shape, expression=Expression("Cast", (operands[1],)))
    dtype = F32 if narrow else to
    constants = [None if each.array is None or each.array.size != 1 else each.array.reshape(1)[0] for each in operands]
    kinds = (*(each.dtype.name for each in operands), *(np.asarray(option).dtype.name for option in options))
    why = refused(name, kinds, dtype.name, (*constants, *options))
    if why:
        raise Unsupported(why)
    shape = broadcast([each.shape for each in operands])
    values: list[ir.Value | None] = [value for value in node.inputs if value is not None]
    if name == "Clip" and len(operands) > len(values):  # the lower bound that is not there
        values.insert(1, None)
    left = MOST - len(operands)
    for i, tensor in enumerate(given):
        if tensor.storage is not None:
            continue
        weight = weight_of(tensor)
        whole = tensor.rank == len(shape) and all(map(same, tensor.shape, shape))
        if tensor.expression is not None and whole and trace.once(values[i]) and weight <= left:
            left -= weight
        else:
            made = trace.memory(tensor, values[i])
            operands[i] = made if operands[i] is tensor else in_float32(trace, made)
    result = Tensor(dtype, shape, expression=Expression(name, tuple(operands), options, sources(node)))
    if narrow:
        result = Tensor(F16, shape, expression=Expression("Cast", (result,)))
    trace.set(node.outputs[0], result)


F16 = np.dtype(np.float16)


def in_float32(trace: Trace, tensor: Tensor) -> Tensor:
    """A tensor of float16 as one of float32; others as they are."""
    if tensor.dtype != F16:
        return tensor
    array = tensor.array
    if array is not None:
        return trace.weights.packed("float32", (array,), lambda: trace.weights.tensor_of(array.astype(np.float32)))
    return Tensor(F32, tensor.shape, expression=Expression("Cast", (tensor,)))


def applied(
    node: ir.Node, operator: str, operands: tuple[Tensor, ...], options: tuple[Any, ...] = (), dtype: Any = None
) -> Tensor:
    """An operator on tensors, of which each is in memory or an expression that nobody else needs; then constants.

    `dtype` is that of the result where it is not that of the first operand.
    """
    kind = operands[0].dtype if dtype is None else np.dtype(dtype)
    return Tensor(
        kind, broadcast([each.shape for each in operands]),
        expression=Expression(operator, operands, options, sources(node)),
    )  # fmt: skip


def _one_sign(node: ir.Node) -> int:
    """Of which infinity an IsInf is to say; 0: of both."""
    negative, positive = (node.attributes.get_int(f"detect_{sign}", 1) for sign in ("negative", "positive"))
    if not negative and not positive:
        raise Unsupported("IsInf of no sign")
    return positive - negative


def _name(node: ir.Node) -> str:
    name = node.op_type
    if name == "CastLike":
        return "Cast"
    if name == "Mod" and node.attributes.get_int("fmod", 0) == 1:
        return "Fmod"
    if name == "BitShift":
        return f"BitShift{node.attributes.get_string('direction', '').capitalize()}"
    if name == "Gelu" and node.attributes.get_string("approximate", "none") == "tanh":
        return "GeluTanh"
    if name == "Swish" and node.attributes.get_float("alpha", 1.0) != 1:
        raise Unsupported("Swish with alpha")
    return name


def _clip(trace: Trace, node: ir.Node) -> tuple[list[Tensor], tuple[Any, ...]]:
    """Bounds that are left out are those of the type."""
    x, least, most = (trace.optional(node, i) for i in range(3))
    assert x is not None
    limits = (-np.inf, np.inf) if x.dtype.kind == "f" else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    if least is not None and most is not None:
        return [x, least, most], ()
    if least is None and most is None:
        return [x], tuple(x.dtype.type(limit) for limit in limits)
    if most is None:
        assert least is not None
        return [x, least], (x.dtype.type(limits[1]),)
    limit = np.asarray(limits[0], x.dtype)
    lowest = trace.weights.packed(("lowest", x.dtype), (), lambda: trace.weights.tensor_of(limit))
    return [x, lowest, most], ()


def weight_of(tensor: Tensor) -> int:
    """Operators and leaves of an expression."""
    if tensor.expression is None:
        return 1
    return 1 + sum(weight_of(each) if each.storage is None else 1 for each in tensor.expression.operands)


def materialised(trace: Trace, tensor: Tensor, value: ir.Value | None = None, into: Tensor | None = None) -> Tensor:
    """The values of an expression, written by one step; `into` memory of any strides, if it is given."""
    leaves: list[Tensor] = []
    operations: list[tuple] = []
    nodes: list[str] = []
    _build(trace, tensor, leaves, operations, nodes)
    count = len(leaves)
    renumbered = tuple(
        (name, tuple(_place(each, count) for each in operands), kind) for name, operands, kind in operations
    )
    region = Region(tuple(each.dtype.name for each in leaves), renumbered, (count + len(operations) - 1,))
    if not trace.has_place(value) and _fused(trace, region, leaves, nodes):
        if value is not None:
            trace.set(value, leaves[0])
        return leaves[0]
    order = range(tensor.rank) if trace.has_place(value) else _order(leaves, tensor.shape)

    def ordered(axes: Sequence[AnySize]) -> tuple[AnySize, ...]:
        return tuple(axes[axis] for axis in order)

    if into is not None:
        out = into
    elif value is not None and trace.has_place(value):
        out = trace.result(value, tensor.dtype, tensor.shape)
    else:
        block = trace.block(tensor.dtype, ordered(tensor.shape))
        places = dict(zip(order, block.strides, strict=True))
        out = block.view(tensor.shape, tuple(places[axis] for axis in range(tensor.rank)))
        if value is not None:
            trace.set(value, out)
    strides = [broadcast_strides(each, tensor.shape) for each in leaves]
    axes = merged(*map(ordered, (tensor.shape, *strides, out.strides)))
    if len(axes) > AXES:  # copies have more
        spread = [each.view(tensor.shape, steps) for each, steps in zip(leaves, strides, strict=True)]
        leaves = [trace.dense(each) for each in spread]
        strides = [each.strides for each in leaves]
        axes = merged(*map(ordered, (tensor.shape, *strides, out.strides)))
    if len(axes) > AXES:
        raise Unsupported(f"a region of {len(axes)} axes")
    target = isa.active()
    fields: dict[str, Word] = dict(kernels.constant_fields(region, target, threads.POOL))
    fields |= padded(["size", *(f"stride_{i}" for i in range(count + 1))], axes, AXES)
    for i, each in enumerate((*leaves, out)):
        fields[f"address_{i}"] = each
    words = [fields[name] for name in record_of(count + 1).kinds]
    trace.step(
        "region " + "·".join(name for name, _, _ in operations),
        kernels.step_address(),
        words,
        nodes=tuple(dict.fromkeys(nodes)),
    )
    return out


def _fused(trace: Trace, region: Region, leaves: list[Tensor], nodes: list[str]) -> bool:
    """Let the step that made the only leaf compute the region, in place, if nothing else reads it."""
    if region.leaves != ("float32",) or region.types[region.results[0]] != "float32":
        return False
    readers = sum(operand == 0 for _, operands, _ in region.operations for operand in operands)
    if not trace.made_for(leaves[0], readers):
        return False
    address = compiled.post_ops(region, isa.active())
    trace.add_post_ops(address, "·".join(name for name, _, _ in region.operations), nodes)
    return True


def _order(leaves: list[Tensor], shape: Shape) -> list[int]:
    """The axes of a result from the outermost in memory on: as in its operands, whose channels may be last."""
    order = list(range(len(shape)))
    whole = next((each for each in leaves if each.rank == len(shape) and all(map(same, each.shape, shape))), None)
    if whole is not None and not whole.has_rows() and any(same(n, whole.itemsize) for n in whole.strides):
        strides = whole.strides
        order.sort(key=lambda axis: -hint(strides[axis]))
    return order


#: An operand while the leaves are being counted.
_Place = tuple[str, Any]


def _build(trace: Trace, tensor: Tensor, leaves: list[Tensor], operations: list[tuple], nodes: list[str]) -> _Place:
    if tensor in trace.state.memory:
        tensor = trace.state.memory[tensor]
    if tensor.array is not None and tensor.array.size == 1:
        return "constant", (tensor.dtype.name, tensor.array.reshape(1)[0].item())
    if tensor.storage is not None or tensor.expression is None:
        tensor = trace.memory(tensor)
        if tensor not in leaves:
            leaves.append(tensor)
        return "leaf", leaves.index(tensor)
    expression = tensor.expression
    operands = [_build(trace, each, leaves, operations, nodes) for each in expression.operands]
    operands += [("constant", (np.asarray(option).dtype.name, option.item())) for option in expression.options]
    nodes.extend(expression.nodes)
    operations.append((expression.operator, tuple(operands), tensor.dtype.name))
    return "operation", len(operations) - 1


def _place(operand: _Place, leaves: int) -> Any:
    kind, what = operand
    return what + leaves if kind == "operation" else what


LOWERINGS: dict[str, Callable[[Trace, ir.Node], None]] = dict.fromkeys(
    (*(name for name in OPERATORS if name not in _VARIANTS), "CastLike", "BitShift"), elementwise
)
