"""The decoder of examples/llama.py as an ONNX model: written, quantized, and run by a session, its caches fed back.

The model is in operators of opset 23, as exporters write decoders: its inputs are token ids and, of each layer, past
keys and values; its results are the logits of the last token, and the present keys and values. A step feeds back what
the one before gave, as with any runtime. The caches grow in place.

    python examples/llama_onnx.py --layers 4                      # int8, tokens per second
    python examples/llama_onnx.py --layers 4 --compare            # beside the loop by hand of examples/llama.py
    python examples/llama_onnx.py --layers 2 --save decoder.onnx  # the float32 model, too
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import parser

import dynq_numba as dq

if __package__:  # imported as examples.llama_onnx
    from . import llama
else:  # run as a script
    import llama

Array = NDArray[np.float32]
#: Positions in the tables of the rotary embedding.
CONTEXT = 4096

LAYER = """
    y{i} = RMSNormalization <epsilon = {c.epsilon}> (x{i}, norm{i})
    q{i} = MatMul (y{i}, wq{i})  k{i} = MatMul (y{i}, wk{i})  v{i} = MatMul (y{i}, wv{i})
    turned_q{i} = RotaryEmbedding <num_heads = {c.heads}> (q{i}, cos, sin, positions)
    turned_k{i} = RotaryEmbedding <num_heads = {c.kv_heads}> (k{i}, cos, sin, positions)
    seen{i}, present_key{i}, present_value{i} = Attention
        <is_causal = 1, q_num_heads = {c.heads}, kv_num_heads = {c.kv_heads}>
        (turned_q{i}, turned_k{i}, v{i}, , past_key{i}, past_value{i})
    o{i} = MatMul (seen{i}, wo{i})  z{i} = Add (x{i}, o{i})
    yy{i} = RMSNormalization <epsilon = {c.epsilon}> (z{i}, second_norm{i})
    gate{i} = MatMul (yy{i}, wgate{i})  up{i} = MatMul (yy{i}, wup{i})
    sigmoid{i} = Sigmoid (gate{i})  silu{i} = Mul (gate{i}, sigmoid{i})  inside{i} = Mul (silu{i}, up{i})
    down{i} = MatMul (inside{i}, wdown{i})  x{next} = Add (z{i}, down{i})
"""
MODEL = """<ir_version: 10, opset_import: ["": 23]>
decoder (int64[1, s] ids, {pasts}) => (float[1, vocab] logits, {presents}) {{
    start = Shape <start = 2, end = 3> (past_key0)
    length = Shape <start = 1> (ids)
    end = Add (start, length)
    first = Squeeze (start)  limit = Squeeze (end)
    places = Range (first, limit, one)  positions = Unsqueeze (places, zero)
    x0 = Gather (embedding, ids)
    {layers}
    last = Gather <axis = 1> (x{count}, minus_one)
    y = RMSNormalization <epsilon = {c.epsilon}> (last, norm)
    logits = MatMul (y, head)
}}"""


def onnx_model(config: llama.Config, tensors: Iterator[tuple[str, Array]], context: int = CONTEXT) -> ir.Model:
    """The network of these tensors, which have Hugging Face's names; weights in float32."""
    shape = f"float[1, {config.kv_heads}, {{}}, {config.head_dim}]"
    names = [f"{kind}{i}" for i in range(config.layers) for kind in ("key", "value")]
    text = MODEL.format(
        c=config, count=config.layers, pasts=", ".join(f"{shape.format('t')} past_{name}" for name in names),
        presents=", ".join(f"{shape.format('u')} present_{name}" for name in names),
        layers="".join(LAYER.format(c=config, i=i, next=i + 1) for i in range(config.layers)),
    )  # fmt: skip
    cos, sin = dq.rotary_tables(context, config.head_dim, base=config.theta)
    numbers = {"one": 1, "zero": [0], "minus_one": -1}
    weights: dict[str, Any] = {name: np.array(value, np.int64) for name, value in numbers.items()}
    weights |= {"cos": cos, "sin": sin} | {name_of(name): weight_of(name, array) for name, array in tensors}
    weights.setdefault("head", weights["embedding"].T)
    proto = parser.parse_model(text)
    proto.graph.initializer.extend(onnx.TensorProto(name=name, data_type=1, dims=[0]) for name in weights)
    model = ir.from_proto(proto)
    for name, array in weights.items():  # in place of these: a message of protobuf holds 2 GB at most
        value, tensor = model.graph.initializers[name], ir.tensor(np.asarray(array, order="C"), name=name)
        value.const_value, value.shape, value.type = tensor, tensor.shape, ir.TensorType(tensor.dtype)
    return model


def name_of(name: str) -> str:
    """What a tensor is called in the model."""
    if name in (llama.EMBEDDING, llama.HEAD, "model.norm.weight"):
        return {llama.EMBEDDING: "embedding", llama.HEAD: "head"}.get(name, "norm")
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    kinds = {f"{place}.weight": f"w{kind}" for kind, place in llama.PROJECTIONS.items()}
    kinds |= {"input_layernorm.weight": "norm", "post_attention_layernorm.weight": "second_norm"}
    return f"{kinds[rest]}{layer}"


def weight_of(name: str, array: Array) -> Array:
    """A tensor as MatMul takes it: [K, N]."""
    return array if name == llama.EMBEDDING or array.ndim == 1 else array.T


class Decoder:
    """A session and its caches."""

    def __init__(self, config: llama.Config, session: dq.onnx.InferenceSession) -> None:
        self.config, self.session = config, session
        self.pasts = [each.name for each in session.get_inputs()[1:]]
        self.reset()

    def reset(self) -> None:
        empty = np.zeros((1, self.config.kv_heads, 0, self.config.head_dim), np.float32)
        self.caches = dict.fromkeys(self.pasts, empty)

    def step(self, ids: NDArray[np.int64]) -> Array:
        """Logits [vocab] of the last of these tokens, which follow those before."""
        logits, *presents = self.session.run(None, {"ids": ids[None], **self.caches})
        self.caches = dict(zip(self.pasts, presents, strict=True))
        return logits[0]


def compare(config: llama.Config, decoder: Decoder, bits: int, ids: NDArray[np.int64], steps: int, seed: int) -> None:
    """The session beside the loop by hand, step by step in turn: milliseconds, and the ratio."""
    scheme: dict[str, Any] = {"granularity": "per_channel"} if bits == 8 else {"group_size": 32}
    model = llama.Model(
        config, llama.random_tensors(config, seed), lambda weight: dq.pack_linear(weight, bits=bits, **scheme)
    )
    caches = model.prepare(len(ids) + steps)
    decoder.reset()
    ours, theirs = decoder.step(ids), model.forward(ids, caches, dq.linear_many)
    times: list[tuple[float, float]] = []
    same = 0
    for i in range(steps):
        token = np.array([int(theirs.argmax())])
        same += int(ours.argmax()) == token[0]
        pair = [0.0, 0.0]
        for which in (0, 1) if i % 2 else (1, 0):
            begin = time.perf_counter()
            if which:
                theirs = model.forward(token, caches, dq.linear_many)
            else:
                ours = decoder.step(token)
            pair[which] = time.perf_counter() - begin
        times.append((pair[0], pair[1]))
    session, by_hand = (1e3 * statistics.median(each) for each in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    print(f"  a step   session {session:.2f} ms, by hand {by_hand:.2f} ms; ratio {ratio:.3f} (medians of {steps})")
    print(f"  {same} of {steps} tokens are the same; the last logits differ by {error:.1e}")


def main(argv: list[str] | None = None) -> int:
    about = argparse.RawDescriptionHelpFormatter
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=about)
    add, default = arguments.add_argument, llama.Config()
    for name in ("layers", "dim", "ffn", "heads", "kv-heads", "vocab"):
        value = getattr(default, name.replace("-", "_"))
        add(f"--{name}", type=int, default=value, metavar="N", help=f"as in examples/llama.py (default: {value})")
    add("--bits", type=int, choices=(8, 4, 32), default=8, help="bits of a weight; 32: not quantized (default: 8)")
    add("--prompt", type=int, default=64, metavar="N", help="tokens of the prompt (default: 64)")
    add("--steps", type=int, default=64, metavar="N", help="tokens to decode (default: 64)")
    add("--seed", type=int, default=0, help="of random weights and prompt (default: 0)")
    add("--save", type=Path, metavar="FILE", help="write the float32 model")
    add("--compare", action="store_true", help="run beside the loop by hand of examples/llama.py")
    args = arguments.parse_args(argv)
    config = llama.Config(args.layers, args.dim, args.ffn, args.heads, args.kv_heads, args.vocab)
    try:
        model = onnx_model(config, llama.random_tensors(config, args.seed))
    except ValueError as error:  # sizes that do not go together
        arguments.error(str(error))
    if args.save:
        ir.save(model, args.save)
    if args.bits != 32:
        recipe = {"attention": 32, "rule": [{"op": "Gather", "bits": 32}]}
        receipt = dq.onnx.quantize(model, bits=args.bits, recipe=recipe)
        assert receipt.model is not None
        model = receipt.model
    decoder = Decoder(config, dq.onnx.InferenceSession(model))
    ids = np.random.default_rng(args.seed).integers(config.vocab, size=args.prompt)
    decoder.step(ids[:2])
    decoder.step(ids[:1])  # compiled, and planned
    decoder.reset()
    begin = time.perf_counter()
    logits = decoder.step(ids)
    prompt, begin = time.perf_counter() - begin, time.perf_counter()
    for _ in range(args.steps):
        logits = decoder.step(np.array([int(logits.argmax())]))
    step = (time.perf_counter() - begin) / max(1, args.steps)
    print(f"  prompt   {len(ids) / prompt:8.1f} tokens/s   ({len(ids)} tokens in {prompt * 1e3:.0f} ms)")
    print(f"  decode   {1 / step:8.1f} tokens/s   ({step * 1e3:.2f} ms a token)")
    if args.compare:
        compare(config, decoder, args.bits, ids, args.steps, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
