"""MiniLM's encoder as an ONNX model, node by node as PyTorch exports BERT: ids [texts, tokens] to states."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

LAYERS, WIDTH, HEADS, EPSILON = 6, 384, 12, 1e-12
OPSET, IR_VERSION = 17, 9
#: (name of the result, float32 [K, N]) -> nodes and constants that make it.
Weight = Callable[[str, np.ndarray], tuple[list, dict[str, np.ndarray]]]


def plain(name: str, weight: np.ndarray) -> tuple[list, dict[str, np.ndarray]]:
    return [], {name: np.ascontiguousarray(weight)}


def int8(name: str, weight: np.ndarray) -> tuple[list, dict[str, np.ndarray]]:
    """DequantizeLinear of int8 with a scale per column, which OpenVINO keeps compressed."""
    from onnx import helper

    scale = np.maximum(np.abs(weight).max(axis=0) / np.float32(127), np.float32(1e-30)).astype(np.float32)
    q = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    constants = {f"{name}.q": q, f"{name}.scale": scale, f"{name}.zero": np.zeros(len(scale), np.int8)}
    return [helper.make_node("DequantizeLinear", list(constants), [name], axis=1)], constants


class Graph:
    """Nodes and constants under construction."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name


def build(tensors: Mapping[str, np.ndarray], texts: int, tokens: int, weight: Weight = plain) -> bytes:
    """The serialised model."""
    from onnx import TensorProto, helper, numpy_helper

    g = Graph()

    def linear(x: str, name: str) -> str:
        nodes, constants = weight(f"{name}.weight.t", tensors[f"{name}.weight"].T)
        g.nodes += nodes
        g.constants |= constants
        product = g.add("MatMul", [x, f"{name}.weight.t"], f"{name}.product")
        return g.add("Add", [g.constant(f"{name}.bias", tensors[f"{name}.bias"]), product], f"{name}.y")

    def norm(x: str, name: str) -> str:
        both = [g.constant(f"{name}.{part}", tensors[f"{name}.{part}"]) for part in ("weight", "bias")]
        return g.add("LayerNormalization", [x, *both], f"{name}.y", axis=-1, epsilon=EPSILON)

    def heads(x: str, order: list[int]) -> str:
        split = g.add("Reshape", [x, "heads"], f"{x}.heads")
        return g.add("Transpose", [split], f"{x}.turned", perm=order)

    g.constant("heads", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    g.constant("merged", np.array([0, 0, WIDTH], np.int64))
    for name, value in (("root", (WIDTH / HEADS) ** 0.5), ("sqrt2", 2**0.5), ("one", 1), ("half", 0.5)):
        g.constant(name, np.array(value, np.float32))
    positions = tensors["embeddings.position_embeddings.weight"][:tokens]
    table = g.constant("words", tensors["embeddings.word_embeddings.weight"])
    x = g.add("Gather", [table, "ids"], "embedded")
    types = tensors["embeddings.token_type_embeddings.weight"][0]
    x = norm(g.add("Add", [x, g.constant("positions", positions + types)], "placed"), "embeddings.LayerNorm")
    for layer in range(LAYERS):
        own = f"encoder.layer.{layer}"
        q, k, v = (linear(x, f"{own}.attention.self.{part}") for part in ("query", "key", "value"))
        scores = g.add("MatMul", [heads(q, [0, 2, 1, 3]), heads(k, [0, 2, 3, 1])], f"{own}.raw")
        scores = g.add("Softmax", [g.add("Div", [scores, "root"], f"{own}.scores")], f"{own}.weights", axis=-1)
        context = g.add("MatMul", [scores, heads(v, [0, 2, 1, 3])], f"{own}.context")
        context = g.add("Transpose", [context], f"{own}.back", perm=[0, 2, 1, 3])
        context = g.add("Reshape", [context, "merged"], f"{own}.merged")
        project = linear(context, f"{own}.attention.output.dense")
        x = norm(g.add("Add", [project, x], f"{own}.sum1"), f"{own}.attention.output.LayerNorm")
        up = linear(x, f"{own}.intermediate.dense")
        erf = g.add("Erf", [g.add("Div", [up, "sqrt2"], f"{own}.scaled")], f"{own}.erf")
        gate = g.add("Mul", [up, g.add("Add", [erf, "one"], f"{own}.erf1")], f"{own}.gate")
        down = linear(g.add("Mul", [gate, "half"], f"{own}.gelu"), f"{own}.output.dense")
        x = norm(g.add("Add", [down, x], f"{own}.sum2"), f"{own}.output.LayerNorm")
    graph = helper.make_graph(
        g.nodes,
        "minilm",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [texts, tokens])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [texts, tokens, WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in g.constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
