"""The forms of public functions inside ``numba.njit``. Registered with numba together with an operator's row.

Each is a part (kernels/base/parts.py): it becomes machine code together with the user's function, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numba import extending

from ..kernels.base.parts import PartCompiler

AS_PART = {"pipeline_class": PartCompiler}


class Overload(NamedTuple):
    """The compiled form of functions."""

    functions: tuple[Callable, ...]
    #: types of arguments -> what is compiled for them
    build: Callable
    #: numba.extending.overload's.
    options: Mapping[str, Any]

    def register(self) -> None:
        options = {**self.options, "jit_options": {**AS_PART, **self.options.get("jit_options", {})}}
        for function in self.functions:
            extending.overload(function, **options)(self.build)


def jitable(function: Callable) -> Callable:
    """A function that overloads may call, as a part."""
    return extending.register_jitable(**AS_PART)(function)


def overload_of(*functions: Callable, **options: Any) -> Callable[[Callable], Overload]:
    """Like `numba.extending.overload`, but does not register it with numba."""
    return lambda build: Overload(functions, build, options)
