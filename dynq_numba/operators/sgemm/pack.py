"""A constant side of float32 products, packed once: panels of columns (kernels/gemm/float_tile.py)."""

from __future__ import annotations

import numpy as np

from ...files.weight_cache import packed
from ...kernels.isa.base import InstructionSet


def pack_matrix(b: np.ndarray, target: InstructionSet) -> np.ndarray:
    """float32 b [K, N] (of a linear's weight [N, K]: its transpose) as panels [⌈N / NR⌉, K, NR], zeros beyond N."""
    (k, n), nr = b.shape, target.columns
    whole, rest = divmod(n, nr)
    count = whole + (rest > 0)

    def fill(room: np.ndarray) -> None:
        panels = room.view(np.float32).reshape(count, k, nr)
        panels[:whole] = b[:, : whole * nr].reshape(k, whole, nr).transpose(1, 0, 2)
        if rest:
            panels[whole, :, :rest] = b[:, whole * nr :]

    return packed(4 * count * k * nr, ("sgemm", nr, b.shape), fill).view(np.float32).reshape(count, k, nr)
