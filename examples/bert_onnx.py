"""MiniLM as the ONNX file that an exporter would write: opset 17, batch and length free, pooled and normalised.

    input_ids, attention_mask [texts, tokens] int64 ─▶ sentence_embedding [texts, width] float32, unit vectors

Nodes are spelt as PyTorch spells them (onnx_graph.py): attention is eight nodes, a mask is (1 - mask)·lowest, positions
are looked up in a slice of 0 … 511. Any BERT encoder with heads of 32 columns will do; how many layers and columns
there are, its tensors say.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TensorProto

if __package__:  # imported as examples.bert_onnx
    from .onnx_graph import Graph, floats, integers
else:  # by a script
    from onnx_graph import Graph, floats, integers

HEAD, EPSILON = 32, 1e-12  # columns of a head
LOWEST = np.finfo(np.float32).min


class Bert(Graph):
    """The encoder's parts."""

    def embed(self) -> str:
        """Words, positions and the one type of token, added and normed."""
        words = self.add("Gather", [self.weight("embeddings.word_embeddings.weight"), "input_ids"], "embeddings/words")
        shape = self.add("Shape", ["input_ids"], "embeddings/Shape")
        length = self.add("Gather", [shape, self.constant("second", 1, np.int64)], "embeddings/length", axis=0)
        end = self.add("Unsqueeze", [length, "first_axis"], "embeddings/end")
        table = self.weight("embeddings.position_embeddings.weight")
        numbers = self.constant("embeddings.position_ids", np.arange(len(self.constants[table]))[None], np.int64)
        numbers = self.add("Slice", [numbers, "first_axis", end, "second_axis"], "embeddings/Slice")
        positions = self.add("Gather", [table, numbers], "embeddings/positions")
        kind = self.constant("embeddings.token_type", self.tensors["embeddings.token_type_embeddings.weight"][0])
        typed = self.add("Add", [words, kind], "embeddings/Add")
        return self.norm(self.add("Add", [typed, positions], "embeddings/Add_1"), "embeddings.LayerNorm")

    def mask(self) -> str:
        """0 for a token, the lowest number for padding: [texts, 1, 1, tokens]."""
        mask = self.add("Unsqueeze", ["attention_mask", "second_axis"], "mask/Unsqueeze")
        mask = self.add("Unsqueeze", [mask, self.constant("third_axis", [2], np.int64)], "mask/Unsqueeze_1")
        mask = self.add("Cast", [mask], "mask/Cast", to=TensorProto.FLOAT)
        hidden = self.add("Sub", ["one", mask], "mask/Sub")
        return self.add("Mul", [hidden, self.constant("lowest", LOWEST)], "mask/Mul")

    def layer(self, x: str, mask: str, name: str) -> str:
        q, k, v = (self.linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        scores = self.add("MatMul", [self.heads(q, [0, 2, 1, 3]), self.heads(k, [0, 2, 3, 1])], f"{name}/scores")
        scores = self.add("Div", [scores, "root"], f"{name}/Div")
        scores = self.add("Softmax", [self.add("Add", [scores, mask], f"{name}/masked")], f"{name}/Softmax", axis=-1)
        context = self.add("MatMul", [scores, self.heads(v, [0, 2, 1, 3])], f"{name}/context")
        context = self.linear(self.merged(context, name), f"{name}.attention.output.dense")
        x = self.norm(self.add("Add", [context, x], f"{name}/Add"), f"{name}.attention.output.LayerNorm")
        up = self.linear(x, f"{name}.intermediate.dense")
        down = self.linear(self.gelu(up, f"{name}/up"), f"{name}.output.dense")
        return self.norm(self.add("Add", [down, x], f"{name}/Add_1"), f"{name}.output.LayerNorm")

    def pool(self, x: str) -> str:
        """The mean over tokens that are no padding, as a unit vector."""
        mask = self.add("Unsqueeze", ["attention_mask", "last_axis"], "pool/Unsqueeze")
        mask = self.add("Cast", [mask], "pool/Cast", to=TensorProto.FLOAT)
        seen = self.add("Mul", [x, mask], "pool/Mul")
        total = self.add("ReduceSum", [seen, "second_axis"], "pool/ReduceSum", keepdims=0)
        count = self.add("ReduceSum", [mask, "second_axis"], "pool/ReduceSum_1", keepdims=0)
        count = self.add("Clip", [count, self.constant("least", 1e-9)], "pool/Clip")
        mean = self.add("Div", [total, count], "pool/Div")
        norm = self.add("ReduceL2", [mean], "pool/ReduceL2", axes=[1], keepdims=1)
        norm = self.add("Clip", [norm, self.constant("least_norm", 1e-12)], "pool/Clip_1")
        return self.add("Div", [mean, norm], "sentence_embedding")


def export(tensors: Mapping[str, np.ndarray]) -> ModelProto:
    """The model, from the tensors of its safetensors file."""
    layers = sum(name.endswith("attention.self.query.bias") for name in tensors)
    width = tensors["embeddings.LayerNorm.bias"].size
    g = Bert(tensors, width // HEAD, HEAD, EPSILON)
    g.constant("root", HEAD**0.5)
    g.constant("last_axis", [-1], np.int64)
    x, mask = g.embed(), g.mask()
    for layer in range(layers):
        x = g.layer(x, mask, f"encoder.layer.{layer}")
    y = g.pool(x)
    free = ["texts", "tokens"]
    given = [integers(name, *free) for name in ("input_ids", "attention_mask")]
    return g.model("bert", given, [floats(y, "texts", width)], "examples/bert_onnx.py")
