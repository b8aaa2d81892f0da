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

    attention, conv, dequantize, embedding, embedding_bag, gelu, gru, gru_cell, layer_norm, linear, linear_many, lstm,
    lstm_cell, matmul, matmul_integer, quantize, quantized_matmul, rms_norm, rnn, rnn_cell, rotary, silu, softmax,
    swiglu.

The others make, hold or set something, outside of compiled code.
"""

from __future__ import annotations

import importlib as _importlib
import typing as _typing
from pathlib import Path as _Path

if not _Path(__file__).exists():
    raise ImportError(f"dynq_numba cannot run from an archive, {_Path(__file__).parent}: install it (pip install FILE)")
if not (_Path(__file__).parent / "kernels").exists():  # a checkout, where `kernels` stands beside this folder
    __path__.append(str(_Path(__file__).parent.parent))

from .inspection import inspect
from .moved import register_old_names as _register_old_names
from .operators.attention.api import attention
from .operators.attention.kv_cache import KVCache
from .operators.chain import step as step
from .operators.chain.api import Chain
from .operators.conv.api import conv
from .operators.conv.packed import PackedConv, pack_conv
from .operators.embedding.api import embedding, embedding_bag
from .operators.embedding.packed import PackedEmbedding, pack_embedding
from .operators.linear.api import linear
from .operators.linear.many import linear_many
from .operators.linear.pack import pack_linear
from .operators.linear.packed import PackedLinear
from .operators.linear.schemes import choose_scheme
from .operators.linear.smooth import Smoothed, smooth
from .operators.matmul.api import matmul, quantized_matmul
from .operators.matmul.integer import matmul_integer
from .operators.quantize.api import Quantized, dequantize, quantize
from .operators.recurrent.api import gru, gru_cell, lstm, lstm_cell, rnn, rnn_cell
from .operators.recurrent.pack import pack_gru, pack_lstm, pack_rnn
from .operators.recurrent.packed import PackedGRU, PackedLSTM, PackedRNN
from .operators.rowwise.elementwise import gelu, silu, swiglu
from .operators.rowwise.norms import layer_norm, rms_norm, softmax
from .operators.rowwise.rotary import rotary, rotary_tables
from .reading import load
from .runtime.compiling import watch as _watch
from .runtime.isa import available_isas, current_isa, force_isa
from .runtime.threads import get_num_threads, set_num_threads
from .saving import save
from .warmup import warmup

# The imports from operators, and __all__, are written out from the rows of the operators: `make rows`.
__version__ = "0.2.0.dev0"

_register_old_names()
_watch()

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
    "inspect",
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
    "quantized_matmul",
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


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "onnx"])


if _typing.TYPE_CHECKING:
    from . import onnx as onnx
else:

    def __getattr__(name: str) -> object:
        """`onnx` is imported on use: it needs an extra."""
        if name == "onnx":
            return _importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
