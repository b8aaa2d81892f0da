"""Modules that have moved, under the old names that pickles of version 0.1.0 contain."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

#: Old name -> new name, both within the package.
MOVED = {
    "attention": "operators.attention.api",
    "chain": "operators.chain.api",
    "convolution": "operators.conv.api",
    "elementwise": "operators.rowwise.elementwise",
    "embeddings": "operators.embedding.api",
    "floats": "operators.rowwise.norms",
    "kv_cache": "operators.attention.kv_cache",
    "matmul": "operators.matmul.api",
    "ops": "operators.linear.api",
    "pack_recurrent": "operators.recurrent.pack",
    "packed": "operators.linear.packed",
    "packed_convolution": "operators.conv.packed",
    "packed_embedding": "operators.embedding.packed",
    "packed_recurrent": "operators.recurrent.packed",
    "packing": "operators.linear.pack",
    "projections": "operators.linear.many",
    "quantization": "operators.quantize.api",
    "recurrent": "operators.recurrent.api",
    "rotary": "operators.rowwise.rotary",
    "runtime.convolution": "operators.conv.backend",
    "schemes": "operators.linear.schemes",
    "smoothing": "operators.linear.smooth",
    "step": "operators.chain.step",
}


class _Moved(ModuleType):
    """What stands under an old name: it imports the module on use."""

    def __init__(self, old: str, new: str):
        super().__init__(f"{__package__}.{old}")
        self._new = f"{__package__}.{new}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what tools look for in every module
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(self._new), name)


def register_old_names() -> None:
    """Let `pickle` find the old names. In place before they are asked for, they never become attributes of the package,
    some of whose functions have the same names."""
    for old, new in MOVED.items():
        sys.modules[f"{__package__}.{old}"] = _Moved(old, new)
