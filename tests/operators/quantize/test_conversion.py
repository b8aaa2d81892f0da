"""quantize and dequantize below and around the API: threads, cuts, streaming stores, `out`, and the exact quotient."""

from contextlib import contextmanager

import numba
import numpy as np
import oracle
import pytest
from canaries import assert_only_inside, guarded
from numba import types
from numba.extending import intrinsic
from test_quantize import assert_quantized, assert_round_trip, each_kind

import dynq_numba as dq
from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import data_ptr, keep
from dynq_numba.kernels.isa.emitter import F32 as FLOAT
from dynq_numba.kernels.isa.emitter import Emitter, vector
from dynq_numba.kernels.quantize import emit as emitted
from dynq_numba.kernels.quantize import worker as conversion
from dynq_numba.kernels.quantize.context import ConversionDescriptor
from dynq_numba.operators.quantize import backend as compiled
from dynq_numba.runtime.isa import active

F32 = np.float32


@contextmanager
def streaming(on):
    """Let every call store past the caches, or none."""
    words = [compiled.converter(name, active())[1] for name in ("quantize", "dequantize")]
    before = [int(word[ConversionDescriptor.last_cache]) for word in words]
    try:
        for word in words:
            word[ConversionDescriptor.last_cache] = -1 if on else 1 << 60
        yield
    finally:
        for word, value in zip(words, before, strict=True):
            word[ConversionDescriptor.last_cache] = value


SHAPES = [(1, 0), (0, 5), (5, 0), (1, 1), (1, 63), (1, 65), (3, 64), (5, 129), (40, 333), (1000, 3)]
LONG = [(1, 70_001), (2, 8192 * 3), (3, 16_385), (7, 40_000), (1, 200_003)]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES + LONG, ids=str)
def test_every_thread_count_and_store_gives_the_same_bits(isa, rng, shape, threads, stream):
    """Odd sizes, rows cut along k, buffers off any alignment with canaries around them."""
    rows, k = shape
    wide = rng.standard_normal((rows, k + 3)).astype(F32) * F32(3)
    x = wide[:, 1 : k + 1]  # rows apart, not aligned to a vector
    if rows > 1 and k:
        x[rows // 2, k // 2], x[-1, -1] = np.nan, -np.inf
    for symmetric, flip, shift, gap in ((False, 0, 0, 0), (True, 128, 1, 0), (False, 128, 61, 5), (True, 0, 16, 2)):
        kind = np.int8 if flip else np.uint8
        data, scale, zero_point = oracle.quantize(x, dtype=np.dtype(kind).name, symmetric=symmetric)
        with streaming(stream):
            raw, q = guarded(shape, kind, shift, gap)
            scales, zeros = np.empty(rows, F32), np.empty(rows, kind)
            compiled.quantize(x, symmetric, flip, q, scales, zeros, threads)
            assert_quantized(dq.Quantized(q, scales, zeros, -1), (data, scale, zero_point), f"{kind}")
            assert_only_inside(raw, q)
            for zero in (zeros, zeros.astype(np.int32)):
                room, back = guarded(shape, F32, shift & -4 if shift != 61 else 61, gap)
                compiled.dequantize(q, scales, zero, flip, back, False, threads)
                with np.errstate(invalid="ignore"):
                    wanted = (data.astype(np.int64) - zero_point[:, None]).astype(F32) * scale[:, None]
                oracle.assert_same_bits(back.copy(), wanted, "dequantize")
                assert_only_inside(room, back)


@each_kind
def test_long_rows_through_the_api(isa, rng, kind):
    """Sizes at which helpers join, and a tensor of many shapes as one row."""
    for shape in ((1, 150_001), (3, 50_000), (300, 400), (2, 3, 30_001)):
        x = rng.standard_normal(shape).astype(F32)
        q = dq.quantize(x, **kind)
        assert_quantized(q, oracle.quantize(x, **kind), f"{shape}")
        assert_round_trip(x, q, kind)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_value_poisons_a_row_that_is_cut(isa, rng, value):
    for place in (0, 99_999, 199_999):
        x = rng.standard_normal((2, 200_000)).astype(F32)
        x[1, place] = value
        scale, zero = np.empty(2, F32), np.empty(2, np.uint8)
        data = np.empty(x.shape, np.uint8)
        compiled.quantize(x, False, 0, data, scale, zero, 5)
        assert_quantized(dq.Quantized(data, scale, zero, -1), oracle.quantize(x), f"at {place}")
        assert np.isnan(scale[1]) and (data[1] == 0).all()


@pytest.mark.parametrize("rows", [1, 2, 9, 100])
@pytest.mark.parametrize("threads", [1, 2, 5, 16])
def test_shares_are_gone_through_from_their_ends_once(rows, threads):
    for tasks in {rows, rows * 4, rows * 7 + threads}:
        backwards = [conversion.own_task.py_func(task, threads, tasks) for task in range(tasks)]
        assert sorted(backwards) == list(range(tasks))


# -- out ----------------------------------------------------------------------------------------
@each_kind
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_out_is_written_and_returned(isa, rng, kind, axis):
    x = rng.standard_normal((5, 6, 70)).astype(F32)
    room = np.zeros((5, 6, 80), kind["dtype"])
    for out in (np.zeros(x.shape, kind["dtype"]), room[:, :, 3:73]):
        q = dq.quantize(x, axis=axis, out=out, **kind)
        assert q.data is out
        assert_quantized(q, oracle.quantize(x, axis=axis, **kind))
        for back in (np.zeros(x.shape, F32), np.zeros((5, 6, 80), F32)[:, :, 5:75]):
            assert dq.dequantize(q, out=back) is back
            oracle.assert_same_bits(back.copy(), dq.dequantize(dq.quantize(x, axis=axis, **kind)))


@pytest.mark.parametrize("granularity", ["per_token", "per_tensor"])
def test_out_may_overlap(rng, granularity):
    room = np.zeros(4000, F32)
    x = room[:2000].reshape(10, 200)
    x[:] = rng.standard_normal(x.shape)
    expected = oracle.quantize(x, granularity=granularity)
    for place in (0, 3, 1999, 6000):
        x[:] = np.random.default_rng(1).standard_normal(x.shape)
        expected = oracle.quantize(x, granularity=granularity)
        out = room.view(np.uint8)[place : place + 2000].reshape(x.shape)
        assert_quantized(dq.quantize(x, granularity=granularity, out=out), expected, f"at {place}")
    for place in (0, 1, 300):
        q = dq.quantize(np.random.default_rng(1).standard_normal(x.shape), granularity=granularity)
        wanted = dq.dequantize(q)
        data = room.view(np.uint8)[:2000].reshape(x.shape)
        data[:] = q.data
        back = dq.dequantize(q._replace(data=data), out=room[place : place + 2000].reshape(10, 200))
        oracle.assert_same_bits(back, wanted)


@numba.njit
def into(x, out, back):
    q = dq.quantize(x, dtype="int8", out=out)
    return q.scale, q.zero_point, dq.dequantize(q, out=back)


def test_out_in_compiled_code(rng):
    x = rng.standard_normal((7, 100)).astype(F32)
    out, back = np.empty(x.shape, np.int8), np.empty(x.shape, F32)
    scale, zero_point, again = into(x, out, back)
    expected = oracle.quantize(x, dtype="int8")
    assert_quantized(dq.Quantized(out, scale, zero_point, -1), expected)
    oracle.assert_same_bits(back, dq.dequantize(dq.quantize(x, dtype="int8")))
    assert np.shares_memory(again, back)
    overlapping = x.copy()
    into(overlapping, overlapping.view(np.int8).reshape(-1)[:700].reshape(7, 100), back)
    assert (overlapping.view(np.int8).reshape(-1)[:700].reshape(7, 100) == expected[0]).all()
    with pytest.raises(ValueError, match="out"):
        into(x, out[1:], back)


# -- the quotient -------------------------------------------------------------------------------
def quotient_kernel():
    """``run(x, s, out)``: float32 [N, 16] = x / s[:, None] as the kernels do it without division."""

    @intrinsic
    def divide(typingctx, x, s, out, rows):
        def codegen(context, builder, signature, args):
            e = Emitter(builder)

            def step(state):
                x, s, out = state
                (rounded,) = emitted.multiplications(e, e.load(vector(FLOAT, 1), s, 4))
                e.store(rounded(e.load(emitted.FLOATS, x, 4)), out, 4)
                return [e.at(x, 64), e.at(s, 4), e.at(out, 64)]

            e.repeat(args[3], list(args[:3]), step)
            return context.get_dummy_value()

        return types.void(types.voidptr, types.voidptr, types.voidptr, types.intp), codegen

    @kernel(cached=False)
    def run(x, s, out):
        divide(data_ptr(x), data_ptr(s), data_ptr(out), x.shape[0])
        keep(x)
        keep(s)
        keep(out)

    return run


def hardest_quotients(rng, count):
    """Integers X and S below 2**24 with X / S as near to the middle of two float32 as it can be, but not on it.

    For odd r, c = r / S modulo 2**25 is odd, and where it has 25 bits it is such a middle: c·S - r = X·2**25, hence
    X / S = (c - r / S) / 2**25, a part of 2**-24 of the last place from the middle.
    """
    s = rng.integers(1 << 22, 1 << 23, count) * 2 + 1
    inverse = s.copy()  # right in 3 bits; each step doubles them
    for _ in range(4):
        inverse = inverse * (2 - s * inverse) % (1 << 25)
    r = rng.choice([1, -1, 3, -3, 5, -5, 17, -17], count)
    c = r * inverse % (1 << 25)
    x = (c * s - r) >> 25
    whole = (c >= 1 << 24) & (x > 0)
    assert ((c * s - r) % (1 << 25) == 0).all() and whole.sum() > count // 4
    return x[whole], s[whole]


needs_fma = pytest.mark.skipif("avx2" not in dq.available_isas(), reason="a multiply-add is no instruction here")


def assert_quotients(run, x, s):
    """x [N] / s [N] by the kernel, each s with 16 x: the given one, its neighbours, its negatives, others."""
    above, below = np.nextafter(x, F32(np.inf)), np.nextafter(x, F32(0))
    three = np.stack([x, above, below], axis=1)
    values = np.concatenate([three, -three, 2 * three, three / 2, np.roll(three, 1, axis=0), x[:, None]], axis=1)
    out = np.empty_like(values)
    run(values, s, out)
    oracle.assert_same_bits(out, values / s[:, None])


@needs_fma
def test_the_quotient_is_the_true_one_beside_ties(rng):
    run = quotient_kernel()
    x, s = hardest_quotients(rng, 200_000)
    for exponent in (-60, -59, -1, 0, 1, 58, 59):
        scale = np.ldexp(s.astype(F32), exponent - 23)
        for power in (-1, 0, 3, 7):
            assert_quotients(run, np.ldexp(x.astype(F32), exponent - 23 + power), scale)


@needs_fma
@pytest.mark.parametrize("exponents", [(0, 1), (-60, -50), (50, 60), (-60, 60)], ids=str)
def test_the_quotient_is_the_true_one_for_every_kind_of_scale(rng, exponents):
    """Powers of two and their neighbours, short and random mantissas, and both bounds."""
    run = quotient_kernel()
    count = 50_000
    mantissa = rng.integers(0, 1 << 23, count).astype(np.uint32)
    special = [0, 1, 2, 3, (1 << 23) - 1, (1 << 23) - 2, 1 << 22, (1 << 22) + 1, (1 << 22) - 1]
    mantissa[:18_000] = np.repeat(special, 2000)
    mantissa[18_000:24_000] &= np.uint32(0xFFF)
    s = np.ldexp((mantissa | np.uint32(127 << 23)).view(F32), rng.integers(*exponents, count))
    s[:3] = emitted.LEAST, np.nextafter(F32(emitted.LEAST), F32(1)), emitted.LARGEST
    assert (s >= F32(emitted.LEAST)).all() and (s <= F32(emitted.LARGEST)).all()
    quotient = np.ldexp(rng.uniform(1, 2, count), rng.integers(-2, 9, count)).astype(F32)
    between = (quotient.astype(np.float64) + np.nextafter(quotient, F32(np.inf))) / 2
    assert_quotients(run, (between * s).astype(F32), s)
    assert_quotients(run, quotient * s, s)


@each_kind
@pytest.mark.parametrize("exponent", [-140, -126, -70, -61, -60, -59, -3, 0, 5, 59, 60, 61, 90, 119], ids=str)
def test_values_beside_every_tie(isa, rng, kind, exponent):
    """x one float below, on and above each rounding boundary (n + 1/2)·scale; scales within and beyond the bounds."""
    for _ in range(8):
        peak = F32(2.0**exponent) * F32(rng.uniform(1, 2)) * F32(255)
        low = F32(-peak * rng.uniform(0, 1)) if exponent < 119 else F32(-peak / 3)
        scale = oracle.quantize(np.array([low, peak], F32), **kind)[1].reshape(-1)[0]
        with np.errstate(over="ignore", under="ignore"):
            ties = ((np.arange(-256, 256) + 0.5) * np.float64(scale)).astype(F32)
            x = np.concatenate([np.nextafter(ties, F32(-np.inf)), ties, np.nextafter(ties, F32(np.inf))])
        x = np.concatenate([[low, peak], x[(x >= low) & (x <= peak)]]).astype(F32)
        q = dq.quantize(x, **kind)
        assert_quantized(q, oracle.quantize(x, **kind), f"scale {scale}")
