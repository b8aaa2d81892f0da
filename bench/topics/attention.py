"""Attention in float32, ours in integers too: an encoder's prefill, and a decoder's step over the keys so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bench.topics.base import Case, Inputs, Topic, Way

#: Batch, heads, key heads, query positions, key positions, dim.
SIZES = (
    (1, 12, 12, 16, 16, 32), (1, 12, 12, 128, 128, 32), (1, 12, 12, 384, 384, 32), (8, 12, 12, 16, 16, 32),
    (8, 12, 12, 128, 128, 32), (8, 12, 12, 384, 384, 32), (1, 32, 8, 1, 512, 64), (1, 32, 8, 1, 2048, 128),
    (1, 32, 32, 1, 1024, 64), (1, 8, 8, 1, 8192, 128),
)  # fmt: skip
NAMES = ("batch", "heads", "key_heads", "rows", "keys", "dim")
CASES = {
    f"{b} × {h}{'' if h == g else f' over {g}'} heads, {s} rows, {t} keys, dim {d}": dict(
        zip(NAMES, (b, h, g, s, t, d), strict=True)
    )
    for b, h, g, s, t, d in SIZES
}


def inputs(case: Case) -> Inputs:
    normal = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    b, h, g, s, t, d = (case[name] for name in NAMES)
    return {"q": normal((b, h, s, d)), "k": normal((b, g, t, d)), "v": normal((b, g, t, d))}


def exact(case: Case, given: Inputs) -> np.ndarray:
    group = case["heads"] // case["key_heads"]
    q, k, v = (given[name].astype(np.float64) for name in "qkv")
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(case["dim"])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


def ours(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    return lambda: dq.attention(given["q"], given["k"], given["v"])


def ours_int8(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    return lambda: dq.attention(given["q"], given["k"], given["v"], bits=8)


def torch_float(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    q, k, v = (torch.from_numpy(given[name]) for name in "qkv")
    grouped = case["heads"] != case["key_heads"]
    return lambda: scaled_dot_product_attention(q, k, v, enable_gqa=grouped).numpy()


def session(nodes: list, given: Inputs, threads: int, constants: list) -> Callable[[], np.ndarray]:
    """An ONNX graph from q, k and v to y."""
    import onnxruntime
    from onnx import TensorProto, helper

    def value(name: str, axes: int):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes)

    axes = given["q"].ndim
    sides = [value(name, axes) for name in "qkv"], [value("y", axes)]
    graph = helper.make_graph(nodes, "attention", *sides, constants)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
    return lambda: run(None, given)[0]


def ort_products(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    """What an exported model has: MatMul, Softmax, MatMul. Shared key heads are repeated beforehand, for nothing."""
    from onnx import TensorProto, helper

    node, group = helper.make_node, case["heads"] // case["key_heads"]
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [case["dim"] ** -0.5])
    nodes = [
        node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]), node("MatMul", ["q", "kt"], ["products"]),
        node("Mul", ["products", "scale"], ["scores"]), node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v"], ["y"]),
    ]  # fmt: skip
    repeated = {name: np.repeat(given[name], 1 if name == "q" else group, axis=1) for name in "qkv"}
    return session(nodes, repeated, threads, [scale])


def ort_fused(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    """com.microsoft MultiHeadAttention, on arrays laid out as it wants them."""
    from onnx import helper

    group = case["heads"] // case["key_heads"]
    flat = {}
    for name in "qkv":
        rows = np.repeat(given[name], 1 if name == "q" else group, axis=1).swapaxes(1, 2)
        flat[name] = np.ascontiguousarray(rows).reshape(*rows.shape[:2], -1)
    nodes = [
        helper.make_node("MultiHeadAttention", list("qkv"), ["y"], domain="com.microsoft", num_heads=case["heads"])
    ]
    run = session(nodes, flat, threads, [])
    shape = case["batch"], case["rows"], case["heads"], case["dim"]
    return lambda: run().reshape(shape).swapaxes(1, 2)


TOPIC = Topic(
    title="Attention in float32 (`attention`)",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq", ("dynq-numba",), ours, 1e-5),
        Way("dynq int8 products", ("dynq-numba",), ours_int8, 3e-2),
        Way("PyTorch float32", ("torch",), torch_float, 1e-5),
        Way("ONNX Runtime float32", ("onnxruntime", "onnx"), ort_products, 1e-5),
        Way("ONNX Runtime fused", ("onnxruntime", "onnx"), ort_fused, 1e-5),
    ),
)
