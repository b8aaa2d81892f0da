"""Rows of float32 to rows of bytes and back, 64 values at a time.

    quantize    out = max(clip(rint(x / scale) + zero_point, 0, 255), low) ^ flip       quotients as in quantize/emit.py
    dequantize  out = float32((data ^ flip) - zero_point) · scale

    ┌ head ────────────┬ whole blocks of 64 values ┬ tail ┐
    │ to a cache line  │ one store, or four        │      │      the head is empty unless the function streams
    └──────────────────┴───────────────────────────┴──────┘

`stream` functions store past the caches (a line that is written whole need not be read first) and bring near what lies
`ahead` bytes further on. Non-temporal stores are weakly ordered: whoever tells another thread of them must do so by an
instruction with a lock prefix, as pool.run does. Head and tail touch no byte outside the row.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, F32, I1, I8, I32, I64, VOID, Emitter, internal_function, vector
from .emit import FLOATS, INTS, LANES, Quotient, by_quotient, quantized, shift

#: Values of a block, and vectors of float32 that they are.
BLOCK = 64
VECTORS = BLOCK // LANES
LINE = 64
BYTE_BLOCK = vector(I8, BLOCK)
SOME_BYTES = vector(I8, LANES)
QUANTIZE_ARGUMENTS = [BYTES, I64, BYTES, I64, I64, I64, BYTES, I64]
DEQUANTIZE_ARGUMENTS = [BYTES, I64, BYTES, I64, I64, BYTES, I64]

#: (where to read, where to write, how many values) of one part of a row.
Part = Callable[[ir.Value, ir.Value, ir.Value], None]


class Ends:
    """Loads and stores of the first `count` < 64 bytes of a block."""

    def __init__(self, e: Emitter, isa: InstructionSet):
        self.e, self.masks = e, isa.lanes == LANES
        self.buffer = None if self.masks else e.builder.bitcast(e.builder.alloca(BYTE_BLOCK), BYTES)

    def _mask(self, count: ir.Value) -> ir.Value:
        one = ir.Constant(I64, 1)
        return self.e.builder.bitcast(self.e.builder.sub(self.e.builder.shl(one, count), one), vector(I1, BLOCK))

    def _copy(self, target: ir.Value, source: ir.Value, count: ir.Value) -> None:
        self.e.call("llvm.memcpy.p0.p0.i64", VOID, [target, source, count, ir.Constant(I1, 0)])

    def load(self, source: ir.Value, count: ir.Value) -> ir.Value:
        if self.masks:
            return self.e.masked_load(BYTE_BLOCK, source, self._mask(count), 1)
        self._copy(self.buffer, source, count)
        return self.e.load(BYTE_BLOCK, self.buffer, 1)

    def store(self, value: ir.Value, target: ir.Value, count: ir.Value) -> None:
        if self.masks:
            self.e.masked_store(value, target, self._mask(count), 1)
        else:
            self.e.store(value, self.buffer, 1)
            self._copy(target, self.buffer, count)


def _store(e: Emitter, value: ir.Value, target: ir.Value, stream: bool) -> None:
    typed = e.builder.bitcast(target, value.type.as_pointer())
    stored = e.builder.store(value, typed, align=LINE if stream else 1)
    if stream:
        stored.set_metadata("nontemporal", e.builder.module.add_metadata([ir.Constant(I32, 1)]))


def _first_floats(e: Emitter, count: ir.Value, v: int) -> ir.Value:
    return e.first_lanes(LANES, e.builder.sub(count, ir.Constant(I64, LANES * v)))


def _row(
    e: Emitter, source: ir.Value, target: ir.Value, k: ir.Value, sizes: tuple[int, int], stream: bool, ahead: ir.Value,
    part: Part, block: Callable[[ir.Value, ir.Value], None],
) -> None:  # fmt: skip
    """Emit head, blocks and tail of one row; `sizes` are the bytes of a value read and written."""
    builder = e.builder
    read, written = sizes
    if stream:
        past = builder.and_(builder.neg(builder.ptrtoint(target, I64)), ir.Constant(I64, LINE - 1))
        head = builder.udiv(past, ir.Constant(I64, written))
        head = builder.select(builder.icmp_signed("<", head, k), head, k)
        with e.when(builder.icmp_signed(">", head, ir.Constant(I64, 0))):
            part(source, target, head)
        source = e.at(source, builder.mul(head, ir.Constant(I64, read)))
        target = e.at(target, builder.mul(head, ir.Constant(I64, written)))
        k = builder.sub(k, head)

    def step(state: list[ir.Value]) -> list[ir.Value]:
        source, target = state
        if stream:
            near = e.at(source, ahead)
            for line in range(0, read * BLOCK, LINE):
                e.prefetch(e.at(near, line))
        block(source, target)
        return [e.at(source, read * BLOCK), e.at(target, written * BLOCK)]

    whole, tail = builder.sdiv(k, ir.Constant(I64, BLOCK)), builder.srem(k, ir.Constant(I64, BLOCK))
    source, target = e.repeat(whole, [source, target], step)
    with e.when(builder.icmp_signed(">", tail, ir.Constant(I64, 0))):
        part(source, target, tail)


def quantize_function(module: ir.Module, isa: InstructionSet, stream: bool) -> ir.Function:
    """void quantize(x, k, scale, zero_point, low, flip, out, ahead): one row or a part of one; scale is not NaN."""
    name = f"dynq_quantize_{'stream_' if stream else ''}_{isa.name}"
    function, fresh = internal_function(module, name, VOID, QUANTIZE_ARGUMENTS)
    if not fresh:
        return function
    x, k, scale, zero_point, low, flip, out, ahead = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    ends = Ends(e, isa)
    shifts = shift(e, builder.trunc(zero_point, I32))
    lows, flips = (e.splat(builder.trunc(value, I8), BLOCK) for value in (low, flip))

    def convert(quotients: list[Quotient]) -> None:
        def converted(load: Callable[[int], ir.Value]) -> ir.Value:
            q = isa.pack_bytes(e, [quantized(e, quotients[0](load(v)), shifts) for v in range(VECTORS)])
            return builder.xor(builder.select(builder.icmp_unsigned(">", q, lows), q, lows), flips)

        def part(source: ir.Value, target: ir.Value, count: ir.Value) -> None:
            q = converted(lambda v: e.masked_load(FLOATS, e.at(source, LINE * v), _first_floats(e, count, v), 1))
            ends.store(q, target, count)

        def block(source: ir.Value, target: ir.Value) -> None:
            _store(e, converted(lambda v: e.load(FLOATS, e.at(source, LINE * v), 1)), target, stream)

        _row(e, x, out, k, (4, 1), stream, ahead, part, block)

    by_quotient(e, isa, e.load(vector(F32, 1), scale, 4), convert)
    builder.ret_void()
    return function


def dequantize_function(module: ir.Module, isa: InstructionSet, stream: bool) -> ir.Function:
    """void dequantize(data, k, scale, zero_point, flip, out, ahead): one row or a part.

    `zero_point` is that of data ^ flip. To stream, `out` must lie at a multiple of 4.
    """
    name = f"dynq_dequantize_{'stream_' if stream else ''}_{isa.name}"
    function, fresh = internal_function(module, name, VOID, DEQUANTIZE_ARGUMENTS)
    if not fresh:
        return function
    data, k, scale, zero_point, flip, out, ahead = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    ends = Ends(e, isa)
    zeros = e.splat(builder.trunc(zero_point, I32), LANES)
    flips = e.splat(builder.trunc(flip, I8), LANES)
    scales = e.splat(e.load(F32, scale, 4), LANES)

    def converted(bytes_: ir.Value) -> ir.Value:
        value = builder.sub(builder.zext(builder.xor(bytes_, flips), INTS), zeros)
        return builder.fmul(builder.sitofp(value, FLOATS), scales)

    def part(source: ir.Value, target: ir.Value, count: ir.Value) -> None:
        some = ends.load(source, count)
        for v in range(VECTORS):
            value, mask = converted(e.part(some, LANES * v, LANES)), _first_floats(e, count, v)
            e.masked_store(value, e.at(target, LINE * v), mask, 1)

    def block(source: ir.Value, target: ir.Value) -> None:
        for v in range(VECTORS):
            value = converted(e.load(SOME_BYTES, e.at(source, LANES * v), 1))
            _store(e, value, e.at(target, LINE * v), stream)

    _row(e, data, out, k, (1, 4), stream, ahead, part, block)
    builder.ret_void()
    return function
