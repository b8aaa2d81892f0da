"""What computed: a line of every report."""

from __future__ import annotations

import platform

import numpy as np
import onnx

from .. import __version__
from ..runtime import cpu, isa
from ..runtime.threads import get_num_threads


def machine(threads: int | None = None) -> dict[str, str]:
    """Processor, instruction set, the most threads, versions."""
    return {
        "cpu": cpu.model_name(), "isa": isa.active().name, "threads": str(threads or get_num_threads()),
        "system": platform.system(), "dynq-numba": __version__, "numpy": np.__version__, "onnx": onnx.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
