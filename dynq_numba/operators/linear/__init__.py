"""Linear layers with packed weights."""

from __future__ import annotations

from functools import partial

from ...kernels.gemm.tile import Scheme
from ...kernels.linear.worker import linear_worker
from ...runtime.kernel_table import FLOAT_SCALES, SCHEMES, WIDE, Family
from ..base import Operator, SavedForm, named
from . import njit, njit_many
from .api import linear
from .many import linear_many
from .pack import pack_linear
from .packed import PackedLinear
from .saved import describe_linear, restore_linear
from .schemes import choose_scheme
from .smooth import Smoothed, smooth
from .warm import warm


def _weights(scheme: Scheme) -> str:
    """What the support matrix says of a scheme."""
    scales = f"groups of {scheme.group}" if scheme.group else "per channel, per tensor"
    zero_points = ", zero points" if scheme.zero_points else ""
    return f"int{scheme.bits}, {scales}{zero_points}{', float32 scales' if scheme.float_scales else ''}"


OPERATOR = Operator(
    "linear",
    title="Linear layers",
    about="8 or 4 bits, per tensor, channel or group; x of 8 or 16 bits; packed once, then any number of calls",
    public=named(pack_linear, PackedLinear, linear, linear_many, choose_scheme, smooth, Smoothed),
    kernels=(
        *(
            Family("linear", "qd8_f32_{scheme}_gemm_{tile}", linear_worker, (scheme,), _weights(scheme))
            for scheme in SCHEMES
        ),
        *(
            Family("linear", "qd8_f32_{scheme}_gemm_{tile}", linear_worker, (scheme,), _weights(scheme), warmed=False)
            for scheme in FLOAT_SCALES
        ),
        Family(
            "linear_long", "qd8_f32_{scheme}_gemm_longk_{tile}", partial(linear_worker, long=True),
            weights="per channel, per tensor; K beyond 65,793",
        ),
        Family(
            "linear", "qd16_f32_qc8w_gemm_{tile}", linear_worker, (WIDE,), "int8, per channel, per tensor; x of 16 bits"
        ),
        Family(
            "linear_long", "qd16_f32_qc8w_gemm_longk_{tile}", partial(linear_worker, long=True), (WIDE,),
            "per channel, per tensor; K beyond 65,793; x of 16 bits", warmed=False,
        ),
    ),
    overloads=(njit.linear_overload, njit_many.linear_many_overload, njit_many.split_overload),
    types=(njit.PackedLinearType,),
    saved={"linear": SavedForm(PackedLinear, describe_linear, restore_linear)},
    warm=warm,
)
