"""outliers= of pack_linear: against an oracle of its own, on every set; in compiled code, pickled, without numba."""

import copy
import gc
import os
import pickle
import subprocess
import sys

import numba
import numpy as np
import oracle
import problems
import pytest

import dynq_numba as dq
from dynq_numba.kernels.activations import reference as reference_activations
from dynq_numba.operators.linear import backend

F32 = np.float32
SCHEMES = [
    {"granularity": "per_channel"},
    {"granularity": "per_tensor", "x_granularity": "per_tensor"},
    {"bits": 4, "granularity": "per_channel"},
    {"granularity": "per_group", "group_size": 128},
    {"bits": 4, "granularity": "per_group", "group_size": 32},
    {"bits": 4, "granularity": "per_group", "group_size": 64, "symmetric": False},
]
#: m, k, n and the columns: the first and the last, neighbours, more than a vector, all there are.
PROBLEMS = [
    (1, 5, 3, [4]), (3, 67, 33, [66, 0]), (15, 130, 70, [17, 1, 16, 129]), (40, 64, 131, [*range(40, 60)]),
    (29, 20, 64, [*range(20)]),
]  # fmt: skip


def cleared(matrix, columns):
    matrix = matrix.copy()
    matrix[:, columns] = 0
    return matrix


def expected(x, weight, bias, columns, scheme):
    """The definition: the oracle's linear of what is left, and the float32 sum of the columns from left to right."""
    form = {name: value for name, value in scheme.items() if name != "x_granularity"}
    rest = oracle.pack(cleared(weight, columns), bias, **form)
    y = oracle.linear(cleared(x, columns), rest, scheme.get("x_granularity", "per_token"))
    t = np.zeros_like(y)
    for c in sorted(columns):
        t = oracle.fma(x[:, c, None], weight[None, :, c], t)
    with np.errstate(all="ignore"):
        return y + t


@numba.njit
def halved(v):
    return v * np.float32(0.5) - np.float32(1)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_definition(isa, rng, scheme):
    for m, k, n, columns in PROBLEMS:
        x, weight, bias = problems.normal_problem(rng, m, k, n)
        x[:, columns] *= 300
        w, wanted = dq.pack_linear(weight, bias, outliers=columns, **scheme), expected(x, weight, bias, columns, scheme)
        assert w.outliers == tuple(sorted(columns)) and not w.qweight[:, columns].any()
        residual = rng.standard_normal((m, n)).astype(F32)
        finished = halved.py_func(reference_activations.gelu(wanted) + residual)
        for threads in (1, 2, 5):
            oracle.assert_same_bits(dq.linear(x, w, threads=threads), wanted, f"{(m, k, n)} {threads}")
            out = np.empty((m, n), F32)
            given = {"activation": "gelu", "residual": residual, "epilogue": halved, "out": out, "threads": threads}
            assert dq.linear(x, w, **given) is out
            oracle.assert_same_bits(out, finished, f"{(m, k, n)} {threads} finished")


def test_wide_weights_of_many_strips(isa, rng):
    x, weight, bias = problems.normal_problem(rng, 33, 1500, 1100)
    columns = [0, 700, 701, 1499]
    w, wanted = dq.pack_linear(weight, bias, outliers=columns), expected(x, weight, bias, columns, {})
    for m, threads in ((1, 1), (1, 2), (33, 1), (33, 3)):
        oracle.assert_same_bits(dq.linear(x[:m], w, threads=threads), wanted[:m])


def test_long_k(isa, rng):
    x, weight, bias = problems.normal_problem(rng, 3, 70_001, 5)
    columns = [3, 65_800, 70_000]
    w = dq.pack_linear(weight, bias, outliers=columns, granularity="per_channel")
    oracle.assert_same_bits(dq.linear(x, w), expected(x, weight, bias, columns, {}))


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_any_layout_of_x(rng, layout):
    x, weight, bias = problems.normal_problem(rng, 9, 67, 33)
    w = dq.pack_linear(weight, bias, outliers=[5, 66])
    oracle.assert_same_bits(dq.linear(problems.LAYOUTS[layout](x), w), expected(x, weight, bias, [5, 66], {}))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_any_bits_in_the_columns_reach_their_row_alone(isa, rng, scheme):
    """Infinities, NaN, denormals, the largest floats: the integers of the other columns do not see them."""
    x, weight, bias = problems.normal_problem(rng, 64, 70, 33)
    columns = [0, 31, 32, 69]
    x[1:, columns] = rng.integers(0, 2**32, (63, 4), np.uint64).astype(np.uint32).view(F32)
    x[2:6, 31] = np.nan, np.inf, -np.inf, np.finfo(F32).max
    w, wanted = dq.pack_linear(weight, bias, outliers=columns, **scheme), expected(x, weight, bias, columns, scheme)
    assert np.isfinite(wanted[0]).all() and not np.isfinite(wanted[2:5]).any()
    for threads in (1, 3):
        oracle.assert_same_bits(dq.linear(x, w, threads=threads), wanted)
    x[7, 5] = np.nan  # no outlier: as ever
    spoiled = dq.linear(x, w)
    assert np.isnan(spoiled if scheme.get("x_granularity") == "per_tensor" else spoiled[7]).all()


def test_a_loud_column_costs_less(rng):
    x, weight = rng.standard_normal((64, 256)).astype(F32), rng.standard_normal((32, 256)).astype(F32)
    x[:, 5] *= 200
    exact = x.astype(float) @ weight.T.astype(float)
    errors = [np.linalg.norm(dq.linear(x, dq.pack_linear(weight, outliers=c)) - exact) for c in (None, [5])]
    assert errors[1] < 0.05 * errors[0], errors


def test_many_weights_of_one_x(isa, rng):
    """Weights with the same columns share the integers of x, others do not; the bits are those of linear."""
    x = problems.normal_problem(rng, 37, 70, 1)[0]
    x[3, 8] = np.nan
    for choice, together in (
        (([8, 2], [2, 8], [2, 8]), True), (([2, 8], [2, 9], [2, 8]), False), (([2], None, [2]), False),
        ((None, [2], [2]), False), (([2, 8], [2], [2, 8]), False), (([2], [2, 8], [2]), False),
    ):  # fmt: skip
        ws = [
            dq.pack_linear(rng.standard_normal((n, 70)).astype(F32), outliers=columns)
            for n, columns in zip((33, 1, 100), choice, strict=True)
        ]
        for threads in (None, 1, 2, 5):
            for y, w in zip(dq.linear_many(x, ws, activation="relu", threads=threads), ws, strict=True):
                oracle.assert_same_bits(y, dq.linear(x, w, activation="relu", threads=1))
        outs = [np.empty((37, w.shape[0]), F32) for w in ws]
        assert backend.linear_many(x, [w._layout() for w in ws], None, outs, 1) == together


def test_inside_compiled_code(rng):
    @numba.njit
    def block(x, w, ws):
        return dq.linear(x, w), dq.linear(x, w, activation="silu", residual=x[:, :20].copy()), dq.linear_many(x, ws)

    x, weight, bias = problems.normal_problem(rng, 9, 70, 20)
    w = dq.pack_linear(weight, bias, outliers=[69, 3], bits=4, granularity="per_group")
    for others in ((w, w), (w, dq.pack_linear(weight, outliers=[4], bits=4, granularity="per_group"))):
        plain, finished, many = block(x, w, others)
        oracle.assert_same_bits(plain, expected(x, weight, bias, [3, 69], {"bits": 4, "group_size": 32,
                                                                          "granularity": "per_group"}))  # fmt: skip
        oracle.assert_same_bits(finished, dq.linear(x, w, activation="silu", residual=x[:, :20]))
        for y, other in zip(many, others, strict=True):
            oracle.assert_same_bits(y, dq.linear(x, other))


@numba.njit
def first_of(x, layers):
    return dq.linear(x, layers[0])


def test_columns_held_only_by_compiled_code_stay_alive(rng):
    x, weight, bias = problems.normal_problem(rng, 12, 67, 33)
    layers = numba.typed.List()
    layers.append(dq.pack_linear(weight, bias, outliers=[7, 8]))
    gc.collect()
    spoilt = [np.full(33 * 128, 85, np.uint8) for _ in range(200)]  # takes the place of whatever was freed
    oracle.assert_same_bits(first_of(x, layers), expected(x, weight, bias, [7, 8], {}))
    assert len(spoilt) == 200


def test_what_is_given_is_copied(rng):
    x, weight, bias = problems.normal_problem(rng, 4, 30, 9)
    columns, before = np.array([3, 20]), weight.copy()
    w = dq.pack_linear(weight, bias, outliers=columns)
    np.testing.assert_array_equal(weight, before)
    weight[:], columns[:] = 0, 0
    oracle.assert_same_bits(dq.linear(x, w), expected(x, before, bias, [3, 20], {}))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_packed_keeps_and_gives_back_its_columns(rng, scheme):
    x, weight, bias = problems.normal_problem(rng, 5, 67, 33)
    w = dq.pack_linear(weight, bias, outliers=[40, 2], **scheme)
    wanted = dq.linear(x, w)
    plain = dq.pack_linear(cleared(weight, [2, 40]), bias, **scheme)
    assert w != plain and plain.outliers == () and w != dq.pack_linear(weight, bias, outliers=[2], **scheme)
    for other in (pickle.loads(pickle.dumps(w)), copy.copy(w), copy.deepcopy(w)):
        assert other == w and hash(other) == hash(w) and other.outliers == (2, 40) and repr(other) == repr(w)
        oracle.assert_same_bits(dq.linear(x, other), wanted)
    changed = weight.copy()
    changed[4, 40] += 1
    assert w != dq.pack_linear(changed, bias, outliers=[40, 2], **scheme)
    back = w.dequantize()
    np.testing.assert_array_equal(back[:, [2, 40]], weight[:, [2, 40]])
    np.testing.assert_array_equal(cleared(back, [2, 40]), plain.dequantize())
    assert "2 float32 columns" in repr(w) and "float32" not in repr(plain)
    padded = -(-33 // 32) * 32 if dq.current_isa() in ("amx", "avx512vnni") else -(-33 // 16) * 16
    assert w.nbytes == plain.nbytes + 4 * 2 * padded + 5 * 64 + 64  # W, mask, words: kernels/linear/outliers.py


def test_a_layout_for_another_set_has_the_same_columns(sets, rng):
    x, weight, bias = problems.normal_problem(rng, 5, 67, 33)
    w = dq.pack_linear(weight, bias, outliers=[40, 2])
    for name in sets:
        with dq.force_isa(name):
            oracle.assert_same_bits(dq.linear(x, w), expected(x, weight, bias, [2, 40], {}))


def test_odd_shapes(rng):
    for n, k, columns in ((0, 5, [1]), (3, 0, []), (3, 1, [0])):
        w = dq.pack_linear(np.ones((n, k), F32), outliers=columns)
        assert dq.linear(np.ones((2, k), F32), w).shape == (2, n)
        assert dq.linear(np.ones((0, k), F32), w).shape == (0, n)
        np.testing.assert_array_equal(w.dequantize(), np.ones((n, k)))
        assert pickle.loads(pickle.dumps(w)) == w
    weight = rng.standard_normal((4, 9)).astype(F32)
    assert dq.pack_linear(weight, outliers=[]) == dq.pack_linear(weight, outliers=None) == dq.pack_linear(weight)
    wanted = dq.pack_linear(weight, outliers=[2, 3])
    for given in ((3, 2), range(2, 4), np.array([2, 3], np.uint8), [np.int64(3), 2]):
        assert dq.pack_linear(weight, outliers=given) == wanted


@pytest.mark.parametrize(
    ("error", "told", "outliers"),
    [
        (ValueError, r"outliers must be columns of weight, from 0 to 47; got 48", [3, 48]),
        (ValueError, r"outliers must be columns of weight, from 0 to 47; got -1", [-1]),
        (ValueError, r"outliers must be distinct; got 5 more than once", [5, 1, 5]),
        (TypeError, r"outliers must hold integers; got", [1.0]),
        (TypeError, r"outliers must hold integers; got", np.zeros(48, bool)),
        (TypeError, r"outliers must hold integers; got", "12"),
        (TypeError, r"outliers must hold integers; got", {1, 2}),
        (TypeError, r"outliers must hold integers; got", [[1], [2, 3]]),
        (TypeError, r"outliers must be a sequence of integers; got int 3", 3),
        (TypeError, r"outliers must be a sequence of integers; got ndarray", np.zeros((1, 2), int)),
        (TypeError, r"outliers must be integers without a mask", np.ma.masked_array([1, 2], [True, False])),
    ],
)
def test_errors_name_the_argument(error, told, outliers):
    with pytest.raises(error, match=told):
        dq.pack_linear(np.ones((2, 48), F32), outliers=outliers)


def test_not_with_a_rotation():
    with pytest.raises(ValueError, match=r"outliers must be None with rotate.*rotate=16"):
        dq.pack_linear(np.ones((2, 48), F32), outliers=[1], rotate=16)
    assert dq.pack_linear(np.ones((2, 48), F32), outliers=[], rotate=16).rotate == 16


SUM = """
import hashlib, pickle, numpy as np, dynq_numba as dq
rng = np.random.default_rng(3)
x, weight = rng.standard_normal((5, 130)).astype(np.float32), rng.standard_normal((9, 130)).astype(np.float32)
x[2, 7], x[3, 8] = np.inf, 1e30
ys = []
for scheme in ({}, {"bits": 4}, {"x_granularity": "per_tensor"}, {"bits": 4, "symmetric": False, "group_size": 32}):
    w = pickle.loads(pickle.dumps(dq.pack_linear(weight, outliers=[129, 7, 8], **scheme)))
    ys += [dq.linear(x, w, activation="gelu"), *dq.linear_many(x, [w, w]), w.dequantize()[:5, :9], w.scale.ravel()[:1]]
ys = [np.where(np.isnan(y), np.float32(np.nan), y) for y in ys]
print(hashlib.sha256(b"".join(y.tobytes() for y in ys)).hexdigest())
"""


def test_without_a_compiler_the_same_bits():
    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-c", SUM], env=os.environ | environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run() == run(NUMBA_DISABLE_JIT="1")
