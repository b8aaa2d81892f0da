"""conv: the oracle's exact integers, the bits of the numpy twin, on every set, cut, thread count and geometry."""

import copy
import os
import pickle
import subprocess
import sys

import numba
import numpy as np
import oracle
import problems
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_weights import symmetric_rows

import dynq_numba as dq
from dynq_numba.kernels import convolution_call, reference_activations, reference_convolution
from dynq_numba.runtime.convolution import Geometry

F32 = np.float32
#: Weight [O, C / groups, kH, kW], height and width, then the options.
CASES = [
    ((4, 3, 3, 3), (5, 6), {"padding": 1}),
    ((20, 8, 3, 3), (14, 14), {"padding": 1}),
    ((33, 64, 3, 3), (9, 70), {"padding": 1}),  # rows longer than a vector
    ((15, 5, 3, 3), (9, 33), {}),
    ((20, 8, 1, 1), (14, 14), {}),  # the image itself is read
    ((20, 7, 1, 1), (3, 21), {"stride": 2}),
    ((29, 130, 3, 1), (33, 3), {}),  # rows of three pixels, also direct
    ((7, 6, 3, 1), (20, 9), {"dilation": (4, 1)}),
    ((33, 3, 7, 7), (40, 50), {"padding": 3, "stride": 2}),
    ((12, 2, 3, 5), (40, 50), {"stride": (2, 1), "padding": ((0, 1), (2, 3)), "dilation": (1, 2), "groups": 3}),
    ((12, 3, 3, 5), (40, 50), {"stride": (3, 4), "padding": ((5, 1), (2, 3)), "dilation": (2, 3), "groups": 2}),
    ((7, 5, 4, 4), (30, 31), {"stride": 4}),
    ((12, 1, 3, 3), (17, 19), {"padding": 1, "groups": 12}),
    ((24, 1, 3, 3), (17, 19), {"padding": 1, "groups": 12, "stride": 2}),
    ((3, 2, 2, 2), (1, 1), {"padding": 40, "stride": 7, "dilation": 9}),  # mostly padding
    ((1, 1, 1, 1), (1, 1), {}),
    ((2, 3, 2, 2), (4, 5), {"stride": 9}),
    ((40, 100, 3), (300,), {"padding": 1}),
    ((40, 300, 3), (700,), {"padding": 1, "stride": 2}),  # parts of one row
    ((5, 4, 9), (40,), {"padding": ((8, 0),), "dilation": 2, "groups": 1}),
]


def two(value):
    return value if isinstance(value, tuple) else (value, value)


def geometry(weight, stride=1, padding=0, dilation=1, groups=1):
    """The options for two spatial dimensions."""
    if weight.ndim == 3:
        (before, after) = padding[0] if isinstance(padding, tuple) else (padding, padding)
        return (1, stride), ((0, 0), (before, after)), (1, dilation), groups
    padding = padding if isinstance(padding, tuple) else (padding, padding)
    return two(stride), tuple(two(side) for side in padding), two(dilation), groups


def naive(x, weight, bias, **options):
    """(float32 result, bound of its distance from the float64 convolution, that one): pixel by pixel, tap by tap."""
    if weight.ndim == 3:
        parts = naive(x[:, :, None], weight[:, :, None], bias, two_dimensions=geometry(weight, **options))
        return tuple(part[:, :, 0] for part in parts)
    step, around, apart, groups = options.get("two_dimensions") or geometry(weight, **options)
    images, _, height, width = x.shape
    outputs, own, k_high, k_wide = weight.shape
    high = (height + sum(around[0]) - apart[0] * (k_high - 1) - 1) // step[0] + 1
    wide = (width + sum(around[1]) - apart[1] * (k_wide - 1) - 1) // step[1] + 1
    data, scale_x, zero = oracle.quantize_rows(x.reshape(images, -1))
    data = (data - zero[:, None]).reshape(x.shape)
    q, scale_w = symmetric_rows(weight.reshape(outputs, -1), 127)
    q = q.astype(np.int64).reshape(weight.shape)
    acc = np.zeros((images, outputs, high, wide), np.int64)
    real, size_x = np.zeros(acc.shape), np.zeros(acc.shape)
    each = outputs // groups
    for o in range(outputs):
        inputs = slice(o // each * own, (o // each + 1) * own)
        for ky in range(k_high):
            for kx in range(k_wide):
                ys = np.arange(high) * step[0] + ky * apart[0] - around[0][0]
                xs = np.arange(wide) * step[1] + kx * apart[1] - around[1][0]
                in_y, in_x = (ys >= 0) & (ys < height), (xs >= 0) & (xs < width)
                at = np.ix_(range(images), [o], in_y, in_x)
                here = (slice(None), inputs, ys[in_y][:, None], xs[in_x])
                acc[at] += np.einsum("nchw,c->nhw", data[here], q[o, :, ky, kx])[:, None]
                with np.errstate(invalid="ignore"):
                    values, w = x[here].astype(np.float64), weight[o, :, ky, kx].astype(np.float64)
                    real[at] += np.einsum("nchw,c->nhw", values, w)[:, None]
                    size_x[at] += np.abs(values).sum(axis=1)[:, None]
    with np.errstate(all="ignore"):
        factor = scale_w[:, None, None] * scale_x[:, None, None, None]
        y = acc.astype(F32) * factor + bias[:, None, None]
        # |x w - x^ w^| <= |x| |ew| + |ex| |w^|: half a step each (see oracle.float_value); then four roundings
        half = 0.5 + 2.0**-14
        used = (np.abs(q).reshape(outputs, -1).sum(axis=1) * scale_w.astype(np.float64))[:, None, None]
        bound = size_x * scale_w[:, None, None] * half + scale_x[:, None, None, None] * half * used
        bound = bound + 5 * oracle.U * (np.abs(acc * factor.astype(np.float64)) + np.abs(bias)[:, None, None])
    return y, bound * (1 + 2.0**-20), real + bias[:, None, None]


def twin(x, w, bias, options):
    if w.qweight.ndim == 3:
        args = geometry(w.qweight, **options)
        return reference_convolution.convolve(x[:, :, None], w.qweight[:, :, None], w.scale, bias, *args)[:, :, 0]
    return reference_convolution.convolve(x, w.qweight, w.scale, bias, *geometry(w.qweight, **options))


def problem(rng, shape, size, images=1, groups=1):
    x = rng.standard_normal((images, shape[1] * groups, *size)) * 2.0 ** rng.integers(-9, 9)
    weight = rng.standard_normal(shape) * 2.0 ** rng.integers(-5, 5, (shape[0], *(1,) * (len(shape) - 1)))
    return x.astype(F32), weight.astype(F32), rng.standard_normal(shape[0]).astype(F32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_oracle_on_every_set_and_thread_count(isa, rng, case):
    shape, size, options = case
    for images in (1, 3):
        x, weight, bias = problem(rng, shape, size, images, options.get("groups", 1))
        w = dq.pack_conv(weight, bias, **options)
        wanted, bound, real = naive(x, weight, bias, **options)
        assert (np.abs(wanted - real) <= bound).all()
        oracle.assert_same_bits(twin(x, w, bias, options), wanted, "twin")
        for threads in (None, 1, 2, 5):
            oracle.assert_same_bits(dq.conv(x, w, threads=threads), wanted, f"{threads} threads")
        oracle.assert_same_bits(dq.conv(x[-1], w), wanted[-1], "without images")


@given(st.data())
def test_any_geometry(data):
    draw = data.draw
    groups, own, each = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 20))
    taps = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    options = {
        "stride": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "dilation": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(st.tuples(*(st.tuples(st.integers(0, 6), st.integers(0, 6)),) * 2)),
        "groups": groups,
    }
    size = []
    for axis in (0, 1):
        least = (taps[axis] - 1) * options["dilation"][axis] + 1 - sum(options["padding"][axis])
        size.append(draw(st.integers(max(1, least), max(1, least) + 70)))
    x, weight, bias = problem(np.random.default_rng(3), (groups * each, own, *taps), size, 2, groups)
    w = dq.pack_conv(weight, bias, **options)
    wanted = naive(x, weight, bias, **options)[0]
    for threads in (1, 3):
        oracle.assert_same_bits(dq.conv(x, w, threads=threads), wanted)


@pytest.mark.parametrize("k", [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65])
@pytest.mark.parametrize("outputs", [1, 2, 4, 5, 6, 7, 13, 14, 15, 29])
def test_every_height_and_remainder(isa, rng, k, outputs):
    for pixels in (1, 15, 16, 17, 33, 64, 65):
        x, weight, bias = problem(rng, (outputs, k, 1), (pixels,))
        w = dq.pack_conv(weight, bias)
        oracle.assert_same_bits(dq.conv(x, w, threads=2), naive(x, weight, bias)[0], str(pixels))


def test_corner_values(isa):
    """0 and 255 against ±127, with zero points 0, 128 and 255, up to the largest K: nothing saturates or overflows."""
    for k in (8, 1000, 65_793):
        rng = np.random.default_rng(k)
        x, weight = problems.corner_problem(rng, k)
        x, bias = np.ascontiguousarray(x.T)[None], np.zeros(len(weight), F32)
        for image in (x, -x, x[:, :, :1], x[:, :, 1:2]):
            oracle.assert_same_bits(
                dq.conv(image, dq.pack_conv(weight[:, :, None])), naive(image, weight[:, :, None], bias)[0]
            )


def test_extreme_images(isa, rng):
    rows = problems.extreme_rows(rng, 4 * 5 * 6).reshape(-1, 4, 5, 6)
    weight = rng.standard_normal((9, 4, 3, 3)).astype(F32)
    bias = np.zeros(9, F32)
    w = dq.pack_conv(weight, padding=1)
    oracle.assert_same_bits(dq.conv(rows, w), twin(rows, w, bias, {"padding": 1}))
    zero = dq.pack_conv(np.zeros((3, 4, 3, 3), F32), np.arange(3.0))
    assert (zero.scale == 1).all()
    assert (dq.conv(rows[:1], zero) == np.arange(3, dtype=F32)[:, None, None]).all()


def test_one_bad_value_stays_in_its_image(isa, rng):
    x, weight, bias = problem(rng, (17, 6, 3, 3), (8, 9), 3)
    w = dq.pack_conv(weight, bias, padding=1)
    good = dq.conv(x, w)
    for bad in (np.nan, np.inf, -np.inf):
        x[1, 3, 2, 7] = bad
        y = dq.conv(x, w)
        assert np.isnan(y[1]).all()
        assert (y[[0, 2]] == good[[0, 2]]).all()


def test_an_image_does_not_know_its_batch(rng):
    x, weight, bias = problem(rng, (40, 16, 3, 3), (20, 20), 5)
    w = dq.pack_conv(weight, bias, padding=1)
    whole = dq.conv(x, w)
    for i in range(5):
        oracle.assert_same_bits(dq.conv(x[i : i + 1], w)[0], whole[i])


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
def test_activations(isa, rng, activation):
    x, weight, bias = problem(rng, (20, 6, 3, 3), (30, 30), 2)
    w = dq.pack_conv(weight, bias, padding=1)
    plain = dq.conv(x, w)
    value, bound = oracle.activation_value(activation, plain)
    for threads in (1, 2, 5):
        y = dq.conv(x, w, activation=activation, threads=threads)
        oracle.assert_same_bits(y, reference_activations.ACTIVATIONS[activation](plain))
        assert (np.abs(y - value) <= bound).all()


def test_many_chunks(rng):
    """So many patches that they are laid out piece by piece, in pixels, and weights of many panels."""
    for shape, size in (((70, 256, 3, 3), (30, 30)), ((40, 2, 3, 3), (100, 1)), ((30, 1000, 1, 1), (40, 40))):
        x, weight, bias = problem(rng, shape, size)
        w = dq.pack_conv(weight, bias, padding=1)
        wanted = twin(x, w, bias, {"padding": 1})
        for threads in (1, 2, 3):
            oracle.assert_same_bits(dq.conv(x, w, threads=threads), wanted)


def test_cuts_cover_all_units():
    for images in (1, 2, 7):
        for units in (1, 3, 8, 100):
            for most in (1, 4, 30):
                for threads in (1, 2, 16):
                    chunks, parts = convolution_call.cut.py_func(images, units, most, 5, threads)
                    assert 1 <= chunks <= max(1, units)
                    assert -(-units // chunks) <= most
                    assert 1 <= parts <= 5


def test_any_array(rng):
    x, weight, bias = problem(rng, (9, 6, 3, 3), (10, 12), 2)
    w = dq.pack_conv(weight, bias, padding=1)
    wanted = dq.conv(x, w)
    wide = np.full((4, 12, 20, 24), np.nan, F32)
    wide[::2, ::2, ::2, ::2] = x
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    turned = np.ascontiguousarray(x[:, ::-1, :, ::-1])[:, ::-1, :, ::-1]
    raw = np.zeros(x.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
    unaligned = raw[1:].view(F32).reshape(x.shape)
    for array in (wide[::2, ::2, ::2, ::2], nhwc, turned, unaligned, x.astype(np.float64)):
        array.flags.writeable = False
        oracle.assert_same_bits(dq.conv(array, w), wanted)
    half = x.astype(np.float16)
    oracle.assert_same_bits(dq.conv(half, w), dq.conv(half.astype(F32), w))
    oracle.assert_same_bits(dq.pack_conv(weight.astype(np.float64)).dequantize(), dq.pack_conv(weight).dequantize())


def test_empty():
    w = dq.pack_conv(np.ones((5, 3, 3, 3), F32), np.arange(5.0), padding=1)
    assert dq.conv(np.ones((0, 3, 4, 6), F32), w).shape == (0, 5, 4, 6)
    w = dq.pack_conv(np.ones((5, 3, 3, 3), F32), np.arange(5.0), padding=2)
    assert (dq.conv(np.ones((2, 3, 0, 4), F32), w) == np.arange(5, dtype=F32)[:, None, None]).all()


@pytest.mark.parametrize("shape", [(9, 6, 3, 3), (40, 6, 1, 1), (3, 6, 3)], ids=str)
def test_out_and_nothing_beyond_it(isa, rng, shape):
    size = (11, 13) if len(shape) == 4 else (143,)
    x, weight, bias = problem(rng, shape, size, 2)
    w = dq.pack_conv(weight, bias)
    wanted = dq.conv(x, w)
    for threads in (1, 2, 5):
        room = problems.poisoned(wanted.size + 200)
        out = room[100:-100].reshape(wanted.shape)
        assert dq.conv(x, w, out=out, threads=threads) is out
        oracle.assert_same_bits(out, wanted)
        assert problems.untouched(room, np.arange(room.size) % (room.size - 100) >= 100)
    room = problems.poisoned((*wanted.shape[:-1], wanted.shape[-1] + 3))
    out = room[..., 1:-2]
    assert dq.conv(x, w, out=out) is out
    assert (room[..., [0, -2, -1]].view(np.uint32) == problems.POISON).all()
    oracle.assert_same_bits(room[..., 1:-2].copy(), wanted)
    same = np.concatenate([x.ravel(), np.zeros(wanted.size, F32)])
    oracle.assert_same_bits(
        dq.conv(same[: x.size].reshape(x.shape), w, out=same[7 : 7 + wanted.size].reshape(wanted.shape)), wanted
    )


def test_attributes():
    rng = np.random.default_rng(1)
    weight, bias = rng.standard_normal((6, 2, 3, 5)).astype(F32), rng.standard_normal(6).astype(F32)
    w = dq.pack_conv(weight, bias, stride=(1, 2), padding=((1, 0), (2, 3)), dilation=[2, 1], groups=3)
    assert (w.shape, w.stride, w.padding, w.dilation, w.groups) == ((6, 2, 3, 5), (1, 2), ((1, 0), (2, 3)), (2, 1), 3)
    q, scale = symmetric_rows(weight.reshape(6, -1), 127)
    assert (w.qweight == q.reshape(weight.shape)).all() and w.qweight.dtype == np.int8
    assert (w.scale == scale).all()
    oracle.assert_same_bits(w.dequantize(), (q.astype(np.int64) * scale[:, None]).astype(F32).reshape(weight.shape))
    assert not w.bias.flags.writeable and bias.flags.writeable
    assert w.nbytes > weight.size
    assert "PackedConv(6 -> 6, 3x5, stride=(1, 2)" in repr(w)
    line = dq.pack_conv(weight[:, :, 0], stride=2, padding=1)
    assert (line.shape, line.stride, line.padding, line.dilation) == ((6, 2, 5), (2,), ((1, 1),), (1,))


def test_pickles_and_compares(isa, rng):
    x, weight, bias = problem(rng, (17, 5, 3, 3), (9, 9))
    w = dq.pack_conv(weight, bias, padding=1)
    for other in (pickle.loads(pickle.dumps(w)), copy.copy(w), copy.deepcopy(w), dq.pack_conv(weight, bias, padding=1)):
        assert other == w and hash(other) == hash(w)
        oracle.assert_same_bits(dq.conv(x, other), dq.conv(x, w))
    different = (dq.pack_conv(weight, padding=1), dq.pack_conv(weight, bias), dq.pack_conv(-weight, bias, padding=1), 3)
    assert all(other != w for other in different)
    with dq.force_isa("portable"):
        oracle.assert_same_bits(dq.conv(x, w), dq.conv(x, dq.pack_conv(weight, bias, padding=1)))
        assert dq.pack_conv(weight, bias, padding=1) == w


def test_errors_name_the_argument():
    x, weight = np.ones((2, 3, 8, 8), F32), np.ones((4, 3, 3, 3), F32)
    w = dq.pack_conv(weight)
    for bad in ([1.0], np.ones((4, 3, 3, 3), int), None):
        with pytest.raises(TypeError, match="weight must"):
            dq.pack_conv(bad)
    for shape in ((4, 3), (4, 3, 3, 3, 3), (0, 3, 3, 3), (4, 3, 0, 3)):
        with pytest.raises(ValueError, match="weight must be"):
            dq.pack_conv(np.ones(shape, F32))
    with pytest.raises(ValueError, match="at most 65793"):
        dq.pack_conv(np.ones((1, 65_794, 1), F32))
    with pytest.raises(ValueError, match="weight must be finite"):
        dq.pack_conv(np.full((4, 3, 3, 3), np.nan, F32))
    with pytest.raises(ValueError, match="bias must have shape"):
        dq.pack_conv(weight, np.ones(3, F32))
    with pytest.raises(TypeError, match="bias must"):
        dq.pack_conv(weight, [1, 2, 3, 4])
    for name, value in (
        ("stride", 0), ("dilation", 0), ("padding", -1), ("groups", 0), ("groups", 3), ("stride", (1, 2, 3)),
        ("padding", ((1, 2),)), ("padding", ((1, 2, 3), (1, 2))), ("dilation", ()),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            dq.pack_conv(weight, **{name: value})
    for name, value in (
        ("stride", 1.0), ("dilation", True), ("padding", "same"), ("padding", ((1, 2), 3.0)), ("groups", None),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=name):
            dq.pack_conv(weight, **{name: value})
    with pytest.raises(TypeError, match="w must be a PackedConv"):
        dq.conv(x, dq.pack_linear(np.ones((4, 3), F32)))
    with pytest.raises(TypeError, match="x must be"):
        dq.conv(x.astype(int), w)
    for bad in (x[:, :2], x[0, 0], x[None], x[:, :, :2], np.ones((3, 8, 2), F32)):
        with pytest.raises(ValueError, match="x must"):
            dq.conv(bad, w)
    with pytest.raises(ValueError, match="activation"):
        dq.conv(x, w, activation="swish")
    with pytest.raises(ValueError, match="threads"):
        dq.conv(x, w, threads=0)
    with pytest.raises(ValueError, match="out must have shape"):
        dq.conv(x, w, out=np.empty((2, 4, 8, 8), F32))
    with pytest.raises(TypeError, match="out must be a float32"):
        dq.conv(x, w, out=np.empty((2, 4, 6, 6)))


def test_output_sizes():
    shape = Geometry((2, 3), ((1, 0), (2, 2)), (1, 2), 1).output((7, 9), (3, 3))
    assert shape == ((7 + 1 - 2 - 1) // 2 + 1, (9 + 4 - 4 - 1) // 3 + 1)


@numba.njit
def in_2d(x, w, threads):
    return dq.conv(x, w, activation="relu", threads=threads)


@numba.njit
def plain(x, w):
    return dq.conv(x, w)


@numba.njit
def into(x, w, out):
    return dq.conv(x, w, out=out)


def test_in_compiled_code(isa, rng):
    x, weight, bias = problem(rng, (20, 6, 3, 3), (11, 13), 2)
    w = dq.pack_conv(weight, bias, padding=1, stride=2)
    for threads in (1, 2):
        oracle.assert_same_bits(in_2d(x, w, threads), dq.conv(x, w, activation="relu"))
    oracle.assert_same_bits(plain(x[0], w), dq.conv(x[0], w))
    oracle.assert_same_bits(plain(x[:, :, ::-1].astype(np.float64), w), dq.conv(x[:, :, ::-1], w))
    wanted = dq.conv(x, w)
    out = np.zeros_like(wanted)
    oracle.assert_same_bits(into(x, w, out), wanted)
    oracle.assert_same_bits(out, wanted)
    line = dq.pack_conv(weight[:, :, 0], bias, padding=1)
    oracle.assert_same_bits(plain(x[:, :, 0].copy(), line), dq.conv(x[:, :, 0], line))
    oracle.assert_same_bits(plain(x[0, :, 0].copy(), line), dq.conv(x[0, :, 0], line))
    with pytest.raises(ValueError, match="channels"):
        plain(x[:, 1:].copy(), w)
    with pytest.raises(ValueError, match="kernel"):
        plain(x[:, :, :0], w)
    with pytest.raises(ValueError, match="out must"):
        into(x, w, out[:1])
    with pytest.raises(ValueError, match="threads"):
        in_2d(x, w, 0)
    with pytest.raises(numba.TypingError, match="PackedConv"):
        plain(x, x)
    with pytest.raises(numba.TypingError, match="dimensions"):
        plain(x, line)


TWIN = """
import hashlib, numpy as np, dynq_numba as dq
rng = np.random.default_rng(3)
x, weight = rng.standard_normal((2, 6, 9, 10), np.float32), rng.standard_normal((8, 3, 3, 3), np.float32)
w = dq.pack_conv(weight, rng.standard_normal(8, np.float32), padding=1, stride=2, groups=2)
y = [dq.conv(x, w), dq.conv(x[0], w, activation="gelu"), w.dequantize()]
y.append(dq.conv(x[:, :, 0], dq.pack_conv(weight[:, :, 0], groups=2)))
print(hashlib.sha256(b"".join(a.tobytes() for a in y)).hexdigest())
"""


def test_without_jit_the_same_bits():
    def run(**more):
        command = [sys.executable, "-c", TWIN]
        return subprocess.run(command, env=os.environ | more, capture_output=True, text=True, timeout=240, check=True)

    assert run().stdout == run(NUMBA_DISABLE_JIT="1").stdout != ""
