"""Packed tables, what lookups refuse, and the check that comes first."""

import copy
import pickle

import ml_dtypes
import numpy as np
import oracle
import pytest
from packed_tables import (
    COLUMNS,
    F32,
    OFFSETS,
    N,
    U,
    ids_of,
    magnitudes,
    packed_of,
    table_of,
)

import dynq_numba as dq
from dynq_numba.kernels.embedding import emit as emitted
from dynq_numba.kernels.embedding import reference
from dynq_numba.runtime.isa import INSTRUCTION_SETS


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


# ------------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        *((np.int32, bad) for bad in (-1, 50, 2**31 - 1, -(2**31))),
        *((np.int64, bad) for bad in (-1, 50, 2**31 - 1, -(2**31), 2**32 + 3, -(2**63), 2**63 - 1)),
    ],
)
@pytest.mark.parametrize("place", [0, 3, 16, 59])
def test_an_id_out_of_range_is_named_before_anything_is_written(isa, rng, kind, bad, place):
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


def test_ids_and_offsets_of_the_other_byte_order(rng):
    packed = packed_of(33, 8)
    for kind in (np.int32, np.int64):
        ids, offsets = ids_of(rng, kind), OFFSETS[:-1].astype(kind)
        turned, turned_offsets = (a.astype(a.dtype.newbyteorder()) for a in (ids, offsets))
        oracle.assert_same_bits(dq.embedding(turned, packed), dq.embedding(ids, packed))
        bags = dq.embedding_bag(turned, turned_offsets, packed)
        oracle.assert_same_bits(bags, dq.embedding_bag(ids, offsets, packed))
    with pytest.raises(IndexError, match=r"ids\[1\] is 99"):
        dq.embedding(np.array([1, 99], ">i8"), packed)
    with pytest.raises(TypeError, match="ids must be an int32 or int64"):
        dq.embedding(np.array([1], ">i2"), packed)


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
    zero, ones = np.zeros(1, np.int64), np.ones(3, F32)
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
        (TypeError, "ids must be an int32 or int64", lambda: dq.embedding(ids.astype(">i2"), packed)),
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
        (ValueError, "weights must have the shape", lambda: dq.embedding_bag(ids, zero, packed, weights=ones)),
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
