"""The emitted functions of floats.py as numba intrinsics: each takes the number of a variant first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..reference_floats import MAPS
from .floats import (
    MAP_ARGUMENTS,
    MASKS,
    NORM_ARGUMENTS,
    ROTARY_ARGUMENTS,
    SOFTMAX_ARGUMENTS,
    map_function,
    norm_function,
    rotary_function,
    softmax_function,
)
from .vectors import BYTES, F32, I64

_NUMBA_TYPE = {BYTES: types.voidptr, I64: types.intp, F32: types.float32}
#: Numbers of the element by element functions.
MAP_NAMES = tuple(MAPS)
#: residual, affine of a norm's variant number 3·residual + affine.
NORM_VARIANTS = tuple(product((False, True), range(3)))


def _variant_of(functions: list[Callable[[ir.Module], ir.Function]], arguments: list[ir.Type]) -> tuple:
    """Typing and code of ``name(variant, *arguments)``."""

    def codegen(context, builder, signature, args):
        done = builder.append_basic_block("variant.done")
        choose = builder.switch(args[0], done)
        for number, function in enumerate(functions):
            block = builder.append_basic_block(f"variant.{number}")
            choose.add_case(ir.Constant(I64, number), block)
            with builder.goto_block(block):
                builder.call(function(builder.module), args[1:])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(types.intp, *(_NUMBA_TYPE[t] for t in arguments)), codegen


@intrinsic
def softmax_row(typingctx, mask_kind, x, mask, k, out):
    """See ``softmax_function``; `mask_kind` counts MASKS."""
    return _variant_of([partial(softmax_function, mask=mask) for mask in MASKS], SOFTMAX_ARGUMENTS)


def _norm(centred: bool) -> tuple:
    functions = [partial(norm_function, centred=centred, residual=r, affine=a) for r, a in NORM_VARIANTS]
    return _variant_of(functions, NORM_ARGUMENTS)


@intrinsic
def layer_norm_row(typingctx, variant, x, residual, weight, bias, eps, k, out, total):
    """See ``norm_function``; `variant` counts NORM_VARIANTS."""
    return _norm(True)


@intrinsic
def rms_norm_row(typingctx, variant, x, residual, weight, bias, eps, k, out, total):
    """See ``norm_function``; `variant` counts NORM_VARIANTS."""
    return _norm(False)


@intrinsic
def map_values(typingctx, name, x, second, k, out):
    """See ``map_function``; `name` counts MAP_NAMES."""
    return _variant_of([partial(map_function, name=name) for name in MAP_NAMES], MAP_ARGUMENTS)


@intrinsic
def rotate_row(typingctx, interleaved, x, cos, sin, half, out):
    """See ``rotary_function``."""
    return _variant_of([partial(rotary_function, interleaved=i) for i in (False, True)], ROTARY_ARGUMENTS)
