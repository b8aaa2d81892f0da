"""Functions of domain `dynq`: an operator of ours, and as its body what it means in standard ONNX.

Any runtime computes the body; ours knows the name. Bodies are written in ONNX's own text form (each beside its layer,
`layers/`). They refer to no attribute (onnx.inliner drops defaults) and calls pass every input (onnx.reference knows no
others), so what differs between two layers beyond their inputs is part of the function's name.

Rounding is docs/NUMERICS.md's, NaN and infinities included. ONNX Runtime's ReduceMin loses a NaN, hence the sum of 0·x
in the scale. A subtraction in int32 keeps ONNX Runtime from a fusion that multiplies in another order. Weights are
uint8 about 128, because uint8 by int8 saturates in ONNX Runtime on CPUs that have AVX2 and no VNNI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx_ir as ir
from onnx import parser

from .model import DOMAIN, OPSET

#: K up to which Σ q·w of uint8 by integers in [-127, 127] stays in int32.
MOST_K = (2**31 - 1) // (255 * 127)

#: x as integers: `q` in 0 … 255, with one `row_scale` and `zero_point` for all that `axes` span.
QUANTIZE = """
    zero = Constant <value_float: float = 0.0> ()
    one = Constant <value_float: float = 1.0> ()
    top = Constant <value_float: float = 255.0> ()
    least = ReduceMin (x, axes)
    low = Min (least, zero)
    most = ReduceMax (x, axes)
    high = Max (most, zero)
    range = Sub (high, low)
    beyond = IsInf (range)
    high_step = Div (high, top)
    low_step = Div (low, top)
    far = Sub (high_step, low_step)
    near = Div (range, top)
    step = Where (beyond, far, near)
    flat = Equal (step, zero)
    scale = Where (flat, one, step)
    minus = Neg (low)
    start = Div (minus, scale)
    rounded = Round (start)
    zero_point = Clip (rounded, zero, top)
    quotient = Div (x, scale)
    whole = Round (quotient)
    shifted = Add (whole, zero_point)
    q = Clip (shifted, zero, top)
    nothing = Mul (x, zero)
    unfit = ReduceSum (nothing, axes)
    row_scale = Add (scale, unfit)
"""

#: The same as uint8, and what the integer products take beside them.
BYTES = """
    bytes = Cast <to: int = 2> (q)
    middle = Constant <value: tensor = uint8 {128}> ()
    none = Constant <value: tensor = uint8 {0}> ()
    zero_points = Cast <to: int = 6> (zero_point)
"""

#: From exact `sums` to y.
DEQUANTIZE = """
    floats = Cast <to: int = 1> (sums)
    factor = Mul (row_scale, weight_scale)
    scaled = Mul (floats, factor)
    y = Add (scaled, bias)
"""


#: What may follow a layer, by the names that dq.linear has for them: from x to y. (onnx.reference has no Gelu.)
ACTIVATIONS = {
    "relu": "    y = Relu (x)\n",
    "gelu": """
    root = Constant <value_float: float = 1.4142135623730951> ()
    scaled = Div (x, root)
    error = Erf (scaled)
    one = Constant <value_float: float = 1.0> ()
    above = Add (error, one)
    whole = Mul (x, above)
    half = Constant <value_float: float = 0.5> ()
    y = Mul (whole, half)
""",
    "gelu_tanh": """
    three = Constant <value_float: float = 3.0> ()
    cube = Pow (x, three)
    share = Constant <value_float: float = 0.044715> ()
    bend = Mul (cube, share)
    bent = Add (x, bend)
    root = Constant <value_float: float = 0.7978845608028654> ()
    scaled = Mul (bent, root)
    curve = Tanh (scaled)
    one = Constant <value_float: float = 1.0> ()
    above = Add (curve, one)
    whole = Mul (x, above)
    half = Constant <value_float: float = 0.5> ()
    y = Mul (whole, half)
""",
    "silu": "    gate = Sigmoid (x)\n    y = Mul (x, gate)\n",
    "tanh": "    y = Tanh (x)\n",
    "sigmoid": "    y = Sigmoid (x)\n",
}
_NAME = re.compile(rf"(.*?)(?:_({'|'.join(sorted(ACTIVATIONS, reverse=True))}))?(_residual)?")


@dataclass(frozen=True)
class Name:
    """The name of a function of ours: ⟨base⟩[_⟨activation⟩][_residual]."""

    base: str
    activation: str | None = None
    residual: bool = False

    def __str__(self) -> str:
        return "_".join([self.base, *([self.activation] if self.activation else []), *["residual"] * self.residual])


def parse(name: str) -> Name:
    """The parts of the name of a function."""
    matched = _NAME.fullmatch(name)
    assert matched is not None  # the first part may be anything
    base, activation, residual = matched.groups()
    return Name(base, activation, residual is not None)


def function(
    name: str, inputs: str, body: str, outputs: str = "y", domains: Mapping[str, int] = MappingProxyType({})
) -> ir.Function:
    """A function of DOMAIN from the text of its body; inputs and outputs are names with commas between them.

    `domains` are those of operators that are not onnx's, and their versions.
    """
    opsets = ", ".join(f'"{domain}": {version}' for domain, version in {"": OPSET, **domains}.items())
    text = f'<domain: "{DOMAIN}", opset_import: [{opsets}]>\n{name} ({inputs}) => ({outputs})\n{{{body}}}'
    return ir.serde.deserialize_function(parser.parse_function(text))
