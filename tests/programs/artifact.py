"""An artifact in our session and in ONNX Runtime, which must agree bit for bit; prints the digest of the results.

    python tests/programs/artifact.py

Three LSTMs and a linear: every sum of it is one of integers, or has an order. haswell.sh runs it on an emulated CPU.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.topics import model_files
from dynq_numba.onnx import InferenceSession, quantize


def model() -> onnx.ModelProto:
    """The bench's stack of LSTMs, and a linear behind it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model_files.lstms(path, 40, 96)
        made = onnx.load(path)
    weight = np.random.default_rng(1).standard_normal((96, 50)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weight, "head"))
    made.graph.node.append(helper.make_node("MatMul", [made.graph.output[0].name, "head"], ["y"], "head"))
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["T", "B", 50]))
    return made


def main() -> int:
    artifact = ir.to_proto(quantize(model()).model)
    feeds = {"x": np.random.default_rng(0).standard_normal((20, 3, 40), np.float32)}
    (ours,) = InferenceSession(artifact).run(None, feeds)
    runtime = onnxruntime.InferenceSession(artifact.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = runtime.run(None, feeds)
    if not np.array_equal(ours, theirs):
        print(f"{np.count_nonzero(ours != theirs)} of {ours.size} results differ", file=sys.stderr)
        return 1
    print(hashlib.sha256(ours.tobytes()).hexdigest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
