"""conv inside compiled code (see operators/linear/njit.py): a PackedConv becomes its descriptor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.activations.jitted import ACTIVATIONS
from ...kernels.base.memory import POST_OPS_SIGNATURE, data_ptr, keep, null
from ...kernels.conv.call import convolve_into, output_size
from ...kernels.conv.context import ConvDescriptor
from ...kernels.objects import arrays
from ...njit.arguments import address_of, float_array, literal, out_array, result_function, threads_function
from ...njit.overloads import overload_of
from ...njit.types import PackedType
from ...runtime.post_ops import post_ops_kernel
from .api import conv
from .packed import PackedConv


class PackedConvType(PackedType):
    """numba's view of a PackedConv of `spatial` dimensions."""

    packed = (PackedConv,)

    def __init__(self, spatial: int) -> None:
        super().__init__(f"PackedConv{spatial}d")
        self.spatial = spatial

    @classmethod
    def of(cls, value: PackedConv, context: Any) -> PackedConvType:
        return cls(len(value.shape) - 2)


@overload_of(conv, prefer_literal=True)
def conv_overload(x, w, activation=None, out=None, threads=None):  # type: ignore[no-untyped-def]
    if not isinstance(w, PackedConvType):
        raise TypingError(f"w must be a PackedConv from pack_conv; got {w}")
    float_array("x", x)
    spatial = w.spatial
    if x.ndim not in (spatial + 1, spatial + 2):
        raise TypingError(f"x must have {spatial + 1} or {spatial + 2} dimensions for this weight; got {x}")
    batched, plane = x.ndim == spatial + 2, spatial == 2
    name, has_out = literal("activation", activation, (*ACTIVATIONS, None), None), out_array(out, x.ndim)
    post_ops = post_ops_kernel(name, None, False)
    address = null if post_ops is None else address_of(post_ops, POST_OPS_SIGNATURE)
    count_of, result_of = threads_function(threads), result_function(has_out)
    as_it_is = x.layout == "C" and x.dtype == types.float32

    def run(x, w, activation=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        words = w.descriptor
        d = ConvDescriptor(data_ptr(words))
        images = x.shape[0] if batched else 1
        height, width = x.shape[-2] if plane else 1, x.shape[-1]
        if x.shape[1 if batched else 0] != d.channels:
            raise ValueError("x must have as many channels as the packed weight")
        high = output_size(height, d.top, d.bottom, d.k_high, d.dilate_y, d.step_y)
        wide = output_size(width, d.left, d.right, d.k_wide, d.dilate_x, d.step_x)
        if high < 1 or wide < 1:
            raise ValueError("x must be at least as large as the kernel, padding included")
        lead = x.shape[:1] if batched else ()
        shape = lead + ((d.outputs, high, wide) if plane else (d.outputs, wide))
        count = count_of(threads)
        source = x if as_it_is else np.ascontiguousarray(x).astype(np.float32)
        y = result_of(out, shape, np.float32)
        target = arrays.apart(y, source) if has_out else y
        convolve_into(data_ptr(source), images, height, width, data_ptr(target), d, address(), count)
        keep(source)
        keep(words)
        arrays.deliver(target, y)
        keep(target)
        return y

    return run
