"""Convolutions: ours beside ONNX Runtime's ConvInteger (quantize_dynamic) and the float32 ones of ORT and PyTorch.

Shapes of ResNet-50 and -18, of Whisper's encoder, of a vision transformer's first layer, and of MobileNet's depthwise
layers, for which integers are no gain: with one input channel for each output there are 9 products to pay for reading,
quantizing and laying out a value. Groups of 4 channels are a gain already.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .base import Case, Inputs, Topic, Way


def case(
    channels: int, outputs: int, size: tuple[int, ...], taps: int, stride: int = 1, groups: int = 1, images: int = 1
) -> Case:
    """A square kernel, padded so that stride 1 keeps the size."""
    return {"channels": channels, "outputs": outputs, "size": size, "taps": taps, "stride": stride, "groups": groups,
            "images": images, "padding": taps // 2}  # fmt: skip


CASES = {
    "3×224×224 → 64, 7×7 step 2": case(3, 64, (224, 224), 7, 2),
    "64×56×56 → 64, 3×3": case(64, 64, (56, 56), 3),
    "256×56×56 → 64, 1×1": case(256, 64, (56, 56), 1),
    "64×56×56 → 256, 1×1": case(64, 256, (56, 56), 1),
    "128×56×56 → 128, 3×3 step 2": case(128, 128, (56, 56), 3, 2),
    "128×28×28 → 128, 3×3": case(128, 128, (28, 28), 3),
    "256×14×14 → 256, 3×3": case(256, 256, (14, 14), 3),
    "512×7×7 → 512, 3×3": case(512, 512, (7, 7), 3),
    "8 images 256×14×14 → 256, 3×3": case(256, 256, (14, 14), 3, images=8),
    "80×3000 → 256, 3": case(80, 256, (3000,), 3),
    "256×3000 → 256, 3 step 2": case(256, 256, (3000,), 3, 2),
    "3×224×224 → 768, 16×16 step 16": {**case(3, 768, (224, 224), 16, 16), "padding": 0},
    "128×56×56 → 128, 3×3 in 32 groups": case(128, 128, (56, 56), 3, groups=32),
    "64×56×56, 3×3 depthwise": case(64, 64, (56, 56), 3, groups=64),
    "3×32×32 → 16, 3×3": case(3, 16, (32, 32), 3),
}


def inputs(chosen: Case) -> Inputs:
    rng = np.random.default_rng(1)
    size, taps = chosen["size"], chosen["taps"]
    weight = (chosen["outputs"], chosen["channels"] // chosen["groups"], *(taps,) * len(size))
    return {
        "x": rng.standard_normal((chosen["images"], chosen["channels"], *size), np.float32),
        "weight": rng.standard_normal(weight, np.float32) / np.float32(np.sqrt(np.prod(weight[1:]))),
        "bias": rng.standard_normal(chosen["outputs"], np.float32),
    }


def exact(chosen: Case, given: Inputs) -> np.ndarray:
    x, weight = (given[name].astype(np.float64) for name in ("x", "weight"))
    around, step, taps = chosen["padding"], chosen["stride"], chosen["taps"]
    spatial = x.ndim - 2
    padded = np.pad(x, ((0, 0), (0, 0), *((around, around),) * spatial))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (taps,) * spatial, tuple(range(2, x.ndim)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, step),) * spatial)]
    groups, own = chosen["groups"], weight.shape[1]
    each = len(weight) // groups
    results = []
    for g in range(groups):
        part = windows[:, g * own : (g + 1) * own]
        axes = (1, *range(part.ndim - spatial, part.ndim))
        product = np.tensordot(part, weight[g * each : (g + 1) * each], (axes, range(1, 2 + spatial)))
        results.append(np.moveaxis(product, -1, 1))
    return np.concatenate(results, axis=1) + given["bias"].reshape(-1, *(1,) * spatial)


def ours(chosen: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    names = ("stride", "padding", "groups")
    w = dq.pack_conv(given["weight"], given["bias"], **{name: chosen[name] for name in names})
    x = given["x"]
    return lambda: dq.conv(x, w)


def model(chosen: Case, given: Inputs):
    """An onnx ModelProto of one Conv."""
    from onnx import TensorProto, helper, numpy_helper

    from bench.peers.ort import IR_VERSION, OPSET

    spatial = len(chosen["size"])
    node = helper.make_node(
        "Conv", ["x", "weight", "bias"], ["y"], strides=[chosen["stride"]] * spatial, group=chosen["groups"],
        pads=[chosen["padding"]] * 2 * spatial,
    )  # fmt: skip
    shapes = {"x": given["x"].shape, "y": None}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    weights = [numpy_helper.from_array(given[name], name) for name in ("weight", "bias")]
    graph = helper.make_graph([node], "conv", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def session(content: bytes, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    running = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {"x": given["x"]}
    return lambda: running.run(None, feed)[0]


def ort_float(chosen: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    return session(model(chosen, given).SerializeToString(), given, threads)


def ort_integer(chosen: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it advises to run shape inference on the model of one operator
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(model(chosen, given), path)
        content = path.read_bytes()
    if b"ConvInteger" not in content:
        raise RuntimeError("quantize_dynamic left the Conv as it is")
    return session(content, given, threads)


def torch_float(chosen: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import torch

    torch.set_num_threads(threads)
    x, weight, bias = (torch.from_numpy(given[name]) for name in ("x", "weight", "bias"))
    convolve = torch.conv2d if weight.ndim == 4 else torch.conv1d
    stride, padding, groups = (chosen[name] for name in ("stride", "padding", "groups"))

    def call() -> np.ndarray:
        with torch.inference_mode():
            return convolve(x, weight, bias, stride, padding, 1, groups).numpy()

    return call


TOPIC = Topic(
    title="Convolutions, one scale for each image and output channel",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq-numba", ("numba",), ours, 0.03),
        Way("ONNX Runtime ConvInteger", ("onnxruntime", "onnx"), ort_integer, 0.1),
        Way("ONNX Runtime float32", ("onnxruntime", "onnx"), ort_float, 1e-5),
        Way("torch float32", ("torch",), torch_float, 1e-5),
    ),
)
