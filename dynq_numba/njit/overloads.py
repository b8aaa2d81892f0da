"""The forms of public functions inside ``numba.njit``. Registered with numba together with an operator's row.

Most are parts (kernels/base/parts.py): such a one becomes machine code together with the user's function, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numba import extending

from ..kernels.base.parts import PartCompiler

_AS_PART = {"pipeline_class": PartCompiler}


class Overload(NamedTuple):
    """The compiled form of functions."""

    functions: tuple[Callable, ...]
    #: types of arguments -> what is compiled for them
    build: Callable
    #: Whether it is a part. An exception with values in it needs Python objects, which parts have not.
    part: bool
    #: numba.extending.overload's.
    options: Mapping[str, Any]

    def register(self) -> None:
        given = self.options.get("jit_options", {})
        options = {**self.options, "jit_options": {**_AS_PART, **given}} if self.part else self.options
        for function in self.functions:
            extending.overload(function, **options)(self.build)


def jitable(function: Callable) -> Callable:
    """A function that overloads may call, as a part."""
    return extending.register_jitable(**_AS_PART)(function)


def overload_of(*functions: Callable, part: bool = True, **options: Any) -> Callable[[Callable], Overload]:
    """Like `numba.extending.overload`, but does not register it with numba."""
    return lambda build: Overload(functions, build, part, options)
