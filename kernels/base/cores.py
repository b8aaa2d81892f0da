"""Which core a thread runs on, whether it runs, and how to move it: what Linux says and does.

A core's number is that of sched_getcpu(3). Where a thread may run is a mask of a bit per core, `MASK_BYTES` long; both
kernels below leave it as they found it.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .atomics import LINUX
from .jit import kernel
from .memory import BYTES, I32, I64, load_int, stack_zeros, store_int

#: Room for 8192 cores, the most that Linux is built for.
MASK_BYTES = 1024
_SYS_GETTID = 186 if platform.machine() == "x86_64" else 178


@intrinsic
def core(typingctx):
    """The core that this thread runs on; -1 where the system does not say."""

    def codegen(context, builder, signature, args):
        if not LINUX:
            return ir.Constant(I64, -1)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), "sched_getcpu")
        return builder.sext(builder.call(function, []), I64)

    return types.int64(), codegen


@intrinsic
def thread_id(typingctx):
    """This thread's number, by which the system knows it."""

    def codegen(context, builder, signature, args):
        syscall = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I64, [I64], var_arg=True), "syscall")
        return builder.call(syscall, [ir.Constant(I64, _SYS_GETTID)])

    return types.int64(), codegen


@intrinsic
def thread_time(typingctx, thread):
    """Nanoseconds that a thread of this process has run; 0 where the system does not say."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(I32, [I32, BYTES])
        clock = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        time = cgutils.alloca_once(builder, ir.ArrayType(I64, 2))
        # As pthread_getcpuclockid(3) names the clock of a thread.
        name = builder.or_(builder.shl(builder.not_(args[0]), ir.Constant(I64, 3)), ir.Constant(I64, 6))
        error = builder.call(clock, [builder.trunc(name, I32), builder.bitcast(time, BYTES)])
        seconds, nanos = (builder.load(cgutils.gep_inbounds(builder, time, 0, i)) for i in (0, 1))
        total = builder.add(builder.mul(seconds, ir.Constant(I64, 1_000_000_000)), nanos)
        return builder.select(builder.icmp_signed("==", error, ir.Constant(I32, 0)), total, ir.Constant(I64, 0))

    return types.int64(types.int64), codegen


def _affinity(name: str, meaning: str):
    def typing(typingctx, thread, mask):
        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(I32, [I32, I64, BYTES])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            error = builder.call(function, [builder.trunc(args[0], I32), ir.Constant(I64, MASK_BYTES), args[1]])
            return builder.icmp_signed("==", error, ir.Constant(I32, 0))

        return types.boolean(types.int64, types.voidptr), codegen

    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = meaning
    return intrinsic(typing)


get_affinity = _affinity("sched_getaffinity", "Fill in where a thread (0: this one) may run; whether that went well.")
set_affinity = _affinity("sched_setaffinity", "Set where a thread (0: this one) may run; whether that went well.")


@kernel
def move(thread, target):
    """Bring another thread to the core `target`; it may run where it might before."""
    mask, only = stack_zeros(MASK_BYTES), stack_zeros(MASK_BYTES)
    store_int(only, target >> 6, 1 << (target & 63))
    if get_affinity(thread, mask) and set_affinity(thread, only):
        set_affinity(thread, mask)


@kernel
def leave(source):
    """Bring this thread to another core than `source`; whether it may run on another."""
    mask, others = stack_zeros(MASK_BYTES), stack_zeros(MASK_BYTES)
    if not (get_affinity(0, mask) and get_affinity(0, others)):
        return False
    store_int(others, source >> 6, load_int(others, source >> 6) & ~(1 << (source & 63)))
    if not set_affinity(0, others):  # as of an empty mask
        return False
    set_affinity(0, mask)
    return True
