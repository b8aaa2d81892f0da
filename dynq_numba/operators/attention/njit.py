"""attention inside compiled code (see operators/linear/njit.py): on one thread, arrays of four axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.attention import njit_arguments as given
from ...kernels.attention.call import attend_into
from ...kernels.attention.context import AttentionDescriptor
from ...kernels.attention.emit import max_vectors
from ...kernels.attention.reference import LONGEST
from ...kernels.base.memory import WORKER_SIGNATURE, data_ptr, insist, keep, null
from ...kernels.objects import arrays
from ...njit.arguments import absent, address_of, out_array, result_function, value_type
from ...njit.overloads import overload_of
from ...runtime import isa, kernel_table
from .api import attention
from .backend import OPERATIONS


def _floats(name: str, array: Any) -> Callable:
    """What makes of an operand a float32 array whose last axis is contiguous."""
    if not (isinstance(array, types.Array) and array.ndim == 4 and array.dtype in (types.float32, types.float64)):
        raise TypingError(f"{name} must be a float32 or float64 array of four axes in compiled code; got {array}")
    if array.dtype != types.float32:
        return given.as_float
    return given.as_is if array.layout == "C" else given.contiguous_last


WORDS = AttentionDescriptor.size
TOO_LONG = f"q must have a last dimension of at most {LONGEST} where bits is 8"


@overload_of(attention)
def attention_overload(  # type: ignore[no-untyped-def]
    q, k, v, mask=None, causal=False, scale=None, key_lengths=None, bits=None, out=None, threads=None
):
    queries_of, keys_of, values_of = _floats("q", q), _floats("k", k), _floats("v", v)
    has_mask, has_lengths, has_out = not absent(mask), not absent(key_lengths), out_array(out, 4)
    mask_of, mask_bytes = given.no_mask, 0
    if has_mask:
        kinds = {types.boolean: 1, types.float32: 4}
        if not (isinstance(mask, types.Array) and mask.ndim == 4 and mask.dtype in kinds):
            raise TypingError(f"mask must be a boolean or float32 array of four axes in compiled code; got {mask}")
        mask_of, mask_bytes = given.full_mask, kinds[mask.dtype]
    lengths_of = given.no_lengths
    if has_lengths:
        several = isinstance(key_lengths, types.Array) and key_lengths.ndim == 1
        if (key_lengths.dtype if several else value_type(key_lengths)) not in types.integer_domain:
            raise TypingError(f"key_lengths must be an integer or a vector of them in compiled code; got {key_lengths}")
        lengths_of = given.batch_lengths if several else given.one_length
    if not isinstance(getattr(causal, "value", causal), bool) and value_type(causal) != types.boolean:
        raise TypingError(f"causal must be True (bottom right) or False in compiled code; got {causal}")
    has_scale, in_integers = not absent(scale), not absent(bits)
    if in_integers and value_type(bits) not in types.integer_domain:
        raise TypingError(f"bits must be 8 or None in compiled code; got {bits}")
    target = isa.active()
    kind = OPERATIONS[8 if in_integers else None]
    worker = address_of(kernel_table.kernel_for(kind, target).worker(), WORKER_SIGNATURE)
    vectors, result_of = max_vectors(target), result_function(has_out)

    def run(q, k, v, mask=None, causal=False, scale=None, key_lengths=None, bits=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        batch, heads, rows, dim = q.shape
        if k.shape[0] != batch or k.shape[3] != dim:
            raise ValueError("k must have the batch and the last dimension of q")
        if v.shape[0] != batch or v.shape[1] != k.shape[1] or v.shape[2] != k.shape[2]:
            raise ValueError("v must have the batch, heads and positions of k")
        if heads % max(1, k.shape[1]) != 0 or (k.shape[1] == 0 and heads > 0):
            raise ValueError("k must have heads that divide those of q")
        if in_integers and bits != 8:
            raise ValueError("bits must be 8 or None")
        if in_integers and dim > LONGEST:
            raise ValueError(TOO_LONG)
        shape = (batch, heads, rows, v.shape[3])
        y = result_of(out, shape, np.float32)
        queries, keys, values = queries_of(q), keys_of(k), values_of(v)
        chosen = mask_of(mask, (batch, heads, rows, k.shape[2]))
        seen = lengths_of(key_lengths, batch, k.shape[2])
        factor = scale if has_scale else 1.0 / np.sqrt(max(dim, 1))
        words = np.zeros(WORDS, np.int64)
        descriptor = AttentionDescriptor(data_ptr(words))
        descriptor.worker, descriptor.most_vectors, descriptor.decodes = worker(), vectors, not in_integers
        target = np.empty(shape, np.float32) if has_out else y
        strides = (chosen.strides[0], chosen.strides[1], chosen.strides[2])
        insist(attend_into(
            queries, keys, values, target, data_ptr(chosen), mask_bytes, strides,
            data_ptr(seen) if has_lengths else null(), 1 if causal else 0, factor, descriptor, 1,
        ))  # fmt: skip
        keep(chosen)
        keep(seen)
        keep(words)
        arrays.deliver(target, y)
        keep(target)
        return y

    return run
