"""Artifacts of models of others: our session beside ONNX Runtime on the same artifact."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import in_onnxruntime
from test_real_models import MODELS, path_of

from dynq_numba.onnx import InferenceSession, quantize

#: The most that the two differ, as a part of the artifact's loss (1 - cosine to float32, both). Every layer has the
#: same bits, given equal inputs. Only rapidocr misses what is asked. Our session multiplies its attention in 8 bits;
#: and its float layers differ in the last bits: where a value lies at a tie, a step of 8 bits comes of that, and each
#: layer makes more of them. In the mean over some inputs ONNX Runtime without its graph optimizations is as far from
#: itself (`python -m bench artifacts`).
ASKED, MOST = 0.1, {"rapidocr": 1.0}


def flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.float64(array).ravel() for array in arrays])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.mark.parametrize("name", MODELS)
def test_an_artifact_is_the_same_in_onnxruntime(name):
    feeds = MODELS[name][1]
    receipt = quantize(path_of(name))
    made = ir.to_proto(receipt.model)
    whole, theirs = flat(in_onnxruntime(onnx.load(path_of(name)), feeds)), flat(in_onnxruntime(made, feeds))
    ours = flat(InferenceSession(made).run(None, feeds))
    loss, difference = distance(theirs, whole), distance(ours, theirs)
    print(f"{name}: {difference / loss:.4f} of the loss")
    assert all(entry.exact for entry in receipt.quantized)
    assert 0 < loss and difference <= MOST.get(name, ASKED) * loss
