"""All of MiniLM: texts as token ids to sentence embeddings, on its real weights (examples/fetch.py)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from bench.topics import bert_graph
from bench.topics.base import Case, Inputs, Topic, Way

CASES = {f"{texts} × {tokens} tokens": {"texts": texts, "tokens": tokens}
         for texts, tokens in ((1, 16), (1, 128), (8, 128), (1, 384))}  # fmt: skip


@cache
def tensors() -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    from examples.fetch import Progress, fetch

    return load_file(fetch("minilm", Progress(quiet=True)) / "model.safetensors")


def inputs(case: Case) -> Inputs:
    words = np.random.default_rng(0).integers(1996, 29_000, (case["texts"], case["tokens"]))
    words[:, 0], words[:, -1] = 101, 102  # as a tokenizer begins and ends
    return {"ids": words}


def exact(case: Case, given: Inputs) -> np.ndarray:
    from examples.minilm import Float32, MiniLM

    wide = {name: tensor.astype(np.float64) for name, tensor in tensors().items()}
    return MiniLM(Float32(wide)).encode_batch(given["ids"])


def ours(case: Case, given: Inputs, threads: int, **scheme: object) -> Callable[[], np.ndarray]:
    import dynq_numba as dq
    from examples.minilm import MiniLM, Quantized

    dq.set_num_threads(threads)
    model = MiniLM(Quantized(tensors(), **scheme))
    return lambda: model.encode_batch(given["ids"])


def pooled(states: np.ndarray) -> np.ndarray:
    """Unit vectors of the texts' mean states."""
    mean = states.mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def ort(case: Case, given: Inputs, threads: int, *, quantized: bool, fused: bool) -> Callable[[], np.ndarray]:
    """quantize_dynamic per channel, on the model as exported or after onnxruntime.transformers' fusions."""
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        path, final = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        path.write_bytes(bert_graph.build(tensors(), case["texts"], case["tokens"]))
        if fused:
            from onnxruntime.transformers.optimizer import optimize_model

            optimized = optimize_model(str(path), "bert", num_heads=bert_graph.HEADS, hidden_size=bert_graph.WIDTH)
            optimized.save_model_to_file(str(path))
        if quantized:
            # Of what the fusions made, shape inference knows no types.
            quantize_dynamic(path, final, per_channel=True, extra_options={"DefaultTensorType": 1})
        model = (final if quantized else path).read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: pooled(session.run(None, {"ids": given["ids"]})[0])


def openvino(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    """int8 weights, activations quantized dynamically in groups."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(bert_graph.build(tensors(), case["texts"], case["tokens"], bert_graph.int8))
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128,
    }
    request = core.compile_model(model, "CPU", properties).create_infer_request()

    def call() -> np.ndarray:
        request.set_input_tensor(ov.Tensor(given["ids"], shared_memory=True))
        request.infer(share_outputs=True)
        return pooled(request.get_output_tensor().data)

    return call


RUNTIME = ("onnxruntime", "onnx", "safetensors")
TOPIC = Topic(
    title="All of MiniLM (`examples/minilm.py`)",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq int8", ("dynq-numba", "safetensors"), ours, 0.1),
        Way("ONNX Runtime int8", RUNTIME, partial(ort, quantized=True, fused=False), 0.3),
        Way("ONNX Runtime int8 fused", RUNTIME, partial(ort, quantized=True, fused=True), 0.3),
        Way("OpenVINO int8", ("openvino", "onnx", "safetensors"), openvino, 0.1),
        Way("ONNX Runtime float32", RUNTIME, partial(ort, quantized=False, fused=True), 1e-4),
    ),
)
