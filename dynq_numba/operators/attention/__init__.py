"""Attention, and the cache of keys and values."""

from __future__ import annotations

from ...kernels.attention.int8 import integer_attention_worker
from ...kernels.attention.worker import attention_worker
from ...runtime.kernel_table import Family
from ..base import Operator, named
from . import njit
from .api import attention
from .kv_cache import KVCache
from .warm import warm

OPERATOR = Operator(
    "attention",
    title="Attention",
    about="float32, or products in integers (`bits=8`); a cache of keys and values",
    public=named(attention, KVCache),
    kernels=(
        Family("attention", "f32_attention", lambda isa, scheme: attention_worker(isa)),
        Family(
            "attention_int8", "qd8_f32_attention", lambda isa, scheme: integer_attention_worker(isa),
            weights="float32, made int8 at run time",
        ),
    ),
    overloads=(njit.attention_overload,),
    warm=warm,
)
