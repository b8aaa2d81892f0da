"""Convolutions that stay float32, as a program's steps, beside ONNX Runtime's and PyTorch's.

Shapes of ResNets; of ddddocr's detector and recognizer, of PP-OCR's (many depthwise kernels of 3×3 and 5×5), of magika.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Inputs, Topic, Way
from .conv import case, exact, inputs, ort_float, torch_float

CASES = {
    "3×224×224 → 64, 7×7 step 2": case(3, 64, (224, 224), 7, 2),
    "64×56×56 → 64, 3×3": case(64, 64, (56, 56), 3),
    "256×56×56 → 64, 1×1": case(256, 64, (56, 56), 1),
    "64×56×56 → 256, 1×1": case(64, 256, (56, 56), 1),
    "128×28×28 → 128, 3×3": case(128, 128, (28, 28), 3),
    "256×14×14 → 256, 3×3": case(256, 256, (14, 14), 3),
    "512×7×7 → 512, 3×3": case(512, 512, (7, 7), 3),
    "24×32×80 → 24, 3×3": case(24, 24, (32, 80), 3),
    "48×16×40 → 192, 3×3": case(48, 192, (16, 40), 3),
    "192×16×40 → 48, 1×1": case(192, 48, (16, 40), 1),
    "64×8×20 → 256, 3×3": case(64, 256, (8, 20), 3),
    "12×208×208 → 24, 3×3": case(12, 24, (208, 208), 3),
    "24×208×208 → 48, 3×3 step 2": case(24, 48, (208, 208), 3, 2),
    "96×52×52 → 96, 3×3": case(96, 96, (52, 52), 3),
    "96×26×26 → 96, 3×3": case(96, 96, (26, 26), 3),
    "384×13×13 → 192, 1×1": case(384, 192, (13, 13), 1),
    "3×320×320 → 16, 3×3 step 2": case(3, 16, (320, 320), 3, 2),
    "16×160×160 → 32, 1×1": case(16, 32, (160, 160), 1),
    "96×40×40 → 96, 1×1": case(96, 96, (40, 40), 1),
    "384×10×10 → 384, 1×1": case(384, 384, (10, 10), 1),
    "96×40×40 → 24, 3×3": case(96, 24, (40, 40), 3),
    "256×512 → 512, 5": case(256, 512, (512,), 5),
    "16×160×160, 3×3 depthwise": case(16, 16, (160, 160), 3, groups=16),
    "48×80×80, 3×3 step 2 depthwise": case(48, 48, (80, 80), 3, 2, groups=48),
    "96×40×40, 3×3 depthwise": case(96, 96, (40, 40), 3, groups=96),
    "192×20×20, 5×5 depthwise": case(192, 192, (20, 20), 5, groups=192),
    "384×10×10, 5×5 depthwise": case(384, 384, (10, 10), 5, groups=384),
}


def ours(chosen: Case, given: Inputs, threads: int) -> Callable[[], np.ndarray]:
    import dynq_numba as dq
    from dynq_numba.arguments.geometry import Geometry
    from dynq_numba.operators.sconv import backend
    from dynq_numba.operators.sconv.pack import FloatConvWeight, way_of
    from dynq_numba.runtime import isa
    from dynq_numba.runtime import threads as pool

    dq.set_num_threads(threads)
    pool.ready()
    x, weight, flat = given["x"], given["weight"], given["x"].ndim == 3
    around, step = chosen["padding"], chosen["stride"]
    if flat:
        x, weight = x[:, :, None], weight[:, :, None]
    down = (0, 0) if flat else (around, around)
    geometry = Geometry((1 if flat else step, step), (down, (around, around)), (1, 1), chosen["groups"])
    way = way_of(weight.shape, geometry, geometry.output(x.shape[2:], weight.shape[2:]))
    w = FloatConvWeight(weight, given["bias"], geometry, isa.active(), way)
    out = backend.convolve(x, w)
    words, run = w.record(x, out, None, 0), backend.step_entry()
    result = out[:, :, 0] if flat else out

    def call(kept: tuple = (given, w)) -> np.ndarray:
        run(words, 0)
        return result

    return call


TOPIC = Topic(
    title="Float32 convolutions, as steps of a program",
    cases=CASES,
    inputs=inputs,
    exact=exact,
    ways=(
        Way("dynq", ("dynq-numba",), ours, 1e-5),
        Way("ONNX Runtime", ("onnxruntime", "onnx"), ort_float, 1e-5),
        Way("torch", ("torch",), torch_float, 1e-5),
    ),
)
