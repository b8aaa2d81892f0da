"""attention(bits=8): bit for bit the reference, on every set, cut and thread count; an oracle of its own; its bound."""

import math

import numpy as np
import oracle
import pytest
from test_attention import EMPTY, F32, INF, SHAPES, exact, operands
from test_attention import twin as twin_of

import dynq_numba as dq
from dynq_numba.kernels.attention import reference
from dynq_numba.kernels.attention.reference import LONGEST


def twin(*arrays, **options):
    return twin_of(*arrays, bits=8, **options)


def eight(*arrays, **options):
    return dq.attention(*arrays, bits=8, **options)


def assert_twin(q, k, v, threads=None, **options):
    actual, expected = eight(q, k, v, threads=threads, **options), twin(q, k, v, **options)
    oracle.assert_same_bits(actual, expected, f"{q.shape} {k.shape} {v.shape} {options.keys()}")


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
        oracle.assert_same_bits(eight(q, k, v, threads=threads), expected, f"{shape}, {threads} threads")
    assert_twin(q, k, v, 2, causal=True)
    assert_twin(q, k, v, mask=chosen)
    assert_twin(q, k, v, mask=added, causal=True, key_lengths=lengths, scale=0.3)
    assert_twin(q, k, v, key_lengths=lengths)


@pytest.mark.parametrize("dim", [0, 1, 15, 16, 17, 31, LONGEST])
def test_rows_of_any_length_and_no_keys(isa, rng, dim):
    for rows in (1, 20):
        for keys in (0, 1, 15, 16, 17):
            q, k, v = operands(rng, (1, 2, 2, rows, keys, dim, 5))
            assert_twin(q, k, v)
            assert_twin(q, k, v, causal=True)


def test_the_largest_sums_are_exact(isa):
    """127² · 1040 in every product, of both signs; a scale so large that one unit less shows."""
    q = np.ones((1, 1, 20, LONGEST), F32)
    k = np.repeat(np.where(np.arange(70) % 3, F32(1), F32(-1)), LONGEST).reshape(1, 1, 70, LONGEST)
    k[0, 0, 5, 7] = 126 / 127
    v = np.eye(70, dtype=F32)[None, None]
    assert_twin(q, k, v, scale=100)
    y = eight(q, k, v, scale=100)[0, 0, 0]
    assert (y[::3] == 0).all() and y[1] == y[2] == y[4] and abs(y[5] / y[1] / math.exp(-100 / 127) - 1) < 0.02


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-30, 1e-19, 30.0, 1e4, 1e18, 1e19, 3e38])
def test_scores_of_any_size(isa, rng, size):
    """Denormal scales, whose quotients leave ±127 unless they are clipped, and those whose product overflows."""
    for rows in (1, 20):
        q, k, v = operands(rng, (1, 2, 1, rows, 150, 24, 24))
        with np.errstate(over="ignore"):
            q, small, large = q * F32(size), k * F32(size), v * F32(1e38)
        assert_twin(q, k, v * F32(1e-35), scale=1)
        assert_twin(q / F32(size), small, v * F32(1e-43), scale=1)
        assert_twin(q, small, large, scale=-1.5)


def test_exp_is_within_its_bound():
    """Every 997th float32 at or below 0, in the reference: what kernels compute are its bits."""
    x = np.arange(0x80000000, 0xFF800001, 997, dtype=np.uint32).view(F32)
    y, true = reference.short_exp(x), np.exp(x.astype(np.float64))
    some = x >= reference.SHORT_MIN
    assert (np.abs(y[some] - true[some]) <= 2.0**-17 * true[some]).all() and (y[~some] == 0).all()
    assert reference.short_exp(np.zeros(1, F32)) == 1 and np.isnan(reference.short_exp(np.full(1, np.nan, F32)))


def test_weights_of_every_size(isa, rng):
    """Scores from 0 to beyond where exp vanishes, and values whose largest weights are below LEAST."""
    q, v = np.ones((1, 1, 20, 16), F32), rng.standard_normal((1, 1, 300, 16)).astype(F32)
    k = np.repeat(np.linspace(0, -8, 300, dtype=F32), 16).reshape(1, 1, 300, 16)
    mask = np.where(np.arange(300) % 7, F32(0), np.array(0x7FC12345, np.uint32).view(F32))  # a NaN with a payload
    for size in (1, 1e-25, 1e-30, 1e-38, 1e-44):
        for order in (slice(None), slice(None, None, -1)):
            assert_twin(q, k[:, :, order], v * F32(size), scale=1)
            assert_twin(q, k[:, :, order], v * F32(size), scale=1, mask=mask)


# -- rows stand alone ---------------------------------------------------------------------------
@pytest.mark.parametrize("groups", [1, 4])
def test_a_decode_step_has_the_bits_of_the_prefill(isa, rng, groups):
    q, k, v = operands(rng, (1, 2 * groups, 2, 150, 150, 40, 24))
    whole = eight(q, k, v, causal=True)
    garbage_k, garbage_v = k.copy(), v.copy()
    for i in (0, 1, 14, 63, 64, 65, 127, 128, 149):
        step = eight(q[:, :, i : i + 1], k[:, :, : i + 1], v[:, :, : i + 1])
        oracle.assert_same_bits(step, whole[:, :, i : i + 1].copy(), f"row {i}")
        few = eight(q[:, :, max(0, i - 4) : i + 1], k[:, :, : i + 1], v[:, :, : i + 1], causal=True)
        oracle.assert_same_bits(few, whole[:, :, max(0, i - 4) : i + 1].copy(), f"rows to {i}")
    garbage_k[:, :, 100:], garbage_v[:, :, 100:] = np.nan, np.inf
    partly = eight(q, garbage_k, garbage_v, causal=True)
    oracle.assert_same_bits(partly[:, :, :100].copy(), whole[:, :, :100].copy(), "before the garbage")
    assert np.isnan(partly[:, :, 100:]).all()
    for rows in (1, 3, 30):
        cut = eight(q[:, :, 100 - rows : 100], garbage_k, garbage_v, causal=True, key_lengths=100)
        oracle.assert_same_bits(cut, whole[:, :, 100 - rows : 100].copy(), "key_lengths")


def test_a_row_depends_on_nothing_but_its_keys(isa, rng):
    """Also with keys that a thread keeps from one block of rows to the next, and lets go for another head's."""
    q, k, v = operands(rng, (3, 4, 2, 170, 90, 32, 32))
    lengths = [90, 3, 70]
    whole = eight(q, k, v, key_lengths=lengths)
    for threads in (1, 3):
        oracle.assert_same_bits(eight(q, k, v, key_lengths=lengths, threads=threads), whole, f"{threads} threads")
    for b in range(3):
        for h in range(4):
            own = k[b : b + 1, h // 2][None], v[b : b + 1, h // 2][None]
            alone = eight(q[b : b + 1, h : h + 1, 20:141], *own, key_lengths=lengths[b])
            oracle.assert_same_bits(alone[0, 0], whole[b, h, 20:141].copy(), f"{b}, {h}")
    q[1, 2, 5], q[2, 0, 169, 3], expected = np.nan, np.inf, whole.copy()
    expected[1, 2, 5] = expected[2, 0, 169] = np.nan
    oracle.assert_same_bits(eight(q, k, v, key_lengths=lengths), expected, "two broken rows")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 40])
def test_what_is_not_finite(isa, rng, value, rows):
    q, k, v = operands(rng, (1, 2, 2, rows, 100, 16, 16))
    whole = eight(q, k, v)
    bad = k.copy()
    bad[0, 1, 70, 3] = value
    assert_twin(q, bad, v)
    got = eight(q, bad, v)
    oracle.assert_same_bits(got[:, :1].copy(), whole[:, :1].copy(), "the other head")
    assert np.isnan(got[:, 1]).all()
    mask = np.ones(100, bool)
    mask[70] = False
    oracle.assert_same_bits(eight(q, bad, v, mask=mask), eight(q, k, v, mask=mask), "a masked key")
    bad = v.copy()
    bad[0, 1, 70, 3] = value
    assert_twin(q, k, bad)
    got = eight(q, k, bad)
    oracle.assert_same_bits(got[:, :1].copy(), whole[:, :1].copy(), "the other head's values")
    seen = eight(q, k, bad, key_lengths=70)
    oracle.assert_same_bits(seen, eight(q, k, v, key_lengths=70), "values beyond the keys")
    masked = eight(q, k, bad, mask=mask)
    oracle.assert_same_bits(masked, eight(q, k, v, mask=mask), "values of a masked key")
    assert np.isnan(got[:, 1]).all()


def test_rows_that_see_no_key_are_zeros(isa, rng):
    q, k, v = operands(rng, (2, 2, 1, 20, 70, 16, 16))
    mask = np.ones((20, 70), bool)
    mask[[0, 7, 19]] = False
    for some in (mask, np.where(mask, F32(1), -INF)):
        y = eight(q, k, v, mask=some)
        assert (y[:, :, [0, 7, 19]].view(np.uint32) == 0).all() and (y[:, :, 1] != 0).all()
    v[:] = np.nan
    assert (eight(q, k, v, key_lengths=0).view(np.uint32) == 0).all()
    y = eight(q, k, v, causal=True, key_lengths=[15, 0])
    assert (y[0, :, :5] == 0).all() and np.isnan(y[0, :, 5:]).all() and (y[1] == 0).all()


# -- float64 ------------------------------------------------------------------------------------
def shares(x):
    """int64 integers and float32 scales of rows, from the words of the docstring."""
    scales = np.abs(x).max(axis=-1) / F32(127)
    return np.rint(x / scales[..., None]).astype(np.int64), scales


def per_key(array, heads):
    """Of key heads, for each query head and row: [B, H, 1, T, …]."""
    return np.repeat(array, heads // array.shape[1], axis=1)[:, :, None]


def in_blocks(array):
    """The last axis in blocks of 64, filled up with zeros."""
    rest = -array.shape[-1] % 64
    padded = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, rest)])
    return padded.reshape(*array.shape[:-1], -1, 64)


@pytest.mark.parametrize("size", [0.1, 1.0, 4.0])
def test_within_the_bounds_of_float64(isa, rng, size):
    """All of the docstring in float64 and int64; then the bound of what that is away from the true result."""
    for shape in [*SHAPES, (1, 2, 2, 40, 1000, 64, 64), (1, 4, 2, 1, 3000, 32, 32)]:
        batch, heads, _, rows, keys, dim, _ = shape
        q, k, v = operands(rng, shape, size)
        bias = rng.standard_normal((batch, heads, rows, keys)).astype(F32)
        factor = 1 / math.sqrt(dim)
        actual = eight(q, k, v, mask=bias)
        scaled = q * F32(factor)
        (iq, sq), (ik, sk), (iv, sv) = shares(scaled), shares(k), shares(v)

        scores = np.einsum("bhsd,bhtd->bhst", iq, per_key(ik, heads)[:, :, 0])
        scores = scores * sq[..., None].astype(np.float64) * per_key(sk, heads) + bias
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        total = weights.sum(axis=-1)
        u = in_blocks(weights * per_key(sv, heads))
        unit = u.max(axis=-1, keepdims=True) / 255
        exactly = u / unit
        integers = np.rint(exactly)
        near = 255 * (2.0**-15 + 4 * oracle.U * (dim + 9) * np.abs(scores).max())  # exp, and what scores may be off
        doubtful = np.abs(np.abs(exactly - integers) - 0.5) < near
        whole = (integers * unit).reshape(*u.shape[:3], -1)[..., :keys]
        y = np.einsum("bhst,bhtd->bhsd", whole, per_key(iv, heads)[:, :, 0].astype(np.float64)) / total[..., None]
        slack = 127 * (doubtful * unit).sum(axis=(-1, -2)) / total

        peak, blocks = np.abs(v).max(), math.ceil(keys / 64)
        most = np.abs(scores - bias).max(axis=-1) + np.abs(bias).max(axis=-1)
        floats = 1.01 * oracle.U * peak * (2 * (dim + 3) * most + 13 * blocks + 350) + 2.0**-80
        floats += peak * 2.0**-16 * (blocks + 1)  # exp
        assert (np.abs(actual - y) <= (2 * floats + slack)[..., None]).all(), f"{shape}: of the integers"

        y, largest, _ = exact(q, k, v, bias.astype(np.float64), factor)
        floats = 1.01 * oracle.U * peak * (2 * (dim + 3) * largest + 13 * blocks + 350) + 2.0**-80
        floats += peak * 2.0**-16 * (blocks + 1)
        values = np.abs(per_key(k, heads).astype(np.float64))
        q_most, k_most = np.abs(scaled).max(axis=-1)[..., None], values.max(axis=-1)
        sums = np.abs(scaled).sum(axis=-1)[..., None] * k_most + values.sum(axis=-1) * q_most
        delta = (1.01 * (sums + dim * q_most * k_most / 254) / 254).max(axis=-1)
        share = in_blocks(weights).max(axis=-1).sum(axis=-1) / total
        bound = floats + 1.01 * peak * (delta + 1 / 254 + min(64, keys) * share / 510)
        assert (np.abs(actual - y) <= bound[..., None]).all(), f"{shape}: of the floats"


# -- errors, arrays -----------------------------------------------------------------------------
def test_errors_name_the_argument(rng):
    q, k, v = operands(rng, (1, 2, 2, 3, 4, LONGEST + 1, 5))
    with pytest.raises(ValueError, match="q must have a last dimension of at most 1040 where bits is 8; got"):
        eight(q, k, v)
    assert dq.attention(q, k, v).shape == (1, 2, 3, 5)
    for bits, error in ((4, ValueError), (0, ValueError), (True, TypeError), (8.0, TypeError), ("8", TypeError)):
        with pytest.raises(error, match="bits must be 8 or None; got"):
            dq.attention(q[..., :8], k[..., :8], v, bits=bits)
    few = q[..., :8], k[..., :8], v
    oracle.assert_same_bits(dq.attention(*few, bits=np.int64(8)), twin(*few))


def test_arrays_of_any_kind(isa, rng):
    rows, heads, dim = 37, 6, 20
    x = rng.standard_normal((rows, 3 * heads * dim)).astype(F32)
    q, k, v = (part.reshape(rows, heads, dim).swapaxes(0, 1) for part in np.split(x, 3, axis=1))
    out = np.full((rows, heads * dim + 8), 7, F32)
    place = out[:, 4:-4].reshape(rows, heads, dim).swapaxes(0, 1)
    assert eight(q, k, v, out=place) is place
    oracle.assert_same_bits(place.copy(), twin(*(np.ascontiguousarray(a)[None] for a in (q, k, v)))[0])
    assert (out[:, :4] == 7).all() and (out[:, -4:] == 7).all()
    double = q.astype(np.float64), k.astype(np.float16), np.broadcast_to(v, (2, *v.shape))
    expected = twin(q[None], k.astype(np.float16).astype(F32)[None], v[None])
    oracle.assert_same_bits(eight(*double), np.concatenate([expected, expected]))
