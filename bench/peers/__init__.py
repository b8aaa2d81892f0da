"""Every way to run one dynamically quantized linear layer, ours and the peers', behind one interface (`base`).

``python -m bench peers`` shows which of them run here. Frameworks are imported when a contestant is built, so
importing this needs only numpy.
"""

from __future__ import annotations

from . import dynq, npy, ort, ov, pytorch, xnnpack, zen
from .base import Contestant, Layer, missing, versions

#: In table order: 8-bit weights, 4-bit weights, float32.
CONTESTANTS: tuple[Contestant, ...] = (
    *dynq.INT8,
    *xnnpack.INT8,
    *zen.INT8,
    *ort.INT8,
    *pytorch.INT8,
    *ov.INT8,
    *dynq.INT4,
    *xnnpack.INT4,
    *ort.INT4,
    *ov.INT4,
    *npy.FLOAT32,
    *ort.FLOAT32,
)

__all__ = ["CONTESTANTS", "Contestant", "Layer", "missing", "versions"]
