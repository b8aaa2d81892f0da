"""Values moved from any stride to any other."""

from __future__ import annotations

from .jit import kernel
from .memory import copy_bytes, load_i32, load_int, load_u8, offset, store_i32, store_int, store_u8

#: Bytes from which a call of memcpy pays.
SHORT = 64


@kernel
def copy_strided(to, to_stride, source, source_stride, size, count):
    """`count` values of `size` bytes; strides in bytes."""
    if to_stride == size and source_stride == size and count * size >= SHORT:
        copy_bytes(to, source, count * size)
    elif size == 4:
        for i in range(count):
            store_i32(offset(to, i * to_stride), 0, load_i32(offset(source, i * source_stride), 0))
    elif size == 8:
        for i in range(count):
            store_int(offset(to, i * to_stride), 0, load_int(offset(source, i * source_stride), 0))
    elif size == 1:
        for i in range(count):
            store_u8(offset(to, i * to_stride), 0, load_u8(offset(source, i * source_stride), 0))
    else:
        for i in range(count):
            copy_bytes(offset(to, i * to_stride), offset(source, i * source_stride), size)
