"""Norms of ONNX Runtime's optimizer: of a sum (Skip…), and RMS norms (Simplified…), as opset 23 has them, too.

And InstanceNormalization, of which exporters make norms of groups: the norm of a row of all pixels of a channel.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..rewrites.base import NoMatch
from .base import Expansion, Operator, constant


def layer_norm(x: str, gamma: str, beta: str | None, epsilon: float) -> str:
    """`output` of x over its last axis."""
    inputs = f"{x}, {gamma}" + (f", {beta}" if beta else "")
    return f"    output = LayerNormalization <axis = -1, epsilon: float = {epsilon!r}> ({inputs})\n"


def _rms_norm(x: str, gamma: str, epsilon: float, axes: Sequence[int] = (-1,)) -> str:
    return constant("axes", list(axes)) + constant("epsilon", epsilon) + f"""
    squares = Mul ({x}, {x})
    mean_square = ReduceMean (squares, axes)
    steady = Add (mean_square, epsilon)
    deviation = Sqrt (steady)
    normal = Div ({x}, deviation)
    output = Mul (normal, {gamma})
"""


def _sum(operator: Operator) -> str:
    """`total`: the bias goes to the one that the optimizer took it from, so that it finds its MatMul again."""
    operator.refuse("mean", "inv_std_var")
    lines, first = "", "input"
    if operator.has("bias"):
        lines, first = "    biased = Add (input, bias)\n", "biased"
    name = "input_skip_bias_sum" if operator.wants("input_skip_bias_sum") else "total"
    return f"{lines}    {name} = Add ({first}, skip)\n"


def _total(operator: Operator) -> str:
    return "input_skip_bias_sum" if operator.wants("input_skip_bias_sum") else "total"


def _skip_layer_norm(operator: Operator) -> str:
    beta = "beta" if operator.has("beta") else None
    epsilon = operator.number("epsilon", 1e-12)
    return _sum(operator) + layer_norm(_total(operator), "gamma", beta, epsilon)


def _skip_simplified(operator: Operator) -> str:
    return _sum(operator) + _rms_norm(_total(operator), "gamma", operator.number("epsilon", 1e-12))


def _simplified(operator: Operator) -> str:
    if operator.integer("stash_type", 1) != 1:
        raise NoMatch("it does not compute in float32")
    axis, axes = operator.integer("axis", -1), [-1]
    if axis != -1:
        rank = operator.rank("input")
        axes = list(range(axis % rank, rank))
    return _rms_norm("input", "gamma", operator.number("epsilon", 1e-5), axes)


def _instance(operator: Operator) -> str:
    rank, edit = operator.rank("input"), operator.edit
    rows = "input" if rank == 3 else "rows"
    lines = constant("axes", [-1]) + constant("epsilon", operator.number("epsilon", 1e-5))
    if rank != 3:
        lines += constant("pixels", [0, 0, -1]) + "    rows = Reshape (input, pixels)\n"
    steps = [f"mean = ReduceMean ({rows}, axes)", f"centred = Sub ({rows}, mean)", "squares = Mul (centred, centred)",
             "variance = ReduceMean (squares, axes)", "steady = Add (variance, epsilon)", "deviation = Sqrt (steady)",
             "normal = Div (centred, deviation)"]  # fmt: skip
    y = "normal"
    if rank != 3:
        steps += ["shape = Shape (input)", "image = Reshape (normal, shape)"]
        y = "image"
    lines += constant("columns", [-1, *[1] * (rank - 2)])
    for name, operation, neutral in (("scale", "Mul", 1), ("B", "Add", 0)):
        array = edit.array(operator.inputs[name])
        if array is None or (array != neutral).any():
            steps += [f"each_{name} = Reshape ({name}, columns)", f"after_{name} = {operation} ({y}, each_{name})"]
            y = f"after_{name}"
    return lines + "".join(f"    {step}\n" for step in steps).replace(f"    {y} = ", "    output = ")


_RESULTS = "output, mean, inv_std_var, input_skip_bias_sum"
EXPANSIONS = {
    "com.microsoft.SkipLayerNormalization": Expansion("input, skip, gamma, beta, bias", _RESULTS, _skip_layer_norm),
    "com.microsoft.SkipSimplifiedLayerNormalization": Expansion(
        "input, skip, gamma, bias", _RESULTS, _skip_simplified
    ),
    "com.microsoft.SimplifiedLayerNormalization": Expansion("input, gamma", "output", _simplified),
    "InstanceNormalization": Expansion("input, scale, B", "output", _instance),
    "RMSNormalization": Expansion("input, gamma", "output", _simplified),
}
