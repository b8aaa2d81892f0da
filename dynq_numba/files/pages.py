"""Pages of files that are mapped: they count as memory of a process until it lets them go."""

from __future__ import annotations

import mmap

import numpy as np


class Pages(mmap.mmap):
    """A file of which we only read: nothing is lost where its pages go. A caller's map may hold what no file has."""


def release(array: object) -> None:
    """Let the pages of an array go, if it lies in a file that we have mapped.

    The system reads them again where they are wanted.
    """
    base = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, Pages) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
