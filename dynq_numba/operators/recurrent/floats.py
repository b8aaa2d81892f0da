"""Float32 weights of recurrent layers, in the place of PackedLinears: no public function takes them, sessions do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels.linear.context import Weight
from ...kernels.sgemm.context import Multiplier
from ...runtime import isa, kernel_table
from ..sgemm.backend import multiplier
from ..sgemm.pack import pack_matrix


class FloatLayout(NamedTuple):
    """A weight in the panels of an instruction set; the descriptor points to the others."""

    descriptor: np.ndarray
    panels: np.ndarray
    bias: np.ndarray


class FloatWeight:
    """weight float32 [N, K] and bias [N], or none."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None):
        self.weight, self.shape = weight, weight.shape
        self.bias = np.zeros(len(weight), np.float32) if bias is None else bias

    def _layout(self) -> FloatLayout:
        """For the instruction set in force."""
        n, k = self.shape
        target = isa.active()
        panels = pack_matrix(self.weight.T, kernel_table.kernel_for("sgemm", target).form)
        count, _, nr = panels.shape
        words = np.zeros(Weight.lines() // 8, np.int64)
        Weight.fill(
            words, worker=kernel_table.worker_address("recurrent_floats", target), n=n, k=k, weights=panels.ctypes.data,
            panel_stride=4 * k * nr, columns=self.bias.ctypes.data, nr=nr,
            mr=int(multiplier(target)[Multiplier.mr]), panels=count,
        )  # fmt: skip
        return FloatLayout(words, panels, self.bias)
