"""MatMul and Gemm with a constant weight: dq.linear.

    Linear           x, uint8 weight [K, N] (integers + 128), scale [N], column sums [N], bias [N]       exact
    LinearLong       the same from MOST_K on, where an int32 sum may wrap: products in float64           exact
    Linear16         the same inputs, x as 16 bits: high and low bytes, joined in int64                  exact
    Linear16Long     the same from MOST_K on                                                             exact
    LinearGroup⟨g⟩   x, int4 weight [N, K], scale [N, K/g], weighted sums [N], bias [N]                  exact
    LinearGroup⟨g⟩_8  the same of an int8 weight                                                        exact
      …_wide, …_ties  the same, where float32 or float64 cannot hold what is added                      exact
    …_outliers       the same, and columns [C], their float32 weights [C, N] (treatment.py)              exact

A group's sum times its scale is added to the others by a fused multiply-add, group after group (kernels/linear/
reference.py), here in a Scan. How, the scales decide:

    Mul, Add in float32       float32 holds every product, as of 4 bits, groups of 32 and scales of 8 bits
    in float64 (wide)         float64 holds every sum: each is a multiple of the lowest bit of a scale, below 2⁵³ of it
    … and repaired (ties)     else; a sum may be rounded to just the middle between two float32, and is then moved
                              towards what was rounded off, so that rounding once more goes the right way
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...kernels.base.exact import LARGEST, fma
from ...operators.linear import schemes
from ...operators.linear.api import linear
from ...operators.linear.pack import pack_linear
from ...operators.linear.packed import PackedLinear
from ...operators.linear.smooth import smooth
from ..constants import Constants
from ..functions import BYTES, DEQUANTIZE, MOST_K, QUANTIZE, function
from ..recipe import Scheme
from . import gptq
from .base import Found, LayerKind, Probe, Replacement, Roles, Unfit
from .treatment import Treated, roles, treated, with_outliers

_AXES = """
    axes = Constant <value_ints: ints = [-1]> ()
"""
_EXACT = _AXES + QUANTIZE + BYTES + """
    products = MatMulInteger (bytes, weight, none, middle)
    excess = Mul (zero_points, column_sum)
    sums = Sub (products, excess)
""" + DEQUANTIZE  # fmt: skip
_PRODUCTS_IN_FLOAT64 = """
    centred = Sub (q, zero_point)
    left = Cast <to: int = 11> (centred)
    unsigned = Cast <to: int = 11> (weight)
    middle = Constant <value: tensor = double {128.0}> ()
    right = Sub (unsigned, middle)
    sums = MatMul (left, right)
""" + DEQUANTIZE  # fmt: skip
_LONG = _AXES + QUANTIZE + _PRODUCTS_IN_FLOAT64
_SIXTEEN = QUANTIZE.replace("255.0", "65535.0")
_EXACT_16 = _AXES + _SIXTEEN + """
    base = Constant <value_float: float = 256.0> ()
    parts = Div (q, base)
    upper = Floor (parts)
    above = Mul (upper, base)
    lower = Sub (q, above)
    upper_bytes = Cast <to: int = 2> (upper)
    lower_bytes = Cast <to: int = 2> (lower)
    middle = Constant <value: tensor = uint8 {128}> ()
    none = Constant <value: tensor = uint8 {0}> ()
    upper_sums = MatMulInteger (upper_bytes, weight, none, middle)
    lower_sums = MatMulInteger (lower_bytes, weight, none, middle)
    upper_wide = Cast <to: int = 7> (upper_sums)
    lower_wide = Cast <to: int = 7> (lower_sums)
    times = Constant <value_int: int = 256> ()
    upper_part = Mul (upper_wide, times)
    products = Add (upper_part, lower_wide)
    zero_points = Cast <to: int = 7> (zero_point)
    column_sums = Cast <to: int = 7> (column_sum)
    excess = Mul (zero_points, column_sums)
    sums = Sub (products, excess)
""" + DEQUANTIZE  # fmt: skip
_GROUP = _AXES + QUANTIZE + """
    bytes = Cast <to: int = 2> (q)
    size = Constant <value_ints: ints = [GROUP]> ()
    open = Constant <value_ints: ints = [-1]> ()
    groups = Shape <start: int = 1> (weight_scale)
    by_group = Concat <axis: int = 0> (open, groups, size)
    rows = Reshape (bytes, by_group)
    left = Transpose <perm: ints = [1, 0, 2]> (rows)
    in_32_bits = Cast <to: int = 6> (weight)
    middle = Constant <value: tensor = int32 {128}> ()
    above = Add (in_32_bits, middle)
    integers = Cast <to: int = 2> (above)
    columns = Reshape (integers, by_group)
    right = Transpose <perm: ints = [1, 2, 0]> (columns)
    scales = Transpose <perm: ints = [1, 0]> (weight_scale)
    count = Shape <end: int = 1> (rows)
    outputs = Shape <end: int = 1> (weight)
    shape = Concat <axis: int = 0> (count, outputs)
    begin = Expand (zero, shape)
    total = Scan <num_scan_inputs: int = 3, body: graph = group
        (float[m, n] before, uint8[m, g] x_part, uint8[g, n] w_part, float[n] s_part) => (float[m, n] after) {
        x_point = Constant <value: tensor = uint8 {0}> ()
        w_point = Constant <value: tensor = uint8 {128}> ()
        products = MatMulInteger (x_part, w_part, x_point, w_point)
ADDED    }> (begin, left, right, scales)
    before_last = Shape <end: int = -1> (x)
    result_shape = Concat <axis: int = 0> (before_last, outputs)
    sums = Reshape <allowzero: int = 1> (total, result_shape)
    excess = Mul (zero_point, weighted_sum)
    centred = Sub (sums, excess)
    scaled = Mul (centred, row_scale)
    y = Add (scaled, bias)
"""
#: before + products · s_part, rounded once.
_ADDED_IN_FLOAT32 = """
        floats = Cast <to: int = 1> (products)
        term = Mul (floats, s_part)
        after = Add (term, before)
"""
_SUM_IN_FLOAT64 = """
        wide = Cast <to: int = 11> (products)
        wide_s = Cast <to: int = 11> (s_part)
        term = Mul (wide, wide_s)
        addend = Cast <to: int = 11> (before)
        sum = Add (term, addend)
"""
_ADDED_IN_FLOAT64 = _SUM_IN_FLOAT64 + """
        after = Cast <to: int = 1> (sum)
"""
#: The float32 nearest to term + addend, which are float64.
REPAIRED = """
        of_addend = Sub (sum, term)
        of_term = Sub (sum, of_addend)
        lost_term = Sub (term, of_term)
        lost_addend = Sub (addend, of_addend)
        lost = Add (lost_term, lost_addend)
        splitter = Constant <value: tensor = double {268435457.0}> ()
        spread = Mul (sum, splitter)
        beneath = Sub (spread, sum)
        of_25_bits = Sub (spread, beneath)
        middle_or_float = Equal (of_25_bits, sum)
        last_bit = Constant <value: tensor = double {2.220446049250313e-16}> ()
        magnitude = Abs (sum)
        bit = Mul (magnitude, last_bit)
        way = Sign (lost)
        towards = Mul (bit, way)
        moved = Add (sum, towards)
        right_one = Where (middle_or_float, moved, sum)
        after = Cast <to: int = 1> (right_one)
"""
_ADDED_AND_REPAIRED = _SUM_IN_FLOAT64 + REPAIRED
#: Function and body by bits of x, and whether K is beyond MOST_K.
_BODIES = {
    (8, False): ("Linear", _EXACT), (8, True): ("LinearLong", _LONG),
    (16, False): ("Linear16", _EXACT_16), (16, True): ("Linear16Long", _AXES + _SIXTEEN + _PRODUCTS_IN_FLOAT64),
}  # fmt: skip
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
    form: Any = scheme.bits, scheme.granularity, scheme.group_size
    if scheme.gptq and t.gram is not None:
        q, scales = gptq.rounded(t.weight, t.gram, *form)
    elif t.columns:
        q, scales, _ = schemes.quantize_weight(t.weight, *form)
    else:
        return pack_linear(t.weight, bias, **scheme.arguments())
    return PackedLinear(
        q, scales, bias, *form, "per_token", outliers=t.columns, floats=t.floats, x_bits=scheme.x_bits
    )  # fmt: skip


def exact_linear() -> ir.Function:
    """The function of 8-bit weights and x, for layers that are made of it."""
    return _linear(8, False)


def of_channels(
    q: np.ndarray, scale: np.ndarray, bias: np.ndarray, x_bits: int = 8, outliers: bool = False
) -> tuple[ir.Function, Roles]:
    """The function of integers [N, K] within ±127 with a scale [N], and what it takes behind x, but for outliers."""
    sums = q.sum(axis=1, dtype=np.int32)
    inputs: Roles = [("weight", biased(q.T)), ("scale", scale), ("column_sum", sums), ("bias", bias)]
    return _linear(x_bits, q.shape[1] > MOST_K, outliers), inputs


def of_groups(
    q: np.ndarray, scale: np.ndarray, bias: np.ndarray, bits: int, outliers: bool = False
) -> tuple[ir.Function, Roles]:
    """The same of integers of 4 or 8 bits whose groups have a scale each, [N, K/g]."""
    dtype = ir.DataType.INT4 if bits == 4 else ir.DataType.INT8
    inputs: Roles = [
        ("weight", ir.tensor(q.astype(dtype.numpy()), dtype)), ("scale", scale),
        ("weighted_sum", weighted_sums(q, scale)), ("bias", bias),
    ]  # fmt: skip
    return _grouped(bits, scale, q.shape[1] // scale.shape[1], outliers), inputs


def _linear(x_bits: int, long: bool, outliers: bool = False) -> ir.Function:
    name, body = _BODIES[x_bits, long]
    return _function(name, "x, weight, weight_scale, column_sum, bias", body, outliers)


def _function(name: str, inputs: str, body: str, outliers: bool) -> ir.Function:
    return function(*with_outliers(name, inputs, body, REPAIRED) if outliers else (name, inputs, body))


def _grouped(bits: int, scale: np.ndarray, group: int, outliers: bool) -> ir.Function:
    how, added = _adding(group * 255 * (8 if bits == 4 else 128), scale)
    body = _GROUP.replace("ADDED", added).replace("GROUP", str(group))
    name = f"LinearGroup{group}{'_8' * (bits == 8)}{how}"
    return _function(name, "x, weight, weight_scale, weighted_sum, bias", body, outliers)


def _adding(most: int, scale: np.ndarray) -> tuple[str, str]:
    """How sums of groups are added up, by its name: `most` is the largest one, scale [N, K/g]."""
    mantissa, exponent = np.frexp(np.abs(scale).astype(np.float64))
    whole = np.ldexp(mantissa, 24).astype(np.int64)  # an integer, as float32 has 24 bits
    lowest = np.maximum(whole & -whole, 1)
    if most * int((whole // lowest).max()) <= 1 << 24:
        return "", _ADDED_IN_FLOAT32
    unit = np.where(whole, np.ldexp(lowest.astype(np.float64), exponent - 24), np.inf).min(axis=1)
    if (2 * most * np.abs(scale).sum(axis=1, dtype=np.float64) <= np.ldexp(unit, 53)).all():
        return "_wide", _ADDED_IN_FLOAT64
    return "_ties", _ADDED_AND_REPAIRED


def weighted_sums(q: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Σ_g Σ q · scale [N] of q [N, K] and scale [N, K/g], as kernels/linear/reference.py adds it."""
    sums = q.reshape(*scale.shape, -1).sum(axis=2, dtype=np.int64).astype(np.float32)
    total = np.zeros(len(q), np.float32)
    for g in range(scale.shape[1]):
        total = np.clip(fma(sums[:, g], scale[:, g], total), -LARGEST, LARGEST)
    return total


def biased(q: np.ndarray) -> np.ndarray:
    """Integers in [-127, 127] as uint8 about 128."""
    return np.ascontiguousarray(q).view(np.uint8) ^ np.uint8(128)


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
