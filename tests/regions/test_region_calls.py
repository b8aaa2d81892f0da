"""Calls of regions: shapes, strides, broadcasting, threads, results in place of leaves, and whole random regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regions import of, run, same, special

import dynq_numba as dq
from dynq_numba.kernels.region import axes
from dynq_numba.kernels.region.check import refused
from dynq_numba.kernels.region.context import AXES
from dynq_numba.kernels.region.emit import LANES
from dynq_numba.kernels.region.reference import OPERATORS, TYPES, Region, evaluate

F, D, L, W, U, S, B, *_ = TYPES
#: Two types, two results, one of them early; what is not side by side goes through buffers of three widths.
MIXED = Region(
    (F, F, L, B),
    (("Add", (0, 1), F), ("Cast", (2,), F), ("Where", (3, 4, 5), F), ("Less", (6, (F, 0.5)), B)),
    (7, 6, 2),
)


def filled(rng, shape, kind):
    if kind == B:
        return np.asarray(rng.random(shape) < 0.5)
    return np.asarray(100 * rng.normal(size=shape), kind)


def strided(rng, shape, kind):
    """An array of the shape, with axes in any order in memory, backwards, or with gaps."""
    order = rng.permutation(len(shape))
    steps = rng.integers(1, 4, len(shape))
    big = filled(rng, [shape[axis] * steps[axis] for axis in order], kind)
    array = big.transpose(np.argsort(order))[(..., *(slice(None, None, int(step)) for step in steps))]
    backwards = tuple(slice(None, None, -1 if rng.random() < 0.3 else 1) for _ in shape)
    return array[(..., *backwards)]


def moved(array):
    """A copy at an address that is a multiple of nothing."""
    buffer = np.empty(array.nbytes + 1, np.uint8)
    copy = buffer[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@st.composite
def calls(draw):
    """Shapes of MIXED's leaves that broadcast, a seed, and how leaves lie."""
    sizes = [1, 2, 3, 5, LANES - 1, LANES, LANES + 1, 2 * LANES, 70]
    shape = draw(st.lists(st.sampled_from(sizes), max_size=3))
    more = draw(st.lists(st.sampled_from([1, 2]), max_size=2))
    shape = (*more, *shape)
    leaves = []
    for _ in MIXED.leaves:
        own = [size if draw(st.booleans()) or draw(st.booleans()) else 1 for size in shape]
        leaves.append(tuple(own[draw(st.integers(0, len(own))) if draw(st.booleans()) else 0 :]))
    return leaves, draw(st.integers(0, 2**32 - 1)), draw(st.booleans())


@given(calls())
def test_any_strides_and_broadcasting(call):
    shapes, seed, plain = call
    rng = np.random.default_rng(seed)
    leaves = [(filled if plain else strided)(rng, own, kind) for own, kind in zip(shapes, MIXED.leaves, strict=True)]
    whole = np.broadcast_shapes(*shapes)
    outs = [strided(rng, whole, kind) for kind in MIXED.operands[len(MIXED.leaves) :]]
    want = evaluate(MIXED, leaves)
    for threads in (1, 2):
        got = run(MIXED, leaves, dq.available_isas()[0], threads, outs)
        assert all(map(same, got, want))


def test_no_byte_around_a_result_is_written(isa):
    rng = np.random.default_rng(0)
    for columns in (1, 3, LANES - 1, LANES, LANES + 1, 100):
        leaves = [filled(rng, (3, columns), kind) for kind in MIXED.leaves]
        bigger = [np.full((5, columns + 2), 77).astype(kind) for kind in (B, F, L)]
        before = [out.copy() for out in bigger]
        run(MIXED, leaves, isa, 1, [out[1:-1, 1:-1] for out in bigger])
        for out, old, want in zip(bigger, before, evaluate(MIXED, leaves), strict=True):
            old[1:-1, 1:-1] = want
            assert same(out, old)


def test_addresses_may_be_odd(isa):
    rng = np.random.default_rng(1)
    leaves = [filled(rng, (2, 77), kind) for kind in MIXED.leaves]
    outs = [moved(np.zeros((2, 77), kind)) for kind in (B, F, L)]
    got = run(MIXED, [moved(leaf) for leaf in leaves], isa, 1, outs)
    assert all(map(same, got, evaluate(MIXED, leaves)))


def test_a_result_may_take_the_place_of_a_leaf(isa):
    rng = np.random.default_rng(2)
    for shape in ((1000,), (7, LANES + 5)):
        a, b = filled(rng, shape, F), filled(rng, shape, F)
        region = Region((F, F), (("Sub", (0, 1), F), ("Mul", (2, 1), F)), (3, 2))
        want = evaluate(region, (a, b))
        assert all(map(same, run(region, (a, b), isa, 2, [a, b]), want))
    big = filled(rng, (9, 2 * LANES), F)
    view = big[:, ::2]
    (want,) = evaluate(of("Exp", F), (view,))
    assert same(run(of("Exp", F), (view,), isa, 1, [view])[0], want)


@pytest.mark.parametrize("shape", [(1,), (70_001,), (300, 257), (3, 50_000), (2, 3, 5, 7, 11, 13)])
def test_threads_do_not_change_the_bits(isa, shape):
    rng = np.random.default_rng(3)
    leaves = [filled(rng, shape, F), filled(rng, shape[-1:], F)]
    region = Region((F, F), (("Mul", (0, 1), F), ("Gelu", (2,), F)), (3,))
    want = evaluate(region, leaves)
    for threads in (0, 1, 2, 3, 5):
        assert same(run(region, leaves, isa, threads)[0], want[0])


def test_nothing_is_done_for_no_values():
    for shape in ((0,), (3, 0), (0, 5)):
        (got,) = run(of("Exp", F), (np.zeros(shape, F),), dq.available_isas()[0], 2)
        assert got.shape == shape


def test_a_region_may_copy_and_write_constants():
    region = Region((F,), (("Add", ((F, 1.5), (F, 2.0)), F), ("Less", ((L, 1), (L, 2)), B)), (0, 1, 2))
    x = special(F)[::2]
    for name in dq.available_isas():
        got = run(region, (x,), name)
        assert same(got[0], x.copy()) and (got[1] == 3.5).all() and got[2].all()


def test_constants_of_unlike_zeros_are_unlike():
    x = np.ones(3, F)
    for zero in (0.0, -0.0):
        (got,) = run(of("Mul", F, constants=((F, zero),)), (x,), dq.available_isas()[0])
        assert (np.signbit(got) == np.signbit(zero)).all()


# -- random regions -------------------------------------------------------------------------------
@st.composite
def random_regions(draw):
    """Operators on whatever values there are by then."""
    leaves = tuple(draw(st.lists(st.sampled_from([F, F, L, W, B]), min_size=1, max_size=4)))
    kinds, operations = list(leaves), []
    for _ in range(draw(st.integers(1, 9))):
        name = draw(st.sampled_from(sorted(OPERATORS)))
        count = max(1, OPERATORS[name].count.start)
        operands = [draw(st.integers(0, len(kinds) - 1)) for _ in range(count)]
        taken = tuple(kinds[operand] for operand in operands)
        result = draw(st.sampled_from(TYPES)) if name == "Cast" else B if OPERATORS[name].boolean else taken[-1]
        if not refused(name, taken, result):
            operations.append((name, tuple(operands), result))
            kinds.append(result)
    results = sorted(set(draw(st.lists(st.integers(0, len(kinds) - 1), min_size=1, max_size=3))) | {len(kinds) - 1})
    return Region(leaves, tuple(operations), tuple(results))


@given(random_regions(), st.integers(0, 2**32 - 1), st.sampled_from([1, 33, 200]))
def test_random_regions_have_the_bits_of_the_reference(region, seed, columns):
    rng = np.random.default_rng(seed)
    leaves = [rng.choice(special(kind), (2, columns)) for kind in region.leaves]
    leaves[0] = leaves[0][:, :1]
    want = evaluate(region, leaves)
    if columns > 1 and len(leaves) == 1:
        leaves[0] = np.broadcast_to(leaves[0], (2, columns))
        want = evaluate(region, leaves)
    for name in (dq.available_isas()[0], dq.available_isas()[-1]):
        assert all(map(same, run(region, leaves, name), want))


# -- axes -----------------------------------------------------------------------------------------
class Symbol:
    """What stands for an integer: a product of names and numbers; equal where it looks the same."""

    def __init__(self, *factors):
        self.factors = tuple(sorted(map(str, factors)))

    def __mul__(self, other):
        if isinstance(other, int):
            return 0 if other == 0 else Symbol(*self.factors, *([] if other == 1 else [other]))
        return Symbol(*self.factors, *other.factors)

    __rmul__ = __mul__

    def __eq__(self, other):
        return isinstance(other, Symbol) and self.factors == other.factors

    __hash__ = None


def test_axes_side_by_side_become_one():
    assert axes.merged((8, 12, 64), (3072, 256, 4), (0, 0, 4), (3072, 256, 4)) == [(96, 256, 0, 256), (64, 4, 4, 4)]
    assert axes.merged((8, 1, 64), (256, 5, 4)) == [(512, 4)]
    assert axes.merged((1, 1), (4, 4)) == []
    assert axes.merged((2, 3), (4, 8), (12, 4)) == [(2, 4, 12), (3, 8, 4)]


def test_sizes_may_be_symbols():
    batch, tokens = Symbol("b"), Symbol("t")
    row = 4 * tokens
    whole = axes.merged((batch, 1, tokens), (row, row, 4), (0, 0, 4), (0, 0, 0))
    assert whole == [(batch, row, 0, 0), (tokens, 4, 4, 0)]
    assert axes.merged((batch, tokens), (row, 4), (0, 0)) == [(tokens * batch, 4, 0)]


def test_too_many_axes_are_refused():
    many = tuple(range(2, 9))
    joined = axes.merged(many, [1000**i for i in range(7)])
    with pytest.raises(ValueError, match=f"at most {AXES} axes"):
        axes.padded(("size", "stride_0"), joined, AXES)
