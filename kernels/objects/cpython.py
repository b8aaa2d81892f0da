"""Python objects in compiled code, for functions that Python calls without numba's wrapper around them.

    vectorcall       objects in, one kernel, a new array out: no Python frame, no tuple, no checks by name
    anything else    the same function written in Python, with the same arguments

Everything is read from places that the C ABI of CPython and numpy defines: an object's type, an array's
PyArrayObject_fields (see view.py), a slot of a class. `dynq_numba/runtime/builtin.py` first checks that they are there.
It also fills the *process words*: addresses that differ in every process, so that cached code holds none.
"""

from __future__ import annotations

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..base.jit import kernel
from ..base.memory import BYTES, I32, I64, is_null, load_i32, load_int, load_ptr, null, offset
from ..base.record import Pointer, Record, RecordType
from .view import DATA, DIMENSIONS, STRIDES

#: Of every object, in bytes: where its type is; of an array, where dimensions' count, element type and flags are.
TYPE = 8
COUNT, DTYPE, FLAGS = DATA + 8, STRIDES + 16, STRIDES + 24
WRITEABLE = 0x400
#: Of tuples and lists: where the length is; of a tuple, where its items are, of a list, where their address is.
LENGTH, ITEMS, LISTED = 16, tuple.__basicsize__, 24


class Known(Record):
    """Addresses of objects by which arguments are told apart."""

    array_class: Pointer
    float32: Pointer  # a dtype
    int_class: Pointer
    none: Pointer


class Process(Known):
    """The process words."""

    tuple_class: Pointer
    list_class: Pointer
    packed_class: Pointer  # of packed weights
    held_at: int  # at which byte of a packed weight its descriptor's array is
    out: Pointer  # names of arguments
    threads: Pointer
    activation: Pointer
    new_array: Pointer  # numpy's function PyArray_New
    interpreter: Pointer  # the function that runs a function in Python
    on: int  # 1 while vectorcall kernels may be used


#: Behind the process words are pairs: the name of an activation, and its post-ops.
MOST_NAMED = 16
PROCESS = np.zeros(Process.size + 2 * MOST_NAMED, np.int64)
#: By this name compiled code finds them.
_NAME = "dynq_process_words"
llvmlite.binding.add_symbol(_NAME, PROCESS.ctypes.data)

#: numpy's number of float32.
_NPY_FLOAT = 11
#: vectorcallfunc: (function, arguments, count of those by position, names of the others) -> result.
VECTORCALL = (types.voidptr, types.voidptr, types.intp, types.voidptr)


@intrinsic
def process_words(typingctx):
    """Where PROCESS is."""

    def codegen(context, builder, signature, args):
        words = cgutils.add_global_variable(builder.module, ir.ArrayType(I64, PROCESS.size), _NAME)
        return builder.bitcast(words, BYTES)

    return RecordType(Process)(), codegen


@intrinsic
def same(typingctx, a, b):
    """a == b, of addresses."""

    def codegen(context, builder, signature, args):
        return builder.icmp_unsigned("==", *args)

    return types.boolean(types.voidptr, types.voidptr), codegen


@intrinsic
def interpret(typingctx, words, function, arguments, count, names):
    """Call a function in Python; NULL with an exception set where it raises."""

    def codegen(context, builder, signature, args):
        words, *arguments = args
        kind = ir.FunctionType(BYTES, [value.type for value in arguments])
        function = Process.load(builder, words, "interpreter")
        return builder.call(builder.bitcast(function, kind.as_pointer()), arguments)

    p = types.voidptr
    return p(p, p, p, types.intp, p), codegen


@intrinsic
def new_matrix(typingctx, words, rows, columns):
    """A new float32 array [rows, columns], uninitialised; NULL with an exception set where there is no memory."""

    def codegen(context, builder, signature, args):
        words, *shape = args
        dimensions = builder.alloca(I64, size=2)
        for axis, value in enumerate(shape):
            builder.store(value, builder.gep(dimensions, [ir.Constant(I64, axis)]))
        new, subtype = (Process.load(builder, words, name) for name in ("new_array", "array_class"))
        none, zero = ir.Constant(BYTES, None), ir.Constant(I32, 0)
        arguments = [
            subtype, ir.Constant(I32, 2), builder.bitcast(dimensions, BYTES), ir.Constant(I32, _NPY_FLOAT), none, none,
            zero, zero, none,
        ]  # fmt: skip
        kind = ir.FunctionType(BYTES, [value.type for value in arguments])
        return builder.call(builder.bitcast(new, kind.as_pointer()), arguments)

    return types.voidptr(types.voidptr, types.intp, types.intp), codegen


@intrinsic
def new_tuple(typingctx, length):
    """PyTuple_New."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(BYTES, [I64])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "PyTuple_New"), args)

    return types.voidptr(types.intp), codegen


@intrinsic
def save_thread(typingctx):
    """Let other Python threads run until `restore_thread` of what this gives."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(BYTES, [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "PyEval_SaveThread"), [])

    return types.voidptr(), codegen


def _caller(name: str, symbol: str, meaning: str):
    def typing(typingctx, value):
        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(ir.VoidType(), [BYTES])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), args)
            return context.get_dummy_value()

        return types.void(types.voidptr), codegen

    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = meaning
    return intrinsic(typing)


restore_thread = _caller("restore_thread", "PyEval_RestoreThread", "Let no other Python thread run any more.")
hold = _caller("hold", "Py_IncRef", "Take a reference.")
forget = _caller("forget", "Py_DecRef", "Drop a reference.")


@intrinsic
def _as_long(typingctx, value):
    """PyLong_AsLongAndOverflow of an int: -1 where it is beyond 64 bits."""

    def codegen(context, builder, signature, args):
        overflow = builder.alloca(I32)
        kind = ir.FunctionType(I64, [BYTES, I32.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, kind, "PyLong_AsLongAndOverflow")
        return builder.call(function, [args[0], overflow])

    return types.int64(types.voidptr), codegen


@kernel
def integer(words, value):
    """The value of an int, -1 where the object is none or its value is beyond 64 bits."""
    return _as_long(value) if same(load_ptr(value, TYPE // 8), Known(words).int_class) else -1


@kernel
def is_matrix(words, value):
    """Whether an object is a float32 matrix, exactly of numpy's type."""
    return (
        same(load_ptr(value, TYPE // 8), Known(words).array_class)
        and same(load_ptr(value, DTYPE // 8), Known(words).float32)
        and load_i32(value, COUNT // 4) == 2
    )


@kernel
def items_of(words, sequence):
    """Address of the items of a tuple or a list; NULL where the object is neither."""
    kind = load_ptr(sequence, TYPE // 8)
    if same(kind, words.tuple_class):
        return offset(sequence, ITEMS)
    return load_ptr(sequence, LISTED // 8) if same(kind, words.list_class) else null()


@kernel
def dimension(array, axis):
    return load_int(load_ptr(array, DIMENSIONS // 8), axis)


@kernel
def stride(array, axis):
    return load_int(load_ptr(array, STRIDES // 8), axis)


@kernel
def data_of(array):
    return load_ptr(array, DATA // 8)


@kernel
def descriptor_of(words, value):
    """The descriptor of a PackedLinear, or NULL where the object is none, or none that is complete."""
    if not same(load_ptr(value, TYPE // 8), words.packed_class):
        return null()
    held = load_ptr(value, words.held_at // 8)
    if is_null(held) or not same(load_ptr(held, TYPE // 8), words.array_class):
        return null()
    return data_of(held)
