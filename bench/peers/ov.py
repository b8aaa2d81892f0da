"""OpenVINO: MatMul with compressed weights, activations quantized dynamically in groups along K.

The weight is a constant of int8 with a scale per channel, or of int4 with a scale per 128 of them, then converted and
multiplied by its scale: the pattern that its weight compression writes and its CPU plugin fuses
(docs.openvino.ai, "Weight Compression"; the bias is an Add, fused too). Two properties of the CPU plugin matter:

* DYNAMIC_QUANTIZATION_GROUP_SIZE: activations become int8 only when it is positive and at most K (int8 weights) or at
  most the weight's group (int4). With any other value it computes in float32 and says nothing, so `build` refuses
  such a K. The error hardly tells: on normal data 0.77 % with int8 weights alone, 1.0 % with int8 activations too;
  with int4 weights 11.7 % either way. The time does: 128,768,768 in float32 takes 2.6 times as long.
* INFERENCE_PRECISION_HINT, f32 here: by default x and y pass through bfloat16 on CPUs that have it, which is slower.

A call hands x over as a shared tensor and takes a copy of the result (docs.openvino.ai, "OpenVINO Python API
advanced inference"); bare is ``infer()`` on the tensor set by that call. ONEDNN_MAX_CPU_ISA=AVX2 is no switch for it:
the model does not compile (AVX2_VNNI works).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .base import Contestant, Function
from .integers import symmetric

#: The group of int4 weights, and of activations, for which the largest power of two up to K will do as well.
GROUP, SMALLEST_GROUP = 128, 16


def int8_weight(ops, weight: np.ndarray):
    """A node: float32 [N, K] from int8 and a scale per channel."""
    values, scales = symmetric(weight, 127)
    wide = ops.convert(ops.constant(values, dtype=np.int8), np.float32)
    return ops.multiply(wide, ops.constant(scales[:, None]))


def int4_weight(ops, weight: np.ndarray):
    """A node: float32 [N, K] from int4 and a scale per group."""
    import openvino

    n, k = weight.shape
    if k % GROUP:
        raise ValueError(f"K must be a multiple of {GROUP}, was {k}")
    values, scales = symmetric(weight.reshape(n, k // GROUP, GROUP), 7)
    low, high = values.reshape(n, k // 2, 2).view(np.uint8).transpose(2, 0, 1)
    packed = openvino.Tensor(openvino.Type.i4, openvino.Shape(values.shape))  # owns its bytes
    packed.data.view(np.uint8)[:] = (low & 15 | high << 4).ravel()
    wide = ops.convert(ops.constant(packed), np.float32)
    scaled = ops.multiply(wide, ops.constant(scales[..., None]))
    return ops.reshape(scaled, np.array([n, k]), special_zero=False)


def build(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int, *, bits: int) -> Function:
    import openvino
    from openvino import opset13 as ops

    k = weight.shape[1]
    if k < SMALLEST_GROUP:
        raise ValueError(f"K must be at least {SMALLEST_GROUP}, was {k}: OpenVINO would compute in float32")
    x = ops.parameter([rows, k], np.float32)
    product = ops.matmul(x, (int8_weight if bits == 8 else int4_weight)(ops, weight), False, True)
    model = openvino.Model([ops.add(product, ops.constant(bias[None]))], [x])
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": min(GROUP, 1 << k.bit_length() - 1),
    }
    request = openvino.Core().compile_model(model, "CPU", properties).create_infer_request()

    def call(x: np.ndarray) -> np.ndarray:
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        request.infer(share_outputs=True)
        return request.get_output_tensor().data.copy()

    return Function(call, partial(request.infer, share_outputs=True))


def contestant(name: str, bits: int, tolerance: float) -> Contestant:
    return Contestant(
        name=f"OpenVINO {name}",
        family="openvino",
        weights=f"int{bits}",
        distributions=("openvino",),
        build=partial(build, bits=bits),
        tolerance=tolerance,
        )


INT8 = (contestant("int8", 8, 0.02),)
INT4 = (contestant("int4 g128", 4, 0.18),)
