"""Models that other tools quantized: their integers are kept, and computed by our kernels or as the file says."""

from __future__ import annotations

from functools import cache

import foreign_page
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from foreign_models import FORMS
from onnx import numpy_helper
from onnx_models import in_onnxruntime, same

import dynq_numba as dq
from dynq_numba.graph.foreign.integers import within
from dynq_numba.onnx import InferenceSession
from dynq_numba.planning.runnable import runnable

F32 = np.float32
#: To ONNX Runtime as the file says, of the largest result: sums of at most 128 floats, and its own sigmoid and tanh.
CLOSE = 128 * 2**-24


class Made:
    """A form: the float model, what became of it, and results of ONNX Runtime for both."""

    def __init__(self, name: str) -> None:
        self.form = FORMS[name]
        made, self.model, self.feeds = self.form.make()
        (self.floats,), (self.theirs,) = in_onnxruntime(made, self.feeds), in_onnxruntime(self.model, self.feeds)


made = cache(Made)
forms = pytest.mark.parametrize("name", FORMS)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Norm of the difference over the norm of what is right, of each row, image or time; their mean."""
    pairs = zip(np.float64(a), np.float64(b), strict=True)
    return float(np.mean([np.linalg.norm(ours - right) / np.linalg.norm(right) for ours, right in pairs]))


@forms
def test_kernels_compute_and_the_report_says_what_differs(name: str):
    found = made(name)
    session = InferenceSession(found.model)
    session.run(None, found.feeds)
    steps = session.report()
    assert steps.kinds["python"] == 0, steps
    layers = [step for step in steps if step.kernel.startswith(found.form.runs)]
    assert layers, steps
    said = [step for step in steps if step.why]
    assert bool(said) == found.form.differs, steps
    assert all(step.why.startswith("activations row-wise ") for step in said), steps


@forms
def test_as_close_to_float_as_the_file(name: str):
    """Its integers are the same, and its activations are rounded as finely or finer: a scale for each row.

    Where the file rounds weights alone, what rows of 8 bits cost comes on top.
    """
    found = made(name)
    (ours,) = InferenceSession(found.model).run(None, found.feeds)
    assert ours.shape == found.floats.shape
    assert distance(ours, found.floats) <= distance(found.theirs, found.floats) + found.form.near


@forms
def test_as_the_file_says(name: str):
    found = made(name)
    (ours,) = InferenceSession(found.model, semantics="file").run(None, found.feeds)
    (theirs,) = in_onnxruntime(found.model, found.feeds, as_written=True)
    assert np.abs(ours - theirs).max() <= CLOSE * np.abs(theirs).max()


def stored_weights(model: onnx.ModelProto) -> list[np.ndarray]:
    """Sorted values of each weight of integers in a file: less its zero point, times its scale."""
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}

    def spread(array: np.ndarray, q: np.ndarray) -> np.ndarray:
        if q.ndim == 3:  # of a recurrent layer [D, K, N], or [D, N, K] with a scale for each index along N
            return array.reshape(1, -1, 1) if array.shape == q.shape[1:2] else array.reshape(len(q), 1, -1)
        if array.size == 1 or array.size == q.shape[-1]:
            return array
        return array.reshape(-1, *(1,) * (q.ndim - 1))

    found = []
    for name, q in arrays.items():
        if q.ndim > 1 and q.dtype.itemsize == 1 and name.endswith("_quantized"):
            base = name.removesuffix("_quantized")
            scale, zero = (spread(arrays[base + end], q) for end in ("_scale", "_zero_point"))
            found.append(np.sort((q.astype(np.int32) - zero.astype(np.int32)).astype(F32) * scale, axis=None))
    return found


def kept_weights(model: onnx.ModelProto) -> list[np.ndarray]:
    """The same of what layers of ours take: what x multiplies twice is added up."""
    made, _, _ = runnable(ir.from_proto(model), "model")
    found = []
    for node in (node for node in made.graph if node.domain == "dynq"):
        tensors = [None if value is None or value.const_value is None else value.const_value for value in node.inputs]
        if node.op_type.startswith("FloatConv"):
            found.append(np.sort(tensors[1].numpy(), axis=None))
            continue
        whole, columns = node.inputs[0].producer(), np.zeros(0, int)
        if whole is not None and whole.op_type == "Concat":
            columns = whole.inputs[1].producer().inputs[1].const_value.numpy()
        for i, tensor in enumerate(tensors):
            if tensor is None or tensor.dtype != ir.DataType.UINT8:
                continue
            q, scale = tensor.numpy().astype(np.int32) - 128, tensors[i + 1].numpy()
            axis = 0 if q.ndim == 2 else 1
            if i == 1 and columns.size:
                q, again = np.split(q, [q.shape[axis] - columns.size], axis=axis)
                np.add.at(q, (*[slice(None)] * axis, columns), again)
            if q.ndim < 4:
                scale = scale[..., None, :]
            else:
                scale = scale[:, None]
            found.append(np.sort(q.astype(F32) * scale, axis=None))
    return found


@pytest.mark.parametrize("name", ["4 bits", "4 bits with zero points", "4 bits, QDQ"])
def test_blocks_are_those_of_the_file(name: str):
    """ONNX Runtime's product with one-hot rows is the weight."""
    model = made(name).model
    (theirs,) = in_onnxruntime(model, {"x": np.eye(128, dtype=F32)}, as_written=True)
    graph, _, _ = runnable(ir.from_proto(model), "model")
    (call,) = (node for node in graph.graph if node.domain == "dynq")
    q, scale, _, bias = (value.const_value.numpy() for value in call.inputs[1:])
    assert call.op_type.startswith("LinearGroup")
    weight = q.astype(F32) * scale.repeat(q.shape[1] // scale.shape[1], 1)
    assert np.array_equal(weight.T + bias, theirs)


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.differs and " bits" not in name])
def test_the_integers_are_those_of_the_file(name: str):
    theirs, ours = stored_weights(made(name).model), kept_weights(made(name).model)
    assert len(ours) == len(theirs) > 0
    for array in theirs:
        assert any(np.array_equal(array, other) for other in ours)


@pytest.mark.parametrize(
    "whole", [[[0, 127, -127]], [[-128, 3, 128]], [[255, -255, 254], [1, -254, 0]]], ids=["inside", "just", "far"]
)
def test_integers_beyond_127_are_sums(whole: list):
    given = np.array(whole, np.int16)
    q, columns = within(given)
    assert q.dtype == np.int8 and q.shape == (len(given), 3 + columns.size) and np.abs(q.astype(int)).max() <= 127
    total = q[:, :3].astype(int)
    np.add.at(total, (slice(None), columns), q[:, 3:].astype(int))
    assert np.array_equal(total, given)


def test_rows_do_not_depend_on_each_other():
    found = made("dynamic, uint8")
    session, x = InferenceSession(found.model), found.feeds["x"]
    (whole,) = session.run(None, {"x": x})
    for i in range(len(x)):
        assert same(session.run(None, {"x": x[i : i + 1]})[0], whole[i : i + 1])


def test_inspect_lists_the_integers_of_a_file():
    receipt = dq.onnx.inspect(made("dynamic").model)
    assert [(each.weight, each.op_type, each.scheme, each.reason) for each in receipt.quantized] == [
        (f"{name}_quantized", "MatMulInteger", "int8", "integers of the file") for name in ("w", "v_Transposed")
    ]
    assert 'semantics="file"' in str(receipt)


def test_the_page_says_what_runs():
    assert foreign_page.PAGE.read_text() == foreign_page.page(), "run: python tests/programs/foreign_page.py"


def test_a_wrong_word_for_the_semantics():
    with pytest.raises(ValueError, match=r"semantics must be one of 'rowwise', 'file'; got str 'exact'"):
        InferenceSession(made("dynamic").model, semantics="exact")  # type: ignore[arg-type]


def test_what_differs_is_printed():
    session = InferenceSession(made("dynamic").model)
    session.run(None, made("dynamic").feeds)
    printed = str(session.report())
    assert "(activations row-wise instead of the file's per tensor)" in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert dq.onnx.InferenceSession is InferenceSession
