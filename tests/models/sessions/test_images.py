"""InferenceSession on images: convolutions and pooling by kernels, bit for bit; one plan for every size."""

import numpy as np
import onnx
import onnx_ir as ir
import problems
import pytest
from onnx import helper, numpy_helper
from onnx_models import in_onnxruntime, in_reference, parsed

import dynq_numba as dq
from dynq_numba.arguments.geometry import Geometry
from dynq_numba.kernels.sconv.context import PATCHES, WINOGRAD_2, WINOGRAD_4
from dynq_numba.kernels.sconv.fold import reference
from dynq_numba.onnx import InferenceSession, quantize
from dynq_numba.operators.pooling import backend as pooling
from dynq_numba.operators.sconv import backend
from dynq_numba.operators.sconv.pack import FloatConvWeight
from dynq_numba.runtime import isa

F32 = np.float32


def model(nodes, weights, axes):
    """A model of x, with free lengths, to y."""
    value = helper.make_tensor_value_info
    kept = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    x, y = value("x", 1, ["n", "c", *axes]), value("y", 1, [None] * (2 + len(axes)))
    graph = helper.make_graph(nodes, "g", [x], [y], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, F32)


def natively(session):
    """Whether no step is Python's."""
    return not any(step.kernel.startswith("python") for step in session.report())


def test_convolutions_of_one_weight_have_geometries_of_their_own(monkeypatch):
    monkeypatch.setattr("dynq_numba.graph.quantizer.LEAST", 0)
    ways = [{"strides": [2, 1]}, {"pads": [1, 0, 2, 1]}, {"dilations": [1, 2]}, {}]
    w, x = normal(1, 9, 4, 3, 3), normal(2, 2, 4, 20, 17)
    nodes = [helper.make_node("Conv", ["x", "w"], [f"y{i}"], **way) for i, way in enumerate(ways)]
    made = model(nodes, {"w": w}, ["h", "w"])
    del made.graph.output[:]
    made.graph.output.extend(helper.make_tensor_value_info(f"y{i}", 1, [None] * 4) for i in range(len(ways)))
    found = InferenceSession(ir.to_proto(quantize(made, conv=True).model)).run(None, {"x": x})
    for way, y in zip(ways, found, strict=True):
        pads = way.get("pads", [0] * 4)
        packed = dq.pack_conv(
            w, stride=way.get("strides", (1, 1)), padding=list(zip(pads[:2], pads[2:], strict=True)),
            dilation=way.get("dilations", (1, 1)),
        )  # fmt: skip
        assert np.array_equal(y, dq.conv(x, packed))


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((9, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((8, 1, 5, 5), {"pads": [2, 1, 0, 2], "strides": [2, 1], "group": 4}),
        ((9, 4, 1, 1), {}),
        ((6, 2, 3, 2), {"dilations": [2, 3], "group": 2}),
    ],
)
def test_convolutions_of_every_size_by_one_plan(shape, options):
    weights = {"w": normal(1, *shape), "b": normal(2, shape[0])}
    made = model([helper.make_node("Conv", ["x", "w", "b"], ["y"], **options)], weights, ["h", "w"])
    session = InferenceSession(made)
    pads = options.get("pads", [0] * 4)
    geometry = Geometry(
        tuple(options.get("strides", (1, 1))), ((pads[0], pads[2]), (pads[1], pads[3])),
        tuple(options.get("dilations", (1, 1))), options.get("group", 1),
    )  # fmt: skip
    packed = FloatConvWeight(weights["w"], weights["b"], geometry, isa.active())
    for n, high, wide in ((1, 9, 8), (2, 20, 31), (1, 7, 64)):
        x = normal(3, n, shape[1] * geometry.groups, high, wide)
        found = session.run(None, {"x": x})[0]
        assert np.array_equal(found, backend.convolve(x, packed))
        np.testing.assert_allclose(found, in_reference(made, {"x": x})[0], rtol=0, atol=1e-4)
    assert natively(session) and len(session._plan.segments()) == 1


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((5, 4), (7, 5, 3), {"pads": [1, 1]}),
        ((6, 3), (40, 6, 3), {"pads": [2, 1], "strides": [2]}),
        ((1, 40), (9, 1, 16), {"strides": [8]}),  # one stretch
        ((4, 20), (33, 4, 5), {"strides": [6], "dilations": [3]}),
        ((3, 5, 4), (6, 3, 3, 3), {"pads": [1, 0, 1, 0], "strides": [2, 1]}),
        ((3, 5, 6), (6, 3, 2, 2), {"dilations": [2, 3], "strides": [2, 2]}),
        ((130, 1, 1), (200, 130, 1, 1), {}),
        ((2, 1, 1), (3, 2, 3, 3), {"pads": [4, 4, 1, 1], "strides": [2, 3]}),  # mostly padding
    ],
)
def test_quantized_convolutions_of_few_pixels_have_the_bits_of_conv(isa, rng, monkeypatch, x, w, options):
    """Two of them, so that the second one gets its image with channels last. Also images without any end or number."""
    monkeypatch.setattr("dynq_numba.graph.quantizer.LEAST", 0)
    weights = {"w": normal(1, *w), "b": normal(2, w[0]), "v": normal(3, 8, w[0], *(1,) * (len(w) - 2))}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **options), helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("Conv", ["r", "v"], ["y"])]  # fmt: skip
    made = ir.to_proto(quantize(model(nodes, weights, ["h", "w"][: len(w) - 2]), conv=True).model)
    axes, ones = len(w) - 2, (1,) * (len(w) - 2)
    pads = options.get("pads", [0] * 2 * axes)
    first = dq.pack_conv(
        weights["w"], weights["b"], stride=options.get("strides", ones), dilation=options.get("dilations", ones),
        padding=list(zip(pads[:axes], pads[axes:], strict=True)),
    )  # fmt: skip
    second = dq.pack_conv(weights["v"])
    extreme = problems.extreme_rows(rng, int(np.prod(x))).reshape(-1, *x)
    extreme[3].flat[0], extreme[4].flat[-1] = np.nan, -np.inf
    for threads in (1, 2):
        session = InferenceSession(made, threads=threads)
        for image in (normal(4, 1, *x), normal(5, 9, *x), extreme):
            found = session.run(None, {"x": image})[0]
            wanted = dq.conv(dq.conv(image, first, activation="relu"), second)
            assert np.array_equal(found, wanted, equal_nan=True)
        assert [step.kernel for step in session.report()][:2] == ["conv int8 rows"] * 2


def test_winograds_way_where_images_are_large_enough():
    """Of one model: by the number of pixels, not of images, and never by Python."""
    weights = {"w": normal(1, 17, 16, 3, 3), "b": normal(2, 17)}
    conv = helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1])
    made = model([conv, helper.make_node("Relu", ["c"], ["y"])], weights, ["h", "w"])
    session, geometry = InferenceSession(made), Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    shapes = {(1, 20, 31): WINOGRAD_4, (3, 20, 31): WINOGRAD_4, (2, 13, 12): WINOGRAD_2, (2, 5, 5): PATCHES}
    for (n, high, wide), way in shapes.items():
        x = normal(3, n, 16, high, wide)
        packed = FloatConvWeight(weights["w"], weights["b"], geometry, isa.active(), way)
        found = session.run(None, {"x": x})[0]
        assert np.array_equal(found, backend.convolve(x, packed, activation="relu"))
        np.testing.assert_allclose(found, in_reference(made, {"x": x})[0], rtol=0, atol=1e-4)
    assert natively(session)


_POOL = "y = MaxPool <kernel_shape = [1, 2]> "
#: What follows a Conv of x, and what of it the layer's kernel does.
TAILS = {
    "read twice": ("s = Add (c, three) k = Clip (s, zero, six) m = Mul (c, k) d = Div (m, six) " + _POOL + "(d)",
                   "Add·Clip·Mul·Div"),
    "read once": ("k = Clip (c, zero, six) d = Div (k, three) m = Add (d, three) " + _POOL + "(m)", "Clip·Div·Add"),
    "by two": ("k = Clip (c, zero, six) p = MaxPool <kernel_shape = [1, 2]> (k) "
               "q = MaxPool <kernel_shape = [1, 2]> (c) y = Concat <axis = 1> (p, q)", ""),
    "a part": ("f = Slice (c, one, two, one) k = Clip (f, zero, six) " + _POOL + "(k)", ""),
    "turned": ("t = Transpose <perm = [0, 1, 3, 2]> (c) k = Clip (t, zero, six) " + _POOL + "(k)", ""),
    "given back": ("y = Clip (c, zero, six)", ""),
    "with a number computed": ("g = ReduceMax <keepdims = 0> (x) k = Mul (c, g) " + _POOL + "(k)", ""),
    "for Python": ("k = Clip (c, zero, six) d = Div (k, three) y = LpPool <kernel_shape = [1, 2]> (d)", "Clip·Div"),
}  # fmt: skip


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("kind", ["sconv", "sconv_depthwise", "conv int8", "conv int8 rows", "patches"])
def test_elementwise_operators_behind_a_layer_are_its_post_ops(isa, monkeypatch, kind, tail):
    """The bits are those of a region of its own; a layer takes it if nothing else reads its result."""
    monkeypatch.setattr("dynq_numba.graph.quantizer.LEAST", 0)
    body, fused = TAILS[tail]
    shape = (8, 1, 3, 3) if "depth" in kind else (8, 8, 3, 3)
    group = ", group = 8" if "depth" in kind else ""
    numbers = {name: F32(n).reshape(()) for name, n in (("zero", 0), ("three", 3), ("six", 6))}
    numbers |= {"one": np.array([1]), "two": np.array([3])}
    used = {name: array for name, array in numbers.items() if f" {name}" in body}
    made = parsed("float[n, 8, h, w] x", "float[n, c, i, j] y", f"c = Conv <pads = [1, 1, 1, 1]{group}> (x, w) {body}",
                  w=normal(1, *shape), **used)  # fmt: skip
    if "int8" in kind:
        made = ir.to_proto(quantize(made, conv=True).model)
    sizes = ((2, 8, 3, 4), (5, 8, 2, 6)) if kind in ("conv int8 rows", "patches") else ((2, 8, 6, 7), (1, 8, 9, 40))
    found, kernels = {}, {}
    for apart in (False, True):
        if apart:
            monkeypatch.setattr("dynq_numba.planning.lowering.elementwise._fused", lambda *given: False)
        session = InferenceSession(made, threads=2)
        found[apart] = [session.run(None, {"x": normal(3, *size) * F32(4)})[0] for size in sizes]
        kernels[apart] = [step.kernel for step in session.report()]
    assert all(np.array_equal(*pair) for pair in zip(found[False], found[True], strict=True))
    layer = "sgemm" if kind == "patches" else kind
    assert (f"{layer} {fused}" if fused else kernels[True][0]) in kernels[False] and layer in kernels[True]
    assert (kernels[False] == kernels[True]) == (not fused)


def test_sequences_activations_and_residuals():
    weights = {"w": normal(1, 8, 8, 3), "b": normal(2, 8)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Add", ["r", "x"], ["s"]),
        helper.make_node("MaxPool", ["s"], ["m"], kernel_shape=[3], strides=[2], ceil_mode=1),
        helper.make_node("GlobalAveragePool", ["m"], ["y"]),
    ]
    made = model(nodes, weights, ["w"])
    session = InferenceSession(made)
    for n, wide in ((1, 10), (3, 65)):
        x = normal(3, n, 8, wide)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], in_reference(made, {"x": x})[0], rtol=0, atol=1e-5)
    assert natively(session)


@pytest.mark.parametrize(("taps", "axes"), [((2, 2), "hw"), ((3, 1), "hw"), ((4,), "w")])
def test_transposed_convolutions_whose_patches_do_not_overlap(taps, axes):
    weights = {"w": normal(1, 5, 7, *taps), "b": normal(2, 7)}
    made = model([helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=taps)], weights, axes)
    session = InferenceSession(made)
    for n, wide in ((1, 9), (3, 20)):
        x = normal(3, n, 5, *((6, wide) if axes == "hw" else (wide,)))
        np.testing.assert_allclose(session.run(None, {"x": x})[0], in_reference(made, {"x": x})[0], rtol=0, atol=1e-5)
    assert natively(session)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pooling_of_every_size_by_one_plan(kind):
    options = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1}
    session = InferenceSession(model([helper.make_node(kind, ["x"], ["y"], **options)], {}, ["h", "w"]))
    for n, c, high, wide in ((1, 3, 9, 9), (2, 5, 21, 35)):
        x = normal(4, n, c, high, wide)
        ours = pooling.pool(
            x, (3, 2), average=kind == "AveragePool", stride=(2, 2), padding=((1, 1), (0, 1)), ceil_mode=True
        )
        assert np.array_equal(session.run(None, {"x": x})[0], ours)
    assert natively(session)


@pytest.mark.parametrize("how", [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")])
@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 8, 3), (1, 2, 1, 1), (1, 1, 1, 1)])
def test_whole_factors_copy_the_nearest_pixel(how, scales):
    options = {"mode": "nearest", "coordinate_transformation_mode": how[0], "nearest_mode": how[1]}
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], **options)
    made = model([node], {"s": np.array(scales, F32)}, "hw")
    session = InferenceSession(made)
    for size in ((1, 3, 5, 7), (2, 4, 1, 9)):
        x = normal(5, *size)
        assert np.array_equal(session.run(None, {"x": x})[0], in_reference(made, {"x": x})[0])
    assert natively(session)


@pytest.mark.parametrize("how", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_for_a_pixel_of_every_stride(how, stride):
    options = {"auto_pad": how, "strides": [stride, stride]}
    conv = helper.make_node("Conv", ["x", "w"], ["y"], **options)
    names = ("MaxPool", "AveragePool")
    pools = [helper.make_node(name, ["x"], ["y"], kernel_shape=[3, 3], **options) for name in names]
    for node, weights in ((conv, {"w": normal(1, 3, 2, 3, 2)}), *((pool, {}) for pool in pools)):
        made = model([node], weights, ["h", "w"])
        session = InferenceSession(made)
        for size in ((6, 7), (7, 9), (8, 8), (9, 7)):
            x = normal(2, 1, 2, *size)
            found = session.run(None, {"x": x})[0]
            np.testing.assert_allclose(found, in_onnxruntime(made, {"x": x})[0], rtol=0, atol=1e-5)
        assert natively(session)


@pytest.mark.parametrize("options", [
    {"strides": [2, 2]}, {"strides": [1, 1]}, {"strides": [3, 2], "pads": [1, 0, 2, 1]}, {"dilations": [2, 1]},
    {"strides": [2, 3], "output_padding": [1, 2]}, {"strides": [3, 3], "output_shape": [17, 20]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [4, 4]}, {"group": 2},
])  # fmt: skip
def test_transposed_patches_are_added_up(options):
    groups = options.get("group", 1)
    weight, bias = normal(3, 2, 3, 3, 3), normal(4, 3 * groups)
    made = model([helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **options)], {"w": weight, "b": bias}, "hw")
    session = InferenceSession(made)
    for x in (normal(2, 1, 2, 5, 6), normal(5, 2, 2, 5, 6)):
        found = session.run(None, {"x": x})[0]
        np.testing.assert_allclose(found, in_onnxruntime(made, {"x": x})[0], rtol=0, atol=1e-5)
    assert natively(session)


def test_added_up_patches_have_the_bits_of_the_reference():
    weight, bias, x = normal(3, 2, 3, 3, 2), normal(4, 3), normal(2, 2, 2, 5, 6)
    made = model([
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 1], pads=[1, 0, 0, 1], dilations=[1, 2])
    ], {"w": weight, "b": bias}, "hw")  # fmt: skip
    ours = InferenceSession(made).run(None, {"x": x})[0]
    products = np.zeros((2, 3, 3, 2, 5, 6), F32)
    for c in range(2):  # a chain of fma in float64 is one in float32: products are exact there
        terms = weight[c].astype(np.float64)[None, :, :, :, None, None] * x[:, c][:, None, None, None]
        products = (products + terms).astype(F32)
    want = reference(products, bias, ours.shape[2:], (2, 1), (1, 2), (1, 0))
    assert np.array_equal(ours, want)


@pytest.mark.parametrize("order", [0, 1])
def test_places_of_the_largest(order):
    options = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "storage_order": order}
    node = helper.make_node("MaxPool", ["x"], ["y", "places"], **options)
    made = model([node], {}, ["h", "w"])
    made.graph.output.append(helper.make_tensor_value_info("places", onnx.TensorProto.INT64, [None] * 4))
    session = InferenceSession(made)
    for x in (normal(2, 2, 3, 6, 7), np.round(normal(3, 1, 2, 5, 5))):
        for ours, theirs in zip(session.run(None, {"x": x}), in_onnxruntime(made, {"x": x}), strict=True):
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    assert natively(session)


def test_what_no_kernel_does_python_does():
    x, weight = normal(2, 1, 2, 4, 5, 6), normal(1, 3, 2, 2, 2, 2)
    made = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": weight}, ["d", "h", "w"])
    session = InferenceSession(made)
    found = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(found, in_reference(made, {"x": x})[0], rtol=0, atol=1e-5)
    assert not natively(session)


def test_wrong_channels_are_no_kernels():
    session = InferenceSession(model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": normal(1, 3, 2, 3, 3)}, "hw"))
    assert session.run(None, {"x": normal(2, 1, 2, 6, 7)})[0].shape == (1, 3, 4, 5)
    with pytest.raises(ValueError, match="inconsistencies"):
        session.run(None, {"x": normal(2, 1, 5, 6, 7)})
