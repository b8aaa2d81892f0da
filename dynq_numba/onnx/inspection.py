"""inspect: the receipt that an artifact carries, or what weights a model has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..graph.model import RECEIPT
from ..graph.receipt import Receipt
from . import files
from .quantize import FLOATS, quantize


def inspect(model: Any) -> Receipt:
    """Say what weights an ONNX model has, and how they are quantized.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or onnx_ir.Model

    Returns
    -------
    Receipt
        The one that `quantize` wrote into the artifact; of any other model all its weights: floats, or integers that
        another tool made of them.

    Raises
    ------
    TypeError, ValueError
        Where it is no ONNX model, or its receipt is damaged.
    OSError
        From reading the file.

    Notes
    -----
    Source: the metadata key ``dynq.receipt``.

    Examples
    --------
    >>> from onnx import parser
    >>> from dynq_numba.onnx import inspect
    >>> model = parser.parse_model('''<ir_version: 10, opset_import: ["": 21]>
    ...     g (float[n] x) => (float[n] y) { y = Relu (x) }''')
    >>> print(inspect(model).summary())
    0 of 0 weights quantized, 100.0% of their bytes; weights 0.0 kB -> 0.0 kB
    """
    found = files.read(model)
    text = found.metadata_props.get(RECEIPT)
    if text is None:
        receipt = quantize(model, bits=32)
        receipt.entries = [replace(each, reason="") if each.reason == FLOATS else each for each in receipt.entries]
        return receipt
    receipt = Receipt.from_json(text)
    receipt.artifact_bytes = files.nbytes(model, found)
    return receipt
