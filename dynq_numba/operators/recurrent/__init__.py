"""LSTM, GRU and RNN layers and cells."""

from __future__ import annotations

from ...kernels.recurrent.floats import float_product
from ...kernels.recurrent.worker import recurrent_worker
from ...runtime.kernel_table import Family
from ..base import Operator, SavedForm, named
from . import njit
from .api import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell
from .pack import pack_gru, pack_lstm, pack_rnn
from .packed import PackedGRU, PackedLSTM, PackedRNN
from .saved import TYPES, describe_recurrent, restore_recurrent
from .warm import warm

OPERATOR = Operator(
    "recurrent",
    title="Recurrent layers",
    about="ONNX's and PyTorch's forms, whole sequences and single steps",
    public=named(
        pack_lstm, pack_gru, pack_rnn, PackedLSTM, PackedGRU, PackedRNN, lstm, gru, rnn, lstm_cell, gru_cell, rnn_cell
    ),
    # One time loop for all kinds and sets, which calls the set's `linear` or `sgemm`, and the layer's cells.
    kernels=(
        *(
            Family(kind, f"qd8_f32_qc8w_{kind}", lambda isa, scheme: recurrent_worker, weights="int8, per channel")
            for kind in TYPES
        ),
        Family("recurrent_floats", "f32_recurrent", lambda isa, scheme: float_product, weights="float32"),
    ),
    overloads=njit.OVERLOADS,
    types=(njit.PackedRecurrentType,),
    saved={kind: SavedForm(packed, describe_recurrent, restore_recurrent) for kind, packed in TYPES.items()},
    warm=warm,
    uses=("linear", "sgemm"),
)
