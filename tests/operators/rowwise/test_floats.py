"""softmax, norms, gelu, silu, swiglu: twin bit for bit, float64 under derived bounds, shapes, threads, NaN, out."""

import numpy as np
import oracle
import oracle_floats as exact
import pytest
from canaries import assert_only_inside, guarded

import dynq_numba as dq
from dynq_numba.kernels.rowwise import reference
from dynq_numba.operators.rowwise import backend

F32 = np.float32
INF, NAN = F32(np.inf), F32(np.nan)
#: Around lanes, streams and blocks: 16, 64, 128.
LENGTHS = [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 255, 384, 1000]
ROWS = [1, 2, 3, 7]


def within(actual, value_and_bound):
    value, bound = value_and_bound
    assert actual.dtype == F32 and actual.shape == value.shape
    excess = np.abs(actual.astype(np.float64) - value) - bound
    assert not (excess > 0).any(), (np.unravel_index(excess.argmax(), excess.shape), excess.max())


def masks(rng, shape):
    """None, and masks of every kind for x of that shape."""
    yield None
    yield rng.random(shape) < 0.7
    yield np.where(rng.random(shape) < 0.2, -INF, rng.standard_normal(shape)).astype(F32)


def operands(rng, rows, k):
    x, residual = rng.standard_normal((2, rows, k)).astype(F32) * F32(3)
    weight, bias = rng.standard_normal((2, k)).astype(F32)
    return x, residual, weight, bias


NORMS = [
    (name, weight, bias, residual)
    for name in ("layer_norm", "rms_norm")
    for weight, bias in ((0, 0), (1, 0), (0, 1), (1, 1))
    for residual in (0, 1)
    if not (bias and name == "rms_norm")
]


def call_norm(name, x, weight, bias, residual, **options):
    extra = {} if name == "rms_norm" else {"bias": bias}
    return getattr(dq, name)(x, weight, residual=residual, **extra, **options)


# -- bits and bounds ----------------------------------------------------------------------------
@pytest.mark.parametrize("k", LENGTHS)
def test_softmax(isa, rng, k):
    for rows in ROWS:
        for spread in (0.1, 3, 60):
            x = rng.standard_normal((rows, k)).astype(F32) * F32(spread)
            for mask in masks(rng, x.shape):
                y = dq.softmax(x, mask=mask)
                oracle.assert_same_bits(y, reference.softmax(x, mask), f"{rows} {spread} {mask is None}")
                within(y, exact.softmax(x, mask))


@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_norms(isa, rng, norm):
    name, *given = norm
    for k in LENGTHS:
        for rows, shift in ((1, 0), (3, 100), (6, 0)):
            x, residual, weight, bias = operands(rng, rows, k)
            x += F32(shift)
            weight, bias, residual = (v if on else None for v, on in zip((weight, bias, residual), given, strict=True))
            y = call_norm(name, x, weight, bias, residual, eps=1e-3)
            ones = np.ones(k, F32) if weight is None and bias is not None else weight
            expected = reference.norm(x, ones, bias, residual, F32(1e-3), name == "layer_norm")[0]
            oracle.assert_same_bits(y, expected, f"{rows}×{k}")
            within(y, exact.norm(x, weight, bias, residual, 1e-3, name == "layer_norm"))


@pytest.mark.parametrize("k", LENGTHS)
def test_maps(isa, rng, k):
    for rows in ROWS:
        x, up = rng.standard_normal((2, rows, k)).astype(F32) * F32(4)
        for name, y in (
            ("gelu", dq.gelu(x)), ("gelu_tanh", dq.gelu(x, approximate="tanh")), ("silu", dq.silu(x)),
        ):  # fmt: skip
            oracle.assert_same_bits(y, reference.MAPS[name](x), name)
            within(y, oracle.activation_value(name, x))
        oracle.assert_same_bits(dq.swiglu(x, up), reference.swiglu(x, up), "swiglu")
        within(dq.swiglu(x, up), exact.swiglu(x, up))
        oracle.assert_same_bits(dq.swiglu(np.concatenate([x, up], axis=1)), reference.swiglu(x, up), "halves")


def test_exp_negative():
    x = -np.concatenate([np.linspace(0, 90, 2_000_001), np.linspace(0, 1, 200_001), [0, 1e-45, 1e-30]]).astype(F32)
    y, value = reference.exp_negative(x), np.exp(x.astype(np.float64))
    error = np.abs(y - value) / (value * exact.U)
    normal = value > 2.0**-126.3
    assert (error <= 3 + 1.3 * np.abs(x))[normal].all() and (y <= 1).all() and y[-3] == 1
    assert (y[~normal] <= 2.0**-126).all() and (y[x < -87.7] == 0).all()
    assert np.isnan(reference.exp_negative(np.array([NAN]))[0]) and reference.exp_negative(np.array([-INF]))[0] == 0


# -- what is special ----------------------------------------------------------------------------
@pytest.mark.parametrize("place", [0, 15, 16, 70, 99])
def test_a_nan_stays_in_its_row(isa, rng, place):
    x, residual, weight, bias = operands(rng, 5, 100)
    calls = [
        dq.softmax, dq.layer_norm, dq.rms_norm, lambda v: dq.softmax(v, mask=np.zeros(100, F32)),
        lambda v: dq.layer_norm(v, weight, bias, residual=residual),
        lambda v: dq.rms_norm(residual, weight, residual=v),
    ]  # fmt: skip
    for value, functions in ((NAN, calls), (INF, [calls[0], calls[1], calls[4]])):
        bad = x.copy()
        bad[3, place] = value
        for call in functions:
            y, clean = call(bad), call(x)
            assert np.isnan(y[3]).all()
            oracle.assert_same_bits(np.delete(y, 3, 0), np.delete(clean, 3, 0))


def test_softmax_of_what_is_left_out(isa):
    x = np.array([[1, NAN, 2, INF], [NAN, 1, INF, 2]], F32)
    keep = np.array([[True, False, True, False], [False] * 4])
    np.testing.assert_allclose(dq.softmax(x, mask=keep), [[0.26894142, 0, 0.7310586, 0], [0] * 4], rtol=1e-6)
    clean = np.array([[1, 2, 3], [-INF, -INF, -INF], [-INF, 0, -INF], [NAN, -INF, -INF]], F32)
    y = dq.softmax(clean)
    assert (y[1] == 0).all() and (y[2] == [0, 1, 0]).all() and np.isnan(y[3]).all()
    assert (dq.softmax(clean[:1], mask=np.full((1, 3), -INF)) == 0).all()
    assert (dq.softmax(np.array([[F32(3e38), F32(-3e38)]])) == [1, 0]).all()


@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms_of_rows_whose_squares_underflow(isa, rng, name, residual):
    """Within the docstring's bound without its absolute term, however small the row, beside rows of any other size."""
    for k in (2, 4, 37, 200):
        x = rng.standard_normal((60, k)) * np.exp2(rng.uniform(-149, -40, (60, 1)))
        x[::3] += np.exp2(rng.uniform(-149, -60, (20, 1)))
        x = x.astype(F32)[np.ptp(x.astype(F32), axis=1) > 0]
        half = rng.standard_normal(x.shape).astype(F32) * F32(2.0**-100) if residual else None
        v = x.astype(np.float64) if half is None else (x + half).astype(np.float64)
        weight, bias = rng.standard_normal((2, k)).astype(F32)
        y = call_norm(name, x, weight, bias if name == "layer_norm" else None, half, eps=0.0)
        deviation = v - v.mean(1, keepdims=True) if name == "layer_norm" else v
        sigma = np.sqrt((deviation**2).mean(1, keepdims=True))
        n = deviation / sigma
        size, of_bias = np.abs(n), 0.0
        if name == "layer_norm":
            size, of_bias = size + np.abs(v).mean(1, keepdims=True) / sigma, np.abs(bias)
        steps = k / 64 + 16 if name == "layer_norm" else k / 128 + 12
        bound = steps * exact.U * (np.abs(weight) * size + of_bias) + 2.0**-86 * np.abs(weight) + 2.0**-148
        assert (np.abs(y - (n * weight + of_bias * np.sign(bias))) <= bound).all()


def test_norms_of_constant_rows(isa):
    x = np.full((2, 100), F32(7.25))
    assert (dq.layer_norm(x) == 0).all() and np.isnan(dq.layer_norm(x, eps=0)).all()
    assert (dq.layer_norm(x, bias=np.arange(100.0)) == np.arange(100)).all()
    assert (dq.rms_norm(np.zeros((2, 5), F32)) == 0).all()
    np.testing.assert_allclose(dq.rms_norm(x, eps=0), 1, rtol=1e-6)


# -- shapes, strides, masks ---------------------------------------------------------------------
def test_masks_broadcast(isa, rng):
    x = rng.standard_normal((2, 3, 5, 37)).astype(F32)
    for shape in [(37,), (5, 37), (2, 1, 1, 37), (2, 1, 5, 37), (3, 5, 37), (2, 3, 5, 1), (1,), (3, 1, 1), ()]:
        for mask in (rng.random(shape) < 0.6, rng.standard_normal(shape), rng.standard_normal(shape).astype(F32)):
            mask = np.asarray(mask)
            full = np.broadcast_to(mask if mask.dtype == bool else mask.astype(F32), x.shape).reshape(-1, 37)
            expected = reference.softmax(x.reshape(-1, 37), full).reshape(x.shape)
            oracle.assert_same_bits(dq.softmax(x, mask=mask), expected, f"{shape} {mask.dtype}")
    mask = rng.random((5, 74))[::-1, ::2] < 0.5
    expected = reference.softmax(x.reshape(-1, 37), np.tile(mask, (6, 1))).reshape(x.shape)
    oracle.assert_same_bits(dq.softmax(x, mask=mask), expected, "strides")
    turned = dq.softmax(x.swapaxes(1, 3), mask=mask.T[:, :, None], axis=1)
    oracle.assert_same_bits(turned.swapaxes(1, 3), expected, "axis")


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, np.int64(1)])
def test_softmax_along_any_axis(rng, axis):
    x = rng.standard_normal((4, 5, 6)).astype(F32)
    moved = np.moveaxis(x, axis, -1)
    rows = reference.softmax(moved.reshape(-1, moved.shape[-1])).reshape(moved.shape)
    oracle.assert_same_bits(np.ascontiguousarray(dq.softmax(x, axis=axis)), np.moveaxis(rows, -1, axis).copy())
    out = np.empty_like(x)
    assert dq.softmax(x, axis=axis, out=out) is out
    oracle.assert_same_bits(out, np.moveaxis(rows, -1, axis).copy())


CALLS = {
    "softmax": dq.softmax, "layer_norm": dq.layer_norm, "rms_norm": dq.rms_norm, "gelu": dq.gelu, "silu": dq.silu,
    "swiglu": dq.swiglu,
}  # fmt: skip
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
def test_any_array_of_floats(rng, call):
    import ml_dtypes

    x = rng.standard_normal((3, 4, 70))
    expected = call(x.astype(F32))
    readonly = x.astype(F32)
    readonly.flags.writeable = False
    views = [np.asfortranarray(x.astype(F32)), x.astype(F32)[:, :, ::-1][:, :, ::-1], x, readonly, x.astype(">f4")]
    for view in views:
        oracle.assert_same_bits(call(view), expected)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        oracle.assert_same_bits(call(x.astype(dtype)), call(x.astype(dtype).astype(F32)))
    wide = np.zeros((12, 99), F32)
    wide[:, 7:77] = x.reshape(12, 70)
    oracle.assert_same_bits(call(wide[:, 7:77]), expected.reshape(12, -1))
    oracle.assert_same_bits(call(wide[::-1, 7:77][::-1]), expected.reshape(12, -1))
    oracle.assert_same_bits(call(wide[::-1, 7:77]), expected.reshape(12, -1)[::-1].copy())
    oracle.assert_same_bits(call(x[0, 0].astype(F32)), expected[0, 0])
    raw = np.zeros(4 * 840 + 1, np.uint8)
    odd = raw[1:].view(F32).reshape(x.shape)
    odd[:] = x
    oracle.assert_same_bits(call(odd), expected)


@each_call
@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 6)], ids=str)
def test_nothing(call, shape):
    y = call(np.empty(shape, F32))
    assert y.size == 0 and y.dtype == F32 and y.shape[:-1] == shape[:-1]


def test_scalars_of_maps():
    y = dq.gelu(np.array(1.5))
    assert y.shape == () and y == dq.gelu(np.array([1.5]))[0] and dq.silu(np.array(F32(0.5))).shape == ()


# -- threads and out ----------------------------------------------------------------------------
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shape", [(1, 1), (2, 63), (40, 333), (1000, 3), (3, 5000)], ids=str)
def test_every_thread_count_gives_the_same_bits_and_stays_inside(rng, shape, threads):
    """Into rows apart from each other, with canaries around and between them."""
    x, residual, weight, bias = operands(rng, *shape)
    calls = {
        "softmax": lambda **o: dq.softmax(x, **o),
        "masked": lambda **o: dq.softmax(x, mask=x[:, ::-1] > -2, **o),
        "layer_norm": lambda **o: dq.layer_norm(x, weight, bias, residual=residual, **o),
        "rms_norm": lambda **o: dq.rms_norm(x, weight, **o),
        "gelu": lambda **o: dq.gelu(x, **o),
        "swiglu": lambda **o: dq.swiglu(x, residual, **o),
    }
    for name, call in calls.items():
        for gap in (0, 5):
            raw, out = guarded(shape, F32, 4, gap)
            assert call(out=out, threads=threads) is out
            oracle.assert_same_bits(out.copy(), call(threads=1), name)
            assert_only_inside(raw, out)
    raw, total = guarded(shape, F32, 8, 3)
    dq.layer_norm(x, residual=residual, sum_out=total, threads=threads)
    oracle.assert_same_bits(total.copy(), x + residual)
    assert_only_inside(raw, total)


@each_call
def test_out_may_be_x_or_overlap_it(rng, call):
    values = rng.standard_normal((10, 200)).astype(F32)
    expected = call(values)
    columns = expected.shape[1]
    for place in (0, 1, 17, 1999, 2000):
        room = np.zeros(4000, F32)
        x = room[:2000].reshape(10, 200)
        x[:] = values
        out = room[place : place + 10 * columns].reshape(10, columns)
        assert call(x, out=out) is out
        oracle.assert_same_bits(out, expected, f"at {place}")


def test_sum_out_may_be_an_operand(rng):
    x, residual, weight, bias = operands(rng, 6, 77)
    y, total = dq.layer_norm(x, weight, bias, residual=residual), x + residual
    for which in (0, 1):
        pair = [x.copy(), residual.copy()]
        oracle.assert_same_bits(dq.layer_norm(pair[0], weight, bias, residual=pair[1], sum_out=pair[which]), y)
        oracle.assert_same_bits(pair[which], total)
        pair = [x.copy(), residual.copy()]
        out = pair[1 - which]
        dq.layer_norm(pair[0], weight, bias, residual=pair[1], sum_out=pair[which], out=out)
        oracle.assert_same_bits(out, y)
        oracle.assert_same_bits(pair[which], total)
    room = np.zeros(1000, F32)
    view = room[:462].reshape(6, 77)
    view[:] = residual
    shifted = room[3:465].reshape(6, 77)
    oracle.assert_same_bits(dq.layer_norm(x, weight, bias, residual=view, sum_out=shifted), y)
    oracle.assert_same_bits(shifted, total)


def test_plain_calls_take_the_short_way(rng):
    """Nothing but compiled code looks at the arguments of a plain call."""
    if not backend.JIT_ENABLED:
        pytest.skip("there is no short way without a compiler")
    x, residual, weight, bias = operands(rng, 3, 40)
    y = np.empty_like(x)
    assert backend.softmax(x, None, y, None) and backend.softmax(x, weight > 0, y, 1)
    assert backend.norm("layer_norm", x, weight, bias, residual, None, y, 1e-5, None)
    assert backend.unary("gelu", x, x, None) and backend.swiglu(x, residual, y, None)
    assert not backend.softmax(x.astype(np.float64), None, y, None) and not backend.unary("gelu", x, y[:2], None)
    assert not backend.norm("rms_norm", x, weight[1:], None, None, None, y, 1e-6, None)
