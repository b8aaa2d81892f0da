"""Patches that overlap, added up: what a transposed convolution does behind its product. A step, on the calling thread.

    out[n, o, y, x] = bias[o] + Σ over ky, over kx of patches[n, o, ky, kx, iy, ix]
                      y = iy·step_y + ky·dilate_y - top, x = ix·step_x + kx·dilate_x - left

Each sum is one chain in this order, so its bits depend on nothing else. float32; arrays are contiguous.
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import is_null, load_f32, offset, store_f32
from ..base.record import Pointer, Record
from ..base.status import FINE


class Fold(Record):
    patches: Pointer  # [images, outputs, k_high, k_wide, height, width]
    out: Pointer  # [images, outputs, out_height, out_width]
    bias: Pointer  # [outputs], or null
    images: int
    outputs: int
    height: int
    width: int
    out_height: int
    out_width: int
    k_high: int
    k_wide: int
    step_y: int
    step_x: int
    dilate_y: int
    dilate_x: int
    top: int
    left: int


@kernel
def fold(record, threads):
    f = Fold(record)
    height, width, out_height, out_width, step_x = f.height, f.width, f.out_height, f.out_width, f.step_x
    out, patch = f.out, f.patches
    for plane in range(f.images * f.outputs):
        first = np.float32(0) if is_null(f.bias) else load_f32(f.bias, plane % f.outputs)
        for i in range(out_height * out_width):
            store_f32(out, i, first)
        for ky in range(f.k_high):
            for kx in range(f.k_wide):
                shift = kx * f.dilate_x - f.left
                low = max(0, (step_x - 1 - shift) // step_x)
                high = min(width, (out_width - 1 - shift) // step_x + 1)
                for iy in range(height):
                    y = iy * f.step_y + ky * f.dilate_y - f.top
                    if 0 <= y and y < out_height:
                        line = offset(out, 4 * y * out_width)
                        for ix in range(low, high):
                            x = ix * step_x + shift
                            store_f32(line, x, load_f32(line, x) + load_f32(patch, iy * width + ix))
                patch = offset(patch, 4 * height * width)
        out = offset(out, 4 * out_height * out_width)
    return FINE


def reference(
    patches: np.ndarray, bias: np.ndarray | None, sizes: tuple, steps: tuple, dilations: tuple, before: tuple
) -> np.ndarray:
    """The same in numpy: float32 [N, O, OH, OW] (`sizes`) of float32 patches [N, O, KH, KW, H, W]."""
    images, outputs, k_high, k_wide, height, width = patches.shape
    padded = [
        max(n + first, (size - 1) * step + (taps - 1) * apart + 1)
        for n, first, size, step, taps, apart in zip(
            sizes, before, (height, width), steps, (k_high, k_wide), dilations, strict=True
        )
    ]
    y = np.zeros((images, outputs, *padded), np.float32)
    if bias is not None:
        y += bias[:, None, None]
    for ky in range(k_high):
        for kx in range(k_wide):
            top, left = ky * dilations[0], kx * dilations[1]
            y[
                :, :, top : top + (height - 1) * steps[0] + 1 : steps[0],
                left : left + (width - 1) * steps[1] + 1 : steps[1],
            ] += patches[:, :, ky, kx]  # fmt: skip
    return y[:, :, before[0] : before[0] + sizes[0], before[1] : before[1] + sizes[1]]
