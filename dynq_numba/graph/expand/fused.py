"""Products and convolutions with what ONNX Runtime's graph optimizations put into them."""

from __future__ import annotations

from ..rewrites.base import NoMatch
from .base import Expansion, Operator, constant


def _activated(operator: Operator, x: str, kind: str, parameters: list[float]) -> str:
    """`y` by one of the activations that ONNX Runtime knows, with its parameters in their order."""
    names = {"LeakyRelu": ["alpha"], "HardSigmoid": ["alpha", "beta"]}.get(kind, [])
    if kind in ("", "Identity"):
        return f"    y = Identity ({x})\n"
    if kind == "Clip" and len(parameters) == 2:
        least, most = parameters
        return constant("least", least) + constant("most", most) + f"    y = Clip ({x}, least, most)\n"
    if kind not in ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid") or len(parameters) < len(names):
        raise NoMatch(f"its activation is {kind} with {parameters}")
    pairs = zip(names, parameters, strict=False)
    options = ", ".join(f"{name}: float = {value!r}" for name, value in pairs)
    return f"    y = {kind} {f'<{options}> ' if options else ''}({x})\n"


def _matmul(operator: Operator) -> str:
    if operator.integer("transBatchA") or operator.integer("transBatchB"):
        raise NoMatch("it transposes batches")
    lines, alpha = "", operator.number("alpha", 1.0)
    names = {}
    for name in ("a", "b"):
        names[name] = name
        if operator.integer(f"trans{name.upper()}"):
            rank = operator.rank(name)
            order = [*range(rank - 2), rank - 1, rank - 2] if rank > 1 else [0]
            lines += f"    turned_{name} = Transpose <perm: ints = [{', '.join(map(str, order))}]> ({name})\n"
            names[name] = f"turned_{name}"
    if alpha == 1:
        return f"{lines}    y = MatMul ({names['a']}, {names['b']})\n"
    return f"{lines}    product = MatMul ({names['a']}, {names['b']})\n{constant('alpha', alpha)}" \
           "    y = Mul (product, alpha)\n"  # fmt: skip


def _gemm(operator: Operator) -> str:
    kind = operator.string("activation", "")
    parameters = [operator.number(f"activation_{each}", 0.0) for each in ("alpha", "beta")]
    options = ", ".join(
        [f"{name}: float = {operator.number(name, 1.0)!r}" for name in ("alpha", "beta")]
        + [f"{name}: int = {operator.integer(name)}" for name in ("transA", "transB")]
    )
    return f"    x = Gemm <{options}> ({', '.join(operator.inputs)})\n" + _activated(operator, "x", kind, parameters)


def _conv(operator: Operator) -> str:
    kind, parameters = operator.string("activation", ""), operator.floats("activation_params")
    options = [f'auto_pad = "{operator.string("auto_pad", "NOTSET")}"', f"group: int = {operator.integer('group', 1)}"]
    for name in ("dilations", "kernel_shape", "pads", "strides"):
        if values := operator.integers(name):
            options.append(f"{name}: ints = [{', '.join(map(str, values))}]")
    inputs = ", ".join(name for name in operator.inputs if name != "z")
    lines, x = f"    convolved = Conv <{', '.join(options)}> ({inputs})\n", "convolved"
    if operator.has("z"):
        lines, x = f"{lines}    sum = Add (convolved, z)\n", "sum"
    return lines + _activated(operator, x, kind, parameters)


EXPANSIONS = {
    "com.microsoft.FusedMatMul": Expansion("a, b", "y", _matmul),
    "com.microsoft.FusedGemm": Expansion("a, b, c", "y", _gemm),
    "com.microsoft.FusedConv": Expansion("x, w, b, z", "y", _conv),
}
