"""conv and PackedConv as users meet them: any array, out, attributes, pickles, errors, compiled code, no JIT."""

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import oracle
import problems
import pytest
from oracle_convolution import problem
from oracle_weights import symmetric_rows

import dynq_numba as dq
from dynq_numba.operators.conv.backend import Geometry

F32 = np.float32


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


def test_callers_at_once(rng):
    cases = []
    for size in (9, 30, 60, 100):
        x, weight, bias = problem(rng, (20, 8, 3, 3), (size, size), 2)
        w = dq.pack_conv(weight, bias, padding=1)
        cases.append((x, w, dq.conv(x, w, threads=1)))

    def call(i):
        x, w, wanted = cases[i % len(cases)]
        return oracle.same_bits(dq.conv(x, w, threads=i % 3 + 1), wanted)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(call, range(200)))


OUT_OF_MEMORY = """
import resource
import numpy as np
import dynq_numba as dq

w = dq.pack_conv(np.ones((1, 256, 1, 1), np.float32))
x = np.ones((64, 256, 32, 32), np.float32)
out = np.full((64, 1, 32, 32), -5, np.float32)
dq.conv(x[:2], w, out=out[:2], threads=1)
pages = int(open("/proc/self/statm").read().split()[0])
free = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (8 << 20), free[1]))
try:
    dq.conv(x, w, out=out, threads=1)
except MemoryError as error:
    print("MemoryError", error)
resource.setrlimit(resource.RLIMIT_AS, free)
print("usable", abs(float(dq.conv(x, w)[5, 0, 3, 4]) - 256) < 1)
"""


def test_without_memory_for_the_images():
    command = [sys.executable, "-c", OUT_OF_MEMORY]
    child = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=240, check=True)
    assert child.stdout.splitlines() == ["MemoryError no memory to work in", "usable True"]
