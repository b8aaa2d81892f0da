"""Rows of a batch in a session: their bits do not change with the batch, nor by padding behind a mask."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_models import floats, parsed

from dynq_numba.onnx import InferenceSession, quantize

F32 = np.float32
ATTENTION = """
    four = Constant <value_ints: ints = [0, 0, 2, 16]> () three = Constant <value_ints: ints = [0, 0, 32]> ()
    factor = Constant <value_float: float = 0.25> ()
    a = MatMul (x, wq) a4 = Reshape (a, four) q = Transpose <perm: ints = [0, 2, 1, 3]> (a4)
    b = MatMul (x, wk) b4 = Reshape (b, four) kt = Transpose <perm: ints = [0, 2, 3, 1]> (b4)
    c = MatMul (x, wv) c4 = Reshape (c, four) v = Transpose <perm: ints = [0, 2, 1, 3]> (c4)
    products = MatMul (q, kt) scaled = Mul (products, factor) scores = Add (scaled, mask) shares = Softmax (scores)
    mixed = MatMul (shares, v) back = Transpose <perm: ints = [0, 2, 1, 3]> (mixed) flat = Reshape (back, three)
    sum = Add (flat, x) norm = LayerNormalization (sum, scale, shift) inner = MatMul (norm, w1) act = Gelu (inner)
    y = MatMul (act, w2)
"""


@pytest.fixture(scope="module")
def encoder():
    weights = {f"w{n}": floats(32, 32, seed=i) for i, n in enumerate("qkv")}
    source = parsed("float[n, t, 32] x, float[n, 1, 1, t] mask", "float[n, t, 32] y", ATTENTION, w1=floats(32, 64),
                    w2=floats(64, 32), scale=floats(32), shift=floats(32, seed=1), **weights)  # fmt: skip
    return source, ir.to_proto(quantize(source).model)


@pytest.mark.parametrize("kind", ["float32", "quantized"])
def test_an_encoder(encoder, kind, isa):
    session = InferenceSession(encoder[kind == "quantized"])
    lengths, longest = (7, 1, 12, 9), 12
    x, mask = floats(4, longest, 32), np.zeros((4, 1, 1, longest), F32)
    for row, length in enumerate(lengths):
        mask[row, ..., length:] = -np.inf
    whole = session.run(None, {"x": x, "mask": mask})[0]
    for row, length in enumerate(lengths):
        alone = session.run(None, {"x": x[row : row + 1, :length], "mask": np.zeros((1, 1, 1, length), F32)})[0]
        assert alone[0].tobytes() == whole[row, :length].tobytes(), row
    assert all(step.invariant for step in session.report())


def test_stacked_lstms(isa):
    body, weights = "", {}
    for i, (units, inputs) in enumerate(((24, 10), (24, 24))):
        weights |= {f"w{i}": floats(1, 4 * units, inputs, seed=i), f"r{i}": floats(1, 4 * units, units, seed=i + 5)}
        body += f"y{i}, h{i} = LSTM <hidden_size: int = {units}> ({f'z{i - 1}' if i else 'x'}, w{i}, r{i}) "
        body += f"z{i} = Squeeze (y{i}, one) "
    source = parsed("float[t, n, 10] x", "float z1", body, one=np.array([1]), **weights)
    session = InferenceSession(ir.to_proto(quantize(source).model))
    x = floats(9, 5, 10)
    whole = session.run(None, {"x": x})[0]
    for row in range(5):
        alone = session.run(None, {"x": x[:, row : row + 1]})[0]
        assert alone.shape == (9, 1, 24) and alone[:, 0].tobytes() == whole[:, row].tobytes()
    assert all(step.invariant for step in session.report())
