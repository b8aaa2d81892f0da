"""How large a constant becomes that a model lets be computed: looked at before, for a few bytes may ask for any size.

    ConstantOfShape ([10^6, 10^6])   Tile (x, 10^9)   Pad, Expand, Range, Resize, OneHot …   MatMul ([n, 1], [1, n])
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import defs, numpy_helper, shape_inference

#: Elements that a constant may always have; a model that stores more may have as many in one.
MOST = 1 << 27
#: So many times that may be computed in all, again and again for each that asks.
ROUNDS = 64
#: Arrays up to this size are looked at for lengths and counts.
_SMALL = 64
#: Operators whose results have no more elements than their inputs together.
_NO_LARGER = frozenset({
    "Cast", "Concat", "Flatten", "Identity", "Neg", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
})  # fmt: skip


def check_size(node: ir.Node, given: Sequence[np.ndarray | None], opset: int, most: int) -> None:
    """Raise ValueError where a node of constants would give more than `most` elements."""
    arrays = [each for each in given if each is not None]
    if node.op_type in _NO_LARGER and sum(each.size for each in arrays) <= most:
        return
    if math.prod(max(each.size, 1) * _largest(each) for each in arrays) * _of_attributes(node) <= most:
        return
    count = _inferred(node, given, opset)
    if count is None or count > most:
        many = "an unknown number of" if count is None else f"{count:.3g}"
        raise ValueError(f"it has {many} elements; a constant may have {most}")


def _largest(array: np.ndarray) -> int:
    """How many times as many elements as its inputs have may come of the numbers in a small array."""
    if array.size > _SMALL or array.dtype.kind not in "iuf":
        return 1
    numbers = np.abs(array.astype(np.float64).reshape(-1))
    if not np.isfinite(numbers).all():
        return 1 << 62
    return math.prod(math.ceil(max(n, min(1 / n, 1e300) if n else 0)) + 1 for n in numbers.tolist())


def _of_attributes(node: ir.Node) -> int:
    numbers: list[int] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.INT:
            numbers.append(attribute.as_int())
        elif attribute.type == ir.AttributeType.INTS:
            numbers += attribute.as_ints()
        elif attribute.type == ir.AttributeType.FLOATS:
            numbers += [math.ceil(each) if math.isfinite(each) else 1 << 62 for each in attribute.as_floats()]
    return math.prod(abs(n) + 1 for n in numbers)


def _inferred(node: ir.Node, given: Sequence[np.ndarray | None], opset: int) -> int | None:
    """Elements of all results, by onnx's inference of shapes; None where it does not know."""
    proto = ir.serde.serialize_node(node)
    del proto.input[:], proto.output[:]
    proto.input.extend("" if each is None else f"x{i}" for i, each in enumerate(given))
    proto.output.extend(f"y{i}" for i in range(len(node.outputs)))
    types, data = {}, {}
    for name, array in zip(proto.input, given, strict=True):
        if array is not None:
            kind = ir.DataType.from_numpy(array.dtype).value
            types[name] = onnx.helper.make_tensor_type_proto(kind, array.shape)
            if array.size <= _SMALL:
                data[name] = numpy_helper.from_array(array)
    try:
        schema = defs.get_schema(node.op_type, opset, "")
        imports = [onnx.helper.make_opsetid("", opset)]
        found = shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=imports)
    except Exception as error:  # it has several kinds; the node cannot be computed then either
        raise ValueError(str(error)) from error
    counts = []
    for name in proto.output:
        shape = found[name].tensor_type.shape if name in found else onnx.TensorShapeProto()
        known = name in found and found[name].tensor_type.HasField("shape")
        if not known or not all(each.HasField("dim_value") for each in shape.dim):
            return None
        counts.append(math.prod(each.dim_value for each in shape.dim))
    return sum(counts)
