"""quantize and dequantize on pytest-benchmark, ours beside numpy's: ``pytest bench -k quantize --benchmark-enable``."""

from __future__ import annotations

import pytest

from bench.conftest import smoke
from bench.topics import conversion


@pytest.mark.parametrize("who", ["dynq", "dynq out", "numpy"])
@pytest.mark.parametrize("operation", ["quantize", "dequantize"])
@pytest.mark.parametrize("where", list(conversion.SHAPES))
def test_conversion(benchmark, request, where, operation, who):
    shape = (16, 64) if smoke(request.config) else conversion.shape_of(where)
    benchmark.group = f"{operation}, {where}"
    benchmark(conversion.functions(shape)[operation][who])
