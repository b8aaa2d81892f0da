"""An LSTM of 256 inputs and 512 units over 50 steps: int8 beside the peers' int8 and float32."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bench.topics.base import Case, Inputs, Topic, Way

STEPS, INPUT, HIDDEN = 50, 256, 512
CASES = {f"LSTM {INPUT} → {HIDDEN}, {STEPS} steps, batch {batch}": {"batch": batch} for batch in (1, 8)}


def inputs(case: Case) -> Inputs:
    """x [T, B, I], and ONNX's W, R and B (gates i o f c) of one direction."""
    normal = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    return {
        "x": normal((STEPS, case["batch"], INPUT)), "W": normal((1, 4 * HIDDEN, INPUT)) / np.float32(INPUT**0.5),
        "R": normal((1, 4 * HIDDEN, HIDDEN)) / np.float32(HIDDEN**0.5), "B": normal((1, 8 * HIDDEN)) * np.float32(0.1),
    }  # fmt: skip


def exact(case: Case, given: Inputs) -> np.ndarray:
    """Outputs [T, B, H] in float64."""
    x, w, r, b = (given[name].astype(np.float64) for name in ("x", "W", "R", "B"))
    bias = b[0, : 4 * HIDDEN] + b[0, 4 * HIDDEN :]
    h = c = np.zeros((case["batch"], HIDDEN))
    outputs = []
    for step in x:
        gates = step @ w[0].T + h @ r[0].T + bias
        i, o, f = (1 / (1 + np.exp(-g)) for g in np.split(gates, 4, axis=-1)[:3])
        c = f * c + i * np.tanh(gates[:, 3 * HIDDEN :])
        h = o * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


def ours(case: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    layer = dq.pack_lstm(given["W"], given["R"], given["B"], layout="onnx")
    shape = (STEPS, case["batch"], HIDDEN)
    return lambda: dq.lstm(given["x"], layer)[0].reshape(shape)


def torch(case: Case, given: Inputs, threads: int, *, quantized: bool) -> Callable[[], np.ndarray]:
    import torch

    warnings.filterwarnings("ignore", module="torch.ao")
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    order = [0, 2, 3, 1]  # of its gates i f c o in ONNX's
    parts = {"weight_ih_l0": given["W"][0], "weight_hh_l0": given["R"][0]}
    parts |= dict(zip(("bias_ih_l0", "bias_hh_l0"), np.split(given["B"][0], 2), strict=True))
    module = torch.nn.LSTM(INPUT, HIDDEN)
    module.load_state_dict({
        name: torch.from_numpy(np.concatenate([np.split(part, 4)[gate] for gate in order]))
        for name, part in parts.items()
    })  # fmt: skip
    if quantized:
        kinds = {torch.nn.LSTM}
        module = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(module), kinds, dtype=torch.qint8)[0]
    x = torch.from_numpy(given["x"])
    return lambda: module(x)[0].numpy()


def ort(case: Case, given: Inputs, threads: int, *, quantized: bool) -> Callable[[], np.ndarray]:
    """With `quantized`, DynamicQuantizeLSTM, as quantize_dynamic makes it."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = ["W", "R", "B"]
    batch = case["batch"]
    graph = helper.make_graph(
        [helper.make_node("LSTM", ["x", *names], ["y"], hidden_size=HIDDEN)],
        "lstm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, batch, INPUT])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [STEPS, 1, batch, HIDDEN])],
        [numpy_helper.from_array(given[name], name) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with tempfile.TemporaryDirectory() as folder:
        path, final = Path(folder) / "lstm.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, path)
        if quantized:
            quantize_dynamic(path, final, weight_type=QuantType.QInt8, op_types_to_quantize=["LSTM"], per_channel=True)
        code = (final if quantized else path).read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    run = onnxruntime.InferenceSession(code, options, providers=["CPUExecutionProvider"]).run
    return lambda: run(None, {"x": given["x"]})[0][:, 0]


TORCH, RUNTIME = ("torch",), ("onnxruntime", "onnx")
TOPIC = Topic(
    title="Recurrent (`lstm`)",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq int8", ("dynq-numba",), ours, 0.03),
        Way("PyTorch int8", TORCH, partial(torch, quantized=True), 0.1),
        Way("ONNX Runtime int8", RUNTIME, partial(ort, quantized=True), 0.1),
        Way("ONNX Runtime float32", RUNTIME, partial(ort, quantized=False), 1e-4),
    ),
)
