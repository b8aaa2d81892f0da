"""Rows of float32 times a Hadamard matrix, block by block: additions and subtractions only.

    for h = 1, 2, 4 … block/2, for all i of a block with i & h = 0:
        (x[i], x[i + h]) ← (x[i] + x[i + h], x[i] - x[i + h])

That is the matrix of ±1 with H·H = block·I, without its factor 1/sqrt(block). A block is a few vectors of 16: the first
four steps are within vectors (a shuffle, a sum, a difference, a blend), the others between vectors.
Source: Fino and Algazi, Unified matrix treatment of the fast Walsh-Hadamard transform (1976).
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir
from numba.extending import intrinsic

from ..isa.emitter import BYTES, I64, VOID, Emitter, internal_function
from ..isa.intrinsics import switch
from ..quantize.emit import FLOATS, LANES

#: Sizes of a block: whole vectors, and few enough to stay in registers.
BLOCKS = (16, 32, 64, 128)


def rotate_function(module: ir.Module, block: int) -> ir.Function:
    """void rotate(x, x_stride, rows, k, out): out [rows, k] contiguous, k a multiple of `block`."""
    function, fresh = internal_function(module, f"dynq_rotate_{block}", VOID, [BYTES, I64, I64, I64, BYTES])
    if not fresh:
        return function
    x, x_stride, rows, k, out = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)

    def within(v: ir.Value, h: int) -> ir.Value:
        partner = e.shuffle(v, v, [i ^ h for i in range(LANES)])
        total, gap = builder.fadd(v, partner), builder.fsub(partner, v)
        return e.shuffle(total, gap, [i + LANES if i & h else i for i in range(LANES)])

    def one_block(state: list[ir.Value]) -> list[ir.Value]:
        source, target = state
        vectors = [e.load(FLOATS, e.at(source, 4 * i), 4) for i in range(0, block, LANES)]
        for h in (1, 2, 4, 8):
            vectors = [within(v, h) for v in vectors]
        h = 1
        while h < len(vectors):
            for i in range(len(vectors)):
                if not i & h:
                    a, b = vectors[i], vectors[i + h]
                    vectors[i], vectors[i + h] = builder.fadd(a, b), builder.fsub(a, b)
            h *= 2
        for i, value in enumerate(vectors):
            e.store(value, e.at(target, 4 * LANES * i), 4)
        return [e.at(source, 4 * block), e.at(target, 4 * block)]

    blocks = builder.sdiv(k, ir.Constant(I64, block))

    def one_row(state: list[ir.Value]) -> list[ir.Value]:
        _, target = e.repeat(blocks, state, one_block)
        return [e.at(state[0], x_stride), target]

    e.repeat(rows, [x, out], one_row)
    builder.ret_void()
    return function


@intrinsic
def rotate(typingctx, block, x, x_stride, rows, k, out):
    """``rotate(block, …)``: see `rotate_function`; `block` is one of BLOCKS."""
    functions = {block: partial(rotate_function, block=block) for block in BLOCKS}
    return switch(functions, [BYTES, I64, I64, I64, BYTES])
