"""What a format tells the quantizer: the schemes that it can say, and the nodes that a layer becomes.

Nodes are written in ONNX's text form, as the body of a function whose inputs are the layer's; they are put into the
graph without the function. Integers and scales are always those of our kernels. How x is rounded, if it is, the format
or the runtime decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from ..functions import function
from ..layers import Found, Inputs, Replacement, Unfit
from ..layers.recurrent import OPTIONAL
from ..recipe import FLOAT, Scheme

#: The domain of ONNX Runtime's own operators, and its version.
RUNTIME = {"com.microsoft": 1}
#: From a layer and its call of a function of ours to what stands there instead; raises `Unfit`.
Writer = Callable[[Found, Replacement], Replacement]


@dataclass(frozen=True)
class Format:
    """A row of FORMATS.

    Attributes
    ----------
    name : str
    schemes : str
        Those that it has, in words for an error.
    has : callable
        Whether it has a scheme.
    runtimes : str
        Who computes it, and how; a line of the receipt.
    writers : mapping
        By operator of ONNX; layers of others stay float32.
    beside : bool
        Whether constants of a layer in a branch or body lie there, too, and not in the main graph.
    """

    name: str
    schemes: str
    has: Callable[[Scheme], bool]
    runtimes: str = ""
    writers: Mapping[str, Writer] = field(default_factory=dict)
    beside: bool = False

    def check(self, scheme: Scheme, where: str) -> None:
        """Raise ValueError where this format has no such scheme; `where` it is asked for."""
        ours_alone = self.name != "dynq" and (scheme.rotate or scheme.outliers)
        if scheme.bits != FLOAT and (ours_alone or not self.has(scheme)):
            raise ValueError(f"format={self.name!r} has {self.schemes}; {where} asks for {scheme.words()}")

    def written(self, found: Found, made: Replacement) -> Replacement:
        """What stands in the place of a layer."""
        writer = self.writers.get(found.node.op_type)
        if writer is None:
            raise Unfit(f"format={self.name!r} has no {found.node.op_type}")
        return writer(found, made)


def opened(made: Replacement, inputs: Mapping[str, Any], body: str, results: str = "y", **changes: Any) -> Replacement:
    """The layer as the nodes of `body`, whose inputs these are by name: values of the graph, arrays, tensors."""
    given: Inputs = [each if isinstance(each, ir.Value) else (name, each) for name, each in inputs.items()]
    whole = function("Layer", ", ".join(inputs), body, results, RUNTIME if "com.microsoft" in body else {})
    plain: dict[str, Any] = {"function": whole, "inputs": given, "opened": True, "exact": False}
    plain |= {"needs": (), "table": None}
    return replace(made, **(plain | changes))


def as_it_is(found: Found, made: Replacement) -> Replacement:
    """The body of our function: standard operators, with our bits, and fast everywhere."""
    return replace(made, opened=True)


_SIGNED_TABLE = """
    last = Constant <value_ints: ints = [-1]> ()
    turned = Transpose <perm: ints = [1, 0]> (weight)
    integers = Gather <axis: int = 0> (turned, ids)
    floats = Cast <to: int = 1> (integers)
    scales = Gather <axis: int = 0> (scale, ids)
    factor = Unsqueeze (scales, last)
    y = Mul (floats, factor)
"""


def signed_table(found: Found, made: Replacement) -> Replacement:
    """`as_it_is`, where weights of linears are int8: a table that is one of them has its integers."""
    if made.function.name != "EmbeddingOf":
        return as_it_is(found, made)
    inputs = dict(zip(("weight", "scale", "ids"), made.inputs, strict=True))
    return opened(made, inputs, _SIGNED_TABLE, exact=True, floats=())


def biased_sum(found: Found, made: Replacement, product: str) -> tuple[str, dict[str, Any]]:
    """y as this product and the layer's bias; and the bias, if there is one."""
    if found.bias is None:
        return f"    y = {product}\n", {}
    return f"    product = {product}\n    y = Add (product, bias)\n", {"bias": constant(made, -1)}


def constant(made: Replacement, place: int) -> np.ndarray:
    """The array that is an input of the call."""
    given = made.inputs[place]
    assert isinstance(given, tuple) and isinstance(given[1], np.ndarray)
    return given[1]


def signed(weight: np.ndarray) -> np.ndarray:
    """Integers that are stored as uint8 about 128, as int8."""
    return np.ascontiguousarray(weight ^ np.uint8(128)).view(np.int8)


def with_attributes(made: Replacement, found: Found, op_type: str) -> Replacement:
    """`made`, whose node of this operator has the attributes of the layer's, but for `layout`, which is 0."""
    node = next(node for node in made.function.graph if node.op_type == op_type)
    node.attributes.update({name: each for name, each in found.node.attributes.items() if name != "layout"})
    return made


def recurrent_inputs(found: Found, made: Replacement) -> tuple[dict[str, Any], str]:
    """What a recurrent layer takes beside x, W and R, by name; and these names where the operator expects them."""
    names = [name for name, value in zip(OPTIONAL[found.node.op_type], found.node.inputs[4:], strict=False) if value]
    inputs: dict[str, Any] = {} if found.bias is None else {"B": constant(made, 7)}
    for name, given in zip(names, made.inputs[8:], strict=True):
        inputs[name] = given[1] if isinstance(given, tuple) else given
    places: Sequence[str] = ("B", *OPTIONAL[found.node.op_type])
    return inputs, ", ".join(name if name in inputs else "" for name in places)


def floats_of(inputs: Mapping[str, Any]) -> tuple[int, ...]:
    """The places of values of the graph that are floats."""
    places = enumerate(inputs.items())
    return tuple(i for i, (name, each) in places if isinstance(each, ir.Value) and name != "sequence_lens")
