"""Operators on places: TopK, GatherND, ScatterND, ScatterElements, OneHot, Trilu … by kernels, as onnx.reference."""

import numpy as np
import pytest
from onnx_models import floats, in_reference, parsed, same

from dynq_numba.onnx import InferenceSession

#: Of lengths that change from run to run.
AXES = ("n, m", "n, m, k")


def check(model, *feeds, exact=True, segments=1):
    session = InferenceSession(model)
    for each in feeds:
        for got, want in zip(session.run(None, each), in_reference(model, each), strict=True):
            if exact:
                assert same(got, want)
            else:
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert not any(step.kind == "python" for step in session.report())
    assert len(session._plan.segments()) == segments


def whole(*shape, low, high, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape)


@pytest.mark.parametrize("kind", ["float", "double", "float16", "int64", "int32", "uint64", "uint8", "int8"])
@pytest.mark.parametrize("largest", (0, 1))
def test_top_k(kind, largest):
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    model = parsed(
        f"{kind}[n, m, k] x, int64[one] count",
        f"{kind} y, int64 i",
        f"y, i = TopK <axis = 1, largest = {largest}> (x, count)",
    )
    # numpy's order of equal ones is that of onnx.reference; here, as in ONNX, the first comes first
    for shape in ((2, 40, 3), (1, 7, 5)):
        x = (whole(*shape, low=-9, high=9) if dtype[0] != "u" else whole(*shape, low=0, high=250)).astype(dtype)
        count = np.array([min(6, shape[1])])
        order = np.argsort(-x.astype(object) if largest else x.astype(object), axis=1, kind="stable")[:, : count[0]]
        session = InferenceSession(model)
        got = session.run(None, {"x": x, "count": count})
        assert same(got[0], np.take_along_axis(x, order, 1)) and same(got[1], order)
        assert not any(step.kind == "python" for step in session.report())


def test_top_k_takes_nan_for_the_largest_and_zeros_for_equal():
    model = parsed("float[n] x, int64[one] k", "float y, int64 i", "y, i = TopK (x, k)")
    x = np.array([0.0, -0.0, np.inf, -np.nan, -1e-45, np.nan, -np.inf, 3], np.float32)
    _, places = InferenceSession(model).run(None, {"x": x, "k": np.array([8])})
    assert places.tolist() == [3, 5, 2, 7, 0, 1, 4, 6]
    with pytest.raises(ValueError, match="K must be from 0 to the 8 values"):
        InferenceSession(model).run(None, {"x": x, "k": np.array([9])})


@pytest.mark.parametrize("batch, depth", [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)])
def test_gather_nd(batch, depth):
    model = parsed("float[a, b, c] x, int64[d, e, f] i", "float y", f"y = GatherND <batch_dims = {batch}> (x, i)")
    feeds = []
    for a, b, c in ((3, 4, 5), (2, 3, 7)):
        shape = (a, b, c)[batch : batch + depth]
        lead = ((6, 2), (a, 2), (a, b))[batch]
        columns = [whole(*lead, low=-n, high=n, seed=j) for j, n in enumerate(shape)]
        feeds.append({"x": floats(a, b, c), "i": np.stack(columns, -1)})
    check(model, *feeds)
    broken = feeds[0]["i"].copy()
    broken[-1, -1, 0] = 99
    with pytest.raises(ValueError, match="indices must be those of their axes"):
        InferenceSession(model).run(None, {**feeds[0], "i": broken})


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("kind", ["float", "int64", "int32", "double"])
def test_scatter(reduction, kind):
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    how = f'reduction = "{reduction}"'
    text = f"y = ScatterND <{how}> (x, i, u)\nz = ScatterElements <axis = 1, {how}> (x, j, v)"
    model = parsed(
        f"{kind}[a, b, c] x, int64[n, d] i, {kind}[n, c] u, int64[e, f, g] j, {kind}[e, f, g] v",
        f"{kind} y, {kind} z",
        text,
    )
    feeds = []
    for a, b, c in ((3, 4, 5), (2, 3, 7)):
        rows = np.stack([whole(6, low=-n, high=n, seed=k) for k, n in enumerate((a, b))], -1)
        values = [whole(*shape, low=-5, high=6).astype(dtype) for shape in ((a, b, c), (6, c), (2, 9, 3))]
        feeds.append({"x": values[0], "i": rows, "u": values[1], "j": whole(2, 9, 3, low=-b, high=b), "v": values[2]})
    check(model, *feeds)


def test_scatter_outside_is_refused():
    model = parsed("float[a, b] x, int64[n, d] i, float[n, d] u", "float y", "y = ScatterElements (x, i, u)")
    feeds = {"x": floats(3, 4), "i": np.array([[0, 3]]), "u": floats(1, 2)}
    with pytest.raises(ValueError, match="indices must be those of their axes"):
        InferenceSession(model).run(None, feeds)


@pytest.mark.parametrize("kind", ["float", "int64", "bool"])
@pytest.mark.parametrize("upper", (0, 1))
def test_triangles_with_a_diagonal_that_is_given(kind, upper):
    model = parsed(f"{kind}[a, b, c] x, int64 k", f"{kind} y", f"y = Trilu <upper = {upper}> (x, k)")
    dtype = {"float": "float32"}.get(kind, kind)
    check(model, *({"x": whole(2, *shape, low=0, high=9).astype(dtype), "k": np.array(k)}
                   for shape in ((4, 6), (7, 3)) for k in (-2, 0, 3)))  # fmt: skip


def test_one_hot_of_every_axis():
    for axis in (0, 1, 2, -1, -2):
        model = parsed("int32[a, b] i, int64 d, float[two] v", "float y", f"y = OneHot <axis = {axis}> (i, d, v)")
        i, v = whole(2, 5, low=-9, high=9).astype(np.int32), np.float32([2, 5])
        check(model, *({"i": i, "d": np.array(d), "v": v} for d in (4, 7)))


def test_hardmax_eye_and_norms():
    body = """h = Hardmax <axis = 1> (x)
    l = LpNormalization <axis = 1, p = 1> (x)
    m = LpNormalization <axis = 0> (x)
    e = EyeLike <k = -1> (x)"""
    model = parsed("float[a, b] x", "float h, float l, float m, float e", body)
    rows = np.abs(floats(4, 6))  # of which onnx.reference has the sum, where ONNX has that of magnitudes
    rows[2] = 0
    check(model, {"x": rows}, {"x": np.abs(floats(9, 3))}, exact=False)


def test_norm_of_images():
    model = parsed("float[n, c, h, w] x, float[c] s, float[c] b", "float y", "y = InstanceNormalization (x, s, b)")
    check(model, *({"x": floats(2, 3, h, 5), "s": floats(3), "b": floats(3, seed=1)} for h in (4, 9)), exact=False)


def test_gemm_of_everything_at_run_time():
    for more in ("", ", transA = 1", ", transB = 1", ", transA = 1, transB = 1"):
        body = f"y = Gemm <alpha = 0.5, beta = 0.25{more}> (a, b, c)\nz = Gemm <alpha = 1.0{more}> (a, b)"
        model = parsed("float[m, k] a, float[p, n] b, float[r, s] c", "float y, float z", body)
        feeds = []
        for m, k, n in ((3, 8, 5), (4, 6, 9)):
            a = (k, m) if "transA" in more else (m, k)
            b = (n, k) if "transB" in more else (k, n)
            feeds.append({"a": floats(*a), "b": floats(*b), "c": floats(m, n)})
        check(model, *feeds, exact=False)


@pytest.mark.parametrize("groups, axes", [(1, 2), (2, 2), (4, 1)])
def test_convolutions_of_a_weight_that_is_computed(groups, axes):
    names = "h, w"[: 4 * axes - 3]
    body = f"v = Mul (w, two)\ny = Conv <group = {groups}, pads = {[1] * 2 * axes}, strides = {[2] * axes}> (x, v, b)"
    inputs = f"float[n, c, {names}] x, float[o, i, {names.replace('h', 'p').replace('w', 'q')}] w, float[o] b"
    model = parsed(inputs, "float y", body, two=np.float32([2]))
    feeds = [
        {"x": floats(2, 8, *(size,) * axes), "w": floats(12, 8 // groups, *(3,) * axes), "b": floats(12)}
        for size in (9, 12)
    ]
    check(model, *feeds, exact=False)


def test_numbers_that_are_whole_floats():
    body = """n = Shape (x)
    f = Cast <to = 1> (n)
    zero = Constant <value_float = 0.0> ()
    one = Constant <value_float = 1.0> ()
    s = Squeeze (f)
    axis = Constant <value_ints = [0]> ()
    i = Squeeze (n)
    g = Cast <to = 1> (i)
    y = Range (zero, g, one)"""
    check(parsed("float[n] x", "float y", body), {"x": floats(5)}, {"x": floats(12)})


def test_a_value_of_padding_that_is_computed():
    body = "v = ReduceMax <keepdims = 0> (x)\ny = Pad (x, p, v)"
    model = parsed("float[n, m] x, int64[four] p", "float y", body)
    check(model, *({"x": floats(3, 4), "p": np.array(p)} for p in ([1, 0, 2, 3], [0, 0, 1, 0])))


def test_products_and_softmax_of_float16_are_computed_in_float32_and_rounded():
    model = parsed("float16[m, k] a, float16[k, n] b", "float16 y, float16 z", "y = MatMul (a, b)\nz = Softmax (y)")
    a, b = floats(5, 40).astype(np.float16), floats(40, 6, seed=1).astype(np.float16)
    y, z = InferenceSession(model).run(None, {"a": a, "b": b})
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(y, exact, rtol=2.0**-10, atol=2.0**-14)
    e = np.exp(y.astype(np.float64))
    np.testing.assert_allclose(z, e / e.sum(-1, keepdims=True), rtol=2.0**-10, atol=2.0**-14)
