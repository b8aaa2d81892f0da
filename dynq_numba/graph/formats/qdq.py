"""Weights as DequantizeLinear, before the float operator that the model had: opset 21, no domain of anybody's.

    per channel   int8 weight [K, N], scale [N]       ─ DequantizeLinear(axis 1) ─▶ MatMul
    groups        int4 or int8 [K, N], scale [K/g, N] ─ DequantizeLinear(axis 0, blocks) ─▶ MatMul
    recurrent     int8 W [D·4H, I], scale [D·4H]      ─ DequantizeLinear(axis 0) ─▶ Reshape ─▶ LSTM, GRU, RNN
    convolution   int8 [O, C/g, …], scale [O]         ─ DequantizeLinear(axis 0) ─▶ Conv
    table         uint8 rows by Gather, times a scale: a DequantizeLinear would be of the whole table at every run

ONNX Runtime and OpenVINO look for the first two and multiply the integers. (Blocks of I would save the Reshape, but
ONNX Runtime takes far longer for blocks.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..layers import Found, Replacement
from ..layers.recurrent_body import RESULTS
from .base import (
    Format,
    biased_sum,
    constant,
    floats_of,
    opened,
    recurrent_inputs,
    signed,
    signed_table,
    with_attributes,
)

_PER_CHANNEL = "    floats = DequantizeLinear <axis: int = 1> (weight, scale)\n"
_GROUPS = "    floats = DequantizeLinear <axis: int = 0, block_size: int = GROUP> (weight, scale)\n"
_CONV = "    floats = DequantizeLinear <axis: int = 0> (weight, scale)\n"
_ROWS = """
    NAME_rows = DequantizeLinear <axis: int = 0> (NAME, NAME_scale)
    NAME_shape = Constant <value_ints: ints = [SHAPE]> ()
    NAME_floats = Reshape (NAME_rows, NAME_shape)
"""


def _linear(found: Found, made: Replacement) -> Replacement:
    packed = made.packed
    q, group = np.ascontiguousarray(packed.qweight.T), packed.group_size
    narrow = packed.bits == 4
    weight = ir.tensor(q.astype(ir.DataType.INT4.numpy()), ir.DataType.INT4) if narrow else q
    scale = np.ascontiguousarray(packed.scale.T) if group else np.broadcast_to(packed.scale, q.shape[1]).copy()
    body = _GROUPS.replace("GROUP", str(group)) if group else _PER_CHANNEL
    last, bias = biased_sum(found, made, "MatMul (x, floats)")
    inputs: dict[str, Any] = {"x": made.inputs[0], "weight": weight, "scale": scale, **bias}
    return opened(made, inputs, body + last, table=None if narrow else made.table)


def _conv(found: Found, made: Replacement) -> Replacement:
    weight, scale = (constant(made, place) for place in (1, 2))
    inputs: dict[str, Any] = {"x": made.inputs[0], "weight": signed(weight), "scale": scale.ravel()}
    if found.bias is not None:
        inputs["bias"] = found.bias
    last = f"    y = Conv (x, floats{'' if found.bias is None else ', bias'})\n"
    return with_attributes(opened(made, inputs, _CONV + last), found, "Conv")


def _recurrent(found: Found, made: Replacement) -> Replacement:
    kind, body = found.node.op_type, ""
    inputs: dict[str, Any] = {"x": made.inputs[0]}
    for name, place in (("W", 1), ("R", 4)):
        q = signed(constant(made, place).swapaxes(1, 2))
        inputs |= {name: q.reshape(-1, q.shape[2]), f"{name}_scale": constant(made, place + 1).ravel()}
        body += _ROWS.replace("SHAPE", ", ".join(map(str, q.shape))).replace("NAME", name)
    more, places = recurrent_inputs(found, made)
    inputs |= more
    results = ", ".join(RESULTS[kind.lower()])
    body += f"    {results} = {kind} (x, W_floats, R_floats, {places})\n"
    return with_attributes(opened(made, inputs, body, results, floats=floats_of(inputs)), found, kind)


QDQ = Format(
    "qdq", "weights of 8 or 4 bits and says nothing of x", lambda scheme: scheme.x_bits == 8,
    "qdq: ONNX Runtime from 1.25 multiplies the integers of MatMul, with x in 8 bits by row and block; OpenVINO too; "
    "ONNX Runtime makes floats of the weights of other layers in every run",
    {
        "MatMul": _linear, "Gemm": _linear, "Gather": signed_table, "Conv": _conv,
        "LSTM": _recurrent, "GRU": _recurrent, "RNN": _recurrent,
    },
    beside=True,  # ONNX Runtime 1.25 to 1.32 refuses a weight of an outer graph behind DequantizeLinear
)  # fmt: skip
