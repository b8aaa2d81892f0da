"""x as uint8 with one scale for the whole tensor, and products of integers: what quantizers have written since 2019.

    linear        DynamicQuantizeLinear ─▶ MatMulInteger ─▶ times both scales, plus bias
    convolution   DynamicQuantizeLinear ─▶ ConvInteger ─▶ the same
    LSTM          DynamicQuantizeLSTM of ONNX Runtime (com.microsoft)

"qoperator" has uint8 weights about 128, which every CPU multiplies exactly. "qoperator_u8s8" has int8 weights: several
times faster in ONNX Runtime on CPUs with VNNI or AMX, and saturated sums on CPUs with AVX2 and without VNNI.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..functions import MOST_K
from ..layers import Found, Replacement, Unfit
from ..layers.recurrent_body import RESULTS
from ..recipe import Scheme
from .base import (
    Format,
    Writer,
    as_it_is,
    biased_sum,
    constant,
    floats_of,
    opened,
    recurrent_inputs,
    signed,
    signed_table,
    with_attributes,
)

_INTEGERS = """
    integers, x_scale, x_point = DynamicQuantizeLinear (x)
    sums = PRODUCT (integers, weight, x_point, weight_point)
    floats = Cast <to: int = 1> (sums)
    factor = Mul (x_scale, scale)
"""
_LSTM = """
    Y, Y_h, Y_c = com.microsoft.DynamicQuantizeLSTM (x, W, R, PLACES, W_scale, W_point, R_scale, R_point)
"""


def _stored(weight: np.ndarray, signs: bool) -> dict[str, Any]:
    """A weight of integers about 128, and its zero point."""
    if signs:
        return {"weight": signed(weight), "weight_point": np.zeros((), np.int8)}
    return {"weight": weight, "weight_point": np.array(128, np.uint8)}


def _linear(found: Found, made: Replacement, *, signs: bool) -> Replacement:
    k = made.packed.shape[1]
    if k > MOST_K:
        raise Unfit(f"K = {k}: at most {MOST_K} products fit the int32 sums of MatMulInteger")
    last, bias = biased_sum(found, made, "Mul (floats, factor)")
    stored = _stored(constant(made, 1), signs)
    inputs = {"x": made.inputs[0], "weight": stored["weight"], "scale": constant(made, 2), **stored, **bias}
    return opened(made, inputs, _INTEGERS.replace("PRODUCT", "MatMulInteger") + last, table=made.table)


def _conv(found: Found, made: Replacement, *, signs: bool) -> Replacement:
    last, bias = biased_sum(found, made, "Mul (floats, factor)")
    inputs = {"x": made.inputs[0], **_stored(constant(made, 1), signs), "scale": constant(made, 2), **bias}
    body = _INTEGERS.replace("PRODUCT", "ConvInteger") + last
    return with_attributes(opened(made, inputs, body), found, "ConvInteger")


def _lstm(found: Found, made: Replacement, *, signs: bool) -> Replacement:
    inputs: dict[str, Any] = {"x": made.inputs[0]}
    for name, place in (("W", 1), ("R", 4)):
        stored, scale = _stored(constant(made, place), signs), constant(made, place + 1)
        points = np.full(scale.shape, stored["weight_point"])
        inputs |= {name: stored["weight"], f"{name}_scale": scale, f"{name}_point": points}
    more, places = recurrent_inputs(found, made)
    inputs |= more
    results = ", ".join(RESULTS["lstm"])
    body = _LSTM.replace("Y, Y_h, Y_c", results).replace("PLACES", places)
    made = opened(made, inputs, body, results, floats=floats_of(inputs))
    return with_attributes(made, found, "DynamicQuantizeLSTM")


def _has(scheme: Scheme) -> bool:
    return (scheme.bits, scheme.x_bits) == (8, 8) and scheme.granularity != "per_group"


def _format(name: str, *, signs: bool, runtimes: str) -> Format:
    linear = partial(_linear, signs=signs)
    writers: dict[str, Writer] = {
        "MatMul": linear, "Gemm": linear, "Gather": signed_table if signs else as_it_is,
        "Conv": partial(_conv, signs=signs), "LSTM": partial(_lstm, signs=signs),
    }  # fmt: skip
    told = f"{name}: x as uint8 with one scale for all rows; {runtimes}"
    return Format(name, "weights of 8 bits per channel or per tensor, and 8 bits of x", _has, told, writers)


QOPERATOR = _format("qoperator", signs=False, runtimes="exact sums on every CPU")
QOPERATOR_U8S8 = _format(
    "qoperator_u8s8", signs=True, runtimes="fast in ONNX Runtime with VNNI or AMX, saturated sums with AVX2 alone"
)
