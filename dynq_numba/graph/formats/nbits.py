"""MatMulNBits of ONNX Runtime (com.microsoft): blocks of integers that lie side by side along K.

    B [N, blocks, bytes of a block] uint8: 8 bits + 128; 4 bits + 8, the even value of K in the low half
    scales [N · blocks]

One scale per channel is the same scale for each block. The last block is filled with zeros.
"""

from __future__ import annotations

import numpy as np

from ..layers import Found, Replacement
from .base import Format, as_it_is, constant, opened

#: Values of K in a block of a weight that has no groups: ONNX Runtime is the faster, the larger they are, and rounds x
#: by them.
BLOCK, LEAST_BLOCK = 128, 16

_BODY = """
    y = com.microsoft.MatMulNBits <K: int = SIZE_K, N: int = SIZE_N, bits: int = BITS, block_size: int = BLOCK,
        accuracy_level: int = 4> (x, weight, scalesBIAS)
"""


def _linear(found: Found, made: Replacement) -> Replacement:
    packed = made.packed
    n, k = packed.shape
    block = packed.group_size or min(BLOCK, max(LEAST_BLOCK, 1 << (k - 1).bit_length()))
    count = -(-k // block)
    middle = 8 if packed.bits == 4 else 128
    integers = np.full((n, count * block), middle, np.uint8)
    integers[:, :k] = packed.qweight.astype(np.int16) + middle
    scale = packed.scale if packed.group_size else np.broadcast_to(packed.scale.reshape(-1, 1), (n, count))
    inputs = {
        "x": made.inputs[0], "weight": blobs(integers, packed.bits).reshape(n, count, -1),
        "scales": np.ascontiguousarray(scale).ravel(), **({} if found.bias is None else {"bias": constant(made, -1)}),
    }  # fmt: skip
    parts = {"SIZE_K": k, "SIZE_N": n, "BITS": packed.bits, "BLOCK": block}
    body = _BODY.replace("BIAS", "" if found.bias is None else ", , , bias")  # zero points, order of groups
    for name, value in parts.items():
        body = body.replace(name, str(value))
    return opened(made, inputs, body)


def blobs(integers: np.ndarray, bits: int) -> np.ndarray:
    """Integers [N, K] as bytes."""
    return integers[:, 0::2] | integers[:, 1::2] << 4 if bits == 4 else integers


NBITS = Format(
    "nbits", "weights of 8 or 4 bits and says nothing of x", lambda scheme: scheme.x_bits == 8,
    "nbits: ONNX Runtime (8 bits from 1.22) multiplies the integers, with x in 8 bits by row and block; OpenVINO too",
    {"MatMul": _linear, "Gemm": _linear, "Gather": as_it_is},
)  # fmt: skip
