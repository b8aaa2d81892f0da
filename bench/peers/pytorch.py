"""PyTorch's dynamic quantized linear, ``torch.ao.nn.quantized.dynamic.Linear``, on each of its engines.

The module is what ``torch.ao.quantization.quantize_dynamic`` makes of an ``nn.Linear``, here with
`per_channel_dynamic_qconfig`: int8 weights with a scale per channel, and uint8 activations with one for the whole
array, of which it uses 7 bits (``reduce_range=True`` in torch/ao/nn/quantized/dynamic/modules/linear.py, because the
AVX2 kernels saturate at 8).
docs.pytorch.org/docs/stable/quantization.html, "Backend/Hardware Support", names the engines:
``torch.backends.quantized.engine``.

The AVX2 switches are ATen's (docs.pytorch.org, ATEN_CPU_CAPABILITY), FBGEMM's (github.com/pytorch/FBGEMM,
src/Utils.cc) and oneDNN's (uxlfoundation.github.io/oneDNN, "CPU Dispatcher Control").
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from .base import Contestant, Function


def build(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int, *, engine: str) -> Function:
    import torch

    warnings.filterwarnings("ignore", module="torch.ao")  # says that torch.ao is to move to another package
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)  # once: a user's loop has it around, not inside
    torch.backends.quantized.engine = engine
    n, k = weight.shape
    plain = torch.nn.Linear(k, n)
    plain.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    qconfig = {torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
    linear = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(plain), qconfig)[0]
    last: list[torch.Tensor] = []

    def call(x: np.ndarray) -> np.ndarray:
        last[:] = [torch.from_numpy(x)]
        return linear(last[0]).numpy()

    return Function(call, lambda: linear(last[0]))


def contestant(engine: str, avx2: dict[str, str]) -> Contestant:
    return Contestant(
        name=f"PyTorch {engine}",
        family="torch",
        weights="int8",
        distributions=("torch",),
        build=partial(build, engine=engine),
        tolerance=0.04,
        environment=lambda threads: {"OMP_NUM_THREADS": str(threads)},
        avx2={"ATEN_CPU_CAPABILITY": "avx2", **avx2},
    )


FBGEMM, ONEDNN = {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}
INT8 = (
    contestant("x86", FBGEMM | ONEDNN),  # fbgemm or oneDNN, by the layer's shape
    contestant("fbgemm", FBGEMM),
    contestant("onednn", ONEDNN),
)
