"""The most that this machine can move: reads alone, and reads with writes in the proportion of a conversion.

    read    every byte of an array once a pass, as wide loads into independent sums
    move    4 lines read for 1 written, or 1 for 4, all whole lines; written past the caches or not
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import data_ptr, offset
from dynq_numba.kernels.isa.emitter import I32, I64, Emitter, constant, vector

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
            if total == 1:  # so that the compiler keeps the reads
                data[0] = 0

    return run


#: Bytes of the longer side of one step of `move_loop`.
MOVE_STEP = 4 * LINE


@cache
def move_loop(read: int, written: int, stream: bool) -> Callable:
    """``run(source, target, passes, threads)``: `read` lines of uint8 source for `written` lines of target, 4 and 1.

    Both must start at a cache line, and hold whole steps for each thread.
    """

    @intrinsic
    def move(typingctx, source, target, steps):
        def codegen(context, builder, signature, args):
            e = Emitter(builder)
            kind = vector(I32, LINE // 4)

            def step(state):
                source, target = state
                loads = [e.load(kind, e.at(source, i * LINE), LINE) for i in range(read)]
                total = loads[0]
                for value in loads[1:]:
                    total = builder.add(total, value)
                for i in range(written):
                    where = builder.bitcast(e.at(target, i * LINE), kind.as_pointer())
                    stored = builder.store(builder.add(total, constant(kind, i)), where, align=LINE)
                    if stream:
                        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
                return [e.at(source, read * LINE), e.at(target, written * LINE)]

            e.loop(args[2], list(args[:2]), step)
            return context.get_dummy_value()

        return types.void(types.voidptr, types.voidptr, types.int64), codegen

    @kernel(parallel=True, cached=False)
    def run(source, target, passes, threads):
        steps = source.size // (read * LINE * threads)
        for t in prange(threads):
            first = offset(data_ptr(source), t * steps * read * LINE)
            into = offset(data_ptr(target), t * steps * written * LINE)
            for _ in range(passes):
                move(first, into, steps)

    return run


def lines(size: int) -> np.ndarray:
    """uint8 [size] of noise that starts at a cache line. (Zeros would not do: some memory holds them for nothing.)"""
    room = np.frombuffer(np.random.default_rng(0).bytes(size + LINE), np.uint8).copy()
    skip = -room.ctypes.data % LINE
    return room[skip : skip + size]
