"""What the workers of matmul and matmul_integer are told."""

from __future__ import annotations

from ..base.context import Context, Descriptor
from ..base.record import Pointer, Record


class MatmulDescriptor(Descriptor):
    nr: int  # columns of a panel
    k_per_word: int
    l2_bytes: int


class Products(Record):
    """What a call says of its products: sizes, numbers of products in two levels, strides in bytes."""

    m: int
    n: int
    k: int
    outer: int
    inner: int
    a_row: int
    b_row: int
    b_column: int
    out_row: int
    a_outer: int
    a_inner: int
    b_outer: int
    b_inner: int
    out_outer: int
    out_inner: int


class MatmulContext(Context):
    products: Pointer  # see Products
    a: Pointer
    b: Pointer
    out: Pointer
    words: int  # k-words to multiply
    strip_panels: int
    parts: int  # tasks that share the columns of a product


class IntegerContext(Context):
    """Of matmul_integer."""

    m: int
    n: int
    k: int
    a: Pointer
    a_stride: int
    a_flip: int  # 128 where the top bit of every byte is to be flipped
    a_zero: Pointer  # int32 zero points
    panels: Pointer  # b
    panel_stride: int
    columns: Pointer  # the epilogue's column words
    out: Pointer
    out_stride: int
