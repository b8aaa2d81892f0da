"""Compiled or the reference: the one place that decides."""

from __future__ import annotations

from typing import TypeVar

from ..kernels.base.jit import JIT_ENABLED

T = TypeVar("T")


def choose(compiled: T, reference: T) -> T:
    """`compiled`, or with NUMBA_DISABLE_JIT=1 `reference`, which is in numpy and gives the same bits."""
    return compiled if JIT_ENABLED else reference
