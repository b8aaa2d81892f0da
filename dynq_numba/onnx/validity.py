"""What a model must be before anything is made of it: it may come from anybody.

onnx's checker sees to operators, names of values and the order of nodes. Looked at here: bytes of tensors against their
shapes, names, and functions, which could call each other for ever or grow to any number of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import attrgetter

import onnx
import onnx_ir as ir
from onnx import AttributeProto, TensorProto

#: Nodes of a model once its functions stand where they are called.
MOST_NODES = 1 << 20
#: Attributes that are axes of a tensor, and how many it may have.
_AXES = frozenset({"axis", "axes", "perm", "batch_axis", "batch_dims", "time_axis"})
_MOST_AXES = 1024
#: The longest tensor there is room for in an address space.
_MOST_ELEMENTS = 1 << 48
#: The field of a tensor that has its elements where `raw_data` has not, and how many bytes of them an entry has.
_FIELDS: dict[str, tuple[str, ...]] = {
    "float_data": ("FLOAT", "COMPLEX64"), "double_data": ("DOUBLE", "COMPLEX128"), "int64_data": ("INT64",),
    "uint64_data": ("UINT32", "UINT64"), "string_data": ("STRING",),
}  # fmt: skip

#: What a function is known by.
_OF_FUNCTION, _OF_CALL = attrgetter("domain", "name", "overload"), attrgetter("domain", "op_type", "overload")

Body = onnx.GraphProto | onnx.FunctionProto


def check(proto: onnx.ModelProto) -> None:
    """Raise ValueError, or an error of onnx's checker, that says what is wrong."""
    bodies = [each for top in (proto.graph, *proto.functions) for each in nested(top)]
    for body in bodies:
        _check_names(body)
        for node in body.node:
            _check_axes(node)
    for tensor in _tensors(bodies):
        _check_tensor(tensor)
    _check_functions(proto)
    sparse = [each.values.name for body in bodies for each in getattr(body, "sparse_initializer", ())]
    if sparse:  # onnx_ir leaves them out
        raise ValueError(f"it has sparse initializers, which cannot be read: {', '.join(sparse)}")
    onnx.checker.check_model(_without_data(proto).SerializeToString())


def nested(body: Body) -> Iterator[Body]:
    """A graph or function, and the branches and bodies in it."""
    yield body
    for node in body.node:
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                yield from nested(inner)


def _graphs(attribute: AttributeProto) -> Sequence[onnx.GraphProto]:
    if attribute.type == AttributeProto.GRAPH or attribute.HasField("g"):
        return [attribute.g]
    return attribute.graphs


def _tensors(bodies: Sequence[Body]) -> Iterator[TensorProto]:
    for body in bodies:
        if isinstance(body, onnx.GraphProto):
            yield from body.initializer
        for node in body.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _check_names(body: Body) -> None:
    names = [body.name, *(name for node in body.node for name in (node.name, node.op_type, *node.input, *node.output))]
    if isinstance(body, onnx.GraphProto):
        names += [each.name for values in (body.input, body.output, body.initializer) for each in values]
    for name in names:
        if "\0" in name:
            raise ValueError(f"a name must have no character of code 0; got {name!r}")


def _check_axes(node: onnx.NodeProto) -> None:
    """Axes that can be there: onnx's inference of shapes ends the process at some others."""
    for attribute in node.attribute:
        numbers = [attribute.i] if attribute.type == AttributeProto.INT else attribute.ints
        wrong = [n for n in numbers if not -_MOST_AXES <= n < _MOST_AXES]
        if attribute.name in _AXES and wrong:
            raise ValueError(f"{node.op_type} {node.name}: {attribute.name} must be an axis; got {wrong[0]}")
        if (node.op_type, attribute.name) == ("Split", "num_outputs") and attribute.i != len(node.output):
            raise ValueError(f"Split {node.name} has {len(node.output)} results; got num_outputs={attribute.i}")


def _check_tensor(tensor: TensorProto) -> None:
    """Its type is one, and it has as many bytes or elements as its shape says."""
    dims, name = list(tensor.dims), f"tensor {tensor.name!r}"
    try:
        kind = ir.DataType(tensor.data_type)
    except ValueError as error:
        raise ValueError(f"{name} has the unknown type {tensor.data_type}") from error
    if any(n < 0 for n in dims) or math.prod(dims) > _MOST_ELEMENTS:
        raise ValueError(f"{name} must have lengths from 0 on, and at most 2^48 elements; got shape {dims}")
    count = math.prod(dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        if kind == ir.DataType.STRING or kind == ir.DataType.UNDEFINED or tensor.HasField("raw_data"):
            raise ValueError(f"{name} of {kind.name} cannot have its data in another place")
        for entry in tensor.external_data:
            if entry.key in ("offset", "length") and not (entry.value.isdecimal() and len(entry.value) < 20):
                raise ValueError(f"{name} must have its {entry.key} in digits; got {entry.value[:40]!r}")
        return
    if tensor.HasField("raw_data"):
        if kind in (ir.DataType.STRING, ir.DataType.UNDEFINED):
            raise ValueError(f"{name} of {kind.name} cannot be raw data")
        wanted, found, unit = -(-count * kind.bitwidth // 8), len(tensor.raw_data), "bytes of raw data"
    else:
        field = next((field for field, kinds in _FIELDS.items() if kind.name in kinds), "int32_data")
        packed = 8 // kind.bitwidth if kind.name not in _FIELDS["string_data"] and kind.bitwidth < 8 else 1
        wanted = 2 * count if kind.name.startswith("COMPLEX") else -(-count // packed)
        found, unit = len(getattr(tensor, field)), f"entries of {field}"
    if found != wanted:
        raise ValueError(f"{name} of {kind.name} and shape {dims} must have {wanted} {unit}; got {found}")


def _check_functions(proto: onnx.ModelProto) -> None:
    """No function calls itself, and all of them in their places are a model that can be held."""
    functions = {_OF_FUNCTION(each): each for each in proto.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def size(body: Body, callers: tuple[tuple[str, str, str], ...]) -> int:
        total = 0
        for each in nested(body):
            for node in each.node:
                key = _OF_CALL(node)
                if key in callers:
                    way = " → ".join(k[1] for k in (*callers[callers.index(key) :], key))
                    raise ValueError(f"functions must not call themselves; got {way}")
                if key in functions and key not in sizes:
                    if len(callers) == _DEEPEST:
                        raise ValueError(f"functions must call each other at most {_DEEPEST} deep")
                    sizes[key] = size(functions[key], (*callers, key))
                total += sizes.get(key, 1)
        return total

    for key, function in functions.items():
        if key not in sizes:
            sizes[key] = size(function, (key,))
    count = size(proto.graph, ())
    if count > MOST_NODES:
        raise ValueError(f"with its functions in their places it must have at most {MOST_NODES} nodes; got {count:.3g}")


#: Functions that call each other.
_DEEPEST = 64


def _without_data(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for onnx's checker, which would look for external data: it has none, and no elements."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in _tensors([each for top in (copy.graph, *copy.functions) for each in nested(top)]):
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.ClearField("data_location")
            del tensor.external_data[:]
            tensor.dims[:] = [0]
    return copy
