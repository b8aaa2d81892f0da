"""rotate= of pack_linear: the transform against a Hadamard matrix, and linear against one that is given rotated x."""

import os
import pickle
import subprocess
import sys

import numba
import numpy as np
import oracle
import pytest

import dynq_numba as dq
from dynq_numba.kernels.linear import reference
from dynq_numba.kernels.linear import reference_rotation as rotation
from dynq_numba.kernels.linear.emit_rotation import BLOCKS

F32 = np.float32
SCHEMES = [
    {"bits": 8, "granularity": "per_channel"},
    {"bits": 8, "x_granularity": "per_tensor"},
    {"bits": 4, "group_size": 32},
    {"bits": 4, "group_size": 64, "symmetric": False},
]


def hadamard(n):
    """Sylvester's matrix of ±1, by its definition: the sign is the parity of the bits that i and j share."""
    return np.array([[(-1.0) ** (i & j).bit_count() for j in range(n)] for i in range(n)])


def blocks_of(matrix, k):
    return np.kron(np.eye(k // len(matrix)), matrix)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_twin_is_a_hadamard_matrix(rng, block):
    x = rng.standard_normal((5, 384)).astype(F32)
    h = blocks_of(hadamard(block), 384)
    np.testing.assert_array_equal(h @ h.T, block * np.eye(384))
    exact = x.astype(float) @ h
    bound = np.log2(block) * 2.0**-23 * (abs(x.astype(float)) @ abs(h))
    assert (abs(rotation.rotate(x, block) - exact) <= bound).all()
    np.testing.assert_allclose(rotation.rotate_weight(x, block), exact / block, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("block", BLOCKS)
def test_linear_rotates_x_and_nothing_else(isa, rng, block, scheme):
    for n, k in ((1, 128), (33, 384)):
        weight, bias = rng.standard_normal((n, k)).astype(F32), rng.standard_normal(n).astype(F32)
        w = dq.pack_linear(weight, bias, rotate=block, **scheme)
        plain = dq.pack_linear(rotation.rotate_weight(weight, block), bias, **scheme)
        assert w.rotate == block and plain.rotate is None and w != plain
        np.testing.assert_array_equal(w.qweight, plain.qweight)
        for m in (1, 3, 40):
            wide = rng.standard_normal((m, k + 5)).astype(F32)
            x = wide[:, 2 : k + 2]
            residual = rng.standard_normal((m, n)).astype(F32)
            turned = rotation.rotate(np.ascontiguousarray(x), block)
            for threads in (1, 3):
                wanted = dq.linear(turned, plain, threads=1)
                oracle.assert_same_bits(dq.linear(x, w, threads=threads), wanted)
                out = np.empty((m, n), F32)
                assert dq.linear(x, w, activation="gelu", residual=residual, out=out, threads=threads) is out
                oracle.assert_same_bits(out, dq.linear(turned, plain, activation="gelu", residual=residual))


def test_the_result_is_the_twins(isa, rng):
    x, weight = rng.standard_normal((7, 256)).astype(F32), rng.standard_normal((20, 256)).astype(F32)
    w = dq.pack_linear(weight, rotate=64, granularity="per_channel")
    wanted = reference.linear(rotation.rotate(x, 64), w.qweight, w.scale[:, None], np.zeros(20, F32))
    oracle.assert_same_bits(dq.linear(x, w), wanted)


def test_a_loud_column_costs_less(rng):
    x, weight = rng.standard_normal((64, 256)).astype(F32), rng.standard_normal((32, 256)).astype(F32)
    x[:, 5] *= 200
    weight[:, 5] /= 200
    exact = x.astype(float) @ weight.T.astype(float)
    errors = [np.linalg.norm(dq.linear(x, dq.pack_linear(weight, rotate=r)) - exact) for r in (None, 128)]
    assert errors[1] < 0.4 * errors[0], errors


def test_what_is_not_finite_spoils_its_row_alone(isa, rng):
    w = dq.pack_linear(rng.standard_normal((20, 128)).astype(F32), rotate=32)
    x = rng.standard_normal((4, 128)).astype(F32)
    wanted = dq.linear(x, w)
    for value in (np.nan, np.inf, -np.inf):
        spoiled = x.copy()
        spoiled[2, 77] = value
        y = dq.linear(spoiled, w)
        assert np.isnan(y[2]).all()
        oracle.assert_same_bits(y[[0, 1, 3]], wanted[[0, 1, 3]])


def test_packed_says_keeps_and_gives_back_its_rotation(rng):
    weight = rng.standard_normal((20, 128)).astype(F32)
    w = dq.pack_linear(weight, rotate=32)
    other = pickle.loads(pickle.dumps(w))
    assert other == w and other.rotate == 32 and "rotated_32" in repr(w)
    assert w != dq.pack_linear(weight, rotate=64)
    assert np.linalg.norm(w.dequantize() - weight) < 0.01 * np.linalg.norm(weight)
    x = rng.standard_normal((3, 128)).astype(F32)
    oracle.assert_same_bits(dq.linear(x, other), dq.linear(x, w))
    for shape in ((0, 128), (20, 0)):
        empty = dq.pack_linear(np.zeros(shape, F32), rotate=16)
        assert dq.linear(np.ones((2, shape[1]), F32), empty).shape == (2, shape[0])
        assert empty.dequantize().shape == shape
    assert dq.linear(x[:0], w).shape == (0, 20)


def test_inside_compiled_code(rng):
    @numba.njit
    def twice(x, w):
        return dq.linear(x, w), dq.linear(x, w, activation="relu", threads=2)

    w = dq.pack_linear(rng.standard_normal((20, 128)).astype(F32), rotate=128, bits=4)
    x = rng.standard_normal((3, 128)).astype(F32)
    for given, wanted in zip(twice(x, w), (dq.linear(x, w), dq.linear(x, w, activation="relu")), strict=True):
        oracle.assert_same_bits(given, wanted)


def test_errors_name_the_argument():
    weight = np.ones((2, 48), F32)
    for value in (8, 256, 48, True, "16", 16.0):
        with pytest.raises(ValueError, match="rotate must be one of 16, 32, 64, 128"):
            dq.pack_linear(weight, rotate=value)
    with pytest.raises(ValueError, match=r"rotate must divide K.*rotate=32, K=48"):
        dq.pack_linear(weight, rotate=32)


SUM = """
import hashlib, numpy as np, dynq_numba as dq
rng = np.random.default_rng(3)
x, weight = rng.standard_normal((5, 128)).astype(np.float32), rng.standard_normal((9, 128)).astype(np.float32)
ys = [dq.linear(x, dq.pack_linear(weight, rotate=r, bits=b)) for r in (16, 32, 64, 128) for b in (8, 4)]
print(hashlib.sha256(np.stack(ys).tobytes()).hexdigest())
"""


def test_without_a_compiler_the_same_bits():
    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-c", SUM], env=os.environ | environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run() == run(NUMBA_DISABLE_JIT="1")
