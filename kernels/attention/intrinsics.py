"""The emitted functions of attention as numba intrinsics."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba.extending import intrinsic

from ..isa import transpose
from ..isa.base import InstructionSet
from ..isa.intrinsics import switch
from . import emit, emit_decode, emit_int8, emit_int8_pack


def _by_vectors(isa: InstructionSet, function: Callable, arguments: list[ir.Type]) -> tuple:
    counts = range(1, emit.max_vectors(isa) + 1)
    return switch({n: partial(function, isa, n) for n in counts}, arguments)


@cache
def float_intrinsics(isa: InstructionSet) -> tuple[Callable, Callable, Callable]:
    """``scores(vectors, …)``, ``weights(vectors, …)``, ``values(vectors [+ 8: limited], …)``; see attention/emit.py."""

    @intrinsic
    def scores(typingctx, vectors, q, count, k, k_stride, keys, s):
        return _by_vectors(isa, emit.scores_function, emit.SCORES_ARGUMENTS)

    @intrinsic
    def weights(typingctx, vectors, s, keys, bias, limits, first, sums):
        return _by_vectors(isa, emit.weights_function, emit.WEIGHTS_ARGUMENTS)

    @intrinsic
    def values(typingctx, which, p, v, v_stride, keys, count, factor, o, limits, first):
        functions = {
            n + LIMITED * limit: partial(emit.values_function, isa, n, limit)
            for n in range(1, emit.max_vectors(isa) + 1)
            for limit in (False, True)
        }
        return switch(functions, emit.VALUES_ARGUMENTS)

    return scores, weights, values


@cache
def int8_intrinsics(isa: InstructionSet) -> tuple[Callable, Callable, Callable, Callable, Callable]:
    """``pack_queries(0, …)``, ``pack_keys(values, …)`` of emit_int8_pack.py;
    the rest of emit_int8.py as in `float_intrinsics`."""

    @intrinsic
    def pack_queries(typingctx, which, q, stride, count, scales):
        return switch({0: partial(emit_int8_pack.queries_function, isa)}, emit_int8_pack.QUERIES_ARGUMENTS)

    @intrinsic
    def pack_keys(typingctx, values, k, k_stride, keys, count, block):
        functions = {n: partial(emit_int8_pack.keys_function, isa, bool(n)) for n in (0, 1)}
        return switch(functions, emit_int8_pack.KEYS_ARGUMENTS)

    @intrinsic
    def scores(typingctx, vectors, q, count, block, keys, s, scales):
        return _by_vectors(isa, emit_int8.scores_function, emit_int8.SCORES_ARGUMENTS)

    @intrinsic
    def weights(typingctx, vectors, s, keys, bias, limits, first, sums, scales):
        return _by_vectors(isa, emit_int8.weights_function, emit_int8.WEIGHTS_ARGUMENTS)

    @intrinsic
    def values(typingctx, vectors, p, block, keys, count, factors, o):
        return _by_vectors(isa, emit_int8.values_function, emit_int8.VALUES_ARGUMENTS)

    return pack_queries, pack_keys, scores, weights, values


@cache
def decode_intrinsics(isa: InstructionSet) -> tuple[Callable, Callable, Callable]:
    """``decode_scores(rows, …)``, ``decode_weights(rows, …)``, ``decode_values(rows, …)``: emit_decode.py."""

    def by_rows(function: Callable, arguments: list[ir.Type]) -> tuple:
        return switch({n: partial(function, isa, n) for n in emit_decode.ROWS}, arguments)

    @intrinsic
    def decode_scores(typingctx, rows, q, count, k, k_stride, keys, s, near, near_stride):
        return by_rows(emit_decode.scores_function, emit_decode.SCORES_ARGUMENTS)

    @intrinsic
    def decode_weights(typingctx, rows, s, keys, bias, sums):
        return by_rows(emit_decode.weights_function, emit_decode.WEIGHTS_ARGUMENTS)

    @intrinsic
    def decode_values(typingctx, rows, p, v, v_stride, keys, count, sums, o, near, near_stride):
        return by_rows(emit_decode.values_function, emit_decode.VALUES_ARGUMENTS)

    return decode_scores, decode_weights, decode_values


#: What chooses the values of limited rows.
LIMITED = 8


@intrinsic
def gather(typingctx, boolean, base, table, count, factor, target, stride):
    """``gather(boolean, …)``: see ``transpose.gather_function``."""
    functions = {b: partial(transpose.gather_function, bool(b)) for b in (0, 1)}
    return switch(functions, transpose.GATHER_ARGUMENTS)


@intrinsic
def scatter(typingctx, one, source, stride, count, factor, divisor, base, table, rows):
    """``scatter(1, …)``: see ``transpose.scatter_function``."""
    return switch({1: transpose.scatter_function}, transpose.SCATTER_ARGUMENTS)
