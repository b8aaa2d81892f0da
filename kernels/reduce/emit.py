"""A reduction as LLVM IR: four functions on blocks of LANES values, side by side in memory.

    across(x, total, blocks)        total[lane] ← total[lane] with x[block][lane], for block after block; in registers
    along(x, total, blocks)         total[block][lane] ← total[block][lane] with x[block][lane]
    fold(total, out)                out ← LANES lanes, half to half
    finish(total, blocks, count)    what a mean or a norm makes of its totals

The formulas are those of reference.py. Everything else, strides and what is no whole block, is in rows.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from ..isa.emitter import BYTES, F32, I64, VOID, Emitter, vector
from ..isa.traced import ELEMENTS, Lanes
from .reference import LANES, REDUCTIONS

#: What the functions' names end with, after the name of the module.
ENDS = ("", "_along", "_fold", "_finish")


def reduction_functions(name: str, kind: str, module: ir.Module, symbol: str) -> None:
    """The four functions, named by `symbol` and ENDS."""
    reduction, dtype = REDUCTIONS[name], np.dtype(kind)
    element = ELEMENTS[dtype]
    block, step = vector(element, LANES), LANES * dtype.itemsize

    def function(end: str, arguments: list[ir.Type], body: Callable[..., None]) -> None:
        made = ir.Function(module, ir.FunctionType(VOID, arguments), symbol + end)
        made.attributes.add("nounwind")
        e = Emitter(ir.IRBuilder(made.append_basic_block("entry")))
        body(e, *made.args)
        e.builder.ret_void()

    def combined(e: Emitter, total: ir.Value, x: ir.Value) -> ir.Value:
        return reduction.combine(Lanes(e, total, dtype), reduction.before(Lanes(e, x, dtype))).value

    def across(e: Emitter, x: ir.Value, total: ir.Value, blocks: ir.Value) -> None:
        def one(state: list[ir.Value]) -> list[ir.Value]:
            return [e.at(state[0], step), combined(e, state[1], e.load(block, state[0], 1))]

        _, result = e.loop(blocks, [x, e.load(block, total, 1)], one)
        e.store(result, total, 1)

    def along(e: Emitter, x: ir.Value, total: ir.Value, blocks: ir.Value) -> None:
        def one(state: list[ir.Value]) -> list[ir.Value]:
            e.store(combined(e, e.load(block, state[1], 1), e.load(block, state[0], 1)), state[1], 1)
            return [e.at(place, step) for place in state]

        e.loop(blocks, [x, total], one)

    def fold(e: Emitter, total: ir.Value, out: ir.Value) -> None:
        value, lanes = e.load(block, total, 1), LANES
        while lanes > 1:
            lanes //= 2
            low, high = (Lanes(e, e.part(value, first, lanes), dtype) for first in (0, lanes))
            value = reduction.combine(low, high).value
        e.store(e.lane(value, 0), out, 1)

    def finish(e: Emitter, total: ir.Value, blocks: ir.Value, count: ir.Value) -> None:
        def one(state: list[ir.Value]) -> list[ir.Value]:
            assert reduction.after is not None
            value = Lanes(e, e.load(block, state[0], 1), dtype)
            e.store(reduction.after(value, Lanes(e, e.splat(count, LANES)).astype(dtype)).value, state[0], 1)
            return [e.at(state[0], step)]

        if reduction.after is not None:
            e.loop(blocks, [total], one)

    function(ENDS[0], [BYTES, BYTES, I64], across)
    function(ENDS[1], [BYTES, BYTES, I64], along)
    function(ENDS[2], [BYTES, BYTES], fold)
    function(ENDS[3], [BYTES, I64, F32], finish)
