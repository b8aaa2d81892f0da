"""LSTM, GRU and RNN with constant weights: dq.lstm, dq.gru, dq.rnn.

    LSTM_⟨hidden⟩…   x, int8 W [D, 4H, I], its scale [D, 4H, 1], int8 R, its scale, B, and what states there are

The body is the float operator on the weights as rounded: inexact. Our kernels quantize x and h, too, and have gates of
their own to 2^-22; as standard operators a sequence would be a loop of some fifty nodes a step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...operators import recurrent
from ...operators.linear.pack import pack_linear
from ..constants import Constants, run_node
from ..functions import function
from ..recipe import Scheme
from .base import Found, LayerKind, Probe, Replacement, Unfit

#: Inputs beyond x, W, R and B, which a node may leave out; and how many results each operator has.
OPTIONAL = {
    "LSTM": ("sequence_lens", "initial_h", "initial_c", "peepholes"),
    "GRU": ("sequence_lens", "initial_h"),
    "RNN": ("sequence_lens", "initial_h"),
}
RESULTS = {"LSTM": ("y", "y_h", "y_c"), "GRU": ("y", "y_h"), "RNN": ("y", "y_h")}
#: Attributes that dq.pack_… takes, under the same names.
ARGUMENTS = (
    "direction", "activations", "activation_alpha", "activation_beta", "clip", "input_forget", "linear_before_reset",
)  # fmt: skip
#: Times and batch of the inputs that a layer is tried on.
_TIMES, _BATCH = 12, 2
_DEQUANTIZED = """
    W_floats = Cast <to: int = 1> (W)
    W_weight = Mul (W_floats, W_scale)
    R_floats = Cast <to: int = 1> (R)
    R_weight = Mul (R_floats, R_scale)
"""


class Recurrent(LayerKind):
    op_types = ("LSTM", "GRU", "RNN")

    def find(self, node: ir.Node, constants: Constants) -> Found | None:
        weights = tuple(value for value in node.inputs[1:3] if value is not None and constants.is_constant(value))
        if not weights:
            return None
        bias = constants.array(node.inputs[3]) if len(node.inputs) > 3 else None
        return Found(node, weights, (), None if bias is None else np.asarray(bias, np.float32))

    def replace(self, found: Found, arrays: Sequence[np.ndarray], scheme: Scheme, constants: Constants) -> Replacement:
        node = found.node
        if (scheme.bits, scheme.granularity, scheme.x_bits) != (8, "per_channel", 8):
            raise Unfit(f"recurrent layers have 8 bits per channel; not {scheme.words()}")
        if len(arrays) < 2:
            raise Unfit("one of W and R is computed at run time")
        if len(node.inputs) > 3 and node.inputs[3] is not None and found.bias is None:
            raise Unfit("B is computed at run time")
        if node.attributes.get_int("layout", 0):
            raise Unfit("layout=1")
        peepholes = self._peepholes(node, constants)
        packed = self._pack(found, arrays, peepholes)
        states = _states(node)
        bias = np.zeros((len(arrays[0]), 2 * arrays[0].shape[1]), np.float32) if found.bias is None else found.bias
        inputs: list[Any] = [node.inputs[0]]
        for role, array in zip(("W", "R"), arrays, strict=True):
            q, scale = rounded(array)
            inputs += [(role, q), (f"{role}_scale", scale)]
        inputs += [("B", bias), *states.values(), *([] if peepholes is None else [("P", peepholes)])]
        names = [*states, *([] if peepholes is None else ["peepholes"])]
        floats = (0, *(6 + i for i, name in enumerate(states) if name != "sequence_lens"))
        made = _body(node, arrays[1].shape[-1], names)
        return Replacement(made, inputs, packed, "int8_per_channel", False, floats=floats)

    def _pack(self, found: Found, arrays: Sequence[np.ndarray], peepholes: np.ndarray | None) -> Any:
        node = found.node
        pack: Callable[..., Any] = getattr(recurrent, f"pack_{node.op_type.lower()}")
        options = {name: _plain(node.attributes[name]) for name in ARGUMENTS if name in node.attributes}
        if peepholes is not None:
            options["peepholes"] = peepholes
        return pack(arrays[0], arrays[1], found.bias, layout="onnx", **options)

    def _peepholes(self, node: ir.Node, constants: Constants) -> np.ndarray | None:
        value = node.inputs[7] if len(node.inputs) > 7 else None
        if value is None:
            return None
        array = constants.array(value)
        if array is None:
            raise Unfit("the peepholes are computed at run time")
        return np.asarray(array, np.float32)

    def probe(self, found: Found, arrays: Sequence[np.ndarray], packed: Any, opset: int) -> Probe:
        node = found.node
        x = np.random.default_rng(0).standard_normal((_TIMES, _BATCH, packed.input_size), np.float32)
        run: Callable[..., Any] = getattr(recurrent, node.op_type.lower())
        y, *ends = run(x, packed)
        y = y.reshape(_TIMES, _BATCH, packed.directions, packed.state_size).swapaxes(1, 2)
        given = [x, *arrays, found.bias, None, None, None, self._peepholes(node, Constants(opset))]
        initial = {
            "sequence_lens": np.full(_BATCH, _TIMES, np.int32),
            "initial_h": np.zeros((packed.directions, _BATCH, packed.state_size), np.float32),
            "initial_c": np.zeros((packed.directions, _BATCH, packed.hidden_size), np.float32),
        }
        inputs = [x, *(initial[name] for name in _states(node))]
        count = len(node.outputs)
        try:
            floats = run_node(node, given[: len(node.inputs)], opset)[:count]
        except (NotImplementedError, RuntimeError):  # onnx.reference knows not every activation
            floats = None
        return Probe(inputs, floats, [y, *ends][:count])


def _states(node: ir.Node) -> dict[str, ir.Value]:
    """The optional inputs that a node has and that may vary, by name."""
    given = zip(OPTIONAL[node.op_type][:3], node.inputs[4:7], strict=False)
    return {name: value for name, value in given if value is not None}


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers [D, rows, columns] and scales [D, rows, 1], as dq.pack_linear rounds each row."""
    packed = [pack_linear(part, granularity="per_channel") for part in weight]
    return np.stack([each.qweight for each in packed]), np.stack([each.scale[:, None] for each in packed])


def _plain(attribute: ir.Attr) -> Any:
    value = attribute.value
    return list(value) if isinstance(value, (tuple, list)) else value


def _body(node: ir.Node, hidden: int, states: Sequence[str]) -> ir.Function:
    """The operator on dequantized weights, with the node's attributes as constants."""
    op = node.op_type
    given = {**node.attributes, "hidden_size": ir.AttrInt64("hidden_size", hidden)}  # which a node may leave out
    attributes = {name: attribute for name, attribute in sorted(given.items()) if name != "layout"}
    text = repr([(name, _plain(attribute)) for name, attribute in attributes.items()])
    name = "_".join([op, str(hidden), hashlib.sha256(text.encode()).hexdigest()[:8], *states])
    inputs = ", ".join(["x", "W", "W_scale", "R", "R_scale", "B", *states])
    placed = ", ".join(each if each in states else "" for each in OPTIONAL[op]).rstrip(", ")
    made = function(
        name, inputs, _DEQUANTIZED + f"    {', '.join(RESULTS[op])} = {op} (x, W_weight, R_weight, B"
        + (f", {placed}" if placed else "") + ")\n", ", ".join(RESULTS[op]),
    )  # fmt: skip
    list(made.graph)[-1].attributes.update(attributes)
    return made
