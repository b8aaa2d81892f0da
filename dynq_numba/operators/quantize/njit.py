"""quantize and dequantize inside compiled code (see operators/linear/njit.py).

On one thread, along the last axis.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.base.memory import WORKER_SIGNATURE, data_ptr, insist, keep, null
from ...kernels.objects import arrays
from ...kernels.quantize import call as conversion
from ...njit.arguments import address_of, float_array, literal, out_array, result_function, rows_function
from ...njit.overloads import overload_of
from ...runtime import cpu, isa, kernel_table
from . import api as quantization

LAST_CACHE = cpu.last_cache_bytes()


@overload_of(quantization.quantize, prefer_literal=True)
def quantize_overload(x, granularity="per_token", dtype="uint8", symmetric=False, axis=-1, out=None):  # type: ignore[no-untyped-def]
    float_array("x", x)
    if literal("axis", axis, (-1,), -1) != -1:
        raise TypingError("axis must be -1 in compiled code")
    per_token = literal("granularity", granularity, quantization.GRANULARITIES, "per_token") == "per_token"
    signed = literal("dtype", dtype, tuple(quantization.DTYPES), "uint8") == "int8"
    kind, flip = (np.int8, 128) if signed else (np.uint8, 0)
    rows_of = rows_function(x)
    result = quantization.Quantized
    has_out = out_array(out, element=types.int8 if signed else types.uint8)
    result_of = result_function(has_out)
    worker = address_of(kernel_table.kernel_for("quantize", isa.active()).worker(), WORKER_SIGNATURE)

    def run(x, granularity="per_token", dtype="uint8", symmetric=False, axis=-1, out=None):  # type: ignore[no-untyped-def]
        rows = rows_of(x, x.shape[-1])
        if not per_token:
            rows = rows.reshape((1, x.size))
        scale = np.empty(rows.shape[0], np.float32)
        zero = np.empty(rows.shape[0], kind)
        data = result_of(out, x.shape, kind)
        target = arrays.apart(data, rows) if has_out else data
        insist(conversion.quantize_into(
            data_ptr(rows), rows.strides[0], rows.shape[0], rows.shape[1], data_ptr(target), rows.shape[1],
            data_ptr(scale), data_ptr(zero), 1 if symmetric else 0, flip, worker(), null(), LAST_CACHE, 1,
        ))  # fmt: skip
        keep(rows)
        keep(scale)
        keep(zero)
        arrays.deliver(target, data)
        keep(target)
        if per_token:
            return result(data, scale.reshape(x.shape[:-1]), zero.reshape(x.shape[:-1]), -1)
        return result(data, scale.reshape(()), zero.reshape(()), -1)

    return run


@overload_of(quantization.dequantize)
def dequantize_overload(q, out=None):  # type: ignore[no-untyped-def]
    if not (isinstance(q, types.BaseNamedTuple) and q.fields == quantization.Quantized._fields):
        raise TypingError(f"q must be a Quantized tuple; got {q}")
    if q.types[0].dtype not in (types.uint8, types.int8):
        raise TypingError(f"q.data must be an int8 or uint8 array; got {q.types[0]}")
    fits = arrays.scale_fits if q.types[1].ndim else arrays.one_scale
    has_out = out_array(out)
    result_of = result_function(has_out)
    flip = 128 if q.types[0].dtype == types.int8 else 0
    worker = address_of(kernel_table.kernel_for("dequantize", isa.active()).worker(), WORKER_SIGNATURE)

    def run(q, out=None):  # type: ignore[no-untyped-def]
        if q.axis != -1:
            raise ValueError("q.axis must be -1 in compiled code")
        if not fits(q.data, q.scale):
            raise ValueError("q.scale must have the shape of q.data without its last axis, or be a single scale")
        if q.zero_point.size != q.scale.size:
            raise ValueError("q.zero_point must have the shape of q.scale")
        data = np.ascontiguousarray(q.data)
        scale = np.ascontiguousarray(q.scale).astype(np.float32)
        zero = np.ascontiguousarray(q.zero_point).astype(np.int32)
        y = result_of(out, data.shape, np.float32)
        target = arrays.apart(y, data) if has_out else y
        k = data.size // max(1, scale.size)
        conversion.dequantize_into(
            data_ptr(data), k, scale.size, k, data_ptr(target), 4 * k, data_ptr(scale), data_ptr(zero), 4, flip,
            worker(), null(), LAST_CACHE, 1,
        )  # fmt: skip
        keep(data)
        keep(scale)
        keep(zero)
        arrays.deliver(target, y)
        keep(target)
        return y

    return run


