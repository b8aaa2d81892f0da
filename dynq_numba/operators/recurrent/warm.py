"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import gru, lstm, rnn
from .pack import pack_gru, pack_lstm, pack_rnn


def warm() -> Warm:
    steps, wide = np.ones((1, 1, 2), np.float32), np.ones((4, 2), np.float32)
    yield "lstm, gru, rnn", lambda: [
        lstm(steps, pack_lstm(np.tile(wide, (2, 1)), np.tile(wide, (2, 1)), layout="onnx")),
        rnn(steps, pack_rnn(wide[:2], wide[:2])),
        *(gru(steps, pack_gru(*[np.ones((6, 2))] * 2, linear_before_reset=b, layout="onnx")) for b in (False, True)),
    ]  # fmt: skip
