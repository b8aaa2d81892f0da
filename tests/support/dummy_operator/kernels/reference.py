"""What `double` gives, bit for bit."""

from __future__ import annotations

import numpy as np


def double(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x + x
