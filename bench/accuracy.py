"""What the accuracy tools gain on a real model: cosines of MiniLM's embeddings to the float32 ones.

    python -m bench.accuracy [reviews]        # default 100; fetches the model like examples/minilm.py

Each way quantizes the 36 linear layers (the words stay float32, so that nothing else differs). Largest activations come
from 50 other reviews. "smooth, folded" is smooth where the layer before can divide in this model (the input of
attention's last linear: its factors go into the rows of the value's); "smooth, all" divides every input in numpy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import dynq_numba as dq
from examples.fetch import Progress, fetch, load_reviews
from examples.minilm import LAYERS, MAX_TOKENS, Array, Float32Linear, MiniLM, QuantizedLinear

CALIBRATION = 50
SCHEMES: dict[str, dict[str, Any]] = {
    "int8": {"bits": 8},
    "int4, groups of 32": {"bits": 4, "group_size": 32},
    "int4, groups of 128": {"bits": 4, "group_size": 128},
    "int4, per channel": {"bits": 4, "granularity": "per_channel"},
}


class Watching(Float32Linear):
    """A float32 layer that remembers max|x| of each column."""

    def __init__(self, weight: Array, bias: Array) -> None:
        super().__init__(weight, bias)
        self.amax = np.zeros(weight.shape[1], np.float32)

    def __call__(self, x: Array, **options: Any) -> Array:
        np.maximum(self.amax, np.abs(x).max(axis=0), out=self.amax)
        return super().__call__(x, **options)


class Divided:
    """A quantized layer whose input is divided first."""

    def __init__(self, weight: Array, bias: Array, amax: Array, alpha: float, **scheme: Any) -> None:
        smoothed = dq.smooth(weight, amax, alpha)
        self.factors, self.inner = smoothed.factors, QuantizedLinear(smoothed.weight, bias, **scheme)

    def __call__(self, x: Array, **options: Any) -> Array:
        return self.inner(x / self.factors, **options)


def folded(tensors: dict[str, Array], amax: dict[str, Array], alpha: float) -> dict[str, Array]:
    """The tensors with smoothed attention outputs, whose factors are in the values' rows."""
    changed = dict(tensors)
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}.attention"
        project, value = f"{name}.output.dense", f"{name}.self.value"
        weight, factors = dq.smooth(tensors[f"{project}.weight"], amax[project], alpha)
        changed[f"{project}.weight"] = weight
        changed[f"{value}.weight"] = tensors[f"{value}.weight"] / factors[:, None]
        changed[f"{value}.bias"] = tensors[f"{value}.bias"] / factors
    return changed


def quantized(tensors: dict[str, Array], change: Callable[[str, Array, Array], Any]) -> MiniLM:
    """The model with `change(name, weight, bias)` for its linear layers."""
    model = MiniLM(tensors, Float32Linear)
    model.linears = {name: change(name, linear.weight, linear.bias) for name, linear in model.linears.items()}
    return model


def main() -> int:
    """Print a line for each way."""
    count = int(sys.argv[1]) if sys.argv[1:] else 100
    folder = fetch("minilm", Progress(quiet=True))
    reviews = load_reviews(fetch("reviews", Progress(quiet=True)), count + CALIBRATION)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    texts = [tokenizer.encode(text).ids for text in reviews]
    tensors = load_file(folder / "model.safetensors")
    watching = MiniLM(tensors, Watching)
    for text in texts[count:]:
        watching.encode(text)
    amax = {name: linear.amax for name, linear in watching.linears.items()}
    wanted = np.array([watching.encode(text) for text in texts[:count]])
    ways: list[tuple[str, MiniLM]] = []
    for name, scheme in SCHEMES.items():
        ways.append((name, MiniLM(tensors, lambda w, b, s=scheme: QuantizedLinear(w, b, **s))))
        for alpha in (0.35, 0.5):
            smoothed = folded(tensors, amax, alpha)
            plain = MiniLM(smoothed, lambda w, b, s=scheme: QuantizedLinear(w, b, **s))
            ways.append((f"{name}, smooth {alpha}, folded", plain))
            ways.append((f"{name}, smooth {alpha}, all", quantized(
                tensors, lambda n, w, b, s=scheme, a=alpha: Divided(w, b, amax[n], a, **s))))  # fmt: skip
        for rotate in (32, 64, 128):
            ways.append((f"{name}, rotate {rotate}", MiniLM(
                tensors, lambda w, b, s=scheme, r=rotate: QuantizedLinear(w, b, rotate=r, **s))))  # fmt: skip
    print(f"{'mean cosine':>12}{'worst':>9}{'1 - mean':>10}   of {count} reviews, to float32")
    for name, model in ways:
        cosines = (np.array([model.encode(text) for text in texts[:count]]) * wanted).sum(axis=1)
        print(f"{cosines.mean():>12.5f}{cosines.min():>9.4f}{1 - cosines.mean():>10.5f}   {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
