"""How far are trained LSTMs in int8 from float32? Relative norms, on what real networks feed them.

    python -m bench recurrent_accuracy        # fetches ddddocr (76 MB) and silero-vad (11 MB) like examples/fetch.py

Each network runs in ONNX Runtime on rendered text or synthetic speech, and what enters and leaves its LSTM is
kept. "int8" is `lstm`, "ORT int8" DynamicQuantizeLSTM (per channel) on the same input. The other columns tell where
the error comes from: float64 with one thing alone rounded to 8 bits (x and h per row; W and R per channel).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dynq_numba as dq
from examples.fetch import Progress, fetch

Array = np.ndarray
SAMPLES = 16_000  # a second
WINDOW, HOP = 576, 512
LETTERS = list("abcdefghjkmnpqrstuvwxyz23456789")


def texts(rng: np.random.Generator, count: int = 40) -> Iterable[dict[str, Array]]:
    """Images 64 high of four letters that dance a little, with noise (float32 ddddocr reads 38 of 40)."""
    from PIL import Image, ImageDraw, ImageFont

    for _ in range(count):
        font = ImageFont.load_default(int(rng.integers(34, 46)))
        image = Image.new("L", (160, 64), int(rng.integers(200, 256)))
        draw, left = ImageDraw.Draw(image), 8
        for letter in rng.choice(LETTERS, 4):
            draw.text((left, int(rng.integers(2, 14))), letter, fill=int(rng.integers(0, 90)), font=font)
            left += int(draw.textlength(letter, font=font)) + int(rng.integers(2, 10))
        noisy = np.asarray(image) + rng.normal(0, 12, (64, 160))
        yield {"input1": (np.clip(noisy, 0, 255) / 255).astype(np.float32)[None, None]}


def sounds(rng: np.random.Generator, seconds: int = 20) -> Iterable[dict[str, Array]]:
    """Harmonics of a gliding pitch through two formants, in syllables (silero says "speech" 0.66 of the time)."""
    t = np.arange(seconds * SAMPLES) / SAMPLES
    pitch = 120 * np.exp(0.25 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLES
    low, high = 500 + 250 * np.sin(2 * np.pi * 1.3 * t), 1500 + 500 * np.sin(2 * np.pi * 0.9 * t + 1)
    voice = np.zeros_like(t)
    for k in range(1, 30):
        gain = np.exp(-(((k * pitch - low) / 150) ** 2)) + 0.5 * np.exp(-(((k * pitch - high) / 200) ** 2)) + 0.02
        voice += np.sin(k * phase) * gain / k**0.3
    syllables = np.sqrt(np.clip(np.sin(2 * np.pi * 3.5 * t), 0, 1)) * (np.sin(2 * np.pi * 0.3 * t) > -0.5)
    sound = (0.1 * voice * syllables + 0.005 * rng.standard_normal(len(t))).astype(np.float32)
    zeros = np.zeros((1, 1, 128), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    yield {"input": np.ascontiguousarray(windows), "h": zeros, "c": zeros}


NETWORKS: dict[str, tuple[str, Callable]] = {
    "ddddocr": ("common.onnx", texts),
    "silero": ("silero_vad_16k_sequence.onnx", sounds),
}


def session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # this export says wrongly how many rows come out
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def watched(name: str) -> tuple[list[Array], list[tuple[Array, Array]], Any]:
    """W, R and B [D, …] of a network's LSTM; (x [T, B, I], Y [T, D, B, H]) of each input; the layer alone."""
    import onnx
    from onnx import helper, numpy_helper

    file, inputs = NETWORKS[name]
    model = onnx.load(fetch(name, Progress(quiet=True)) / file)
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in node.input}
    floats = partial(helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    values = [floats(ends[0], shape=None) for ends in (node.input, node.output)]
    layer = helper.make_node("LSTM", node.input[:4], node.output[:1])
    layer.attribute.extend(node.attribute)
    given = floats(node.input[0], shape=["T", "B", None])
    graph = helper.make_graph([layer], "layer", [given], values[1:], list(tensors.values()))
    alone = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model.graph.output.extend(values)
    run = partial(session(model).run, [value.name for value in values])
    kept = [tuple(run(given)) for given in inputs(np.random.default_rng(0))]
    return [numpy_helper.to_array(tensors[name]) for name in node.input[1:4]], kept, alone


def onnx_int8(model: Any) -> Callable[[Array], Array]:
    """ONNX Runtime's own quantization of the layer."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(model, path, weight_type=QuantType.QInt8, op_types_to_quantize=["LSTM"], per_channel=True)
        run = session(onnx.load(path))
    return lambda x: run.run(None, {run.get_inputs()[0].name: x})[0]


def rounded_rows(x: Array) -> Array:
    low, high = np.minimum(0, x.min(-1, keepdims=True)), np.maximum(0, x.max(-1, keepdims=True))
    scale = np.where(high > low, (high - low) / 255, 1)
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale


def rounded_weights(w: Array) -> Array:
    scale = np.abs(w).max(-1, keepdims=True) / 127
    return np.rint(w / scale) * scale


def exact(x: Array, parts: Iterable[Array], rounded: str = "") -> Array:
    """Y [T, D, B, H] in float64, with one of x, W, h, R rounded to 8 bits."""
    x, w, r, b = (part.astype(np.float64) for part in (x, *parts))
    if rounded == "x":
        x = rounded_rows(x)
    w, r = (rounded_weights(part) if rounded == what else part for what, part in (("W", w), ("R", r)))
    outputs = np.empty((len(x), len(w), x.shape[1], r.shape[2]))
    for d in range(len(w)):
        h = c = np.zeros(outputs.shape[2:])
        for t in range(len(x))[:: -1 if d else 1]:
            h = rounded_rows(h) if rounded == "h" else h
            i, o, f, a = np.split(x[t] @ w[d].T + h @ r[d].T + b[d].reshape(2, -1).sum(0), 4, axis=-1)
            i, o, f = (1 / (1 + np.exp(-gate)) for gate in (i, o, f))
            c = f * c + i * np.tanh(a)
            h = outputs[t, d] = o * np.tanh(c)
    return outputs


def ours(x: Array, packed: dq.PackedLSTM) -> Array:
    y = dq.lstm(x, packed)[0]
    return y.reshape(*x.shape[:2], packed.directions, -1).swapaxes(1, 2)


def main(argv: list[str]) -> int:
    """Print a line for each network."""
    print(f"{'':10}{'int8':>8}{'worst':>8}{'ORT int8':>10}  |{'x':>7}{'W':>7}{'h':>7}{'R':>7}   relative norm, %")
    for name in NETWORKS:
        parts, kept, alone = watched(name)
        ways = [partial(ours, packed=dq.pack_lstm(*parts, layout="onnx")), onnx_int8(alone)]
        ways += [partial(exact, parts=parts, rounded=what) for what in "xWhR"]
        norms = np.array([np.linalg.norm(y) for _, y in kept])
        errors = np.array([[np.linalg.norm(way(x) - y) for x, y in kept] for way in ways])
        mine, theirs, *causes = 100 * np.linalg.norm(errors, axis=1) / np.linalg.norm(norms)
        worst = 100 * (errors[0] / norms).max()
        print(f"{name:10}{mine:>8.2f}{worst:>8.2f}{theirs:>10.2f}  |" + "".join(f"{cause:>7.2f}" for cause in causes))
    return 0
