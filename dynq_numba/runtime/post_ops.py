"""Post-ops: activation, residual and a user's own function, compiled for the combinations that are used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core.errors import NumbaError

from ..kernels.base.jit import address
from ..kernels.base.memory import POST_OPS_SIGNATURE
from ..kernels.gemm.post_ops import post_ops_of
from . import builtin


def post_ops_kernel(activation: str | None, epilogue: Any, residual: bool) -> Callable | None:
    """The post-ops of a combination, jitted; None if there is nothing to do."""
    if activation is None and epilogue is None and not residual:
        return None
    return post_ops_of(activation, epilogue, residual=residual)


@cache
def post_ops_address(activation: str | None, epilogue: Any, residual: bool) -> int:
    post_ops = post_ops_kernel(activation, epilogue, residual)
    if post_ops is None:
        return 0
    try:
        found = address(post_ops, POST_OPS_SIGNATURE)
    except NumbaError as error:
        raise TypeError(f"epilogue must take and return one float32; {epilogue} does not compile: {error}") from error
    if activation is not None and epilogue is None and not residual:
        builtin.know_post_ops(activation, found)
    return found
