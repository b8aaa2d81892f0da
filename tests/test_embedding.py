"""Packed tables and lookups in them: against the numpy twin bit for bit, and float64 under derived bounds."""

import copy
import os
import pickle
import subprocess
import sys
from functools import cache

import ml_dtypes
import numba
import numpy as np
import oracle
import pytest

import dynq_numba as dq
from dynq_numba.kernels import embedding as kernels
from dynq_numba.kernels import reference_embedding as reference
from dynq_numba.kernels.emit import embedding as emitted
from dynq_numba.runtime.isa import INSTRUCTION_SETS

F32 = np.float32
U = 2.0**-24


def gamma(n):
    """The bound of n successive relative roundings."""
    return n * U / (1 - n * U)


#: Odd, half-vector, whole-vector, one-block and many-block widths.
COLUMNS = [1, 2, 15, 16, 17, 31, 33, 64, 100, 300, 384, 385, 800]
MODES = ["sum", "weighted", "mean", "max"]
#: Bags of no, one and many ids, at the start, in the middle and at the end.
OFFSETS = np.array([0, 0, 1, 4, 4, 30, 37, 60, 60])
N = 60


@cache
def table_of(columns, rows=50):
    rng = np.random.default_rng(columns)
    table = rng.standard_normal((rows, columns)).astype(F32) * F32(3) + rng.standard_normal((rows, 1)).astype(F32)
    table[7] = 2.5  # no range
    table[8] = 0
    table[9] *= F32(1e30)
    return table


@cache
def packed_of(columns, bits):
    return dq.pack_embedding(table_of(columns), bits=bits)


def ids_of(rng, kind=np.int64, count=N):
    ids = rng.integers(0, 50, count).astype(kind)
    ids[: min(2, count)] = (0, 49)[: min(2, count)]
    return ids


def oracle_rows(packed):
    """The table that a packed one stands for, in float64, from its public parts."""
    return packed.qweight.astype(np.float64) * packed.scale[:, None] + packed.minimum[:, None].astype(np.float64)


def magnitudes(packed):
    """What the rounding of a sum is relative to: q · scale + |minimum|."""
    return packed.qweight.astype(np.float64) * packed.scale[:, None] + abs(packed.minimum[:, None].astype(np.float64))


def bag_case(mode, rng, count=N):
    weights = rng.standard_normal(count).astype(F32) if mode == "weighted" else None
    return ("sum" if mode == "weighted" else mode), weights


def twin(packed, ids, ends, mode, weights):
    rows = packed._store.rows
    return reference.embedding_bag(rows, packed.shape[1], packed.bits, ids, np.asarray(ends), mode, weights)


# ------------------------------------------------------------------------------------------------------ packing
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", COLUMNS)
def test_packing_is_min_to_max_over_all_steps(columns, bits):
    table, packed = table_of(columns), packed_of(columns, bits)
    steps = 2**bits - 1
    wide = table.astype(np.float64)
    low, high = wide.min(axis=1), wide.max(axis=1)
    scale = ((high - low) / steps).astype(F32)
    scale[scale == 0] = 1
    np.testing.assert_array_equal(packed.minimum, low.astype(F32))
    np.testing.assert_array_equal(packed.scale, scale)
    q = np.clip(np.rint((wide - low[:, None]) / scale[:, None].astype(np.float64)), 0, steps)
    np.testing.assert_array_equal(packed.qweight, q)
    assert packed.qweight.dtype == np.uint8 and packed.bits == bits and packed.shape == table.shape
    # Half a step; the scale's rounding, up to `steps` times u; the two roundings of dequantize.
    bound = scale[:, None] * (0.5 + 2 * steps * U) + 2 * U * (abs(wide) + magnitudes(packed))
    assert (abs(packed.dequantize() - wide) <= bound).all()
    np.testing.assert_allclose(packed.zero_point, -low / scale, rtol=1e-6)


def test_a_row_of_one_value_is_exact_and_a_huge_range_is_refused():
    table = np.array([[7.125] * 5, [0.0] * 5, [-1e-3] * 5], F32)
    for bits in (8, 4):
        np.testing.assert_array_equal(dq.pack_embedding(table, bits=bits).dequantize(), table)
    with pytest.raises(ValueError, match="table must be finite"):
        dq.pack_embedding(np.array([[3e38, -3e38]], F32))


def test_bytes_are_those_of_the_integers_and_eight_a_row():
    for bits, row in ((8, 8 + 384), (4, 8 + 192)):
        packed = dq.pack_embedding(np.zeros((1000, 384), F32), bits=bits)
        assert 1000 * row <= packed.nbytes <= 1000 * row + 512
    assert dq.pack_embedding(np.zeros((10, 7), F32), bits=4)._store.rows.shape == (10, 12)


@pytest.mark.parametrize("kind", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floats_and_strides_pack_like_float32(kind):
    table = table_of(33)[:9].astype(kind)
    wanted = dq.pack_embedding(np.ascontiguousarray(table.astype(F32)))
    assert dq.pack_embedding(table) == wanted
    wide = np.zeros((18, 99), kind)
    wide[::2, ::3] = table
    view = wide[::2, ::3]
    view.flags.writeable = False
    assert dq.pack_embedding(view) == wanted
    assert dq.pack_embedding(np.asfortranarray(table)) == wanted


def test_a_table_is_packed_alike_whatever_goes_together(monkeypatch):
    table = table_of(100)
    wanted = dq.pack_embedding(table, bits=4)
    monkeypatch.setattr(reference, "CHUNK", 700)
    assert dq.pack_embedding(table, bits=4) == wanted


def test_packed_pickles_copies_compares_and_says_what_it_is():
    a, b = packed_of(33, 8), packed_of(33, 4)
    for packed in (a, b):
        for other in (pickle.loads(pickle.dumps(packed)), copy.deepcopy(packed), copy.copy(packed)):
            assert other == packed and hash(other) == hash(packed) and other is not packed
            ids = np.array([3, 1])
            oracle.assert_same_bits(dq.embedding(ids, other), dq.embedding(ids, packed))
    assert a != b and a != packed_of(31, 8) and a != "a"
    changed = table_of(33).copy()
    changed[4, 4] += 1
    assert dq.pack_embedding(changed) != a
    assert repr(b).startswith("PackedEmbedding(50 x 33, 4 bits, scale and minimum per row, ")


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
    for bag, (begin, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
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


# ------------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("bad", [-1, 50, 2**31 - 1, -(2**31), 2**32 + 3, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("place", [0, 3, 16, 59])
def test_an_id_out_of_range_is_named_before_anything_is_written(isa, rng, kind, bad, place):
    if abs(bad) > 2**31 and kind == np.int32:
        pytest.skip("no int32")
    packed, ids = packed_of(33, 8), ids_of(rng, kind)
    ids[place] = bad
    out = np.full((N, 33), 7, F32)
    with pytest.raises(IndexError, match=rf"ids must be from 0 to 49; ids\[{place}\] is {bad}$"):
        dq.embedding(ids, packed, out=out)
    with pytest.raises(IndexError, match=rf"ids\[{place}\] is {bad}$"):
        dq.embedding_bag(ids, OFFSETS, packed, out=out[: len(OFFSETS)])
    with pytest.raises(IndexError, match=rf"ids\[{place // 10}, {place % 10}\] is {bad}$"):
        dq.embedding(ids.reshape(6, 10), packed)
    assert (out == 7).all()


@pytest.mark.parametrize(
    ("offsets", "place"),
    [([1, 2], 0), ([0, 5, 4], 2), ([0, 61], 1), ([0, -1], 1), ([-1], 0), ([0, 60, 61, 2], 2), ([0, 60, 59], 2)],
)
def test_offsets_that_descend_are_named(rng, offsets, place):
    packed, ids = packed_of(33, 8), ids_of(rng)
    for last in (False, True):
        with pytest.raises(ValueError, match=rf"offsets must begin with 0 .* offsets\[{place}\] is {offsets[place]}"):
            dq.embedding_bag(ids, np.array(offsets), packed, include_last_offset=last)


def test_errors_name_the_argument(rng):
    packed, ids, table = packed_of(33, 8), ids_of(rng), table_of(33)
    zero = np.zeros(1, np.int64)
    cases = [
        (TypeError, "table must be a numpy array", lambda: dq.pack_embedding([[1.0]])),
        (TypeError, "table must be float16", lambda: dq.pack_embedding(np.ones((2, 2), int))),
        (ValueError, "table must have 2 dimensions", lambda: dq.pack_embedding(np.ones(3, F32))),
        (ValueError, "table must be finite", lambda: dq.pack_embedding(np.array([[1, np.nan]], F32))),
        (ValueError, "table must be finite", lambda: dq.pack_embedding(np.array([[1, 1e300]]))),
        (ValueError, "bits must be one of 8, 4", lambda: dq.pack_embedding(table, bits=2)),
        (TypeError, "packed must be a PackedEmbedding", lambda: dq.embedding(ids, table)),
        (TypeError, "ids must be an int32 or int64", lambda: dq.embedding([1], packed)),
        (TypeError, "ids must be an int32 or int64", lambda: dq.embedding(ids.astype(np.uint8), packed)),
        (TypeError, "ids must be an int32 or int64", lambda: dq.embedding(ids.astype(">i4"), packed)),
        (TypeError, "threads must be", lambda: dq.embedding(ids, packed, threads=1.5)),
        (ValueError, "threads must be", lambda: dq.embedding(ids, packed, threads=0)),
        (ValueError, r"out must have shape \(60, 33\)", lambda: dq.embedding(ids, packed, out=np.empty((60, 32), F32))),
        (TypeError, "out must be a float32", lambda: dq.embedding(ids, packed, out=np.empty((60, 33)))),
        (TypeError, "packed must be", lambda: dq.embedding_bag(ids, zero, None)),
        (ValueError, "mode must be one of", lambda: dq.embedding_bag(ids, zero, packed, "min")),
        (ValueError, "ids must have 2 dimensions", lambda: dq.embedding_bag(ids, None, packed)),
        (ValueError, "ids must have 1 dimension", lambda: dq.embedding_bag(ids.reshape(6, 10), zero, packed)),
        (TypeError, "offsets must be an int32", lambda: dq.embedding_bag(ids, [0], packed)),
        (TypeError, "offsets must be an int32", lambda: dq.embedding_bag(ids, zero.astype(float), packed)),
        (ValueError, "offsets must have 1 dim", lambda: dq.embedding_bag(ids, zero[None], packed)),
        (ValueError, "offsets must begin with 0", lambda: dq.embedding_bag(ids, zero[:0], packed)),
        (ValueError, "at least 1", lambda: dq.embedding_bag(ids, zero[:0], packed, include_last_offset=True)),
        (TypeError, "include_last_offset", lambda: dq.embedding_bag(ids, zero, packed, include_last_offset=1)),
        (ValueError, "weights go with", lambda: dq.embedding_bag(ids, zero, packed, "mean", np.ones(N, F32))),
        (ValueError, "weights must have the shape", lambda: dq.embedding_bag(ids, zero, packed, weights=np.ones(3, F32))),
        (TypeError, "weights must be float16", lambda: dq.embedding_bag(ids, zero, packed, weights=ids)),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


# ------------------------------------------------------------------------------------------------------ below the API
def test_blocks_cover_every_width_and_stay_within_the_slack():
    for isa in INSTRUCTION_SETS:
        for bits in (8, 4):
            sizes = emitted.sizes(isa, bits)
            assert sizes and sizes[0] == 1 and max(sizes) <= emitted.SIZES[-1]
            # One row's sums fit the registers with a broadcast and a value beside them.
            registers = 16 // isa.lanes
            assert len(sizes) == 1 or sizes[-1] * (8 // bits) * registers <= isa.registers - 2 * registers


def test_the_check_finds_the_first_bad_id_in_either_width():
    for kind in (np.int32, np.int64):
        ids = np.arange(37, dtype=kind)
        assert kernels.first_outside.py_func is not None if hasattr(kernels.first_outside, "py_func") else True
        packed = dq.pack_embedding(np.zeros((30, 3), F32))
        with pytest.raises(IndexError, match=r"ids\[30\] is 30"):
            dq.embedding(ids, packed)


# ------------------------------------------------------------------------------------------------------ jitted
@numba.njit
def jitted_rows(ids, packed):
    return dq.embedding(ids, packed)


@numba.njit
def jitted_rows_into(ids, packed, out):
    return dq.embedding(ids, packed, out=out, threads=2)


@numba.njit
def jitted_bags(ids, offsets, packed, weights):
    return (
        dq.embedding_bag(ids, offsets, packed),
        dq.embedding_bag(ids, offsets, packed, "mean", threads=2),
        dq.embedding_bag(ids, offsets, packed, mode="max"),
        dq.embedding_bag(ids, offsets, packed, weights=weights),
    )


@numba.njit
def jitted_rows_of_ids(ids, packed, weights, ends, out):
    first = dq.embedding_bag(ids, None, packed, weights=weights)
    return first, dq.embedding_bag(ids.reshape(ids.size), ends, packed, include_last_offset=True, out=out)


@pytest.mark.parametrize("bits", [8, 4])
def test_inside_compiled_code(rng, bits):
    packed, table = packed_of(33, bits), packed_of(33, bits).dequantize()
    for ids in (ids_of(rng), ids_of(rng, np.int32)):
        oracle.assert_same_bits(jitted_rows(ids, packed), table[ids])
        square = ids.reshape(6, 10)
        oracle.assert_same_bits(jitted_rows(square.T, packed), table[square.T])
        out = np.empty((6, 10, 33), F32)
        oracle.assert_same_bits(jitted_rows_into(square, packed, out), table[square])
        oracle.assert_same_bits(out, table[square])
        weights = rng.standard_normal(N).astype(F32)
        ends = np.append(OFFSETS, N)
        results = jitted_bags(ids, OFFSETS, packed, weights)
        for y, (mode, w) in zip(results, [("sum", None), ("mean", None), ("max", None), ("sum", weights)], strict=True):
            oracle.assert_same_bits(y, twin(packed, ids, ends, mode, w), mode)
        first, second = jitted_rows_of_ids(square, packed, weights.reshape(6, 10).astype(float), ends, out[0, :9])
        oracle.assert_same_bits(first, twin(packed, ids, np.arange(7) * 10, "sum", weights))
        oracle.assert_same_bits(second, twin(packed, ids, ends, "sum", None))
    bad = ids_of(rng)
    bad[5] = 50
    with pytest.raises(IndexError) as caught:
        jitted_rows(bad, packed)
    assert caught.value.args[1:] == (5, 50)
    with pytest.raises(IndexError):
        jitted_bags(bad, OFFSETS, packed, weights)
    with pytest.raises(ValueError, match="offsets must begin with 0"):
        jitted_bags(ids, OFFSETS[::-1].copy(), packed, weights)


def test_compiled_code_refuses_what_it_cannot_do(rng):
    packed, ids = packed_of(33, 8), ids_of(rng)

    @numba.njit
    def captured(ids):
        return dq.embedding(ids, packed)

    @numba.njit
    def of_floats(x, table):
        return dq.embedding(x, table)

    @numba.njit
    def weighted_mean(ids, table, w):
        return dq.embedding_bag(ids, None, table, "mean", w)

    for function, arguments, message in (
        (captured, (ids,), "PackedEmbedding cannot be a global"),
        (of_floats, (np.ones(3), packed), "ids must be an array of int32 or int64"),
        (of_floats, (ids, ids), "packed must be a PackedEmbedding"),
        (weighted_mean, (ids.reshape(6, 10), packed, np.ones((6, 10))), "weights go with"),
    ):
        with pytest.raises(numba.core.errors.NumbaError, match=message):
            function(*arguments)


SUM = """
import hashlib, numpy as np, dynq_numba as dq
rng = np.random.default_rng(3)
digest = hashlib.sha256()
for columns in (5, 64, 385):
    for bits in (8, 4):
        table = dq.pack_embedding(rng.standard_normal((40, columns)).astype(np.float32), bits=bits)
        ids, offsets = rng.integers(0, 40, 50), np.array([0, 3, 3, 20])
        weights = rng.standard_normal(50).astype(np.float32)
        digest.update(dq.embedding(ids, table).tobytes())
        for mode, w in (("sum", None), ("sum", weights), ("mean", None), ("max", None)):
            digest.update(dq.embedding_bag(ids, offsets, table, mode, w).tobytes())
for call in (lambda: dq.embedding(np.array([[1, 40]]), table), lambda: dq.embedding_bag(ids, offsets[::-1], table)):
    try:
        call()
    except (IndexError, ValueError) as error:
        digest.update(str(error).encode())
print(digest.hexdigest())
"""


def test_without_a_compiler_the_same_bits_and_errors():
    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-c", SUM], env=os.environ | environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run() == run(NUMBA_DISABLE_JIT="1")
