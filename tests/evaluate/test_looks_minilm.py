"""Looks at MiniLM, on its real weights: all its layers, in a mixture of ways to quantize them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import dynq_numba as dq
from examples.bert_onnx import export
from examples.fetch import FetchError, fetch

LAYER = "encoder.layer.3.output.dense"


def test_looks_at_minilm(tmp_path):
    from safetensors.numpy import load_file

    try:
        tensors = load_file(fetch("minilm") / "model.safetensors")
    except FetchError as error:
        pytest.skip(f"MiniLM cannot be fetched: {error}")
    source, artifact = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(export(tensors), source)
    rule = {"match": LAYER, "bits": 4, "group_size": 128}
    receipt = dq.onnx.quantize(source, artifact, recipe={"rule": [rule]})
    ids = np.random.default_rng(0).integers(1996, 29_000, (4, 12))
    mask = np.ones_like(ids)
    mask[1, 7:] = 0
    found = dq.onnx.compare(source, artifact, {"input_ids": ids, "attention_mask": mask})
    scheme = {each.layer: each.scheme for each in found.layers}
    assert [each.layer for each in found.layers if each.weights] == [each.node for each in receipt.quantized]
    assert all(scheme[each.node] == each.scheme for each in receipt.quantized)
    assert sum(each.op_type == "Attention" for each in found.layers) == 6 and len(found.layers) == 44
    assert found.worst("own")[0].layer.startswith(LAYER)
    assert found.worst("only_quantized")[0].layer.startswith(LAYER)
    assert all(0 < each.loss_alone < 0.05 and each.loss_without < 2 * found.loss for each in found.layers)
