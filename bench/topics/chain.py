"""What follows attention in a BERT layer: a linear, residual and norm, the feed-forward layer with gelu, norm again.

Ours as a `Chain` and by its functions; PyTorch's int8 linears with its float operators, and its float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import erf

import numpy as np

from bench.topics.base import Case, Inputs, Topic, Way

CASES = {f"{m} × {k}, inner {4 * k}": {"m": m, "k": k}
         for m, k in ((1, 384), (16, 384), (128, 384), (1024, 384), (128, 768), (512, 768))}  # fmt: skip


def inputs(case: Case) -> Inputs:
    rng = np.random.default_rng(0)
    m, k = case["m"], case["k"]
    normal = partial(rng.standard_normal, dtype=np.float32)
    shapes = {"project": (k, k), "up": (4 * k, k), "down": (k, 4 * k)}
    weights = {name: normal(shape) / np.float32(shape[1] ** 0.5) for name, shape in shapes.items()}
    vectors = {f"{name}_bias": normal(shape[0]) for name, shape in shapes.items()}
    return weights | vectors | {"gain": normal(k), "shift": normal(k), "context": normal((m, k)), "x": normal((m, k))}


def exact(case: Case, given: Inputs) -> np.ndarray:
    g = {name: array.astype(np.float64) for name, array in given.items()}

    def norm(v: np.ndarray) -> np.ndarray:
        v = v - v.mean(axis=-1, keepdims=True)
        return v / np.sqrt((v * v).mean(axis=-1, keepdims=True) + 1e-5) * g["gain"] + g["shift"]

    seen = norm(g["context"] @ g["project"].T + g["project_bias"] + g["x"])
    inner = seen @ g["up"].T + g["up_bias"]
    inner *= 0.5 * (1 + np.vectorize(erf)(inner * 0.5**0.5))
    return norm(inner @ g["down"].T + g["down_bias"] + seen)


def ours(case: Case, given: Inputs, threads: int, *, chained: bool) -> Callable[[], np.ndarray]:
    import dynq_numba as dq

    dq.set_num_threads(threads)
    project, up, down = (dq.pack_linear(given[n], given[f"{n}_bias"]) for n in ("project", "up", "down"))
    gain, shift, context, x = (given[name] for name in ("gain", "shift", "context", "x"))
    if chained:
        chain = dq.Chain({
            "projected": dq.step.Linear(project, x="context"),
            "seen": dq.step.LayerNorm(gain, shift, residual="x"),
            "inner": dq.step.Linear(up, activation="gelu"),
            "outer": dq.step.Linear(down),
            "y": dq.step.LayerNorm(gain, shift, residual="seen"),
        }, "y")  # fmt: skip
        return lambda: chain(context, x=x)

    def functions() -> np.ndarray:
        seen = dq.layer_norm(dq.linear(context, project), gain, shift, residual=x)
        return dq.layer_norm(dq.linear(dq.linear(seen, up, activation="gelu"), down), gain, shift, residual=seen)

    return functions


def torch(case: Case, given: Inputs, threads: int, *, quantized: bool) -> Callable[[], np.ndarray]:
    import torch

    torch.set_num_threads(threads)
    if quantized:
        torch.backends.quantized.engine = "x86"
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("project", "up", "down"):
                linear = torch.nn.Linear(*given[name].shape[::-1])
                linear.weight.data, linear.bias.data = tensors[name], tensors[f"{name}_bias"]
                setattr(self, name, linear)

        def forward(self, context: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            norm = partial(torch.nn.functional.layer_norm, normalized_shape=x.shape[-1:], weight=tensors["gain"],
                           bias=tensors["shift"])  # fmt: skip
            seen = norm(self.project(context) + x)
            return norm(self.down(torch.nn.functional.gelu(self.up(seen))) + seen)

    model = Layer().eval()
    if quantized:
        model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)

    def call() -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(given["context"]), torch.from_numpy(given["x"])).numpy()

    return call


TOPIC = Topic(
    title="The rest of a BERT layer behind its attention (`Chain`)",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq int8 chain", ("dynq-numba",), partial(ours, chained=True), 0.03),
        Way("dynq int8 functions", ("dynq-numba",), partial(ours, chained=False), 0.03),
        Way("PyTorch int8", ("torch",), partial(torch, quantized=True), 0.06),
        Way("PyTorch float32", ("torch",), partial(torch, quantized=False), 1e-4),
    ),
)
