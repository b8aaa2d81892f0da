"""Which weights of a model are integers already: by an earlier run of ours, or by another tool."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from ..model import RECEIPT, SMALL_BYTES
from ..names import nodes
from ..receipt import Entry, Receipt

_KINDS = {
    ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT2, ir.DataType.UINT2,
}  # fmt: skip
_NOTE = 'integers of the file stay; sessions quantize activations row by row, or compute with semantics="file"'


def quantized_before(model: ir.Model) -> tuple[list[Entry], list[str]]:
    """Entries of what is integers already, and what is to be noted of them.

    Raises
    ------
    ValueError
        Where the receipt of an earlier run is damaged.
    """
    text = model.metadata_props.get(RECEIPT)
    if text is not None:
        return [replace(each, reason="quantized before") for each in Receipt.from_json(text).quantized], []
    theirs = _integer_weights(model)
    return theirs, [_NOTE] if theirs else []


def _integer_weights(model: ir.Model) -> list[Entry]:
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
