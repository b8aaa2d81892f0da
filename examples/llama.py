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

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

import dynq_numba as dq

Array = NDArray[np.float32]
#: Several linear layers of one input.
Linear = Callable[[Array, Sequence[Any]], tuple[Array, ...]]
MB = 1e6
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


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

    yield EMBEDDING, normal(config.vocab, config.dim, config.dim**0.5)
    for layer in range(config.layers):
        for name, shape in shapes.items():
            yield f"model.layers.{layer}.{PROJECTIONS[name]}.weight", normal(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{name}.weight", np.ones(config.dim, np.float32)
    yield "model.norm.weight", np.ones(config.dim, np.float32)
    yield HEAD, normal(config.vocab, config.dim)


def checkpoint_tensors(folder: Path) -> Iterator[tuple[str, Array]]:
    """The tensors of a folder of safetensors files, as float32, one at a time."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as file:  # bfloat16 needs ml_dtypes
            for name in file.keys():  # noqa: SIM118 (no mapping)
                yield name, file.get_tensor(name).astype(np.float32)


class Model:
    """The network. `linear(x, weights)` gives x times each of some weights; `pack` makes one of what it takes."""

    def __init__(self, config: Config, tensors: Iterator[tuple[str, Array]], pack: Callable[[Array], Any]) -> None:
        self.config, self.norms, linears = config, {}, {}
        for name, tensor in tensors:
            if name == EMBEDDING:
                self.embedding = tensor
            elif "norm" in name:
                self.norms[name] = tensor
            else:
                linears[name] = pack(tensor)
        self.head = linears[HEAD] if HEAD in linears else pack(self.embedding)  # they may be tied
        self.layers = [
            {key: linears[f"model.layers.{layer}.{name}.weight"] for key, name in PROJECTIONS.items()}
            for layer in range(config.layers)
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of weights that every token reads."""
        return self.head.nbytes + sum(linear.nbytes for layer in self.layers for linear in layer.values())

    def forward(self, ids: NDArray[np.int64], caches: list[dq.KVCache], linear: Linear) -> Array:
        """Logits [vocab] of the last of these tokens, which follow those that the caches hold."""
        c, start = self.config, caches[0].length
        stream = self.embedding[ids]
        y = self.norm(stream, "model.layers.0.input_layernorm")
        for number, (layer, cache) in enumerate(zip(self.layers, caches, strict=True)):
            q, k, v = (
                each.reshape(len(ids), -1, c.head_dim).swapaxes(0, 1)
                for each in linear(y, [layer["q"], layer["k"], layer["v"]])
            )
            keys, values = cache.append(dq.rotary(k, *self.tables, offset=start), v)
            out = np.empty((len(ids), c.heads, c.head_dim), np.float32)
            q = dq.rotary(q, *self.tables, offset=start)
            dq.attention(q[None], keys, values, causal=True, out=out.swapaxes(0, 1)[None])
            (y,) = linear(out.reshape(len(ids), c.dim), [layer["o"]])
            y = self.norm(y, f"model.layers.{number}.post_attention_layernorm", stream)
            (y,) = linear(dq.swiglu(*linear(y, [layer["gate"], layer["up"]])), [layer["down"]])
            following = f"model.layers.{number + 1}.input_layernorm" if number + 1 < c.layers else "model.norm"
            y = self.norm(y, following, stream)
        return linear(y[-1:], [self.head])[0][0]

    def norm(self, x: Array, name: str, stream: Array | None = None) -> Array:
        """RMS norm of x, or of stream + x, which becomes the stream."""
        return dq.rms_norm(
            x, self.norms[f"{name}.weight"], eps=self.config.epsilon, residual=stream, sum_out=stream
        )  # fmt: skip

    def prepare(self, capacity: int) -> list[dq.KVCache]:
        """Empty caches for so many tokens."""
        c = self.config
        self.tables = dq.rotary_tables(capacity, c.head_dim, base=c.theta)
        return [dq.KVCache(1, c.kv_heads, capacity, c.head_dim) for _ in self.layers]


def float_linear(x: Array, weights: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(x @ weight.T for weight in weights)


def generate(model: Model, ids: NDArray[np.int64], steps: int, linear: Linear) -> tuple[list[int], float, float]:
    """The likeliest tokens that follow, and the seconds of the prompt and of a step."""
    caches = model.prepare(len(ids) + steps)
    begin = time.perf_counter()
    logits = model.forward(ids, caches, linear)
    prompt, tokens = time.perf_counter() - begin, []
    begin = time.perf_counter()
    for _ in range(steps):
        tokens.append(int(logits.argmax()))
        logits = model.forward(np.array(tokens[-1:]), caches, linear)
    return tokens, prompt, (time.perf_counter() - begin) / max(1, steps)


def read_bandwidth(size: int = 256 << 20) -> float:
    """Bytes a second that all threads together read from memory: sums of a large array, the best of five."""

    @numba.njit(parallel=True, fastmath=True)
    def total(data: Any, parts: int) -> Any:
        sums = np.zeros(parts, np.int64)
        for part in numba.prange(parts):
            own = data[part * len(data) // parts : (part + 1) * len(data) // parts]
            count = 0
            for value in own:
                count ^= value
            sums[part] = count
        return sums.sum()

    data = np.arange(size // 8)
    total(data[:1000], 2)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        total(data, dq.get_num_threads())
        seconds.append(time.perf_counter() - begin)
    return float(size / min(seconds))


def check(config: Config, model: Model, ids: NDArray[np.int64], seed: int) -> int:
    """Decoding must give the bits of the prompt at once, and logits near those in float32; 1 where not."""
    caches = model.prepare(len(ids))
    whole = model.forward(ids, caches, dq.linear_many)
    caches = model.prepare(len(ids))
    for token in ids:
        last = model.forward(np.array([token]), caches, dq.linear_many)
    same = bool((whole.view(np.uint32) == last.view(np.uint32)).all())
    plain = Model(config, random_tensors(config, seed), lambda weight: weight)
    exact = plain.forward(ids, plain.prepare(len(ids)), float_linear)
    error = float(np.linalg.norm(whole - exact) / np.linalg.norm(exact))
    print(f"check: step by step and at once {'agree' if same else 'DIFFER'}; logits off float32's by {error:.4f}")
    return int(not same)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, default = parser.add_argument, Config()
    sizes = {"layers": "layers", "dim": "width", "ffn": "width inside the SwiGLU", "heads": "query heads",
             "kv-heads": "key/value heads", "vocab": "tokens there are"}  # fmt: skip
    for name, about in sizes.items():
        value = getattr(default, name.replace("-", "_"))
        add(f"--{name}", type=int, default=value, metavar="N", help=f"{about} (default: {value})")
    add("--checkpoint", type=Path, help="a folder of config.json and *.safetensors; the sizes above are then its own")
    add("--bits", type=int, choices=(8, 4), default=8, help="bits of a weight; 4: in groups of 32 (default: 8)")
    add("--prompt", type=int, default=512, metavar="N", help="tokens of the prompt (default: 512)")
    add("--prompt-ids", type=int, nargs="+", metavar="ID", help="these tokens as the prompt")
    add("--steps", type=int, default=64, metavar="N", help="tokens to decode (default: 64)")
    add("--threads", type=int, help="(default: as many as there are cores)")
    add("--seed", type=int, default=0, help="of random weights and prompt (default: 0)")
    add("--check", action="store_true", help="compare with float32 and with decoding step by step instead")
    args = parser.parse_args(argv)
    if args.threads:
        dq.set_num_threads(args.threads)
    config = Config(args.layers, args.dim, args.ffn, args.heads, args.kv_heads, args.vocab)
    if args.checkpoint:
        config = Config.load(args.checkpoint)
    if config.dim % config.heads or config.heads % config.kv_heads:
        parser.error("--heads must divide --dim, and --kv-heads must divide --heads")
    np.empty(32_000_000, np.uint8)  # glibc then keeps memory of smaller arrays, instead of clearing it at every call
    print(f"packing {config.layers} layers as int{args.bits}", file=sys.stderr)
    tensors = checkpoint_tensors(args.checkpoint) if args.checkpoint else random_tensors(config, args.seed)
    scheme: dict[str, Any] = {"granularity": "per_channel"} if args.bits == 8 else {"group_size": 32}
    model = Model(config, tensors, lambda weight: dq.pack_linear(weight, bits=args.bits, **scheme))
    ids = np.array(args.prompt_ids) if args.prompt_ids else np.random.default_rng(args.seed).integers(
        config.vocab, size=args.prompt
    )  # fmt: skip
    if args.check:
        return check(config, model, ids[:64], args.seed)
    print("compiling, or loading from disk", file=sys.stderr)
    generate(model, ids[:8], 2, dq.linear_many)
    tokens, prompt, step = generate(model, ids, args.steps, dq.linear_many)
    cache = 2 * 4 * config.layers * config.kv_heads * (len(ids) + args.steps // 2) * config.head_dim
    read, limit = model.nbytes + cache, read_bandwidth()
    weights, kept, table = (size / MB for size in (model.nbytes, cache, model.embedding.nbytes))
    print(f"int{args.bits}, {dq.get_num_threads()} threads; {weights:.0f} MB of weights, {kept:.0f} of keys and values,"
          f" {table:.0f} of embedding (float32)")  # fmt: skip
    print(f"  prompt   {len(ids) / prompt:8.1f} tokens/s   ({len(ids)} tokens in {prompt * 1e3:.0f} ms)")
    print(f"  decode   {1 / step:8.1f} tokens/s   ({step * 1e3:.2f} ms a token, "
          f"{read / step / limit:.0%} of the {limit / 1e9:.0f} GB/s that reads alone reach)")  # fmt: skip
    if args.prompt_ids:
        print("  tokens  ", *tokens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
