"""Float32 products, for layers that stay float32: steps of programs, no public function of their own."""

from __future__ import annotations

from ...kernels.isa.float32 import float32
from ...kernels.sgemm.worker import product_worker
from ...runtime.kernel_table import Family
from ..base import Operator
from .warm import warm

OPERATOR = Operator(
    "sgemm",
    title="Float32 products",
    about="a fixed order of sums; a constant side may be packed once",
    public={},
    kernels=(
        Family(
            "sgemm", "f32_gemm_{tile}", lambda isa, scheme: product_worker(isa), weights="float32",
            form=float32,
        ),
    ),
    warm=warm,
)  # fmt: skip
