"""What threads need to work together: atomic words, a pause for spinning, Linux's wait on an address (futex), starting
and joining a thread (pthreads).

Words are int64 unless the name says otherwise. Loads acquire, stores release, everything else is sequentially
consistent: a caller that adds to a word and then reads another one sees what a helper did in the opposite order.
`fetch_add_relaxed` only counts.
"""

from __future__ import annotations

import platform
import sys

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .memory import BYTES, I32, I64, slot

LINUX = sys.platform == "linux"
#: LLVM's spin hint of a machine.
_PAUSE = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [ir.Constant(I32, 1)])}
#: futex(2) and its operations, for threads of one process.
_SYS_FUTEX = 202 if platform.machine() == "x86_64" else 98
_WAIT, _WAKE = 128, 129
_CLOCK_MONOTONIC = 1


def _adder(name: str, ordering: str, meaning: str):
    def typing(typingctx, base, index, value):
        def codegen(context, builder, signature, args):
            return builder.atomic_rmw("add", slot(builder, args[0], args[1], I64), args[2], ordering)

        return types.int64(types.voidptr, types.intp, types.int64), codegen

    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = meaning
    return intrinsic(typing)


fetch_add_relaxed = _adder("fetch_add_relaxed", "monotonic", "Add; gives the value before. Orders nothing else.")
fetch_add = _adder("fetch_add", "seq_cst", "Add; gives the value before.")


@intrinsic
def exchange(typingctx, base, index, value):
    """Store a value; returns the one before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("xchg", slot(builder, args[0], args[1], I64), args[2], "seq_cst")

    return types.int64(types.voidptr, types.intp, types.int64), codegen


@intrinsic
def fetch_and(typingctx, base, index, mask):
    """Keep the bits of a mask; returns the value before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("and", slot(builder, args[0], args[1], I64), args[2], "seq_cst")

    return types.int64(types.voidptr, types.intp, types.int64), codegen


@intrinsic
def compare_exchange(typingctx, base, index, expected, value):
    """Store `value` if the word is `expected`; returns whether it was."""

    def codegen(context, builder, signature, args):
        word = slot(builder, args[0], args[1], I64)
        return builder.extract_value(builder.cmpxchg(word, args[2], args[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.voidptr, types.intp, types.int64, types.int64), codegen


@intrinsic
def load_acquire(typingctx, base, index):
    """The word, and all that was written before it."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(slot(builder, args[0], args[1], I64), "acquire", 8)

    return types.int64(types.voidptr, types.intp), codegen


@intrinsic
def store_release(typingctx, base, index, value):
    """Store after everything before it."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[2], slot(builder, args[0], args[1], I64), "release", 8)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.intp, types.int64), codegen


@intrinsic
def pause(typingctx):
    """A hint that this core is spinning."""

    def codegen(context, builder, signature, args):
        name, arguments = _PAUSE.get(platform.machine(), ("", []))
        if name:
            kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def give_way(typingctx):
    """sched_yield(2): let another thread run on this core."""

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), "sched_yield")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def now(typingctx):
    """Nanoseconds of the monotonic clock."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(I32, [I32, BYTES])
        clock = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        time = cgutils.alloca_once(builder, ir.ArrayType(I64, 2))
        builder.call(clock, [ir.Constant(I32, _CLOCK_MONOTONIC), builder.bitcast(time, BYTES)])
        seconds, nanos = (builder.load(cgutils.gep_inbounds(builder, time, 0, i)) for i in (0, 1))
        return builder.add(builder.mul(seconds, ir.Constant(I64, 1_000_000_000)), nanos)

    return types.int64(), codegen


def _futex(builder: ir.IRBuilder, address: ir.Value, operation: int, value: ir.Value) -> None:
    if not LINUX:  # no helpers are started elsewhere
        return
    kind = ir.FunctionType(I64, [I64], var_arg=True)
    syscall = cgutils.get_or_insert_function(builder.module, kind, "syscall")
    arguments = [ir.Constant(I64, _SYS_FUTEX), address, ir.Constant(I64, operation), value, ir.Constant(BYTES, None)]
    builder.call(syscall, arguments)


@intrinsic
def futex_wait(typingctx, base, index, expected):
    """Sleep while the low half of the word is that of `expected`; may wake for no reason."""

    def codegen(context, builder, signature, args):
        low = builder.zext(builder.trunc(args[2], I32), I64)
        _futex(builder, builder.bitcast(slot(builder, args[0], args[1], I64), BYTES), _WAIT, low)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.intp, types.int64), codegen


@intrinsic
def futex_wake(typingctx, base, index, count):
    """Wake up to `count` threads that sleep on the word."""

    def codegen(context, builder, signature, args):
        _futex(builder, builder.bitcast(slot(builder, args[0], args[1], I64), BYTES), _WAKE, args[2])
        return context.get_dummy_value()

    return types.void(types.voidptr, types.intp, types.int64), codegen


@intrinsic
def start_thread(typingctx, base, index, function, argument):
    """Whether a thread that runs `function(argument)` could be started; the word then names it, for `join_thread`."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(I32, [BYTES] * 4)
        create = cgutils.get_or_insert_function(builder.module, kind, "pthread_create")
        name = builder.bitcast(slot(builder, args[0], args[1], I64), BYTES)
        error = builder.call(create, [name, ir.Constant(BYTES, None), args[2], args[3]])
        return builder.icmp_signed("==", error, ir.Constant(I32, 0))

    return types.boolean(types.voidptr, types.intp, types.voidptr, types.voidptr), codegen


@intrinsic
def join_thread(typingctx, base, index):
    """Wait for the end of the thread that the word names."""

    def codegen(context, builder, signature, args):
        join = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, [I64, BYTES]), "pthread_join")
        builder.call(join, [builder.load(slot(builder, args[0], args[1], I64)), ir.Constant(BYTES, None)])
        return context.get_dummy_value()

    return types.void(types.voidptr, types.intp), codegen
