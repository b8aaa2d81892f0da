"""Compiled or the reference: the one place that decides."""

from __future__ import annotations

from typing import TypeVar

from ..kernels.base.jit import JIT_ENABLED

T = TypeVar("T")


def choose(compiled: T, reference: T) -> T:
    """`compiled`, or under NUMBA_DISABLE_JIT=1 `reference`: the numpy one, with the same bits."""
    return compiled if JIT_ENABLED else reference
