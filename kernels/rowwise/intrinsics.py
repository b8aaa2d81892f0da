"""The emitted functions of emit.py as numba intrinsics: each takes the number of a variant first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

from llvmlite import ir
from numba.extending import intrinsic

from ..isa.intrinsics import switch
from .emit import (
    MAP_ARGUMENTS,
    MASKS,
    NORM_ARGUMENTS,
    ROTARY_ARGUMENTS,
    SOFTMAX_ARGUMENTS,
    TOGETHER,
    map_function,
    norm_function,
    rotary_function,
    softmax_function,
)
from .reference import MAPS

#: Numbers of the element by element functions.
MAP_NAMES = tuple(MAPS)


def _variant_of(functions: list[Callable[[ir.Module], ir.Function]], arguments: list[ir.Type]) -> tuple:
    """``name(variant, *arguments)``."""
    return switch(dict(enumerate(functions)), arguments)


@intrinsic
def softmax_rows(typingctx, variant, x, x_stride, masks, k, out, out_stride):
    """See ``softmax_function``; `variant` counts MASKS × TOGETHER."""
    functions = [partial(softmax_function, mask=mask, rows=rows) for mask, rows in product(MASKS, TOGETHER)]
    return _variant_of(functions, SOFTMAX_ARGUMENTS)


def _norm(centred: bool) -> tuple:
    return _variant_of(
        [
            partial(norm_function, centred=centred, residual=residual, affine=affine, rows=rows)
            for affine, residual, rows in product(range(3 if centred else 2), (False, True), TOGETHER)
        ],
        NORM_ARGUMENTS,
    )


@intrinsic
def layer_norm_rows(
    typingctx, variant, x, x_stride, residual, residual_stride, weight, bias, eps, k, out, out_stride, total,
    total_stride,
):  # fmt: skip
    """See ``norm_function``; `variant` counts affine (0 … 2) × residual × TOGETHER."""
    return _norm(True)


@intrinsic
def rms_norm_rows(
    typingctx, variant, x, x_stride, residual, residual_stride, weight, bias, eps, k, out, out_stride, total,
    total_stride,
):  # fmt: skip
    """See ``norm_function``; `variant` counts affine (0, 1) × residual × TOGETHER."""
    return _norm(False)


@intrinsic
def map_values(typingctx, name, x, second, k, out):
    """See ``map_function``; `name` counts MAP_NAMES."""
    return _variant_of([partial(map_function, name=name) for name in MAP_NAMES], MAP_ARGUMENTS)


@intrinsic
def rotate_row(typingctx, interleaved, x, cos, sin, half, out):
    """See ``rotary_function``."""
    return _variant_of([partial(rotary_function, interleaved=i) for i in (False, True)], ROTARY_ARGUMENTS)
