"""Attention of 1 to 8 query rows over a block of keys, as in a decode step. The same bits as attention/emit.py.

With so few rows most lanes of the other form would be empty. Here a lane is a key, then a value of v:

    scores    16 rows of k are transposed in registers; s[row][16 keys] = Σ_d fma(k[keys, d], q[row, d])
    weights   p = exp(s - max), the maximum from all lanes
    values    o[row][16 d] = fma(o[row, d], factor[row], Σ_j fma(p[row, j], v[j, d])); Σ_j p on the way

    q [rows][D], o [rows][Dv]: whole sixteens, q with zeros behind D;  s [rows][BLOCK]

k and v are read once, forward. A d of zeros after D adds 0 to a sum. This can only change the sign of a zero, which is
lost in the exponential.
"""

from __future__ import annotations

from llvmlite import ir

from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, F32, I64, VOID, Emitter, constant, internal_function
from ..isa.transpose import FLOATS, LANES, LINE, MINUS_INF, by_sixteens, transposed
from .emit import exp, finite_or_zero, greater
from .reference import BLOCK

#: Numbers of rows that functions are emitted for.
ROWS = (1, 2, 4, 8)
#: Bytes of a row of s.
ROW = 4 * BLOCK

SCORES_ARGUMENTS = [BYTES, I64, BYTES, I64, I64, BYTES, BYTES, I64]
WEIGHTS_ARGUMENTS = [BYTES, I64, BYTES, BYTES]
VALUES_ARGUMENTS = [BYTES, BYTES, I64, I64, I64, BYTES, BYTES, BYTES, I64]


def _begin(module: ir.Module, name: str, arguments: list[ir.Type]) -> tuple[ir.Function, Emitter | None]:
    function, fresh = internal_function(module, name, VOID, arguments)
    return function, Emitter(ir.IRBuilder(function.append_basic_block("entry"))) if fresh else None


def _whole(e: Emitter, count: ir.Value) -> ir.Value:
    """Whole sixteens."""
    return e.builder.and_(e.builder.add(count, ir.Constant(I64, LANES - 1)), ir.Constant(I64, -LANES))


def scores_function(isa: InstructionSet, rows: int, module: ir.Module) -> ir.Function:
    """void scores(q, count, k, k_stride, keys, s, near, near_stride): s of 16 keys at a time.

    The last of `keys` takes the place of missing ones. Rows at `near` are prefetched.
    """
    function, e = _begin(module, f"dynq_decode_scores_{isa.name}_{rows}", SCORES_ARGUMENTS)
    if e is None:
        return function
    q, count, k, stride, keys, s, near, near_stride = function.args
    builder = e.builder
    q_row = builder.mul(_whole(e, count), ir.Constant(I64, 4))
    last = builder.sub(keys, ir.Constant(I64, 1))

    def sixteen(state: list[ir.Value]) -> list[ir.Value]:
        first, s, near = state
        places, following = [], [near]
        for i in range(LANES):
            j = builder.add(first, ir.Constant(I64, i))
            j = builder.select(builder.icmp_signed("<", j, last), j, last)
            places.append(e.at(k, builder.mul(j, stride)))
            following.append(e.at(following[-1], near_stride))

        def step(state: list[ir.Value], mask: ir.Value | None) -> list[ir.Value]:
            at, *acc = state
            sources = [e.at(place, at) for place in places]
            some = [e.load(FLOATS, p, 1) if mask is None else e.masked_load(FLOATS, p, mask, 1) for p in sources]
            for place in following[:-1]:
                e.prefetch(e.at(place, at))
            here = e.at(q, at)
            for d, column in enumerate(transposed(e, some)):
                row = e.at(here, 4 * d)
                for r in range(rows):
                    acc[r] = e.fma(e.splat(e.load(F32, row, 4), LANES), column, acc[r])
                    row = e.at(row, q_row)
            return [builder.add(at, ir.Constant(I64, LINE)), *acc]

        zeros = [constant(FLOATS, 0.0)] * rows
        _, *acc = by_sixteens(e, count, [ir.Constant(I64, 0), *zeros], step)
        for r in range(rows):
            e.store(acc[r], e.at(s, ROW * r), 4)
        return [builder.add(first, ir.Constant(I64, LANES)), e.at(s, LINE), following[-1]]

    groups = builder.sdiv(_whole(e, keys), ir.Constant(I64, LANES))
    e.loop(groups, [ir.Constant(I64, 0), s, near], sixteen)
    builder.ret_void()
    return function


def weights_function(isa: InstructionSet, rows: int, module: ir.Module) -> ir.Function:
    """void weights(s, keys, bias, sums): s [rows][keys] becomes weights; bias [rows][keys] as in emit.py, or NULL.

    sums [3][rows]: maximum; a word of `values_function`; and (a result) the factor of what was summed before.
    """
    function, e = _begin(module, f"dynq_decode_weights_{isa.name}_{rows}", WEIGHTS_ARGUMENTS)
    if e is None:
        return function
    s, keys, bias, sums = function.args
    builder = e.builder
    minus_inf = constant(FLOATS, MINUS_INF)
    with e.when(builder.icmp_unsigned("!=", bias, ir.Constant(BYTES, None))):
        for i in range(rows * BLOCK // LANES):
            b, place = e.load(FLOATS, e.at(bias, LINE * i), 4), e.at(s, LINE * i)
            value = builder.fadd(e.load(FLOATS, place, 4), b)
            e.store(builder.select(builder.fcmp_ordered("==", b, minus_inf), minus_inf, value), place, 4)
    for r in range(rows):
        values = []
        for v in range(BLOCK // LANES):
            inside = e.first_lanes(LANES, builder.sub(keys, ir.Constant(I64, LANES * v)))
            some = e.load(FLOATS, e.at(s, ROW * r + LINE * v), 4)
            values.append(builder.select(inside, some, minus_inf))
        before = e.load(F32, e.at(sums, 4 * r), 4)
        most = values[0]
        for value in values[1:]:
            most = greater(e, value, most)
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            most = greater(e, e.part(most, 0, lanes), e.part(most, lanes, lanes))
        most = greater(e, builder.extract_element(most, ir.Constant(I64, 0)), before)
        shift = finite_or_zero(e, most)
        shifts = e.splat(shift, LANES)
        for v, value in enumerate(values):
            e.store(exp(e, builder.fsub(value, shifts)), e.at(s, ROW * r + LINE * v), 4)
        factor = exp(e, e.splat(builder.fsub(before, shift), LANES))
        e.store(most, e.at(sums, 4 * r), 4)
        e.store(builder.extract_element(factor, ir.Constant(I64, 0)), e.at(sums, 4 * (2 * rows + r)), 4)
    builder.ret_void()
    return function


def values_function(isa: InstructionSet, rows: int, module: ir.Module) -> ir.Function:
    """void values(p, v, v_stride, keys, count, sums, o, near, near_stride): o and, second in sums [3][rows], Σ_j p.

    Rows at `near` are prefetched.
    """
    function, e = _begin(module, f"dynq_decode_values_{isa.name}_{rows}", VALUES_ARGUMENTS)
    if e is None:
        return function
    p, v, stride, keys, count, sums, o, near, near_stride = function.args
    builder = e.builder
    o_row = builder.mul(_whole(e, count), ir.Constant(I64, 4))
    zero = constant(FLOATS, 0.0)

    def tile(state: list[ir.Value], wide: int, mask: ir.Value | None) -> list[ir.Value]:
        source, o, near = state

        def step(state: list[ir.Value]) -> list[ir.Value]:
            p, v, following, *acc = state
            for w in range(wide):
                e.prefetch(e.at(following, LINE * w))
            places = [e.at(v, LINE * w) for w in range(wide)]
            some = [e.load(FLOATS, at, 1) if mask is None else e.masked_load(FLOATS, at, mask, 1) for at in places]
            for r in range(rows):
                weight = e.load(F32, e.at(p, ROW * r), 4)
                weights = e.splat(weight, LANES)
                for w in range(wide):
                    i = r * wide + w
                    acc[i] = e.fma(weights, some[w], acc[i])
                acc[rows * wide + r] = builder.fadd(acc[rows * wide + r], weight)
            return [e.at(p, 4), e.at(v, stride), e.at(following, near_stride), *acc]

        nothing = [zero] * (rows * wide) + [constant(F32, 0.0)] * rows
        _, _, _, *acc = e.loop(keys, [p, source, near, *nothing], step)
        row = o
        for r in range(rows):
            e.store(acc[rows * wide + r], e.at(sums, 4 * (rows + r)), 4)
            factors = e.splat(e.load(F32, e.at(sums, 4 * (2 * rows + r)), 4), LANES)
            for w in range(wide):
                place = e.at(row, LINE * w)
                e.store(e.fma(e.load(FLOATS, place, 4), factors, acc[r * wide + w]), place, 4)
            row = e.at(row, o_row)
        return [e.at(source, LINE * wide), e.at(o, LINE * wide), e.at(near, LINE * wide)]

    wide = max(1, min(4, isa.registers * isa.lanes // (2 * LANES * rows)))
    span = ir.Constant(I64, LANES * wide)
    state = e.repeat(builder.sdiv(count, span), [v, o, near], lambda s: tile(s, wide, None))
    by_sixteens(e, builder.srem(count, span), state, lambda s, mask: tile(s, 1, mask))
    builder.ret_void()
    return function
