"""Float32 convolutions, for layers that stay float32: steps of programs, no public function of their own."""

from __future__ import annotations

from ...kernels.isa.float32 import float32
from ...kernels.sconv.depthwise import depthwise_worker
from ...kernels.sconv.reference_winograd import LARGE, SMALL
from ...kernels.sconv.winograd import winograd_worker
from ...kernels.sconv.worker import convolution_worker
from ...runtime.kernel_table import Family
from ..base import Operator
from .warm import warm

OPERATOR = Operator(
    "sconv",
    title="Float32 convolution",
    about="a fixed order of sums; depthwise without packing; 3×3 by Winograd's F(2×2, 3×3) and F(4×4, 3×3)",
    public={},
    kernels=(
        Family(
            "sconv", "f32_conv_{tile}", lambda isa, scheme: convolution_worker(float32(isa)), weights="float32",
            form=float32,
        ),
        Family(
            "sconv_depthwise", "f32_dwconv", lambda isa, scheme: depthwise_worker(float32(isa)), weights="float32",
            form=float32,
        ),
        Family(
            "sconv_winograd", "f32_winograd_{tile}", lambda isa, scheme: winograd_worker(float32(isa), SMALL),
            weights="float32", form=float32,
        ),
        Family(
            "sconv_winograd_4", "f32_winograd4_{tile}", lambda isa, scheme: winograd_worker(float32(isa), LARGE),
            weights="float32", form=float32,
        ),
    ),
    warm=warm,
)  # fmt: skip
