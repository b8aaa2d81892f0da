"""Results whose length is computed, and values between pixels: NonZero, NonMaxSuppression, GridSample, Resize."""

import numpy as np
import pytest
from onnx_models import floats, in_onnxruntime, in_reference, parsed, same

from dynq_numba.onnx import InferenceSession

BOXES = """boxes = Add (given, zero)  taken = NonMaxSuppression <center_point_box = {}> ({})
           which = Gather <axis = 1> (taken, two)"""
INPUTS = "float[b, n, 4] given, float[b, c, n] scores, int64[one] most, float[one] overlap, float[one] least"


def plans(session):
    """How many, when all operators are computed by kernels."""
    assert not any(step.kind == "python" and step.nodes for step in session.report())  # others look at a number
    return len(session._plan.segments())


@pytest.mark.parametrize("kind", ["float", "double", "float16", "int64", "int32", "int16", "uint8", "bool"])
def test_nonzero(kind):
    model = parsed(f"{kind}[n, m, k] x", "int64 y, float[three, p] z", "y = NonZero (x)  z = Cast <to = 1> (y)")
    session, dtype = InferenceSession(model), {"float": "float32", "double": "float64"}.get(kind, kind)
    for shape in ((3, 4, 5), (2, 9, 7), (3, 4, 5)):
        x = np.random.default_rng(shape[1]).integers(-1, 2, shape)
        if dtype.startswith("float"):
            x = np.where(x < 0, -0.0, x * np.nan if shape[0] == 2 else x * 1e-7)  # denormal in float16
        x = x.astype(dtype)
        y, z = session.run(None, {"x": x})
        assert same(y, np.array(np.nonzero(x))) and same(z, y.astype(np.float32))
    assert plans(session) == 2


def test_nonzero_of_nothing_and_of_views():
    session = InferenceSession(parsed("float[n, m] x", "int64 y", "t = Transpose <perm = [1, 0]> (x)  y = NonZero (t)"))
    for x in (np.zeros((3, 4)), np.eye(4, 7), np.zeros((0, 5)), np.ones((5, 4))):
        assert same(session.run(None, {"x": x.astype(np.float32)})[0], np.array(np.nonzero(x.T)))


def boxes_of(batch, count, centered, seed):
    rng = np.random.default_rng(seed)
    boxes = rng.random((batch, count, 4)).astype(np.float32)
    if centered:
        boxes[..., 2:] *= 0.4
    else:  # corners in any order
        boxes[..., 2:] = boxes[..., :2] + 0.4 * rng.standard_normal((batch, count, 2)).astype(np.float32)
    return boxes


@pytest.mark.parametrize("centered", (0, 1))
@pytest.mark.parametrize("given", ["most", "most, overlap", "most, overlap, least"])
def test_boxes_that_overlap_no_better_one(centered, given):
    body = BOXES.format(centered, f"boxes, scores, {given}")
    weights = {"zero": np.zeros(1, np.float32), "two": np.array([2])}
    model = parsed(INPUTS, "int64 taken, int64 which", body, **weights)
    session = InferenceSession(model)
    for seed, (batch, classes, count, most, overlap, least) in enumerate(
        [(2, 3, 40, 100, 0.3, 0.2), (1, 80, 17, 3, 0.5, 0.7), (2, 2, 300, 1000, 0.0, 0.5), (1, 2, 9, 5, 0.4, 1.5)]
    ):
        scores = np.random.default_rng(seed).integers(0, 50, (batch, classes, count)) / np.float32(50)  # many are equal
        feeds = {
            "given": boxes_of(batch, count, centered, seed), "scores": scores.astype(np.float32),
            "most": np.array([most]), "overlap": np.float32([overlap]), "least": np.float32([least]),
        }  # fmt: skip
        for got, want in zip(session.run(None, feeds), in_onnxruntime(model, feeds), strict=True):
            assert same(got, want)
    assert plans(session) == 2


def test_none_are_taken_where_none_are_wanted():
    body = BOXES.format(0, "boxes, scores")
    model = parsed(INPUTS, "int64 taken, int64 which", body, zero=np.zeros(1, np.float32), two=np.array([2]))
    feeds = {"given": boxes_of(1, 5, 0, 0), "scores": np.ones((1, 2, 5), np.float32), "most": np.array([9])}
    feeds |= {"overlap": np.zeros(1, np.float32), "least": np.zeros(1, np.float32)}
    taken, which = InferenceSession(model).run(None, feeds)
    assert taken.shape == (0, 3) and which.shape == (0, 1)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", (0, 1))
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_values_between_pixels(mode, align, padding):
    body = f'y = GridSample <mode = "{mode}", align_corners = {align}, padding_mode = "{padding}"> (x, grid)'
    model = parsed("float[n, c, h, w] x, float[n, p, q, 2] grid", "float[n, c, p, q] y", body)
    session = InferenceSession(model)
    for n, c, h, w, p, q in ((2, 3, 5, 7, 11, 13), (1, 2, 9, 4, 3, 70), (3, 1, 2, 2, 5, 4)):
        feeds = {"x": floats(n, c, h, w), "grid": floats(n, p, q, 2, seed=p) * np.float32(1.2)}
        got, want = session.run(None, feeds)[0], in_onnxruntime(model, feeds)[0]
        # Places are rounded in another order there, by some units of the last place of the image's length.
        assert np.abs(got - want).max() <= 64 * max(h, w) * np.finfo(np.float32).eps * np.abs(feeds["x"]).max()
    assert not any(step.kind == "python" for step in session.report())


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_values_between_pixels_of_bodies(mode):
    body = f'y = GridSample <mode = "{mode}", padding_mode = "border"> (x, grid)'
    model = parsed("float[n, c, d, h, w] x, float[n, o, p, q, 3] grid", "float[n, c, o, p, q] y", body, opset=22)
    feeds = {"x": floats(2, 3, 3, 4, 5), "grid": floats(2, 2, 3, 4, 3, seed=1)}
    got = InferenceSession(model).run(None, feeds)[0]
    assert np.allclose(got, in_reference(model, feeds)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_places_that_are_no_numbers_or_far_away(mode, padding):
    body = f'y = GridSample <mode = "{mode}", padding_mode = "{padding}"> (x, grid)'
    session = InferenceSession(parsed("float[1, 1, h, w] x, float[1, p, 1, 2] grid", "float y", body))
    x = np.full((1, 1, 3, 4), 7, np.float32)
    grid = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9, -3e9], np.float32)
    y = session.run(None, {"x": x, "grid": np.stack([grid, grid[::-1]], axis=1).reshape(1, -1, 1, 2)})[0]
    assert np.allclose(y, 0 if padding == "zeros" else 7, atol=1e-4)


def test_a_place_in_no_image():
    inputs = "float[1, 1, h, w] x, float[1, p, 1, 2] grid"
    session = InferenceSession(parsed(inputs, "float y", "y = GridSample (x, grid)"))
    feeds = {"x": np.zeros((1, 1, 0, 4), np.float32), "grid": np.zeros((1, 3, 1, 2), np.float32)}
    with pytest.raises(ValueError, match="places in an image without pixels"):
        session.run(None, feeds)
    assert session.run(None, feeds | {"grid": feeds["grid"][:, :0]})[0].shape == (1, 1, 0, 1)


@pytest.mark.parametrize("how", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_images_of_another_size(mode, how):
    given = f'coordinate_transformation_mode = "{how}", mode = "{mode}"'
    sizes = parsed("float[n, c, h, w] x, int64[4] sizes", "float y", f"y = Resize <{given}> (x, , , sizes)")
    session = InferenceSession(sizes)
    shapes = (2, 3, 5, 7), (1, 2, 8, 4), (2, 3, 9, 3), (2, 2, 4, 6)
    for shape, size in zip(shapes, ((11, 4), (16, 9), (2, 3), (7, 1)), strict=True):
        feeds = {"x": floats(*shape), "sizes": np.array([*shape[:2], *size])}
        got, want = session.run(None, feeds)[0], in_onnxruntime(sizes, feeds)[0]
        # There places are float32: of up to 9, they differ by an ulp, 1e-6, and the slope is at most 4 · 1.5.
        assert got.shape == want.shape and np.abs(got - want).max() <= 2e-5
    assert plans(session) <= 3
    for factors in ((2.0, 2.0), (0.5, 0.75), (3.0, 1.0), (1.5, 0.25)):
        scales = np.array([1, 1, *factors], np.float32)
        model = parsed("float[n, c, h, w] x", "float y", f"y = Resize <{given}> (x, , scales)", scales=scales)
        session = InferenceSession(model)
        for h, w in ((8, 12), (4, 8)):
            feeds = {"x": floats(2, 3, h, w)}
            got, want = session.run(None, feeds)[0], in_reference(model, feeds)[0]
            assert got.shape == want.shape and np.abs(got - want).max() <= 2e-6 * 16
        assert plans(session) == 1


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("how", ["half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"])
def test_images_of_another_size_by_their_pixels(how, rounding):
    given = f'coordinate_transformation_mode = "{how}", mode = "nearest", nearest_mode = "{rounding}"'
    model = parsed("float[n, c, h, w] x, int64[4] sizes", "float y", f"y = Resize <{given}> (x, , , sizes)")
    session = InferenceSession(model)
    for shape, size in (((2, 3, 5, 7), (11, 4)), ((1, 2, 8, 4), (16, 9)), ((2, 3, 9, 3), (2, 3))):
        feeds = {"x": floats(*shape), "sizes": np.array([*shape[:2], *size])}
        assert same(session.run(None, feeds)[0], in_reference(model, feeds)[0])
    assert plans(session) <= 3
    for factors in ((0.5, 3.0), (0.7, 1.5), (2.3, 0.3)):  # of many places the floor depends on how they are rounded
        scales = np.array([1, 1, *factors], np.float32)
        model = parsed("float[n, c, h, w] x", "float y", f"y = Resize <{given}> (x, , scales)", scales=scales)
        x = {"x": floats(1, 2, 5, 6)}
        assert same(InferenceSession(model).run(None, x)[0], in_reference(model, x)[0])


def test_what_resize_leaves_to_python_and_refuses():
    body = 'y = Resize <mode = "linear"> (x, , scales)'
    one, batch = (np.array(each, np.float32) for each in ([2, 1, 2, 2], [1, 1, -1, 2]))
    feeds = {"x": floats(2, 3, 4, 5)}
    session = InferenceSession(parsed("float[n, c, h, w] x", "float y", body, scales=one))
    session.run(None, feeds)
    assert [step.why for step in session.report() if step.kind == "python"] == ["other axes than the last two"]
    with pytest.raises(ValueError, match="scales must be positive"):
        InferenceSession(parsed("float[n, c, h, w] x", "float y", body, scales=batch)).run(None, feeds)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factor", [np.inf, np.nan, 0, -2, 1 << 20])
def test_factors_that_are_refused(mode, factor):
    given = f'mode = "{mode}", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
    scales = np.array([1, 1, 2, factor], np.float32)
    model = parsed("float[n, c, h, w] x", "float y", f"y = Resize <{given}> (x, , scales)", scales=scales)
    with pytest.raises(ValueError, match="scales must be positive and less than"):
        InferenceSession(model).run(None, {"x": floats(1, 1, 2, 2)})
