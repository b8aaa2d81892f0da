"""The most that this machine can read: every byte of an array once a pass, as wide loads into independent sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import prange, types
from numba.extending import intrinsic

from dynq_numba.kernels.emit.vectors import I32, I64, Emitter, constant, vector
from dynq_numba.kernels.jit import kernel
from dynq_numba.kernels.memory import data_ptr, offset

#: Cache lines read in one step, each into a sum of its own.
LINES = 16
LINE = 64
#: Bytes of one step: an array's length must be a multiple of this for each thread.
STEP = LINES * LINE


@cache
def read_loop() -> Callable:
    """``run(data, passes, threads)``: read the uint8 array `data` `passes` times, each thread a part of its own."""

    @intrinsic
    def read(typingctx, base, steps):
        def codegen(context, builder, signature, args):
            e = Emitter(builder)
            kind = vector(I32, LINE // 4)

            def step(state):
                pointer, *sums = state
                loads = [e.load(kind, e.at(pointer, i * LINE), 1) for i in range(LINES)]
                sums = [builder.add(total, value) for total, value in zip(sums, loads, strict=True)]
                return [e.at(pointer, STEP), *sums]

            _, total, *rest = e.loop(args[1], [args[0], *[constant(kind, 0)] * LINES], step)
            for value in rest:
                total = builder.add(total, value)
            return builder.sext(e.call(f"llvm.vector.reduce.add.v{kind.count}i32", I32, [total]), I64)

        return types.int64(types.voidptr, types.int64), codegen

    @kernel(parallel=True, cached=False)
    def run(data, passes, threads):
        steps = data.size // (STEP * threads)
        for t in prange(threads):
            base = offset(data_ptr(data), t * steps * STEP)
            total = 0
            for _ in range(passes):
                total += read(base, steps)
            if total == 1:  # so that the reads are not in vain
                data[0] = 0

    return run
