"""attention: bit for bit the reference, on every set, cut and thread count; within its bound of float64; its limits."""

import math

import numpy as np
import oracle
import pytest
from canaries import PATTERN
from numba import types
from numba.extending import intrinsic
from remembered import remembered

import dynq_numba as dq
from dynq_numba.kernels.activations import reference as reference_activations
from dynq_numba.kernels.attention import emit as emitted
from dynq_numba.kernels.attention import reference
from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import data_ptr, keep
from dynq_numba.kernels.isa.emitter import Emitter
from dynq_numba.kernels.isa.transpose import FLOATS

F32 = np.float32
INF = F32(np.inf)

#: B, H, Hkv, S, T, D, Dv: both forms, every width of tile, each remainder of 16 and 64.
SHAPES = [
    (1, 1, 1, 1, 1, 1, 1), (1, 1, 1, 16, 16, 32, 32), (2, 3, 3, 17, 65, 16, 17), (1, 2, 1, 33, 64, 15, 1),
    (1, 4, 2, 37, 70, 20, 33), (1, 1, 1, 65, 63, 64, 64), (2, 2, 1, 80, 130, 7, 48), (1, 1, 1, 130, 128, 65, 31),
    (1, 6, 2, 50, 200, 128, 128), (2, 4, 4, 1, 200, 33, 64), (1, 8, 4, 1, 129, 64, 100), (1, 9, 3, 1, 64, 16, 16),
    (1, 7, 1, 1, 190, 48, 5), (1, 16, 1, 1, 66, 64, 64), (1, 3, 3, 8, 70, 17, 18), (2, 1, 1, 9, 20, 3, 80),
]  # fmt: skip
EMPTY = [(0, 2, 1, 3, 4, 5, 6), (1, 0, 0, 3, 4, 5, 6), (1, 2, 1, 0, 4, 5, 6), (1, 2, 1, 3, 4, 5, 0)]


def operands(rng, shape, size=2.0):
    batch, heads, key_heads, rows, keys, dim, value_dim = shape
    q = rng.standard_normal((batch, heads, rows, dim)).astype(F32) * F32(size)
    k = rng.standard_normal((batch, key_heads, keys, dim)).astype(F32) * F32(size)
    return q, k, rng.standard_normal((batch, key_heads, keys, value_dim)).astype(F32)


@remembered
def twin(q, k, v, *, mask=None, causal=False, scale=None, key_lengths=None, bits=None):
    """The reference, from the arguments of the API (batches of q)."""
    batch, heads, rows, dim = q.shape
    keys = k.shape[2]
    lengths = np.broadcast_to(np.asarray(keys if key_lengths is None else key_lengths), batch)
    bias = None
    if mask is not None:
        bias = np.broadcast_to(mask, (batch, heads, rows, keys))
        bias = np.where(bias, F32(0), -INF) if bias.dtype == bool else bias.astype(F32)
    factor = F32(1 / math.sqrt(dim or 1) if scale is None else scale)
    return reference.attention(q, k, v, factor, bias, reference.limits(lengths, rows, causal), bits)


def assert_twin(q, k, v, threads=None, **options):
    actual = dq.attention(q, k, v, threads=threads, **options)
    oracle.assert_same_bits(actual, twin(q, k, v, **options), f"{q.shape} {k.shape} {v.shape} {options.keys()}")


# -- bits ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", SHAPES + EMPTY, ids=str)
def test_every_set_and_thread_count_gives_the_bits_of_the_reference(isa, rng, shape):
    batch, heads, _, rows, keys, *_ = shape
    q, k, v = operands(rng, shape)
    chosen = rng.random((batch, heads, rows, keys)) < 0.6
    added = np.where(chosen, rng.standard_normal(chosen.shape), -np.inf).astype(F32)
    lengths = rng.integers(0, keys + 1, batch)
    expected = twin(q, k, v)
    for threads in (1, 2, 5):
        oracle.assert_same_bits(dq.attention(q, k, v, threads=threads), expected, f"{shape}, {threads} threads")
    assert_twin(q, k, v, 2, causal=True)
    assert_twin(q, k, v, mask=chosen)
    assert_twin(q, k, v, mask=added, causal=True, key_lengths=lengths, scale=0.3)
    assert_twin(q, k, v, key_lengths=lengths)


@pytest.mark.parametrize("dim", [0, 1, 15, 16, 17, 31])
def test_short_rows_and_no_keys(isa, rng, dim):
    for rows in (1, 20):
        for keys in (0, 1, 15, 16, 17):
            q, k, v = operands(rng, (1, 2, 2, rows, keys, dim, 5))
            assert_twin(q, k, v)
            assert_twin(q, k, v, causal=True)


@pytest.mark.parametrize("size", [1e-30, 30.0, 1e4, 1e19, 3e38])
def test_scores_of_any_size(isa, rng, size):
    """Weights of 0 and 1, denormal ones, infinite scores: always the reference."""
    for rows in (1, 20):
        q, k, v = operands(rng, (1, 2, 1, rows, 150, 24, 24))
        with np.errstate(over="ignore"):
            q, large = q * F32(size), v * F32(1e38)
        assert_twin(q, k, v * F32(1e-35))
        assert_twin(q, k, large, scale=-1.5)


def test_exp_is_that_of_the_activations():
    """Every 997th float32 at or below 0, and beside every rounding boundary of x / ln 2."""

    @intrinsic
    def exponentials(typingctx, x, out, count):
        def codegen(context, builder, signature, args):
            e = Emitter(builder)

            def step(state):
                x, out = state
                e.store(emitted.exp(e, e.load(FLOATS, x, 4)), out, 4)
                return [e.at(x, 64), e.at(out, 64)]

            e.repeat(args[2], list(args[:2]), step)
            return context.get_dummy_value()

        return types.void(types.voidptr, types.voidptr, types.intp), codegen

    @kernel(cached=False)
    def run(x, out):
        exponentials(data_ptr(x), data_ptr(out), x.size // 16)
        keep(x)
        keep(out)

    every = np.arange(0x80000000, 0xFF800001, 997, dtype=np.uint32).view(F32)
    ties = ((np.arange(-152, 1) + 0.5) * math.log(2)).astype(F32)
    beside = [ties]
    for _ in range(20):
        beside += [np.nextafter(beside[-1], -INF)]
    beside += [np.nextafter(ties, INF), np.array([0.0, -0.0, -np.inf, np.nan, -104, -150], F32)]
    x = np.concatenate([every, *beside])
    x = np.concatenate([x[~(x > 0)], np.zeros(-len(x[~(x > 0)]) % 16, F32)])
    out = np.empty_like(x)
    run(x, out)
    oracle.assert_same_bits(out, reference_activations.exp(x), "exp")


# -- rows stand alone ---------------------------------------------------------------------------
@pytest.mark.parametrize("groups", [1, 4])
def test_a_decode_step_has_the_bits_of_the_prefill(isa, rng, groups):
    """And what lies behind may be garbage: prefill and step see the same keys."""
    q, k, v = operands(rng, (1, 2 * groups, 2, 150, 150, 40, 24))
    whole = dq.attention(q, k, v, causal=True)
    garbage_k, garbage_v = k.copy(), v.copy()
    for i in (0, 1, 14, 63, 64, 65, 127, 128, 149):
        step = dq.attention(q[:, :, i : i + 1], k[:, :, : i + 1], v[:, :, : i + 1])
        oracle.assert_same_bits(step, whole[:, :, i : i + 1].copy(), f"row {i}")
        few = dq.attention(q[:, :, max(0, i - 4) : i + 1], k[:, :, : i + 1], v[:, :, : i + 1], causal=True)
        oracle.assert_same_bits(few, whole[:, :, max(0, i - 4) : i + 1].copy(), f"rows to {i}")
    garbage_k[:, :, 100:], garbage_v[:, :, 100:] = np.nan, np.inf
    partly = dq.attention(q, garbage_k, garbage_v, causal=True)
    oracle.assert_same_bits(partly[:, :, :100].copy(), whole[:, :, :100].copy(), "before the garbage")
    assert np.isnan(partly[:, :, 100:]).all()
    for rows in (1, 3, 30):
        cut = dq.attention(q[:, :, 100 - rows : 100], garbage_k, garbage_v, causal=True, key_lengths=100)
        oracle.assert_same_bits(cut, whole[:, :, 100 - rows : 100].copy(), "key_lengths")


def test_a_row_depends_on_nothing_but_its_keys(isa, rng):
    q, k, v = operands(rng, (3, 4, 2, 70, 90, 32, 32))
    whole = dq.attention(q, k, v)
    for b in range(3):
        for h in range(4):
            alone = dq.attention(q[b : b + 1, h : h + 1, 20:41], k[b : b + 1, h // 2][None], v[b : b + 1, h // 2][None])
            oracle.assert_same_bits(alone[0, 0], whole[b, h, 20:41].copy(), f"{b}, {h}")
    q[1, 2, 5], expected = np.nan, whole.copy()
    expected[1, 2, 5] = np.nan
    oracle.assert_same_bits(dq.attention(q, k, v), expected, "one NaN row")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 40])
def test_what_is_not_finite(isa, rng, value, rows):
    q, k, v = operands(rng, (1, 2, 2, rows, 100, 16, 16))
    whole = dq.attention(q, k, v)
    bad = k.copy()
    bad[0, 1, 70, 3] = value
    assert_twin(q, bad, v)
    oracle.assert_same_bits(dq.attention(q, bad, v)[:, :1].copy(), whole[:, :1].copy(), "the other head")
    mask = np.ones(100, bool)
    mask[70] = False
    oracle.assert_same_bits(dq.attention(q, bad, v, mask=mask), dq.attention(q, k, v, mask=mask), "a masked key")
    bad = v.copy()
    bad[0, 1, 70, 3] = value
    assert_twin(q, k, bad)
    got = dq.attention(q, k, bad)
    got[:, 1, :, 3] = whole[:, 1, :, 3]
    oracle.assert_same_bits(got, whole, "the other columns")


def test_rows_that_see_no_key_are_zeros(isa, rng):
    q, k, v = operands(rng, (2, 2, 1, 20, 70, 16, 16))
    mask = np.ones((20, 70), bool)
    mask[[0, 7, 19]] = False
    for some in (mask, np.where(mask, F32(1), -INF)):
        y = dq.attention(q, k, v, mask=some)
        assert (y[:, :, [0, 7, 19]].view(np.uint32) == 0).all() and (y[:, :, 1] != 0).all()
    v[:] = np.nan
    assert (dq.attention(q, k, v, key_lengths=0).view(np.uint32) == 0).all()
    y = dq.attention(q, k, v, causal=True, key_lengths=[15, 0])
    assert (y[0, :, :5] == 0).all() and np.isnan(y[0, :, 5:]).all() and (y[1] == 0).all()
    assert (dq.attention(q[:, :, :1], k, v, key_lengths=[0, 0]).view(np.uint32) == 0).all()


# -- float64 ------------------------------------------------------------------------------------
def exact(q, k, v, bias, scale):
    """float64 result, and the largest score and value that its bound needs: [B, H, S, Dv], [B, H, S], scalar."""
    heads = q.shape[1] // k.shape[1]
    q, k, v = (array.astype(np.float64) for array in (q, k, v))
    k, v = np.repeat(k, heads, axis=1), np.repeat(v, heads, axis=1)
    scores = np.einsum("bhsd,bhtd->bhst", q, k) * scale + bias
    size = np.einsum("bhsd,bhtd->bhst", np.abs(q), np.abs(k)) * abs(scale) + np.where(bias == -np.inf, 0, np.abs(bias))
    seen = scores > -np.inf
    weights = np.where(seen, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0)
    y = np.einsum("bhst,bhtd->bhsd", weights / weights.sum(axis=-1, keepdims=True), v)
    return y, np.where(seen, size, 0).max(axis=-1), np.abs(v).max()


@pytest.mark.parametrize("size", [0.1, 1.0, 4.0])
def test_within_the_bound_of_float64(isa, rng, size):
    """|error| ≤ 1.01·u·V·(2·(D + 3)·e + 13·⌈T / 64⌉ + 350), as derived in the docstring of `attention`."""
    for shape in [*SHAPES, (1, 2, 2, 40, 1000, 64, 64), (1, 4, 2, 1, 3000, 32, 32)]:
        batch, heads, _, rows, keys, dim, _ = shape
        q, k, v = operands(rng, shape, size)
        for causal in (False, True):
            bias = rng.standard_normal((batch, heads, rows, keys)).astype(F32)
            if causal:  # a row without keys has no softmax; the diagonal is aligned to the end
                rows_, keys_ = np.arange(rows)[:, None], np.arange(keys)
                hidden = (keys_ > keys - rows + rows_) & (keys_ > 0)
                bias = np.where(hidden, -INF, bias)
            y, most, peak = exact(q, k, v, bias.astype(np.float64), 1 / math.sqrt(dim))
            bound = 1.01 * oracle.U * peak * (2 * (dim + 3) * most + 13 * math.ceil(keys / 64) + 350) + 2.0**-120
            error = np.abs(dq.attention(q, k, v, mask=bias) - y)
            assert (error <= bound[..., None]).all(), f"{shape}: {(error / bound[..., None]).max()}"


# -- arrays -------------------------------------------------------------------------------------
def test_projections_are_read_and_written_where_they_lie(isa, rng):
    rows, heads, dim = 37, 6, 20
    x = rng.standard_normal((rows, 3 * heads * dim)).astype(F32)
    x.flags.writeable = False
    q, k, v = (part.reshape(rows, heads, dim).swapaxes(0, 1) for part in np.split(x, 3, axis=1))
    raw = np.full((rows, heads * dim + 8), PATTERN, F32)
    out = raw[:, 4:-4].reshape(rows, heads, dim).swapaxes(0, 1)
    assert np.shares_memory(out, raw)
    assert dq.attention(q, k, v, causal=True, out=out) is out
    expected = dq.attention(*(np.ascontiguousarray(a)[None] for a in (q, k, v)), causal=True)[0]
    oracle.assert_same_bits(out.copy(), expected)
    assert (raw[:, :4] == PATTERN).all() and (raw[:, -4:] == PATTERN).all()
    reverse = [a[::-1, ::-1] for a in (q, k, v)]
    oracle.assert_same_bits(dq.attention(*reverse), dq.attention(*(a.copy() for a in reverse)))


@pytest.mark.parametrize("rows", [1, 3, 17, 70])
def test_nothing_beyond_out_is_written(isa, rng, rows):
    q, k, v = operands(rng, (1, 3, 1, rows, 40, 16, 13))
    raw = np.full((1, 3, rows + 2, 15), PATTERN, F32)
    out = raw[:, :, 1:-1, 1:-1]
    dq.attention(q, k, v, out=out)
    oracle.assert_same_bits(out.copy(), twin(q, k, v))
    raw[:, :, 1:-1, 1:-1] = PATTERN
    assert (raw == PATTERN).all()


def test_leading_dimensions_dtypes_and_masks_broadcast(isa, rng):
    q = rng.standard_normal((2, 3, 4, 20, 16))
    k, v = rng.standard_normal((3, 2, 30, 16)).astype(np.float16), rng.standard_normal((2, 1, 2, 30, 8)).astype(F32)
    mask = rng.random((3, 1, 20, 30)) < 0.7
    y = dq.attention(q, k, v, mask=mask, key_lengths=[[30, 20, 10]])
    assert y.shape == (2, 3, 4, 20, 8)
    for i in range(2):
        values = np.broadcast_to(v[i], (3, 2, 30, 8))
        expected = twin(q[i].astype(F32), k.astype(F32), values, mask=mask, key_lengths=[30, 20, 10])
        oracle.assert_same_bits(y[i], expected, f"{i}")
    q, k, v = q[0].astype(F32), k.astype(F32), np.broadcast_to(v[0], (3, 2, 30, 8))
    for some in (mask[:, :, :1], mask[:, :, :, :1], mask[0, 0, 0], mask[..., ::-1], np.array(True)):
        assert_twin(q, k, v, mask=some)
        assert_twin(q, k, v, mask=some.astype(np.float64))
    oracle.assert_same_bits(dq.attention(q[0], k[0], v[0]), twin(q, k, v)[0])
    transposed = [np.asfortranarray(a) for a in (q, k, v)]
    oracle.assert_same_bits(dq.attention(*transposed), twin(q, k, v))


def test_out_may_overlap(rng):
    q, k, v = operands(rng, (1, 2, 2, 20, 20, 16, 16))
    expected = dq.attention(q, k, v)
    for which in range(3):
        some = [a.copy() for a in (q, k, v)]
        assert dq.attention(*some, out=some[which]) is some[which]
        oracle.assert_same_bits(some[which], expected)
