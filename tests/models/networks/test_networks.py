"""Whole networks as exporters write them: results are ONNX Runtime's; no more steps than recorded, nor more in Python.

Where there are fewer, `python tests/programs/spellings_page.py --write` records it.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import spellings_page as program
from onnx_models import in_onnxruntime

RECORD = json.loads(program.RECORD.read_text())
#: Of the largest result: what float32 may lose in so many layers, in another order of sums.
TOLERANCE = 2.0**-17


@pytest.mark.parametrize("name", RECORD)
def test_a_network(name):
    found, results = program.ran(name)
    model, feeds = program.network(name)
    for got, want in zip(results, in_onnxruntime(model, feeds), strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()
    kept = RECORD[name]
    assert not Counter(found["python"]) - Counter(kept["python"])
    assert sum(found["kernels"].values()) <= sum(kept["kernels"].values()) + len(kept["python"])


def test_the_page_is_that_of_the_record():
    assert set(RECORD) == set(program.NETWORKS)
    assert program.PAGE.read_text() == program.page(RECORD)
