"""The names of the package. `dynq_numba` takes them all when the first of them is asked for.

The imports from operators, and __all__, are written out from the rows of the operators: `make rows`.
"""

from __future__ import annotations

from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from .inspection import inspect
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
from .runtime.compiling import watch
from .runtime.isa import available_isas, current_isa, force_isa
from .runtime.threads import get_num_threads, set_num_threads
from .saving import save
from .warming import warmup

watch()


def tell_numba() -> None:
    """Show the overloads to a function that is being compiled: it may be what asked for the first name."""
    if global_compiler_lock.is_locked():
        cpu_target.typing_context.refresh()


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
