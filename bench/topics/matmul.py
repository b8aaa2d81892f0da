"""Products of two arrays that are both quantized at run time, as in attention: 12 heads of scores and of contexts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bench.topics.base import Case, Inputs, Topic, Way

SIZES = ((12, 128, 32, 128), (12, 128, 128, 32), (12, 384, 32, 384), (1, 512, 512, 512), (1, 1024, 64, 1024))
CASES = {f"{p} × {m},{k},{n}": {"products": p, "m": m, "k": k, "n": n} for p, m, k, n in SIZES}


def inputs(case: Case) -> Inputs:
    normal = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    p, m, k, n = (case[name] for name in ("products", "m", "k", "n"))
    return {"a": normal((p, m, k)), "b": normal((p, k, n))}


def exact(case: Case, given: Inputs) -> np.ndarray:
    return given["a"].astype(np.float64) @ given["b"]


def ours(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    return lambda: dq.quantized_matmul(given["a"], given["b"])


def torch_float(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    a, b = torch.from_numpy(given["a"]), torch.from_numpy(given["b"])
    return lambda: torch.matmul(a, b).numpy()


def session(nodes: list, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    """An ONNX graph from a and b to y."""
    import onnxruntime
    from onnx import TensorProto, helper

    def value(name: str, shape: tuple[int, ...]):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    a, b = given["a"], given["b"]
    shape = (*a.shape[:-1], b.shape[-1])
    graph = helper.make_graph(nodes, "product", [value("a", a.shape), value("b", b.shape)], [value("y", shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
    return lambda: run(None, {"a": a, "b": b})[0]


def ort_float(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    from onnx import helper

    return session([helper.make_node("MatMul", ["a", "b"], ["y"])], given, threads)


def ort_integer(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    """What quantize_dynamic makes of a MatMul whose sides are both activations: one scale for each whole array."""
    from onnx import helper

    node = helper.make_node
    return session([
        node("DynamicQuantizeLinear", ["a"], ["qa", "sa", "za"]),
        node("DynamicQuantizeLinear", ["b"], ["qb", "sb", "zb"]),
        node("MatMulInteger", ["qa", "qb", "za", "zb"], ["sums"]), node("Cast", ["sums"], ["floats"], to=1),
        node("Mul", ["sa", "sb"], ["scale"]), node("Mul", ["floats", "scale"], ["y"]),
    ], given, threads)  # fmt: skip


TOPIC = Topic(
    title="Both sides quantized at run time (`matmul`)",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq", ("dynq-numba",), ours, 0.02),
        Way("ONNX Runtime int8", ("onnxruntime", "onnx"), ort_integer, 0.04),
        Way("ONNX Runtime float32", ("onnxruntime", "onnx"), ort_float, 1e-5),
        Way("PyTorch float32", ("torch",), torch_float, 1e-5),
    ),
)
