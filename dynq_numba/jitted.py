"""The public functions inside a user's own ``numba.njit`` code.

    @numba.njit
    def block(x, up, down):                                  # up, down: PackedLinear arguments
        return dq.linear(dq.linear(x, up, activation="gelu"), down)

A PackedLinear becomes its descriptor (see kernels/context.py), so a user's function compiles in moments: the products
are reached by address. A finisher, or the worker of another operation, is linked into the user's own module.
Differences from Python: options that choose code (`activation`, `granularity`, `dtype`) must be literals; arrays are
float32 or float64 and are copied where they are not C contiguous; `out` must be C contiguous; `quantize` and
`dequantize` work along the last axis; `matmul_integer` takes matrices. These three run on one thread, on the
instruction set that was in force at compilation. Packing is done outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    intrinsic,
    make_attribute_wrapper,
    models,
    overload,
    register_model,
    typeof_impl,
    unbox,
)

from . import quantization
from .checks import MAX_THREADS
from .kernels import arrays, call, conversion, integer
from .kernels import context as at
from .kernels.activations import ACTIVATIONS
from .kernels.jit import FINGERPRINT, compiled
from .kernels.memory import FINISH_SIGNATURE, WORKER_SIGNATURE, data_ptr, keep, null
from .ops import linear
from .packed import PackedLinear
from .runtime import cpu, isa, registry
from .runtime.compiled import finishing_kernel

LAST_CACHE = cpu.last_cache_bytes()
_DESCRIPTOR = types.Array(types.int64, 1, "C")


class PackedLinearType(types.Type):
    """numba's view of a PackedLinear. The fingerprint keeps users' cached functions from outliving a layout."""

    def __init__(self) -> None:
        super().__init__(name=f"PackedLinear[{FINGERPRINT}]")


PACKED = PackedLinearType()


@typeof_impl.register(PackedLinear)
def _typeof_packed(value: PackedLinear, context: Any) -> PackedLinearType:
    return PACKED


@register_model(PackedLinearType)
class _PackedModel(models.StructModel):
    def __init__(self, manager: Any, kind: PackedLinearType):
        super().__init__(manager, kind, [("descriptor", _DESCRIPTOR)])


make_attribute_wrapper(PackedLinearType, "descriptor", "descriptor")


@unbox(PackedLinearType)
def _unbox_packed(kind: PackedLinearType, value: ir.Value, c: Any) -> NativeValue:
    slot = cgutils.alloca_once_value(c.builder, ir.Constant(c.context.get_value_type(kind), None))
    failed = cgutils.alloca_once_value(c.builder, cgutils.true_bit)
    array = c.pyapi.call_method(value, "_descriptor", ())
    with c.builder.if_then(cgutils.is_not_null(c.builder, array)):  # NULL: it raised, and numba passes that on
        native = c.unbox(_DESCRIPTOR, array)
        c.pyapi.decref(array)
        proxy = cgutils.create_struct_proxy(kind)(c.context, c.builder)
        proxy.descriptor = native.value
        c.builder.store(proxy._getvalue(), slot)
        c.builder.store(native.is_error, failed)
    return NativeValue(c.builder.load(slot), is_error=c.builder.load(failed))


@lower_constant(PackedLinearType)
def _constant_packed(context: Any, builder: Any, kind: PackedLinearType, value: PackedLinear) -> None:
    raise TypingError("a PackedLinear cannot be a global or closure variable of compiled code: pass it as an argument")


def _address_of(function: Callable, signature: tuple) -> Callable:
    """An intrinsic that links `function` into the caller's module and gives its address there."""

    @intrinsic
    def address(typingctx):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature_, args):  # type: ignore[no-untyped-def]
            result = compiled(function, signature)
            context.active_code_library.add_linking_library(result.library)
            bytes_ = ir.IntType(8).as_pointer()
            arguments = [bytes_ if t is types.voidptr else ir.IntType(64) for t in signature]
            kind = ir.FunctionType(ir.VoidType(), arguments)
            symbol = cgutils.get_or_insert_function(builder.module, kind, result.fndesc.llvm_cfunc_wrapper_name)
            return builder.ptrtoint(symbol, ir.IntType(64))

        return types.int64(), codegen

    return address


@intrinsic
def _no_address(typingctx):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(), codegen


def _absent(value: Any) -> bool:
    omitted = isinstance(value, types.Omitted) and value.value is None
    return value is None or omitted or isinstance(value, types.NoneType)


def _literal(name: str, value: Any, allowed: Any, default: Any) -> Any:
    """The compile-time value of an option."""
    if value is None or isinstance(value, (types.NoneType, types.Omitted)) or value == default:
        value = getattr(value, "value", default)
        return default if value is None else value
    if isinstance(value, str):
        literal: Any = value
    elif isinstance(value, types.Literal):
        literal = value.literal_value
    else:
        raise TypingError(f"{name} must be a literal in compiled code, one of {', '.join(map(repr, allowed))}")
    if literal not in allowed:
        raise TypingError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {literal!r}")
    return literal


def _value_type(value: Any) -> Any:
    """The type of a value, a literal's or a default's included."""
    if isinstance(value, types.Literal):
        return value.literal_type
    return value if isinstance(value, types.Type) and not isinstance(value, types.Omitted) else types.int64


def _float_array(name: str, value: Any) -> None:
    floats = (types.float32, types.float64)
    if not (isinstance(value, types.Array) and value.dtype in floats and value.ndim > 0):
        raise TypingError(f"{name} must be an array of float32 or float64 in compiled code; got {value}")


def _rows_function(array: types.Array) -> Callable:
    return arrays.view_rows if array.layout == "C" and array.dtype == types.float32 else arrays.as_rows


@overload(linear, prefer_literal=True)
def _linear(x, w, activation=None, residual=None, epilogue=None, out=None, threads=None):  # type: ignore[no-untyped-def]
    if not isinstance(w, PackedLinearType):
        raise TypingError(f"w must be a PackedLinear from pack_linear; got {w}")
    _float_array("x", x)
    name = _literal("activation", activation, (*ACTIVATIONS, None), None)
    has_residual, has_out = not _absent(residual), not _absent(out)
    if has_residual:
        _float_array("residual", residual)
    if has_out and not (isinstance(out, types.Array) and out == types.Array(types.float32, out.ndim, "C")):
        raise TypingError(f"out must be a writable C-contiguous float32 array in compiled code; got {out}")
    user = None
    if not _absent(epilogue):
        if not isinstance(epilogue, types.Dispatcher):
            raise TypingError(f"epilogue must be a function compiled by numba.njit; got {epilogue}")
        user = epilogue.dispatcher
    finish = finishing_kernel(name, user, has_residual)
    address = _no_address if finish is None else _address_of(finish, FINISH_SIGNATURE)
    chosen = not _absent(threads)
    if chosen and _value_type(threads) not in types.integer_domain:
        raise TypingError(f"threads must be a positive integer or None; got {threads}")
    x_rows = _rows_function(x)
    residual_rows = _rows_function(residual if has_residual else x)

    def run(x, w, activation=None, residual=None, epilogue=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        descriptor = w.descriptor
        n, k = descriptor[at.N], descriptor[at.K]
        if x.shape[-1] != k:
            raise ValueError("x must have as many columns as the packed weight")
        shape = x.shape[:-1] + (n,)  # noqa: RUF005 - numba knows no stars
        if has_out:
            y = out
            if y.shape != shape:
                raise ValueError("out must have the shape of x with the weight's rows as last axis")
        else:
            y = np.empty(shape, np.float32)
        count = threads if chosen else 0
        if chosen and not 1 <= count <= MAX_THREADS:
            raise ValueError("threads must be an integer from 1 to 1024")
        rows = x_rows(x, k)
        target = arrays.view_rows(y, n)
        if has_residual:
            if residual.shape != shape:
                raise ValueError("residual must have the result's shape")
            addend = residual_rows(residual, n)
            if has_out and (arrays.overlap(y, rows) or arrays.overlap(y, addend)):
                target = np.empty((rows.shape[0], n), np.float32)
            call.linear_into(
                data_ptr(rows), rows.shape[0], rows.strides[0], data_ptr(target), target.strides[0],
                data_ptr(addend), addend.strides[0], data_ptr(descriptor), address(), count,
            )  # fmt: skip
            keep(addend)
        else:
            if has_out and arrays.overlap(y, rows):
                target = np.empty((rows.shape[0], n), np.float32)
            call.linear_into(
                data_ptr(rows), rows.shape[0], rows.strides[0], data_ptr(target), target.strides[0],
                null(), 0, data_ptr(descriptor), address(), count,
            )  # fmt: skip
        keep(rows)
        keep(target)
        keep(descriptor)
        if has_out:
            arrays.deliver(target, arrays.view_rows(y, n))
        return y

    return run


@overload(quantization.quantize, prefer_literal=True)
def _quantize(x, granularity="per_token", dtype="uint8", symmetric=False, axis=-1, out=None):  # type: ignore[no-untyped-def]
    _float_array("x", x)
    if _literal("axis", axis, (-1,), -1) != -1:
        raise TypingError("axis must be -1 in compiled code")
    per_token = _literal("granularity", granularity, quantization.GRANULARITIES, "per_token") == "per_token"
    signed = _literal("dtype", dtype, tuple(quantization.DTYPES), "uint8") == "int8"
    kind, flip = (np.int8, 128) if signed else (np.uint8, 0)
    rows_of = _rows_function(x)
    result = quantization.Quantized
    has_out = not _absent(out)
    element = types.int8 if signed else types.uint8
    if has_out and not (isinstance(out, types.Array) and out == types.Array(element, out.ndim, "C")):
        raise TypingError(f"out must be a writable C-contiguous {element} array in compiled code; got {out}")
    worker = _address_of(registry.kernel_for("quantize", isa.active()).build(), WORKER_SIGNATURE)

    def run(x, granularity="per_token", dtype="uint8", symmetric=False, axis=-1, out=None):  # type: ignore[no-untyped-def]
        rows = rows_of(x, x.shape[-1])
        if not per_token:
            rows = rows.reshape((1, x.size))
        scale = np.empty(rows.shape[0], np.float32)
        zero = np.empty(rows.shape[0], kind)
        if has_out:
            data = out
            if data.shape != x.shape:
                raise ValueError("out must have the shape of x")
            target = np.empty(x.shape, kind) if arrays.overlap(data, rows) else data
        else:
            data = np.empty(x.shape, kind)
            target = data
        conversion.quantize_into(
            data_ptr(rows), rows.strides[0], rows.shape[0], rows.shape[1], data_ptr(target), rows.shape[1],
            data_ptr(scale), data_ptr(zero), 1 if symmetric else 0, flip, worker(), 0, LAST_CACHE, 1,
        )  # fmt: skip
        keep(rows)
        keep(scale)
        keep(zero)
        if has_out:
            arrays.deliver(target, data)
        keep(target)
        if per_token:
            return result(data, scale.reshape(x.shape[:-1]), zero.reshape(x.shape[:-1]), -1)
        return result(data, scale.reshape(()), zero.reshape(()), -1)

    return run


@overload(quantization.dequantize)
def _dequantize(q, out=None):  # type: ignore[no-untyped-def]
    if not (isinstance(q, types.BaseNamedTuple) and q.fields == quantization.Quantized._fields):
        raise TypingError(f"q must be a Quantized tuple; got {q}")
    if q.types[0].dtype not in (types.uint8, types.int8):
        raise TypingError(f"q.data must be an int8 or uint8 array; got {q.types[0]}")
    fits = arrays.scale_fits if q.types[1].ndim else arrays.one_scale
    has_out = not _absent(out)
    if has_out and not (isinstance(out, types.Array) and out == types.Array(types.float32, out.ndim, "C")):
        raise TypingError(f"out must be a writable C-contiguous float32 array in compiled code; got {out}")
    flip = 128 if q.types[0].dtype == types.int8 else 0
    worker = _address_of(registry.kernel_for("dequantize", isa.active()).build(), WORKER_SIGNATURE)

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
        if has_out:
            y = out
            if y.shape != data.shape:
                raise ValueError("out must have the shape of q.data")
            target = np.empty(data.shape, np.float32) if arrays.overlap(y, data) else y
        else:
            y = np.empty(data.shape, np.float32)
            target = y
        k = data.size // max(1, scale.size)
        conversion.dequantize_into(
            data_ptr(data), k, scale.size, k, data_ptr(target), 4 * k, data_ptr(scale), data_ptr(zero), 4, flip,
            worker(), 0, LAST_CACHE, 1,
        )  # fmt: skip
        keep(data)
        keep(scale)
        keep(zero)
        if has_out:
            arrays.deliver(target, y)
        keep(target)
        return y

    return run


@overload(quantization.matmul_integer)
def _matmul_integer(a, b, a_zero_point=0, b_zero_point=0):  # type: ignore[no-untyped-def]
    for name, operand in (("a", a), ("b", b)):
        if not (isinstance(operand, types.Array) and operand.ndim == 2 and operand.dtype in (types.int8, types.uint8)):
            raise TypingError(f"{name} must be an int8 or uint8 matrix in compiled code; got {operand}")
    for name, zero in (("a_zero_point", a_zero_point), ("b_zero_point", b_zero_point)):
        kind = zero.dtype if isinstance(zero, types.Array) else _value_type(zero)
        if kind not in types.integer_domain:
            raise TypingError(f"{name} must be an integer or an array of integers; got {zero}")
    low_a, low_b = (-128 if a.dtype == types.int8 else 0), (-128 if b.dtype == types.int8 else 0)
    target = isa.active()
    worker = _address_of(registry.kernel_for("matmul_integer", target).build(), WORKER_SIGNATURE)
    nr, k_per_word = target.columns, target.k_per_word
    flip_a, flip_b = (128 if a.dtype == types.int8 else 0), (128 if b.dtype == types.uint8 else 0)
    zero_a = arrays.zero_array if isinstance(a_zero_point, types.Array) else arrays.zero_vector
    zero_b = arrays.zero_array if isinstance(b_zero_point, types.Array) else arrays.zero_vector

    def run(a, b, a_zero_point=0, b_zero_point=0):  # type: ignore[no-untyped-def]
        if a.shape[1] != b.shape[0]:
            raise ValueError("b must have as many rows as a has columns")
        out = np.empty((a.shape[0], b.shape[1]), np.int32)
        left = np.ascontiguousarray(a)
        za = zero_a(a_zero_point, a.shape[0], low_a, flip_a)
        zb = zero_b(b_zero_point, b.shape[1], low_b, -flip_b)
        integer.matmul_integer(worker(), 0, nr, k_per_word, left, flip_a, za, b, flip_b, zb, out, 1)
        return out

    return run
