"""Raw memory for kernels: typed loads and stores on ``voidptr``, and calls through pointers.

A *context* is a block of 8-byte words. With it a caller tells a separately compiled kernel everything it
needs: addresses, strides, counts. Word numbers are named by the module that owns the context.
Addresses always stay pointers: they are stored and loaded as pointers, and moved with GEP. If they became
integers in between, LLVM could not see what may alias, and has miscompiled such code.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import kernel

I8 = ir.IntType(8)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
F32 = ir.FloatType()
F64 = ir.DoubleType()
BYTES = I8.as_pointer()

NO_MEMORY = "no memory to work in"
#: Alignment of packed operands, in bytes: a cache line, and the widest vector.
ALIGN = 64


def slot(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, element: ir.Type) -> ir.Value:
    return builder.gep(builder.bitcast(base, element.as_pointer()), [index])


def _loader(name: str, element: ir.Type, numba_type: types.Type, meaning: str):
    def typing(typingctx, base, index):
        def codegen(context, builder, signature, args):
            return builder.load(slot(builder, args[0], args[1], element))

        return numba_type(types.voidptr, types.intp), codegen

    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = meaning
    return intrinsic(typing)


def _storer(name: str, element: ir.Type, numba_type: types.Type, meaning: str):
    def typing(typingctx, base, index, value):
        def codegen(context, builder, signature, args):
            builder.store(args[2], slot(builder, args[0], args[1], element))
            return context.get_dummy_value()

        return types.void(types.voidptr, types.intp, numba_type), codegen

    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = meaning
    return intrinsic(typing)


load_ptr = _loader("load_ptr", BYTES, types.voidptr, "((void **)base)[index]")
load_int = _loader("load_int", I64, types.int64, "((int64 *)base)[index]")
load_f32 = _loader("load_f32", F32, types.float32, "((float *)base)[index]")
load_f64 = _loader("load_f64", F64, types.float64, "((double *)base)[index]")
load_i32 = _loader("load_i32", I32, types.int32, "((int32 *)base)[index]")
load_u8 = _loader("load_u8", I8, types.uint8, "((uint8 *)base)[index]")
store_int = _storer("store_int", I64, types.int64, "((int64 *)base)[index] = value")
store_ptr = _storer("store_ptr", BYTES, types.voidptr, "((void **)base)[index] = value")
store_f32 = _storer("store_f32", F32, types.float32, "((float *)base)[index] = value")
store_f64 = _storer("store_f64", F64, types.float64, "((double *)base)[index] = value")
store_i32 = _storer("store_i32", I32, types.int32, "((int32 *)base)[index] = value")
store_u8 = _storer("store_u8", I8, types.uint8, "((uint8 *)base)[index] = value")


@intrinsic
def offset(typingctx, base, count):
    """(char *)base + count"""

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return types.voidptr(types.voidptr, types.intp), codegen


@intrinsic
def is_null(typingctx, base):
    """base == NULL"""

    def codegen(context, builder, signature, args):
        return builder.icmp_unsigned("==", args[0], ir.Constant(BYTES, None))

    return types.boolean(types.voidptr), codegen


@intrinsic
def null(typingctx):
    """NULL"""

    def codegen(context, builder, signature, args):
        return ir.Constant(BYTES, None)

    return types.voidptr(), codegen


@intrinsic
def stack_zeros(typingctx, count):
    """`count` zero bytes on the stack, ALIGNed, until the calling function returns. Not for use in a loop."""

    def codegen(context, builder, signature, args):
        buffer = builder.alloca(I8, size=args[0])
        buffer.align = ALIGN
        cgutils.memset(builder, buffer, args[0], 0)
        return buffer

    return types.voidptr(types.intp), codegen


@intrinsic
def stack_bytes(typingctx, count):
    """`count` bytes on the stack, ALIGNed, until the calling function returns. Not for use in a loop."""

    def codegen(context, builder, signature, args):
        buffer = builder.alloca(I8, size=args[0])
        buffer.align = ALIGN
        return buffer

    return types.voidptr(types.intp), codegen


@intrinsic
def clear(typingctx, base, count):
    """memset(base, 0, count)"""

    def codegen(context, builder, signature, args):
        cgutils.memset(builder, args[0], args[1], 0)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.intp), codegen


@intrinsic
def copy_bytes(typingctx, target, source, count):
    """memcpy(target, source, count)"""

    def codegen(context, builder, signature, args):
        cgutils.raw_memcpy(builder, *args, 1)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.voidptr, types.intp), codegen


@intrinsic
def allocate(typingctx, count):
    """malloc(3): NULL if there is too little memory."""

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(BYTES, [I64]), "malloc")
        return builder.call(function, args)

    return types.voidptr(types.intp), codegen


@intrinsic
def release(typingctx, base):
    """free(3)"""

    def codegen(context, builder, signature, args):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [BYTES]), "free")
        builder.call(function, args)
        return context.get_dummy_value()

    return types.void(types.voidptr), codegen


@intrinsic
def data_ptr(typingctx, array):
    """Where the first element of `array` lies."""

    def codegen(context, builder, signature, args):
        view = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.bitcast(view.data, BYTES)

    return types.voidptr(array), codegen


@intrinsic
def address_value(typingctx, base):
    """The address as a number, to reason about alignment (never to be turned back into a pointer)."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(args[0], I64)

    return types.int64(types.voidptr), codegen


@intrinsic
def call_worker(typingctx, function, context_ptr, index):
    """((void (*)(void *, int64))function)(context_ptr, index)"""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [BYTES, I64])
        builder.call(builder.bitcast(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.voidptr, types.voidptr, types.intp), codegen


@intrinsic
def call_step(typingctx, function, record, threads):
    """((int64 (*)(void *, int64))function)(record, threads)"""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(I64, [BYTES, I64])
        return builder.call(builder.bitcast(args[0], kind.as_pointer()), args[1:])

    return types.int64(types.voidptr, types.voidptr, types.intp), codegen


@intrinsic
def call_post_ops(typingctx, function, out, out_stride, residual, residual_stride, rows, columns):
    """Call post-ops (see gemm/post_ops.py) through its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [BYTES, I64, BYTES, I64, I64, I64])
        builder.call(builder.bitcast(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    p, n = types.voidptr, types.intp
    return types.void(p, p, n, p, n, n, n), codegen


#: Signatures of kernels that are reached by address.
WORKER_SIGNATURE = (types.voidptr, types.intp)
POST_OPS_SIGNATURE = (types.voidptr, types.intp, types.voidptr, types.intp, types.intp, types.intp)


@intrinsic
def keep(typingctx, array):
    """Use `array` here, so that numba does not release it while only its address is in use."""

    def codegen(context, builder, signature, args):
        return context.get_dummy_value()

    return types.void(array), codegen


@kernel
def aligned(base):
    """The first multiple of ALIGN from `base` on."""
    return offset(base, -address_value(base) % ALIGN)


@kernel
def insist(fine):
    """Raise MemoryError unless what was called had memory.

    For frames that hold nothing: numba does not release what a frame holds that an exception leaves, nor arrays that
    were passed to it. Kernels that hold memory call what gives its outcome back, release, and insist then.
    """
    if not fine:
        raise MemoryError(NO_MEMORY)
