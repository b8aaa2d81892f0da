"""Pooling in float32: steps of programs, no public function of their own."""

from __future__ import annotations

from collections.abc import Callable

from ...kernels.gemm.tile import Scheme
from ...kernels.isa.base import InstructionSet
from ...kernels.pooling.worker import WORKERS
from ...runtime.kernel_table import Family
from ..base import Operator
from .warm import warm


def _portable(worker: Callable) -> Callable[[InstructionSet, Scheme], Callable]:
    """The same worker for every instruction set: LLVM fits its vectors to the target."""
    return lambda isa, scheme: worker


OPERATOR = Operator(
    "pooling",
    title="Pooling",
    about="maximum and average, with a window or of all",
    public={},
    kernels=tuple(Family(name, f"f32_{name}", _portable(worker)) for name, worker in WORKERS.items()),
    warm=warm,
)
