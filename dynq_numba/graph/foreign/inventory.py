"""Which weights of a model another tool has quantized, for those who look into a file."""

from __future__ import annotations

import onnx_ir as ir

from ..model import SMALL_BYTES
from ..names import nodes
from ..receipt import Entry

_KINDS = {
    ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT2, ir.DataType.UINT2,
}  # fmt: skip
NOTE = 'weights are integers of the file; sessions quantize activations row by row, or compute with semantics="file"'


def integer_weights(model: ir.Model) -> list[Entry]:
    """An entry for each matrix of integers; it stays what it is."""
    found: dict[ir.Value, Entry] = {}
    for node in nodes(model):
        for value in node.inputs:
            tensor = None if value is None else value.const_value
            if value is None or tensor is None or value in found or tensor.dtype not in _KINDS:
                continue
            if len(tensor.shape) < 2 or tensor.nbytes < SMALL_BYTES // 4:
                continue
            shape, size = tuple(tensor.shape.numpy()), tensor.nbytes
            name, dtype = value.name or "", tensor.dtype.name.lower()
            reason = "integers of the file"
            found[value] = Entry(name, node.name or "", node.op_type, shape, size, size, dtype, reason, exact=False)
    return list(found.values())
