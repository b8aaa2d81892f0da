"""A whole encoder as an exporter writes it (examples/bert_onnx.py), of tiny sizes: float32, int8, batches, padding."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import in_onnxruntime

from dynq_numba.onnx import InferenceSession, quantize
from examples.bert_onnx import export

LAYERS, WIDTH, INNER, WORDS, POSITIONS = 2, 64, 128, 50, 24
RNG = np.random.default_rng(0)


def tensors() -> dict[str, np.ndarray]:
    shapes = {f"embeddings.{name}_embeddings.weight": (count, WIDTH)
              for name, count in (("word", WORDS), ("position", POSITIONS), ("token_type", 2))}  # fmt: skip
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        own = f"encoder.layer.{layer}"
        norms += [f"{own}.attention.output.LayerNorm", f"{own}.output.LayerNorm"]
        parts = (*(f"attention.self.{part}" for part in ("query", "key", "value")), "attention.output.dense")
        sizes = [*((part, WIDTH, WIDTH) for part in parts),
                 ("intermediate.dense", INNER, WIDTH), ("output.dense", WIDTH, INNER)]  # fmt: skip
        for part, outputs, inputs in sizes:
            shapes |= {f"{own}.{part}.weight": (outputs, inputs), f"{own}.{part}.bias": (outputs,)}
    shapes |= {f"{norm}.{part}": (WIDTH,) for norm in norms for part in ("weight", "bias")}
    return {name: (RNG.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    made = export(tensors())
    onnx.checker.check_model(made, full_check=True)
    return made


@pytest.fixture(scope="module")
def artifact(model) -> onnx.ModelProto:
    receipt = quantize(model)
    assert len(receipt.quantized) == 6 * LAYERS + 2 and not receipt.kept
    return ir.to_proto(receipt.model)


def feeds(*lengths: int, tokens: int) -> dict[str, np.ndarray]:
    mask = (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": RNG.integers(0, WORDS, mask.shape), "attention_mask": mask}


def test_float32_is_that_of_another_runtime(model):
    given = feeds(9, 4, tokens=9)
    want = in_onnxruntime(model, given)[0]
    (found,) = InferenceSession(model).run(None, given)
    assert found.shape == (2, WIDTH) and np.abs(found - want).max() < 1e-5


def test_int8_is_near_float32(model, artifact):
    given = feeds(9, 4, tokens=9)
    want = in_onnxruntime(model, given)[0]
    (found,) = InferenceSession(artifact).run(None, given)
    cosines = (found * want).sum(axis=1)
    assert (cosines > 0.99).all() and (found != want).any()


def test_batch_and_padding_change_no_bit(artifact):
    session = InferenceSession(artifact)
    together = feeds(5, 12, 1, tokens=15)
    results = session.run(None, together)[0]
    for row, length in enumerate((5, 12, 1)):
        alone = {name: array[row : row + 1, :length] for name, array in together.items()}
        assert (session.run(None, alone)[0] == results[row]).all()
    assert all(step.invariant for step in session.report())
