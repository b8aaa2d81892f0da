"""What smooth, rotate and outliers gain on a real model: cosines of MiniLM's embeddings to those in float32.

    python -m bench accuracy [reviews]        # default 100; fetches the model like examples/minilm.py

Each way quantizes the 36 linear layers (the words stay float32, so that nothing else differs). Largest activations come
from 50 other reviews. "smooth, folded" is smooth where the layer before can divide in this model (the input of
attention's last linear: its factors go into the rows of the value's); "smooth, all" divides every input in numpy.
"outliers 8" leaves each layer's 8 columns of largest activations in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import dynq_numba as dq
from examples.fetch import Progress, fetch, load_reviews
from examples.minilm import LAYERS, MAX_TOKENS, Array, Float32, MiniLM

CALIBRATION = 50
SCHEMES: dict[str, dict[str, Any]] = {
    "int8": {"bits": 8},
    "int4, groups of 32": {"bits": 4, "group_size": 32},
    "int4, groups of 128": {"bits": 4, "group_size": 128},
    "int4, per channel": {"bits": 4, "granularity": "per_channel"},
}


class Watching(Float32):
    """The float32 model, which remembers max|x| of each column of each linear layer's input."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        super().__init__(tensors)
        self.amax = {name: np.zeros(weight.shape[1], np.float32) for name, (weight, _) in self.linears.items()}

    def linear(self, x: Array, name: str, activation: str | None = None) -> Array:
        np.maximum(self.amax[name], np.abs(x).max(axis=0), out=self.amax[name])
        return super().linear(x, name, activation)


class Packed(Float32):
    """The model with quantized linear layers.

    With `amax` and `alpha` their inputs are divided first, with `amax` and `loudest` so many columns stay float32.
    """

    def __init__(
        self,
        tensors: dict[str, Array],
        amax: dict[str, Array] | None = None,
        alpha: float = 0.5,
        loudest: int = 0,
        **scheme: Any,
    ) -> None:
        super().__init__(tensors)
        self.factors: dict[str, Array] = {}
        self.packed = {}
        for name, (weight, bias) in self.linears.items():
            if loudest:
                scheme["outliers"] = np.argsort(amax[name])[-loudest:]
            elif amax is not None:
                weight, self.factors[name] = dq.smooth(weight, amax[name], alpha)
            self.packed[name] = dq.pack_linear(weight, bias, **scheme)

    def linear(self, x: Array, name: str, activation: str | None = None) -> Array:
        x = x / self.factors[name] if name in self.factors else x
        return dq.linear(x, self.packed[name], activation=activation)


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


def main(argv: list[str]) -> int:
    """Print a line for each way."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    count = int(argv[0]) if argv else 100
    folder = fetch("minilm", Progress(quiet=True))
    reviews = load_reviews(fetch("reviews", Progress(quiet=True)), count + CALIBRATION)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    texts = [tokenizer.encode(text).ids for text in reviews]
    tensors = load_file(folder / "model.safetensors")
    watching = Watching(tensors)
    original = MiniLM(watching)
    for text in texts[count:]:
        original.encode(text)
    wanted, amax = np.array([original.encode(text) for text in texts[:count]]), watching.amax
    ways: list[tuple[str, Packed]] = []
    for name, scheme in SCHEMES.items():
        ways.append((name, Packed(tensors, **scheme)))
        for alpha in (0.35, 0.5):
            ways.append((f"{name}, smooth {alpha}, folded", Packed(folded(tensors, amax, alpha), **scheme)))
            ways.append((f"{name}, smooth {alpha}, all", Packed(tensors, amax, alpha, **scheme)))
        if name == "int8":
            ways.append((f"{name}, x of 16 bits", Packed(tensors, x_bits=16, **scheme)))
        ways += [(f"{name}, rotate {rotate}", Packed(tensors, rotate=rotate, **scheme)) for rotate in (32, 64, 128)]
        ways += [(f"{name}, outliers {c}", Packed(tensors, amax, loudest=c, **scheme)) for c in (1, 4, 8, 32)]
    print(f"{'mean cosine':>12}{'worst':>9}{'1 - mean':>10}   of {count} reviews, to float32")
    for name, operators in ways:
        model = MiniLM(operators)
        cosines = (np.array([model.encode(text) for text in texts[:count]]) * wanted).sum(axis=1)
        print(f"{cosines.mean():>12.5f}{cosines.min():>9.4f}{1 - cosines.mean():>10.5f}   {name}", flush=True)
    return 0
