"""GELUs of ONNX Runtime's optimizer, with a bias and without; Swish of opset 24."""

from __future__ import annotations

from .base import Expansion, Operator, constant


def _gelu(operator: Operator) -> str:
    return "    y = Gelu (x)\n"


def _bias_gelu(operator: Operator) -> str:
    return "    sum = Add (x, bias)\n    y = Gelu (sum)\n"


def _fast_gelu(operator: Operator) -> str:
    if operator.has("bias"):
        return '    sum = Add (x, bias)\n    y = Gelu <approximate = "tanh"> (sum)\n'
    return '    y = Gelu <approximate = "tanh"> (x)\n'


def _quick_gelu(operator: Operator) -> str:
    return _swish(operator.number("alpha", 1.702))


def _swish(alpha: float) -> str:
    scaled = "    scaled = Identity (x)\n" if alpha == 1 else constant("alpha", alpha) + "    scaled = Mul (x, alpha)\n"
    return f"{scaled}    gate = Sigmoid (scaled)\n    y = Mul (x, gate)\n"


EXPANSIONS = {
    "com.microsoft.Gelu": Expansion("x", "y", _gelu),
    "com.microsoft.BiasGelu": Expansion("x, bias", "y", _bias_gelu),
    "com.microsoft.FastGelu": Expansion("x, bias", "y", _fast_gelu),
    "com.microsoft.QuickGelu": Expansion("x", "y", _quick_gelu),
    "Swish": Expansion("x", "y", lambda operator: _swish(operator.number("alpha", 1.0))),
}
