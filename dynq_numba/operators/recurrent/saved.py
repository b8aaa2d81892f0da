"""Recurrent layers as `save` writes and `load` makes them: their options and linears.

Format: files/fields.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments.checks import describe
from ...files.fields import Described, Take, attributes, flag, given
from ...kernels.recurrent.context import padded
from ..linear.packed import PackedLinear
from ..linear.saved import describe_linear, restore_linear
from .arrange import ORDERS
from .options import DEFAULTS, layer_options
from .packed import PackedGRU, PackedLSTM, PackedRecurrent, PackedRNN

TYPES: dict[str, type[PackedRecurrent]] = {"lstm": PackedLSTM, "gru": PackedGRU, "rnn": PackedRNN}


def describe_recurrent(layer: PackedRecurrent) -> Described:
    options = layer.options
    about: dict[str, Any] = {
        "hidden_size": layer.hidden_size, "direction": options.direction,
        "activations": [list(names) for names in options.activations], "clip": options.clip,
        "input_forget": options.input_forget, "linear_before_reset": options.linear_before_reset,
        "peepholes": layer.peepholes is not None, "weights": [],
    }  # fmt: skip
    tensors = {}
    for name, values in (("alpha", options.alpha), ("beta", options.beta)):
        tensors[name] = given("F64", np.array(values, np.float64))  # not in JSON, which has no NaN
    if layer.peepholes is not None:
        tensors["peepholes"] = given("F32", np.stack(layer.peepholes))
    for d, weights in enumerate(layer.weights):
        described = [describe_linear(weight) for weight in weights]
        about["weights"].append([{"kind": "linear"} | each for each, _ in described])
        for i, (_, parts) in enumerate(described):
            tensors |= {f"{d}.{i}.{role}": tensor for role, tensor in parts.items()}
    return about, tensors


def restore_recurrent(about: dict[str, Any], take: Take) -> PackedRecurrent:
    hidden, direction, names, clip, input_forget, before, peepholes, nested = attributes(
        about, "hidden_size", "direction", "activations", "clip", "input_forget", "linear_before_reset", "peepholes",
        "weights",
    )  # fmt: skip
    kind, wanted = about["kind"], len(DEFAULTS[about["kind"]])
    if type(hidden) is not int or hidden < 1:
        raise ValueError(f"hidden_size must be a positive integer; got {describe(hidden)}")
    if not _lists(nested, dict) or len(nested) not in (1, 2):
        raise ValueError("weights must be lists of weights, one for each of one or two directions")
    if not _lists(names, str) or [len(each) for each in names] != [wanted] * len(nested):
        raise ValueError(f"activations must be {wanted} names for each direction; got {describe(names)}")
    if flag("input_forget", input_forget) and kind != "lstm":
        raise ValueError("input_forget must be false of all but an LSTM")
    if flag("linear_before_reset", before) and kind != "gru":
        raise ValueError("linear_before_reset must be false of all but a GRU")
    flat = [name for each in names for name in each]
    options = layer_options(kind, len(nested), direction, flat, None, None, clip, input_forget, before)
    alpha, beta = (take(role, "F64", (len(nested), wanted)).tolist() for role in ("alpha", "beta"))
    options = options._replace(alpha=tuple(map(tuple, alpha)), beta=tuple(map(tuple, beta)))
    points = None
    if flag("peepholes", peepholes):
        if kind != "lstm":
            raise ValueError("peepholes must be false of all but an LSTM")
        array = take("peepholes", "F32", (len(nested), 3, hidden)).copy()
        if not np.isfinite(array).all():
            raise ValueError("peepholes must be finite")
        points = tuple(array)
    weights = tuple(
        tuple(_restore_part(each, take, f"{d}.{i}.") for i, each in enumerate(parts)) for d, parts in enumerate(nested)
    )
    for parts in weights:
        shapes = [part.shape for part in parts]
        if not _fit(kind, hidden, before, shapes) or shapes != [part.shape for part in weights[0]]:
            raise ValueError(f"weights must have the shapes of a {kind} of {hidden} units; got {shapes}")
    return TYPES[kind](weights, hidden, points, options)


def _lists(value: Any, kind: type) -> bool:
    """A list of lists of that."""
    return type(value) is list and all(
        type(part) is list and all(type(each) is kind for each in part) for part in value
    )


def _restore_part(about: dict[str, Any], take: Take, prefix: str) -> PackedLinear:
    part = restore_linear(about, lambda role, code, shape: take(prefix + role, code, shape))
    special = part.rotate or part.outliers or part.x_granularity != "per_token" or part.x_bits != 8
    if part.scheme != "int8_per_channel" or special:
        raise ValueError(f"weights must be int8_per_channel, for activations per_token; got {part!r}")
    return part


def _fit(kind: str, hidden: int, before: bool, shapes: list[tuple[int, int]]) -> bool:
    """Whether a direction's weights fit each other: those that pack.py makes."""
    if len(shapes) < 2:
        return False
    rows, inputs, state = padded(hidden), shapes[0][1], shapes[1][1]
    if kind == "gru" and not before:
        return shapes == [(3 * rows, inputs), (2 * rows, hidden), (rows, hidden)]
    gates = len(ORDERS[kind]["onnx"]) * rows
    plain = [(gates, inputs), (gates, hidden)]
    projected = [(gates, inputs), (gates, state), (padded(state), hidden)]
    return shapes == plain or (kind == "lstm" and shapes == projected)
