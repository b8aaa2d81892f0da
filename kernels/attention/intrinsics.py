"""The emitted pieces of attention as numba intrinsics."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba.extending import intrinsic

from ..isa import transpose
from ..isa.base import InstructionSet
from ..isa.intrinsics import switch
from . import emit as emitted
from . import emit_decode as few
from . import emit_int8 as integer
from . import emit_int8_pack as pack


def _by_vectors(isa: InstructionSet, function: Callable, arguments: list[ir.Type]) -> tuple:
    counts = range(1, emitted.max_vectors(isa) + 1)
    return switch({n: partial(function, isa, n) for n in counts}, arguments)


@cache
def doors(isa: InstructionSet) -> tuple[Callable, Callable, Callable]:
    """``scores(vectors, …)``, ``weights(vectors, …)``, ``values(vectors [+ 8: limited], …)``; see attention/emit.py."""

    @intrinsic
    def scores(typingctx, vectors, q, count, k, k_stride, keys, s):
        return _by_vectors(isa, emitted.scores_function, emitted.SCORES_ARGUMENTS)

    @intrinsic
    def weights(typingctx, vectors, s, keys, bias, limits, first, sums):
        return _by_vectors(isa, emitted.weights_function, emitted.WEIGHTS_ARGUMENTS)

    @intrinsic
    def values(typingctx, which, p, v, v_stride, keys, count, factor, o, limits, first):
        functions = {
            n + LIMITED * limit: partial(emitted.values_function, isa, n, limit)
            for n in range(1, emitted.max_vectors(isa) + 1)
            for limit in (False, True)
        }
        return switch(functions, emitted.VALUES_ARGUMENTS)

    return scores, weights, values


@cache
def integer_doors(isa: InstructionSet) -> tuple[Callable, Callable, Callable, Callable, Callable]:
    """``pack_queries(0, …)``, ``pack_keys(values, …)`` of emit_int8_pack.py; of emit_int8.py as in `doors`."""

    @intrinsic
    def pack_queries(typingctx, which, q, stride, count, scales):
        return switch({0: partial(pack.queries_function, isa)}, pack.QUERIES_ARGUMENTS)

    @intrinsic
    def pack_keys(typingctx, values, k, k_stride, keys, count, block):
        return switch({n: partial(pack.keys_function, isa, bool(n)) for n in (0, 1)}, pack.KEYS_ARGUMENTS)

    @intrinsic
    def scores(typingctx, vectors, q, count, block, keys, s, scales):
        return _by_vectors(isa, integer.scores_function, integer.SCORES_ARGUMENTS)

    @intrinsic
    def weights(typingctx, vectors, s, keys, bias, limits, first, sums, scales):
        return _by_vectors(isa, integer.weights_function, integer.WEIGHTS_ARGUMENTS)

    @intrinsic
    def values(typingctx, vectors, p, block, keys, count, factors, o):
        return _by_vectors(isa, integer.values_function, integer.VALUES_ARGUMENTS)

    return pack_queries, pack_keys, scores, weights, values


@cache
def few_doors(isa: InstructionSet) -> tuple[Callable, Callable, Callable]:
    """``few_scores(rows, …)``, ``few_weights(rows, …)``, ``few_values(rows, …)``; see attention/emit_decode.py."""

    def by_rows(function: Callable, arguments: list[ir.Type]) -> tuple:
        return switch({n: partial(function, isa, n) for n in few.FEW}, arguments)

    @intrinsic
    def few_scores(typingctx, rows, q, count, k, k_stride, keys, s, near, near_stride):
        return by_rows(few.scores_function, few.SCORES_ARGUMENTS)

    @intrinsic
    def few_weights(typingctx, rows, s, keys, bias, sums):
        return by_rows(few.weights_function, few.WEIGHTS_ARGUMENTS)

    @intrinsic
    def few_values(typingctx, rows, p, v, v_stride, keys, count, sums, o, near, near_stride):
        return by_rows(few.values_function, few.VALUES_ARGUMENTS)

    return few_scores, few_weights, few_values


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
