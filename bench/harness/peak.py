"""The most that this machine's dot instruction can do: a loop of independent dots on registers, no memory at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.isa.base import ROW_BYTES, ROWS, InstructionSet
from dynq_numba.kernels.isa.emitter import I32, I64, Emitter, constant

#: Independent sums: enough to cover latency 5 at two dots a cycle on 16 registers.
SUMS = 12
UNROLL = 4


#: Sums of matrix registers that are multiplied in turn; 4 and 5, 6 and 7 are their operands.
MATRIX_SUMS = ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7))


@cache
def matrix_loop(isa: InstructionSet) -> tuple[Callable, int]:
    """`register_loop` of a set with matrix registers."""

    @intrinsic
    def products(typingctx, steps):
        def codegen(context, builder, signature, args):
            e = Emitter(builder)
            isa.configure(e)
            for tile in range(8):
                isa.zero(e, tile)

            def step(state):
                for sums in MATRIX_SUMS * UNROLL:
                    isa.multiply(e, *sums)
                return state

            e.loop(args[0], [], step)
            isa.release(e)
            return ir.Constant(I64, 0)

        return types.int64(types.int64), codegen

    @kernel(parallel=True, cached=False)
    def run(steps, threads):
        sums = np.zeros(threads, np.int64)
        for t in prange(threads):
            sums[t] = products(steps)
        return sums

    return run, UNROLL * len(MATRIX_SUMS) * ROWS * ROWS * ROW_BYTES


@cache
def register_loop(isa: InstructionSet) -> tuple[Callable, int]:
    """``(run(steps, threads), multiply-adds per step and thread)`` for an instruction set that emits vectors."""
    if isa.matrix_rows:
        return matrix_loop(isa)

    @intrinsic
    def dots(typingctx, steps):
        def codegen(context, builder, signature, args):
            e = Emitter(builder)
            a = isa.activations(e, ir.Constant(I32, 0x01020304))
            w = isa.weights(e, constant(isa.packed_weights, 3))
            # The empty assembly makes the operand look new each time, so no product is hoisted or shared.
            fresh = ir.InlineAsm(ir.FunctionType(a.type, [a.type]), "", "=x,0", side_effect=True)

            def step(state):
                operand, *sums = state
                for _ in range(UNROLL):
                    for i, total in enumerate(sums):
                        operand = builder.call(fresh, [operand])
                        sums[i] = isa.dot(e, total, operand, w)
                return [operand, *sums]

            start = [constant(isa.accumulator, i) for i in range(SUMS)]
            _, total, *rest = e.loop(args[0], [a, *start], step)
            for value in rest:
                total = builder.add(total, value)
            return builder.sext(builder.extract_element(total, ir.Constant(I32, 0)), I64)

        return types.int64(types.int64), codegen

    @kernel(parallel=True, cached=False)
    def run(steps, threads):
        sums = np.zeros(threads, np.int64)
        for t in prange(threads):
            sums[t] = dots(steps)
        return sums

    return run, UNROLL * SUMS * isa.lanes * isa.k_per_word
