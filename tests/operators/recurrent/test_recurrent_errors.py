"""Every wrong argument of the recurrent functions is named before anything is computed."""

import numpy as np
import pytest

import dynq_numba as dq

W, R, B = np.ones((16, 3)), np.ones((16, 4)), np.ones(32)
LAYER = dq.pack_lstm(W, R, B, layout="onnx")
BOTH = dq.pack_lstm(np.ones((2, 16, 3)), np.ones((2, 16, 4)), layout="onnx")
FIVE = dq.pack_lstm(np.ones((20, 4)), np.ones((20, 5)), layout="onnx")
X = np.ones((5, 2, 3))

PACK = [
    (TypeError, "W", lambda: dq.pack_lstm(W.tolist(), R, layout="onnx")),
    (TypeError, "W", lambda: dq.pack_lstm(W.astype(int), R, layout="onnx")),
    (ValueError, "W", lambda: dq.pack_lstm(W[:15], R, layout="onnx")),
    (ValueError, "W", lambda: dq.pack_lstm(np.ones((3, 16, 3)), R, layout="onnx")),
    (ValueError, "W", lambda: dq.pack_gru(np.ones((0, 3)), np.ones((0, 0)), layout="onnx")),
    (ValueError, "W", lambda: dq.pack_lstm(np.full_like(W, np.nan), R, layout="onnx")),
    (ValueError, "R", lambda: dq.pack_lstm(W, R[:, :3], layout="onnx")),
    (ValueError, "R", lambda: dq.pack_lstm(W, np.ones((2, 16, 4)), layout="onnx")),
    (ValueError, "B", lambda: dq.pack_lstm(W, R, B[:16], layout="onnx")),
    (TypeError, "B", lambda: dq.pack_lstm(W, R, "B", layout="onnx")),
    (ValueError, "peepholes", lambda: dq.pack_lstm(W, R, B, peepholes=np.ones(11), layout="onnx")),
    (ValueError, "projection", lambda: dq.pack_lstm(W, np.ones((16, 2)), projection=np.ones((2, 5)), layout="onnx")),
    (ValueError, "R", lambda: dq.pack_lstm(W, R, projection=np.ones((2, 4)), layout="onnx")),
    (ValueError, "layout", lambda: dq.pack_lstm(W, R, layout="keras")),
    (ValueError, "direction", lambda: dq.pack_lstm(W, R, direction="bidirectional", layout="onnx")),
    (ValueError, "direction", lambda: dq.pack_rnn(np.ones((2, 4, 3)), np.ones((2, 4, 4)), direction="reverse")),
    (ValueError, "direction", lambda: dq.pack_lstm(W, R, direction=1, layout="onnx")),
    (ValueError, "activations", lambda: dq.pack_lstm(W, R, activations=["Sigmoid", "Tanh"], layout="onnx")),
    (ValueError, "activations", lambda: dq.pack_lstm(W, R, activations=["Sigmoid", "Tanh", "Gelu"], layout="onnx")),
    (TypeError, "activations", lambda: dq.pack_lstm(W, R, activations="Tanh", layout="onnx")),
    (ValueError, "activation_alpha", lambda: dq.pack_lstm(W, R, activation_alpha=[1.0], layout="onnx")),
    (TypeError, "activation_beta", lambda: dq.pack_lstm(W, R, activation_beta=1.0, layout="onnx")),
    (ValueError, "clip", lambda: dq.pack_lstm(W, R, clip=0, layout="onnx")),
    (ValueError, "clip", lambda: dq.pack_lstm(W, R, clip=np.inf, layout="onnx")),
    (TypeError, "clip", lambda: dq.pack_lstm(W, R, clip="1", layout="onnx")),
    (TypeError, "input_forget", lambda: dq.pack_lstm(W, R, input_forget=2, layout="onnx")),
    (ValueError, "linear_before_reset", lambda: dq.pack_gru(
        np.ones((12, 3)), np.ones((12, 4)), layout="torch", linear_before_reset=False)),
    (TypeError, "linear_before_reset", lambda: dq.pack_gru(
        np.ones((12, 3)), np.ones((12, 4)), linear_before_reset="yes", layout="onnx")),
]  # fmt: skip

RUN = [
    (TypeError, "x", lambda: dq.lstm(X.tolist(), LAYER)),
    (ValueError, "x", lambda: dq.lstm(X[:, :, :2], LAYER)),
    (ValueError, "x", lambda: dq.lstm(X[None], LAYER)),
    (TypeError, "packed", lambda: dq.lstm(X, None)),
    (TypeError, "packed", lambda: dq.gru(X, LAYER)),
    (TypeError, "packed", lambda: dq.lstm(X, [])),
    (TypeError, "packed", lambda: dq.lstm(X, [LAYER, None])),
    (ValueError, "packed", lambda: dq.lstm(X, [LAYER, LAYER])),
    (ValueError, "packed", lambda: dq.lstm(X, [LAYER, FIVE])),
    (ValueError, "h0", lambda: dq.lstm(X, LAYER, np.ones((1, 2, 3)))),
    (ValueError, "c0", lambda: dq.lstm(X, LAYER, None, np.ones((2, 2, 4)))),
    (TypeError, "c0", lambda: dq.lstm(X, LAYER, None, [0])),
    (TypeError, "lengths", lambda: dq.lstm(X, LAYER, lengths=[1.0, 2.0])),
    (ValueError, "lengths", lambda: dq.lstm(X, LAYER, lengths=[1, 2, 3])),
    (ValueError, "lengths", lambda: dq.lstm(X, LAYER, lengths=[1, 6])),
    (ValueError, "lengths", lambda: dq.lstm(X, LAYER, lengths=[-1, 2])),
    (ValueError, "threads", lambda: dq.lstm(X, LAYER, threads=0)),
    (TypeError, "threads", lambda: dq.lstm(X, LAYER, threads=1.5)),
    (TypeError, "packed", lambda: dq.lstm_cell(X[0], [LAYER])),
    (ValueError, "packed", lambda: dq.lstm_cell(X[0], BOTH)),
    (ValueError, "x", lambda: dq.lstm_cell(X, LAYER)),
    (ValueError, "h", lambda: dq.lstm_cell(X[0], LAYER, np.ones(4))),
    (ValueError, "c", lambda: dq.lstm_cell(X[0, 0], LAYER, np.ones(4), np.ones((1, 4)))),
]


@pytest.mark.parametrize(("error", "argument", "call"), PACK + RUN)
def test_the_message_names_the_argument(error, argument, call):
    with pytest.raises(error, match=f"^{argument}\\b"):
        call()


def test_a_batch_whose_memory_there_is_not_is_an_error():
    """Strides of 0 make an x of 2^45 bytes; nothing is left half done."""
    x = np.broadcast_to(np.float32(1), (1 << 40, 2, 3))
    with pytest.raises((MemoryError, ValueError)):
        dq.lstm(x, LAYER)
    assert dq.lstm(X, LAYER)[0].shape == (5, 2, 4)
