"""Pooling in float32, as a program's steps, beside ONNX Runtime's: of ResNets, of ddddocr's detector, of PP-OCR."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Inputs, Topic, Way
from .conv import session


def case(kind: str, shape: tuple[int, ...], taps: int = 0, stride: int = 1, padding: int = 0) -> Case:
    return {"kind": kind, "shape": shape, "taps": taps, "stride": stride, "padding": padding}


CASES = {
    "MaxPool 3×3 step 2, 64×112×112": case("MaxPool", (1, 64, 112, 112), 3, 2, 1),
    "MaxPool 2×2 step 2, 64×56×56": case("MaxPool", (1, 64, 56, 56), 2, 2),
    "MaxPool 5×5, 192×13×13": case("MaxPool", (1, 192, 13, 13), 5, 1, 2),
    "MaxPool 13×13, 192×13×13": case("MaxPool", (1, 192, 13, 13), 13, 1, 6),
    "AveragePool 3×3 step 2, 64×56×56": case("AveragePool", (1, 64, 56, 56), 3, 2, 1),
    "GlobalAveragePool, 512×7×7": case("GlobalAveragePool", (1, 512, 7, 7)),
    "GlobalAveragePool, 96×40×40": case("GlobalAveragePool", (1, 96, 40, 40)),
    "GlobalMaxPool, 512×508": case("GlobalMaxPool", (1, 512, 508)),
}


def inputs(chosen: Case) -> Inputs:
    return {"x": np.random.default_rng(1).standard_normal(chosen["shape"], np.float32)}


def exact(chosen: Case, given: Inputs) -> np.ndarray:
    x, taps, around, step = given["x"].astype(np.float64), chosen["taps"], chosen["padding"], chosen["stride"]
    average = "Average" in chosen["kind"]
    if not taps:
        axes = tuple(range(2, x.ndim))
        return x.mean(axis=axes, keepdims=True) if average else x.max(axis=axes, keepdims=True)
    padded = np.pad(x, ((0, 0), (0, 0), *((around, around),) * 2), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (taps, taps), (2, 3))[:, :, ::step, ::step]
    return np.nanmean(windows, axis=(4, 5)) if average else np.nanmax(windows, axis=(4, 5))


def ours(chosen: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq
    from dynq_numba.operators.pooling import backend
    from dynq_numba.runtime import threads as pool

    dq.set_num_threads(threads)
    pool.ready()
    x, average, taps = given["x"], "Average" in chosen["kind"], (chosen["taps"],) * 2
    if chosen["taps"]:
        stride, padding = (chosen["stride"],) * 2, ((chosen["padding"],) * 2,) * 2
        out = backend.pool(x, taps, average=average, stride=stride, padding=padding)
        words = backend.record(x, out, average, taps, stride, padding, (1, 1), False)
    else:
        out = backend.global_pool(x, average=average)
        words = backend.global_record(x, out, average)
    run = backend.step_entry(not chosen["taps"])

    def call(kept: Inputs = given) -> np.ndarray:
        run(words, 0)
        return out

    return call


def ort(chosen: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    from onnx import helper

    from bench.peers.ort import IR_VERSION, OPSET

    window = {"kernel_shape": [chosen["taps"]] * 2, "strides": [chosen["stride"]] * 2, "pads": [chosen["padding"]] * 4}
    node = helper.make_node(chosen["kind"], ["x"], ["y"], **(window if chosen["taps"] else {}))
    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", chosen["shape"]), ("y", None)))
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(helper.make_graph([node], "pool", [x], [y]), opset_imports=opsets, ir_version=IR_VERSION)
    return session(model.SerializeToString(), given, threads)


TOPIC = Topic(
    title="Pooling in float32, as steps of a program",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq", ("dynq-numba",), ours, 1e-6),
        Way("ONNX Runtime", ("onnxruntime", "onnx"), ort, 1e-6),
    ),
)
