"""pack_lstm, pack_gru, pack_rnn: quantize and pack the weights of a recurrent layer, once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arguments import checks, deprecated
from ...arguments.literals import Direction, Layout
from ..linear.pack import pack_linear
from ..linear.packed import PackedLinear
from .arrange import ORDERS, gru_of, lstm_of, rnn_of
from .options import switch
from .packed import PackedGRU, PackedLSTM, PackedRNN


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
    order = ORDERS["lstm"][_layout(layout)]
    return PackedLSTM(*lstm_of(
        _int8, W, R, B, order, peepholes, projection, direction, activations, activation_alpha, activation_beta, clip,
        input_forget,
    ))  # fmt: skip


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
    before = order_of == "torch" or given
    return PackedGRU(*gru_of(
        _int8, W, R, B, ORDERS["gru"][order_of], before, direction, activations, activation_alpha, activation_beta, clip
    ))  # fmt: skip


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
    return PackedRNN(*rnn_of(_int8, W, R, B, direction, activations, activation_alpha, activation_beta, clip))


def _int8(weight: np.ndarray, bias: np.ndarray | None) -> PackedLinear:
    return pack_linear(weight, bias, granularity="per_channel")
