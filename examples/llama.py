"""A decoder-only transformer (LLaMA's architecture) in int8 or int4: tokens per second of prompt and decode.

RMS norm, rotary embedding, grouped-query attention with a key/value cache, SwiGLU: every operator is dynq_numba's, the
weights are quantized once, activations on the fly. Weights are random, of any size, or a checkpoint in Hugging Face's
naming (config.json and *.safetensors in one folder); the embedding stays float32, the output layer is quantized, too.

    python examples/llama.py                                         # 8 layers of 2048, ffn 5632, int8
    python examples/llama.py --bits 4                                # int4 in groups of 32
    python examples/llama.py --layers 2 --dim 512 --ffn 1408 --heads 8 --kv-heads 2 --vocab 1000 --check
    python examples/llama.py --checkpoint ~/models/tiny-llama --prompt-ids 1 15043 3186

--check compares the logits with the same network in float32 (slow on large sizes), and decoding step by step with the
prompt at once, which must agree bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dynq_numba as dq

Array = NDArray[np.float32]
MB = 1e6


@dataclass(frozen=True)
class Config:
    """Sizes, by the names of this file and of Hugging Face's config.json."""

    layers: int = 8  # num_hidden_layers
    dim: int = 2048  # hidden_size
    ffn: int = 5632  # intermediate_size
    heads: int = 32  # num_attention_heads
    kv_heads: int = 8  # num_key_value_heads
    vocab: int = 32000  # vocab_size
    theta: float = 10000.0  # rope_theta
    epsilon: float = 1e-5  # rms_norm_eps

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @classmethod
    def load(cls, folder: Path) -> Config:
        c = json.loads((folder / "config.json").read_text())
        kv_heads = c.get("num_key_value_heads", c["num_attention_heads"])
        return cls(
            c["num_hidden_layers"], c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], kv_heads,
            c["vocab_size"], c.get("rope_theta", 10000.0), c.get("rms_norm_eps", 1e-5),
        )  # fmt: skip


PROJECTIONS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
               "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}  # fmt: skip


def random_tensors(config: Config, seed: int) -> Iterator[tuple[str, Array]]:
    """A network's tensors by Hugging Face's names, drawn so that activations keep their size."""
    rng = np.random.default_rng(seed)
    kv = config.kv_heads * config.head_dim
    dim, ffn = config.dim, config.ffn
    shapes = {"q": (dim, dim), "k": (kv, dim), "v": (kv, dim), "o": (dim, dim), "gate": (ffn, dim), "up": (ffn, dim),
              "down": (dim, ffn)}  # fmt: skip

    def normal(n: int, k: int, scale: float = 1.0) -> Array:
        values = rng.standard_normal((n, k), np.float32)
        values *= np.float32(scale / k**0.5)
        return values

    yield "model.embed_tokens.weight", normal(config.vocab, config.dim, config.dim**0.5)
    for layer in range(config.layers):
        for name, shape in shapes.items():
            yield f"model.layers.{layer}.{PROJECTIONS[name]}.weight", normal(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{name}.weight", np.ones(config.dim, np.float32)
    yield "model.norm.weight", np.ones(config.dim, np.float32)
    yield "lm_head.weight", normal(config.vocab, config.dim)


def checkpoint_tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    """The tensors of a folder of safetensors files, as float32, one at a time."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as file:  # bfloat16 needs ml_dtypes
            for name in file.keys():  # noqa: SIM118 (no mapping)
                yield name, file.get_tensor(name).astype(np.float32)


class FloatLinear:
    """The float32 original, for --check."""

    def __init__(self, weight: Array):
        self.weight, self.nbytes = weight, weight.nbytes


class Model:
    """The network with its linears packed by `pack`, and everything else as it is."""

    def __init__(self, config: Config, tensors: Iterator[tuple[str, Array]], pack: Any):
        self.config, self.floats, self.linears = config, {}, {}
        for name, tensor in tensors:
            if "proj" in name or name == "lm_head.weight":
                self.linears[name] = pack(tensor)
            else:
                self.floats[name] = tensor
        if "lm_head.weight" not in self.linears:  # tied to the embedding
            self.linears["lm_head.weight"] = pack(self.floats["model.embed_tokens.weight"])
        self.layers = [
            {key: self.linears[f"model.layers.{layer}.{name}.weight"] for key, name in PROJECTIONS.items()}
            for layer in range(config.layers)
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of weights that a token reads: all linears."""
        return sum(linear.nbytes for linear in self.linears.values())

    def norm(self, x: Array, name: str, residual: Array | None = None) -> Any:
        weight = self.floats[f"{name}.weight"]
        if residual is None:
            return dq.rms_norm(x, weight, eps=self.config.epsilon)
        return dq.rms_norm(x, weight, eps=self.config.epsilon, residual=residual, return_sum=True)

    def forward(self, ids: NDArray[np.int64], cache: Cache, *, linear: Any = None) -> Array:
        """Logits [vocab] of the last of these tokens, which follow what the cache holds."""
        c, many = self.config, linear_many if linear is None else lambda x, ws: tuple(linear(x, w) for w in ws)
        one = dq.linear if linear is None else linear
        x = self.floats["model.embed_tokens.weight"][ids]
        cos, sin = cache.tables(len(ids))
        for number, layer in enumerate(self.layers):
            name = f"model.layers.{number}"
            y = self.norm(x, f"{name}.input_layernorm")
            q, k, v = many(y, (layer["q"], layer["k"], layer["v"]))
            q, k, v = (each.reshape(len(ids), -1, c.head_dim).swapaxes(0, 1) for each in (q, k, v))
            keys, values = cache.append(number, dq.rotary(k, cos, sin), v)
            context = dq.attention(dq.rotary(q, cos, sin), keys, values, causal=True)
            x_attention = one(context.swapaxes(0, 1).reshape(len(ids), c.dim), layer["o"])
            y, x = self.norm(x_attention, f"{name}.post_attention_layernorm", residual=x)
            gate, up = many(y, (layer["gate"], layer["up"]))
            x = one(dq.swiglu(gate, up), layer["down"]) + x
        cache.length += len(ids)
        return one(self.norm(x[-1:], "model.norm"), self.linears["lm_head.weight"])[0]


def linear_many(x: Array, ws: tuple[dq.PackedLinear, ...]) -> tuple[Array, ...]:
    return dq.linear_many(x, ws)


class Cache:
    """Keys and values of the tokens so far, [heads, capacity, head_dim] for each layer."""

    def __init__(self, config: Config, capacity: int):
        shape = (config.layers, config.kv_heads, capacity, config.head_dim)
        self.keys, self.values, self.length = np.zeros(shape, np.float32), np.zeros(shape, np.float32), 0
        self.cos, self.sin = dq.rotary_tables(capacity, config.head_dim, base=config.theta)

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    def tables(self, count: int) -> tuple[Array, Array]:
        """Cosines and sines of the next tokens' positions."""
        return self.cos[self.length : self.length + count], self.sin[self.length : self.length + count]

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Store keys and values [heads, tokens, head_dim] behind the others; gives all of the layer's."""
        end = self.length + k.shape[1]
        self.keys[layer, :, self.length : end], self.values[layer, :, self.length : end] = k, v
        return self.keys[layer, :, :end], self.values[layer, :, :end]
