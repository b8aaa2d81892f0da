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

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING

if not _Path(__file__).exists():
    raise ImportError(f"dynq_numba cannot run from an archive, {_Path(__file__).parent}: install it (pip install FILE)")
if not (_Path(__file__).parent / "kernels").exists():  # a checkout, where `kernels` stands beside this folder
    __path__.append(str(_Path(__file__).parent.parent))

from . import moved as _moved
from .kernels.base.handlers import handlers_held as _handlers_held
from .kernels.base.start import STARTED_IN as _STARTED_IN  # noqa: F401 - before the process goes elsewhere

__version__ = "0.2.0.dev0"

_moved.register_old_names()

if TYPE_CHECKING:
    from . import onnx as onnx
    from .names import *  # noqa: F403 - as it will be
    from .names import __all__ as __all__
else:

    def __getattr__(name: str) -> object:
        """All names come with the first that is asked for: they need numba, which takes most of a program's start.

        But `onnx`: it needs an extra.
        """
        if name == "onnx":
            return _import_module(f"{__name__}.{name}")
        if name == "__all__" or not name.startswith("_"):
            with _handlers_held():
                names = _import_module(f"{__name__}.names")
                globals().update({each: getattr(names, each) for each in names.__all__}, __all__=names.__all__)
                names.tell_numba()
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_import_module(f"{__name__}.names").__all__, "__version__", "onnx"])
