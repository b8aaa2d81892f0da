"""lstm, gru, rnn and their single steps on numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .layers import run_layers, run_step
from .packed import PackedGRU, PackedLSTM, PackedRNN


def lstm(
    x: np.ndarray,
    packed: PackedLSTM | Sequence[PackedLSTM],
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    lengths: np.ndarray | Sequence[int] | None = None,
    *,
    batch_first: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run an LSTM over whole sequences: products in exact 8-bit integers, cell state and gates in float32.

    The input product of all steps is one `linear`. Then h is quantized, row by row, in every step. So a row's result
    has the same bits in any batch, on every instruction set and for every number of threads.

    Parameters
    ----------
    x : array [T, B, I] of floats, or [T, I] for one sequence
        Any strides and any of float16, float32, float64, bfloat16.
    packed : PackedLSTM, or a sequence of them
        From `pack_lstm`; several are stacked: each takes the output of the one before.
    h0 : array [D, B, P] of floats, optional
        Initial state of each direction (for stacked layers, of all layers one after the other: [L·D, B, P]); without B
        for one sequence. Zeros by default.
    c0 : array [D, B, H] of floats, optional
        Initial cell state, as h0.
    lengths : integers [B], optional
        How many steps each sequence has, 0 … T. After them x is never read (it may be NaN) and y is 0. The reverse
        direction begins at the last step of each sequence.
    batch_first : bool
        x is [B, T, I], and y [B, T, D·P] (a view, not contiguous).
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    y : float32 array [T, B, D·P]
        h of every step, the directions side by side. ONNX's Y is ``y.reshape(T, B, D, P).swapaxes(1, 2)``.
    h : float32 array [D, B, P]
        The final states, each at the end of its sequence.
    c : float32 array [D, B, H]

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is computed.
    MemoryError
        If there is too little memory for gates or results.

    Notes
    -----
    NaN or an infinity in x makes the rest of that sequence NaN, and no other sequence.

    Error of one step, without float32 rounding: if x·Wᵀ and h·Rᵀ together are off by δ (the bounds of `linear`),
    |Δc| ≤ (|c| + 5)·δ / 4 and |Δh| ≤ (|c| + 6)·δ / 4, with the usual activations, c the state before, no peepholes
    and no projection. h is in (-1, 1), so errors do not grow just because T grows.

    Measured, relative norm to float32 (``python -m bench recurrent_accuracy``): the trained BiLSTM of ddddocr on
    rendered text 1.0 % (ONNX Runtime's int8: 1.4 %), the GRUs of ``examples/g2p.py`` 0.7 %, silero-vad's LSTM on
    20 s of synthetic speech 1.7 % (1.8 %); there, rounding R to 8 bits alone (0.8 % of R) gives 1.8 %.

    Sources: ONNX LSTM-14, PyTorch's LSTM; formulas in kernels/recurrent/cells.py.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> rng = np.random.default_rng(0)
    >>> layer = dq.pack_lstm(rng.normal(size=(4 * 8, 3)), rng.normal(size=(4 * 8, 8)), layout="onnx")
    >>> y, h, c = dq.lstm(rng.normal(size=(5, 2, 3)), layer, lengths=[5, 4])
    >>> y.shape, h.shape, c.shape, bool((y[3, 1] == h[0, 1]).all()), float(y[4, 1].max())
    ((5, 2, 8), (1, 2, 8), (1, 2, 8), True, 0.0)
    """
    y, h, c = run_layers(PackedLSTM, x, packed, h0, c0, lengths, batch_first, threads)
    return y, h, c


def gru(
    x: np.ndarray,
    packed: PackedGRU | Sequence[PackedGRU],
    h0: np.ndarray | None = None,
    lengths: np.ndarray | Sequence[int] | None = None,
    *,
    batch_first: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run a GRU over whole sequences: products in exact 8-bit integers, states and gates in float32.

    A row's result has the same bits in any batch, as in `lstm`.

    Parameters
    ----------
    x : array [T, B, I] of floats, or [T, I] for one sequence
        Any strides and any of float16, float32, float64, bfloat16.
    packed : PackedGRU, or a sequence of them
        From `pack_gru`; several are stacked: each takes the output of the one before.
    h0 : array [D, B, H] of floats, optional
        Initial state of each direction; stacked [L·D, B, H]; without B for one sequence. Zeros by default.
    lengths : integers [B], optional
        How many steps each sequence has, 0 … T. After them x is never read and y is 0.
    batch_first : bool
        x is [B, T, I], and y [B, T, D·H] (a view, not contiguous).
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    y : float32 array [T, B, D·H]
        h of every step, the directions side by side.
    h : float32 array [D, B, H]
        The final states, each at the end of its sequence.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is computed.
    MemoryError
        If there is too little memory for gates or results.

    Notes
    -----
    NaN or an infinity in x makes the rest of that sequence NaN, and no other sequence.

    Error of one step, without float32 rounding: if x·Wᵀ and h·Rᵀ together are off by δ (the bounds of `linear`),
    |Δh| ≤ (5 + |h| + |h·Rᵀ + b|)·δ / 4 with the usual activations and ``linear_before_reset``, h the state before and
    h·Rᵀ + b the h gate's part of it. Without it, r·h is off by |h|·δ / 4 before it is multiplied with R.

    Source: ONNX GRU-14, PyTorch's GRU; formulas in kernels/recurrent/cells.py.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> rng = np.random.default_rng(0)
    >>> layer = dq.pack_gru(rng.normal(size=(2, 3 * 8, 3)), rng.normal(size=(2, 3 * 8, 8)), layout="onnx")
    >>> y, h = dq.gru(rng.normal(size=(5, 3)), layer)
    >>> y.shape, h.shape
    ((5, 16), (2, 8))
    """
    y, h, _ = run_layers(PackedGRU, x, packed, h0, None, lengths, batch_first, threads)
    return y, h


def rnn(
    x: np.ndarray,
    packed: PackedRNN | Sequence[PackedRNN],
    h0: np.ndarray | None = None,
    lengths: np.ndarray | Sequence[int] | None = None,
    *,
    batch_first: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run a plain recurrent layer over whole sequences: products in exact 8-bit integers, states in float32.

    A row's result has the same bits in any batch, as in `lstm`.

    Parameters
    ----------
    x : array [T, B, I] of floats, or [T, I] for one sequence
        Any strides and any of float16, float32, float64, bfloat16.
    packed : PackedRNN, or a sequence of them
        From `pack_rnn`; several are stacked: each takes the output of the one before.
    h0 : array [D, B, H] of floats, optional
        Initial state of each direction; stacked [L·D, B, H]; without B for one sequence. Zeros by default.
    lengths : integers [B], optional
        How many steps each sequence has, 0 … T. After them x is never read and y is 0.
    batch_first : bool
        x is [B, T, I], and y [B, T, D·H] (a view, not contiguous).
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    y : float32 array [T, B, D·H]
        h of every step, the directions side by side.
    h : float32 array [D, B, H]
        The final states, each at the end of its sequence.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is computed.
    MemoryError
        If there is too little memory for gates or results.

    Notes
    -----
    NaN or an infinity in x makes the rest of that sequence NaN, and no other sequence.

    Error of one step, without float32 rounding: if x·Wᵀ and h·Rᵀ together are off by δ (the bounds of `linear`), |Δh| ≤
    δ with an activation whose slope is at most 1, as those of tanh, Relu and sigmoid.

    Source: ONNX RNN-14, PyTorch's RNN.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> layer = dq.pack_rnn(np.eye(4, 2), np.zeros((4, 4)), activations=["Relu"])
    >>> dq.rnn(np.array([[1.0, 2.0], [3.0, -4.0]]), layer)[0].round(1)
    array([[1., 2., 0., 0.],
           [3., 0., 0., 0.]], dtype=float32)
    """
    y, h, _ = run_layers(PackedRNN, x, packed, h0, None, lengths, batch_first, threads)
    return y, h


def lstm_cell(
    x: np.ndarray, packed: PackedLSTM, h: np.ndarray | None = None, c: np.ndarray | None = None,
    *, threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """One step of a layer in one direction, for streaming: the same bits as that step of `lstm`.

    Parameters
    ----------
    x : array [B, I] of floats, or [I]
        One step of each sequence, or of one sequence.
    packed : PackedLSTM
        From `pack_lstm`, of one direction.
    h : array [B, P] or [P] of floats, optional
        The state before; zeros by default.
    c : array [B, H] or [H] of floats, optional
        The cell state before; zeros by default.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    h, c : float32 arrays [B, P] and [B, H], or without B where x has none
        The states after, new arrays.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Also raised when `packed` has two directions.
    MemoryError
        If there is too little memory for gates or results.

    Notes
    -----
    The bound is that of one step of `lstm`. Source: ONNX LSTM-14, PyTorch's LSTMCell.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> layer = dq.pack_lstm(np.ones((4 * 8, 3)), np.ones((4 * 8, 8)), layout="onnx")
    >>> h = c = None
    >>> for x in np.eye(3):
    ...     h, c = dq.lstm_cell(x, layer, h, c)
    >>> h.shape
    (8,)
    """
    return run_step(PackedLSTM, x, packed, h, c, threads)


def gru_cell(
    x: np.ndarray, packed: PackedGRU, h: np.ndarray | None = None, *, threads: int | None = None
) -> np.ndarray:
    """One step of a GRU in one direction, for streaming: the same bits as that step of `gru`.

    Parameters
    ----------
    x : array [B, I] of floats, or [I]
        One step of each sequence, or of one sequence.
    packed : PackedGRU
        From `pack_gru`, of one direction.
    h : array [B, H] or [H] of floats, optional
        The state before; zeros by default.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    float32 array [B, H], or [H] where x has no B
        The state after, a new array.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Also raised when `packed` has two directions.
    MemoryError
        If there is too little memory for gates or results.

    Notes
    -----
    The bound is that of one step of `gru`. Source: ONNX GRU-14, PyTorch's GRUCell.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> layer = dq.pack_gru(np.ones((3 * 8, 3)), np.ones((3 * 8, 8)), layout="onnx")
    >>> dq.gru_cell(np.ones((2, 3)), layer).shape
    (2, 8)
    """
    return run_step(PackedGRU, x, packed, h, None, threads)[0]


def rnn_cell(
    x: np.ndarray, packed: PackedRNN, h: np.ndarray | None = None, *, threads: int | None = None
) -> np.ndarray:
    """One step of a plain recurrent layer in one direction, for streaming: the same bits as that step of `rnn`.

    Parameters
    ----------
    x : array [B, I] of floats, or [I]
        One step of each sequence, or of one sequence.
    packed : PackedRNN
        From `pack_rnn`, of one direction.
    h : array [B, H] or [H] of floats, optional
        The state before; zeros by default.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    float32 array [B, H], or [H] where x has no B
        The state after, a new array.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Also raised when `packed` has two directions.
    MemoryError
        If there is too little memory for gates or results.

    Notes
    -----
    The bound is that of one step of `rnn`. Source: ONNX RNN-14, PyTorch's RNNCell.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> dq.rnn_cell(np.ones(3), dq.pack_rnn(np.ones((8, 3)), np.ones((8, 8)))).shape
    (8,)
    """
    return run_step(PackedRNN, x, packed, h, None, threads)[0]
