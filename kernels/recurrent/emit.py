"""Loads and stores that never overlap, so that LLVM vectorises a loop over lanes without checks.

Otherwise LLVM compares addresses, to be sure that no store changes what a later lane loads. A loop of 16 lanes is too
short for that. Scoped alias metadata tells LLVM instead: within one kernel, `stores` write nothing that `load` reads,
and no two of the `stores` write the same place. (Metadata ends with the function: a buffer may be written by one call
and read by the next.)
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..base.memory import F32, slot

_SCOPES = ("load", "first", "second")


def _apart(instruction: ir.Instruction, module: ir.Module, own: str) -> None:
    domain = module.add_metadata(["dynq.recurrent"])
    scope = {name: module.add_metadata([f"dynq.recurrent.{name}", domain]) for name in _SCOPES}
    instruction.set_metadata("alias.scope", module.add_metadata([scope[own]]))
    instruction.set_metadata("noalias", module.add_metadata([scope[name] for name in _SCOPES if name != own]))


def _loader(name: str) -> Callable:
    @intrinsic
    def load(typingctx, base, index):
        def codegen(context, builder, signature, args):
            value = builder.load(slot(builder, args[0], args[1], F32))
            _apart(value, builder.module, name)
            return value

        return types.float32(types.voidptr, types.intp), codegen

    return load


def _storer(name: str) -> Callable:
    @intrinsic
    def store(typingctx, base, index, value):
        def codegen(context, builder, signature, args):
            stored = builder.store(args[2], slot(builder, args[0], args[1], F32))
            _apart(stored, builder.module, name)
            return context.get_dummy_value()

        return types.void(types.voidptr, types.intp, types.float32), codegen

    return store


#: ((float *)base)[index], of what no store here writes; and of what `store_first` wrote.
load, load_first = _loader("load"), _loader("first")
#: ((float *)base)[index] = value
store_first, store_second = _storer("first"), _storer("second")


@intrinsic
def copy_floats(typingctx, source, target, count):
    """memcpy(3) of `count` float32, from anywhere apart."""

    def codegen(context, builder, signature, args):
        cgutils.raw_memcpy(builder, args[1], args[0], args[2], 4, align=4)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.voidptr, types.intp), codegen
