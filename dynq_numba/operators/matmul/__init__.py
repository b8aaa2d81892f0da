"""Products of two activations."""

from __future__ import annotations

from ...kernels.matmul.integer import integer_worker
from ...kernels.matmul.worker import matmul_worker
from ...runtime.kernel_table import Family
from ..base import Operator, named
from . import njit
from .api import matmul, quantized_matmul
from .integer import matmul_integer
from .warm import warm

_QUANTIZED = "float32, made int8 per column at run time"

OPERATOR = Operator(
    "matmul",
    title="Products",
    about="both sides given at run time: quantized there, or integers (exact int32, as ONNX)",
    public=named(quantized_matmul, matmul_integer, matmul),
    kernels=(
        Family(
            "matmul_integer", "u8s8_s32_gemm_{tile}", lambda isa, scheme: integer_worker(isa),
            weights="int8 or uint8, given at run time",
        ),
        Family("matmul", "qd8_f32_qd8w_gemm_{tile}", lambda isa, scheme: matmul_worker(isa), weights=_QUANTIZED),
        Family(
            "matmul_long", "qd8_f32_qd8w_gemm_longk_{tile}", lambda isa, scheme: matmul_worker(isa, long=True),
            weights=_QUANTIZED,
        ),
    ),
    overloads=(njit.matmul_overload, njit.matmul_integer_overload),
    warm=warm,
)
