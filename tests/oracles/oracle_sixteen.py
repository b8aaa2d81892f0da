"""The oracle of linear with x of 16 bits, in Python's integers: no product is split into bytes. Imports nothing of the
project.

    scale = (hi - lo) / 65535, zero_point = clip(rint(-lo / scale)), q = clip(rint(x / scale) + zero_point), 0 … 65535
    y     = float32(Σ (q - zero_point)·qw) · (scale·scale_w) + bias
"""

import numpy as np

F32 = np.float32
TOP = 65535


def quantize_row(x):
    """(integers, scale, zero point) of one float32 row; scale NaN where it is not finite."""
    if not np.isfinite(x).all():
        return [0] * len(x), F32(np.nan), 0
    lo, hi = min([F32(0), *x]), max([F32(0), *x])
    with np.errstate(over="ignore"):
        scale = F32(hi - lo) / F32(TOP)
        if not np.isfinite(scale):
            scale = F32(hi / F32(TOP)) - F32(lo / F32(TOP))
    if scale == 0:
        scale = F32(1)
    zero_point = min(max(round(float(-lo / scale)), 0), TOP)  # Python rounds ties to even
    return [min(max(round(v) + zero_point, 0), TOP) for v in (x / scale).tolist()], scale, zero_point


def accumulator(x, qweight, per_tensor=False):
    """(sums as Python integers [M, N], float32 scales [M])."""
    rows = [quantize_row(row) for row in (x.reshape(1, -1) if per_tensor else x)]
    if per_tensor:
        (q, scale, zero_point), k = rows[0], x.shape[1]
        rows = [(q[i * k : (i + 1) * k], scale, zero_point) for i in range(len(x))]
    centred = np.array([[v - zero_point for v in q] for q, _, zero_point in rows], object).reshape(x.shape)
    return centred @ qweight.T.astype(object), np.array([scale for _, scale, _ in rows], F32)


def linear(x, weight, per_tensor=False):
    """float32 [M, N]; `weight` is one of oracle.pack, of 8 bits and without groups."""
    sums, scale = accumulator(x, weight.q, per_tensor)
    with np.errstate(all="ignore"):
        # Below 2^53, so the float64 is exact, and float32 rounds once.
        return sums.astype(np.float64).astype(F32) * (scale[:, None] * weight.scale) + weight.bias
