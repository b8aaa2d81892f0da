"""A region of one leaf as post-ops (gemm/post_ops.py): what a layer does to its own results while they are in L1.

    post_ops(out, out_stride, addend, addend_stride, rows, columns)        out[r, c] = region(out[r, c]), float32

Values are those of emit.py's function: lanes do not know of each other.
"""

from __future__ import annotations

from llvmlite import ir

from ..activations.emit import ARGUMENTS, emit_rows
from ..isa.emitter import VOID
from ..isa.traced import Lanes
from .emit import LANES
from .reference import Region, computed


def post_ops_function(region: Region, module: ir.Module, name: str) -> ir.Function:
    """``name(out, out_stride, addend, addend_stride, rows, columns)``, at least one row and column."""
    function = ir.Function(module, ir.FunctionType(VOID, ARGUMENTS), name)
    function.attributes.add("nounwind")

    def result(x: Lanes) -> Lanes:
        return computed(region, [x])[region.results[0]]

    emit_rows(function, LANES, result, residual=False)
    return function
