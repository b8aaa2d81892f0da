"""The worker: M values from X to OUT."""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import load_f32, load_int, load_ptr, store_f32


@kernel
def double_worker(context, index):
    x, out = load_ptr(context, at.X), load_ptr(context, at.OUT)
    for i in range(load_int(context, at.M)):
        store_f32(out, i, load_f32(x, i) + load_f32(x, i))
