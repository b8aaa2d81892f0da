"""LSTM, GRU and RNN with constant weights: dq.lstm, dq.gru, dq.rnn.

    LSTM_⟨hidden⟩…   x, uint8 W [D, I, 4H] (integers + 128), its scale and column sums [D, 4H], the same of R,
                     B [D, 8H], and what states there are                                              exact

The body is a Scan over time (recurrent_body.py). The attributes of the node are in the function's metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...operators import recurrent
from ...operators.linear.pack import pack_linear
from ..constants import Constants, run_node
from ..functions import MOST_K
from ..recipe import Scheme
from . import recurrent_body
from .base import Found, LayerKind, Probe, Replacement, Roles, Unfit
from .linear_body import biased, exact_linear

#: Inputs beyond x, W, R and B, which a node may leave out; and how many results each operator has.
OPTIONAL = {
    "LSTM": ("sequence_lens", "initial_h", "initial_c", "peepholes"),
    "GRU": ("sequence_lens", "initial_h"),
    "RNN": ("sequence_lens", "initial_h"),
}
#: Attributes that dq.pack_… takes, under the same names.
ARGUMENTS = (
    "direction", "activations", "activation_alpha", "activation_beta", "clip", "input_forget", "linear_before_reset",
)  # fmt: skip
#: Times and batch of the inputs that a layer is tried on.
_TIMES, _BATCH = 12, 2
#: The key of the node's attributes in the metadata of its function.
ATTRIBUTES = "dynq.attributes"


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
        states = states_of(node)
        bias = np.zeros((len(arrays[0]), 2 * arrays[0].shape[1]), np.float32) if found.bias is None else found.bias
        inputs: list[Any] = [node.inputs[0]]
        for role, array in zip(("W", "R"), arrays, strict=True):
            if array.shape[2] > MOST_K:
                raise Unfit(f"{array.shape[2]} values for each gate; at most {MOST_K}")
            inputs += stored(role, *rounded(array))
        inputs += [("B", bias), *states.values(), *([] if peepholes is None else [("peepholes", peepholes)])]
        names = [*states, *([] if peepholes is None else ["peepholes"])]
        floats = (0, *(8 + i for i, name in enumerate(states) if name != "sequence_lens"))
        linear = exact_linear()
        made = layer_function(node, packed, names, linear)
        return Replacement(made, inputs, packed, "int8_per_channel", floats=floats, needs=(linear,))

    def _pack(self, found: Found, arrays: Sequence[np.ndarray], peepholes: np.ndarray | None) -> Any:
        node = found.node
        pack: Callable[..., Any] = getattr(recurrent, f"pack_{node.op_type.lower()}")
        options = options_of(node)
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

    def probe(self, found: Found, arrays: Sequence[np.ndarray], packed: Any, constants: Constants) -> Probe:
        node = found.node
        x = np.random.default_rng(0).standard_normal((_TIMES, _BATCH, packed.input_size), np.float32)
        run: Callable[..., Any] = getattr(recurrent, node.op_type.lower())
        y, *ends = run(x, packed)
        y = y.reshape(_TIMES, _BATCH, packed.directions, packed.state_size).swapaxes(1, 2)
        given = [x, *arrays, found.bias, None, None, None, self._peepholes(node, constants)]
        count = len(node.outputs)
        try:
            floats = run_node(node, given[: len(node.inputs)], constants.opset)[:count]
        except (NotImplementedError, RuntimeError):  # onnx.reference knows not every activation
            floats = None
        return Probe(floats, [y, *ends][:count])


def states_of(node: ir.Node) -> dict[str, ir.Value]:
    """The optional inputs that a node has and that may vary, by name."""
    given = zip(OPTIONAL[node.op_type][:3], node.inputs[4:7], strict=False)
    return {name: value for name, value in given if value is not None}


def stored(role: str, q: np.ndarray, scale: np.ndarray) -> Roles:
    """What a call takes of integers [D, N, K] within ±127 and scales [D, N]."""
    columns, sums = np.ascontiguousarray(q.swapaxes(1, 2)), q.sum(axis=2, dtype=np.int32)
    return [(role, biased(columns)), (f"{role}_scale", scale), (f"{role}_sum", sums)]


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers [D, rows, columns] and scales [D, rows], as dq.pack_linear rounds each row."""
    packed = [pack_linear(part, granularity="per_channel") for part in weight]
    return np.stack([each.qweight for each in packed]), np.stack([each.scale for each in packed])


def options_of(node: ir.Node) -> dict[str, Any]:
    """The attributes that dq.pack_… takes, as JSON has them."""
    given = ((name, node.attributes[name].value) for name in ARGUMENTS if name in node.attributes)
    return {name: list(value) if isinstance(value, (tuple, list)) else value for name, value in given}


def layer_function(node: ir.Node, packed: Any, optional: Sequence[str], linear: ir.Function) -> ir.Function:
    """The function of a layer, whose name tells it from those of other attributes and inputs."""
    text = json.dumps(options_of(node), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = "_".join([node.op_type, str(packed.hidden_size), digest, *optional])
    made = recurrent_body.function(name, packed, optional, linear)
    made.metadata_props[ATTRIBUTES] = text
    return made
