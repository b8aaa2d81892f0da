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
    title="Convolution",
    about="1-d and 2-d, strides, padding, dilation, groups",
    public=named(pack_conv, PackedConv, conv),
    kernels=(
        Family(
            "conv", "qd8_f32_{scheme}_conv_{tile}", lambda isa, scheme: convolution_worker(isa),
            weights="int8, per channel",
        ),
    ),
    overloads=(njit.conv_overload,),
    types=(njit.PackedConvType,),
    saved={"conv": SavedForm(PackedConv, describe_conv, restore_conv)},
    warm=warm,
    uses=("linear",),
)
