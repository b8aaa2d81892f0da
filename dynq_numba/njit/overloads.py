"""What public functions are inside ``numba.njit``: kept here, told to numba where an operator's row is registered."""

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
    """As `numba.extending.overload`, without telling numba."""
    return lambda build: Overload(functions, build, options)
