"""Quantized LSTM, GRU and RNN: dynq::LSTM_…, GRU_…, RNN_…."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...kernels.base.status import BAD_INDEX
from ...kernels.recurrent import step as kernels
from ...operators import recurrent as operator
from ..layers.recurrent import ARGUMENTS, RESULTS
from ..tensor import expect
from ..trace import Trace
from .base import F32, call, floats_only
from .linear import matrix

#: Optional inputs, which are in the function's name where it has them.
_STATES = ("sequence_lens", "initial_h", "initial_c")


def sequence(trace: Trace, node: ir.Node) -> None:
    """dynq::LSTM_⟨hidden⟩_⟨attributes⟩_⟨inputs⟩…"""
    kind = node.op_type.partition("_")[0]
    layer = trace.weights.packed((node.op_type, *node.inputs[1:6]), lambda: _pack(trace, node, kind))
    x = trace.input(node, 0)
    floats_only(x)
    given = {}
    for i, name in enumerate(each for each in _STATES if f"_{each}" in node.op_type):
        given[name] = trace.dense(trace.input(node, 6 + i))
    times, batch, inputs = x.shape
    expect(inputs, layer.input_size, "the last axis of X and the weight's inputs")
    for name, tensor in given.items():
        units = layer.state_size if name == "initial_h" else layer.hidden_size
        wanted = (batch,) if name == "sequence_lens" else (layer.directions, batch, units)
        if name == "sequence_lens":
            expect(tensor.itemsize, 4, "bytes of an integer of sequence_lens and 4")
        else:
            floats_only(tensor)
        for length, other in zip(tensor.shape, wanted, strict=True):
            expect(length, other, f"lengths of {name}")
    rows, stride = matrix(trace, x)
    directions, units, cells = layer.directions, layer.state_size, layer.hidden_size
    y = trace.block(F32, (times, batch, directions, units))
    names = RESULTS[kind]
    ends = {
        name: trace.result(value, F32, (directions, batch, units if name == "y_h" else cells))
        for name, value in zip(names[1:], node.outputs[1:], strict=False)
    }
    for name in ("y_h", "y_c"):
        ends.setdefault(name, trace.block(F32, (directions, batch, units if name == "y_h" else cells)))
    lengths = given.get("sequence_lens")
    call(
        trace, f"{kind.lower()} int8", kernels.sequence_step, kernels.SequenceStep,
        {BAD_INDEX: "sequence_lens must be from 0 to x's times"}, x=rows, x_stride=stride, times=times, batch=batch,
        lengths=lengths, wide_lengths=None if lengths is None else trace.block(np.dtype(np.int64), (batch,)),
        h0=given.get("initial_h"), c0=given.get("initial_c"), y=y, hn=ends["y_h"], cn=ends["y_c"],
        layer=layer._layer().words,
    )  # fmt: skip
    a, b, c, d = y.strides
    trace.set(node.outputs[0], y.view((times, directions, batch, units), (a, c, b, d)))


def _pack(trace: Trace, node: ir.Node, kind: str) -> Any:
    W, W_scale, R, R_scale, B = (trace.constant(node, i) for i in range(1, 6))
    function = trace.weights.model.functions[node.op_identifier()]
    inner = next(each for each in function if each.op_type == kind)
    options = {name: _plain(inner.attributes[name]) for name in ARGUMENTS if name in inner.attributes}
    if node.op_type.endswith("_peepholes"):
        options["peepholes"] = np.asarray(trace.constant(node, len(node.inputs) - 1), np.float32)
    pack = getattr(operator, f"pack_{kind.lower()}")
    # scale · 127 / 127 is the scale again for every scale that is a quotient by 127, so this finds the same integers.
    return pack(W * W_scale, R * R_scale, B, layout="onnx", **options)


def _plain(attribute: ir.Attr) -> Any:
    value = attribute.value
    return list(value) if isinstance(value, (tuple, list)) else value


LOWERINGS = {"dynq::LSTM": sequence, "dynq::GRU": sequence, "dynq::RNN": sequence}
