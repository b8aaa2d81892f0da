"""What a float32 product's step and its worker are told."""

from __future__ import annotations

from ..base.context import Context, Descriptor
from ..base.record import Pointer, Record

#: Leading axes that a product may have.
AXES = 4


class Multiplier(Descriptor):
    """What is the same for all products on an instruction set."""

    nr: int  # columns of a panel
    mr: int  # rows of the tallest tile
    l2_bytes: int
    slots: Pointer  # the process's scratch memory (threads/scratch.py)


class Product(Record):
    """out = post_ops(bias + a · b) for every place of up to four leading axes. Strides in bytes; 0 repeats."""

    multiplier: Pointer
    m: int
    n: int
    k: int
    a: Pointer
    a_row: int
    a_column: int
    b: Pointer  # [K, N], or panels [⌈N / NR⌉][K][NR] of zeros beyond N (see `pack_matrix`) if `packed`
    b_row: int
    b_column: int
    packed: int
    bias: Pointer  # [N] or NULL
    out: Pointer
    out_row: int  # columns of out are contiguous
    residual: Pointer  # like out; or NULL, if post_ops want none
    residual_row: int
    post_ops: Pointer  # gemm/post_ops.py, or NULL
    axis_0: int  # lengths of the leading axes; 1 where there is none
    axis_1: int
    axis_2: int
    axis_3: int
    a_0: int  # and their strides
    a_1: int
    a_2: int
    a_3: int
    b_0: int
    b_1: int
    b_2: int
    b_3: int
    out_0: int
    out_1: int
    out_2: int
    out_3: int
    residual_0: int
    residual_1: int
    residual_2: int
    residual_3: int


class ProductContext(Context):
    product: Pointer
    row_tasks: int
    column_tasks: int
    panels: int  # of b
    k_block: int  # how much of K a tile goes through at a time
    strip_panels: int  # panels that use one row panel while it is in L1
    in_place: int  # whether panels of b are read where they are
    dots: int  # whether there is one row, and columns of b lie along K (gemm/emit_dots.py)
