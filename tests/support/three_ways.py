"""Each call that a rewrite made, computed in three ways: the nodes it replaced, its body, our kernel.

All get the values that the source has there. All must be within a bound of the function in float64, which is the one
that the documentation of our kernel states (its `Notes`), or what roundings in the order of numpy add up to.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from oracle_floats import U
from oracle_floats import norm as norm_oracle

import dynq_numba as dq
from dynq_numba.graph.constants import run_node
from dynq_numba.graph.functions import parse
from dynq_numba.graph.model import RECEIPT
from dynq_numba.kernels.activations.reference import ACTIVATIONS
from dynq_numba.kernels.linear.reference import linear as linear_meaning
from dynq_numba.onnx import InferenceSession

F64 = np.float64
NORMS = ("LayerNorm", "LayerNorm_plain", "RmsNorm")
Array = np.ndarray


def _gelu(x: Array) -> Array:
    return x * np.vectorize(lambda each: math.erfc(-each / math.sqrt(2)) / 2, otypes=[F64])(x)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


#: In float64; then the largest error in U, of |x| or of |y|. For numpy's operations in a spelling of a GELU it is 8:
#: x / √2, erf, 1 + erf and two products are 6 roundings, of which erf's slope leaves less.
TRUE: dict[str, Any] = {
    "gelu": lambda x: (_gelu(x), 10 * U * np.abs(x)),
    "gelu_tanh": lambda x: (
        x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)), 10 * U * np.abs(x)
    ),
    "silu": lambda x: (x * _sigmoid(x), 12 * U * np.abs(x * _sigmoid(x))),
    "relu": lambda x: (np.maximum(x, 0), 0 * x),
    "tanh": lambda x: (np.tanh(x), 8 * U * np.abs(np.tanh(x))),
    "sigmoid": lambda x: (_sigmoid(x), 8 * U * _sigmoid(x)),
}  # fmt: skip


def _post_ops(z: Array, error: Array, activation: str | None, residual: Array | None) -> tuple[Array, Array]:
    """Of sums in float64 that are off by at most `error`; no activation is steeper than 1.13."""
    y, bound = (z, error) if activation is None else TRUE[activation](z)
    bound = bound if activation is None else bound + 1.13 * error
    if residual is not None:
        y = y + F64(residual)
        bound = bound + U * np.abs(y)
    return y, bound


def _float_linear(inputs: list[Array], activation: str | None, residual: bool) -> tuple[Array, Array]:
    x, weight, bias = map(F64, inputs[:3])
    error = (len(weight) + 1) * U * (np.abs(x) @ np.abs(weight) + np.abs(bias))
    return _post_ops(x @ weight + bias, error, activation, inputs[3] if residual else None)


def _linear(inputs: list[Array], activation: str | None, residual: bool) -> tuple[Array, Array]:
    z = F64(_quantized(inputs))
    return _post_ops(z, 0 * z, activation, inputs[5] if residual else None)


def _quantized(inputs: list[Array]) -> Array:
    """The bits of a linear in 8-bit integers."""
    x, weight, scale, _, bias = inputs[:5]
    y = linear_meaning(x.reshape(-1, x.shape[-1]), (weight ^ 128).view(np.int8).T, scale[:, None], bias)
    return y.reshape(*x.shape[:-1], -1)


def _repeated(q: Array, *few: Array) -> list[Array]:
    """k and v with as many heads as q."""
    return [each.repeat(q.shape[-3] // each.shape[-3], -3) for each in few]


def _attention(inputs: list[Array], flags: set[str]) -> tuple[Array, Array]:
    """Keys of weight 0 are not seen."""
    q, k, v, scale, *bias = map(F64, inputs)
    lengths = bias.pop() if "lengths" in flags else None
    k, v = _repeated(q, k, v)
    scores = q * scale @ k.swapaxes(-1, -2) + (bias[0] if bias else 0)
    if flags & {"causal", "topleft"}:
        rows, keys = scores.shape[-2:]
        last = keys if lengths is None else lengths[:, None, None, None]
        place = np.arange(rows)[:, None] + (last - rows if "causal" in flags else 0)
        scores = np.where(np.arange(keys) <= place, scores, -np.inf)
    if lengths is not None:
        scores = np.where(np.arange(scores.shape[-1]) < lengths[:, None, None, None], scores, -np.inf)
    size = np.abs(q * scale) @ np.abs(k).swapaxes(-1, -2) + (np.abs(bias[0]) if bias else 0)
    largest = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    e = np.where(weights > 0, size, 0).max(-1, keepdims=True)
    largest_v = np.abs(v).max((-1, -2), keepdims=True)
    bound = 1.01 * U * largest_v * (2 * (q.shape[-1] + 3) * e + 13 * math.ceil(k.shape[-2] / 64) + 350)
    return weights @ v, bound + 0 * (weights @ v)


def _appended(inputs: list[Array]) -> Array:
    """A cache with what is new in it."""
    past, new, starts, (total,) = inputs
    y = np.zeros((*past.shape[:2], max(past.shape[2], total), past.shape[3]))
    y[:, :, : past.shape[2]] = past
    for part, more, start in zip(y, new, starts, strict=True):
        part[:, start : start + new.shape[2]] = more
    return y


def _rotary(inputs: list[Array], flags: set[str]) -> tuple[Array, Array]:
    """Two products and a sum."""
    x, cos, sin = map(F64, inputs)
    half = x.shape[-1] // 2
    pairs = (slice(0, None, 2), slice(1, None, 2)) if "interleaved" in flags else (slice(half), slice(half, None))
    if "half" in flags:
        tables = np.empty((2, *cos.shape[:-1], 2 * half))
        for pair in pairs:
            tables[..., pair] = cos, sin
        cos, sin = tables
    turned = np.empty_like(x)
    turned[..., pairs[0]], turned[..., pairs[1]] = -x[..., pairs[1]], x[..., pairs[0]]
    return x * cos + turned * sin, 2.01 * U * (np.abs(x * cos) + np.abs(turned * sin))


def _mean_pool(inputs: list[Array]) -> tuple[Array, Array]:
    """A product and a sum for each token, a sum of whole numbers, a quotient."""
    x, mask, least = map(F64, inputs)
    weights, divisors = mask[..., None], np.maximum(mask.sum(1)[:, None], least)
    y = (weights * x).sum(1) / divisors
    return y, 1.01 * U * (x.shape[1] + 2) * (np.abs(weights * x).sum(1) / divisors)


def _float_conv(
    inputs: list[Array], function: onnx.FunctionProto, activation: str | None, folded: float
) -> tuple[Array, Array]:
    """The sum has a rounding for each product and term; a batch norm in the source four more, of its own terms."""
    made = ir.serde.deserialize_function(function)
    x, weight, bias, *residual = map(F64, inputs)
    sizes = run_node(made[0], [np.abs(x), np.abs(weight), np.abs(bias)], 21)[0] + folded
    error = (weight[0].size + 6) * U * sizes
    return _post_ops(run_node(made[0], [x, weight, bias], 21)[0], error, activation, *(residual or [None]))


def _batch_norm_terms(source: onnx.ModelProto, values: dict[str, Array]) -> float:
    """The largest |mean · g| + |beta| that is folded."""
    arrays = values | {each.name: numpy_helper.to_array(each) for each in source.graph.initializer}
    largest = 0.0
    for node in source.graph.node:
        if node.op_type == "BatchNormalization":
            scale, beta, mean, variance = (F64(arrays[name]) for name in node.input[1:])
            terms = np.abs(mean * scale / np.sqrt(variance + 1e-5)) + np.abs(beta)
            largest = max(largest, float(terms.max()))
    return largest


def _of_bytes(q: Array, k: Array, v: Array, scale: Array) -> Array:
    """What products in 8-bit integers may add to the error of attention; ρ is at most 1."""
    q = np.abs(F64(q) * scale)
    k, keys, largest = np.abs(F64(k)), k.shape[-2], np.abs(F64(v)).max((-1, -2), keepdims=True)
    q_sum, k_sum = q.sum(-1).max(-1)[..., None, None], k.sum(-1).max(-1)[..., None, None]
    q_most, k_most = q.max((-1, -2), keepdims=True), k.max((-1, -2), keepdims=True)
    delta = 1.01 * (q_sum * k_most + k_sum * q_most + q.shape[-1] * q_most * k_most / 254) / 254
    blocks = math.ceil(keys / 64)
    return largest * (delta + 1 / 254 + min(64, keys) / 510 + 2.0**-16 * (blocks + 1))


def truth(
    call: ir.Node, inputs: list[Array], function: onnx.FunctionProto, folded: float
) -> list[tuple[Array, Array, Array]]:
    """Of each result: in float64, and how far our kernel, and how far numpy may be off."""
    name = parse(call.op_type)
    if name.base in NORMS:
        x, *rest = inputs
        residual = rest.pop(0) if name.residual else None
        eps, weight, bias = rest.pop(), *rest, *[None] * (2 - len(rest))
        arguments = (x, weight, bias, residual, eps, name.base != "RmsNorm")
        y, bound = norm_oracle(*arguments)
        # Means of numpy, and a reciprocal, a product and a square as a power more.
        loose = norm_oracle(*arguments, added=x.shape[-1] + 6)[1]
        total = [] if residual is None else [(F64(x + residual), 0 * y, 0 * y)]
        return [(y, bound, loose), *total]
    if call.op_type in ("Gelu", "GeluTanh", "Silu"):
        y, bound = TRUE[{"Gelu": "gelu", "GeluTanh": "gelu_tanh", "Silu": "silu"}[call.op_type]](F64(inputs[0]))
    elif name.base.startswith("Attention"):
        y, bound = _attention(inputs, set(name.base.split("_")))
        if call.op_type.endswith("_8"):
            return [(y, bound + _of_bytes(inputs[0], *_repeated(*inputs[:3]), inputs[3]), bound)]
    elif name.base.startswith("Rotary"):
        y, bound = _rotary(inputs, set(name.base.split("_")))
    elif name.base == "MeanPool":
        y, bound = _mean_pool(inputs)
    elif name.base == "Append":
        y, bound = _appended(inputs), np.zeros(())
    elif name.base.startswith("FloatConv"):
        y, bound = _float_conv(inputs, function, name.activation, folded)
    elif name.base == "FloatLinear":
        y, bound = _float_linear(inputs, name.activation, name.residual)
    else:
        y, bound = _linear(inputs, name.activation, name.residual)
    return [(y, bound + 2.0**-147, bound + 2.0**-147)]


def ours(call: ir.Node, inputs: list[Array], function: onnx.FunctionProto, body: list[Array]) -> list[Array] | None:
    """What our kernels give; None where no public function does this yet."""
    name = parse(call.op_type)
    if name.base in NORMS:
        *arrays, eps = inputs
        if name.residual:
            arrays[:2] = np.broadcast_arrays(*arrays[:2])
        x, residual = arrays[0], arrays.pop(1) if name.residual else None
        total = None if residual is None else np.empty_like(x)
        norm = dq.rms_norm if name.base == "RmsNorm" else dq.layer_norm
        y = norm(*arrays, eps=float(eps), residual=residual, sum_out=total)
        return [y] if total is None else [y, total]
    if name.base.startswith("Attention"):
        q, k, v, scale, *bias = inputs
        flags = name.base.split("_")
        causal = "top_left" if "topleft" in flags else "causal" in flags
        lengths = np.clip(bias.pop(), 0, k.shape[-2]) if "lengths" in flags else None
        options: dict[str, Any] = {"mask": bias[0] if bias else None, "key_lengths": lengths}
        bits = 8 if "8" in flags else None
        return [dq.attention(q, k, v, scale=float(scale), causal=causal, bits=bits, **options)]
    if name.base.split("_")[0] in ("Rotary", "MeanPool", "Append"):
        return _in_session(call, inputs, function, body)
    if call.op_type in ("Gelu", "GeluTanh"):
        return [dq.gelu(inputs[0], approximate="tanh" if call.op_type == "GeluTanh" else None)]
    if call.op_type == "Silu":
        return [dq.silu(inputs[0])]
    if name.base == "Linear":
        y = _quantized(inputs)
        y = y if name.activation is None else ACTIVATIONS[name.activation](y)
        return [y + inputs[5] if name.residual else y]
    return None


def _in_session(
    call: ir.Node, inputs: list[Array], function: onnx.FunctionProto, body: list[Array]
) -> list[Array]:
    """What a session of this call alone gives, without a step in Python."""
    kinds = [onnx.helper.np_dtype_to_tensor_dtype(each.dtype) for each in inputs]
    made = onnx.helper.make_tensor_value_info
    values = [made(name, kind, each.shape) for name, kind, each in zip(function.input, kinds, inputs, strict=True)]
    pairs = zip(function.output, body, strict=True)
    results = [made(name, onnx.TensorProto.FLOAT, each.shape) for name, each in pairs]
    node = onnx.helper.make_node(call.op_type, function.input, function.output, domain=function.domain)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", values, results), functions=[function], ir_version=10,
        opset_imports=[*function.opset_import, onnx.helper.make_opsetid(function.domain, 1)],
    )  # fmt: skip
    onnx.helper.set_model_props(model, {RECEIPT: "{}"})
    session = InferenceSession(model)
    found = session.run(None, dict(zip(function.input, inputs, strict=True)))
    assert not any(step.kernel.startswith("python") for step in session.report())
    return found


def all_values(model: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """Every value of the main graph, in onnx.reference."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    names = [name for node in copy.graph.node for name in node.output if name]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    with np.errstate(all="ignore"):
        values = dict(zip(names, ReferenceEvaluator(copy).run(None, feeds), strict=True))
    return values | feeds


def check_calls(source: onnx.ModelProto, made: ir.Model, feeds: dict[str, Array]) -> list[str]:
    """Compare all calls of `made`, which a rewrite of `source` gave; the names of the functions, without hashes."""
    values, compared = all_values(source, feeds), []
    folded = _batch_norm_terms(source, values)
    for name, value in made.graph.initializers.items():
        assert value.const_value is not None
        values[name] = value.const_value.numpy()
    for node in made.graph:
        if node.domain != "dynq":
            if node.outputs[0].name not in values:  # a view or a bias that the rewrite made
                inputs = [None if each is None else values[each.name or ""] for each in node.inputs]
                results = run_node(node, inputs, made.opset_imports[""])
                values |= {each.name or "": array for each, array in zip(node.outputs, results, strict=True)}
            continue
        inputs = [values[each.name or ""] for each in node.inputs if each is not None]
        function = ir.serde.serialize_function(made.functions[node.op_identifier()])
        assert len(inputs) == len(function.input)
        with np.errstate(all="ignore"):
            feed = dict(zip(function.input, inputs, strict=True))
            body = ReferenceEvaluator(function).run(None, feed, attributes={})
        kernel = ours(node, inputs, function, body)
        for i, (want, bound, loose) in enumerate(truth(node, inputs, function, folded)):
            replaced = values.get(node.outputs[i].name or "")
            for way, got, most in (
                ("nodes", replaced, loose), ("body", body[i], loose), ("kernel", kernel and kernel[i], bound)
            ):  # fmt: skip
                if got is not None:
                    assert got.shape == want.shape and got.dtype == np.float32, (node.name, way)
                    excess = np.abs(got - want) - most
                    assert (excess <= 0).all(), (node.op_type, node.name, way, float(np.nanmax(excess)))
        compared.append(re.sub("_[0-9a-f]{8}", "", node.op_type))
    return compared
