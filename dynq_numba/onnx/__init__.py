"""ONNX models: quantize one as a build step, and run it.

    receipt = dynq_numba.onnx.quantize("model.onnx", "model.int8.onnx")
    session = dynq_numba.onnx.InferenceSession("model.int8.onnx")

Needs the packages onnx and onnx-ir: ``pip install 'dynq-numba[onnx]'``.
"""

from __future__ import annotations

try:
    import onnx as _onnx  # noqa: F401

    from ..graph import sympy_later as _sympy_later  # noqa: F401 - which imports onnx_ir
except ImportError as error:
    raise ImportError(f"dynq_numba.onnx needs {error.name}: pip install 'dynq-numba[onnx]'") from error

from ..graph.receipt import Entry, Receipt
from ..planning.report import Report, ReportStep
from .inspection import inspect
from .optimisation import Note, optimise
from .options import SessionOptions
from .quantize import CoverageError, quantize
from .session import InferenceSession, ModelMeta, NodeArg

__all__ = [
    "CoverageError", "Entry", "InferenceSession", "ModelMeta", "NodeArg", "Note", "Receipt", "Report", "ReportStep",
    "SessionOptions", "inspect", "optimise", "quantize",
]  # fmt: skip
