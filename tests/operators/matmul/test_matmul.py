"""matmul: the bits of the numpy twin and of linear on a packed b, whatever the layout, batch, cut and thread count."""

import numba
import numpy as np
import oracle
import pytest
from remembered import remembered

import dynq_numba as dq
from dynq_numba.kernels.matmul import reference as matmul_reference

F32 = np.float32
SIZES = [(1, 1, 1), (3, 5, 2), (17, 31, 33), (16, 32, 16), (15, 63, 100), (40, 129, 65), (2, 1, 70), (70, 17, 1)]


@remembered
def twin(a, b):
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
    out = np.empty((*batch, a.shape[-2], b.shape[-1]), F32)
    for i in np.ndindex(batch):
        out[i] = matmul_reference.matmul(a[i], b[i])
    return out


def error_bound(a, b):
    """K · (scale_a·max|b| + scale_b·max|a| + scale_a·scale_b / 2) / 2 of each row and column, and rounding."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    hi, lo = np.maximum(a.max(-1, initial=0), 0), np.minimum(a.min(-1, initial=0), 0)
    scale_a = ((hi - lo) / 255)[..., :, None]
    big_a, big_b = np.abs(a).max(-1, initial=0)[..., :, None], np.abs(b).max(-2, initial=0)[..., None, :]
    scale_b = big_b / 127
    k = a.shape[-1]
    return k * (scale_a * big_b + scale_b * big_a + scale_a * scale_b / 2) / 2 * 1.001 + 1e-6 * k * big_a * big_b


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_bits_of_the_twin_and_of_linear(isa, rng, size):
    m, k, n = size
    for batch in ((), (3,), (2, 3)):
        a = rng.standard_normal((*batch, m, k)).astype(F32)
        b = rng.standard_normal((*batch, k, n)).astype(F32) * np.exp(rng.standard_normal((*batch, 1, n))).astype(F32)
        wanted = twin(a, b)
        for threads in (None, 1, 2, 5):
            oracle.assert_same_bits(dq.quantized_matmul(a, b, threads=threads), wanted, f"{threads} threads")
        turned = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)  # columns contiguous
        oracle.assert_same_bits(dq.quantized_matmul(a, turned), wanted, "columns")
        assert (np.abs(wanted - a.astype(np.float64) @ b) <= error_bound(a, b)).all()
    packed = dq.pack_linear(np.ascontiguousarray(b[0, 0].T), granularity="per_channel")
    oracle.assert_same_bits(dq.linear(a[0, 0], packed), dq.quantized_matmul(a[0, 0], b[0, 0]))


def test_attention_as_it_comes(rng):
    """[tokens, heads, width] seen as heads of matrices: no copy, two leading dimensions with strides of their own."""
    x = rng.standard_normal((2, 20, 3, 4, 32)).astype(F32)  # batch, tokens, (q, k, v), heads, width
    q, k, v = (x[:, :, i].swapaxes(1, 2) for i in range(3))
    scores = dq.quantized_matmul(q, k.swapaxes(-1, -2))
    oracle.assert_same_bits(scores, twin(q, k.swapaxes(-1, -2)))
    oracle.assert_same_bits(dq.quantized_matmul(scores, v), twin(scores, v))


def test_layouts_and_types(rng):
    a, b = rng.standard_normal((6, 40)).astype(F32), rng.standard_normal((40, 50)).astype(F32)
    wanted = twin(a, b)
    wide = np.zeros((12, 80), F32)
    wide[::2, ::2] = a
    tall = np.zeros((80, 100), F32)
    tall[::2, ::2] = b
    for left in (a, np.asfortranarray(a), wide[::2, ::2], np.ascontiguousarray(a[::-1])[::-1], a.astype(np.float64)):
        for right in (b, np.asfortranarray(b), tall[::2, ::2], np.ascontiguousarray(b[::-1, ::-1])[::-1, ::-1]):
            for array in (left, right):
                array.flags.writeable = False
            oracle.assert_same_bits(dq.quantized_matmul(left, right), wanted)
    oracle.assert_same_bits(dq.quantized_matmul(a[0], b), wanted[0])
    oracle.assert_same_bits(dq.quantized_matmul(a, b[:, 0]), wanted[:, 0])
    assert dq.quantized_matmul(a[0], b[:, 0]).shape == ()
    oracle.assert_same_bits(dq.quantized_matmul(a[None, None, None], b), wanted[None, None, None])
    four = rng.standard_normal((2, 3, 2, 6, 40)).astype(F32)
    oracle.assert_same_bits(dq.quantized_matmul(four, b), twin(four, b))
    oracle.assert_same_bits(dq.quantized_matmul(four.swapaxes(0, 2), b), twin(four.swapaxes(0, 2), b))


@pytest.mark.parametrize("shape", [((0, 4), (4, 3)), ((2, 0), (0, 3)), ((2, 4), (4, 0)), ((0, 2, 4), (4, 3))], ids=str)
def test_empty(shape):
    a, b = (np.ones(s, F32) for s in shape)
    y = dq.quantized_matmul(a, b)
    assert y.shape == (a @ b).shape
    assert not y.any()


@pytest.mark.parametrize("n", [1, 16, 33, 257])
@pytest.mark.parametrize("m", [1, 31])
def test_products_over_nothing_are_zeros(isa, m, n):
    """Whatever the memory held before that nobody has anything to write to."""
    a, b = np.zeros((m, 0), F32), np.zeros((0, n), F32)
    for threads in (1, 2, None):
        junk = [np.full((m, n), 7.5, F32) for _ in range(20)]
        out = junk.pop()
        del junk
        assert not dq.quantized_matmul(a, b, out=out, threads=threads).any()
        assert not dq.quantized_matmul(a, b, threads=threads).any()
        assert not dq.quantized_matmul(a, b.T.copy().T, threads=threads).any()


def test_columns_whose_scale_is_denormal(isa, rng):
    """b / scale is then up to 190; ±127 are the ends of the grid, as of a packed weight."""
    size = np.exp2(rng.uniform(0, 30, (1, 200))) * float(np.finfo(F32).smallest_subnormal)
    b = (rng.standard_normal((64, 200)) * size).astype(F32)
    a = np.concatenate([rng.standard_normal((9, 64)), np.eye(64)]).astype(F32) * F32(2**20)
    packed = dq.pack_linear(np.ascontiguousarray(b.T), granularity="per_channel")
    least = np.rint(b / packed.scale.T)
    assert (least < -127).any() and (packed.qweight.min() == -127)  # else the test shows nothing
    y = dq.quantized_matmul(a, b)
    oracle.assert_same_bits(y, twin(a, b))
    oracle.assert_same_bits(y, dq.linear(a, packed))
    oracle.assert_same_bits(dq.quantized_matmul(a, np.asfortranarray(b), threads=2), y)


def test_one_bad_value_stays_in_its_row_or_column(isa, rng):
    a, b = rng.standard_normal((2, 9, 30)).astype(F32), rng.standard_normal((2, 30, 40)).astype(F32)
    good = dq.quantized_matmul(a, b)
    for bad in (np.nan, np.inf, -np.inf):
        a[0, 3, 7], b[1, 8, 33] = bad, bad
        y = dq.quantized_matmul(a, b)
        assert np.isnan(y[0, 3]).all()
        assert np.isnan(y[1, :, 33]).all()
        rest = np.ones(y.shape, bool)
        rest[0, 3], rest[1, :, 33] = False, False
        assert (y[rest] == good[rest]).all()
        oracle.assert_same_bits(y, twin(a, b))


def test_a_long_k(rng):
    a, b = rng.standard_normal((3, 70_000)).astype(F32), rng.standard_normal((70_000, 5)).astype(F32)
    oracle.assert_same_bits(dq.quantized_matmul(a, b), twin(a, b))


def test_out(rng):
    a, b = rng.standard_normal((3, 8, 8)).astype(F32), rng.standard_normal((3, 8, 8)).astype(F32)
    wanted = twin(a, b)
    room = np.full((3, 8, 12), 7, F32)
    for out in (np.empty_like(wanted), room[:, :, 2:10], np.empty((4, 8, 8), F32)[1:]):
        assert dq.quantized_matmul(a, b, out=out) is out
        oracle.assert_same_bits(out.copy(), wanted)
    assert (room[:, :, :2] == 7).all()
    assert (room[:, :, 10:] == 7).all()
    for left, right, out in ((x := a.copy(), b, x), (a, y := b.copy(), y)):
        oracle.assert_same_bits(dq.quantized_matmul(left, right, out=out), wanted)


def test_errors_name_the_argument(rng):
    a, b = np.ones((3, 4), F32), np.ones((4, 5), F32)
    with pytest.raises(ValueError, match="b must have 4 rows"):
        dq.quantized_matmul(a, b[1:])
    with pytest.raises(ValueError, match="a must have at least one dimension"):
        dq.quantized_matmul(np.ones((), F32), b)
    with pytest.raises(TypeError, match="b must"):
        dq.quantized_matmul(a, b.astype(int))
    with pytest.raises(ValueError, match="broadcast"):
        dq.quantized_matmul(np.ones((2, 3, 4), F32), np.ones((3, 4, 5), F32))
    with pytest.raises(ValueError, match="out must have shape"):
        dq.quantized_matmul(a, b, out=np.empty((5, 3), F32))
    with pytest.raises(ValueError, match="threads"):
        dq.quantized_matmul(a, b, threads=0)


@numba.njit
def product(a, b):
    return dq.quantized_matmul(a, b)


@numba.njit
def product_into(a, b, out):
    return dq.quantized_matmul(a, b, out=out)


def assert_jitted(rng, batch, turn=True):
    a = rng.standard_normal((*batch, 7, 40)).astype(F32)
    b = rng.standard_normal((*batch, 40, 33))
    wanted = twin(a, b.astype(F32))
    oracle.assert_same_bits(product(a, b), wanted)
    if turn:  # other types: compiled again
        turned = np.ascontiguousarray(b.astype(F32).swapaxes(-1, -2)).swapaxes(-1, -2)
        oracle.assert_same_bits(product(a, turned), wanted)
    out = np.empty_like(wanted)
    product_into(a, b, out)
    oracle.assert_same_bits(out, wanted)
    with pytest.raises(ValueError, match="rows"):
        product(a, b[..., 1:, :].copy())
    with pytest.raises(numba.TypingError, match="equally many dimensions"):
        product(a[None], b)


def test_in_compiled_code(rng):
    assert_jitted(rng, (), turn=False)
    out = np.full((7, 33), 5, F32)
    product_into(np.zeros((7, 0), F32), np.zeros((0, 33)), out)
    assert not out.any() and not product(np.zeros((7, 0), F32), np.zeros((0, 33))).any()


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
def test_every_type_in_compiled_code(rng, batch):
    assert_jitted(rng, batch)
    square = rng.standard_normal((5, 5)).astype(F32)
    wanted = twin(square, square)
    product_into(square, square, square)
    oracle.assert_same_bits(square, wanted)
