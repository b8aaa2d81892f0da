"""MatMul and Gemm with a constant weight: dq.linear, as the functions of linear_body.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...operators.linear import schemes
from ...operators.linear.api import linear
from ...operators.linear.pack import pack_linear
from ...operators.linear.packed import PackedLinear
from ...operators.linear.smooth import smooth
from ..constants import Constants
from ..recipe import Scheme
from . import gptq
from .base import Found, LayerKind, Probe, Replacement, Unfit
from .linear_body import of_channels, of_groups
from .treatment import Treated, roles, treated

#: Rows of x that a layer is tried on.
PROBES = 16


class Linear(LayerKind):
    op_types = ("MatMul", "Gemm")

    def find(self, node: ir.Node, constants: Constants) -> Found | None:
        x, weight = node.inputs[:2]
        assert x is not None and weight is not None
        if constants.is_constant(weight):
            return Found(node, (weight,), *_bias(node, constants))
        return Found(node, (x,)) if constants.is_constant(x) else None

    def replace(self, found: Found, arrays: Sequence[np.ndarray], scheme: Scheme, constants: Constants) -> Replacement:
        weight = _outputs_by_inputs(found, arrays[0])
        n, k = weight.shape
        group = scheme.group_size or 0
        if group and k % group:
            raise Unfit(f"K = {k} is no multiple of group_size={group}")
        own = np.zeros(n, np.float32) if found.bias is None else np.broadcast_to(found.bias, n).copy()
        before, x, after = _around(found, constants)
        t = treated(found, x, weight, scheme)
        packed, found.treated = _packed(t, own, scheme), t
        described = packed.scheme if packed.x_bits == 8 else f"{packed.scheme}, x_bits=16"
        described += scheme.treatment()
        more = bool(t.columns)
        if group:
            made, inputs = of_groups(packed.qweight, packed.scale, own, scheme.bits, more)
        else:
            scale = np.broadcast_to(packed.scale, n).copy()
            made, inputs = of_channels(packed.qweight, scale, own, packed.x_bits, more)
        plain = not group and not scheme.treatment()
        return Replacement(
            made, [t.x, *inputs, *roles(t)], packed, described, before, after, needs=t.needs,
            table=weight if plain else None, bytes_before_it=t.bytes,
        )  # fmt: skip

    def probe(self, found: Found, arrays: Sequence[np.ndarray], packed: Any, constants: Constants) -> Probe:
        weight = _outputs_by_inputs(found, arrays[0])
        drawn = np.random.default_rng(0).standard_normal((PROBES, weight.shape[1]), np.float32)
        x = drawn if found.observed is None else found.observed.rows
        floats = x @ weight.T
        ours = linear(x if found.treated is None else found.treated.of(x), packed)
        return Probe([floats if found.bias is None else floats + found.bias], [ours])


def _packed(t: Treated, bias: np.ndarray, scheme: Scheme) -> PackedLinear:
    form: tuple[Any, Any, Any] = scheme.bits, scheme.granularity, scheme.group_size
    if scheme.gptq and t.gram is not None:
        q, scales = gptq.rounded(t.weight, t.gram, *form)
    elif t.columns:
        q, scales, _ = schemes.quantize_weight(t.weight, *form)
    else:
        return pack_linear(t.weight, bias, **scheme.arguments())
    return PackedLinear(
        q, scales, bias, *form, "per_token", outliers=t.columns, floats=t.floats, x_bits=scheme.x_bits
    )  # fmt: skip


def _outputs_by_inputs(found: Found, array: np.ndarray) -> np.ndarray:
    """The weight as dq.pack_linear takes it, [N, K]."""
    node = found.node
    if found.weights[0] is node.inputs[0]:
        raise Unfit("the constant is the left factor")
    if array.ndim != 2:
        raise Unfit(f"the weight has {array.ndim} axes")
    if node.op_type == "MatMul":
        return array.T
    alpha = np.float32(node.attributes.get_float("alpha", 1.0))
    turned = array if node.attributes.get_int("transB", 0) else array.T
    return turned if alpha == 1 else turned * alpha


def _bias(node: ir.Node, constants: Constants) -> tuple[tuple[ir.Node, ...], np.ndarray | None]:
    """The Add that follows with a constant bias, and the bias; of a Gemm, its C where that is a vector."""
    if node.op_type == "Gemm":
        bias = constants.array(node.inputs[2]) if len(node.inputs) > 2 else None
        beta = np.float32(node.attributes.get_float("beta", 1.0))
        return (), None if bias is None or bias.ndim != 1 else np.asarray(bias, np.float32) * beta
    uses = list(node.outputs[0].uses())
    after = uses[0].node if len(uses) == 1 and not node.outputs[0].is_graph_output() else None
    if after is None or after.op_type != "Add" or after.domain != "" or after.graph is not node.graph:
        return (), None
    addend = constants.array(after.inputs[1 - uses[0].idx])
    weight = constants.array(node.inputs[1])
    if weight is None or addend is None or addend.ndim != 1:
        return (), None
    if addend.size not in (1, weight.shape[-1]):  # the sum has another shape
        return (), None
    return (after,), np.asarray(addend, np.float32)


def _around(found: Found, constants: Constants) -> tuple[list[ir.Node], ir.Value, list[ir.Node]]:
    """What a Gemm does beyond x times weight and bias: nodes before, x, nodes after."""
    node = found.node
    x = node.inputs[0]
    assert x is not None
    if node.op_type != "Gemm":
        return [], x, []
    before, after = [], []
    if node.attributes.get_int("transA", 0):
        before = [ir.node("Transpose", [x], {"perm": [1, 0]})]
        x = before[0].outputs[0]
    if len(node.inputs) > 2 and node.inputs[2] is not None and found.bias is None:
        addend = node.inputs[2]
        beta = node.attributes.get_float("beta", 1.0)
        if beta != 1:
            kind = constants.weight(found.weights[0]).dtype
            factor = ir.node("Constant", [], {"value": ir.tensor(np.array(beta, kind))})
            scaled = ir.node("Mul", [addend, factor.outputs[0]])
            before += [factor, scaled]
            addend = scaled.outputs[0]
        after = [ir.node("Add", [None, addend])]
    return before, x, after


def smoothing(
    group: Sequence[Found], weights: Sequence[np.ndarray], alpha: float
) -> Iterator[tuple[Found, np.ndarray]]:
    """Common factors for layers of one x, whose weights these are; nothing for those that stay float32."""
    fit = []
    for found, array in zip(group, weights, strict=True):
        try:
            fit.append((found, _outputs_by_inputs(found, array)))
        except Unfit:
            continue
    if fit and fit[0][0].observed is not None:
        joined = np.concatenate([weight for _, weight in fit])
        factors = smooth(joined, fit[0][0].observed.amax, alpha).factors
        yield from ((found, factors) for found, _ in fit)
