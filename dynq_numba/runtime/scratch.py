"""The process's slots of scratch memory (kernels/threads/scratch.py), and what a fork does to them."""

from __future__ import annotations

import os

import numpy as np

from ..kernels.threads.scratch import LINE, SLOTS
from .memory import aligned_zeros

_ROOM = aligned_zeros(8 * SLOTS * LINE).view(np.int64).reshape(SLOTS, LINE)
#: Address of the slots.
ADDRESS = _ROOM.ctypes.data


def _forget() -> None:
    """In a child: forget the slots. The parent's threads cannot give them back, and may have left one half changed."""
    _ROOM[_ROOM[:, 0] != 0] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
