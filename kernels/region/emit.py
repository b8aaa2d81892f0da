"""A region as LLVM IR: a function that does blocks of LANES values, side by side in every operand.

    function(pointers, steps, blocks)          operands' addresses; bytes from one block to the next, of each; how many

    one loop:   loads ─▶ the formulas of reference.py (isa/traced.py) ─▶ stores

All loads of a block come before its stores: a result may be one of the leaves. Everything else about a call, rows,
strides and what is no whole block, is in rows.py, compiled once for all regions. So there is little to compile here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from ..isa.emitter import BYTES, I8, I64, VOID, Emitter, vector
from ..isa.traced import ELEMENTS, Lanes, number_of, same_in_all
from .reference import Region, computed

#: Values of a block.
LANES = 32


def _stored(kind: str) -> ir.VectorType:
    """A block in memory, where a boolean is a byte."""
    return vector(I8 if kind == "bool" else ELEMENTS[np.dtype(kind)], LANES)


def _load(e: Emitter, kind: str, pointer: ir.Value) -> Lanes:
    value = e.load(_stored(kind), pointer, 1)
    if kind == "bool":
        value = e.builder.icmp_unsigned("!=", value, same_in_all(value.type, 0))
    return Lanes(e, value, kind)


def _store(e: Emitter, kind: str, value: Any, pointer: ir.Value) -> None:
    if not isinstance(value, Lanes):  # all its operands were constants
        value = Lanes(e, same_in_all(vector(ELEMENTS[np.dtype(kind)], LANES), number_of(np.asarray(value))), kind)
    e.store(e.builder.zext(value.value, _stored(kind)) if kind == "bool" else value.value, pointer, 1)


def region_function(region: Region, module: ir.Module, name: str) -> ir.Function:
    """``name(pointers, steps, blocks)``, at least one block."""
    function = ir.Function(module, ir.FunctionType(VOID, [BYTES.as_pointer(), I64.as_pointer(), I64]), name)
    function.attributes.add("nounwind")
    pointers, steps, blocks = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e, kinds, leaves = Emitter(builder), region.operands, len(region.leaves)

    def each(array: ir.Value) -> list[ir.Value]:
        return [builder.load(builder.gep(array, [ir.Constant(I64, i)])) for i in range(len(kinds))]

    def block(places: list[ir.Value]) -> list[ir.Value]:
        values = computed(region, [_load(e, kind, p) for kind, p in zip(region.leaves, places, strict=False)])
        for kind, which, p in zip(kinds[leaves:], region.results, places[leaves:], strict=True):
            _store(e, kind, values[which], p)
        return [e.at(p, step) for p, step in zip(places, bytes_on, strict=True)]

    bytes_on = each(steps)
    e.loop(blocks, each(pointers), block)
    builder.ret_void()
    return function
