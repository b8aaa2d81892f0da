"""Whisper as the three ONNX files that an exporter would write: opset 17, batch free, Hugging Face's names of inputs.

    encoder            input_features [batch, 80, 3000] ─▶ last_hidden_state [batch, 1500, width]
    decoder            input_ids [batch, tokens], encoder_hidden_states ─▶ logits, present.* of every layer
    decoder_with_past  input_ids [batch, 1], past_key_values.* ─▶ logits, present.*.decoder.*

The first decoder reads a prompt and computes two caches of each layer: `decoder` has keys and values [batch, heads,
tokens, 64] of the tokens so far, `encoder` those of the sound, which stay. The other one reads a token, and gives the
first cache with the token's row at its end. Weights come out of a folder in CTranslate2's format:

    python examples/whisper_onnx.py build/whisper          # Whisper tiny.en, fetched on first use (71 MB)
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from onnx import ModelProto, ValueInfoProto, save

if __package__:  # imported as examples.whisper_onnx
    from .fetch import FetchError, fetch
    from .onnx_graph import Graph, floats, integers
else:  # run as a script
    from fetch import FetchError, fetch
    from onnx_graph import Graph, floats, integers

EPSILON = 1e-5
FILES = ("encoder", "decoder", "decoder_with_past")
#: Linears that the format joins: how it calls them, and their parts in order.
JOINED = {"/self_attention/linear_0": ("query", "key", "value"), "/attention/linear_1": ("key", "value")}
SINGLE = {"/attention/linear_0": "/attention/query", "/gamma": "/weight", "/beta": "/bias"}
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The variables of CTranslate2's model.bin as float32, such as "encoder/layer_0/self_attention/query.weight".

    version, name of the kind of model, its revision; a count, and of each variable name, rank, lengths, type, bytes,
    data; a count of other names, and name and variable of each. Numbers are little-endian, names begin with a length.
    """
    found: dict[str, np.ndarray] = {}
    with open(path, "rb") as file:
        version, kind = _number(file, "I"), _name(file)
        if version < 4 or kind != "WhisperSpec":
            raise ValueError(f"{path} must be a WhisperSpec of version 4 or newer; it is {kind!r}, {version}")
        _number(file, "I")
        for _ in range(_number(file, "I")):
            name = _name(file)
            shape = [_number(file, "I") for _ in range(_number(file, "B"))]
            kind_of_number, size = TYPES[_number(file, "B")], _number(file, "I")
            found[name] = np.frombuffer(file.read(size), kind_of_number).reshape(shape).astype(np.float32)
        for _ in range(_number(file, "I")):
            other, name = _name(file), _name(file)
            found[other] = found[name]
    return _in_parts(found)


def _number(file: BinaryIO, code: str) -> int:
    return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))[0]


def _name(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()


def _in_parts(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Joined linears taken apart, and all under PyTorch's names of parameters."""
    tensors = {}
    for name, array in found.items():
        for joined, parts in JOINED.items():
            if joined in name and array.ndim:
                parent, _, role = name.partition(joined)
                place = joined[: joined.rindex("/") + 1]
                for part, share in zip(parts, np.split(array, len(parts)), strict=True):
                    tensors[f"{parent}{place}{part}{role.replace('/', '.')}"] = share
                break
        else:
            for old, new in SINGLE.items():
                name = name.replace(old, new)
            tensors[".".join(name.rsplit("/", 1))] = array
    return tensors


class Whisper(Graph):
    """What encoder and decoder are made of. A layer adds what each of its parts makes of the normed x to x."""

    def __init__(self, tensors: Mapping[str, np.ndarray], side: str) -> None:
        self.count, self.width = int(tensors[f"{side}.num_heads"]), tensors[f"{side}/layer_norm.bias"].size
        self.columns = self.width // self.count
        super().__init__(tensors, self.count, self.columns, EPSILON)
        self.layers = sum(name.startswith(f"{side}/layer_") and name.endswith("ffn/linear_0.bias") for name in tensors)
        self.frames = len(tensors["encoder/position_encodings.encodings"])
        self.constant("scale", self.columns**-0.5)

    def attend(self, q: str, k: str, v: str, name: str, mask: str | None = None) -> str:
        """q [batch, rows, width], k and v [batch, heads, keys, columns] ─▶ [batch, rows, width]"""
        q = self.heads(self.add("Mul", [q, "scale"], f"{name}/scaled"))
        turned = self.add("Transpose", [k], f"{name}/turned", perm=[0, 1, 3, 2])
        scores = self.add("MatMul", [q, turned], f"{name}/scores")
        if mask:
            scores = self.add("Add", [scores, mask], f"{name}/masked")
        shares = self.add("Softmax", [scores], f"{name}/Softmax", axis=-1)
        return self.merged(self.add("MatMul", [shares, v], f"{name}/context"), name)

    def added(self, x: str, part: str, name: str) -> str:
        return self.add("Add", [x, part], f"{name}/residual")

    def feed_forward(self, x: str, name: str) -> str:
        up = self.linear(self.norm(x, f"{name}/layer_norm"), f"{name}/linear_0")
        return self.added(x, self.linear(self.gelu(up, f"{name}/gelu"), f"{name}/linear_1"), name)


def encoder(tensors: Mapping[str, np.ndarray]) -> ModelProto:
    """Two convolutions over time, the second in steps of two, then layers."""
    g = Whisper(tensors, "encoder")
    x = "input_features"
    for name, step in (("encoder/conv1", 1), ("encoder/conv2", 2)):
        parts = [g.weight(f"{name}.{part}") for part in ("weight", "bias")]
        x = g.add("Conv", [x, *parts], f"{name}/Conv", kernel_shape=[3], pads=[1, 1], strides=[step])
        x = g.gelu(x, f"{name}/gelu")
    x = g.add("Transpose", [x], "encoder/Transpose", perm=[0, 2, 1])
    x = g.add("Add", [x, g.weight("encoder/position_encodings.encodings")], "encoder/Add")
    for layer in range(g.layers):
        name = f"encoder/layer_{layer}/self_attention"
        normed = g.norm(x, f"{name}/layer_norm")
        q, k, v = (g.linear(normed, f"{name}/{part}") for part in ("query", "key", "value"))
        context = g.attend(q, g.heads(k), g.heads(v), name)
        x = g.added(x, g.linear(context, f"{name}/linear_1"), name)
        x = g.feed_forward(x, f"encoder/layer_{layer}/ffn")
    y = g.add("Identity", [g.norm(x, "encoder/layer_norm")], "last_hidden_state")
    features = tensors["encoder/conv1.weight"].shape[1]
    given = floats("input_features", "batch", features, 2 * g.frames)
    return g.model("encoder", [given], [floats(y, "batch", g.frames, g.width)], "examples/whisper_onnx.py")


class Decoder(Whisper):
    """A decoder with a past, or the first step without."""

    def __init__(self, tensors: Mapping[str, np.ndarray], *, past: bool) -> None:
        super().__init__(tensors, "decoder")
        self.past = past
        self.given: list[ValueInfoProto] = []
        self.made: list[ValueInfoProto] = []

    def embed(self) -> tuple[str, str | None]:
        """Words and their places, added; and the mask of a prompt: -inf for what comes behind."""
        table = self.weight("decoder/position_encodings.encodings")
        words = self.add("Gather", [self.weight("decoder/embeddings.weight"), "input_ids"], "decoder/words")
        if self.past:
            start = self.length("past_key_values.0.decoder.key", 2)
            end = self.add("Add", [start, self.constant("one_token", [1], np.int64)], "decoder/end")
        else:
            start, end = "first_axis", self.length("input_ids", 1)
        places = self.add("Slice", [table, start, end, "first_axis"], "decoder/places")
        x = self.add("Add", [words, places], "decoder/Add")
        if self.past:
            return x, None
        most = len(self.constants[table])
        triangle = self.constant("triangle", np.triu(np.full((most, most), -np.inf), 1))
        rows = self.add("Slice", [triangle, start, end, "first_axis"], "mask/rows")
        return x, self.add("Slice", [rows, start, end, "second_axis"], "mask")

    def length(self, value: str, axis: int) -> str:
        """[the length of that axis]"""
        shape, place = self.add("Shape", [value], f"{value}/Shape"), self.constant(f"axis_{axis}", [axis], np.int64)
        return self.add("Gather", [shape, place], f"{value}/length", axis=0)

    def cache(self, layer: int, side: str, part: str, made: str | None) -> str:
        """Keys or values [batch, heads, rows, columns] of a layer: the past ones, what is made of x, or both."""
        name, old = f"present.{layer}.{side}.{part}", f"past_key_values.{layer}.{side}.{part}"
        rows = self.frames if side == "encoder" else "tokens"
        if self.past:
            self.given.append(self.info(old, "past" if side == "decoder" else rows))
        if made is None:
            return old
        made = self.heads(made)
        self.made.append(self.info(name, "all" if self.past else rows))
        return self.add("Concat", [old, made], name, axis=2) if self.past else self.add("Identity", [made], name)

    def info(self, name: str, rows: int | str) -> ValueInfoProto:
        return floats(name, "batch", self.count, rows, self.columns)

    def layer(self, x: str, mask: str | None, number: int) -> str:
        name, parts = f"decoder/layer_{number}/self_attention", ("key", "value")
        normed = self.norm(x, f"{name}/layer_norm")
        q = self.linear(normed, f"{name}/query")
        k, v = (self.cache(number, "decoder", part, self.linear(normed, f"{name}/{part}")) for part in parts)
        x = self.added(x, self.linear(self.attend(q, k, v, name, mask), f"{name}/linear_1"), name)
        name, states = f"decoder/layer_{number}/attention", "encoder_hidden_states"
        q = self.linear(self.norm(x, f"{name}/layer_norm"), f"{name}/query")
        k, v = (self.cache(number, "encoder", part, None if self.past else self.linear(states, f"{name}/{part}"))
                for part in parts)  # fmt: skip
        x = self.added(x, self.linear(self.attend(q, k, v, name), f"{name}/linear_2"), name)
        return self.feed_forward(x, f"decoder/layer_{number}/ffn")


def decoder(tensors: Mapping[str, np.ndarray], *, past: bool) -> ModelProto:
    """The first step, or one with a past."""
    g = Decoder(tensors, past=past)
    x, mask = g.embed()
    for number in range(g.layers):
        x = g.layer(x, mask, number)
    logits = g.add("Identity", [g.linear(g.norm(x, "decoder/layer_norm"), "decoder/projection")], "logits")
    tokens, words = 1 if past else "tokens", len(tensors["decoder/embeddings.weight"])
    given, made = [integers("input_ids", "batch", tokens)], [floats(logits, "batch", tokens, words)]
    if not past:
        given.append(floats("encoder_hidden_states", "batch", g.frames, g.width))
    return g.model(FILES[1 + past], given + g.given, made + g.made, "examples/whisper_onnx.py")


def export(tensors: Mapping[str, np.ndarray]) -> dict[str, ModelProto]:
    """The three models by their names (FILES)."""
    models = (encoder(tensors), decoder(tensors, past=False), decoder(tensors, past=True))
    return dict(zip(FILES, models, strict=True))


def main(argv: list[str] | None = None) -> int:
    """Write the files, and print where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files are written")
    arguments = parser.parse_args(argv)
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for name, model in export(read_weights(fetch("whisper") / "model.bin")).items():
            save(model, arguments.folder / f"{name}.onnx")
            print(arguments.folder / f"{name}.onnx")
    except (FetchError, OSError, ValueError, KeyboardInterrupt) as error:
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
