"""Float32 convolutions: bit for bit one chain of fma for each output, on every set, cut, thread count and geometry."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_convolution import geometry, naive_float, problem

from dynq_numba.arguments.geometry import Geometry
from dynq_numba.kernels.activations import reference as activations
from dynq_numba.kernels.sconv import reference
from dynq_numba.operators.sconv import backend
from dynq_numba.operators.sconv.pack import FloatConvWeight
from dynq_numba.runtime import isa as sets

F32 = np.float32
#: Weight [O, C / groups, kH, kW], height and width, then the options.
CASES = [
    ((4, 3, 3, 3), (5, 6), {"padding": 1}),
    ((20, 8, 3, 3), (14, 14), {"padding": 1}),
    ((33, 64, 3, 3), (9, 70), {"padding": 1}),  # K in blocks, rows longer than a panel
    ((15, 5, 3, 3), (9, 33), {}),
    ((20, 8, 1, 1), (14, 14), {}),  # the image itself is read
    ((20, 7, 1, 1), (3, 21), {"stride": 2}),
    ((29, 130, 3, 1), (33, 3), {}),  # rows of three pixels, also direct
    ((7, 6, 3, 1), (20, 9), {"dilation": (4, 1)}),
    ((33, 3, 7, 7), (40, 50), {"padding": 3, "stride": 2}),
    ((12, 2, 3, 5), (40, 50), {"stride": (2, 1), "padding": ((0, 1), (2, 3)), "dilation": (1, 2), "groups": 3}),
    ((12, 3, 3, 5), (40, 50), {"stride": (3, 4), "padding": ((5, 1), (2, 3)), "dilation": (2, 3), "groups": 2}),
    ((7, 5, 4, 4), (30, 31), {"stride": 4}),
    ((3, 2, 2, 2), (1, 1), {"padding": 40, "stride": 7, "dilation": 9}),  # mostly padding
    ((1, 1, 1, 1), (1, 1), {}),
    ((2, 3, 2, 2), (4, 5), {"stride": 9}),
    ((40, 100, 1, 3), (1, 300), {"padding": ((0, 0), (1, 1))}),
    ((40, 300, 1, 3), (1, 700), {"padding": ((0, 0), (1, 1)), "stride": (1, 2)}),  # parts of one row
    ((24, 1, 3, 3), (30, 31), {"padding": 1, "stride": 2}),  # one channel, but no depthwise kernel
    *(((12, 1, k, k), (17, 39), {"padding": k // 2, "stride": stride, "groups": 12})
      for k in (3, 5) for stride in ((1, 1), (1, 2), (2, 1), (2, 2))),
    ((24, 1, 3, 3), (17, 19), {"padding": 1, "groups": 12, "stride": 2}),
    ((6, 1, 3, 3), (90, 200), {"padding": ((2, 0), (0, 3)), "groups": 6}),  # rows in blocks
    ((6, 1, 2, 4), (17, 80), {"padding": 1, "groups": 6, "stride": (3, 3), "dilation": (2, 2)}),
    ((6, 1, 1, 9), (1, 140), {"padding": ((0, 0), (4, 4)), "groups": 6}),
    ((3, 1, 3, 3), (2, 1), {"padding": 5, "groups": 3, "stride": 4}),
]  # fmt: skip


def packed(weight, bias, options):
    return FloatConvWeight(weight, bias, Geometry(*geometry(weight, **options)), sets.active())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_oracle_on_every_set_and_thread_count(isa, rng, case):
    shape, size, options = case
    for images in (1, 3):
        x, weight, bias = problem(rng, shape, size, images, options.get("groups", 1))
        expected, bound, real = naive_float(x, weight, bias, **options)
        assert (np.abs(expected - real) <= bound).all()
        w = packed(weight, bias, options)
        found = reference.convolve(x, weight, bias, *geometry(weight, **options))
        oracle.assert_same_bits(found, expected, "the reference")
        for threads in (1, 2, 5):
            oracle.assert_same_bits(backend.convolve(x, w, threads=threads), expected, f"{threads} threads")
        oracle.assert_same_bits(backend.convolve(x[-1:].copy(), w), expected[-1:], "an image alone")


@given(st.data())
def test_any_geometry(data):
    draw = data.draw
    groups, own, each = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 20))
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
    expected = naive_float(x, weight, bias, **options)[0]
    for threads in (1, 3):
        oracle.assert_same_bits(backend.convolve(x, packed(weight, bias, options), threads=threads), expected)


@pytest.mark.parametrize("k", [1, 3, 4, 5, 33, 511, 512, 513, 1100])
@pytest.mark.parametrize("outputs", [1, 2, 5, 6, 7, 13, 14, 15, 29])
def test_every_height_and_remainder(isa, rng, k, outputs):
    x, weight, bias = problem(rng, (outputs, k, 1, 1), (1, 65))
    expected, w = naive_float(x, weight, bias)[0], packed(weight, bias, {})
    for pixels in (1, 15, 16, 17, 33, 65):
        part = np.ascontiguousarray(x[..., :pixels])
        oracle.assert_same_bits(backend.convolve(part, w, threads=2), expected[..., :pixels], str(pixels))


@pytest.mark.parametrize("groups", [1, 10])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "silu", "tanh"])
def test_post_ops(isa, rng, groups, with_residual, activation):
    x, weight, bias = problem(rng, (10, 10 // groups, 3, 3), (30, 41), 2, groups)
    options = {"padding": 1, "groups": groups}
    expected = naive_float(x, weight, bias, **options)[0]
    residual = rng.standard_normal(expected.shape, F32) if with_residual else None
    expected = expected if activation is None else activations.ACTIVATIONS[activation](expected)
    expected = expected if residual is None else expected + residual
    w = packed(weight, bias, options)
    for threads in (1, 2):
        found = backend.convolve(x, w, residual=residual, activation=activation, threads=threads)
        oracle.assert_same_bits(found, expected, f"{threads} threads")


def test_without_a_bias_and_without_images(isa, rng):
    x, weight, bias = problem(rng, (9, 4, 3, 3), (5, 6), 2)
    zeros = naive_float(x, weight, 0 * bias)[0]
    oracle.assert_same_bits(backend.convolve(x, packed(weight, None, {})), zeros)
    assert backend.convolve(x[:0], packed(weight, None, {})).shape == (0, 9, 3, 4)


def test_infinities_and_nan_stay_where_their_patches_are(isa, rng):
    for groups in (1, 4):
        x, weight, bias = problem(rng, (4, 4 // groups, 3, 3), (9, 40), 2, groups)
        w = packed(weight, bias, {"padding": 1, "groups": groups})
        clean = backend.convolve(x, w)
        for bad in (np.nan, np.inf, -np.inf):
            spoilt = x.copy()
            spoilt[0, 2, 4, 7] = bad
            found = backend.convolve(spoilt, w)
            near = np.zeros(found.shape, bool)
            near[0, 2 if groups == 4 else slice(None), 3:6, 6:9] = True
            assert not np.isfinite(found[near]).any()
            oracle.assert_same_bits(found[~near], clean[~near])


def test_the_step_says_that_all_is_well(isa, rng):
    x, weight, bias = problem(rng, (20, 8, 3, 3), (14, 14))
    w = packed(weight, bias, {})
    out = np.empty((1, 20, 12, 12), F32)
    words = w.record(x, out, None, 0)
    assert backend.step_entry()(words, 1) == 0
    oracle.assert_same_bits(out, naive_float(x, weight, bias)[0])


def test_onnx_computes_the_same(rng):
    pytest.importorskip("onnx")
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    for shape, size, options in CASES[:12]:
        x, weight, bias = problem(rng, shape, size, 2, options.get("groups", 1))
        stride, padding, dilation, groups = geometry(weight, **options)
        pads = [padding[0][0], padding[1][0], padding[0][1], padding[1][1]]
        given = {"strides": stride, "pads": pads, "dilations": dilation, "group": groups}
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **given)
        kept = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
        value = helper.make_tensor_value_info
        graph = helper.make_graph([node], "g", [value("x", 1, x.shape)], [value("y", 1, None)], kept)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        theirs = ReferenceEvaluator(model).run(None, {"x": x})[0]
        found = backend.convolve(x, packed(weight, bias, options))
        bound = naive_float(x, weight, bias, **options)[1]
        assert found.shape == theirs.shape and (np.abs(found - theirs) <= 2 * bound).all()
