"""linear as a built-in function: it looks and fails like the one in Python, and its quick path gives the same bits."""

import copy
import gc
import inspect
import pickle
import subprocess
import sys
import threading
import time
from itertools import product

import numpy as np
import oracle
import pytest

import dynq_numba as dq
from dynq_numba.kernels.linear import vectorcall
from dynq_numba.kernels.objects import cpython as python
from dynq_numba.operators.linear import api as ops
from dynq_numba.operators.linear import many as projections
from dynq_numba.runtime import builtin, isa

F32 = np.float32
needs_builtin = pytest.mark.skipif(not builtin.POSSIBLE, reason="this interpreter has no quick path")


@pytest.fixture
def quickly(monkeypatch):
    """The quick paths are there and on, whatever tests before did."""
    dq.linear_many(np.ones((1, 1)), [dq.pack_linear(np.ones((1, 1)))])
    monkeypatch.setattr(isa, "ever_forced", False)
    python.PROCESS[python.Process.on] = 1
    yield
    python.PROCESS[python.Process.on] = 0
    isa.ever_forced = True


class Other(np.ndarray):
    """What no quick path takes."""


def layer(rng, n=40, k=70, **options):
    return dq.pack_linear(rng.standard_normal((n, k)).astype(F32), rng.standard_normal(n).astype(F32), **options)


def slowly(x, w, **options):
    return np.asarray(dq.linear(x.view(Other), w, **options))


def test_it_introduces_itself_as_any_function():
    assert list(inspect.signature(dq.linear).parameters) == [
        "x", "w", "activation", "residual", "epilogue", "out", "threads",
    ]  # fmt: skip
    assert dq.linear.__name__ == "linear"
    assert dq.linear.__doc__.startswith("y = epilogue(activation(x · Wᵀ + bias) + residual)")
    assert dq.linear.__module__ == "dynq_numba.operators.linear.api"
    assert pickle.loads(pickle.dumps(dq.linear)) is dq.linear
    assert copy.deepcopy(dq.linear) is dq.linear
    assert {dq.linear: 1}[ops.linear] == 1


@needs_builtin
@pytest.mark.parametrize(
    "options", [{}, {"threads": 1}, {"threads": 2}, {"activation": "gelu"}, {"out": True}], ids=str
)
@pytest.mark.parametrize("m", [1, 3, 40, 300])
@pytest.mark.parametrize(
    "kind", [{}, {"bits": 4, "granularity": "per_group"}, {"x_granularity": "per_tensor"}], ids=str
)
def test_the_quick_path_is_taken_and_gives_the_same_bits(quickly, monkeypatch, rng, kind, m, options):
    w = layer(rng, **kind)
    x = rng.standard_normal((m, 75)).astype(F32)[:, 2:72]
    room = np.zeros((m, 50), F32)
    wanted = slowly(x, w, activation=options.get("activation"))
    given = {"out": room[:, 5:45]} if "out" in options else options
    dq.linear(x, w, threads=2)
    monkeypatch.setattr(ops.checks, "describe", None)
    monkeypatch.setattr(ops, "backend", None)  # nobody gets through Python now
    for _ in range(3):
        y = dq.linear(x, w, **given)
        oracle.assert_same_bits(np.ascontiguousarray(y), wanted)
        assert type(y) is np.ndarray
        assert (y is given["out"]) if "out" in given else y.flags.owndata
        room[:, 5:45] = 0
    assert not room.any()
    with pytest.raises(AttributeError):
        dq.linear(x.view(Other), w)  # … indeed nobody


@needs_builtin
def test_references_are_neither_lost_nor_leaked(quickly, rng):
    w = layer(rng)
    x, out = rng.standard_normal((3, 70)).astype(F32), np.zeros((3, 40), F32)

    def counts():
        for _ in range(50):
            assert dq.linear(x, w, out=out) is out
            dq.linear(x, w, activation=None, threads=1)
            with pytest.raises(ValueError):
                dq.linear(x, w, out=out[:2])
        gc.collect()
        return [sys.getrefcount(thing) for thing in (x, w, out, np.dtype(F32), w._words, None)]

    counts()
    before, after = counts(), counts()
    assert after[:-1] == before[:-1]
    assert abs(after[-1] - before[-1]) < 50
    y, other = dq.linear(x, w), np.empty(1)
    assert sys.getrefcount(y) == sys.getrefcount(other)  # one, and what the interpreter adds for a call


@needs_builtin
@pytest.mark.parametrize("m", [1, 40, 300])
def test_linear_many_is_quick(quickly, monkeypatch, rng, m):
    ws = layer(rng), layer(rng, n=7), layer(rng, n=0), layer(rng, n=64)
    x = rng.standard_normal((m, 70)).astype(F32)
    wanted = [slowly(x, w, activation="gelu") for w in ws]
    dq.linear(x, ws[0], threads=2)
    monkeypatch.setattr(projections, "checks", None)
    for kind, threads in product((tuple, list), (None, 1, 2)):
        for y, right in zip(dq.linear_many(x, kind(ws), activation="gelu", threads=threads), wanted, strict=True):
            oracle.assert_same_bits(y, right)
            assert y.flags.owndata
            assert y.flags.writeable
    with pytest.raises(AttributeError):
        dq.linear_many(x.view(Other), ws)


@needs_builtin
def test_linear_many_keeps_count_of_references(quickly, rng):
    ws, x = [layer(rng), layer(rng, n=3)], rng.standard_normal((3, 70)).astype(F32)
    long = rng.standard_normal((9000, 70)).astype(F32)
    (first, second), other = dq.linear_many(x, ws), np.empty(1)
    assert sys.getrefcount(first) == sys.getrefcount(second) == sys.getrefcount(other)
    assert gc.is_tracked(dq.linear_many(x, ws))

    def counts():
        for _ in range(50):
            dq.linear_many(x, ws)
            dq.linear_many(x, tuple(ws), threads=1)
            dq.linear_many(long, ws)
            with pytest.raises(TypeError):
                dq.linear_many(x, (*ws, 3))
        gc.collect()
        return [sys.getrefcount(thing) for thing in (x, ws, *ws, np.dtype(F32))]

    counts()
    assert counts() == counts()


@needs_builtin
def test_what_could_crash_does_not(quickly, rng, monkeypatch):
    """Half-made weights, more weights than go together, a list that changes when garbage is collected, reloading."""
    x, w = rng.standard_normal((2, 70)).astype(F32), layer(rng)
    with pytest.raises(AttributeError):
        dq.linear(x, object.__new__(dq.PackedLinear))
    with pytest.raises(AttributeError):
        dq.linear_many(x, [object.__new__(dq.PackedLinear)])
    wanted = dq.linear(x, w)
    for y in dq.linear_many(x, [w] * 5000, threads=1)[::500]:
        oracle.assert_same_bits(y, wanted)
    with pytest.raises(TypeError, match="out"):
        dq.linear_many(x, [w], out=None)
    ws = [w, layer(rng)]

    class Spiteful:
        def __del__(self):
            ws.clear()

    for _ in range(3):
        ws[:] = w, layer(rng)
        cycle = Spiteful()
        cycle.self = cycle
        del cycle
        before = gc.get_threshold()
        gc.set_threshold(1)
        try:
            assert len(dq.linear_many(x, ws)) in (0, 2)
        finally:
            gc.set_threshold(*before)
    old = dq.linear
    monkeypatch.setattr(old.__self__, "linear", old)  # what is changed here, and set back: as a reload would
    monkeypatch.setattr(old.__self__, "__module__", old.__module__)
    monkeypatch.setitem(vars(builtin), "linear", old.__self__)
    monkeypatch.setitem(builtin._functions, "linear", old.__self__)
    again = builtin.builtin(old.__self__)
    oracle.assert_same_bits(again(x, w), wanted)
    gc.collect()
    oracle.assert_same_bits(old(x, w), wanted)


BAD = [
    (lambda x, w, out: dq.linear(), TypeError, "linear"),
    (lambda x, w, out: dq.linear(x), TypeError, "w"),
    (lambda x, w, out: dq.linear(x, w, None), TypeError, "positional"),
    (lambda x, w, out: dq.linear(x, w, outs=out), TypeError, "outs"),
    (lambda x, w, out: dq.linear(x, 3), TypeError, "w must be a PackedLinear"),
    (lambda x, w, out: dq.linear(x[:, 1:], w), ValueError, "x must have shape"),
    (lambda x, w, out: dq.linear(x.astype(int), w), TypeError, "x must"),
    (lambda x, w, out: dq.linear(x, w, threads=0), ValueError, "threads must"),
    (lambda x, w, out: dq.linear(x, w, threads=-1), ValueError, "threads must"),
    (lambda x, w, out: dq.linear(x, w, threads=2000), ValueError, "threads must"),
    (lambda x, w, out: dq.linear(x, w, threads=1 << 70), ValueError, "threads must"),
    (lambda x, w, out: dq.linear(x, w, threads=True), TypeError, "threads must"),
    (lambda x, w, out: dq.linear(x, w, threads=1.0), TypeError, "threads must"),
    (lambda x, w, out: dq.linear(x, w, activation="gulp"), ValueError, "activation must"),
    (lambda x, w, out: dq.linear(x, w, activation=3), ValueError, "activation must"),
    (lambda x, w, out: dq.linear(x, w, out=out[:2]), ValueError, "out must have shape"),
    (lambda x, w, out: dq.linear(x, w, out=out.astype(float)), TypeError, "out must be a float32"),
    (lambda x, w, out: dq.linear(x, w, out=out[:, ::-1]), ValueError, "out must be contiguous"),
    (lambda x, w, out: dq.linear(x, w, out="here"), TypeError, "out must"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_calls_say_what_is_wrong(quickly, rng, case):
    call, error, text = BAD[case]
    out = np.full((3, 40), 7, F32)
    with pytest.raises(error, match=text):
        call(rng.standard_normal((3, 70)).astype(F32), layer(rng), out)
    assert (out == 7).all()


def test_a_read_only_out_is_refused(quickly, rng):
    out = np.zeros((3, 40), F32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        dq.linear(rng.standard_normal((3, 70)).astype(F32), layer(rng), out=out)
    assert not out.any()


@pytest.mark.parametrize("shift", [0, 1, 39, 40, 41, 119, 120, 121, 200])
def test_out_may_overlap_x(quickly, rng, shift):
    """As one array before, after, and on the other, and at their borders."""
    w = layer(rng, n=40, k=40)
    room = np.zeros(400, F32)
    x, out = room[120:240].reshape(3, 40), room[shift : shift + 120].reshape(3, 40)
    value = rng.standard_normal((3, 40)).astype(F32)
    wanted = slowly(value, w)
    x[:] = value
    assert dq.linear(x, w, out=out) is out
    oracle.assert_same_bits(out.copy(), wanted)
    x[:] = value
    backwards = room[shift : shift + 120].reshape(3, 40)[::-1]
    dq.linear(x[::-1], w, out=backwards)
    oracle.assert_same_bits(backwards.copy(), wanted[::-1].copy())


def test_odd_matrices(quickly, rng):
    w = layer(rng, n=1, k=1)
    x = rng.standard_normal((5, 3)).astype(F32)
    for view in (x[:, 1:2], x[::2, 1:2], x[::-1, :1], x[:0, :1], np.asfortranarray(x)[:, 1:2]):
        oracle.assert_same_bits(dq.linear(view, w), slowly(np.ascontiguousarray(view), w))
    none = dq.pack_linear(np.zeros((0, 4), F32))
    assert dq.linear(np.ones((3, 4), F32), none).shape == (3, 0)
    bare = dq.pack_linear(np.zeros((2, 0), F32), np.array([1, 2], F32))
    assert (dq.linear(np.ones((3, 0), F32), bare) == [1, 2]).all()


@needs_builtin
def test_others_run_during_a_long_call(quickly, rng):
    """The interpreter's lock is free while the kernel works: a thread that waits gets on."""
    w = layer(rng, n=2048, k=2048)
    x = rng.standard_normal((512, 2048)).astype(F32)
    dq.linear(x, w)
    assert 512 * 2048 * 2048 / 450_000 > vectorcall.LET_RUN_US
    gate, seen = threading.Lock(), []

    def note():
        with gate:
            seen.append(True)

    before = sys.getswitchinterval()
    gate.acquire()
    waiting = threading.Thread(target=note)
    waiting.start()
    time.sleep(0.1)
    sys.setswitchinterval(100)  # nobody is made to give the lock away
    try:
        gate.release()
        until = time.monotonic() + 60  # it may lose its core to somebody else for a while
        while not seen and time.monotonic() < until:
            dq.linear(x, w, threads=1)
        assert seen
    finally:
        sys.setswitchinterval(before)
        waiting.join()


def test_forcing_a_set_turns_it_off_for_good(rng):
    with dq.force_isa("portable"):
        assert python.PROCESS[python.Process.on] == 0
        w = layer(rng)
        assert "portable" in repr(w)
    assert python.PROCESS[python.Process.on] == 0


STRANGE = """
import sys, types
sys.implementation.__dict__["name"] = "strange"
import numpy as np, dynq_numba as dq
from dynq_numba.runtime import builtin
sys.implementation.__dict__["name"] = "cpython"
assert not builtin.POSSIBLE and isinstance(dq.linear, types.FunctionType)
w = dq.pack_linear(np.eye(3, dtype=np.float32))
assert dq.linear(np.ones((2, 3), np.float32), w, threads=1).round(2).tolist() == np.ones((2, 3)).tolist()
try:
    dq.linear(np.ones((2, 3), np.float32), w, threads=0)
except ValueError as error:
    print(error)
"""


def test_an_interpreter_that_is_laid_out_otherwise_has_the_function_in_python():
    done = subprocess.run([sys.executable, "-c", STRANGE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "threads must" in done.stdout
