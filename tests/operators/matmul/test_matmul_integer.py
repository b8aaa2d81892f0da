"""dq.matmul_integer against exact integers: ONNX MatMulInteger, every pair of types, wrapping like int32."""

import numpy as np
import oracle
import pytest

import dynq_numba as dq

TYPES = (np.uint8, np.int8)
each_pair = pytest.mark.parametrize(
    ("a_type", "b_type"),
    [(a, b) for a in TYPES for b in TYPES],
    ids=lambda dtype: np.dtype(dtype).name,
)


def integers(rng, shape, dtype):
    """Full-range values in which both extremes are frequent."""
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max + 1, shape)
    coin = rng.integers(0, 4, shape)
    return np.where(coin == 0, info.min, np.where(coin == 1, info.max, values)).astype(dtype)


def corners(k, dtype):
    """Rows [4, k]: the smallest value, the largest, both alternating, and one half of each."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    index = np.arange(k)
    rows = [np.full(k, low), np.full(k, high), np.where(index % 2, low, high), np.where(index < k // 2, low, high)]
    return np.stack(rows).astype(dtype)


def assert_product(a, b, a_zero=0, b_zero=0, *, wide=None, context=""):
    """The product is the oracle's; `wide` are the zero points as they broadcast to a and b, where that differs."""
    c = dq.matmul_integer(a, b, a_zero, b_zero)
    expected = oracle.matmul_integer(a, b, *(wide or (a_zero, b_zero)))
    assert (c.dtype, c.shape) == (np.int32, expected.shape), context
    differ = np.argwhere(c != expected)
    assert not len(differ), f"{context}: {len(differ)} of {c.size} differ, first at {differ[0].tolist()}"


def test_onnx_case(isa):
    """onnx/backend/test/case/node/matmulinteger.py (onnx 1.23.2): zero points of shape [1]."""
    a = np.array([[11, 7, 3], [10, 6, 2], [9, 5, 1], [8, 4, 0]], np.uint8)
    b = np.array([[1, 4], [2, 5], [3, 6]], np.uint8)
    c = dq.matmul_integer(a, b, np.array([12], np.uint8), np.array([0], np.uint8))
    assert c.dtype == np.int32
    assert c.tolist() == [[-38, -83], [-44, -98], [-50, -113], [-56, -128]]


@each_pair
def test_every_tile_remainder(isa, rng, a_type, b_type):
    for k in (1, 2, 3, 4, 5, 8, 16, 31, 33, 64, 67):
        a, b = integers(rng, (30, k), a_type), integers(rng, (k, 70), b_type)
        exact = oracle.matmul_integer(a, b)
        sizes = [(m, n) for m in range(1, 31) for n in (1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 70)]
        wrong = [(m, k, n) for m, n in sizes if (dq.matmul_integer(a[-m:], b[:, :n]) != exact[-m:, :n]).any()]
        assert wrong == []


@each_pair
def test_every_depth(isa, rng, a_type, b_type):
    a, b = integers(rng, (15, 300), a_type), integers(rng, (300, 33), b_type)
    for k in range(1, 300):
        assert_product(a[:, :k], b[:k], context=f"k={k}")


@each_pair
@pytest.mark.parametrize("k", [1, 4, 63, 64, 1000, 32_768, 33_026, 65_793, 65_794, 70_000, 140_000])
def test_corner_values_wrap_like_int32(isa, a_type, b_type, k):
    a, b = corners(k, a_type), corners(k, b_type).T
    info_a, info_b = np.iinfo(a_type), np.iinfo(b_type)
    for a_zero in {0, info_a.min, info_a.max}:
        for b_zero in {0, info_b.min, info_b.max}:
            assert_product(a, b, a_zero, b_zero, context=f"zero points {a_zero}, {b_zero}")


def test_int32_does_wrap(isa):
    """70,000 products of 255 * 255 are 4,551,750,000: modulo 2**32 that is 256,782,704."""
    ones = np.full((1, 70_000), 255, np.uint8)
    assert dq.matmul_integer(ones, ones.T).tolist() == [[256_782_704]]
    assert dq.matmul_integer(ones[:, :40_000], ones[:, :40_000].T).tolist() == [[40_000 * 65_025 - 2**32]]


@each_pair
def test_zero_points_of_rows_and_columns(isa, rng, a_type, b_type):
    for m, k, n in [(1, 1, 1), (1, 65, 33), (4, 7, 17), (15, 130, 70), (29, 64, 16)]:
        a, b = integers(rng, (m, k), a_type), integers(rng, (k, n), b_type)
        rows, columns = integers(rng, m, a_type), integers(rng, n, b_type)
        wide_rows = rows.astype(np.int64)[:, None]
        wide_columns = columns.astype(np.int64)
        assert_product(a, b, rows, columns, wide=(wide_rows, wide_columns), context="rows and columns")
        assert_product(a, b, wide_rows, columns, wide=(wide_rows, wide_columns), context="[M, 1] of int64")
        assert_product(a, b, rows, wide=(wide_rows, 0), context="rows")
        assert_product(a, b, b_zero=wide_columns, context="columns")
        assert_product(a, b, rows[0], columns[-1], wide=(int(rows[0]), int(columns[-1])), context="numpy scalars")
        one = rows[:1], columns[:1]
        assert_product(a, b, *one, wide=(int(rows[0]), int(columns[0])), context="shape [1]")
        strided = np.repeat(rows, 2)[::2], columns[::-1]
        assert_product(a, b, *strided, wide=(wide_rows, wide_columns[::-1]), context="strided")


@each_pair
@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((3, 5, 7), (7, 9)),
        ((5, 7), (3, 7, 9)),
        ((3, 5, 7), (3, 7, 9)),
        ((2, 1, 5, 7), (3, 7, 9)),
        ((2, 3, 5, 7), (2, 1, 7, 9)),
        ((4, 1, 1, 7), (1, 2, 7, 1)),
        ((0, 5, 7), (7, 9)),
        ((0, 7), (7, 9)),
        ((5, 0), (0, 9)),
        ((5, 7), (7, 0)),
        ((2, 0, 7), (2, 7, 9)),
    ],
)
def test_batches_broadcast_like_matmul(isa, rng, a_type, b_type, a_shape, b_shape):
    a, b = integers(rng, a_shape, a_type), integers(rng, b_shape, b_type)
    assert_product(a, b)
    assert_product(a, b, 3, 5)
    rows, columns = integers(rng, a_shape[-2], a_type), integers(rng, b_shape[-1], b_type)
    wide = rows.astype(np.int64)[:, None], columns.astype(np.int64)
    assert_product(a, b, rows, columns, wide=wide, context="zero points shared by the batch")
    each = integers(rng, (*a_shape[:-1], 1), a_type)
    assert_product(a, b, each, columns, wide=(each.astype(np.int64), wide[1]), context="one of each row of the batch")


@each_pair
def test_any_strides(isa, rng, a_type, b_type):
    a, b = integers(rng, (26, 134), a_type), integers(rng, (134, 66), b_type)
    a_views = [a[::2, ::2], a[::-1, 67:], a[13:, 66::-1], np.asfortranarray(a[:13, :67]), a[:13, 1:68]]
    b_views = [b[::2, ::2], b[66::-1, :33], b[:67, ::-2], np.asfortranarray(b[67:, 33:]), b[1:68, 3:36]]
    for a_view in a_views:
        for b_view in b_views:
            assert_product(a_view, b_view, 3, 5)
    for array in (a, b):
        array.flags.writeable = False
    assert_product(a, b, 1, 2, context="read-only")
    stack = integers(rng, (4, 5, 6, 7), a_type)
    assert_product(stack.transpose(2, 0, 1, 3)[::-1], integers(rng, (4, 9, 7), b_type).transpose(0, 2, 1), 7, 9)
    assert_product(np.broadcast_to(a[0, :7], (3, 7)), np.broadcast_to(b[:7, :1], (7, 20)), 7, 9)


@each_pair
@pytest.mark.parametrize(("m", "k", "n"), [(1, 700, 1500), (150, 300, 400), (600, 33, 40)])
def test_larger_products(isa, rng, a_type, b_type, m, k, n):
    a, b = integers(rng, (m, k), a_type), integers(rng, (k, n), b_type)
    rows, columns = integers(rng, m, a_type), integers(rng, n, b_type)
    assert_product(a, b, rows, columns, wide=(rows.astype(np.int64)[:, None], columns.astype(np.int64)))


def test_every_pair_of_values(isa):
    """All 65,536 products of two bytes, K = 1, in each pair of types."""
    for a_type in TYPES:
        for b_type in TYPES:
            a, b = np.arange(256, dtype=np.uint8).view(a_type), np.arange(256, dtype=np.uint8).view(b_type)
            assert_product(a[:, None], b[None], context=f"{a_type.__name__} x {b_type.__name__}")
            assert_product(a[:, None], b[None], int(a[200]), int(b[200]))
