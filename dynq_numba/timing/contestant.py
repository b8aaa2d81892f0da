"""One runtime with one model, in a process of its own: NAME MODEL FOLDER THREADS are its arguments.

Reads a line for each turn from standard input, and answers each with a line of JSON: the seconds of every call.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

#: A model's function from feeds to results.
Call = Callable[[dict[str, Any]], list[Any]]
#: Seconds of calls of a turn that are not counted, and that are; and how many calls count at least.
WARM, COUNTED, LEAST = 0.05, 0.15, 3


def _dynq(model: str, threads: int) -> Call:
    from ..onnx import InferenceSession

    session = InferenceSession(model, threads=threads)
    return lambda feeds: session.run(None, feeds)


def _onnxruntime(model: str, threads: int) -> Call:
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def _openvino(model: str, threads: int) -> Call:
    openvino = import_module("openvino")
    # Without the hint it computes in bfloat16 on some processors.
    told = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(model, "CPU", told)
    request = compiled.create_infer_request()

    def call(feeds: dict[str, Any]) -> list[Any]:
        found = request.infer(feeds, share_inputs=True)
        return [found[each] for each in compiled.outputs]

    return call


#: By the names of their packages; of ours, "dynq".
CONTESTANTS: dict[str, Callable[[str, int], Call]] = {
    "dynq": _dynq, "onnxruntime": _onnxruntime, "openvino": _openvino,
}  # fmt: skip


def turn(call: Callable[[], object]) -> list[float]:
    """Seconds of the calls of a turn."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < WARM:
        call()
    times: list[float] = []
    while len(times) < LEAST or sum(times) < COUNTED:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def serve(name: str, model: str, folder: str, threads: int) -> None:
    """Open the model, keep its results in the folder, and take turns until there is no more line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints is no answer
    with np.load(Path(folder) / "feeds.npz") as file:
        feeds = {key: file[key] for key in file.files}
    begun = time.perf_counter()
    call = CONTESTANTS[name](model, threads)
    results = call(feeds)
    first = time.perf_counter() - begun
    np.savez(Path(folder) / f"{name}.npz", *map(np.asarray, results))
    print(json.dumps(first), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn(lambda: call(feeds))), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
