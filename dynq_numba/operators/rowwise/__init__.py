"""Softmax, norms, elementwise functions, rotary embeddings."""

from __future__ import annotations

from collections.abc import Callable

from ...kernels.gemm.tile import Scheme
from ...kernels.isa.base import InstructionSet
from ...kernels.rowwise.worker import WORKERS
from ...runtime.kernel_table import Family
from ..base import Operator, named
from . import njit_elementwise, njit_norms
from .elementwise import gelu, silu, swiglu
from .norms import layer_norm, rms_norm, softmax
from .rotary import rotary, rotary_tables
from .warm import warm


def _portable(worker: Callable) -> Callable[[InstructionSet, Scheme], Callable]:
    """The same worker for every instruction set: LLVM fits its vectors to the target."""
    return lambda isa, scheme: worker


OPERATOR = Operator(
    "rowwise",
    title="Row by row, in float32",
    about="softmax, norms, elementwise functions and rotary embeddings; masks and residuals in the same pass",
    public=named(softmax, layer_norm, rms_norm, gelu, silu, swiglu, rotary, rotary_tables),
    kernels=tuple(Family(name, f"f32_v{name}", _portable(worker)) for name, worker in WORKERS.items()),
    overloads=(
        njit_norms.softmax_overload, njit_norms.layer_norm_overload, njit_norms.rms_norm_overload,
        njit_elementwise.gelu_overload, njit_elementwise.silu_overload, njit_elementwise.swiglu_overload,
        njit_elementwise.rotary_overload,
    ),
    warm=warm,
)
