"""The weights of a recurrent layer in the order of our kernels, checked, and packed by a function of their matrices.

Each gives what a PackedRecurrent is made from: (weights of each direction, units, peepholes, options).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arguments import checks
from ...kernels.recurrent.context import LANES, padded
from ..linear.packed import PackedLinear
from .floats import FloatWeight
from .options import layer_options, switch
from .packed import Options, PackedGRU, PackedLSTM, PackedRecurrent, PackedRNN

#: Where each gate of the kernels' order (i o f c; z r h) stands in a layout.
ORDERS: dict[str, dict[str, tuple[int, ...]]] = {
    "lstm": {"onnx": (0, 1, 2, 3), "torch": (0, 3, 1, 2)},
    "gru": {"onnx": (0, 1, 2), "torch": (1, 0, 2)},
    "rnn": {"onnx": (0,), "torch": (0,)},
}
#: (float32 [N, K], bias [N] or None) -> a packed weight
Pack = Callable[[np.ndarray, "np.ndarray | None"], Any]
Parts = tuple[tuple[tuple[Any, ...], ...], int, "tuple[np.ndarray, ...] | None", Options]


def lstm_of(
    pack: Pack, W: Any, R: Any, B: Any, order: tuple[int, ...], peepholes: Any, projection: Any, direction: Any,
    activations: Any, activation_alpha: Any, activation_beta: Any, clip: Any, input_forget: Any,
) -> Parts:  # fmt: skip
    """Of pack_lstm's arguments, whose gates i o f c are where `order` says."""
    if projection is not None:
        projection = _directed("projection", projection, 2)
    w, r, b, hidden = _weights("lstm", W, R, B, None if projection is None else projection.shape[1])
    count = len(w)
    if projection is not None and projection.shape != (count, r.shape[2], hidden):
        raise ValueError(f"projection must have shape ({count}, {r.shape[2]}, {hidden}); got {projection.shape}")
    if peepholes is not None:
        peepholes = _directed("peepholes", peepholes, 1)
        if peepholes.shape != (count, 3 * hidden):
            raise ValueError(f"peepholes must have shape ({count}, {3 * hidden}); got {peepholes.shape}")
        peepholes = np.array(peepholes).reshape(count, 3, hidden)
    coupled = switch("input_forget", input_forget)
    options = layer_options("lstm", count, direction, activations, activation_alpha, activation_beta, clip, coupled)
    weights = []
    for d in range(count):
        bias = None if b is None else b[d, 0] + b[d, 1]
        parts = [_arranged(pack, w[d], bias, order, hidden), _arranged(pack, r[d], None, order, hidden)]
        if projection is not None:
            parts.append(_arranged(pack, projection[d], None, (0,), r.shape[2]))
        weights.append(tuple(parts))
    return tuple(weights), hidden, None if peepholes is None else tuple(peepholes), options


def gru_of(
    pack: Pack, W: Any, R: Any, B: Any, order: tuple[int, ...], before: bool, direction: Any, activations: Any,
    activation_alpha: Any, activation_beta: Any, clip: Any,
) -> Parts:  # fmt: skip
    """Of pack_gru's arguments, whose gates z r h are where `order` says; `before`: linear_before_reset."""
    w, r, b, hidden = _weights("gru", W, R, B, None)
    options = layer_options(
        "gru", len(w), direction, activations, activation_alpha, activation_beta, clip, before=before
    )
    weights = []
    for d in range(len(w)):
        first = inner = None
        if b is not None:
            gates = b[d].reshape(2, 3, hidden)
            outer = gates[0] + gates[1]
            if before:
                outer[2] = gates[0, 2]  # the recurrent bias of h is multiplied by r, so it belongs to that product
                inner = np.concatenate([np.zeros(2 * hidden, np.float32), gates[1, 2]])
            first = outer.reshape(-1)
        parts = [_arranged(pack, w[d], first, order, hidden)]
        if not before:
            parts += [_arranged(pack, r[d], None, order[:2], hidden), _arranged(pack, r[d], None, order[2:], hidden)]
        else:
            parts.append(_arranged(pack, r[d], inner, order, hidden))
        weights.append(tuple(parts))
    return tuple(weights), hidden, None, options


def rnn_of(
    pack: Pack, W: Any, R: Any, B: Any, direction: Any, activations: Any, activation_alpha: Any, activation_beta: Any,
    clip: Any,
) -> Parts:  # fmt: skip
    """Of pack_rnn's arguments."""
    w, r, b, hidden = _weights("rnn", W, R, B, None)
    options = layer_options("rnn", len(w), direction, activations, activation_alpha, activation_beta, clip)
    weights = []
    for d in range(len(w)):
        bias = None if b is None else b[d, 0] + b[d, 1]
        weights.append((_arranged(pack, w[d], bias, (0,), hidden), _arranged(pack, r[d], None, (0,), hidden)))
    return tuple(weights), hidden, None, options


def layer_of(
    kind: str, pack: Pack, W: Any, R: Any, B: Any = None, *, peepholes: Any = None, projection: Any = None,
    direction: Any = None, activations: Any = None, activation_alpha: Any = None, activation_beta: Any = None,
    clip: Any = None, input_forget: Any = False, linear_before_reset: Any = False,
) -> PackedRecurrent:  # fmt: skip
    """A layer of weights in ONNX's order; further arguments and errors are those of pack_lstm and so on."""
    order, options = ORDERS[kind]["onnx"], (direction, activations, activation_alpha, activation_beta, clip)
    if kind == "lstm":
        return PackedLSTM(*lstm_of(pack, W, R, B, order, peepholes, projection, *options, input_forget))
    if kind == "gru":
        before = switch("linear_before_reset", linear_before_reset)
        return PackedGRU(*gru_of(pack, W, R, B, order, before, *options))
    return PackedRNN(*rnn_of(pack, W, R, B, *options))


def float_layer(kind: str, W: Any, R: Any, B: Any = None, **options: Any) -> PackedRecurrent:
    """A layer whose weights stay float32."""
    return layer_of(kind, FloatWeight, W, R, B, **options)


def integer_layer(
    kind: str, W: np.ndarray, W_scale: np.ndarray, R: np.ndarray, R_scale: np.ndarray, B: Any = None, **options: Any
) -> PackedRecurrent:
    """A layer of integers [D, N, K] within ±127, each row with a scale [D, N]: nothing is rounded."""
    scales: list[np.ndarray] = []

    def scale_of(weight: np.ndarray, bias: np.ndarray | None) -> FloatWeight:
        scales.append(np.where(weight[:, :1] == 0, np.float32(1), weight[:, :1]))  # of rows of padding it is 0
        return FloatWeight(weight, bias)

    def packed(weight: np.ndarray, bias: np.ndarray | None) -> PackedLinear:
        return PackedLinear(weight.astype(np.int8), scales.pop(0), bias, 8, "per_channel", None, "per_token")

    given = [np.broadcast_to(scale[..., None], q.shape) for q, scale in ((W, W_scale), (R, R_scale))]
    layer_of(kind, scale_of, *given, **options)  # the order of gates is that of the integers
    return layer_of(kind, packed, W.astype(np.float32), R.astype(np.float32), B, **options)


def _directed(name: str, value: Any, ndim: int) -> np.ndarray:
    """Finite float32 with an axis of 1 or 2 directions first."""
    array = checks.float_array(name, value)
    if array.ndim == ndim:
        array = array[None]
    if array.ndim != ndim + 1 or array.shape[0] not in (1, 2):
        raise ValueError(f"{name} must have {ndim} dimensions, or 1 or 2 directions before them; got {value.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; it has NaN or infinite values")
    return array


def _weights(
    kind: str, w: Any, r: Any, b: Any, state: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, int]:
    """W [D, G·H, I], R [D, G·H, P], B [D, 2, G·H] and H."""
    gates = len(ORDERS[kind]["onnx"])
    w, r = _directed("W", w, 2), _directed("R", r, 2)
    count, rows, _ = w.shape
    hidden = rows // gates
    if rows % gates or not hidden:
        raise ValueError(f"W must have {gates} gates of H ≥ 1 rows; got {w.shape}")
    expected = (count, rows, hidden if state is None else state)
    if r.shape != expected:
        raise ValueError(f"R must have shape {expected} to go with W {w.shape}; got {r.shape}")
    if b is not None:
        b = _directed("B", b, 1)
        if b.shape != (count, 2 * rows):
            raise ValueError(f"B must have shape ({count}, {2 * rows}): input and recurrent biases; got {b.shape}")
        b = b.reshape(count, 2, rows)
    return w, r, b, hidden


def _arranged(pack: Pack, weight: np.ndarray, bias: np.ndarray | None, order: tuple[int, ...], units: int) -> Any:
    """The gates of `order`, as blocks of LANES units with all their gates (kernels/recurrent/context.py)."""

    def arranged(array: np.ndarray) -> np.ndarray:
        whole = np.zeros((len(order), padded(units), *array.shape[1:]), np.float32)
        whole[:, :units] = array.reshape(len(array) // units, units, *array.shape[1:])[list(order)]
        blocks = whole.reshape(len(order), padded(units) // LANES, LANES, *array.shape[1:]).swapaxes(0, 1)
        return np.ascontiguousarray(blocks).reshape(len(order) * padded(units), *array.shape[1:])

    return pack(arranged(weight), None if bias is None else arranged(bias))
