"""dq.quantize and dq.dequantize against the oracle and against the ONNX specification's own cases."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import oracle
import problems
import pytest
from hypothesis import given

import dynq_numba as dq

F32 = np.float32
KINDS = [
    {"dtype": dtype, "symmetric": symmetric, "granularity": granularity}
    for dtype in ("uint8", "int8")
    for symmetric in (False, True)
    for granularity in ("per_token", "per_tensor")
]


def kind_id(kind):
    """A test id such as ``uint8-symmetric-per_token``."""
    return "-".join([kind["dtype"], "symmetric" if kind["symmetric"] else "asymmetric", kind["granularity"]])


each_kind = pytest.mark.parametrize("kind", KINDS, ids=kind_id)


def assert_quantized(q, expected, context=""):
    """Data, scale and zero point are the oracle's, with its dtypes and shapes."""
    data, scale, zero_point = expected
    for name, actual, wanted in [("data", q.data, data), ("zero_point", q.zero_point, zero_point)]:
        actual = np.asarray(actual)
        assert (actual.dtype, actual.shape) == (wanted.dtype, wanted.shape), f"{context}: {name}"
        assert (actual == wanted).all(), f"{context}: {name} differs at {np.argwhere(actual != wanted)[:3].tolist()}"
    oracle.assert_same_bits(np.asarray(q.scale), np.asarray(scale), f"{context}: scale")


def assert_round_trip(x, q, kind, axis=-1):
    """dequantize is (data - zero_point) * scale in float32, and near x: half a step and 2**-14 (see the oracle)."""
    data, *parts = oracle.quantize(x, axis=axis, **kind)
    scale, zero_point = (oracle.spread_over(part, data.shape, kind["granularity"], axis) for part in parts)
    back = dq.dequantize(q)
    with np.errstate(all="ignore"):
        oracle.assert_same_bits(back, (data.astype(np.int64) - zero_point).astype(F32) * scale, "dequantize")
        error = np.abs(back.astype(np.float64) - oracle.as_float32(x).astype(np.float64))
        bound = scale.astype(np.float64) * (0.5 + 2.0**-14) + np.abs(back).astype(np.float64) * oracle.U + 2.0**-141
    assert (error <= bound)[np.isfinite(scale) & np.isfinite(back)].all()


# The cases of onnx/backend/test/case/node/dynamicquantizelinear.py (onnx 1.23.2) and what it expects of them.
ONNX_CASES = {
    "dynamicquantizelinear": (
        [0, 2, -3, -2.5, 1.34, 0.5],
        [153, 255, 0, 26, 221, 179],
        0.0196078438,
        153,
    ),
    "max_adjusted": (
        [-1.0, -2.1, -1.3, -2.5, -3.34, -4.0],
        [191, 121, 172, 96, 42, 0],
        0.0156862754,
        255,
    ),
    "min_adjusted": (
        [[1, 2.1, 1.3, 2.5], [3.34, 4.0, 1.5, 2.6], [3.9, 4.0, 3.0, 2.345]],
        [[64, 134, 83, 159], [213, 255, 96, 166], [249, 255, 191, 149]],
        0.0156862754,
        0,
    ),
}


@pytest.mark.parametrize("case", ONNX_CASES)
def test_onnx_dynamic_quantize_linear(isa, case):
    x, data, scale, zero_point = ONNX_CASES[case]
    q = dq.quantize(np.array(x, F32), granularity="per_tensor")
    assert_quantized(q, (np.array(data, np.uint8), F32(scale), np.uint8(zero_point)))


@each_kind
@pytest.mark.parametrize("length", [*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 257, 1000])
def test_sweep(isa, rng, kind, length):
    for rows in (1, 2, 7, 15):
        x = problems.normal_problem(rng, rows, length, 1)[0]
        q = dq.quantize(x, **kind)
        assert_quantized(q, oracle.quantize(x, **kind), f"{rows} rows")
        assert_round_trip(x, q, kind)


@each_kind
@pytest.mark.parametrize("k", [1, 5, 64, 131])
def test_zeros_subnormals_huge_values_and_poisoned_rows(isa, rng, kind, k):
    x = problems.extreme_rows(rng, k)
    x = np.concatenate([x, np.ones((4, k), F32)])
    for row, value in zip((-4, -3, -2), (np.nan, np.inf, -np.inf), strict=True):
        x[row, k // 2] = value
    for part in [x, x[:-4], *x]:  # the whole; only finite rows; every row alone, so that per_tensor meets each
        q = dq.quantize(part, **kind)
        assert_quantized(q, oracle.quantize(part, **kind))
        assert_round_trip(part, q, kind)
    bad = np.isnan(np.asarray(dq.quantize(x, **{**kind, "granularity": "per_token"}).scale))
    assert bad[-4:-1].all() and not bad[:-4].any() and not bad[-1]


@each_kind
def test_ties_round_to_even(isa, rng, kind):
    """Asymmetric ties of many scales, and with a peak of 127 symmetric ones; odd zero points are added afterwards."""
    x = problems.halfway_rows(rng, 30)
    halves = np.concatenate([[127, -127], np.arange(-127, 127) + 0.5]).astype(F32)
    for part in (x, x[0], x[1], halves):
        q = dq.quantize(part, **kind)
        assert_quantized(q, oracle.quantize(part, **kind))
    if kind["symmetric"]:
        assert q.scale == 1 and (dq.dequantize(q)[2:] % 2 == 0).all()


@each_kind
@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 4, 5), (2, 3, 4, 5)])
def test_every_axis(isa, rng, kind, shape):
    x = problems.normal_problem(rng, int(np.prod(shape[:-1])), shape[-1], 1)[0].reshape(shape)
    for axis in range(-len(shape), len(shape)):
        q = dq.quantize(x, axis=axis, **kind)
        assert_quantized(q, oracle.quantize(x, axis=axis, **kind), f"axis={axis}")
        assert_round_trip(x, q, kind, axis)


@each_kind
@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (0, 0), (2, 0, 3), (0,)])
def test_empty_axes(isa, kind, shape):
    x = np.zeros(shape, F32)
    for axis in range(len(shape)):
        q = dq.quantize(x, axis=axis, **kind)
        assert_quantized(q, oracle.quantize(x, axis=axis, **kind), f"axis={axis}")
        assert dq.dequantize(q).shape == shape


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16], ids=lambda dtype: np.dtype(dtype).name
)
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_every_float_type_in_every_layout(isa, rng, dtype, layout):
    x = rng.standard_normal((13, 67)).astype(dtype)
    view = problems.LAYOUTS[layout](x)
    before = view.tobytes()
    for kind in KINDS:
        for axis in (-1, 0):
            assert_quantized(dq.quantize(view, axis=axis, **kind), oracle.quantize(x, axis=axis, **kind), kind_id(kind))
    assert view.tobytes() == before, "x was written"


def test_defaults_are_unsigned_rows(rng):
    x = problems.normal_problem(rng, 5, 9, 1)[0]
    assert_quantized(dq.quantize(x), oracle.quantize(x, **KINDS[0]))
    assert dq.quantize(x).data.dtype == np.uint8


@given(st.data())
def test_any_floats_give_the_bits_of_the_oracle(isa, data):
    kind = data.draw(st.sampled_from(KINDS), "kind")
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=20), "shape")
    axis = data.draw(st.integers(-len(shape), len(shape) - 1), "axis")
    x = data.draw(hnp.arrays(F32, shape, elements=st.floats(width=32)), "x")
    q = dq.quantize(x, axis=axis, **kind)
    assert_quantized(q, oracle.quantize(x, axis=axis, **kind))
    assert_round_trip(x, q, kind, axis)
