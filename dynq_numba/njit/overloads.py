"""The forms of public functions inside ``numba.njit``. Registered with numba together with an operator's row.

Each is a part where it can be (kernels/base/parts.py): it becomes machine code together with the user's function, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numba import extending
from numba.core.compiler import Compiler

from ..kernels.base.parts import PartCompiler


class _OverloadCompiler(PartCompiler):
    """Compiles a part, or as numba does where that cannot be: an exception with values in it needs Python objects."""

    def compile_extra(self, function: Callable) -> Any:
        s = self.state
        given = s.typingctx, s.targetctx, s.library, s.args, s.return_type, s.flags, s.locals
        try:
            return super().compile_extra(function)
        except NotImplementedError:
            return Compiler(*given).compile_extra(function)


_AS_PART = {"pipeline_class": _OverloadCompiler}


class Overload(NamedTuple):
    """The compiled form of functions."""

    functions: tuple[Callable, ...]
    #: types of arguments -> what is compiled for them
    build: Callable
    #: numba.extending.overload's.
    options: Mapping[str, Any]

    def register(self) -> None:
        options = {**self.options, "jit_options": {**_AS_PART, **self.options.get("jit_options", {})}}
        for function in self.functions:
            extending.overload(function, **options)(self.build)


def jitable(function: Callable) -> Callable:
    """A function that overloads may call, as a part."""
    return extending.register_jitable(**_AS_PART)(function)


def overload_of(*functions: Callable, **options: Any) -> Callable[[Callable], Overload]:
    """Like `numba.extending.overload`, but does not register it with numba."""
    return lambda build: Overload(functions, build, options)
