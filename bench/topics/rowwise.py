"""Float operators on MiniLM's shapes: norms, softmax, activations, rotary embedding; all in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.topics.base import Case, Inputs, Topic, Way

SHAPES = {
    "layer_norm": ((1, 384), (128, 384), (1024, 384)), "residual_norm": ((128, 384), (1024, 384)),
    "rms_norm": ((128, 384), (1024, 384)), "softmax": ((12, 128, 128), (96, 128, 128)),
    "masked_softmax": ((12, 128, 128),), "gelu": ((1, 1536), (128, 1536), (1024, 1536)),
    "silu": ((128, 1536), (1024, 1536)), "swiglu": ((128, 1536), (1024, 1536)), "rotary": ((1, 12, 128, 64),),
}  # fmt: skip
CASES = {
    f"{name} {' × '.join(map(str, shape))}": {"name": name, "shape": shape}
    for name, shapes in SHAPES.items()
    for shape in shapes
}
EPSILON = 1e-5


def inputs(case: Case) -> Inputs:
    """x, another array like it, a row of weights and biases, a mask of the last axis, angles' cosines and sines."""
    normal, shape = partial(np.random.default_rng(0).standard_normal, dtype=np.float32), case["shape"]
    keep = np.arange(shape[-1]) < shape[-1] * 3 // 4
    positions, speeds = np.arange(shape[-2] if len(shape) > 1 else 1), np.linspace(0, 1, shape[-1] // 2, endpoint=False)
    angles = np.outer(positions, 10000.0**-speeds)
    return {
        "x": normal(shape) * np.float32(2), "r": normal(shape), "w": normal(shape[-1:]), "b": normal(shape[-1:]),
        "m": np.where(keep, 0, -1e9).astype(np.float32), "keep": keep,
        "cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32),
    }  # fmt: skip


def exact(case: Case, given: Inputs) -> np.ndarray:
    v = {name: array.astype(np.float64) for name, array in given.items()}
    x, name = v["x"], case["name"]
    if name in ("layer_norm", "residual_norm"):
        x = x + v["r"] if name == "residual_norm" else x
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * v["w"] + v["b"]
    if name == "rms_norm":
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * v["w"]
    if name in ("softmax", "masked_softmax"):
        e = np.exp(x - x.max(-1, keepdims=True)) * (v["keep"] if name == "masked_softmax" else 1)
        return e / e.sum(-1, keepdims=True)
    if name == "gelu":
        return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    if name in ("silu", "swiglu"):
        return x / (1 + np.exp(-x)) * (v["r"] if name == "swiglu" else 1)
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * v["cos"] - b * v["sin"], b * v["cos"] + a * v["sin"]], axis=-1)


def ours(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    x, r, w, b, keep, cos, sin = (given[name] for name in ("x", "r", "w", "b", "keep", "cos", "sin"))
    calls: dict[str, Callable[[], np.ndarray]] = {
        "layer_norm": lambda: dq.layer_norm(x, w, b, eps=EPSILON),
        "residual_norm": lambda: dq.layer_norm(x, w, b, eps=EPSILON, residual=r),
        "rms_norm": lambda: dq.rms_norm(x, w, eps=EPSILON),
        "softmax": lambda: dq.softmax(x),
        "masked_softmax": lambda: dq.softmax(x, mask=keep),
        "gelu": lambda: dq.gelu(x),
        "silu": lambda: dq.silu(x),
        "swiglu": lambda: dq.swiglu(x, r),
        "rotary": lambda: dq.rotary(x, cos, sin),
    }
    return calls[case["name"]]


def torch(case: Case, given: Inputs, threads: int) -> Callable[[], Any]:
    """Tensors are made beforehand."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    f, k = torch.nn.functional, case["shape"][-1]
    x, r, w, b, m, cos, sin = (torch.from_numpy(given[name]) for name in ("x", "r", "w", "b", "m", "cos", "sin"))
    cos, sin = torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)
    calls = {
        "layer_norm": lambda: f.layer_norm(x, (k,), w, b, EPSILON),
        "residual_norm": lambda: f.layer_norm(x + r, (k,), w, b, EPSILON),
        "rms_norm": lambda: f.rms_norm(x, (k,), w, EPSILON),
        "softmax": lambda: torch.softmax(x, -1),
        "masked_softmax": lambda: torch.softmax(x + m, -1),
        "gelu": lambda: f.gelu(x),
        "silu": lambda: f.silu(x),
        "swiglu": lambda: f.silu(x) * r,
        "rotary": lambda: x * cos + torch.cat((-x[..., k // 2 :], x[..., : k // 2]), -1) * sin,
    }
    call = calls[case["name"]]
    return lambda: call().numpy()


def ort(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    """Its own operators where ONNX has none."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    def node(kind: str, names: list[str], result: str = "y", own: bool = False, **attributes: object):
        return helper.make_node(kind, names, [result], domain="com.microsoft" if own else "", **attributes)

    nodes = {
        "layer_norm": [node("LayerNormalization", ["x", "w", "b"], epsilon=EPSILON)],
        "residual_norm": [node("SkipLayerNormalization", ["x", "r", "w", "b"], own=True, epsilon=EPSILON)],
        "rms_norm": [node("SimplifiedLayerNormalization", ["x", "w"], epsilon=EPSILON, axis=-1)],
        "softmax": [node("Softmax", ["x"], axis=-1)],
        "masked_softmax": [node("Add", ["x", "m"], "v"), node("Softmax", ["v"], axis=-1)],
        "gelu": [node("Gelu", ["x"], own=True)],
        "silu": [node("QuickGelu", ["x"], own=True, alpha=1.0)],
        "swiglu": [node("QuickGelu", ["x"], "s", own=True, alpha=1.0), node("Mul", ["s", "r"])],
        "rotary": [node("RotaryEmbedding", ["x", "p", "cos", "sin"], own=True)],
    }[case["name"]]
    used = {name for each in nodes for name in each.input}
    arrays = {**given, "p": np.zeros(1, np.int64)}
    fed = {name: arrays[name] for name in ("x", "r", "p") if name in used}
    if case["name"] == "residual_norm":
        fed = {name: array[None] for name, array in fed.items()}  # it takes three axes
    kept = {name: arrays[name] for name in ("w", "b", "m", "cos", "sin") if name in used}
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        case["name"],
        [helper.make_tensor_value_info(name, kinds[array.dtype], array.shape) for name, array in fed.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, fed["x"].shape)],
        [numpy_helper.from_array(array, name) for name, array in kept.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
    shape = case["shape"]
    return lambda: run(None, fed)[0].reshape(shape)


TOPIC = Topic(
    title="Float operators, float32 in and out",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq", ("dynq-numba",), ours, 1e-6),
        Way("PyTorch", ("torch",), torch, 1e-5),
        Way("ONNX Runtime", ("onnxruntime", "onnx"), ort, 1e-3),
    ),
)
