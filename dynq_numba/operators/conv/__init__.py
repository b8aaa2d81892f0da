"""Convolutions with packed weights."""

from __future__ import annotations

from ...kernels.conv.worker import convolution_worker
from ...runtime.kernel_table import Family
from ..base import Operator, SavedForm, named
from . import njit
from .api import conv
from .packed import PackedConv, pack_conv
from .saved import describe_conv, restore_conv
from .warm import warm

OPERATOR = Operator(
    "conv",
    public=named(conv, pack_conv, PackedConv),
    kernels=(
        Family(
            "conv", "qd8_f32_{scheme}_conv_{tile}", lambda isa, scheme: convolution_worker(isa),
            weights="int8, per channel",
        ),
    ),
    overloads=(njit,),
    saved={"conv": SavedForm(PackedConv, describe_conv, restore_conv)},
    warm=warm,
)
