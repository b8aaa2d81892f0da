"""ONNX models: quantize one as a build step, and run it.

    receipt = dynq_numba.onnx.quantize("model.onnx", "model.int8.onnx")
    session = dynq_numba.onnx.InferenceSession("model.int8.onnx")

Needs the packages onnx and onnx-ir: ``pip install 'dynq-numba[onnx]'``.
"""

from __future__ import annotations

from ..arguments.extras import needed as _needed

with _needed("onnx", "dynq_numba.onnx"):
    import onnx as _onnx  # noqa: F401

    from ..graph import sympy_later as _sympy_later  # noqa: F401 - which imports onnx_ir

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from ..arguments.errors import UnsupportedModelError
from ..graph.receipt import Entry, Receipt
from ..planning.report import Report, ReportStep
from .inspection import inspect
from .optimisation import Note, optimise
from .options import ExecutionMode, GraphOptimizationLevel, RunOptions, SessionOptions, get_available_providers
from .quantize import CoverageError, quantize
from .session import InferenceSession, ModelMeta, NodeArg

if TYPE_CHECKING:
    from ..evaluate import Check, Comparison, Fidelity, LayerLooks, SearchRecord, Verification, compare, verify
    from ..evaluate.search import search
else:
    #: Names of layers above this one, which come when they are asked for.
    _EVALUATE = "Check", "Comparison", "Fidelity", "LayerLooks", "SearchRecord", "Verification", "compare", "search"
    _LATER = dict.fromkeys((*_EVALUATE, "verify"), "evaluate")

    def __getattr__(name: str) -> object:
        if name in _LATER:
            return getattr(_import_module(f"..{_LATER[name]}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Check", "Comparison", "CoverageError", "Entry", "ExecutionMode", "Fidelity", "GraphOptimizationLevel",
    "InferenceSession", "LayerLooks", "ModelMeta", "NodeArg", "Note", "Receipt", "Report", "ReportStep", "RunOptions",
    "SearchRecord", "SessionOptions", "UnsupportedModelError", "Verification", "compare", "get_available_providers",
    "inspect", "optimise", "quantize", "search", "verify",
]  # fmt: skip
