"""Products that stay float32, as a program's steps: with a constant weight, and of two activations (attention's heads).

Ours runs a prepared step, which is what a program does; numpy writes into a given array.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.topics.base import Case, Inputs, Topic, Way

LINEARS = (
    (1, 384, 384), (1, 768, 3072), (1, 2048, 8192), (4, 384, 1536), (16, 384, 384), (128, 384, 384), (128, 384, 1536),
    (128, 1536, 384), (128, 3072, 768), (512, 768, 768),
)  # fmt: skip
HEADS = ((12, 128, 32, 128), (12, 128, 128, 32), (12, 1, 32, 384), (12, 1, 384, 32), (1, 512, 512, 512))
CASES: dict[str, dict[str, Any]] = {
    f"linear {m},{k},{n}": {"products": 0, "m": m, "k": k, "n": n} for m, k, n in LINEARS
} | {f"{p} × {m},{k},{n}": {"products": p, "m": m, "k": k, "n": n} for p, m, k, n in HEADS}


def inputs(case: Case) -> Inputs:
    """Of heads whose K is their width, b is a transposed view, as keys are."""
    normal = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    p, m, k, n = (case[name] for name in ("products", "m", "k", "n"))
    if p == 0:
        return {"a": normal((m, k)), "b": normal((n, k)).T, "bias": normal(n)}
    b = normal((p, n, k)).transpose(0, 2, 1) if k < n else normal((p, k, n))
    return {"a": normal((p, m, k)), "b": b}


def exact(case: Case, given: Inputs) -> np.ndarray:
    return given["a"].astype(np.float64) @ given["b"] + given.get("bias", 0)


def shape(given: Inputs) -> tuple[int, ...]:
    return (*given["a"].shape[:-1], given["b"].shape[-1])


def ours(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq
    from dynq_numba.operators.sgemm import backend
    from dynq_numba.runtime import isa, kernel_table
    from dynq_numba.runtime import threads as pool

    dq.set_num_threads(threads)
    pool.ready()
    target, constant = isa.active(), "bias" in given
    form = kernel_table.kernel_for("sgemm", target).form
    panels = backend.pack_matrix(given["b"], form) if constant else None
    out = np.empty(shape(given), np.float32)
    words = backend.record(given["a"], given["b"], out, target=target, bias=given.get("bias"), panels=panels)
    run, place = backend.step(), words.ctypes.data

    def call(kept: tuple = (given, panels, words)) -> np.ndarray:
        run(place, 0)
        return out

    return call


def numpy_float(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    out = np.empty(shape(given), np.float32)
    a, b, bias = given["a"], given["b"], given.get("bias")

    def call() -> np.ndarray:
        np.matmul(a, b, out=out)
        return out if bias is None else np.add(out, bias, out=out)

    return call


def ort_float(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    a, b = given["a"], given["b"]
    constant = "bias" in given
    turned = not b.flags.c_contiguous and not constant
    fed = {"a": a} | ({} if constant else {"b": b.transpose(0, 2, 1) if turned else b})
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in fed.items()]
    nodes, kept = [helper.make_node("MatMul", ["a", "b"], ["y"])], []
    if constant:
        nodes = [helper.make_node("Gemm", ["a", "b", "bias"], ["y"], transB=1)]
        kept = [numpy_helper.from_array(np.ascontiguousarray(b.T), "b"), numpy_helper.from_array(given["bias"], "bias")]
    elif turned:
        nodes = [helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", transB=1)]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape(given))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", values, [out], kept), opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run
    fed = {name: np.ascontiguousarray(array) for name, array in fed.items()}
    return lambda: run(None, fed)[0]


TOPIC = Topic(
    title="Float32 products, as steps of a program",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq", ("dynq-numba",), ours, 1e-5),
        Way("numpy", ("numpy",), numpy_float, 1e-5, lambda threads: {"OPENBLAS_NUM_THREADS": str(threads)}),
        Way("ONNX Runtime", ("onnxruntime", "onnx"), ort_float, 1e-5),
    ),
)
