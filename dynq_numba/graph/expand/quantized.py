"""Conversions between floats and integers, as elementwise operators.

    DequantizeLinear     (x - zero point) · scale
    QuantizeLinear       clip(round(x / scale) + zero point)
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrites.base import FLOAT, NoMatch
from .base import Expansion, Operator, constant

#: The least and the largest integer of a type.
_LIMITS = {
    ir.DataType.UINT8: (0, 255), ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT16: (0, 65535), ir.DataType.INT16: (-32768, 32767),
}  # fmt: skip


def _along(operator: Operator, *names: str) -> tuple[str, list[str]]:
    """Lines and names of a scale and a zero point as they broadcast to x."""
    if operator.integer("block_size"):
        raise NoMatch("it has a scale for each block")
    axis = operator.integer("axis", 1)
    if operator.rank("scale") == 0 or operator.length("scale", 0) == 1:
        shape: list[int] = []
        rank = 0
    else:
        rank = operator.rank("x")
        shape = [1] * rank
        shape[axis % rank] = -1
    lines = constant("along", shape) if rank else "    along = Constant <value = int64[0] {}> ()\n"
    lines += "".join(f"    {name}_along = Reshape ({name}, along)\n" for name in names)
    return lines, [f"{name}_along" for name in names]


def _dequantize(operator: Operator) -> str:
    kind = operator.kind("x")
    if kind not in (*_LIMITS, ir.DataType.INT32):
        raise NoMatch(f"x is {kind}")
    if operator.integer("output_dtype") not in (0, FLOAT):
        raise NoMatch("its result is not float32")
    if not operator.has("zero"):
        lines, (scale,) = _along(operator, "scale")
        return lines + f"    floats = Cast <to = 1> (x)\n    y = Mul (floats, {scale})\n"
    lines, (scale, zero) = _along(operator, "scale", "zero")
    return lines + f"""
    wide = Cast <to = 6> (x)
    point = Cast <to = 6> ({zero})
    centred = Sub (wide, point)
    floats = Cast <to = 1> (centred)
    y = Mul (floats, {scale})
"""


def _quantize(operator: Operator) -> str:
    given = operator.kind("zero") if operator.has("zero") else None
    kind = given or ir.DataType(operator.integer("output_dtype") or ir.DataType.UINT8)
    if kind not in _LIMITS or operator.kind("x") != FLOAT:
        raise NoMatch(f"from {operator.kind('x')} to {kind}")
    if operator.integer("precision") not in (0, FLOAT):
        raise NoMatch("its precision is not float32")
    operator.integer("saturate", 1)
    operator.integer("output_dtype")
    least, most = map(float, _LIMITS[kind])
    names = ["scale", *(["zero"] if operator.has("zero") else [])]
    lines, along = _along(operator, *names)
    lines += f"    quotient = Div (x, {along[0]})\n    whole = Round (quotient)\n"
    shifted = "whole"
    if len(along) > 1:
        shifted = "shifted"
        lines += f"    point = Cast <to = 1> ({along[1]})\n    shifted = Add (whole, point)\n"
    lines += constant("least", least) + constant("most", most)
    return lines + f"    within = Clip ({shifted}, least, most)\n    y = Cast <to = {int(kind)}> (within)\n"


EXPANSIONS = {
    "DequantizeLinear": Expansion("x, scale, zero", "y", _dequantize),
    "QuantizeLinear": Expansion("x, scale, zero", "y", _quantize),
}
