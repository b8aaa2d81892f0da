"""Passes over rows of float32, and formulas on many vectors at once.

A pass takes blocks of one or more vectors of 16 lanes. The last, short block is masked and touches no byte beyond the
row:

    ┌ block ─────────────────────────┬ block ┬ masked block ┐
    │ stream 0 │ stream 1 │ 2 │ 3    │ …     │ x x x x 0 0  │      lanes beyond the row are 0 in every sum
    └──────────┴──────────┴──────────┴───────┴──────────────┘

`folded` reduces the streams and lanes of such sums to one value per row, in the order of reference.row_sum.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from ..isa.emitter import F32, I8, I64, Emitter, constant, vector
from ..isa.traced import Lanes
from .reference import LANES

FLOATS = vector(F32, LANES)
VECTOR_BYTES = 4 * LANES
#: Vectors that a formula is emitted for at once, operation by operation, so that a core has as many independent chains
#: before it (8 instead of 1: two thirds of the time, for AVX-512 as for AVX2).
WIDE = 8


class Place:
    """A vector's place in every row of the pass: its bytes from the row's start, and which lanes are in the row."""

    def __init__(self, e: Emitter, offset: ir.Value, left: ir.Value | None):
        self.e, self.offset, self.left = e, offset, left

    def _mask(self, lanes: int = LANES) -> ir.Value:
        left = self.left if lanes == LANES else self.e.builder.mul(self.left, ir.Constant(I64, lanes // LANES))
        return self.e.first_lanes(lanes, left)

    def load(self, row: ir.Value, kind: ir.VectorType = FLOATS) -> ir.Value:
        """Values of a row of floats, of bytes, or of pairs of floats; 0 in lanes beyond it."""
        width = kind.count * (1 if kind.element == I8 else 4)
        offset = self.offset
        if width < VECTOR_BYTES:
            offset = self.e.builder.udiv(offset, ir.Constant(I64, VECTOR_BYTES // width))
        elif width > VECTOR_BYTES:
            offset = self.e.builder.mul(offset, ir.Constant(I64, width // VECTOR_BYTES))
        if self.left is None:
            return self.e.load(kind, self.e.at(row, offset), 1)
        return self.e.masked_load(kind, self.e.at(row, offset), self._mask(kind.count), 1)

    def store(self, value: ir.Value, row: ir.Value) -> None:
        offset = self.offset
        if value.type.count > LANES:
            offset = self.e.builder.mul(offset, ir.Constant(I64, value.type.count // LANES))
        if self.left is None:
            self.e.store(value, self.e.at(row, offset), 1)
        else:
            self.e.masked_store(value, self.e.at(row, offset), self._mask(value.type.count), 1)

    def only(self, value: ir.Value, other: float) -> ir.Value:
        """`other` in lanes beyond the row."""
        if self.left is None:
            return value
        return self.e.builder.select(self._mask(), value, constant(FLOATS, other))


#: What is done at some places of a row, from one state to the next.
Body = Callable[[list[Place], list[ir.Value]], list[ir.Value]]


def sweep(
    e: Emitter, k: ir.Value, vectors: int, state: list[ir.Value], body: Body, *, singly: bool = False
) -> list[ir.Value]:
    """Go over a row of k values in blocks of `vectors` vectors, the last one short; returns the last state.

    `singly`: what is no whole block goes vector by vector.
    """
    builder = e.builder

    def step(vectors: int, left: ir.Value | None) -> Callable[[list[ir.Value]], list[ir.Value]]:
        def run(state: list[ir.Value]) -> list[ir.Value]:
            offset, *rest = state
            places = []
            for v in range(vectors):
                lanes = None if left is None else builder.sub(left, ir.Constant(I64, LANES * v))
                places.append(Place(e, builder.add(offset, ir.Constant(I64, VECTOR_BYTES * v)), lanes))
            return [builder.add(offset, ir.Constant(I64, VECTOR_BYTES * vectors)), *body(places, rest)]

        return run

    carried, left = [ir.Constant(I64, 0), *state], k
    for size in (vectors, 1) if singly and vectors > 1 else (vectors,):
        block = ir.Constant(I64, LANES * size)
        carried = e.repeat(builder.sdiv(left, block), carried, step(size, None))
        left = builder.srem(left, block)
    some = builder.zext(builder.icmp_signed(">", left, ir.Constant(I64, 0)), I64)
    return e.repeat(some, carried, step(size, left))[1:]


def aligned_sweep(e: Emitter, k: ir.Value, row: ir.Value, body: Callable[[Place], None]) -> None:
    """`body` at every vector of a row of k values, so cut that whole ones begin at cache lines of `row`.

    A store into two lines costs as much as several where the lines are not in L1.
    """
    builder = e.builder
    before = builder.and_(builder.neg(builder.ptrtoint(row, I64)), ir.Constant(I64, VECTOR_BYTES - 1))
    head = builder.lshr(before, ir.Constant(I64, 2))
    head = builder.select(builder.icmp_signed("<", head, k), head, k)
    with e.when(builder.icmp_signed(">", head, ir.Constant(I64, 0))):
        body(Place(e, ir.Constant(I64, 0), head))
    start, left = builder.mul(head, ir.Constant(I64, 4)), builder.sub(k, head)

    def step(state: list[ir.Value]) -> list[ir.Value]:
        body(Place(e, state[0], None))
        return [builder.add(state[0], ir.Constant(I64, VECTOR_BYTES))]

    (end,) = e.repeat(builder.sdiv(left, ir.Constant(I64, LANES)), [start], step)
    tail = builder.srem(left, ir.Constant(I64, LANES))
    with e.when(builder.icmp_signed(">", tail, ir.Constant(I64, 0))):
        body(Place(e, end, tail))


def joined(e: Emitter, values: list[ir.Value]) -> ir.Value:
    """The lanes of a power of two of vectors, one after another."""
    while len(values) > 1:
        values = [e.join(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def formula(e: Emitter, function: Callable, *operands: list[ir.Value]) -> list[ir.Value]:
    """A formula of lists of vectors, WIDE at a time."""
    results = []
    for first in range(0, len(operands[0]), WIDE):
        parts = [values[first : first + WIDE] for values in operands]
        wide = function(*(Lanes(e, joined(e, values)) for values in parts)).value
        results += [e.part(wide, LANES * i, LANES) for i in range(len(parts[0]))]
    return results


def folded(e: Emitter, rows: list[list[ir.Value]], combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Each row's streams, then its lanes, combined half to half: a vector of the rows' results."""
    sums = []
    for parts in rows:
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [combine(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
        sums += parts
    value, width = joined(e, sums), LANES
    while width > 1:
        low = [r * width + i for r in range(len(rows)) for i in range(width // 2)]
        high = [lane + width // 2 for lane in low]
        value, width = combine(e.shuffle(value, value, low), e.shuffle(value, value, high)), width // 2
    return value
