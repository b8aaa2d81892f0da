"""Recurrent layers whose weights are integers: DynamicQuantizeLSTM of ONNX Runtime; LSTM, GRU, RNN of DequantizeLinear.

    W [D, I, 4H], R [D, H, 4H], scales and zero points [D] or [D, 4H]      ─▶   LSTM_⟨hidden⟩_⟨attributes⟩…
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from ...operators import recurrent as operators
from ..functions import MOST_K
from ..layers.linear_body import exact_linear
from ..layers.recurrent import OPTIONAL, layer_function, options_of, stored
from ..rewrites.base import Editor, NoMatch, Rewrite
from .calls import call_of
from .integers import FLOAT_BEFORE, PER_ROW, Integers, integers_of, widened, within
from .integers import stored as integers_stored

DYNAMIC = "com.microsoft.DynamicQuantizeLSTM"


class Recurrent(Rewrite):
    name = "recurrent layer"
    anchors = (DYNAMIC, *OPTIONAL)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        dynamic = node.op_type == "DynamicQuantizeLSTM"
        parts = dynamic_weights(node, edit) if dynamic else [integers_of(node.inputs[i], edit) for i in (1, 2)]
        found = [part for part in parts if part is not None]
        if len(found) < 2:
            raise NoMatch("one of W and R is no integers" if found else "")
        plain = plain_node(node) if dynamic else node
        if plain.attributes.get_int("layout", 0):
            raise NoMatch("layout=1")
        bias, peepholes = (constant_of(node, i, name, edit) for i, name in ((3, "B"), (7, "P")))
        count, rows, _ = found[0].whole.shape
        packed = form_of(plain, count, rows, peepholes)
        (w, columns), (r, beyond) = (within(part.whole) for part in found)
        if beyond.size:
            raise NoMatch("R has integers beyond ±127")
        if max(w.shape[2], r.shape[2]) > MOST_K:
            raise NoMatch(f"more than {MOST_K} values for each gate")
        states = states_of(plain, node)
        more = [] if peepholes is None else [("peepholes", peepholes)]
        linear = exact_linear()
        edit.function(linear.name, lambda: linear)
        function = layer_function(plain, packed, [*states, *(name for name, _ in more)], linear)
        roles = [
            *stored("W", w, _scales(found[0], count, rows)), *stored("R", r, _scales(found[1], count, rows)),
            ("B", np.zeros((count, 2 * rows), np.float32) if bias is None else bias),
        ]  # fmt: skip
        x = node.inputs[0]
        assert x is not None
        x, before = widened(x, columns, -1, edit)
        given = [*states.values(), *(edit.constant(name, array) for name, array in more)]
        call = call_of(function, x, roles, given, node, PER_ROW if dynamic else FLOAT_BEFORE, edit)
        count = len(node.outputs)
        edit.replace(node.outputs, call.outputs[:count], [*before, call], node)
        return call.op_type


def dynamic_weights(node: ir.Node, edit: Editor) -> list[Integers | None]:
    """W and R of a DynamicQuantizeLSTM as LSTM has them, [D, 4H, K]."""
    found: list[Integers | None] = []
    for weight, scale in ((1, 8), (2, 10)):
        q, steps, zero = (edit.array(node.inputs[i]) if node.inputs[i] is not None else None
                          for i in (weight, scale, scale + 1))  # fmt: skip
        if q is None or steps is None or (zero is None and node.inputs[scale + 1] is not None):
            raise NoMatch("its weights, scales or zero points are computed at run time")
        shape = (len(q), 1, -1)
        points = None if zero is None else zero.reshape(shape)
        found.append(integers_stored(q, steps.reshape(shape), points).turned(0, 2, 1))
    return found


def plain_node(node: ir.Node) -> ir.Node:
    """An LSTM with the attributes of a DynamicQuantizeLSTM, which is in no graph and takes nothing."""
    return ir.Node("", "LSTM", [], list(node.attributes.values()), num_outputs=3, name=node.name)


def states_of(plain: ir.Node, node: ir.Node) -> dict[str, ir.Value]:
    """The optional inputs that a node has and that may vary, by name."""
    given = zip(OPTIONAL[plain.op_type][:3], node.inputs[4:7], strict=False)
    return {name: value for name, value in given if value is not None}


def form_of(node: ir.Node, count: int, rows: int, peepholes: np.ndarray | None) -> Any:
    """A layer with the node's options, whose weights do not count."""
    kind = node.op_type.lower()
    hidden = rows // {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    pack: Callable[..., Any] = getattr(operators, f"pack_{kind}")
    options = options_of(node) | ({} if peepholes is None else {"peepholes": peepholes})
    try:
        return pack(
            np.zeros((count, rows, 1), np.float32), np.zeros((count, rows, hidden), np.float32), layout="onnx",
            **options,
        )  # fmt: skip
    except ValueError as why:  # what our kernels cannot do
        raise NoMatch(str(why)) from why


def constant_of(node: ir.Node, i: int, name: str, edit: Editor) -> np.ndarray | None:
    value = node.inputs[i] if len(node.inputs) > i else None
    array = edit.array(value)
    if value is not None and array is None:
        raise NoMatch(f"{name} is computed at run time")
    return None if array is None else np.asarray(array, np.float32)


def _scales(weight: Integers, count: int, rows: int) -> np.ndarray:
    """[D, rows]"""
    if weight.scale.shape[2] != 1:
        raise NoMatch("its scales vary along the values that are summed up")
    return np.array(np.broadcast_to(weight.scale[..., 0], (count, rows)), np.float32)
