"""Float operations around their kernels: errors, inside numba.njit, without a compiler, on other targets."""

import hashlib
import os
import subprocess
import sys

import numba
import numpy as np
import oracle
import pytest
from numba.core.errors import TypingError

import dynq_numba as dq

F32 = np.float32
X = np.zeros((3, 8), F32)


# -- errors -------------------------------------------------------------------------------------
def read_only(shape):
    array = np.zeros(shape, F32)
    array.flags.writeable = False
    return array


ERRORS = [
    (TypeError, "x must be a numpy array", lambda: dq.softmax([1.0])),
    (TypeError, "x must be float16", lambda: dq.gelu(np.arange(3))),
    (ValueError, "x must have at least one", lambda: dq.layer_norm(np.array(1.0))),
    (TypeError, "axis must be an integer", lambda: dq.softmax(X, axis=1.0)),
    (ValueError, r"axis must be in \[-2, 2\)", lambda: dq.softmax(X, axis=2)),
    (TypeError, "mask must be a numpy array of booleans", lambda: dq.softmax(X, mask=np.ones(8, int))),
    (TypeError, "mask must be", lambda: dq.softmax(X, mask=[True] * 8)),
    (ValueError, r"mask must broadcast to the shape of x, \(3, 8\)", lambda: dq.softmax(X, mask=np.ones(7, bool))),
    (ValueError, "mask must broadcast", lambda: dq.softmax(X, mask=np.ones((2, 3, 8), bool))),
    (ValueError, r"weight must have shape \(8,\)", lambda: dq.layer_norm(X, X[0, 1:])),
    (TypeError, "bias must be", lambda: dq.layer_norm(X, bias=1.0)),
    (ValueError, r"residual must have the shape of x", lambda: dq.rms_norm(X, residual=X[0])),
    (TypeError, "eps must be a number", lambda: dq.rms_norm(X, eps="1")),
    (ValueError, "eps must be finite", lambda: dq.layer_norm(X, eps=-1e-5)),
    (ValueError, "eps must be finite", lambda: dq.layer_norm(X, eps=float("nan"))),
    (ValueError, "sum_out needs a residual", lambda: dq.layer_norm(X, sum_out=X.copy())),
    (ValueError, "sum_out must have shape", lambda: dq.layer_norm(X, residual=X, sum_out=np.zeros(8, F32))),
    (ValueError, "sum_out must be writable", lambda: dq.layer_norm(X, residual=X, sum_out=read_only((3, 8)))),
    (ValueError, "approximate must be one of None, 'tanh'", lambda: dq.gelu(X, approximate="erf")),
    (ValueError, "up must have the shape of gate", lambda: dq.swiglu(X, X[:2])),
    (ValueError, "gate must have an even last axis", lambda: dq.swiglu(X[:, 1:])),
    (TypeError, "out must be a float32", lambda: dq.silu(X, out=np.zeros((3, 8)))),
    (ValueError, "out must have shape", lambda: dq.softmax(X, out=np.zeros((3, 9), F32))),
    (ValueError, "out must be writable", lambda: dq.gelu(X, out=read_only((3, 8)))),
    (ValueError, "out must be contiguous", lambda: dq.layer_norm(X, out=np.zeros((3, 16), F32)[:, ::2])),
    (TypeError, "threads must be a positive integer", lambda: dq.softmax(X, threads=1.0)),
    (ValueError, "threads must be from 1", lambda: dq.swiglu(X, threads=0)),
]


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case[1])
def test_errors_name_the_argument(case):
    kind, message, call = case
    with pytest.raises(kind, match=message):
        call()


def test_sum_out_and_out_are_different():
    y = np.zeros((3, 8), F32)
    with pytest.raises(ValueError, match="sum_out and out must not overlap"):
        dq.layer_norm(X, residual=X, out=y, sum_out=y)


# -- inside compiled code -----------------------------------------------------------------------
@numba.njit
def jitted_softmax(x, mask, out):
    return dq.softmax(x), dq.softmax(x, mask=mask), dq.softmax(x, out=out, threads=2)


@numba.njit
def jitted_norms(x, weight, bias, residual, total):
    first = dq.layer_norm(x, weight, bias, eps=1e-3, residual=residual, sum_out=total)
    return first, dq.layer_norm(x), dq.layer_norm(x, bias=bias), dq.rms_norm(x, weight, out=residual)


@numba.njit
def jitted_maps(x):
    return dq.gelu(x), dq.gelu(x, approximate="tanh"), dq.silu(x), dq.swiglu(x, x), dq.swiglu(x)


@numba.njit
def jitted_rotary(x, cos, sin, places):
    return dq.rotary(x, cos, sin, offset=1), dq.rotary(x, cos, sin, places, interleaved=True)


def same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        oracle.assert_same_bits(a, b)


def assert_jitted(rng, kind, masks):
    x = rng.standard_normal((2, 5, 38)).astype(kind)
    weight, bias = rng.standard_normal((2, 38)).astype(F32)
    residual = rng.standard_normal(x.shape).astype(F32)
    for mask in masks:
        out = np.empty(x.shape, F32)
        same(jitted_softmax(x, mask, out), (dq.softmax(x), dq.softmax(x, mask=mask), dq.softmax(x)))
    total, other = np.empty((2, *x.shape), F32)
    expected = (
        dq.layer_norm(x, weight, bias, eps=1e-3, residual=residual, sum_out=other), dq.layer_norm(x),
        dq.layer_norm(x, bias=bias), dq.rms_norm(x, weight),
    )  # fmt: skip
    same((*jitted_norms(x, weight, bias, residual, total), total), (*expected, other))
    same(jitted_maps(x), (dq.gelu(x), dq.gelu(x, approximate="tanh"), dq.silu(x), dq.swiglu(x, x), dq.swiglu(x)))
    tables, places = dq.rotary_tables(9, 36), np.array([8, 0, 3, 3, 1])
    expected = dq.rotary(x, *tables, offset=1), dq.rotary(x, *tables, places, interleaved=True)
    same(jitted_rotary(x, *tables, places), expected)


@numba.njit
def jitted_once(x, mask, weight, residual, total, cos, sin):
    return (
        dq.softmax(x, mask=mask), dq.layer_norm(x, weight, residual=residual, sum_out=total), dq.rms_norm(x, weight),
        dq.gelu(x), dq.silu(x), dq.swiglu(x), dq.rotary(x, cos, sin),
    )  # fmt: skip


def test_in_compiled_code(rng):
    x, residual = rng.standard_normal((2, 2, 5, 38)).astype(F32)
    mask, weight, total, tables = rng.random((5, 38)) < 0.6, x[0, 0], np.empty_like(x), dq.rotary_tables(5, 38)
    expected = (
        dq.softmax(x, mask=mask), dq.layer_norm(x, weight, residual=residual), dq.rms_norm(x, weight), dq.gelu(x),
        dq.silu(x), dq.swiglu(x), dq.rotary(x, *tables),
    )  # fmt: skip
    same((*jitted_once(x, mask, weight, residual, total, *tables), total), (*expected, x + residual))


def test_every_type_in_compiled_code(rng):
    """Half a minute of compiling: not for the quick tier."""
    for kind in (F32, np.float64):
        assert_jitted(rng, kind, [rng.random((5, 38)) < 0.6, rng.standard_normal((2, 1, 38)).astype(kind)])


@numba.njit
def residual_in_place(x, stream, weight):
    return dq.rms_norm(x, weight, residual=stream, sum_out=stream)


@numba.njit
def softmax_into(x, out):
    return dq.softmax(x, out=out)


@numba.njit
def rotary_at(x, cos, sin, offset):
    return dq.rotary(x, cos, sin, offset=offset)


def test_out_and_errors_in_compiled_code(rng):
    x, stream = rng.standard_normal((2, 4, 20)).astype(F32)
    total = x + stream
    oracle.assert_same_bits(residual_in_place(x, stream, x[0]), dq.rms_norm(total, x[0]))
    oracle.assert_same_bits(stream, total)
    for place in (0, 1, 30, 80):
        room = np.zeros(200, F32)
        view = room[:80].reshape(4, 20)
        view[:] = x
        oracle.assert_same_bits(softmax_into(view, room[place : place + 80].reshape(4, 20)), dq.softmax(x))
    with pytest.raises(ValueError, match="out"):
        softmax_into(x, np.empty((4, 21), F32))
    with pytest.raises(ValueError, match="weight"):
        residual_in_place(x, stream, x[0, 1:])
    with pytest.raises(ValueError, match="positions"):
        rotary_at(x, *dq.rotary_tables(9, 20), 6)
    with pytest.raises(TypingError, match="out must be"):
        softmax_into(x, np.empty((4, 20)))


# -- the same bits elsewhere --------------------------------------------------------------------
DIGEST = """
import hashlib, numpy as np, dynq_numba as dq
rng = np.random.default_rng(5)
digest = hashlib.sha256()
for k in (1, 20, 64, 100, 203):
    x, residual = rng.standard_normal((2, 5, 2 * k), np.float32) * np.float32(4)
    weight, bias = rng.standard_normal((2, 2 * k), np.float32)
    x[1, 0] = np.inf
    tables = dq.rotary_tables(9, 2 * k)
    total = np.empty_like(x)
    for y in (
        dq.softmax(x), dq.softmax(x, mask=residual > 0), dq.softmax(x, mask=residual), dq.rms_norm(x, weight),
        dq.layer_norm(x, weight, bias, residual=residual, sum_out=total), total, dq.gelu(x), dq.silu(x),
        dq.gelu(x, approximate="tanh"), dq.swiglu(x), dq.swiglu(x, residual), *tables, dq.rotary(x, *tables),
        dq.rotary(x, *tables, interleaved=True), dq.softmax(x, axis=0),
    ):
        y = np.where(np.isnan(y), np.float32(7), y)
        digest.update(np.ascontiguousarray(y).tobytes())
print(digest.hexdigest())
"""


def digest_with(**variables):
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def here():
    return digest_with()


def test_the_reference_alone_gives_the_same_bits(here):
    assert len(here) == hashlib.sha256().digest_size * 2
    assert digest_with(NUMBA_DISABLE_JIT="1") == here


@pytest.mark.parametrize("target", [("x86-64", ""), ("haswell", "+avx2,+fma,+bmi2"), ("skylake-avx512", "")], ids=str)
def test_other_targets_give_the_same_bits(here, target):
    """What LLVM makes of the same functions for a machine without AVX, with AVX2, with AVX-512."""
    name, features = target
    wanted = {"x86-64": "portable", "haswell": "avx2", "skylake-avx512": "avx512vnni"}[name]
    if wanted not in dq.available_isas():
        pytest.skip(f"this machine cannot run code for {name}")
    assert digest_with(NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features) == here
