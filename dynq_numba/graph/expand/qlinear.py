"""Operators of ONNX Runtime's domain on integers: conversions around the operators of floats.

    QLinearAdd, QLinearMul, QLinearSigmoid …          DequantizeLinear ─▶ Add, Mul, Sigmoid … ─▶ QuantizeLinear
    QGemm                                             DequantizeLinear ─▶ Gemm [─▶ QuantizeLinear]
    DynamicQuantizeMatMul, MatMulIntegerToFloat       [DynamicQuantizeLinear ─▶] MatMulInteger ─▶ Cast ─▶ Mul [─▶ Add]
    QuantizeLinear, DequantizeLinear                  those of ONNX
    QAttention, QEmbedLayerNormalization              DequantizeLinear ─▶ Attention, EmbedLayerNormalization

ONNX Runtime computes most of the first group in float32, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..rewrites.base import NoMatch
from .base import Expansion, Operator


def floats(operator: Operator, name: str, scale: str, zero: str, options: str = "") -> str:
    """The line of `⟨name⟩_float`."""
    points = f", {zero}" if operator.has(zero) else ""
    return f"    {name}_float = DequantizeLinear {options}({name}, {scale}{points})\n"


def integers(operator: Operator, of: str, like: str) -> str:
    """The line of y, of the type of its zero point, or else of an input."""
    if operator.has("y_zero"):
        return f"    y = QuantizeLinear ({of}, y_scale, y_zero)\n"
    kind = operator.kind(like)
    if kind is None:
        raise NoMatch(f"the type of {like} is not known")
    return f"    y = QuantizeLinear <output_dtype = {int(kind)}> ({of}, y_scale)\n"


def _binary(op_type: str, operator: Operator) -> str:
    lines = floats(operator, "a", "a_scale", "a_zero") + floats(operator, "b", "b_scale", "b_zero")
    return lines + f"    result = {op_type} (a_float, b_float)\n" + integers(operator, "result", "a")


def _unary(op_type: str, options: Callable[[Operator], list[str]], operator: Operator) -> str:
    given = ", ".join(options(operator))
    lines = floats(operator, "x", "x_scale", "x_zero")
    lines += f"    result = {op_type} {f'<{given}> ' if given else ''}(x_float)\n"
    return lines + integers(operator, "result", "x")


def _nothing(operator: Operator) -> list[str]:
    return []


def _leaky(operator: Operator) -> list[str]:
    return [f"alpha: float = {operator.number('alpha', 0.01)!r}"]


def _softmax(operator: Operator) -> list[str]:
    opset, axis = operator.integer("opset", 13), operator.integer("axis", -1)
    if opset < 13 and axis not in (-1, operator.rank("x") - 1):
        raise NoMatch("its softmax goes over several axes")
    return [f"axis = {axis}"]


def _pool(operator: Operator) -> list[str]:
    if operator.integer("channels_last"):
        raise NoMatch("its channels are last")
    found = [f'auto_pad = "{operator.string("auto_pad", "NOTSET")}"']
    found += [f"{name} = {operator.integer(name)}" for name in ("ceil_mode", "count_include_pad")]
    for name in ("kernel_shape", "pads", "strides"):
        if values := operator.integers(name):
            found.append(f"{name} = [{', '.join(map(str, values))}]")
    return found


def _global_pool(operator: Operator) -> list[str]:
    if operator.integer("channels_last"):
        raise NoMatch("its channels are last")
    return []


def _concat(operator: Operator) -> str:
    names = [name for name in operator.inputs if name.startswith("x") and name[1:].isdigit()]
    lines = "".join(floats(operator, name, f"{name}_scale", f"{name}_zero") for name in names)
    parts = ", ".join(f"{name}_float" for name in names)
    return lines + f"    result = Concat <axis = {operator.integer('axis')}> ({parts})\n" + integers(
        operator, "result", "x0"
    )


def _where(operator: Operator) -> str:
    lines = floats(operator, "a", "a_scale", "a_zero") + floats(operator, "b", "b_scale", "b_zero")
    return lines + "    result = Where (condition, a_float, b_float)\n" + integers(operator, "result", "a")


def _gemm(operator: Operator) -> str:
    options = [f"alpha: float = {operator.number('alpha', 1.0)!r}"]
    options += [f"{name} = {operator.integer(name)}" for name in ("transA", "transB")]
    lines = floats(operator, "a", "a_scale", "a_zero")
    axis = f"<axis = {0 if operator.integer('transB') else 1}> "
    lines += floats(operator, "b", "b_scale", "b_zero", axis)
    names = "a_float, b_float"
    if operator.has("c"):
        lines += "    c_scale = Mul (a_scale, b_scale)\n    c_wide = Cast <to = 1> (c)\n"
        lines += "    c_float = Mul (c_wide, c_scale)\n"
        names += ", c_float"
        if operator.number("alpha", 1.0) != 1:
            raise NoMatch("it has alpha and C")
    lines += f"    result = Gemm <{', '.join(options)}> ({names})\n"
    return lines + (integers(operator, "result", "a") if operator.has("y_scale") else "    y = Identity (result)\n")


def _added(operator: Operator, of: str) -> str:
    return f"    y = Add ({of}, bias)\n" if operator.has("bias") else f"    y = Identity ({of})\n"


def _integer_product(operator: Operator, a: str, a_scale: str, a_zero: str) -> str:
    points = f", {a_zero}, b_zero" if operator.has("b_zero") else f", {a_zero}" if a_zero else ""
    return f"""
    sums = MatMulInteger ({a}, b{points})
    wide = Cast <to = 1> (sums)
    factor = Mul ({a_scale}, b_scale)
    product = Mul (wide, factor)
""" + _added(operator, "product")  # fmt: skip


def _dynamic_matmul(operator: Operator) -> str:
    return "    q, q_scale, q_zero = DynamicQuantizeLinear (a)\n" + _integer_product(operator, "q", "q_scale", "q_zero")


def _to_float(operator: Operator) -> str:
    if operator.has("b_zero") and not operator.has("a_zero"):
        raise NoMatch("it has a zero point of B alone")
    return _integer_product(operator, "a", "a_scale", "a_zero" if operator.has("a_zero") else "")


def _as_onnx(op_type: str, operator: Operator) -> str:
    points = ", zero" if operator.has("zero") else ""
    axis = operator.integer("axis", 1)
    return f"    y = {op_type} <axis = {axis}, block_size = {operator.integer('block_size')}> (x, scale{points})\n"


def _attention(operator: Operator) -> str:
    operator.refuse("past", "present")
    options = [f"{name} = {operator.integer(name)}" for name in ("num_heads", "unidirectional")]
    options.append(f"mask_filter_value: float = {operator.number('mask_filter_value', -10000.0)!r}")
    if scale := operator.number("scale", 0.0):
        options.append(f"scale: float = {scale!r}")
    lines = floats(operator, "x", "x_scale", "x_zero") + floats(operator, "w", "w_scale", "w_zero", "<axis = 1> ")
    mask = ", mask" if operator.has("mask") else ""
    return lines + f"    y = com.microsoft.Attention <{', '.join(options)}> (x_float, w_float, bias{mask})\n"


_TABLES = ("word", "position", "segment", "gamma", "beta")


def _embedding(operator: Operator) -> str:
    names = [name for name in _TABLES if operator.has(name)]
    lines = "".join(floats(operator, name, f"{name}_scale", f"{name}_zero") for name in names)
    epsilon = operator.number("epsilon", 1e-12)
    given = ["ids", "segments" if operator.has("segments") else ""]
    given += [f"{name}_float" if name in names else "" for name in _TABLES]
    given += ["mask"] if operator.has("mask") else []
    results = "y, counts" if operator.wants("counts") else "y"
    options = f"<epsilon: float = {epsilon!r}>"
    return lines + f"    {results} = com.microsoft.EmbedLayerNormalization {options} ({', '.join(given)})\n"


_AB = "a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero"
_X = "x, x_scale, x_zero, y_scale, y_zero"
#: Parts that a QLinearConcat has at most.
_PARTS = 32
_UNARY: dict[str, tuple[str, Callable[[Operator], list[str]]]] = {
    "QLinearSigmoid": ("Sigmoid", _nothing), "QLinearLeakyRelu": ("LeakyRelu", _leaky),
    "QLinearSoftmax": ("Softmax", _softmax), "QLinearAveragePool": ("AveragePool", _pool),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", _global_pool),
}  # fmt: skip
_ROWS = {
    "QLinearAdd": Expansion(_AB, "y", partial(_binary, "Add")),
    "QLinearMul": Expansion(_AB, "y", partial(_binary, "Mul")),
    **{name: Expansion(_X, "y", partial(_unary, *row)) for name, row in _UNARY.items()},
    "QLinearConcat": Expansion(
        "y_scale, y_zero, " + ", ".join(f"x{i}, x{i}_scale, x{i}_zero" for i in range(_PARTS)), "y", _concat
    ),
    "QLinearWhere": Expansion("condition, " + _AB, "y", _where),
    "QGemm": Expansion("a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero", "y", _gemm),
    "DynamicQuantizeMatMul": Expansion("a, b, b_scale, b_zero, bias", "y", _dynamic_matmul),
    "MatMulIntegerToFloat": Expansion("a, b, a_scale, b_scale, a_zero, b_zero, bias", "y", _to_float),
    "QAttention": Expansion(
        "x, w, bias, x_scale, w_scale, mask, x_zero, w_zero, past", "y, present", _attention
    ),
    "QEmbedLayerNormalization": Expansion(
        ", ".join(["ids, segments", *_TABLES, "mask", *(f"{name}_scale" for name in _TABLES),
                   *(f"{name}_zero" for name in _TABLES)]), "y, counts", _embedding,
    ),
    "DequantizeLinear": Expansion("x, scale, zero", "y", partial(_as_onnx, "DequantizeLinear")),
    "QuantizeLinear": Expansion("x, scale, zero", "y", partial(_as_onnx, "QuantizeLinear")),
}
EXPANSIONS = {f"com.microsoft.{name}": row for name, row in _ROWS.items()}
