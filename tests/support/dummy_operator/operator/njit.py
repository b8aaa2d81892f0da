"""double inside compiled code."""

from __future__ import annotations

import numpy as np

from ...kernels.base.memory import WORKER_SIGNATURE, data_ptr, keep
from ...kernels.dummy.call import double_into
from ...kernels.dummy.worker import double_worker
from ...njit.arguments import address_of, float_array
from ...njit.overloads import overload_of
from .api import double


@overload_of(double)
def double_overload(x):  # type: ignore[no-untyped-def]
    float_array("x", x)
    worker = address_of(double_worker, WORKER_SIGNATURE)

    def run(x):  # type: ignore[no-untyped-def]
        values = np.ascontiguousarray(x).astype(np.float32)
        out = np.empty(x.shape, np.float32)
        double_into(data_ptr(values), values.size, data_ptr(out), worker())
        keep(values)
        return out

    return run
