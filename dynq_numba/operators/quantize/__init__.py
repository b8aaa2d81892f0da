"""quantize and dequantize on their own."""

from __future__ import annotations

from ...kernels.quantize.worker import dequantize_worker, quantize_worker
from ...runtime.kernel_table import Family
from ..base import Operator, named
from . import njit
from .api import Quantized, dequantize, quantize
from .warm import warm

OPERATOR = Operator(
    "quantize",
    title="Integers",
    about="float32 to 8 bits and back, per row or tensor",
    public=named(quantize, dequantize, Quantized),
    kernels=(
        Family("quantize", "f32_qd8_vcvt", lambda isa, scheme: quantize_worker(isa)),
        Family("dequantize", "qd8_f32_vcvt", lambda isa, scheme: dequantize_worker(isa)),
    ),
    overloads=(njit.quantize_overload, njit.dequantize_overload),
    warm=warm,
)
