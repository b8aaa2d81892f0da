"""Functions of the API whose plain calls never enter the interpreter.

    dq.linear ──▶ built-in function ──▶ vectorcall of the function in Python ──▶ kernels/linear/vectorcall.py
                                                                             └──▶ interpreter: every other case

``@builtin`` turns a Python function into one that CPython calls like a function written in C. It only passes the call
on through the Python function's vectorcall pointer. This pointer leads to the interpreter until `install` changes it.
(A Python function alone is not enough: CPython 3.11 enters it from bytecode without reading the pointer. And the
built-in function must not change, because its hash is that of its address in C.) If CPython or numpy is not laid out as
expected, or nothing is compiled, the Python function stays as it is.
"""

from __future__ import annotations

import ctypes
import inspect
import sys
import sysconfig
import threading
from collections.abc import Callable
from functools import cache
from types import MemberDescriptorType
from typing import Any, TypeVar

import numpy as np

from ..kernels.base.jit import JIT_ENABLED, address
from ..kernels.objects import cpython as python
from ..kernels.objects.view import DATA, DIMENSIONS, STRIDES

F = TypeVar("F", bound=Callable)

#: Flags of a method: positional and keyword arguments as one C array.
_FASTCALL, _KEYWORDS = 0x80, 0x02
#: In a type, where it says at which byte of an instance the vectorcall pointer is.
_VECTORCALL = 56
#: Bytes from the head of the object behind ``Class.slot``, to the definition and in it to the slot's place.
_DEFINITION, _PLACE = 40, 16
#: numpy's table of C functions: PyArray_New.
_PYARRAY_NEW = 93


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


def _word(at: int, kind: Any = ctypes.c_int64) -> int:
    return int(kind.from_address(at).value)


def _address(name: str) -> int:
    """Where a function of CPython begins, or 0."""
    found = getattr(ctypes.pythonapi, name, None)
    return 0 if found is None else ctypes.cast(found, ctypes.c_void_p).value or 0


def _place(kind: type, slot: str) -> int:
    """Bytes from an instance's head to one of its ``__slots__``."""
    return _word(_word(id(vars(kind)[slot]) + _DEFINITION) + _PLACE)


def _vectorcall(function: Any) -> ctypes.c_int64:
    """A function's vectorcall pointer, to be read or written."""
    return ctypes.c_int64.from_address(id(function) + _word(id(type(function)) + _VECTORCALL))


def _interpreter() -> int:
    """The address of the C function that runs Python functions, as CPython gives it; 0 if it gives none."""
    if not _address("PyVectorcall_Function"):
        return 0
    ask = ctypes.pythonapi.PyVectorcall_Function
    ask.restype, ask.argtypes = ctypes.c_void_p, [ctypes.py_object]
    return ask(_interpreter) or 0


class _Probe:
    __slots__ = ("first", "second")

    def __init__(self, array: np.ndarray):
        self.first, self.second = None, array


def _as_expected() -> bool:
    """Whether everything in this CPython and this numpy is where kernels/objects/cpython.py and this file expect it."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    names, array = ("out",), np.empty((3, 5), np.float32)[:, 1:]
    probe, listed = _Probe(array), list(names)
    head = id(array)
    strides = [_word(_word(head + STRIDES) + 8 * axis) for axis in (0, 1)]
    shape = [_word(_word(head + DIMENSIONS) + 8 * axis) for axis in (0, 1)]
    writeable = _word(head + python.FLAGS, ctypes.c_int) & python.WRITEABLE
    array.flags.writeable = False
    return (
        isinstance(vars(_Probe)["second"], MemberDescriptorType)
        and _word(id(probe) + _place(_Probe, "second")) == head
        and _word(head + python.TYPE) == id(np.ndarray)
        and _word(head + python.DTYPE) == id(np.dtype(np.float32))
        and _word(head + python.COUNT, ctypes.c_int) == 2
        and _word(head + DATA) == array.ctypes.data
        and (*shape, *strides) == (3, 4, 20, 4)
        and writeable != 0 == _word(head + python.FLAGS, ctypes.c_int) & python.WRITEABLE
        and (_word(id(names) + python.LENGTH), _word(id(names) + python.ITEMS)) == (1, id(names[0]))
        and (_word(id(listed) + python.LENGTH), _word(_word(id(listed) + python.LISTED))) == (1, id(names[0]))
        and _vectorcall(_word).value == _interpreter() != 0
        and _address("PyObject_Vectorcall") != 0
    )


POSSIBLE = JIT_ENABLED and _as_expected()
_functions: dict[str, Any] = {}
#: Objects that CPython or the process words hold only by address. Kept alive, so that they work after a reload, too.
_kept: list[Any] = []
_filing = threading.Lock()


def builtin(function: F) -> F:
    """`function` as a built-in function, if possible. `install` may then give it a vectorcall kernel."""
    if not POSSIBLE:
        return function
    name, signature = function.__name__, inspect.signature(function)
    untyped = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    text = f"{name}{inspect.Signature(untyped)}\n--\n\n{function.__doc__}"  # how built-in functions say theirs
    method = _Method(name.encode(), _address("PyObject_Vectorcall"), _FASTCALL | _KEYWORDS, text.encode())
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    made = make(ctypes.addressof(method), function, function.__module__)
    _functions[name] = function
    _kept.append(method)
    # A built-in function pickles as an attribute of what it belongs to, and that as one of the module it says.
    setattr(function, name, made)
    function.__module__, globals()[name] = __name__, function
    return made


@cache
def install(name: str, vectorcall: Any) -> None:
    """Let calls of the built-in function `name` go to the kernel `vectorcall` first."""
    if name in _functions:
        _vectorcall(_functions[name]).value = address(vectorcall, python.VECTORCALL)


def prepare(packed: type, slot: str) -> None:
    """Fill the process words: `packed` is the class of packed weights, whose instances keep a descriptor in `slot`."""
    if not POSSIBLE:
        return
    core = vars(np).get("_core") or vars(np)["core"]
    capsule = core._multiarray_umath._ARRAY_API
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    objects = {
        "array_class": np.ndarray, "float32": np.dtype(np.float32), "int_class": int, "none": None,
        "tuple_class": tuple, "list_class": list, "packed_class": packed,
        **{name: sys.intern(name) for name in ("out", "threads", "activation")},
    }  # fmt: skip
    _kept.extend(objects.values())
    python.Process.fill(
        python.PROCESS, **{name: id(thing) for name, thing in objects.items()},
        held_at=_place(packed, slot), new_array=_word(pointer(capsule, None) + 8 * _PYARRAY_NEW),
        interpreter=_interpreter(),
    )  # fmt: skip
    python.Process.fill(python.PROCESS, on=1)  # behind the others


_names: list[str] = []


def know_post_ops(activation: str, post_ops: int) -> None:
    """Let vectorcall kernels find the post-ops of an activation."""
    name = sys.intern(activation)
    with _filing:
        if name not in _names:
            entry = python.Process.size + 2 * len(_names)
            _names.append(name)
            python.PROCESS[entry + 1] = post_ops
            python.PROCESS[entry] = id(name)
