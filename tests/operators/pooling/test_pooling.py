"""Pooling: an oracle window by window, ONNX's reference, and the numpy reference bit for bit."""

from itertools import product

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynq_numba.kernels.pooling import reference
from dynq_numba.operators.pooling import backend

F32, U = np.float32, 2.0**-24
ONE, NONE = (1, 1), ((0, 0), (0, 0))
#: Size, window, then the options.
CASES = [
    ((5, 6), (3, 3), {"padding": ((1, 1), (1, 1))}),
    ((14, 33), (2, 2), {"stride": (2, 2)}),
    ((15, 33), (3, 3), {"stride": (2, 2), "padding": ((1, 1), (1, 1)), "ceil_mode": True}),
    ((13, 13), (13, 13), {"padding": ((6, 6), (6, 6))}),
    ((12, 80), (3, 2), {"stride": (3, 2)}),
    ((20, 70), (3, 4), {"stride": (2, 3), "padding": ((2, 0), (1, 3)), "dilation": (2, 2), "ceil_mode": True}),
    ((1, 200), (1, 5), {"stride": (1, 2), "padding": ((0, 0), (2, 2))}),
    ((200, 130), (3, 3), {"stride": (2, 2), "padding": ((1, 1), (1, 1))}),  # rows in blocks
    ((3, 3), (2, 2), {"stride": (5, 5)}),
]


def windows(x, taps, stride=ONE, padding=NONE, dilation=ONE, ceil_mode=False, count_padding=False):
    """For every output (values inside the image, how many count), window by window; the size of the result."""
    sizes = []
    for axis in (0, 1):
        room = x.shape[2 + axis] + sum(padding[axis]) - dilation[axis] * (taps[axis] - 1) - 1
        count = (-(-room // stride[axis]) if ceil_mode else room // stride[axis]) + 1
        if ceil_mode and (count - 1) * stride[axis] >= x.shape[2 + axis] + padding[axis][0]:
            count -= 1
        sizes.append(count)
    found = {}
    for place in np.ndindex(*sizes):
        at = [[o * s - p[0] + d * tap for tap in range(t)]
              for o, s, p, d, t in zip(place, stride, padding, dilation, taps, strict=True)]  # fmt: skip
        inside = [[i for i in axis if 0 <= i < n] for axis, n in zip(at, x.shape[2:], strict=True)]
        along = zip(at, padding, x.shape[2:], strict=True)
        reached = [[i for i in axis if -p[0] <= i < n + p[1]] for axis, p, n in along]
        counting = reached if count_padding else inside
        found[place] = x[:, :, inside[0]][:, :, :, inside[1]], len(counting[0]) * len(counting[1])
    return found, tuple(sizes)


def check(x, taps, options, threads=(1, 2, 5)):
    for average, count_padding in ((False, False), (True, False), (True, True)):
        found, sizes = windows(x, taps, count_padding=count_padding, **options)
        given = {k: v for k, v in options.items() if k != "ceil_mode"}
        args = (given.get("stride", ONE), given.get("padding", NONE), given.get("dilation", ONE), count_padding)
        expected = reference.pool(x, average, taps, sizes, *args)
        for place, (values, count) in found.items():
            y = expected[(slice(None), slice(None), *place)]
            if not average:
                assert (y == values.max(axis=(2, 3), initial=-np.inf)).all()
            elif count:
                real = values.astype(np.float64).sum(axis=(2, 3)) / count
                size = np.abs(values.astype(np.float64)).sum(axis=(2, 3)) / count
                assert (np.abs(y - real) <= (taps[0] + taps[1] + 1) * U * size).all()
        for several in threads:
            y = backend.pool(x, taps, average=average, count_padding=count_padding, threads=several, **options)
            oracle.assert_same_bits(y, expected, f"{several} threads")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_oracle_on_every_set_and_thread_count(isa, rng, case):
    size, taps, options = case
    check(rng.standard_normal((2, 3, *size), F32), taps, options)
    check(rng.standard_normal((1, 1, *size), F32), taps, options, threads=(2,))


@given(st.data())
def test_any_window(data):
    draw = data.draw
    taps, stride, dilation = (draw(st.tuples(*(st.integers(1, most),) * 2)) for most in (5, 4, 3))
    padding = draw(st.tuples(*(st.tuples(st.integers(0, 6), st.integers(0, 6)),) * 2))
    size = []
    for axis in (0, 1):
        least = max(1, (taps[axis] - 1) * dilation[axis] + 1 - sum(padding[axis]))
        size.append(draw(st.integers(least, least + 40)))
    options = {"stride": stride, "dilation": dilation, "padding": padding, "ceil_mode": draw(st.booleans())}
    check(np.random.default_rng(5).standard_normal((1, 2, *size), F32), taps, options, threads=(1, 3))


def test_zeros_of_either_sign_infinities_and_nan(isa, rng):
    x = rng.choice(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1e-42], F32), (2, 3, 9, 40))
    for taps, average in (((3, 3), False), ((3, 3), True), ((2, 5), False)):
        sizes = backend.sizes_of((9, 40), taps, ONE, NONE, ONE, False)
        expected = reference.pool(x, average, taps, sizes, ONE, NONE, ONE)
        assert average or np.isnan(x).any() == np.isnan(expected).any()
        oracle.assert_same_bits(*map(quiet, (backend.pool(x, taps, average=average), expected)))
    for average in (False, True):
        expected = reference.global_pool(x.reshape(6, -1), average).reshape(2, 3, 1, 1)
        oracle.assert_same_bits(*map(quiet, (backend.global_pool(x, average=average), expected)))


def quiet(values):
    """One NaN for all: its payload is the processor's choice."""
    return np.where(np.isnan(values), F32(np.nan), values)


@pytest.mark.parametrize("values", [1, 2, 15, 16, 17, 63, 64, 65, 129, 1000])
def test_global_pooling(isa, rng, values):
    for planes in ((1, 1), (3, 5)):
        x = rng.standard_normal((*planes, values), F32)
        for threads in (1, 2):
            largest = backend.global_pool(x, threads=threads)
            assert largest.shape == (*planes, 1) and (largest == x.max(axis=2, keepdims=True)).all()
            mean = backend.global_pool(x, average=True, threads=threads)
            real = x.astype(np.float64)
            bound = (-(-values // 64) + 8) * U * np.abs(real).mean(axis=2, keepdims=True)
            assert (np.abs(mean - real.mean(axis=2, keepdims=True)) <= bound).all()
            oracle.assert_same_bits(mean.ravel(), reference.global_pool(x.reshape(-1, values), True))
            oracle.assert_same_bits(largest.ravel(), reference.global_pool(x.reshape(-1, values), False))


def test_nothing_to_do(isa):
    assert backend.pool(np.ones((0, 3, 5, 5), F32), (2, 2)).shape == (0, 3, 4, 4)
    assert backend.global_pool(np.ones((2, 0, 5, 5), F32)).shape == (2, 0, 1, 1)


def test_onnx_runtime_computes_the_same(rng):
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import helper

    value = helper.make_tensor_value_info
    kinds = (("MaxPool", 0), ("AveragePool", 0), ("AveragePool", 1))
    for (size, taps, options), (kind, count) in product(CASES, kinds):
        x = rng.standard_normal((2, 3, *size), F32)
        (top, bottom), (left, right) = options.get("padding", NONE)
        given = {
            "kernel_shape": taps, "strides": options.get("stride", ONE), "pads": [top, left, bottom, right],
            "dilations": options.get("dilation", ONE), "ceil_mode": int(options.get("ceil_mode", False)),
        } | ({"count_include_pad": 1} if count else {})  # fmt: skip
        node = helper.make_node(kind, ["x"], ["y"], **given)
        graph = helper.make_graph([node], "g", [value("x", 1, x.shape)], [value("y", 1, None)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        theirs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
        ours = backend.pool(x, taps, average=kind != "MaxPool", count_padding=bool(count), **options)
        assert ours.shape == theirs.shape
        bound = 0 if kind == "MaxPool" else (sum(taps) + taps[0] * taps[1] + 2) * U * np.abs(x).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
