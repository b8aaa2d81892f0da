"""Float32 products: bit for bit one chain of fma for each sum, however it is cut, packed or laid out in memory."""

from itertools import product as combinations

import numpy as np
import oracle
import pytest

import dynq_numba as dq
from dynq_numba.kernels.activations import reference as activations
from dynq_numba.kernels.base.status import FINE
from dynq_numba.kernels.isa.float32 import float32
from dynq_numba.kernels.sgemm import call, reference
from dynq_numba.operators.sgemm import backend
from dynq_numba.runtime import isa as sets
from dynq_numba.runtime import kernel_table
from dynq_numba.runtime.post_ops import post_ops_address

F32 = np.float32


def chains(a, b, start=0.0):
    """The oracle: fma one after another, in the order of k."""
    sums = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), F32)
    sums[...] = start
    for k in range(a.shape[-1]):
        left, right = np.broadcast_arrays(a[..., k, None], b[..., k, None, :])
        sums = oracle.fma(np.ascontiguousarray(left), np.ascontiguousarray(right), sums)
    return sums


def multiplied(a, b, bias=None, packed=False, threads=1):
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.full((*batch, a.shape[-2], b.shape[-1]), 7, F32)
    backend.product(a, b, out, bias, packed, threads)
    return out


def same(found, expected, what):
    """The same bits; a NaN is a NaN, whatever its payload."""
    oracle.assert_same_bits(*(np.where(np.isnan(each), F32(np.nan), each) for each in (found, expected)), what)


def laid_out(matrix, way):
    """The same values with other strides."""
    if way == "rows":
        return np.ascontiguousarray(matrix)
    if way == "columns":
        return np.ascontiguousarray(matrix.swapaxes(-1, -2)).swapaxes(-1, -2)
    room = np.full((*matrix.shape[:-2], 2 * matrix.shape[-2], 3 * matrix.shape[-1]), np.nan, F32)
    room[..., ::2, ::3] = matrix
    return room[..., ::2, ::3]


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29, 64])
def test_lengths_around_those_of_tiles(isa, m, rng):
    for k, n in combinations((1, 2, 3, 4, 5, 17, 64), (1, 15, 16, 17, 31, 32, 33, 65, 140)):
        a, b, bias = (rng.standard_normal(shape, F32) for shape in ((m, k), (k, n), n))
        expected, without = chains(a, b, bias), chains(a, b)
        for threads in (1, 2):
            same(multiplied(a, b, bias, threads=threads), expected, (k, n, threads))
            same(multiplied(a, b, bias, packed=True, threads=threads), expected, ("packed", k, n, threads))
        same(multiplied(a, b), without, (k, n))
        same(reference.product(a, b, bias), expected, "the reference")


SIZES = ((1, 3000, 100), (3, 1100, 70), (40, 1100, 600), (17, 513, 33), (150, 64, 64))


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_blocks_of_k_and_strips_change_nothing(isa, m, k, n, rng):
    a, b, bias = (rng.standard_normal(shape, F32) for shape in ((m, k), (k, n), n))
    expected = chains(a, b, bias)
    for packed, threads in combinations((False, True), (1, 2)):
        same(multiplied(a, b, bias, packed, threads), expected, (packed, threads))


@pytest.mark.parametrize("ways", list(combinations(("rows", "columns", "apart"), repeat=2)))
@pytest.mark.parametrize("m", [1, 5, 50])
def test_any_strides(isa, ways, m, rng):
    a, b = rng.standard_normal((m, 40), F32), rng.standard_normal((40, 50), F32)
    same(multiplied(laid_out(a, ways[0]), laid_out(b, ways[1])), chains(a, b), ways)


def test_one_row_times_columns_that_lie_along_k(isa, rng):
    """As queries and keys of a decoder: nothing is packed."""
    for k, n in combinations((1, 15, 16, 17, 33, 600, 1030), (2, 15, 16, 31, 32, 33, 70)):
        a, bias = rng.standard_normal((3, 1, k), F32), rng.standard_normal(n, F32)
        b = laid_out(rng.standard_normal((3, k, n), F32), "columns")
        for threads in (1, 2):
            same(multiplied(a, b, bias, threads=threads), chains(a, b, bias), (k, n, threads))
        same(multiplied(laid_out(a, "apart"), b), chains(a, b), (k, n))


def test_columns(isa, rng):
    """A single column of b: done as the transposed product."""
    a, b = rng.standard_normal((3, 70, 90), F32), rng.standard_normal((3, 90, 1), F32)
    for threads in (1, 2):
        same(multiplied(a, b, threads=threads), chains(a, b), threads)
    same(multiplied(a, b[1], np.ones(1, F32)), chains(a, b[1], 1.0), "with a bias")


def test_leading_axes_and_those_that_repeat(isa, rng):
    a, b = rng.standard_normal((2, 1, 3, 2, 9, 20), F32), rng.standard_normal((4, 1, 2, 20, 18), F32)
    expected = chains(a, b)
    for threads in (1, 2):
        same(multiplied(a, b, threads=threads), expected, threads)
    turned = rng.standard_normal((3, 18, 2, 20), F32).transpose(0, 2, 3, 1)  # heads of attention, transposed
    same(multiplied(a[0, 0], turned), chains(a[0, 0], turned), "transposed")


def test_rows_of_a_batch_are_those_of_each_alone(isa, rng):
    a, b = rng.standard_normal((37, 70), F32), rng.standard_normal((70, 45), F32)
    whole = multiplied(a, b, threads=2)
    for row in range(len(a)):
        same(multiplied(a[row : row + 1], b), whole[row : row + 1], row)


def test_lengths_of_zero(isa):
    one = np.ones((1, 3), F32)
    assert multiplied(np.ones((0, 3), F32), np.ones((3, 4), F32)).shape == (0, 4)
    assert multiplied(one, np.ones((3, 0), F32)).shape == (1, 0)
    for packed in (False, True):
        bias = np.array([1.5, -0.0, np.inf, np.nan], F32)
        same(multiplied(np.ones((2, 0), F32), np.ones((0, 4), F32), bias, packed), np.stack([bias] * 2), "no k")
        same(multiplied(np.ones((2, 0), F32), np.ones((0, 4), F32), None, packed), np.zeros((2, 4), F32), "no k")
    assert multiplied(np.ones((0, 2, 3), F32), np.ones((0, 3, 2), F32)).shape == (0, 2, 2)


def test_values_at_the_ends_of_float32(isa, rng):
    """Zeros of both signs, denormals, what overflows, infinities, NaN: as fma has them; other sums are not touched."""
    ends = np.array([0.0, -0.0, 1e-45, -1e-40, 1.2e-38, 3e38, -3e38, np.inf, -np.inf, np.nan, 1.0, -1.0], F32)
    for m, k, n in ((1, 1, 33), (3, 2, 20), (14, 5, 40), (20, 37, 50)):
        a, b, bias = rng.choice(ends, (m, k)), rng.choice(ends, (k, n)), rng.choice(ends, n)
        with np.errstate(all="ignore"):
            same(multiplied(a, b, bias), chains(a, b, bias), (m, k, n))
            same(multiplied(a, b, bias, packed=True), chains(a, b, bias), (m, k, n))
    a, b = rng.standard_normal((9, 30), F32), rng.standard_normal((30, 40), F32)
    before = multiplied(a, b)
    a[4, 7], b[3, 11] = np.nan, np.inf
    kept = np.ones((9, 40), bool)
    kept[4], kept[:, 11] = False, False
    assert (multiplied(a, b)[kept] == before[kept]).all()


def test_minus_zero_stays(isa):
    """Padding K with zeros would make it 0."""
    assert np.signbit(multiplied(np.zeros((1, 0), F32), np.zeros((0, 3), F32), np.full(3, -0.0, F32))).all()
    minus = multiplied(np.full((2, 3), -0.0, F32), np.ones((3, 3), F32), np.full(3, -0.0, F32))
    assert np.signbit(minus).all()


@pytest.mark.parametrize(("activation", "with_residual"), [("relu", False), (None, True), ("gelu", True)])
def test_post_ops_and_strides_of_rows(isa, activation, with_residual, rng):
    m, k, n = 33, 600, 70
    x, bias = rng.standard_normal((m, 2 * k), F32)[:, :k], rng.standard_normal(n, F32)
    w, residual = rng.standard_normal((n, k), F32), rng.standard_normal((m, 3 * n), F32)[:, :n]
    room = np.full((m, 2 * n), 7, F32)
    target = sets.active()
    panels = backend.pack_matrix(w.T, kernel_table.kernel_for("sgemm", target).form)
    given = backend.record(
        x, w.T, room[:, :n], target=target, bias=bias, panels=panels, residual=residual if with_residual else None,
        post_ops=post_ops_address(activation, None, with_residual),
    )  # fmt: skip
    assert backend.step()(given.ctypes.data, 2) == FINE
    expected = chains(x, w.T, bias)
    if activation:
        expected = activations.ACTIVATIONS[activation](expected)
    if with_residual:
        expected = expected + residual
    same(np.ascontiguousarray(room[:, :n]), expected, activation)
    assert (room[:, n:] == 7).all()


def test_errors_are_within_the_bound(isa, rng):
    """K·u / (1 - K·u) · (Σ|a|·|b| + |bias|), u = 2^-24: Higham, Accuracy and Stability, 3.1."""
    for m, k, n in ((7, 50, 30), (20, 2000, 40)):
        a, b, bias = rng.standard_normal((m, k), F32), rng.standard_normal((k, n), F32), rng.standard_normal(n, F32)
        exact = a.astype(np.float64) @ b + bias
        size = np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(bias)
        u = k * 2.0**-24
        assert (np.abs(multiplied(a, b, bias) - exact) <= u / (1 - u) * size * (1 + 1e-9)).all()


def test_sets_of_one_width_share_their_kernels():
    forms = {isa.name: float32(isa) for isa in sets.INSTRUCTION_SETS}
    assert forms["amx"] == forms["avx512vnni"] != forms["avx2"] == forms["avxvnni"]


def test_the_step_is_reached_by_its_address(rng):
    a, b, out = rng.standard_normal((3, 8), F32), rng.standard_normal((8, 5), F32), np.zeros((3, 5), F32)
    given = backend.record(a, b, out, target=sets.active())
    assert backend.step()(given.ctypes.data, 0) == FINE
    same(out, chains(a, b), "by address")


def test_small_products_use_one_thread():
    assert call.estimate.py_func(1, 64, 64, 1) < 1 < call.estimate.py_func(128, 384, 384, 1)
    assert dq.get_num_threads() >= 1
