"""Dynamic quantization for CPUs on plain numpy arrays, compiled by numba: int8 and int4 linear, convolution, recurrent
and embedding layers, and the float operators that a whole model needs beside them.

    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> weight = np.random.default_rng(0).normal(size=(256, 512)).astype(np.float32)
    >>> w = dq.pack_linear(weight)                          # once: float32 -> int8, a quarter of the bytes
    >>> x = np.ones((3, 512), np.float32)
    >>> y = dq.linear(x, w, activation="gelu")              # any time: quantize, multiply, finish in one pass
    >>> y.shape, y.dtype
    ((3, 256), dtype('float32'))

These names work inside a user's own ``numba.njit`` functions:

    attention, conv, dequantize, embedding, embedding_bag, gelu, gru, gru_cell, layer_norm, linear, linear_many,
    lstm, lstm_cell, matmul, matmul_integer, quantize, rms_norm, rnn, rnn_cell, rotary, silu, softmax, swiglu.

The others make, hold or set something, outside of compiled code.
"""

from __future__ import annotations

from pathlib import Path as _Path

if not _Path(__file__).exists():
    raise ImportError(f"dynq_numba cannot run from an archive, {_Path(__file__).parent}: install it (pip install FILE)")
if not (_Path(__file__).parent / "kernels").exists():  # a checkout, where `kernels` stands beside this folder
    __path__.append(str(_Path(__file__).parent.parent))

from . import jitted as jitted  # these register the functions below with numba
from . import jitted_attention as jitted_attention
from . import jitted_convolution as jitted_convolution
from . import jitted_elementwise as jitted_elementwise
from . import jitted_embedding as jitted_embedding
from . import jitted_floats as jitted_floats
from . import jitted_integers as jitted_integers
from . import jitted_matmul as jitted_matmul
from . import jitted_projections as jitted_projections
from . import jitted_recurrent as jitted_recurrent
from . import step as step
from .attention import attention
from .chain import Chain
from .convolution import conv
from .elementwise import gelu, silu, swiglu
from .embeddings import embedding, embedding_bag
from .floats import layer_norm, rms_norm, softmax
from .kv_cache import KVCache
from .matmul import matmul
from .ops import linear
from .pack_recurrent import pack_gru, pack_lstm, pack_rnn
from .packed import PackedLinear
from .packed_convolution import PackedConv, pack_conv
from .packed_embedding import PackedEmbedding, pack_embedding
from .packed_recurrent import PackedGRU, PackedLSTM, PackedRNN
from .packing import pack_linear
from .projections import linear_many
from .quantization import Quantized, dequantize, matmul_integer, quantize
from .recurrent import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell
from .rotary import rotary, rotary_tables
from .runtime.isa import available_isas, current_isa, force_isa
from .runtime.threads import get_num_threads, set_num_threads
from .saving import load, save
from .schemes import choose_scheme
from .smoothing import Smoothed, smooth
from .warmup import warmup

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "KVCache",
    "PackedConv",
    "PackedEmbedding",
    "PackedGRU",
    "PackedLSTM",
    "PackedLinear",
    "PackedRNN",
    "Quantized",
    "Smoothed",
    "attention",
    "available_isas",
    "choose_scheme",
    "conv",
    "current_isa",
    "dequantize",
    "embedding",
    "embedding_bag",
    "force_isa",
    "gelu",
    "get_num_threads",
    "gru",
    "gru_cell",
    "layer_norm",
    "linear",
    "linear_many",
    "load",
    "lstm",
    "lstm_cell",
    "matmul",
    "matmul_integer",
    "pack_conv",
    "pack_embedding",
    "pack_gru",
    "pack_linear",
    "pack_lstm",
    "pack_rnn",
    "quantize",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rotary",
    "rotary_tables",
    "save",
    "set_num_threads",
    "silu",
    "smooth",
    "softmax",
    "step",
    "swiglu",
    "warmup",
]
