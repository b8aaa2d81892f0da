"""Bodies of functions written in Python: nodes of ONNX, and `Formula`, which takes the place of an array.

    y = reference.sigmoid(Formula(body, x))        the operations of that function, in that order, as nodes

numpy passes operators and functions on a `Formula` to it, as on the `Lanes` of kernels/isa/traced.py. So a body is made
of the very formulas that define our kernels. In every runtime a node rounds to float32 once, so the bits are theirs.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.lib.mixins import NDArrayOperatorsMixin

from .model import DOMAIN

#: What a float that became bits carries in its low byte is what was added to this (kernels/activations/reference.py).
_MAGIC = np.float32(1.5 * 2**23)
#: Floats by the byte that is their exponent.
_POWERS = (np.arange(256, dtype=np.uint32) << np.uint32(23)).view(np.float32)
_OPERATORS = {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.divide: "Div", np.negative: "Neg", np.absolute: "Abs",
    np.less: "Less", np.greater: "Greater", np.equal: "Equal",
}  # fmt: skip


class Body:
    """Nodes, one behind the other, of a function or of a graph in it. Names are unique in all that share `numbers`."""

    def __init__(self, numbers: count | None = None) -> None:
        self.numbers = count() if numbers is None else numbers
        self.nodes: list[ir.Node] = []
        self._constants: dict[Any, ir.Value] = {}

    def op(self, op_type: str, *inputs: ir.Value | None, results: int = 1, domain: str = "", **attributes: Any) -> Any:
        """The result of a node, or a list of several."""
        node = ir.node(op_type, inputs, attributes or None, domain=domain, num_outputs=results)
        for value in node.outputs:
            value.name = f"{op_type.lower()}_{next(self.numbers)}"
        self.nodes.append(node)
        return node.outputs[0] if results == 1 else list(node.outputs)

    def call(self, function: ir.Function, *inputs: ir.Value) -> Any:
        """The result of another function of ours."""
        return self.op(function.name, *inputs, domain=DOMAIN)

    def constant(self, array: Any) -> ir.Value:
        """A constant; the same is one node."""
        array = np.asarray(array)
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.op("Constant", value=ir.tensor(array))
        return self._constants[key]

    def value(self, given: Any) -> ir.Value:
        """Of a formula, or of a number."""
        return given.value if isinstance(given, Formula) else self.constant(given)


def input_named(name: str, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    """An input of a function or graph."""
    return ir.Value(name=name, type=ir.TensorType(dtype))


class Formula(NDArrayOperatorsMixin):
    """A float32 value of a body, or what a comparison gives."""

    def __init__(self, body: Body, value: ir.Value) -> None:
        self.body, self.value = body, value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Formula:
        return Formula(self.body, self.body.op(_OPERATORS[ufunc], *map(self.body.value, inputs)))

    def __array_function__(self, function: Any, types: Any, args: tuple, options: dict) -> Any:
        if function is not np.where:
            return NotImplemented
        return Formula(self.body, self.body.op("Where", *map(self.body.value, args)))

    def view(self, dtype: Any) -> _Word:
        """The low byte of a number near 1.5·2^23; 0 for a NaN, whose power of two multiplies a NaN anyhow."""
        assert dtype is np.uint32
        body, above = self.body, self - _MAGIC
        nan = body.op("IsNaN", above.value)
        number = body.op("Where", nan, body.constant(np.float32(0)), above.value)
        return _Word(body, body.op("Cast", number, to=ir.DataType.INT64))


class _Word:
    """The low bits of a uint32, as an int64 that is no less than 0."""

    def __init__(self, body: Body, value: ir.Value) -> None:
        self.body, self.value = body, value

    def __rshift__(self, bits: np.uint32) -> _Word:
        return _Word(self.body, self.body.op("Div", self.value, self.body.constant(np.int64(1 << int(bits)))))

    def __sub__(self, other: _Word) -> _Word:
        return _Word(self.body, self.body.op("Sub", self.value, other.value))

    def __lshift__(self, bits: np.uint32) -> _Exponent:
        assert bits == 23
        return _Exponent(self.body, self.value)


class _Exponent:
    """A uint32 whose exponent as a float is a number, and whose other bits are 0."""

    def __init__(self, body: Body, value: ir.Value) -> None:
        self.body, self.value = body, value

    def view(self, dtype: Any) -> Formula:
        assert dtype is np.float32
        return Formula(self.body, self.body.op("Gather", self.body.constant(_POWERS), self.value))
