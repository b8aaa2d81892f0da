"""An ONNX graph under construction, spelt as PyTorch's exporter spells it: examples/bert_onnx.py, whisper_onnx.py.

A linear is MatMul by its transposed weight and Add; GELU is Div, Erf, Add, Mul and Mul.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 9


class Graph:
    """Nodes and constants; `tensors` are the weights, by the names that they have in PyTorch."""

    def __init__(self, tensors: Mapping[str, np.ndarray], heads: int, columns: int, epsilon: float):
        self.tensors, self.epsilon = tensors, epsilon
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        for name, value in (("root_of_2", 2**0.5), ("one", 1), ("half", 0.5)):
            self.constant(name, value)
        for name, value in (("first_axis", [0]), ("second_axis", [1]), ("split", [0, 0, heads, columns]),
                            ("merged", [0, 0, heads * columns])):  # fmt: skip
            self.constant(name, value, np.int64)

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
        if f"{name}.bias" not in self.tensors:
            return product
        return self.add("Add", [self.weight(f"{name}.bias"), product], f"{name}/Add")

    def norm(self, x: str, name: str) -> str:
        both = [self.weight(f"{name}.{part}") for part in ("weight", "bias")]
        return self.add("LayerNormalization", [x, *both], f"{name}/LayerNormalization", axis=-1, epsilon=self.epsilon)

    def gelu(self, x: str, name: str) -> str:
        erf = self.add("Erf", [self.add("Div", [x, "root_of_2"], f"{name}/Div")], f"{name}/Erf")
        gate = self.add("Mul", [x, self.add("Add", [erf, "one"], f"{name}/Add")], f"{name}/Mul")
        return self.add("Mul", [gate, "half"], f"{name}/Mul_1")

    def heads(self, x: str, order: Sequence[int] = (0, 2, 1, 3)) -> str:
        """[batch, rows, width] as [batch, heads, rows, columns of a head], or in another order."""
        split = self.add("Reshape", [x, "split"], f"{x}/heads")
        return self.add("Transpose", [split], f"{x}/Transpose", perm=order)

    def merged(self, x: str, name: str) -> str:
        """The way back."""
        turned = self.add("Transpose", [x], f"{name}/Transpose", perm=[0, 2, 1, 3])
        return self.add("Reshape", [turned, "merged"], f"{name}/merged")

    def model(
        self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto], producer: str
    ) -> ModelProto:
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name=producer)


def floats(name: str, *shape: int | str) -> ValueInfoProto:
    """An input or output of float32; a word is a free length."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def integers(name: str, *shape: int | str) -> ValueInfoProto:
    """The same of int64."""
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)
