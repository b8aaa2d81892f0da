"""zentorch, AMD's plugin for PyTorch: its operator ``zentorch_dynamic_qlinear``, called directly.

Weights are int8 with a scale per channel, activations 8 bit per row (github.com/amd/ZenDNN-pytorch-plugin). Its version
follows PyTorch's: 2.13.0.2 is for PyTorch 2.13.0. The operator packs the weight at its first call and keeps it by the
weight's address, so the cache is cleared before a weight of another layer may lie there. The form with a weight packed
beforehand (``zentorch_weight_prepack_for_dynamic_qlinear``) is wrong from K = 3072 in that version and not used. It
has no switch for the instruction set, and wants AVX512.
"""

from __future__ import annotations

import warnings

import numpy as np

from .base import Contestant, Function
from .integers import symmetric


def build(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int) -> Function:
    import torch

    with warnings.catch_warnings(action="ignore"):
        import zentorch  # noqa: F401  # registers the operator

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    values, scales = map(torch.from_numpy, symmetric(weight, 127))
    offsets = torch.from_numpy(bias)
    torch.ops.zentorch.zentorch_clear_weight_cache()
    linear = torch.ops.zentorch.zentorch_dynamic_qlinear.default
    last: list[torch.Tensor] = []

    def call(x: np.ndarray) -> np.ndarray:
        last[:] = [torch.from_numpy(x)]
        return linear(last[0], values, scales, offsets).numpy()

    return Function(call, lambda: linear(last[0], values, scales, offsets))


INT8 = (
    Contestant(
        name="zentorch int8",
        family="zentorch",
        weights="int8",
        distributions=("zentorch", "torch"),
        build=build,
        tolerance=0.02,
        environment=lambda threads: {"OMP_NUM_THREADS": str(threads)},
    ),
)
