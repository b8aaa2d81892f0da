"""Arguments of the overloads: what is absent, literal, an array; and addresses of compiled functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ..kernels.base.jit import compiled
from ..kernels.objects import arrays


def address_of(function: Callable, signature: tuple) -> Callable:
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
            return builder.bitcast(symbol, bytes_)

        return types.voidptr(), codegen

    return address


def absent(value: Any) -> bool:
    omitted = isinstance(value, types.Omitted) and value.value is None
    return value is None or omitted or isinstance(value, types.NoneType)


def literal(name: str, value: Any, allowed: Any, default: Any) -> Any:
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


def value_type(value: Any) -> Any:
    """The type of a value, a literal's or a default's included."""
    if isinstance(value, types.Literal):
        return value.literal_type
    return value if isinstance(value, types.Type) and not isinstance(value, types.Omitted) else types.int64


def float_array(name: str, value: Any) -> None:
    floats = (types.float32, types.float64)
    if not (isinstance(value, types.Array) and value.dtype in floats and value.ndim > 0):
        raise TypingError(f"{name} must be an array of float32 or float64 in compiled code; got {value}")


def out_array(out: Any, ndim: int | None = None, element: Any = types.float32, name: str = "out") -> bool:
    """Whether `out` is given; of that element, and of so many dimensions where that is asked."""
    if absent(out):
        return False
    fits = isinstance(out, types.Array) and out == types.Array(element, out.ndim if ndim is None else ndim, "C")
    if not fits:
        axes = "" if ndim is None else f" of {ndim} dimensions"
        raise TypingError(f"{name} must be a writable C-contiguous {element} array{axes} in compiled code; got {out}")
    return True


def result_function(has_out: bool) -> Callable:
    """(out, shape, dtype) -> the array that a call returns."""
    return arrays.given_result if has_out else arrays.new_result


def rows_function(array: types.Array) -> Callable:
    return arrays.view_rows if array.layout == "C" and array.dtype == types.float32 else arrays.as_rows


def threads_function(threads: Any) -> Callable:
    """What makes a call's `threads` of the argument: a checked count, or 0 where there is none."""
    if absent(threads):
        return arrays.any_threads
    if value_type(threads) not in types.integer_domain:
        raise TypingError(f"threads must be a positive integer or None; got {threads}")
    return arrays.thread_count
