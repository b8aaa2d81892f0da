"""examples/llama_onnx.py: the decoder of examples/llama.py as an ONNX model, its caches fed back."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

import dynq_numba as dq
from dynq_numba.graph import quantizer
from dynq_numba.onnx import InferenceSession, quantize
from examples import llama, llama_onnx

CONFIG = llama.Config(layers=2, dim=64, ffn=96, heads=8, kv_heads=2, vocab=50)
IDS = np.random.default_rng(1).integers(CONFIG.vocab, size=20)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return llama_onnx.onnx_model(CONFIG, llama.random_tensors(CONFIG, 0), context=64)


def logits(decoder: llama_onnx.Decoder, first: int) -> np.ndarray:
    """Of every token but the first ones, which come at once."""
    decoder.reset()
    return np.array([decoder.step(IDS[:first]), *(decoder.step(IDS[i : i + 1]) for i in range(first, len(IDS)))])


def test_in_floats_it_is_what_onnx_runtime_computes(model):
    ours = llama_onnx.Decoder(CONFIG, InferenceSession(model))
    other = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    a, b = logits(ours, 6), logits(llama_onnx.Decoder(CONFIG, other), 6)
    assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()
    report = ours.session.report()
    assert not any(step.kind == "python" or not step.invariant for step in report)
    kernels = [step.kernel for step in report]
    assert "region LessOrEqual·Where" not in kernels and kernels.count("attention") == 4  # no mask is made


def test_quantized_it_has_the_bits_of_the_loop_by_hand(model, monkeypatch):
    monkeypatch.setattr(quantizer, "LEAST", 1)
    recipe = {"attention": 32, "rule": [{"op": "Gather", "bits": 32}]}
    decoder = llama_onnx.Decoder(CONFIG, InferenceSession(quantize(model, recipe=recipe).model))
    by_hand = llama.Model(
        CONFIG, llama.random_tensors(CONFIG, 0), lambda weight: dq.pack_linear(weight, granularity="per_channel")
    )
    caches = by_hand.prepare(len(IDS))
    wanted = [by_hand.forward(IDS[i : i + 1], caches, dq.linear_many) for i in range(len(IDS))]
    for first in (1, 7, len(IDS)):
        assert logits(decoder, first).tobytes() == np.array(wanted[first - 1 :]).tobytes()


def test_attention_of_a_step_stays_in_floats_unless_a_recipe_wants_it(monkeypatch):
    monkeypatch.setattr(quantizer, "LEAST", 1)
    model = llama_onnx.onnx_model(CONFIG, llama.random_tensors(CONFIG, 0), context=64)
    for recipe, bits in ((None, 32), ({"attention": 8}, 8)):
        receipt = quantize(model, recipe=recipe)
        decoder = llama_onnx.Decoder(CONFIG, InferenceSession(receipt.model))
        decoder.step(IDS[:3])
        kernels = {step.kernel for step in decoder.session.report()}
        assert receipt.attention == bits and ("attention 8 bits" in kernels) == (bits == 8)
