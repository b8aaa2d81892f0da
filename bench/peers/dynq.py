"""dynq-numba: this package, as ``dq.linear`` is called from Python."""

from __future__ import annotations

from functools import partial

import numpy as np

from .base import Contestant, Function


def build(
    weight: np.ndarray, bias: np.ndarray, rows: int, threads: int, *, bits: int, granularity: str, group: int | None
) -> Function:
    import dynq_numba as dq

    dq.set_num_threads(threads)  # at most, as the peers' settings are: a small call stays on one
    w = dq.pack_linear(weight, bias, bits=bits, granularity=granularity, group_size=group)
    return Function(lambda x: dq.linear(x, w))


def contestant(name: str, bits: int, granularity: str, group: int | None, tolerance: float) -> Contestant:
    return Contestant(
        name=name,
        family="dynq",
        weights=f"int{bits}",
        distributions=("dynq-numba", "numba"),
        build=partial(build, bits=bits, granularity=granularity, group=group),
        tolerance=tolerance,
        avx2={"DYNQ_ISA": "avx2"},
    )


INT8 = (contestant("dynq int8", 8, "per_channel", None, 0.02),)
INT4 = (
    contestant("dynq int4 g32", 4, "per_group", 32, 0.15),
    contestant("dynq int4 g128", 4, "per_group", 128, 0.18),
)
