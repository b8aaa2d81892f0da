"""Epilogues: activation, residual and a user's own function, compiled for the combinations that are used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core.errors import NumbaError

from ..kernels.activations.jitted import ACTIVATIONS
from ..kernels.base.jit import address
from ..kernels.base.memory import FINISH_SIGNATURE
from ..kernels.gemm.epilogue import finisher, identity
from . import builtin


def finishing_kernel(activation: str | None, epilogue: Any, residual: bool) -> Callable | None:
    """The jitted finisher for a combination, or None where nothing is to be done."""
    if activation is None and epilogue is None and not residual:
        return None
    first = identity if activation is None else ACTIVATIONS[activation]
    last = identity if epilogue is None else epilogue
    return finisher(first, last, residual=residual, variant=str(activation), cached=epilogue is None)


@cache
def finish_address(activation: str | None, epilogue: Any, residual: bool) -> int:
    finish = finishing_kernel(activation, epilogue, residual)
    if finish is None:
        return 0
    try:
        found = address(finish, FINISH_SIGNATURE)
    except NumbaError as error:
        raise TypeError(f"epilogue must take and return one float32; {epilogue} does not compile: {error}") from error
    if activation is not None and epilogue is None and not residual:
        builtin.know_finisher(activation, found)
    return found
