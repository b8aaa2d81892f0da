"""GELU, its form with tanh, and SiLU, in any spelling: dq.gelu, dq.silu.

    Gelu       x    x·(1 + erf(x/√2))/2
    GeluTanh   x    x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2
    Silu       x    x·sigmoid(x)

A region (matching/regions.py) is one of them if it has its values. What exporters round (√2, √(2/π)) is off by 2^-24,
and the erf that they write loses all digits of 1 + erf where x is far below 0; the forms themselves differ by 3·10^-4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from ...functions import ACTIVATIONS, function
from ..base import Editor, NoMatch, Rewrite
from ..matching.regions import gelu, gelu_tanh, regions_around, silu

#: Our functions, by the names that dq.linear has for them.
NAMES = {"gelu": "Gelu", "gelu_tanh": "GeluTanh", "silu": "Silu"}
_MEANINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}
#: Of |x|: what rounded constants may change.
TOLERANCE = 2.0**-21
_POINTS = np.concatenate([np.linspace(-7, 7, 57), [-0.001, 0.003, 20.0]])[None]


class Activations(Rewrite):
    name = "activation"
    anchors = ("Gelu", "Erf", "Sigmoid", "Tanh", "Exp")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        for region in regions_around(node, edit):
            try:
                if any(array.size != 1 for array in region.constants(edit)):
                    continue
                got = region.compute(_POINTS, edit)
            except NoMatch:
                continue
            for name, meaning in _MEANINGS.items():
                if got.shape == _POINTS.shape and (np.abs(got - meaning(_POINTS)) <= TOLERANCE * np.abs(_POINTS)).all():
                    edit.check_float(region.x)
                    make = partial(function, NAMES[name], "x", ACTIVATIONS[name])
                    call = edit.call(NAMES[name], make, [region.x], region.nodes[0])
                    edit.replace([region.y], call.outputs, [call], region.nodes[0])
                    return call.op_type
        raise NoMatch("no GELU or SiLU of one value is computed around it, or it is used in between")
