"""Layer norm and RMS norm over the last axis, in any spelling: dq.layer_norm, dq.rms_norm.

    LayerNorm         x [..., K], weight [K], bias [K], eps []    y = (x - mean) / √(variance + eps) · weight + bias
    LayerNorm_plain   x [..., K], eps []                          y = (x - mean) / √(variance + eps)
    RmsNorm           x [..., K], weight [K], eps []              y = x / √(mean x² + eps) · weight

A region (matching/regions.py) is a norm if it is one on rows of random numbers. Its parameters come out of it: eps is
one of its constants, the bias is what it makes of zeros, and the weight is what it makes of the rest. Where K is not
known (the pixels of an image), it is plain if it is one for several K.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from ...functions import function
from ..base import Editor, NoMatch, Rewrite, label
from ..matching.regions import Region, epsilon, layer_norm, regions_around, rms_norm

_SCALED = """
    squares = Mul (centred, centred)
    variance = ReduceMean (squares, axes)
    steady = Add (variance, eps)
    deviation = Sqrt (steady)
    normal = Div (centred, deviation)
"""
_CENTRED = """
    axes = Constant <value_ints: ints = [-1]> ()
    mean = ReduceMean (TOTAL, axes)
    centred = Sub (TOTAL, mean)
""" + _SCALED + """
    scaled = Mul (normal, weight)
    y = Add (scaled, bias)
"""  # fmt: skip
_WITHOUT_WEIGHTS = _CENTRED[: _CENTRED.index("    scaled")].replace("normal =", "y =")
_RMS = """
    axes = Constant <value_ints: ints = [-1]> ()
    centred = Identity (TOTAL)
""" + _SCALED + """
    y = Mul (normal, weight)
"""  # fmt: skip
#: Parameters of each function, in their order, and its body on TOTAL.
NORMS = {"LayerNorm": ("weight, bias, eps", _CENTRED), "LayerNorm_plain": ("eps", _WITHOUT_WEIGHTS),
         "RmsNorm": ("weight, eps", _RMS)}  # fmt: skip
#: Of float64 arithmetic: nothing but the order of operations may differ.
TOLERANCE = 1e-9
#: What is found of a norm.
_ROLES = ("weight", "bias", "eps")
#: K that are tried where it is not known.
_SOME = (6, 11)


def norm(name: str, *, residual: bool = False) -> ir.Function:
    """One of NORMS; with `residual` of the sum of two, which is its second result."""
    parameters, body = NORMS[name]
    if not residual:
        return function(name, f"x, {parameters}", body.replace("TOTAL", "x"))
    body = "\n    sum = Add (x, residual)" + body.replace("TOTAL", "sum")
    return function(f"{name}_residual", f"x, residual, {parameters}", body, "y, sum")


class Norms(Rewrite):
    name = "norm"
    anchors = ("LayerNormalization", "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "GlobalAveragePool")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        regions = [region for region in regions_around(node, edit) if _reductions(region) <= 2]
        for name, meaning in (("LayerNorm", layer_norm), ("RmsNorm", rms_norm)):
            for region in regions:
                try:
                    found = _found(name, meaning, region, edit)
                except NoMatch:
                    continue
                if found is not None:
                    edit.check_float(region.x)
                    return _replace(*found, region, edit)
        raise NoMatch(
            "no layer or RMS norm over the last axis is computed around it" if regions else
            "what it is part of depends on several values, or not along the last axis, or is used in between"
        )  # fmt: skip


def _found(
    name: str, meaning: Callable[[np.ndarray, float], np.ndarray], region: Region, edit: Editor
) -> tuple[str, dict[str, np.ndarray]] | None:
    """Which function a region is, and its parameters, or None."""
    arrays = region.constants(edit)
    k = _width(region, arrays, edit)
    if k is None:
        found = [_parameters(region, meaning, each, edit) for each in _SOME]
        plain = all(each is not None and np.allclose(each[0], 1, rtol=TOLERANCE) and not each[1].any()
                    and each[2] == found[0][2] for each in found if found[0] is not None)  # fmt: skip
        if name != "LayerNorm" or found[0] is None or not plain:
            return None
        return "LayerNorm_plain", {"eps": np.array(found[0][2], np.float32)}
    parameters = _parameters(region, meaning, k, edit)
    if parameters is None or (name == "RmsNorm" and parameters[1].any()):
        return None
    return name, {role: np.asarray(each, np.float32) for role, each in zip(_ROLES, parameters, strict=True)}


def _reductions(region: Region) -> int:
    """How many means it takes, the same one once: two make a norm, and a third would be one of its result."""
    return len({node.inputs[0] for node in region.nodes if node.op_type.startswith(("Reduce", "Global"))})


def _replace(name: str, parameters: dict[str, np.ndarray], region: Region, edit: Editor) -> str:
    base = label(region.nodes[0])
    inputs = [edit.constant(f"{base}.{each}", parameters[each]) for each in NORMS[name][0].split(", ")]
    call = edit.call(name, partial(norm, name), [region.x, *inputs], region.nodes[0])
    edit.replace([region.y], call.outputs, [call], region.nodes[0])
    return name


def _parameters(
    region: Region, meaning: Callable[[np.ndarray, float], np.ndarray], k: int, edit: Editor
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """weight [K], bias [K] and eps with which the region is this norm, or None."""
    arrays = region.constants(edit)
    bias = region.compute(np.zeros((1, k)), edit)
    numbers = {float(array.reshape(())) for array in arrays if array.size == 1 and array.dtype.kind == "f"}
    numbers |= {epsilon(node) for node in region.nodes if node.op_type.endswith("Normalization")}
    signs = np.where(np.arange(k) % 2, 1.0, -1.0)[None]
    rows = np.random.default_rng(0).standard_normal((4, k)) * [[1e-3], [1], [30], [1e-5]] + [[0], [2], [-9], [0]]
    got = region.compute(rows, edit)
    if bias.shape != (1, k) or got.shape != rows.shape or not np.isfinite(got).all():
        return None
    for eps in sorted(each for each in numbers if 0 < each < 1):
        weight = (region.compute(signs, edit) - bias) / meaning(signs, eps)
        want = meaning(rows, eps)
        bound = TOLERANCE * (np.abs(weight) * (1 + np.abs(want)) + np.abs(bias) + 1e-9)
        if (np.abs(want * weight + bias - got) <= bound).all():
            return weight[0], bias[0], eps
    return None


def _width(region: Region, arrays: list[np.ndarray], edit: Editor) -> int | None:
    """K: that of a parameter, or of x; None where neither tells."""
    widths = {array.shape[-1] for array in arrays if array.ndim and array.shape[-1] > 1}
    dims = edit.dims(region.x)
    widths |= {dims[-1]} if dims and isinstance(dims[-1], int) else set()
    if len(widths) > 1:
        raise NoMatch(f"the last axis of {region.x.name} has several lengths")
    return int(widths.pop()) if widths else None
