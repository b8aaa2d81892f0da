"""Pages of files that are mapped: they count as memory of a process until it lets them go."""

from __future__ import annotations

import mmap

import numpy as np


def release(array: object) -> None:
    """Let the pages of an array go, if it lies in a file. The system reads them again where they are wanted."""
    base = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
