"""The most that this machine's dot instruction can do: a loop of independent dots on registers, no memory at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.isa.base import InstructionSet
from dynq_numba.kernels.isa.emitter import I32, I64, Emitter, constant

#: Independent sums: enough to cover latency 5 at two dots a cycle on 16 registers.
SUMS = 12
UNROLL = 4


@cache
def register_loop(isa: InstructionSet) -> tuple[Callable, int]:
    """``(run(steps, threads), multiply-adds per step and thread)`` for an instruction set that emits vectors."""

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
