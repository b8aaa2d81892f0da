"""Rotary embeddings, in any spelling: the values of a head, in pairs, turned by an angle.

    Rotary[_interleaved][_half]   x [..., D], cos, sin (to x; `half`: their last axis is D/2)    y [..., D]

    y1 = x1 · cos1 - x2 · sin1       x1, x2 are the halves of x, or its even and odd values (`interleaved`);
    y2 = x2 · cos2 + x1 · sin2       cos and sin have a value for each of x, or (`half`) one for each pair

A region of three inputs is one if it has its values on random numbers. So rotate_half by Slice, Split or Gather, by
Neg and Concat, and pairs by Reshape or Unsqueeze are all the same.
"""

from __future__ import annotations

from functools import partial
from itertools import permutations

import numpy as np
import onnx_ir as ir

from ...functions import function
from ..base import Editor, NoMatch, Rewrite
from ..matching.computed import TOLERANCE, Numbers, regions_of

#: What such a region consists of; the fewest nodes it has.
_UNDERSTOOD = {
    "Add", "Sub", "Mul", "Neg", "Div", "Concat", "Slice", "Split", "Gather", "Reshape", "Unsqueeze", "Squeeze", "Shape",
    "Cast",
}  # fmt: skip
FEWEST = 5

_TURNED = {
    "Rotary": """
    x1, x2 = Split <axis: int = -1, num_outputs: int = 2> (x)
    minus = Neg (x2)
    turned = Concat <axis: int = -1> (minus, x1)
    straight = Mul (x, cos)
    across = Mul (turned, sin)
    y = Add (straight, across)
""",
    "Rotary_half": """
    x1, x2 = Split <axis: int = -1, num_outputs: int = 2> (x)
PAIRS
    y = Concat <axis: int = -1> (y1, y2)
""",
    "Rotary_interleaved": """
EVEN_ODD
    minus = Neg (x2)
    minus_pairs = Unsqueeze (minus, last)
    x1_pairs = Unsqueeze (x1, last)
    pairs = Concat <axis: int = -1> (minus_pairs, x1_pairs)
    shape = Shape (x)
    turned = Reshape (pairs, shape)
    straight = Mul (x, cos)
    across = Mul (turned, sin)
    y = Add (straight, across)
""",
    "Rotary_interleaved_half": """
EVEN_ODD
PAIRS
    y1_pairs = Unsqueeze (y1, last)
    y2_pairs = Unsqueeze (y2, last)
    pairs = Concat <axis: int = -1> (y1_pairs, y2_pairs)
    shape = Shape (x)
    y = Reshape (pairs, shape)
""",
}
#: y1 and y2, a pair turned by an angle, of x1 and x2.
PAIRS = """
    x1_cos = Mul (x1, cos)
    x2_sin = Mul (x2, sin)
    y1 = Sub (x1_cos, x2_sin)
    x2_cos = Mul (x2, cos)
    x1_sin = Mul (x1, sin)
    y2 = Add (x2_cos, x1_sin)
"""
_EVEN_ODD = """
    first = Constant <value_ints: ints = [0]> ()
    second = Constant <value_ints: ints = [1]> ()
    two = Constant <value_ints: ints = [2]> ()
    last = Constant <value_ints: ints = [-1]> ()
    end = Constant <value_ints: ints = [4611686018427387904]> ()
    x1 = Slice (x, first, end, last, two)
    x2 = Slice (x, second, end, last, two)
"""


def rotary(name: str) -> ir.Function:
    """The function of that name."""
    body = _TURNED[name].replace("PAIRS\n", PAIRS).replace("EVEN_ODD\n", _EVEN_ODD)
    return function(name, "x, cos, sin", body)


class Rotary(Rewrite):
    name = "rotary"
    anchors = ("Add", "Concat", "Reshape")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        tried = False
        for values, nodes in regions_of(node, 3, _UNDERSTOOD, edit):
            if len(nodes) < FEWEST:
                continue
            tried = True
            found = _found(values, nodes, edit)
            if found is not None:
                name, inputs = found
                for value in inputs:
                    edit.check_float(value)
                call = edit.call(name, partial(rotary, name), inputs, node)
                edit.replace(node.outputs, call.outputs, [call], node)
                call.outputs[0].shape = inputs[0].shape
                return call.op_type
        raise NoMatch("of three values, but no rotary embedding" if tried else "")


def _found(
    values: list[ir.Value], nodes: list[ir.Node], edit: Editor
) -> tuple[str, tuple[ir.Value, ...]] | None:
    """Which function the nodes are, and its inputs."""
    for x in values:
        trials = [Numbers(x, values, edit, full=full) for full in (False, True)]
        results = [numbers.compute(nodes) for numbers in trials]
        for cos, sin in permutations([each for each in values if each is not x]):
            for name in _TURNED:
                meant = [_meaning(name, *(numbers.arrays[each] for each in (x, cos, sin))) for numbers in trials]
                if all(map(_same, meant, results)):
                    return name, (x, cos, sin)
    return None


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool((np.abs(one - other) <= TOLERANCE).all())


def _meaning(name: str, x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray | None:
    """y in float64; None where the shapes do not fit."""
    width = cos.shape[-1] * 2 if "half" in name else cos.shape[-1]
    if x.shape[-1] % 2 or width != x.shape[-1] or cos.shape[-1] != sin.shape[-1]:
        return None
    half = x.shape[-1] // 2
    places = (slice(0, None, 2), slice(1, None, 2)) if "interleaved" in name else (slice(half), slice(half, None))
    x1, x2 = (x[..., place] for place in places)
    (c1, c2), (s1, s2) = ([each, each] if "half" in name else [each[..., place] for place in places]
                          for each in (cos, sin))  # fmt: skip
    try:
        parts = np.broadcast_arrays(x1 * c1 - x2 * s1, x2 * c2 + x1 * s2)
    except ValueError:  # of numpy
        return None
    y = np.empty((*parts[0].shape[:-1], 2 * half))
    for place, part in zip(places, parts, strict=True):
        y[..., place] = part
    return y if y.shape == x.shape else None
