"""LSTM, GRU and RNN of constant weights: float32, and quantized as dynq::LSTM_…, GRU_…, RNN_…."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph.layers.recurrent import ATTRIBUTES, options_of
from ...graph.layers.recurrent_body import RESULTS
from ...kernels.base.status import BAD_INDEX
from ...kernels.recurrent import step as kernels
from ...operators.recurrent.arrange import float_layer, integer_layer
from ...operators.recurrent.packed import PackedRecurrent
from ..tensor import Tensor, expect
from ..trace import Trace, Unsupported
from .base import F32, call, floats_only
from .linear import matrix

#: Optional inputs, in ONNX's order from input 4 on; those of a function are in its name.
_STATES = ("sequence_lens", "initial_h", "initial_c")


def quantized(trace: Trace, node: ir.Node) -> None:
    """dynq::LSTM_⟨hidden⟩_⟨attributes⟩_⟨inputs⟩…"""
    kind = node.op_type.partition("_")[0]
    layer = trace.weights.packed(
        node.op_type, trace.constants(node, *range(1, 8)), lambda: _quantized(trace, node, kind)
    )
    names = [each for each in _STATES if f"_{each}" in node.op_type]
    given = {name: trace.input(node, 8 + i) for i, name in enumerate(names)}
    _sequence(trace, node, kind, f"{kind.lower()} int8", layer, given)


def floats(trace: Trace, node: ir.Node) -> None:
    """LSTM, GRU, RNN"""
    layer = trace.weights.packed(node, trace.constants(node, 1, 2, 3, 7), lambda: _floats(trace, node))
    tensors = {name: trace.optional(node, 4 + i) for i, name in enumerate(_STATES)}
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    _sequence(trace, node, node.op_type, node.op_type.lower(), layer, given, node.attributes.get_int("layout", 0) == 1)


def _sequence(
    trace: Trace,
    node: ir.Node,
    kind: str,
    kernel: str,
    layer: PackedRecurrent,
    given: dict[str, Tensor],
    batch_first: bool = False,
) -> None:
    """The step of a layer, and the node's results. `batch_first`: x, y and states have the batch first (layout=1)."""
    floats_only(trace.input(node, 0), given.get("initial_h"), given.get("initial_c"))
    for name, tensor in {"X": trace.input(node, 0), **given}.items():
        expect(tensor.rank, 1 if name == "sequence_lens" else 3, f"axes of {name} and what the layer takes")
    x = trace.memory(trace.input(node, 0))
    if batch_first:
        x = _swapped(x)
        given |= {name: _swapped(trace.memory(tensor)) for name, tensor in given.items() if name != "sequence_lens"}
    given = {name: trace.dense(tensor) for name, tensor in given.items()}
    times, batch, inputs = x.shape
    expect(inputs, layer.input_size, "the last axis of X and the weight's inputs")
    for name, tensor in given.items():
        units = layer.state_size if name == "initial_h" else layer.hidden_size
        wanted = (batch,) if name == "sequence_lens" else (layer.directions, batch, units)
        if name == "sequence_lens":
            expect(tensor.itemsize, 4, "bytes of an integer of sequence_lens and 4")
        for length, other in zip(tensor.shape, wanted, strict=True):
            expect(length, other, f"lengths of {name}")
    rows, stride = matrix(trace, x)
    directions, units, cells = layer.directions, layer.state_size, layer.hidden_size
    y = trace.block(F32, (times, batch, directions, units))
    ends = {}
    for name, value in zip(RESULTS[kind.lower()][1:], node.outputs[1:], strict=False):
        shape = (directions, batch, units if name == "y_h" else cells)
        if batch_first:
            ends[name] = trace.block(F32, shape)
            trace.set(value, _swapped(ends[name]))
        else:
            ends[name] = trace.result(value, F32, shape)
    for name in ("y_h", "y_c"):
        ends.setdefault(name, trace.block(F32, (directions, batch, units if name == "y_h" else cells)))
    lengths = given.get("sequence_lens")
    call(
        trace, kernel, kernels.sequence_step, kernels.SequenceStep,
        {BAD_INDEX: "sequence_lens must be from 0 to x's times"}, x=rows, x_stride=stride, times=times, batch=batch,
        lengths=lengths, wide_lengths=None if lengths is None else trace.block(np.dtype(np.int64), (batch,)),
        h0=given.get("initial_h"), c0=given.get("initial_c"), y=y, hn=ends["y_h"], cn=ends["y_c"],
        layer=layer._layer().words,
    )  # fmt: skip
    a, b, c, d = y.strides
    if batch_first:
        trace.set(node.outputs[0], y.view((batch, times, directions, units), (b, a, c, d)))
    else:
        trace.set(node.outputs[0], y.view((times, directions, batch, units), (a, c, b, d)))


def _swapped(tensor: Tensor) -> Tensor:
    """With its first two axes exchanged."""
    (m, n, *shape), (a, b, *strides) = tensor.shape, tensor.strides
    return tensor.view((n, m, *shape), (b, a, *strides))


def _quantized(trace: Trace, node: ir.Node, kind: str) -> Any:
    W, W_scale, _, R, R_scale, _, B = (trace.constant(node, i) for i in range(1, 8))
    attributes = trace.weights.model.functions[node.op_identifier()].metadata_props.get(ATTRIBUTES)
    if attributes is None:
        raise Unsupported(f"{node.op_type} has lost its metadata")
    options = json.loads(attributes)
    if node.op_type.endswith("_peepholes"):
        options["peepholes"] = np.asarray(trace.constant(node, len(node.inputs) - 1), np.float32)
    return integer_layer(kind.lower(), _integers(W), W_scale, _integers(R), R_scale, B, **options)


def _integers(stored: np.ndarray) -> np.ndarray:
    """int8 [D, N, K] of stored ones [D, K, N]."""
    return (stored ^ np.uint8(128)).view(np.int8).swapaxes(1, 2)


def _floats(trace: Trace, node: ir.Node) -> Any:
    W, R = trace.constant(node, 1), trace.constant(node, 2)
    B = None if trace.optional(node, 3) is None else trace.constant(node, 3)
    P = None if trace.optional(node, 7) is None else trace.constant(node, 7)
    try:
        return float_layer(node.op_type.lower(), W, R, B, peepholes=P, **options_of(node))
    except ValueError as error:  # what our kernels do not take
        raise Unsupported(str(error)) from error


LOWERINGS = {
    "LSTM": floats, "GRU": floats, "RNN": floats,
    "dynq::LSTM": quantized, "dynq::GRU": quantized, "dynq::RNN": quantized,
}  # fmt: skip
