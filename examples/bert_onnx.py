"""MiniLM as the ONNX file that an exporter would write: opset 17, batch and length free, pooled and normalised.

    input_ids, attention_mask [texts, tokens] int64 ─▶ sentence_embedding [texts, width] float32, unit vectors

Nodes are spelt as PyTorch spells them: a linear is MatMul by its transposed weight and Add, GELU is Div, Erf, Add, Mul
and Mul, attention is eight nodes, a mask is (1 - mask)·lowest, positions are looked up in a slice of 0 … 511. Any BERT
encoder with heads of 32 columns will do; how many layers and columns there are, its tensors say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

HEAD, EPSILON = 32, 1e-12  # columns of a head
OPSET, IR_VERSION = 17, 9
LOWEST = np.finfo(np.float32).min


class Graph:
    """Nodes and constants under construction."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants[name] = np.array(value, dtype, order="C")
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self.tensors[name])

    def linear(self, x: str, name: str) -> str:
        weight = self.constant(f"{name}.weight", self.tensors[f"{name}.weight"].T)
        product = self.add("MatMul", [x, weight], f"{name}/MatMul")
        return self.add("Add", [self.weight(f"{name}.bias"), product], f"{name}/Add")

    def norm(self, x: str, name: str) -> str:
        both = [self.weight(f"{name}.{part}") for part in ("weight", "bias")]
        return self.add("LayerNormalization", [x, *both], f"{name}/LayerNormalization", axis=-1, epsilon=EPSILON)

    def heads(self, x: str, order: list[int]) -> str:
        split = self.add("Reshape", [x, "heads"], f"{x}/heads")
        return self.add("Transpose", [split], f"{x}/Transpose", perm=order)

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
        context = self.add("Transpose", [context], f"{name}/Transpose", perm=[0, 2, 1, 3])
        context = self.add("Reshape", [context, "merged"], f"{name}/merged")
        context = self.linear(context, f"{name}.attention.output.dense")
        x = self.norm(self.add("Add", [context, x], f"{name}/Add"), f"{name}.attention.output.LayerNorm")
        up = self.linear(x, f"{name}.intermediate.dense")
        erf = self.add("Erf", [self.add("Div", [up, "root_of_2"], f"{name}/up/Div")], f"{name}/up/Erf")
        gate = self.add("Mul", [up, self.add("Add", [erf, "one"], f"{name}/up/Add")], f"{name}/up/Mul")
        down = self.linear(self.add("Mul", [gate, "half"], f"{name}/up/Mul_1"), f"{name}.output.dense")
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
    g = Graph(tensors)
    layers = sum(name.endswith("attention.self.query.bias") for name in tensors)
    width = tensors["embeddings.LayerNorm.bias"].size
    for name, value in (("root", HEAD**0.5), ("root_of_2", 2**0.5), ("one", 1), ("half", 0.5)):
        g.constant(name, value)
    for name, value in (("first_axis", [0]), ("second_axis", [1]), ("last_axis", [-1]),
                        ("heads", [0, 0, width // HEAD, HEAD]), ("merged", [0, 0, width])):  # fmt: skip
        g.constant(name, value, np.int64)
    x, mask = g.embed(), g.mask()
    for layer in range(layers):
        x = g.layer(x, mask, f"encoder.layer.{layer}")
    y = g.pool(x)
    free = ["texts", "tokens"]
    given = [helper.make_tensor_value_info(n, TensorProto.INT64, free) for n in ("input_ids", "attention_mask")]
    made = [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["texts", width])]
    constants = [numpy_helper.from_array(value, name) for name, value in g.constants.items()]
    graph = helper.make_graph(g.nodes, "bert", given, made, constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="examples/bert_onnx.py")
