"""A region of one leaf as post-ops (gemm/post_ops.py): what a layer does to its own results while they are in L1.

    post_ops(out, out_stride, addend, addend_stride, rows, columns)        out[r, c] = region(out[r, c]), float32

    for each row:   whole blocks of LANES columns, then the rest with a mask

Values are those of emit.py's function: lanes do not know of each other.
"""

from __future__ import annotations

from llvmlite import ir

from ..isa.emitter import BYTES, F32, I64, VOID, Emitter, vector
from ..isa.traced import Lanes
from .emit import LANES
from .reference import Region, computed

BLOCK = vector(F32, LANES)


def post_ops_function(region: Region, module: ir.Module, name: str) -> ir.Function:
    """``name(out, out_stride, addend, addend_stride, rows, columns)``, at least one row and column."""
    function = ir.Function(module, ir.FunctionType(VOID, [BYTES, I64, BYTES, I64, I64, I64]), name)
    function.attributes.add("nounwind")
    out, stride, _, _, rows, columns = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    whole, rest = builder.sdiv(columns, ir.Constant(I64, LANES)), builder.srem(columns, ir.Constant(I64, LANES))
    inside = e.first_lanes(LANES, rest)

    def result(x: ir.Value) -> ir.Value:
        return computed(region, [Lanes(e, x, "float32")])[region.results[0]].value

    def block(state: list[ir.Value]) -> list[ir.Value]:
        (place,) = state
        e.store(result(e.load(BLOCK, place, 4)), place, 4)
        return [e.at(place, 4 * LANES)]

    def row(state: list[ir.Value]) -> list[ir.Value]:
        (first,) = state
        (place,) = e.repeat(whole, [first], block)
        with e.when(builder.icmp_signed(">", rest, ir.Constant(I64, 0))):
            e.masked_store(result(e.masked_load(BLOCK, place, inside, 4)), place, inside, 4)
        return [e.at(first, stride)]

    e.loop(rows, [out], row)
    builder.ret_void()
    return function
