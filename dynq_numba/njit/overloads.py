"""The forms of public functions inside ``numba.njit``. Registered with numba together with an operator's row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numba import extending


class Overload(NamedTuple):
    """The compiled form of functions."""

    functions: tuple[Callable, ...]
    #: types of arguments -> what is compiled for them
    build: Callable
    options: Mapping[str, Any]

    def register(self) -> None:
        for function in self.functions:
            extending.overload(function, **self.options)(self.build)


def overload_of(*functions: Callable, **options: Any) -> Callable[[Callable], Overload]:
    """Like `numba.extending.overload`, but does not register it with numba."""
    return lambda build: Overload(functions, build, options)
