"""numpy in float32, for scale: ``x @ w.T + b`` on the BLAS of its wheels, OpenBLAS.

OpenBLAS reads its thread count and, where it is built for many CPUs, the one to assume from the environment
(github.com/OpenMathLib/OpenBLAS, README.md, "Setting the number of threads using environment variables" and
"DYNAMIC_ARCH"): Haswell is AVX2. Where OPENBLAS_VERBOSE=2 says that it assumes Haswell anyway, as numpy 2.4's does on a
Zen 5, the switch changes nothing.
"""

from __future__ import annotations

import numpy as np

from .base import Contestant, Function


def build(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int) -> Function:
    transposed = weight.T
    return Function(lambda x: x @ transposed + bias)


FLOAT32 = (
    Contestant(
        name="numpy float32",
        family="numpy",
        weights="float32",
        distributions=("numpy",),
        build=build,
        tolerance=1e-5,
        environment=lambda threads: {"OPENBLAS_NUM_THREADS": str(threads)},
        avx2={"OPENBLAS_CORETYPE": "Haswell"},
    ),
)
