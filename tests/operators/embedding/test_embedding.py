"""Lookups in packed tables: against the numpy twin bit for bit, and float64 under derived bounds."""

import pickle
from itertools import pairwise

import numpy as np
import oracle
import pytest
from packed_tables import (
    COLUMNS,
    F32,
    MODES,
    OFFSETS,
    N,
    U,
    bag_case,
    gamma,
    ids_of,
    magnitudes,
    oracle_rows,
    packed_of,
    twin,
)

import dynq_numba as dq
from dynq_numba.kernels.embedding import reference


# ------------------------------------------------------------------------------------------------------ lookups
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", COLUMNS)
def test_embedding_is_the_row(isa, rng, columns, bits):
    packed = packed_of(columns, bits)
    for kind in (np.int64, np.int32):
        for threads in (1, 2, 5, None):
            ids = ids_of(rng, kind)
            y = dq.embedding(ids, packed, threads=threads)
            oracle.assert_same_bits(y, reference.embedding(packed._store.rows, columns, bits, ids))
            oracle.assert_same_bits(y, packed.dequantize()[ids])
            exact = oracle_rows(packed)[ids]
            assert (abs(y - exact) <= 2 * U * (abs(exact) + magnitudes(packed)[ids]) + 2.0**-149).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", COLUMNS)
def test_bags_have_the_bits_of_the_twin_and_are_near_float64(isa, rng, columns, bits, mode):
    packed, ids = packed_of(columns, bits), ids_of(rng)
    name, weights = bag_case(mode, rng)
    ends = np.append(OFFSETS, N)
    wanted = twin(packed, ids, ends, name, weights)
    for threads in (1, 2, 5):
        y = dq.embedding_bag(ids, OFFSETS, packed, name, weights, threads=threads)
        oracle.assert_same_bits(y, wanted, f"{threads} threads")
    rows, sizes = oracle_rows(packed), magnitudes(packed)
    for bag, (begin, end) in enumerate(pairwise(ends)):
        members, count = ids[begin:end], max(1, end - begin)
        factors = np.ones(count) if weights is None or begin == end else weights[begin:end].astype(np.float64)
        if begin == end:
            assert (wanted[bag] == 0).all() and not np.signbit(wanted[bag]).any()
        elif mode == "max":
            bound = 2 * U * (abs(rows[members]) + sizes[members]).max(axis=0)
            assert (abs(wanted[bag] - rows[members].max(axis=0)) <= bound).all()
        else:
            exact = (factors[:, None] * rows[members]).sum(axis=0)
            # A sum of n products, each with the rounding of weight · scale; t + b, the factor and its product.
            bound = gamma(count + 5) * (abs(factors)[:, None] * sizes[members]).sum(axis=0)
            divisor = count if mode == "mean" else 1
            assert (abs(wanted[bag] - exact / divisor) <= bound / divisor + 2.0**-149).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_bag_of_one_is_the_row(isa, bits):
    packed, ids = packed_of(33, bits), np.arange(50)
    wanted = dq.embedding(ids, packed)
    for mode in ("sum", "mean", "max"):
        oracle.assert_same_bits(dq.embedding_bag(ids, ids, packed, mode), wanted, mode)


def test_ids_of_any_shape_strides_and_order(isa, rng):
    packed = packed_of(33, 8)
    table = packed.dequantize()
    ids = ids_of(rng).reshape(3, 4, 5)
    for given in (ids, ids[:, ::-2], ids.T, ids.astype(np.int32)[..., 1::2], np.array(7)):
        given = np.asarray(given)
        given.flags.writeable = False
        oracle.assert_same_bits(dq.embedding(given, packed), table[given])
    flat = np.repeat(ids.reshape(-1), 3)[::3]
    oracle.assert_same_bits(
        dq.embedding_bag(flat, np.repeat(OFFSETS, 2)[::2].astype(np.int32), packed),
        twin(packed, flat, np.append(OFFSETS, N), "sum", None),
    )


def test_bags_as_rows_of_ids_and_with_the_last_offset(isa, rng):
    packed, ids = packed_of(64, 8), ids_of(rng).reshape(6, 10)
    wanted = twin(packed, ids.reshape(-1), np.arange(7) * 10, "mean", None)
    oracle.assert_same_bits(dq.embedding_bag(ids, None, packed, "mean"), wanted)
    ends = np.arange(7) * 10
    oracle.assert_same_bits(dq.embedding_bag(ids.reshape(-1), ends, packed, "mean", include_last_offset=True), wanted)
    part = dq.embedding_bag(ids.reshape(-1), ends[:4], packed, "mean", include_last_offset=True)
    oracle.assert_same_bits(part, wanted[:3])
    weights = rng.standard_normal((10, 6)).T  # float64, not contiguous
    wanted = twin(packed, ids.reshape(-1), ends, "sum", weights.astype(F32).reshape(-1))
    oracle.assert_same_bits(dq.embedding_bag(ids, None, packed, weights=weights), wanted)


def test_nothing_in_nothing_out(isa):
    packed, none = packed_of(16, 8), np.zeros(0, np.int64)
    assert dq.embedding(none.reshape(0, 3), packed).shape == (0, 3, 16)
    assert dq.embedding_bag(none, none, packed).shape == (0, 16)
    assert (dq.embedding_bag(none, np.zeros(3, np.int64), packed, "max") == np.zeros((3, 16))).all()
    assert dq.embedding_bag(none.reshape(2, 0), None, packed, "mean").tolist() == [[0.0] * 16] * 2
    for shape in ((0, 4), (4, 0)):
        empty = dq.pack_embedding(np.zeros(shape, F32), bits=4)
        assert empty.dequantize().shape == shape
        assert pickle.loads(pickle.dumps(empty)) == empty
        assert dq.embedding(none, empty).shape == (0, shape[1])
    assert dq.embedding(np.array([3]), empty).shape == (1, 0)
    assert dq.embedding_bag(np.array([3]), np.array([0]), empty).shape == (1, 0)


def test_weights_that_are_not_finite_touch_their_bag_alone(isa, rng):
    packed, ids = packed_of(33, 8), ids_of(rng)
    weights = np.ones(N, F32)
    weights[10], weights[40] = np.nan, np.inf
    y = dq.embedding_bag(ids, OFFSETS, packed, weights=weights)
    oracle.assert_same_bits(y, twin(packed, ids, np.append(OFFSETS, N), "sum", weights))
    touched = ~np.isfinite(y).all(axis=1)
    assert touched.tolist() == [bool({10, 40} & set(range(a, b))) for a, b in zip(OFFSETS, [*OFFSETS[1:], N])]  # noqa: B905


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", [1, 16, 33, 300])
def test_sums_that_float32_holds_although_their_parts_do_not(isa, rng, columns, bits):
    top = float(np.finfo(F32).max)
    table = rng.uniform(-0.5, 0.5, (50, columns)) * top
    table[:, 0], table[7] = top / 2, 1.5
    table[3], table[4] = rng.uniform(0, 1, (2, columns)) * top
    packed = dq.pack_embedding(table.astype(F32), bits=bits)
    ids, offsets = rng.integers(0, 50, 300), np.array([0, 0, 2, 40, 41, 43, 160])
    ids[41:43], ids[2:40] = (3, 4), np.repeat([5, 6], 19)
    weights = (rng.standard_normal(300) * np.exp2(rng.integers(-60, 30, 300))).astype(F32)
    weights[2:40] = np.repeat([1, -1], 19)  # as much taken away as was added
    ends, rows = [*offsets, 300], oracle_rows(packed)
    for mode, factors in (("sum", None), ("mean", None), ("sum", weights)):
        y = dq.embedding_bag(ids, offsets, packed, mode, factors)
        oracle.assert_same_bits(y, twin(packed, ids, ends, mode, factors))
        for bag, (first, last) in enumerate(zip(offsets, ends[1:], strict=True)):
            some, n = rows[ids[first:last]], last - first
            w = np.ones(n) if factors is None else factors[first:last].astype(np.float64)
            divisor = max(n, 1) if mode == "mean" else 1
            value, size = (w @ some) / divisor, (abs(w) @ magnitudes(packed)[ids[first:last]]) / divisor
            held = abs(value) + gamma(n + 2) * size < top
            assert (abs(y[bag] - value)[held] <= gamma(n + 4) * size[held]).all()
            assert np.isinf(y[bag][abs(value) - gamma(n + 2) * size > top * (1 + U)]).all()


def test_a_row_up_to_the_largest_float_stays_finite(isa):
    top = np.finfo(F32).max
    table = np.array([[0, top], [-top, 0], [1e30, top], [-1e38, top - F32(1e38)], [top, top], [3e31, top]], F32)
    for bits in (8, 4):
        packed, ids = dq.pack_embedding(table, bits=bits), np.arange(len(table))
        for y in (dq.embedding(ids, packed), dq.embedding_bag(ids[:, None], None, packed, "max"), packed.dequantize()):
            assert np.isfinite(y).all() and (abs(y.astype(np.float64) - table) <= 2.0**-23 * float(top)).all()


def test_long_bags_and_many_rows_with_helpers(isa, rng):
    """Sizes at which helpers join by themselves; bags of very different lengths."""
    packed = packed_of(64, 8)
    ids = ids_of(rng, np.int32, 30_000)
    ends = np.sort(rng.integers(0, 30_000, 400))
    ends[0], ends[-1] = 0, 30_000
    wanted = twin(packed, ids, ends, "sum", None)
    for threads in (None, 1, 3):
        given = dq.embedding_bag(ids, ends, packed, include_last_offset=True, threads=threads)
        oracle.assert_same_bits(given, wanted)
    oracle.assert_same_bits(dq.embedding(ids, packed), packed.dequantize()[ids])


# ------------------------------------------------------------------------------------------------------ out
@pytest.mark.parametrize("columns", [1, 17, 33, 384, 800])
@pytest.mark.parametrize("bits", [8, 4])
def test_out_is_written_and_nothing_around_it(isa, rng, columns, bits):
    packed, ids = packed_of(columns, bits), ids_of(rng)
    ends = np.append(OFFSETS, N)
    for rows, run in (
        (N, lambda out, t: dq.embedding(ids, packed, out=out, threads=t)),
        (len(OFFSETS), lambda out, t: dq.embedding_bag(ids, OFFSETS, packed, out=out, threads=t)),
        (len(OFFSETS), lambda out, t: dq.embedding_bag(ids, ends, packed, "max", include_last_offset=True, out=out)),
    ):
        for shift, gap in ((0, 0), (1, 5), (3, 16)):
            for threads in (1, 3):
                raw = np.full(64 + rows * (columns + gap) + 64, 123.5, F32)
                out = raw[64 + shift :][: rows * (columns + gap)].reshape(rows, columns + gap)[:, :columns]
                assert run(out, threads) is out
                oracle.assert_same_bits(out.copy(), run(None, threads))
                out[...] = 123.5
                assert (raw == 123.5).all(), "written outside the rows"


def test_out_may_overlap_what_is_read_and_be_of_any_shape(isa, rng):
    packed = packed_of(2, 8)
    ids = ids_of(rng).reshape(6, 10)
    wanted = packed.dequantize()[ids]
    room = ids.copy()
    out = room.view(F32).reshape(6, 10, 2)  # the very bytes of the ids
    assert dq.embedding(room, packed, out=out) is out
    oracle.assert_same_bits(out, wanted)
    strided = np.empty((6, 20, 2), F32)[:, ::2]
    assert dq.embedding(ids, packed, out=strided) is strided
    oracle.assert_same_bits(strided.copy(), wanted)
    weights = rng.standard_normal(12).astype(F32)
    wanted = dq.embedding_bag(ids.reshape(-1)[:12], np.arange(0, 12, 2), packed, weights=weights)
    out = weights.reshape(6, 2)
    dq.embedding_bag(ids.reshape(-1)[:12], np.arange(0, 12, 2), packed, weights=weights, out=out)
    oracle.assert_same_bits(out, wanted)
