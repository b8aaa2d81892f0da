"""Modules that have moved, under the old names that pickles of version 0.1.0 contain."""

from __future__ import annotations

from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

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


class Finder(MetaPathFinder):
    """Imports an old name as the module that it is now: the same object. `pickle` asks for it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        if package != __package__ or old not in MOVED:
            return None
        return ModuleSpec(name, _Loader(f".{MOVED[old]}"))


class _Loader(Loader):
    def __init__(self, new: str):
        self._new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self._new, __package__)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # importlib has put that of the old name there
