"""pack_lstm, pack_gru, pack_rnn: quantize and pack the weights of a recurrent layer, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arguments import checks, deprecated
from ...arguments.literals import Direction, Layout
from ...kernels.recurrent.context import LANES, padded
from ..linear.pack import pack_linear
from ..linear.packed import PackedLinear
from .options import layer_options, switch
from .packed import PackedGRU, PackedLSTM, PackedRNN

#: Where each gate of the kernels' order (i o f c; z r h) stands in a layout.
ORDERS: dict[str, dict[str, tuple[int, ...]]] = {
    "lstm": {"onnx": (0, 1, 2, 3), "torch": (0, 3, 1, 2)},
    "gru": {"onnx": (0, 1, 2), "torch": (1, 0, 2)},
    "rnn": {"onnx": (0,), "torch": (0,)},
}


def _layout(layout: Layout | None) -> Layout:
    """The order of gates. A wrong one would not be noticed, because ONNX and PyTorch have the same shapes."""
    if layout is None:
        deprecated.warn("layout left out", 'say layout="torch" or layout="onnx"', level=4)
        return "onnx"
    checks.choice("layout", layout, ("onnx", "torch"))
    return layout


def pack_lstm(
    W: np.ndarray,
    R: np.ndarray,
    B: np.ndarray | None = None,
    *,
    peepholes: np.ndarray | None = None,
    projection: np.ndarray | None = None,
    layout: Layout | None = None,
    direction: Direction | None = None,
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    clip: float | None = None,
    input_forget: bool = False,
) -> PackedLSTM:
    """Quantize and pack an LSTM layer, in int8 per channel, for `lstm` and `lstm_cell`.

    Parameters
    ----------
    W : array [D, 4·H, I] of floats, or [4·H, I] for one direction
        Input weights of D directions; finite. PyTorch: ``weight_ih_l0`` (stacked with its ``_reverse``).
    R : array [D, 4·H, P] or [4·H, P]
        Recurrent weights; P is H, or the projection's rows. PyTorch: ``weight_hh_l0``.
    B : array [D, 8·H] or [8·H], optional
        Input and recurrent biases, one after the other; zeros by default. PyTorch: ``concatenate([bias_ih_l0,
        bias_hh_l0])``.
    peepholes : array [D, 3·H] or [3·H], optional
        ONNX P, in the order i o f.
    projection : array [D, P, H] or [P, H], optional
        PyTorch ``weight_hr_l0``: h = (o · tanh(c)) · projectionᵀ.
    layout : {"onnx", "torch"}
        Required from 0.3 on; until then "onnx" by default.
        The order of gates in W, R and B: i o f c, or i f g o.
    direction : {"forward", "reverse", "bidirectional"}, optional
        By default as D says: forward, or both.
    activations : sequence of 3 (or 3·D) names, optional
        f, g, h of each direction; sigmoid, tanh, tanh by default. Any of ONNX's: Relu, Tanh, Sigmoid, Affine,
        LeakyRelu, ThresholdedRelu, ScaledTanh, HardSigmoid, Elu, Softsign, Softplus, in any case.
    activation_alpha, activation_beta : sequences of floats, optional
        For those activations that have an alpha (a beta), in order; defaults as in ONNX.
    clip : float, optional
        Limits the inputs of the gates' activations to [-clip, clip].
    input_forget : bool
        Couple the gates: f = 1 - i.

    Returns
    -------
    PackedLSTM

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    Weights are those of `pack_linear` with ``granularity="per_channel"``: |w - q·scale| ≤ scale / 2. Source: ONNX
    LSTM-14; PyTorch's LSTM for projections.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> rng = np.random.default_rng(0)
    >>> W, R = rng.normal(size=(4 * 8, 3)), rng.normal(size=(4 * 8, 8))
    >>> dq.pack_lstm(W, R, layout="torch")
    PackedLSTM(3 -> 8, hidden 8, forward, sigmoid/tanh/tanh, int8_per_channel weights, ... bytes)
    """
    order_of = _layout(layout)
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
    order = ORDERS["lstm"][order_of]
    weights = []
    for d in range(count):
        bias = None if b is None else b[d, 0] + b[d, 1]
        parts = [_pack(w[d], bias, order, hidden), _pack(r[d], None, order, hidden)]
        if projection is not None:
            parts.append(_pack(projection[d], None, (0,), r.shape[2]))
        weights.append(tuple(parts))
    return PackedLSTM(tuple(weights), hidden, None if peepholes is None else tuple(peepholes), options)


def pack_gru(
    W: np.ndarray,
    R: np.ndarray,
    B: np.ndarray | None = None,
    *,
    layout: Layout | None = None,
    linear_before_reset: bool | None = None,
    direction: Direction | None = None,
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    clip: float | None = None,
) -> PackedGRU:
    """Quantize and pack a GRU layer, in int8 per channel, for `gru` and `gru_cell`.

    Parameters
    ----------
    W : array [D, 3·H, I] of floats, or [3·H, I] for one direction
        Input weights of D directions; finite. PyTorch: ``weight_ih_l0`` (stacked with its ``_reverse``).
    R : array [D, 3·H, H] or [3·H, H]
        Recurrent weights. PyTorch: ``weight_hh_l0``.
    B : array [D, 6·H] or [6·H], optional
        Input and recurrent biases, one after the other; zeros by default.
    layout : {"onnx", "torch"}
        Required from 0.3 on; until then "onnx" by default.
        The order of gates: z r h, or r z n.
    linear_before_reset : bool, optional
        Whether r multiplies h·Rᵀ (one product a step) or h (two). False by default, as in ONNX; "torch" is always True.
    direction, activation_alpha, activation_beta, clip
        As for `pack_lstm`.
    activations : sequence of 2 (or 2·D) names, optional
        f, g of each direction; sigmoid, tanh by default.

    Returns
    -------
    PackedGRU

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    Weights are those of `pack_linear` with ``granularity="per_channel"``: |w - q·scale| ≤ scale / 2.
    Source: ONNX GRU-14; PyTorch's GRU.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> rng = np.random.default_rng(0)
    >>> layer = dq.pack_gru(rng.normal(size=(2, 3 * 8, 3)), rng.normal(size=(2, 3 * 8, 8)), layout="torch")
    >>> layer.options.direction, layer.options.linear_before_reset
    ('bidirectional', True)
    """
    order_of = _layout(layout)
    if order_of == "torch" and linear_before_reset is not None and not linear_before_reset:
        raise ValueError('linear_before_reset must be True with layout="torch"; got False')
    given = linear_before_reset is not None and switch("linear_before_reset", linear_before_reset)
    after = order_of == "onnx" and not given
    w, r, b, hidden = _weights("gru", W, R, B, None)
    options = layer_options(
        "gru", len(w), direction, activations, activation_alpha, activation_beta, clip, before=not after
    )
    order = ORDERS["gru"][order_of]
    weights = []
    for d in range(len(w)):
        first = inner = None
        if b is not None:
            gates = b[d].reshape(2, 3, hidden)
            outer = gates[0] + gates[1]
            if not after:
                outer[2] = gates[0, 2]  # the recurrent bias of h is multiplied by r, so it belongs to that product
                inner = np.concatenate([np.zeros(2 * hidden, np.float32), gates[1, 2]])
            first = outer.reshape(-1)
        parts = [_pack(w[d], first, order, hidden)]
        if after:
            parts += [_pack(r[d], None, order[:2], hidden), _pack(r[d], None, order[2:], hidden)]
        else:
            parts.append(_pack(r[d], inner, order, hidden))
        weights.append(tuple(parts))
    return PackedGRU(tuple(weights), hidden, None, options)


def pack_rnn(
    W: np.ndarray,
    R: np.ndarray,
    B: np.ndarray | None = None,
    *,
    layout: Layout = "onnx",
    direction: Direction | None = None,
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    clip: float | None = None,
) -> PackedRNN:
    """Quantize and pack a plain recurrent layer, in int8 per channel, for `rnn` and `rnn_cell`.

    Parameters
    ----------
    W : array [D, H, I] of floats, or [H, I] for one direction
        Input weights of D directions; finite. PyTorch: ``weight_ih_l0`` (stacked with its ``_reverse``).
    R : array [D, H, H] or [H, H]
        Recurrent weights. PyTorch: ``weight_hh_l0``.
    B : array [D, 2·H] or [2·H], optional
        Input and recurrent biases, one after the other; zeros by default.
    layout : {"onnx", "torch"}
        Has no effect, because there is only one gate.
    direction, activation_alpha, activation_beta, clip
        As for `pack_lstm`.
    activations : sequence of 1 (or D) names, optional
        f of each direction; tanh by default.

    Returns
    -------
    PackedRNN

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    Weights are those of `pack_linear` with ``granularity="per_channel"``: |w - q·scale| ≤ scale / 2.
    Source: ONNX RNN-14; PyTorch's RNN.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> layer = dq.pack_rnn(np.eye(4, 2), np.eye(4), activations=["Relu"])
    >>> layer.input_size, layer.hidden_size
    (2, 4)
    """
    checks.choice("layout", layout, ("onnx", "torch"))
    w, r, b, hidden = _weights("rnn", W, R, B, None)
    options = layer_options("rnn", len(w), direction, activations, activation_alpha, activation_beta, clip)
    biases = [None] * len(w) if b is None else [pair[0] + pair[1] for pair in b]
    weights = tuple(
        (_pack(w[d], biases[d], (0,), hidden), _pack(r[d], None, (0,), hidden)) for d in range(len(w))
    )
    return PackedRNN(weights, hidden, None, options)


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


def _pack(weight: np.ndarray, bias: np.ndarray | None, order: tuple[int, ...], units: int) -> PackedLinear:
    """The gates of `order`, as blocks of LANES units with all their gates (kernels/recurrent/context.py)."""

    def arranged(array: np.ndarray) -> np.ndarray:
        whole = np.zeros((len(order), padded(units), *array.shape[1:]), np.float32)
        whole[:, :units] = array.reshape(len(array) // units, units, *array.shape[1:])[list(order)]
        blocks = whole.reshape(len(order), padded(units) // LANES, LANES, *array.shape[1:]).swapaxes(0, 1)
        return np.ascontiguousarray(blocks).reshape(len(order) * padded(units), *array.shape[1:])

    return pack_linear(arranged(weight), None if bias is None else arranged(bias), granularity="per_channel")
